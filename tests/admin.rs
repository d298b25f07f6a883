//! The admin port: what it shows, and what it changes.

mod support;

use support::{
    client::{Client, get, post},
    config::front,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

fn proxy() -> (Origin, Proxy) {
    let origin = Origin::saying("hello");
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    (origin, proxy)
}

#[test]
fn every_endpoint_answers_and_changes_want_a_post() {
    let (_origin, proxy) = proxy();
    for path in [
        "/",
        "/certs",
        "/clusters",
        "/clusters?format=json",
        "/config_dump",
        "/help",
        "/help?ours",
        "/hot_restart_version",
        "/init_dump",
        "/listeners",
        "/listeners?format=json",
        "/memory",
        "/ready",
        "/runtime",
        "/server_info",
        "/stats",
        "/stats?format=json",
        "/stats/prometheus",
        "/actors",
        "/actors?format=json",
        "/contention",
    ] {
        let answer = get(proxy.admin, path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.is_empty(), "{path}");
    }
    for path in [
        "/cpuprofiler",
        "/healthcheck/fail",
        "/healthcheck/ok",
        "/logging",
        "/quitquitquit",
        "/reset_counters",
        "/runtime_modify",
        "/drain_listeners",
        "/reopen_logs",
    ] {
        let answer = get(proxy.admin, path);
        assert_eq!(answer.status, 405, "{path}");
        assert_eq!(answer.text(), "Method GET not allowed, POST required.", "{path}");
    }
    let unknown = get(proxy.admin, "/nosuch");
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.text().starts_with("invalid path. admin commands are:\n  /: Admin home page\n")
    );
}

#[test]
fn failing_health_checks_says_goodbye_to_clients_until_it_is_taken_back() {
    let (_origin, proxy) = proxy();
    let address = proxy.listener("main");
    assert_eq!(post(proxy.admin, "/healthcheck/fail").text(), "OK\n");
    let ready = get(proxy.admin, "/ready");
    assert_eq!((ready.status, ready.text().as_str()), (503, "DRAINING\n"));
    assert_eq!(get(address, "/a").header("connection"), Some("close"));
    assert_eq!(proxy.stat("server.live"), Some(0));
    post(proxy.admin, "/healthcheck/ok");
    assert_eq!(get(proxy.admin, "/ready").text(), "LIVE\n");
    assert_eq!(get(address, "/a").header("connection"), None);
}

#[test]
fn a_runtime_override_and_a_log_level_are_in_force_when_the_answer_comes() {
    let (_origin, proxy) = proxy();
    assert_eq!(post(proxy.admin, "/runtime_modify?some.key=7").text(), "OK\n");
    assert!(get(proxy.admin, "/runtime").text().contains("\"final_value\": \"7\""));
    post(proxy.admin, "/runtime_modify?some.key=");
    assert!(!get(proxy.admin, "/runtime").text().contains("some.key"));
    assert_eq!(post(proxy.admin, "/runtime_modify").status, 400);
    assert!(post(proxy.admin, "/logging?upstream=debug").text().contains("\n  upstream: debug\n"));
    assert_eq!(post(proxy.admin, "/logging?upstream=loud").status, 400);
    assert_eq!(post(proxy.admin, "/logging?nobody=debug").status, 400);
}

#[test]
fn counters_count_and_can_be_reset() {
    let (_origin, proxy) = proxy();
    let address = proxy.listener("main");
    (0..3).for_each(|_| drop(get(address, "/a")));
    assert_eq!(proxy.stat("cluster.a.upstream_rq_200"), Some(3));
    let prometheus = get(proxy.admin, "/stats/prometheus").text();
    let line = "envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"a\"} 3";
    assert!(prometheus.contains(line), "{prometheus}");
    post(proxy.admin, "/reset_counters");
    assert_eq!(proxy.stat("cluster.a.upstream_rq_200"), Some(0));
    assert!(
        get(proxy.admin, "/clusters").text().contains("::rq_total::3\n"),
        "hosts are not reset"
    );
}

#[test]
fn draining_listeners_refuses_new_connections_and_lists_them_still() {
    let (_origin, proxy) = proxy();
    let address = proxy.listener("main");
    let mut open = Client::connect(address);
    assert_eq!(post(proxy.admin, "/drain_listeners").text(), "OK\n");
    wait_for("the listener to close", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
    assert_eq!(
        open.request("GET /a HTTP/1.1\r\nhost: t\r\n\r\n").status,
        200,
        "what is open stays"
    );
    assert!(get(proxy.admin, "/listeners").text().contains("main::"));
}

#[test]
fn the_cpu_profile_is_one_that_pprof_can_read() {
    let (_origin, proxy) = proxy();
    // The default path is a folder that need not be there: refused, with nothing started.
    let path = std::path::Path::new("/var/log/envoy");
    let started = post(proxy.admin, "/cpuprofiler?enable=y");
    match path.is_dir() {
        true => assert_eq!(started.status, 200),
        false => {
            assert_eq!(
                (started.status, started.text().as_str()),
                (500, "failure to start the profiler")
            );
        }
    }
    assert_eq!(post(proxy.admin, "/cpuprofiler").status, 400);
    assert_eq!(post(proxy.admin, "/cpuprofiler?enable=n").text(), "OK\n");
}

#[test]
fn quitquitquit_ends_the_process_well() {
    let (_origin, mut proxy) = proxy();
    assert_eq!(post(proxy.admin, "/quitquitquit").text(), "OK\n");
    assert!(proxy.exit_status().success());
}

#[test]
fn connections_to_the_admin_port_are_counted_by_who_ended_them() {
    let (_origin, proxy) = proxy();
    let stat = |name: &str| proxy.stat(&format!("http.admin.downstream_cx_{name}")).unwrap_or(0);
    let before = stat("destroy_remote");
    drop(Client::connect(proxy.admin));
    let mut asked = Client::connect(proxy.admin);
    assert_eq!(asked.request("GET /ready HTTP/1.1\r\nhost: t\r\n\r\n").status, 200);
    assert!(stat("http1_active") >= 2 && stat("rx_bytes_total") > 0 && stat("tx_bytes_total") > 0);
    drop(asked);
    wait_for("both to be counted", || (stat("destroy_remote") >= before + 2).then_some(()));
    let mut closing = Client::connect(proxy.admin);
    closing.send("GET /ready HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n");
    assert!(closing.answer().status == 200 && closing.is_closed());
    assert!(stat("destroy_local") >= 1);
}
