//! A host is one host: in `host`, in an absolute target and in `:authority` the same texts are taken, none that
//! could be read in two ways, and the next one behind us reads the same host.
#![no_main]

use libfuzzer_sys::fuzz_target;
use understudy::codec::{
    RequestHead,
    http1::{
        Limits,
        request::{Accepts, parse},
    },
    http2,
};

const LIMITS: Limits = Limits::new(64 * 1024, 8);

const ALL: Accepts = Accepts { http_10: true, absolute_form: true };

fuzz_target!(|text: &[u8]| {
    // Other bytes than these end the line or part its words.
    if !text.iter().all(|byte| *byte > b' ' && *byte != 0x7f) || text.len() > 4096 {
        return;
    }
    let in_host = by_host(text);
    if let Some(head) = &in_host {
        is_one_host(text);
        assert_eq!(head.authority(), text);
    }
    assert_eq!(in_host.is_some(), by_host_of_http2(text), "both codecs take the same");
    if let Some(head) = by_target(text) {
        assert!(in_host.is_some() || text.contains(&b'/') || text.contains(&b'?'));
        is_one_host(head.authority());
        assert!(text.starts_with(head.authority()));
    }
    if let Some(head) = by_authority_of_http2(text) {
        is_one_host(head.authority());
        assert!(in_host.is_some());
    }
});

fn read(request: &[u8]) -> Option<RequestHead> {
    let mut head = RequestHead::default();
    let parsed = parse(request, &LIMITS, ALL, &mut head).ok()??;
    assert_eq!(parsed.consumed, request.len());
    Some(head)
}

fn by_host(text: &[u8]) -> Option<RequestHead> {
    read(&[b"GET / HTTP/1.1\r\nhost: ", text, b"\r\n\r\n"].concat())
}

fn by_target(text: &[u8]) -> Option<RequestHead> {
    read(&[b"GET http://", text, b" HTTP/1.1\r\n\r\n"].concat())
}

fn by_host_of_http2(text: &[u8]) -> bool {
    let Ok(value) = http::HeaderValue::from_bytes(text) else { return false };
    let request = http::Request::get("/x").header("host", value).body(());
    let (parts, ()) = request.expect("a request").into_parts();
    http2::read_request(&parts, &mut RequestHead::default()).is_ok()
}

/// As the h2 crate hands it on.
fn by_authority_of_http2(text: &[u8]) -> Option<RequestHead> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(http::uri::Scheme::HTTP);
    uri.authority = Some(http::uri::Authority::try_from(text).ok()?);
    uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/x"));
    let uri = http::Uri::from_parts(uri).ok()?;
    let (parts, ()) = http::Request::get(uri).body(()).expect("a request").into_parts();
    let mut head = RequestHead::default();
    http2::read_request(&parts, &mut head).ok()?;
    assert_eq!(head.authority(), text);
    Some(head)
}

/// RFC 9110, 7.2: a host and at most one port.
fn is_one_host(text: &[u8]) {
    assert!(!text.iter().any(|byte| b"@/\\?#\"<>^`{|}".contains(byte) || !byte.is_ascii()));
    let after = match text {
        [b'[', ..] => {
            let end = text.iter().position(|byte| *byte == b']').expect("a closing bracket");
            &text[end + 1..]
        }
        _ => &text[text.iter().position(|byte| *byte == b':').unwrap_or(text.len())..],
    };
    let port = after.strip_prefix(b":").unwrap_or(after);
    assert!(port.iter().all(u8::is_ascii_digit));
}
