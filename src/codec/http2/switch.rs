//! Owns the way between an upgrade, as HTTP/1 says it, and an extended CONNECT (RFC 8441), as HTTP/2 does.
//! Inside the proxy there are upgrades only.

use h2::ext::Protocol;
use http::{Uri, uri};

use super::HeadError;
use crate::codec::{Known, Method, RequestHead, ResponseHead, Switch};

/// What `connection` says of an upgrade that came by HTTP/2.
const UPGRADE: &[u8] = b"upgrade";

/// Makes an upgrade of an extended CONNECT that was read as a plain one.
pub(super) fn from_extended_connect(head: &mut RequestHead, protocol: &[u8]) {
    head.method = Method::Get;
    head.switch = Switch::Upgrade;
    head.headers.set(Known::Upgrade, protocol);
    head.headers.set(Known::Connection, UPGRADE);
}

/// Makes an extended CONNECT of an upgrade, and leaves of a CONNECT what it may have: an authority.
pub(super) fn to_connect(
    head: &RequestHead,
    request: &mut http::Request<()>,
) -> Result<(), HeadError> {
    match head.switch {
        Switch::Nothing => return Ok(()),
        Switch::Upgrade => {
            let protocol = head.headers.get(Known::Upgrade).unwrap_or_default();
            let protocol = std::str::from_utf8(protocol);
            let protocol = protocol.map_err(|_| HeadError("http2.invalid_header"))?;
            request.extensions_mut().insert(Protocol::from(protocol));
        }
        Switch::Connect => {
            let mut parts = uri::Parts::default();
            parts.authority = request.uri().authority().cloned();
            *request.uri_mut() =
                Uri::from_parts(parts).map_err(|_| HeadError("http2.invalid_authority"))?;
        }
    }
    *request.method_mut() = http::Method::CONNECT;
    // It would speak of a body, and there is none.
    request.headers_mut().remove(http::header::CONTENT_LENGTH);
    Ok(())
}

/// What an HTTP/2 host agrees to by 200, HTTP/1 says by 101.
pub fn agree_to_upgrade(head: &mut ResponseHead, protocol: &[u8]) {
    head.status = 101;
    head.headers.set(Known::Upgrade, protocol);
    head.headers.set(Known::Connection, UPGRADE);
}

#[cfg(test)]
mod tests {
    use super::{super::*, *};

    fn upgrade() -> RequestHead {
        let mut head = RequestHead::default();
        head.method = Method::Get;
        head.switch = Switch::Upgrade;
        head.set_path(b"/chat?a");
        head.set_authority(b"a:80");
        head.headers.append(Known::Upgrade, b"websocket");
        head.headers.append(Known::Connection, b"keep-alive, Upgrade");
        head.headers.append(Known::ContentLength, b"0");
        head
    }

    #[test]
    fn an_upgrade_survives_the_way_there_and_back() {
        let (parts, ()) = write_request(&upgrade()).unwrap().into_parts();
        assert_eq!(
            (parts.method.as_str(), parts.uri.to_string()),
            ("CONNECT", "http://a:80/chat?a".into())
        );
        assert!(parts.headers.is_empty());
        let mut back = RequestHead::default();
        read_request(&parts, &mut back).unwrap();
        assert_eq!((back.method, back.switch), (Method::Get, Switch::Upgrade));
        assert_eq!(back.headers.get(Known::Upgrade), Some(&b"websocket"[..]));
        assert_eq!(back.headers.get(Known::Connection), Some(UPGRADE));
        assert_eq!(back.path(), b"/chat?a");
    }

    #[test]
    fn a_connect_has_an_authority_and_nothing_else() {
        let mut head = upgrade();
        head.method = Method::Connect;
        head.switch = Switch::Connect;
        let (parts, ()) = write_request(&head).unwrap().into_parts();
        assert_eq!(parts.uri.to_string(), "a:80");
        assert!(parts.extensions.get::<Protocol>().is_none());
        let mut back = RequestHead::default();
        read_request(&parts, &mut back).unwrap();
        assert_eq!(
            (back.switch, back.path(), back.authority()),
            (Switch::Connect, &b""[..], &b"a:80"[..])
        );
    }

    #[test]
    fn an_agreement_is_101_inside_and_200_outside() {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        agree_to_upgrade(&mut head, b"websocket");
        assert_eq!(head.status, 101);
        let response = write_response(&head).unwrap();
        assert_eq!((response.status().as_u16(), response.headers().len()), (200, 0));
        head.headers.remove(Known::Upgrade);
        assert!(write_response(&head).is_err(), "nothing was agreed to");
    }
}
