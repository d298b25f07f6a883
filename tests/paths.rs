//! Paths and names that can be written in many ways, over both protocols.

mod support;

use std::io::Write;

use support::{
    client::{Client, get},
    config::front_with,
    h2::{self, H2Client},
    origin::Origin,
    proxy::Proxy,
};

fn first_lines(origin: &Origin) -> Vec<String> {
    let heads = origin.heads();
    heads.iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_path_goes_on_in_one_form_and_finds_its_route_by_it() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let manager = "          normalize_path: true\n          merge_slashes: true";
    let clusters: [(&str, &[_]); 2] = [("a", &[a.address]), ("b", &[b.address])];
    let proxy = Proxy::start(&front_with(&clusters, manager));
    let address = proxy.listener("main");
    for path in ["/b/x", "/a/../b/x", "/a/%2e%2E//b/./x", "//b\\x"] {
        let answer = get(address, path);
        assert_eq!((answer.status, answer.text().as_str()), (200, "b"), "{path}");
        let answer = H2Client::connect(address).get(path);
        assert_eq!(answer, Ok((200, b"b".to_vec())), "{path} over HTTP/2");
    }
    assert!(first_lines(&b).iter().all(|line| line == "GET /b/x HTTP/1.1"), "{:?}", b.heads());
    assert_eq!(get(address, "/a/%00").status, 400);
    let failed = "http.ingress_http.downstream_rq_failed_path_normalization";
    assert_eq!(proxy.stat(failed), Some(1));
}

/// What the runtime says of paths holds for every worker from its first connection on.
#[test]
fn the_runtime_of_a_configuration_is_there_before_its_listeners() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let clusters: [(&str, &[_]); 2] = [("a", &[a.address]), ("b", &[b.address])];
    let config = front_with(&clusters, "");
    let key = "{name: base, static_layer: {http_connection_manager.normalize_path: 100}}";
    let layered = config.replace("layers: [", &format!("layers: [{key}, "));
    let proxy = Proxy::start_with(&layered, &["--concurrency", "4"]);
    let address = proxy.listener("main");
    let mut clients: Vec<_> = (0..32).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        let answer = client.request("GET /a/../b/x HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(answer.text(), "b");
    }
}

#[test]
fn escaped_slashes_are_refused_or_sent_elsewhere() {
    let origin = Origin::saying("a");
    for (action, status, location, line) in [
        ("REJECT_REQUEST", 400, None, None),
        ("UNESCAPE_AND_REDIRECT", 307, Some("/a/b?c=%2F"), None),
        ("UNESCAPE_AND_FORWARD", 200, None, Some("GET /a/b?c=%2F HTTP/1.1")),
        ("KEEP_UNCHANGED", 200, None, Some("GET /a%2Fb?c=%2F HTTP/1.1")),
    ] {
        let manager = format!("          path_with_escaped_slashes_action: {action}");
        let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], &manager));
        let before = origin.heads().len();
        let answer = get(proxy.listener("main"), "/a%2Fb?c=%2F");
        assert_eq!((answer.status, answer.header("location")), (status, location), "{action}");
        let lines = first_lines(&origin);
        assert_eq!(lines.get(before).map(String::as_str), line, "{action}");
    }
}

#[test]
fn headers_with_underscores_are_left_out_or_refused() {
    let origin = Origin::saying("a");
    let head = "GET / HTTP/1.1\r\nhost: t\r\nx_a: 1\r\nx-b: 2\r\n\r\n";
    for (action, status, counter) in [
        ("DROP_HEADER", 200, "dropped_headers_with_underscores"),
        ("REJECT_REQUEST", 400, "requests_rejected_with_underscores_in_headers"),
    ] {
        let manager = format!(
            "          common_http_protocol_options: {{headers_with_underscores_action: {action}}}"
        );
        let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], &manager));
        let address = proxy.listener("main");
        let mut client = Client::connect(address);
        client.send(head);
        assert_eq!(client.answer().status, status, "{action}");
        let mut http2 = H2Client::connect(address);
        let mut request = h2::get("/");
        request.headers_mut().insert("x_a", http::HeaderValue::from_static("1"));
        let answer = http2.drive(|send| h2::exchange(send, request, None));
        // Over HTTP/2 the stream alone ends. Observed: Envoy 1.40.
        assert_eq!(answer.is_ok(), status == 200, "{action}: {answer:?}");
        for protocol in ["http1", "http2"] {
            assert_eq!(proxy.stat(&format!("{protocol}.{counter}")), Some(1), "{protocol}");
        }
    }
    let heads = origin.heads();
    assert_eq!(heads.len(), 2);
    assert!(heads[0].contains("x-b: 2") && !heads.concat().contains("x_a"), "{heads:?}");
}

#[test]
fn a_trailer_with_an_underscore_is_refused_where_trailers_are_passed_on() {
    let origin = Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    });
    let manager = "          http_protocol_options: {enable_trailers: true}
          common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}";
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], manager));
    let mut client = Client::connect(proxy.listener("main"));
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n");
    client.send("0\r\nx_t: 1\r\n\r\n");
    assert_eq!(client.answer().status, 400);
}
