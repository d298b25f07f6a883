//! Owns making one path of the many ways to write it: dot segments, escapes, slashes.
//!
//! Every rule was observed on Envoy 1.40 (`normalize_path`, `merge_slashes` and
//! `path_with_escaped_slashes_action` of its connection manager). What comes out is a fixed point: nobody
//! behind us who goes over it again finds another path.

use std::borrow::Cow;

/// What is done to a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// `path_with_escaped_slashes_action`; done first.
    pub escaped_slashes: EscapedSlashes,
    /// `normalize_path`: dot segments, `\` and needless escapes.
    pub normalize: bool,
    /// `merge_slashes`; done last.
    pub merge_slashes: bool,
}

/// What is done about `%2F` and `%5C`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EscapedSlashes {
    /// They stay.
    #[default]
    Keep,
    /// The request is refused.
    Refuse,
    /// They are slashes, and the client is sent there.
    Redirect,
    /// They are slashes.
    Forward,
}

/// What a target turns out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// This one.
    Target(Cow<'a, [u8]>),
    /// This one, and the client is to ask for it.
    Redirect(Vec<u8>),
    /// None that is taken.
    Refused,
}

/// Applies `rules` to a path with its query, which stays as it is. Reads any bytes.
pub fn apply<'a>(target: &'a [u8], rules: &Rules) -> Outcome<'a> {
    let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = target.split_at(end);
    let mut now = Cow::Borrowed(path);
    let slashes = rules.escaped_slashes;
    let escaped = slashes != EscapedSlashes::Keep && has_escaped_slash(path);
    if escaped {
        if slashes == EscapedSlashes::Refuse {
            return Outcome::Refused;
        }
        now = Cow::Owned(slashes_unescaped(path));
    }
    if rules.normalize {
        match normalized(&now) {
            Some(path) => now = Cow::Owned(path),
            None => return Outcome::Refused,
        }
    }
    if rules.merge_slashes && now.windows(2).any(|pair| pair == b"//") {
        now = Cow::Owned(slashes_merged(&now));
    }
    if *now == *path {
        return Outcome::Target(Cow::Borrowed(target));
    }
    let whole = [&now, query].concat();
    match escaped && slashes == EscapedSlashes::Redirect {
        true => Outcome::Redirect(whole),
        false => Outcome::Target(Cow::Owned(whole)),
    }
}

/// The byte that `%XX` at the front of `text` stands for.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

fn has_escaped_slash(path: &[u8]) -> bool {
    (0..path.len()).any(|at| matches!(escape(&path[at..]), Some(b'/' | b'\\')))
}

fn slashes_unescaped(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        match escape(rest) {
            Some(slash @ (b'/' | b'\\')) => {
                out.push(slash);
                rest = rest.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// `None` for a path that holds a NUL.
fn normalized(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len() + 1);
    if !matches!(path, [b'/' | b'\\', ..]) {
        out.push(b'/');
    }
    let mut rest = path;
    while let [first, ..] = rest {
        if let Some(length) = dot(rest) {
            rest = rest.get(length..).unwrap_or_default();
            match segment_after_dot(rest).filter(|_| out.last() == Some(&b'/')) {
                Some(segment) => {
                    if segment.up {
                        leave_segment(&mut out);
                    }
                    rest = rest.get(segment.length..).unwrap_or_default();
                }
                None => out.push(b'.'),
            }
            continue;
        }
        let escape = escape(rest);
        let (taken, left) = rest.split_at(if escape.is_some() { 3 } else { 1 });
        rest = left;
        match (first, escape) {
            (_, Some(0)) | (0, _) => return None,
            (_, Some(byte)) if is_plain(byte) && !completes_escape(&out, byte) => out.push(byte),
            (_, Some(_)) => out.extend_from_slice(taken),
            (b'\\', None) => out.push(b'/'),
            (byte, None) if must_be_escaped(*byte) => push_escaped(&mut out, *byte),
            (byte, None) => out.push(*byte),
        }
    }
    Some(out)
}

/// A segment `.` or `..`, without its first dot.
struct DotSegment {
    /// Bytes that are left of it, a slash behind it included.
    length: usize,
    up: bool,
}

/// What stands after a dot that begins a segment, if the segment is a dot segment.
fn segment_after_dot(rest: &[u8]) -> Option<DotSegment> {
    let end = |rest: &[u8]| match rest {
        [] => Some(0),
        [b'/' | b'\\', ..] => Some(1),
        _ => None,
    };
    if let Some(slash) = end(rest) {
        return Some(DotSegment { length: slash, up: false });
    }
    let second = dot(rest)?;
    let slash = end(rest.get(second..).unwrap_or_default())?;
    Some(DotSegment { length: second + slash, up: true })
}

/// The length of the dot at the front, plain or escaped.
fn dot(text: &[u8]) -> Option<usize> {
    match text {
        [b'.', ..] => Some(1),
        [b'%', b'2', b'e' | b'E', ..] => Some(3),
        _ => None,
    }
}

/// Takes the last segment away; above the root there is nothing.
fn leave_segment(out: &mut Vec<u8>) {
    out.pop();
    let slash = out.iter().rposition(|byte| *byte == b'/');
    out.truncate(slash.unwrap_or(0));
    out.push(b'/');
}

/// Bytes that need no escape (RFC 3986, 2.3).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Whether the byte would make an escape of a stray `%` before it: `%%32e` would be `%2e`, and a dot to
/// whoever decodes next. Envoy lets it.
fn completes_escape(out: &[u8], byte: u8) -> bool {
    let open = match out {
        [.., b'%'] => true,
        [.., b'%', digit] => digit.is_ascii_hexdigit(),
        _ => false,
    };
    open && byte.is_ascii_hexdigit()
}

fn must_be_escaped(byte: u8) -> bool {
    !byte.is_ascii_graphic() || b"\"#<>^`{|}".contains(&byte)
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    out.extend([b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
}

/// One slash for each run of them, but two for a path of nothing else. Observed: Envoy 1.40.
fn slashes_merged(path: &[u8]) -> Vec<u8> {
    let segments = path.split(|byte| *byte == b'/').filter(|segment| !segment.is_empty());
    let joined = segments.collect::<Vec<_>>().join(&b'/');
    let slash = |is: bool| if is { &b"/"[..] } else { b"" };
    [slash(path.starts_with(b"/")), &joined, slash(path.ends_with(b"/"))].concat()
}

#[cfg(test)]
mod tests;
