//! Owns reading header lines: into a block, names in lower case, folded lines joined.
//!
//! The lines are copied once and then read where they stand. httparse does the same work for about
//! three times the instructions; the tests hold this reader against it.

use crate::codec::{
    HeaderBlock, Known, KnownSet,
    block::{Entry, Span},
    scan::{NAME, WIDTH, controlless_run, lower_plain, text_run},
};

/// Bytes that are copied at first. Heads are mostly shorter, and what follows them is a body that need
/// not be copied.
const FIRST_COPY_BYTES: usize = 2 * 1024;

/// Why header lines could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldsError {
    /// Not header lines.
    Malformed,
    /// More lines than allowed.
    TooMany,
}

/// How far the lines at hand reach.
enum Found {
    /// To the empty line: where what follows begins.
    End(usize),
    /// Not to the empty line yet.
    More,
    /// To a line that goes on in the next one (RFC 9112, 5.2).
    Fold,
}

/// Reads header lines up to the empty line that ends them; gives back how many bytes they took, or
/// `None` if not all of them are here.
///
/// A line may end with a bare LF (RFC 9112, 2.2), but a CR is nothing but a part of a line's end.
pub(super) fn read(
    input: &[u8],
    headers_max: usize,
    block: &mut HeaderBlock,
) -> Result<Option<usize>, FieldsError> {
    let mut copied = input.len().min(FIRST_COPY_BYTES);
    loop {
        block.clear();
        block.bytes.extend_from_slice(input.get(..copied).unwrap_or_default());
        match read_copied(block, headers_max)? {
            Found::End(next) => return Ok(Some(next)),
            Found::More if copied == input.len() => return Ok(None),
            Found::More => copied = (copied * 8).min(input.len()),
            Found::Fold => return read_folded(input, headers_max, block),
        }
    }
}

/// Reads the lines in the block's buffer into its entries. Leaves nothing behind the last line, so that
/// what is appended later stands right behind it.
fn read_copied(block: &mut HeaderBlock, headers_max: usize) -> Result<Found, FieldsError> {
    let here = block.bytes.len();
    // No run of anything goes on over zeros: the loops below need not look for the end of the buffer.
    block.bytes.extend_from_slice(&[0; WIDTH]);
    let HeaderBlock { bytes, entries, index } = block;
    let mut at = 0;
    loop {
        let rest = bytes.get_mut(at..).unwrap_or_default();
        if let [b'\r', b'\n', ..] = rest {
            bytes.truncate(at);
            return Ok(Found::End(at + 2));
        }
        let line = match usual_line(rest) {
            Some(line) => line,
            None => match any_line(rest, here - at)? {
                Read::Line(line) => line,
                Read::End => {
                    bytes.truncate(at);
                    return Ok(Found::End(at + 1));
                }
                Read::More => return Ok(Found::More),
                Read::Fold => return Ok(Found::Fold),
            },
        };
        if entries.len() >= headers_max {
            // The next byte may say that the line goes on: then all lines are counted once they are here.
            let may_fold = at + line.next >= here;
            return if may_fold { Ok(Found::More) } else { Err(FieldsError::TooMany) };
        }
        let name = rest.get(..line.colon).unwrap_or_default();
        let known = Known::of(name);
        if known == Known::Other {
            index.see_other(name);
        }
        index.enter(known, entries.len());
        entries.push(Entry {
            known,
            removed: false,
            whole: line.whole,
            name: Span::new(at, at + line.colon),
            value: Span::new(at + line.start, at + line.end),
        });
        at += line.next;
    }
}

/// Where the parts of a line stand.
struct Line {
    colon: usize,
    start: usize,
    end: usize,
    next: usize,
    /// It stands there as we would write it.
    whole: bool,
}

/// What stands at the front of the lines.
enum Read {
    Line(Line),
    /// The empty line, ended by a bare LF.
    End,
    /// Nothing that can be told yet.
    More,
    /// A line that goes on in the next one.
    Fold,
}

/// Reads a line as nearly everybody writes it; the name is in lower case then. `None` for any other,
/// and for what is no line.
#[inline]
fn usual_line(rest: &mut [u8]) -> Option<Line> {
    let mut colon = 0;
    loop {
        let chunk = rest.get_mut(colon..)?.first_chunk_mut::<WIDTH>()?;
        let run = lower_plain(chunk);
        colon += run;
        if run < WIDTH {
            break;
        }
    }
    let [b':', b' ', first, ..] = rest.get(colon..)? else { return None };
    let start = colon + 2;
    let stop = start + controlless_run(rest.get(start..)?);
    let [last, b'\r', b'\n', after, ..] = rest.get(stop - 1..)? else { return None };
    let trimmed = *first > b' ' && *last > b' ';
    let folded = matches!(after, b' ' | b'\t');
    let usual = colon > 0 && trimmed && !folded;
    usual.then_some(Line { colon, start, end: stop, next: stop + 2, whole: true })
}

