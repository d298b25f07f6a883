//! The TCP proxy: a connection carried to a host as it is.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use support::{
    client::{self, post},
    config::{cluster, tcp_proxy},
    origin::Origin,
    proxy::{Proxy, binary, folder},
    wait_for,
};

/// A host that does `what` with each connection.
fn host(what: impl Fn(TcpStream) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the bound address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let what = what.clone();
            thread::spawn(move || what(stream));
        }
    });
    address
}

/// Sends back what comes, then the word `end`.
fn echo() -> SocketAddr {
    host(|mut stream| {
        let mut copy = stream.try_clone().expect("a second handle");
        let _ = std::io::copy(&mut stream, &mut copy);
        let _ = copy.write_all(b"end");
    })
}

/// One listener with this filter, which logs to `log`, and these clusters.
fn proxy(filter: &str, log: &Path, clusters: &[(&str, &[SocketAddr])]) -> Proxy {
    let clusters: String = clusters.iter().map(|(name, hosts)| cluster(name, hosts)).collect();
    proxy_to(filter, log, &clusters)
}

/// The same with clusters as lines.
fn proxy_to(filter: &str, log: &Path, clusters: &str) -> Proxy {
    let format = "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %UPSTREAM_CLUSTER% \
                  %UPSTREAM_TRANSPORT_FAILURE_REASON% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %PROTOCOL% \
                  %RESPONSE_CODE% %ACCESS_LOG_TYPE%\\n";
    let config = tcp_proxy(filter, log, format, clusters);
    Proxy::start_with(&config, &["--file-flush-interval-msec", "50"])
}

fn log() -> PathBuf {
    folder().join("tcp.log")
}

