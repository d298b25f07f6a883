//! Owns the regular expressions that people send to the admin port.

use regex::Regex;

/// Bytes a compiled expression may take.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// Reads an expression; it may match anywhere, as RE2's partial match does.
///
/// # Errors
///
/// What is wrong with it, in a line.
pub(super) fn read(text: &str) -> Result<Regex, String> {
    let built = regex::RegexBuilder::new(text).size_limit(COMPILED_BYTES_MAX).build();
    built.map_err(|error| told(text, &error.to_string()))
}

/// What RE2 would say of it, for the mistakes that people make; else what our own reader says.
///
/// Observed: Envoy 1.40, `/stats?filter=`.
fn told(pattern: &str, said: &str) -> String {
    let mut lines = said.lines().rev().filter(|line| !line.trim().is_empty());
    let why = lines.next().unwrap_or(said).trim_start_matches("error: ");
    // The place is marked by carets below the pattern, which is indented by four.
    let marks = lines.next().unwrap_or_default();
    let start = marks.find('^').map_or(0, |at| at.saturating_sub(4));
    let from = pattern.get(start..).unwrap_or(pattern);
    let marked = from.get(..marks.matches('^').count()).unwrap_or(from);
    match why {
        "unclosed group" => format!("missing ): {pattern}"),
        "unopened group" => format!("unexpected ): {pattern}"),
        "unclosed character class" => format!("missing ]: {from}"),
        "repetition operator missing expression" => {
            format!("no argument for repetition operator: {marked}")
        }
        "unrecognized escape sequence" | "backreferences are not supported" => {
            format!("invalid escape sequence: {marked}")
        }
        why if why.starts_with("incomplete escape sequence") => "trailing \\".to_owned(),
        why => why.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistakes_are_told_in_the_words_of_re2() {
        for (pattern, expected) in [
            ("(", "missing ): ("),
            ("x(a", "missing ): x(a"),
            ("a)", "unexpected ): a)"),
            ("a|*", "no argument for repetition operator: *"),
            ("x[a", "missing ]: [a"),
            ("a\\", "trailing \\"),
            ("a\\q", "invalid escape sequence: \\q"),
            ("\\1", "invalid escape sequence: \\1"),
            ("(?z)", "unrecognized flag"),
        ] {
            assert_eq!(read(pattern).map(drop), Err(expected.to_owned()), "{pattern}");
        }
        assert!(read("^http\\.").is_ok_and(|read| read.is_match("http.i")));
    }
}
