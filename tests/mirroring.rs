//! Owns the proof that copies of requests go where they should, and that nobody waits for them.

mod support;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use support::{
    client::{Client, get},
    config::{cluster, routed},
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

fn start(policies: &str, main: &Origin, mirror: &Origin) -> Proxy {
    let route = format!(
        "{{match: {{prefix: /}}, route: {{cluster: a, request_mirror_policies: [{policies}]}}}}"
    );
    let clusters = cluster("a", &[main.address]) + &cluster("copies", &[mirror.address]);
    Proxy::start_with(&routed(&route, &clusters), &["--concurrency", "1"])
}

fn head(origin: &Origin) -> String {
    wait_for("a request", || origin.heads().pop())
}

#[test]
fn a_copy_says_that_it_is_one_and_has_the_body() {
    let main = Origin::saying("main");
    let mirror = Origin::answering(|stream, request| {
        let length = request.body.len();
        let _ = stream.write_all(format!("HTTP/1.1 {} X\r\n\r\n", 200 + length).as_bytes());
    });
    let proxy = start("{cluster: copies}", &main, &mirror);
    let mut client = Client::connect(proxy.listener("main"));
    let request = "POST /x HTTP/1.1\r\nhost: shop.test:80\r\ncontent-length: 4\r\n\r\nbody";
    assert_eq!(client.request(request).text(), "main");
    let copy = head(&mirror);
    for line in [
        "POST /x HTTP/1.1",
        "host: shop.test-shadow:80",
        "content-length: 4",
        "x-envoy-internal: true",
        "x-forwarded-for: ",
    ] {
        assert!(copy.contains(line), "{line} in {copy}");
    }
    wait_for("the copy's answer", || proxy.stat("cluster.copies.upstream_rq_204"));
    assert_eq!(proxy.stat("cluster.copies.internal.upstream_rq_204"), Some(1));
    assert!(!head(&main).contains("shadow"));
}

/// Observed: Envoy 1.40.
#[test]
fn a_copy_goes_to_the_subset_that_its_route_asks_for_and_to_a_cluster_of_clusters() {
    let (main, one, two) = (Origin::saying("main"), Origin::saying("1"), Origin::saying("2"));
    let endpoint = |origin: &Origin, version: &str| {
        format!(
            "{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}, metadata: \
             {{filter_metadata: {{envoy.lb: {{v: '{version}'}}}}}}}}",
            origin.address.port()
        )
    };
    let clusters = format!(
        "{}  - {{name: subsets, connect_timeout: 1s, lb_subset_config: {{subset_selectors: [{{keys: [v]}}]}}, \
         load_assignment: {{cluster_name: subsets, endpoints: [{{lb_endpoints: [{}, {}]}}]}}}}\n  \
         - {{name: all, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: {{name: x, typed_config: {{\
         '@type': type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [a]}}}}}}\n",
        cluster("a", &[main.address]),
        endpoint(&one, "1"),
        endpoint(&two, "2"),
    );
    let route = |path: &str, copies: &str| {
        format!(
            "{{match: {{prefix: {path}}}, route: {{cluster: a, request_mirror_policies: [{{cluster: {copies}}}], \
             metadata_match: {{filter_metadata: {{envoy.lb: {{v: '2'}}}}}}}}}}"
        )
    };
    let routes = [route("/subset", "subsets"), route("/all", "all")].join(", ");
    let proxy = Proxy::start_with(&routed(&routes, &clusters), &["--concurrency", "1"]);
    let listener = proxy.listener("main");
    for _ in 0..4 {
        get(listener, "/subset");
    }
    wait_for("the copies", || (two.heads().len() == 4).then_some(()));
    assert_eq!(one.heads().len(), 0);
    get(listener, "/all");
    wait_for("a copy by way of another cluster", || {
        (proxy.stat("cluster.all.upstream_rq_200") == Some(1)).then_some(())
    });
    assert_eq!(main.heads().len(), 6);
}

#[test]
fn nobody_waits_for_a_copy_and_its_failure_is_its_own() {
    let main = Origin::saying("main");
    let silent = Origin::answering(|_, _| std::thread::sleep(Duration::from_secs(20)));
    let proxy = start("{cluster: copies}", &main, &silent);
    let asked = Instant::now();
    for _ in 0..5 {
        assert_eq!(get(proxy.listener("main"), "/").text(), "main");
    }
    assert!(asked.elapsed() < Duration::from_secs(5));
    wait_for("the copies", || (silent.heads().len() == 5).then_some(()));
    assert_eq!(proxy.stat("cluster.copies.upstream_rq_active"), Some(5));
}

#[test]
fn where_a_copy_goes_and_what_its_host_is_called_is_for_the_policy_to_say() {
    for (policy, headers, host) in [
        ("{cluster_header: x-copy}", "x-copy: copies\r\n", Some("host: t-shadow\r\n")),
        ("{cluster_header: x-copy}", "x-copy: nowhere\r\n", None),
        ("{cluster_header: x-copy}", "", None),
        ("{cluster: copies, disable_shadow_host_suffix_append: true}", "", Some("host: t\r\n")),
        ("{cluster: copies, host_rewrite_literal: other}", "", Some("host: other\r\n")),
        (
            "{cluster: copies, request_headers_mutations: [{append: {header: {key: x-of, value: '%REQ(:authority)% %UPSTREAM_CLUSTER%'}}}]}",
            "",
            Some("x-of: t a\r\n"),
        ),
        ("{cluster: copies, runtime_fraction: {default_value: {numerator: 0}}}", "", None),
    ] {
        let (main, mirror) = (Origin::saying("main"), Origin::saying("copy"));
        let proxy = start(policy, &main, &mirror);
        let mut client = Client::connect(proxy.listener("main"));
        let request = format!("GET / HTTP/1.1\r\nhost: t\r\n{headers}\r\n");
        assert_eq!(client.request(&request).text(), "main");
        match host {
            Some(host) => assert!(head(&mirror).contains(host), "{policy}"),
            None => {
                // What would be sent was sent before the answer.
                assert_eq!(client.request(&request).text(), "main");
                assert_eq!(mirror.accepted(), 0, "{policy}");
            }
        }
    }
}

#[test]
fn a_body_that_is_too_long_is_not_copied_and_goes_on_all_the_same() {
    let (main, mirror) = (Origin::saying("main"), Origin::saying("copy"));
    let route = "{match: {prefix: /}, request_body_buffer_limit: 1000, route: {cluster: a, \
                 request_mirror_policies: [{cluster: copies}]}}";
    let clusters = cluster("a", &[main.address]) + &cluster("copies", &[mirror.address]);
    let proxy = Proxy::start_with(&routed(route, &clusters), &["--concurrency", "1"]);
    let mut client = Client::connect(proxy.listener("main"));
    client.send("POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 2000\r\n\r\n");
    assert_eq!(client.request(vec![b'x'; 2000]).text(), "main");
    assert_eq!(proxy.stat("cluster.a.retry_or_shadow_abandoned"), Some(1));
    assert_eq!(mirror.accepted(), 0);
}
