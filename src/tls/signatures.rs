//! Owns counting by which algorithms peers have signed: rustls tells who verifies a signature, and nobody else.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rustls::SignatureScheme;

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

/// Signatures that were verified and not told of yet.
#[derive(Debug, Default)]
pub struct Signatures {
    verified: [AtomicU32; SCHEMES.len()],
}

// === impl Signatures ===

impl Signatures {
    pub(super) fn verified(&self, scheme: SignatureScheme) {
        let counts = SCHEMES.iter().zip(&self.verified);
        for (_, count) in counts.filter(|(known, _)| **known == scheme) {
            count.fetch_add(1, Relaxed);
        }
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
