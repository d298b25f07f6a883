//! Owns a block of headers: many lines over one buffer that is reused from message to message.

use super::{Known, known::KnownSet};

/// Headers in order.
///
/// Nothing is moved when a header is changed: new bytes are appended, the entry points to them;
/// removal sets a flag. An entry also knows whether its bytes stand in the buffer just as they are to
/// be written, so that lines which follow one another there are written in one piece.
#[derive(Clone, Debug, Default)]
pub struct HeaderBlock {
    pub(super) bytes: Vec<u8>,
    pub(super) entries: Vec<Entry>,
    pub(super) index: Index,
}

/// Which known headers there are, and where each stands first: nobody has to look for them.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) present: KnownSet,
    repeated: KnownSet,
    first: [u32; KnownSet::MEMBERS_MAX],
    /// A bit for each other name, by a poor hash.
    others: u64,
    /// Two others share their bit: they may be the same.
    others_meet: bool,
}

/// One header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) known: Known,
    pub(super) removed: bool,
    /// Around name and value stands the line `name: value` with its end, as it is to be written.
    pub(super) whole: bool,
    pub(super) name: Span,
    pub(super) value: Span,
}

/// A range of the buffer. Heads are bounded far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

// === impl HeaderBlock ===

impl HeaderBlock {
    /// No headers; the room stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.index.clear();
    }

    /// Makes room for this many headers and bytes of names and values.
    pub fn reserve(&mut self, headers: usize, bytes: usize) {
        self.entries.reserve(headers);
        self.bytes.reserve(bytes + headers * LINE_EXTRA_BYTES);
    }

    /// Whether a known header is there.
    #[inline]
    pub fn has(&self, known: Known) -> bool {
        self.index.present.contains(known)
    }

    /// The first value of a known header.
    #[inline]
    pub fn get(&self, known: Known) -> Option<&[u8]> {
        let entry = self.entries.get(self.index.first(known)?)?;
        Some(entry.value.of(&self.bytes))
    }

    /// Whether a known header is there more than once.
    #[inline]
    pub fn is_repeated(&self, known: Known) -> bool {
        self.index.repeated.contains(known)
    }

    /// All values of a known header.
    pub fn get_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let start = self.index.first(known).unwrap_or(self.entries.len());
        let entries = self.entries.get(start..).unwrap_or_default();
        let count = if self.is_repeated(known) { usize::MAX } else { 1 };
        let own = move |entry: &&Entry| entry.known == known && !entry.removed;
        entries.iter().filter(own).take(count).map(|entry| entry.value.of(&self.bytes))
    }

    /// The first value of a header by its name in lower case.
    pub fn get_name(&self, name: &[u8]) -> Option<&[u8]> {
        match Known::of(name) {
            Known::Other => self.iter().find(|(n, _)| *n == name).map(|(_, value)| value),
            known => self.get(known),
        }
    }

    /// All values of a header by its name in lower case.
    pub fn get_all_named(&self, name: &[u8]) -> impl Iterator<Item = &[u8]> {
        let known = Known::of(name);
        // Most headers are not there: of known ones the index says so.
        let there = known == Known::Other || self.has(known);
        let entries = if there { &self.entries[..] } else { &[] };
        let own = move |entry: &&Entry| {
            let same = entry.known == known && !entry.removed;
            same && (known != Known::Other || entry.name.of(&self.bytes) == name)
        };
        entries.iter().filter(own).map(|entry| entry.value.of(&self.bytes))
    }

    /// Removes all of a known header.
    #[inline]
    pub fn remove(&mut self, known: Known) {
        self.remove_all(KnownSet::of(&[known]));
    }

    /// Removes all of several known headers.
    #[inline]
    pub fn remove_all(&mut self, unwanted: KnownSet) {
        if self.index.present.meets(unwanted) {
            self.remove_those_there(unwanted);
        }
    }

    fn remove_those_there(&mut self, unwanted: KnownSet) {
        let Self { entries, index, .. } = self;
        if index.repeated.meets(unwanted) {
            for entry in entries.iter_mut() {
                entry.removed |= unwanted.contains(entry.known);
            }
        } else {
            // Each stands where the index says, and nowhere else.
            for place in index.present.places_of(unwanted) {
                if let Some(entry) = entries.get_mut(index.first[place] as usize) {
                    entry.removed = true;
                }
            }
        }
        index.remove_all(unwanted);
    }

    /// Removes all of a header by its name in lower case.
    pub fn remove_name(&mut self, name: &[u8]) {
        match Known::of(name) {
            Known::Other => {
                let bytes = &self.bytes;
                for entry in &mut self.entries {
                    entry.removed |= entry.known == Known::Other && entry.name.of(bytes) == name;
                }
            }
            known => self.remove(known),
        }
    }

    /// Removes every header that is not known and whose name is `unwanted`; gives back how many.
    pub fn remove_others(&mut self, unwanted: impl Fn(&[u8]) -> bool) -> usize {
        let Self { bytes, entries, .. } = self;
        let others = entries.iter_mut().filter(|entry| entry.known == Known::Other);
        let mut removed = 0;
        for entry in others.filter(|entry| !entry.removed) {
            entry.removed = unwanted(entry.name.of(bytes));
            removed += usize::from(entry.removed);
        }
        removed
    }

    /// Gives a known header one value: in place of its first, or at the end.
    #[inline(always)]
    pub fn set(&mut self, known: Known, value: &[u8]) {
        match self.index.first(known) {
            Some(first) => self.set_at(first, known, value),
            None => self.append(known, value),
        }
    }

    fn set_at(&mut self, first: usize, known: Known, value: &[u8]) {
        if self.is_repeated(known) {
            for entry in self.entries.iter_mut().skip(first + 1) {
                entry.removed |= entry.known == known;
            }
            self.index.repeated.remove_all(KnownSet::of(&[known]));
        }
        let Self { bytes, entries, .. } = self;
        let entry = &mut entries[first];
        let start = entry.value.start as usize;
        let end = start + value.len();
        match bytes.get_mut(start..end + 2) {
            // No longer than the old one: the line stays whole, and where it is.
            Some(place) if entry.whole && end <= entry.value.end as usize => {
                let (text, line_end) = place.split_at_mut(value.len());
                text.copy_from_slice(value);
                line_end.copy_from_slice(b"\r\n");
                entry.value = Span::new(start, end);
            }
            _ => self.replace(first, |bytes| bytes.extend_from_slice(value)),
        }
    }

    /// Gives a header one value by its name in lower case: in place of its first, or at the end.
    pub fn set_name(&mut self, name: &[u8], value: &[u8]) {
        let known = Known::of(name);
        if known != Known::Other {
            return self.set(known, value);
        }
        let bytes = &self.bytes;
        let own =
            |entry: &Entry| entry.known == known && !entry.removed && entry.name.of(bytes) == name;
        let Some(first) = self.entries.iter().position(own) else {
            return self.append_name(name, value);
        };
        for at in first + 1..self.entries.len() {
            self.entries[at].removed |= own(&self.entries[at]);
        }
        self.replace(first, |bytes| bytes.extend_from_slice(value));
    }

    /// Adds a known header at the end. Inlined where its name is a constant: two moves instead of a call.
    #[inline(always)]
    pub fn append(&mut self, known: Known, value: &[u8]) {
        let start = self.bytes.len();
        let line_start = known.line_start().as_bytes();
        self.bytes.extend_from_slice(line_start);
        self.bytes.extend_from_slice(value);
        self.bytes.extend_from_slice(b"\r\n");
        self.enter(known, start, line_start.len() - 2, value.len());
    }

    /// Adds a known header whose [line](Known::line) was written before: one copy.
    #[inline]
    pub fn append_line(&mut self, known: Known, line: &[u8]) {
        debug_assert!(line.starts_with(known.line_start().as_bytes()) && line.ends_with(b"\r\n"));
        let (start, name_bytes) = (self.bytes.len(), known.name().len());
        self.bytes.extend_from_slice(line);
        self.enter(
            known,
            start,
            name_bytes,
            line.len().saturating_sub(name_bytes + LINE_EXTRA_BYTES),
        );
    }

    /// The same in place of the header's first, if it is there.
    #[inline]
    pub fn set_line(&mut self, known: Known, line: &[u8]) {
        match self.has(known) {
            false => self.append_line(known, line),
            true => {
                let end = line.len().saturating_sub(2);
                self.set(known, line.get(known.name().len() + 2..end).unwrap_or_default());
            }
        }
    }

    /// Adds a header at the end; the name must be in lower case.
    pub fn append_name(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        write_line(&mut self.bytes, name, value);
        let known = Known::of(name);
        if known == Known::Other {
            self.index.see_other(name);
        }
        self.enter(known, start, name.len(), value.len());
    }

    /// Adds to a known header's last value, with a separator, or begins it.
    #[inline]
    pub fn append_to_value(&mut self, known: Known, separator: &[u8], value: &[u8]) {
        match self.has(known) {
            false => self.append(known, value),
            true => self.append_to_last(known, separator, value),
        }
    }

    fn append_to_last(&mut self, known: Known, separator: &[u8], value: &[u8]) {
        let last = self.entries.iter().rposition(|entry| entry.known == known && !entry.removed);
        let Some(last) = last else { return };
        let old = self.entries[last].value;
        self.replace(last, |bytes| {
            bytes.extend_from_within(old.range());
            bytes.extend_from_slice(separator);
            bytes.extend_from_slice(value);
        });
    }

    /// Joins the values of each listed header by commas, in the place of its first; `joined` is sorted.
    #[inline]
    pub(super) fn join_repeated(&mut self, joined: &[&str]) {
        if self.index.may_repeat() {
            self.join_repeated_slowly(joined);
        }
    }

    #[cold]
    fn join_repeated_slowly(&mut self, joined: &[&str]) {
        let Self { bytes, entries, index } = self;
        for at in 0..entries.len() {
            let Some((entry, later)) = entries.get_mut(at..).and_then(<[_]>::split_first_mut)
            else {
                return;
            };
            let name = entry.name.of(bytes);
            let listed = joined.binary_search_by(|known| known.as_bytes().cmp(name)).is_ok();
            if entry.removed || !listed {
                continue;
            }
            let (start, name) = (bytes.len(), entry.name);
            for next in later.iter_mut().filter(|next| !next.removed) {
                if next.name.of(bytes) != name.of(bytes) {
                    continue;
                }
                if bytes.len() == start {
                    bytes.extend_from_within(entry.value.within(start));
                }
                bytes.push(b',');
                bytes.extend_from_within(next.value.within(start));
                next.removed = true;
            }
            if bytes.len() > start {
                entry.value = Span::new(start, bytes.len());
                entry.whole = false;
                index.repeated.remove_all(KnownSet::of(&[entry.known]));
            }
        }
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter_known().map(|(_, name, value)| (name, value))
    }

    /// The same with what is known of each name.
    pub fn iter_known(&self) -> impl Iterator<Item = (Known, &[u8], &[u8])> {
        self.entries
            .iter()
            .filter(|entry| !entry.removed)
            .map(|entry| (entry.known, entry.name.of(&self.bytes), entry.value.of(&self.bytes)))
    }

    /// How many headers there are.
    pub fn len(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.removed).count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.removed)
    }

    /// Writes all lines. Those that stand together as they are go in one piece.
    #[inline]
    pub(super) fn write_lines(&self, out: &mut Vec<u8>) {
        let mut piece = Span::default();
        for entry in self.entries.iter().filter(|entry| !entry.removed) {
            let line = Span { start: entry.name.start, end: entry.value.end + 2 };
            if entry.whole && line.start == piece.end {
                piece.end = line.end;
                continue;
            }
            if piece.end > piece.start {
                out.extend_from_slice(piece.of(&self.bytes));
            }
            piece = line;
            if !entry.whole {
                write_line(out, entry.name.of(&self.bytes), entry.value.of(&self.bytes));
                piece.end = piece.start;
            }
        }
        out.extend_from_slice(piece.of(&self.bytes));
    }

    /// Enters the line that was just written to the buffer.
    fn enter(&mut self, known: Known, start: usize, name_bytes: usize, value_bytes: usize) {
        let value = start + name_bytes + 2;
        self.index.enter(known, self.entries.len());
        self.entries.push(Entry {
            known,
            removed: false,
            whole: true,
            name: Span::new(start, start + name_bytes),
            value: Span::new(value, value + value_bytes),
        });
    }

    /// Gives the entry a value that `write` appends to the buffer.
    fn replace(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        let entry = &mut self.entries[at];
        entry.value = Span::new(start, self.bytes.len());
        entry.whole = false;
    }
}

