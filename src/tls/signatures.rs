//! Owns verifying what peers sign, and counting by which algorithms: rustls tells who verifies a signature, and nobody
//! else.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    },
    pki_types::CertificateDer,
};

/// The algorithms that are told apart.
const SCHEMES: [SignatureScheme; 9] = [
    SignatureScheme::ECDSA_NISTP256_SHA256,
    SignatureScheme::ECDSA_NISTP384_SHA384,
    SignatureScheme::ED25519,
    SignatureScheme::RSA_PKCS1_SHA256,
    SignatureScheme::RSA_PKCS1_SHA384,
    SignatureScheme::RSA_PKCS1_SHA512,
    SignatureScheme::RSA_PSS_SHA256,
    SignatureScheme::RSA_PSS_SHA384,
    SignatureScheme::RSA_PSS_SHA512,
];

/// Verifies signatures, and keeps count of those that were not told of yet.
#[derive(Debug)]
pub struct Signatures {
    algorithms: WebPkiSupportedAlgorithms,
    verified: [AtomicU32; SCHEMES.len()],
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
    pub(super) fn new(provider: &CryptoProvider) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { algorithms, verified: Default::default() })
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
        let valid = verify(message, leaf, signature, &self.algorithms)?;
        if let Some(at) = SCHEMES.iter().position(|known| *known == signature.scheme)
            && let Some(count) = self.verified.get(at)
        {
            count.fetch_add(1, Relaxed);
        }
        Ok(valid)
    }

    /// By what a peer may sign.
    pub(super) fn schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    /// Tells of each that was not told of yet.
    pub fn tell(&self, mut of: impl FnMut(SignatureScheme)) {
        for (scheme, count) in SCHEMES.iter().zip(&self.verified) {
            if count.load(Relaxed) > 0 {
                (0..count.swap(0, Relaxed)).for_each(|_| of(*scheme));
            }
        }
    }
}
