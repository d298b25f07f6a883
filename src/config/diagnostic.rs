//! Owns what a person is told about a configuration: where, what is wrong, and what to write instead.

use std::fmt::{self, Write as _};

use super::Source;

/// A place in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// From 1; 0 where the place is not in the document.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// In characters, within the line.
    pub length: u32,
}

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It is taken, but somebody should look.
    Warning,
    /// What was done with it.
    Note,
}

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// Where.
    pub at: Span,
    /// What is wrong.
    pub text: String,
    /// What stands under the caret: what to write, or what was meant.
    pub hint: String,
    /// Field path, such as `static_resources.clusters[1].connect_timeout`.
    pub path: String,
}

/// Everything there is to tell about one document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    /// How many of them say that a rule of the API is broken by what could be read.
    broken_rules: usize,
}

/// Diagnostics that are printed at most; a document with more is not a configuration.
const PRINTED_MAX: usize = 100;

/// Characters that are shown of a line.
const EXCERPT_CHARS_MAX: usize = 160;

// === impl Diagnostics ===

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if !self.list.contains(&diagnostic) {
            self.list.push(diagnostic);
        }
    }

    /// Adds an error.
    pub fn error(
        &mut self,
        at: Span,
        path: &str,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (text, hint, path) = (text.into(), hint.into(), path.to_owned());
        self.push(Diagnostic { severity: Severity::Error, at, text, hint, path });
    }

    /// Adds an error: what could be read breaks a rule of the API.
    pub fn broken_rule(&mut self, at: Span, path: &str, text: impl Into<String>) {
        let before = self.list.len();
        self.error(at, path, text, "");
        self.broken_rules += self.list.len() - before;
    }

    /// Whether all could be read, and rules of the API are broken.
    pub fn only_breaks_rules(&self) -> bool {
        let errors = self.list.iter().filter(|one| one.severity == Severity::Error).count();
        errors > 0 && errors == self.broken_rules
    }

    /// All errors in one line.
    pub fn line(&self) -> String {
        let errors = self.sorted().into_iter().filter(|one| one.severity == Severity::Error);
        errors.map(|one| one.text.as_str()).collect::<Vec<_>>().join("; ")
    }

    /// Adds a warning.
    pub fn warning(
        &mut self,
        at: Span,
        path: &str,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let (text, hint, path) = (text.into(), hint.into(), path.to_owned());
        self.push(Diagnostic { severity: Severity::Warning, at, text, hint, path });
    }

    /// Adds a note.
    pub fn note(&mut self, at: Span, path: &str, text: impl Into<String>) {
        let (text, hint, path) = (text.into(), String::new(), path.to_owned());
        self.push(Diagnostic { severity: Severity::Note, at, text, hint, path });
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: Diagnostics) {
        other.list.into_iter().for_each(|diagnostic| self.push(diagnostic));
    }

    /// Whether the configuration is refused.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// How much there is to tell: more than before means that something was told since.
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, by place.
    pub fn sorted(&self) -> Vec<&Diagnostic> {
        let mut list: Vec<_> = self.list.iter().collect();
        list.sort_by_key(|diagnostic| (diagnostic.at, diagnostic.severity));
        list
    }

    /// One line on why a configuration is refused: only for features we lack, or for more.
    pub fn verdict(&self) -> String {
        let errors = self.sorted();
        let errors = errors.iter().filter(|one| one.severity == Severity::Error);
        let (lacking, wrong): (Vec<_>, Vec<_>) = errors.partition(|one| {
            one.text.contains("not supported by Understudy yet")
                || one.text.contains("newer than our tables")
        });
        let texts = |list: &[&&Diagnostic]| {
            list.iter().map(|one| one.text.as_str()).collect::<Vec<_>>().join("; ")
        };
        match wrong.is_empty() {
            true => format!("unsupported\t{}", texts(&lacking)),
            false => format!("refused\t{}", texts(&wrong)),
        }
    }

    /// Writes them for a person, with the lines they speak of.
    pub fn render(&self, source: &Source) -> String {
        let mut out = String::new();
        for diagnostic in self.sorted().into_iter().take(PRINTED_MAX) {
            // Writing to a string cannot fail.
            let _ = diagnostic.write(&mut out, source);
        }
        if self.list.len() > PRINTED_MAX {
            let _ = writeln!(out, "… and {} more", self.list.len() - PRINTED_MAX);
        }
        out
    }
}

// === impl Diagnostic ===

impl Diagnostic {
    fn write(&self, out: &mut String, source: &Source) -> fmt::Result {
        let Span { line, column, length } = self.at;
        writeln!(out, "{}: {}", self.severity, self.text)?;
        let Some((name, line, text)) = source.line(line) else {
            writeln!(out, "  --> {}", source.name)?;
            return self.write_end(out, "");
        };
        let (number, gutter) = (line.to_string(), " ".repeat(line.to_string().len()));
        writeln!(out, "{gutter}--> {name}:{line}:{column}")?;
        writeln!(out, "{gutter} |")?;
        let (text, before) = excerpt(text, (column as usize).saturating_sub(1));
        writeln!(out, "{number} | {}", text.replace('\t', " "))?;
        let room = text.chars().count().saturating_sub(before).max(1);
        let carets = (length as usize).clamp(1, room);
        write!(out, "{gutter} | {}{}", " ".repeat(before), "^".repeat(carets))?;
        match self.hint.is_empty() {
            true => writeln!(out)?,
            false => writeln!(out, " {}", self.hint)?,
        }
        self.write_end(out, &gutter)
    }

    fn write_end(&self, out: &mut String, gutter: &str) -> fmt::Result {
        if !self.path.is_empty() {
            writeln!(out, "{gutter} = in {}", self.path)?;
        }
        Ok(())
    }
}

/// What is shown of a line, and how many characters of that come before the place: of one that is too long to be read, as a
/// file has that a program wrote, a part around it.
fn excerpt(line: &str, before: usize) -> (String, usize) {
    if line.chars().nth(EXCERPT_CHARS_MAX).is_none() {
        return (line.to_owned(), before);
    }
    let from = before.saturating_sub(EXCERPT_CHARS_MAX / 2);
    let mut rest = line.chars().skip(from);
    let mut part = String::from(if from > 0 { "…" } else { "" });
    part.extend(rest.by_ref().take(EXCERPT_CHARS_MAX));
    if rest.next().is_some() {
        part.push('…');
    }
    (part, before - from + usize::from(from > 0))
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_line_that_is_too_long_the_part_around_the_place_is_shown() {
        let long = format!("{}wrong{}", "ä".repeat(5000), "b".repeat(5000));
        for (line, column, expected) in [
            ("  a: wrong", 6, "1 |   a: wrong\n  |      ^^^^^ here\n".to_owned()),
            (
                &long,
                5001,
                format!(
                    "1 | …{}wrong{}…\n  | {}^^^^^ here\n",
                    "ä".repeat(80),
                    "b".repeat(75),
                    " ".repeat(81)
                ),
            ),
            (&long, 1, format!("1 | {}…\n  | ^^^^^ here\n", "ä".repeat(160))),
        ] {
            let mut told = Diagnostics::default();
            told.error(Span { line: 1, column, length: 5 }, "", "it is wrong", "here");
            let shown = told.render(&Source::yaml("a.yaml", line));
            let head = format!("error: it is wrong\n --> a.yaml:1:{column}\n  |\n");
            assert_eq!(shown, head + &expected);
        }
    }
}
