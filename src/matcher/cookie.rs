//! Owns `envoy.config.route.v3.CookieMatcher`.

use super::TextMatcher;
use crate::codec::{HeaderBlock, Known};

/// A test of a cookie.
#[derive(Clone, Debug)]
pub struct CookieMatcher {
    name: Box<[u8]>,
    test: TextMatcher,
    inverted: bool,
}

// === impl CookieMatcher ===

impl CookieMatcher {
    /// A matcher of the cookie called exactly so.
    pub fn new(name: &str, test: TextMatcher, inverted: bool) -> Self {
        Self { name: name.as_bytes().into(), test, inverted }
    }

    /// What it tests.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether the cookie is so; a missing one is only where that is inverted.
    ///
    /// Observed: Envoy 1.40.
    pub fn matches(&self, headers: &HeaderBlock) -> bool {
        let value = cookie(headers, &self.name);
        value.is_some_and(|value| self.test.matches(value)) != self.inverted
    }
}

/// The value of the first cookie of this name, without the quotes around it.
pub fn cookie<'h>(headers: &'h HeaderBlock, name: &[u8]) -> Option<&'h [u8]> {
    let pairs = headers.get_all(Known::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| {
        let start = pair.iter().position(|byte| *byte != b' ')?;
        let value = pair.get(start..)?.strip_prefix(name)?.strip_prefix(b"=")?;
        let bare = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        Some(bare.unwrap_or(value))
    });
    values.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::TextTest;

    #[test]
    fn the_first_cookie_of_the_name_counts_without_its_quotes() {
        let exact = || TextMatcher::new(TextTest::Exact(b"v".as_slice().into()), false);
        for (lines, expected) in [
            (&[][..], false),
            (&["k=v"], true),
            (&["a=1; k=v"], true),
            (&["a=1", "k=v"], true),
            (&["k=x; k=v"], false),
            (&["k=v; k=x"], true),
            (&["k=\"v\""], true),
            (&["k= v"], false),
            (&["K=v"], false),
            (&["k"], false),
            (&["k="], false),
            (&["a=1;k=v"], true),
            (&["a=1;  k=v;"], true),
        ] {
            let mut headers = HeaderBlock::default();
            lines.iter().for_each(|line| headers.append_name(b"cookie", line.as_bytes()));
            assert_eq!(
                CookieMatcher::new("k", exact(), false).matches(&headers),
                expected,
                "{lines:?}"
            );
            assert_eq!(
                CookieMatcher::new("k", exact(), true).matches(&headers),
                !expected,
                "{lines:?}"
            );
        }
    }
}
