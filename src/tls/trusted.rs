//! Owns who is trusted at the moment at which a handshake begins.

use std::sync::Arc;

use rustls::{
    Error,
    pki_types::{CertificateDer, UnixTime},
};
use webpki::KeyUsage;

use super::{
    Secret,
    refused::told,
    signatures::Signatures,
    validation::{Flaw, HostName, Validation},
};

/// Who is trusted, as it is said now.
#[derive(Clone, Debug)]
pub(super) enum Trusted {
    /// No context says anything.
    Everybody,
    /// Its source has not said it yet.
    NobodyYet,
    /// Whom it says.
    Those(Arc<Validation>),
}

// === impl Trusted ===

impl Trusted {
    pub(super) fn now(said: Option<&Secret<Validation>>) -> Self {
        match said.map(Secret::read) {
            None => Trusted::Everybody,
            Some(None) => Trusted::NobodyYet,
            Some(Some(validation)) => Trusted::Those(validation),
        }
    }

    pub(super) fn validation(&self) -> Option<&Arc<Validation>> {
        match self {
            Trusted::Those(validation) => Some(validation),
            Trusted::Everybody | Trusted::NobodyYet => None,
        }
    }

    /// Whether nothing was said in between.
    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Trusted::Those(one), Trusted::Those(other)) => Arc::ptr_eq(one, other),
            (Trusted::Everybody, Trusted::Everybody) => true,
            (Trusted::NobodyYet, Trusted::NobodyYet) => true,
            _ => false,
        }
    }

    /// Looks at a peer's chain. What is wrong with one that may come all the same is noted.
    pub(super) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        host: Option<&HostName<'_>>,
        signatures: &Signatures,
    ) -> Result<(), Error> {
        let validation = match self {
            Trusted::Everybody => return Ok(()),
            Trusted::NobodyYet => return Err(told(Flaw::nobody_is_trusted(), leaf, rest)),
            Trusted::Those(validation) => validation,
        };
        match validation.verify(leaf, rest, now, usage, host) {
            Err(refusal) if validation.accepts_untrusted() => {
                signatures.note(&refusal);
                Ok(())
            }
            verified => verified.map_err(|refusal| told(refusal, leaf, rest)),
        }
    }
}
