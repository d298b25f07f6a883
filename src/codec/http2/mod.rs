//! Owns the way between our heads and the h2 crate's, and the settings both sides announce.

mod frames;
mod switch;

use std::sync::LazyLock;

use bytes::Bytes;
use h2::ext::Protocol;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::{
    HeaderBlock, Known, KnownSet, Method, RequestHead, ResponseHead, Scheme, Switch, Version,
    http1::request::is_authority,
    joined::{IN_REQUESTS, IN_RESPONSES},
    says_upgrade,
    scan::NAME,
};
use crate::config::model::http::Http2Options;

pub use frames::{FrameHead, FrameScan};
pub use switch::agree_to_upgrade;

/// What an HTTP/2 connection begins with (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Streams that a peer may reset before we looked at them, and streams it makes us reset: beyond
/// these the connection ends (CVE-2023-44487 and its kin).
const RESETS_MAX: usize = 100;

/// A head that cannot be said in the other form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HeadError(pub &'static str);

/// Whether a connection begins as HTTP/2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// So far it might.
    Perhaps,
}

/// Compares the first bytes of a connection with [`PREFACE`].
pub fn preface(first: &[u8]) -> Preface {
    let known = first.len().min(PREFACE.len());
    match first[..known] == PREFACE[..known] {
        true if known == PREFACE.len() => Preface::Yes,
        true => Preface::Perhaps,
        false => Preface::No,
    }
}

/// Settings for connections to upstreams.
pub fn client(options: &Http2Options) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .header_table_size(options.hpack_table_bytes)
        .max_concurrent_reset_streams(RESETS_MAX)
        .max_header_list_size(60 * 1024);
    builder
}

/// Settings for connections of clients.
pub fn server(options: &Http2Options, head_bytes_max: usize) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(options.concurrent_streams_max)
        .initial_window_size(options.stream_window_bytes)
        .initial_connection_window_size(options.connection_window_bytes)
        .header_table_size(options.hpack_table_bytes)
        .max_concurrent_reset_streams(RESETS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(Some(1024))
        .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX));
    if options.allow_connect {
        builder.enable_connect_protocol();
    }
    builder
}

/// What the h2 crate lets pass and nobody behind us should have to read (RFC 9113, 8.2.1 and 8.3.1).
const MALFORMED: HeadError = HeadError("http2.violation.of.messaging.rule");

/// Reads a request's head.
///
/// # Errors
///
/// [`HeadError`] with the access log's details.
pub fn read_request(parts: &http::request::Parts, head: &mut RequestHead) -> Result<(), HeadError> {
    head.clear();
    head.version = Version::Http2;
    head.method =
        Method::parse(parts.method.as_str().as_bytes()).ok_or(HeadError("http2.unknown_method"))?;
    head.scheme = Scheme::parse(parts.uri.scheme_str().unwrap_or_default().as_bytes());
    if let Some(authority) = parts.uri.authority() {
        head.set_authority(authority.as_str().as_bytes());
    }
    if head.method == Method::Connect {
        head.switch = Switch::Connect;
    }
    match parts.uri.path_and_query() {
        Some(path) => head.set_path(path.as_str().as_bytes()),
        None if head.switch == Switch::Connect => {}
        None => head.set_path(b"/"),
    }
    read_fields(&parts.headers, &mut head.headers)?;
    // Without `:authority` the host says it.
    if head.headers.has(Known::Host) {
        if head.headers.is_repeated(Known::Host) {
            return Err(MALFORMED);
        }
        if !head.has_authority() {
            head.take_authority_from(Known::Host);
        }
        head.headers.remove(Known::Host);
    }
    if !is_authority(head.authority()) {
        return Err(HeadError("http.invalid_authority"));
    }
    head.headers.join_repeated(IN_REQUESTS);
    join_cookies(&mut head.headers);
    if let Some(protocol) = parts.extensions.get::<Protocol>() {
        switch::from_extended_connect(head, protocol.as_str().as_bytes());
    }
    Ok(())
}

/// How many fields a request's head has, pseudo header fields among them. Observed: Envoy 1.40 counts
/// them like this against `max_headers_count`.
pub fn field_count(parts: &http::request::Parts) -> usize {
    let uri = &parts.uri;
    let said = [uri.scheme().is_some(), uri.authority().is_some(), uri.path_and_query().is_some()];
    parts.headers.len() + 1 + said.into_iter().filter(|said| *said).count()
}

