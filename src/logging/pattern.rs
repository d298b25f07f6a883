//! Owns the form of a log line: spdlog's pattern operators, as `--log-format` takes them.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use understudy_actors::command::LogLevel;

use crate::{
    version,
    worker::clock::{civil, month_name, weekday, weekday_name},
};

/// Envoy's `--log-format` default.
pub const DEFAULT_PATTERN: &str = "[%Y-%m-%d %T.%e][%t][%l][%n] [%g:%#] %v";

/// The widest column that is filled up. Source: spdlog, `padding_info::max_width`.
const WIDTH_MAX: usize = 64;

/// What one line says.
pub(super) struct Line<'a> {
    pub(super) at: SystemTime,
    /// Since the line before.
    pub(super) since: Duration,
    pub(super) thread: u32,
    pub(super) level: LogLevel,
    pub(super) logger: &'a str,
    pub(super) file: &'a str,
    pub(super) line: u32,
    pub(super) module: &'a str,
    pub(super) text: &'a str,
}

/// A pattern that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Operator(char, Option<Column>),
}

/// A column of fixed width.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Column {
    side: Side,
    width: usize,
    cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    Left,
    Right,
    Center,
}

/// What stands behind a `%`, with spdlog's meaning. Whatever is not here stays as it is written.
/// Observed: Envoy 1.40; `%y` is not among them there either.
const OPERATORS: &str = "v_jtPnNlLaAbhBcCYDxmdHIMSefFEiuoOprRTXz+^$&gs#@!%";

/// A moment, taken apart.
struct Moment {
    unix: u64,
    nanos: u32,
    year: u64,
    month: u64,
    day: u64,
}

// === impl Pattern ===

impl Pattern {
    /// Reads a pattern. None is wrong: what is no operator stands for itself, and a `%` at the end for
    /// nothing.
    ///
    /// Source: spdlog wiki, "Custom formatting"; `%_` and `%j` are Envoy's own. Observed: Envoy 1.40.
    pub fn parse(pattern: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = pattern.chars().peekable();
        while let Some(next) = rest.next() {
            if next != '%' {
                text.push(next);
                continue;
            }
            let side = match rest.peek() {
                Some('-') => Some(Side::Left),
                Some('=') => Some(Side::Center),
                _ => None,
            };
            if side.is_some() {
                rest.next();
            }
            let mut width = 0;
            while let Some(digit) = rest.peek().and_then(|next| next.to_digit(10)) {
                width = (width * 10 + digit as usize).min(WIDTH_MAX);
                rest.next();
            }
            let cut = width > 0 && rest.peek() == Some(&'!');
            if cut {
                rest.next();
            }
            let Some(operator) = rest.next() else { break };
            if !OPERATORS.contains(operator) {
                text.extend(['%', operator]);
                continue;
            }
            let column =
                (width > 0).then(|| Column { side: side.unwrap_or(Side::Right), width, cut });
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Operator(operator, column));
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self { parts }
    }

    /// The first of these operators that is in it.
    pub fn first_of(&self, operators: &str) -> Option<char> {
        self.parts.iter().find_map(|part| match part {
            Part::Operator(operator, _) => Some(*operator).filter(|it| operators.contains(*it)),
            Part::Text(_) => None,
        })
    }

    /// Writes a line without its end.
    pub(super) fn write(&self, out: &mut Vec<u8>, line: &Line<'_>) {
        let moment = Moment::of(line.at);
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Operator(operator, column) => {
                    let start = out.len();
                    operate(out, *operator, line, &moment);
                    if let Some(column) = column {
                        column.fit(out, start);
                    }
                }
            }
        }
    }
}

impl Default for Pattern {
    fn default() -> Self {
        Self::parse(DEFAULT_PATTERN)
    }
}

fn operate(out: &mut Vec<u8>, operator: char, line: &Line<'_>, at: &Moment) {
    let day = weekday_name(weekday(at.unix / 86_400));
    let month = month_name(at.month);
    let (hour, minute, second) = (at.unix / 3_600 % 24, at.unix / 60 % 60, at.unix % 60);
    let half = if hour < 12 { "AM" } else { "PM" };
    let twelve = (hour + 11) % 12 + 1;
    // Writing to a vector does not fail.
    let _ = match operator {
        'v' => write!(out, "{}", line.text),
        '_' => return escape(out, line.text),
        'j' => return escape_json(out, line.text),
        't' => write!(out, "{}", line.thread),
        'P' => write!(out, "{}", std::process::id()),
        'n' => write!(out, "{}", line.logger),
        'l' => write!(out, "{}", line.level),
        'L' => write!(out, "{}", short(line.level)),
        'a' => write!(out, "{}", &day[..3]),
        'A' => write!(out, "{day}"),
        'b' | 'h' => write!(out, "{}", &month[..3]),
        'B' => write!(out, "{month}"),
        'c' => write!(
            out,
            "{} {} {} {hour:02}:{minute:02}:{second:02} {}",
            &day[..3],
            &month[..3],
            at.day,
            at.year
        ),
        'C' => write!(out, "{:02}", at.year % 100),
        'Y' => write!(out, "{}", at.year),
        'D' | 'x' => write!(out, "{:02}/{:02}/{:02}", at.month, at.day, at.year % 100),
        'm' => write!(out, "{:02}", at.month),
        'd' => write!(out, "{:02}", at.day),
        'H' => write!(out, "{hour:02}"),
        'I' => write!(out, "{twelve:02}"),
        'M' => write!(out, "{minute:02}"),
        'S' => write!(out, "{second:02}"),
        'e' => write!(out, "{:03}", at.nanos / 1_000_000),
        'f' => write!(out, "{:06}", at.nanos / 1_000),
        'F' => write!(out, "{:09}", at.nanos),
        'E' => write!(out, "{}", at.unix),
        'i' => write!(out, "{}", line.since.as_micros()),
        'u' => write!(out, "{}", line.since.as_nanos()),
        'o' => write!(out, "{}", line.since.as_millis()),
        'O' => write!(out, "{}", line.since.as_secs()),
        'N' => write!(out, "{}", version::full()),
        'p' => write!(out, "{half}"),
        'r' => write!(out, "{twelve:02}:{minute:02}:{second:02} {half}"),
        'R' => write!(out, "{hour:02}:{minute:02}"),
        'T' | 'X' => write!(out, "{hour:02}:{minute:02}:{second:02}"),
        'z' => write!(out, "+00:00"),
        '+' => return Pattern::default().write(out, line),
        'g' => write!(out, "{}", line.file),
        's' => write!(out, "{}", line.file.rsplit('/').next().unwrap_or(line.file)),
        '#' => write!(out, "{}", line.line),
        '@' => write!(out, "{}:{}", line.file, line.line),
        '!' => write!(out, "{}", line.module),
        '%' => write!(out, "%"),
        // Where colours begin and end, and a context: no line of ours has any.
        _ => Ok(()),
    };
}

