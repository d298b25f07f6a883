//! `envoy.filters.listener.http_inspector`: which HTTP a connection begins with, if any.
//!
//! What counts as what was observed in Envoy 1.40.

use std::sync::Arc;

use tokio::net::TcpStream;
use understudy_actors::stats::{Group, HttpInspectorStat as S, Registry, Scope};

use super::{Found, Verdict};
use crate::transport::{Look, Peeked, peek};

/// The most that is looked at for the end of a first line. Source: Envoy's `MAX_INSPECT_SIZE`.
const BYTES_MAX: usize = 64 * 1024;

/// How HTTP/2 begins where nothing was agreed on (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    Http10,
    Http11,
    Http2,
    Else,
}

pub(super) struct HttpInspector {
    /// `http_inspector.`
    stats: Arc<Group<S>>,
}

// === impl HttpInspector ===

impl HttpInspector {
    pub(super) fn new(registry: &Registry) -> Self {
        Self { stats: registry.group(Scope::plain("http_inspector.")) }
    }

    pub(super) async fn look(
        &self,
        worker: usize,
        socket: &TcpStream,
        found: &mut Found,
    ) -> Verdict {
        // What is inside of TLS cannot be seen.
        if found.is_tls {
            return Verdict::Continue;
        }
        let stats = self.stats.lane(worker);
        let (stat, protocol) = match peek(socket, BYTES_MAX, begins).await {
            Err(_) | Ok(Peeked::Closed) => return Verdict::Gone,
            Ok(Peeked::TooMuch) => {
                stats.inc(S::ReadError);
                return Verdict::Refuse;
            }
            Ok(Peeked::Seen(Begins::Else)) => {
                stats.inc(S::HttpNotFound);
                return Verdict::Continue;
            }
            Ok(Peeked::Seen(Begins::Http10)) => (S::Http10Found, "http/1.0"),
            Ok(Peeked::Seen(Begins::Http11)) => (S::Http11Found, "http/1.1"),
            Ok(Peeked::Seen(Begins::Http2)) => (S::Http2Found, "h2c"),
        };
        stats.inc(stat);
        found.application_protocols = vec![protocol.into()];
        Verdict::Continue
    }
}

/// What these bytes begin, if they are enough to say.
fn begins(bytes: &[u8]) -> Look<Begins> {
    let length = bytes.len().min(PREFACE.len());
    if bytes.get(..length) == PREFACE.get(..length) {
        return match length == PREFACE.len() {
            true => Look::Seen(Begins::Http2),
            false => Look::More,
        };
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
    // A method is a token: what does not begin with one never becomes a request.
    let method = line.iter().position(|byte| !is_token(*byte)).unwrap_or(line.len());
    if line.get(method).is_some_and(|byte| method == 0 || *byte != b' ') {
        return Look::Seen(Begins::Else);
    }
    if end.is_none() {
        return Look::More;
    }
    // Observed: Envoy 1.40 knows a line with several blanks in a row for one, which its codec refuses.
    let words = line.trim_ascii_end().split(|byte| *byte == b' ');
    let mut words = words.filter(|word| !word.is_empty()).skip(1);
    let target = words.next().unwrap_or_default();
    if !target.starts_with(b"/") && target != b"*" && !target.windows(3).any(|w| w == b"://") {
        return Look::Seen(Begins::Else);
    }
    Look::Seen(match words.next() {
        Some(b"HTTP/1.1") => Begins::Http11,
        Some(version) if !version.starts_with(b"HTTP/") => Begins::Else,
        _ => Begins::Http10,
    })
}

/// RFC 9110, 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_line_says_which_http_it_is() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Begins::Http11),
            (b"FOO / HTTP/1.1\r\n", Begins::Http11),
            (b"GET http://a/ HTTP/1.1\n", Begins::Http11),
            (b"GET  / HTTP/1.1\r\n", Begins::Http11),
            (b"GET / HTTP/1.0\r\n", Begins::Http10),
            (b"GET / HTTP/1.2\r\n", Begins::Http10),
            (b"GET /\r\n", Begins::Http10),
            (b"PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n", Begins::Http10),
            (PREFACE, Begins::Http2),
            (b"EHLO a\r\n", Begins::Else),
            (b"\r\nGET / HTTP/1.1\r\n", Begins::Else),
            (b"\x16\x03\x01", Begins::Else),
        ] {
            assert_eq!(begins(bytes), Look::Seen(expected), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn half_a_line_says_nothing_yet() {
        for bytes in [&b""[..], b"G", b"GET ", b"GET / HTTP/1.1\r", b"PRI * HTTP/2.0\r\n\r\nSM"] {
            assert_eq!(begins(bytes), Look::More, "{}", bytes.escape_ascii());
        }
    }
}
