//! Owns which `referer` may go on: one address, absolute or relative, without userinfo and fragment.
//!
//! Observed: Envoy 1.40 leaves any other out.

use crate::codec::{Known, RequestHead};

/// Leaves a `referer` out that is no address of a page (RFC 9110, 10.1.3).
pub(super) fn sanitize(head: &mut RequestHead) {
    let Some(referer) = head.headers.get(Known::Referer) else { return };
    if head.headers.is_repeated(Known::Referer) || !is_address(referer) {
        head.headers.remove(Known::Referer);
    }
}

fn is_address(text: &[u8]) -> bool {
    match text.windows(3).position(|part| part == b"://") {
        Some(colon) if is_scheme(text.get(..colon).unwrap_or_default()) => {
            is_rest(text.get(colon + 3..).unwrap_or_default())
        }
        _ => is_relative(text),
    }
}

/// RFC 3986, 3.1.
fn is_scheme(text: &[u8]) -> bool {
    let rest = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(rest)
}

/// Host, perhaps a port, path and query.
fn is_rest(text: &[u8]) -> bool {
    let end = text.iter().position(|byte| matches!(byte, b'/' | b'?'));
    let (authority, rest) = text.split_at(end.unwrap_or(text.len()));
    is_host_and_port(authority) && rest.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#')
}

fn is_host_and_port(authority: &[u8]) -> bool {
    let (host_fits, after) = match authority.strip_prefix(b"[") {
        Some(rest) => {
            let (host, after) = rest.split_at(rest.iter().position(|b| *b == b']').unwrap_or(0));
            let host = std::str::from_utf8(host).unwrap_or_default();
            let fits = host.parse::<std::net::Ipv6Addr>().is_ok();
            (fits, after.get(1..).unwrap_or_default())
        }
        None => {
            let end = authority.iter().position(|byte| *byte == b':');
            let (host, after) = authority.split_at(end.unwrap_or(authority.len()));
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
            (!host.is_empty() && host.iter().all(plain), after)
        }
    };
    let port_fits = match after {
        [] => true,
        [b':', digits @ ..] => {
            let port = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u16>().ok());
            digits.iter().all(u8::is_ascii_digit) && port.is_some()
        }
        _ => false,
    };
    host_fits && port_fits
}

/// RFC 3986, 4.2: a first segment with a colon would be a scheme.
fn is_relative(text: &[u8]) -> bool {
    let slash = text.iter().position(|byte| *byte == b'/').unwrap_or(text.len());
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"#<>[\\]^`{|}".contains(byte);
    text.iter().all(plain) && !text.get(..slash).unwrap_or_default().contains(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_referer_is_an_address_without_userinfo_and_fragment() {
        for good in [
            "",
            "junk",
            "/x",
            "//a",
            "?a",
            "x/a:b",
            "http://a",
            "HTTP://A",
            "https://a:1/",
            "ftp://a",
            "http2://a",
            "a+b://c",
            "http://a/b?c",
            "http://a?b",
            "http://[::1]/",
            "http://a/^|\"",
        ] {
            assert!(is_address(good.as_bytes()), "{good}");
        }
        for bad in [
            "http://",
            "http:///x",
            "http://a b",
            "http://a:99999/",
            "http://u@h/",
            "http://a#f",
            "/x#f",
            "a:b",
            "about:blank",
            "http://a_b/",
            "http://a:/",
            "http://a:80x/",
            "http://a:+8/",
            "http://[::1",
            "http://[zz]/",
            "http://a%20b/",
            "-x://a",
            "a b",
            "/^",
            "http://a/\u{e9}",
        ] {
            assert!(!is_address(bad.as_bytes()), "{bad}");
        }
    }
}
