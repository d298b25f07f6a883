//! Owns active health checks as a user sees them: flags, stats, panic, and what a check may say.

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
    client, config,
    origin::Origin,
    proxy::{Proxy, binary, folder},
    wait_for,
};

const ROUTES: &str = "{match: {prefix: /}, route: {cluster: a}}";

const CLUSTERS: &str = r#"
  - name: a
    common_lb_config: {healthy_panic_threshold: {value: PANIC}}
    health_checks:
    - {timeout: 2s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, CHECK}
    load_assignment:
      cluster_name: a
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ORIGIN}}}
        - endpoint:
            address: {socket_address: {address: 127.0.0.1, port_value: OTHER}}
            health_check_config: {disable_active_health_check: true}
"#;

fn checked(check: &str, panic: u32, origins: [SocketAddr; 2]) -> String {
    let [origin, other] = origins.map(|address| address.port().to_string());
    let clusters = CLUSTERS.replace("CHECK", check).replace("PANIC", &panic.to_string());
    config::routed(ROUTES, &clusters.replace("ORIGIN", &origin).replace("OTHER", &other))
}

/// Who answers four requests, in order of their names.
fn answers(proxy: &Proxy) -> Vec<String> {
    let ingress = proxy.listener("main");
    let mut answers: Vec<_> = (0..4).map(|_| client::get(ingress, "/").text()).collect();
    answers.sort();
    answers
}

