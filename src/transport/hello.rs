//! Owns reading what a client says of itself before its handshake (ClientHello; RFC 8446, 4.1.2).

use rustls::server::Acceptor;

use tokio::net::TcpStream;

use super::{Look, Peeked, peek};

/// What the first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A client that speaks TLS.
    Tls(Hello),
    /// Something else.
    Else,
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
}

/// The first byte of a handshake's record.
const HANDSHAKE: u8 = 22;

impl Told {
    /// What these bytes say, if they are all of it.
    pub fn look(bytes: &[u8]) -> Look<Told> {
        match bytes.first() {
            None => return Look::More,
            Some(&HANDSHAKE) => {}
            Some(_) => return Look::Seen(Told::Else),
        }
        let (mut acceptor, mut rest) = (Acceptor::default(), bytes);
        loop {
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let hello = accepted.client_hello();
                    let alpn = hello.alpn();
                    let offers = alpn.map(|all| all.map(<[u8]>::to_vec).collect());
                    return Look::Seen(Told::Tls(Hello {
                        server_name: hello.server_name().map(str::to_ascii_lowercase),
                        alpn: offers.unwrap_or_default(),
                        bytes: bytes.len() - rest.len(),
                    }));
                }
                Ok(None) => {}
                Err(_) => return Look::Seen(Told::Else),
            }
            if rest.is_empty() {
                return Look::More;
            }
            if acceptor.read_tls(&mut rest).is_err() {
                return Look::Seen(Told::Else);
            }
        }
    }
}

/// Whether a client asks what an authority says of our certificate (`status_request`; RFC 6066, 8), which rustls keeps to
/// itself. Its bytes stay where they are.
pub(super) async fn asks_for_status(socket: &TcpStream) -> bool {
    let look = |bytes: &[u8]| match Told::look(bytes) {
        Look::More => Look::More,
        Look::Seen(Told::Else) => Look::Seen(false),
        Look::Seen(Told::Tls(_)) => Look::Seen(extensions(bytes).is_some_and(|mut extensions| {
            std::iter::from_fn(|| extensions.extension()).any(|kind| kind == STATUS_REQUEST)
        })),
    };
    matches!(peek(socket, HELLO_BYTES_MAX, look).await, Ok(Peeked::Seen(true)))
}

/// The extensions of a hello, which is in one record as all clients send it.
fn extensions(bytes: &[u8]) -> Option<Reader<'_>> {
    const RECORD_HEADER: usize = 5;
    const BEFORE_SESSION: usize = 4 + 2 + 32;
    let mut hello = Reader(bytes.get(RECORD_HEADER + BEFORE_SESSION..)?);
    hello.vector(1)?;
    hello.vector(2)?;
    hello.vector(1)?;
    hello.vector(2).map(Reader)
}

/// A hello that is larger is none that we answer. Envoy's inspector has the same bound.
const HELLO_BYTES_MAX: usize = 16 * 1024;

/// `status_request`
const STATUS_REQUEST: usize = 5;

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

// === impl Reader ===

impl<'a> Reader<'a> {
    fn number(&mut self, bytes: usize) -> Option<usize> {
        let (number, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(number.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    }

    /// Bytes with their length in front.
    fn vector(&mut self, length: usize) -> Option<&'a [u8]> {
        let length = self.number(length)?;
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }

    /// The kind of the next extension.
    fn extension(&mut self) -> Option<usize> {
        let kind = self.number(2)?;
        self.vector(2)?;
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

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
            assert_eq!(Told::look(&bytes[..short]), Look::More, "{short}");
        }
        let Look::Seen(Told::Tls(told)) = Told::look(&bytes) else { panic!("no hello") };
        assert_eq!(told.server_name.as_deref(), Some("one.test"));
        assert_eq!(told.alpn, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        let Look::Seen(Told::Tls(told)) = Told::look(&hello("127.0.0.1", &[])) else {
            panic!("no hello")
        };
        assert_eq!((told.server_name, told.alpn), (None, Vec::new()));
    }

    #[test]
    fn what_is_no_hello_is_something_else() {
        assert_eq!(Told::look(b"GET / HTTP/1.1\r\n"), Look::Seen(Told::Else));
        assert_eq!(Told::look(b"\x16\x03\x01\x00\x05\xff\xff\xff\xff\xff"), Look::Seen(Told::Else));
        assert_eq!(Told::look(b""), Look::More);
    }
}
