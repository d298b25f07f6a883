//! Owns protoc-gen-validate's rules, as Envoy's API states them on its fields.

use std::collections::HashSet;

use regex::Regex;

use crate::config::{
    diagnostic::{Diagnostics, Span},
    message::Value,
    schema::{FieldSchema, MessageSchema},
};

type Rule = (&'static str, &'static str);

/// Checks what is set.
pub(super) fn check(
    field: &FieldSchema,
    value: &Value,
    at: Span,
    path: &str,
    errors: &mut Diagnostics,
) {
    let own: Vec<Rule> =
        (field.rules.iter().copied()).filter(|(name, _)| !name.contains('.')).collect();
    apply(&own, field.name, value, at, path, errors);
    let below = |prefix: &str| -> Vec<Rule> {
        let rules = field
            .rules
            .iter()
            .filter_map(|(name, argument)| name.strip_prefix(prefix).map(|name| (name, *argument)));
        rules.collect()
    };
    match value {
        Value::List(items) => {
            let rules = below("items.");
            for item in items {
                apply(&rules, field.name, &item.value, item.at, path, errors);
            }
        }
        Value::Map(entries) => {
            let (keys, values) = (below("keys."), below("values."));
            for (key, item) in entries {
                let key = Value::String(key.clone());
                apply(&keys, field.name, &key, item.at, path, errors);
                apply(&values, field.name, &item.value, item.at, path, errors);
            }
        }
        _ => {}
    }
}

/// Asks for what is required and was not written. A member of a oneof is only checked where it is set.
pub(super) fn check_required(
    schema: &MessageSchema,
    mentioned: &HashSet<u32>,
    at: Span,
    path: &str,
    errors: &mut Diagnostics,
) {
    for field in &schema.fields {
        if mentioned.contains(&field.number) || field.oneof.is_some() {
            continue;
        }
        let ignore_empty = field.rules.iter().any(|(name, _)| *name == "ignore_empty");
        let asks = |(name, argument): &Rule| match *name {
            "required" => true,
            "min_len" | "min_bytes" | "min_items" | "min_pairs" => {
                !ignore_empty && *argument != "0"
            }
            // A number that is not written is 0.
            "gt" | "gte" if is_plain_number(field) => {
                !ignore_empty && argument.parse::<f64>().is_ok_and(|min| min > 0.0)
            }
            // Nor is an enum: it has the value that is 0.
            "not_in" if matches!(field.kind, crate::config::schema::FieldKind::Enum(_)) => {
                *argument == "0"
            }
            "const" if field.kind == crate::config::schema::FieldKind::Bool => *argument == "1",
            _ => false,
        };
        if field.rules.iter().any(asks) {
            errors.broken_rule(at, path, format!("`{}` is required", field.name));
        }
    }
}

fn is_plain_number(field: &FieldSchema) -> bool {
    use crate::config::schema::FieldKind as K;
    matches!(field.kind, K::Double | K::Int32 | K::Int64 | K::Uint32 | K::Uint64)
}

fn apply(
    rules: &[Rule],
    name: &str,
    value: &Value,
    at: Span,
    path: &str,
    errors: &mut Diagnostics,
) {
    let empty = is_empty(value);
    if empty && rules.iter().any(|(name, _)| *name == "ignore_empty") {
        return;
    }
    let allowed: Vec<&str> = arguments(rules, "in").collect();
    if !allowed.is_empty() && !allowed.iter().any(|allowed| is_one(value, allowed)) {
        let all = allowed.iter().map(|one| unescaped(one)).collect::<Vec<_>>().join(", ");
        errors.broken_rule(at, path, format!("`{name}`: must be one of {all}"));
    }
    for (rule, argument) in rules {
        if let Some(text) = broken(rule, argument, value) {
            errors.broken_rule(at, path, format!("`{name}`: {text}"));
        }
    }
}

fn arguments<'r>(rules: &'r [Rule], wanted: &'r str) -> impl Iterator<Item = &'static str> + 'r {
    rules.iter().filter(move |(name, _)| *name == wanted).map(|(_, argument)| *argument)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(items) => items.is_empty(),
        Value::Uint(0) | Value::Int(0) => true,
        _ => false,
    }
}

