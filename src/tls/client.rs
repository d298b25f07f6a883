//! Owns `UpstreamTlsContext`: how hosts are greeted.

use std::sync::Arc;

use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, NoKeyLog, SignatureScheme,
    WantsVerifier,
    client::{
        ClientSessionMemoryCache, ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};
use understudy_actors::published::Publisher;
use webpki::KeyUsage;

use super::{
    Secret,
    certificate::Certificate,
    key_log::{Ends, KeyLogFile},
    parameters::Parameters,
    refused::may_sign,
    signatures::{Signatures, limited},
    trusted::Trusted,
    validation::{HostName, Validation},
};

/// What an `UpstreamTlsContext` asks for.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Versions, ciphers, groups.
    pub parameters: Parameters,
    /// What we show to a host that asks; the first that will do.
    pub certificates: Vec<Secret<Certificate>>,
    /// Whom we trust; none is everybody, as in Envoy.
    pub validation: Option<Secret<Validation>>,
    /// The name asked for, where nothing else says one.
    pub server_name: Option<String>,
    /// `auto_host_sni`: the host's own name.
    pub host_name_is_asked_for: bool,
    /// Whether the certificate must be for the name that is asked for.
    pub server_name_is: Verified,
    /// In the order of preference; none leaves it to the protocol that is spoken.
    pub alpn: Vec<Vec<u8>>,
    /// `key_log`
    pub key_log: Option<Arc<KeyLogFile>>,
    /// `max_session_keys`; 0 resumes none.
    pub sessions_kept: usize,
}

/// Whether a certificate must be for the name that is asked for; Envoy says no to each in other words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verified {
    /// It may be for any.
    #[default]
    Never,
    /// `auto_sni_san_validation`
    AsSanMatcher,
    /// `auto_san_validation`
    AsSanList,
}

/// How hosts of a cluster are greeted. One for all workers.
#[derive(Debug)]
pub struct ClientContext {
    begun: ConfigBuilder<ClientConfig, WantsVerifier>,
    made: Publisher<Made>,
    /// What was asked for.
    pub settings: ClientSettings,
    /// By what hosts have signed.
    pub signatures: Arc<Signatures>,
}

/// What secrets as they are now make. Sessions end with it: who is trusted otherwise, and who shows something else, begins
/// anew. Source: Envoy's `ClientContextImpl`, which keeps them.
#[derive(Debug)]
struct Made {
    trusted: Trusted,
    shown: Vec<Arc<Certificate>>,
    /// For rustls, by what will be spoken.
    configs: [Arc<ClientConfig>; 4],
}

/// What will be spoken on a connection: offered where the configuration names no protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// No HTTP: nothing is offered.
    Anything,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2 if the host has it, else HTTP/1.
    Either,
}

/// Looks at hosts' certificates.
#[derive(Debug)]
struct Verifier {
    signatures: Arc<Signatures>,
    trusted: Trusted,
    server_name_is: Verified,
}

/// What we show.
#[derive(Debug)]
struct Resolver {
    shown: Vec<Arc<Certificate>>,
    parameters: Parameters,
}

// === impl ClientContext ===

impl ClientContext {
    /// What these settings make.
    ///
    /// # Errors
    ///
    /// rustls' own, for settings that contradict each other.
    pub fn new(settings: ClientSettings) -> Result<Self, Error> {
        let signatures = Signatures::new(&settings.parameters);
        let begun = ClientConfig::builder_with_provider(settings.parameters.provider.clone())
            .with_protocol_versions(&settings.parameters.versions)?;
        let made = Publisher::new(Made::new(&begun, &settings, &signatures));
        Ok(Self { begun, made, settings, signatures })
    }

    /// The same, where the certificate must be for the name that is asked for (`auto_san_validation`).
    ///
    /// # Errors
    ///
    /// rustls' own.
    pub fn verifying_server_name(&self) -> Result<Self, Error> {
        let server_name_is = Verified::AsSanList;
        Self::new(ClientSettings { server_name_is, ..self.settings.clone() })
    }

    /// How a host is greeted with which this will be spoken, over a connection that has these ends.
    pub fn config(&self, speaks: Speaks, ends: impl FnOnce() -> Ends) -> Arc<ClientConfig> {
        let mut config = self.made().config_for(speaks).clone();
        if self.settings.key_log.as_ref().is_some_and(|log| !log.takes(ends())) {
            Arc::make_mut(&mut config).key_log = Arc::new(NoKeyLog);
        }
        config
    }

