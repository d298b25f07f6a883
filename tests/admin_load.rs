//! The admin port under load: a thousand calls of every kind, clients that stall, and questions that are
//! wrong. Traffic goes on, and `/ready` answers.

mod support;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use support::{
    client::{Client, get},
    config::front,
    h2::H2Client,
    load::Load,
    origin::Origin,
    proxy::Proxy,
};

/// Held by a test while its neighbours would disturb what it measures.
static QUIET: Mutex<()> = Mutex::new(());

/// What is asked, its status, and how its text begins.
type Call = (&'static str, u16, &'static str);

const READS: &[Call] = &[
    ("GET /", 200, "<!DOCTYPE html>"),
    ("GET /actors", 200, "Supervisor supervisor"),
    ("GET /actors?format=json", 200, "{"),
    ("GET /certs", 200, "{"),
    ("GET /clusters", 200, "a::observability_name::a\n"),
    ("GET /clusters?format=json", 200, "{\n \"cluster_statuses\": ["),
    ("GET /clusters?filter=b", 200, "b::observability_name::b\n"),
    ("GET /config_dump", 200, "{\n \"configs\": ["),
    ("GET /config_dump?include_eds", 200, "{\n \"configs\": ["),
    ("GET /config_dump?resource=static_clusters", 200, "{\n \"configs\": ["),
    ("GET /config_dump?mask=bootstrap", 200, "{\n \"configs\": ["),
    ("GET /config_dump?name_regex=a", 200, "{\n \"configs\": ["),
    ("GET /contention", 200, "Mutex contention tracing"),
    ("GET /heap_dump", 501, ""),
    ("GET /help", 200, "admin commands are:"),
    ("GET /help?ours", 200, ""),
    ("GET /hot_restart_version", 200, "11.104"),
    ("GET /init_dump", 200, "{}"),
    ("GET /listeners", 200, "main::127.0.0.1:"),
    ("GET /listeners?format=json", 200, "{"),
    ("GET /memory", 200, "{"),
    ("GET /memory/tcmalloc", 200, ""),
    ("GET /peak_heap_dump", 501, ""),
    ("GET /ready", 200, "LIVE\n"),
    ("GET /runtime", 200, "{"),
    ("GET /server_info", 200, "{"),
    ("GET /stats", 200, "cluster.a."),
    ("GET /stats?usedonly", 200, "cluster.a."),
    ("GET /stats?filter=^http&type=Counters", 200, "http."),
    ("GET /stats?format=json", 200, "{\"stats\":["),
    ("GET /stats?format=json&histogram_buckets=detailed", 200, "{\"stats\":["),
    ("GET /stats?format=html", 200, "<!DOCTYPE html>"),
    ("GET /stats?format=active-html", 200, "<!DOCTYPE html>"),
    ("GET /stats?format=prometheus", 200, "# TYPE envoy_"),
    ("GET /stats?histogram_buckets=cumulative", 200, "cluster.a."),
    ("GET /stats?histogram_buckets=disjoint", 200, "cluster.a."),
    ("GET /stats?histogram_buckets=detailed", 200, "cluster.a."),
    ("GET /stats/prometheus", 200, "# TYPE envoy_"),
    ("GET /stats/prometheus?usedonly", 200, "# TYPE envoy_"),
    ("GET /stats/prometheus?histogram_buckets=summary", 200, "# TYPE envoy_"),
    ("GET /stats/prometheus?text_readouts", 200, "# TYPE envoy_"),
    ("GET /stats/recentlookups", 200, "Lookup tracking is not enabled."),
];

const CHANGES: &[Call] = &[
    ("POST /healthcheck/ok", 200, "OK\n"),
    ("POST /logging", 200, "active loggers:\n"),
    ("POST /logging?upstream=info", 200, "active loggers:\n"),
    ("POST /logging?paths=upstream:info,router:info", 200, "active loggers:\n"),
    ("POST /reopen_logs", 200, "OK\n"),
    ("POST /reset_counters", 200, "OK\n"),
    ("POST /runtime_modify?some.key=NUMBER", 200, "OK\n"),
    ("POST /runtime_modify?some.key=", 200, "OK\n"),
    ("POST /stats/recentlookups/clear", 200, ""),
    ("POST /cpuprofiler?enable=n", 200, "OK\n"),
];