/// Reads any line there can be. `here` is how much there is before the zeros.
#[cold]
fn any_line(rest: &mut [u8], here: usize) -> Result<Read, FieldsError> {
    // A byte that does not fit is not here yet if it is beyond what is.
    let broken = |at: usize| if at >= here { Ok(Read::More) } else { Err(FieldsError::Malformed) };
    let colon = lower_token(rest);
    match (byte(rest, colon), byte(rest, colon + 1)) {
        (b':', _) if colon > 0 => {}
        (b'\n', _) if colon == 0 => return Ok(Read::End),
        (b'\r', _) if colon == 0 => return broken(1),
        _ => return broken(colon),
    }
    let mut start = colon + 1;
    while let b' ' | b'\t' = byte(rest, start) {
        start += 1;
    }
    let stop = start + text_run(rest.get(start..).unwrap_or_default());
    let next = match (byte(rest, stop), byte(rest, stop + 1)) {
        (b'\r', b'\n') => stop + 2,
        (b'\n', _) => stop + 1,
        (b'\r', _) => return broken(stop + 1),
        _ => return broken(stop),
    };
    if let b' ' | b'\t' = byte(rest, next) {
        return Ok(Read::Fold);
    }
    let mut end = stop;
    while end > start && matches!(byte(rest, end - 1), b' ' | b'\t') {
        end -= 1;
    }
    // One space before the value, none behind it, and the full line end.
    let whole = start == colon + 2 && byte(rest, colon + 1) == b' ' && next == end + 2;
    Ok(Read::Line(Line { colon, start, end, next, whole: whole && byte(rest, end) == b'\r' }))
}

#[inline]
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Turns the name at the front into lower case; gives back its length.
fn lower_token(bytes: &mut [u8]) -> usize {
    let mut length = 0;
    for byte in bytes {
        let lower = NAME[usize::from(*byte)];
        if lower == 0 {
            break;
        }
        *byte = lower;
        length += 1;
    }
    length
}

