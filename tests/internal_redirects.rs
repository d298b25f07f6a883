//! Owns the proof that redirects are followed where a route says so, and go to the client where not.

mod support;

use std::io::Write;

use support::{
    client::{Answer, Client},
    config::{cluster, routed},
    origin::Origin,
    proxy::Proxy,
};

/// Answers `/to?STATUS LOCATION` (with `+` for the blank) with that redirect, and everything else with 200.
fn origin() -> Origin {
    Origin::answering(|stream, request| {
        let path = request.head.split(' ').nth(1).unwrap_or_default();
        let (status, location) = match path.split_once("/to?") {
            Some((_, to)) => to.split_once('+').unwrap_or((to, "")),
            None => ("200", ""),
        };
        let body = format!("{path} {} bytes", request.body.len());
        let location = if location.is_empty() {
            String::new()
        } else {
            format!("location: {location}\r\nx-copied: yes\r\n")
        };
        let length = body.len();
        let answer =
            format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{location}\r\n{body}");
        let _ = stream.write_all(answer.as_bytes());
    })
}

fn start(origin: &Origin, policy: &str) -> Proxy {
    let routes = format!(
        "{{name: from, match: {{prefix: /to}}, route: {{cluster: a, internal_redirect_policy: {{{policy}}}}}}}, \
         {{name: there, match: {{prefix: /there}}, route: {{cluster: a}}}}"
    );
    Proxy::start_with(&routed(&routes, &cluster("a", &[origin.address])), &["--concurrency", "1"])
}

fn ask(proxy: &Proxy, path: &str, body: &str) -> Answer {
    let mut client = Client::connect(proxy.listener("main"));
    let (method, length) = match body.len() {
        0 => ("GET", String::new()),
        length => ("POST", format!("content-length: {length}\r\n")),
    };
    client.request(format!("{method} {path} HTTP/1.1\r\nhost: from.test\r\n{length}\r\n{body}"))
}

#[test]
fn a_redirect_is_followed_with_the_body_and_the_origin_is_told_where_it_comes_from() {
    let origin = origin();
    let proxy = start(&origin, "response_headers_to_copy: [x-copied]");
    let answer = ask(&proxy, "/to?302+http://to.test/there?a=1", "hello");
    assert_eq!((answer.status, answer.text().as_str()), (200, "/there?a=1 5 bytes"));
    let head = origin.heads().pop().expect("a request");
    for line in [
        "host: to.test\r\n",
        "x-copied: yes\r\n",
        "x-envoy-original-url: http://from.test/to?302+http://to.test/there?a=1\r\n",
    ] {
        assert!(head.contains(line), "{line} in {head}");
    }
    for (stat, value) in [
        ("cluster.a.upstream_internal_redirect_succeeded_total", 1),
        ("http.ingress_http.downstream_rq_total", 2),
        ("http.ingress_http.downstream_rq_completed", 1),
        ("http.ingress_http.downstream_rq_2xx", 1),
        ("http.ingress_http.downstream_rq_active", 0),
    ] {
        assert_eq!(proxy.stat(stat), Some(value), "{stat}");
    }
}

#[test]
fn what_is_not_followed_goes_to_the_client_as_it_is() {
    let origin = origin();
    let from_itself = "http://t/to?302+http://t/there";
    for (policy, to, stat) in [
        ("", "302+http://t/nowhere", "passthrough_internal_redirect_no_route"),
        ("", "302+/relative", "passthrough_internal_redirect_bad_location"),
        ("", "302+https://t/there", "passthrough_internal_redirect_unsafe_scheme"),
        (
            "max_internal_redirects: 0",
            "302+http://t/there",
            "passthrough_internal_redirect_too_many_redirects",
        ),
        (
            "predicates: [{name: p, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig, allowed_route_names: [other]}}]",
            "302+http://t/there",
            "passthrough_internal_redirect_predicate",
        ),
    ] {
        let proxy = start(&origin, policy);
        let answer = ask(&proxy, &format!("/to?{to}"), "");
        assert_eq!(answer.status, 302, "{policy} {to}");
        assert_eq!(answer.header("location"), to.split_once('+').map(|(_, to)| to));
        assert_eq!(proxy.stat(&format!("http.ingress_http.{stat}")), Some(1), "{stat}");
        assert_eq!(proxy.stat("cluster.a.upstream_internal_redirect_failed_total"), Some(1));
    }
    // Too many are too many at the second already.
    let proxy = start(&origin, "");
    assert_eq!(ask(&proxy, &format!("/to?302+{from_itself}"), "").status, 302);
    // Statuses that are not listed are no redirects at all.
    assert_eq!(ask(&proxy, "/to?301+http://t/there", "").status, 301);
    assert_eq!(ask(&proxy, "/to?302", "").status, 302);
}

#[test]
fn see_other_makes_a_get_of_it() {
    let origin = origin();
    let proxy = start(&origin, "redirect_response_codes: [303, 307]");
    let answer = ask(&proxy, "/to?303+http://t/there", "hello");
    assert_eq!((answer.status, answer.text().as_str()), (200, "/there 0 bytes"));
    let head = origin.heads().pop().expect("a request");
    assert!(head.starts_with("GET /there") && !head.contains("content-length"), "{head}");
    let answer = ask(&proxy, "/to?307+http://t/there", "hello");
    assert_eq!(answer.text(), "/there 5 bytes");
}
