//! Owns checked messages: values by field, each with its place, and who has read them.
//!
//! Whoever compiles a message takes its fields by [`Message::get`] and the like; a field that is set and
//! was never taken is something we do not honour, and [`Message::unread`] finds it. So nothing can be
//! ignored in silence, and no list of supported fields needs to be kept.

use std::{
    sync::atomic::{AtomicU8, Ordering::Relaxed},
    time::Duration,
};

use super::{
    diagnostic::Span,
    schema::{self, FieldSchema, MessageSchema},
};

/// A message with the fields that are set.
#[derive(Debug)]
pub struct Message {
    /// What it is.
    pub schema: &'static MessageSchema,
    /// Where it stands.
    pub at: Span,
    /// Its path in the document.
    pub path: String,
    /// The fields that are set, in the order of the schema.
    pub fields: Vec<Set>,
}

/// A field that is set.
#[derive(Debug)]
pub struct Set {
    /// Which.
    pub field: &'static FieldSchema,
    /// Where its value stands.
    pub at: Span,
    /// Where its name stands.
    pub key_at: Span,
    /// To what.
    pub value: Value,
    read: AtomicU8,
}

const UNREAD: u8 = 0;
const READ: u8 = 1;
const READ_WHOLE: u8 = 2;

/// A value.
#[derive(Debug)]
pub enum Value {
    /// `bool`
    Bool(bool),
    /// Signed integers.
    Int(i64),
    /// Unsigned integers.
    Uint(u64),
    /// `double`
    Double(f64),
    /// An enum's number and name.
    Enum(i32, &'static str),
    /// `string`
    String(String),
    /// `bytes`
    Bytes(Vec<u8>),
    /// A message.
    Message(Box<Message>),
    /// `google.protobuf.Any`, unpacked.
    Any(Box<AnyValue>),
    /// `google.protobuf.Duration`
    Duration(Duration),
    /// `google.protobuf.Timestamp`, `FieldMask`: as text.
    Text(String),
    /// `google.protobuf.Struct`, `Value`, `ListValue`.
    Json(serde_json::Value),
    /// A list.
    List(Vec<Item>),
    /// A map, in the order of the document.
    Map(Vec<(String, Item)>),
}

/// An element of a list or map.
#[derive(Debug)]
pub struct Item {
    /// Where it stands.
    pub at: Span,
    /// What it is.
    pub value: Value,
}

/// `google.protobuf.Any`
#[derive(Debug)]
pub struct AnyValue {
    /// `type.googleapis.com/…`
    pub type_url: String,
    /// What is in it.
    pub message: Message,
}

/// A field that nobody has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Where its name stands.
    pub at: Span,
    /// Its path.
    pub path: String,
    /// Its name.
    pub name: &'static str,
    /// The message it is in.
    pub message: &'static str,
}

// === impl Set ===

impl Set {
    /// A field that is set, at a place.
    pub fn new(field: &'static FieldSchema, key_at: Span, at: Span, value: Value) -> Self {
        Self { field, at, key_at, value, read: AtomicU8::new(UNREAD) }
    }
}

// === impl Message ===

impl Message {
    /// An empty message that stands in no document; for dumps.
    pub fn new(name: &str) -> Option<Self> {
        let schema = schema::message(name)?;
        Some(Self { schema, at: Span::default(), path: String::new(), fields: Vec::new() })
    }