/// Reads lines of which some are folded, once all of them are here. The line end before a fold goes,
/// the fold's own white space stays. Observed: Envoy 1.40 makes `a  b` of `a CRLF SP SP b`.
fn read_folded(
    input: &[u8],
    headers_max: usize,
    block: &mut HeaderBlock,
) -> Result<Option<usize>, FieldsError> {
    let Some(end) = end_of_head(input) else {
        block.clear();
        return Ok(None);
    };
    block.clear();
    let mut rest = input.get(..end).unwrap_or_default();
    while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(at + 1);
        let folded = matches!(after.first(), Some(b' ' | b'\t'));
        block.bytes.extend_from_slice(if folded { without_end(line) } else { line });
        rest = after;
    }
    match read_copied(block, headers_max)? {
        Found::End(_) => Ok(Some(end)),
        Found::More | Found::Fold => Err(FieldsError::Malformed),
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The end of the header lines in `input`, the empty line included.
pub(super) fn end_of_head(input: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = input.get(from..)?.iter().position(|byte| *byte == b'\n') {
        let line = from + at + 1;
        match input.get(line..) {
            Some([b'\n', ..]) => return Some(line + 1),
            Some([b'\r', b'\n', ..]) => return Some(line + 2),
            _ => from = line,
        }
    }
    None
}

/// Whether there is a byte that no head may have: a control that is neither tab nor line end, or DEL.
pub(super) fn has_controls(head: &[u8]) -> bool {
    head.iter().any(|byte| match byte {
        b'\t' | b'\r' | b'\n' => false,
        byte => byte.is_ascii_control(),
    })
}

/// Reads a chunked body's trailers like [`read`], without what has no place in them.
pub(super) fn read_trailers(
    input: &[u8],
    headers_max: usize,
    block: &mut HeaderBlock,
) -> Result<Option<usize>, FieldsError> {
    let read = read(input, headers_max, block)?;
    block.remove_all(KnownSet::NEVER_IN_TRAILERS);
    Ok(read)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// How much was read, and the names and values.
    type Lines = (usize, Vec<(String, String)>);

    fn lines(text: &[u8]) -> Result<Option<Lines>, FieldsError> {
        let mut block = HeaderBlock::default();
        let text_of = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        read(text, 100, &mut block).map(|read| {
            let pairs = || block.iter().map(|(n, v)| (text_of(n), text_of(v))).collect();
            read.map(|consumed| (consumed, pairs()))
        })
    }

    fn written(text: &[u8]) -> Vec<u8> {
        let (mut block, mut out) = (HeaderBlock::default(), Vec::new());
        read(text, 100, &mut block).unwrap().unwrap();
        block.write_lines(&mut out);
        out
    }

    #[test]
    fn folds_are_joined_without_their_line_ends() {
        for (text, value) in [
            ("x: a\r\n  b\r\n\r\n", "a  b"),
            ("x: a\r\n\tb\r\n\r\n", "a\tb"),
            ("x: a \r\n b\r\n\r\n", "a  b"),
            ("x: a\r\n b\r\n  c\r\n\r\n", "a b  c"),
            ("x:\r\n b\r\n\r\n", "b"),
            ("x: a\r\n \r\n b\r\n\r\n", "a  b"),
            ("x: a\n b\r\n\n", "a b"),
            ("x: a\r\n \r\n\r\n", "a"),
        ] {
            let (consumed, pairs) = lines(text.as_bytes()).unwrap().unwrap();
            assert_eq!((consumed, pairs[0].1.as_str()), (text.len(), value), "{text:?}");
        }
        for bad in [" x: a\r\n\r\n", "\tx: a\r\n\r\n", "x: a\r b\r\n\r\n", "x: a\r\n b\0\r\n\r\n"] {
            assert_eq!(lines(bad.as_bytes()), Err(FieldsError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn lines_are_written_in_one_form_however_they_were_sent() {
        let sent =
            b"Host: a\r\nX-Tight:b\r\nX-Wide:   c\t \r\nX-Bare: d\nX-Empty:\r\nX-Space: \r\n\r\n";
        let expected =
            "host: a\r\nx-tight: b\r\nx-wide: c\r\nx-bare: d\r\nx-empty: \r\nx-space: \r\n";
        assert_eq!(String::from_utf8(written(sent)).unwrap(), expected);
    }

    #[test]
    fn a_head_may_be_longer_than_the_first_copy() {
        let value = "v".repeat(3 * FIRST_COPY_BYTES);
        let text = format!("x-one: {value}\r\nx-two: 2\r\n\r\nbody");
        let (consumed, pairs) = lines(text.as_bytes()).unwrap().unwrap();
        assert_eq!((consumed, pairs.len()), (text.len() - 4, 2));
        assert_eq!(pairs[0].1, value);
        assert_eq!(lines(&text.as_bytes()[..text.len() - 5]), Ok(None));
    }

    #[test]
    fn trailers_cannot_speak_of_the_message_or_the_connection() {
        let mut block = HeaderBlock::default();
        let text =
            b"content-length: 3\r\nX-Sum: 1\r\nHost: b\r\ntransfer-encoding: chunked\r\n\r\n";
        assert_eq!(read_trailers(text, 100, &mut block), Ok(Some(text.len())));
        assert_eq!(block.iter().collect::<Vec<_>>(), [(&b"x-sum"[..], &b"1"[..])]);
    }

    fn header_like() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[a-zA-Z-]{1,9}: [ -~]{0,20}\r\n".prop_map(String::into_bytes),
            1 => "[!-~]{0,4}:[ \t]{0,2}[a-z ]{0,9}[ \t]{0,2}\r?\n".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..6),
        ];
        (prop::collection::vec(piece, 0..6), prop_oneof![Just("\r\n"), Just("\n"), Just("")])
            .prop_map(|(pieces, end)| [pieces.concat(), end.as_bytes().to_vec()].concat())
    }

    proptest! {
        #[test]
        fn what_httparse_reads_we_read_the_same(text in header_like()) {
            let mut space = [httparse::EMPTY_HEADER; 100];
            let theirs = match httparse::parse_headers(&text, &mut space) {
                Ok(httparse::Status::Complete((consumed, headers))) => Ok(Some((consumed, headers
                    .iter()
                    .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
                    .collect::<Vec<_>>()))),
                Ok(httparse::Status::Partial) => Ok(None),
                Err(_) => Err(()),
            };
            // Folded lines are ours alone.
            let folded = text.windows(2).any(|pair| matches!(pair, b"\n " | b"\n\t"));
            prop_assume!(!folded);
            prop_assert_eq!(lines(&text).map_err(|_| ()), theirs);
        }

        #[test]
        fn a_part_of_good_lines_is_never_an_error(text in header_like()) {
            if let Ok(Some((consumed, _))) = lines(&text) {
                for cut in 0..consumed {
                    prop_assert_eq!(lines(&text[..cut]), Ok(None));
                }
                let once = written(&text);
                let twice = written(&[&once[..], b"\r\n"].concat());
                prop_assert_eq!(once, twice);
            }
        }
    }
}
