//! Owns `DownstreamTlsContext`: how clients are greeted.

use std::{sync::Arc, time::Duration};

use rustls::{
    CipherSuite, ConfigBuilder, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme, SupportedProtocolVersion, WantsVerifier,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
        ServerSessionMemoryCache, StoresServerSessions,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use sha2::{Digest, Sha256};
use understudy_actors::published::Publisher;
use webpki::KeyUsage;

use super::{
    Secret,
    certificate::Certificate,
    greeting::Made,
    key_log::KeyLogFile,
    parameters::Parameters,
    refused::may_sign,
    signatures::Signatures,
    tickets::{BoundSessions, BoundTickets, Terms, TicketKeys},
    trusted::Trusted,
    validation::Validation,
};

/// Sessions that are kept for clients without tickets.
const SESSIONS_KEPT: usize = 20_480;

/// What a `DownstreamTlsContext` asks for.
#[derive(Debug)]
pub struct ServerSettings {
    /// Versions, ciphers, groups.
    pub parameters: Parameters,
    /// In the order of the file.
    pub certificates: Vec<Secret<Certificate>>,
    /// Who may come; none is everybody.
    pub validation: Option<Secret<Validation>>,
    /// `require_client_certificate`.
    pub requires_certificate: bool,
    /// In the order of preference.
    pub alpn: Vec<Vec<u8>>,
    /// None with `disable_stateless_session_resumption`.
    pub tickets: Option<Arc<dyn ProducesTickets>>,
    /// What seals tickets, where that is not a key of our own.
    pub ticket_keys: Option<Secret<TicketKeys>>,
    /// `disable_stateful_session_resumption` false.
    pub keeps_sessions: bool,
    /// `session_timeout`
    pub session_lifetime: Option<Duration>,
    /// `full_scan_certs_on_sni_mismatch`: who asks for a name that no certificate has gets the best of all, not the first.
    pub scans_all: bool,
    /// `ocsp_staple_policy`
    pub stapling: Stapling,
    /// `key_log`
    pub key_log: Option<Arc<KeyLogFile>>,
    /// `prefer_client_ciphers`.
    pub prefers_client_order: bool,
}

/// `ocsp_staple_policy`: what is done for a client that asks what an authority says of a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stapling {
    /// It is told what there is.
    #[default]
    Lenient,
    /// It is sent away where what there is has expired.
    Strict,
    /// And where there is nothing.
    Must,
}

/// How clients of a filter chain are greeted. One for all workers.
#[derive(Debug)]
pub struct ServerContext {
    begun: ConfigBuilder<ServerConfig, WantsVerifier>,
    /// With equal cipher suites turned round.
    begun_turned: ConfigBuilder<ServerConfig, WantsVerifier>,
    /// What greetings have made of them.
    pub(super) made: Publisher<Vec<Made>>,
    pub(super) parameters: Parameters,
    /// What is shown.
    pub certificates: Vec<Secret<Certificate>>,
    /// Who may come.
    pub validation: Option<Secret<Validation>>,
    requires_certificate: bool,
    pub(super) alpn: Vec<Vec<u8>>,
    tickets: Option<Arc<dyn ProducesTickets>>,
    /// What seals tickets, where that is not a key of our own.
    ticket_keys: Option<Secret<TicketKeys>>,
    sessions: Option<Arc<dyn StoresServerSessions>>,
    session_lifetime: Option<Duration>,
    pub(super) key_log: Option<Arc<KeyLogFile>>,
    prefers_client_order: bool,
    pub(super) scans_all: bool,
    pub(super) stapling: Stapling,
    /// By what clients have signed.
    pub signatures: Arc<Signatures>,
}

/// rustls has one order of cipher suites for all versions, and takes equal ones in that order.
///
/// Observed: Envoy 1.40 goes by the client's order in TLS 1.3, and by its own in 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Theirs,
    Ours,
    /// With equal suites turned round.
    OursTurned,
}

/// What is asked of a client from its hello on, whatever is said meanwhile.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) trusted: Trusted,
    /// The same as long as the same is asked, and asked by the same.
    pub(super) digest: [u8; 32],
}

/// Looks at clients' certificates.
#[derive(Debug)]
struct Verifier {
    signatures: Arc<Signatures>,
    trusted: Trusted,
    required: bool,
    /// Whose certificates clients may show, by which they choose one.
    hints: Vec<DistinguishedName>,
}

// === impl ServerContext ===

impl ServerContext {
    /// What these settings make.
    ///
    /// # Errors
    ///
    /// rustls' own, for settings that contradict each other.
    pub fn new(settings: ServerSettings) -> Result<Self, Error> {
        let parameters = settings.parameters;
        let begin = |provider| {
            ServerConfig::builder_with_provider(provider)
                .with_protocol_versions(&parameters.versions)
        };
        let begun = begin(parameters.provider.clone())?;
        let begun_turned = begin(parameters.turned.clone())?;
        let sessions = settings.keeps_sessions.then(|| {
            let kept: Arc<dyn StoresServerSessions> = ServerSessionMemoryCache::new(SESSIONS_KEPT);
            kept
        });
        Ok(Self {
            begun,
            begun_turned,
            made: Publisher::new(Vec::new()),
            signatures: Signatures::new(&parameters),
            parameters,
            certificates: settings.certificates,
            validation: settings.validation,
            requires_certificate: settings.requires_certificate,
            alpn: settings.alpn,
            tickets: settings.tickets,
            ticket_keys: settings.ticket_keys,
            sessions,
            session_lifetime: settings.session_lifetime,
            key_log: settings.key_log,
            prefers_client_order: settings.prefers_client_order,
            scans_all: settings.scans_all,
            stapling: settings.stapling,
        })
    }

