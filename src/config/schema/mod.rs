//! Owns the schema: every message, field and rule of Envoy's v3 API, so that a field is known even where
//! the feature is not built.
//!
//! `tables.tsv` is generated (`tools/schema-generator`) and read lazily: a message costs nothing until a
//! document names it. `newer.tsv` has the few fields and messages that Envoy 1.40 has and the generator's source has
//! not.

use std::{
    collections::{HashMap, HashSet},
    sync::{LazyLock, OnceLock},
};

use parking_lot::Mutex;

static TABLES: &str = include_str!("tables.tsv");
static NEWER: &str = include_str!("newer.tsv");
static EXTENSIONS: &str = include_str!("extensions.tsv");

/// A message of the API.
#[derive(Debug)]
pub struct MessageSchema {
    /// Full name.
    pub name: &'static str,
    /// Fields, in the order of the proto file.
    pub fields: Vec<FieldSchema>,
    /// Groups of which at most one member may be set.
    pub oneofs: Vec<OneofSchema>,
    by_name: HashMap<String, usize>,
}

/// A field.
#[derive(Debug)]
pub struct FieldSchema {
    /// Number on the wire.
    pub number: u32,
    /// Name in snake_case.
    pub name: &'static str,
    /// Type.
    pub kind: FieldKind,
    /// A list of them.
    pub repeated: bool,
    /// Index of its oneof.
    pub oneof: Option<usize>,
    /// Never shown (`[redacted]`).
    pub sensitive: bool,
    /// Taken with a warning.
    pub deprecated: bool,
    /// Refused by Envoy unless a runtime key allows it.
    pub disallowed: bool,
    /// protoc-gen-validate's rules: name and argument.
    pub rules: Vec<(&'static str, &'static str)>,
}

/// A field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// `double` and `float`.
    Double,
    /// 32 bits, signed.
    Int32,
    /// 64 bits, signed.
    Int64,
    /// 32 bits.
    Uint32,
    /// 64 bits.
    Uint64,
    /// `bool`
    Bool,
    /// `string`
    String,
    /// `bytes`
    Bytes,
    /// An enum by its full name.
    Enum(&'static str),
    /// A message by its full name.
    Message(&'static str),
    /// A map: types of keys and values.
    Map(Box<FieldKind>, Box<FieldKind>),
}

/// A oneof.
#[derive(Debug)]
pub struct OneofSchema {
    /// Its name.
    pub name: &'static str,
    /// One member must be set.
    pub required: bool,
}

/// An enum: values by number.
#[derive(Debug)]
pub struct EnumSchema {
    /// Number and name.
    pub values: Vec<(i32, &'static str)>,
}

/// Where the tables come from, as their first line says.
#[derive(Debug, PartialEq, Eq)]
pub struct Origin {
    /// Version of the crate whose descriptors were read.
    pub version: &'static str,
    /// Checksum of the descriptors.
    pub checksum: &'static str,
    /// Messages, fields, enums.
    pub counts: [usize; 3],
}

/// Name to the lines below it.
static MESSAGES: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
    let mut messages = sections("M\t");
    for name in newer_lines().filter_map(|line| line.split('\t').next()) {
        messages.entry(name).or_insert("");
    }
    messages
});
static ENUMS: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| sections("E\t"));

fn sections(mark: &str) -> HashMap<&'static str, &'static str> {
    let mut out = HashMap::new();
    let mut rest = TABLES;
    while !rest.is_empty() {
        let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let (line, after) = rest.split_at(end);
        if let Some(name) = line.strip_prefix(mark) {
            let begins = |from: &str| from.starts_with("M\t") || from.starts_with("E\t");
            let mut length = 0;
            for line in after.split_inclusive('\n') {
                if begins(line) {
                    break;
                }
                length += line.len();
            }
            out.insert(name.trim_end(), &after[..length]);
            rest = &after[length..];
        } else {
            rest = after;
        }
    }
    out
}