/// Bytes of a line besides name and value: `: ` and its end.
const LINE_EXTRA_BYTES: usize = 4;

/// Writes `name: value` and the line's end.
#[inline]
pub(super) fn write_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + LINE_EXTRA_BYTES);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

// === impl Index ===

impl Index {
    /// A header comes to stand in this place, behind all others.
    #[inline]
    pub(super) fn enter(&mut self, known: Known, at: usize) {
        if self.present.contains(known) {
            self.repeated.insert(known);
        } else {
            self.present.insert(known);
            self.first[known as usize] = at as u32;
        }
    }

    /// Takes note of a header that is not known.
    #[inline]
    pub(super) fn see_other(&mut self, name: &[u8]) {
        let ends = match name {
            [first, .., last] => *first as usize * 7 + *last as usize * 3,
            _ => 0,
        };
        let bit = 1 << ((ends + name.len()) % 64);
        self.others_meet |= self.others & bit != 0;
        self.others |= bit;
    }

    fn may_repeat(&self) -> bool {
        self.others_meet || self.repeated != KnownSet::default()
    }

    #[inline]
    fn first(&self, known: Known) -> Option<usize> {
        self.present.contains(known).then(|| self.first[known as usize] as usize)
    }

    fn remove_all(&mut self, members: KnownSet) {
        self.present.remove_all(members);
        self.repeated.remove_all(members);
    }

