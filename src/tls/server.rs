//! Owns `DownstreamTlsContext`: how clients are greeted.

use std::{sync::Arc, time::Duration};

use rustls::{
    CipherSuite, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCertUsingSni, ServerSessionMemoryCache,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::{TLS12, TLS13},
};
use understudy_actors::published::Publisher;
use webpki::KeyUsage;

use super::{
    Secret,
    certificate::Certificate,
    greeting::Made,
    key_log::KeyLogFile,
    parameters::Parameters,
    refused::{may_sign, told},
    signatures::Signatures,
    tickets::{TicketKeys, TimedSessions},
    validation::{Flaw, Validation},
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
    pub tickets: Option<Arc<dyn rustls::server::ProducesTickets>>,
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
    pub(super) configs: Configs,
    /// What greetings have made of them.
    pub(super) made: Publisher<Vec<Made>>,
    pub(super) parameters: Parameters,
    /// What is shown.
    pub certificates: Vec<Secret<Certificate>>,
    /// Who may come.
    pub validation: Option<Secret<Validation>>,
    /// What seals tickets, where that is not a key of our own.
    ticket_keys: Option<Secret<TicketKeys>>,
    pub(super) key_log: Option<Arc<KeyLogFile>>,
    pub(super) scans_all: bool,
    pub(super) stapling: Stapling,
    /// By what clients have signed.
    pub signatures: Arc<Signatures>,
}

/// For rustls, which has one order of cipher suites for all versions, and takes equal ones in that order.
///
/// Observed: Envoy 1.40 goes by the client's order in TLS 1.3, and by its own in 1.2.
#[derive(Debug)]
pub(super) struct Configs {
    by_their_order: Arc<ServerConfig>,
    by_ours: Arc<ServerConfig>,
    /// With equal suites turned round.
    by_ours_turned: Arc<ServerConfig>,
    prefers_theirs: bool,
    pub(super) speak_1_2: bool,
    pub(super) speak_1_3: bool,
}

