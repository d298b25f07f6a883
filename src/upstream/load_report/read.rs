//! Owns reading a load report: text, JSON or protobuf.
//!
//! Observed: Envoy 1.40. A report of which any part is not understood counts for nothing.

use serde_json::Value;

use super::{Group, Report};
use crate::{base64, codec::HeaderBlock};

/// Metrics that a host names at most; more are none.
const NAMED_MAX: usize = 256;

const BINARY: &[u8] = b"endpoint-load-metrics-bin";
const ANY: &[u8] = b"endpoint-load-metrics";

/// The report among these headers.
pub fn report(headers: &HeaderBlock) -> Option<Report> {
    if let Some(binary) = headers.get_all_named(BINARY).next() {
        return of_base64(binary);
    }
    let value = headers.get_all_named(ANY).next()?;
    match value.split_at_checked(5) {
        Some((b"TEXT ", text)) => of_text(std::str::from_utf8(text).ok()?),
        Some((b"JSON ", text)) => of_json(text),
        _ => of_base64(value.strip_prefix(b"BIN ")?),
    }
}

fn of_base64(text: &[u8]) -> Option<Report> {
    of_protobuf(&base64::read(std::str::from_utf8(text).ok()?)?)
}

/// `cpu_utilization=0.3, named_metrics.queue=0.7`, also with `:`.
fn of_text(text: &str) -> Option<Report> {
    let (mut report, mut seen) = (Report::default(), Vec::new());
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once(['=', ':'])?;
        let value = number(value)?;
        if seen.contains(&name) || seen.len() >= NAMED_MAX {
            return None;
        }
        seen.push(name);
        match (report.field(name), name.split_once('.')) {
            (Some(field), _) => *field = value,
            (None, Some((group, name))) if !name.is_empty() => {
                let group = Group::read(group).filter(|group| *group != Group::Cost)?;
                report.named.push((group, name.to_owned(), value));
            }
            _ => return None,
        }
    }
    (!seen.is_empty()).then_some(report)
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|value: &f64| value.is_finite())
}

/// The message's JSON form, by its names or those of protobuf's JSON.
fn of_json(text: &[u8]) -> Option<Report> {
    let Value::Object(fields) = serde_json::from_slice(text).ok()? else { return None };
    let mut report = Report::default();
    for (name, value) in &fields {
        let name = in_snake_case(name);
        let group = Group::read(&name);
        match (group, value) {
            (_, Value::Null) => {}
            (Some(group), Value::Object(named)) => {
                for (name, value) in named {
                    report.name(group, name.clone(), json_number(value)?)?;
                }
            }
            (None, value) => match report.field(&name) {
                Some(field) => *field = json_number(value)?,
                // Once whole, and not used since.
                None if name == "rps" => drop(json_number(value)?),
                None => return None,
            },
            _ => return None,
        }
    }
    Some(report)
}

fn in_snake_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}

fn json_number(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => number(text),
        value => value.as_f64(),
    }
}

/// The message on the wire; what is not known of it is skipped.
fn of_protobuf(bytes: &[u8]) -> Option<Report> {
    let (mut report, mut wire) = (Report::default(), Wire(bytes));
    while let Some((field, value)) = wire.next()? {
        match (field, value) {
            (1, Field::Double(value)) => report.cpu = value,
            (2, Field::Double(value)) => report.memory = value,
            (6, Field::Double(value)) => report.requests = value,
            (7, Field::Double(value)) => report.errors = value,
            (9, Field::Double(value)) => report.application = value,
            (4, Field::Bytes(entry)) => report.entry(Group::Cost, entry)?,
            (5, Field::Bytes(entry)) => report.entry(Group::Utilization, entry)?,
            (8, Field::Bytes(entry)) => report.entry(Group::Named, entry)?,
            _ => {}
        }
    }
    Some(report)
}

// === impl Report ===

impl Report {
    fn field(&mut self, name: &str) -> Option<&mut f64> {
        Some(match name {
            "cpu_utilization" => &mut self.cpu,
            "mem_utilization" => &mut self.memory,
            "application_utilization" => &mut self.application,
            "eps" => &mut self.errors,
            "rps_fractional" => &mut self.requests,
            _ => return None,
        })
    }

    fn name(&mut self, group: Group, name: String, value: f64) -> Option<()> {
        (self.named.len() < NAMED_MAX).then(|| self.named.push((group, name, value)))
    }

    /// An entry of a map on the wire: its key (1) and its value (2).
    fn entry(&mut self, group: Group, bytes: &[u8]) -> Option<()> {
        let (mut name, mut value, mut wire) = ("", 0.0, Wire(bytes));
        while let Some(field) = wire.next()? {
            match field {
                (1, Field::Bytes(text)) => name = std::str::from_utf8(text).ok()?,
                (2, Field::Double(number)) => value = number,
                _ => {}
            }
        }
        self.name(group, name.to_owned(), value)
    }
}

/// A message's bytes, field by field.
///
/// Source: protobuf.dev, "Encoding".
struct Wire<'a>(&'a [u8]);

enum Field<'a> {
    Double(f64),
    Bytes(&'a [u8]),
    /// Of a type that the report has none of.
    Other,
}

// === impl Wire ===

impl<'a> Wire<'a> {
    /// The next field; an inner `None` at the end, an outer one for what is no message.
    #[expect(clippy::option_option, reason = "the outer one is for `?`")]
    fn next(&mut self) -> Option<Option<(u64, Field<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => self.varint().map(|_| Field::Other)?,
            1 => {
                let value = f64::from_le_bytes(self.take(8)?.try_into().ok()?);
                // In text and JSON, too, what is no number says nothing.
                Field::Double(Some(value).filter(|value| value.is_finite())?)
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some(Some((tag >> 3, value)))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}
