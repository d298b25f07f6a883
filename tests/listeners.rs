//! Listeners: where they listen, how their sockets are made, and what is theirs alone.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use support::{client, namespace::in_its_own_network, proxy::Proxy, wait_for};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// A proxy whose listeners have these lines, and a chain that tells the addresses of a connection.
fn proxy(listeners: &[&str]) -> Proxy {
    let listener = |lines: &&str| {
        format!(
            r#"  - {lines}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {TYPES}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                direct_response: {{status: 200}}
                response_headers_to_add:
                - header: {{key: x-local, value: "%DOWNSTREAM_LOCAL_ADDRESS%"}}
                - header: {{key: x-peer, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
          http_filters: [{{name: router, typed_config: {{"@type": {TYPES}.http.router.v3.Router}}}}]
"#
        )
    };
    let listeners: String = listeners.iter().map(listener).collect();
    Proxy::start(&format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\nstatic_resources:\n  listeners:\n{listeners}"
    ))
}

/// Where a listener of this name is bound, in the order of its addresses.
fn all_addresses(proxy: &Proxy, name: &str) -> Vec<SocketAddr> {
    let listing = client::get(proxy.admin, "/listeners").text();
    let lines = listing.lines().filter_map(|line| line.strip_prefix(&format!("{name}::")));
    lines.map(|address| address.parse().expect("an address")).collect()
}

#[test]
fn a_listener_has_as_many_addresses_as_it_says() {
    let proxy = proxy(&[r#"name: main
    stat_prefix: main
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    additional_addresses:
    - {address: {socket_address: {address: 127.0.0.2, port_value: 0}}}
    - {address: {socket_address: {address: "::1", port_value: 0}}}"#]);
    let all = all_addresses(&proxy, "main");
    assert_eq!(all.len(), 3, "{all:?}");
    for address in &all {
        let answer = client::get(*address, "/");
        assert_eq!(answer.header("x-local"), Some(address.to_string().as_str()));
    }
    assert_eq!(proxy.stat("listener.main.downstream_cx_total"), Some(3));
    let json = client::get(proxy.admin, "/listeners?format=json").text();
    assert_eq!(json.matches("port_value").count(), 3, "{json}");
    let also = json.find("additional_local_addresses").expect("they are told");
    assert!(json.find("127.0.0.2").expect("the second") > also, "{json}");
    // All of them close with it.
    client::post(proxy.admin, "/drain_listeners");
    for address in all {
        wait_for("it to be closed", || TcpStream::connect(address).is_err().then_some(()));
    }
}

#[test]
fn an_ipv6_socket_takes_ipv4_only_where_it_is_told_to() {
    let proxy = proxy(&[
        "name: both\n    address: {socket_address: {address: \"::\", port_value: 0, ipv4_compat: true}}",
        "name: six\n    address: {socket_address: {address: \"::\", port_value: 0}}",
    ]);
    let port = |name| proxy.listener(name).port();
    let answer = client::get(SocketAddr::from(([127, 0, 0, 1], port("both"))), "/");
    assert_eq!(answer.header("x-local"), Some(format!("127.0.0.1:{}", port("both")).as_str()));
    assert_eq!(answer.header("x-peer"), Some("127.0.0.1"));
    let six = |port| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    assert_eq!(client::get(six(port("both")), "/").header("x-peer"), Some("::1"));
    assert_eq!(client::get(six(port("six")), "/").status, 200);
    assert!(TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port("six")))).is_err());
}

/// An address that no interface has can be bound all the same; and options are set at their moment.
#[test]
fn sockets_are_made_as_they_are_asked_for() {
    let proxy = proxy(&[
        "name: free\n    freebind: true\n    address: {socket_address: {address: 192.0.2.77, port_value: 0}}",
        r#"name: options
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    max_connections_to_accept_per_socket_event: 1
    tcp_keepalive: {keepalive_time: 20, keepalive_probes: 3}
    socket_options:
    - {level: 1, name: 8, int_value: 65536, state: STATE_PREBIND}
    - {level: 6, name: 5, int_value: 7, state: STATE_LISTENING}"#,
    ]);
    assert_eq!(proxy.listener("free").ip().to_string(), "192.0.2.77");
    assert_eq!(client::get(proxy.listener("options"), "/").status, 200);
}

