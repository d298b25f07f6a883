//! Whatever a client sends: no panic, the same head however much of it comes at once, the same head that
//! httparse reads, and what we write of it reads the same again.
#![no_main]

mod fields;

use fields::{is_folded, joined};
use libfuzzer_sys::fuzz_target;
use understudy::codec::{
    Method, RequestHead,
    http1::{
        Limits,
        request::{Accepts, Parsed, RequestError, parse},
        write::{BodyHeader, NameCase, request},
    },
};

const LIMITS: Limits = Limits::new(4096, 32);

const ALL: Accepts = Accepts { http_10: true, absolute_form: true };

type Outcome = Result<Option<Parsed>, RequestError>;

fuzz_target!(|bytes: &[u8]| {
    let mut head = RequestHead::default();
    let whole = parse(bytes, &LIMITS, ALL, &mut head);
    comes_in_pieces(bytes, &whole);
    agrees_with_httparse(bytes, &whole, &head);
    if let Ok(Some(parsed)) = &whole {
        assert!(parsed.consumed <= bytes.len());
        is_written_as_it_reads(parsed, &head);
    }
});

/// The first outcome of a part is the outcome of all of it.
fn comes_in_pieces(bytes: &[u8], whole: &Outcome) {
    let mut head = RequestHead::default();
    let step = bytes.len() / 96 + 1;
    let cuts = (0..bytes.len()).step_by(step);
    let early = cuts.map(|cut| parse(&bytes[..cut], &LIMITS, ALL, &mut head));
    match early.into_iter().find(|part| *part != Ok(None)) {
        None => {}
        // What is wrong may be told by a better name once more of it is here.
        Some(Err(early)) => assert_eq!(whole.as_ref().map_err(|e| e.status), Err(early.status)),
        Some(early) => assert_eq!(early, *whole),
    }
}

/// A first line in the one form that httparse reads.
fn is_usual_line(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let words: Vec<_> = line.split(|byte| *byte == b' ').collect();
    matches!(words[..], [method, target, b"HTTP/1.0" | b"HTTP/1.1"]
        if method.iter().all(u8::is_ascii_uppercase) && !target.is_empty())
        && !line.contains(&b'\t')
}

fn agrees_with_httparse(bytes: &[u8], ours: &Outcome, head: &RequestHead) {
    let mut space = [httparse::EMPTY_HEADER; 64];
    let mut theirs = httparse::Request::new(&mut space);
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
    assert_eq!(theirs.method, Some(head.method.as_str()));
    let target = theirs.path.unwrap_or_default().as_bytes();
    match (head.method, target) {
        (Method::Connect, _) => assert_eq!(target, head.authority()),
        (_, [b'/' | b'*', ..]) => assert_eq!(target, head.path()),
        _ => assert!(target.ends_with(head.path()) || head.path() == b"/"),
    }
    let fields = theirs.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    let fields = fields.filter(|(name, _)| !name.eq_ignore_ascii_case(b"host"));
    assert_eq!(joined(head.headers.iter()), joined(fields));
}

/// What goes to a host is read there as we read it.
fn is_written_as_it_reads(parsed: &Parsed, head: &RequestHead) {
    if !head.has_authority() || head.path().first() != Some(&b'/') {
        return;
    }
    let (mut wire, mut again) = (Vec::new(), RequestHead::default());
    request(&mut wire, head, BodyHeader::AsIs, NameCase::Lower, false);
    let roomy = Limits { head_bytes_max: 64 * 1024, ..LIMITS };
    let back = parse(&wire, &Limits { headers_max: 64, ..roomy }, ALL, &mut again);
    let back = back.expect("what is written is a request").expect("all of it");
    assert_eq!((back.consumed, back.framing), (wire.len(), parsed.framing));
    assert_eq!((again.method, again.path()), (head.method, head.path()));
    assert_eq!(again.authority(), head.authority());
    assert!(again.headers.iter().eq(head.headers.iter()));
}
