//! Which route takes a request, and what it makes of it, end to end.

mod support;

use support::{
    client::{Answer, Client},
    config::{cluster, front_with, routed},
    origin::Origin,
    proxy::Proxy,
};

/// One request on a connection of its own.
fn ask(proxy: &Proxy, method: &str, host: &str, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(proxy.listener("main"));
    client.request(format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n"))
}

fn direct(rule: &str, body: &str) -> String {
    format!(
        "{{match: {{{rule}}}, direct_response: {{status: 200, body: {{inline_string: \"{body}\"}}}}}}"
    )
}

#[test]
fn a_request_takes_the_first_route_that_it_fulfils_wholly() {
    let template = "\"@type\": type.googleapis.com/envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";
    let template = format!(
        "path_match_policy: {{name: t, typed_config: {{{template}, path_template: \"/t/{{x}}/**\"}}}}"
    );
    let routes = [
        direct("path_separated_prefix: /seg", "separated"),
        direct("prefix: /ci, case_sensitive: false", "any case"),
        direct("prefix: /h, headers: [{name: x-v, range_match: {start: 1, end: 5}}]", "range"),
        direct(
            "prefix: /h, headers: [{name: x-v, present_match: true, invert_match: true}]",
            "none",
        ),
        direct("prefix: /q, query_parameters: [{name: k, string_match: {prefix: v}}]", "query"),
        direct("prefix: /c, cookies: [{name: k, string_match: {exact: v}}]", "cookie"),
        direct("prefix: /t1, tls_context: {presented: false}", "no certificate"),
        direct("prefix: /t2, tls_context: {presented: true}", "certificate"),
        direct(&template, "template"),
        direct("safe_regex: {regex: \"/[a-z]+/[0-9]+\"}", "regex"),
        direct("prefix: /zero, runtime_fraction: {default_value: {numerator: 0}}", "nobody"),
    ];
    let proxy = Proxy::start(&routed(&routes.join(", "), ""));
    for (path, headers, expected) in [
        ("/seg/x", "", "separated"),
        ("/segment", "", "-"),
        ("/CI", "", "any case"),
        ("/h", "x-v: 4\r\n", "range"),
        ("/h", "x-v: 5\r\n", "-"),
        ("/h", "", "none"),
        ("/q?a&k=v1", "", "query"),
        ("/q?k=%76", "", "-"),
        ("/c", "cookie: a=b; k=v\r\n", "cookie"),
        ("/c", "cookie: a=b\r\n", "-"),
        ("/t1", "", "no certificate"),
        ("/t2", "", "-"),
        ("/t/a/b/c?d", "", "template"),
        ("/t/a", "", "-"),
        ("/abc/12?x", "", "regex"),
        ("/zero", "", "-"),
    ] {
        let answer = ask(&proxy, "GET", "a.test", path, headers);
        let got = if answer.status == 200 { answer.text() } else { "-".to_owned() };
        assert_eq!(got, expected, "{path} {headers}");
    }
}

#[test]
fn the_upstream_is_asked_for_another_path_and_host_and_told_the_old_ones() {
    let origin = Origin::saying("ok");
    let routes = [
        "{match: {prefix: /re/}, route: {cluster: a, regex_rewrite: {pattern: {regex: \"^/re/([^/]+)/(.*)$\"}, substitution: '/\\2/\\1'}}}",
        "{match: {path_separated_prefix: /ps}, route: {cluster: a, prefix_rewrite: /}}",
        "{match: {prefix: /hh}, route: {cluster: a, host_rewrite_header: X-New, append_x_forwarded_host: true}}",
        "{match: {prefix: /hp}, route: {cluster: a, host_rewrite_path_regex: {pattern: {regex: \"^/hp/([^/]+)$\"}, substitution: '\\1.test'}}}",
        "{match: {prefix: /w}, route: {weighted_clusters: {clusters: [{name: a, weight: 1, host_rewrite_literal: w.test}]}}}",
        "{match: {prefix: /f}, route: {cluster: a, path_rewrite: \"/n/%REQ(x-new)%\", host_rewrite: \"%REQ(x-new)%.%UPSTREAM_CLUSTER%\"}}",
    ];
    let proxy = Proxy::start(&routed(&routes.join(", "), &cluster("a", &[origin.address])));
    for (path, headers, line, told) in [
        ("/re/one/two?q", "", "GET /two/one?q", &["x-envoy-original-path: /re/one/two?q"][..]),
        ("/ps/x", "", "GET /x", &["x-envoy-original-path: /ps/x"]),
        (
            "/hh",
            "x-new: n.test\r\nx-forwarded-host: first\r\n",
            "GET /hh",
            &["host: n.test", "x-envoy-original-host: a.test", "x-forwarded-host: first,a.test"],
        ),
        ("/hh", "", "GET /hh", &["host: a.test"]),
        (
            "/hp/tenant",
            "",
            "GET /hp/tenant",
            &["host: tenant.test", "x-envoy-original-host: a.test"],
        ),
        ("/w", "", "GET /w", &["host: w.test"]),
        (
            "/f?q",
            "x-new: t\r\n",
            "GET /n/t?q",
            &["host: t.a", "x-envoy-original-path: /f?q", "x-envoy-original-host: a.test"],
        ),
        ("/f", "x-new: a b/c\r\n", "GET /n/a%20b/c", &["host: a.test"]),
    ] {
        assert_eq!(ask(&proxy, "GET", "a.test", path, headers).status, 200, "{path}");
        let heads = origin.heads();
        let head = heads.last().expect("the origin was asked");
        assert!(head.starts_with(&format!("{line} HTTP/1.1\r\n")), "{head}");
        for line in told {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
        }
    }
}

#[test]
fn clusters_are_drawn_by_weight_or_named_by_the_request() {
    let (a, b) = (Origin::saying("a"), Origin::saying("b"));
    let routes = [
        "{match: {prefix: /n}, route: {weighted_clusters: {header_name: x-n, clusters: [{name: a, weight: 30}, {name: b, weight: 70}]}}}",
        "{match: {prefix: /w}, route: {weighted_clusters: {runtime_key_prefix: share, clusters: [{name: a, weight: 100}, {name: b, weight: 0}]}}}",
        "{match: {prefix: /h}, route: {weighted_clusters: {use_hash_policy: true, clusters: [{name: a, weight: 30}, {name: b, weight: 70}]}, \
            hash_policy: [{header: {header_name: x-user}}]}}",
        "{match: {prefix: /c}, route: {cluster_header: x-cluster, cluster_not_found_response_code: NOT_FOUND}}",
    ];
    let clusters = cluster("a", &[a.address]) + &cluster("b", &[b.address]);
    let proxy = Proxy::start(&routed(&routes.join(", "), &clusters));
    for (path, headers, status, expected) in [
        ("/n", "x-n: 29\r\n", 200, "a"),
        ("/n", "x-n: 30\r\n", 200, "b"),
        ("/n", "x-n: 110\r\n", 200, "a"),
        ("/w", "", 200, "a"),
        ("/h", "x-user: u1\r\n", 200, "b"),
        ("/h", "x-user: u2\r\n", 200, "b"),
        ("/h", "x-user: u3\r\n", 200, "b"),
        ("/h", "x-user: u4\r\n", 200, "a"),
        ("/h", "x-user: u5\r\n", 200, "a"),
        ("/c", "x-cluster: b\r\n", 200, "b"),
        ("/c", "x-cluster: nobody\r\n", 404, ""),
        ("/c", "", 404, ""),
    ] {
        let answer = ask(&proxy, "GET", "a.test", path, headers);
        assert_eq!((answer.status, answer.text().as_str()), (status, expected), "{path} {headers}");
    }
    assert_eq!(proxy.stat("http.ingress_http.no_cluster"), Some(2));
    support::client::post(proxy.admin, "/runtime_modify?share.a=0&share.b=1");
    let answers: Vec<String> = (0..5).map(|_| ask(&proxy, "GET", "a", "/w", "").text()).collect();
    assert_eq!(answers, ["b"; 5]);
}

#[test]
fn a_host_is_known_without_its_port_and_its_dot_and_may_want_tls() {
    let origin = Origin::saying("ok");
    let manager = "          strip_any_host_port: true\n          strip_trailing_host_dot: true";
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], manager));
    assert_eq!(ask(&proxy, "GET", "a.test.:81", "/", "").status, 200);
    let heads = origin.heads();
    assert!(heads[0].contains("\r\nhost: a.test\r\n"), "{heads:?}");
    let config = front_with(&[("a", &[origin.address])], "");
    let proxy = Proxy::start(&config.replace("name: all,", "name: all, require_tls: ALL,"));
    let answer = ask(&proxy, "POST", "a.test:80", "/x?y", "content-length: 0\r\n");
    let location = answer.header("location");
    assert_eq!((answer.status, location), (301, Some("https://a.test:80/x?y")));
    assert_eq!(ask(&proxy, "GET", "a.test", "/", "x-forwarded-proto: https\r\n").status, 200);
}

