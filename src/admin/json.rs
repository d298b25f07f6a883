//! Owns how JSON is printed: as protobuf does it for Envoy, one space of indent and HTML-safe.

use std::{fmt::Write, time::SystemTime};

use serde_json::{Value, json};

use understudy_actors::address::Address;

use crate::worker::clock::civil;

/// A value over several lines, with the end of the last.
pub(super) fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(&mut out, value, 0);
    out.push('\n');
    out
}

/// `envoy.config.core.v3.Address`
pub(super) fn address(address: Address) -> Value {
    match address {
        Address::Ip(address) => json!({
            "socket_address": { "address": address.ip().to_string(), "port_value": address.port() },
        }),
        Address::Pipe(pipe) => json!({ "pipe": { "path": pipe.path() } }),
    }
}

/// `google.protobuf.Timestamp`, with milliseconds where it has some.
pub(super) fn timestamp(at: SystemTime) -> String {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = civil(seconds / 86_400);
    let [hour, minute, second] = [seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60];
    let fraction = match since.subsec_millis() {
        0 => String::new(),
        ms => format!(".{ms:03}"),
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
}

/// Writes a value that stands `depth` deep.
pub(super) fn write(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            let entries = map.iter().map(|(key, value)| (Some(key.as_str()), value));
            list(out, ['{', '}'], entries, depth);
        }
        Value::Array(items) if !items.is_empty() => {
            list(out, ['[', ']'], items.iter().map(|value| (None, value)), depth);
        }
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => quote(out, text),
        // Writing to a string does not fail.
        other => drop(write!(out, "{other}")),
    }
}

fn list<'v>(
    out: &mut String,
    [open, close]: [char; 2],
    entries: impl Iterator<Item = (Option<&'v str>, &'v Value)>,
    depth: usize,
) {
    out.push(open);
    for (at, (key, value)) in entries.enumerate() {
        out.push_str(if at == 0 { "\n" } else { ",\n" });
        indent(out, depth + 1);
        if let Some(key) = key {
            quote(out, key);
            out.push_str(": ");
        }
        write(out, value, depth + 1);
    }
    out.push('\n');
    indent(out, depth);
    out.push(close);
}

/// One space for each level.
pub(super) fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n(' ', depth));
}

/// Observed: Envoy 1.40 `/server_info` with such characters in `node.id`.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    for letter in text.chars() {
        match letter {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '\0'..'\u{20}' | '\u{7f}'..'\u{a0}' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(letter));
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_printed_as_envoy_prints_it() {
        let value =
            json!({"a": [], "b": {}, "c": [1, {"d": "a<b>&'\"\u{7f}\u{2028}é"}], "e": null});
        let text = "{\n \"a\": [],\n \"b\": {},\n \"c\": [\n  1,\n  {\n   \
                    \"d\": \"a\\u003cb\\u003e&'\\\"\\u007f\\u2028é\"\n  }\n ],\n \"e\": null\n}\n";
        assert_eq!(pretty(&value), text);
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), value);
    }
}
