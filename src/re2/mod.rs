//! Owns RE2's syntax: what RE2 refuses, in its words, and what it accepts, written for the `regex`
//! crate.
//!
//! Envoy matches with RE2. The `regex` crate descends from it, yet reads some expressions
//! differently (`[a&&b]`, `\<`, `\d`) and refuses others (`\C`, `\Q…\E`, `a{`). So an expression
//! is read here as RE2 reads it, and what comes out matches the same bytes: UTF-8 is taken apart
//! into bytes as RE2 does it. Whether there is a match is kept; groups and greed, which say where
//! it is, are kept for a [`Substitution`] only.
//!
//! Source: RE2's `re2/parse.cc`, with the flags of Envoy: Perl's syntax, one line.

mod read;
mod runes;
mod substitution;
mod term;
#[cfg(test)]
mod tests;

use regex::bytes::{Regex, RegexBuilder};

use read::Asked;
pub use substitution::Substitution;

/// Instructions an expression may take: two thirds of 8 MiB, 8 bytes for each, less what RE2
/// adds to every program. Observed: 698,992 times `a` is the longest that RE2 takes.
const INSTRUCTIONS_MAX: u64 = 698_992;
/// Bytes it may take compiled, here.
const COMPILED_BYTES_MAX: usize = 64 << 20;
/// How deep groups, choices and repetitions may lie in each other when it is compiled.
const COMPILED_DEPTH_MAX: u32 = 500;

/// How much of a text an expression has to match, and what a character is.
///
/// Observed: Envoy 1.40 refuses `\x{100}` in a `safe_regex`, whose `.` takes the byte FF, and takes
/// it in `/stats?filter=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, in Latin-1: each byte is a character, of the expression too. So are `safe_regex`
    /// and its like.
    Whole,
    /// Any part of it, in UTF-8: so are the admin port's filters.
    Part,
}

/// What a character is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Utf8,
    Latin1,
}

/// Why an expression was refused, in RE2's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Re2Error {
    /// A group is still open at the end of the expression, which is shown.
    #[error("missing ): {0}")]
    MissingParenthesis(String),
    /// A `)` that closes nothing, in the expression that is shown.
    #[error("unexpected ): {0}")]
    UnexpectedParenthesis(String),
    /// From the `[` that is still open to the end.
    #[error("missing ]: {0}")]
    MissingBracket(String),
    /// The last character is a backslash.
    #[error("trailing \\")]
    TrailingBackslash,
    /// As far as it was read.
    #[error("invalid escape sequence: {0}")]
    BadEscape(String),
    /// A range from a higher to a lower character, or a class of a name that is not known.
    #[error("invalid character class range: {0}")]
    BadRange(String),
    /// At the beginning of an expression, a group or an alternative.
    #[error("no argument for repetition operator: {0}")]
    NothingToRepeat(String),
    /// Both operators.
    #[error("bad repetition operator: {0}")]
    RepeatedRepetition(String),
    /// More than 1,000, alone or with the repetitions inside; or less than the least.
    #[error("invalid repetition size: {0}")]
    BadRepetitionSize(String),
    /// What begins with `(?`, as far as it was read.
    #[error("invalid perl operator: {0}")]
    BadPerlOperator(String),
    /// The head of the group, or all to the end when the name does not end.
    #[error("invalid named capture group: {0}")]
    BadGroupName(String),
    /// What RE2 says when `\x{` is the end of the expression.
    #[error("invalid UTF-8")]
    EndsInRune,
    /// It would take too many instructions.
    #[error("pattern too large - compile failed")]
    TooLarge,
    /// What is put in place of a match has a backslash that is followed by neither a digit nor another.
    #[error("invalid rewrite pattern: {0}")]
    BadSubstitution(String),
    /// What is put in place of a match names a group that the expression has not.
    #[error("invalid substitution \\{0} from {1} groups")]
    NoSuchGroup(usize, usize),
}

/// Compiles an expression of RE2.
///
/// # Errors
///
/// RE2's own. An expression that nests more than 1,000 groups is [`Re2Error::TooLarge`]; RE2 takes
/// those.
pub fn compile(expression: &str, extent: Extent) -> Result<Regex, Re2Error> {
    let term = match extent {
        Extent::Whole => read::read(expression, Encoding::Latin1, Asked::Whether),
        Extent::Part => read::read(expression, Encoding::Utf8, Asked::Whether),
    }?;
    if term.instructions() > INSTRUCTIONS_MAX {
        return Err(Re2Error::TooLarge);
    }
    let pattern = match extent {
        Extent::Whole => format!(r"\A(?:{})\z", term.pattern()),
        Extent::Part => term.pattern().to_owned(),
    };
    build(&pattern)
}

fn build(pattern: &str) -> Result<Regex, Re2Error> {
    RegexBuilder::new(pattern)
        .unicode(false)
        .nest_limit(COMPILED_DEPTH_MAX)
        .size_limit(COMPILED_BYTES_MAX)
        .build()
        .map_err(|_| Re2Error::TooLarge)
}
