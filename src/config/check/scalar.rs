//! Owns reading scalars as Envoy does: YAML 1.1's booleans, numbers in any dress, durations in seconds.
//!
//! Observed: Envoy 1.40 `--mode validate`, one value at a time.

use std::time::Duration;

use super::nearest;
use crate::{
    base64,
    config::{
        message::Value,
        node::{Node, NodeKind},
        schema::{self, FieldKind},
    },
};

/// What is wrong with a value, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) text: String,
    pub(super) hint: String,
}

/// Source: `google/protobuf/duration.proto`, about 10,000 years.
const DURATION_SECONDS_MAX: u64 = 315_576_000_000;

fn wrong(text: impl Into<String>, hint: impl Into<String>) -> Wrong {
    Wrong { text: text.into(), hint: hint.into() }
}

/// What YAML makes of a scalar before protobuf sees it.
enum Plain<'a> {
    Bool(bool),
    /// A whole number that fits 32 bits, signed.
    Integer(i64),
    Text(&'a str),
}

/// Types a scalar as yaml-cpp does for Envoy: quoted text is text; of plain text, booleans of YAML 1.1 and
/// small whole numbers are not.
fn plain<'a>(text: &'a str, quoted: bool) -> Plain<'a> {
    if quoted {
        return Plain::Text(text);
    }
    match boolean(text) {
        Some(value) => Plain::Bool(value),
        None => match integer(text).filter(|number| i32::try_from(*number).is_ok()) {
            Some(number) => Plain::Integer(number),
            None => Plain::Text(text),
        },
    }
}

fn boolean(text: &str) -> Option<bool> {
    const YES: [&str; 4] = ["y", "yes", "true", "on"];
    const NO: [&str; 4] = ["n", "no", "false", "off"];
    let cases = |word: &str| {
        let mut letters = word.chars();
        let title = letters.next().map(|c| c.to_ascii_uppercase()).into_iter().chain(letters);
        text == word || text == word.to_ascii_uppercase() || title.eq(text.chars())
    };
    match (YES.into_iter().any(cases), NO.into_iter().any(cases)) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// A whole number in decimal, hexadecimal (`0x`) or octal with a leading zero.
fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let parse = |digits: &str, radix| {
        let clean = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
        clean.then(|| i64::from_str_radix(digits, radix).ok()).flatten()
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => parse(hex, 16),
        None if digits.len() > 1 && digits.starts_with('0') => parse(digits, 8),
        None => parse(digits, 10),
    };
    value.map(|value| sign * value)
}

/// Reads a scalar of a kind.
pub(super) fn read(node: &Node, kind: &FieldKind) -> Result<Value, Wrong> {
    let NodeKind::Scalar { text, quoted } = &node.kind else {
        return Err(wrong(format!("{} is expected here, not a collection", words(kind)), ""));
    };
    match kind {
        FieldKind::Bool => match boolean(text) {
            Some(value) if !quoted || matches!(text.as_str(), "true" | "false") => {
                Ok(Value::Bool(value))
            }
            _ => Err(wrong(format!("`{text}` is not a boolean"), "write true or false")),
        },
        FieldKind::String => match plain(text, *quoted) {
            Plain::Text(text) => Ok(Value::String(text.to_owned())),
            Plain::Bool(_) => {
                let text = format!("`{text}` is a boolean to YAML, and text is expected here");
                Err(wrong(text, "quote it"))
            }
            Plain::Integer(_) => {
                let text = format!("`{text}` is a number to YAML, and text is expected here");
                Err(wrong(text, "quote it"))
            }
        },
        FieldKind::Bytes => {
            let bytes = base64::read(text)
                .ok_or_else(|| wrong("not base64", "encode the bytes in base64"))?;
            Ok(Value::Bytes(bytes))
        }
        FieldKind::Int32 => number(text, i64::from(i32::MIN), i64::from(i32::MAX)).map(Value::Int),
        FieldKind::Int64 => number(text, i64::MIN, i64::MAX).map(Value::Int),
        FieldKind::Uint32 => unsigned(text, u64::from(u32::MAX)),
        FieldKind::Uint64 => unsigned(text, u64::MAX),
        FieldKind::Double => text
            .parse()
            .map(Value::Double)
            .map_err(|_| wrong(format!("`{text}` is not a number"), "")),
        FieldKind::Enum(name) => enumeration(text, name),
        FieldKind::Message(_) | FieldKind::Map(..) => Err(wrong("a mapping is expected here", "")),
    }
}

fn words(kind: &FieldKind) -> &'static str {
    match kind {
        FieldKind::Bool => "a boolean",
        FieldKind::String => "text",
        FieldKind::Bytes => "base64",
        FieldKind::Enum(_) => "a name",
        _ => "a number",
    }
}

fn number(text: &str, min: i64, max: i64) -> Result<i64, Wrong> {
    let whole =
        |number: f64| (number.fract() == 0.0 && number.abs() < 9e18).then_some(number as i64);
    let value = integer(text).or_else(|| text.parse().ok().and_then(whole));
    match value {
        Some(value) if (min..=max).contains(&value) => Ok(value),
        Some(value) => Err(wrong(format!("{value} is out of range"), format!("{min} to {max}"))),
        None => Err(wrong(format!("`{text}` is not a whole number"), "")),
    }
}

fn unsigned(text: &str, max: u64) -> Result<Value, Wrong> {
    if let Ok(value) = text.parse::<u64>()
        && !(text.len() > 1 && text.starts_with('0'))
    {
        return match value <= max {
            true => Ok(Value::Uint(value)),
            false => Err(wrong(format!("{value} is out of range"), format!("at most {max}"))),
        };
    }
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    number(text, 0, limit).map(|value| Value::Uint(value.unsigned_abs()))
}

