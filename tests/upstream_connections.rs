//! Connections to hosts: where they come from, what is said first on them, who shares them and how many there may be.

mod support;

use std::{fs, io::Write, net::TcpStream, thread};

use support::{
    client::{Answer, Client, get},
    config::{cluster, routed},
    origin::Origin,
    proxy::{Proxy, binary, folder},
    wait_for,
};

/// Answers with the address that the connection comes from; `/held` only when the test lets it.
fn telling_whence() -> Origin {
    Origin::answering(|stream, _| tell_whence(stream))
}

fn tell_whence(stream: &mut TcpStream) {
    let whence = stream.peer_addr().expect("a peer").to_string();
    let length = whence.len();
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{whence}");
    let _ = stream.write_all(answer.as_bytes());
}

/// One worker, which has all connections; one cluster with more lines.
fn front(origins: &[&Origin], more: &str) -> Proxy {
    let hosts: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let routes = "{match: {prefix: /high}, route: {cluster: a, priority: HIGH}}, \
                  {match: {prefix: /}, route: {cluster: a}}";
    let config = routed(routes, &format!("{}    {more}\n", cluster("a", &hosts)));
    Proxy::start_with(&config, &["--concurrency", "1"])
}

fn body(answer: &Answer) -> &str {
    std::str::from_utf8(&answer.body).expect("text")
}

