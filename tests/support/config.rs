//! Owns small configurations for tests: one listener `main` on a port of the system's choice, an admin port.

use std::{net::SocketAddr, path::Path};

/// What types of filters begin with.
pub const FILTERS: &str = "type.googleapis.com/envoy.extensions.filters";

/// One route and one cluster for each name: `/NAME` goes to cluster `NAME`, and `/` to the first.
pub fn front(clusters: &[(&str, &[SocketAddr])]) -> String {
    front_with(clusters, "")
}

/// The same with more lines for the connection manager.
pub fn front_with(clusters: &[(&str, &[SocketAddr])], manager: &str) -> String {
    let route = |path: &str, name: &str| {
        format!("{{match: {{prefix: /{path}}}, route: {{cluster: {name}}}}}")
    };
    let named = clusters.iter().map(|(name, _)| route(name, name));
    let rest = clusters.first().map(|(first, _)| route("", first));
    let routes = named.chain(rest).collect::<Vec<_>>().join(", ");
    let resources: String = clusters.iter().map(|(name, hosts)| cluster(name, hosts)).collect();
    whole(manager, &routes, &resources)
}

/// One listener `main` with these routes, as a list in braces, and these clusters, as lines.
pub fn routed(routes: &str, clusters: &str) -> String {
    whole("", routes, clusters)
}

fn whole(manager: &str, routes: &str, clusters: &str) -> String {
    let host = format!("            - {{name: all, domains: [\"*\"], routes: [{routes}]}}");
    around(manager, "", &host, clusters)
}

/// One listener `main` with more lines for its connection manager and its route table, this virtual host and these
/// clusters, as lines.
pub fn around(manager: &str, table: &str, virtual_host: &str, clusters: &str) -> String {
    format!(
        r#"admin:
  address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
layered_runtime: {{layers: [{{name: admin, admin_layer: {{}}}}]}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ingress_http
{manager}
          route_config:
            name: local_route
{table}
            virtual_hosts:
{virtual_host}
          http_filters:
          - name: router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
{clusters}
"#
    )
}

/// One listener `main` with this configuration of a TCP proxy, which logs such lines to `log`, and these clusters, as
/// lines.
pub fn tcp_proxy(filter: &str, log: &Path, format: &str, clusters: &str) -> String {
    format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: main
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: tcp
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          {filter}
          access_log:
          - name: file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: {}
              log_format: {{text_format_source: {{inline_string: "{format}"}}}}
  clusters:
{clusters}"#,
        log.display()
    )
}

/// A filter chain, as lines, that answers with a word, and in `x-seen` with the addresses that it sees.
pub fn chain(matches: &str, answer: &str) -> String {
    let addresses = "%REQ(x-forwarded-for)% %DOWNSTREAM_REMOTE_ADDRESS% \
                     %DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_LOCAL_ADDRESS%";
    format!(
        r#"    - filter_chain_match: {matches}
      filters:
      - name: http
        typed_config:
          "@type": {FILTERS}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          use_remote_address: true
          http_protocol_options: {{accept_http_10: true}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                direct_response: {{status: 200, body: {{inline_string: "{answer}"}}}}
                response_headers_to_add: [{{header: {{key: x-seen, value: "{addresses}"}}}}]
          http_filters: [{{name: router, typed_config: {{"@type": {FILTERS}.http.router.v3.Router}}}}]
"#
    )
}

/// One cluster of these hosts, as lines.
pub fn cluster(name: &str, hosts: &[SocketAddr]) -> String {
    let endpoints: String = hosts
        .iter()
        .map(|host| {
            format!(
                "        - endpoint: {{address: {{socket_address: {{address: {}, port_value: {}}}}}}}\n",
                host.ip(),
                host.port()
            )
        })
        .collect();
    format!(
        "  - name: {name}\n    type: STATIC\n    connect_timeout: 1s\n    load_assignment:\n      \
         cluster_name: {name}\n      endpoints:\n      - lb_endpoints:\n{endpoints}"
    )
}

/// The same with clusters that are spoken to over HTTP/2.
pub fn front_to_http2(clusters: &[(&str, &[SocketAddr])]) -> String {
    front_to_http2_with(clusters, "")
}

/// The same with more lines for the connection manager.
pub fn front_to_http2_with(clusters: &[(&str, &[SocketAddr])], manager: &str) -> String {
    let http2 = "connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
";
    front_with(clusters, manager).replace("connect_timeout: 1s\n", http2)
}
