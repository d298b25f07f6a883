//! Owns writing a time as a format of `strftime` says, and as Envoy does without one.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::worker::clock::{civil, month_name, weekday, weekday_name};

/// Envoy's own form of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Universal time.
    Utc,
    /// The machine's.
    Local,
}

/// How a time is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TimeFormat {
    parts: Vec<Part>,
    zone: Zone,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    /// A conversion of one letter.
    Letter(char),
    /// Digits of the fraction of a second.
    Fraction(u32),
    /// `%E#S`: seconds with so many digits of their fraction; none for as many as it needs.
    Seconds(Option<u32>),
    /// `%Ez`, `%:z`: the offset with a colon.
    OffsetColon,
}

/// A moment, taken apart.
struct Moment {
    unix: u64,
    nanos: u32,
    year: u64,
    month: u64,
    day: u64,
    of_day: u64,
    /// From 0, Sunday.
    weekday: u64,
    /// From 0.
    of_year: u64,
    offset_seconds: i64,
}

// === impl TimeFormat ===

impl TimeFormat {
    /// Reads a format; empty is Envoy's own, `2026-11-26T21:46:32.700Z`. None where it has a new line, which
    /// must not get into a header.
    pub(super) fn parse(text: &str, zone: Zone) -> Option<Self> {
        let own = match zone {
            Zone::Utc => "%Y-%m-%dT%H:%M:%E3SZ",
            Zone::Local => "%Y-%m-%dT%H:%M:%E3S%z",
        };
        let mut parts = Vec::new();
        let mut rest = if text.is_empty() { own } else { text };
        while let Some(at) = rest.find('%') {
            push_text(&mut parts, &rest[..at]);
            let (part, length) = conversion(&rest[at..]);
            match part {
                Part::Letter('n') => return None,
                Part::Text(text) => push_text(&mut parts, &text),
                part => parts.push(part),
            }
            rest = &rest[at + length..];
        }
        push_text(&mut parts, rest);
        Some(Self { parts, zone })
    }

