//! Owns `envoy.type.matcher.v3.FilterStateMatcher`: what was left under a key must be a text like that.

use super::TextMatcher;
use crate::filter_state::FilterState;

/// What must have been left of a connection.
#[derive(Clone, Debug)]
pub struct StateMatcher {
    /// `key`
    pub key: Box<str>,
    /// `string_match`; none for an address, which no object is.
    pub text: Option<TextMatcher>,
}

// === impl StateMatcher ===

impl StateMatcher {
    /// Whether it was. What has no plain text is like nothing.
    pub fn matches(&self, state: Option<&FilterState>) -> bool {
        let object = state.and_then(|state| state.get(&self.key));
        let (text, wanted) = (object.and_then(|object| object.plain()), self.text.as_ref());
        text.zip(wanted).is_some_and(|(text, wanted)| wanted.matches(text.as_bytes()))
    }
}
