//! Owns what a request wants its stream to become besides HTTP: another protocol's, or a tunnel.

use super::{HeaderBlock, Known, KnownSet, Method, RequestHead, Version};

/// What a request wants its stream to become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// Nothing else than what it is.
    #[default]
    Nothing,
    /// Another protocol's: `upgrade` (RFC 9110, 7.8), or an extended CONNECT (RFC 8441).
    Upgrade,
    /// A tunnel: CONNECT (RFC 9110, 9.3.6).
    Connect,
}

const UPGRADE: KnownSet = KnownSet::of(&[Known::Upgrade]);

// === impl Switch ===

impl Switch {
    /// What an HTTP/1 request wants. `h2c` may be passed over (RFC 9113, 3.1), and is; HTTP/1.0 knows no
    /// upgrade.
    #[inline]
    pub fn of(head: &RequestHead) -> Self {
        if head.method == Method::Connect {
            return Switch::Connect;
        }
        if !head.headers.index.present.meets(UPGRADE) {
            return Switch::Nothing;
        }
        let to_http2 = |value: &[u8]| value.eq_ignore_ascii_case(b"h2c");
        let passed_over = head.headers.get(Known::Upgrade).is_some_and(to_http2);
        match head.version == Version::Http11 && !passed_over && says_upgrade(&head.headers) {
            true => Switch::Upgrade,
            false => Switch::Nothing,
        }
    }
}

/// Whether these headers, of a request or a response, change the protocol: `upgrade` is there and
/// `connection` names it.
pub fn says_upgrade(headers: &HeaderBlock) -> bool {
    let named = |list: &[u8]| {
        let mut options = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        options.any(|option| option.eq_ignore_ascii_case(b"upgrade"))
    };
    headers.has(Known::Upgrade) && headers.get_all(Known::Connection).any(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upgrade_is_one_that_connection_names_and_that_is_not_to_http2() {
        for (upgrade, connection, version, expected) in [
            ("websocket", "Upgrade", Version::Http11, Switch::Upgrade),
            ("x, y", "keep-alive, uPgrade ,x", Version::Http11, Switch::Upgrade),
            ("websocket", "Upgrade", Version::Http10, Switch::Nothing),
            ("websocket", "keep-alive", Version::Http11, Switch::Nothing),
            ("websocket", "upgraded", Version::Http11, Switch::Nothing),
            ("H2C", "Upgrade, HTTP2-Settings", Version::Http11, Switch::Nothing),
            ("h2c, websocket", "Upgrade", Version::Http11, Switch::Upgrade),
        ] {
            let mut head = RequestHead::default();
            (head.version, head.method) = (version, Method::Get);
            head.headers.append(Known::Upgrade, upgrade.as_bytes());
            head.headers.append(Known::Connection, connection.as_bytes());
            assert_eq!(Switch::of(&head), expected, "{upgrade}, {connection}");
            head.headers.remove(Known::Connection);
            assert_eq!(Switch::of(&head), Switch::Nothing, "{upgrade} alone");
            head.method = Method::Connect;
            assert_eq!(Switch::of(&head), Switch::Connect);
        }
    }
}
