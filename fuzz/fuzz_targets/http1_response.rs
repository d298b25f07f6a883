//! Whatever a host sends: no panic, the same head however much of it comes at once, the same head that
//! httparse reads, and what we write of it reads the same again.
#![no_main]

mod fields;

use fields::{is_folded, joined};
use libfuzzer_sys::fuzz_target;
use understudy::codec::{
    ResponseHead, Version,
    http1::{
        Limits,
        response::{Asked, Parsed, ResponseError, parse},
        write::{BodyHeader, NameCase, response},
    },
};

const LIMITS: Limits = Limits::new(4096, 32);

type Outcome = Result<Option<Parsed>, ResponseError>;

fuzz_target!(|bytes: &[u8]| {
    let mut head = ResponseHead::default();
    for asked in [Asked::Plain, Asked::Head, Asked::Upgrade, Asked::Connect] {
        let whole = parse(bytes, &LIMITS, asked, &mut head);
        comes_in_pieces(bytes, asked, &whole);
        agrees_with_httparse(bytes, &whole, &head);
        if let Ok(Some(parsed)) = &whole {
            assert!(parsed.consumed <= bytes.len() && head.status >= 100);
            is_written_as_it_reads(asked, parsed, &head);
        }
    }
});

/// The first outcome of a part is the outcome of all of it.
fn comes_in_pieces(bytes: &[u8], asked: Asked, whole: &Outcome) {
    let mut head = ResponseHead::default();
    let step = bytes.len() / 96 + 1;
    let cuts = (0..bytes.len()).step_by(step);
    let early = cuts.map(|cut| parse(&bytes[..cut], &LIMITS, asked, &mut head));
    if let Some(early) = early.into_iter().find(|part| *part != Ok(None)) {
        assert_eq!(early, *whole);
    }
}

/// A first line in the one form that httparse reads.
fn is_usual_line(bytes: &[u8]) -> bool {
    matches!(bytes, [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', rest @ ..]
        if matches!(rest, [b'0'..=b'9', b'0'..=b'9', b'0'..=b'9', b' ' | b'\r' | b'\n', ..]))
}

fn agrees_with_httparse(bytes: &[u8], ours: &Outcome, head: &ResponseHead) {
    let mut space = [httparse::EMPTY_HEADER; 64];
    let mut theirs = httparse::Response::new(&mut space);
    let status = theirs.parse(bytes);
    if matches!(status, Ok(httparse::Status::Complete(_))) {
        assert_ne!(*ours, Ok(None), "we wait for what is complete");
    }
    let Ok(Some(parsed)) = ours else { return };
    let text = &bytes[..parsed.consumed];
    if is_folded(text) || !is_usual_line(text) {
        return;
    }
    assert_eq!(status, Ok(httparse::Status::Complete(parsed.consumed)));
    assert_eq!(theirs.code, Some(head.status));
    let dropped = |name: &str| {
        matches!(head.status, 100..200 | 204) && name.eq_ignore_ascii_case("content-length")
    };
    let fields = theirs.headers.iter().filter(|field| !dropped(field.name));
    let fields = fields.map(|field| (field.name.as_bytes(), field.value));
    assert_eq!(joined(head.headers.iter()), joined(fields));
}

/// What goes to a client is read there as we read it.
fn is_written_as_it_reads(asked: Asked, parsed: &Parsed, head: &ResponseHead) {
    let (mut wire, mut again) = (Vec::new(), ResponseHead::default());
    response(&mut wire, head, Version::Http11, BodyHeader::AsIs, NameCase::Lower);
    let roomy = Limits::new(64 * 1024, 64);
    let back = parse(&wire, &roomy, asked, &mut again);
    let back = back.expect("what is written is a response").expect("all of it");
    assert_eq!((back.consumed, back.framing), (wire.len(), parsed.framing));
    assert_eq!(again.status, head.status);
    assert!(again.headers.iter().eq(head.headers.iter()));
}
