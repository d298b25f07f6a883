//! Owns the health check filter as a load balancer sees it: its own answers, those of an upstream, those kept.

mod support;

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use support::{
    client::{self, Answer, Client},
    config,
    origin::Origin,
    proxy::{Proxy, binary, folder},
    wait_for,
};

const CLUSTER: &str = "x-envoy-upstream-healthchecked-cluster";
const FAILED: &str = "x-envoy-immediate-health-check-fail";

/// A front with a health check filter for `/healthz`, told so.
fn with_filter(front: &str, told: &str) -> String {
    let filter = format!(
        "          http_filters:
          - name: hc
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              headers: [{{name: \":path\", string_match: {{exact: /healthz}}}}]
              {told}
"
    );
    format!("node: {{id: test, cluster: edge}}\n{front}")
        .replace("          http_filters:\n", &filter)
}

/// The status, the node's cluster, and whether the server is said to fail.
fn told(answer: &Answer) -> (u16, Option<&str>, bool) {
    (answer.status, answer.header(CLUSTER), answer.header(FAILED) == Some("true"))
}

#[test]
fn the_proxy_answers_for_itself_until_told_to_fail_and_every_answer_says_so() {
    let origin = Origin::saying("fine");
    let front = config::front(&[("a", &[origin.address])]);
    let proxy = Proxy::start(&with_filter(&front, "pass_through_mode: false"));
    let ingress = proxy.listener("main");
    let mut client = Client::connect(ingress);
    let with_body = "POST /healthz HTTP/1.1\r\nhost: test\r\ncontent-length: 3\r\n\r\nabc";
    for request in ["GET /healthz HTTP/1.1\r\nhost: test\r\n\r\n", with_body, with_body] {
        let answer = client.request(request);
        assert_eq!(told(&answer), (200, Some("edge"), false));
        assert_eq!(answer.header("content-length"), Some("0"));
    }
    assert_eq!(told(&client::get(ingress, "/a")), (200, None, false));
    assert!(origin.heads().iter().all(|head| !head.contains("/healthz")));

    client::post(proxy.admin, "/healthcheck/fail");
    let answer = client.request(with_body);
    assert_eq!(told(&answer), (503, Some("edge"), true));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(told(&client::get(ingress, "/a")), (200, None, true));
    let refused = Client::connect(ingress).request("GET / HTTP/1.1\r\nhost: a/b\r\n\r\n");
    assert_eq!(told(&refused), (400, None, true));
    client::post(proxy.admin, "/healthcheck/ok");
    assert_eq!(told(&client::get(ingress, "/healthz")), (200, Some("edge"), false));

    let stat = |name: &str| proxy.stat(&format!("http.ingress_http.{name}"));
    wait_for("all to be counted", || (stat("tracing.health_check") == Some(5)).then_some(()));
    assert_eq!((stat("downstream_rq_2xx"), stat("downstream_rq_5xx")), (Some(2), Some(0)));
    assert_eq!(stat("downstream_rq_total"), Some(8));
}

#[test]
fn an_upstream_answers_health_checks_that_pass_and_is_not_blamed_for_our_failing() {
    let origin = Origin::saying("fine");
    let check = "connect_timeout: 1s\n    health_checks: [{timeout: 2s, interval: 60s, unhealthy_threshold: 1, \
                 healthy_threshold: 1, tcp_health_check: {}}]\n";
    let front = config::front(&[("a", &[origin.address])]).replace("connect_timeout: 1s\n", check);
    let proxy = Proxy::start(&with_filter(&front, "pass_through_mode: true"));
    let ingress = proxy.listener("main");
    let answer = client::get(ingress, "/healthz");
    assert_eq!(told(&answer), (200, Some("edge"), false));
    assert_eq!(answer.text(), "fine");
    assert_eq!(proxy.stat("cluster.a.upstream_rq_total"), Some(1));
    assert_eq!(proxy.stat("cluster.a.upstream_rq_completed").unwrap_or(0), 0);
    client::post(proxy.admin, "/healthcheck/fail");
    assert_eq!(told(&client::get(ingress, "/healthz")), (503, Some("edge"), true));
    assert_eq!(told(&client::get(ingress, "/a")), (200, None, true));
    // What we say of ourselves is not what the host has said.
    assert_eq!(told(&client::get(ingress, "/a")), (200, None, true));
    assert_eq!(proxy.stat("cluster.a.health_check.passive_failure"), Some(0));
}

#[test]
fn an_upstreams_answer_is_kept_and_given_again() {
    let origin = Origin::answering(|stream, _| {
        let head = "HTTP/1.1 404 No\r\nx-envoy-degraded: yes\r\ncontent-length: 4\r\n\r\n";
        let _ = stream.write_all(format!("{head}fine").as_bytes());
    });
    let front = config::front(&[("a", &[origin.address])]);
    let kept = "pass_through_mode: true\n              cache_time: 600s";
    let proxy = Proxy::start(&with_filter(&front, kept));
    let ingress = proxy.listener("main");
    let answers: Vec<_> = (0..3).map(|_| client::get(ingress, "/healthz")).collect();
    let texts: Vec<_> = answers.iter().map(Answer::text).collect();
    let degraded: Vec<_> = answers.iter().map(|a| a.header("x-envoy-degraded")).collect();
    assert!(answers.iter().all(|answer| answer.status == 404));
    assert_eq!(texts, ["fine", "", ""]);
    assert_eq!(degraded, [Some("yes"), Some(""), Some("")]);
    assert_eq!(origin.heads().len(), 1);
}

#[test]
fn the_proxy_is_as_healthy_as_its_clusters() {
    let well = Arc::new(AtomicBool::new(true));
    let health = well.clone();
    let sick = Origin::answering(move |stream, _| {
        let status = if health.load(SeqCst) { "200 OK" } else { "503 No" };
        let _ =
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").as_bytes());
    });
    let sound = Origin::saying("fine");
    let check = "connect_timeout: 1s\n    health_checks: [{timeout: 2s, interval: 0.05s, no_traffic_interval: 0.05s, \
                 unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /}}]\n";
    let hosts: &[SocketAddr] = &[sick.address, sound.address];
    let front = config::front(&[("a", hosts)]).replace("connect_timeout: 1s\n", check);
    let all = "pass_through_mode: false\n              cluster_min_healthy_percentages: {a: {value: 50.9}}";
    for (percents, when_ill) in [("a: {value: 51}", 503), ("a: {value: 50.9}", 200)] {
        well.store(true, SeqCst);
        let proxy = Proxy::start(&with_filter(&front, &all.replace("a: {value: 50.9}", percents)));
        let ingress = proxy.listener("main");
        let healthy = |hosts: u64| {
            wait_for("the hosts to be checked", || {
                (proxy.stat("cluster.a.membership_healthy") == Some(hosts)).then_some(())
            });
        };
        healthy(2);
        assert_eq!(told(&client::get(ingress, "/healthz")), (200, Some("edge"), false));
        well.store(false, SeqCst);
        healthy(1);
        assert_eq!(told(&client::get(ingress, "/healthz")), (when_ill, Some("edge"), false));
    }
    let unknown = all.replace("a: {value: 50.9}", "nobody: {value: 0}");
    let proxy = Proxy::start(&with_filter(&front, &unknown));
    assert_eq!(client::get(proxy.listener("main"), "/healthz").status, 503);
}

#[test]
fn a_cache_without_passing_through_is_refused_in_envoys_words() {
    let file = folder().join("config.yaml");
    let front = config::front(&[("a", &[SocketAddr::from(([127, 0, 0, 1], 1))])]);
    for (time, told) in [("1s", "cache_time_ms must not be set"), ("0s", "OK"), ("0.0005s", "OK")] {
        let filter = format!("pass_through_mode: false\n              cache_time: {time}");
        std::fs::write(&file, with_filter(&front, &filter)).expect("the file can be written");
        let output =
            binary().args(["--mode", "validate", "-c"]).arg(&file).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(told), "{time}\n{text}");
        assert_eq!(output.status.code(), Some(i32::from(told != "OK")), "{time}\n{text}");
    }
    // Under its name of 2018 it is the same filter.
    let v3 = with_filter(&front, "pass_through_mode: true");
    let typed = "typed_config:\n              \"@type\": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck\n              headers: [{name: \":path\", string_match: {exact: /healthz}}]\n";
    let v2 = v3.replace("name: hc\n", "name: envoy.health_check\n").replace(
        typed,
        "config:\n              headers: [{name: \":path\", exact_match: /healthz}]\n",
    );
    assert!(v2.contains("            config:"), "{v2}");
    let proxy = Proxy::start(&v2);
    assert_eq!(client::post(proxy.admin, "/healthcheck/fail").status, 200);
    assert_eq!(client::get(proxy.listener("main"), "/healthz").status, 503);
}
