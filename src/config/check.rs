//! Owns the check: a tree against the schema, by the rules of proto3 JSON as Envoy reads them. All
//! mistakes are found at once; what follows from a mistake already told is not told again.

mod any;
mod rules;
mod scalar;

use std::collections::HashSet;

use super::{
    diagnostic::{Diagnostics, Span},
    message::{Item, Message, Set, Value},
    node::{Entry, Node, NodeKind},
    schema::{self, FieldKind, FieldSchema, MessageSchema},
};

/// What becomes of a field that is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// It is an error.
    Refused,
    /// It is warned about: who wrote it may be newer than we are.
    Warned,
}

/// Checks a tree; `None` where it is no message at all.
pub fn message(
    node: &Node,
    name: &str,
    unknown: Unknown,
    errors: &mut Diagnostics,
    notes: &mut Diagnostics,
) -> Option<Message> {
    let schema = schema::message(name)?;
    Checker { errors, notes, unknown }.message(node, schema, "")
}

struct Checker<'d> {
    errors: &'d mut Diagnostics,
    notes: &'d mut Diagnostics,
    unknown: Unknown,
}

/// Names that a document may spell nearly right.
const SUGGESTION_DISTANCE: f64 = 0.75;

// === impl Checker ===

impl Checker<'_> {
    fn message(
        &mut self,
        node: &Node,
        schema: &'static MessageSchema,
        path: &str,
    ) -> Option<Message> {
        let entries = match &node.kind {
            NodeKind::Map(entries) => entries.as_slice(),
            NodeKind::Null => &[],
            _ => {
                let text = format!("a mapping is expected here ({})", schema.name);
                self.errors.error(node.at, path, text, "write `field: value` pairs");
                return None;
            }
        };
        self.fields(entries, node.at, schema, path)
    }

    fn fields(
        &mut self,
        entries: &[Entry],
        at: Span,
        schema: &'static MessageSchema,
        path: &str,
    ) -> Option<Message> {
        let mut fields: Vec<Set> = Vec::new();
        // Fields that were written, rightly or wrongly: what is missing is only asked for of others.
        let mut mentioned: HashSet<u32> = HashSet::new();
        for entry in entries {
            let below = join(path, &entry.key);
            let Some(field) = schema.field(&entry.key) else {
                if let Some(meant) = self.unknown(entry, schema, &below) {
                    mentioned.insert(meant.number);
                }
                continue;
            };
            mentioned.insert(field.number);
            if entry.value.kind == NodeKind::Null && !takes_null(field) {
                mentioned.remove(&field.number);
                continue;
            }
            self.note_use(entry, field, &below);
            if let Some(value) = self.field(&entry.value, field, &below) {
                rules::check(field, &value, entry.value.at, &below, self.errors);
                fields.retain(|set| set.field.number != field.number);
                fields.push(Set::new(field, entry.at, entry.value.at, value));
            }
        }
        self.check_oneofs(&fields, &mentioned, at, schema, path);
        rules::check_required(schema, &mentioned, at, path, self.errors);
        fields.sort_by_key(|set| {
            schema.fields.iter().position(|field| field.number == set.field.number)
        });
        Some(Message { schema, at, path: path.to_owned(), fields })
    }

    fn note_use(&mut self, entry: &Entry, field: &FieldSchema, path: &str) {
        if field.disallowed {
            let text = format!("`{}` is deprecated, and Envoy no longer takes it", field.name);
            self.errors.error(entry.at, path, text, "see the API's document for what replaced it");
        } else if field.deprecated {
            let text = format!("`{}` is deprecated", field.name);
            self.notes.warning(entry.at, path, text, "");
        }
    }

    /// Tells of a field that is not there; gives the one that was likely meant.
    fn unknown<'s>(
        &mut self,
        entry: &Entry,
        schema: &'s MessageSchema,
        path: &str,
    ) -> Option<&'s FieldSchema> {
        let text = format!("`{}` is not a field of {}", entry.key, schema.name);
        if entry.key == "<<" {
            let hint = "Envoy takes no merge keys; use a plain alias";
            self.errors.error(entry.at, path, text, hint);
            return None;
        }
        let meant = nearest(&entry.key, schema.fields.iter().map(|field| field.name));
        let hint = meant.map_or(String::new(), |meant| format!("did you mean `{meant}`?"));
        if self.unknown == Unknown::Warned {
            self.notes.warning(entry.at, path, format!("{text}: it is passed over"), hint);
            return None;
        }
        self.errors.error(entry.at, path, text, hint);
        meant.and_then(|meant| schema.field(meant))
    }

    fn check_oneofs(
        &mut self,
        fields: &[Set],
        mentioned: &HashSet<u32>,
        at: Span,
        schema: &MessageSchema,
        path: &str,
    ) {
        for (index, oneof) in schema.oneofs.iter().enumerate() {
            let members = || schema.fields.iter().filter(|field| field.oneof == Some(index));
            let mut set = fields.iter().filter(|set| set.field.oneof == Some(index));
            if let (Some(first), Some(second)) = (set.next(), set.next()) {
                let (one, two) = (first.field.name, second.field.name);
                let text = format!("`{one}` and `{two}` exclude each other ({})", oneof.name);
                self.errors.error(second.key_at, path, text, "keep one of them");
            }
            if oneof.required && !members().any(|field| mentioned.contains(&field.number)) {
                let names: Vec<_> = members().map(|field| format!("`{}`", field.name)).collect();
                let text = format!("{}: one of {} is required", oneof.name, names.join(", "));
                self.errors.broken_rule(at, path, text);
            }
        }
    }

    /// A field's value: a list where it is repeated, else one.
    fn field(&mut self, node: &Node, field: &'static FieldSchema, path: &str) -> Option<Value> {
        if let FieldKind::Map(_, value) = &field.kind {
            return self.map(node, value, path);
        }
        if !field.repeated {
            return self.value(node, &field.kind, path);
        }
        // A lone value stands for a list of one.
        let mut items = Vec::new();
        for (index, item) in node.items().iter().enumerate() {
            let below = format!("{path}[{index}]");
            items.push(Item { at: item.at, value: self.value(item, &field.kind, &below)? });
        }
        Some(Value::List(items))
    }

    fn map(&mut self, node: &Node, kind: &FieldKind, path: &str) -> Option<Value> {
        let NodeKind::Map(entries) = &node.kind else {
            self.errors.error(node.at, path, "a mapping is expected here", "");
            return None;
        };
        let mut out = Vec::new();
        for entry in entries {
            let below = format!("{path}[{:?}]", entry.key);
            let value = self.value(&entry.value, kind, &below)?;
            out.push((entry.key.clone(), Item { at: entry.value.at, value }));
        }
        Some(Value::Map(out))
    }

    fn value(&mut self, node: &Node, kind: &FieldKind, path: &str) -> Option<Value> {
        match kind {
            FieldKind::Message(name) => self.message_value(node, name, path),
            FieldKind::Map(..) => None,
            kind => match scalar::read(node, kind) {
                Ok(value) => Some(value),
                Err(wrong) => {
                    self.errors.error(node.at, path, wrong.text, wrong.hint);
                    None
                }
            },
        }
    }

    fn message_value(&mut self, node: &Node, name: &'static str, path: &str) -> Option<Value> {
        let wrapped = match name {
            "google.protobuf.BoolValue" => Some(FieldKind::Bool),
            "google.protobuf.UInt32Value" => Some(FieldKind::Uint32),
            "google.protobuf.UInt64Value" => Some(FieldKind::Uint64),
            "google.protobuf.Int32Value" => Some(FieldKind::Int32),
            "google.protobuf.Int64Value" => Some(FieldKind::Int64),
            "google.protobuf.DoubleValue" | "google.protobuf.FloatValue" => Some(FieldKind::Double),
            "google.protobuf.StringValue" => Some(FieldKind::String),
            "google.protobuf.BytesValue" => Some(FieldKind::Bytes),
            _ => None,
        };
        if let Some(kind) = wrapped {
            return self.value(node, &kind, path);
        }
        match name {
            "google.protobuf.Duration" => match scalar::duration(node) {
                Ok(duration) => Some(Value::Duration(duration)),
                Err(wrong) => {
                    self.errors.error(node.at, path, wrong.text, wrong.hint);
                    None
                }
            },
            "google.protobuf.Timestamp" | "google.protobuf.FieldMask" => match node.as_text() {
                Some(text) => Some(Value::Text(text.to_owned())),
                None => {
                    self.errors.error(node.at, path, "text is expected here", "");
                    None
                }
            },
            "google.protobuf.Struct" => match &node.kind {
                NodeKind::Map(_) => Some(Value::Json(scalar::json(node))),
                _ => {
                    self.errors.error(node.at, path, "a mapping is expected here", "");
                    None
                }
            },
            "google.protobuf.Value" | "google.protobuf.ListValue" => {
                Some(Value::Json(scalar::json(node)))
            }
            "google.protobuf.Any" => self.any(node, path),
            name => {
                let Some(schema) = schema::message(name) else {
                    let text = format!("{name} is newer than our tables");
                    self.errors.error(node.at, path, text, "not supported yet");
                    return None;
                };
                self.message(node, schema, path).map(|message| Value::Message(Box::new(message)))
            }
        }
    }
}

/// `google.protobuf.Value` alone can be null.
fn takes_null(field: &FieldSchema) -> bool {
    field.kind == FieldKind::Message("google.protobuf.Value")
}

fn join(path: &str, key: &str) -> String {
    match path.is_empty() {
        true => key.to_owned(),
        false => format!("{path}.{key}"),
    }
}

/// The name that is most like what was written, if one is like it at all.
fn nearest<'n>(written: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let scored = names.map(|name| (strsim::jaro_winkler(written, name), name));
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= SUGGESTION_DISTANCE).then_some(best.1)
}
