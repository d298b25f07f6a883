//! The `proxy-status` header (RFC 9209), end to end.

mod support;

use support::{
    client::get,
    config::{around, cluster},
    origin::Origin,
    proxy::Proxy,
};

/// What the answers to these paths say, and their status.
fn told(config: &str, paths: &[&str]) -> Vec<(u16, Option<String>)> {
    let origin = Origin::saying("hello");
    let dead = "127.0.0.1:1".parse().expect("an address");
    let routes = "{match: {prefix: /a}, route: {cluster: a}}, {match: {prefix: /dead}, route: {cluster: dead}}";
    let host = format!("            - {{name: all, domains: ['*'], routes: [{routes}]}}");
    let clusters = cluster("a", &[origin.address]) + &cluster("dead", &[dead]);
    let manager = format!("          proxy_status_config: {{{config}}}");
    let proxy = Proxy::start(&around(&manager, "", &host, &clusters));
    let ask = |path: &&str| {
        let answer = get(proxy.listener("main"), path);
        (answer.status, answer.header("proxy-status").map(str::to_owned))
    };
    paths.iter().map(ask).collect()
}

#[test]
fn an_answer_says_why_it_is_not_what_was_asked_for() {
    let refused = "upstream_reset_before_response_started{remote_connection_failure|\
                   delayed_connect_error:_Connection_refused}";
    let said = |text: String| Some(text);
    let paths = ["/a", "/none", "/dead"];
    assert_eq!(
        told("", &paths),
        [
            (200, None),
            (
                404,
                said("envoy; error=destination_not_found; details=\"route_not_found; NR\"".into())
            ),
            (503, said(format!("envoy; error=connection_refused; details=\"{refused}; UF\""))),
        ]
    );
    assert_eq!(
        told(
            "literal_proxy_name: edge, remove_response_flags: true, set_recommended_response_code: true",
            &paths
        ),
        [
            (200, None),
            (500, said("edge; error=destination_not_found; details=\"route_not_found\"".into())),
            (502, said(format!("edge; error=connection_refused; details=\"{refused}\""))),
        ]
    );
    let bare = told("remove_details: true", &["/none"]);
    assert_eq!(bare, [(404, said("envoy; error=destination_not_found".into()))]);
}
