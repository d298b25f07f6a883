//! Connections that the kernel has redirected, as it does for sidecars: where they were meant to go decides.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use support::{
    client,
    config::{FILTERS, chain, cluster},
    namespace::{in_its_own_network, redirect_to, steer_to},
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

/// Takes connections by both families.
const BOTH: &str = "{socket_address: {address: \"::\", port_value: 0, ipv4_compat: true}}";

/// A proxy whose listener `front` is at this address and has these lines and chains; and these listeners without sockets,
/// each of which answers with its name.
fn proxy(at: &str, front: &str, chains: &str, others: &[(&str, &str)]) -> Proxy {
    let other = |(name, address): &(&str, &str)| {
        let (ip, port) = address.rsplit_once(':').expect("an address with a port");
        let ip = ip.trim_matches(['[', ']']);
        format!(
            "  - name: {name}\n    stat_prefix: {name}\n    bind_to_port: false\n    \
             address: {{socket_address: {{address: \"{ip}\", port_value: {port}}}}}\n    \
             filter_chains:\n{}",
            chain("{}", name)
        )
    };
    let others: String = others.iter().map(other).collect();
    Proxy::start(&format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: front
    stat_prefix: front
    address: {at}
    {front}
    filter_chains:
{chains}{others}"#
    ))
}

/// Who answers at an address, and that it knows which one that is.
fn who_is_at(address: &str) -> String {
    let answer = client::get(address.parse::<SocketAddr>().expect("an address"), "/");
    let seen = answer.header("x-seen").expect("what it sees").to_owned();
    assert!(seen.ends_with(&format!(" {address}")), "{address}: {seen}");
    answer.text()
}

/// Observed: Envoy 1.40, in the same network.
#[test]
fn a_redirected_connection_goes_to_the_listener_of_its_original_destination() {
    in_its_own_network(
        "a_redirected_connection_goes_to_the_listener_of_its_original_destination",
        || {
            let others = [
                ("exact", "10.9.0.1:80"),
                ("all", "0.0.0.0:80"),
                ("exact6", "[fd00:9::1]:80"),
                ("all6", "[::]:80"),
            ];
            let proxy = proxy(BOTH, "use_original_dst: true", &chain("{}", "front"), &others);
            let front = proxy.listener("front").port();
            redirect_to(front);
            for (address, who) in [
                ("10.9.0.1:80", "exact"),
                ("10.9.0.2:80", "all"),
                ("10.9.0.1:81", "front"),
                ("[fd00:9::1]:80", "exact6"),
                ("[fd00:9::2]:80", "all6"),
                ("[fd00:9::1]:81", "front"),
                // Nobody has redirected these, or for nothing.
                (&format!("127.0.0.1:{front}"), "front"),
                (&format!("[::1]:{front}"), "front"),
                (&format!("10.9.0.3:{front}"), "front"),
            ] {
                assert_eq!(who_is_at(address), who, "{address}");
            }
            for (listener, total) in
                [("exact", 1), ("all", 1), ("exact6", 1), ("all6", 1), ("front", 5)]
            {
                let stat = format!("listener.{listener}.downstream_cx_total");
                assert_eq!(proxy.stat(&stat), Some(total), "{stat}");
            }
        },
    );
}

#[test]
fn a_chain_is_chosen_by_the_original_destination_and_the_filter_alone_hands_nothing_over() {
    in_its_own_network(
        "a_chain_is_chosen_by_the_original_destination_and_the_filter_alone_hands_nothing_over",
        || {
            let filter = format!(
                "listener_filters: [{{name: f, typed_config: {{\"@type\": {FILTERS}.listener.original_dst.v3.OriginalDst}}}}]"
            );
            let chains = [
                chain("{destination_port: 81}", "port"),
                chain("{prefix_ranges: [{address_prefix: 10.9.7.0, prefix_len: 24}]}", "net"),
                chain(
                    "{prefix_ranges: [{address_prefix: \"fd00:9:7::\", prefix_len: 48}]}",
                    "net6",
                ),
                chain("{}", "rest"),
            ]
            .concat();
            let proxy = proxy(BOTH, &filter, &chains, &[("exact", "10.9.0.1:80")]);
            redirect_to(proxy.listener("front").port());
            for (address, who) in [
                ("10.9.0.1:80", "rest"),
                ("10.9.0.1:81", "port"),
                ("10.9.7.1:80", "net"),
                ("[fd00:9::1]:81", "port"),
                ("[fd00:9:7::1]:80", "net6"),
            ] {
                assert_eq!(who_is_at(address), who, "{address}");
            }
            assert_eq!(proxy.stat("listener.front.downstream_cx_total"), Some(5));
        },
    );
}

