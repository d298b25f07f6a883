//! Owns what is asked of the admin port: method, path and parameters.

use std::net::SocketAddr;

/// Parameters of a request at most; more of them say nothing new.
const PARAMETERS_MAX: usize = 1024;

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method, as it came.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Path and query, as they came.
    pub target: String,
    /// Names and values of the query, or of a form in the body where there is no query.
    pub params: Vec<(String, String)>,
    /// Who asks.
    pub peer: SocketAddr,
    /// `accept` names HTML: a browser shows the answer to somebody.
    pub reads_html: bool,
}

// === impl Ask ===

impl Ask {
    /// Reads a target and, where there is one, a form.
    pub fn new(method: &str, target: &str, form: Option<&[u8]>, peer: SocketAddr) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut params = params(query.as_bytes(), false);
        if params.is_empty() {
            params = self::params(form.unwrap_or_default(), true);
        }
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            target: target.to_owned(),
            params,
            peer,
            reads_html: false,
        }
    }

    /// The value of the first parameter of this name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether there is a parameter of this name, whatever its value: so Envoy reads its flags.
    pub fn has(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// Who asks, for the journal.
    pub fn who(&self) -> String {
        format!("admin {}", self.peer)
    }
}

/// Reads `a=b&c`. A `+` is a space in a form, and itself in a query: many a regular expression has one.
fn params(text: &[u8], form: bool) -> Vec<(String, String)> {
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let read = |pair: &[u8]| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(equals);
        (decoded(name, form), decoded(value.strip_prefix(b"=").unwrap_or(value), form))
    };
    pairs.take(PARAMETERS_MAX).map(read).collect()
}

/// Takes `%41` for `A`. What is no escape stays as it is, as in Envoy.
fn decoded(text: &[u8], form: bool) -> String {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
                continue;
            }
            (b'+', _, _) if form => out.push(b' '),
            (byte, _, _) => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(target: &str, form: &str) -> Ask {
        Ask::new("POST", target, Some(form.as_bytes()), SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn parameters_come_from_the_query_or_else_from_the_form() {
        let pairs = |ask: &Ask| {
            let texts: Vec<_> = ask.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
            texts.join(" ")
        };
        for (target, form, expected) in [
            ("/a?x=1&y", "z=2", "x=1 y="),
            ("/a", "z=2&w=a+b%2B%zz", "z=2 w=a b+%zz"),
            ("/a?filter=a+%5B&&=", "", "filter=a+[ ="),
            ("/a?", "", ""),
        ] {
            assert_eq!(pairs(&ask(target, form)), expected, "{target} {form}");
        }
        let ask = ask("/a/b?x", "");
        assert_eq!((ask.path.as_str(), ask.has("x"), ask.has("y")), ("/a/b", true, false));
    }

    proptest::proptest! {
        #[test]
        fn no_target_and_no_form_panics(target in ".*", form in proptest::collection::vec(0u8.., 0..99)) {
            Ask::new("GET", &target, Some(&form), SocketAddr::from(([127, 0, 0, 1], 1)));
        }
    }
}