/// Enums by name in any case, or by a number that is defined.
fn enumeration(text: &str, name: &'static str) -> Result<Value, Wrong> {
    let values = schema::enumeration(name).map(|known| known.values).unwrap_or_default();
    let by_number = integer(text).and_then(|number| i32::try_from(number).ok());
    let found = values
        .iter()
        .find(|(number, known)| known.eq_ignore_ascii_case(text) || Some(*number) == by_number);
    if let Some((number, known)) = found {
        return Ok(Value::Enum(*number, known));
    }
    let upper = text.to_ascii_uppercase();
    let meant = nearest(&upper, values.iter().map(|(_, known)| *known));
    let all: Vec<_> = values.iter().map(|(_, known)| *known).collect();
    let short = name.rsplit('.').next().unwrap_or(name);
    let hint = match meant {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("one of {}", all.join(", ")),
    };
    Err(wrong(format!("`{text}` is not a value of {short}"), hint))
}

/// Reads a protobuf JSON duration: decimal seconds with up to nine fraction digits and an `s`; or the
/// message's own form, `{seconds: 1, nanos: 2}`.
///
/// Source: `google/protobuf/duration.proto`, "JSON Mapping". Envoy takes no `ms` or `m` suffix either.
pub(super) fn duration(node: &Node) -> Result<Duration, Wrong> {
    match &node.kind {
        NodeKind::Scalar { text, .. } => {
            let parsed = text.strip_suffix('s').and_then(seconds);
            parsed.ok_or_else(|| wrong(format!("`{text}` is not a duration"), meant_duration(text)))
        }
        NodeKind::Map(_) => {
            let part = |name| node.get(name).and_then(Node::as_text).unwrap_or("0").parse::<u64>();
            match (part("seconds"), part("nanos")) {
                (Ok(seconds), Ok(nanos))
                    if nanos < 1_000_000_000 && seconds <= DURATION_SECONDS_MAX =>
                {
                    Ok(Duration::new(seconds, nanos as u32))
                }
                _ => Err(wrong("not a duration", "write seconds, such as 0.25s")),
            }
        }
        _ => Err(wrong("a duration is expected here", "write seconds, such as 0.25s")),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let seconds = whole.parse().ok().filter(|seconds| *seconds <= DURATION_SECONDS_MAX)?;
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Some(Duration::new(seconds, nanos))
}

/// What somebody likely meant who wrote another unit, or none.
fn meant_duration(text: &str) -> String {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: Option<f64> = text[..text.len() - unit.len()].parse().ok();
    let factor = match unit {
        "ms" => 0.001,
        "us" => 0.000_001,
        "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return "write seconds, such as 0.25s".to_owned(),
    };
    match number {
        Some(number) => format!("write {}s", number * factor),
        None => "write seconds, such as 0.25s".to_owned(),
    }
}

/// A tree as JSON, for `Struct` and `Value`: small whole numbers stay numbers, everything else that is
/// not a boolean is text.
pub(super) fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.kind {
        NodeKind::Null => Json::Null,
        NodeKind::Scalar { text, quoted } => match plain(text, *quoted) {
            Plain::Bool(value) => Json::Bool(value),
            Plain::Integer(value) => Json::from(value),
            Plain::Text(text) => Json::String(text.to_owned()),
        },
        NodeKind::List(items) => Json::Array(items.iter().map(json).collect()),
        NodeKind::Map(entries) => Json::Object(
            entries.iter().map(|entry| (entry.key.clone(), json(&entry.value))).collect(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::diagnostic::Span;

    fn scalar(text: &str, quoted: bool) -> Node {
        let kind = NodeKind::Scalar { text: text.to_owned(), quoted };
        Node { at: Span::default(), kind }
    }

    #[test]
    fn scalars_are_read_as_envoy_reads_them() {
        let ok = |text: &str, quoted, kind: &FieldKind| read(&scalar(text, quoted), kind).is_ok();
        for (text, quoted, kind, taken) in [
            ("y", false, FieldKind::Bool, true),
            ("Off", false, FieldKind::Bool, true),
            ("true", true, FieldKind::Bool, true),
            ("yes", true, FieldKind::Bool, false),
            ("y", false, FieldKind::String, false),
            ("y", true, FieldKind::String, true),
            ("123", false, FieldKind::String, false),
            ("0x10", false, FieldKind::String, false),
            ("1.5", false, FieldKind::String, true),
            ("99999999999", false, FieldKind::String, true),
            ("18001", true, FieldKind::Uint32, true),
            ("18001.0", false, FieldKind::Uint32, true),
            ("1e4", false, FieldKind::Uint32, true),
            ("0x4651", false, FieldKind::Uint32, true),
            ("18_001", false, FieldKind::Uint32, false),
            ("0o17", false, FieldKind::Uint32, false),
            ("-1", false, FieldKind::Uint32, false),
            ("4294967296", false, FieldKind::Uint32, false),
        ] {
            assert_eq!(ok(text, quoted, &kind), taken, "{text:?} {quoted} {kind:?}");
        }
    }

    #[test]
    fn durations_are_seconds() {
        for (text, expected) in [
            ("1s", Some(Duration::from_secs(1))),
            ("0.25s", Some(Duration::from_millis(250))),
            ("0.000000001s", Some(Duration::from_nanos(1))),
            ("250ms", None),
            ("1", None),
            ("-1s", None),
            ("s", None),
            ("0.0000000001s", None),
        ] {
            assert_eq!(duration(&scalar(text, false)).ok(), expected, "{text}");
        }
        assert_eq!(duration(&scalar("250ms", false)).unwrap_err().hint, "write 0.25s");
    }
}
