//! Owns putting something else in place of what an expression matches, as RE2's `GlobalReplace` does it.

use regex::bytes::{Captures, Regex};

use super::{
    Encoding, INSTRUCTIONS_MAX, Re2Error, build,
    read::{self, Asked},
};

/// An expression, and what stands for each of its matches.
#[derive(Clone, Debug)]
pub struct Substitution {
    regex: Regex,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// What a group has matched; group 0 is all of it.
    Group(usize),
}

// === impl Substitution ===

impl Substitution {
    /// Compiles an expression and a substitution, in which `\1` is the first group and `\\` a backslash.
    ///
    /// # Errors
    ///
    /// RE2's own for the expression. A substitution that RE2 finds wrong for each match anew is refused
    /// here and now.
    pub fn new(expression: &str, substitution: &str) -> Result<Self, Re2Error> {
        let term = read::read(expression, Encoding::Latin1, Asked::Where)?;
        if term.instructions() > INSTRUCTIONS_MAX {
            return Err(Re2Error::TooLarge);
        }
        let regex = build(term.pattern())?;
        let pieces = pieces(substitution)?;
        let groups = regex.captures_len() - 1;
        let unknown = pieces.iter().find_map(|piece| match piece {
            Piece::Group(group) if *group > groups => Some(*group),
            _ => None,
        });
        match unknown {
            Some(group) => Err(Re2Error::NoSuchGroup(group, groups)),
            None => Ok(Self { regex, pieces }),
        }
    }

    /// The text with every match replaced.
    pub fn apply(&self, text: &[u8]) -> Vec<u8> {
        let put = |found: &Captures<'_>| {
            let mut out = Vec::new();
            for piece in &self.pieces {
                match piece {
                    Piece::Text(text) => out.extend_from_slice(text),
                    Piece::Group(group) => {
                        let group = found.get(*group).map(|group| group.as_bytes());
                        out.extend_from_slice(group.unwrap_or_default());
                    }
                }
            }
            out
        };
        self.regex.replace_all(text, put).into_owned()
    }
}

fn pieces(substitution: &str) -> Result<Vec<Piece>, Re2Error> {
    let mut pieces = Vec::new();
    let mut text = Vec::new();
    let mut bytes = substitution.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            text.push(byte);
            continue;
        }
        match bytes.next() {
            Some(b'\\') => text.push(b'\\'),
            Some(digit @ b'0'..=b'9') => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Group(usize::from(digit - b'0')));
            }
            _ => return Err(Re2Error::BadSubstitution(substitution.to_owned())),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed: Envoy 1.40, `regex_rewrite`.
    #[test]
    fn every_match_is_replaced_with_its_groups_as_re2_does_it() {
        for (expression, substitution, text, expected) in [
            ("^/re/([^/]+)(/.*)$", r"\2/inst/\1", "/re/a/b/c", "/b/c/inst/a"),
            ("one", "two", "/re/one/one", "/re/two/two"),
            ("nomatch", "x", "/a", "/a"),
            ("x*", "-", "/re7x", "-/-r-e-7-"),
            ("/re/(a+?)(a*)", r"/\1.\2", "/re/aaa", "/a.aa"),
            ("(?U)/re/(a+)(a*)", r"/\1.\2", "/re/aaa", "/a.aa"),
            ("(?i)/RE/(x*)", r"/\1\1", "/re/xx", "/xxxx"),
            ("(/a)/?(x)?", r"\0-\2-\\", "/a/x", r"/a/x-x-\"),
            ("(/a)/?(x)?", r"\0-\2-\\", "/a", r"/a--\"),
            ("(?:ab){1,2}?(.)", r"[\1]", "abab", "[a]b"),
            ("(?P<n>a|b(c))", r"<\1\2>", "abc", "<a><bcc>"),
        ] {
            let substitution = Substitution::new(expression, substitution).unwrap();
            let got = substitution.apply(text.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), expected, "{expression}");
        }
    }

    #[test]
    fn what_re2_would_find_wrong_at_every_request_is_refused() {
        let refused = |expression, text| Substitution::new(expression, text).unwrap_err();
        assert_eq!(refused("(a)", r"\2"), Re2Error::NoSuchGroup(2, 1));
        assert_eq!(refused("a", r"\x"), Re2Error::BadSubstitution(r"\x".to_owned()));
        assert_eq!(refused("a", r"x\"), Re2Error::BadSubstitution(r"x\".to_owned()));
        assert_eq!(refused("(", "x"), Re2Error::MissingParenthesis("(".to_owned()));
    }
}
