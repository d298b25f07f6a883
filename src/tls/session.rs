//! Owns what is known of a connection after its handshake, for headers, logs and matchers.

use std::{cell::OnceCell, fmt::Write as _, sync::Arc};

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use rustls::{CommonState, HandshakeKind, ProtocolVersion, pki_types::CertificateDer};

use super::{
    certificate::{Certificate, CertificateInfo, hex},
    greeting::Greeting,
    names::{cipher_name, group_name, version_name},
    validation::Validation,
};

/// A connection's TLS.
#[derive(Debug)]
pub struct Session {
    /// `TLSv1.3`.
    pub version: &'static str,
    /// By Envoy's name.
    pub cipher: &'static str,
    /// The group of the key exchange; empty where a session was resumed without one.
    pub group: &'static str,
    /// What we asked a host for (SNI); what a client asks for, the TLS inspector tells.
    pub server_name: Option<String>,
    /// What was agreed on.
    pub alpn: Option<Vec<u8>>,
    /// An earlier session goes on.
    pub resumed: bool,
    /// What the peer showed.
    pub peer: Option<Peer>,
    /// What we showed.
    pub local: Option<Arc<Certificate>>,
    /// By what a client is known, as the TLS inspector saw it.
    pub fingerprints: Option<Arc<Fingerprints>>,
}

/// By what clients of one kind are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// JA3; empty where nobody asks for it.
    pub ja3: String,
    /// JA4, the same way.
    pub ja4: String,
}

/// A peer's certificate.
#[derive(Debug)]
pub struct Peer {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// It was looked at and found to be trusted.
    pub validated: bool,
    trusted_by: Option<Arc<Validation>>,
    info: OnceCell<Option<CertificateInfo>>,
    pem: OnceCell<String>,
    forwarded: OnceCell<String>,
}

// === impl Session ===

impl Session {
    /// What a finished handshake came to.
    pub fn of(
        state: &CommonState,
        server_name: Option<&str>,
        trusted_by: Option<Arc<Validation>>,
    ) -> Self {
        let version = state.protocol_version().map_or("", version_name);
        let cipher = state.negotiated_cipher_suite().map_or("", |suite| cipher_name(suite.suite()));
        let group = state.negotiated_key_exchange_group();
        let chain = state.peer_certificates().filter(|chain| !chain.is_empty());
        Self {
            version,
            cipher,
            group: group.map_or("", |group| group_name(group.name())),
            server_name: server_name.map(str::to_owned),
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer: chain.map(|chain| Peer::new(chain, trusted_by)),
            local: None,
            fingerprints: None,
        }
    }

    /// What is known of a client's handshake before its hello: what it would be shown. Observed: Envoy 1.40.
    pub fn unfinished(local: Option<Arc<Certificate>>) -> Self {
        Self {
            version: version_name(ProtocolVersion::TLSv1_2),
            cipher: "",
            group: "",
            server_name: None,
            alpn: None,
            resumed: false,
            peer: None,
            local,
            fingerprints: None,
        }
    }

    /// What is known of it after its hello.
    pub fn greeted(&mut self, greeting: &Greeting) {
        let Some(shown) = &greeting.shown else { return };
        self.local = Some(shown.clone());
        self.version = greeting.version;
        self.cipher = greeting.cipher;
    }

    /// The peer has shown this, and was refused.
    pub fn refused(&mut self, chain: &[CertificateDer<'_>]) {
        self.peer = (!chain.is_empty()).then(|| Peer::new(chain, None));
    }

    /// What our own certificate says.
    pub fn own(&self) -> Option<&CertificateInfo> {
        self.local.as_ref()?.leaf()
    }
}

// === impl Peer ===

impl Peer {
    fn new(chain: &[CertificateDer<'_>], trusted_by: Option<Arc<Validation>>) -> Self {
        let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
        let (info, pem, forwarded) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { chain, validated: trusted_by.is_some(), trusted_by, info, pem, forwarded }
    }

    /// What the certificate says; read when first asked for.
    pub fn info(&self) -> Option<&CertificateInfo> {
        let read = || CertificateInfo::read(self.chain.first()?, "").ok();
        self.info.get_or_init(read).as_ref()
    }

    /// What all certificates of its chain say, the leaf first; read each time.
    pub fn infos(&self) -> impl Iterator<Item = CertificateInfo> {
        self.chain.iter().filter_map(|der| CertificateInfo::read(der, "").ok())
    }

    /// Who has signed a certificate that we trust: one of its chain, or one of our authorities.
    pub fn issuer(&self) -> Option<CertificateInfo> {
        let (trusted_by, name) = (self.trusted_by.as_ref()?, &self.info()?.issuer);
        let shown = self.infos().skip(1).find(|one| one.subject == *name);
        let known = || trusted_by.authorities.iter().find(|one| one.subject == *name).cloned();
        shown.or_else(known)
    }

    /// SHA-1 of each certificate of its chain. It names them; nothing may rest on it.
    pub fn sha1(&self) -> impl Iterator<Item = String> {
        let digest = |der: &CertificateDer<'_>| digest(&SHA1_FOR_LEGACY_USE_ONLY, der);
        self.chain.iter().map(move |der| hex(digest(der).as_ref()))
    }

    /// What requests on the connection say of it; made by the first.
    pub fn forwarded(&self, make: impl FnOnce() -> String) -> &str {
        self.forwarded.get_or_init(make)
    }

    /// The leaf as PEM, with its marks escaped for a URL, as `x-forwarded-client-cert` has it.
    pub fn escaped_pem(&self) -> &str {
        self.pem.get_or_init(|| self.chain.first().map(|der| escape(&pem(der))).unwrap_or_default())
    }

    /// The whole chain, the same way.
    pub fn escaped_chain(&self) -> String {
        escape(&self.chain.iter().map(|der| pem(der)).collect::<String>())
    }
}

/// A certificate as PEM (RFC 7468).
fn pem(der: &[u8]) -> String {
    let encoded = crate::base64::write(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in encoded.as_bytes().chunks(64) {
        out.push_str(std::str::from_utf8(line).unwrap_or_default());
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// Source: Envoy's `Utility::PercentEncoding::urlEncode`: all but letters, digits and `-_.~`.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}