fn request(client: &mut Client, path: &str) -> String {
    let answer = client.request(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
    assert_eq!(answer.status, 200);
    body(&answer).to_owned()
}

#[test]
fn connections_come_from_where_the_binding_says() {
    let origin = telling_whence();
    let proxy = front(
        &[&origin],
        "upstream_bind_config: {source_address: {address: 127.0.0.7, port_value: 0}, \
         socket_options: [{level: 6, name: 18, int_value: 1500, state: STATE_PREBIND}]}",
    );
    assert!(body(&get(proxy.listener("main"), "/")).starts_with("127.0.0.7:"));
}

#[test]
fn a_source_that_is_not_ours_is_a_failed_connection() {
    let origin = telling_whence();
    let more = "upstream_bind_config: {source_address: {address: 192.0.2.1, port_value: 0}}";
    let proxy = front(&[&origin], more);
    assert_eq!(get(proxy.listener("main"), "/").status, 503);
    assert_eq!(proxy.stat("cluster.a.upstream_cx_connect_fail"), Some(1));
}

#[test]
fn a_host_is_told_of_each_client_by_proxy_protocol() {
    let origin = telling_whence();
    let proxy = front(
        &[&origin],
        "transport_socket: {name: proxy, typed_config: {\"@type\": type.googleapis.com/\
         envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, \
         config: {version: V1}, transport_socket: {name: raw, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}",
    );
    let main = proxy.listener("main");
    let (mut one, mut other) = (Client::connect(main), Client::connect(main));
    let first = request(&mut one, "/");
    assert_ne!(request(&mut other, "/"), first);
    assert_eq!(request(&mut one, "/"), first);
    let heads = origin.heads();
    let line = |client: &Client| {
        let from = client.local();
        format!("PROXY TCP4 {} {} {} {}\r\nGET ", from.ip(), main.ip(), from.port(), main.port())
    };
    assert!(heads[0].starts_with(&line(&one)), "{}", heads[0]);
    assert!(heads[1].starts_with(&line(&other)), "{}", heads[1]);
    assert!(heads[2].starts_with("GET "), "{}", heads[2]);
}

#[test]
fn a_health_check_comes_as_requests_do_and_tells_of_no_client() {
    let origin = telling_whence();
    let proxy = front(
        &[&origin],
        "health_checks: [{timeout: 1s, interval: 60s, no_traffic_interval: 60s, unhealthy_threshold: 1, \
         healthy_threshold: 1, http_health_check: {path: /well}}]\n    \
         upstream_bind_config: {source_address: {address: 127.0.0.7, port_value: 0}}\n    \
         transport_socket: {name: proxy, typed_config: {\"@type\": type.googleapis.com/\
         envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, \
         config: {version: V1}, transport_socket: {name: raw, typed_config: {\"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer}}}}",
    );
    wait_for("the host to be well", || {
        (proxy.stat("cluster.a.membership_healthy") == Some(1)).then_some(())
    });
    let head = &origin.heads()[0];
    // Source: Envoy's upstream PROXY protocol socket, which falls back to the connection's own addresses.
    assert!(head.starts_with("PROXY TCP4 127.0.0.7 127.0.0.1 "), "{head}");
    assert!(head.contains("\r\nGET /well HTTP/1.1\r\n"), "{head}");
}

#[test]
fn requests_share_connections_but_where_something_keeps_them_apart() {
    let origin = telling_whence();
    let proxy = front(&[&origin], "connection_pool_per_downstream_connection: true");
    let (mut one, mut other) =
        (Client::connect(proxy.listener("main")), Client::connect(proxy.listener("main")));
    let first = request(&mut one, "/");
    assert_ne!(request(&mut other, "/"), first);
    assert_eq!(request(&mut one, "/"), first);

    let proxy = front(&[&origin], "max_requests_per_connection: 100");
    let (mut one, mut other) =
        (Client::connect(proxy.listener("main")), Client::connect(proxy.listener("main")));
    let first = request(&mut one, "/");
    assert_eq!(request(&mut other, "/"), first);
    let high = request(&mut one, "/high");
    assert_ne!(high, first);
    assert_eq!(request(&mut other, "/high"), high);
}

#[test]
fn a_cluster_has_no_more_pools_than_it_may() {
    let (one, other) = (telling_whence(), telling_whence());
    let breakers =
        "circuit_breakers: {thresholds: [{max_connection_pools: 1, track_remaining: true}]}";
    let proxy = front(&[&one, &other], breakers);
    let main = proxy.listener("main");
    let mut statuses = [get(main, "/").status, get(main, "/").status, get(main, "/").status];
    statuses.sort_unstable();
    // Observed: Envoy 1.40.
    assert_eq!(statuses, [200, 200, 503]);
    assert_eq!(proxy.stat("cluster.a.upstream_cx_pool_overflow"), Some(1));
    assert_eq!(proxy.stat("cluster.a.upstream_cx_none_healthy"), Some(0));
    wait_for("the breaker to be shown as open", || {
        let open = proxy.stat("cluster.a.circuit_breakers.default.cx_pool_open") == Some(1);
        let left = proxy.stat("cluster.a.circuit_breakers.default.remaining_cx_pools");
        (open && left == Some(0)).then_some(())
    });
}

#[test]
fn a_host_has_no_more_connections_than_it_may() {
    let origin = Origin::answering(|stream, _| {
        thread::sleep(std::time::Duration::from_millis(100));
        tell_whence(stream);
    });
    let proxy =
        front(&[&origin], "circuit_breakers: {per_host_thresholds: [{max_connections: 1}]}");
    let main = proxy.listener("main");
    let ask = || thread::spawn(move || body(&get(main, "/")).to_owned());
    let whence: Vec<_> =
        [ask(), ask(), ask()].into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(whence.iter().all(|from| *from == whence[0] && !from.is_empty()), "{whence:?}");
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn connections_are_opened_ahead_of_the_requests_that_may_need_them() {
    let origin = telling_whence();
    let proxy = front(&[&origin], "preconnect_policy: {per_upstream_preconnect_ratio: 2}");
    get(proxy.listener("main"), "/");
    wait_for("a second connection", || {
        (proxy.stat("cluster.a.upstream_cx_active") == Some(2)).then_some(())
    });
    assert_eq!(proxy.stat("cluster.a.upstream_rq_total"), Some(1));
}

/// Observed: Envoy 1.40: so many connections after the first request, and none more with the two that follow; policies
/// of which nobody knows where they lead next open none.
#[test]
fn connections_are_opened_to_the_hosts_that_the_next_requests_will_go_to() {
    for (policy, ratio, connections) in
        [("ROUND_ROBIN", 1.5, 3), ("ROUND_ROBIN", 2.5, 4), ("LEAST_REQUEST", 3.0, 1)]
    {
        let (proxy, origins) = foreseeing(policy, ratio);
        let main = proxy.listener("main");
        get(main, "/");
        let total = || proxy.stat("cluster.a.upstream_cx_total");
        assert_eq!(total(), Some(connections), "{policy} {ratio}");
        if policy == "ROUND_ROBIN" {
            wait_for("connections that are open", || {
                (origins.iter().map(Origin::accepted).sum::<usize>() as u64 == connections)
                    .then_some(())
            });
            get(main, "/");
            get(main, "/");
            assert_eq!(total(), Some(connections), "{policy} {ratio}");
        }
    }
}

/// The hosts of the next two requests are drawn: they may be one, or that of the first. Three of eight proxies open three.
#[test]
fn hosts_that_are_drawn_are_connected_to_as_they_will_be_drawn() {
    let seen = (0..40).find(|_| {
        let (proxy, _origins) = foreseeing("RANDOM", 2.0);
        get(proxy.listener("main"), "/");
        let total = proxy.stat("cluster.a.upstream_cx_total").expect("the count");
        assert!((1..=3).contains(&total), "{total}");
        total == 3
    });
    assert!(seen.is_some(), "of forty proxies none opened three connections");
}

/// A proxy before four hosts, which looks ahead.
fn foreseeing(policy: &str, ratio: f64) -> (Proxy, [Origin; 4]) {
    let origins = [telling_whence(), telling_whence(), telling_whence(), telling_whence()];
    let more = format!(
        "preconnect_policy: {{predictive_preconnect_ratio: {ratio}}}\n    lb_policy: {policy}"
    );
    (front(&origins.each_ref(), &more), origins)
}

#[test]
fn a_request_takes_the_connection_that_is_on_its_way_for_it() {
    let origin = telling_whence();
    let proxy = front(&[&origin], "preconnect_policy: {predictive_preconnect_ratio: 3}");
    get(proxy.listener("main"), "/");
    assert_eq!(proxy.stat("cluster.a.upstream_cx_total"), Some(1));
}

#[test]
fn a_socket_option_that_we_cannot_set_is_refused_by_its_number() {
    let options = "socket_options: [{level: 17, name: 3, int_value: 1}]";
    let more = format!(
        "    upstream_bind_config: {{source_address: {{address: 127.0.0.1, port_value: 0}}, {options}}}\n"
    );
    let config = routed("", &format!("{}{more}", cluster("a", &[])));
    let file = folder().join("config.yaml");
    fs::write(&file, config).expect("the file can be written");
    let run = binary().args(["--mode", "validate", "-c"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(!run.status.success() && said.contains("socket option 3 of level 17"), "{said}");
}
