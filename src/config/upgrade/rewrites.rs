//! Owns the rewrites: for each message the fields that v2 had and v3 has not.
//!
//! Source: Envoy's v2 and v3 protos, compared field by field.

use super::Walk;
use crate::config::{
    node::{Entry, Node},
    schema::MessageSchema,
};

/// Rewrites one message's own fields.
pub(super) fn apply(walk: &mut Walk<'_>, node: &mut Node, schema: &MessageSchema, path: &str) {
    match schema.name {
        "envoy.config.bootstrap.v3.Bootstrap" => bootstrap_runtime(walk, node, path),
        "envoy.config.cluster.v3.Cluster" => cluster(walk, node, path),
        "envoy.config.listener.v3.FilterChain" => {
            tls_context(walk, node, path, "DownstreamTlsContext");
        }
        "envoy.config.listener.v3.FilterChainMatch" => {
            rename(walk, node, path, "sni_domains", "server_names");
        }
        "envoy.config.route.v3.RouteMatch" => {
            regex(walk, node, path, "regex", "safe_regex");
            runtime(walk, node, path);
        }
        "envoy.type.matcher.v3.StringMatcher" => regex(walk, node, path, "regex", "safe_regex"),
        "envoy.config.route.v3.HeaderMatcher" => header_matcher(walk, node, path),
        "envoy.config.route.v3.QueryParameterMatcher" => query_matcher(walk, node, path),
        "envoy.config.route.v3.Route" => route(walk, node, path),
        "envoy.config.route.v3.RouteAction" => route_action(walk, node, path),
        "envoy.config.route.v3.CorsPolicy" => cors(walk, node, path),
        "envoy.config.route.v3.VirtualCluster" => virtual_cluster(walk, node, path),
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager" => {
            connection_manager(walk, node, path);
        }
        "envoy.config.core.v3.HealthCheck.HttpHealthCheck" => health_check(walk, node, path),
        "envoy.extensions.transport_sockets.tls.v3.CertificateValidationContext" => {
            subject_alt_names(walk, node, path);
        }
        _ => {}
    }
    if schema.field("typed_per_filter_config").is_some() {
        per_filter_config(walk, node, path);
    }
}

fn rename(walk: &mut Walk<'_>, node: &mut Node, path: &str, old: &str, new: &str) {
    if let Some(entry) = node.take(old) {
        walk.done(entry.at, path, format!("`{old}` is `{new}` in v3"));
        node.put(new, entry.at, entry.value);
    }
}

fn drop_field(walk: &mut Walk<'_>, node: &mut Node, path: &str, old: &str, why: &str) {
    if let Some(entry) = node.take(old) {
        walk.done(entry.at, path, format!("`{old}` is gone in v3: {why}"));
    }
}

/// ECMAScript's and RE2's regular expressions agree on all but look-around and back-references, which
/// the compilation refuses by name.
fn regex(walk: &mut Walk<'_>, node: &mut Node, path: &str, old: &str, new: &str) {
    if let Some(Entry { at, value, .. }) = node.take(old) {
        node.put(new, at, Node::map(at, [("regex".to_owned(), value)]));
        walk.done(at, path, format!("`{old}` is `{new}` in v3"));
    }
}

