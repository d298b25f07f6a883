//! Owns writing heads. Nothing is formatted: everything is copied into one buffer.

use crate::codec::{
    HeaderBlock, KeptNames, Known, RequestHead, ResponseHead, Switch, Version, block::write_line,
};

/// What a head says about the body after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyHeader {
    /// Nothing: the head says it already, or need not.
    AsIs,
    /// `content-length: 0`.
    Empty,
    /// `transfer-encoding: chunked`.
    Chunked,
}

/// How header names are written.
#[derive(Clone, Copy, Debug)]
pub enum NameCase<'a> {
    /// `content-type`
    Lower,
    /// `Content-Type`. Source: `header_key_format.proper_case_words`.
    Proper,
    /// As they came. Source: `header_key_format.stateful_formatter`.
    Kept(&'a KeptNames),
}

/// Writes a request's head; its target is an absolute one if `absolute`.
pub fn request(
    out: &mut Vec<u8>,
    head: &RequestHead,
    body: BodyHeader,
    case: NameCase<'_>,
    absolute: bool,
) {
    out.extend_from_slice(head.method.as_str().as_bytes());
    out.push(b' ');
    let connect = head.switch == Switch::Connect;
    if absolute && !connect {
        out.extend_from_slice(head.scheme.as_str().as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(head.authority());
    }
    // A tunnel's target is its authority (RFC 9112, 3.2.3).
    out.extend_from_slice(if connect { head.authority() } else { head.path() });
    match case {
        NameCase::Lower => out.extend_from_slice(b" HTTP/1.1\r\nhost: "),
        NameCase::Proper => out.extend_from_slice(b" HTTP/1.1\r\nHost: "),
        NameCase::Kept(names) => {
            out.extend_from_slice(b" HTTP/1.1\r\n");
            out.extend_from_slice(names.of(b"host").unwrap_or(b"host"));
            out.extend_from_slice(b": ");
        }
    }
    out.extend_from_slice(head.authority());
    out.extend_from_slice(b"\r\n");
    fields(out, &head.headers, case);
    body_header(out, body, case);
    out.extend_from_slice(b"\r\n");
}

/// Writes a response's head.
pub fn response(
    out: &mut Vec<u8>,
    head: &ResponseHead,
    version: Version,
    body: BodyHeader,
    case: NameCase<'_>,
) {
    let own_reason = match case {
        NameCase::Kept(names) => names.reason(),
        NameCase::Lower | NameCase::Proper => None,
    };
    match (version, head.status) {
        (Version::Http10, code) => {
            out.extend_from_slice(b"HTTP/1.0 ");
            status(out, code, own_reason);
        }
        (_, 200) if own_reason.is_none() => out.extend_from_slice(b"HTTP/1.1 200 OK\r\n"),
        (_, code) => {
            out.extend_from_slice(b"HTTP/1.1 ");
            status(out, code, own_reason);
        }
    }
    fields(out, &head.headers, case);
    if head.close {
        field(out, Known::Connection.name().as_bytes(), b"close", case);
    }
    body_header(out, body, case);
    out.extend_from_slice(b"\r\n");
}

/// Writes header lines.
pub fn fields(out: &mut Vec<u8>, headers: &HeaderBlock, case: NameCase<'_>) {
    match case {
        NameCase::Lower => headers.write_lines(out),
        case => headers.iter().for_each(|(name, value)| field(out, name, value, case)),
    }
}

fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8], case: NameCase<'_>) {
    let (name, case) = match case {
        NameCase::Kept(names) => match names.of(name) {
            Some(kept) => (kept, NameCase::Lower),
            None => (name, names.others()),
        },
        case => (name, case),
    };
    let start = out.len();
    write_line(out, name, value);
    if let NameCase::Proper = case {
        proper(out.get_mut(start..start + name.len()).unwrap_or_default());
    }
}

/// `content-type` becomes `Content-Type`. Source: `header_key_format.proper_case_words`.
fn proper(name: &mut [u8]) {
    let mut first = true;
    for byte in name {
        if first {
            byte.make_ascii_uppercase();
        }
        first = !byte.is_ascii_alphanumeric();
    }
}

fn body_header(out: &mut Vec<u8>, body: BodyHeader, case: NameCase<'_>) {
    match body {
        BodyHeader::AsIs => {}
        BodyHeader::Empty => field(out, b"content-length", b"0", case),
        BodyHeader::Chunked => field(out, b"transfer-encoding", b"chunked", case),
    }
}

/// Writes three digits, the reason and the line's end.
fn status(out: &mut Vec<u8>, status: u16, own_reason: Option<&[u8]>) {
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(own_reason.unwrap_or(reason(status).as_bytes()));
    out.extend_from_slice(b"\r\n");
}

/// Reason phrases. Observed: Envoy 1.40 says `Unknown` for those it has no phrase for.
fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        208 => "Already Reported",
        226 => "IM Used",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        305 => "Use Proxy",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Entity",
        423 => "Locked",
        424 => "Failed Dependency",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        506 => "Variant Also Negotiates",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        510 => "Not Extended",
        511 => "Network Authentication Required",
        599 => "Last Unassigned Server Error Code",
        _ => "Unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_written_in_order_and_in_the_case_asked_for() {
        let mut head = ResponseHead { status: 418, ..ResponseHead::default() };
        head.headers.append_name(b"x-envoy-upstream-service-time", b"3");
        head.headers.append(Known::Server, b"envoy");
        let (mut plain, mut cased) = (Vec::new(), Vec::new());
        response(&mut plain, &head, Version::Http11, BodyHeader::Empty, NameCase::Lower);
        response(&mut cased, &head, Version::Http10, BodyHeader::AsIs, NameCase::Proper);
        let plain = String::from_utf8(plain).unwrap();
        assert_eq!(
            plain,
            "HTTP/1.1 418 Unknown\r\nx-envoy-upstream-service-time: 3\r\nserver: envoy\r\n\
             content-length: 0\r\n\r\n"
        );
        let cased = String::from_utf8(cased).unwrap();
        assert!(cased.contains("\r\nX-Envoy-Upstream-Service-Time: 3\r\nServer: envoy\r\n"));
    }
}
