//! Owns handshakes: from a socket to an encrypted connection, told to a tally as Envoy counts them.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use rustls::{
    AlertDescription, HandshakeKind, SignatureScheme,
    pki_types::{CertificateDer, DnsName, ServerName},
    server::Acceptor,
};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};
use understudy_actors::stats::SslStat;

use super::{
    Stream,
    hello::{asks_for_status, speaks_http},
    plain::Wire,
    reason::{self, NotTls},
};
use crate::tls::{
    Certificate, ClientContext, Ends, Refusal, Refused, Rejection, Secret, ServerContext, Session,
    Signatures, Speaks, names, refused,
};

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer is not trusted.
    #[error("TLS_error:|{code}:{0}:TLS_error_end", code = reason::of_refusal(.0))]
    Refused(Refusal),
    /// It signs with a key that may not sign.
    #[error("TLS_error:|{code}:TLS_error_end", code = reason::KEY_USAGE)]
    Usage,
    /// What it said is no TLS that we speak.
    #[error("TLS_error:|{code}:TLS_error_end", code = reason::of_error(.0))]
    Protocol(rustls::Error),
    /// It was sent away before.
    #[error("TLS_error:|{code}:TLS_error_end", code = reason::of_rejection(*.0))]
    Rejected(Rejection),
    /// A secret has not come yet.
    #[error("TLS_error:Secret is not supplied by SDS")]
    NotReady,
    /// It speaks HTTP.
    #[error("TLS_error:|{code}:TLS_error_end", code = .0.told())]
    Http(NotTls),
    /// It has gone.
    #[error("{words}", words = reason::of_system(.0))]
    Lost(io::Error),
}

/// A client's handshake that came to nothing.
#[derive(Debug)]
pub struct Unfinished {
    /// Why.
    pub why: HandshakeError,
    /// What is known of it.
    pub session: Session,
}

/// What a client that is sent away is told (RFC 5246, 7.2; RFC 7507).
fn alert(rejection: Rejection) -> [u8; 7] {
    let description = match rejection {
        Rejection::Fallback => AlertDescription::InappropriateFallback,
        _ => AlertDescription::HandshakeFailure,
    };
    const FATAL: u8 = 2;
    [21, 3, 3, 0, 2, FATAL, description.into()]
}

/// Counts what a client is told of its certificate's authority.
fn staple(
    context: &ServerContext,
    shown: &Certificate,
    tally: &impl Fn(SslStat),
) -> Result<(), Rejection> {
    tally(SslStat::OcspStapleRequests);
    let told = context.staples(shown);
    tally(match told {
        Ok(true) => SslStat::OcspStapleResponses,
        Ok(false) => SslStat::OcspStapleOmitted,
        Err(_) => SslStat::OcspStapleFailed,
    });
    told.map(|_| ())
}

/// Greets a client at the other end of a connection.
///
/// # Errors
///
/// [`Unfinished`], counted.
pub async fn accept(
    socket: TcpStream,
    context: &ServerContext,
    ends: Ends,
    tally: impl Fn(SslStat),
) -> Result<(Stream, Session), Box<Unfinished>> {
    let first = context.certificates.first().and_then(Secret::read);
    let mut session = Session::unfinished(first);
    match greet(socket, context, ends, &tally, &mut session).await {
        Ok(stream) => Ok((stream, session)),
        Err(why) => Err(Box::new(Unfinished { why, session })),
    }
}

/// Greets a client, and keeps what is known of its handshake so far.
async fn greet(
    socket: TcpStream,
    context: &ServerContext,
    ends: Ends,
    tally: &impl Fn(SslStat),
    known: &mut Session,
) -> Result<Stream, HandshakeError> {
    // Observed: Envoy 1.40 tells it by name, and sends no alert.
    if let Some(begins) = speaks_http(&socket).await {
        tally(SslStat::ConnectionError);
        return Err(HandshakeError::Http(begins));
    }
    let asks = context.may_staple() && asks_for_status(&socket).await;
    let begun = LazyConfigAcceptor::new(Acceptor::default(), Wire(socket)).await;
    let begun = begun.map_err(|error| HandshakeError::of(error, tally).0)?;
    let hello = begun.client_hello();
    let greeted = context.greet(&hello, ends).and_then(|greeting| {
        if let Some(shown) = greeting.shown.as_ref().filter(|_| asks) {
            staple(context, shown, tally)?;
        }
        Ok(greeting)
    });
    let greeting = match greeted {
        Ok(greeting) => greeting,
        Err(rejection) => {
            tally(SslStat::ConnectionError);
            // One that is gone already needs no alert.
            let _ = begun.io.0.try_write(&alert(rejection));
            return Err(HandshakeError::Rejected(rejection));
        }
    };
    known.greeted(&greeting);
    let tls = begun.into_stream(greeting.config.clone()).await.map_err(|error| {
        let (why, chain) = HandshakeError::of(error, tally);
        known.refused(&chain);
        why
    })?;
    let (_, connection) = tls.get_ref();
    let resumed = connection.handshake_kind() == Some(HandshakeKind::Resumed);
    let chain = connection.peer_certificates().unwrap_or_default();
    let trusted_by = greeting.trusts(chain, resumed);
    *known = Session::of(connection, connection.server_name(), trusted_by);
    known.local = greeting.shown;
    count(known, &context.signatures, tally);
    Ok(TlsStream::Server(tls).into())
}

