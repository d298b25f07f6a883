//! Owns turning a v2 document into a v3 one, on the tree, with a note for every rewrite.
//!
//! The tree is walked along the v3 schema: at each message the fields that v2 had and v3 has not are
//! rewritten, then the walk goes on below. What needs no rewriting is not touched.

mod rewrites;

use super::{
    BOOTSTRAP, Source,
    diagnostic::Diagnostics,
    node::{Entry, Node, NodeKind},
    schema::{self, FieldKind, MessageSchema},
    yaml,
};

static TYPES: &str = include_str!("types.tsv");

/// Nesting at most; the reader of the tree has bounded it already.
const DEPTH_MAX: usize = 200;

/// Upgrades a bootstrap in place. A document that is v3 is not changed.
pub fn upgrade(tree: &mut Node, notes: &mut Diagnostics) {
    if upgrade_message(tree, BOOTSTRAP, notes) {
        admin_layer(tree, notes);
    }
}

/// Upgrades any message in place; says whether it was v2.
pub fn upgrade_message(tree: &mut Node, name: &str, notes: &mut Diagnostics) -> bool {
    let Some(schema) = schema::message(name) else { return false };
    let mut walk = Walk { notes, rewrites: 0, is_v2: false };
    walk.message(tree, schema, "", 0);
    if walk.rewrites == 0 {
        return false;
    }
    // What only v2 let stand is looked for once it is sure that this is v2.
    walk.is_v2 = true;
    walk.message(tree, schema, "", 0);
    true
}

/// Writes the v3 form of a document.
///
/// # Errors
///
/// The document cannot be read at all; a document that has other mistakes is upgraded with them.
pub fn upgrade_text(source: &Source) -> Result<(String, Diagnostics), Diagnostics> {
    let mut notes = Diagnostics::default();
    let mut tree = yaml::read(source, &mut notes)?;
    upgrade(&mut tree, &mut notes);
    let value = to_yaml(&tree);
    match serde_yaml::to_string(&value) {
        Ok(text) => Ok((text, notes)),
        Err(error) => {
            let mut errors = Diagnostics::default();
            errors.error(tree.at, "", format!("cannot be written as YAML: {error}"), "");
            Err(errors)
        }
    }
}

fn to_yaml(node: &Node) -> serde_yaml::Value {
    use serde_yaml::Value as Yaml;
    match &node.kind {
        NodeKind::Null => Yaml::Null,
        NodeKind::Scalar { text, quoted: true } => Yaml::String(text.clone()),
        // Plain text keeps its type by being read again by the one who writes it.
        NodeKind::Scalar { text, .. } => {
            serde_yaml::from_str(text).unwrap_or_else(|_| Yaml::String(text.clone()))
        }
        NodeKind::List(items) => Yaml::Sequence(items.iter().map(to_yaml).collect()),
        NodeKind::Map(entries) => {
            let pairs = entries.iter();
            Yaml::Mapping(
                pairs
                    .map(|entry| (Yaml::String(entry.key.clone()), to_yaml(&entry.value)))
                    .collect(),
            )
        }
    }
}

/// In 2018 `/runtime_modify` worked without being asked for.
fn admin_layer(tree: &mut Node, notes: &mut Diagnostics) {
    let at = tree.at;
    let is_admin = |layer: &Node| layer.get("admin_layer").is_some();
    if tree
        .get("layered_runtime")
        .and_then(|runtime| runtime.get("layers"))
        .is_some_and(|layers| layers.items().iter().any(is_admin))
    {
        return;
    }
    let layer = Node::map(
        at,
        [
            ("name".to_owned(), Node::text(at, "admin")),
            ("admin_layer".to_owned(), Node::map(at, [])),
        ],
    );
    let layers = tree.get_mut("layered_runtime").and_then(|runtime| runtime.get_mut("layers"));
    match layers.map(|layers| &mut layers.kind) {
        Some(NodeKind::List(items)) => items.push(layer),
        _ => {
            let layers = Node::list(at, vec![layer]);
            tree.put("layered_runtime", at, Node::map(at, [("layers".to_owned(), layers)]));
        }
    }
    notes.note(at, "layered_runtime", "a v2 file: an admin layer is added, for /runtime_modify");
}

/// The v3 message for a v2 one.
fn v3_type(v2: &str) -> Option<&'static str> {
    TYPES.lines().find_map(|line| {
        let (old, new) = line.split_once('\t')?;
        (old == v2 && new != "None").then_some(new)
    })
}

/// The message an extension's name stands for, under its name of today or of 2018.
fn type_by_name(name: &str) -> Option<&'static str> {
    let short = name.strip_prefix("envoy.").unwrap_or(name);
    let renamed = match short {
        "file_access_log" => "access_loggers.file",
        "http_grpc_access_log" => "access_loggers.http_grpc",
        "tcp_grpc_access_log" => "access_loggers.tcp_grpc",
        "rate_limit" => "filters.http.ratelimit",
        "dynamic.ot" => "tracers.dynamic_ot",
        other => other.strip_prefix("listener.").unwrap_or(other),
    };
    let families = [
        "",
        "filters.network.",
        "filters.http.",
        "filters.listener.",
        "access_loggers.",
        "stat_sinks.",
        "tracers.",
        "transport_sockets.",
        "resource_monitors.",
        "retry_host_predicates.",
        "retry_priorities.",
        "health_checkers.",
    ];
    let candidates = families.iter().map(|family| format!("envoy.{family}{renamed}"));
    std::iter::once(name.to_owned())
        .chain(candidates)
        .find_map(|name| schema::extension_type(&name))
}

