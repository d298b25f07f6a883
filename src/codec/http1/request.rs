//! Owns reading a request's head, as strictly as a parser in front of other parsers must.
//!
//! Statuses, bodies and details of what is refused were observed on Envoy 1.40; where Envoy is laxer
//! than RFC 9112 and that can be abused, we refuse.

use super::{
    Framing, Limits,
    fields::{self, FieldsError},
    framing::{self, Delimiter},
    request_line,
};
use crate::codec::{Known, Method, RequestHead, Switch, Version, joined::IN_REQUESTS};

/// Empty lines before a request that are forgiven (RFC 9112, 2.2 asks for at least one).
const LEADING_LINES_BYTES_MAX: usize = 8;

/// What is read of what is optional.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepts {
    /// HTTP/1.0.
    pub http_10: bool,
    /// `http://authority/path` and `*` as targets. Where they are not, a path is made of all of it: one
    /// that begins with no slash.
    pub absolute_form: bool,
}

/// What is read of a request besides its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes of the head.
    pub consumed: usize,
    /// How the body is delimited, if there is to be a body: `switch` of the head comes first.
    pub framing: Framing,
    /// The client allows another request on this connection.
    pub keep_alive: bool,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status} {details}")]
pub struct RequestError {
    /// HTTP status.
    pub status: u16,
    /// Body of the answer.
    pub body: &'static str,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: &'static str,
}

const BAD_REQUEST: RequestError = bad("http1.codec_error");

/// A request that is refused as bad.
pub const fn bad(details: &'static str) -> RequestError {
    RequestError { status: 400, body: "Bad Request", details }
}

/// A head that is refused as too large.
pub const fn too_large(details: &'static str) -> RequestError {
    RequestError { status: 431, body: "Request Header Fields Too Large", details }
}

pub(super) fn low_version() -> RequestError {
    RequestError { status: 426, body: "Upgrade Required", details: "low_version" }
}

pub(super) fn invalid_url() -> RequestError {
    bad("http1.invalid_url")
}

/// Reads a head from the front of `input` into `head`; `None` until all of it is here.
///
/// # Errors
///
/// [`RequestError`]: the connection cannot be read any further.
pub fn parse(
    input: &[u8],
    limits: &Limits,
    accepts: Accepts,
    head: &mut RequestHead,
) -> Result<Option<Parsed>, RequestError> {
    head.clear();
    let skipped = leading_lines(input)?;
    let text = input.get(skipped..).unwrap_or_default();
    // What is beyond the limit is not looked at: the outcome must not depend on how much came at once.
    let (within, cut) = match text.get(..limits.head_bytes_max) {
        Some(within) if text.len() > within.len() => (within, true),
        _ => (text, false),
    };
    let line = request_line::read(within, accepts.absolute_form, head)
        .map_err(|error| better_word(error, within))?;
    let read = match line {
        Some(line) => {
            let rest = within.get(line..).unwrap_or_default();
            let read = fields::read(rest, limits.headers_max, &mut head.headers);
            read.map_err(|error| refusal(error, within))?.map(|fields| line + fields)
        }
        None => None,
    };
    let Some(read) = read else {
        return if cut { Err(too_large("http1.headers_too_large")) } else { Ok(None) };
    };
    let framing = framing_of(head, limits)?;
    if head.version == Version::Http10 && !accepts.http_10 {
        return Err(low_version());
    }
    take_host(head)?;
    head.headers.join_repeated(IN_REQUESTS);
    head.switch = Switch::of(head);
    Ok(Some(Parsed {
        consumed: skipped + read,
        framing,
        keep_alive: framing::keep_alive(&head.headers, head.version == Version::Http11),
        expects_continue: expects_continue(head),
    }))
}

/// Skips empty lines before a request.
#[inline]
fn leading_lines(input: &[u8]) -> Result<usize, RequestError> {
    if let [b'A'..=b'Z', ..] = input {
        return Ok(0);
    }
    let skipped = input.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if skipped > LEADING_LINES_BYTES_MAX { Err(BAD_REQUEST) } else { Ok(skipped) }
}

#[cold]
fn refusal(error: FieldsError, text: &[u8]) -> RequestError {
    match error {
        FieldsError::TooMany => too_large("http1.too_many_headers"),
        FieldsError::Malformed => better_word(BAD_REQUEST, text),
    }
}