#[test]
fn requests_are_counted_apart_by_virtual_cluster_and_route() {
    let origin = Origin::saying("ok");
    let routes = "{match: {prefix: /s}, stat_prefix: s, route: {cluster: a}}, \
                  {match: {prefix: /}, route: {cluster: a}}";
    let config = routed(routes, &cluster("a", &[origin.address])).replace(
        "name: all,",
        "name: all, virtual_clusters: [{name: posts, headers: [{name: \":method\", string_match: {exact: POST}}]}],",
    );
    let proxy = Proxy::start(&config);
    for (method, path) in [("GET", "/s"), ("POST", "/s"), ("POST", "/"), ("GET", "/")] {
        let answer = ask(&proxy, method, "a.test", path, "content-length: 0\r\n");
        assert_eq!(answer.status, 200, "{method} {path}");
    }
    for (name, expected) in [
        ("vhost.all.vcluster.posts.upstream_rq_total", Some(2)),
        ("vhost.all.vcluster.posts.upstream_rq_200", Some(2)),
        ("vhost.all.vcluster.posts.upstream_rq_timeout", Some(0)),
        ("vhost.all.vcluster.other.upstream_rq_2xx", Some(2)),
        ("vhost.all.route.s.upstream_rq_completed", Some(2)),
        ("vhost.all.route.s.upstream_rq_retry", Some(0)),
        ("vhost.all.route.t.upstream_rq_total", None),
    ] {
        assert_eq!(proxy.stat(name), expected, "{name}");
    }
}

