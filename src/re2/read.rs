//! Owns reading an expression as RE2 reads it.

use super::{
    Encoding, Re2Error,
    runes::Runes,
    term::{Count, Term},
};

/// The most that `{…}` may say, alone or multiplied with those around it.
const COPIES_MAX: u32 = 1000;
/// Groups that may be open at once.
const GROUPS_OPEN_MAX: usize = 1000;

/// Reads a whole expression.
///
/// # Errors
///
/// The first mistake in it.
pub(super) fn read(expression: &str, encoding: Encoding, asked: Asked) -> Result<Term, Re2Error> {
    let flags = Flags::default();
    // What RE2 shows of a mistake is the text it reads, in Latin-1 with two characters for an `é`.
    let text = match encoding {
        Encoding::Utf8 => expression.to_owned(),
        Encoding::Latin1 => expression.bytes().map(char::from).collect(),
    };
    let (whole, rest, open) = (expression, text.as_str(), Vec::new());
    Reader { whole, rest, encoding, asked, flags, open }.read()
}

/// What an expression is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Whether it matches: groups and greed do not matter.
    Whether,
    /// Where it matches, and its groups.
    Where,
}

/// What `(?…)` changes.
#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    ignore_case: bool,
    many_lines: bool,
    dot_takes_newline: bool,
    /// Repetitions are lazy, and greedy with a `?`.
    lazy: bool,
}

struct Reader<'a> {
    whole: &'a str,
    /// What is not read yet.
    rest: &'a str,
    encoding: Encoding,
    asked: Asked,
    flags: Flags,
    /// The groups around the place, from the outside. The first is the expression itself.
    open: Vec<Group>,
}

/// A group that is not closed yet.
#[derive(Default)]
struct Group {
    captures: bool,
    /// To be restored behind it.
    flags: Flags,
    /// The alternatives before this one.
    alternatives: Vec<Term>,
    /// What was read of this alternative.
    row: Vec<Term>,
}

/// What a `\p…` in an expression came to.
type Found = Option<Runes>;

// === impl Reader ===

impl<'a> Reader<'a> {
    fn read(mut self) -> Result<Term, Re2Error> {
        let mut group = Group::default();
        // Where the repetition began that ended right here.
        let mut repetition = None;
        while let Some(next) = self.peek() {
            let start = self.rest;
            let counted = self.count();
            if let Some(mut count) = counted {
                let swapped = self.skip("?");
                count.lazy = self.asked == Asked::Where && swapped != self.flags.lazy;
                if let Some(before) = repetition {
                    return Err(Re2Error::RepeatedRepetition(self.since(before)));
                }
                let operator = self.since(start);
                let term = repeated(group.row.pop(), count, operator)?;
                group.row.push(term);
                repetition = Some(start);
                continue;
            }
            repetition = None;
            match next {
                '(' => {
                    let flags = self.flags;
                    if let Some(captures) = self.parenthesis()? {
                        let inner = Group { captures, flags, ..Group::default() };
                        self.open.push(std::mem::replace(&mut group, inner));
                        if self.open.len() > GROUPS_OPEN_MAX {
                            return Err(Re2Error::TooLarge);
                        }
                    }
                }
                ')' => {
                    let unexpected = || Re2Error::UnexpectedParenthesis(self.whole.to_owned());
                    let outer = self.open.pop().ok_or_else(unexpected)?;
                    self.skip(")");
                    self.flags = group.flags;
                    let term = std::mem::replace(&mut group, outer).closed(self.asked);
                    group.row.push(term);
                }
                '|' => {
                    self.skip("|");
                    let row = std::mem::take(&mut group.row);
                    group.alternatives.push(Term::row(row));
                }
                '\\' if self.skip("\\Q") => self.quoted(&mut group.row),
                _ => {
                    let term = self.term(next)?;
                    group.row.push(term);
                }
            }
        }
        if self.open.is_empty() {
            return Ok(group.closed(self.asked));
        }
        Err(Re2Error::MissingParenthesis(self.whole.to_owned()))
    }

