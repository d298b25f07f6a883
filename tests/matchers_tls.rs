//! Trees of matchers over what TLS tells of a connection: the name that is asked for, and who is at the other end.

mod support;

use std::{fs, io::Read, path::PathBuf};

use support::{
    certificates::{Authority, Greeting, Identity},
    proxy::{Proxy, folder},
    tls::{connect, get},
};

const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// An authority, a client's certificate, and where the proxy's are.
fn stage() -> (Authority, Identity, PathBuf) {
    let (authority, folder) = (Authority::new("tests"), folder());
    authority.issue(&["a.test", "b.test", "c.test"]).write(&folder, "one");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
    let client = authority.issue(&["client.test", "spiffe://tests/client", "spiffe://tests/b"]);
    (authority, client, folder)
}

/// A proxy whose listener has these lines and these chains, each of a name and filters.
fn proxy(folder: &std::path::Path, lines: &str, chains: &[(&str, String)]) -> Proxy {
    let at = folder.display();
    let chain = |(name, filters): &(&str, String)| {
        format!(
            "    - {{name: {name}, transport_socket: {{name: tls, typed_config: {{\"@type\": {TYPES}.transport_sockets.tls.v3.DownstreamTlsContext, \
             common_tls_context: {{tls_certificates: [{{certificate_chain: {{filename: {at}/one.pem}}, private_key: {{filename: {at}/one.key}}}}], \
             validation_context: {{trusted_ca: {{filename: {at}/ca.pem}}}}}}}}}}, filters: [{filters}]}}\n"
        )
    };
    let chains: String = chains.iter().map(chain).collect();
    Proxy::start(&format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\n\
         static_resources:\n  listeners:\n  - name: main\n    \
         address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    {lines}\n    filter_chains:\n{chains}"
    ))
}

fn filter(kind: &str) -> String {
    format!("{{name: f, typed_config: {{\"@type\": {TYPES}.filters.{kind}}}}}")
}

fn says(text: &str) -> String {
    filter(&format!("network.direct_response.v3.Config, response: {{inline_string: {text}}}"))
}

fn input(name: &str) -> String {
    format!("{{name: i, typed_config: {{\"@type\": {TYPES}.matching.common_inputs.{name}}}}}")
}

fn deny(name: &str) -> String {
    format!(
        "{{action: {{name: a, typed_config: {{\"@type\": type.googleapis.com/envoy.config.rbac.v3.Action, name: \"{name}\", action: DENY}}}}}}"
    )
}

#[test]
fn who_is_at_the_other_end_is_known_by_its_certificate() {
    let (authority, client, folder) = stage();
    let when = |name: &str, value: &str| {
        format!(
            "{{predicate: {{single_predicate: {{input: {}, value_match: {{exact: \"{value}\"}}}}}}, on_match: {}}}",
            input(name),
            deny(name)
        )
    };
    for (name, value) in [
        ("ssl.v3.UriSanInput", "spiffe://tests/client,spiffe://tests/b"),
        ("ssl.v3.DnsSanInput", "client.test"),
        ("ssl.v3.SubjectInput", "CN=client.test"),
    ] {
        let rbac = format!(
            "http.rbac.v3.RBAC, matcher: {{matcher_list: {{matchers: [{}]}}, on_no_match: {}}}",
            when(name, value),
            deny("nobody")
        );
        let manager = filter(&format!(
            "network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: in, \
             local_reply_config: {{body_format: {{text_format_source: {{inline_string: \"%RESPONSE_CODE_DETAILS%\"}}}}}}, \
             route_config: {{virtual_hosts: [{{name: all, domains: [\"*\"], routes: [{{match: {{prefix: /}}, direct_response: {{status: 200}}}}]}}]}}, \
             http_filters: [{}, {}]",
            filter(&rbac),
            filter("http.router.v3.Router"),
        ));
        let proxy = proxy(&folder, "", &[("one", manager)]);
        let ask = |greeting: &Greeting<'_>| {
            let mut client = connect(proxy.listener("main"), greeting).expect("a handshake");
            get(&mut client, "/").expect("an answer")
        };
        let greeting = Greeting::new("a.test", &authority);
        let answer = ask(&Greeting { shows: Some(&client), ..greeting });
        assert!(answer.ends_with(&format!("policy[{name}]")), "{answer}");
        let answer = ask(&Greeting::new("a.test", &authority));
        assert!(answer.ends_with("policy[nobody]"), "{answer}");
    }
}

/// A chain is chosen before its handshake: the inspector that tells names is there by itself.
#[test]
fn a_matcher_names_the_chain_by_the_host_that_is_asked_for() {
    let (authority, _, folder) = stage();
    let chain = |name: &str| {
        format!(
            "{{action: {{name: c, typed_config: {{\"@type\": type.googleapis.com/google.protobuf.StringValue, value: {name}}}}}}}"
        )
    };
    let names = format!(
        "{{domains: [a.test], on_match: {}}}, {{domains: [\"*.test\"], on_match: {}}}",
        chain("a"),
        chain("rest")
    );
    let matcher = format!(
        "filter_chain_matcher: {{matcher_tree: {{input: {}, custom_match: {{name: m, typed_config: {{\
         \"@type\": type.googleapis.com/xds.type.matcher.v3.ServerNameMatcher, domain_matchers: [{names}]}}}}}}}}",
        input("network.v3.ServerNameInput"),
    );
    let proxy = proxy(&folder, &matcher, &[("a", says("first")), ("rest", says("second"))]);
    for (name, expected) in [("a.test", "first"), ("b.test", "second"), ("c.test", "second")] {
        let mut client =
            connect(proxy.listener("main"), &Greeting::new(name, &authority)).expect("a handshake");
        let mut told = String::new();
        let _ = client.read_to_string(&mut told);
        assert_eq!(told, expected, "{name}");
    }
}

/// Without a TLS inspector rules of access know no name, as in Envoy.
#[test]
fn a_name_is_known_to_rules_where_the_inspector_has_seen_it() {
    let (authority, _, folder) = stage();
    let rules = "rules: {action: DENY, policies: {p: {permissions: [{requested_server_name: {exact: a.test}}], principals: [{any: true}]}}}";
    let rbac = filter(&format!("network.rbac.v3.RBAC, stat_prefix: who, {rules}"));
    let inspector =
        format!("listener_filters: [{}]", filter("listener.tls_inspector.v3.TlsInspector"));
    for (lines, stat) in [("", "who.rbac.allowed"), (&*inspector, "who.rbac.denied")] {
        let proxy = proxy(&folder, lines, &[("one", format!("{rbac}, {}", says("hello")))]);
        let mut client = connect(proxy.listener("main"), &Greeting::new("a.test", &authority))
            .expect("a handshake");
        let _ = std::io::Write::write_all(&mut client, b"hello");
        support::wait_for(stat, || (proxy.stat(stat) == Some(1)).then_some(()));
    }
}
