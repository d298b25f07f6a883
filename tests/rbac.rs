//! The HTTP filter of role-based access control: whose requests are let through.

mod support;

use support::{client::Client, config, origin::Origin, proxy::Proxy};

/// A listener with a filter of these rules before the router, and these routes.
fn proxy(rules: &str, routes: &str) -> Proxy {
    let filters = format!(
        r#"          http_filters:
          - name: rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              {rules}
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}"#
    );
    Proxy::start(&format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          use_remote_address: false
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{routes}]}}]}}
{filters}
"#
    ))
}

fn ask(proxy: &Proxy, path: &str, headers: &str) -> (u16, String) {
    let mut client = Client::connect(proxy.listener("main"));
    let answer = client.request(format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
    (answer.status, answer.text())
}

const ALL: &str = "{match: {prefix: /}, direct_response: {status: 200}}";

#[test]
fn a_request_is_let_through_where_a_policy_says_so_and_counted() {
    let rules = r#"shadow_rules_stat_prefix: dark
              rules:
                policies:
                  readers:
                    permissions: [{and_rules: {rules: [{header: {name: ":method", string_match: {exact: GET}}}, {url_path: {path: {exact: /read}}}]}}]
                    principals: [{any: true}]
                  friends:
                    permissions: [{any: true}]
                    principals: [{remote_ip: {address_prefix: 1.2.3.0, prefix_len: 24}}]
              shadow_rules:
                action: DENY
                policies:
                  home: {permissions: [{any: true}], principals: [{direct_remote_ip: {address_prefix: 127.0.0.1, prefix_len: 32}}]}"#;
    let proxy = proxy(rules, ALL);
    assert_eq!(ask(&proxy, "/read?x=1", "").0, 200, "the query is no part of the path");
    assert_eq!(ask(&proxy, "/write", ""), (403, "RBAC: access denied".to_owned()));
    assert_eq!(ask(&proxy, "/write", "x-forwarded-for: 1.2.3.4\r\n").0, 200);
    for (stat, expected) in [
        ("http.in.rbac.allowed", 2),
        ("http.in.rbac.denied", 1),
        ("http.in.rbac.dark.shadow_denied", 3),
        ("http.in.rbac.dark.shadow_allowed", 0),
    ] {
        assert_eq!(proxy.stat(stat), Some(expected), "{stat}");
    }
}

#[test]
fn a_route_may_have_rules_of_its_own_or_none() {
    let routes = r#"{match: {prefix: /off}, direct_response: {status: 200}, typed_per_filter_config: {rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute}}}, {match: {prefix: /deny}, direct_response: {status: 200}, typed_per_filter_config: {rbac: {"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute, rbac: {rules: {action: DENY, policies: {bad: {permissions: [{header: {name: x-bad, present_match: true}}], principals: [{any: true}]}}}}}}}"#;
    let proxy = proxy("rules: {}", &format!("{routes}, {ALL}"));
    assert_eq!(ask(&proxy, "/", "").0, 403, "no policy lets anybody through");
    assert_eq!(ask(&proxy, "/off", "").0, 200);
    assert_eq!(ask(&proxy, "/deny", "").0, 200);
    assert_eq!(ask(&proxy, "/deny", "x-bad: 1\r\n").0, 403);
}

/// Who may is never left out, not even where that is asked for of what is not supported.
#[test]
fn what_cannot_be_honoured_of_rules_is_refused_by_name() {
    let rules = |policy: &str| {
        format!("rules: {{policies: {{p: {{permissions: [{{any: true}}], {policy}}}}}}}")
    };
    let noted = "envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput";
    for (what, said) in [
        (
            "`condition`",
            rules("principals: [{any: true}], condition: {const_expr: {bool_value: true}}"),
        ),
        (
            "`sourced_metadata`",
            rules(
                "principals: [{and_ids: {ids: [{any: true}, {sourced_metadata: {metadata_matcher: {filter: a, path: [{key: b}], value: {present_match: true}}}}]}}]",
            ),
        ),
        (
            noted,
            format!(
                "matcher: {{matcher_tree: {{input: {{name: a, typed_config: {{\"@type\": type.googleapis.com/{noted}, filter: a, path: [{{key: a}}]}}}}, exact_match_map: {{map: {{a: {{action: {{name: a, typed_config: {{\"@type\": type.googleapis.com/envoy.config.rbac.v3.Action, name: a}}}}}}}}}}}}}}"
            ),
        ),
    ] {
        let folder = support::proxy::folder();
        let rbac = format!(
            "{{name: rbac, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC, {said}}}}}"
        );
        let origin = Origin::saying("hello");
        let config = config::front(&[("one", &[origin.address])]);
        let config =
            config.replacen("http_filters:", &format!("http_filters:\n          - {rbac}"), 1);
        let file = folder.join("config.yaml");
        std::fs::write(&file, config).expect("the configuration can be written");
        let mut validate = support::proxy::binary();
        let flags = ["--mode", "validate", "--skip-unsupported", "-c"];
        let output = validate.args(flags).arg(&file).output().expect("the binary runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        let once = told.matches(&format!("{what} is known to Envoy")).count() == 1;
        assert!(!output.status.success() && once, "{told}");
    }
}