    /// `*`, `+`, `?` or `{…}`. A brace that does not hold numbers is a character.
    fn count(&mut self) -> Option<Count> {
        let simple = |min, max| Some((Count { min, max, lazy: false }, &self.rest[1..]));
        let (count, rest) = match self.peek()? {
            '*' => simple(0, None),
            '+' => simple(1, None),
            '?' => simple(0, Some(1)),
            '{' => braced(&self.rest[1..]),
            _ => None,
        }?;
        self.rest = rest;
        Some(count)
    }

    /// What begins with `(`: flags alone, or a group, and then whether it captures.
    fn parenthesis(&mut self) -> Result<Option<bool>, Re2Error> {
        let start = self.rest;
        if !self.skip("(?") {
            self.skip("(");
            return Ok(Some(true));
        }
        let looks = |ways: &[&str]| ways.iter().any(|way| self.rest.starts_with(way));
        // RE2 tells these by what follows them, too.
        if self.rest.len() > 2 && looks(&["<=", "<!"]) {
            return Err(Re2Error::BadPerlOperator(start[..4].to_owned()));
        }
        if self.rest.len() > 2 && self.skip("P<") || self.rest.len() > 1 && self.skip("<") {
            return self.name(start).map(|()| Some(true));
        }
        let mut negative = false;
        let mut said = false;
        loop {
            let next = self.next();
            said |= matches!(next, Some('i' | 'm' | 's' | 'U'));
            match next {
                Some('i') => self.flags.ignore_case = !negative,
                Some('m') => self.flags.many_lines = !negative,
                Some('s') => self.flags.dot_takes_newline = !negative,
                Some('U') => self.flags.lazy = !negative,
                Some('-') if !negative => (negative, said) = (true, false),
                Some(end @ (':' | ')')) if said || !negative => {
                    return Ok((end == ':').then_some(false));
                }
                _ => return Err(Re2Error::BadPerlOperator(self.since(start))),
            }
        }
    }

    /// The rest of `(?P<name>` or `(?<name>`. Names may repeat: nobody asks for them.
    fn name(&mut self, start: &'a str) -> Result<(), Re2Error> {
        let Some((name, rest)) = self.rest.split_once('>') else {
            return Err(Re2Error::BadGroupName(start.to_owned()));
        };
        self.rest = rest;
        match Runes::are_a_name(name) {
            true => Ok(()),
            false => Err(Re2Error::BadGroupName(self.since(start))),
        }
    }

    /// The rest of `\Q…\E`, or of the expression.
    fn quoted(&mut self, row: &mut Vec<Term>) {
        while !self.skip("\\E")
            && let Some(next) = self.next()
        {
            row.push(self.literal(next.into()));
        }
    }

    /// What stands for itself, a class or a place.
    fn term(&mut self, next: char) -> Result<Term, Re2Error> {
        match next {
            '[' => self.class(),
            '\\' => self.escaped(),
            next => {
                self.next();
                Ok(match next {
                    '^' if self.flags.many_lines => Term::atom("(?m:^)"),
                    '^' => Term::atom(r"\A"),
                    '$' if self.flags.many_lines => Term::atom("(?m:$)"),
                    '$' => Term::atom(r"\z"),
                    '.' if self.flags.dot_takes_newline => self.any_of(&Runes::all()),
                    '.' => self.any_of(&Runes::of(&[(0x0A, 0x0A)]).negated()),
                    next => self.literal(next.into()),
                })
            }
        }
    }

    fn literal(&self, rune: u32) -> Term {
        if !self.flags.ignore_case {
            return Term::rune(rune, self.encoding);
        }
        let runes = Runes::of(&[(rune, rune)]).folded();
        match runes.only() {
            Some(rune) => Term::rune(rune, self.encoding),
            None => self.any_of(&runes),
        }
    }

    fn any_of(&self, runes: &Runes) -> Term {
        Term::runes(runes, self.encoding)
    }

    /// What begins with `\`, but for `\Q`.
    fn escaped(&mut self) -> Result<Term, Re2Error> {
        for (place, written) in [
            (r"\b", r"\b"),
            (r"\B", r"\B"),
            (r"\A", r"\A"),
            (r"\z", r"\z"),
            (r"\C", r"[\x00-\xFF]"),
        ] {
            if self.skip(place) {
                return Ok(Term::atom(written));
            }
        }
        if let Some(runes) = self.property()? {
            return Ok(self.any_of(&runes));
        }
        if let Some(runes) = self.perl() {
            return Ok(self.any_of(&runes));
        }
        self.escape().map(|rune| self.literal(rune))
    }