/// The log's lines, once there are so many.
fn lines(log: &Path, count: usize) -> Vec<String> {
    wait_for("the lines of the log", || {
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.listener("main")).expect("the proxy listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    stream
}

/// All that comes until the end.
fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("an orderly end");
    all
}

#[test]
fn bytes_go_both_ways_and_so_do_their_ends() {
    let log = log();
    let proxy = proxy("cluster: a", &log, &[("a", &[echo()])]);
    let mut client = connect(&proxy);
    client.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    client.read_exact(&mut back).unwrap();
    assert_eq!(&back, b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"end");
    // Observed: Envoy 1.40.
    assert_eq!(lines(&log, 1), ["- 5 8 a - 1 - 0 TcpConnectionEnd"]);
    for (name, value) in [
        ("tcp.tcp.downstream_cx_total", 1),
        ("tcp.tcp.downstream_cx_rx_bytes_total", 5),
        ("tcp.tcp.downstream_cx_tx_bytes_total", 8),
        ("cluster.a.upstream_cx_total", 1),
        ("cluster.a.upstream_rq_total", 1),
        ("cluster.a.upstream_rq_active", 0),
        ("cluster.a.upstream_cx_rx_bytes_total", 8),
        ("cluster.a.upstream_cx_tx_bytes_total", 5),
    ] {
        wait_for(name, || (proxy.stat(name) == Some(value)).then_some(()));
    }
}

#[test]
fn much_goes_both_ways_at_once_and_nothing_is_lost() {
    const BYTES: usize = 32 << 20;
    let proxy = proxy("cluster: a", &log(), &[("a", &[echo()])]);
    let mut client = connect(&proxy);
    let mut writer = client.try_clone().unwrap();
    let sent: Vec<u8> = (0..BYTES).map(|at| (at / 7 % 251) as u8).collect();
    let expected = [&sent[..], b"end"].concat();
    let sending = thread::spawn(move || {
        writer.write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(rest(&mut client) == expected);
    sending.join().unwrap();
}

#[test]
fn a_reader_that_is_slow_slows_the_writer_down() {
    let pours = host(|mut stream| {
        let piece = vec![b'x'; 1 << 20];
        while stream.write_all(&piece).is_ok() {}
    });
    let proxy = proxy("cluster: a", &log(), &[("a", &[pours])]);
    let mut client = connect(&proxy);
    client.read_exact(&mut [0; 1024]).unwrap();
    let before = proxy.resident_kib();
    // The kernel's buffers fill first; then nothing more may come into the proxy.
    let mut last = None;
    wait_for("the flow to stand", || {
        thread::sleep(Duration::from_millis(100));
        let now = proxy.stat("cluster.a.upstream_cx_rx_bytes_total");
        (std::mem::replace(&mut last, now) == now).then_some(())
    });
    assert!(proxy.resident_kib() < before + 2048);
}

#[test]
fn who_cannot_be_reached_is_tried_as_often_as_allowed() {
    let log = log();
    let dead = "127.0.0.1:1".parse().unwrap();
    let proxy =
        proxy("cluster: dead\n          max_connect_attempts: 3", &log, &[("dead", &[dead])]);
    assert_eq!(rest(&mut connect(&proxy)), b"");
    let refused = "delayed_connect_error:_Connection_refused";
    assert_eq!(lines(&log, 1), [format!("UF,URX 0 0 dead {refused} 3 - 0 TcpConnectionEnd")]);
    assert_eq!(proxy.stat("cluster.dead.upstream_cx_connect_attempts_exceeded"), Some(1));
    assert_eq!(proxy.stat("cluster.dead.upstream_cx_connect_fail"), Some(3));
}

#[test]
fn where_there_is_no_cluster_or_no_host_the_connection_ends_and_says_why() {
    let log_a = log();
    let none = proxy("cluster: nobody", &log_a, &[]);
    assert_eq!(rest(&mut connect(&none)), b"");
    assert_eq!(lines(&log_a, 1), ["NC 0 0 - - 0 - 0 TcpConnectionEnd"]);
    assert_eq!(none.stat("tcp.tcp.downstream_cx_no_route"), Some(1));
    let log_b = log();
    let empty = proxy("cluster: empty", &log_b, &[("empty", &[])]);
    assert_eq!(rest(&mut connect(&empty)), b"");
    assert_eq!(lines(&log_b, 1), ["UH 0 0 empty - 0 - 0 TcpConnectionEnd"]);
    assert_eq!(empty.stat("cluster.empty.upstream_cx_none_healthy"), Some(1));
}

#[test]
fn weights_share_connections_out() {
    let proxy = proxy(
        "weighted_clusters: {clusters: [{name: a, weight: 1}, {name: b, weight: 3}]}",
        &log(),
        &[("a", &[echo()]), ("b", &[echo()])],
    );
    for _ in 0..60 {
        let mut client = connect(&proxy);
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut client), b"end");
    }
    let total = |name: &str| proxy.stat(&format!("cluster.{name}.upstream_cx_total")).unwrap_or(0);
    assert_eq!(total("a") + total("b"), 60);
    assert!((3..30).contains(&total("a")), "{}", total("a"));
}

/// Observed: Envoy 1.40, the same hosts for these clients and keys.
/// Which hosts may take a connection, by their metadata: the proxy says it, and a weighted cluster first.
#[test]
fn a_connection_goes_to_a_host_of_the_metadata_that_is_asked_for() {
    let says = |word: &'static str| {
        host(move |mut stream| {
            let _ = stream.write_all(word.as_bytes());
        })
    };
    let endpoint = |host: SocketAddr, stage: &str| {
        format!(
            "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}, metadata: {{filter_metadata: {{envoy.lb: {{stage: {stage}}}}}}}}}",
            host.port()
        )
    };
    let hosts = [endpoint(says("prod"), "prod"), endpoint(says("canary"), "canary")].join(", ");
    let up = format!(
        "  - name: up\n    type: STATIC\n    lb_subset_config: {{fallback_policy: NO_FALLBACK, subset_selectors: [{{keys: [stage]}}]}}\n    load_assignment: {{cluster_name: up, endpoints: [{{lb_endpoints: [{hosts}]}}]}}\n"
    );
    let of = |stage: &str| {
        format!("metadata_match: {{filter_metadata: {{envoy.lb: {{stage: {stage}}}}}}}")
    };
    let canary = of("canary");
    let weighted = format!(
        "weighted_clusters: {{clusters: [{{name: up, weight: 1, {canary}}}]}}\n          {}",
        of("prod")
    );
    for (filter, expected) in [
        (format!("cluster: up\n          {canary}"), "canary"),
        (format!("cluster: up\n          {}", of("prod")), "prod"),
        (format!("cluster: up\n          {}", of("nowhere")), ""),
        (weighted, "canary"),
    ] {
        let proxy = proxy_to(&filter, &log(), &up);
        for _ in 0..4 {
            assert_eq!(rest(&mut connect(&proxy)), expected.as_bytes(), "{filter}");
        }
    }
}

