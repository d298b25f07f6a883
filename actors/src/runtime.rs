//! Owns the published runtime: layers of key and value, the last layer wins.

use std::collections::BTreeMap;

/// A value, typed as Envoy types it when the layer is loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeValue {
    /// As it was written; what `/runtime` prints.
    pub text: String,
    /// The number in it, if it is one.
    pub number: Option<f64>,
    /// The boolean in it, if it is one.
    pub boolean: Option<bool>,
}

/// One layer, first to last.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeLayer {
    /// `RuntimeLayer.name`.
    pub name: String,
    /// Whether `/runtime_modify` writes here.
    pub admin: bool,
    /// Flattened keys (`a.b`) and their values.
    pub entries: BTreeMap<String, RuntimeValue>,
}

/// The snapshot that requests read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runtime {
    /// All layers, lowest first.
    pub layers: Vec<RuntimeLayer>,
    merged: BTreeMap<String, RuntimeValue>,
}

// === impl RuntimeValue ===

impl RuntimeValue {
    /// Types a text as Envoy does: a number if the whole of it is one, a boolean if it is `true` or
    /// `false`, else text.
    pub fn parse(text: &str) -> Self {
        let trimmed = text.trim();
        let number = trimmed.parse::<f64>().ok().filter(|n| n.is_finite());
        let boolean = match trimmed {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        Self { text: text.to_owned(), number, boolean }
    }
}

// === impl Runtime ===

impl Runtime {
    /// Merges layers into a snapshot.
    pub fn new(layers: Vec<RuntimeLayer>) -> Self {
        let mut merged = BTreeMap::new();
        for layer in &layers {
            merged.extend(layer.entries.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Self { layers, merged }
    }

    /// The value in force for `key`.
    pub fn get(&self, key: &str) -> Option<&RuntimeValue> {
        self.merged.get(key)
    }

    /// All keys and the values in force, sorted by key.
    pub fn entries(&self) -> impl Iterator<Item = (&String, &RuntimeValue)> {
        self.merged.iter()
    }

    /// A number, or `default` where the key is absent or no number (Envoy's `getInteger`).
    pub fn integer(&self, key: &str, default: u64) -> u64 {
        match self.get(key).and_then(|value| value.number) {
            Some(number) if number >= 0.0 => number as u64,
            _ => default,
        }
    }

    /// A boolean, or `default` where the key is absent or none (Envoy's `getBoolean`).
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        self.get(key).and_then(|value| value.boolean).unwrap_or(default)
    }
}
