//! What routes do to headers, and what becomes of replies of our own.

mod support;

use support::{
    client::{Answer, Client, get},
    config::{around, cluster},
    origin::Origin,
    proxy::Proxy,
};

/// A configuration: more for the connection manager, the table, the virtual host, and its routes.
fn config(origin: &Origin, manager: &str, table: &str, host: &str, routes: &str) -> String {
    let host = format!(
        "            - name: all\n              domains: [\"*\"]\n{host}\n              routes:\n{routes}"
    );
    around(manager, table, &host, &cluster("a", &[origin.address]))
}

/// `name: value` of the headers whose names begin so, in the order of the wire.
fn named(answer: &Answer, start: &str) -> Vec<String> {
    let own = answer.headers.iter().filter(|(name, _)| name.starts_with(start));
    own.map(|(name, value)| format!("{name}: {value}")).collect()
}

fn named_in(head: &str, start: &str) -> Vec<String> {
    head.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

#[test]
fn routes_hosts_and_tables_change_headers_in_envoys_order() {
    let origin = Origin::answering(|stream, _| {
        use std::io::Write;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-secret: 1\r\nx-kept: 1\r\n\r\n");
    });
    // A level sends `request`, and answers with its name.
    let of = |indent: &str, level: &str, request: &str| {
        let overwrite = "append_action: OVERWRITE_IF_EXISTS_OR_ADD";
        [
            format!("{indent}request_headers_to_add:"),
            format!("{indent}- {{header: {{key: x-l, value: '{request}'}}}}"),
            format!("{indent}- {{header: {{key: x-o, value: '{request}'}}, {overwrite}}}"),
            format!("{indent}response_headers_to_add:"),
            format!(
                "{indent}- {{header: {{key: x-l, value: '{level} %RESPONSE_CODE% \
                 %UPSTREAM_CLUSTER%'}}}}"
            ),
        ]
        .join("\n")
    };
    let inner = " ".repeat(16);
    let route = [
        "              - match: {prefix: /}".to_owned(),
        format!("{inner}route: {{cluster: a, prefix_rewrite: /new}}"),
        of(&inner, "route", "route %REQ(:PATH)%|%REQ(x-drop)%"),
        format!("{inner}request_headers_to_remove: [x-drop]"),
        format!("{inner}response_headers_to_remove: [x-secret]"),
    ]
    .join("\n");
    for (wins, order) in
        [("false", ["route", "vhost", "table"]), ("true", ["table", "vhost", "route"])]
    {
        let table = format!(
            "            most_specific_header_mutations_wins: {wins}\n{}",
            of("            ", "table", "table")
        );
        let text = config(&origin, "", &table, &of("              ", "vhost", "vhost"), &route);
        let proxy = Proxy::start(&text);
        let request = "GET /old HTTP/1.1\r\nhost: test\r\nx-drop: 1\r\nx-o: client\r\n\r\n";
        let answer = Client::connect(proxy.listener("main")).request(request);
        let said = order.map(|level| format!("x-l: {level} 200 a"));
        assert_eq!(named(&answer, "x-l"), said, "{wins}");
        assert_eq!((answer.header("x-secret"), answer.header("x-kept")), (None, Some("1")));
        let head = origin.heads().pop().expect("a request");
        let sent = order.map(|level| match level {
            "route" => "x-l: route /old|".to_owned(),
            other => format!("x-l: {other}"),
        });
        assert_eq!(named_in(&head, "x-l"), sent, "{wins}: {head}");
        let last = if wins == "true" { "x-o: route /old|" } else { "x-o: table" };
        assert_eq!(named_in(&head, "x-o"), [last], "{wins}: {head}");
        assert!(head.starts_with("GET /newold ") && !head.contains("x-drop"), "{head}");
    }
}

#[test]
fn a_share_of_a_weighted_cluster_changes_headers_before_its_route() {
    let origin = Origin::saying("hello");
    let share = "{name: a, weight: 1, request_headers_to_add: [{header: {key: x-l, value: share}}], \
                 response_headers_to_add: [{header: {key: x-l, value: share %RESPONSE_CODE%}}], \
                 request_headers_to_remove: [x-drop]}";
    let route = format!(
        "              - match: {{prefix: /}}
                route: {{weighted_clusters: {{clusters: [{share}]}}}}
                request_headers_to_add: [{{header: {{key: x-l, value: route}}}}]"
    );
    for wins in ["false", "true"] {
        let table = format!("            most_specific_header_mutations_wins: {wins}");
        let proxy = Proxy::start(&config(&origin, "", &table, "", &route));
        let request = "GET / HTTP/1.1\r\nhost: test\r\nx-drop: 1\r\n\r\n";
        let answer = Client::connect(proxy.listener("main")).request(request);
        assert_eq!(named(&answer, "x-l"), ["x-l: share 200"]);
        let head = origin.heads().pop().expect("a request");
        assert_eq!(named_in(&head, "x-l"), ["x-l: share", "x-l: route"], "{wins}");
        assert!(!head.contains("x-drop"), "{head}");
    }
}

#[test]
fn requests_are_changed_before_all_else_where_that_is_asked_for() {
    let origin = Origin::saying("hello");
    let manager = "          early_header_mutation_extensions:
          - name: early
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
              mutations:
              - append: {header: {key: x-early, value: '%REQ(x-gone)%|%REQ(x-request-id)%'}}
              - remove: x-gone
              - append: {header: {key: x-after, value: '[%REQ(x-gone)%|%REQ(x-early)%]'}}
              - append: {header: {key: x-envoy-retry-on, value: 5xx}}";
    let route = "              - {match: {prefix: /}, route: {cluster: a}}";
    let proxy = Proxy::start(&config(&origin, manager, "", "", route));
    let request = "GET / HTTP/1.1\r\nhost: test\r\nx-gone: 1\r\n\r\n";
    Client::connect(proxy.listener("main")).request(request);
    let head = origin.heads().pop().expect("a request");
    assert_eq!(named_in(&head, "x-early"), ["x-early: 1|"], "{head}");
    assert_eq!(named_in(&head, "x-after"), ["x-after: [|1|]"], "{head}");
    assert!(!head.contains("x-gone") && !head.contains("x-envoy-retry-on"), "{head}");
}

#[test]
fn replies_of_our_own_are_mapped_and_written_as_the_configuration_says() {
    let manager = "          local_reply_config:
            mappers:
            - filter: {status_code_filter: {comparison: {op: EQ, value: {default_value: 404, runtime_key: k}}}}
              status_code: 499
              body: {inline_string: not here}
              headers_to_add: [{header: {key: x-was, value: '%RESPONSE_CODE% %RESPONSE_FLAGS%'}}]
            - filter: {header_filter: {header: {name: x-json, present_match: true}}}
              body_format_override: {json_format: {text: '%LOCAL_REPLY_BODY%', code: '%RESPONSE_CODE%'}}
            body_format: {text_format_source: {inline_string: '[%LOCAL_REPLY_BODY% %RESPONSE_CODE%]'}}";
    let routes = "              - {match: {prefix: /direct}, direct_response: {status: 418, body: {inline_string: tea}}}
              - match: {prefix: /formatted}
                direct_response: {status: 200, body: {inline_string: x}, body_format: {text_format: '<%LOCAL_REPLY_BODY% %REQ(:PATH)%>'}}
                response_headers_to_add: [{header: {key: x-route, value: '%ROUTE_NAME%|%RESPONSE_CODE%'}}]
                name: named";
    let origin = Origin::saying("unused");
    let proxy = Proxy::start(&config(&origin, manager, "", "", routes));
    let main = proxy.listener("main");
    let missing = get(main, "/none");
    assert_eq!((missing.status, missing.text().as_str()), (499, "[not here 499]"));
    assert_eq!(missing.header("x-was"), Some("404 NR"));
    let direct = get(main, "/direct");
    assert_eq!((direct.status, direct.text().as_str()), (418, "[tea 418]"));
    let formatted = get(main, "/formatted");
    assert_eq!(formatted.text(), "[<x /formatted> 200]");
    assert_eq!(formatted.header("x-route"), Some("named|0"));
    let json = "GET /direct HTTP/1.1\r\nhost: test\r\nx-json: 1\r\n\r\n";
    let json = Client::connect(main).request(json);
    assert_eq!(json.text(), "{\"code\":418,\"text\":\"tea\"}\n");
    assert_eq!(json.header("content-type"), Some("application/json"));
    let grpc = "POST /none HTTP/1.1\r\nhost: test\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let grpc = Client::connect(main).request(grpc);
    assert_eq!((grpc.status, grpc.header("grpc-status")), (200, Some("2")));
    assert_eq!(grpc.header("grpc-message"), Some("[not here 499]"));
    let grpc = "POST /direct HTTP/1.1\r\nhost: test\r\nx-json: ~\r\n\
                content-type: application/grpc\r\ncontent-length: 0\r\n\r\n";
    let grpc = Client::connect(main).request(grpc);
    assert_eq!(grpc.header("grpc-message"), Some("{\"code\":418,\"text\":\"tea\"}"));
    // What cannot be read is answered the same way.
    let mut client = Client::connect(main);
    let garbage = client.request("GARBAGE\r\n\r\n");
    assert_eq!((garbage.status, garbage.text().as_str()), (400, "[Bad Request 400]"));
}

#[test]
fn headers_that_make_a_request_what_it_is_are_not_for_changing() {
    let origin = Origin::saying("unused");
    for (line, told) in [
        ("request_headers_to_add: [{header: {key: ':path', value: x}}]", "may not be modified"),
        ("request_headers_to_add: [{header: {key: Host, value: x}}]", "may not be modified"),
        ("request_headers_to_remove: [host]", "may not be removed"),
        ("response_headers_to_remove: [':status']", "may not be removed"),
        ("request_headers_to_add: [{header: {key: x, value: '%NOSUCH%'}}]", "NOSUCH"),
    ] {
        let route =
            format!("              - {{match: {{prefix: /}}, route: {{cluster: a}}, {line}}}");
        let file = support::proxy::folder().join("config.yaml");
        std::fs::write(&file, config(&origin, "", "", "", &route)).expect("it can be written");
        let validate = ["--mode", "validate", "-c"];
        let run = support::proxy::binary().args(validate).arg(&file).output().expect("it runs");
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(!run.status.success() && said.contains(told), "{line}: {said}");
    }
}
