//! Owns compiling runtime layers.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use understudy_actors::runtime::{RuntimeLayer, RuntimeValue};

use super::Compiler;
use crate::config::{Message, message::Value};

impl Compiler<'_> {
    pub(super) fn runtime(&mut self, bootstrap: &Message) -> Vec<RuntimeLayer> {
        let Some(runtime) = bootstrap.message("layered_runtime") else { return Vec::new() };
        let mut layers: Vec<RuntimeLayer> = Vec::new();
        for layer in runtime.messages("layers") {
            let name = layer.text("name").unwrap_or_default().to_owned();
            if layers.iter().any(|known| known.name == name) {
                let text = format!("duplicate layer name: {name}");
                self.error(layer.at_of("name"), &layer.path_of("name"), text, "");
            }
            let mut entries = BTreeMap::new();
            if let Some(Value::Json(Json::Object(values))) =
                layer.get("static_layer").map(|set| &set.value)
            {
                for (key, value) in values {
                    flatten(key, value, &mut entries);
                }
            }
            let admin = layer.get("admin_layer").is_some();
            if admin && layers.iter().any(|layer| layer.admin) {
                let text = "only one admin layer is allowed";
                self.error(layer.at, &layer.path, text, "");
            }
            layers.push(RuntimeLayer { name, admin, entries });
        }
        layers
    }
}

/// Nested keys are joined by dots.
fn flatten(key: &str, value: &Json, out: &mut BTreeMap<String, RuntimeValue>) {
    match value {
        // A fractional percent stays one value.
        Json::Object(values) if values.contains_key("numerator") => {
            out.insert(key.to_owned(), RuntimeValue::parse(&value.to_string()));
        }
        Json::Object(values) => {
            for (below, value) in values {
                flatten(&format!("{key}.{below}"), value, out);
            }
        }
        Json::String(text) => {
            out.insert(key.to_owned(), RuntimeValue::parse(text));
        }
        other => {
            out.insert(key.to_owned(), RuntimeValue::parse(&other.to_string()));
        }
    }
}
