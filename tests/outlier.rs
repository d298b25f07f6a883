//! Owns outlier detection as a user sees it: who is left out, what is shown and written down of it, and that
//! falls of actors change nothing.

mod support;

use std::{
    fs,
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use serde_json::Value;
use support::{client, config, load::Load, origin::Origin, proxy::Proxy, wait_for};

/// An origin that says `text`, and 503 instead of it while `fails`; checks of its health pass while `well`.
fn origin(text: &'static str, fails: &Arc<AtomicBool>, well: bool) -> Origin {
    let fails = fails.clone();
    Origin::answering(move |stream, request| {
        let status = match request.head.starts_with("GET /hc") {
            true if !well => "503 No",
            false if fails.load(SeqCst) => "503 No",
            _ => "200 OK",
        };
        let length = text.len();
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{text}");
        let _ = stream.write_all(answer.as_bytes());
    })
}

/// A cluster `a` of these hosts that says more of itself.
fn with(lines: &str, hosts: &[SocketAddr]) -> String {
    config::front(&[("a", hosts)])
        .replace("    connect_timeout: 1s\n", &format!("    connect_timeout: 1s\n{lines}"))
}

fn flags(proxy: &Proxy, host: SocketAddr) -> String {
    let clusters = client::get(proxy.admin, "/clusters").text();
    let prefix = format!("a::{host}::health_flags::");
    clusters.lines().find_map(|line| line.strip_prefix(&prefix)).expect("the host").to_owned()
}

#[test]
fn a_host_that_fails_in_a_row_is_left_out_shown_written_down_and_taken_back() {
    let fails = Arc::new(AtomicBool::new(true));
    let (bad, good) = (origin("bad", &fails, true), origin("good", &Arc::default(), true));
    let log = support::proxy::folder().join("outliers");
    let lines = "    outlier_detection: {consecutive_5xx: 3, interval: 0.1s, base_ejection_time: 300s, max_ejection_percent: 50}\n";
    let config = with(lines, &[bad.address, good.address]);
    let manager =
        format!("cluster_manager: {{outlier_detection: {{event_log_path: {}}}}}\n", log.display());
    let args = ["--concurrency", "2", "--file-flush-interval-msec", "10"];
    let proxy = Proxy::start_with(&format!("{manager}{config}"), &args);
    let ask = || client::get(proxy.listener("main"), "/").status;
    let mut failures = 0;
    wait_for("the host to be out", || {
        failures += u32::from(ask() == 503);
        (flags(&proxy, bad.address) == "/failed_outlier_check").then_some(())
    });
    assert!(failures >= 3, "{failures}");
    assert_eq!((0..4).map(|_| ask()).collect::<Vec<_>>(), [200; 4]);
    let stat = |name: &str| proxy.stat(&format!("cluster.a.{name}"));
    assert_eq!(stat("membership_healthy"), Some(1));
    assert_eq!(stat("outlier_detection.ejections_active"), Some(1));
    assert_eq!(stat("outlier_detection.ejections_enforced_consecutive_5xx"), Some(1));
    // Nothing is kept open to it meanwhile.
    wait_for("connections to be let go", || {
        let idle = format!("a::{}::cx_active::0\n", bad.address);
        client::get(proxy.admin, "/clusters").text().contains(&idle).then_some(())
    });
    let all = client::get(proxy.admin, "/clusters").text();
    assert!(all.contains("a::outlier::success_rate_average::-1\n"), "{all}");
    fails.store(false, SeqCst);
    // Five minutes are over sooner where somebody says so.
    let sooner = "/runtime_modify?outlier_detection.base_ejection_time_ms=1";
    assert_eq!(client::post(proxy.admin, sooner).status, 200);
    wait_for("the host to be back", || (flags(&proxy, bad.address) == "healthy").then_some(()));
    assert_eq!((0..4).map(|_| ask()).collect::<Vec<_>>(), [200; 4]);
    assert_eq!(stat("outlier_detection.ejections_active"), Some(0));
    let events = wait_for("two events", || {
        let text = fs::read_to_string(&log).ok()?;
        let events = text.lines().map(serde_json::from_str::<Value>);
        let events: Vec<_> = events.collect::<Result<_, _>>().ok()?;
        (events.len() == 2).then_some(events)
    });
    let host = bad.address.to_string();
    for (event, action) in events.iter().zip(["EJECT", "UNEJECT"]) {
        assert_eq!(event["action"], action);
        assert_eq!(event["cluster_name"], "a");
        assert_eq!(event["upstream_url"], host.as_str());
        assert_eq!(event["type"], "CONSECUTIVE_5XX");
        assert_eq!(event["num_ejections"], 1);
    }
}

#[test]
fn falls_under_load_fail_no_request_and_forget_nobody_who_is_out() {
    let (fails, works) = (Arc::new(AtomicBool::new(true)), Arc::default());
    let ill = origin("ill", &works, false);
    let outlier = origin("outlier", &fails, true);
    let well = [origin("one", &works, true), origin("two", &works, true)];
    let hosts = [ill.address, outlier.address, well[0].address, well[1].address];
    let lines = "    common_lb_config: {healthy_panic_threshold: {value: 0}}
    outlier_detection: {consecutive_5xx: 3, interval: 0.1s, base_ejection_time: 300s, max_ejection_percent: 50, successful_active_health_check_uneject_host: false}
    health_checks: [{timeout: 5s, interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /hc}}]
";
    let proxy = Proxy::start_with(&with(lines, &hosts), &["--concurrency", "2", "--enable-drills"]);
    wait_for("the outlier to be out", || {
        client::get(proxy.listener("main"), "/");
        (flags(&proxy, outlier.address) == "/failed_outlier_check").then_some(())
    });
    let expected = ["/failed_active_hc", "/failed_outlier_check", "healthy", "healthy"];
    let names = [
        "cluster/a".to_owned(),
        "cluster/a/outlier".to_owned(),
        format!("cluster/a/health_check/{}", ill.address),
        format!("cluster/a/health_check/{}", outlier.address),
        format!("cluster/a/health_check/{}", well[0].address),
    ];
    let load = Load::on(proxy.listener("main"), &["/a", "/"]);
    for fall in 0..4 {
        for name in &names {
            let killed = client::post(proxy.admin, &format!("/actors/kill?name={name}"));
            assert_eq!(killed.status, 200, "{name}");
            assert_eq!(hosts.map(|host| flags(&proxy, host)), expected, "{name}, fall {fall}");
        }
    }
    assert_eq!(load.failures(), Vec::<String>::new());
    load.end();
    // All of them are up again: checks go on, and whoever fails now is out as well.
    let attempts = || proxy.stat("cluster.a.health_check.attempt");
    let before = attempts();
    wait_for("checks to go on", || (attempts() > before).then_some(()));
    assert_eq!(proxy.stat("cluster.a.membership_total"), Some(4));
    assert_eq!(proxy.stat("cluster.a.outlier_detection.ejections_active"), Some(1));
}
