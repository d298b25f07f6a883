//! What runtime keys do: each with the first request after `/runtime_modify` was answered.

mod support;

use std::net::SocketAddr;

use support::{
    client::{self, Client},
    config,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

fn set(proxy: &Proxy, pairs: &str) {
    assert_eq!(client::post(proxy.admin, &format!("/runtime_modify?{pairs}")).text(), "OK\n");
}

fn stat(proxy: &Proxy, name: &str) -> u64 {
    proxy.stat(name).unwrap_or_else(|| panic!("no stat {name}"))
}

/// How many of so many requests were answered with this status.
fn answered(listener: SocketAddr, status: u16, requests: usize) -> usize {
    let mut client = Client::connect(listener);
    let mut ask = || client.request("GET / HTTP/1.1\r\nhost: test\r\n\r\n").status;
    (0..requests).filter(|_| ask() == status).count()
}

#[test]
fn a_circuit_breaker_is_what_the_runtime_says_for_requests_and_in_clusters() {
    let origin = Origin::saying("here");
    let proxy = Proxy::start(&config::front(&[("a", &[origin.address])]));
    let listener = proxy.listener("main");
    let shown = |line: &str| client::get(proxy.admin, "/clusters").text().contains(line);
    assert!(shown("a::default_priority::max_requests::1024\n"));
    assert_eq!(answered(listener, 200, 3), 3);

    set(&proxy, "circuit_breakers.a.default.max_requests=0&circuit_breakers.a.high.max_retries=7");
    let turned_away = client::get(listener, "/");
    assert_eq!(turned_away.status, 503);
    assert_eq!(turned_away.header("x-envoy-overloaded"), Some("true"));
    assert!(turned_away.text().ends_with("reset reason: overflow"), "{}", turned_away.text());
    assert_eq!(stat(&proxy, "cluster.a.upstream_rq_active_overflow"), 1);
    assert_eq!(stat(&proxy, "cluster.a.upstream_rq_total"), 3);
    assert!(shown("a::default_priority::max_requests::0\n"));
    assert!(shown("a::high_priority::max_retries::7\n"));
    let json = client::get(proxy.admin, "/clusters?format=json").text();
    let json = json.split_whitespace().collect::<String>();
    assert!(json.contains(r#""max_requests":0,"max_retries":3"#), "{json}");

    set(&proxy, "circuit_breakers.a.default.max_requests=");
    assert_eq!(answered(listener, 200, 3), 3);
    assert!(shown("a::default_priority::max_requests::1024\n"));

    // A request that would have to wait for a connection finds the queue full.
    let busy = Origin::answering(|stream, _| {
        let _ = std::io::Read::read(stream, &mut [0]);
    });
    let proxy = Proxy::start(&config::front(&[("a", &[busy.address])]));
    set(&proxy, "circuit_breakers.a.default.max_pending_requests=0");
    assert_eq!(client::get(proxy.listener("main"), "/").status, 503);
    assert_eq!(stat(&proxy, "cluster.a.upstream_rq_pending_overflow"), 1);
    assert_eq!(busy.accepted(), 0);
}

#[test]
fn maintenance_mode_turns_its_share_of_the_requests_away() {
    let origin = Origin::saying("here");
    let proxy = Proxy::start(&config::front(&[("a", &[origin.address])]));
    let listener = proxy.listener("main");
    set(&proxy, "upstream.maintenance_mode.a=100");
    let turned_away = client::get(listener, "/");
    assert_eq!((turned_away.status, turned_away.text().as_str()), (503, "maintenance mode"));
    assert_eq!(turned_away.headers[0], ("x-envoy-overloaded".to_owned(), "true".to_owned()));
    assert_eq!(answered(listener, 503, 9), 9);
    assert_eq!(origin.accepted(), 0);
    for name in ["upstream_rq_maintenance_mode", "upstream_rq_503", "external.upstream_rq_5xx"] {
        assert_eq!(stat(&proxy, &format!("cluster.a.{name}")), 10, "{name}");
    }
    set(&proxy, "upstream.maintenance_mode.a=50");
    // As unlikely as a coin that falls on the same side 100 times.
    let some = answered(listener, 503, 100);
    assert!(some > 0 && some < 100, "{some}");
    set(&proxy, "upstream.maintenance_mode.a=0");
    assert_eq!(answered(listener, 200, 10), 10);
}

#[test]
fn connections_are_limited_for_one_listener_and_for_all() {
    let origin = Origin::saying("here");
    let proxy = Proxy::start(&config::front(&[("a", &[origin.address])]));
    let listener = proxy.listener("main");
    let mut first = Client::connect(listener);
    assert_eq!(first.request("GET / HTTP/1.1\r\nhost: test\r\n\r\n").status, 200);
    for (key, overflow) in [
        ("envoy.resource_limits.listener.main.connection_limit", "downstream_cx_overflow"),
        ("overload.global_downstream_max_connections", "downstream_global_cx_overflow"),
    ] {
        set(&proxy, &format!("{key}=1"));
        assert!(Client::connect(listener).is_closed(), "{key}");
        assert_eq!(stat(&proxy, &format!("listener.127.0.0.1_0.{overflow}")), 1);
        // Who is in stays in.
        assert_eq!(first.request("GET / HTTP/1.1\r\nhost: test\r\n\r\n").status, 200);
        set(&proxy, &format!("{key}=2"));
        assert_eq!(client::get(listener, "/").status, 200, "{key}");
        wait_for("the second connection to end", || {
            (stat(&proxy, "listener.127.0.0.1_0.downstream_cx_active") == 1).then_some(())
        });
        set(&proxy, &format!("{key}="));
    }
    assert!(!proxy.log().contains("deprecated runtime key"));

    let layers =
        "layers: [{name: s, static_layer: {overload.global_downstream_max_connections: 0}}, ";
    let config = config::front(&[("a", &[origin.address])]).replace("layers: [", layers);
    let proxy = Proxy::start(&config);
    assert!(Client::connect(proxy.listener("main")).is_closed());
    let told = "Usage of the deprecated runtime key overload.global_downstream_max_connections, \
                consider switching to `envoy.resource_monitors.global_downstream_max_connections` \
                instead.This runtime key will be removed in future.";
    wait_for("the warning", || proxy.log().contains(told).then_some(()));
}
