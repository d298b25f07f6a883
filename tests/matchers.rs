//! Trees of matchers (`xds.type.matcher.v3.Matcher`): who may, and which filter chain takes a connection.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use support::{client::Client, proxy, proxy::Proxy};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

/// An input of requests.
fn header(name: &str) -> String {
    let kind = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput";
    format!("{{name: i, typed_config: {{\"@type\": {kind}, header_name: {name}}}}}")
}

/// An input of connections.
fn input(name: &str) -> String {
    let kind = "type.googleapis.com/envoy.extensions.matching.common_inputs";
    format!("{{name: i, typed_config: {{\"@type\": {kind}.{name}}}}}")
}

/// An action of access control.
fn access(name: &str, action: &str) -> String {
    let kind = "type.googleapis.com/envoy.config.rbac.v3.Action";
    format!(
        "{{action: {{name: a, typed_config: {{\"@type\": {kind}, name: {name}, action: {action}}}}}}}"
    )
}

/// An action that names a filter chain.
fn chain(name: &str) -> String {
    let kind = "type.googleapis.com/google.protobuf.StringValue";
    format!("{{action: {{name: c, typed_config: {{\"@type\": {kind}, value: {name}}}}}}}")
}

/// A matcher in a list.
fn when(input: &str, test: &str, then: &str) -> String {
    format!("{{predicate: {{single_predicate: {{input: {input}, {test}}}}}, on_match: {then}}}")
}

fn list(matchers: &[String]) -> String {
    format!("matcher_list: {{matchers: [{}]}}", matchers.join(", "))
}

/// A proxy whose listener has these lines and these chains.
fn proxy(lines: &str, chains: &str) -> Proxy {
    Proxy::start(&config(lines, chains))
}

fn config(lines: &str, chains: &str) -> String {
    format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: main
    stat_prefix: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    {lines}
    filter_chains: [{chains}]
"#
    )
}

/// A chain that tells a request what was said of it.
fn http(rbac: &str) -> String {
    format!(
        r#"{{filters: [{{name: http, typed_config: {{"@type": {TYPES}.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: in,
        local_reply_config: {{body_format: {{text_format_source: {{inline_string: "%RESPONSE_CODE_DETAILS%"}}}}}},
        route_config: {{virtual_hosts: [{{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]}},
        http_filters: [{{name: rbac, typed_config: {{"@type": {TYPES}.http.rbac.v3.RBAC, {rbac}}}}}, {{name: router, typed_config: {{"@type": {TYPES}.http.router.v3.Router}}}}]}}}}]}}"#
    )
}

/// A chain that answers with its name.
fn says(name: &str) -> String {
    format!(
        "{{name: {name}, filters: [{{name: f, typed_config: {{\"@type\": {TYPES}.network.direct_response.v3.Config, response: {{inline_string: {name}}}}}}}]}}"
    )
}