    fn class(&mut self) -> Result<Term, Re2Error> {
        let start = self.rest;
        self.skip("[");
        let negative = self.skip("^");
        let mut runes = Runes::default();
        let mut first = true;
        while first || !self.skip("]") {
            first = false;
            let unclosed = || Re2Error::MissingBracket(start.to_owned());
            self.peek().ok_or_else(unclosed)?;
            let found = match self.posix()? {
                None if self.rest.len() > 2 => self.property()?,
                found => found,
            };
            match found.or_else(|| self.perl()) {
                Some(found) => runes = runes.and(found),
                None => {
                    let range = self.range(start)?;
                    runes.add(range);
                }
            }
        }
        if self.flags.ignore_case {
            runes = runes.folded();
        }
        Ok(self.any_of(&match negative {
            true => runes.negated(),
            false => runes,
        }))
    }

    /// `a-z` or `a`. A dash before the end of the class is a character.
    fn range(&mut self, class: &'a str) -> Result<(u32, u32), Re2Error> {
        let start = self.rest;
        let first = self.class_rune(class)?;
        if self.rest.len() < 2 || self.rest.starts_with("-]") || !self.skip("-") {
            return Ok((first, first));
        }
        let last = self.class_rune(class)?;
        match first <= last {
            true => Ok((first, last)),
            false => Err(Re2Error::BadRange(self.since(start))),
        }
    }

    fn class_rune(&mut self, class: &'a str) -> Result<u32, Re2Error> {
        if self.rest.starts_with('\\') {
            return self.escape();
        }
        let unclosed = || Re2Error::MissingBracket(class.to_owned());
        self.next().map(u32::from).ok_or_else(unclosed)
    }

    /// `[:name:]` or `[:^name:]`, if there is one here.
    fn posix(&mut self) -> Result<Found, Re2Error> {
        let start = self.rest;
        let Some((name, rest)) = start.strip_prefix("[:").and_then(|rest| rest.split_once(":]"))
        else {
            return Ok(None);
        };
        self.rest = rest;
        let (name, negative) = match name.strip_prefix('^') {
            Some(name) => (name, true),
            None => (name, false),
        };
        let unknown = || Re2Error::BadRange(self.since(start));
        let runes = Runes::posix(name).ok_or_else(unknown)?;
        Ok(Some(self.signed(runes, negative)))
    }

    /// `\pN`, `\p{Name}` or `\p{^Name}`, or with `\P`, if there is one here.
    fn property(&mut self) -> Result<Found, Re2Error> {
        let start = self.rest;
        let mut negative = self.rest.starts_with(r"\P");
        if !self.skip(r"\p") && !self.skip(r"\P") {
            return Ok(None);
        }
        let mut name = self.rest;
        if self.skip("{") {
            let Some((braced, rest)) = self.rest.split_once('}') else {
                return Err(Re2Error::BadRange(start.to_owned()));
            };
            (name, self.rest) = (braced, rest);
        } else {
            self.next();
            name = &name[..name.len() - self.rest.len()];
        }
        if let Some(positive) = name.strip_prefix('^') {
            (name, negative) = (positive, !negative);
        }
        let unknown = || Re2Error::BadRange(self.since(start));
        let runes = Runes::unicode(name).ok_or_else(unknown)?;
        Ok(Some(self.signed(runes, negative)))
    }

    /// `\d` and the like, if there is one here.
    fn perl(&mut self) -> Found {
        let [b'\\', letter, ..] = self.rest.as_bytes() else { return None };
        let runes = Runes::perl(letter.to_ascii_lowercase())?;
        self.rest = &self.rest[2..];
        Some(self.signed(runes, letter.is_ascii_uppercase()))
    }

    /// What is negated is folded first: `(?i)\W` is without `ſ`, which is an `s`.
    fn signed(&self, runes: Runes, negative: bool) -> Runes {
        let runes = if self.flags.ignore_case { runes.folded() } else { runes };
        if negative { runes.negated() } else { runes }
    }

