//! Owns the life of the process: clusters that do not answer at its beginning, goodbyes at its end.

mod support;

use std::{
    io::Write,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use support::{
    client::{self, Client},
    config::routed,
    h2::H2Client,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

const ROUTES: &str = "{match: {prefix: /hasty}, route: {cluster: origin, timeout: 0.2s}}, \
                      {match: {prefix: /}, route: {cluster: origin}}";

const CLUSTERS: &str = r#"
  - name: origin
    KIND
    load_assignment: {cluster_name: origin, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: HOST, port_value: ORIGIN}}}}]}]}
"#;

fn config(origin: SocketAddr) -> String {
    let clusters = CLUSTERS.replace("KIND", "type: STATIC").replace("HOST", "127.0.0.1");
    routed(ROUTES, &clusters.replace("ORIGIN", &origin.port().to_string()))
}

/// Answers after this long.
fn slow(after: Duration) -> Origin {
    Origin::answering(move |stream, _| {
        std::thread::sleep(after);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    })
}

const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";

#[test]
fn the_log_says_what_the_end_waits_for_and_goodbye_is_said_in_both_protocols() {
    let origin = slow(Duration::from_millis(1300));
    let mut proxy = Proxy::start(&config(origin.address));
    let address = proxy.listener("main");
    let mut busy = Client::connect(address);
    let mut http2 = H2Client::connect(address);
    let http2 = std::thread::spawn(move || http2.get("/").map(|(status, _)| status));
    busy.send(GET);
    let stat = "cluster.origin.upstream_rq_active";
    wait_for(stat, || (proxy.stat(stat) == Some(2)).then_some(()));
    proxy.signal("TERM");
    let answer = busy.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(http2.join().expect("no panic"), Ok(200));
    assert_eq!(proxy.exit_status().code(), Some(0));
    let log = proxy.log();
    assert!(log.contains("waiting for 2 connections (main: 2)"), "{log}");
}

#[test]
fn a_signal_opens_logs_again_and_a_hang_up_reads_the_configuration_again() {
    let origin = Origin::saying("hello");
    let folder = support::proxy::folder();
    let log = folder.join("server.log");
    let access = folder.join("access.log");
    let config = config(origin.address).replacen(
        "admin:\n",
        &format!("admin:\n  access_log_path: {}\n", access.display()),
        1,
    );
    let path = log.display().to_string();
    let mut proxy =
        Proxy::start_with(&config, &["--log-path", &path, "--file-flush-interval-msec", "20"]);
    for file in [&log, &access] {
        std::fs::rename(file, file.with_extension("old")).expect("the log is there");
    }
    proxy.signal("USR1");
    proxy.signal("HUP");
    wait_for("both logs to be there again", || (log.exists() && access.exists()).then_some(()));
    assert_eq!(client::get(proxy.admin, "/nosuch").status, 404);
    wait_for("the request in the new log", || {
        std::fs::read_to_string(&access).ok()?.contains("GET /nosuch ").then_some(())
    });
    wait_for("the hang up in a log", || {
        let logs = [&log, &log.with_extension("old")].map(|log| std::fs::read_to_string(log).ok());
        logs.into_iter()
            .flatten()
            .any(|text| text.contains("caught SIGHUP. Reading the configuration again."))
            .then_some(())
    });
    assert!(proxy.is_running());
}

#[test]
fn quitquitquit_answers_before_it_ends() {
    let origin = Origin::saying("hello");
    let mut proxy = Proxy::start(&config(origin.address));
    let answer = client::post(proxy.admin, "/quitquitquit");
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK\n"));
    assert_eq!(proxy.exit_status().code(), Some(0));
}

#[test]
fn with_a_silent_name_server_it_listens_at_once_answers_503_in_a_second_and_is_ready_in_five() {
    // Nobody ever reads from this socket.
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let dns = format!(
        "type: STRICT_DNS\n    dns_resolvers: [{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}]"
    );
    let clusters = CLUSTERS.replace("KIND", &dns).replace("HOST", "nobody.test");
    let config = routed(ROUTES, &clusters.replace("ORIGIN", "80"));
    let begun = Instant::now();
    let proxy = Proxy::spawn(&config, &["--concurrency", "1"]);
    let ready = client::get(proxy.admin, "/ready");
    assert_eq!((ready.status, ready.text().as_str()), (503, "PRE_INITIALIZING\n"));
    let asked = Instant::now();
    let answer = client::get(proxy.listener("main"), "/");
    assert_eq!((answer.status, answer.text().as_str()), (503, "no healthy upstream"));
    let waited = asked.elapsed();
    assert!((Duration::from_millis(800)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
    let asked = Instant::now();
    let hasty = client::get(proxy.listener("main"), "/hasty");
    assert_eq!((hasty.status, hasty.text().as_str()), (503, "no healthy upstream"));
    assert!(asked.elapsed() < Duration::from_millis(800), "{:?}", asked.elapsed());
    wait_for("the proxy to be ready", || {
        (client::get(proxy.admin, "/ready").status == 200).then_some(())
    });
    assert!(begun.elapsed() >= Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(proxy.log().contains("serving without a first answer for: origin"), "{}", proxy.log());
}