fn cluster(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let renamed = "drain_connections_on_host_removal";
    rename(walk, node, path, renamed, "ignore_health_on_host_removal");
    rename(walk, node, path, "extension_protocol_options", "typed_extension_protocol_options");
    tls_context(walk, node, path, "UpstreamTlsContext");
    if let Some(policy) = node.get_mut("lb_policy")
        && policy.as_text().is_some_and(|text| text.eq_ignore_ascii_case("ORIGINAL_DST_LB"))
    {
        let at = policy.at;
        *policy = Node::text(at, "CLUSTER_PROVIDED");
        walk.done(at, path, "`ORIGINAL_DST_LB` is `CLUSTER_PROVIDED` in v3");
    }
    let Some(hosts) = node.take("hosts") else { return };
    let at = hosts.at;
    if node.get("load_assignment").is_some() {
        walk.done(at, path, "`hosts` is gone in v3; `load_assignment` stands");
        return;
    }
    let endpoints = hosts.value.items().iter().map(|address| {
        let endpoint = Node::map(address.at, [("address".to_owned(), address.clone())]);
        Node::map(address.at, [("endpoint".to_owned(), endpoint)])
    });
    let endpoints = Node::list(at, endpoints.collect());
    let locality = Node::map(at, [("lb_endpoints".to_owned(), endpoints)]);
    let name = node.get("name").cloned().unwrap_or_else(|| Node::text(at, ""));
    let assignment = [
        ("cluster_name".to_owned(), name),
        ("endpoints".to_owned(), Node::list(at, vec![locality])),
    ];
    node.put("load_assignment", at, Node::map(at, assignment));
    walk.done(at, path, "`hosts` is `load_assignment` in v3");
}

fn tls_context(walk: &mut Walk<'_>, node: &mut Node, path: &str, kind: &str) {
    let Some(mut context) = node.take("tls_context") else { return };
    let at = context.at;
    let url = format!("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.{kind}");
    if let Some(entries) = context.value.entries_mut() {
        entries.insert(0, Entry { key: "@type".to_owned(), at, value: Node::text(at, url) });
    }
    let socket = [
        ("name".to_owned(), Node::text(at, "envoy.transport_sockets.tls")),
        ("typed_config".to_owned(), context.value),
    ];
    node.put("transport_socket", at, Node::map(at, socket));
    walk.done(at, path, "`tls_context` is a `transport_socket` in v3");
}

/// `runtime: {default_value: 10, runtime_key: x}` counted percent.
fn runtime(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let Some(Entry { at, value, .. }) = node.take("runtime") else { return };
    let zero = Node::text(at, "0");
    let numerator = value.get("default_value").cloned().unwrap_or(zero);
    let key = value.get("runtime_key").cloned().unwrap_or_else(|| Node::text(at, ""));
    let percent = Node::map(at, [("numerator".to_owned(), numerator)]);
    let fraction = [("default_value".to_owned(), percent), ("runtime_key".to_owned(), key)];
    node.put("runtime_fraction", at, Node::map(at, fraction));
    walk.done(at, path, "`runtime` is `runtime_fraction` in v3");
}

fn header_matcher(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    regex(walk, node, path, "regex_match", "safe_regex_match");
    let is_regex = node.take("regex").is_some_and(|entry| entry.value.as_text() == Some("true"));
    let Some(Entry { at, value, .. }) = node.take("value") else { return };
    match is_regex {
        true => {
            node.put("safe_regex_match", at, Node::map(at, [("regex".to_owned(), value)]));
        }
        false => node.put("exact_match", at, value),
    }
    walk.done(at, path, "`value` is `exact_match` or `safe_regex_match` in v3");
}

fn query_matcher(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let is_regex = node.take("regex").is_some_and(|entry| entry.value.as_text() == Some("true"));
    let Some(Entry { at, value, .. }) = node.take("value") else { return };
    let matcher = match is_regex {
        true => {
            Node::map(at, [("safe_regex".to_owned(), Node::map(at, [("regex".to_owned(), value)]))])
        }
        false => Node::map(at, [("exact".to_owned(), value)]),
    };
    node.put("string_match", at, matcher);
    walk.done(at, path, "`value` is `string_match` in v3");
}

/// What v2 once had on the action stands on the route in v3.
fn route(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    for name in ["request_headers_to_add", "response_headers_to_add", "response_headers_to_remove"]
    {
        let taken = node.get_mut("route").and_then(|action| action.take(name));
        if let Some(entry) = taken {
            walk.done(entry.at, path, format!("`{name}` stands on the route in v3"));
            node.put(name, entry.at, entry.value);
        }
    }
}