fn is_one(value: &Value, allowed: &str) -> bool {
    match value {
        Value::String(text) => *text == unescaped(allowed),
        Value::Enum(number, _) => allowed.parse() == Ok(*number),
        _ => true,
    }
}

/// What a value breaks a rule by; `None` where it does not.
fn broken(rule: &str, argument: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) => text_rule(rule, argument, text),
        Value::Bytes(bytes) => length_rule(rule, argument, bytes.len(), "bytes"),
        Value::List(items) => match rule {
            "unique" => has_twins(items.iter().map(|item| format!("{:?}", item.value)))
                .then(|| "has the same value twice".to_owned()),
            _ => length_rule(rule, argument, items.len(), "items"),
        },
        Value::Map(entries) => length_rule(rule, argument, entries.len(), "entries"),
        Value::Uint(number) => number_rule(rule, argument, *number as f64),
        Value::Int(number) => number_rule(rule, argument, *number as f64),
        Value::Double(number) => number_rule(rule, argument, *number),
        Value::Duration(duration) => {
            let rule = number_rule(rule, argument, duration.as_secs_f64());
            rule.map(|text| text.replace(".000000000", "") + " (seconds)")
        }
        Value::Bool(value) if rule == "const" => {
            let wanted = argument == "1";
            (*value != wanted).then(|| format!("must be {wanted}; the field is not to be used"))
        }
        Value::Enum(number, name) if rule == "not_in" => {
            (argument.parse() == Ok(*number)).then(|| format!("must not be {name}"))
        }
        _ => None,
    }
}

fn text_rule(rule: &str, argument: &str, text: &str) -> Option<String> {
    let argument = unescaped(argument);
    let fails = match rule {
        "const" => (text != argument).then(|| format!("must be {argument:?}")),
        "pattern" => {
            let matches = Regex::new(&argument).is_ok_and(|pattern| !pattern.is_match(text));
            matches.then(|| format!("must match {argument}"))
        }
        "prefix" => (!text.starts_with(&argument)).then(|| format!("must begin with {argument:?}")),
        "suffix" => (!text.ends_with(&argument)).then(|| format!("must end with {argument:?}")),
        "not_in" => (text == argument).then(|| format!("must not be {argument:?}")),
        // 1: a header's name, 2: a header's value. Strict or not, these can never be sent.
        "well_known" => text
            .contains(['\0', '\r', '\n'])
            .then(|| "must have no line end and no zero byte".to_owned()),
        _ => None,
    };
    fails.or_else(|| match rule {
        "min_bytes" | "max_bytes" => length_rule(rule, &argument, text.len(), "bytes"),
        _ => length_rule(rule, &argument, text.chars().count(), "characters"),
    })
}

fn length_rule(rule: &str, argument: &str, length: usize, unit: &str) -> Option<String> {
    let bound: usize = argument.parse().ok()?;
    match rule {
        "min_len" | "min_bytes" | "min_items" | "min_pairs" if length < bound => {
            Some(format!("must have at least {bound} {unit}"))
        }
        "max_len" | "max_bytes" | "max_items" | "max_pairs" if length > bound => {
            Some(format!("must have at most {bound} {unit}"))
        }
        "len" if length != bound => Some(format!("must have {bound} {unit}")),
        _ => None,
    }
}

fn number_rule(rule: &str, argument: &str, number: f64) -> Option<String> {
    let bound: f64 = argument.parse().ok()?;
    let fails = match rule {
        "const" => number != bound,
        "lt" => number >= bound,
        "lte" => number > bound,
        "gt" => number <= bound,
        "gte" => number < bound,
        _ => return None,
    };
    let words = match rule {
        "const" => "exactly",
        "lt" => "less than",
        "lte" => "at most",
        "gt" => "more than",
        _ => "at least",
    };
    fails.then(|| format!("must be {words} {argument} (it is {number})"))
}

fn has_twins(values: impl Iterator<Item = String>) -> bool {
    let mut seen = HashSet::new();
    let mut values = values;
    !values.all(|value| seen.insert(value))
}

fn unescaped(text: &str) -> String {
    text.replace("%20", " ").replace("%09", "\t").replace("%0A", "\n").replace("%25", "%")
}
