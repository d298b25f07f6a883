//! HTTP filters in a chain, as a client and an origin see them.

mod support;

use support::{client::Client, config::front, origin::Origin, proxy::Proxy};

const BUFFER: &str = "          http_filters:
          - name: limit
            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer, max_request_bytes: 1000}
";

const PER_ROUTE: &str =
    "\"@type\": type.googleapis.com/envoy.extensions.filters.http.buffer.v3.BufferPerRoute";

fn post(client: &mut Client, path: &str, bytes: usize) -> (u16, String) {
    let head = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {bytes}\r\n\r\n");
    let answer = client.request([head.into_bytes(), vec![b'x'; bytes]].concat());
    (answer.status, answer.text())
}

#[test]
fn the_buffer_filter_holds_a_request_and_each_route_may_have_its_own_limit() {
    let origin = Origin::saying("fine");
    let config = front(&[("a", &[origin.address]), ("big", &[origin.address]), ("free", &[origin.address])])
        .replace("          http_filters:\n", BUFFER)
        .replace(
            "route: {cluster: big}}",
            &format!("route: {{cluster: big}}, typed_per_filter_config: {{limit: {{{PER_ROUTE}, buffer: {{max_request_bytes: 5000}}}}}}}}"),
        )
        .replace(
            "route: {cluster: free}}",
            &format!("route: {{cluster: free}}, typed_per_filter_config: {{limit: {{{PER_ROUTE}, disabled: true}}}}}}"),
        );
    let proxy = Proxy::start(&config);
    let address = proxy.listener("main");
    for (path, bytes, status) in [
        ("/a", 1000, 200),
        ("/a", 1001, 413),
        ("/big", 5000, 200),
        ("/big", 5001, 413),
        ("/free", 50_000, 200),
    ] {
        let (got, text) = post(&mut Client::connect(address), path, bytes);
        assert_eq!(got, status, "{bytes} bytes to {path}");
        assert_eq!(text, if status == 200 { "fine" } else { "Payload Too Large" });
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_too_large"), Some(2));

    let mut client = Client::connect(address);
    let chunked = "POST /a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n";
    assert_eq!(client.request(chunked).status, 200);
    let head = origin.heads().pop().expect("a request came");
    assert!(head.contains("content-length: 6\r\n") && !head.contains("chunked"), "{head}");
    assert_eq!(post(&mut client, "/a", 0).0, 200, "the connection is kept, and no body is none");
}

#[test]
fn routes_switch_filters_on_and_off() {
    const SWITCH: &str = "\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig";
    let origin = Origin::saying("fine");
    let names = ["plain", "without", "with", "own"];
    let clusters = names.map(|name| (name, std::slice::from_ref(&origin.address)));
    let said = |config: &str, name: &str, what: &str| {
        let (route, said) = (format!("route: {{cluster: {name}}}"), format!("limit: {{{what}}}"));
        config.replace(
            &format!("{route}}}"),
            &format!("{route}, typed_per_filter_config: {{{said}}}}}"),
        )
    };
    let own = format!("{SWITCH}, config: {{{PER_ROUTE}, buffer: {{max_request_bytes: 5000}}}}");
    for (disabled, statuses) in [
        // Observed: Envoy 1.40, with the same file.
        (false, [413, 200, 413, 200]),
        (true, [200, 200, 413, 200]),
    ] {
        let filter = BUFFER
            .replace("name: limit\n", &format!("name: limit\n            disabled: {disabled}\n"));
        let mut config = front(&clusters).replace("          http_filters:\n", &filter);
        config = said(&config, "without", &format!("{SWITCH}, disabled: true"));
        config = said(&config, "with", &format!("{SWITCH}, config: {{}}"));
        config = said(&config, "own", &own);
        let proxy = Proxy::start(&config);
        let asked = names.map(|name| {
            post(&mut Client::connect(proxy.listener("main")), &format!("/{name}"), 2000).0
        });
        assert_eq!(asked, statuses, "disabled: {disabled}");
    }
}

#[test]
fn a_filter_that_is_not_there_is_refused_by_name_unless_it_is_optional() {
    let origin = Origin::saying("fine");
    let lua = "          http_filters:
          - name: lua
            is_optional: true
            typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua}
";
    let config = front(&[("a", &[origin.address])]).replace("          http_filters:\n", lua);
    let mut proxy = Proxy::start(&config);
    assert!(proxy.log().contains("Lua is left out"), "{}", proxy.log());
    assert!(proxy.is_running());
}