fn route_action(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    // Envoy 1.40 has a field of that name again, for a format; a plain text says the same in both.
    let plain = |node: &Node| !node.as_text().unwrap_or_default().contains('%');
    if node.get("host_rewrite").is_some_and(plain) && node.get("host_rewrite_literal").is_none() {
        rename(walk, node, path, "host_rewrite", "host_rewrite_literal");
    }
    rename(walk, node, path, "auto_host_rewrite_header", "host_rewrite_header");
    if let Some(Entry { at, value, .. }) = node.take("request_mirror_policy") {
        node.put("request_mirror_policies", at, Node::list(at, vec![value]));
        walk.done(at, path, "`request_mirror_policy` is a list in v3");
    }
    let config = node.take("websocket_config");
    let wanted = node.take("use_websocket");
    if let Some(Entry { at, value, .. }) = wanted {
        if value.as_text() == Some("true") {
            let upgrade = Node::map(at, [("upgrade_type".to_owned(), Node::text(at, "websocket"))]);
            node.put("upgrade_configs", at, Node::list(at, vec![upgrade]));
        }
        walk.done(at, path, "`use_websocket` is `upgrade_configs` in v3");
    } else if let Some(config) = config {
        walk.done(config.at, path, "`websocket_config` is gone in v3");
    }
}

fn cors(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let pairs = [("allow_origin", "exact"), ("allow_origin_regex", "safe_regex")];
    for (old, kind) in pairs {
        let Some(Entry { at, value, .. }) = node.take(old) else { continue };
        let matchers = value.items().iter().map(|item| {
            // `*` stands for every origin.
            let any = item.as_text() == Some("*");
            let inner = match (kind, any) {
                ("exact", false) => ("exact".to_owned(), item.clone()),
                ("exact", true) => ("prefix".to_owned(), Node::text(item.at, "")),
                _ => (
                    "safe_regex".to_owned(),
                    Node::map(item.at, [("regex".to_owned(), item.clone())]),
                ),
            };
            match any {
                true => Node::map(item.at, [("exact".to_owned(), item.clone())]),
                false => Node::map(item.at, [inner]),
            }
        });
        let matchers = Node::list(at, matchers.collect());
        node.put("allow_origin_string_match", at, matchers);
        walk.done(at, path, format!("`{old}` is `allow_origin_string_match` in v3"));
    }
    if let Some(Entry { at, value, .. }) = node.take("enabled") {
        let percent = if value.as_text() == Some("false") { "0" } else { "100" };
        let default = Node::map(at, [("numerator".to_owned(), Node::text(at, percent))]);
        node.put("filter_enabled", at, Node::map(at, [("default_value".to_owned(), default)]));
        walk.done(at, path, "`enabled` is `filter_enabled` in v3");
    }
}

fn virtual_cluster(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let mut headers = Vec::new();
    let mut first = None;
    if let Some(Entry { at, value, .. }) = node.take("pattern") {
        first = Some(at);
        let regex = Node::map(at, [("regex".to_owned(), value)]);
        headers.push(Node::map(
            at,
            [("name".to_owned(), Node::text(at, ":path")), ("safe_regex_match".to_owned(), regex)],
        ));
    }
    if let Some(Entry { at, value, .. }) = node.take("method") {
        first = first.or(Some(at));
        headers.push(Node::map(
            at,
            [("name".to_owned(), Node::text(at, ":method")), ("exact_match".to_owned(), value)],
        ));
    }
    if let Some(at) = first {
        node.put("headers", at, Node::list(at, headers));
        walk.done(at, path, "`pattern` and `method` are `headers` in v3");
    }
}

