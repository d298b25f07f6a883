//! The TCP proxy's tunnels: a connection is carried in a request.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::Duration,
};

use support::{
    config::{cluster, tcp_proxy},
    proxy::{Proxy, binary, folder},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// A host that answers each head with `answer`, then gives back what comes; it tells the heads.
fn host(answer: &'static str) -> (SocketAddr, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the bound address");
    let (told, heads) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let told = told.clone();
            thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n > 0) {
                    head.push(byte[0]);
                }
                let _ = told.send(String::from_utf8_lossy(&head).into_owned());
                let _ = stream.write_all(answer.as_bytes());
                let mut copy = stream.try_clone().expect("a second handle");
                let _ = std::io::copy(&mut stream, &mut copy);
                let _ = copy.shutdown(Shutdown::Both);
            });
        }
    });
    (address, heads)
}

/// A listener with this configuration of a TCP proxy, which logs to `log`, and these clusters.
fn proxy(filter: &str, log: &Path, clusters: &str) -> Proxy {
    let format = "%BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON% \
                  %UPSTREAM_REQUEST_ATTEMPT_COUNT%\\n";
    let config = tcp_proxy(filter, log, format, clusters);
    Proxy::start_with(&config, &["--concurrency", "1", "--file-flush-interval-msec", "10"])
}

/// What comes back for these bytes and an end.
fn ask(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
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

#[test]
fn a_connection_goes_through_a_connect_with_the_headers_that_were_asked_for() {
    let (address, heads) = host("HTTP/1.1 200 OK\r\n\r\nwelcome ");
    let filter = r#"cluster: one
          tunneling_config:
            hostname: "a.test:%DOWNSTREAM_LOCAL_PORT%"
            headers_to_add: [{header: {key: X-Peer, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}]"#;
    let log = folder().join("log");
    let proxy = proxy(filter, &log, &cluster("one", &[address]));
    let to = proxy.listener("main");
    assert_eq!(ask(to, b"hello"), b"welcome hello");
    let expected = format!(
        "CONNECT a.test:{0} HTTP/1.1\r\nhost: a.test:{0}\r\nx-peer: 127.0.0.1\r\n\r\n",
        to.port()
    );
    assert_eq!(heads.recv().expect("a head"), expected);
    logged(&log, "5 13 - - 1");
    let long = vec![b'x'; 1 << 20];
    let back = ask(to, &long);
    assert!(back.strip_prefix(b"welcome ") == Some(&long), "{} bytes came back", back.len());
    assert_eq!(proxy.stat("cluster.one.upstream_rq_total"), Some(2));
    wait_for("both to be over", || {
        (proxy.stat("cluster.one.upstream_rq_active") == Some(0)).then_some(())
    });
}

/// Nothing of the client goes to a host that has not agreed.
#[test]
fn a_host_that_refuses_is_asked_as_often_as_it_may_be() {
    let (address, heads) = host("HTTP/1.1 403 No\r\ncontent-length: 3\r\n\r\nno!");
    let filter = r#"cluster: one
          max_connect_attempts: 2
          tunneling_config: {hostname: "a.test:1"}"#;
    let log = folder().join("log");
    let proxy = proxy(filter, &log, &cluster("one", &[address]));
    assert_eq!(ask(proxy.listener("main"), b"hello"), b"");
    logged(&log, "0 0 UF,URX tunnel_response:403 2");
    assert_eq!(heads.iter().take(2).filter(|head| head.starts_with("CONNECT ")).count(), 2);
    assert_eq!(proxy.stat("cluster.one.upstream_cx_connect_attempts_exceeded"), Some(1));
}

#[test]
fn a_connection_goes_in_the_body_of_a_post() {
    let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (address, heads) = host(answer);
    let filter = r#"cluster: one
          tunneling_config: {hostname: "a.test", use_post: true, post_path: /in}"#;
    let proxy = proxy(filter, &folder().join("log"), &cluster("one", &[address]));
    assert_eq!(ask(proxy.listener("main"), b"hi"), b"hello");
    let expected = "POST /in HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(heads.recv().expect("a head"), expected);
}

/// Over HTTP/2, to a proxy that ends the tunnel, and carries it to an echo.
#[test]
fn many_connections_go_over_one_of_http2() {
    let log = folder().join("log");
    let echo = host("").0;
    let end = Proxy::start(&format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: end
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {TYPES}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: end
          http2_protocol_options: {{allow_connect: true}}
          upgrade_configs: [{{upgrade_type: CONNECT}}]
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{connect_matcher: {{}}}}, route: {{cluster: echo, upgrade_configs: [{{upgrade_type: CONNECT, connect_config: {{}}}}]}}}}]}}]}}
          http_filters: [{{name: router, typed_config: {{"@type": {TYPES}.http.router.v3.Router}}}}]
  clusters:
{}"#,
        cluster("echo", &[echo])
    ));
    let http2 = r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"#;
    let clusters = format!("{}{http2}", cluster("one", &[end.listener("end")]));
    let filter = r#"cluster: one
          tunneling_config: {hostname: "a.test:1"}"#;
    let proxy = proxy(filter, &log, &clusters);
    let to = proxy.listener("main");
    for _ in 0..3 {
        // The echo begins once a head is over.
        assert_eq!(ask(to, b"\r\n\r\nhello"), b"hello");
    }
    assert_eq!(proxy.stat("cluster.one.upstream_cx_total"), Some(1));
    assert_eq!(proxy.stat("cluster.one.upstream_rq_total"), Some(3));
    logged(&log, "9 5 - - 1");
}