/// Envoy looks for bytes that no head may have before it looks at anything else.
#[cold]
fn better_word(error: RequestError, text: &[u8]) -> RequestError {
    if error != BAD_REQUEST {
        return error;
    }
    let head = fields::end_of_head(text).and_then(|end| text.get(..end)).unwrap_or(text);
    match fields::has_controls(head) {
        true => bad("http1.invalid_characters"),
        false => error,
    }
}

#[inline]
fn framing_of(head: &mut RequestHead, limits: &Limits) -> Result<Framing, RequestError> {
    let connect = head.method == Method::Connect;
    match framing::delimiter(&head.headers) {
        Delimiter::ChunksAndLength if limits.chunked_length && !connect => {
            // RFC 9112, 6.3: chunks win, and nobody behind us is to see the length.
            head.headers.remove(Known::ContentLength);
            Ok(Framing::Chunked)
        }
        Delimiter::Nothing => Ok(Framing::None),
        Delimiter::Both | Delimiter::ChunksAndLength => {
            Err(bad("http1.content_length_and_chunked_not_allowed"))
        }
        // RFC 9112, 6.1: a chunked HTTP/1.0 message has faulty framing.
        Delimiter::Chunks if head.version == Version::Http10 => Err(BAD_REQUEST),
        Delimiter::Chunks if !connect => Ok(Framing::Chunked),
        Delimiter::Chunks | Delimiter::UnknownCoding => Err(RequestError {
            status: 501,
            body: "Not Implemented",
            details: "http1.invalid_transfer_encoding",
        }),
        Delimiter::Length(1..) if connect => Err(bad("http1.body_disallowed")),
        Delimiter::Length(length) => Ok(Framing::Length(length)),
        Delimiter::BadLength => Err(BAD_REQUEST),
    }
}

/// A `host` that is longer is not worth remembering.
const LAST_HOST_BYTES_MAX: usize = 256;

/// Makes `host` the authority, unless the target has said one (RFC 9112, 3.2.2); it is not kept twice.
fn take_host(head: &mut RequestHead) -> Result<(), RequestError> {
    let Some(host) = head.headers.get(Known::Host) else { return Ok(()) };
    // Envoy joins them with a comma; whoever is behind us may take either for the host.
    if head.headers.is_repeated(Known::Host) {
        return Err(BAD_REQUEST);
    }
    if host != head.last_host {
        if !is_authority(host) {
            return Err(bad("http.invalid_authority"));
        }
        head.last_host.clear();
        if host.len() <= LAST_HOST_BYTES_MAX {
            head.last_host.extend_from_slice(host);
        }
    }
    if !head.has_authority() {
        head.take_authority_from(Known::Host);
    }
    head.headers.remove(Known::Host);
    Ok(())
}

/// Bytes of a host's name (RFC 3986, 3.2.2).
static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut others: &[u8] = b"-._~%!$&'()*+,;=";
    while let [byte, rest @ ..] = others {
        table[*byte as usize] = true;
        others = rest;
    }
    table
};

/// Whether it is a host, perhaps with a port (RFC 9110, 7.2). Envoy checks only the characters: two
/// ports, userinfo or half an address would pass, and mean something else to whoever is behind us.
pub fn is_authority(text: &[u8]) -> bool {
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let before = text.get(..text.len() - digits).unwrap_or_default();
    let host = before.strip_suffix(b":").unwrap_or(text);
    let plain = host.iter().fold(true, |all, byte| all & HOST[usize::from(*byte)]);
    plain || is_bracketed(text)
}

/// Whether it is an address in brackets, perhaps with a port.
fn is_bracketed(text: &[u8]) -> bool {
    let [b'[', rest @ ..] = text else { return false };
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b":.%".contains(byte);
    let length = rest.iter().take_while(|byte| inside(byte)).count();
    match rest.get(length..) {
        Some([b']']) => true,
        Some([b']', b':', port @ ..]) => port.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[inline]
fn expects_continue(head: &RequestHead) -> bool {
    let expect = head.headers.get(Known::Expect);
    head.version == Version::Http11
        && expect.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests;
