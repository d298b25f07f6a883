//! Owns removing headers that are for the next neighbour only (RFC 9110, 7.6.1).

use crate::{
    access_log::ResponseFlag,
    codec::{HeaderBlock, Known, KnownSet, RequestHead, Switch},
    local_reply::LocalReply,
};

/// Headers between two neighbours only (RFC 9110, 7.6.1, and what Envoy takes for such).
const REQUEST_HOP_BY_HOP: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Upgrade,
    Known::TransferEncoding,
    Known::Http2Settings,
]);

pub(super) const RESPONSE_HOP_BY_HOP: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Upgrade,
    Known::TransferEncoding,
]);

/// What of these an upgrade has no use for: `connection` and `upgrade` are what it is made of.
const UPGRADE_HOP_BY_HOP: KnownSet = KnownSet::of(&[
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::TransferEncoding,
    Known::Http2Settings,
]);

/// The same in the answer that agrees to one.
pub(super) const UPGRADED_HOP_BY_HOP: KnownSet =
    KnownSet::of(&[Known::KeepAlive, Known::ProxyConnection, Known::TransferEncoding]);

/// Removes what was meant for us alone.
pub(super) fn hop_by_hop(head: &mut RequestHead, keep_expect: bool) -> Result<(), LocalReply> {
    let headers = &mut head.headers;
    if head.switch == Switch::Upgrade {
        // Observed: Envoy 1.40 passes on also what `connection` names besides.
        headers.remove_all(UPGRADE_HOP_BY_HOP);
    } else {
        if headers.has(Known::Connection) {
            remove_named_by_connection(headers)?;
        }
        headers.remove_all(REQUEST_HOP_BY_HOP);
    }
    if head.switch == Switch::Connect {
        headers.remove(Known::ContentLength);
    }
    // What we answer ourselves (100 Continue) does not go on; expectations we do not know do.
    let continues = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if !keep_expect && head_expects(headers, continues) {
        headers.remove(Known::Expect);
    }
    // RFC 9110, 10.1.4: of `te` only `trailers` may go on.
    let trailers = |te: &[u8]| tokens(te).any(|token| token == b"trailers");
    match headers.get(Known::Te).map(|te| (te == b"trailers", trailers(te))) {
        None | Some((true, _)) => {}
        Some((false, true)) => headers.set(Known::Te, b"trailers"),
        Some((false, false)) => headers.remove(Known::Te),
    }
    Ok(())
}

/// Headers that a `connection` header may name: fewer than this.
const CONNECTION_TOKENS_MAX: usize = 10;

/// Removes the headers that `connection` names (RFC 9110, 7.6.1), unless they are such that somebody
/// behind us would miss them. Observed: Envoy 1.40, which refuses the same and counts the same.
fn remove_named_by_connection(headers: &mut HeaderBlock) -> Result<(), LocalReply> {
    let connection: Vec<u8> =
        headers.get_all(Known::Connection).collect::<Vec<_>>().join(&b","[..]).to_ascii_lowercase();
    if tokens(&connection).count() >= CONNECTION_TOKENS_MAX {
        return Err(connection_rejected());
    }
    for token in tokens(&connection).filter(|token| !is_connection_option(token)) {
        match token {
            b"x-forwarded-for" | b"x-forwarded-host" | b"x-forwarded-proto" | [b':', ..] => {
                return Err(connection_rejected());
            }
            b"host" => return Err(LocalReply::new(400, "", "missing_host_header").closing()),
            name => headers.remove_name(name),
        }
    }
    Ok(())
}

fn connection_rejected() -> LocalReply {
    LocalReply::new(400, "Bad Request", "http1.connection_header_rejected")
        .flagged(ResponseFlag::DownstreamProtocolError)
        .closing()
}

fn head_expects(headers: &HeaderBlock, is: impl Fn(&[u8]) -> bool) -> bool {
    headers.get(Known::Expect).is_some_and(is)
}

fn is_connection_option(token: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"te", b"upgrade", b"http2-settings"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}

/// The elements of a comma-separated list, trimmed, without empty ones.
pub(super) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn after(connection: &[&str]) -> Result<Vec<String>, Cow<'static, str>> {
        let mut head = RequestHead::default();
        for value in connection {
            head.headers.append(Known::Connection, value.as_bytes());
        }
        for name in ["x-a", "x-b", "content-length", "te", "cookie"] {
            head.headers.append_name(name.as_bytes(), b"trailers");
        }
        hop_by_hop(&mut head, false).map_err(|reply| reply.details)?;
        let names = head.headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        Ok(names.collect())
    }

    #[test]
    fn a_connection_header_takes_with_it_what_it_names_but_not_what_others_rely_on() {
        for (connection, left) in [
            (&["close"][..], &["x-a", "x-b", "content-length", "te", "cookie"][..]),
            (&["X-A, te , upgrade"], &["x-b", "content-length", "te", "cookie"]),
            (&["x-a", "cookie"], &["x-b", "content-length", "te"]),
            (&["content-length"], &["x-a", "x-b", "te", "cookie"]),
            (&[",,,,,,,,,,,x-a"], &["x-b", "content-length", "te", "cookie"]),
        ] {
            assert_eq!(after(connection).unwrap(), left, "{connection:?}");
        }
        for (connection, details) in [
            ("Host", "missing_host_header"),
            ("X-Forwarded-For", "http1.connection_header_rejected"),
            ("x-a, x-forwarded-proto", "http1.connection_header_rejected"),
            (":path", "http1.connection_header_rejected"),
            ("a,b,c,d,e,f,g,h,i,j", "http1.connection_header_rejected"),
        ] {
            assert_eq!(after(&[connection]).unwrap_err(), details, "{connection}");
        }
    }
}
