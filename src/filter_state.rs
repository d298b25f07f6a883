//! Owns filter state: what those who have looked at a connection leave of it for others, by key.
//!
//! Keys, and what each object says in which form, were observed in Envoy 1.40.

use serde_json::{Value, json};

/// The key of the head of the answer to a tunnel's request.
pub(crate) const TUNNEL_RESPONSE_HEADERS: &str = "envoy.tcp_proxy.propagate_response_headers";

/// The key of that answer's trailers.
pub(crate) const TUNNEL_RESPONSE_TRAILERS: &str = "envoy.tcp_proxy.propagate_response_trailers";

/// The key of what a PROXY header said besides addresses.
pub(crate) const PROXY_PROTOCOL_TLVS: &str = "envoy.network.proxy_protocol.tlv";

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
    /// Texts by name, each a field; as a plain text they are JSON.
    Texts(Value),
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
        let (Self::Headers(value) | Self::Texts(value)) = self;
        value
    }

    /// All of it as a text (`PLAIN`).
    pub fn plain(&self) -> Option<String> {
        match self {
            Self::Headers(_) => None,
            Self::Texts(value) => Some(value.to_string()),
        }
    }

    /// One part of it (`FIELD`).
    pub fn field(&self, name: &str) -> Option<&str> {
        match self {
            Self::Headers(_) => None,
            Self::Texts(value) => value.get(name)?.as_str(),
        }
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
