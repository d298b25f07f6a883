//! Owns what was read so far: a part of an expression, written for the `regex` crate.

use std::fmt::Write;

use super::{Encoding, runes::Runes};

/// A part of an expression, in the syntax of the `regex` crate without Unicode: of bytes.
#[derive(Debug)]
pub(super) struct Term {
    pattern: String,
    shape: Shape,
    /// How often the most repeated part of it is written out by counted repetitions.
    copies: u32,
    /// About how many instructions RE2 makes of it.
    instructions: u64,
}

/// What may be put next to it, or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// An operator may follow.
    Atom,
    /// Ends with this operator, which is one of `*+?`.
    Looped(char),
    /// Parts in a row.
    Row,
    /// Parts with `|` between them.
    Choice,
}

/// How often a part may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) min: u32,
    pub(super) max: Option<u32>,
    /// As seldom as may be. Only where it matters which part matches.
    pub(super) lazy: bool,
}

// === impl Term ===

impl Term {
    /// An atom as it is written; of one instruction.
    pub(super) fn atom(pattern: &str) -> Self {
        Self { pattern: pattern.to_owned(), shape: Shape::Atom, copies: 1, instructions: 1 }
    }

    /// One character.
    pub(super) fn rune(rune: u32, encoding: Encoding) -> Self {
        match char::from_u32(rune) {
            Some(rune) if rune.is_ascii() || encoding == Encoding::Utf8 => {
                let mut pattern = String::new();
                for byte in rune.encode_utf8(&mut [0; 4]).bytes() {
                    match byte {
                        b'/' | b'_' | b'-' => pattern.push(byte.into()),
                        byte if byte.is_ascii_alphanumeric() => pattern.push(byte.into()),
                        byte => _ = write!(pattern, r"\x{byte:02X}"),
                    }
                }
                let shape = if rune.is_ascii() { Shape::Atom } else { Shape::Row };
                Self { pattern, shape, copies: 1, instructions: rune.len_utf8() as u64 }
            }
            _ => Self::runes(&Runes::of(&[(rune, rune)]), encoding),
        }
    }

    /// One of some characters.
    pub(super) fn runes(runes: &Runes, encoding: Encoding) -> Self {
        let pattern = match encoding {
            Encoding::Utf8 => runes.pattern(),
            Encoding::Latin1 => runes.pattern_of_bytes(),
        };
        Self { instructions: runes.instructions(), ..Self::atom(&pattern) }
    }

    /// Parts in a row.
    pub(super) fn row(mut terms: Vec<Self>) -> Self {
        if terms.len() == 1 {
            return terms.remove(0);
        }
        let mut row =
            Self { pattern: String::new(), shape: Shape::Row, copies: 1, instructions: 0 };
        for term in terms {
            match term.shape {
                Shape::Choice => _ = write!(row.pattern, "(?:{})", term.pattern),
                Shape::Atom | Shape::Looped(_) | Shape::Row => row.pattern.push_str(&term.pattern),
            }
            row.add(&term);
        }
        row
    }

    /// One of some parts.
    pub(super) fn choice(mut terms: Vec<Self>) -> Self {
        if terms.len() == 1 {
            return terms.remove(0);
        }
        let patterns: Vec<&str> = terms.iter().map(|term| term.pattern.as_str()).collect();
        let pattern = patterns.join("|");
        let instructions = terms.len() as u64 - 1;
        let mut choice = Self { pattern, shape: Shape::Choice, copies: 1, instructions };
        terms.iter().for_each(|term| choice.add(term));
        choice
    }

    /// The part in a group that captures. Mostly nobody asks what it captured; it is counted.
    pub(super) fn captured(mut self, asked_for: bool) -> Self {
        self.instructions = self.instructions.saturating_add(2);
        if asked_for {
            self.pattern.insert(0, '(');
            self.pattern.push(')');
            self.shape = Shape::Atom;
        }
        self
    }

    /// The part as often as that.
    pub(super) fn repeated(mut self, count: Count) -> Self {
        let operator = match (count.min, count.max) {
            (0, None) => Some('*'),
            (1, None) => Some('+'),
            (0, Some(1)) => Some('?'),
            (1, Some(1)) => return self,
            _ => None,
        };
        self.instructions = count.instructions(self.instructions);
        if let Some(operator) = operator {
            if count.lazy {
                self.enclose();
                self.pattern.push(operator);
                self.pattern.push('?');
                self.shape = Shape::Row;
                return self;
            }
            match self.shape {
                // `(?:a+)+` is `a+`, `(?:a+)?` is `a*`.
                Shape::Looped(same) if same == operator => {}
                Shape::Looped(_) => self.replace_operator(),
                Shape::Atom => self.follow(operator),
                Shape::Row | Shape::Choice => {
                    self.enclose();
                    self.follow(operator);
                }
            }
            return self;
        }
        if self.shape != Shape::Atom {
            self.enclose();
        }
        match (count.min, count.max) {
            (min, None) => _ = write!(self.pattern, "{{{min},}}"),
            (min, Some(max)) => _ = write!(self.pattern, "{{{min},{max}}}"),
        }
        if count.lazy {
            self.pattern.push('?');
        }
        // No operator may follow `x{2}`, not even a group makes it an atom: `(?:x{2}){2}`.
        self.shape = Shape::Row;
        self.copies = self.copies.saturating_mul(count.max.unwrap_or(count.min).max(1));
        self
    }

    pub(super) fn pattern(&self) -> &str {
        &self.pattern
    }

    pub(super) fn copies(&self) -> u32 {
        self.copies
    }

    pub(super) fn instructions(&self) -> u64 {
        self.instructions
    }

    fn add(&mut self, part: &Self) {
        self.copies = self.copies.max(part.copies);
        self.instructions = self.instructions.saturating_add(part.instructions);
    }

    fn enclose(&mut self) {
        self.pattern.insert_str(0, "(?:");
        self.pattern.push(')');
        self.shape = Shape::Atom;
    }

    fn follow(&mut self, operator: char) {
        self.pattern.push(operator);
        self.shape = Shape::Looped(operator);
    }

    fn replace_operator(&mut self) {
        self.pattern.pop();
        self.follow('*');
    }
}

// === impl Count ===

impl Count {
    /// How many instructions so many take when they are repeated: each time is written out, and
    /// each that may be missing is a choice more.
    fn instructions(self, once: u64) -> u64 {
        let least = u64::from(self.min);
        match self.max {
            None => once.saturating_mul(least.max(1)).saturating_add(1),
            Some(max) => {
                let choices = u64::from(max).saturating_sub(least);
                once.saturating_mul(u64::from(max)).saturating_add(choices)
            }
        }
    }
}
