//! Reads `validate.FieldRules` into short words: `min_len=1`, `items.pattern=…`. Source:
//! `validate/validate.proto` of protoc-gen-validate.

use crate::wire::{Value, fields};

/// The rules of one field; `prefix` is `items.`, `keys.` or `values.` inside a collection.
pub(crate) fn read(bytes: &[u8], prefix: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    for (kind, value) in fields(bytes)? {
        let rules = fields(value.bytes())?;
        for (rule, value) in rules {
            let word = match kind {
                1 | 2 => float(kind, rule, value),
                3..=12 => number(rule, value),
                13 => (rule == 1).then(|| format!("const={}", value.number())),
                14 => string(rule, value),
                15 => bytes_rule(rule, value),
                16 => enumeration(rule, value),
                17 => flag(rule, value, &[(1, "skip"), (2, "required")]),
                18 => match rule {
                    4 => {
                        out.extend(read(value.bytes(), &format!("{prefix}items."))?);
                        None
                    }
                    1 => Some(format!("min_items={}", value.number())),
                    2 => Some(format!("max_items={}", value.number())),
                    3 => flag(rule, value, &[(3, "unique")]),
                    _ => None,
                },
                19 => match rule {
                    4 | 5 => {
                        let name = if rule == 4 { "keys." } else { "values." };
                        out.extend(read(value.bytes(), &format!("{prefix}{name}"))?);
                        None
                    }
                    1 => Some(format!("min_pairs={}", value.number())),
                    2 => Some(format!("max_pairs={}", value.number())),
                    _ => None,
                },
                20 => flag(rule, value, &[(1, "required")]),
                21 => duration(rule, value),
                22 => flag(rule, value, &[(1, "required")]),
                _ => None,
            };
            out.extend(word.map(|word| format!("{prefix}{word}")));
        }
    }
    Some(out)
}

fn flag(rule: u32, value: Value<'_>, names: &[(u32, &str)]) -> Option<String> {
    let (_, name) = names.iter().find(|(number, _)| *number == rule)?;
    (value.number() == 1).then(|| (*name).to_owned())
}

const COMPARISONS: [(u32, &str); 6] =
    [(1, "const"), (2, "lt"), (3, "lte"), (4, "gt"), (5, "gte"), (8, "ignore_empty")];

fn number(rule: u32, value: Value<'_>) -> Option<String> {
    let (_, name) = COMPARISONS.iter().find(|(number, _)| *number == rule)?;
    Some(format!("{name}={}", value.number() as i64))
}

fn float(kind: u32, rule: u32, value: Value<'_>) -> Option<String> {
    let (_, name) = COMPARISONS.iter().find(|(number, _)| *number == rule)?;
    let bits = value.number();
    let number = match kind {
        1 => f64::from(f32::from_bits(bits as u32)),
        _ => f64::from_bits(bits),
    };
    Some(format!("{name}={number}"))
}

fn string(rule: u32, value: Value<'_>) -> Option<String> {
    let text = || escaped(&value.text());
    Some(match rule {
        1 => format!("const={}", text()),
        2 => format!("min_len={}", value.number()),
        3 => format!("max_len={}", value.number()),
        4 => format!("min_bytes={}", value.number()),
        5 => format!("max_bytes={}", value.number()),
        6 => format!("pattern={}", text()),
        7 => format!("prefix={}", text()),
        8 => format!("suffix={}", text()),
        10 => format!("in={}", text()),
        11 => format!("not_in={}", text()),
        24 => format!("well_known={}", value.number()),
        25 => format!("strict={}", value.number()),
        26 => "ignore_empty=1".to_owned(),
        _ => return None,
    })
}

fn bytes_rule(rule: u32, value: Value<'_>) -> Option<String> {
    match rule {
        2 => Some(format!("min_bytes={}", value.number())),
        3 => Some(format!("max_bytes={}", value.number())),
        13 => Some(format!("len={}", value.number())),
        _ => None,
    }
}

fn enumeration(rule: u32, value: Value<'_>) -> Option<String> {
    match rule {
        1 => Some(format!("const={}", value.number())),
        2 => (value.number() == 1).then(|| "defined_only".to_owned()),
        // Packed or not, small numbers are one byte each.
        3 | 4 => {
            let name = if rule == 3 { "in" } else { "not_in" };
            let numbers = match value {
                Value::Number(number) => vec![number],
                Value::Bytes(bytes) => bytes.iter().map(|byte| u64::from(*byte)).collect(),
            };
            let words = numbers.iter().map(|number| format!("{name}={number}"));
            Some(words.collect::<Vec<_>>().join(" "))
        }
        _ => None,
    }
}

fn duration(rule: u32, value: Value<'_>) -> Option<String> {
    if rule == 1 {
        return (value.number() == 1).then(|| "required".to_owned());
    }
    let name = [(2, "const"), (3, "lt"), (4, "lte"), (5, "gt"), (6, "gte")];
    let (_, name) = name.iter().find(|(number, _)| *number == rule)?;
    let (mut seconds, mut nanos) = (0, 0);
    for (number, value) in fields(value.bytes())? {
        match number {
            1 => seconds = value.number(),
            2 => nanos = value.number(),
            _ => {}
        }
    }
    Some(format!("{name}={seconds}.{nanos:09}"))
}

/// Text without spaces and tabs, so that a line splits cleanly.
fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace(' ', "%20").replace('\t', "%09").replace('\n', "%0A")
}
