//! Owns the proof that requests are tried again when their route says so, and only then.

mod support;

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use support::{
    client::{Answer, Client, get},
    config::{cluster, routed},
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

/// Answers by turns: `503`, `200 x-again: 1`, `close`; the last for ever.
fn by_turns(turns: &'static [&'static str]) -> (Origin, Arc<AtomicUsize>) {
    let seen: Arc<AtomicUsize> = Arc::default();
    let count = seen.clone();
    let origin = Origin::answering(move |stream, request| {
        let turn = count.fetch_add(1, SeqCst);
        let turn = turns.get(turn).or(turns.last()).copied().unwrap_or("200");
        say(stream, turn, &format!("{} bytes", request.body.len()));
    });
    (origin, seen)
}

fn say(stream: &mut TcpStream, turn: &str, body: &str) {
    if turn == "close" {
        let _ = stream.shutdown(std::net::Shutdown::Both);
        return;
    }
    let (status, header) = turn.split_once(' ').unwrap_or((turn, "x-plain: 1"));
    let length = body.len();
    let head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{header}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
}

fn policy(policy: &str) -> String {
    format!("{{match: {{prefix: /}}, route: {{cluster: a, retry_policy: {{{policy}}}}}}}")
}

fn proxy(routes: &str, hosts: &[SocketAddr]) -> Proxy {
    Proxy::start_with(&routed(routes, &cluster("a", hosts)), &["--concurrency", "1"])
}

fn post(address: SocketAddr, headers: &str, body: &[u8]) -> Answer {
    let mut client = Client::connect(address);
    let length = body.len();
    client.send(format!("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: {length}\r\n{headers}\r\n"));
    client.send(body);
    client.answer()
}

#[test]
fn each_condition_asks_for_another_try_and_no_other_does() {
    for (conditions, first, tries) in [
        ("5xx", "500", 2),
        ("5xx", "404", 1),
        ("5xx", "close", 2),
        ("gateway-error", "502", 2),
        ("gateway-error", "500", 1),
        ("reset", "close", 2),
        ("reset", "503", 1),
        ("connect-failure", "503", 1),
        ("retriable-4xx", "409", 2),
        ("retriable-4xx", "408", 1),
        ("retriable-status-codes", "418", 2),
        ("retriable-status-codes", "419", 1),
        ("retriable-headers", "200 x-again: 1", 2),
        ("retriable-headers", "200 x-other: 1", 1),
        ("unavailable", "200 grpc-status: 14", 2),
        ("unavailable", "200 grpc-status: 13", 1),
        ("internal,cancelled", "200 grpc-status: 1", 2),
        ("envoy-ratelimited", "429 x-envoy-ratelimited: true", 2),
        ("5xx", "503 x-envoy-ratelimited: true", 1),
        ("no-such-thing", "503", 1),
    ] {
        let turns: &'static [&'static str] = Box::leak(Box::new([first, "200"]));
        let (origin, seen) = by_turns(turns);
        let own = "retriable_status_codes: [418], retriable_headers: [{name: x-again}]";
        let routes = policy(&format!("retry_on: \"{conditions}\", {own}"));
        let proxy = proxy(&routes, &[origin.address]);
        get(proxy.listener("main"), "/");
        assert_eq!(seen.load(SeqCst), tries, "{conditions} {first}");
    }
}

#[test]
fn a_body_is_sent_again_and_one_that_is_too_long_is_not() {
    let (origin, seen) = by_turns(&["503", "200"]);
    let routes =
        policy("retry_on: 5xx").replace("route: {", "request_body_buffer_limit: 70000, route: {");
    let proxy = proxy(&routes, &[origin.address]);
    let address = proxy.listener("main");
    let answer = post(address, "", &vec![b'x'; 60_000]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "60000 bytes"));
    assert_eq!(proxy.stat("cluster.a.upstream_rq_retry_success"), Some(1));

    seen.store(0, SeqCst);
    let answer = post(address, "", &vec![b'x'; 80_000]);
    assert_eq!((answer.status, answer.text().as_str()), (503, "80000 bytes"));
    assert_eq!(proxy.stat("cluster.a.retry_or_shadow_abandoned"), Some(1));
    assert_eq!(proxy.stat("cluster.a.upstream_rq_retry"), Some(1));
}

#[test]
fn a_chunked_body_is_sent_again_as_it_was() {
    let (origin, _) = by_turns(&["503", "200"]);
    let proxy = proxy(&policy("retry_on: 5xx"), &[origin.address]);
    let mut client = Client::connect(proxy.listener("main"));
    client.send("POST / HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    client.send("6\r\n again\r\n0\r\n\r\n");
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "11 bytes"));
    assert!(origin.heads().iter().all(|head| head.contains("transfer-encoding: chunked")));
}

