//! Owns how one client is greeted: what follows from its hello, decided once and before the handshake.

use std::{sync::Arc, time::SystemTime};

use rustls::{
    CipherSuite, NamedGroup, NoKeyLog, ProtocolVersion, ServerConfig, SignatureScheme,
    SupportedCipherSuite,
    pki_types::CertificateDer,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};

use super::{
    Secret,
    certificate::{Certificate, dns_name_matches},
    key_log::Ends,
    names::{cipher_name, version_name},
    server::{Asked, Order, ServerContext, Stapling},
    signatures::limited,
    trusted::Trusted,
    validation::Validation,
};

/// How a client is greeted.
#[derive(Debug)]
pub struct Greeting {
    /// For rustls.
    pub config: Arc<ServerConfig>,
    /// What the client is shown; nothing where there is no version that both speak, which rustls tells it.
    pub shown: Option<Arc<Certificate>>,
    /// The version that will be spoken.
    pub version: &'static str,
    /// The cipher suite that will be chosen; empty where that is for rustls to find out.
    pub cipher: &'static str,
    trusted: Trusted,
}

/// Why a client is sent away before a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It says that it has fallen back from a version that we would have spoken (RFC 7507).
    Fallback,
    /// No certificate goes with its cipher suites, groups and signatures (TLS 1.2).
    NoSharedCipher,
    /// Nor with its signatures (TLS 1.3).
    NoCommonSignature,
    /// It asks what an authority says of our certificate, and there is nothing good to say.
    Unstapled,
}

/// `TLS_FALLBACK_SCSV`: no suite, but a word of the client's.
const FALLBACK: CipherSuite = CipherSuite::Unknown(0x5600);

/// A configuration that shows a certificate.
#[derive(Clone, Debug)]
pub(super) struct Made {
    order: Order,
    /// What it asks of clients.
    asked: [u8; 32],
    key: Arc<CertifiedKey>,
    config: Arc<ServerConfig>,
    signs: Arc<CertifiedKey>,
}

/// Shows what was chosen, if anything was.
#[derive(Debug)]
struct Shows(Option<Arc<CertifiedKey>>);

impl ServerContext {
    /// How a client that says this is greeted.
    ///
    /// # Errors
    ///
    /// [`Rejection`].
    pub fn greet(&self, hello: &ClientHello<'_>, ends: Ends) -> Result<Greeting, Rejection> {
        let (ours, theirs) = (self.speaks(&TLS13), offers_1_3(hello));
        let speak_1_3 = ours && theirs;
        if ours && !theirs && hello.cipher_suites().contains(&FALLBACK) {
            return Err(Rejection::Fallback);
        }
        let (order, asked) = (self.order(hello, speak_1_3), self.asks());
        let schemes = match speak_1_3 {
            true => schemes_of_1_3(hello),
            false => schemes_of_1_2(hello, &self.parameters.provider.cipher_suites),
        };
        let nothing = match speak_1_3 {
            true => Rejection::NoCommonSignature,
            false => Rejection::NoSharedCipher,
        };
        let Some(shown) = self.choose(hello.server_name(), &schemes) else {
            return match !speak_1_3 && (theirs || !self.speaks(&TLS12)) {
                // There may be no version that both have.
                true => {
                    let config = Arc::new(self.config(order, &asked, Arc::new(Shows(None))));
                    let trusted = asked.trusted;
                    Ok(Greeting { config, shown: None, version: "", cipher: "", trusted })
                }
                false => Err(nothing),
            };
        };
        let key = shown.stapled(SystemTime::now()).unwrap_or(&shown.key);
        let (mut config, key) = self.showing(order, &asked, key);
        // Observed: Envoy 1.40 chooses a certificate without a thought of `signature_algorithms`.
        if self.parameters.signatures.is_some() && key.key.choose_scheme(&schemes).is_none() {
            return Err(nothing);
        }
        if let Some(tickets) = self.tickets_of_one(&asked) {
            Arc::make_mut(&mut config).ticketer = tickets;
        }
        // Observed: Envoy 1.40 agrees on none then, and goes on.
        if !shares_protocol(&config.alpn_protocols, hello) {
            Arc::make_mut(&mut config).alpn_protocols.clear();
        }
        // rustls tells who writes secrets of no connection.
        if self.key_log.as_ref().is_some_and(|log| !log.takes(ends)) {
            Arc::make_mut(&mut config).key_log = Arc::new(NoKeyLog);
        }
        let version = version_name(match speak_1_3 {
            true => ProtocolVersion::TLSv1_3,
            false => ProtocolVersion::TLSv1_2,
        });
        let cipher = agreed(&config, hello, speak_1_3, &key).map_or("", cipher_name);
        let trusted = asked.trusted;
        Ok(Greeting { config, shown: Some(shown), version, cipher, trusted })
    }