/// How many connections came with data in their first packet and were taken so, in this network.
fn opened_fast() -> u64 {
    let told = std::fs::read_to_string("/proc/net/netstat").expect("it can be read");
    let mut lines = told.lines().filter_map(|line| line.strip_prefix("TcpExt: "));
    let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
    let mut both = names.split(' ').zip(values.split(' '));
    let (_, value) = both.find(|(name, _)| *name == "TCPFastOpenPassive").expect("it is counted");
    value.parse().expect("a number")
}

#[test]
fn a_request_may_come_with_the_first_packet_where_that_is_asked_for() {
    use rustix::net::{AddressFamily, SendFlags, SocketType, sendto, socket};
    in_its_own_network("a_request_may_come_with_the_first_packet_where_that_is_asked_for", || {
        // Clients and servers may, and without a cookie.
        std::fs::write("/proc/sys/net/ipv4/tcp_fastopen", "519").expect("it can be allowed");
        let proxy = proxy(&[
            "name: fast\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    tcp_fast_open_queue_length: 8",
            "name: option\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    socket_options: [{level: 6, name: 23, int_value: 8, state: STATE_LISTENING}]",
            "name: usual\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}",
        ]);
        for (name, expected) in [("fast", 1), ("option", 1), ("usual", 0)] {
            let before = opened_fast();
            let client = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
            let fast_open = SendFlags::from_bits_retain(0x2000_0000);
            let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            let sent = sendto(&client, request, fast_open, &proxy.listener(name));
            assert_eq!(sent, Ok(request.len()), "{name}");
            let mut answer = String::new();
            TcpStream::from(client).read_to_string(&mut answer).expect("an answer");
            assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
            assert_eq!(opened_fast() - before, expected, "{name}");
        }
    });
}

#[test]
fn a_listener_may_ignore_the_limit_on_all_connections() {
    let address = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}";
    let runtime = "layered_runtime: {layers: [{name: static, static_layer: {overload: {global_downstream_max_connections: 1}}}]}";
    let plain = format!("name: plain\n    stat_prefix: plain\n    {address}");
    let free = format!("name: free\n    {address}\n    ignore_global_conn_limit: true");
    let listener = |lines: &str| {
        format!(
            "  - {lines}\n    filter_chains: [{{filters: [{{name: e, typed_config: {{\"@type\": {TYPES}.network.echo.v3.Echo}}}}]}}]\n"
        )
    };
    let proxy = Proxy::start(&format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n{runtime}\nstatic_resources:\n  listeners:\n{}{}",
        listener(&plain),
        listener(&free)
    ));
    let is_closed = |name| {
        let mut stream = TcpStream::connect(proxy.listener(name)).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let closed = matches!(stream.read(&mut [0]), Ok(0));
        (closed, stream)
    };
    let first = is_closed("free");
    let second = is_closed("free");
    assert!(!first.0 && !second.0, "it is not bound by the limit");
    assert!(is_closed("plain").0, "two are open, and one may be");
    assert_eq!(proxy.stat("listener.plain.downstream_global_cx_overflow"), Some(1));
}

/// The kernel spreads connections by chance; that the shares are equal each time is none.
#[test]
fn workers_have_as_many_connections_as_each_other_where_that_is_asked_for() {
    let proxy = proxy(&[
        "name: main\n    stat_prefix: main\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}\n    connection_balance_config: {exact_balance: {}}",
    ]);
    let to = proxy.listener("main");
    let share = |worker: usize, of| {
        proxy.stat(&format!("listener.main.worker_{worker}.downstream_cx_{of}"))
    };
    let mut open = Vec::new();
    for _ in 0..20 {
        open.extend((0..2).map(|_| TcpStream::connect(to).expect("a connection")));
        let half = Some(open.len() as u64 / 2);
        wait_for("both workers to have a half", || {
            (share(0, "active") == half && share(1, "active") == half).then_some(())
        });
    }
    // They are served, whoever has accepted them.
    for stream in &mut open {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    drop(open);
    wait_for("all of them to be gone", || {
        (share(0, "active") == Some(0) && share(1, "active") == Some(0)).then_some(())
    });
    assert_eq!((share(0, "total"), share(1, "total")), (Some(20), Some(20)));
}

#[test]
fn a_listener_that_drains_when_it_is_modified_goes_on_while_the_server_drains() {
    let address = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}";
    let proxy = proxy(&[
        &format!("name: usual\n    {address}"),
        &format!("name: modify\n    {address}\n    drain_type: MODIFY_ONLY"),
    ]);
    client::post(proxy.admin, "/healthcheck/fail");
    assert_eq!(client::get(proxy.listener("usual"), "/").header("connection"), Some("close"));
    assert_eq!(client::get(proxy.listener("modify"), "/").header("connection"), None);
}