const MISTAKES: &[Call] = &[
    ("GET /actors/kill", 405, "Method GET not allowed, POST required."),
    ("POST /actors/kill", 400, "usage: /actors/kill?name=NAME"),
    ("POST /actors/kill?name=supervisor", 403, "drills are not enabled"),
    ("POST /allocprofiler", 400, "?enable=<y|n>\n"),
    ("GET /clusters?filter=[", 400, "Invalid re2 regex"),
    ("GET /config_dump?mask=nosuch", 400, "FieldMask nosuch could not be successfully applied"),
    ("GET /config_dump?name_regex=*", 400, "INVALID_ARGUMENT: Error while parsing name_regex"),
    ("GET /config_dump?resource=nosuch", 404, "nosuch not found in config dump"),
    ("GET /config_dump?resource=bootstrap", 400, "bootstrap is not a repeated field."),
    ("POST /cpuprofiler", 400, "?enable=<y|n>\n"),
    ("POST /cpuprofiler?enable=maybe", 400, "?enable=<y|n>\n"),
    ("GET /healthcheck/fail", 405, "Method GET not allowed, POST required."),
    ("POST /heapprofiler?enable=y", 501, "The current build does not support heap profiler"),
    ("POST /logging?level=loud", 400, "error: unknown logger level\n"),
    ("POST /logging?nobody=debug", 400, "error: unknown logger name\n"),
    ("POST /logging?paths=upstream", 400, "error: empty logger name or empty logger level\n"),
    ("POST /logging?group=x", 400, "error: group parameter requires"),
    ("GET /nosuch", 404, "invalid path. admin commands are:\n"),
    ("GET /quitquitquit", 405, "Method GET not allowed, POST required."),
    ("POST /runtime_modify", 400, "usage: /runtime_modify?key1=value1"),
    ("GET /stats?type=x", 400, "invalid &type= param"),
    ("GET /stats?format=x", 400, "usage: /stats?format="),
    ("GET /stats?hidden=x", 400, "usage: /stats?hidden="),
    ("GET /stats?histogram_buckets=x", 400, "usage: /stats?histogram_buckets="),
    ("GET /stats?histogram_buckets=prometheusnative", 400, "Invalid histogram_buckets type"),
    ("GET /stats?filter=*bad", 400, "Invalid re2 regex: no argument for repetition operator: *"),
    ("GET /stats/prometheus?filter=(", 400, "Invalid re2 regex: missing ): ("),
    ("GET /stats/prometheus?histogram_buckets=detailed", 400, "unsupported prometheus histogram"),
    (
        "GET /stats/prometheus?histogram_buckets=prometheusnative",
        400,
        "unsupported prometheusnative",
    ),
];

fn started() -> (Origin, Proxy) {
    let origin = Origin::saying("hello");
    let hosts = [origin.address];
    (origin, Proxy::start(&front(&[("a", &hosts), ("b", &hosts)])))
}

/// The bytes of a call; `NUMBER` is another each time.
fn bytes(call: &str, number: usize) -> String {
    let target = call.replace("NUMBER", &number.to_string());
    format!("{target} HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n")
}

fn is_as_expected((asked, status, start): Call, found: (u16, &[u8])) {
    let text = String::from_utf8_lossy(found.1);
    let begins: String = text.chars().take(99).collect();
    assert!(found.0 == status && text.starts_with(start), "{asked}: {} {begins}", found.0);
}

/// Takes calls until none is left. Every second one comes by a connection of its own, some come by HTTP/2.
fn caller(admin: SocketAddr, calls: &[Call], next: &AtomicUsize, end: usize) {
    let mut kept = Client::connect(admin);
    let mut over_http2 = H2Client::connect(admin);
    loop {
        let number = next.fetch_add(1, SeqCst);
        if number >= end {
            return;
        }
        let call = calls[number % calls.len()];
        let asked = bytes(call.0, number);
        match (number / calls.len() % 3, call.0.strip_prefix("GET ")) {
            (0, Some(path)) => {
                let (status, body) = over_http2.get(path).expect("an answer over HTTP/2");
                is_as_expected(call, (status, &body));
            }
            (1, _) => {
                let answer = Client::connect(admin).request(asked);
                is_as_expected(call, (answer.status, &answer.body));
            }
            _ => {
                let answer = kept.request(asked);
                is_as_expected(call, (answer.status, &answer.body));
            }
        }
    }
}

#[test]
fn a_thousand_admin_calls_of_every_kind_fail_none_and_no_request() {
    let _quiet = QUIET.lock();
    let (_origin, proxy) = started();
    let load = Load::on(proxy.listener("main"), &["/a", "/b"]);
    let calls = [READS, CHANGES, MISTAKES].concat();
    let next = AtomicUsize::new(0);
    let since = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| caller(proxy.admin, &calls, &next, 1000));
        }
    });
    println!("1,000 admin calls in {:?}", since.elapsed());
    assert_eq!(load.failures(), Vec::<String>::new());
    let rate = load.end();
    println!("{rate} requests per second went on");
    assert!(rate > 100, "only {rate} requests per second");
    assert_eq!(get(proxy.admin, "/ready").text(), "LIVE\n");
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}

#[test]
fn what_is_wrong_is_told_and_a_body_beyond_a_mib_is_refused() {
    let _quiet = QUIET.lock();
    let (_origin, proxy) = started();
    for call in MISTAKES {
        let answer = Client::connect(proxy.admin).request(bytes(call.0, 0));
        is_as_expected(*call, (answer.status, &answer.body));
    }
    let form = |length: usize| {
        let body = "x".repeat(length);
        let mut client = Client::connect(proxy.admin);
        client.send(format!(
            "POST /healthcheck/ok HTTP/1.1\r\nhost: test\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {length}\r\n\r\n"
        ));
        // The answer may come, and the connection close, before all is sent.
        let _ = client.try_send(body);
        client.answer().status
    };
    assert_eq!((form(1 << 20), form((1 << 20) + 1), form(8 << 20)), (200, 413, 413));
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}

#[test]
fn stalled_clients_keep_nobody_from_ready() {
    let _quiet = QUIET.lock();
    let (_origin, proxy) = started();
    let stalled: Vec<Client> = (0..200)
        .map(|number| {
            let mut client = Client::connect(proxy.admin);
            client.send(match number % 4 {
                0 => "",
                1 => "GET /sta",
                2 => "POST /logging HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nlevel",
                _ => "GET /stats?format=json HTTP/1.1\r\nhost: test\r\n\r\n",
            });
            client
        })
        .collect();
    let mut waits: Vec<Duration> = (0..20)
        .map(|_| {
            let since = Instant::now();
            assert_eq!(get(proxy.admin, "/ready").status, 200);
            since.elapsed()
        })
        .collect();
    waits.sort();
    // One may be a neighbour's on the machine.
    assert!(waits[18] < Duration::from_millis(250), "/ready took {waits:?}");
    drop(stalled);
}