#[test]
fn a_clients_address_leads_to_the_host_that_envoy_chooses() {
    let hosts: Vec<_> = (1..=4)
        .map(|number: u8| {
            host(move |mut stream| {
                let _ = stream.write_all(&[b'0' + number]);
            })
        })
        .collect();
    let endpoints: Vec<_> = hosts
        .iter()
        .enumerate()
        .map(|(at, host)| {
            format!(
                "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}, metadata: \
                 {{filter_metadata: {{envoy.lb: {{hash_key: k{at}}}}}}}}}",
                host.port()
            )
        })
        .collect();
    let clusters = format!(
        "  - {{name: a, lb_policy: RING_HASH, connect_timeout: 1s, load_assignment: {{cluster_name: a, endpoints: \
         [{{lb_endpoints: [{}]}}]}}}}\n",
        endpoints.join(", ")
    );
    let filter = "cluster: a\n          hash_policy: [{source_ip: {}}]";
    let proxy = proxy_to(filter, &log(), &clusters);
    let reached: String = (1..=10)
        .map(|number| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            let own: SocketAddr = format!("127.0.0.{number}:0").parse().expect("an address");
            socket.bind(&own.into()).expect("loopback is ours");
            socket.connect(&proxy.listener("main").into()).expect("the proxy listens");
            String::from_utf8(rest(&mut TcpStream::from(socket))).expect("a digit")
        })
        .collect();
    assert_eq!(reached, "1441412343");
}

#[test]
fn a_connection_on_which_nothing_comes_ends_and_one_that_lasts_too_long_too() {
    let silent = host(|mut stream| drop(stream.read(&mut [0; 1])));
    let log_a = log();
    let idle = proxy("cluster: a\n          idle_timeout: 0.2s", &log_a, &[("a", &[silent])]);
    assert_eq!(rest(&mut connect(&idle)), b"");
    assert_eq!(lines(&log_a, 1), ["- 0 0 a - 1 - 0 TcpConnectionEnd"]);
    assert_eq!(idle.stat("tcp.tcp.idle_timeout"), Some(1));
    let log_b = log();
    let more = "cluster: a\n          max_downstream_connection_duration: 0.2s";
    let old = proxy(more, &log_b, &[("a", &[silent])]);
    assert_eq!(rest(&mut connect(&old)), b"");
    assert_eq!(lines(&log_b, 1), ["DT 0 0 a - 1 - 0 TcpConnectionEnd"]);
    assert_eq!(old.stat("tcp.tcp.max_downstream_connection_duration"), Some(1));
}

#[test]
fn a_reset_is_passed_on_as_a_reset() {
    let resets = host(|mut stream| {
        let _ = stream.read(&mut [0; 16]);
        let socket = socket2::SockRef::from(&stream);
        socket.set_linger(Some(Duration::ZERO)).expect("linger can be set");
    });
    let log = log();
    let proxy = proxy("cluster: a", &log, &[("a", &[resets])]);
    let mut client = connect(&proxy);
    client.write_all(b"abc").unwrap();
    let end = client.read(&mut [0; 16]).map_err(|error| error.kind());
    assert_eq!(end, Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(lines(&log, 1), ["UR 3 0 a - 1 - 0 TcpConnectionEnd"]);
}

#[test]
fn a_line_is_written_when_a_host_is_connected_where_that_is_asked_for() {
    let log = log();
    let options = "cluster: a\n          access_log_options: \
                   {flush_access_log_on_start: true, flush_access_log_on_connected: true}";
    let proxy = proxy(options, &log, &[("a", &[echo()])]);
    let mut client = connect(&proxy);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"end");
    let expected = [
        "- 0 0 - - 0 - 0 TcpConnectionStart",
        "- 0 0 a - 1 - 0 TcpUpstreamConnected",
        "- 0 3 a - 1 - 0 TcpConnectionEnd",
    ];
    assert_eq!(lines(&log, 3), expected);
}

#[test]
fn connections_end_with_their_hosts_health_where_that_is_asked_for() {
    let well = Arc::new(AtomicBool::new(true));
    let health = well.clone();
    let checked = Origin::answering(move |stream, _| {
        let status = if health.load(SeqCst) { "200 OK" } else { "503 No" };
        let _ =
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes());
    });
    let check = "    close_connections_on_host_health_failure: true
    common_lb_config: {healthy_panic_threshold: {value: 0}}
    health_checks: [{timeout: 5s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /}}]
    load_assignment:
