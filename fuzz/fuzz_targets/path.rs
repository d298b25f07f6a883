//! Any bytes are a path or are refused: what comes out is a fixed point, begins with a slash, does not climb,
//! and has the query that went in.
#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use understudy::path::{EscapedSlashes, Outcome, Rules, apply};

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, target)) = bytes.split_first() else { return };
    let escaped_slashes = match kind & 3 {
        0 => EscapedSlashes::Keep,
        1 => EscapedSlashes::Refuse,
        2 => EscapedSlashes::Redirect,
        _ => EscapedSlashes::Forward,
    };
    let rules = Rules { escaped_slashes, normalize: kind & 4 != 0, merge_slashes: kind & 8 != 0 };
    let out = match apply(target, &rules) {
        Outcome::Refused => return,
        Outcome::Redirect(out) => {
            assert_eq!(escaped_slashes, EscapedSlashes::Redirect);
            out
        }
        Outcome::Target(out) => out.into_owned(),
    };
    // Whoever goes over it again, or is sent there, finds the same.
    assert_eq!(apply(&out, &rules), Outcome::Target(Cow::Borrowed(&out[..])));
    let (before, query_before) = split(target);
    let (path, query) = split(&out);
    assert_eq!(query, query_before);
    if rules.normalize {
        is_plain(path);
    }
    if rules.merge_slashes && before.iter().any(|byte| *byte != b'/') {
        let slashes = path.windows(2).any(|pair| pair == b"//");
        assert!(!slashes || path.iter().all(|byte| *byte == b'/'));
    }
    if escaped_slashes != EscapedSlashes::Keep {
        let lower = path.to_ascii_lowercase();
        let escape = |text: &[u8]| lower.windows(3).any(|three| three == text);
        assert!(!escape(b"%2f") && !escape(b"%5c"));
    }
});

fn split(target: &[u8]) -> (&[u8], &[u8]) {
    let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    target.split_at(end)
}

/// Nothing of it means another place to whoever reads it, also who undoes its escapes once more.
fn is_plain(path: &[u8]) {
    assert_eq!(path.first(), Some(&b'/'));
    assert!(path.iter().all(u8::is_ascii_graphic));
    assert!(!path.contains(&b'\\'));
    for segment in path.split(|byte| *byte == b'/') {
        let unescaped = unescaped(segment);
        assert!(unescaped != b"." && unescaped != b"..", "{:?}", String::from_utf8_lossy(path));
        assert!(!unescaped.contains(&0));
    }
}

fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let [first, rest @ ..] = text {
        let digits = rest.get(..2).filter(|two| two.iter().all(u8::is_ascii_hexdigit));
        let digits =
            digits.filter(|_| *first == b'%').and_then(|two| std::str::from_utf8(two).ok());
        match digits.and_then(|two| u8::from_str_radix(two, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                text = &rest[2..];
            }
            None => {
                out.push(*first);
                text = rest;
            }
        }
    }
    out
}