/// Where a part of a matcher is left out, the rest is not for everybody.
#[test]
fn a_matcher_of_which_a_part_is_left_out_gives_no_route_to_anybody() {
    let types = "type.googleapis.com";
    let route = |action: &str| {
        format!(
            "{{action: {{name: a, typed_config: {{\"@type\": {types}/envoy.config.route.v3.Route, match: {{prefix: /}}, {action}}}}}}}"
        )
    };
    let input = format!(
        "{{name: i, typed_config: {{\"@type\": {types}/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: role}}}}"
    );
    let admin = route("direct_response: {status: 200, body: {inline_string: secret}}");
    let other = route("route: {cluster: a, path_rewrite: \"%CEL(request.path)%\"}");
    let matcher = format!(
        "matcher_tree: {{input: {input}, exact_match_map: {{map: {{admin: {admin}, other: {other}}}}}}}"
    );
    let cluster = "  - {name: a, type: STATIC}";
    let config = routed("", cluster).replace("routes: []", &format!("matcher: {{{matcher}}}"));
    let proxy = Proxy::start_with(&config, &["--skip-unsupported"]);
    for role in ["", "role: admin\r\n", "role: other\r\n"] {
        assert_eq!(ask(&proxy, "GET", "a", "/", role).status, 404, "{role}");
    }
}

/// `VirtualHost.matcher`: its actions are routes, and those of one action are tried in their turn.
#[test]
fn a_virtual_host_may_choose_its_routes_by_a_matcher() {
    let types = "type.googleapis.com";
    let action = |kind: &str, fields: &str| {
        format!(
            "{{action: {{name: a, typed_config: {{\"@type\": {types}/envoy.config.route.v3.{kind}, {fields}}}}}}}"
        )
    };
    let route = |rule: &str, body: &str| {
        let route = direct(rule, body);
        let fields = route.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        action("Route", fields.expect("a mapping"))
    };
    let list = action(
        "RouteList",
        &format!("routes: [{}, {}]", direct("prefix: /p", "p"), direct("path: /q", "q")),
    );
    let input = format!(
        "{{name: i, typed_config: {{\"@type\": {types}/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: tenant}}}}"
    );
    let map = format!("one: {list}, two: {}", route("prefix: /", "two"));
    let matcher = format!(
        "matcher_tree: {{input: {input}, exact_match_map: {{map: {{{map}}}}}}}, on_no_match: {}",
        route("path: /", "rest")
    );
    let proxy =
        Proxy::start(&routed("", "").replace("routes: []", &format!("matcher: {{{matcher}}}")));
    for (path, tenant, expected) in [
        ("/p", "tenant: one\r\n", "p"),
        ("/q", "tenant: one\r\n", "q"),
        ("/z", "tenant: one\r\n", "-"),
        ("/z", "tenant: two\r\n", "two"),
        ("/", "", "rest"),
        ("/z", "", "-"),
    ] {
        let answer = ask(&proxy, "GET", "a", path, tenant);
        let body = if answer.status == 404 { "-".to_owned() } else { answer.text() };
        assert_eq!(body, expected, "{path} {tenant}");
    }
}
