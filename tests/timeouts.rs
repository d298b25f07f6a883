//! Owns the proof that waits end when they should, and how: status, text, flag and counter of each timeout.

mod support;

use std::{
    io::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use support::{
    client::{Answer, Client},
    config::{cluster, routed},
    origin::Origin,
    proxy::Proxy,
};

const MANAGER: &str = "stat_prefix: ingress_http\n";

/// Never answers.
fn silent() -> Origin {
    Origin::answering(|_, _| std::thread::sleep(Duration::from_secs(20)))
}

/// Answers with a head and half of a body.
fn halting() -> Origin {
    Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
        std::thread::sleep(Duration::from_secs(20));
    })
}

fn start(origin: SocketAddr, action: &str, manager: &str, more: &str) -> Proxy {
    let route = format!("{{match: {{prefix: /}}, route: {{cluster: a, {action}}}}}");
    let clusters = cluster("a", &[origin]) + more;
    let config = routed(&route, &clusters);
    let config = config.replace(MANAGER, &format!("{MANAGER}          {manager}\n"));
    Proxy::start_with(&config, &["--concurrency", "1"])
}

fn ask(proxy: &Proxy, headers: &str) -> Answer {
    let mut client = Client::connect(proxy.listener("main"));
    client.request(format!("GET / HTTP/1.1\r\nhost: t\r\n{headers}\r\n"))
}

#[test]
fn each_timeout_has_its_own_answer_and_its_own_counter() {
    let origin = silent();
    let per_try = "timeout: 5s, retry_policy: {per_try_timeout: 0.1s}";
    let per_try_idle = "timeout: 5s, retry_policy: {per_try_idle_timeout: 0.1s}";
    let route_duration = "max_stream_duration: {max_stream_duration: 0.1s}";
    let general = "common_http_protocol_options: {max_stream_duration: 0.1s}";
    let of_cluster = "    common_http_protocol_options: {max_stream_duration: 0.1s}\n";
    let (upstream, stream) = ("upstream request timeout", "stream timeout");
    let (duration, try_duration) =
        ("downstream duration timeout", "upstream max stream duration reached");
    for (action, manager, more, text, stat) in [
        ("timeout: 0.1s", "", "", upstream, "cluster.a.upstream_rq_timeout"),
        (per_try, "", "", upstream, "cluster.a.upstream_rq_per_try_timeout"),
        (per_try_idle, "", "", upstream, "cluster.a.upstream_rq_per_try_idle_timeout"),
        ("idle_timeout: 0.1s", "", "", stream, "http.ingress_http.downstream_rq_idle_timeout"),
        (route_duration, "", "", duration, "http.ingress_http.downstream_rq_max_duration_reached"),
        (
            "timeout: 5s",
            general,
            "",
            duration,
            "http.ingress_http.downstream_rq_max_duration_reached",
        ),
        ("timeout: 5s", "", of_cluster, try_duration, "cluster.a.upstream_rq_max_duration_reached"),
    ] {
        let proxy = start(origin.address, action, manager, more);
        let asked = Instant::now();
        let answer = ask(&proxy, "");
        assert_eq!((answer.status, answer.text().as_str()), (504, text), "{action} {manager}");
        assert!(asked.elapsed() < Duration::from_secs(4), "{action} {manager}");
        assert_eq!(proxy.stat(stat), Some(1), "{action} {manager}");
    }
}

#[test]
fn a_try_that_takes_too_long_is_followed_by_another() {
    let origin = silent();
    let proxy = start(
        origin.address,
        "timeout: 5s, retry_policy: {retry_on: 5xx, num_retries: 2, per_try_timeout: 0.1s}",
        "",
        "",
    );
    assert_eq!(ask(&proxy, "").status, 504);
    assert_eq!(origin.accepted(), 3);
    assert_eq!(proxy.stat("cluster.a.upstream_rq_per_try_timeout"), Some(3));
    assert_eq!(proxy.stat("cluster.a.upstream_rq_timeout"), Some(0));
    for head in origin.heads() {
        assert!(head.contains("x-envoy-expected-rq-timeout-ms: 100\r\n"), "{head}");
    }
}

#[test]
fn the_whole_timeout_ends_the_tries_too() {
    let origin = silent();
    let proxy = start(
        origin.address,
        "timeout: 0.25s, retry_policy: {retry_on: 5xx, num_retries: 9, per_try_timeout: 0.1s, \
         retry_back_off: {base_interval: 0.001s, max_interval: 0.001s}}",
        "",
        "",
    );
    assert_eq!(ask(&proxy, "").status, 504);
    assert!(origin.accepted() <= 3);
    // The third try is under way then: with a longer back-off there might be none, and nothing to count.
    assert_eq!(proxy.stat("cluster.a.upstream_rq_timeout"), Some(1));
}

