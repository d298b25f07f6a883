//! `/stats/prometheus` for those who read it: promtool checks the text, and a Prometheus that scrapes the
//! admin port answers the queries of dashboards that were written for Envoy.

mod support;

use std::{
    fs,
    io::Write,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use support::{
    client::{Client, get},
    config::front,
    origin::Origin,
    proxy::{Proxy, folder},
    wait_for,
};

/// What promtool has against the names and the text of Envoy itself, which are ours too: dashboards ask for
/// these names, and Envoy prints no HELP. Whatever else it says is a mistake of ours.
///
/// So clean means: exit code 3 (lint) with these complaints alone. Exit code 0 cannot be had:
/// `envoy_cluster_upstream_rq` is a counter without `_total`, and would be another name with it.
///
/// Observed: Envoy 1.40.0 `/stats/prometheus` in all its forms gives exit code 3 and just these six,
/// with `promtool check metrics` of Prometheus 2.42.
const ENVOYS_OWN: [&str; 6] = [
    "no help text",
    "counter metrics should have \"_total\" suffix",
    "non-counter metrics should not have \"_total\" suffix",
    "non-histogram and non-summary metrics should not have \"_count\" suffix",
    "metric names should not contain abbreviated units",
    "use base unit \"seconds\" instead of \"days\"",
];

/// How long `service2` takes for an answer: more than the fastest, so that a quantile says something.
const SLOW: Duration = Duration::from_millis(30);

/// A cluster that answers at once with 200 or 404, and one that takes its time and fails.
fn started() -> (Origin, Proxy) {
    let origin = Origin::answering(|stream, request| {
        let status = match request.head.split(' ').nth(1) {
            Some("/service1/missing") => "404 Not Found",
            Some("/service2") => {
                std::thread::sleep(SLOW);
                "503 Service Unavailable"
            }
            _ => "200 OK",
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
        let _ = stream.write_all(answer.as_bytes());
    });
    let hosts = [origin.address];
    let config = front(&[("service1", &hosts), ("service2", &hosts)]);
    let config = format!("stats_flush_interval: 0.2s\n{config}");
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    (origin, proxy)
}

/// Sixteen requests on one connection: ten of 200, four of 404, two of 503.
fn send_traffic(client: &mut Client) {
    let paths = [("/service1", 200, 10), ("/service1/missing", 404, 4), ("/service2", 503, 2)];
    for (path, status, count) in paths {
        for _ in 0..count {
            let answer = client.request(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
            assert_eq!(answer.status, status, "{path}");
        }
    }
}

/// Whether a tool is there. Where it is not the test is not run, but on CI it fails.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).status().is_ok();
    let must = std::env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(found || !must, "{tool} is not on the PATH: apt-get install prometheus");
    if !found {
        println!("NOT RUN: {tool} is not on the PATH (apt-get install prometheus)");
    }
    found
}

/// What `promtool check metrics` says of a text: its exit code and its words.
fn checked(text: &str) -> (Option<i32>, String) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool runs");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(text.as_bytes()).expect("promtool reads");
    drop(stdin);
    let output = promtool.wait_with_output().expect("promtool ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn promtool_has_nothing_against_our_metrics_that_it_has_not_against_envoys() {
    if !has("promtool") {
        return;
    }
    let (_origin, proxy) = started();
    send_traffic(&mut Client::connect(proxy.listener("main")));
    wait_for("the flush", || {
        let stats = get(proxy.admin, "/stats?usedonly&filter=service2.upstream_rq_time").text();
        stats.contains("P99").then_some(())
    });
    for query in [
        "",
        "?usedonly",
        "?histogram_buckets=summary",
        "?histogram_buckets=cumulative",
        "?text_readouts",
        "?filter=rq_time&usedonly&histogram_buckets=summary",
        "?type=Gauges",
    ] {
        let text = get(proxy.admin, &format!("/stats/prometheus{query}")).text();
        assert!(text.starts_with("# TYPE envoy_"), "{query}: {text}");
        let (code, said) = checked(&text);
        assert_eq!(code, Some(3), "{query}: {said}");
        let ours: Vec<&str> = said
            .lines()
            .filter(|line| line.split_once(' ').is_none_or(|(_, why)| !ENVOYS_OWN.contains(&why)))
            .collect();
        assert!(ours.is_empty(), "{query}: {ours:#?}");
    }
}

/// A Prometheus of the test's own, ended with its drop.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

// === impl Prometheus ===

impl Prometheus {
    /// Scrapes an admin port each second: everything, and some histograms once more as summaries.
    fn scraping(admin: SocketAddr) -> Self {
        let job = |name: &str, params: &str| {
            format!(
                "- {{job_name: {name}, metrics_path: /stats/prometheus, params: {{{params}}}, \
                 static_configs: [{{targets: [\"{admin}\"]}}]}}\n"
            )
        };
        let summaries = job("summaries", "filter: [rq_time], histogram_buckets: [summary]");
        let jobs = job("proxy", "") + &summaries;
        let config = format!("global: {{scrape_interval: 1s}}\nscrape_configs:\n{jobs}");
        let folder = folder();
        fs::write(folder.join("prometheus.yaml"), config).expect("a configuration");
        let log = fs::File::create(folder.join("log")).expect("the log can be written");
        // Free now. Whoever takes it in between makes the test fail, with the log's words.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.expect("a free port");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", folder.join("prometheus.yaml").display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus runs");
        let mut prometheus = Self { child, address, folder };
        wait_for("prometheus to be ready", || {
            if let Ok(Some(status)) = prometheus.child.try_wait() {
                let log = fs::read_to_string(prometheus.folder.join("log")).unwrap_or_default();
                panic!("prometheus ended with {status}:\n{log}");
            }
            prometheus.ask("/-/ready")
        });
        prometheus
    }

    fn ask(&self, path: &str) -> Option<String> {
        let mut client = Client::try_connect(self.address).ok()?;
        client.try_send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")).ok()?;
        let answer = client.try_answer(false).ok()?;
        (answer.status == 200).then(|| answer.text())
    }

    /// The values that a query finds, ascending.
    fn query(&self, query: &str) -> Vec<f64> {
        let escaped: String = query.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let text = self.ask(&format!("/api/v1/query?query={escaped}"));
        let text = text.unwrap_or_else(|| panic!("{query} is refused"));
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let found = answer["data"]["result"].as_array().expect("a list");
        let value = |one: &serde_json::Value| one["value"][1].as_str()?.parse().ok();
        let mut values: Vec<f64> = found.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// It tells of a series that comes twice in one scrape, which promtool does not see.
    fn has_no_complaint(&self) {
        let own = self.ask("/metrics").expect("its own metrics");
        for name in [
            "prometheus_target_scrapes_sample_duplicate_timestamp_total",
            "prometheus_target_scrapes_sample_out_of_order_total",
            "prometheus_target_scrapes_sample_out_of_bounds_total",
            "prometheus_target_scrapes_exceeded_sample_limit_total",
        ] {
            assert!(own.contains(&format!("\n{name} 0\n")), "{name}: {own}");
        }
        let log = fs::read_to_string(self.folder.join("log")).expect("its log");
        let bad = |line: &&str| line.contains("level=error") || line.contains("level=warn");
        let bad: Vec<&str> = log.lines().filter(bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// What dashboards ask for, and what there is to see after the traffic was sent twice.
const QUERIES: [(&str, &[f64]); 16] = [
    ("up", &[1.0, 1.0]),
    ("envoy_cluster_upstream_rq", &[4.0, 8.0, 20.0]),
    ("envoy_cluster_upstream_rq{envoy_response_code=\"404\"}", &[8.0]),
    ("envoy_cluster_upstream_rq_xx{envoy_cluster_name=\"service1\"} > 0", &[8.0, 20.0]),
    ("envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\"} > 0", &[4.0]),
    (
        "envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix=\"ingress_http\"} > 0",
        &[4.0, 8.0, 20.0],
    ),
    (
        "envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix=\"ingress_http\",\
         le=\"+Inf\"}",
        &[32.0],
    ),
    ("envoy_cluster_upstream_rq_time_bucket{le=\"3600000\"}", &[4.0, 28.0]),
    ("envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"service2\",le=\"25\"}", &[0.0]),
    // Summaries tell of the last flush interval, as Envoy's do: after it they are there, and empty.
    ("count(envoy_cluster_upstream_rq_time{quantile=\"0.99\"})", &[2.0]),
    ("envoy_cluster_membership_healthy", &[1.0, 1.0]),
    ("envoy_cluster_upstream_cx_active", &[1.0, 1.0]),
    ("envoy_listener_downstream_cx_total", &[1.0]),
    ("envoy_server_live", &[1.0]),
    ("count(envoy_server_uptime < 600)", &[1.0]),
    ("increase(envoy_server_uptime[1m]) > bool 0", &[1.0]),
];

#[test]
fn dashboards_written_for_envoy_find_their_metrics_and_the_values_are_right() {
    if !has("prometheus") {
        return;
    }
    let (_origin, proxy) = started();
    let mut client = Client::connect(proxy.listener("main"));
    // A rate is what came between two scrapes, so each stat is scraped before the traffic that counts.
    send_traffic(&mut client);
    let prometheus = Prometheus::scraping(proxy.admin);
    let seen = "envoy_cluster_upstream_rq_time_bucket{le=\"+Inf\"}";
    wait_for("the first scrape", || (prometheus.query(seen) == [2.0, 14.0]).then_some(()));
    send_traffic(&mut client);
    for (query, expected) in QUERIES {
        let mut found = Vec::new();
        let patience = Instant::now() + Duration::from_secs(10);
        while found != expected && Instant::now() < patience {
            found = prometheus.query(query);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(found, expected, "{query}");
    }
    // Four of 32 were slow, so the 99th percentile is one of those.
    let slowest = "histogram_quantile(0.99, \
                   sum by (le) (rate(envoy_cluster_upstream_rq_time_bucket[1m])))";
    let found = prometheus.query(slowest);
    assert!(matches!(found[..], [ms] if (25.0..1000.0).contains(&ms)), "{slowest}: {found:?}");
    prometheus.has_no_complaint();
}
