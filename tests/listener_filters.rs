//! Listener filters: what is found out of a connection before its chain is chosen.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use support::{
    config::{chain, cluster},
    proxy::{Proxy, folder},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// A proxy whose only listener has this filter and these chains.
fn proxy(filter: &str, more: &str, chains: &str) -> Proxy {
    let config = format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    stat_prefix: main
    {more}
    listener_filters: [{{name: filter, typed_config: {{"@type": {TYPES}.listener.{filter}}}}}]
    filter_chains:
{chains}"#
    );
    Proxy::start_with(&config, &["--concurrency", "2", "--file-flush-interval-msec", "10"])
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

/// What comes until the proxy has said all; nothing where it closes with bytes of ours unread.
fn answer(to: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(to);
    // It may have closed already.
    let _ = stream.write_all(bytes);
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

fn v2(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a short body").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11"[..], &length, body].concat()
}

const V2_ADDRESSES: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0, 111, 0, 222];

#[test]
fn the_client_of_a_proxy_header_is_the_peer_of_everything() {
    let proxy = proxy("proxy_protocol.v3.ProxyProtocol", "", &chain("{}", "plain"));
    let to = proxy.listener("main");
    let seen = "x-seen: 1.2.3.4 1.2.3.4:111 127.0.0.1 5.6.7.8:222\r\n";
    let told = answer(to, format!("PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n{GET}").as_bytes());
    assert!(told.contains(seen), "{told}");
    let told = answer(to, &[&v2(&V2_ADDRESSES), GET.as_bytes()].concat());
    assert!(told.contains(seen), "{told}");
    let told = answer(to, format!("PROXY UNKNOWN\r\n{GET}").as_bytes());
    assert!(told.contains(" 127.0.0.1 127.0.0.1:"), "{told}");
    for bytes in [GET.as_bytes(), b"PROXY TCP4 no\r\n", &v2(b"short"), &[b'x'; 4096]] {
        assert_eq!(answer(to, bytes), "", "{}", bytes.escape_ascii());
    }
    for (stat, expected) in [
        ("proxy_proto.versions.v1.found", 2),
        ("proxy_proto.versions.v2.found", 1),
        ("proxy_proto.versions.v1.error", 1),
        ("proxy_proto.versions.v2.error", 1),
        ("proxy_proto.not_found_disallowed", 2),
        ("downstream_cx_proxy_proto_error", 4),
        // What no chain has taken is no connection of the listener's.
        ("listener.main.downstream_cx_total", 3),
    ] {
        assert_eq!(proxy.stat(stat), Some(expected), "{stat}");
    }
}

/// Who took the connection may have spoken TLS with the client: the port that it was meant for tells.
///
/// Source: fifteen requests of each kind beside Envoy 1.40.
#[test]
fn the_port_of_a_proxy_header_tells_which_protocol_the_client_spoke() {
    let filter = "proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true";
    let chain = chain("{}", "plain").replace("%REQ(x-forwarded-for)%", "%REQ(x-forwarded-proto)%").replace(
        "stat_prefix: in\n",
        "stat_prefix: in\n          forward_proto_config: {https_destination_ports: [443, 8443], http_destination_ports: [80]}\n",
    );
    let proxy = proxy(filter, "", &chain);
    for (port, proto) in [("80", "http"), ("443", "https"), ("8443", "https"), ("99", "http")] {
        let header = format!("PROXY TCP4 1.2.3.4 5.6.7.8 111 {port}\r\n{GET}");
        let told = answer(proxy.listener("main"), header.as_bytes());
        assert!(told.contains(&format!("x-seen: {proto} ")), "{port}: {told}");
    }
    assert!(answer(proxy.listener("main"), GET.as_bytes()).contains("x-seen: http "));
}

