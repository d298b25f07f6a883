//! Owns signatures: verifying what peers sign, by what they may, and counting by which algorithms, since rustls tells who
//! verifies a signature, and nobody else; and signing by what is allowed alone.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use rustls::{
    DigitallySignedStruct, Error, PeerMisbehaved, SignatureAlgorithm, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer},
    sign::{CertifiedKey, Signer, SigningKey},
};

use super::{names::SIGNATURES, parameters::Parameters, validation::Refusal};

/// Verifies signatures, and keeps count of those that were not told of yet.
#[derive(Debug)]
pub struct Signatures {
    algorithms: WebPkiSupportedAlgorithms,
    /// What a peer may sign by, in the order of preference.
    schemes: Vec<SignatureScheme>,
    /// By their places among [`SIGNATURES`].
    verified: [AtomicU32; SIGNATURES.len()],
    /// Peers that may come though their chain, their names, or their hash was refused.
    forgiven: [AtomicU32; 3],
}

/// A key that signs by these alone, first by the first of them that a peer has.
#[derive(Debug)]
struct Limited {
    key: Arc<dyn SigningKey>,
    schemes: Arc<[SignatureScheme]>,
}

/// Verifies one signature by one of these algorithms.
type Verify = fn(
    &[u8],
    &CertificateDer<'_>,
    &DigitallySignedStruct,
    &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error>;

// === impl Signatures ===

impl Signatures {
    pub(super) fn new(parameters: &Parameters) -> Arc<Self> {
        let algorithms = parameters.provider.signature_verification_algorithms;
        let schemes = match &parameters.signatures {
            Some(set) => set.to_vec(),
            None => {
                let supported = algorithms.supported_schemes();
                let known = SIGNATURES.iter().map(|(_, _, scheme)| *scheme);
                known.filter(|scheme| supported.contains(scheme)).collect()
            }
        };
        Arc::new(Self {
            algorithms,
            schemes,
            verified: Default::default(),
            forgiven: Default::default(),
        })
    }

    /// A signature of TLS 1.2.
    pub(super) fn verify_1_2(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(verify_tls12_signature, message, leaf, signature)
    }

    /// A signature of TLS 1.3.
    pub(super) fn verify_1_3(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(verify_tls13_signature, message, leaf, signature)
    }

    fn verify(
        &self,
        verify: Verify,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !self.schemes.contains(&signature.scheme) {
            let unasked = PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme;
            return Err(unasked.into());
        }
        let valid = verify(message, leaf, signature, &self.algorithms)?;
        if let Some(at) = SIGNATURES.iter().position(|(_, _, known)| *known == signature.scheme)
            && let Some(count) = self.verified.get(at)
        {
            count.fetch_add(1, Relaxed);
        }
        Ok(valid)
    }

    /// By what a peer may sign.
    pub(super) fn schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }

    /// A peer may come that was refused (`ACCEPT_UNTRUSTED`). Observed: Envoy 1.40 counts what is wrong with it all the same.
    pub(super) fn note(&self, refusal: &Refusal) {
        let [chain, name, hash] = &self.forgiven;
        match refusal {
            Refusal::Name(_) | Refusal::Host { .. } => name.fetch_add(1, Relaxed),
            Refusal::Hash => hash.fetch_add(1, Relaxed),
            Refusal::Chain(_) | Refusal::NoCertificate | Refusal::Usage => {
                chain.fetch_add(1, Relaxed)
            }
        };
    }

    /// Tells how many chains, names and hashes were forgiven since it was told last.
    pub fn tell_forgiven(&self) -> [u32; 3] {
        self.forgiven.each_ref().map(|count| match count.load(Relaxed) {
            0 => 0,
            _ => count.swap(0, Relaxed),
        })
    }

    /// Tells of each that was not told of yet.
    pub fn tell(&self, mut of: impl FnMut(SignatureScheme)) {
        for ((_, _, scheme), count) in SIGNATURES.iter().zip(&self.verified) {
            if count.load(Relaxed) > 0 {
                (0..count.swap(0, Relaxed)).for_each(|_| of(*scheme));
            }
        }
    }
}

// === impl Limited ===

/// A certificate that signs by what these allow.
pub(super) fn limited(own: &Arc<CertifiedKey>, parameters: &Parameters) -> Arc<CertifiedKey> {
    let Some(schemes) = &parameters.signatures else { return own.clone() };
    let key = Limited { key: own.key.clone(), schemes: schemes.clone() };
    Arc::new(CertifiedKey { key: Arc::new(key), ..CertifiedKey::clone(own) })
}

impl SigningKey for Limited {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let both = self.schemes.iter().filter(|scheme| offered.contains(scheme));
        both.copied().find_map(|scheme| self.key.choose_scheme(&[scheme]))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        self.key.public_key()
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.key.algorithm()
    }
}