fn connection_manager(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    if let Some(Entry { at, value, .. }) = node.take("idle_timeout") {
        match node.get_mut("common_http_protocol_options") {
            Some(options) => options.put("idle_timeout", at, value),
            None => {
                let options = Node::map(at, [("idle_timeout".to_owned(), value)]);
                node.put("common_http_protocol_options", at, options);
            }
        }
        walk.done(at, path, "`idle_timeout` stands in `common_http_protocol_options` in v3");
    }
    if let Some(tracing) = node.get_mut("tracing") {
        let why = "the listener's `traffic_direction` says it";
        drop_field(walk, tracing, path, "operation_name", why);
    }
}

fn health_check(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    if let Some(Entry { at, value, .. }) = node.take("service_name") {
        node.put("service_name_matcher", at, Node::map(at, [("prefix".to_owned(), value)]));
        walk.done(at, path, "`service_name` is `service_name_matcher` in v3");
    }
    if let Some(Entry { at, value, .. }) = node.take("use_http2") {
        if value.as_text() == Some("true") {
            node.put("codec_client_type", at, Node::text(at, "HTTP2"));
        }
        walk.done(at, path, "`use_http2` is `codec_client_type` in v3");
    }
}

fn subject_alt_names(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let Some(Entry { at, value, .. }) = node.take("verify_subject_alt_name") else { return };
    let exact = |item: &Node| Node::map(item.at, [("exact".to_owned(), item.clone())]);
    let matchers = Node::list(at, value.items().iter().map(exact).collect());
    node.put("match_subject_alt_names", at, matchers);
    walk.done(at, path, "`verify_subject_alt_name` is `match_subject_alt_names` in v3");
}

/// v2's free mapping by filter name; in v3 each is typed.
fn per_filter_config(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let Some(Entry { at, mut value, .. }) = node.take("per_filter_config") else { return };
    if let Some(entries) = value.entries_mut() {
        for entry in entries {
            let Some(kind) = super::type_by_name(&entry.key) else { continue };
            let own = format!("{kind}PerRoute");
            let kind = crate::config::schema::message(&own).map_or(kind, |schema| schema.name);
            let url = Node::text(entry.at, format!("type.googleapis.com/{kind}"));
            if let Some(config) = entry.value.entries_mut() {
                config.insert(0, Entry { key: "@type".to_owned(), at: entry.at, value: url });
            }
        }
    }
    node.put("typed_per_filter_config", at, value);
    walk.done(at, path, "`per_filter_config` is `typed_per_filter_config` in v3");
}

/// Three files in a folder were the runtime; v3 has layers.
fn bootstrap_runtime(walk: &mut Walk<'_>, node: &mut Node, path: &str) {
    let Some(Entry { at, value, .. }) = node.take("runtime") else { return };
    let mut layers = Vec::new();
    let named = |name: &str, key: &str, inner: Node| {
        Node::map(at, [("name".to_owned(), Node::text(at, name)), (key.to_owned(), inner)])
    };
    if let Some(base) = value.get("base") {
        layers.push(named("base", "static_layer", base.clone()));
    }
    let disk = |subdirectory: &Node, cluster: bool| {
        let root = value.get("symlink_root").cloned().unwrap_or_else(|| Node::text(at, ""));
        let mut disk = vec![
            ("symlink_root".to_owned(), root),
            ("subdirectory".to_owned(), subdirectory.clone()),
        ];
        if cluster {
            disk.push(("append_service_cluster".to_owned(), Node::text(at, "true")));
        }
        Node::map(at, disk)
    };
    if let Some(subdirectory) = value.get("subdirectory") {
        layers.push(named("root", "disk_layer", disk(subdirectory, false)));
    }
    if let Some(subdirectory) = value.get("override_subdirectory") {
        layers.push(named("override", "disk_layer", disk(subdirectory, true)));
    }
    layers.push(named("admin", "admin_layer", Node::map(at, [])));
    let layers = Node::list(at, layers);
    node.put("layered_runtime", at, Node::map(at, [("layers".to_owned(), layers)]));
    walk.done(at, path, "`runtime` is `layered_runtime` in v3");
}
