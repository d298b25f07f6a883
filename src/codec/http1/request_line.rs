//! Owns reading a request's first line: method, target in its four forms, version.

use super::request::{RequestError, bad, invalid_url, low_version};
use crate::codec::{Method, RequestHead, Scheme, Version, scan::visible_run};

/// What a first line is refused with unless a better word is known.
const MALFORMED: RequestError = bad("http1.codec_error");

/// Reads the first line of `text` into `head`; gives back its length with its end, or `None` if the end
/// is not here yet. Refuses what cannot become a request line before its end is here.
///
/// # Errors
///
/// [`RequestError`] for what is not a request line, or has a method, target or version of no use.
#[inline]
pub(super) fn read(
    text: &[u8],
    absolute_form: bool,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let method_end = visible_run(text);
    let after_method = text.get(method_end + 1..).unwrap_or_default();
    let target_end = visible_run(after_method);
    let version = after_method.get(target_end..).unwrap_or_default();
    // As everybody sends it.
    if text.get(method_end) == Some(&b' ') && version.starts_with(b" HTTP/1.1\r\n") {
        let method = text.get(..method_end).unwrap_or_default();
        let target = after_method.get(..target_end).unwrap_or_default();
        head.version = Version::Http11;
        take_method_and_target(method, target, absolute_form, head)?;
        return Ok(Some(method_end + 1 + target_end + b" HTTP/1.1\r\n".len()));
    }
    read_slowly(text, absolute_form, head)
}

/// Reads a line with other white space, another version, another line end, or no end yet.
#[cold]
fn read_slowly(
    text: &[u8],
    absolute_form: bool,
    head: &mut RequestHead,
) -> Result<Option<usize>, RequestError> {
    let Some(end) = text.iter().position(|byte| *byte == b'\n') else {
        return begins_well(text).map(|()| None);
    };
    let line = text.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.first().is_none_or(|byte| !byte.is_ascii_graphic()) {
        return Err(MALFORMED);
    }
    // RFC 9112, 3 lets words be parted by any white space. Observed: so does Envoy 1.40.
    let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
    let (method, target) = (words.next(), words.next());
    let (Some(method), Some(target)) = (method, target) else { return Err(MALFORMED) };
    let version = words.next();
    if words.next().is_some() || target.iter().any(|byte| !byte.is_ascii_graphic()) {
        return Err(MALFORMED);
    }
    take_method_and_target(method, target, absolute_form, head)?;
    head.version = match version {
        Some(b"HTTP/1.1") => Version::Http11,
        // Observed: Envoy 1.40 speaks HTTP/1.0 to any other version, if to that at all.
        Some([b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']) => Version::Http10,
        Some(_) => return Err(MALFORMED),
        // HTTP/0.9, to which there is no answer that it could read.
        None => return Err(low_version()),
    };
    Ok(Some(end + 1))
}

/// Refuses what cannot become a request line: nothing that speaks another protocol is waited for.
fn begins_well(text: &[u8]) -> Result<(), RequestError> {
    let method_end = text.iter().position(|byte| matches!(byte, b' ' | b'\t'));
    let method = text.get(..method_end.unwrap_or(text.len())).unwrap_or_default();
    let upper = method.iter().all(u8::is_ascii_uppercase);
    let known = match method_end {
        Some(_) => Method::parse(method).is_some(),
        None => upper && method.len() <= Method::BYTES_MAX,
    };
    if known { Ok(()) } else { Err(MALFORMED) }
}

#[inline]
fn take_method_and_target(
    method: &[u8],
    target: &[u8],
    absolute_form: bool,
    head: &mut RequestHead,
) -> Result<(), RequestError> {
    head.method = Method::parse(method).ok_or(MALFORMED)?;
    match (head.method, target) {
        (Method::Connect, authority) => {
            check_tunnel(authority)?;
            head.set_authority(authority);
        }
        (_, [b'/', ..]) => head.set_path(target),
        // What a server can make of other targets that begin so is for the route to say.
        (Method::Options, [b'*', ..]) => head.set_path(target),
        (_, [b'*']) if !absolute_form => head.set_path(target),
        (_, [b'*', ..]) => return Err(invalid_url()),
        _ => take_absolute(target, absolute_form, head)?,
    }
    Ok(())
}

/// Reads `http://authority/path?query` (RFC 9112, 3.2.2).
fn take_absolute(
    target: &[u8],
    absolute_form: bool,
    head: &mut RequestHead,
) -> Result<(), RequestError> {
    let colon = target.windows(3).position(|part| part == b"://").ok_or(MALFORMED)?;
    let (scheme, rest) = target.split_at(colon);
    if scheme.is_empty() || !scheme.iter().all(u8::is_ascii_alphabetic) {
        return Err(MALFORMED);
    }
    let rest = rest.get(3..).unwrap_or_default();
    let host_end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(host_end);
    if authority.iter().any(|byte| b"#\"<>\\^`{|}".contains(byte)) {
        return Err(MALFORMED);
    }
    if !absolute_form {
        head.set_path(target);
        return Ok(());
    }
    head.scheme = Scheme::parse(scheme);
    if head.scheme == Scheme::Unset {
        return Err(bad("http1.invalid_scheme"));
    }
    check_url_host(authority)?;
    head.set_authority(authority);
    // `?x` without a path stays so, and is no path to any route. Observed: Envoy 1.40.
    head.set_path(if path.is_empty() { b"/" } else { path });
    Ok(())
}

/// A tunnel's target is a host and a port (RFC 9112, 3.2.3).
fn check_tunnel(authority: &[u8]) -> Result<(), RequestError> {
    let port = authority.iter().rposition(|byte| *byte == b':').ok_or_else(invalid_url)?;
    match authority.get(port + 1..) {
        Some([b'0'..=b'9', ..]) => check_url_host(authority),
        _ => Err(invalid_url()),
    }
}

/// The host of a URL, perhaps with a port: letters, digits, `-` and `.`, or an IPv6 address in
/// brackets. Observed: Envoy 1.40 refuses others in a target, though it takes them in `host`.
/// Userinfo, which Envoy drops, is an error here as RFC 9110, 4.2.4 wants it.
fn check_url_host(authority: &[u8]) -> Result<(), RequestError> {
    let (host, port) = match authority {
        [b'[', ..] => {
            let end = authority.iter().position(|byte| *byte == b']').ok_or_else(invalid_url)?;
            let (host, rest) = authority.split_at(end);
            let address = std::str::from_utf8(host.get(1..).unwrap_or_default());
            let address = address.ok().and_then(|text| text.parse::<std::net::Ipv6Addr>().ok());
            address.ok_or_else(invalid_url)?;
            (&b"v6"[..], rest.get(1..).unwrap_or_default())
        }
        _ => {
            let end = authority.iter().position(|byte| *byte == b':');
            authority.split_at(end.unwrap_or(authority.len()))
        }
    };
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    let port_fits = match port {
        [] => true,
        [b':', digits @ ..] if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    };
    match !host.is_empty() && host.iter().all(plain) && port_fits {
        true => Ok(()),
        false => Err(invalid_url()),
    }
}
