//! Owns reading a response's head.
//!
//! What is taken and what is refused was observed on Envoy 1.40, but for bytes that could be read in two
//! ways (bare CR, a status of four digits, a sign before it): those are refused.

use super::{
    Framing, Limits, fields,
    framing::{self, Delimiter},
};
use crate::codec::{
    Known, RequestHead, ResponseHead, Switch,
    joined::IN_RESPONSES,
    says_upgrade,
    scan::{text_run, visible_run},
};

/// What is read of a response besides its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes of the head.
    pub consumed: usize,
    /// How the body is delimited.
    pub framing: Framing,
    /// The upstream keeps the connection for another request.
    pub keep_alive: bool,
}

/// What a response answers, as far as its framing depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// For what its head says.
    Plain,
    /// For a head alone.
    Head,
    /// For another protocol.
    Upgrade,
    /// For a tunnel.
    Connect,
}

/// What came is not an HTTP/1 response, or larger than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP/1 response within limits")]
pub struct ResponseError;

/// Reads a head from the front of `input` into `head`; `None` until all of it is here.
///
/// # Errors
///
/// [`ResponseError`]: the connection cannot be read any further.
pub fn parse(
    input: &[u8],
    limits: &Limits,
    asked: Asked,
    head: &mut ResponseHead,
) -> Result<Option<Parsed>, ResponseError> {
    head.clear();
    let (within, cut) = match input.get(..limits.head_bytes_max) {
        Some(within) if input.len() > within.len() => (within, true),
        _ => (input, false),
    };
    let read = match status_line(within, head)? {
        Some((line, http_11)) => {
            let rest = within.get(line..).unwrap_or_default();
            fields::read(rest, limits.headers_max, &mut head.headers)
                .map_err(|_| ResponseError)?
                .map(|fields| (line + fields, http_11))
        }
        None => None,
    };
    let Some((consumed, http_11)) = read else {
        return if cut { Err(ResponseError) } else { Ok(None) };
    };
    let framing = framing_of(head, asked, limits.chunked_length)?;
    head.headers.join_repeated(IN_RESPONSES);
    if matches!(head.status, 100..200 | 204) {
        // Here even a length of nothing is too much (RFC 9110, 8.6).
        head.headers.remove(Known::ContentLength);
    }
    let ends = matches!(framing, Framing::UntilClose | Framing::Tunnel) || head.status == 101;
    let keep_alive = !ends && framing::keep_alive(&head.headers, http_11);
    Ok(Some(Parsed { consumed, framing, keep_alive }))
}

/// Reads `HTTP/1.x SP status [SP reason]`; gives back the line's length with its end and whether it
/// says HTTP/1.1, or `None` if its end is not here.
#[inline]
fn status_line(
    text: &[u8],
    head: &mut ResponseHead,
) -> Result<Option<(usize, bool)>, ResponseError> {
    // As everybody sends it.
    if let Some([a, b, c, b' ', reason @ ..]) = text.strip_prefix(b"HTTP/1.1 ") {
        let length = text_run(reason);
        if let Some([b'\r', b'\n', ..]) = reason.get(length..) {
            head.status = status(&[*a, *b, *c])?;
            return Ok(Some((13 + length + 2, true)));
        }
    }
    status_line_slowly(text, head)
}

/// Reads a line with other white space, another version, no reason, another line end or no end yet.
#[cold]
fn status_line_slowly(
    text: &[u8],
    head: &mut ResponseHead,
) -> Result<Option<(usize, bool)>, ResponseError> {
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        let begun = text.len().min(5);
        let begins_well = text.get(..begun) == b"HTTP/".get(..begun);
        return if begins_well { Ok(None) } else { Err(ResponseError) };
    };
    let line = text.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (version, rest) = line.split_at(visible_run(line));
    // Observed: Envoy 1.40 takes any version, and no other as HTTP/1.1.
    let http_11 = match version {
        [b'H', b'T', b'T', b'P', b'/', major @ b'0'..=b'9', b'.', minor @ b'0'..=b'9'] => {
            (*major, *minor) == (b'1', b'1')
        }
        _ => return Err(ResponseError),
    };
    let rest = rest.trim_ascii_start();
    let (digits, reason) = rest.split_at(visible_run(rest));
    if text_run(reason) != reason.len() {
        return Err(ResponseError);
    }
    head.status = status(digits)?;
    Ok(Some((end + 1, http_11)))
}

/// Reads three digits. Observed: Envoy 1.40 passes on statuses beyond 599 too.
#[inline]
fn status(digits: &[u8]) -> Result<u16, ResponseError> {
    match digits {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let value = |digit: &u8| u16::from(digit - b'0');
            Ok(value(a) * 100 + value(b) * 10 + value(c))
        }
        _ => Err(ResponseError),
    }
}

#[inline]
fn framing_of(
    head: &mut ResponseHead,
    asked: Asked,
    chunked_length: bool,
) -> Result<Framing, ResponseError> {
    let delimiter = match framing::delimiter(&head.headers) {
        Delimiter::ChunksAndLength if chunked_length => {
            head.headers.remove(Known::ContentLength);
            Delimiter::Chunks
        }
        Delimiter::ChunksAndLength => Delimiter::Both,
        other => other,
    };
    if matches!(delimiter, Delimiter::Both | Delimiter::UnknownCoding) {
        return Err(ResponseError);
    }
    match (head.status, delimiter) {
        // One that was not asked for: what follows would be no HTTP any more.
        (101, _) if asked != Asked::Upgrade => Err(ResponseError),
        (101, Delimiter::Nothing) if says_upgrade(&head.headers) => Ok(Framing::Tunnel),
        // RFC 9110, 9.3.6: whatever such a head says of a body, there is none.
        (200..300, _) if asked == Asked::Connect => Ok(Framing::Tunnel),
        // RFC 9112, 6.3: never a body, whatever the head says.
        (304, _) => Ok(Framing::None),
        (_, Delimiter::BadLength) => Err(ResponseError),
        // RFC 9110, 8.6 and 9112, 6.1: these may not speak of a body. One that does may be followed by
        // one. Observed: Envoy 1.40 refuses it.
        (100..200 | 204, Delimiter::Nothing | Delimiter::Length(0)) => Ok(Framing::None),
        (100..200 | 204, _) => Err(ResponseError),
        _ if asked == Asked::Head => Ok(Framing::None),
        (_, Delimiter::Chunks) => Ok(Framing::Chunked),
        (_, Delimiter::Length(length)) => Ok(Framing::Length(length)),
        _ => Ok(Framing::UntilClose),
    }
}

// === impl Asked ===

impl Asked {
    /// What a request asks for.
    pub fn by(head: &RequestHead) -> Self {
        match head.switch {
            Switch::Upgrade => Asked::Upgrade,
            Switch::Connect => Asked::Connect,
            Switch::Nothing if head.is_head() => Asked::Head,
            Switch::Nothing => Asked::Plain,
        }
    }
}

#[cfg(test)]
mod tests;