    /// What greets so, and what signs for that. Made once, as long as the same is shown and asked.
    fn showing(
        &self,
        order: Order,
        asked: &Asked,
        key: &Arc<CertifiedKey>,
    ) -> (Arc<ServerConfig>, Arc<CertifiedKey>) {
        let made = self.made.read();
        let known = |one: &&Made| {
            one.order == order && one.asked == asked.digest && Arc::ptr_eq(&one.key, key)
        };
        if let Some(Made { config, signs, .. }) = made.iter().find(known) {
            return (config.clone(), signs.clone());
        }
        let signs = limited(key, &self.parameters);
        let config = Arc::new(self.config(order, asked, Arc::new(Shows(Some(signs.clone())))));
        let one = Made { order, asked: asked.digest, key: key.clone(), config, signs };
        let (config, signs) = (one.config.clone(), one.signs.clone());
        // What somebody else makes at the same time may be lost, and is made again. With and without an answer of its
        // authority's, each certificate has a place in each of three orders; older ones go.
        let most = 6 * self.certificates.len();
        let kept = made.iter().skip((made.len() + 1).saturating_sub(most)).cloned();
        self.made.publish(kept.chain([one]).collect::<Vec<_>>());
        (config, signs)
    }

    /// Of the certificates for a name the first with an elliptic curve that will do, or else the first that will. Where
    /// there is none, and no name or `full_scan_certs_on_sni_mismatch`, the same of all; else the very first.
    ///
    /// Source: Envoy's `TlsContext::findTlsContext`: an exact name before one with `*`. Observed: Envoy 1.40, whose other
    /// certificates are for nobody who asks for a name that none has.
    fn choose(
        &self,
        server_name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Option<Arc<Certificate>> {
        let will_do = |own: &Certificate| own.key.key.choose_scheme(schemes).is_some();
        let all = self.certificates.iter().filter_map(Secret::read).collect::<Vec<_>>();
        let best = |fits: &dyn Fn(&Certificate) -> bool| {
            let usable =
                || all.iter().filter(|certificate| fits(certificate) && will_do(certificate));
            let ecdsa = |certificate: &&Arc<Certificate>| {
                certificate.leaf().is_some_and(|leaf| leaf.is_ecdsa)
            };
            usable().find(ecdsa).or_else(|| usable().next()).cloned()
        };
        let named = server_name.and_then(|name| {
            let names = |certificate: &Certificate, test: &dyn Fn(&str) -> bool| {
                certificate.leaf().is_some_and(|leaf| leaf.server_names().any(test))
            };
            best(&|certificate| names(certificate, &|known| known.eq_ignore_ascii_case(name)))
                .or_else(|| best(&|c| names(c, &|known| dns_name_matches(name, known))))
        });
        let any = || match server_name.is_none() || self.scans_all {
            true => best(&|_| true),
            false => None,
        };
        named.or_else(any).or_else(|| all.first().filter(|own| will_do(own)).cloned())
    }

    /// What a client is told that asks what an authority says of the certificate that it is shown: that, or nothing.
    ///
    /// # Errors
    ///
    /// [`Rejection::Unstapled`]
    pub fn staples(&self, shown: &Certificate) -> Result<bool, Rejection> {
        let good = shown.stapled(SystemTime::now()).is_some();
        match (good, &shown.staple, self.stapling) {
            (true, _, _) => Ok(true),
            (false, _, Stapling::Must) | (false, Some(_), Stapling::Strict) => {
                Err(Rejection::Unstapled)
            }
            (false, _, _) => Ok(false),
        }
    }
}

// === impl Greeting ===

impl Greeting {
    /// By whom a chain that the client has shown, first the leaf, now or when its session began, is found to be one that we
    /// trust, if it is.
    pub fn trusts(&self, chain: &[CertificateDer<'_>], resumed: bool) -> Option<Arc<Validation>> {
        self.trusted.validation().filter(|validation| validation.trusts(chain, resumed)).cloned()
    }
}

/// The suite that rustls chooses: the first of who decides that goes with the version and with the key.
fn agreed(
    config: &ServerConfig,
    hello: &ClientHello<'_>,
    speak_1_3: bool,
    key: &CertifiedKey,
) -> Option<CipherSuite> {
    let usable = |suite: &&SupportedCipherSuite| match suite {
        SupportedCipherSuite::Tls13(_) => speak_1_3,
        SupportedCipherSuite::Tls12(known) => {
            !speak_1_3 && key.key.choose_scheme(known.sign).is_some()
        }
    };
    let ours = config.crypto_provider().cipher_suites.iter().filter(usable);
    let mut ours = ours.map(SupportedCipherSuite::suite);
    let theirs = hello.cipher_suites();
    match config.ignore_client_order {
        true => ours.find(|suite| theirs.contains(suite)),
        false => {
            let ours = ours.collect::<Vec<_>>();
            theirs.iter().copied().find(|suite| ours.contains(suite))
        }
    }
}

/// rustls says which suites a client offers, and not which versions; none offers these and means another version.
fn offers_1_3(hello: &ClientHello<'_>) -> bool {
    const OF_TLS_1_3: [CipherSuite; 3] = [
        CipherSuite::TLS13_AES_128_GCM_SHA256,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    hello.cipher_suites().iter().any(|suite| OF_TLS_1_3.contains(suite))
}

/// By what we may sign. RFC 8446, 4.2.3: RSASSA-PKCS1-v1_5 signs certificates alone.
fn schemes_of_1_3(hello: &ClientHello<'_>) -> Vec<SignatureScheme> {
    use SignatureScheme as S;
    let of_1_2 = [S::RSA_PKCS1_SHA256, S::RSA_PKCS1_SHA384, S::RSA_PKCS1_SHA512];
    offered(hello).filter(|scheme| !of_1_2.contains(scheme)).collect()
}

/// By what some key of ours may sign, as far as the client offers it: which may be thousands, and one of them often.
fn offered(hello: &ClientHello<'_>) -> impl Iterator<Item = SignatureScheme> {
    use SignatureScheme as S;
    let known = [
        S::ECDSA_NISTP256_SHA256,
        S::ECDSA_NISTP384_SHA384,
        S::ECDSA_NISTP521_SHA512,
        S::ED25519,
        S::RSA_PSS_SHA256,
        S::RSA_PSS_SHA384,
        S::RSA_PSS_SHA512,
        S::RSA_PKCS1_SHA256,
        S::RSA_PKCS1_SHA384,
        S::RSA_PKCS1_SHA512,
    ];
    known.into_iter().filter(|scheme| hello.signature_schemes().contains(scheme))
}

/// By what we may sign so that it goes with a suite that both have, and by a curve that the client knows.
///
/// Source: RFC 8422, 4 and 5.3. Observed: Envoy 1.40 shows a client without P-256 no certificate that has it.
fn schemes_of_1_2(
    hello: &ClientHello<'_>,
    suites: &[SupportedCipherSuite],
) -> Vec<SignatureScheme> {
    let shared = suites.iter().filter_map(|suite| match suite {
        SupportedCipherSuite::Tls12(known) => Some(*known),
        SupportedCipherSuite::Tls13(_) => None,
    });
    let shared = shared.filter(|known| hello.cipher_suites().contains(&known.common.suite));
    let shared = shared.collect::<Vec<_>>();
    let has = |group| hello.named_groups().is_none_or(|groups| groups.contains(&group));
    let usable = offered(hello).filter(|scheme| match scheme {
        SignatureScheme::ECDSA_NISTP256_SHA256 => has(NamedGroup::secp256r1),
        SignatureScheme::ECDSA_NISTP384_SHA384 => has(NamedGroup::secp384r1),
        _ => true,
    });
    usable.filter(|scheme| shared.iter().any(|known| known.sign.contains(scheme))).collect()
}

/// Whether rustls will find a protocol that both have, or need none.
fn shares_protocol(ours: &[Vec<u8>], hello: &ClientHello<'_>) -> bool {
    let Some(mut offered) = hello.alpn() else { return true };
    ours.is_empty() || offered.any(|theirs| ours.iter().any(|own| own == theirs))
}

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}