/// Greets a host; the name asked for is none where it is none that may be asked for.
///
/// # Errors
///
/// [`HandshakeError`], counted.
pub async fn connect(
    socket: TcpStream,
    context: &ClientContext,
    speaks: Speaks,
    server_name: Option<&str>,
    host: IpAddr,
    tally: impl Fn(SslStat),
) -> Result<(Stream, Session), HandshakeError> {
    // rustls wants a name for each handshake, and tells none that is an address.
    let name = server_name.and_then(|name| ServerName::try_from(name.to_owned()).ok());
    let name = name.unwrap_or_else(|| ServerName::IpAddress(host.into()));
    let ip = |end: io::Result<SocketAddr>| end.ok().map(|end| end.ip());
    let ends = || Ends { local: ip(socket.local_addr()), remote: ip(socket.peer_addr()) };
    let config = context.config(speaks, ends);
    let connected = TlsConnector::from(config).connect(name, Wire(socket)).await;
    let tls = connected.map_err(|error| HandshakeError::of(error, &tally).0)?;
    // Nobody is asked for an address.
    let asked_for = server_name.filter(|name| DnsName::try_from(*name).is_ok());
    let session = Session::of(tls.get_ref().1, asked_for, None);
    count(&session, &context.signatures, &tally);
    Ok((TlsStream::Client(tls).into(), session))
}

impl HandshakeError {
    /// Why it came to nothing; empty where the peer has gone.
    pub fn reason(&self) -> String {
        match self {
            HandshakeError::Lost(_) => String::new(),
            told => told.to_string(),
        }
    }

    /// What it is, and what the peer has shown, where it is refused for that.
    fn of(error: io::Error, tally: &impl Fn(SslStat)) -> (Self, Vec<CertificateDer<'static>>) {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(tls) = inner else { return (HandshakeError::Lost(error), Vec::new()) };
        match refused(tls) {
            Some(Refused { why, chain }) => {
                tally(match why {
                    Refusal::NoCertificate => SslStat::FailVerifyNoCert,
                    Refusal::Chain(_) => SslStat::FailVerifyError,
                    Refusal::Name(_) | Refusal::Host { .. } => SslStat::FailVerifySan,
                    Refusal::Hash => SslStat::FailVerifyCertHash,
                    Refusal::Usage => SslStat::ConnectionError,
                });
                let told = match why {
                    Refusal::Usage => HandshakeError::Usage,
                    why => HandshakeError::Refused(why),
                };
                (told, chain)
            }
            None => {
                tally(SslStat::ConnectionError);
                (HandshakeError::Protocol(tls.clone()), Vec::new())
            }
        }
    }
}

fn count(session: &Session, signatures: &Signatures, tally: &impl Fn(SslStat)) {
    tally(SslStat::Handshake);
    if session.resumed {
        tally(SslStat::SessionReused);
    }
    if session.peer.is_none() {
        tally(SslStat::NoCertificate);
    }
    for algorithm in [cipher_stat(session.cipher), group_stat(session.group)].into_iter().flatten()
    {
        tally(algorithm);
    }
    signatures.tell(|scheme| signature_stat(scheme).into_iter().for_each(tally));
    let wrong = [SslStat::FailVerifyError, SslStat::FailVerifySan, SslStat::FailVerifyCertHash];
    for (stat, times) in wrong.into_iter().zip(signatures.tell_forgiven()) {
        (0..times).for_each(|_| tally(stat));
    }
    tally(match session.version {
        names::TLS_1_3 => SslStat::Version13,
        _ => SslStat::Version12,
    });
}

fn cipher_stat(name: &str) -> Option<SslStat> {
    use SslStat as S;
    Some(match name {
        "TLS_AES_128_GCM_SHA256" => S::CipherTls13Aes128,
        "TLS_AES_256_GCM_SHA384" => S::CipherTls13Aes256,
        "TLS_CHACHA20_POLY1305_SHA256" => S::CipherTls13ChaCha20,
        "ECDHE-ECDSA-AES128-GCM-SHA256" => S::CipherEcdsaAes128,
        "ECDHE-ECDSA-AES256-GCM-SHA384" => S::CipherEcdsaAes256,
        "ECDHE-ECDSA-CHACHA20-POLY1305" => S::CipherEcdsaChaCha20,
        "ECDHE-RSA-AES128-GCM-SHA256" => S::CipherRsaAes128,
        "ECDHE-RSA-AES256-GCM-SHA384" => S::CipherRsaAes256,
        "ECDHE-RSA-CHACHA20-POLY1305" => S::CipherRsaChaCha20,
        _ => return None,
    })
}

fn signature_stat(scheme: SignatureScheme) -> Option<SslStat> {
    use SslStat as S;
    Some(match names::signature_name(scheme) {
        "ecdsa_secp256r1_sha256" => S::SigalgEcdsaP256,
        "ecdsa_secp384r1_sha384" => S::SigalgEcdsaP384,
        "ed25519" => S::SigalgEd25519,
        "rsa_pkcs1_sha256" => S::SigalgRsaPkcs1Sha256,
        "rsa_pkcs1_sha384" => S::SigalgRsaPkcs1Sha384,
        "rsa_pkcs1_sha512" => S::SigalgRsaPkcs1Sha512,
        "rsa_pss_rsae_sha256" => S::SigalgRsaPssSha256,
        "rsa_pss_rsae_sha384" => S::SigalgRsaPssSha384,
        "rsa_pss_rsae_sha512" => S::SigalgRsaPssSha512,
        _ => return None,
    })
}

fn group_stat(name: &str) -> Option<SslStat> {
    use SslStat as S;
    Some(match name {
        "X25519" => S::CurveX25519,
        "X25519MLKEM768" => S::CurveX25519MlKem768,
        "P-256" => S::CurveP256,
        "P-384" => S::CurveP384,
        _ => return None,
    })
}