#[test]
fn no_two_listeners_share_an_address_of_theirs() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("the bound address").port();
    let folder = support::proxy::folder();
    let file = folder.join("config.yaml");
    let chains = format!(
        "filter_chains: [{{filters: [{{name: e, typed_config: {{\"@type\": {TYPES}.network.echo.v3.Echo}}}}]}}]"
    );
    let address = format!("{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}");
    let config = format!(
        "static_resources:\n  listeners:\n  - name: one\n    address: {address}\n    {chains}\n  - name: two\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    additional_addresses: [{{address: {address}}}]\n    {chains}\n"
    );
    std::fs::write(&file, config).expect("the configuration can be written");
    let mut validate = support::proxy::binary();
    let output = validate.args(["--mode", "validate", "-c"]).arg(&file).output();
    let output = output.expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{told}");
    assert!(told.contains("listener \"one\" has the address"), "{told}");
}

/// Observed: Envoy 1.40.
#[test]
fn a_listener_and_its_chain_are_told_of_by_their_metadata() {
    let seen = "%METADATA(LISTENER:a:b)%|%METADATA(LISTENER_FILTER_CHAIN:a:b)%|%METADATA(LISTENER:a)%|%METADATA(LISTENER:z)%";
    let answers = format!(
        "{{\"@type\": {TYPES}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: in, route_config: {{virtual_hosts: [{{name: all, domains: [\"*\"], response_headers_to_add: [{{header: {{key: x-seen, value: \"{seen}\"}}}}], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]}}, http_filters: [{{name: router, typed_config: {{\"@type\": {TYPES}.http.router.v3.Router}}}}]}}"
    );
    let proxy = Proxy::start(&format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\nstatic_resources:\n  listeners:\n  - name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    bypass_overload_manager: true\n    metadata: {{filter_metadata: {{a: {{b: here, n: 3}}}}}}\n    filter_chains:\n    - metadata: {{filter_metadata: {{a: {{b: chain}}}}}}\n      filters: [{{name: http, typed_config: {answers}}}]\n"
    ));
    let answer = client::get(proxy.listener("main"), "/");
    assert_eq!(answer.header("x-seen"), Some("here|chain|{\"b\":\"here\",\"n\":3}|"));
}

/// Who speaks no multipath TCP is served all the same; a kernel without it is told of.
#[test]
fn a_listener_may_speak_multipath_tcp() {
    let of = |more: &str| {
        format!(
            "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\nstatic_resources:\n  listeners:\n  - name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    {more}\n    filter_chains: [{{filters: [{{name: e, typed_config: {{\"@type\": {TYPES}.network.echo.v3.Echo}}}}]}}]\n"
        )
    };
    let multipath = socket2::Protocol::from(262);
    if socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, Some(multipath)).is_err()
    {
        let folder = support::proxy::folder();
        let file = folder.join("config.yaml");
        std::fs::write(&file, of("enable_mptcp: true")).expect("a configuration");
        let run = support::proxy::binary().arg("-c").arg(&file).output().expect("the binary runs");
        let told = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && told.contains("take `enable_mptcp` away"), "{told}");
        return;
    }
    let proxy = Proxy::start(&of("enable_mptcp: true"));
    let mut stream = TcpStream::connect(proxy.listener("main")).expect("a connection");
    stream.write_all(b"hello").expect("it takes it");
    let mut back = [0; 5];
    stream.read_exact(&mut back).expect("it comes back");
    assert_eq!(&back, b"hello");
}
