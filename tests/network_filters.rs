//! Network filters: who is let in, and what those do that serve a connection without HTTP and without a host.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use support::{
    config::cluster,
    proxy::{Proxy, folder},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters.network";

/// A proxy whose only chain has these filters; its listener logs to `log`.
fn proxy(filters: &[&str], log: &Path, more: &str, clusters: &str) -> Proxy {
    let filter = |filter: &&str| {
        format!("      - {{name: f, typed_config: {{\"@type\": {TYPES}.{filter}}}}}\n")
    };
    let filters: String = filters.iter().map(filter).collect();
    let config = format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    stat_prefix: main
    access_log:
    - name: file
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
        path: {}
        log_format: {{text_format_source: {{inline_string: "%BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %RESPONSE_CODE_DETAILS%\n"}}}}
    {more}
    filter_chains:
    - filters:
{filters}
{clusters}"#,
        log.display()
    );
    Proxy::start_with(&config, &["--concurrency", "2", "--file-flush-interval-msec", "10"])
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream
}

/// What comes back for these bytes and an end.
fn ask(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(to);
    let mut out = Vec::new();
    if stream.write_all(bytes).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
        let _ = stream.read_to_end(&mut out);
    }
    out
}

fn logged(log: &Path, line: &str) {
    wait_for("the line", || {
        let text = fs::read_to_string(log).ok()?;
        text.lines().any(|known| known == line).then_some(())
    });
}

const ECHO: &str = "echo.v3.Echo";

#[test]
fn an_echo_gives_back_all_of_it_and_the_end() {
    let log = folder().join("log");
    let proxy = proxy(&[ECHO], &log, "", "");
    let long = vec![b'x'; 1 << 20];
    let to = proxy.listener("main");
    let mut reader = connect(to);
    let mut writer = reader.try_clone().expect("a second handle");
    let sent = long.clone();
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent).expect("all of it");
        writer.shutdown(Shutdown::Write).expect("an end");
    });
    let mut back = Vec::new();
    reader.read_to_end(&mut back).expect("all of it");
    writing.join().expect("it was written");
    assert!(back == long, "{} bytes came back", back.len());
    logged(&log, "1048576 1048576 - - -");
}

#[test]
fn a_direct_response_is_said_to_whoever_comes_and_whatever_he_says() {
    let log = folder().join("log");
    let proxy =
        proxy(&["direct_response.v3.Config, response: {inline_string: hello}"], &log, "", "");
    let to = proxy.listener("main");
    assert_eq!(ask(to, b""), b"hello");
    assert_eq!(ask(to, &[b'x'; 4096]), b"hello");
    logged(&log, "0 5 - - direct_response");
}

#[test]
fn one_connection_too_many_waits_and_goes_and_the_next_may_come() {
    let limit =
        "connection_limit.v3.ConnectionLimit, stat_prefix: limit, max_connections: 1, delay: 0.2s";
    let log = folder().join("log");
    let proxy = proxy(&[limit, ECHO], &log, "", "");
    let to = proxy.listener("main");
    let mut first = connect(to);
    first.write_all(b"x").expect("a byte");
    first.read_exact(&mut [0]).expect("it comes back");
    let started = Instant::now();
    let mut second = connect(to);
    second.write_all(b"hi").expect("two bytes");
    assert_eq!(second.read(&mut [0]).expect("an end"), 0);
    assert!(started.elapsed() >= Duration::from_millis(200), "{:?}", started.elapsed());
    logged(&log, "2 0 - - -");
    drop(first);
    wait_for("its place to be free", || {
        (proxy.stat("connection_limit.limit.active_connections") == Some(0)).then_some(())
    });
    assert_eq!(ask(to, b"hi"), b"hi");
    assert_eq!(proxy.stat("connection_limit.limit.limited_connections"), Some(1));
}

#[test]
fn connections_that_come_too_often_are_closed_and_flagged() {
    let limit = "local_ratelimit.v3.LocalRateLimit, stat_prefix: limit, \
                 token_bucket: {max_tokens: 1, fill_interval: 1000s}";
    let log = folder().join("log");
    let proxy = proxy(&[limit, ECHO], &log, "", "");
    let to = proxy.listener("main");
    assert_eq!(ask(to, b"hi"), b"hi");
    assert_eq!(ask(to, b"hi"), b"");
    logged(&log, "0 0 URX - -");
    assert_eq!(proxy.stat("local_rate_limit.limit.rate_limited"), Some(1));
}