    /// What was made of the secrets as they are now.
    fn made(&self) -> Arc<Made> {
        let made = self.made.read();
        if made.is_of(&self.settings) {
            return made;
        }
        // Who makes it at the same time makes the same, but for its sessions: one of both is kept.
        let made = Arc::new(Made::new(&self.begun, &self.settings, &self.signatures));
        self.made.publish(made.clone());
        made
    }

    /// The certificate that hosts are shown that ask for one.
    pub fn shown(&self) -> Option<Arc<Certificate>> {
        self.settings.certificates.iter().find_map(Secret::read)
    }

    /// The same as long as the configuration shows and trusts nothing that it did not before.
    pub fn fingerprint(&self) -> Vec<String> {
        let shown = self.settings.certificates.iter().filter_map(Secret::as_fixed);
        let shown = shown.flat_map(|certificate| certificate.fingerprint());
        let trusted = self.settings.validation.iter().filter_map(Secret::as_fixed);
        shown.chain(trusted.map(|validation| validation.fingerprint())).collect()
    }

    /// Whether all that a handshake needs has been said.
    pub fn is_ready(&self) -> bool {
        self.settings.certificates.iter().all(|certificate| certificate.read().is_some())
            && self.settings.validation.as_ref().is_none_or(|trusted| trusted.read().is_some())
    }
}

// === impl Made ===

impl Made {
    fn new(
        begun: &ConfigBuilder<ClientConfig, WantsVerifier>,
        settings: &ClientSettings,
        signatures: &Arc<Signatures>,
    ) -> Self {
        let trusted = Trusted::now(settings.validation.as_ref());
        let shown = settings.certificates.iter().filter_map(Secret::read).collect::<Vec<_>>();
        let verifier = Verifier {
            signatures: signatures.clone(),
            trusted: trusted.clone(),
            server_name_is: settings.server_name_is,
        };
        let resolver = Resolver { shown: shown.clone(), parameters: settings.parameters.clone() };
        let mut config = begun
            .clone()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols.clone_from(&settings.alpn);
        if let Some(key_log) = &settings.key_log {
            config.key_log = key_log.clone();
        }
        config.resumption = match settings.sessions_kept {
            0 => Resumption::disabled(),
            kept => Resumption::store(Arc::new(ClientSessionMemoryCache::new(kept))),
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            if settings.alpn.is_empty() {
                config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            }
            Arc::new(config)
        };
        let (http1, http2) = (offering(&[b"http/1.1"]), offering(&[b"h2"]));
        let either = offering(&[b"h2", b"http/1.1"]);
        Self { trusted, shown, configs: [Arc::new(config), http1, http2, either] }
    }

    fn is_of(&self, settings: &ClientSettings) -> bool {
        let now = || settings.certificates.iter().filter_map(Secret::read);
        self.trusted.is(&Trusted::now(settings.validation.as_ref()))
            && now().count() == self.shown.len()
            && now().zip(&self.shown).all(|(now, then)| Arc::ptr_eq(&now, then))
    }

    fn config_for(&self, speaks: Speaks) -> &Arc<ClientConfig> {
        let [anything, http1, http2, either] = &self.configs;
        match speaks {
            Speaks::Anything => anything,
            Speaks::Http1 => http1,
            Speaks::Http2 => http2,
            Speaks::Either => either,
        }
    }
}

// === impl Verifier ===

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = name.to_str();
        let listed = self.server_name_is == Verified::AsSanList;
        let host =
            (self.server_name_is != Verified::Never).then_some(HostName { name: &name, listed });
        let (usage, signatures) = (KeyUsage::server_auth(), &self.signatures);
        self.trusted.verify(leaf, rest, now, usage, host.as_ref(), signatures)?;
        Ok(ServerCertVerified::assertion())
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

// === impl Resolver ===

impl ResolvesClientCert for Resolver {
    fn resolve(
        &self,
        _issuers: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let mut all = self.shown.iter().map(|own| limited(&own.key, &self.parameters));
        all.find(|own| own.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        !self.shown.is_empty()
    }
}
