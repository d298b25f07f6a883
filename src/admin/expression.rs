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
    built.map_err(|error| {
        let text = error.to_string();
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or(&text);
        last.trim_start_matches("error: ").to_owned()
    })
}
