//! Owns JSON that is made while it is printed: a large answer is never whole in memory.

use serde_json::{Map, Value};

use super::json::{indent, quote, write};

/// Bytes at which a piece ends.
const PIECE_BYTES: usize = 16 * 1024;

/// A value whose parts are made when they are printed.
pub(super) enum Doc {
    /// One that is small enough to be there.
    Value(Value),
    /// An object, entry by entry.
    Object(Box<dyn Iterator<Item = (String, Doc)> + Send>),
    /// An array, item by item.
    List(Box<dyn Iterator<Item = Doc> + Send>),
}

/// Prints as [`super::json::pretty`] does.
struct Printing {
    root: Option<Doc>,
    open: Vec<Open>,
}

/// An object or array that is not closed yet.
struct Open {
    entries: Box<dyn Iterator<Item = (Option<String>, Doc)> + Send>,
    close: char,
    empty: bool,
}

// === impl Doc ===

impl Doc {
    /// An object of what there is.
    pub(super) fn object<I>(entries: I) -> Self
    where
        I: IntoIterator<Item = (String, Doc), IntoIter: Send + 'static>,
    {
        Self::Object(Box::new(entries.into_iter()))
    }

    /// An array of what there is.
    pub(super) fn list<I>(items: I) -> Self
    where
        I: IntoIterator<Item = Doc, IntoIter: Send + 'static>,
    {
        Self::List(Box::new(items.into_iter()))
    }

    /// All of it.
    pub(super) fn value(self) -> Value {
        match self {
            Doc::Value(value) => value,
            Doc::Object(entries) => {
                Value::Object(entries.map(|(key, doc)| (key, doc.value())).collect::<Map<_, _>>())
            }
            Doc::List(items) => Value::Array(items.map(Doc::value).collect()),
        }
    }

    /// Its text, with the end of its last line.
    pub(super) fn pieces(self) -> impl Iterator<Item = Vec<u8>> + Send + 'static {
        Printing { root: Some(self), open: Vec::new() }
    }
}

// === impl Printing ===

impl Printing {
    fn begin(&mut self, out: &mut String, doc: Doc) {
        let (entries, brackets): (Box<dyn Iterator<Item = _> + Send>, _) = match doc {
            Doc::Value(value) => return write(out, &value, self.open.len()),
            Doc::Object(entries) => {
                (Box::new(entries.map(|(key, doc)| (Some(key), doc))), ['{', '}'])
            }
            Doc::List(items) => (Box::new(items.map(|doc| (None, doc))), ['[', ']']),
        };
        out.push(brackets[0]);
        self.open.push(Open { entries, close: brackets[1], empty: true });
    }
}

impl Iterator for Printing {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut out = String::new();
        if let Some(root) = self.root.take() {
            self.begin(&mut out, root);
            if self.open.is_empty() {
                out.push('\n');
            }
        }
        while let Some(open) = self.open.last_mut().filter(|_| out.len() < PIECE_BYTES) {
            let entry = open.entries.next();
            if entry.is_some() || !open.empty {
                out.push_str(if entry.is_some() && !open.empty { ",\n" } else { "\n" });
            }
            let (empty, close) = (open.empty, open.close);
            open.empty = false;
            match entry {
                Some((key, doc)) => {
                    indent(&mut out, self.open.len());
                    if let Some(key) = key {
                        quote(&mut out, &key);
                        out.push_str(": ");
                    }
                    self.begin(&mut out, doc);
                }
                None => {
                    self.open.pop();
                    if !empty {
                        indent(&mut out, self.open.len());
                    }
                    out.push(close);
                    if self.open.is_empty() {
                        out.push('\n');
                    }
                }
            }
        }
        (!out.is_empty()).then(|| out.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::admin::json::pretty;

    /// The same value with every object and array made late.
    fn late(value: Value) -> Doc {
        match value {
            Value::Object(map) => {
                Doc::object(map.into_iter().map(|(key, value)| (key, late(value))))
            }
            Value::Array(items) => Doc::list(items.into_iter().map(late)),
            plain => Doc::Value(plain),
        }
    }

    #[test]
    fn what_is_made_late_is_printed_as_what_is_there() {
        let long: Vec<String> = (0..3000).map(|number| format!("item {number}")).collect();
        for value in [
            json!({"a": [], "b": {}, "c": [1, {"d": "<&>", "e": [[], [{}]]}], "f": null}),
            json!({"configs": [{"list": long, "after": true}, {}]}),
            json!([]),
            json!({}),
            json!("x"),
        ] {
            let text: Vec<u8> = late(value.clone()).pieces().flatten().collect();
            assert_eq!(String::from_utf8(text).unwrap(), pretty(&value));
            let text: Vec<u8> = Doc::Value(value.clone()).pieces().flatten().collect();
            assert_eq!(String::from_utf8(text).unwrap(), pretty(&value));
            assert_eq!(late(value.clone()).value(), value);
        }
        let long = late(json!({"long": long})).pieces();
        assert!(long.map(|piece| piece.len()).all(|bytes| bytes < PIECE_BYTES + 64));
    }
}
