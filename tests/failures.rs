//! `/failures`: who asks why a request failed is told, and what to do.

mod support;

use std::{io::Write, net::SocketAddr};

use serde_json::Value;
use support::{
    client::{Client, get},
    config::{front, routed},
    origin::Origin,
    proxy::Proxy,
};

/// An address on which nobody listens.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the bound address")
}

fn clusters(clusters: &[(&str, &[SocketAddr])]) -> String {
    let whole = front(clusters);
    whole.split_once("\n  clusters:\n").expect("clusters").1.to_owned()
}

fn failures(proxy: &Proxy, query: &str) -> Value {
    let text = get(proxy.admin, &format!("/failures?format=json{query}")).text();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}"))
}

fn ask(proxy: &Proxy, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\nx-request-id: id-1\r\n\r\n");
    Client::connect(proxy.listener("main")).request(request).status
}

#[test]
fn a_failed_request_is_told_with_its_route_its_hosts_and_what_to_do() {
    let failing = Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    });
    let healthy = Origin::saying("hello");
    let dead = nobody();
    let proxy = Proxy::start(&routed(
        "{match: {prefix: /dead}, name: to-the-dead, route: {cluster: dead}}, \
         {match: {prefix: /failing}, route: {cluster: failing, retry_policy: {retry_on: 5xx, num_retries: 1}}}, \
         {match: {prefix: /gone}, direct_response: {status: 410}}, \
         {match: {prefix: /moved}, redirect: {path_redirect: /dead}}, \
         {match: {prefix: /healthy}, route: {cluster: healthy}}",
        &clusters(&[
            ("dead", &[dead]),
            ("failing", &[failing.address]),
            ("healthy", &[healthy.address]),
        ]),
    ));
    let asked = ["/dead?a=b", "/failing", "/gone", "/moved", "/healthy", "/nowhere"];
    assert_eq!(asked.map(|path| ask(&proxy, path)), [503, 503, 410, 301, 200, 404]);

    let told = failures(&proxy, "");
    assert_eq!(told["seen"], 3, "{told:#}");
    let [nowhere, failing_told, dead_told] = &told["failures"].as_array().expect("a list")[..]
    else {
        panic!("{told:#}")
    };
    let expect = |failure: &Value, fields: &[(&str, Value)]| {
        for (field, value) in fields {
            assert_eq!(&failure[field], value, "{field} of {failure:#}");
        }
    };
    expect(
        dead_told,
        &[
            ("route", "to-the-dead".into()),
            ("virtual_host", "all".into()),
            ("cluster", "dead".into()),
            ("path", "/dead?a=b".into()),
            ("authority", "shop.test".into()),
            ("request_id", "id-1".into()),
            ("status", 503.into()),
            ("flags", "UF".into()),
            ("attempts", 1.into()),
        ],
    );
    assert_eq!(dead_told["tries"][0]["host"], dead.to_string());
    assert_eq!(dead_told["tries"][0]["outcome"], "no connection: Connection refused");
    let advice = dead_told["advice"].as_str().expect("a sentence");
    assert!(advice.contains(&dead.to_string()) && advice.contains("running"), "{advice}");

    expect(
        failing_told,
        &[
            ("route", "prefix /failing".into()),
            ("cluster", "failing".into()),
            ("details", "via_upstream".into()),
            ("flags", "URX".into()),
            ("attempts", 2.into()),
        ],
    );
    let outcomes: Vec<&Value> =
        failing_told["tries"].as_array().expect("a list").iter().map(|t| &t["outcome"]).collect();
    assert_eq!(outcomes, ["answered 503", "answered 503"]);

    expect(
        nowhere,
        &[
            ("details", "route_not_found".into()),
            ("virtual_host", "all".into()),
            ("route", "".into()),
            ("attempts", 0.into()),
        ],
    );
    assert_eq!(failures(&proxy, "&cluster=dead")["found"], 1);
    assert_eq!(failures(&proxy, "&status=404&limit=0")["failures"], Value::Array(Vec::new()));
    let text = get(proxy.admin, "/failures").text();
    assert!(text.starts_with("3 failures since the start, 3 kept that fit, 3 shown\n"), "{text}");
    assert!(text.contains("GET shop.test/dead?a=b from 127.0.0.1:"), "{text}");
    assert_eq!(get(proxy.admin, "/failures?limit=many").status, 400);
}

#[test]
fn an_answer_that_was_cut_and_a_try_that_was_made_good_are_told_apart() {
    let cut = Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let healthy = Origin::saying("hello");
    let proxy = Proxy::start(&routed(
        "{match: {prefix: /cut}, route: {cluster: cut}}, \
         {match: {prefix: /}, route: {cluster: half, retry_policy: {retry_on: connect-failure, num_retries: 3, retry_host_predicate: [{name: previous, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate}}], host_selection_retry_max_attempts: 5}}}",
        &clusters(&[("cut", &[cut.address]), ("half", &[nobody(), healthy.address])]),
    ));
    let mut client = Client::connect(proxy.listener("main"));
    client.send("GET /cut HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(client.try_answer(false).is_err());
    assert!((0..4).all(|_| ask(&proxy, "/half") == 200));
    let told = support::wait_for("the cut to be told", || {
        Some(failures(&proxy, "")).filter(|told| told["seen"] == 1)
    });
    assert_eq!(told["failures"][0]["status"], 200);
    assert_eq!(
        told["failures"][0]["details"],
        "upstream_reset_after_response_started{protocol_error}"
    );
    assert_eq!(told["failures"][0]["tries"][0]["outcome"], "ended its answer in the middle");
}