/// A cluster whose hosts may send trailers over HTTP/1.
const TRAILERS: &str = r#"    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http_protocol_options: {enable_trailers: true}}
"#;

/// A listener whose tunnels go as `tunnelling` says, and log in this format.
fn telling(tunnelling: &str, log: &Path, format: &str, host: SocketAddr) -> Proxy {
    let filter = format!("cluster: one\n          tunneling_config: {{{tunnelling}}}");
    let clusters = format!("{}{TRAILERS}", cluster("one", &[host]));
    let config = tcp_proxy(&filter, log, format, &clusters);
    Proxy::start_with(&config, &["--concurrency", "1", "--file-flush-interval-msec", "10"])
}

/// The first line of a log.
fn first_line(log: &Path) -> String {
    wait_for("a line", || {
        let text = fs::read_to_string(log).ok()?;
        text.lines().next().map(str::to_owned)
    })
}

#[test]
fn what_a_host_answers_with_is_left_for_the_log() {
    const STATE: &str = "%FILTER_STATE(envoy.tcp_proxy.propagate_response_";
    let format = format!("{STATE}headers)% {STATE}headers:PLAIN)% {STATE}trailers)%\\n");
    let propagate = "propagate_response_headers: true, propagate_response_trailers: true";
    let chunked =
        "HTTP/1.1 200 OK\r\nX-One: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\nX-Two: b\r\n\r\n";
    let two_hundred = r#"{"headers":[{"key":":status","value":"200"},{"key":"x-one","value":"a"},{"key":"transfer-encoding","value":"chunked"}]}"#;
    let trailers = r#"{"headers":[{"key":"x-two","value":"b"}]}"#;
    let refusal = "HTTP/1.1 403 No\r\nX-One: a\r\nx-one: b\r\n\r\n";
    let refused = r#"{"headers":[{"key":":status","value":"403"},{"key":"x-one","value":"a"},{"key":"x-one","value":"b"}]}"#;
    for (answer, asked, expected) in [
        (refusal, propagate.to_owned(), format!("{refused} - -")),
        (chunked, format!("use_post: true, {propagate}"), format!("{two_hundred} - {trailers}")),
        (chunked, "use_post: true".to_owned(), "- - -".to_owned()),
    ] {
        let (address, _heads) = host(answer);
        let log = folder().join("log");
        let asked = format!(r#"hostname: "a.test:1", {asked}"#);
        let proxy = telling(&asked, &log, &format, address);
        ask(proxy.listener("main"), b"hello");
        assert_eq!(first_line(&log), expected);
    }
}

#[test]
fn a_request_has_the_id_that_the_log_and_its_headers_tell() {
    const NOTED: &str = "%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy";
    let uuid = r#"request_id_extension: {typed_config: {"@type": type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig}}"#;
    let seen = format!(
        r#"headers_to_add: [{{header: {{key: x-seen, value: "{NOTED}:tunnel_request_id)%"}}}}]"#
    );
    for (asked, header, key) in [
        (format!("{uuid}, {seen}"), "x-request-id", "tunnel_request_id"),
        (format!("{uuid}, request_id_header: X-Id, request_id_metadata_key: id"), "x-id", "id"),
    ] {
        let (address, heads) = host("HTTP/1.1 200 OK\r\n\r\n");
        let log = folder().join("log");
        let asked = format!(r#"hostname: "a.test:1", {asked}"#);
        let proxy = telling(&asked, &log, &format!("{NOTED}:{key})% %STREAM_ID%\\n"), address);
        ask(proxy.listener("main"), b"hello");
        let line = first_line(&log);
        let (id, stream) = line.split_once(' ').expect("two words");
        assert!(id.len() == 36 && stream.len() == 36 && id != stream, "{line}");
        let head = heads.recv().expect("a head");
        let mut expected =
            format!("CONNECT a.test:1 HTTP/1.1\r\nhost: a.test:1\r\n{header}: {id}\r\n");
        if asked.contains("x-seen") {
            expected += &format!("x-seen: {id}\r\n");
        }
        assert_eq!(head, expected + "\r\n");
    }
    // Without a type nothing makes one. Observed: Envoy 1.40.
    let (address, heads) = host("HTTP/1.1 200 OK\r\n\r\n");
    let log = folder().join("log");
    let asked = r#"hostname: "a.test:1", request_id_extension: {}"#;
    let proxy = telling(asked, &log, &format!("{NOTED})%\\n"), address);
    ask(proxy.listener("main"), b"hello");
    assert_eq!(
        heads.recv().expect("a head"),
        "CONNECT a.test:1 HTTP/1.1\r\nhost: a.test:1\r\n\r\n"
    );
    assert_eq!(first_line(&log), "-");
}

#[test]
fn an_id_goes_in_no_header_that_makes_the_request_what_it_is() {
    for name in [":path", "a b", "host", "content-length"] {
        let asked = format!(
            "cluster: one\n          tunneling_config: {{hostname: a, request_id_header: {name:?}}}"
        );
        let config = tcp_proxy(&asked, Path::new("/dev/null"), "x", &cluster("one", &[]));
        let validate = ["--mode", "validate", "--config-yaml", &config];
        let output = binary().args(validate).output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains(&format!("`{name}` is no header for an id")), "{told}");
    }
}
