//! Whatever the h2 crate lets pass: no panic, and what we make of it for an HTTP/1 host is one head that is read
//! there as it was meant, no more and no less.
//!
//! The input is lines: method, `:authority` (or nothing), `:path`, then fields as `name:value`.
#![no_main]

use http::{HeaderName, HeaderValue, uri};
use libfuzzer_sys::fuzz_target;
use understudy::{
    admission,
    codec::{
        RequestHead, ResponseHead, Version,
        http1::{
            self, Limits,
            request::{Accepts, parse},
            write::{self, BodyHeader, NameCase},
        },
        http2,
    },
};

const LIMITS: Limits = Limits::new(1 << 20, 4096);

const PLAIN: Accepts = Accepts { http_10: false, absolute_form: true };

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let (method, authority, path) = (line(), line(), line());
    let Some(fields) = fields(lines) else { return };
    if let Some(parts) = request_parts(method, authority, path, &fields) {
        a_request_is_one_request(&parts);
    }
    if let Ok(status) = http::StatusCode::from_bytes(method) {
        a_response_is_one_response(status, &fields);
    }
});

/// Fields as the h2 crate reads them; it refuses those that speak of the connection.
fn fields<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Option<http::HeaderMap> {
    let mut map = http::HeaderMap::new();
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_lowercase(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(&line[colon + 1..]).ok()?;
        let refused = match name.as_str() {
            "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection" => {
                true
            }
            "te" => value != "trailers",
            "content-length" => value.to_str().ok().is_none_or(|text| {
                text.is_empty() || text.len() > 18 || !text.bytes().all(|b| b.is_ascii_digit())
            }),
            _ => false,
        };
        if refused {
            return None;
        }
        map.append(name, value);
    }
    Some(map)
}

fn request_parts(
    method: &[u8],
    authority: &[u8],
    path: &[u8],
    fields: &http::HeaderMap,
) -> Option<http::request::Parts> {
    let mut target = uri::Parts::default();
    if !authority.is_empty() {
        target.authority = Some(uri::Authority::try_from(authority).ok()?);
        target.scheme = Some(uri::Scheme::HTTP);
    }
    target.path_and_query = Some(uri::PathAndQuery::try_from(path).ok()?);
    let mut request = http::Request::new(());
    *request.uri_mut() = http::Uri::from_parts(target).ok()?;
    *request.method_mut() = http::Method::from_bytes(method).ok()?;
    *request.headers_mut() = fields.clone();
    Some(request.into_parts().0)
}

fn a_request_is_one_request(parts: &http::request::Parts) {
    let mut head = RequestHead::default();
    if http2::read_request(parts, &mut head).is_err() || admission::check(&head).is_err() {
        return;
    }
    assert!(http2::field_count(parts) >= head.headers.len());
    if !head.path().is_ascii() {
        // Envoy 1.40 passes such a path on as it is, and so do we: to an HTTP/1 host it is a bad one, but one.
        assert!(head.path().iter().all(|byte| *byte > b' ' && *byte != 0x7f));
        return;
    }
    let (mut wire, mut again) = (Vec::new(), RequestHead::default());
    write::request(&mut wire, &head, BodyHeader::AsIs, NameCase::Lower, false);
    let back = parse(&wire, &LIMITS, PLAIN, &mut again);
    let back = back.expect("a request").expect("all of it");
    assert_eq!(back.consumed, wire.len());
    assert_eq!((again.method, again.path()), (head.method, head.path()));
    assert_eq!(again.authority(), head.authority());
    assert!(again.headers.iter().eq(head.headers.iter()));
    // And for an HTTP/2 host.
    if let Ok(request) = http2::write_request(&head) {
        let (parts, ()) = request.into_parts();
        let mut again = RequestHead::default();
        http2::read_request(&parts, &mut again).expect("what we say we understand");
        assert_eq!((again.method, again.path()), (head.method, head.path()));
        assert_eq!(again.authority(), head.authority());
    }
}

fn a_response_is_one_response(status: http::StatusCode, fields: &http::HeaderMap) {
    let mut response = http::Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = fields.clone();
    let (parts, ()) = response.into_parts();
    let mut head = ResponseHead::default();
    // Informational ones are not passed on.
    if http2::read_response(&parts, &mut head).is_err() || head.status < 200 {
        return;
    }
    let (mut wire, mut again) = (Vec::new(), ResponseHead::default());
    write::response(&mut wire, &head, Version::Http11, BodyHeader::AsIs, NameCase::Lower);
    match http1::response::parse(&wire, &LIMITS, http1::response::Asked::Head, &mut again) {
        Ok(back) => assert_eq!(back.map(|back| back.consumed), Some(wire.len())),
        // A length where there can be no body.
        Err(_) => assert_eq!(head.status, 204),
    }
    assert!(http2::write_response(&head).is_ok());
}
