//! Owns `google.protobuf.Any`: unpacked by its type URL, so that what is in it is checked as well.

use super::{Checker, nearest};
use crate::config::{
    message::{AnyValue, Value},
    node::{Entry, Node, NodeKind},
    schema,
};

/// Messages that carry another one's fields without its type being known here.
const TYPED_STRUCTS: [&str; 2] = ["xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"];

impl Checker<'_> {
    pub(super) fn any(&mut self, node: &Node, path: &str) -> Option<Value> {
        let NodeKind::Map(entries) = &node.kind else {
            self.errors.error(node.at, path, "a mapping with an `@type` is expected here", "");
            return None;
        };
        if entries.is_empty() {
            // Nothing is packed in it, which its field may give a meaning.
            return Some(Value::Message(Box::new(crate::config::Message {
                schema: schema::message("google.protobuf.Any")?,
                at: node.at,
                path: path.to_owned(),
                fields: Vec::new(),
            })));
        }
        let Some(url) = node.get("@type").and_then(Node::as_text) else {
            let hint = "add `\"@type\": type.googleapis.com/…` for the extension you mean";
            self.errors.error(node.at, path, "`@type` is missing", hint);
            return None;
        };
        let name = url.rsplit('/').next().unwrap_or(url);
        if TYPED_STRUCTS.contains(&name)
            && let Some(unpacked) = self.typed_struct(node, path)
        {
            return unpacked;
        }
        let Some(schema) = schema::message(name) else {
            self.unknown_type(node, name, path);
            return None;
        };
        let type_url = url.to_owned();
        // Well-known types stand in a field of their own.
        if is_well_known(name) {
            let Some(value) = node.get("value") else {
                self.errors.error(node.at, path, format!("`value` is missing beside {name}"), "");
                return None;
            };
            let field = schema.fields.first()?;
            let value = self.value(value, &field.kind, path)?;
            let at = node.at;
            let fields = vec![crate::config::message::Set::new(field, at, at, value)];
            let message = crate::config::Message { schema, at, path: path.to_owned(), fields };
            return Some(Value::Any(Box::new(AnyValue { type_url, message })));
        }
        let rest: Vec<Entry> =
            entries.iter().filter(|entry| entry.key != "@type").cloned().collect();
        let message = self.fields(&rest, node.at, schema, path)?;
        Some(Value::Any(Box::new(AnyValue { type_url, message })))
    }

    /// A `TypedStruct` names the type it stands for: it is read as that type where we know it.
    fn typed_struct(&mut self, node: &Node, path: &str) -> Option<Option<Value>> {
        let url = node.get("type_url").or_else(|| node.get("typeUrl")).and_then(Node::as_text)?;
        let schema = schema::message(url.rsplit('/').next()?)?;
        let empty = Node::map(node.at, []);
        let fields = node.get("value").unwrap_or(&empty);
        let message = self.message(fields, schema, path)?;
        Some(Some(Value::Any(Box::new(AnyValue { type_url: url.to_owned(), message }))))
    }

    fn unknown_type(&mut self, node: &Node, name: &str, path: &str) {
        let at = node.get("@type").map_or(node.at, |kind| kind.at);
        if schema::is_known_extension_type(name) {
            let text = format!("{name} is known to Envoy and newer than our tables");
            self.errors.error(at, path, text, "not supported yet");
            return;
        }
        let meant = nearest(name, schema::message_names());
        let hint = meant.map_or(String::new(), |meant| format!("did you mean {meant}?"));
        self.errors.error(at, path, format!("there is no type {name}"), hint);
    }
}

/// Source: protobuf's JSON mapping of `Any`: these are written as `{"@type": …, "value": …}`.
fn is_well_known(name: &str) -> bool {
    let wrapper = name.starts_with("google.protobuf.") && name.ends_with("Value");
    wrapper || matches!(name, "google.protobuf.Duration" | "google.protobuf.Struct")
}