    /// What stood where is not worth wiping.
    fn clear(&mut self) {
        self.present = KnownSet::default();
        self.repeated = KnownSet::default();
        self.others = 0;
        self.others_meet = false;
    }
}

impl Default for Index {
    fn default() -> Self {
        let none = KnownSet::default();
        let first = [0; KnownSet::MEMBERS_MAX];
        Self { present: none, repeated: none, first, others: 0, others_meet: false }
    }
}

// === impl Span ===

impl Span {
    #[inline]
    pub(super) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    #[inline]
    fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// The range, no longer than a buffer of this many bytes.
    pub(super) fn within(self, length: usize) -> std::ops::Range<usize> {
        let end = (self.end as usize).min(length);
        (self.start as usize).min(end)..end
    }

    #[inline]
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.range()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(block: &HeaderBlock) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        block.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn headers_keep_their_order_through_changes() {
        let mut block = HeaderBlock::default();
        for (name, value) in
            [("host", "a"), ("x-one", "1"), ("te", "gzip"), ("x-one", "2"), ("te", "x")]
        {
            block.append_name(name.as_bytes(), value.as_bytes());
        }
        block.set(Known::Te, b"trailers");
        block.remove_name(b"x-one");
        block.remove(Known::Host);
        block.append_to_value(Known::Via, b", ", b"one");
        block.append_to_value(Known::Via, b", ", b"two");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(all(&block), [pair("te", "trailers"), pair("via", "one, two")]);
        assert_eq!(block.get_name(b"via"), Some(&b"one, two"[..]));
        assert_eq!((block.len(), block.get(Known::Host)), (2, None));
    }