/// The way in which files of old ask for PROXY headers. Observed: Envoy 1.40 asks the first chain alone.
#[test]
fn the_first_chain_may_ask_for_proxy_headers() {
    let asks = |which: usize| {
        let matches = ["{source_prefix_ranges: [{address_prefix: 9.9.9.9, prefix_len: 32}]}", "{}"];
        let chains = matches.iter().enumerate().map(|(at, matches)| {
            let more = if at == which { "      use_proxy_proto: true\n" } else { "" };
            chain(matches, "plain") + more
        });
        Proxy::start(&format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\nstatic_resources:\n  listeners:\n  - name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    filter_chains:\n{}",
            chains.collect::<String>()
        ))
    };
    let header = format!("PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n{GET}");
    let first = asks(0);
    let told = answer(first.listener("main"), header.as_bytes());
    assert!(told.contains("x-seen: 1.2.3.4 1.2.3.4:111 127.0.0.1 5.6.7.8:222\r\n"), "{told}");
    assert_eq!(answer(first.listener("main"), GET.as_bytes()), "");
    let second = asks(1);
    assert!(answer(second.listener("main"), GET.as_bytes()).starts_with("HTTP/1.1 200"));
}

#[test]
fn chains_are_chosen_by_the_headers_addresses_and_direct_ones_by_the_sockets() {
    let chains = [
        chain(r#"{destination_port: 222, direct_source_prefix_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"#, "wrong"),
        chain(r#"{destination_port: 222, direct_source_prefix_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}], source_prefix_ranges: [{address_prefix: 1.2.3.4, prefix_len: 32}]}"#, "right"),
        chain("{}", "other"),
    ]
    .concat();
    let proxy = proxy(
        "proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true",
        "",
        &chains,
    );
    let to = proxy.listener("main");
    let told = answer(to, &[&v2(&V2_ADDRESSES), GET.as_bytes()].concat());
    assert!(told.ends_with("right"), "{told}");
    assert!(answer(to, GET.as_bytes()).ends_with("other"));
    assert_eq!(proxy.stat("proxy_proto.not_found_allowed"), Some(1));
}

/// Half a header that never comes costs a timeout, a thousand of them little memory, and a healthy client nothing.
#[test]
fn a_thousand_halves_of_a_header_end_in_time_and_are_in_nobodys_way() {
    let more = "listener_filters_timeout: 2s";
    let proxy = proxy("proxy_protocol.v3.ProxyProtocol", more, &chain("{}", "plain"));
    let to = proxy.listener("main");
    let before = proxy.resident_kib();
    let mut idle = (0..1000).map(|_| connect(to)).collect::<Vec<_>>();
    for (at, stream) in idle.iter_mut().enumerate() {
        let half: &[u8] =
            if at % 2 == 0 { b"PROXY TCP4 1.2." } else { b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff" };
        stream.write_all(half).expect("half a header");
    }
    let grown = proxy.resident_kib().saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB for a thousand halves");
    let told = answer(to, format!("PROXY UNKNOWN\r\n{GET}").as_bytes());
    assert!(told.ends_with("plain"), "{told}");
    wait_for("all of them to be let go", || {
        (proxy.stat("listener.main.downstream_pre_cx_timeout") == Some(1000)).then_some(())
    });
    assert_eq!(proxy.stat("listener.main.downstream_pre_cx_active"), Some(0));
    assert_eq!(proxy.stat("listener.main.downstream_cx_total"), Some(1));
    let mut byte = [0];
    assert!(!matches!(idle[0].read(&mut byte), Ok(1..)));
}

#[test]
fn a_client_that_goes_before_it_said_enough_is_counted() {
    let proxy = proxy("proxy_protocol.v3.ProxyProtocol", "", &chain("{}", "plain"));
    let mut stream = connect(proxy.listener("main"));
    stream.write_all(b"PROXY TCP4").expect("half a header");
    stream.shutdown(Shutdown::Write).expect("an end");
    wait_for("it to be counted", || {
        let stat = "listener.main.downstream_listener_filter_remote_close";
        (proxy.stat(stat) == Some(1)).then_some(())
    });
}

/// Observed: Envoy 1.40. What a filter has found out is told, whichever filter ends the connection.
#[test]
fn a_connection_that_a_listener_filter_ends_is_logged() {
    let folder = folder();
    let log = folder.join("listener.log");
    let more = format!(
        "listener_filters_timeout: 0.3s\n    access_log: [{{name: file, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: {}, log_format: \
         {{text_format_source: {{inline_string: \"%RESPONSE_FLAGS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% \
         %DOWNSTREAM_LOCAL_ADDRESS% %FILTER_CHAIN_NAME%\\n\"}}}}}}}}]",
        log.display()
    );
    let filters = format!(
        "proxy_protocol.v3.ProxyProtocol}}}}, {{name: limit, typed_config: {{\"@type\": \
         {TYPES}.listener.local_ratelimit.v3.LocalRateLimit, stat_prefix: l, token_bucket: \
         {{max_tokens: 1, fill_interval: 1000s}}"
    );
    let proxy = proxy(&filters, &more, &chain("{}", "plain"));
    let to = proxy.listener("main");
    let its_own = format!("- 127.0.0.1 {to} -");
    let header = format!("PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n{GET}");
    let served = answer(to, header.as_bytes());
    assert!(served.ends_with("plain"), "{served}");
    let cases: [(&[u8], bool, &str); 4] = [
        (GET.as_bytes(), false, &its_own),
        (header.as_bytes(), false, "- 1.2.3.4 5.6.7.8:222 -"),
        // Half a header and no more, or the end of it.
        (b"PROXY TCP4", false, &its_own),
        (b"PROXY TCP4", true, &its_own),
    ];
    let logged = |expected: &[&str]| {
        wait_for("another line", || {
            let lines = std::fs::read_to_string(&log).ok()?;
            let lines = lines.lines().collect::<Vec<_>>();
            (lines.len() == expected.len()).then(|| assert_eq!(lines, expected))
        });
    };
    let mut expected = vec!["- 1.2.3.4 5.6.7.8:222 -"];
    logged(&expected);
    for (bytes, ends, line) in cases {
        expected.push(line);
        let mut stream = connect(to);
        stream.write_all(bytes).expect("it is taken");
        if ends {
            stream.shutdown(Shutdown::Write).expect("an end");
        }
        logged(&expected);
    }
}

#[test]
fn what_a_header_says_besides_goes_on_to_hosts() {
    let host = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hosts = [host.local_addr().expect("the bound address")];
    let greeting = r#"    transport_socket:
      name: proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
        config: {version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}}
        transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}
"#;
    let chains = format!(
        r#"    - filters:
      - name: tcp
        typed_config:
          "@type": {TYPES}.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: one
  clusters:
{}{greeting}"#,
        cluster("one", &hosts)
    );
    let proxy = proxy(
        "proxy_protocol.v3.ProxyProtocol, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [2, 225]}",
        "",
        &chains,
    );
    let tlvs = b"\x02\0\x03one\xe2\0\x03two\xe1\0\x05three";
    let mut client = connect(proxy.listener("main"));
    let header = v2(&[&V2_ADDRESSES[..], tlvs].concat());
    client.write_all(&[&header, &b"hello"[..]].concat()).expect("a header");
    client.shutdown(Shutdown::Write).expect("an end");
    let mut told = Vec::new();
    host.accept().expect("a connection").0.read_to_end(&mut told).expect("all of it");
    let kept = b"\x02\0\x03one\xe1\0\x05three";
    assert_eq!(told, [&v2(&[&V2_ADDRESSES[..], kept].concat()), &b"hello"[..]].concat());
}

/// Of TLVs with one key the last counts, and of rules for one type. Observed: Envoy 1.40.
#[test]
fn what_a_proxy_header_says_may_be_left_in_the_filter_state() {
    const STATE: &str = "%FILTER_STATE(envoy.network.proxy_protocol.tlv";
    let rules = "tlv_location: FILTER_STATE, rules: [{tlv_type: 2, on_tlv_present: {key: former}}, \
                 {tlv_type: 2, on_tlv_present: {key: name, metadata_namespace: other}}, \
                 {tlv_type: 3, on_tlv_present: {key: name}}, \
                 {tlv_type: 4, on_tlv_present: {key: bytes, value_string_encoding: BASE64}}]";
    let seen =
        format!("{STATE})% {STATE}:PLAIN)% {STATE}:FIELD:name)% {STATE}:FIELD:former)% %REQ(x)%");
    let chain = chain("{}", "plain").replace("%REQ(x-forwarded-for)%", &seen);
    let proxy = proxy(&format!("proxy_protocol.v3.ProxyProtocol, {rules}"), "", &chain);
    let to = proxy.listener("main");
    let seen = |tlvs: &[u8]| {
        let header = v2(&[&V2_ADDRESSES[..], tlvs].concat());
        let told = answer(to, &[&header, GET.as_bytes()].concat());
        let line = told.lines().find_map(|line| line.strip_prefix("x-seen: ")).map(str::to_owned);
        line.unwrap_or(told)
    };
    let told = seen(b"\x02\0\x03one\x03\0\x03two\x04\0\x02a\xff\x05\0\x01x");
    let object = r#"{"bytes":"Yf8=","name":"two"}"#;
    let plain = r#"{"name":"two","bytes":"Yf8="}"#;
    // What is not there is nothing in a header.
    assert!(told.starts_with(&format!("{object} {plain} two   1.2.3.4:111 ")), "{told}");
    let told = seen(b"\x05\0\x01x");
    assert!(told.trim_start().starts_with("1.2.3.4:111 "), "{told}");
}

#[test]
fn a_chain_is_chosen_by_the_http_that_a_connection_begins_with() {
    let chains = [
        chain(r#"{application_protocols: ["http/1.0"]}"#, "ten"),
        chain(r#"{application_protocols: ["http/1.1"]}"#, "eleven"),
        chain(r#"{application_protocols: ["h2c"]}"#, "two"),
    ]
    .concat();
    let proxy = proxy("http_inspector.v3.HttpInspector", "", &chains);
    let to = proxy.listener("main");
    assert!(answer(to, GET.as_bytes()).ends_with("eleven"));
    assert!(answer(to, b"GET / HTTP/1.0\r\nhost: a\r\n\r\n").ends_with("ten"));
    assert_eq!(answer(to, b"\x01\x02\x03\n"), "");
    for (stat, expected) in [
        ("http_inspector.http11_found", 1),
        ("http_inspector.http10_found", 1),
        ("http_inspector.http_not_found", 1),
        ("listener.main.no_filter_chain_match", 1),
        ("listener.main.downstream_cx_total", 2),
    ] {
        assert_eq!(proxy.stat(stat), Some(expected), "{stat}");
    }
}

#[test]
fn connections_that_come_too_often_are_closed_and_those_of_other_ports_are_not_counted() {
    let limit = "local_ratelimit.v3.LocalRateLimit, stat_prefix: limit, \
                 token_bucket: {max_tokens: 2, fill_interval: 1000s}";
    let proxy = proxy(limit, "", &chain("{}", "plain"));
    let to = proxy.listener("main");
    let answers = [(); 4].map(|()| answer(to, GET.as_bytes()).ends_with("plain"));
    assert_eq!(answers, [true, true, false, false]);
    assert_eq!(proxy.stat("listener_local_ratelimit.limit.rate_limited"), Some(2));
    assert_eq!(proxy.stat("listener.main.downstream_cx_total"), Some(2));
}

#[test]
fn a_filter_is_left_out_for_ports_that_it_is_disabled_for() {
    let port = r#"proxy_protocol.v3.ProxyProtocol}, filter_disabled: {destination_port_range: {start: 1, end: 65536}"#;
    let proxy = proxy(port, "", &chain("{}", "plain"));
    assert!(answer(proxy.listener("main"), GET.as_bytes()).ends_with("plain"));
}

/// Nothing has redirected it: it went where it was meant to.
#[test]
fn without_a_redirect_the_original_destination_is_the_listeners_own() {
    let proxy = proxy("original_dst.v3.OriginalDst", "", &chain("{}", "plain"));
    let to = proxy.listener("main");
    let told = answer(to, GET.as_bytes());
    assert!(told.contains(&format!(" 127.0.0.1 {to}\r\n")), "{told}");
}