/// Looks at clients' certificates.
#[derive(Debug)]
struct Verifier {
    signatures: Arc<Signatures>,
    validation: Option<Secret<Validation>>,
    required: bool,
    /// Whose certificates clients may show, by which they choose one; what discovery brings may change, and is none.
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
        let ServerSettings { parameters, certificates, validation, .. } = settings;
        let signatures = Signatures::new(&parameters);
        let trusted = validation.as_ref().and_then(Secret::as_fixed);
        let verifier = Verifier {
            hints: trusted.map(|trusted| trusted.hints()).unwrap_or_default(),
            signatures: signatures.clone(),
            validation: validation.clone(),
            required: settings.requires_certificate,
        };
        let asks = validation.is_some() || settings.requires_certificate;
        // What is shown, each greeting says.
        let (verifier, nothing) = (Arc::new(verifier), Arc::new(ResolvesServerCertUsingSni::new()));
        let begun = |provider: &Arc<CryptoProvider>| {
            let builder = ServerConfig::builder_with_provider(provider.clone())
                .with_protocol_versions(&parameters.versions)?;
            let builder = match asks {
                true => builder.with_client_cert_verifier(verifier.clone()),
                false => builder.with_no_client_auth(),
            };
            Ok::<_, Error>(builder.with_cert_resolver(nothing.clone()))
        };
        let mut config = begun(&parameters.provider)?;
        config.alpn_protocols = settings.alpn;
        config.session_storage = match settings.keeps_sessions {
            true => {
                let kept = ServerSessionMemoryCache::new(SESSIONS_KEPT);
                Arc::new(TimedSessions::new(kept, settings.session_lifetime))
            }
            false => Arc::new(NoServerSessionStorage {}),
        };
        match settings.tickets {
            Some(tickets) => config.ticketer = tickets,
            // Observed: Envoy 1.40 goes on with sessions of TLS 1.2 alone.
            None => config.send_tls13_tickets = 0,
        }
        if let Some(key_log) = &settings.key_log {
            config.key_log = key_log.clone();
        }
        let mut by_ours = config.clone();
        by_ours.ignore_client_order = true;
        let mut turned = begun(&parameters.turned)?;
        turned.alpn_protocols.clone_from(&config.alpn_protocols);
        turned.session_storage = config.session_storage.clone();
        turned.ticketer = config.ticketer.clone();
        turned.key_log = config.key_log.clone();
        turned.send_tls13_tickets = config.send_tls13_tickets;
        turned.ignore_client_order = true;
        let configs = Configs {
            by_their_order: Arc::new(config),
            by_ours: Arc::new(by_ours),
            by_ours_turned: Arc::new(turned),
            prefers_theirs: settings.prefers_client_order,
            speak_1_2: parameters.versions.contains(&&TLS12),
            speak_1_3: parameters.versions.contains(&&TLS13),
        };
        Ok(Self {
            configs,
            made: Publisher::new(Vec::new()),
            parameters,
            certificates,
            validation,
            ticket_keys: settings.ticket_keys,
            key_log: settings.key_log,
            scans_all: settings.scans_all,
            stapling: settings.stapling,
            signatures,
        })
    }

    /// The same as long as the configuration shows and trusts nothing that it did not before. What discovery brings
    /// changes under it.
    pub fn fingerprint(&self) -> Vec<String> {
        let shown = self.certificates.iter().filter_map(Secret::as_fixed);
        let shown = shown.flat_map(|certificate| certificate.fingerprint());
        let trusted = self.validation.iter().filter_map(Secret::as_fixed);
        let trusted = trusted.flat_map(|validation| validation.fingerprint());
        let keys = self.ticket_keys.iter().filter_map(Secret::as_fixed);
        shown.chain(trusted).chain(keys.flat_map(|keys| keys.fingerprint())).collect()
    }

    /// Whether all that a handshake needs has been said.
    pub fn is_ready(&self) -> bool {
        self.certificates.iter().all(|certificate| certificate.read().is_some())
            && self.validation.as_ref().is_none_or(|validation| validation.read().is_some())
            && self.ticket_keys.as_ref().is_none_or(|keys| keys.read().is_some())
    }

    /// By whom a chain that a client has shown, first the leaf, is found to be one that we trust, if it is.
    pub fn trusts(&self, chain: &[CertificateDer<'_>]) -> Option<Arc<Validation>> {
        let validation = self.validation.as_ref().and_then(Secret::read);
        validation.filter(|validation| validation.trusts(chain))
    }

    /// Whether it matters that a client asks what an authority says of a certificate.
    pub fn may_staple(&self) -> bool {
        let stapled =
            |one: &Secret<Certificate>| one.read().is_some_and(|own| own.staple.is_some());
        self.stapling != Stapling::Lenient || self.certificates.iter().any(stapled)
    }
}

// === impl Configs ===

impl Configs {
    pub(super) fn config(&self, hello: &ClientHello<'_>, speak_1_3: bool) -> &Arc<ServerConfig> {
        let offers = hello.cipher_suites();
        let first = |of: &[CipherSuite]| offers.iter().position(|suite| of.contains(suite));
        if self.prefers_theirs || speak_1_3 {
            return &self.by_their_order;
        }
        match (first(&WITH_CHACHA20), first(&WITH_AES_128)) {
            (Some(chacha), Some(aes)) if chacha < aes => &self.by_ours_turned,
            _ => &self.by_ours,
        }
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
        let validation = || self.validation.as_ref()?.read();
        self.required || validation().is_some_and(|validation| validation.requires())
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
        let validation = match &self.validation {
            Some(validation) => validation.read(),
            None => return Ok(ClientCertVerified::assertion()),
        };
        let Some(validation) = validation else {
            return Err(told(Flaw::nobody_is_trusted(), leaf, rest));
        };
        match validation.verify(leaf, rest, now, KeyUsage::client_auth(), None) {
            Err(refusal) if validation.accepts_untrusted() => self.signatures.note(&refusal),
            verified => verified.map_err(|refusal| told(refusal, leaf, rest))?,
        }
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
