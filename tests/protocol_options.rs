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
