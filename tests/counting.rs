//! What is counted of requests on their way upstream, case by case as Envoy 1.40 counts them.

mod support;

use std::{net::TcpListener, time::Duration};

use support::{client, config, origin::Origin, proxy::Proxy, wait_for};

/// Stats of cluster `a` below this name, but for histograms: `None` where it is not listed.
fn stats(proxy: &Proxy, names: &[&'static str]) -> Vec<(&'static str, Option<u64>)> {
    names.iter().map(|name| (*name, proxy.stat(&format!("cluster.a.{name}")))).collect()
}

#[test]
fn a_host_that_refuses_connections_has_had_no_request() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address");
    let quick = "stats_flush_interval: 0.1s\nadmin:\n";
    let proxy = Proxy::start(&config::front(&[("a", &[port])]).replacen("admin:\n", quick, 1));
    assert_eq!(stats(&proxy, &["http1.response_flood"]), [("http1.response_flood", None)]);
    assert_eq!(client::get(proxy.listener("main"), "/").status, 503);
    let expected = [
        ("upstream_rq_total", Some(0)),
        ("upstream_rq_pending_total", Some(1)),
        ("upstream_rq_pending_failure_eject", Some(1)),
        ("upstream_cx_total", Some(1)),
        ("upstream_cx_http1_total", Some(1)),
        ("upstream_cx_connect_fail", Some(1)),
        ("upstream_rq_503", Some(1)),
        ("http1.response_flood", Some(0)),
    ];
    assert_eq!(stats(&proxy, &expected.map(|(name, _)| name)), expected);
    let hosts = client::get(proxy.admin, "/clusters").text();
    for line in ["rq_total::0", "rq_error::1", "cx_connect_fail::1"] {
        assert!(hosts.contains(&format!("a::{port}::{line}\n")), "{line} in {hosts}");
    }
    let histograms = wait_for("the flush", || {
        let stats = client::get(proxy.admin, "/stats?filter=cluster.a.upstream_").text();
        (!stats.contains("upstream_cx_length_ms: No recorded values")).then_some(stats)
    });
    assert!(histograms.contains("upstream_rq_per_cx: No recorded values"), "{histograms}");
}

#[test]
fn a_cluster_without_hosts_is_in_panic_and_has_no_members_to_speak_of() {
    let config = config::routed(
        "{match: {prefix: /}, route: {cluster: a}}",
        "  - {name: a, connect_timeout: 1s, load_assignment: {cluster_name: a}}",
    );
    let proxy = Proxy::start(&config);
    for _ in 0..2 {
        assert_eq!(client::get(proxy.listener("main"), "/").text(), "no healthy upstream");
    }
    let used = client::get(proxy.admin, "/stats?usedonly&filter=^cluster.a").text();
    for line in ["lb_healthy_panic: 2", "upstream_cx_none_healthy: 2", "upstream_rq_503: 2"] {
        assert!(used.contains(line), "{line} in {used}");
    }
    assert!(!used.contains("membership"), "{used}");
}

#[test]
fn a_timeout_over_http1_resets_no_stream() {
    let slow = Origin::answering(|_, _| std::thread::sleep(Duration::from_secs(1)));
    let cluster = format!(
        "  - {{name: a, connect_timeout: 1s, load_assignment: {{cluster_name: a, endpoints: [{{lb_endpoints: \
         [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}",
        slow.address.port()
    );
    let route = "{match: {prefix: /}, route: {cluster: a, timeout: 0.1s}}";
    let proxy = Proxy::start(&config::routed(route, &cluster));
    assert_eq!(client::get(proxy.listener("main"), "/").status, 504);
    let expected = [
        ("upstream_rq_timeout", Some(1)),
        ("upstream_rq_tx_reset", Some(0)),
        ("upstream_rq_total", Some(1)),
    ];
    assert_eq!(stats(&proxy, &expected.map(|(name, _)| name)), expected);
}

#[test]
fn answers_are_counted_by_zone_and_canaries_apart() {
    let origin = Origin::answering(|stream, request| {
        let canary = request.head.contains("/canary");
        let header = if canary { "x-envoy-upstream-canary: true\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\n{header}content-length: 0\r\n\r\n");
        let _ = std::io::Write::write_all(stream, answer.as_bytes());
    });
    let cluster = |name: &str, endpoint: &str| {
        format!(
            "  - {{name: {name}, connect_timeout: 1s, load_assignment: {{cluster_name: {name}, endpoints: \
             [{{locality: {{zone: there}}, lb_endpoints: [{{{endpoint}endpoint: {{address: {{socket_address: \
             {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]}}}}\n",
            origin.address.port()
        )
    };
    let canary = "metadata: {filter_metadata: {envoy.lb: {canary: true}}}, ";
    let clusters = cluster("a", "") + &cluster("b", canary);
    let routes =
        "{match: {prefix: /b}, route: {cluster: b}}, {match: {prefix: /}, route: {cluster: a}}";
    let config = config::routed(routes, &clusters);
    let node = "node: {locality: {zone: here}}\nadmin:\n";
    let proxy = Proxy::start(&config.replacen("admin:\n", node, 1));
    let listener = proxy.listener("main");
    let zone = "zone.here.there.upstream_rq_200";
    let nothing_yet = [(zone, None), ("canary.upstream_rq_200", None)];
    assert_eq!(stats(&proxy, &nothing_yet.map(|(name, _)| name)), nothing_yet);
    for path in ["/", "/canary", "/b"] {
        assert_eq!(client::get(listener, path).status, 200);
    }
    let expected = [
        (zone, Some(2)),
        ("zone.here.there.upstream_rq_completed", Some(2)),
        ("canary.upstream_rq_2xx", Some(1)),
        ("canary.upstream_rq_completed", Some(1)),
    ];
    assert_eq!(stats(&proxy, &expected.map(|(name, _)| name)), expected);
    assert_eq!(proxy.stat("cluster.b.canary.upstream_rq_200"), Some(1));
    let shown = client::get(proxy.admin, "/clusters").text();
    let of = |name: &str| format!("{name}::{}::canary", origin.address);
    assert!(
        shown.contains(&format!("{}::false", of("a")))
            && shown.contains(&format!("{}::true", of("b")))
    );
    let metric = "envoy_cluster_zone_here_there_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"a\"} 2";
    assert!(client::get(proxy.admin, "/stats/prometheus").text().contains(metric));

    let config = config.replacen("admin:\n", "node: {locality: {zone: elsewhere}}\nadmin:\n", 1);
    let proxy = Proxy::start_with(&config, &["--service-zone", "flag"]);
    assert_eq!(client::get(proxy.listener("main"), "/").status, 200);
    assert_eq!(proxy.stat("cluster.a.zone.flag.there.upstream_rq_200"), Some(1));
}
