//! Owns JSON formats: a tree whose texts are formats, written as one line.

use serde_json::Value as Json;

use super::{Format, FormatError, NOTHING, Piece, StreamInfo, value::Value};

/// A JSON format. Members stand in the order of their names, as Envoy writes them.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonFormat {
    /// What does not change.
    Fixed(Box<[u8]>),
    /// A text with operators; one operator alone keeps its type.
    Format(Format),
    /// An object.
    Object(Vec<(Box<[u8]>, JsonFormat)>),
    /// A list.
    List(Vec<JsonFormat>),
}

// === impl JsonFormat ===

impl JsonFormat {
    /// Reads a format: every text in it may have operators.
    ///
    /// # Errors
    ///
    /// [`FormatError`] of the first text that is none.
    pub fn parse(json: &Json) -> Result<Self, FormatError> {
        Ok(match json {
            Json::String(text) => {
                let format = Format::parse(text)?;
                match format.plain() {
                    Some(plain) => Self::fixed(|out| string(out, plain)),
                    None => Self::Format(format),
                }
            }
            Json::Object(members) => {
                let mut sorted: Vec<_> = members.iter().collect();
                sorted.sort_by_key(|(name, _)| name.as_bytes());
                let mut object = Vec::with_capacity(sorted.len());
                for (name, member) in sorted {
                    let mut text = Vec::new();
                    string(&mut text, name.as_bytes());
                    object.push((text.into(), Self::parse(member)?));
                }
                Self::Object(object)
            }
            Json::Array(items) => {
                Self::List(items.iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            other => Self::fixed(|out| value(out, other)),
        })
    }

    fn fixed(write: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut text = Vec::new();
        write(&mut text);
        Self::Fixed(text.into())
    }

    /// Fills it in. With `omit`, a member that is nothing is left out.
    pub fn write(&self, out: &mut Vec<u8>, info: &StreamInfo<'_>, omit: bool) {
        match self {
            Self::Fixed(text) => out.extend_from_slice(text),
            Self::Format(format) => match format.pieces() {
                [Piece::Operator(operator)] => typed(out, &operator.value(info)),
                pieces => {
                    out.push(b'"');
                    let mut said = Vec::new();
                    for piece in pieces {
                        said.clear();
                        match piece {
                            Piece::Text(text) => said.extend_from_slice(text),
                            Piece::Operator(operator) => {
                                if !operator.value(info).write(&mut said) && !omit {
                                    said.extend_from_slice(NOTHING);
                                }
                            }
                        }
                        escaped(out, &said);
                    }
                    out.push(b'"');
                }
            },
            Self::Object(members) => {
                out.push(b'{');
                let start = out.len();
                for (name, member) in members {
                    let before = out.len();
                    if before > start {
                        out.push(b',');
                    }
                    out.extend_from_slice(name);
                    out.push(b':');
                    member.write_unless_nothing(out, before, info, omit);
                }
                out.push(b'}');
            }
            Self::List(items) => {
                out.push(b'[');
                let start = out.len();
                for item in items {
                    let before = out.len();
                    if before > start {
                        out.push(b',');
                    }
                    item.write_unless_nothing(out, before, info, omit);
                }
                out.push(b']');
            }
        }
    }

    /// Writes a member or an item; one that is nothing is taken back with what leads to it.
    fn write_unless_nothing(
        &self,
        out: &mut Vec<u8>,
        before: usize,
        info: &StreamInfo<'_>,
        omit: bool,
    ) {
        let at = out.len();
        self.write(out, info, omit);
        let nothing = matches!(out.get(at..), Some(b"null" | b"{}"));
        if omit && nothing {
            out.truncate(before);
        }
    }

    /// Its operators' names.
    pub fn operators(&self) -> Vec<&'static str> {
        match self {
            Self::Fixed(_) => Vec::new(),
            Self::Format(format) => format.operators().collect(),
            Self::Object(members) => {
                members.iter().flat_map(|(_, member)| member.operators()).collect()
            }
            Self::List(items) => items.iter().flat_map(Self::operators).collect(),
        }
    }
}

fn typed(out: &mut Vec<u8>, said: &Value<'_>) {
    match said {
        Value::Nothing | Value::Blank => out.extend_from_slice(b"null"),
        Value::Text(text) => string(out, text),
        Value::Number(_) => {
            said.write(out);
        }
        Value::Json(json) => value(out, json),
    }
}

/// Writes a value as Envoy does: members by name, and a number that is no whole one of 32 bits as a text.
///
/// Observed: Envoy 1.40: `2.5` is written `"2.5"`, 123456789012 `"123456789012"`.
pub(super) fn value(out: &mut Vec<u8>, json: &Json) {
    match json {
        Json::String(text) => string(out, text.as_bytes()),
        Json::Number(number) => {
            match number.as_i64().filter(|whole| i32::try_from(*whole).is_ok()) {
                Some(whole) => {
                    out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
                }
                None => string(out, number.to_string().as_bytes()),
            }
        }
        Json::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                value(out, item);
            }
            out.push(b']');
        }
        Json::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by_key(|(name, _)| name.as_bytes());
            out.push(b'{');
            for (at, (name, member)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                string(out, name.as_bytes());
                out.push(b':');
                value(out, member);
            }
            out.push(b'}');
        }
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
    }
}

fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    escaped(out, text);
    out.push(b'"');
}

/// Writes a part of a JSON string. What is no UTF-8 is written byte by byte, so that the line stays JSON.
///
/// Observed: Envoy 1.40: a header `a\xff"` is written `a\u00ff\u0022`, and `a"` as `a\"`.
fn escaped(out: &mut Vec<u8>, text: &[u8]) {
    let unicode = std::str::from_utf8(text).is_ok();
    for byte in text {
        let short: &[u8] = match (byte, unicode) {
            (b'"', true) => b"\\\"",
            (b'\\', true) => b"\\\\",
            (b'\n', true) => b"\\n",
            (b'\r', true) => b"\\r",
            (b'\t', true) => b"\\t",
            (0x08, true) => b"\\b",
            (0x0c, true) => b"\\f",
            (0..0x20, _) | (b'"' | b'\\' | 0x7f.., false) => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend([b'\\', b'u', b'0', b'0', HEX[high], HEX[low]]);
                continue;
            }
            _ => {
                out.push(*byte);
                continue;
            }
        };
        out.extend_from_slice(short);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::RequestHead;

    fn line(format: &str, omit: bool) -> String {
        let json = serde_json::from_str(format).unwrap();
        let mut request = RequestHead::default();
        request.headers.append_name(b"x-bin", b"a\xff\"\\");
        request.headers.append_name(b"x-text", "é\"\\\u{1}\t".as_bytes());
        let info = StreamInfo { request: Some(&request), sent: 7, ..StreamInfo::default() };
        let mut out = Vec::new();
        JsonFormat::parse(&json).unwrap().write(&mut out, &info, omit);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_json_with_types_and_members_by_name() {
        for (format, expected, omitting) in [
            (r#"{"b": "%BYTES_SENT%", "a": "%REQ(x)%"}"#, r#"{"a":null,"b":7}"#, r#"{"b":7}"#),
            (r#"{"a": "n %BYTES_SENT%%REQ(x)%"}"#, r#"{"a":"n 7-"}"#, r#"{"a":"n 7"}"#),
            (r#"{"a": 2.5, "b": -5, "c": true}"#, r#"{"a":"2.5","b":-5,"c":true}"#, ""),
            (r#"{"a": 123456789012, "b": 1000.0}"#, r#"{"a":"123456789012","b":"1000.0"}"#, ""),
            (r#"{"a": ["%REQ(x)%", 1, []]}"#, r#"{"a":[null,1,[]]}"#, r#"{"a":[1,[]]}"#),
            (r#"{"a": {"b": "%REQ(x)%"}, "c": null}"#, r#"{"a":{"b":null},"c":null}"#, "{}"),
            (r#"{"a": "%REQ(x-bin)%"}"#, r#"{"a":"a\u00ff\u0022\u005c"}"#, ""),
            (r#"{"a": "%REQ(x-text)%"}"#, r#"{"a":"é\"\\\u0001\t"}"#, ""),
            (r#"{"a": "100%%", "": ""}"#, r#"{"":"","a":"100%"}"#, ""),
        ] {
            assert_eq!(line(format, false), expected, "{format}");
            let omitting = if omitting.is_empty() { expected } else { omitting };
            assert_eq!(line(format, true), omitting, "{format}");
        }
    }
}
