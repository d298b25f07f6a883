//! Options of HTTP/1 and of the choice between protocols, as clients and origins notice them.

mod support;

use std::io::Write;

use support::{
    client::{Client, get},
    config::front_with,
    h2::{H2Client, H2Origin},
    origin::Origin,
    proxy::Proxy,
};

fn with_http1(origin: &Origin, options: &str) -> Proxy {
    let manager = format!("          http_protocol_options: {{{options}}}");
    Proxy::start(&front_with(&[("a", &[origin.address])], &manager))
}

/// The same with options for the cluster, on one line.
fn with_upstream(address: std::net::SocketAddr, options: &str) -> Proxy {
    let typed = format!(
        "connect_timeout: 1s\n    typed_extension_protocol_options:\n      \
         envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{\"@type\": \
         type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, {options}}}\n"
    );
    Proxy::start(&front_with(&[("a", &[address])], "").replace("connect_timeout: 1s\n", &typed))
}

#[test]
fn absolute_targets_are_paths_where_they_are_not_allowed() {
    let origin = Origin::saying("a");
    for (options, status) in [("", 200), ("allow_absolute_url: false", 404)] {
        let proxy = with_http1(&origin, options);
        let mut client = Client::connect(proxy.listener("main"));
        client.send("GET http://other/x HTTP/1.1\r\nhost: t\r\n\r\n");
        assert_eq!(client.answer().status, status, "{options}");
    }
}

#[test]
fn a_length_beside_chunks_is_refused_or_dropped() {
    let origin = Origin::saying("a");
    let request = "POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 9\r\n\
                   transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    for (options, status) in [("", 400), ("allow_chunked_length: true", 200)] {
        let proxy = with_http1(&origin, options);
        let mut client = Client::connect(proxy.listener("main"));
        client.send(request);
        assert_eq!(client.answer().status, status, "{options}");
    }
    let heads = origin.heads();
    assert_eq!(heads.len(), 1);
    assert!(!heads[0].contains("content-length"), "{}", heads[0]);
}

#[test]
fn a_bad_request_ends_the_connection_unless_the_client_may_go_on() {
    let origin = Origin::saying("a");
    for (options, goes_on) in
        [("", false), ("override_stream_error_on_invalid_http_message: true", true)]
    {
        let proxy = with_http1(&origin, options);
        let mut client = Client::connect(proxy.listener("main"));
        client.send("GET /#x HTTP/1.1\r\nhost: t\r\n\r\n");
        let answer = client.answer();
        assert_eq!((answer.status, answer.header("connection").is_none()), (400, goes_on));
        if goes_on {
            client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
            assert_eq!(client.answer().status, 200);
        }
    }
}

#[test]
fn names_keep_the_case_in_which_they_came_both_ways() {
    let origin = Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 Fine\r\nContent-LENGTH: 0\r\nETag: x\r\n\r\n");
    });
    let kept = "header_key_format: {stateful_formatter: {name: preserve_case, typed_config: \
                {\"@type\": type.googleapis.com/envoy.extensions.http.header_formatters.\
                preserve_case.v3.PreserveCaseFormatterConfig, forward_reason_phrase: true}}}";
    let manager = format!("          http_protocol_options: {{{kept}}}");
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], &manager).replace(
        "connect_timeout: 1s\n",
        &format!("connect_timeout: 1s\n    http_protocol_options: {{{kept}}}\n"),
    ));
    let mut client = Client::connect(proxy.listener("main"));
    client.send("GET / HTTP/1.1\r\nHOST: t\r\nX-fOO: 1\r\n\r\n");
    let answer = client.answer();
    let names: Vec<&str> = answer.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"Content-LENGTH") && names.contains(&"ETag"), "{names:?}");
    assert!(names.contains(&"server"), "{names:?}");
    let head = origin.heads().remove(0);
    assert!(head.contains("\r\nHOST: t\r\n") && head.contains("\r\nX-fOO: 1\r\n"), "{head}");
}

#[test]
fn protocols_to_switch_to_are_ignored_where_that_is_asked_for() {
    let origin = Origin::saying("a");
    let proxy = with_http1(&origin, "ignore_http_11_upgrade: [{prefix: TLS}]");
    for (protocol, status) in [("TLS/1.2", 200), ("foo", 403)] {
        let mut client = Client::connect(proxy.listener("main"));
        let lines = format!("upgrade: {protocol}\r\nconnection: upgrade\r\n");
        client.send(format!("GET / HTTP/1.1\r\nhost: t\r\n{lines}\r\n"));
        assert_eq!(client.answer().status, status, "{protocol}");
    }
}