pub(super) struct Walk<'d> {
    pub(super) notes: &'d mut Diagnostics,
    pub(super) rewrites: usize,
    /// The document has shown itself to be v2.
    is_v2: bool,
}

// === impl Walk ===

impl Walk<'_> {
    /// Notes a rewrite.
    pub(super) fn done(
        &mut self,
        at: super::diagnostic::Span,
        path: &str,
        text: impl Into<String>,
    ) {
        self.rewrites += 1;
        self.notes.note(at, path, text);
    }

    pub(super) fn message(
        &mut self,
        node: &mut Node,
        schema: &'static MessageSchema,
        path: &str,
        depth: usize,
    ) {
        if depth > DEPTH_MAX || node.entries_mut().is_none() {
            return;
        }
        self.config_by_name(node, schema, path);
        rewrites::apply(self, node, schema, path);
        let Some(entries) = node.entries_mut() else { return };
        for entry in entries {
            let Some(field) = schema.field(&entry.key) else { continue };
            let below =
                if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
            match &field.kind {
                FieldKind::Message(name) => {
                    for item in entry.value.items_mut() {
                        self.below(item, name, &below, depth + 1);
                    }
                }
                FieldKind::Map(_, value) => {
                    if let (FieldKind::Message(name), Some(entries)) =
                        (&**value, entry.value.entries_mut())
                    {
                        for entry in entries {
                            self.below(&mut entry.value, name, &below, depth + 1);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn below(&mut self, node: &mut Node, name: &str, path: &str, depth: usize) {
        if name != "google.protobuf.Any" {
            if let Some(schema) = schema::message(name) {
                self.message(node, schema, path, depth);
            }
            return;
        }
        let Some(kind) = node.get_mut("@type") else { return };
        let Some(url) = kind.as_text().map(str::to_owned) else { return };
        let (prefix, name) = url.rsplit_once('/').unwrap_or(("type.googleapis.com", &url));
        let mut name = name.to_owned();
        if schema::message(&name).is_none()
            && let Some(new) = v3_type(&name)
        {
            let at = kind.at;
            *kind = Node::text(at, format!("{prefix}/{new}"));
            self.done(at, path, format!("{name} is {new} in v3"));
            name = new.to_owned();
        }
        if let Some(schema) = schema::message(&name) {
            self.message(node, schema, path, depth);
        }
    }

    /// v2 had `config`, a free mapping whose type followed from `name`; v3 has `typed_config`. The name
    /// alone was enough in v2, too, and so was an empty `typed_config` beside it.
    fn config_by_name(&mut self, node: &mut Node, schema: &MessageSchema, path: &str) {
        if schema.field("typed_config").is_none() || schema.field("config").is_some() {
            return;
        }
        let name = node.get("name").and_then(Node::as_text).map(str::to_owned);
        let Some(kind) = name.as_deref().and_then(type_by_name) else { return };
        let untyped = node.get("typed_config").is_none_or(Node::is_empty);
        let config = node.take("config").or_else(|| {
            let typed = (self.is_v2 && untyped).then(|| node.take("typed_config"))?;
            let (at, key) = (node.at, "typed_config".to_owned());
            Some(typed.unwrap_or_else(|| Entry { key, at, value: Node::map(at, []) }))
        });
        let Some(config) = config else { return };
        let at = config.at;
        let mut typed = match config.value.kind {
            NodeKind::Null => Node::map(config.value.at, []),
            _ => config.value,
        };
        let url = Node::text(at, format!("type.googleapis.com/{kind}"));
        if let Some(entries) = typed.entries_mut() {
            let url = Entry { key: "@type".to_owned(), at, value: url };
            entries.insert(0, url);
        }
        node.put("typed_config", at, typed);
        self.done(at, path, format!("the configuration is a `typed_config` of type {kind} in v3"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{check, print};

    const V2: &str = r#"
static_resources:
  listeners:
  - address: {socket_address: {address: 0.0.0.0, port_value: 80}}
    filter_chains:
    - filters:
      - name: envoy.http_connection_manager
        config:
          codec_type: auto
          stat_prefix: ingress_http
          route_config:
            virtual_hosts:
            - name: backend
              domains: ["*"]
              routes:
              - match: {regex: "/a.*"}
                route: {cluster: service1, host_rewrite: other}
          http_filters:
          - name: envoy.router
            config: {}
  clusters:
  - name: service1
    connect_timeout: 0.25s
    type: strict_dns
    http2_protocol_options: {}
    hosts:
    - socket_address: {address: service1, port_value: 80}
"#;

    #[test]
    fn a_file_of_2018_becomes_one_of_today_and_says_what_was_changed() {
        let source = Source::yaml("v2.yaml", V2);
        let checked = check(&source).unwrap_or_else(|e| panic!("{}", e.render(&source)));
        let json = print::json(&checked.bootstrap).to_string();
        for part in [
            r#""host_rewrite_literal":"other""#,
            r#""safe_regex":{"regex":"/a.*"}"#,
            r#""load_assignment":{"cluster_name":"service1""#,
            r#""@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router""#,
            r#""admin_layer":{}"#,
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        assert!(
            checked.notes.render(&source).contains("v2.yaml:8:9"),
            "{}",
            checked.notes.render(&source)
        );
    }

    #[test]
    fn what_is_written_is_v3_and_needs_no_second_upgrade() {
        let (text, notes) = upgrade_text(&Source::yaml("v2.yaml", V2)).unwrap();
        assert!(!notes.is_empty());
        let (again, notes) = upgrade_text(&Source::yaml("v3.yaml", &text)).unwrap();
        assert!(notes.is_empty());
        assert_eq!(again, text);
    }
}
