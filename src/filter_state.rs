//! Owns filter state: what those who have looked at a connection leave of it for others, by key.
//!
//! Keys, and what each object says in which form, were observed in Envoy 1.40.

use serde_json::{Value, json};

/// The key of the head of the answer to a tunnel's request.
pub(crate) const TUNNEL_RESPONSE_HEADERS: &str = "envoy.tcp_proxy.propagate_response_headers";

/// The key of that answer's trailers.
pub(crate) const TUNNEL_RESPONSE_TRAILERS: &str = "envoy.tcp_proxy.propagate_response_trailers";

/// What is left of one connection. It holds a few objects at most: keys are ours alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FilterState {
    objects: Vec<(&'static str, Object)>,
}

/// What is left under a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// Headers in their order. They have no plain text, and no fields.
    Headers(Value),
}

// === impl FilterState ===

impl FilterState {
    /// Leaves `object`, in the place of what was there.
    pub fn leave(&mut self, key: &'static str, object: Object) {
        match self.objects.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = object,
            None => self.objects.push((key, object)),
        }
    }

    /// What was left under `key`.
    pub fn get(&self, key: &str) -> Option<&Object> {
        self.objects.iter().find(|(known, _)| *known == key).map(|(_, object)| object)
    }
}

// === impl Object ===

impl Object {
    /// Headers, in their order. A byte that is no text is a blank.
    pub fn headers<'h>(all: impl Iterator<Item = (&'h [u8], &'h [u8])>) -> Self {
        let one = |(name, value)| json!({"key": text(name), "value": text(value)});
        Self::Headers(json!({"headers": all.map(one).collect::<Vec<_>>()}))
    }

    /// All of it (`TYPED`).
    pub fn typed(&self) -> &Value {
        let Self::Headers(value) = self;
        value
    }
}

fn text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| ' '));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_is_left_under_a_key_stays() {
        let of = |value: &'static [u8]| Object::headers([(&b"x-one"[..], value)].into_iter());
        let mut state = FilterState::default();
        state.leave(TUNNEL_RESPONSE_HEADERS, of(b"first"));
        state.leave(TUNNEL_RESPONSE_HEADERS, of(b"a\xffb\xc3\xa9"));
        let left = state.get(TUNNEL_RESPONSE_HEADERS).map(Object::typed);
        let expected = json!({"headers": [{"key": "x-one", "value": "a b\u{e9}"}]});
        assert_eq!(left, Some(&expected));
        assert_eq!(state.get(TUNNEL_RESPONSE_TRAILERS), None);
    }
}