    /// What is asked of a client that comes now. A session goes on where its digest is the same.
    ///
    /// Source: Envoy's `ServerContextImpl::generateHashForSessionContextId`: also who we say we are is part of it.
    pub(super) fn asks(&self) -> Asked {
        let trusted = Trusted::now(self.validation.as_ref());
        let mut digest = Sha256::new();
        digest.update([u8::from(self.requires_certificate), u8::from(self.validation.is_some())]);
        digest.update(trusted.validation().map_or([0; 32], |validation| validation.digest));
        for own in self.certificates.iter().filter_map(Secret::read) {
            digest.update(own.identity);
        }
        Asked { trusted, digest: digest.finalize().into() }
    }

    /// For rustls: greets in this order, asks for this, shows what that says.
    pub(super) fn config(
        &self,
        order: Order,
        asked: &Asked,
        shows: Arc<dyn ResolvesServerCert>,
    ) -> ServerConfig {
        let begun = match order {
            Order::Theirs | Order::Ours => &self.begun,
            Order::OursTurned => &self.begun_turned,
        };
        let begun = match self.asks_for_certificates() {
            true => begun.clone().with_client_cert_verifier(Arc::new(Verifier {
                hints: asked
                    .trusted
                    .validation()
                    .map(|trusted| trusted.hints())
                    .unwrap_or_default(),
                signatures: self.signatures.clone(),
                trusted: asked.trusted.clone(),
                required: self.requires_certificate,
            })),
            false => begun.clone().with_no_client_auth(),
        };
        let mut config = begun.with_cert_resolver(shows);
        config.ignore_client_order = order != Order::Theirs;
        config.alpn_protocols.clone_from(&self.alpn);
        let terms = Terms::new(self.session_lifetime, asked.digest);
        config.session_storage = match self.sessions.clone() {
            Some(inner) => Arc::new(BoundSessions { inner, terms }),
            None => Arc::new(NoServerSessionStorage {}),
        };
        match self.tickets.clone() {
            Some(inner) => config.ticketer = Arc::new(BoundTickets::shared(inner, terms)),
            // Observed: Envoy 1.40 goes on with sessions of TLS 1.2 alone.
            None => config.send_tls13_tickets = 0,
        }
        if let Some(key_log) = &self.key_log {
            config.key_log = key_log.clone();
        }
        config
    }

    /// The tickets of one connection, where it matters who had them first.
    pub(super) fn tickets_of_one(&self, asked: &Asked) -> Option<Arc<dyn ProducesTickets>> {
        let inner = self.tickets.as_ref().filter(|_| self.asks_for_certificates())?;
        let terms = Terms::new(self.session_lifetime, asked.digest);
        Some(Arc::new(BoundTickets::of_one(inner.clone(), terms)))
    }

    fn asks_for_certificates(&self) -> bool {
        self.validation.is_some() || self.requires_certificate
    }

    pub(super) fn speaks(&self, version: &'static SupportedProtocolVersion) -> bool {
        self.parameters.versions.contains(&version)
    }

    pub(super) fn order(&self, hello: &ClientHello<'_>, speak_1_3: bool) -> Order {
        let offers = hello.cipher_suites();
        let first = |of: &[CipherSuite]| offers.iter().position(|suite| of.contains(suite));
        if self.prefers_client_order || speak_1_3 {
            return Order::Theirs;
        }
        match (first(&WITH_CHACHA20), first(&WITH_AES_128)) {
            (Some(chacha), Some(aes)) if chacha < aes => Order::OursTurned,
            _ => Order::Ours,
        }
    }

    /// The same as long as the configuration shows and trusts nothing that it did not before. What discovery brings
    /// changes under it.
    pub fn fingerprint(&self) -> Vec<String> {
        let shown = self.certificates.iter().filter_map(Secret::as_fixed);
        let shown = shown.flat_map(|certificate| certificate.fingerprint());
        let trusted = self.validation.iter().filter_map(Secret::as_fixed);
        let trusted = trusted.map(|validation| validation.fingerprint());
        let keys = self.ticket_keys.iter().filter_map(Secret::as_fixed);
        shown.chain(trusted).chain(keys.flat_map(|keys| keys.fingerprint())).collect()
    }

    /// Whether all that a handshake needs has been said.
    pub fn is_ready(&self) -> bool {
        self.certificates.iter().all(|certificate| certificate.read().is_some())
            && self.validation.as_ref().is_none_or(|validation| validation.read().is_some())
            && self.ticket_keys.as_ref().is_none_or(|keys| keys.read().is_some())
    }

    /// Whether it matters that a client asks what an authority says of a certificate.
    pub fn may_staple(&self) -> bool {
        let stapled =
            |one: &Secret<Certificate>| one.read().is_some_and(|own| own.staple.is_some());
        self.stapling != Stapling::Lenient || self.certificates.iter().any(stapled)
    }
}

const WITH_CHACHA20: [CipherSuite; 2] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

const WITH_AES_128: [CipherSuite; 2] = [
    CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

// === impl Verifier ===

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        let requires = |validation: &Arc<Validation>| validation.requires();
        self.required || self.trusted.validation().is_some_and(requires)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let (usage, signatures) = (KeyUsage::client_auth(), &self.signatures);
        self.trusted.verify(leaf, rest, now, usage, None, signatures)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        may_sign(leaf)?;
        self.signatures.verify_1_2(message, leaf, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        may_sign(leaf)?;
        self.signatures.verify_1_3(message, leaf, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.schemes()
    }
}
