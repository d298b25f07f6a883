//! Owns telling whether two messages say the same: a number that is equal for those that do.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{
    Message,
    message::{Item, Set, Value},
};

/// A number that is equal for two messages that say the same, wherever they stand. Of maps the order does not
/// count; sensitive values do, which no dump shows.
pub fn digest(message: &Message) -> u64 {
    digest_without(message, |_, _| false)
}

/// The same without the fields that `left_out` names.
pub fn digest_without(message: &Message, left_out: impl Fn(&Message, &Set) -> bool) -> u64 {
    let mut digest = Digest { hasher: DefaultHasher::new(), left_out: &left_out };
    digest.message(message);
    digest.hasher.finish()
}

struct Digest<'f> {
    hasher: DefaultHasher,
    left_out: &'f dyn Fn(&Message, &Set) -> bool,
}

// === impl Digest ===

impl Digest<'_> {
    fn message(&mut self, message: &Message) {
        message.name().hash(&mut self.hasher);
        for set in message.fields.iter().filter(|set| !(self.left_out)(message, set)) {
            set.field.number.hash(&mut self.hasher);
            self.value(&set.value);
        }
        // A message ends where no field has this number.
        0u32.hash(&mut self.hasher);
    }

    fn value(&mut self, value: &Value) {
        let hasher = &mut self.hasher;
        match value {
            Value::Bool(value) => value.hash(hasher),
            Value::Int(value) => value.hash(hasher),
            Value::Uint(value) => value.hash(hasher),
            Value::Double(value) => value.to_bits().hash(hasher),
            Value::Enum(value, _) => value.hash(hasher),
            Value::String(text) | Value::Text(text) => text.hash(hasher),
            Value::Bytes(bytes) => bytes.hash(hasher),
            Value::Duration(duration) => duration.hash(hasher),
            Value::Json(json) => json.to_string().hash(hasher),
            Value::Message(message) => self.message(message),
            Value::Any(any) => self.message(&any.message),
            Value::List(items) => {
                items.len().hash(hasher);
                items.iter().for_each(|item| self.value(&item.value));
            }
            Value::Map(entries) => {
                let mut entries: Vec<&(String, Item)> = entries.iter().collect();
                entries.sort_by(|(a, _), (b, _)| a.cmp(b));
                entries.len().hash(hasher);
                for (key, item) in entries {
                    key.hash(&mut self.hasher);
                    self.value(&item.value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, check};

    fn digest_of(text: &str) -> u64 {
        digest(&check(&Source::yaml("t.yaml", text)).unwrap().bootstrap)
    }

    #[test]
    fn what_is_said_counts_and_where_and_in_which_order_of_keys_does_not() {
        let node = |text: &str| digest_of(&format!("node: {{{text}}}\n"));
        assert_eq!(node("id: a, cluster: b"), node("cluster: b,\n  id: a"));
        assert_ne!(node("id: a"), node("id: b"));
        assert_ne!(node("id: a"), node("cluster: a"));
        let tls = |secret: &str| {
            digest_of(&format!(
                "static_resources: {{secrets: [{{name: a, generic_secret: \
                 {{secret: {{inline_string: {secret}}}}}}}]}}"
            ))
        };
        assert_eq!(tls("one"), tls("one"));
        assert_ne!(tls("one"), tls("two"), "a sensitive value");
    }
}
