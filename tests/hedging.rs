//! Owns the proof that a slow try goes on while another begins beside it, and that one answer wins.

mod support;

use std::{
    future::poll_fn,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use support::{
    client::{Answer, Client, get},
    config::{cluster, routed},
    h2::H2Origin,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

/// What becomes of one request: an answer after so many milliseconds, or none before the proxy goes.
#[derive(Clone, Copy)]
enum Turn {
    After(u64, u16),
    Never,
}
use Turn::{After, Never};

/// Tries under way that were let go.
type Released = Arc<AtomicUsize>;

/// Treats requests by turns. Each answer names its turn and repeats the body.
fn by_turns(turns: &'static [Turn]) -> (Origin, Released) {
    let (seen, released) = (AtomicUsize::new(0), Released::default());
    let count = released.clone();
    let origin = Origin::answering(move |stream, request| {
        let turn = seen.fetch_add(1, SeqCst);
        match turns.get(turn).copied().unwrap_or(Never) {
            After(ms, status) => {
                let _ = stream.set_read_timeout(Some(Duration::from_millis(ms.max(1))));
                if is_let_go(stream) {
                    count.fetch_add(1, SeqCst);
                    return;
                }
                let _ = stream.set_read_timeout(None);
                let (length, body) = (request.body.len(), &request.body);
                let head = format!(
                    "HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\nx-turn: {turn}\r\n\r\n"
                );
                let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
            }
            Never => {
                is_let_go(stream);
                count.fetch_add(1, SeqCst);
            }
        }
    });
    (origin, released)
}

/// Whether the proxy ends the connection before the timeout.
fn is_let_go(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

const HEDGED: &str = "timeout: 10s, hedge_policy: {hedge_on_per_try_timeout: true}, ";

/// Clients on this machine are inside.
const INSIDE: &str = "use_remote_address: true
          internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}
          route_config:";

const HTTP2: &str = "connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
";

fn config(action: &str, host: SocketAddr) -> String {
    let policy = "retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.2s}";
    let route = format!("{{match: {{prefix: /}}, route: {{cluster: a, {action}{policy}}}}}");
    routed(&route, &cluster("a", &[host])).replace("route_config:", INSIDE)
}

fn proxy(action: &str, host: SocketAddr) -> Proxy {
    Proxy::start_with(&config(action, host), &["--concurrency", "1"])
}

fn turn(answer: &Answer) -> Option<&str> {
    answer.header("x-turn")
}

/// Nothing is under way any more, and so many tries were let go.
fn comes_to_rest(proxy: &Proxy, released: &Released, count: usize) {
    wait_for("tries that are let go", || (released.load(SeqCst) == count).then_some(()));
    wait_for("gauges at rest", || {
        (proxy.stat("cluster.a.upstream_rq_active") == Some(0)).then_some(())
    });
}

#[test]
fn the_slow_first_answer_wins_and_the_second_try_is_let_go() {
    let (origin, released) = by_turns(&[After(500, 200), Never]);
    let proxy = proxy(HEDGED, origin.address);
    let answer = get(proxy.listener("main"), "/");
    assert_eq!((answer.status, turn(&answer)), (200, Some("0")));
    comes_to_rest(&proxy, &released, 1);
    for (stat, expected) in [
        ("upstream_rq_total", 2),
        ("upstream_rq_retry", 1),
        ("upstream_rq_per_try_timeout", 0),
        ("upstream_rq_completed", 1),
        ("upstream_rq_200", 1),
    ] {
        assert_eq!(proxy.stat(&format!("cluster.a.{stat}")), Some(expected), "{stat}");
    }
}

#[test]
fn the_second_answer_wins_and_the_first_try_is_let_go() {
    let (origin, released) = by_turns(&[Never, After(0, 200), After(0, 200)]);
    let proxy = proxy(HEDGED, origin.address);
    let mut client = Client::connect(proxy.listener("main"));
    let answer = client.request("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
    assert_eq!((answer.status, turn(&answer)), (200, Some("1")));
    comes_to_rest(&proxy, &released, 1);
    assert_eq!(proxy.stat("cluster.a.upstream_rq_retry_success"), Some(1));
    // The winner's connection carries the next request, and so does the client's.
    assert_eq!(turn(&client.request("GET / HTTP/1.1\r\nhost: t\r\n\r\n")), Some("2"));
    assert_eq!(origin.accepted(), 2);
}

#[test]
fn a_bad_answer_waits_for_the_other_try() {
    for (turns, expected, let_go) in [
        (&[After(600, 200), After(0, 503)][..], (200, Some("0")), 0),
        (&[After(400, 503), After(400, 200)][..], (200, Some("1")), 0),
        // Where the other is no better, the last one stands.
        (&[After(500, 503), After(0, 503)][..], (503, Some("0")), 0),
    ] {
        let (origin, released) = by_turns(turns);
        let proxy = proxy(HEDGED, origin.address);
        let answer = get(proxy.listener("main"), "/");
        assert_eq!((answer.status, turn(&answer)), expected);
        comes_to_rest(&proxy, &released, let_go);
    }
}

#[test]
fn the_routes_timeout_ends_every_try() {
    let (origin, released) = by_turns(&[Never, Never]);
    let action = "timeout: 0.6s, hedge_policy: {hedge_on_per_try_timeout: true}, ";
    let proxy = proxy(action, origin.address);
    assert_eq!(get(proxy.listener("main"), "/").status, 504);
    comes_to_rest(&proxy, &released, 2);
    for (stat, expected) in [("upstream_rq_timeout", 2), ("upstream_rq_504", 2)] {
        assert_eq!(proxy.stat(&format!("cluster.a.{stat}")), Some(expected), "{stat}");
    }
}

#[test]
fn a_client_that_goes_ends_every_try() {
    let (origin, released) = by_turns(&[Never, Never]);
    let proxy = proxy(HEDGED, origin.address);
    let mut client = Client::connect(proxy.listener("main"));
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
    wait_for("a second try", || (origin.heads().len() == 2).then_some(()));
    drop(client);
    comes_to_rest(&proxy, &released, 2);
}

#[test]
fn each_try_is_sent_the_whole_body() {
    let (origin, released) = by_turns(&[Never, After(0, 200)]);
    let proxy = proxy(HEDGED, origin.address);
    let mut client = Client::connect(proxy.listener("main"));
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    client.send("4\r\n two\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, turn(&answer), answer.text()), (200, Some("1"), "one two".into()));
    comes_to_rest(&proxy, &released, 1);
}

#[test]
fn a_client_inside_decides_itself_and_one_outside_does_not() {
    let hedged = "timeout: 10s, hedge_policy: {hedge_on_per_try_timeout: true}, ";
    for (action, says, forwarded, hedges) in [
        ("", "true", "", true),
        ("", "1", "", false),
        ("", "true", "x-forwarded-for: 8.8.8.8\r\n", false),
        (hedged, "false", "", false),
        (hedged, "False", "", true),
        // A route's own policy is the whole of it.
        ("hedge_policy: {}, ", "", "", false),
    ] {
        let (origin, released) = by_turns(&[After(600, 200), Never]);
        let proxy = proxy(action, origin.address);
        let mut client = Client::connect(proxy.listener("main"));
        let head = format!("x-envoy-hedge-on-per-try-timeout: {says}\r\n{forwarded}");
        client.send(format!("GET / HTTP/1.1\r\nhost: t\r\n{head}\r\n"));
        let answer = client.answer();
        let status = if hedges { 200 } else { 504 };
        assert_eq!(answer.status, status, "{action} {says} {forwarded}");
        assert!(!origin.heads().concat().contains("hedge-on"), "{:?}", origin.heads());
        comes_to_rest(&proxy, &released, if hedges { 1 } else { 2 });
    }
}

#[test]
fn a_try_that_is_let_go_over_http2_is_reset_and_its_connection_stays() {
    let (seen, released) = (AtomicUsize::new(0), Released::default());
    let count = released.clone();
    let origin = H2Origin::answering(move |_, mut response| {
        let (turn, released) = (seen.fetch_add(1, SeqCst), count.clone());
        async move {
            if turn == 0 {
                let _ = poll_fn(|cx| response.poll_reset(cx)).await;
                released.fetch_add(1, SeqCst);
            } else {
                let _ = response.send_response(http::Response::new(()), true);
            }
        }
    });
    let config = config(HEDGED, origin.address).replace("connect_timeout: 1s\n", HTTP2);
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    assert_eq!(get(proxy.listener("main"), "/").status, 200);
    comes_to_rest(&proxy, &released, 1);
    for (stat, expected) in
        [("upstream_rq_tx_reset", 1), ("upstream_rq_total", 2), ("upstream_cx_destroy", 0)]
    {
        assert_eq!(proxy.stat(&format!("cluster.a.{stat}")), Some(expected), "{stat}");
    }
}
