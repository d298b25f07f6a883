//! What a PROXY header leaves in the filter state decides: which chain, who may, which route.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use support::proxy::Proxy;

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

const KEY: &str = "key: envoy.network.proxy_protocol.tlv";

/// Where a test of the state stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Listener,
    Network,
    Http,
    VirtualHost,
    NetworkPrincipal,
    HttpPrincipal,
    Route,
}

/// A tree that does `then` where the input is like that.
fn tree(field: &str, test: &str, then: &str, otherwise: &str) -> String {
    let kind =
        "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.FilterStateInput";
    let input = format!("{{name: i, typed_config: {{\"@type\": {kind}, {KEY}{field}}}}}");
    let predicate = format!("{{single_predicate: {{input: {input}, value_match: {{{test}}}}}}}");
    let list = format!("{{matchers: [{{predicate: {predicate}, on_match: {{action: {then}}}}}]}}");
    format!("{{matcher_list: {list}{otherwise}}}")
}

fn action(kind: &str, rest: &str) -> String {
    format!("{{name: a, typed_config: {{\"@type\": type.googleapis.com/{kind}, {rest}}}}}")
}

/// A proxy that asks for the state there. It says `good` where that is as wanted.
fn proxy(place: Place, field: &str, test: &str) -> Proxy {
    let named = |name: &str| action("google.protobuf.StringValue", &format!("value: {name}"));
    let may =
        |name: &str| action("envoy.config.rbac.v3.Action", &format!("name: a, action: {name}"));
    let direct =
        |said: &str| format!("direct_response: {{status: 200, body: {{inline_string: {said}}}}}");
    let policy = format!(
        "rules: {{policies: {{p: {{permissions: [{{any: true}}], principals: [{{filter_state: {{{KEY}, string_match: {{{test}}}}}}}]}}}}}}"
    );
    let access = match place {
        Place::NetworkPrincipal | Place::HttpPrincipal => policy,
        _ => {
            let otherwise = format!(", on_no_match: {{action: {}}}", may("DENY"));
            format!("matcher: {}", tree(field, test, &may("ALLOW"), &otherwise))
        }
    };
    let chosen = match place {
        Place::Listener => {
            let otherwise = format!(", on_no_match: {{action: {}}}", named("bad"));
            format!("filter_chain_matcher: {}", tree(field, test, &named("good"), &otherwise))
        }
        _ => String::new(),
    };
    let network = match place {
        Place::Network | Place::NetworkPrincipal => format!(
            "      - {{name: r, typed_config: {{\"@type\": {TYPES}.network.rbac.v3.RBAC, stat_prefix: r, {access}}}}}\n"
        ),
        _ => String::new(),
    };
    let http = match place {
        Place::Http | Place::HttpPrincipal => {
            format!(
                "{{name: r, typed_config: {{\"@type\": {TYPES}.http.rbac.v3.RBAC, {access}}}}}, "
            )
        }
        _ => String::new(),
    };
    let chain = |name: &str| {
        let routes = match place {
            Place::VirtualHost => {
                let route = format!("match: {{prefix: /}}, {}", direct(name));
                let route = action("envoy.config.route.v3.Route", &route);
                format!("matcher: {}", tree(field, test, &route, ""))
            }
            Place::Route => {
                let state = format!("filter_state: [{{{KEY}, string_match: {{{test}}}}}]");
                format!("routes: [{{match: {{prefix: /, {state}}}, {}}}]", direct(name))
            }
            _ => format!("routes: [{{match: {{prefix: /}}, {}}}]", direct(name)),
        };
        format!(
            r#"    - name: {name}
      filters:
{network}      - name: http
        typed_config:
          "@type": {TYPES}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          route_config: {{virtual_hosts: [{{name: all, domains: ["*"], {routes}}}]}}
          http_filters: [{http}{{name: router, typed_config: {{"@type": {TYPES}.http.router.v3.Router}}}}]
"#
        )
    };
    let bad = if place == Place::Listener { chain("bad") } else { String::new() };
    Proxy::start(&format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    listener_filters:
    - name: proxied
      typed_config:
        "@type": {TYPES}.listener.proxy_protocol.v3.ProxyProtocol
        tlv_location: FILTER_STATE
        allow_requests_without_proxy_protocol: true
        rules: [{{tlv_type: 2, on_tlv_present: {{key: name}}}}]
    {chosen}
    filter_chains:
{}{bad}"#,
        chain("good")
    ))
}

/// What is answered to a client whose PROXY header says this name; none has no header.
fn ask(to: SocketAddr, name: Option<&str>) -> String {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let mut sent = Vec::new();
    if let Some(name) = name {
        let length = u8::try_from(name.len()).expect("a short name");
        sent.extend_from_slice(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0");
        sent.extend_from_slice(&[15 + length, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 2, 0, length]);
        sent.extend_from_slice(name.as_bytes());
    }
    sent.extend_from_slice(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    // It may have closed already.
    let _ = stream.write_all(&sent);
    let mut out = Vec::new();
    let _ = stream.read_to_end(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Observed: Envoy 1.40, each of them.
#[test]
fn what_a_proxy_header_has_left_decides_wherever_it_may_be_asked_for() {
    use Place as P;
    let whole = r#"exact: '{"name":"one"}'"#;
    for (place, field, test) in [
        (P::Listener, ", field: name", "exact: one"),
        (P::Listener, "", whole),
        (P::Network, ", field: name", "exact: one"),
        (P::Http, ", field: name", "exact: one"),
        (P::Http, "", whole),
        (P::VirtualHost, ", field: name", "exact: one"),
        (P::NetworkPrincipal, "", whole),
        (P::HttpPrincipal, "", "contains: one"),
        (P::Route, "", whole),
    ] {
        let proxy = proxy(place, field, test);
        let to = proxy.listener("main");
        let told = ask(to, Some("one"));
        assert!(told.ends_with("good"), "{place:?} {test}: {told}");
        for other in [Some("two"), None] {
            let told = ask(to, other);
            assert!(!told.ends_with("good"), "{place:?} {test} {other:?}: {told}");
        }
    }
}