/// That the kernel tracks connections, which it does where it redirects some, changes nothing of the others.
#[test]
fn what_nobody_has_redirected_is_where_a_header_says_whether_connections_are_tracked_or_not() {
    in_its_own_network(
        "what_nobody_has_redirected_is_where_a_header_says_whether_connections_are_tracked_or_not",
        || {
            let front = format!(
                "use_original_dst: true\n    listener_filters: [{{name: f, typed_config: {{\"@type\": {FILTERS}.listener.proxy_protocol.v3.ProxyProtocol}}}}]"
            );
            let others = [("exact", "10.9.0.1:80")];
            let proxy = proxy(BOTH, &front, &chain("{}", "front"), &others);
            let port = proxy.listener("front").port();
            redirect_to(port);
            for to in
                [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([10, 9, 0, 1], 80))]
            {
                let mut stream = TcpStream::connect(to).expect("a connection");
                let request = b"PROXY TCP4 1.2.3.4 10.9.0.1 111 80\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                stream.write_all(request).expect("a request");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("an answer");
                assert!(answer.ends_with("\r\n\r\nexact"), "{to}: {answer}");
            }
        },
    );
}

/// Observed: Envoy 1.40, with the socket bound to all addresses and to one.
#[test]
fn a_connection_that_is_steered_as_it_is_goes_to_the_listener_of_its_address() {
    in_its_own_network(
        "a_connection_that_is_steered_as_it_is_goes_to_the_listener_of_its_address",
        || {
            let one = "{socket_address: {address: 127.0.0.1, port_value: 0}}";
            for at in [BOTH, one] {
                let (front, others) =
                    ("use_original_dst: true\n    transparent: true", [("exact", "10.9.0.1:80")]);
                let proxy = proxy(at, front, &chain("{}", "front"), &others);
                let port = proxy.listener("front").port();
                if !steer_to(SocketAddr::from(([127, 0, 0, 1], port))) {
                    return;
                }
                for (address, who) in
                    [("10.9.0.1:80", "exact"), ("10.9.0.2:80", "front"), ("10.9.0.1:81", "front")]
                {
                    assert_eq!(who_is_at(address), who, "{at}: {address}");
                }
            }
        },
    );
}