fn short(level: LogLevel) -> char {
    match level {
        LogLevel::Trace => 'T',
        LogLevel::Debug => 'D',
        LogLevel::Info => 'I',
        LogLevel::Warning => 'W',
        LogLevel::Error => 'E',
        LogLevel::Critical => 'C',
        LogLevel::Off => 'O',
    }
}

/// Writes a text with C's escapes, so that it stays on its line.
pub(super) fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'"' | b'\'' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b' '..=b'~' => out.push(byte),
            other => out.extend_from_slice(&[
                b'\\',
                b'0' + (other >> 6),
                b'0' + (other >> 3 & 7),
                b'0' + (other & 7),
            ]),
        }
    }
}

fn escape_json(out: &mut Vec<u8>, text: &str) {
    let quoted = serde_json::Value::from(text).to_string();
    out.extend_from_slice(
        quoted.trim_start_matches('"').strip_suffix('"').unwrap_or("").as_bytes(),
    );
}

// === impl Column ===

impl Column {
    fn fit(self, out: &mut Vec<u8>, start: usize) {
        let length = out.len() - start;
        if length >= self.width {
            if self.cut {
                out.truncate(start + self.width);
            }
            return;
        }
        let missing = self.width - length;
        let before = match self.side {
            Side::Left => 0,
            Side::Right => missing,
            Side::Center => missing / 2,
        };
        out.splice(start..start, std::iter::repeat_n(b' ', before));
        out.extend(std::iter::repeat_n(b' ', missing - before));
    }
}

// === impl Moment ===

impl Moment {
    fn of(at: SystemTime) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (year, month, day) = civil(since.as_secs() / 86_400);
        Self { unix: since.as_secs(), nanos: since.subsec_nanos(), year, month, day }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(pattern: &str, text: &str) -> String {
        let line = Line {
            at: UNIX_EPOCH + Duration::from_nanos(1_795_454_005_982_003_004),
            since: Duration::from_micros(2_024_258),
            thread: 8795,
            level: LogLevel::Info,
            logger: "config",
            file: "src/config/mod.rs",
            line: 132,
            module: "understudy::config",
            text,
        };
        let mut out = Vec::new();
        Pattern::parse(pattern).write(&mut out, &line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_is_envoys() {
        let line = "[2026-11-23 17:13:25.982][8795][info][config] [src/config/mod.rs:132] hello";
        assert_eq!(written(DEFAULT_PATTERN, "hello"), line);
        assert_eq!(written("%+", "hello"), line);
    }

    #[test]
    fn operators_write_what_spdlog_writes() {
        for (pattern, expected) in [
            ("%v%%", "a\n\"b\"%"),
            ("%_", "a\\n\\\"b\\\""),
            ("%j", "a\\n\\\"b\\\""),
            ("%L %s:%# %@ %!", "I mod.rs:132 src/config/mod.rs:132 understudy::config"),
            ("%a %A %b %h %B %C %D", "Mon Monday Nov Nov November 26 11/23/26"),
            ("%c", "Mon Nov 23 17:13:25 2026"),
            ("%I:%M %p|%r|%R|%E", "05:13 PM|05:13:25 PM|17:13|1795454005"),
            ("%f %F %z", "982003 982003004 +00:00"),
            ("[%8l][%-8l][%=8l][%2!l]", "[    info][info    ][  info  ][in]"),
            ("%i %u %o %O", "2024258 2024258000 2024 2"),
            ("%^%$%&plain", "plain"),
            ("%Q %-5q %y 100%", "%Q %q %y 100"),
        ] {
            assert_eq!(written(pattern, "a\n\"b\""), expected, "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_and_no_text_panics(pattern in ".*", text in ".*") {
            let line = Line {
                at: UNIX_EPOCH,
                since: Duration::ZERO,
                thread: 1,
                level: LogLevel::Off,
                logger: "",
                file: "",
                line: 0,
                module: "",
                text: &text,
            };
            Pattern::parse(&pattern).write(&mut Vec::new(), &line);
        }
    }
}