#[test]
fn tries_are_counted_for_both_sides_and_the_last_answer_stands() {
    let (origin, seen) = by_turns(&["503"]);
    let routes = policy("retry_on: 5xx, num_retries: 2");
    let config = routed(&routes, &cluster("a", &[origin.address])).replace(
        "name: all,",
        "name: all, include_request_attempt_count: true, include_attempt_count_in_response: true, \
         include_is_timeout_retry_header: true,",
    );
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let answer = get(proxy.listener("main"), "/");
    assert_eq!((answer.status, answer.header("x-envoy-attempt-count")), (503, Some("3")));
    assert_eq!(seen.load(SeqCst), 3);
    let heads = origin.heads();
    for (head, count) in heads.iter().zip(1..) {
        assert!(head.contains(&format!("x-envoy-attempt-count: {count}\r\n")), "{head}");
        assert_eq!(head.contains("x-envoy-is-timeout-retry: false"), count > 1, "{head}");
    }
    for (stat, value) in [
        ("upstream_rq_retry", 2),
        ("upstream_rq_retry_limit_exceeded", 1),
        ("upstream_rq_retry_success", 0),
        ("upstream_rq_retry_backoff_exponential", 2),
        ("retry.upstream_rq_503", 2),
        ("upstream_rq_503", 1),
        ("upstream_rq_total", 3),
    ] {
        assert_eq!(proxy.stat(&format!("cluster.a.{stat}")), Some(value), "{stat}");
    }
}

#[test]
fn a_retry_goes_to_another_host_where_that_is_asked_for() {
    let (bad, _) = by_turns(&["503"]);
    let (good, _) = by_turns(&["200"]);
    let predicate = "retry_on: 5xx, host_selection_retry_max_attempts: 5, retry_host_predicate: \
         [{name: p, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.\
         previous_hosts.v3.PreviousHostsPredicate}}]";
    let proxy = proxy(&policy(predicate), &[bad.address, good.address]);
    for _ in 0..8 {
        assert_eq!(get(proxy.listener("main"), "/").status, 200);
    }
}

/// Observed: Envoy 1.40: a list in a host's metadata stands for any of its elements, and no metadata avoids nobody.
#[test]
fn a_retry_passes_over_hosts_with_such_metadata() {
    let hosts = [by_turns(&["503"]), by_turns(&["503"]), by_turns(&["503"])];
    let addresses = hosts.each_ref().map(|(host, _)| host.address);
    let bad = |value: &str| {
        format!(
            "        - metadata: {{filter_metadata: {{envoy.lb: {{bad: {value}}}}}}}\n          endpoint:"
        )
    };
    let mut clusters = cluster("a", &addresses);
    for value in ["\"yes\"", "[\"no\", \"yes\"]"] {
        clusters = clusters.replacen("        - endpoint:", &bad(value), 1);
    }
    let predicate = |config: &str| {
        policy(&format!(
            "retry_on: 5xx, num_retries: 4, host_selection_retry_max_attempts: 9, retry_host_predicate: \
             [{{name: p, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.retry.host.\
             omit_host_metadata.v3.OmitHostMetadataConfig{config}}}}}]"
        ))
    };
    let asked = |routes: &str| {
        let before = hosts.each_ref().map(|(_, count)| count.load(SeqCst));
        let proxy = Proxy::start_with(&routed(routes, &clusters), &["--concurrency", "1"]);
        assert_eq!(get(proxy.listener("main"), "/").status, 503);
        let after = hosts.each_ref().map(|(_, count)| count.load(SeqCst));
        [after[0] - before[0], after[1] - before[1], after[2] - before[2]]
    };
    let marked = predicate(", metadata_match: {filter_metadata: {envoy.lb: {bad: \"yes\"}}}");
    let [one, two, good] = asked(&marked);
    // The first try goes anywhere.
    assert!(one + two <= 1 && good >= 4, "{one} {two} {good}");
    let [one, two, good] = asked(&predicate(""));
    assert!(one + two > 1 && one + two + good == 5, "{one} {two} {good}");
}

#[test]
fn a_host_that_is_not_there_is_passed_over_and_the_reply_says_that_it_was_retried() {
    let dead: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let (good, _) = by_turns(&["200"]);
    let both = proxy(&policy("retry_on: connect-failure"), &[dead, good.address]);
    for _ in 0..4 {
        assert_eq!(get(both.listener("main"), "/").status, 200);
    }
    let alone = proxy(&policy("retry_on: connect-failure"), &[dead]);
    let answer = get(alone.listener("main"), "/");
    let text = "upstream connect error or disconnect/reset before headers. retried and the latest \
                reset reason: remote connection failure";
    assert_eq!((answer.status, answer.text().as_str()), (503, text));
    assert_eq!(alone.stat("cluster.a.upstream_rq_pending_failure_eject"), Some(2));
}