/// Where a connection was meant to go is its host, and that of each of its requests.
///
/// Observed: Envoy 1.40, in the same network; but for what nobody has redirected, which it sends to itself.
#[test]
fn a_redirected_connection_is_carried_to_where_it_was_meant_to_go() {
    in_its_own_network("a_redirected_connection_is_carried_to_where_it_was_meant_to_go", || {
        let saying = |address: &str, text: &'static str| {
            Origin::on(address.parse().expect("an address"), move |stream, _| {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{text}");
            })
        };
        let _origins = [
            saying("10.9.0.1:80", "one"),
            saying("10.9.0.2:80", "two"),
            // The network takes connections at that address by IPv6, and lets nobody listen there alone.
            saying("[::]:82", "six"),
        ];
        let http = format!(
            "{{name: h, typed_config: {{\"@type\": {FILTERS}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: h, \
             route_config: {{virtual_hosts: [{{name: a, domains: [\"*\"], routes: [{{match: {{prefix: /}}, route: {{cluster: o}}}}]}}]}}, \
             http_filters: [{{name: r, typed_config: {{\"@type\": {FILTERS}.http.router.v3.Router}}}}]}}}}"
        );
        let tcp = format!(
            "{{name: t, typed_config: {{\"@type\": {FILTERS}.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: o}}}}"
        );
        let by_filter = format!(
            "listener_filters: [{{name: f, typed_config: {{\"@type\": {FILTERS}.listener.original_dst.v3.OriginalDst}}}}]"
        );
        for (filter, front) in
            [(&http, &*by_filter), (&tcp, &*by_filter), (&http, "use_original_dst: true")]
        {
            let proxy = Proxy::start(&format!(
                r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: front
    address: {BOTH}
    {front}
    filter_chains: [{{filters: [{filter}]}}]
  clusters:
  - name: o
    type: ORIGINAL_DST
    lb_policy: CLUSTER_PROVIDED
    connect_timeout: 1s
    upstream_bind_config:
      socket_options: [{{level: 1, name: 36, int_value: 1, state: STATE_PREBIND}}]
"#
            ));
            let port = proxy.listener("front").port();
            redirect_to(port);
            let all = [
                ("10.9.0.1:80", "one"),
                ("10.9.0.2:80", "two"),
                ("[fd00:9::1]:82", "six"),
                ("10.9.0.1:80", "one"),
            ];
            for (address, said) in all {
                let address: SocketAddr = address.parse().expect("an address");
                assert_eq!(client::get(address, "/").text(), said, "{address} {front}");
            }
            assert_eq!(proxy.stat("cluster.o.upstream_rq_total"), Some(4));
            // Nobody has redirected this one.
            let mut direct = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            direct.write_all(request).expect("a request");
            let mut answer = String::new();
            let _ = direct.read_to_string(&mut answer);
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 503"), "{answer}");
            assert_eq!(proxy.stat("cluster.o.upstream_cx_none_healthy"), Some(1));
            for host in ["10.9.0.1:80", "10.9.0.2:80", "[fd00:9::1]:82"] {
                let line = format!("o::{host}::hostname::o{host}\n");
                let listing = || client::get(proxy.admin, "/clusters").text();
                wait_for(&line, || listing().contains(&line).then_some(()));
            }
        }
    });
}

/// Observed: Envoy 1.40, in the same network.
#[test]
fn connections_to_hosts_come_from_where_their_clients_come_from() {
    in_its_own_network("connections_to_hosts_come_from_where_their_clients_come_from", || {
        let host = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = host.local_addr().expect("the bound address");
        thread::spawn(move || {
            for stream in host.incoming().flatten() {
                thread::spawn(move || answer_whom(stream));
            }
        });
        let filters = format!(
            "listener_filters: [{{name: p, typed_config: {{\"@type\": {FILTERS}.listener.proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true}}}}, \
             {{name: s, typed_config: {{\"@type\": {FILTERS}.listener.original_src.v3.OriginalSrc, mark: 7, bind_port: true}}}}]"
        );
        let direct = "direct_response: {status: 200, body: {inline_string: \"front\"}}";
        let chains = chain("{}", "front").replace(direct, "route: {cluster: one}");
        assert!(chains.contains("cluster: one"), "{chains}");
        let clusters = format!("  clusters:\n{}", cluster("one", &[address]));
        let proxy = proxy(BOTH, &filters, &(chains + &clusters), &[]);
        let to = SocketAddr::from(([127, 0, 0, 1], proxy.listener("front").port()));
        let ask = |header: &str| {
            let mut stream = TcpStream::connect(to).expect("a connection");
            let sent = format!("{header}GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            stream.write_all(sent.as_bytes()).expect("it is taken");
            let mut out = String::new();
            stream.read_to_string(&mut out).expect("an answer");
            out.lines().last().unwrap_or_default().to_owned()
        };
        for (header, expected) in [
            ("", "127.0.0.1"),
            ("PROXY TCP4 10.9.1.2 5.6.7.8 1000 80\r\n", "10.9.1.2"),
            ("PROXY TCP4 10.9.1.3 5.6.7.8 1000 80\r\n", "10.9.1.3"),
            ("PROXY TCP4 10.9.1.2 5.6.7.8 1001 80\r\n", "10.9.1.2"),
            ("", "127.0.0.1"),
        ] {
            assert_eq!(ask(header), expected, "{header}");
        }
    });
}

/// Answers each request on a connection with whom that is from.
fn answer_whom(mut stream: TcpStream) {
    let from = stream.peer_addr().expect("a peer").ip().to_string();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{from}", from.len());
    let (mut head, mut byte) = (Vec::new(), [0]);
    while stream.read(&mut byte).is_ok_and(|count| count > 0) {
        head.push(byte[0]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            let _ = stream.write_all(answer.as_bytes());
        }
    }
}
