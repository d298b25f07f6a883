//! Owns what is known of a peer that was refused, where rustls hands on no more than a kind of error.

use std::cell::Cell;

use rustls::{CertificateError, Error, OtherError, pki_types::CertificateDer};

use super::{
    certificate::CertificateInfo,
    validation::{Flaw, Refusal},
};

/// A peer that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// What it has shown, its own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
}

thread_local! {
    /// Who was refused last on this thread. rustls drops the connection with all that is known of it; whoever awaits the
    /// handshake gets the error in the same poll, and takes this.
    static LAST: Cell<Option<Refused>> = const { Cell::new(None) };
}

/// Whether who has this certificate may sign a handshake with it (`keyUsage`), as each does that we speak.
///
/// Observed: Envoy 1.40, whatever `enforce_rsa_key_usage` says.
pub(super) fn may_sign(leaf: &CertificateDer<'_>) -> Result<(), Error> {
    match CertificateInfo::read(leaf, "") {
        Ok(info) if !info.may_sign => Err(told(Refusal::Usage, leaf, &[])),
        _ => Ok(()),
    }
}

/// A refusal as an error of rustls: the alert that the peer is sent follows from its kind.
///
/// Observed: Envoy 1.40 sends the same, but `bad_certificate_hash_value` for a hash that is not listed, and
/// `illegal_parameter` for a key that may not sign.
pub(super) fn told(why: Refusal, leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Error {
    use CertificateError as C;
    let kind = match &why {
        Refusal::Chain(Flaw::Expired) => C::Expired,
        Refusal::Chain(Flaw::NotYetValid) => C::NotValidYet,
        Refusal::Chain(Flaw::Revoked) => C::Revoked,
        Refusal::Chain(Flaw::NoRevocationList) => C::UnknownRevocationStatus,
        Refusal::Chain(Flaw::UnknownIssuer(_) | Flaw::SelfSigned(_)) => C::UnknownIssuer,
        Refusal::Chain(Flaw::Purpose) => C::InvalidPurpose,
        other => C::Other(OtherError(std::sync::Arc::new(other.clone()))),
    };
    let chain = std::iter::once(leaf).chain(rest).map(|der| der.clone().into_owned()).collect();
    LAST.set(Some(Refused { why, chain }));
    Error::InvalidCertificate(kind)
}

/// Who was refused, if that is what an error says. To be asked for once, in the poll that brought it.
pub fn refused(error: &Error) -> Option<Refused> {
    match error {
        Error::NoCertificatesPresented => {
            Some(Refused { why: Refusal::NoCertificate, chain: Vec::new() })
        }
        Error::InvalidCertificate(_) => LAST.take(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_is_told_once_and_of_other_errors_nothing() {
        let leaf = CertificateDer::from(vec![1]);
        let error = told(Flaw::SelfSigned(0).into(), &leaf, &[]);
        assert_eq!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer));
        assert!(refused(&Error::DecryptError).is_none());
        let who = refused(&error).unwrap();
        assert_eq!((who.why, who.chain), (Flaw::SelfSigned(0).into(), vec![leaf]));
        assert!(refused(&error).is_none());
    }
}
