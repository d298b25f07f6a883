//! Owns compiling the metadata that balancers read: what stands under `envoy.lb`.

use serde_json::Value as Json;
use understudy_actors::plan::{LbMetadata, LbValue};

use crate::config::{Message, message::Value};

/// Where balancers look. Source: `Metadata.filter_metadata`.
const BALANCING: &str = "envoy.lb";

/// Source: `Cluster.transport_socket_matches`.
const TRANSPORT: &str = "envoy.transport_socket_match";

/// What `metadata` of the holder says to balancers; what it says to others goes unread there.
pub(super) fn lb_metadata(holder: &Message, field: &str) -> LbMetadata {
    metadata(holder, field, BALANCING)
}

/// What it says to those who choose transport sockets.
pub(super) fn transport_metadata(holder: &Message, field: &str) -> LbMetadata {
    metadata(holder, field, TRANSPORT)
}

fn metadata(holder: &Message, field: &str, reader: &str) -> LbMetadata {
    let filters = holder.message(field).map(|metadata| metadata.map("filter_metadata"));
    let own = filters.and_then(|all| all.iter().find(|(name, _)| name == reader));
    match own.map(|(_, item)| &item.value) {
        Some(Value::Json(fields)) => lb_fields(fields),
        _ => LbMetadata::new(),
    }
}

/// The fields of a struct, each as it is compared.
pub(super) fn lb_fields(fields: &Json) -> LbMetadata {
    let fields = fields.as_object().into_iter().flatten();
    fields.map(|(key, value)| (key.clone(), lb_value(value))).collect()
}

fn lb_value(json: &Json) -> LbValue {
    match json {
        Json::String(text) => LbValue::Text(text.clone()),
        Json::Bool(value) => LbValue::Boolean(*value),
        Json::Array(items) => LbValue::List(items.iter().map(lb_value).collect()),
        Json::Object(_) => LbValue::Fields(lb_fields(json)),
        // All numbers are doubles: 1 is 1.0.
        Json::Number(number) => {
            LbValue::Number(number.as_f64().map_or(0, |number| (number + 0.0).to_bits()))
        }
        Json::Null => LbValue::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_the_same_if_they_say_the_same() {
        let same = |a: Json, b: Json| lb_value(&a) == lb_value(&b);
        assert!(same(json!(1), json!(1.0)));
        assert!(same(json!(-0.0), json!(0)));
        assert!(same(json!({"a": 1, "b": [true]}), json!({"b": [true], "a": 1})));
        for (a, b) in
            [(json!("1"), json!(1)), (json!(true), json!("true")), (json!(["a"]), json!("a"))]
        {
            assert!(!same(a, b));
        }
    }
}