    /// Sets a field that the schema has; for dumps.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        if let Some(field) = self.schema.field(name) {
            self.fields.push(Set::new(field, Span::default(), Span::default(), value));
            self.fields.sort_by_key(|set| {
                self.schema.fields.iter().position(|field| field.number == set.field.number)
            });
        }
        self
    }

    /// Full name of what it is.
    pub fn name(&self) -> &'static str {
        self.schema.name
    }

    /// The path of a field.
    pub fn path_of(&self, name: &str) -> String {
        match self.path.is_empty() {
            true => name.to_owned(),
            false => format!("{}.{name}", self.path),
        }
    }

    /// Takes a field.
    pub fn get(&self, name: &str) -> Option<&Set> {
        let set = self.peek(name)?;
        set.read.fetch_max(READ, Relaxed);
        Some(set)
    }

    /// Looks at a field without taking it.
    pub fn peek(&self, name: &str) -> Option<&Set> {
        debug_assert!(self.schema.field(name).is_some(), "{} has no {name}", self.schema.name);
        self.fields.iter().find(|set| set.field.name == name)
    }

    /// Takes a field with all that is in it, though nothing of it is used: for what changes nothing
    /// here. `why` is for the reader of the code.
    pub fn ignore(&self, name: &str, _why: &'static str) {
        if let Some(set) = self.peek(name) {
            set.read.fetch_max(READ_WHOLE, Relaxed);
        }
    }

    /// Looks at a text without taking it.
    pub fn peek_text(&self, name: &str) -> Option<&str> {
        match &self.peek(name)?.value {
            Value::String(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        match &self.get(name)?.value {
            Value::String(text) | Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Takes a boolean.
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name)?.value {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Takes an unsigned number.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)?.value {
            Value::Uint(value) => Some(value),
            Value::Int(value) => u64::try_from(value).ok(),
            _ => None,
        }
    }

    /// Takes a signed number.
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)?.value {
            Value::Int(value) => Some(value),
            Value::Uint(value) => i64::try_from(value).ok(),
            _ => None,
        }
    }

    /// Takes an unsigned number that fits 32 bits, which the check has seen to.
    pub fn number_u32(&self, name: &str) -> Option<u32> {
        self.number(name).map(|number| u32::try_from(number).unwrap_or(u32::MAX))
    }

    /// Takes a number with a fraction.
    pub fn double(&self, name: &str) -> Option<f64> {
        match self.get(name)?.value {
            Value::Double(value) => Some(value),
            _ => None,
        }
    }

    /// Takes a duration.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        match self.get(name)?.value {
            Value::Duration(value) => Some(value),
            _ => None,
        }
    }

    /// Takes an enum by the name of its value.
    pub fn choice(&self, name: &str) -> Option<&'static str> {
        match self.get(name)?.value {
            Value::Enum(_, value) => Some(value),
            _ => None,
        }
    }

    /// Takes a message.
    pub fn message(&self, name: &str) -> Option<&Message> {
        match &self.get(name)?.value {
            Value::Message(message) => Some(message),
            _ => None,
        }
    }

    /// Takes an `Any`. One in which nothing is packed is left, and so refused unless somebody else takes it.
    pub fn any(&self, name: &str) -> Option<&AnyValue> {
        match &self.peek(name)?.value {
            Value::Any(any) => {
                self.get(name);
                Some(any)
            }
            _ => None,
        }
    }

    /// Takes a list; none for a field that is not set.
    pub fn list(&self, name: &str) -> &[Item] {
        match self.get(name).map(|set| &set.value) {
            Some(Value::List(items)) => items,
            _ => &[],
        }
    }

    /// Takes a list of messages.
    pub fn messages(&self, name: &str) -> impl Iterator<Item = &Message> {
        self.list(name).iter().filter_map(|item| match &item.value {
            Value::Message(message) => Some(&**message),
            _ => None,
        })
    }

    /// Takes a list of texts.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = (&str, Span)> {
        self.list(name).iter().filter_map(|item| match &item.value {
            Value::String(text) => Some((text.as_str(), item.at)),
            _ => None,
        })
    }

    /// Takes a list of choices, by their names.
    pub fn choices(&self, name: &str) -> Vec<&'static str> {
        let choices = self.list(name).iter().filter_map(|item| match item.value {
            Value::Enum(_, value) => Some(value),
            _ => None,
        });
        choices.collect()
    }

    /// Takes a list of unsigned numbers.
    pub fn numbers(&self, name: &str) -> Vec<u64> {
        let numbers = self.list(name).iter().filter_map(|item| match item.value {
            Value::Uint(number) => Some(number),
            Value::Int(number) => u64::try_from(number).ok(),
            _ => None,
        });
        numbers.collect()
    }

    /// Takes a list of numbers with a fraction.
    pub fn doubles(&self, name: &str) -> Vec<f64> {
        let numbers = self.list(name).iter().filter_map(|item| match item.value {
            Value::Double(number) => Some(number),
            _ => None,
        });
        numbers.collect()
    }

    /// Takes a map.
    pub fn map(&self, name: &str) -> &[(String, Item)] {
        match self.get(name).map(|set| &set.value) {
            Some(Value::Map(entries)) => entries,
            _ => &[],
        }
    }

    /// Where a field's value stands, or the message if it is not set.
    pub fn at_of(&self, name: &str) -> Span {
        self.peek(name).map_or(self.at, |set| set.at)
    }

    /// Every field that is set and was never taken. Below a field that was not taken nothing is listed.
    pub fn unread(&self) -> Vec<Unread> {
        let mut out = Vec::new();
        self.collect_unread(&mut out);
        out
    }

    fn collect_unread(&self, out: &mut Vec<Unread>) {
        for set in &self.fields {
            match set.read.load(Relaxed) {
                UNREAD => out.push(Unread {
                    at: set.key_at,
                    path: self.path_of(set.field.name),
                    name: set.field.name,
                    message: self.schema.name,
                }),
                READ => set.value.collect_unread(out),
                _ => {}
            }
        }
    }
}

// === impl Value ===

impl Value {
    fn collect_unread(&self, out: &mut Vec<Unread>) {
        match self {
            Value::Message(message) => message.collect_unread(out),
            Value::Any(any) => any.message.collect_unread(out),
            Value::List(items) => items.iter().for_each(|item| item.value.collect_unread(out)),
            Value::Map(entries) => {
                entries.iter().for_each(|(_, item)| item.value.collect_unread(out));
            }
            _ => {}
        }
    }
}