#[test]
fn targets_upstream_are_absolute_and_heads_bounded_as_asked() {
    let origin = Origin::answering(|stream, _| {
        let many: String = (0..60).map(|n| format!("x-{n}: {}\r\n", "v".repeat(100))).collect();
        let _ = stream
            .write_all(format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n").as_bytes());
    });
    let explicit =
        "explicit_http_config: {http_protocol_options: {send_fully_qualified_url: true}}";
    for (common, status) in [
        ("", 200),
        ("common_http_protocol_options: {max_headers_count: 50}, ", 502),
        ("common_http_protocol_options: {max_response_headers_kb: 4}, ", 502),
    ] {
        let proxy = with_upstream(origin.address, &format!("{common}{explicit}"));
        assert_eq!(get(proxy.listener("main"), "/x").status, status, "{common}");
    }
    assert!(origin.heads()[0].starts_with("GET http://test/x HTTP/1.1\r\n"));
}

#[test]
fn what_a_client_speaks_is_spoken_upstream() {
    let options = "use_downstream_protocol_config: {http2_protocol_options: {}}";
    let over_http1 = Origin::saying("one");
    let proxy = with_upstream(over_http1.address, options);
    assert_eq!(get(proxy.listener("main"), "/").text(), "one");
    let over_http2 = H2Origin::answering(|_, mut respond| async move {
        let response = http::Response::new(());
        let mut stream = respond.send_response(response, false).expect("a stream");
        stream.send_data("two".into(), true).expect("a stream");
    });
    let proxy = with_upstream(over_http2.address, options);
    let answer = H2Client::connect(proxy.listener("main")).get("/");
    assert_eq!(answer, Ok((200, b"two".to_vec())));
    for (name, count) in [("upstream_cx_http1_total", 0), ("upstream_cx_http2_total", 1)] {
        assert_eq!(proxy.stat(&format!("cluster.a.{name}")), Some(count), "{name}");
    }
}

#[test]
fn floods_of_frames_end_a_connection_where_they_are_bounded() {
    let origin = Origin::answering(|_, _| std::thread::sleep(std::time::Duration::from_secs(1)));
    let options = "max_consecutive_inbound_frames_with_empty_payload: 2, \
                   max_inbound_priority_frames_per_stream: 3, \
                   max_inbound_window_update_frames_per_data_frame_sent: 1";
    let manager = format!("          http2_protocol_options: {{{options}}}");
    let config = front_with(&[("a", &[origin.address])], &manager);
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let head = [0x83, 0x84, 0x86, 0x41, 1, b'x'];
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        let mut frame = vec![0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream];
        frame.extend_from_slice(payload);
        frame
    };
    for (flood, enough, stat) in [
        (frame(0, 0, 1, b""), 3, "http2.inbound_empty_frames_flood"),
        (frame(2, 0, 1, b"\0\0\0\0\x10"), 7, "http2.inbound_priority_frames_flood"),
        (frame(8, 0, 0, b"\0\0\0\x01"), 8, "http2.inbound_window_update_frames_flood"),
    ] {
        for (count, ends) in [(enough - 1, 0), (enough, 1)] {
            let mut client = Client::connect(proxy.listener("main"));
            client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            client.send([frame(4, 0, 0, b""), frame(1, 4, 1, &head)].concat());
            client.send(flood.repeat(count));
            // The answer to a ping comes after all that was before it.
            client.send(frame(6, 0, 0, b"12345678"));
            let mut read = Vec::new();
            while !read.ends_with(b"12345678") {
                match client.exactly(1) {
                    Ok(byte) if !byte.is_empty() => read.extend(byte),
                    _ => break,
                }
            }
            assert_eq!(read.ends_with(b"12345678"), ends == 0, "{stat}");
            assert_eq!(proxy.stat(stat), Some(ends), "{stat}");
        }
    }
    for field in ["max_outbound_frames", "max_outbound_control_frames"] {
        let manager = format!("          http2_protocol_options: {{{field}: 100}}");
        let file = support::proxy::folder().join("config.yaml");
        std::fs::write(&file, front_with(&[], &manager)).expect("the file can be written");
        let validate = ["--mode", "validate", "-c"];
        let run = support::proxy::binary().args(validate).arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(said.contains(field) && said.contains("bounded by flow control"), "{said}");
    }
}
