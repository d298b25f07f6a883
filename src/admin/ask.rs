//! Owns what is asked of the admin port: method, path and parameters.

use std::{collections::HashSet, time::Duration};

use understudy_actors::{address::Address, command::Term};

use super::Answer;

/// Parameters of a request at most; more of them say nothing new.
const PARAMETERS_MAX: usize = 1024;

/// Paths whose parameters never come from a form. Observed: Envoy 1.40.
const FORMLESS: [&str; 2] = ["/stats", "/stats/prometheus"];

/// The parameter that says for how long.
const TTL: &str = "ttl";

/// The longest time for which something can be set.
const TTL_MAX: Duration = Duration::from_secs(365 * 86_400);

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The method, as it came.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// Path and query, the path in its one form.
    pub target: String,
    /// Names and values of the query, or of a form in the body where there is no query; of a name that stands
    /// there again the first.
    pub params: Vec<(String, String)>,
    /// Who asks.
    pub peer: Address,
    /// `accept` names HTML: a browser shows the answer to somebody.
    pub reads_html: bool,
}

// === impl Ask ===

impl Ask {
    /// Reads a target and, where there is one, a form.
    pub fn new(method: &str, target: &str, form: Option<&[u8]>, peer: Address) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let form = form.filter(|_| !FORMLESS.contains(&path));
        let asked = if query.is_empty() { form.unwrap_or_default() } else { query.as_bytes() };
        let params = if asked.is_empty() { Vec::new() } else { params(asked) };
        let mut seen = HashSet::new();
        let params = params.into_iter().filter(|(name, _)| seen.insert(name.clone())).collect();
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            target: target.to_owned(),
            params,
            peer,
            reads_html: false,
        }
    }

    /// The value of the parameter of this name.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may stand there again, in their order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        let all = params(query.as_bytes()).into_iter();
        all.filter(|(known, _)| known == name).map(|(_, value)| value).collect()
    }

    /// Names and values as they were given, in their order, of which some may stand there again; of a form
    /// each once.
    pub fn in_order(&self) -> Vec<(String, String)> {
        match self.target.split_once('?') {
            Some((_, query)) if !query.is_empty() => params(query.as_bytes()),
            _ => self.params.clone(),
        }
    }

    /// Whether there is a parameter of this name, whatever its value: so Envoy reads its flags.
    pub fn has(&self, name: &str) -> bool {
        self.param(name).is_some()
    }

    /// Who asks, for the journal.
    pub fn who(&self) -> String {
        format!("admin {}", self.peer)
    }

    /// For how long a change is asked for: `ttl=10m`, ours.
    ///
    /// # Errors
    ///
    /// The answer to a time that is none.
    pub fn term(&self) -> Result<Term, Answer> {
        let Some(text) = self.param(TTL) else { return Ok(Term::Lasting) };
        match read_time(text).filter(|time| !time.is_zero() && *time <= TTL_MAX) {
            Some(time) => Ok(Term::For(time)),
            None => {
                let text = format!(
                    "ttl={text} is no time: write 30s, 10m, 2h or 1h30m, at most 365d; what was set before \
                     comes back then\n"
                );
                Err(Answer::status(400, text))
            }
        }
    }

    /// What is asked for besides the time.
    pub fn changes(&self) -> impl Iterator<Item = &(String, String)> {
        self.params.iter().filter(|(name, _)| name != TTL)
    }
}

/// Reads `1h30m`, `500ms`.
fn read_time(text: &str) -> Option<Duration> {
    let (mut total, mut rest) = (Duration::ZERO, text);
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters =
            after.len() - after.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, after) = after.split_at(letters);
        let ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        let part = number.parse::<u64>().ok()?.checked_mul(ms)?;
        total = total.checked_add(Duration::from_millis(part))?;
        rest = after;
    }
    Some(total)
}

/// Reads `a=b&c`. A `+` is itself, in a form as well; what stands between two `&` is a parameter, be it
/// empty. Observed: Envoy 1.40 `/runtime_modify`.
fn params(text: &[u8]) -> Vec<(String, String)> {
    let text = text.strip_suffix(b"&").unwrap_or(text);
    let pairs = text.split(|byte| *byte == b'&');
    let read = |pair: &[u8]| {
        let equals = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(equals);
        (decoded(name), decoded(value.strip_prefix(b"=").unwrap_or(value)))
    };
    pairs.take(PARAMETERS_MAX).map(read).collect()
}

/// Takes `%41` for `A`. What is no escape stays as it is, as in Envoy.
fn decoded(text: &[u8]) -> String {
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
        Ask::new("POST", target, Some(form.as_bytes()), Address::from(([127, 0, 0, 1], 1)))
    }

    #[test]
    fn parameters_come_from_the_query_or_else_from_the_form() {
        let pairs = |ask: &Ask| {
            let texts: Vec<_> = ask.params.iter().map(|(k, v)| format!("{k}={v}")).collect();
            texts.join(" ")
        };
        for (target, form, expected) in [
            ("/a?x=1&y&x=2", "z=2", "x=1 y="),
            ("/a", "z=2&w=a+b%2B%zz", "z=2 w=a+b+%zz"),
            ("/a?filter=a+%5B&&=", "", "filter=a+[ ="),
            ("/a?&", "", "="),
            ("/a?x&", "", "x="),
            ("/a?", "z", "z="),
            ("/a?", "", ""),
            ("/stats", "z=2", ""),
            ("/stats?x", "z=2", "x="),
        ] {
            assert_eq!(pairs(&ask(target, form)), expected, "{target} {form}");
        }
        let ask = ask("/a/b?x", "");
        assert_eq!((ask.path.as_str(), ask.has("x"), ask.has("y")), ("/a/b", true, false));
    }

    #[test]
    fn a_time_is_a_number_with_its_unit_or_several() {
        let term = |text: &str| ask(&format!("/a?b=1&ttl={text}"), "").term().ok();
        for (text, seconds) in [("30s", 30), ("10m", 600), ("1h30m", 5_400), ("365d", 31_536_000)] {
            assert_eq!(term(text), Some(Term::For(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "0s", "10", "m", "1w", "366d", "-1s", "99999999999999999999d", "1s1"] {
            assert_eq!(term(text), None, "{text}");
        }
        assert_eq!(ask("/a?b=1", "").term().ok(), Some(Term::Lasting));
    }

    proptest::proptest! {
        #[test]
        fn no_target_and_no_form_panics(target in ".*", form in proptest::collection::vec(0u8.., 0..99)) {
            Ask::new("GET", &target, Some(&form), Address::from(([127, 0, 0, 1], 1)));
        }
    }
}