    /// Writes a time.
    pub(super) fn write(&self, at: SystemTime) -> String {
        let moment = Moment::of(at, self.zone);
        let mut out = String::with_capacity(32);
        self.parts.iter().for_each(|part| moment.write(&mut out, part));
        out
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// The conversion at the beginning of `text`, which is `%`, and its length.
fn conversion(text: &str) -> (Part, usize) {
    let plain = |length: usize| (Part::Text(text.get(..length).unwrap_or(text).to_owned()), length);
    let mut chars = text.chars().skip(1);
    let Some(first) = chars.next() else { return plain(1) };
    let (second, third) = (chars.next(), chars.next());
    let digit = |c: Option<char>| c.and_then(|c| c.to_digit(10)).filter(|digit| *digit > 0);
    match (first, second, third) {
        ('%', ..) => (Part::Text("%".to_owned()), 2),
        ('f', ..) => (Part::Fraction(9), 2),
        ('E', Some('z'), _) | (':', Some('z'), _) => (Part::OffsetColon, 3),
        ('E', Some('*'), Some('S')) => (Part::Seconds(None), 4),
        ('E', Some('T'), _) => (Part::Text("T".to_owned()), 3),
        ('E', Some('4'), Some('Y')) => (Part::Letter('Y'), 4),
        ('E', number, Some('S')) if digit(number).is_some() => (Part::Seconds(digit(number)), 4),
        ('E', number, Some('f')) if digit(number).is_some() => {
            (Part::Fraction(digit(number).unwrap_or(9)), 4)
        }
        (number, Some('f'), _) if digit(Some(number)).is_some() => {
            (Part::Fraction(digit(Some(number)).unwrap_or(9)), 3)
        }
        (letter, ..) if letter.is_ascii_alphabetic() => (Part::Letter(letter), 2),
        (other, ..) => plain(1 + other.len_utf8()),
    }
}

// === impl Moment ===

impl Moment {
    fn of(at: SystemTime, zone: Zone) -> Self {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix = since.as_secs();
        let offset_seconds = match zone {
            Zone::Utc => 0,
            Zone::Local => super::zone::offset_seconds(unix),
        };
        let shifted = unix.saturating_add_signed(offset_seconds);
        let days = shifted / 86_400;
        let (year, month, day) = civil(days);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let before = before.get(month as usize - 1).copied().unwrap_or(0);
        let of_year = before + day - 1 + u64::from(leap && month > 2);
        Self {
            unix,
            nanos: since.subsec_nanos(),
            year,
            month,
            day,
            of_day: shifted % 86_400,
            weekday: weekday(days),
            of_year,
            offset_seconds,
        }
    }

    fn write(&self, out: &mut String, part: &Part) {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Letter(letter) => self.letter(out, *letter),
            Part::Fraction(digits) => self.fraction(out, *digits),
            Part::Seconds(digits) => {
                padded(out, self.of_day % 60, 2);
                match digits {
                    Some(digits) => {
                        out.push('.');
                        self.fraction(out, *digits);
                    }
                    None if self.nanos == 0 => {}
                    None => {
                        let digits = format!("{:09}", self.nanos);
                        out.push('.');
                        out.push_str(digits.trim_end_matches('0'));
                    }
                }
            }
            Part::OffsetColon => self.offset(out, ":"),
        }
    }

    fn fraction(&self, out: &mut String, digits: u32) {
        let value = self.nanos / 10_u32.pow(9_u32.saturating_sub(digits));
        padded(out, u64::from(value), digits as usize);
    }

    fn offset(&self, out: &mut String, colon: &str) {
        let minutes = self.offset_seconds.unsigned_abs() / 60;
        out.push(if self.offset_seconds < 0 { '-' } else { '+' });
        padded(out, minutes / 60, 2);
        out.push_str(colon);
        padded(out, minutes % 60, 2);
    }

    fn letter(&self, out: &mut String, letter: char) {
        let each = |out: &mut String, format: &str| {
            for letter in format.chars() {
                match letter.is_ascii_alphabetic() {
                    true => self.letter(out, letter),
                    false => out.push(letter),
                }
            }
        };
        let (hour, minute, second) = (self.of_day / 3_600, self.of_day / 60 % 60, self.of_day % 60);
        let twelve = (hour + 11) % 12 + 1;
        let (iso_year, iso_week) = self.iso_week();
        match letter {
            'Y' => out.push_str(&self.year.to_string()),
            'C' => padded(out, self.year / 100, 2),
            'y' => padded(out, self.year % 100, 2),
            'm' => padded(out, self.month, 2),
            'd' => padded(out, self.day, 2),
            'e' => out.push_str(&format!("{:>2}", self.day)),
            'H' => padded(out, hour, 2),
            'k' => out.push_str(&format!("{hour:>2}")),
            'I' => padded(out, twelve, 2),
            'l' => out.push_str(&format!("{twelve:>2}")),
            'M' => padded(out, minute, 2),
            'S' => padded(out, second, 2),
            's' => out.push_str(&self.unix.to_string()),
            'p' => out.push_str(if hour < 12 { "AM" } else { "PM" }),
            'P' => out.push_str(if hour < 12 { "am" } else { "pm" }),
            'j' => padded(out, self.of_year + 1, 3),
            'a' => out.push_str(weekday_name(self.weekday).get(..3).unwrap_or("")),
            'A' => out.push_str(weekday_name(self.weekday)),
            'b' | 'h' => out.push_str(month_name(self.month).get(..3).unwrap_or("")),
            'B' => out.push_str(month_name(self.month)),
            'u' => padded(out, (self.weekday + 6) % 7 + 1, 1),
            'w' => padded(out, self.weekday, 1),
            'U' => padded(out, (self.of_year + 7 - self.weekday) / 7, 2),
            'W' => padded(out, (self.of_year + 7 - (self.weekday + 6) % 7) / 7, 2),
            'V' => padded(out, iso_week, 2),
            'G' => out.push_str(&iso_year.to_string()),
            'g' => padded(out, iso_year % 100, 2),
            't' => out.push('\t'),
            'z' => self.offset(out, ""),
            'Z' if self.offset_seconds == 0 => out.push_str("UTC"),
            'Z' => self.offset(out, ""),
            'F' => each(out, "Y-m-d"),
            'T' | 'X' => each(out, "H:M:S"),
            'D' | 'x' => each(out, "m/d/y"),
            'R' => each(out, "H:M"),
            'r' => each(out, "I:M:S p"),
            'c' => each(out, "a b e H:M:S Y"),
            // What is no conversion stays.
            other => {
                out.push('%');
                out.push(other);
            }
        }
    }

    /// ISO 8601: weeks begin on Monday, and the first is that of the year's first Thursday.
    fn iso_week(&self) -> (u64, u64) {
        let monday_based = (self.weekday + 6) % 7;
        let thursday = self.of_year as i64 + 3 - monday_based as i64;
        let days = |year: u64| {
            if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) {
                366
            } else {
                365
            }
        };
        let (year, thursday) = if thursday < 0 {
            (self.year - 1, thursday + days(self.year - 1))
        } else if thursday >= days(self.year) {
            (self.year + 1, thursday - days(self.year))
        } else {
            (self.year, thursday)
        };
        (year, thursday as u64 / 7 + 1)
    }
}

fn padded(out: &mut String, value: u64, digits: usize) {
    out.push_str(&format!("{value:0digits$}"));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_are_written_as_envoy_writes_them() {
        // Observed: Envoy 1.40, `%START_TIME(…)%`.
        let at = UNIX_EPOCH + Duration::from_nanos(1_795_729_592_700_194_000);
        for (format, expected) in [
            ("", "2026-11-26T21:46:32.700Z"),
            ("%a %A %b %B %C", "Thu Thursday Nov November 20"),
            (
                "%c|%D|%F|%r|%R|%T",
                "Thu Nov 26 21:46:32 2026|11/26/26|2026-11-26|09:46:32 PM|21:46|21:46:32",
            ),
            ("%d %e %g %G %h %H %I %j", "26 26 26 2026 Nov 21 09 330"),
            ("%k %l %m %M %p %s %S", "21  9 11 46 PM 1795729592 32"),
            ("%u %U %V %w %W %x %X %y %Y", "4 47 48 4 47 11/26/26 21:46:32 26 2026"),
            ("%z %Z %% %Ez %:z %ET", "+0000 UTC % +00:00 +00:00 T"),
            ("%f %3f %6f %9f %E2f", "700194000 700 700194 700194000 70"),
            ("%E3S %E*S %Q %", "32.700 32.700194 %Q %"),
        ] {
            let read = TimeFormat::parse(format, Zone::Utc).unwrap();
            assert_eq!(read.write(at), expected, "{format}");
        }
        assert!(TimeFormat::parse("%Y%n", Zone::Utc).is_none());
        let new_year = UNIX_EPOCH + Duration::from_secs(1_609_459_200);
        let read = TimeFormat::parse("%F %G-W%V %U %W %j", Zone::Utc).unwrap();
        assert_eq!(read.write(new_year), "2021-01-01 2020-W53 00 00 001");
    }
}