    #[test]
    fn lines_are_written_as_they_are_told_however_they_came() {
        let mut block = HeaderBlock::default();
        for (name, value) in [
            ("host", "a"),
            ("te", "x"),
            ("x-a", ""),
            ("date", "1"),
            ("via", "v"),
            ("accept", "longer"),
            ("x-b", "b"),
        ] {
            block.append_name(name.as_bytes(), value.as_bytes());
        }
        block.set(Known::Te, b"y");
        block.set(Known::Date, b"longer");
        block.set(Known::Accept, b"s");
        block.remove(Known::Host);
        block.append(Known::Server, b"s");
        let mut out = b"start\r\n".to_vec();
        block.write_lines(&mut out);
        let expected = "start\r\nte: y\r\nx-a: \r\ndate: longer\r\nvia: v\r\naccept: s\r\n\
            x-b: b\r\nserver: s\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        block.clear();
        assert!(block.is_empty() && block.get(Known::Te).is_none());
        let mut out = Vec::new();
        block.write_lines(&mut out);
        assert!(out.is_empty());
    }

    #[test]
    fn a_header_that_was_removed_can_be_set_again() {
        let mut block = HeaderBlock::default();
        block.append(Known::Server, b"theirs");
        block.append(Known::Server, b"again");
        block.remove(Known::Server);
        assert!(!block.has(Known::Server));
        block.set(Known::Server, b"ours");
        assert_eq!(block.get_all(Known::Server).collect::<Vec<_>>(), [b"ours"]);
        assert_eq!(block.len(), 1);
    }
}
