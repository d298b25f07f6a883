//! Owns what an operator says: nothing, a text, a number, or what metadata holds.

use std::borrow::Cow;

use super::json;

/// What an operator says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// `-` in a text, `null` in JSON.
    Nothing,
    /// Nothing in a text, `null` in JSON.
    Blank,
    /// A text; of any bytes, where it comes from a peer.
    Text(Cow<'a, [u8]>),
    /// A number, also in JSON.
    Number(u64),
    /// A part of metadata.
    Json(&'a serde_json::Value),
}

// === impl Value ===

impl<'a> Value<'a> {
    /// A text that is at hand.
    pub(super) fn text(text: &'a str) -> Self {
        Self::bytes(text.as_bytes())
    }

    /// Bytes that are at hand.
    pub(super) fn bytes(bytes: &'a [u8]) -> Self {
        Self::Text(Cow::Borrowed(bytes))
    }

    /// A text that was made.
    pub(super) fn owned(text: String) -> Self {
        Self::Text(Cow::Owned(text.into_bytes()))
    }

    /// Bytes, if there are any to speak of.
    pub(super) fn of(bytes: Option<&'a [u8]>) -> Self {
        bytes.map_or(Self::Nothing, Self::bytes)
    }

    /// A text; an empty one says nothing.
    pub(super) fn unless_empty(text: &'a str) -> Self {
        if text.is_empty() { Self::Nothing } else { Self::text(text) }
    }

    /// A number, if there is one.
    pub(super) fn number(number: Option<u64>) -> Self {
        number.map_or(Self::Nothing, Self::Number)
    }

    /// Whether it says nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Value::Nothing | Value::Blank | Value::Json(serde_json::Value::Null) => true,
            Value::Text(text) => text.is_empty(),
            _ => false,
        }
    }

    /// The same, its text no longer than this many bytes.
    pub(super) fn at_most(self, bytes_max: Option<usize>) -> Self {
        let Some(max) = bytes_max else { return self };
        match self {
            Value::Text(Cow::Borrowed(text)) => Value::bytes(text.get(..max).unwrap_or(text)),
            Value::Text(Cow::Owned(mut text)) => {
                text.truncate(max);
                Value::Text(Cow::Owned(text))
            }
            empty @ (Value::Nothing | Value::Blank) => empty,
            other => {
                let mut text = Vec::new();
                match other.write(&mut text) {
                    true => Value::Text(Cow::Owned(text)).at_most(bytes_max),
                    false => Value::Nothing,
                }
            }
        }
    }

    /// Writes it as a text; says whether there was anything to say.
    pub(super) fn write(&self, out: &mut Vec<u8>) -> bool {
        match self {
            Value::Nothing | Value::Json(serde_json::Value::Null) => return false,
            Value::Blank => {}
            Value::Text(text) => out.extend_from_slice(text),
            Value::Number(number) => {
                out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes());
            }
            Value::Json(serde_json::Value::String(text)) => out.extend_from_slice(text.as_bytes()),
            Value::Json(value) => json::value(out, value),
        }
        true
    }
}
