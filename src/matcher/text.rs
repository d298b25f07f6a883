//! Owns `envoy.type.matcher.v3.StringMatcher`.

use regex::bytes::Regex;

/// A test of a text.
#[derive(Clone, Debug)]
pub struct TextMatcher {
    test: TextTest,
    ignore_case: bool,
}

/// What a text must be like.
#[derive(Clone, Debug)]
pub enum TextTest {
    /// The whole of it.
    Exact(Box<[u8]>),
    /// Its beginning.
    Prefix(Box<[u8]>),
    /// Its end.
    Suffix(Box<[u8]>),
    /// A part of it.
    Contains(Box<[u8]>),
    /// The whole of it, anchored when compiled. Case is never ignored.
    Regex(Regex),
}

// === impl TextMatcher ===

impl TextMatcher {
    /// A matcher; with `ignore_case`, of ASCII letters.
    pub fn new(test: TextTest, ignore_case: bool) -> Self {
        Self { test, ignore_case }
    }

    /// Whether the text is like that.
    pub fn matches(&self, text: &[u8]) -> bool {
        let same = |part: Option<&[u8]>, wanted: &[u8]| match (part, self.ignore_case) {
            (Some(part), true) => part.eq_ignore_ascii_case(wanted),
            (Some(part), false) => part == wanted,
            (None, _) => false,
        };
        match &self.test {
            TextTest::Exact(whole) => same(Some(text), whole),
            TextTest::Prefix(prefix) => same(text.get(..prefix.len()), prefix),
            TextTest::Suffix(suffix) => {
                let start = text.len().checked_sub(suffix.len());
                same(start.and_then(|start| text.get(start..)), suffix)
            }
            TextTest::Contains(part) => {
                part.is_empty() || text.windows(part.len()).any(|window| same(Some(window), part))
            }
            TextTest::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_tested_whole_at_either_end_or_anywhere_in_it() {
        let text = |text: &str| text.as_bytes().into();
        let regex = Regex::new("^(?:a.*d)$").unwrap();
        for (test, ignore_case, takes, refuses) in [
            (TextTest::Exact(text("abcd")), false, "abcd", "ABCD"),
            (TextTest::Exact(text("abcd")), true, "aBCd", "abcde"),
            (TextTest::Prefix(text("ab")), false, "abcd", "Abcd"),
            (TextTest::Prefix(text("ab")), true, "ABcd", "a"),
            (TextTest::Suffix(text("cd")), false, "abcd", "abcD"),
            (TextTest::Suffix(text("cd")), true, "abCD", "d"),
            (TextTest::Contains(text("bc")), false, "abcd", "acbd"),
            (TextTest::Contains(text("bc")), true, "aBcd", ""),
            (TextTest::Regex(regex), true, "abbd", "xabbd"),
        ] {
            let matcher = TextMatcher::new(test, ignore_case);
            assert!(matcher.matches(takes.as_bytes()), "{matcher:?} {takes}");
            assert!(!matcher.matches(refuses.as_bytes()), "{matcher:?} {refuses}");
        }
    }
}
