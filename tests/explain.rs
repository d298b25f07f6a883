//! `/explain` tells of a request what happens to it when it comes.

mod support;

use serde_json::Value;
use support::{
    client::{Client, get},
    config::{cluster, routed},
    origin::Origin,
    proxy::Proxy,
};

const ROUTES: &str = "\
    {name: exact, match: {path: /exact}, direct_response: {status: 201, body: {inline_string: made}}}, \
    {match: {prefix: /h, headers: [{name: x-v, string_match: {exact: \"1\"}}]}, route: {cluster: a}}, \
    {match: {prefix: /h, query_parameters: [{name: k, present_match: true}]}, route: {cluster: b}}, \
    {match: {prefix: /old}, redirect: {host_redirect: new.test, prefix_rewrite: /new}}, \
    {match: {prefix: /none, runtime_fraction: {default_value: {numerator: 0}}}, route: {cluster: a}}, \
    {name: split, match: {prefix: /w}, route: {timeout: 3s, prefix_rewrite: /v, host_rewrite_literal: up.test, \
      retry_policy: {retry_on: \"5xx,reset\", num_retries: 2}, \
      weighted_clusters: {clusters: [{name: a, weight: 3}, {name: b, weight: 1}]}}}, \
    {match: {prefix: /h}, route: {cluster_header: x-cluster}}";

fn proxy(a: &Origin, b: &Origin) -> Proxy {
    Proxy::start(&routed(ROUTES, &(cluster("a", &[a.address]) + &cluster("b", &[b.address]))))
}

fn explain(proxy: &Proxy, query: &str) -> Value {
    let answer = get(proxy.admin, &format!("/explain?host=x.test&format=json&{query}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all: Value = serde_json::from_str(&answer.text()).expect("JSON");
    all["explained"][0].clone()
}

#[test]
fn a_route_is_named_with_those_before_it_and_what_they_were_missed_by() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let proxy = proxy(&a, &b);
    let told = explain(&proxy, "path=/h/1&header=x-cluster:b");
    assert_eq!(told["route"]["number"], 7);
    assert_eq!(told["outcome"], "goes to cluster b");
    let missed: Vec<&str> = told["missed"]["routes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|route| route["missed_by"].as_str())
        .collect();
    let expected =
        ["path", "header x-v, which is not there", "query parameter k", "path", "path", "path"];
    assert_eq!(missed, expected);
    let told = explain(&proxy, "path=/h&header=x-v:1&header=x-cluster:b");
    assert_eq!((&told["route"]["number"], &told["cluster"]), (&2.into(), &"a".into()));
    let told = explain(&proxy, "path=/none");
    assert_eq!(told["outcome"], "404: the virtual host has no route for it");
    let missed = told["missed"]["routes"][4]["missed_by"].as_str().expect("a text");
    assert!(missed.starts_with("runtime share: 0 of 100"), "{missed}");
}

#[test]
fn what_is_told_is_what_happens() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let proxy = proxy(&a, &b);
    let told = explain(&proxy, "path=/w/x%3Fq=1");
    assert_eq!(told["weighted_clusters"][0]["percent"], 75.0);
    assert_eq!(told["retry_policy"]["num_retries"], 2);
    assert_eq!(told["timeouts"]["route"], "3s");
    assert_eq!(told["hosts"][0]["takes_traffic"], true);
    let mut client = Client::connect(proxy.listener("main"));
    assert_eq!(client.request("GET /w/x?q=1 HTTP/1.1\r\nhost: x.test\r\n\r\n").status, 200);
    let heads = [a.heads(), b.heads()].concat();
    let path = told["upstream_path"].as_str().expect("a text");
    let host = told["upstream_host"].as_str().expect("a text");
    assert!(heads[0].starts_with(&format!("GET {path} HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads[0].contains(&format!("\r\nhost: {host}\r\n")), "{heads:?}");
    let told = explain(&proxy, "path=/old/a");
    let sent = client.request("GET /old/a HTTP/1.1\r\nhost: x.test\r\n\r\n");
    assert_eq!(told["location"].as_str(), sent.header("location"));
    assert_eq!(told["outcome"], "301: a redirect");
}

#[test]
fn people_read_it_too_and_are_told_what_they_asked_wrongly() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let proxy = proxy(&a, &b);
    let text = get(proxy.admin, "/explain?host=x.test&path=/exact&listener=main").text();
    for part in [
        "listener: main\n",
        "  request: GET http://x.test/exact\n",
        "  virtual_host: all (*)\n",
        "  route: 1. exact: path /exact\n",
        "  outcome: 201: a direct response\n",
        "    body: made\n",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    for (query, status, told) in [
        ("path=/", 400, "host= is missing"),
        ("host=a&method=NONE", 400, "method=NONE"),
        ("host=a&header=x", 400, "header=x is not NAME:VALUE"),
        ("host=a&scheme=ftp", 400, "scheme=ftp"),
        ("host=a&listener=other", 404, "there are main"),
    ] {
        let answer = get(proxy.admin, &format!("/explain?{query}"));
        assert_eq!(answer.status, status, "{query}");
        assert!(answer.text().contains(told), "{query}: {}", answer.text());
    }
}
