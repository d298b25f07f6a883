//! HTTP/1 as a client and an origin see it.

mod support;

use std::io::{Read, Write};

use support::{
    client::{Client, get},
    config::{front, front_with},
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

#[test]
fn a_request_goes_through_and_its_answer_comes_back() {
    let origin = Origin::saying("hello");
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let answer = get(proxy.listener("main"), "/a/x?q=1");
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.header("server"), Some("envoy"));
    for name in ["date", "x-envoy-upstream-service-time"] {
        assert!(answer.header(name).is_some(), "{name} in {answer:?}");
    }
    let head = origin.heads().remove(0);
    assert!(head.starts_with("GET /a/x?q=1 HTTP/1.1\r\nhost: test\r\n"), "{head}");
    for name in
        ["x-request-id: ", "x-forwarded-proto: http", "x-envoy-expected-rq-timeout-ms: 15000"]
    {
        assert!(head.contains(name), "{name} in {head}");
    }
}

#[test]
fn requests_in_a_pipeline_are_answered_in_their_order_on_one_connection() {
    let origin = Origin::answering(|stream, request| {
        let path = request.head.split(' ').nth(1).unwrap_or_default();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
        let _ = stream.write_all(answer.as_bytes());
    });
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let mut client = Client::connect(proxy.listener("main"));
    let three: String =
        (1..=3).map(|n| format!("GET /a/{n} HTTP/1.1\r\nhost: test\r\n\r\n")).collect();
    client.send(three);
    for n in 1..=3 {
        assert_eq!(client.answer().text(), format!("/a/{n}"));
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_total"), Some(1));
    assert_eq!(origin.accepted(), 1, "the upstream connection is kept");
}

#[test]
fn bodies_stream_both_ways_whatever_frames_them() {
    let origin = Origin::answering(|stream, request| {
        let mut answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        for piece in request.body.chunks(1000) {
            answer.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            answer.extend_from_slice(piece);
            answer.extend_from_slice(b"\r\n");
        }
        answer.extend_from_slice(b"0\r\n\r\n");
        let _ = stream.write_all(&answer);
    });
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let address = proxy.listener("main");
    let body: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let mut client = Client::connect(address);
    client
        .send(format!("POST /a HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n", body.len()));
    client.send(&body);
    assert_eq!(client.answer().body, body);
    client.send("POST /a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "hello world");
}

#[test]
fn what_is_not_http_is_answered_and_closed_and_the_proxy_goes_on() {
    let origin = Origin::saying("fine");
    let mut proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let address = proxy.listener("main");
    for (text, status) in [
        ("garbage\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
        ),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", 426),
        ("GET / HTTP/1.1\r\n\r\n", 400),
    ] {
        let mut client = Client::connect(address);
        let answer = client.request(text);
        assert_eq!(answer.status, status, "{text:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{text:?}");
        assert!(client.is_closed(), "{text:?}");
    }
    let before = proxy.resident_kib();
    let noise: Vec<u8> =
        (0..10_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut client = Client::connect(address);
    // The proxy may close before it has taken all of it.
    let _ = client.try_send(&noise);
    assert!(client.is_closed());
    assert!(proxy.resident_kib() < before + 8 * 1024, "garbage is not kept");
    assert!(proxy.is_running());
    assert_eq!(get(address, "/a").text(), "fine");
    assert!(!proxy.log().contains("panic"), "{}", proxy.log());
}

#[test]
fn an_upstream_that_fails_is_answered_for_with_the_reason() {
    let closing = Origin::answering(|stream, _| {
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let babbling = Origin::answering(|stream, _| {
        let _ = stream.write_all(b"nonsense\r\n\r\n");
    });
    let gone = Origin::saying("never").address;
    let proxy = Proxy::start(&front(&[
        ("closing", &[closing.address]),
        ("babbling", &[babbling.address]),
        ("gone", &[gone]),
        ("empty", &[]),
    ]));
    wait_for("the port to be free", || std::net::TcpStream::connect(gone).is_err().then_some(()));
    let address = proxy.listener("main");
    for (path, status, reason) in [
        ("/closing", 503, "reset reason: connection termination"),
        ("/babbling", 502, "reset reason: protocol error"),
        ("/gone", 503, "reset reason: remote connection failure"),
        ("/empty", 503, "no healthy upstream"),
    ] {
        let answer = get(address, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.text().contains(reason), "{path}: {}", answer.text());
    }
    assert_eq!(proxy.stat("cluster.gone.upstream_cx_connect_fail"), Some(1));
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_active"), Some(0));
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    // Never answers: it waits until the proxy has closed.
    let origin = Origin::answering(|stream, _| {
        let _ = stream.read(&mut [0]);
    });
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    for _ in 0..20 {
        let mut client = Client::connect(proxy.listener("main"));
        client.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n");
    }
    let total = "http.ingress_http.downstream_cx_total";
    wait_for(total, || (proxy.stat(total) == Some(20)).then_some(()));
    for name in [
        "http.ingress_http.downstream_cx_active",
        "cluster.a.upstream_rq_active",
        "cluster.a.upstream_cx_active",
    ] {
        wait_for(name, || (proxy.stat(name) == Some(0)).then_some(()));
    }
}

#[test]
fn a_slow_reader_does_not_grow_memory() {
    let origin = Origin::pouring(200);
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let before = proxy.resident_kib();
    let mut client = Client::connect(proxy.listener("main"));
    client.send("GET /a HTTP/1.1\r\nhost: test\r\n\r\n");
    // Nothing is read: what the proxy takes from the origin comes to a stop.
    let mut last = 0;
    wait_for("the origin to be held back", || {
        let now = proxy.stat("cluster.a.upstream_cx_rx_bytes_total").unwrap_or(0);
        let still = now > 100_000 && now == last;
        last = now;
        still.then_some(())
    });
    assert!(proxy.resident_kib() < before + 4 * 1024, "{} -> {}", before, proxy.resident_kib());
}

#[test]
fn the_access_log_has_envoys_line() {
    let origin = Origin::saying("hello");
    let log = support::proxy::folder().join("access.log");
    let manager = format!(
        "          access_log: [{{name: file, typed_config: {{\"@type\": type.googleapis.com/\
         envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {}}}}}]",
        log.display()
    );
    let mut proxy = Proxy::start(&front_with(&[("a", &[origin.address])], &manager));
    get(proxy.listener("main"), "/a?x=1");
    proxy.signal("TERM");
    assert!(proxy.exit_status().success());
    let line = std::fs::read_to_string(log).expect("the log is written out at the end");
    let rest = line.split("] ").nth(1).unwrap_or_default();
    assert!(rest.starts_with("\"GET /a?x=1 HTTP/1.1\" 200 - 0 5 "), "{line}");
    assert!(rest.trim_end().ends_with(&format!("\"test\" \"{}\"", origin.address)), "{line}");
}

#[test]
fn what_may_be_sent_twice_is_sent_again_where_a_kept_connection_ends_and_a_post_is_not() {
    // Every connection carries one answer, and ends with the next request.
    let answered = parking_lot::Mutex::new(std::collections::HashSet::new());
    let origin = Origin::answering(move |stream, _| {
        let peer = stream.peer_addr().expect("a peer");
        match answered.lock().insert(peer) {
            true => drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")),
            false => drop(stream.shutdown(std::net::Shutdown::Both)),
        }
    });
    let config = front(&[("a", &[origin.address])]);
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let mut client = Client::connect(proxy.listener("main"));
    let mut ask = |method: &str| {
        let request = format!("{method} /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        client.request(request).status
    };
    assert_eq!(["GET", "GET", "PUT"].map(&mut ask), [200, 200, 200]);
    assert_eq!(["POST", "POST"].map(&mut ask), [503, 200]);
}