#[test]
fn what_has_begun_is_cut_by_limits_that_go_on_and_not_by_the_timeout_of_a_try() {
    let origin = halting();
    for (action, more, stat) in [
        ("timeout: 0.3s, retry_policy: {per_try_timeout: 0.1s}", "", "upstream_rq_timeout"),
        (
            "timeout: 5s, retry_policy: {per_try_idle_timeout: 0.1s}",
            "",
            "upstream_rq_per_try_idle_timeout",
        ),
        (
            "timeout: 5s",
            "    common_http_protocol_options: {max_stream_duration: 0.3s}\n",
            "upstream_rq_max_duration_reached",
        ),
    ] {
        let proxy = start(origin.address, action, "", more);
        let mut client = Client::connect(proxy.listener("main"));
        client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
        assert!(client.try_answer(false).is_err(), "{action}");
        assert_eq!(proxy.stat(&format!("cluster.a.{stat}")), Some(1), "{action}");
        assert_eq!(proxy.stat("cluster.a.upstream_rq_per_try_timeout"), Some(0), "{action}");
    }
}

#[test]
fn a_trusted_client_sets_its_own_timeouts() {
    let origin = silent();
    let trusted =
        "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}";
    let from = "x-forwarded-for: 10.0.0.1\r\n";
    for (header, status, text, stat) in [
        ("x-envoy-upstream-rq-timeout-ms: 100", 504, "upstream request timeout", "timeout"),
        (
            "x-envoy-upstream-rq-per-try-timeout-ms: 100",
            504,
            "upstream request timeout",
            "per_try_timeout",
        ),
        (
            "x-envoy-upstream-stream-duration-ms: 100",
            504,
            "upstream max stream duration reached",
            "max_duration_reached",
        ),
        (
            "x-envoy-upstream-rq-timeout-ms: 100\r\nx-envoy-upstream-rq-timeout-alt-response: 1",
            204,
            "",
            "timeout",
        ),
    ] {
        let proxy = start(origin.address, "timeout: 5s", trusted, "");
        let answer = ask(&proxy, &format!("{from}{header}\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (status, text), "{header}");
        assert_eq!(proxy.stat(&format!("cluster.a.upstream_rq_{stat}")), Some(1), "{header}");
        let head = origin.heads().pop().unwrap_or_default();
        assert!(!head.contains("x-envoy-upstream-"), "{head}");
    }
}

#[test]
fn a_grpc_deadline_ends_a_stream_as_far_as_the_route_allows() {
    let origin = silent();
    for (route, deadline, ends_ms) in [
        ("grpc_timeout_header_max: 5s", "100m", 100),
        ("grpc_timeout_header_max: 0.1s", "4S", 100),
        ("grpc_timeout_header_max: 0s, grpc_timeout_header_offset: 0.1s", "200m", 100),
    ] {
        let proxy = start(origin.address, &format!("max_stream_duration: {{{route}}}"), "", "");
        let asked = Instant::now();
        let answer =
            ask(&proxy, &format!("grpc-timeout: {deadline}\r\ncontent-type: application/grpc\r\n"));
        assert_eq!(answer.header("grpc-status"), Some("4"), "{route}");
        let took = asked.elapsed().as_millis();
        assert!((ends_ms..3000).contains(&took), "{route} {took}");
    }
}

#[test]
fn control_headers_that_say_nothing_are_refused_where_they_are_checked() {
    let origin = Origin::saying("hello");
    let router = "filters.http.router.v3.Router";
    let route = "{match: {prefix: /}, route: {cluster: a}}";
    let config = routed(route, &cluster("a", &[origin.address]))
        .replace(&format!("{router}}}"), &format!("{router}, strict_check_headers: [x-envoy-max-retries]}}"))
        .replace(MANAGER, &format!("{MANAGER}          internal_address_config: {{cidr_ranges: [{{address_prefix: 10.0.0.0, prefix_len: 8}}]}}\n"));
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let answer = ask(&proxy, "x-forwarded-for: 10.0.0.1\r\nx-envoy-max-retries: many\r\n");
    let text = "invalid header 'x-envoy-max-retries' with value 'many'";
    assert_eq!((answer.status, answer.text().as_str()), (400, text));
    assert_eq!(ask(&proxy, "x-forwarded-for: 10.0.0.1\r\nx-envoy-max-retries: 2\r\n").status, 200);
}