/// Reads a response's head.
///
/// # Errors
///
/// [`HeadError`] for fields that HTTP/1 could not carry, or not in one way.
pub fn read_response(
    parts: &http::response::Parts,
    head: &mut ResponseHead,
) -> Result<(), HeadError> {
    head.clear();
    head.status = parts.status.as_u16();
    read_fields(&parts.headers, &mut head.headers)?;
    head.headers.join_repeated(IN_RESPONSES);
    if head.status == 204 {
        // Here even a length of nothing is too much (RFC 9110, 8.6).
        head.headers.remove(Known::ContentLength);
    }
    Ok(())
}

/// Reads header fields; they are added to `block`.
///
/// # Errors
///
/// [`HeadError`] for fields that HTTP/1 could not carry, or not in one way: the h2 crate takes `"` in
/// names, white space around values and two lengths.
pub fn read_fields(map: &HeaderMap, block: &mut HeaderBlock) -> Result<(), HeadError> {
    block.reserve(
        map.len(),
        map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
    );
    for (name, value) in map {
        let (name, value) = (name.as_str().as_bytes(), value.as_bytes());
        let token = name.iter().all(|byte| NAME[usize::from(*byte)] == *byte);
        if !token || value.trim_ascii().len() != value.len() {
            return Err(MALFORMED);
        }
        block.append_name(name, value);
    }
    match block.get_all(Known::ContentLength).nth(1) {
        Some(_) => Err(MALFORMED),
        None => Ok(()),
    }
}

/// Reads trailers, without what has no place in them.
///
/// # Errors
///
/// [`HeadError`] as of [`read_fields`].
pub fn read_trailers(map: &HeaderMap, block: &mut HeaderBlock) -> Result<(), HeadError> {
    block.clear();
    read_fields(map, block)?;
    block.remove_all(KnownSet::NEVER_IN_TRAILERS);
    Ok(())
}

/// RFC 9113, 8.2.3: a cookie that was split for compression is one again. Observed: Envoy 1.40 puts it
/// last.
fn join_cookies(block: &mut HeaderBlock) {
    if block.has(Known::Cookie) {
        let joined = block.get_all(Known::Cookie).collect::<Vec<_>>().join(&b"; "[..]);
        block.remove(Known::Cookie);
        block.append(Known::Cookie, &joined);
    }
}

/// Says a request's head in the h2 crate's form.
///
/// # Errors
///
/// [`HeadError`] for a path, an authority or a header that HTTP/2 cannot carry.
pub fn write_request(head: &RequestHead) -> Result<http::Request<()>, HeadError> {
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(match head.scheme {
        Scheme::Https => http::uri::Scheme::HTTPS,
        Scheme::Http | Scheme::Unset => http::uri::Scheme::HTTP,
    });
    let authority = http::uri::Authority::try_from(head.authority());
    uri.authority = Some(authority.map_err(|_| HeadError("http2.invalid_authority"))?);
    // A CONNECT has none.
    let path = if head.path().is_empty() { b"/" } else { head.path() };
    let path = http::uri::PathAndQuery::try_from(path);
    uri.path_and_query = Some(path.map_err(|_| HeadError("http2.invalid_path"))?);
    let mut request = http::Request::new(());
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| HeadError("http2.invalid_path"))?;
    *request.method_mut() = http::Method::from_bytes(head.method.as_str().as_bytes())
        .map_err(|_| HeadError("http2.unknown_method"))?;
    *request.version_mut() = http::Version::HTTP_2;
    write_fields(&head.headers, request.headers_mut())?;
    switch::to_connect(head, &mut request)?;
    Ok(request)
}

/// Says a response's head in the h2 crate's form.
///
/// # Errors
///
/// [`HeadError`] for a header that HTTP/2 cannot carry.
pub fn write_response(head: &ResponseHead) -> Result<http::Response<()>, HeadError> {
    let mut response = http::Response::new(());
    let status = match head.status {
        101 if says_upgrade(&head.headers) => 200,
        101 => return Err(HeadError("http2.invalid_status")),
        status => status,
    };
    *response.status_mut() =
        http::StatusCode::from_u16(status).map_err(|_| HeadError("http2.invalid_status"))?;
    write_fields(&head.headers, response.headers_mut())?;
    Ok(response)
}

/// What speaks of the connection has no place in HTTP/2 (RFC 9113, 8.2.2).
const NEVER_IN_HTTP2: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Upgrade,
    Known::Http2Settings,
]);