    /// A character that is written with a backslash.
    fn escape(&mut self) -> Result<u32, Re2Error> {
        let start = self.rest;
        self.skip("\\");
        let rune = match self.next() {
            None => return Err(Re2Error::TrailingBackslash),
            Some('a') => Some(0x07),
            Some('f') => Some(0x0C),
            Some('n') => Some(0x0A),
            Some('r') => Some(0x0D),
            Some('t') => Some(0x09),
            Some('v') => Some(0x0B),
            Some('x') => self.hexadecimal()?,
            Some('0') => Some(self.octal(0)),
            // One digit alone would be a reference to a group.
            Some(digit @ '1'..='7') if self.peek().is_some_and(|next| next.is_digit(8)) => {
                Some(self.octal(digit.to_digit(8).unwrap_or_default()))
            }
            Some(other) if other.is_ascii() && !other.is_ascii_alphanumeric() => Some(other.into()),
            Some(_) => None,
        };
        let known = rune.filter(|rune| *rune <= self.rune_max());
        known.ok_or_else(|| Re2Error::BadEscape(self.since(start)))
    }

    /// Up to two more octal digits.
    fn octal(&mut self, mut rune: u32) -> u32 {
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
            self.next();
            rune = rune * 8 + digit;
        }
        rune
    }

    /// What follows `\x`: two digits, or some in braces. Reads as far as RE2 does before it sees a
    /// mistake, since that is what it shows.
    fn hexadecimal(&mut self) -> Result<Option<u32>, Re2Error> {
        let digit = |rune: Option<char>| rune.and_then(|rune| rune.to_digit(16));
        let first = self.next();
        if first != Some('{') {
            let Some(_) = first else { return Ok(None) };
            let second = self.next();
            return Ok(digit(first).zip(digit(second)).map(|(first, second)| first * 16 + second));
        }
        let mut next = Some(self.next().ok_or(Re2Error::EndsInRune)?);
        let mut rune = None;
        while let Some(value) = digit(next) {
            let sum = rune.unwrap_or(0) * 16 + value;
            rune = Some(sum);
            next = self.next_of(sum);
        }
        Ok(rune.filter(|_| next == Some('}')))
    }

    /// The next digit, unless the number is beyond the last character.
    fn next_of(&mut self, rune: u32) -> Option<char> {
        if rune > self.rune_max() { None } else { self.next() }
    }

    fn rune_max(&self) -> u32 {
        match self.encoding {
            Encoding::Utf8 => char::MAX.into(),
            Encoding::Latin1 => 0xFF,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut runes = self.rest.chars();
        let next = runes.next();
        self.rest = runes.as_str();
        next
    }

    fn skip(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// What was read since the rest was that.
    fn since(&self, start: &str) -> String {
        start[..start.len() - self.rest.len()].to_owned()
    }
}

// === impl Group ===

impl Group {
    fn closed(mut self, asked: Asked) -> Term {
        self.alternatives.push(Term::row(self.row));
        let term = Term::choice(self.alternatives);
        if self.captures { term.captured(asked == Asked::Where) } else { term }
    }
}

/// What is inside and behind the braces of `{2}`, `{2,}` or `{2,5}`, if that is what they hold.
fn braced(rest: &str) -> Option<(Count, &str)> {
    let (min, rest) = number(rest)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => number(rest).map(|(max, rest)| (Some(max), rest))?,
    };
    Some((Count { min, max, lazy: false }, rest.strip_prefix('}')?))
}

/// A number of at most nine digits, without zeros before it.
fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.find(|rune: char| !rune.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    if digits.len() > 9 || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

fn repeated(term: Option<Term>, count: Count, operator: String) -> Result<Term, Re2Error> {
    let most = count.max.unwrap_or(count.min);
    if most > COPIES_MAX || most < count.min {
        return Err(Re2Error::BadRepetitionSize(operator));
    }
    let Some(term) = term else { return Err(Re2Error::NothingToRepeat(operator)) };
    let term = term.repeated(count);
    match most >= 2 && term.copies() > COPIES_MAX {
        true => Err(Re2Error::BadRepetitionSize(operator)),
        false => Ok(term),
    }
}