#[test]
fn a_trusted_client_says_what_is_tried_again_and_a_stranger_does_not() {
    let headers = "x-envoy-retry-on: retriable-status-codes\r\nx-envoy-max-retries: 3\r\n\
                   x-envoy-retriable-status-codes: 418, 419\r\nx-forwarded-for: 10.0.0.1\r\n";
    for (trusted, tries) in [(true, 3), (false, 1)] {
        let (origin, seen) = by_turns(&["418", "419", "200"]);
        let route = "{match: {prefix: /}, route: {cluster: a}}";
        let mut config = routed(route, &cluster("a", &[origin.address]));
        if trusted {
            let ranges = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, \
                          prefix_len: 8}]}";
            let prefix = "stat_prefix: ingress_http\n";
            config = config.replace(prefix, &format!("{prefix}          {ranges}\n"));
        }
        let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
        post(proxy.listener("main"), headers, b"body");
        assert_eq!(seen.load(SeqCst), tries);
        for head in origin.heads() {
            assert!(!head.contains("x-envoy-max-retries"), "{head}");
            assert!(!head.contains("x-envoy-retry-on"), "{head}");
        }
    }
}

#[test]
fn as_many_retries_are_under_way_as_the_cluster_allows() {
    let (origin, _) = by_turns(&["503"]);
    for (breaker, retries, overflows) in
        [("max_retries: 0", 0, 1), ("retry_budget: {min_retry_concurrency: 1}", 1, 0)]
    {
        let breakers = format!("    circuit_breakers: {{thresholds: [{{{breaker}}}]}}\n");
        let clusters = cluster("a", &[origin.address]) + &breakers;
        let config = routed(&policy("retry_on: 5xx"), &clusters);
        let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
        assert_eq!(get(proxy.listener("main"), "/").status, 503);
        assert_eq!(proxy.stat("cluster.a.upstream_rq_retry"), Some(retries), "{breaker}");
        let overflow = proxy.stat("cluster.a.upstream_rq_retry_overflow");
        assert_eq!(overflow, Some(overflows), "{breaker}");
    }
}

#[test]
fn the_wait_that_an_answer_asks_for_is_kept() {
    let (origin, _) = by_turns(&["503 retry-after: 1", "200"]);
    let own = "retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: [{name: Retry-After}]}";
    let proxy = proxy(&policy(own), &[origin.address]);
    let asked = std::time::Instant::now();
    assert_eq!(get(proxy.listener("main"), "/").status, 200);
    assert!(asked.elapsed().as_millis() >= 1000);
    assert_eq!(proxy.stat("cluster.a.upstream_rq_retry_backoff_ratelimited"), Some(1));
}

#[test]
fn a_client_that_goes_while_a_retry_waits_ends_it() {
    let (origin, seen) = by_turns(&["503 retry-after: 100", "200"]);
    let own = "retry_on: 5xx, rate_limited_retry_back_off: {reset_headers: [{name: retry-after}]}";
    let proxy = proxy(&policy(own), &[origin.address]);
    let mut client = Client::connect(proxy.listener("main"));
    client.send("GET / HTTP/1.1\r\nhost: t\r\n\r\n");
    wait_for("the first try", || (seen.load(SeqCst) == 1).then_some(()));
    wait_for("the retry to wait", || {
        (proxy.stat("cluster.a.upstream_rq_retry") == Some(1)).then_some(())
    });
    drop(client);
    wait_for("the request to end", || {
        (proxy.stat("http.ingress_http.downstream_rq_active") == Some(0)).then_some(())
    });
    assert_eq!(seen.load(SeqCst), 1);
}

#[test]
fn a_policy_that_is_not_understood_is_refused() {
    for (own, word) in [
        (
            "retry_options_predicates: [{name: x, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}]",
            "retry_options_predicates",
        ),
        ("retry_back_off: {base_interval: 1s, max_interval: 0.5s}", "max_interval"),
    ] {
        let origin = Origin::saying("x");
        let config =
            routed(&policy(&format!("retry_on: 5xx, {own}")), &cluster("a", &[origin.address]));
        let folder = support::proxy::folder();
        let file = folder.join("config.yaml");
        std::fs::write(&file, config).expect("the configuration can be written");
        let checked = support::proxy::binary()
            .args(["--mode", "validate", "-c"])
            .arg(&file)
            .output()
            .expect("the binary runs");
        let told = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(!checked.status.success() && told.contains(word), "{told}");
    }
}