fn ask(proxy: &Proxy, headers: &str) -> String {
    let mut client = Client::connect(proxy.listener("main"));
    let answer = client.request(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n"));
    match answer.status {
        200 => "200".to_owned(),
        _ => answer.text(),
    }
}

/// What comes of a connection that says this; nothing where it is closed.
fn connect(to: SocketAddr, says: &str) -> String {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let (mut out, _) = (String::new(), stream.write_all(says.as_bytes()));
    let _ = stream.read_to_string(&mut out);
    out
}

/// What is said of a configuration that is refused.
fn refused(config: &str) -> String {
    let file = proxy::folder().join("config.yaml");
    std::fs::write(&file, config).expect("the configuration can be written");
    let mut validate = proxy::binary();
    let flags = ["--mode", "validate", "--skip-unsupported", "-c"];
    let output = validate.args(flags).arg(&file).output().expect("the binary runs");
    let said =
        [output.stderr, output.stdout].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(!output.status.success(), "{config}");
    said.concat()
}

#[test]
fn a_request_may_what_the_first_matching_action_says() {
    let alice = when(&header("user"), "value_match: {exact: alice}", &access("alice", "ALLOW"));
    let bots = when(
        &header("user"),
        "value_match: {prefix: bot, ignore_case: true}",
        &access("no bots", "DENY"),
    );
    let logged = when(&header("user"), "value_match: {exact: bob}", &access("bob", "LOG"));
    let shadow = when(&header("user"), "value_match: {exact: bob}", &access("bob", "DENY"));
    let rbac = format!(
        "rules_stat_prefix: real, shadow_rules_stat_prefix: dark, rules: {{action: DENY}}, matcher: {{{}}}, shadow_matcher: {{{}, on_no_match: {}}}",
        list(&[alice, bots, logged]),
        list(&[shadow]),
        access("rest", "ALLOW"),
    );
    let proxy = proxy("", &http(&rbac));
    let denied = |policy: &str| format!("rbac_access_denied_matched_policy[{policy}]");
    for (headers, expected) in [
        ("user: alice\r\n", "200".to_owned()),
        ("user: bob\r\n", "200".to_owned()),
        ("user: BOTTOM\r\n", denied("no_bots")),
        ("user: alice\r\nuser: bob\r\n", denied("none")),
        ("", denied("none")),
    ] {
        assert_eq!(ask(&proxy, headers), expected, "{headers}");
    }
    for (stat, expected) in [
        ("http.in.rbac.real.allowed", 2),
        ("http.in.rbac.real.denied", 3),
        ("http.in.rbac.dark.shadow_denied", 1),
        ("http.in.rbac.dark.shadow_allowed", 4),
    ] {
        assert_eq!(proxy.stat(stat), Some(expected), "{stat}");
    }
}

/// Where the most specific one comes to nothing, the one above it has its turn; and of `on_no_match` the innermost.
#[test]
fn trees_are_followed_by_what_is_most_specific() {
    let map = |kind: &str, entries: &str| {
        format!("matcher_tree: {{input: {}, {kind}: {{map: {{{entries}}}}}}}", header("x"))
    };
    let y = format!(
        "{{matcher: {{{}}}}}",
        list(&[when(&header("z"), "value_match: {exact: \"1\"}", &access("zed", "DENY"))])
    );
    let deny = |name: &str| access(name, "DENY");
    let custom = |kind: &str| {
        format!(
            "matcher_tree: {{input: {}, custom_match: {{name: c, typed_config: {{\"@type\": type.googleapis.com/xds.type.matcher.v3.{kind}}}}}}}",
            header("x")
        )
    };
    let range = |range: &str, length, on: &str, more: &str| {
        format!(
            "{{ranges: [{{address_prefix: \"{range}\", prefix_len: {length}}}], on_match: {on}, {more}}}"
        )
    };
    let ranges = [
        range("10.0.0.0", 8, &deny("ten"), ""),
        range("10.1.0.0", 16, &y, ""),
        range("0.0.0.0", 0, &deny("all"), "exclusive: true"),
        range("11.0.0.0", 8, &y, ""),
    ];
    let names = format!(
        "{{domains: [\"*\"], on_match: {}}}, {{domains: [a.test, \"*.a.test\"], on_match: {y}}}",
        deny("any")
    );
    for (tree, requests) in [
        (
            map("exact_match_map", &format!("a: {}, b: {y}", deny("a"))),
            &[("x: a\r\n", "a"), ("x: b\r\nz: 1\r\n", "zed"), ("x: b\r\n", "rest"), ("", "rest")][..],
        ),
        (
            map("prefix_match_map", &format!("a: {}, abc: {y}", deny("a"))),
            &[("x: abcd\r\n", "a"), ("x: abcd\r\nz: 1\r\n", "zed"), ("x: b\r\n", "rest")],
        ),
        (
            custom(&format!("IPMatcher, range_matchers: [{}]", ranges.join(", "))),
            &[
                ("x: 10.1.0.9\r\n", "ten"),
                ("x: 10.1.0.9\r\nz: 1\r\n", "zed"),
                ("x: 9.9.9.9\r\n", "all"),
                ("x: 11.0.0.1\r\n", "rest"),
                ("x: nobody\r\n", "rest"),
            ],
        ),
        (
            custom(&format!("ServerNameMatcher, domain_matchers: [{names}]")),
            &[("x: a.test\r\nz: 1\r\n", "zed"), ("x: b.a.test\r\n", "any"), ("x: \r\n", "rest")],
        ),
    ] {
        let rbac = format!("matcher: {{{tree}, on_no_match: {}}}", deny("rest"));
        let proxy = proxy("", &http(&rbac));
        for (headers, policy) in requests {
            let expected = format!("rbac_access_denied_matched_policy[{policy}]");
            assert_eq!(ask(&proxy, headers), expected, "{headers} {tree}");
        }
    }
}

/// Without TLS nobody can say what a certificate would have said: nothing after that counts.
#[test]
fn what_cannot_be_known_decides_nothing() {
    let rest = access("rest", "ALLOW");
    let user = when(&header("user"), "value_match: {exact: alice}", &access("alice", "ALLOW"));
    let san = when(&input("ssl.v3.UriSanInput"), "value_match: {exact: spiffe}", &rest);
    let rbac = format!("matcher: {{{}, on_no_match: {rest}}}", list(&[user, san]));
    let proxy = proxy("", &http(&rbac));
    assert_eq!(ask(&proxy, "user: alice\r\n"), "200");
    assert_eq!(ask(&proxy, ""), "rbac_access_denied_matched_policy[none]");
}

#[test]
fn a_connection_may_what_a_matcher_says() {
    let ten = "custom_match: {name: ip, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.matching.input_matchers.ip.v3.Ip, stat_prefix: p, cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}}";
    let ten = when(&input("network.v3.SourceIPInput"), ten, &access("ten", "ALLOW"));
    let home = when(
        &input("network.v3.SourceIPInput"),
        "value_match: {exact: 127.0.0.1}",
        &access("home", "DENY"),
    );
    let chain = format!(
        "{{filters: [{{name: rbac, typed_config: {{\"@type\": {TYPES}.network.rbac.v3.RBAC, stat_prefix: who, matcher: {{{}}}, shadow_matcher: {{{}}}}}}}, {{name: echo, typed_config: {{\"@type\": {TYPES}.network.echo.v3.Echo}}}}]}}",
        list(&[ten]),
        list(&[home]),
    );
    let proxy = proxy("", &chain);
    assert_eq!(connect(proxy.listener("main"), "hello"), "");
    for (stat, expected) in
        [("who.rbac.denied", 1), ("who.rbac.allowed", 0), ("who.rbac.shadow_denied", 1)]
    {
        support::wait_for(stat, || (proxy.stat(stat) == Some(expected)).then_some(()));
    }
}

#[test]
fn a_matcher_names_the_chain_of_a_connection() {
    let header = format!(
        "listener_filters: [{{name: pp, typed_config: {{\"@type\": {TYPES}.listener.proxy_protocol.v3.ProxyProtocol}}}}]"
    );
    let ports = format!(
        "matcher_tree: {{input: {}, exact_match_map: {{map: {{\"1\": {}, \"2\": {}, \"3\": {}}}}}}}",
        input("network.v3.DestinationPortInput"),
        chain("one"),
        chain("two"),
        chain("nowhere"),
    );
    let local =
        when(&input("network.v3.SourceTypeInput"), "value_match: {exact: local}", &chain("two"));
    let lines = format!(
        "{header}\n    default_filter_chain: {}\n    filter_chain_matcher: {{{ports}, on_no_match: {{matcher: {{{}}}}}}}",
        says("rest"),
        list(&[local]),
    );
    // Which connections a chain would take says its matcher alone.
    let one = says("one").replacen('{', "{filter_chain_match: {destination_port: 7}, ", 1);
    let proxy = proxy(&lines, &format!("{one}, {}", says("two")));
    let to = proxy.listener("main");
    for (said, expected) in [
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 1\r\n", "one"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 2\r\n", "two"),
        ("PROXY TCP4 5.6.7.8 5.6.7.8 9 9\r\n", "two"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 7\r\n", "rest"),
        ("PROXY TCP4 1.2.3.4 5.6.7.8 9 3\r\n", ""),
    ] {
        assert_eq!(connect(to, said), expected, "{said}");
    }
    assert_eq!(proxy.stat("listener.main.no_filter_chain_match"), Some(1), "a name of no chain");
}

#[test]
fn a_connection_that_no_matcher_names_a_chain_for_is_closed() {
    let never =
        when(&input("network.v3.SourceIPInput"), "value_match: {exact: 1.2.3.4}", &chain("one"));
    let proxy = proxy(&format!("filter_chain_matcher: {{{}}}", list(&[never])), &says("one"));
    assert_eq!(connect(proxy.listener("main"), ""), "");
    assert_eq!(proxy.stat("listener.main.no_filter_chain_match"), Some(1));
}

#[test]
fn what_is_wrong_with_a_matcher_is_told_where_it_stands() {
    let any = |name: &str| when(&input(name), "value_match: {exact: a}", &access("a", "ALLOW"));
    let of_requests = |matchers: &[String]| http(&format!("matcher: {{{}}}", list(matchers)));
    let user = |then: &str| when(&header("user"), "value_match: {exact: a}", then);
    let keep = access("a", "ALLOW").replacen('{', "{keep_matching: true, ", 1);
    let two = format!("{}, {}", says("one"), says("one"));
    let by_source =
        when(&input("network.v3.SourceIPInput"), "value_match: {exact: a}", &chain("one"));
    let matcher = format!("filter_chain_matcher: {{{}}}", list(&[by_source]));
    let regex = "value_match: {safe_regex: {google_re2: {}, regex: a}, ignore_case: true}";
    // Each is the inversion of the one before it: what stands in a line is nested by its alias.
    let mut deep = vec![user(&access("a", "ALLOW")).replacen("{single", "&p0 {single", 1)];
    for at in 1..102 {
        let before = at - 1;
        let predicate = format!("{{predicate: &p{at} {{not_matcher: *p{before}}}");
        deep.push(format!("{predicate}, on_match: {}}}", access("a", "ALLOW")));
    }
    for (listener, chains, said) in [
        ("", of_requests(&[]), "matchers"),
        ("", of_requests(&[user("{}")]), "on_match: one of `matcher`, `action` is required"),
        ("", of_requests(&[user(&keep)]), "keep_matching is not supported in this context"),
        ("", of_requests(&[user(&chain("a"))]), "StringValue is no action of access control"),
        (
            "",
            of_requests(&[when(&header("a"), regex, &access("a", "ALLOW"))]),
            "ignore_case has no effect for safe_regex",
        ),
        (
            "",
            of_requests(&[any("network.v3.SourceTypeInput")]),
            "RBAC HTTP filter cannot match on envoy",
        ),
        (
            "",
            of_requests(&[any("network.v3.NetworkNamespaceInput")]),
            "NetworkNamespaceInput is known to Envoy, and not supported",
        ),
        ("", of_requests(&deep), "matchers are nested more than 100 levels deep"),
        (&matcher, two, "\"name\" field is duplicated with value 'one'"),
        (&matcher, says("\"\""), "\"name\" field is required when using a listener matcher"),
    ] {
        let told = refused(&config(listener, &chains));
        assert!(told.contains(said) && told.contains("config.yaml:"), "{said} in {told}");
    }
}