";
    let port = checked.address.port();
    let endpoint = format!("}}}}, health_check_config: {{port_value: {port}}}}}\n");
    let clusters = cluster("a", &[echo()]).replace("}}}\n", &endpoint);
    let clusters = clusters.replace("    load_assignment:\n", check);
    let proxy = proxy_to("cluster: a", &log(), &clusters);
    let mut client = connect(&proxy);
    client.write_all(b"hello").unwrap();
    let mut back = [0; 5];
    client.read_exact(&mut back).unwrap();
    well.store(false, SeqCst);
    assert_eq!(rest(&mut client), b"");
    assert_eq!(proxy.stat("cluster.a.membership_healthy"), Some(0));
    assert_eq!(proxy.stat("cluster.a.upstream_cx_destroy_local_with_active_rq"), Some(1));
}

#[test]
fn a_host_that_cannot_be_reached_is_an_outlier() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let outliers = "    common_lb_config: {healthy_panic_threshold: {value: 0}}
    outlier_detection: {consecutive_5xx: 2, base_ejection_time: 300s, max_ejection_percent: 50}
    load_assignment:
";
    let clusters = cluster("a", &[gone, echo()]).replace("    load_assignment:\n", outliers);
    let proxy = proxy_to("cluster: a", &log(), &clusters);
    let ends = || {
        let mut client = connect(&proxy);
        let _ = client.shutdown(Shutdown::Write);
        let mut all = Vec::new();
        // Without a host there may be a reset.
        let _ = client.read_to_end(&mut all);
        all
    };
    let flag = format!("a::{gone}::health_flags::/failed_outlier_check\n");
    wait_for("the host to be out", || {
        ends();
        client::get(proxy.admin, "/clusters").text().contains(&flag).then_some(())
    });
    assert_eq!(
        (0..4).map(|_| ends()).collect::<Vec<_>>(),
        [b"end".to_vec(), b"end".to_vec(), b"end".to_vec(), b"end".to_vec()]
    );
}

#[test]
fn a_host_is_looked_for_when_the_client_says_something() {
    let log = log();
    let filter = "cluster: a\n          upstream_connect_mode: ON_DOWNSTREAM_DATA\n          max_early_data_bytes: 8";
    let proxy = proxy(filter, &log, &[("a", &[echo()])]);
    // Who goes without a word reaches no host.
    let silent = connect(&proxy);
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(lines(&log, 1), ["- 0 0 - - 0 - 0 TcpConnectionEnd"]);
    assert_eq!(proxy.stat("cluster.a.upstream_cx_total"), Some(0));
    let long = vec![b'x'; 100_000];
    let mut client = connect(&proxy);
    let mut sending = client.try_clone().unwrap();
    let sent = long.clone();
    let sender = thread::spawn(move || {
        sending.write_all(&sent).unwrap();
        sending.shutdown(Shutdown::Write).unwrap();
    });
    let back = rest(&mut client);
    sender.join().unwrap();
    assert!(back.strip_suffix(b"end") == Some(&long), "{} bytes came back", back.len());
    assert_eq!(lines(&log, 2)[1], "- 100000 100003 a - 1 - 0 TcpConnectionEnd");
    assert_eq!(proxy.stat("tcp.tcp.early_data_received_count_total"), Some(2));
    assert_eq!(proxy.stat("tcp.tcp.downstream_cx_rx_bytes_total"), Some(100_000));
}

#[test]
fn a_connection_on_which_something_moves_ends_with_the_server_where_that_is_asked_for() {
    for (option, ends) in [("check_drain_close: true", true), ("check_drain_close: false", false)] {
        let filter = format!("cluster: a\n          {option}");
        let proxy = proxy(&filter, &log(), &[("a", &[echo()])]);
        let mut client = connect(&proxy);
        let mut word = [0; 3];
        client.write_all(b"one").unwrap();
        client.read_exact(&mut word).unwrap();
        assert_eq!(post(proxy.admin, "/healthcheck/fail").text(), "OK\n");
        client.write_all(b"two").unwrap();
        if ends {
            let mut left = Vec::new();
            let _ = client.read_to_end(&mut left);
            assert!(left.is_empty() || left == b"two", "{left:?}");
        } else {
            client.read_exact(&mut word).unwrap();
            assert_eq!(&word, b"two");
        }
        assert_eq!(proxy.stat("tcp.tcp.downstream_cx_drain_close"), Some(u64::from(ends)));
    }
}

