//! Owns reading what a client says of itself before its handshake (ClientHello; RFC 8446, 4.1.2).

use tokio::net::TcpStream;

use super::{
    Look, Peeked,
    client_hello::{ClientHello, FirstMessage, STATUS_REQUEST},
    fingerprint::{ja3, ja4},
    peek,
    reason::{FIRST_BYTES, NotTls},
};
use crate::tls::Fingerprints;

/// What the first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A client that speaks TLS.
    Tls(Hello),
    /// Something else.
    Else(NotTls),
}

/// What a client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Which host it asks for (SNI), in lower case.
    pub server_name: Option<String>,
    /// What it offers (ALPN), in its order.
    pub alpn: Vec<Vec<u8>>,
    /// How many bytes that took.
    pub bytes: usize,
    /// What it has in common with others, where that is asked for.
    pub fingerprints: Fingerprints,
}

/// Which fingerprints are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// `enable_ja3_fingerprinting`
    pub ja3: bool,
    /// `enable_ja4_fingerprinting`
    pub ja4: bool,
}

impl Told {
    /// What these bytes say, if they are all of it.
    pub fn look(bytes: &[u8], takes: Takes) -> Look<Told> {
        let told = of(bytes, |hello, bytes| Hello {
            server_name: hello.server_name(),
            alpn: hello.protocols().map(<[u8]>::to_vec).collect(),
            bytes,
            fingerprints: Fingerprints {
                ja3: if takes.ja3 { ja3(hello) } else { String::new() },
                ja4: if takes.ja4 { ja4(hello) } else { String::new() },
            },
        });
        match told {
            Look::More => Look::More,
            Look::Seen(Some(hello)) => Look::Seen(Told::Tls(hello)),
            Look::Seen(None) => Look::Seen(Told::Else(NotTls::of(bytes))),
        }
    }
}

/// What is made of a hello and of how many bytes it takes; nothing, if these bytes are none.
fn of<T>(bytes: &[u8], make: impl FnOnce(&ClientHello<'_>, usize) -> T) -> Look<Option<T>> {
    match FirstMessage::look(bytes) {
        Look::More => Look::More,
        Look::Seen(message) => {
            Look::Seen(message.and_then(|message| Some(make(&message.hello()?, message.bytes))))
        }
    }
}

/// Whether a client asks what an authority says of our certificate (`status_request`; RFC 6066, 8), which rustls keeps to
/// itself. Its bytes stay where they are.
pub(super) async fn asks_for_status(socket: &TcpStream) -> bool {
    let look = |bytes: &[u8]| of(bytes, |hello, _| hello.extension(STATUS_REQUEST).is_some());
    // Who says it in a way that we do not understand may ask all the same.
    !matches!(peek(socket, HELLO_BYTES_MAX, look).await, Ok(Peeked::Seen(Some(false))))
}

/// Whether a client speaks HTTP and not TLS. Its bytes stay where they are.
pub(super) async fn speaks_http(socket: &TcpStream) -> Option<NotTls> {
    let look = |bytes: &[u8]| match bytes.len() {
        ..FIRST_BYTES => Look::More,
        _ => Look::Seen(NotTls::of(bytes)),
    };
    match peek(socket, FIRST_BYTES, look).await {
        Ok(Peeked::Seen(begins)) if begins.is_http() => Some(begins),
        _ => None,
    }
}

/// A hello that is larger is none that we answer. Envoy's inspector has the same bound.
const HELLO_BYTES_MAX: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn look(bytes: &[u8]) -> Look<Told> {
        Told::look(bytes, Takes { ja3: true, ja4: true })
    }

    fn hello(name: &str, alpn: &[&str]) -> Vec<u8> {
        let provider = Arc::new(crate::tls::provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut out = Vec::new();
        client.write_tls(&mut out).unwrap();
        out
    }

    #[test]
    fn a_hello_says_its_host_and_its_protocols_once_it_is_whole() {
        let bytes = hello("One.Test", &["h2", "http/1.1"]);
        for short in [1, 5, 6, 60, bytes.len() - 1] {
            assert_eq!(look(&bytes[..short]), Look::More, "{short}");
        }
        let Look::Seen(Told::Tls(told)) = look(&bytes) else { panic!("no hello") };
        assert_eq!(told.server_name.as_deref(), Some("one.test"));
        assert_eq!(told.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        let Look::Seen(Told::Tls(told)) = look(&hello("127.0.0.1", &[])) else {
            panic!("no hello")
        };
        assert_eq!((told.server_name, told.alpn), (None, Vec::new()));
    }

    #[test]
    fn a_hello_may_be_in_several_records_and_nothing_may_follow() {
        let bytes = hello("one.test", &[]);
        let record = |content: &[u8]| {
            [&[22, 3, 3][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content]
                .concat()
        };
        let message = &bytes[5..];
        for at in [1, 4, 50, message.len() - 1] {
            let split = [record(&message[..at]), record(&[]), record(&message[at..])].concat();
            let Look::Seen(Told::Tls(told)) = look(&split) else { panic!("no hello of {at}") };
            assert_eq!((told.server_name.as_deref(), told.bytes), (Some("one.test"), split.len()));
            assert_eq!(look(&record(&message[..at])), Look::More);
        }
        assert_eq!(
            look(&record(&[message, &[0]].concat())),
            Look::Seen(Told::Else(NotTls::NoHello))
        );
    }

    #[test]
    fn a_name_has_nothing_in_it_that_none_can_have() {
        let bytes = hello("one.test", &[]);
        let at = bytes.windows(8).position(|window| window == b"one.test").unwrap();
        for (says, expected) in [
            (b"o_e.TEST", Some("o_e.test")),
            (b"a\r\nb: c\0", None),
            (b"a\r\nb: cd", Some("invalid:a__b__cd")),
            (b"\xc3\x9c1.test", Some("invalid:__1.test")),
        ] {
            let mut other = bytes.clone();
            other[at..at + 8].copy_from_slice(says);
            let name = match look(&other) {
                Look::Seen(Told::Tls(told)) => told.server_name,
                _ => None,
            };
            assert_eq!(name.as_deref(), expected);
        }
    }

    #[test]
    fn what_is_no_hello_is_something_else() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], NotTls::HttpRequest),
            (b"CONNECT a:1 HTTP/1.1\r\n", NotTls::ProxyRequest),
            (b"PRI * HTTP/2.0\r\n", NotTls::Unknown),
            (b"\x16\x03\x01\xff\xff\x01", NotTls::LongRecord),
            (b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff", NotTls::NoHello),
        ] {
            assert_eq!(look(bytes), Look::Seen(Told::Else(expected)), "{}", bytes.escape_ascii());
        }
        assert_eq!(look(b""), Look::More);
    }
}
