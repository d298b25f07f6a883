//! Owns `DownstreamTlsContext`: how clients are greeted.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerSessionMemoryCache,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use webpki::KeyUsage;

use super::{
    Secret,
    certificate::{Certificate, dns_name_matches},
    parameters::Parameters,
    validation::{Refusal, Validation},
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
    /// `session_ticket_keys` absent and `disable_stateless_session_resumption` false.
    pub tickets: Option<Arc<dyn rustls::server::ProducesTickets>>,
    /// `disable_stateful_session_resumption` false.
    pub keeps_sessions: bool,
    /// `prefer_client_ciphers`.
    pub prefers_client_order: bool,
}

/// How clients of a filter chain are greeted. One for all workers.
#[derive(Debug)]
pub struct ServerContext {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// What is shown.
    pub certificates: Vec<Secret<Certificate>>,
    /// Who may come.
    pub validation: Option<Secret<Validation>>,
}

/// Chooses a certificate for each handshake.
#[derive(Debug)]
struct Resolver {
    certificates: Vec<Secret<Certificate>>,
}

/// Looks at clients' certificates.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    validation: Option<Secret<Validation>>,
    required: bool,
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
        let verifier = Verifier {
            provider: parameters.provider.clone(),
            validation: validation.clone(),
            required: settings.requires_certificate,
        };
        let builder = ServerConfig::builder_with_provider(parameters.provider)
            .with_protocol_versions(&parameters.versions)?;
        let builder = match validation.is_some() || settings.requires_certificate {
            true => builder.with_client_cert_verifier(Arc::new(verifier)),
            false => builder.with_no_client_auth(),
        };
        let resolver = Resolver { certificates: certificates.clone() };
        let mut config = builder.with_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = settings.alpn;
        config.ignore_client_order = !settings.prefers_client_order;
        config.session_storage = match settings.keeps_sessions {
            true => ServerSessionMemoryCache::new(SESSIONS_KEPT),
            false => Arc::new(NoServerSessionStorage {}),
        };
        match settings.tickets {
            Some(tickets) => config.ticketer = tickets,
            None if !settings.keeps_sessions => config.send_tls13_tickets = 0,
            None => {}
        }
        Ok(Self { config: Arc::new(config), certificates, validation })
    }

    /// The same as long as nothing is shown or trusted that was not before.
    pub fn fingerprint(&self) -> Vec<String> {
        let shown = self.certificates.iter().filter_map(Secret::read);
        let shown = shown.filter_map(|certificate| Some(certificate.leaf()?.sha256.clone()));
        let trusted = self.validation.iter().filter_map(Secret::read);
        let trusted = trusted.flat_map(|validation| validation.fingerprint());
        shown.chain(trusted).collect()
    }

    /// Whether all that a handshake needs has been said.
    pub fn is_ready(&self) -> bool {
        self.certificates.iter().all(|certificate| certificate.read().is_some())
            && self.validation.as_ref().is_none_or(|validation| validation.read().is_some())
    }

    /// Whether a chain that a client has shown, first the leaf, is one that we trust.
    pub fn trusts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let validation = self.validation.as_ref().and_then(Secret::read);
        validation.is_some_and(|validation| validation.trusts(chain))
    }

    /// The certificate that a client is shown.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<Arc<Certificate>> {
        choose(&self.certificates, hello)
    }
}

/// Of the certificates for a name, or where there are none of all, the first with an elliptic curve that will do, or
/// else the first that will.
///
/// Source: Envoy's `TlsContext::findTlsContext`: an exact name before one with `*`.
fn choose(
    certificates: &[Secret<Certificate>],
    hello: &ClientHello<'_>,
) -> Option<Arc<Certificate>> {
    let will_do =
        |own: &Certificate| own.key.key.choose_scheme(hello.signature_schemes()).is_some();
    let all = certificates.iter().filter_map(Secret::read).collect::<Vec<_>>();
    let best = |fits: &dyn Fn(&Certificate) -> bool| {
        let usable = || all.iter().filter(|certificate| fits(certificate) && will_do(certificate));
        let ecdsa =
            |certificate: &&Arc<Certificate>| certificate.leaf().is_some_and(|leaf| leaf.is_ecdsa);
        usable().find(ecdsa).or_else(|| usable().next()).cloned()
    };
    let named = hello.server_name().and_then(|name| {
        let names = |certificate: &Certificate, test: &dyn Fn(&str) -> bool| {
            certificate.leaf().is_some_and(|leaf| leaf.server_names().any(test))
        };
        best(&|certificate| names(certificate, &|known| known.eq_ignore_ascii_case(name)))
            .or_else(|| best(&|c| names(c, &|known| dns_name_matches(name, known))))
    });
    named.or_else(|| best(&|_| true))
}

// === impl Resolver ===

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(choose(&self.certificates, &hello)?.key.clone())
    }
}

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
        // They may change with a secret, and are a hint alone. Observed: Envoy 1.40 sends them; clients that choose by
        // them have one certificate mostly.
        &[]
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
        let verified = match validation {
            Some(validation) => validation.verify(leaf, rest, now, KeyUsage::client_auth(), None),
            None => Err(Refusal::Chain("nobody has said yet who is trusted".to_owned())),
        };
        verified.map(|()| ClientCertVerified::assertion()).map_err(told)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// A refusal as an error of rustls, which keeps it: the alert that the peer is sent follows from its kind.
pub(super) fn told(refusal: Refusal) -> Error {
    use rustls::{CertificateError as C, OtherError};
    Error::InvalidCertificate(C::Other(OtherError(Arc::new(refusal))))
}

/// The refusal that an error is, if it is one.
pub fn refusal(error: &Error) -> Option<&Refusal> {
    match error {
        Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref::<Refusal>()
        }
        Error::NoCertificatesPresented => Some(&Refusal::NoCertificate),
        _ => None,
    }
}
