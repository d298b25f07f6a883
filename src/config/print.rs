//! Owns writing a message as proto3 JSON in Envoy's dress: `/config_dump` and the upgrade's output.

use std::time::Duration;

use serde_json::{Map, Value as Json};

use super::{
    Message,
    message::{AnyValue, Set, Value},
    schema::FieldSchema,
};
use crate::base64;

/// A message as JSON: snake_case names in the order of their numbers, defaults left out, sensitive values
/// hidden. Observed: Envoy 1.40 `/config_dump` writes `load_assignment` (33) after `dns_lookup_family`
/// (17), though the proto file has it before.
pub fn json(message: &Message) -> Json {
    Json::Object(object(message))
}

/// The same with its `@type` first.
pub fn any_json(type_url: &str, message: &Message) -> Json {
    let mut out = Map::new();
    out.insert("@type".to_owned(), Json::String(type_url.to_owned()));
    out.extend(object(message));
    Json::Object(out)
}

fn object(message: &Message) -> Map<String, Json> {
    let sets = in_order(message).into_iter();
    sets.filter_map(|set| Some((set.field.name.to_owned(), set_json(set)?))).collect()
}

/// The fields that are set, in the order in which they are written.
pub fn in_order(message: &Message) -> Vec<&Set> {
    let mut fields: Vec<_> = message.fields.iter().collect();
    fields.sort_by_key(|set| set.field.number);
    fields
}

/// A field's value as it is written, if it is.
pub fn set_json(set: &Set) -> Option<Json> {
    match set.field.sensitive {
        true => Some(redacted(&set.value)),
        false => field(set.field, &set.value),
    }
}

/// A field's value; `None` for a default that proto3 does not write.
fn field(field: &FieldSchema, set: &Value) -> Option<Json> {
    // A member of a oneof and a wrapper are written even when they are the default.
    let always =
        field.oneof.is_some() || matches!(field.kind, super::schema::FieldKind::Message(_));
    let default = match set {
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::Enum(value, _) => *value == 0,
        Value::String(value) => value.is_empty(),
        Value::List(items) => return (!items.is_empty()).then(|| value(set, wide(field))),
        Value::Map(entries) => return (!entries.is_empty()).then(|| value(set, wide(field))),
        _ => false,
    };
    (always || !default).then(|| value(set, wide(field)))
}

/// 64-bit numbers are text in proto3 JSON.
fn wide(field: &FieldSchema) -> bool {
    use super::schema::FieldKind as K;
    matches!(
        field.kind,
        K::Int64
            | K::Uint64
            | K::Message("google.protobuf.UInt64Value" | "google.protobuf.Int64Value")
    )
}

fn value(value_of: &Value, wide: bool) -> Json {
    match value_of {
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) if wide => Json::String(value.to_string()),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) if wide => Json::String(value.to_string()),
        Value::Uint(value) => Json::from(*value),
        Value::Double(value) => double(*value),
        Value::Enum(_, name) => Json::String((*name).to_owned()),
        Value::String(text) | Value::Text(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => Json::String(base64::write(bytes)),
        Value::Message(message) => json(message),
        Value::Any(any) => any_value(any),
        Value::Duration(duration) => Json::String(duration_text(*duration)),
        Value::Json(json) => json.clone(),
        Value::List(items) => {
            Json::Array(items.iter().map(|item| value(&item.value, wide)).collect())
        }
        Value::Map(entries) => Json::Object(
            entries.iter().map(|(key, item)| (key.clone(), value(&item.value, wide))).collect(),
        ),
    }
}

fn any_value(any: &AnyValue) -> Json {
    any_json(&any.type_url, &any.message)
}

/// A whole number is written without a fraction, as protobuf does.
fn double(number: f64) -> Json {
    match number.fract() == 0.0 && number.abs() < 1e15 {
        true => Json::from(number as i64),
        false => Json::from(number),
    }
}

/// Text and bytes become a word; of a collection every part does.
fn redacted(value: &Value) -> Json {
    match value {
        Value::Message(message) => Json::Object(
            message
                .fields
                .iter()
                .map(|set| (set.field.name.to_owned(), redacted(&set.value)))
                .collect(),
        ),
        Value::List(items) => Json::Array(items.iter().map(|item| redacted(&item.value)).collect()),
        Value::Bytes(_) => Json::String(base64::write(b"[redacted]")),
        _ => Json::String("[redacted]".to_owned()),
    }
}

/// `0.250s`: no, three, six or nine fraction digits. Source: protobuf's JSON mapping.
pub fn duration_text(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    match nanos {
        0 => format!("{seconds}s"),
        nanos if nanos % 1_000_000 == 0 => format!("{seconds}.{:03}s", nanos / 1_000_000),
        nanos if nanos % 1_000 == 0 => format!("{seconds}.{:06}s", nanos / 1_000),
        nanos => format!("{seconds}.{nanos:09}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_bytes_are_written_as_protobuf_does() {
        assert_eq!(duration_text(Duration::from_millis(250)), "0.250s");
        assert_eq!(duration_text(Duration::from_secs(5)), "5s");
        assert_eq!(duration_text(Duration::from_nanos(1)), "0.000000001s");
    }
}