/// A message by its full name. What was read is kept: there are only as many as the tables have.
pub fn message(name: &str) -> Option<&'static MessageSchema> {
    static READ: OnceLock<Mutex<HashMap<&'static str, &'static MessageSchema>>> = OnceLock::new();
    let (name, lines) = MESSAGES.get_key_value(name)?;
    let mut read = READ.get_or_init(Mutex::default).lock();
    Some(read.entry(name).or_insert_with(|| Box::leak(Box::new(parse_message(name, lines)))))
}

/// An enum by its full name.
pub fn enumeration(name: &str) -> Option<EnumSchema> {
    let values = ENUMS.get(name)?.lines().filter_map(|line| {
        let (number, name) = line.strip_prefix("v\t")?.split_once('\t')?;
        Some((number.parse().ok()?, name))
    });
    Some(EnumSchema { values: values.collect() })
}

/// Names of all messages, for tests and suggestions.
pub fn message_names() -> impl Iterator<Item = &'static str> {
    MESSAGES.keys().copied()
}

/// The first line of the tables.
pub fn origin() -> Origin {
    let mut words = TABLES.lines().next().unwrap_or_default().split('\t').skip(2);
    let mut word = || words.next().unwrap_or_default();
    let (version, checksum) = (word(), word());
    let counts = [word(), word(), word()].map(|count| count.parse().unwrap_or(0));
    Origin { version, checksum, counts }
}

/// The message an extension's name stands for, as v2 files name them.
pub fn extension_type(name: &str) -> Option<&'static str> {
    static TYPES: LazyLock<HashMap<&'static str, &'static str>> = LazyLock::new(|| {
        let mut types = HashMap::new();
        for mut line in EXTENSIONS.lines().map(|line| line.split('\t').skip(1)) {
            let (Some(name), Some(kinds)) = (line.next(), line.next()) else { continue };
            let first = kinds.split([',', ' ']).next().filter(|kind| !kind.is_empty());
            if let Some(kind) = first {
                types.entry(name).or_insert(kind);
            }
        }
        types
    });
    TYPES.get(name).copied()
}

/// Whether Envoy 1.40 knows a type, be it that the tables are older.
pub fn is_known_extension_type(kind: &str) -> bool {
    static KINDS: LazyLock<HashSet<&'static str>> = LazyLock::new(|| {
        let kinds = EXTENSIONS.lines().filter_map(|line| line.split('\t').nth(2));
        kinds.flat_map(|kinds| kinds.split([',', ' '])).collect()
    });
    KINDS.contains(kind)
}

fn parse_message(name: &'static str, lines: &'static str) -> MessageSchema {
    let (mut fields, mut oneofs) = (Vec::new(), Vec::new());
    for line in lines.lines().chain(newer(name)) {
        if let Some(oneof) = line.strip_prefix("o\t") {
            let (name, required) = oneof.split_once('\t').unwrap_or((oneof, ""));
            oneofs.push(OneofSchema { name, required: required == "required" });
        } else if let Some(field) = line.strip_prefix("f\t").and_then(parse_field) {
            fields.push(field);
        }
    }
    let mut by_name = HashMap::new();
    for (index, field) in fields.iter().enumerate() {
        by_name.insert(camel(field.name), index);
        by_name.insert(field.name.to_owned(), index);
    }
    MessageSchema { name, fields, oneofs, by_name }
}

/// The lines of a message's fields that are newer than the tables.
fn newer(message: &str) -> impl Iterator<Item = &'static str> {
    newer_lines().filter_map(move |line| line.strip_prefix(message)?.strip_prefix('\t'))
}

fn newer_lines() -> impl Iterator<Item = &'static str> {
    NEWER.lines().filter(|line| !line.starts_with('#'))
}

fn parse_field(line: &'static str) -> Option<FieldSchema> {
    let mut words = line.split('\t');
    let number = words.next()?.parse().ok()?;
    let (name, kind, oneof) = (words.next()?, words.next()?, words.next()?);
    let (flags, rules) = (words.next()?, words.next().unwrap_or_default());
    let rules = rules.split(' ').filter(|rule| !rule.is_empty());
    Some(FieldSchema {
        number,
        name,
        kind: parse_kind(kind)?,
        repeated: flags.contains('r'),
        oneof: oneof.parse().ok(),
        sensitive: flags.contains('s'),
        deprecated: flags.contains('d'),
        disallowed: flags.contains('x'),
        rules: rules.map(|rule| rule.split_once('=').unwrap_or((rule, ""))).collect(),
    })
}