/// Says header fields or trailers in the h2 crate's form.
///
/// # Errors
///
/// [`HeadError`] for a name or value that HTTP/2 cannot carry.
pub fn write_fields(block: &HeaderBlock, map: &mut HeaderMap) -> Result<(), HeadError> {
    map.reserve(block.len());
    // All values share one copy.
    let shared = Bytes::copy_from_slice(&block.bytes);
    for entry in block.entries.iter().filter(|entry| !entry.removed) {
        let value = shared.slice(entry.value.within(shared.len()));
        let foreign = entry.known == Known::Te && value != b"trailers"[..];
        if foreign || NEVER_IN_HTTP2.contains(entry.known) {
            continue;
        }
        let name = header_name(entry.known, entry.name.of(&shared))?;
        let value =
            HeaderValue::from_maybe_shared(value).map_err(|_| HeadError("http2.invalid_header"))?;
        map.try_append(name, value).map_err(|_| HeadError("http2.too_many_headers"))?;
    }
    Ok(())
}

/// The known names in the h2 crate's form, by their numbers.
static NAMES: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    let names = Known::ALL.iter().map(|known| HeaderName::from_static(known.name()));
    names.collect()
});

fn header_name(known: Known, name: &[u8]) -> Result<HeaderName, HeadError> {
    match (known as usize).checked_sub(1).and_then(|at| NAMES.get(at)) {
        Some(name) => Ok(name.clone()),
        None => HeaderName::from_bytes(name).map_err(|_| HeadError("http2.invalid_header")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_way_there_and_back() {
        let mut head = RequestHead::default();
        head.method = Method::Post;
        head.set_path(b"/a?b=%20");
        head.set_authority(b"service1:80");
        head.headers.append_name(b"x-one", b"1");
        head.headers.append(Known::Te, b"trailers");
        head.headers.append(Known::Connection, b"close");
        let (parts, ()) = write_request(&head).unwrap().into_parts();
        let mut back = RequestHead::default();
        read_request(&parts, &mut back).unwrap();
        assert_eq!(
            (back.method, back.path(), back.authority()),
            (head.method, head.path(), head.authority())
        );
        assert_eq!(back.headers.get_name(b"x-one"), Some(&b"1"[..]));
        assert_eq!(back.headers.get(Known::Connection), None);
        assert_eq!(back.headers.get(Known::Te), Some(&b"trailers"[..]));
    }

    fn parts(fields: &[(&str, &'static str)]) -> http::request::Parts {
        let mut request = http::Request::get("http://a/x").body(()).unwrap();
        for (name, value) in fields {
            // As the h2 crate makes names.
            let name = HeaderName::from_lowercase(name.as_bytes()).unwrap();
            request.headers_mut().append(name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    #[test]
    fn heads_that_http1_could_not_carry_are_refused() {
        let mut head = RequestHead::default();
        for (fields, expected) in [
            (&[("x", "v")][..], Ok(())),
            (&[("host", "b")], Ok(())),
            (&[("content-length", "2")], Ok(())),
            (&[("x\"", "v")], Err(MALFORMED)),
            (&[("x", " v")], Err(MALFORMED)),
            (&[("x", "v\t")], Err(MALFORMED)),
            (&[("host", "b"), ("host", "b")], Err(MALFORMED)),
            (&[("content-length", "2"), ("content-length", "2")], Err(MALFORMED)),
        ] {
            assert_eq!(read_request(&parts(fields), &mut head), expected, "{fields:?}");
        }
        let mut by_host = parts(&[("host", "a b")]);
        by_host.uri = "/x".parse().unwrap();
        let refused = Err(HeadError("http.invalid_authority"));
        assert_eq!(read_request(&by_host, &mut head), refused);
    }

    #[test]
    fn a_split_cookie_is_one_again_and_stands_last() {
        let mut head = RequestHead::default();
        let parts = parts(&[("cookie", "a=1"), ("x", "1"), ("cookie", "b=2")]);
        read_request(&parts, &mut head).unwrap();
        let fields: Vec<_> = head.headers.iter().collect();
        assert_eq!(fields, [(&b"x"[..], &b"1"[..]), (b"cookie", b"a=1; b=2")]);
        assert_eq!(field_count(&parts), 3 + 4);
    }

    #[test]
    fn a_preface_is_known_by_all_of_its_bytes() {
        assert_eq!(preface(PREFACE), Preface::Yes);
        assert_eq!(preface(b"PRI * H"), Preface::Perhaps);
        assert_eq!(preface(b"PUT / H"), Preface::No);
    }
}