#[test]
fn a_host_that_fails_its_check_is_flagged_left_out_and_used_again_in_panic() {
    let well = Arc::new(AtomicBool::new(true));
    let health = well.clone();
    let origin = Origin::answering(move |stream, request| {
        let ill = request.head.starts_with("GET /hc") && !health.load(SeqCst);
        let status = if ill { "503 No" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 7\r\n\r\nchecked");
        let _ = stream.write_all(answer.as_bytes());
    });
    let other = Origin::saying("other");
    let origins = [origin.address, other.address];
    let both = ["checked", "checked", "other", "other"];
    for (panic, when_ill) in [(0, ["other"; 4]), (60, both)] {
        well.store(true, SeqCst);
        let proxy = Proxy::start(&checked("http_health_check: {path: /hc}", panic, origins));
        let flag = format!("a::{}::health_flags::", origin.address);
        let flagged = |expected: &str| {
            wait_for(expected, || {
                let clusters = client::get(proxy.admin, "/clusters").text();
                clusters.contains(&format!("{flag}{expected}\n")).then_some(())
            });
        };
        flagged("healthy");
        assert_eq!(answers(&proxy), both);
        well.store(false, SeqCst);
        flagged("/failed_active_hc");
        assert_eq!(answers(&proxy), when_ill, "panic threshold {panic}");
        let stat = |name: &str| proxy.stat(&format!("cluster.a.{name}"));
        assert_eq!(stat("membership_healthy"), Some(1));
        assert_eq!(stat("health_check.healthy"), Some(0));
        assert!(stat("health_check.failure") > Some(0));
        assert_eq!(stat("lb_healthy_panic") > Some(0), panic > 0);
        well.store(true, SeqCst);
        flagged("healthy");
    }
}

#[test]
fn a_host_that_asks_to_be_left_out_is_left_out_at_once() {
    let asked = Arc::new(AtomicBool::new(false));
    let asks = asked.clone();
    let origin = Origin::answering(move |stream, request| {
        let check = request.head.starts_with("GET /hc");
        let out = match !check && asks.load(SeqCst) {
            true => "x-envoy-immediate-health-check-fail: true\r\n",
            false => "",
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{out}content-length: 7\r\n\r\nchecked");
        let _ = stream.write_all(answer.as_bytes());
    });
    let other = Origin::saying("other");
    let check = "http_health_check: {path: /hc}";
    let config = checked(check, 0, [origin.address, other.address]);
    // One success is enough at the start, and not enough later.
    let proxy = Proxy::start(&config.replace("healthy_threshold: 1", "healthy_threshold: 9999"));
    assert_eq!(answers(&proxy), ["checked", "checked", "other", "other"]);
    asked.store(true, SeqCst);
    let said = (0..2).map(|_| client::get(proxy.listener("main"), "/"));
    let headers: Vec<_> = said
        .filter_map(|a| a.header("x-envoy-immediate-health-check-fail").map(str::to_owned))
        .collect();
    assert_eq!(headers, ["true"]);
    let flags = format!(
        "{}::health_flags::/failed_active_hc/excluded_via_immediate_hc_fail\n",
        origin.address
    );
    wait_for("the host to be out", || {
        client::get(proxy.admin, "/clusters").text().contains(&flags).then_some(())
    });
    assert_eq!(answers(&proxy), ["other"; 4]);
    let stat = |name: &str| proxy.stat(&format!("cluster.a.{name}"));
    assert_eq!(
        (stat("health_check.passive_failure"), stat("membership_excluded")),
        (Some(1), Some(1))
    );
}

#[test]
fn a_host_must_pass_all_of_its_checks_and_what_they_find_is_written_down() {
    let well = Arc::new(AtomicBool::new(true));
    let health = well.clone();
    let origin = Origin::answering(move |stream, request| {
        let ill = request.head.starts_with("POST /deep") && !health.load(SeqCst);
        let body = if ill { "no" } else { "very well" };
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        let _ = stream.write_all(answer.as_bytes());
    });
    let log = folder().join("events");
    let timing = "timeout: 2s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1";
    let sink = format!(
        "event_logger: [{{name: file, typed_config: {{'@type': type.googleapis.com/envoy.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink, event_log_path: {}}}}}]",
        log.display()
    );
    let deep = "http_health_check: {path: /deep, method: POST, send: {text: '6869'}, receive: [{text: '77656c6c'}]}";
    let checks = format!(
        "name: deep, {sink}, {deep}}}\n    - {{name: port, {timing}, event_log_path: {}, tcp_health_check: {{}}",
        log.display()
    );
    let other = Origin::saying("other");
    let config = checked(&checks, 0, [origin.address, other.address]);
    let args = ["--concurrency", "2", "--file-flush-interval-msec", "10"];
    let proxy = Proxy::start_with(&config, &args);
    let flagged = |expected: &str| {
        let line = format!("a::{}::health_flags::{expected}\n", origin.address);
        wait_for(expected, || {
            client::get(proxy.admin, "/clusters").text().contains(&line).then_some(())
        });
    };
    flagged("healthy");
    well.store(false, SeqCst);
    flagged("/failed_active_hc");
    let stat = |name: &str| proxy.stat(&format!("cluster.a.health_check.{name}"));
    assert_eq!(
        [stat("healthy"), stat("name.deep.healthy"), stat("name.port.healthy")],
        [Some(0), Some(0), Some(1)]
    );
    let metrics = client::get(proxy.admin, "/stats/prometheus").text();
    let metric = "envoy_cluster_health_check_healthy{envoy_health_check_name=\"port\",envoy_cluster_name=\"a\"} 1";
    assert!(metrics.contains(metric), "{metrics}");
    well.store(true, SeqCst);
    flagged("healthy");
    let events = wait_for("four events", || {
        let text = std::fs::read_to_string(&log).ok()?;
        let events: Vec<serde_json::Value> =
            text.lines().map(serde_json::from_str).collect::<Result<_, _>>().ok()?;
        (events.len() == 4).then_some(events)
    });
    let told = events.iter().filter(|event| event["health_checker_type"] == "HTTP").map(|event| {
        assert_eq!(event["cluster_name"], "a");
        let host = &event["host"]["socket_address"]["port_value"];
        assert_eq!(host, origin.address.port());
        let ejected = &event["eject_unhealthy_event"]["failure_type"];
        (event["add_healthy_event"]["first_check"].as_bool(), ejected.as_str())
    });
    let expected = [(Some(true), None), (None, Some("ACTIVE")), (Some(false), None)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn what_a_check_cannot_do_is_refused_by_name_and_what_is_no_sense_as_such() {
    let file = folder().join("config.yaml");
    let origins = [SocketAddr::from(([127, 0, 0, 1], 1)); 2];
    for (check, told) in [
        ("http_health_check: {path: /hc, codec_client_type: HTTP3}", "HTTP3"),
        ("http_health_check: {path: a b}", "a path such as"),
        ("http_health_check: {path: /, send: {text: '00'}}", "payload with method 'GET'"),
        (
            "http_health_check: {path: /, receive: [{text: '0000'}], response_buffer_size: 1}",
            "The expected response length '2' is over",
        ),
        (
            "http_health_check: {path: /}, tls_options: {alpn_protocols: [h2]}",
            "`tls_options` is known",
        ),
        ("http_health_check: {path: /, use_alpn_protocol: true}", "`use_alpn_protocol` is known"),
        (
            "custom_health_check: {name: envoy.health_checkers.redis, typed_config: {'@type': type.googleapis.com/envoy.extensions.health_checkers.redis.v3.Redis}}",
            "`custom_health_check` is known",
        ),
        ("http_health_check: {path: /, expected_statuses: [{start: 200, end: 200}]}", "no range"),
        ("http_health_check: {path: /, expected_statuses: [{start: 9, end: 200}]}", "no range"),
        (
            "http_health_check: {path: /, request_headers_to_add: [{header: {key: a, value: '%REQ(b)%'}}]}",
            "an operator in a health check's header",
        ),
        (
            "http_health_check: {path: /, request_headers_to_add: [{header: {key: host, value: a}}]}",
            "cannot be set on a health check",
        ),
        ("tcp_health_check: {send: {text: '0'}}", "is not hexadecimal"),
        ("tcp_health_check: {receive: [{text: '+1'}]}", "is not hexadecimal"),
        ("grpc_health_check: {}", "a cluster must support HTTP/2 for gRPC healthchecking"),
        (
            "tcp_health_check: {}}\n    - {name: b, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}",
            "health check at index 0 is missing a name",
        ),
        (
            "name: b, tcp_health_check: {}}\n    - {name: b, timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}",
            "duplicate health check name 'b' at index 1",
        ),
        (
            "always_log_health_check_failures: true, always_log_health_check_success: true, http_health_check: {path: /, \
             method: POST, send: {text: '00'}, receive: [{binary: b2s=}], response_buffer_size: 0, service_name_matcher: {prefix: a}}",
            "OK",
        ),
        ("tcp_health_check: {proxy_protocol_config: {version: V2}}", "OK"),
        (
            "no_traffic_healthy_interval: 1s, interval_jitter_percent: 5, alt_port: 7, http_health_check: {path: /, \
             retriable_statuses: [{start: 500, end: 600}], request_headers_to_remove: [user-agent]}",
            "OK",
        ),
    ] {
        std::fs::write(&file, checked(check, 50, origins)).expect("the file can be written");
        let output =
            binary().args(["--mode", "validate", "-c"]).arg(&file).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains(told), "{check}\n{text}");
        assert_eq!(output.status.code(), Some(i32::from(told != "OK")), "{check}\n{text}");
    }
}