/// Hosts that hear what `proxy_protocol_tlvs` says, by policy. Observed: Envoy 1.40.
#[test]
fn a_hosts_header_says_what_the_proxy_adds() {
    let (came, ours): (&[u8], &[u8]) =
        (b"\x02\0\x03one\x05\0\x03two", b"\x05\0\x03abc\xf1\0\x071.2.3.4");
    let greeting = r#"    transport_socket:
      name: proxy
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport
        config: {version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}}
        transport_socket: {name: raw, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}
"#;
    let cases: [(&str, bool, Vec<u8>); 4] = [
        ("ADD_IF_ABSENT", false, b"\x05\0\x03abc\xf1\0\x09127.0.0.1".to_vec()),
        ("ADD_IF_ABSENT", true, came.to_vec()),
        ("OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD", true, [ours, b"\x02\0\x03one"].concat()),
        ("APPEND_IF_EXISTS_OR_ADD", true, [came, ours].concat()),
    ];
    for (policy, proxied, expected) in cases {
        let host = TcpListener::bind("127.0.0.1:0").unwrap();
        let clusters = format!("{}{greeting}", cluster("a", &[host.local_addr().unwrap()]));
        let filter = format!(
            "cluster: a\n          proxy_protocol_tlv_merge_policy: {policy}\n          \
             proxy_protocol_tlvs: [{{type: 241, format_string: {{text_format_source: {{inline_string: \
             \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\"}}}}}}, {{type: 5, value: YWJj}}]"
        );
        let listener_filter = "    listener_filters: [{name: filter, typed_config: {\"@type\": \
            type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, \
            allow_requests_without_proxy_protocol: true, pass_through_tlvs: {match_type: INCLUDE_ALL}}}]\n    filter_chains:\n";
        let config = tcp_proxy(&filter, &log(), "x", &clusters).replacen(
            "    filter_chains:\n",
            listener_filter,
            1,
        );
        let proxy = Proxy::start(&config);
        let mut client = connect(&proxy);
        if proxied {
            let length = u8::try_from(12 + came.len()).unwrap();
            let fixed = [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", &[length][..]].concat();
            let addresses = [1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2];
            client.write_all(&[&fixed, &addresses[..], came].concat()).unwrap();
        }
        client.write_all(b"hello").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut told = Vec::new();
        host.accept().unwrap().0.read_to_end(&mut told).unwrap();
        let tlvs = told.get(28..).and_then(|rest| rest.strip_suffix(b"hello"));
        assert_eq!(tlvs, Some(&expected[..]), "{policy}: {}", told.escape_ascii());
    }
}

#[test]
fn what_cannot_be_told_or_waited_for_is_refused_in_envoys_words() {
    for (field, expected) in [
        ("upstream_connect_mode: ON_DOWNSTREAM_DATA", "max_early_data_bytes must be set when"),
        ("proxy_protocol_tlvs: [{type: 1}]", "one of 'value' or 'format_string' must be set."),
        (
            "proxy_protocol_tlvs: [{type: 1, value: YQ==, format_string: {text_format: a}}]",
            "only one of 'value' or 'format_string' may be set.",
        ),
    ] {
        let filter = format!("cluster: a\n          {field}");
        let config = tcp_proxy(&filter, Path::new("/dev/null"), "x", &cluster("a", &[]));
        let output = binary().args(["--mode", "validate", "--config-yaml", &config]).output();
        let told = String::from_utf8_lossy(&output.expect("it runs").stderr).into_owned();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_line_tells_the_metadata_of_cluster_and_host() {
    let log = log();
    let mut clusters = cluster("a", &[echo()]);
    clusters += "    metadata: {filter_metadata: {ns: {k: [1, two]}}}\n";
    let of_host = "- metadata: {filter_metadata: {envoy.lb: {v: canary}}}\n          endpoint:";
    let clusters = clusters.replace("- endpoint:", of_host);
    let format = "%METADATA(CLUSTER)% %METADATA(CLUSTER:ns)% %METADATA(CLUSTER:ns:no)% \
                  %METADATA(UPSTREAM_HOST:envoy.lb)% %UPSTREAM_METADATA(envoy.lb:v):3% %CLUSTER_METADATA(ns:k)%\\n";
    let proxy = Proxy::start_with(
        &tcp_proxy("cluster: a", &log, format, &clusters),
        &["--file-flush-interval-msec", "50"],
    );
    let mut client = connect(&proxy);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"end");
    assert_eq!(lines(&log, 1), [r#"- {"k":[1,"two"]} - {"v":"canary"} can [1,"two"]"#]);
}