fn parse_kind(text: &'static str) -> Option<FieldKind> {
    if let Some(name) = text.strip_prefix("m:") {
        return Some(FieldKind::Message(name));
    }
    if let Some(name) = text.strip_prefix("e:") {
        return Some(FieldKind::Enum(name));
    }
    if let Some((key, value)) = text.strip_prefix("map:").and_then(|kinds| kinds.split_once(':')) {
        return Some(FieldKind::Map(Box::new(parse_kind(key)?), Box::new(parse_kind(value)?)));
    }
    Some(match text {
        "double" | "float" => FieldKind::Double,
        "int32" | "sint32" | "sfixed32" => FieldKind::Int32,
        "int64" | "sint64" | "sfixed64" => FieldKind::Int64,
        "uint32" | "fixed32" => FieldKind::Uint32,
        "uint64" | "fixed64" => FieldKind::Uint64,
        "bool" => FieldKind::Bool,
        "string" => FieldKind::String,
        "bytes" => FieldKind::Bytes,
        _ => return None,
    })
}

/// The JSON name of a field: `connect_timeout` is `connectTimeout`.
fn camel(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut upper = false;
    for letter in name.chars() {
        match letter {
            '_' => upper = true,
            letter if upper => {
                out.extend(letter.to_uppercase());
                upper = false;
            }
            letter => out.push(letter),
        }
    }
    out
}

// === impl MessageSchema ===

impl MessageSchema {
    /// A field by its name, in snake_case or camelCase.
    pub fn field(&self, name: &str) -> Option<&FieldSchema> {
        self.by_name.get(name).and_then(|index| self.fields.get(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_whole() {
        let origin = origin();
        assert_eq!((origin.version, origin.counts), ("0.7.7", [1530, 5338, 199]));
        assert_eq!(origin.checksum, "a51af88f5fe27a7e");
        assert_eq!(sections("M\t").len(), 1530);
        assert_eq!(MESSAGES.len(), 1530 + 4);
        assert_eq!(ENUMS.len(), 199);
        let fields: usize = message_names().filter_map(message).map(|m| m.fields.len()).sum();
        assert_eq!(fields, 5338 + 9);
    }

    #[test]
    fn fields_that_are_newer_than_the_tables_are_known_and_not_in_them() {
        for line in newer_lines() {
            let (name, field) = line.split_once('\t').unwrap();
            let field = field.split('\t').nth(2).unwrap();
            assert!(message(name).unwrap().field(field).is_some(), "{name}.{field}");
            assert!(!MESSAGES[name].contains(&format!("\t{field}\t")), "{name}.{field}");
        }
    }

    #[test]
    fn a_field_is_known_with_its_type_and_rules() {
        let address = message("envoy.config.core.v3.SocketAddress").unwrap();
        let port = address.field("portValue").unwrap();
        assert_eq!(
            (port.name, &port.kind, port.oneof),
            ("port_value", &FieldKind::Uint32, Some(0))
        );
        assert_eq!(port.rules, [("lte", "65535")]);
        assert!(address.oneofs[0].required);
        let every = message_names().filter_map(message).flat_map(|m| &m.fields);
        for kind in every.map(|field| &field.kind) {
            match kind {
                FieldKind::Message(name) => assert!(message(name).is_some(), "{name}"),
                FieldKind::Enum(name) => assert!(enumeration(name).is_some(), "{name}"),
                _ => {}
            }
        }
    }

    #[test]
    fn extensions_are_known_by_name_and_by_type() {
        let router = "envoy.extensions.filters.http.router.v3.Router";
        assert_eq!(extension_type("envoy.filters.http.router"), Some(router));
        assert!(is_known_extension_type(router));
        assert!(!is_known_extension_type("envoy.no.such.Thing"));
    }
}