/// Nobody is closed before he has said something, and then with all of it read: no reset.
#[test]
fn who_may_not_is_closed_once_he_speaks_and_the_policy_is_named() {
    let rbac = "rbac.v3.RBAC, stat_prefix: who, \
        rules: {action: DENY, policies: {home: {permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: 127.0.0.0, prefix_len: 8}}]}}}, \
        shadow_rules_stat_prefix: dark, \
        shadow_rules: {policies: {all: {permissions: [{destination_port_range: {start: 1, end: 65536}}], principals: [{not_id: {authenticated: {}}}]}}}";
    let log = folder().join("log");
    let proxy = proxy(&[rbac, ECHO], &log, "", "");
    let mut stream = connect(proxy.listener("main"));
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    assert!(stream.read(&mut [0]).is_err(), "it is open while it is silent");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    stream.write_all(b"hi").expect("two bytes");
    assert_eq!(stream.read(&mut [0]).expect("an end, no reset"), 0);
    logged(&log, "2 0 - rbac_access_denied_matched_policy[home] -");
    for (stat, expected) in [
        ("who.rbac.denied", 1),
        ("who.rbac.allowed", 0),
        ("who.rbac.dark.shadow_allowed", 1),
        ("who.rbac.dark.shadow_denied", 0),
    ] {
        assert_eq!(proxy.stat(stat), Some(expected), "{stat}");
    }
}

#[test]
fn what_a_proxy_header_says_decides_who_may() {
    let header = r#"listener_filters:
    - name: proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol
        rules: [{tlv_type: 225, on_tlv_present: {key: who}}]"#;
    let rbac = "rbac.v3.RBAC, stat_prefix: who, rules: {policies: {friends: {permissions: [{any: true}], principals: [\
        {and_ids: {ids: [{remote_ip: {address_prefix: 1.2.3.0, prefix_len: 24}}, {metadata: {filter: envoy.filters.listener.proxy_protocol, path: [{key: who}], value: {string_match: {exact: me}}}}]}}]}}}";
    let proxy = proxy(&[rbac, ECHO], &folder().join("log"), header, "");
    let to = proxy.listener("main");
    let ask = |tlv: &[u8]| {
        let addresses = [1, 2, 3, 4, 5, 6, 7, 8, 0, 111, 0, 222];
        let length = u8::try_from(addresses.len() + tlv.len()).expect("a short header");
        let fixed = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0"[..], &[length]].concat();
        ask(to, &[&fixed, &addresses[..], tlv, b"hi"].concat())
    };
    assert_eq!(ask(b"\xe1\0\x02me"), b"hi");
    assert_eq!(ask(b"\xe1\0\x03you"), b"");
    assert_eq!(ask(b""), b"");
    assert_eq!(proxy.stat("who.rbac.allowed"), Some(1));
    assert_eq!(proxy.stat("who.rbac.denied"), Some(2));
}

/// Without a name the TCP proxy's own cluster is what is left.
#[test]
fn a_client_that_asks_for_no_host_is_carried_to_the_proxys_own_cluster() {
    let host = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let hosts = [host.local_addr().expect("the bound address")];
    let clusters = format!("  clusters:\n{}", cluster("one", &hosts));
    let filters =
        ["sni_cluster.v3.SniCluster", "tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: one"];
    let proxy = proxy(&filters, &folder().join("log"), "", &clusters);
    let mut client = connect(proxy.listener("main"));
    client.write_all(b"hello").expect("a few bytes");
    let mut told = [0; 5];
    host.accept().expect("a connection").0.read_exact(&mut told).expect("all of it");
    assert_eq!(&told, b"hello");
}

#[test]
fn what_says_nothing_of_a_connection_is_refused_and_so_is_a_chain_that_serves_nobody() {
    let refused = |filters: &str| {
        let folder = folder();
        let file = folder.join("config.yaml");
        let config = format!(
            "static_resources:\n  listeners:\n  - name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    filter_chains: [{{filters: [{filters}]}}]\n"
        );
        fs::write(&file, config).expect("the configuration can be written");
        let mode = ["--mode", "validate", "-c"];
        let output =
            support::proxy::binary().args(mode).arg(&file).output().expect("the binary runs");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout)
    };
    let header = format!(
        "{{name: f, typed_config: {{\"@type\": {TYPES}.rbac.v3.RBAC, stat_prefix: a, rules: {{policies: {{p: {{permissions: [{{header: {{name: x, present_match: true}}}}], principals: [{{any: true}}]}}}}}}}}}}, {{name: e, typed_config: {{\"@type\": {TYPES}.{ECHO}}}}}"
    );
    let told = refused(&header);
    assert!(told.contains("Found header(x) rule, not supported by RBAC network filter"), "{told}");
    let alone =
        format!("{{name: f, typed_config: {{\"@type\": {TYPES}.sni_cluster.v3.SniCluster}}}}");
    let told = refused(&alone);
    assert!(told.contains("non-terminal filter must not be the last"), "{told}");
}
