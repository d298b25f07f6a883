//! Owns `CertificateValidationContext`: whether a peer's certificate is one that we trust.

use std::{net::IpAddr, time::Duration};

use rustls::{
    DistinguishedName, RootCertStore,
    pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject},
};
use sha2::{Digest, Sha256};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::{
    certificate::{CertificateError, CertificateInfo, SubjectAltName, dns_name_matches, hex},
    pem::read_all,
    provider,
};
use crate::matcher::TextMatcher;

/// Who is trusted.
#[derive(Debug)]
pub struct Validation {
    roots: RootCertStore,
    /// As they stand in the file; a peer may show one of them itself.
    root_ders: Vec<CertificateDer<'static>>,
    revoked: Vec<CertRevocationList<'static>>,
    settings: ValidationSettings,
    /// The same as long as the same is asked of a certificate, in whichever process.
    pub(super) digest: [u8; 32],
    /// What `/certs` tells of the roots.
    pub authorities: Vec<CertificateInfo>,
    /// Where they were read.
    pub path: String,
    /// The name of the secret that holds them; empty for none.
    pub name: String,
}

/// What is asked of a certificate beside its chain.
#[derive(Clone, Debug, Default)]
pub struct ValidationSettings {
    /// One of these must match one of its names; empty is no condition.
    pub names: Vec<SanMatcher>,
    /// SHA-256 of the certificate: one of these.
    pub hashes: Vec<[u8; 32]>,
    /// SHA-256 of its key: one of these.
    pub spki: Vec<[u8; 32]>,
    /// `ACCEPT_UNTRUSTED`: whatever is wrong, the connection goes on.
    pub accept_untrusted: bool,
    /// `allow_expired_certificate`.
    pub allow_expired: bool,
    /// `max_verify_depth`: certificates below whom we trust; one is always taken.
    pub depth_max: Option<usize>,
    /// `only_verify_leaf_cert_crl`.
    pub only_leaf_revocation: bool,
}

/// What one of a certificate's names must be like.
#[derive(Clone, Debug)]
pub struct SanMatcher {
    /// Of which kind.
    pub kind: SanKind,
    /// Like what.
    pub matcher: TextMatcher,
    /// The whole of it, where that is asked for: a name with `*` is that of many hosts then.
    pub exact: Option<String>,
}

/// Kinds of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// Any.
    Any,
    /// Domains.
    Dns,
    /// URIs.
    Uri,
    /// Addresses.
    Ip,
    /// Mail addresses.
    Email,
    /// Others, by the number of their kind.
    Other(String),
}

/// Why a peer is not trusted: what is counted, and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It showed none.
    #[error("peer did not provide required client certificate")]
    NoCertificate,
    /// Its chain leads to nobody we trust, or has ended, or was revoked.
    #[error("verify cert failed: X509_verify_cert: certificate verification error at depth {depth}: {0}", depth = .0.depth())]
    Chain(Flaw),
    /// None of its names.
    #[error("verify cert failed: SAN matcher, certificate SANs are [{0}]")]
    Name(String),
    /// It is for other hosts than the one that was asked for.
    #[error(
        "verify cert failed: verify SAN list, expected SANs: [{expected}], certificate SANs: [{names}]"
    )]
    Host {
        /// For whom it must be.
        expected: String,
        /// For whom it is.
        names: String,
    },
    /// It signs a handshake, and may not (`keyUsage`).
    #[error("its keyUsage has no digitalSignature")]
    Usage,
    /// Neither it nor its key is one that is listed.
    #[error("verify cert failed: cert hash and spki")]
    Hash,
}

/// What is wrong with a chain, in BoringSSL's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It has ended.
    #[error("certificate has expired")]
    Expired,
    /// It has not begun.
    #[error("certificate is not yet valid")]
    NotYetValid,
    /// By its authority.
    #[error("certificate revocation check against provided CRLs failed: certificate revoked")]
    Revoked,
    /// Its authority has no list, or an older one.
    #[error(
        "certificate revocation check against provided CRLs failed: unable to get certificate CRL"
    )]
    NoRevocationList,
    /// Nobody that we know has signed it; the number is how many of its authorities were shown.
    #[error("unable to get local issuer certificate")]
    UnknownIssuer(usize),
    /// It, or the last of so many authorities that were shown, has signed itself, and we do not know it.
    #[error("self signed certificate{}", if *.0 > 0 { " in certificate chain" } else { "" })]
    SelfSigned(usize),
    /// More authorities stand in between than `max_verify_depth` lets; the number is how many were looked at.
    #[error("unable to get local issuer certificate")]
    TooDeep(usize),
    /// It is for something else than this side of a connection.
    #[error("unsupported certificate purpose")]
    Purpose,
    /// Something else.
    #[error("{0}")]
    Other(String),
}

/// Why a validation context cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidationError {
    /// The authorities.
    #[error(transparent)]
    Authorities(#[from] CertificateError),
    /// Names are asked for, and nobody is trusted to certify them.
    #[error(
        "SAN-based verification of peer certificates without trusted CA is insecure and not allowed: add `trusted_ca`"
    )]
    NamesWithoutAuthorities,
    /// The list of what was revoked.
    #[error("failed to load CRL from {0}: {1}")]
    Revocations(String, String),
}

// === impl ValidationSettings ===

impl ValidationSettings {
    /// What both ask for.
    pub fn with(mut self, other: Self) -> Self {
        self.names.extend(other.names);
        self.hashes.extend(other.hashes);
        self.spki.extend(other.spki);
        self.accept_untrusted |= other.accept_untrusted;
        self.allow_expired |= other.allow_expired;
        self.depth_max = self.depth_max.or(other.depth_max);
        self.only_leaf_revocation |= other.only_leaf_revocation;
        self
    }
}

// === impl Validation ===

impl Validation {
    /// Who is trusted: authorities and lists of what they revoked, both PEM, with their paths.
    ///
    /// # Errors
    ///
    /// [`ValidationError`].
    pub fn new(
        authorities: Option<(&[u8], &str)>,
        revoked: Option<(&[u8], &str)>,
        settings: ValidationSettings,
    ) -> Result<Self, ValidationError> {
        // All that is asked beside the chain, whatever will be: a field that is added cannot be forgotten.
        let mut digest = Sha256::new_with_prefix(format!("{settings:?}"));
        let mut made = Self {
            roots: RootCertStore::empty(),
            root_ders: Vec::new(),
            revoked: Vec::new(),
            settings,
            digest: [0; 32],
            authorities: Vec::new(),
            path: String::new(),
            name: String::new(),
        };
        if let Some((pem, path)) = authorities {
            path.clone_into(&mut made.path);
            for der in read_all(pem, path)? {
                made.authorities.push(CertificateInfo::read(&der, path)?);
                made.roots.add(der.clone()).map_err(|error| {
                    CertificateError::Malformed(path.to_owned(), error.to_string())
                })?;
                digest.update(b"authority");
                digest.update(Sha256::digest(&der));
                made.root_ders.push(der);
            }
        }
        if let Some((pem, path)) = revoked {
            let told = |error: String| ValidationError::Revocations(path.to_owned(), error);
            for der in CertificateRevocationListDer::pem_slice_iter(pem) {
                let der = der.map_err(|error| told(error.to_string()))?;
                digest.update(b"revoked");
                digest.update(Sha256::digest(&der));
                let list = OwnedCertRevocationList::from_der(&der);
                let list =
                    list.map_err(|error| told(format!("{error} (it is to be of version 2)")));
                made.revoked.push(list?.into());
            }
            if made.revoked.is_empty() {
                return Err(told("it holds no PEM list".to_owned()));
            }
        }
        made.digest = digest.finalize().into();
        Ok(made)
    }

    /// The same as long as the same are trusted.
    pub fn fingerprint(&self) -> String {
        hex(&self.digest)
    }

    /// A certificate is asked for, and looked at.
    pub fn asks(&self) -> bool {
        !self.roots.is_empty() || !self.settings.hashes.is_empty() || !self.settings.spki.is_empty()
    }

    /// Whether a client must show a certificate: what is asked of it cannot be true of none.
    ///
    /// Source: Envoy's `DefaultCertValidator::initializeSslContexts`.
    pub fn requires(&self) -> bool {
        let ValidationSettings { names, hashes, spki, accept_untrusted, .. } = &self.settings;
        !accept_untrusted && (!names.is_empty() || !hashes.is_empty() || !spki.is_empty())
    }

    /// Whom a client may have its certificate from, as the handshake tells it.
    pub fn hints(&self) -> Vec<DistinguishedName> {
        self.roots.subjects()
    }

    /// Looks at a peer's chain. Also a certificate that a peer shows of itself, and which stands in our list, is trusted.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    pub fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
        host: Option<&HostName<'_>>,
    ) -> Result<(), Refusal> {
        if !self.roots.is_empty() {
            self.verify_chain(leaf, rest, now, usage)?;
        }
        let (names, hashes, spki) =
            (&self.settings.names, &self.settings.hashes, &self.settings.spki);
        if names.is_empty() && hashes.is_empty() && spki.is_empty() && host.is_none() {
            return Ok(());
        }
        let Ok(info) = CertificateInfo::read(leaf, "") else {
            return Err(Flaw::malformed().into());
        };
        let shown = || info.names.iter().map(SubjectAltName::text).collect::<Vec<_>>().join(", ");
        let named = |matcher: &SanMatcher| info.names.iter().any(|name| matcher.matches(name));
        if let Some(host) = host {
            if !info.names.iter().any(|name| host.is(name)) {
                return Err(match host.listed {
                    true => Refusal::Host { expected: host.name.to_owned(), names: shown() },
                    false => Refusal::Name(shown()),
                });
            }
        } else if !names.is_empty() && !names.iter().any(named) {
            return Err(Refusal::Name(shown()));
        }
        if hashes.is_empty() && spki.is_empty() {
            return Ok(());
        }
        let listed = hashes.iter().any(|hash| hex(hash) == info.sha256);
        match listed || spki.contains(&info.spki_sha256) {
            true => Ok(()),
            false => Err(Refusal::Hash),
        }
    }

    /// Whether a peer may come that was refused (`ACCEPT_UNTRUSTED`).
    pub fn accepts_untrusted(&self) -> bool {
        self.settings.accept_untrusted
    }

    /// Whether a client's chain, first the leaf, is one that we trust, and not one that anybody may show. That of a session
    /// that goes on was looked at when that began, and may have ended since.
    pub fn trusts(&self, chain: &[CertificateDer<'_>], resumed: bool) -> bool {
        let Some((leaf, rest)) = chain.split_first() else { return false };
        let (usage, now) = (KeyUsage::client_auth(), UnixTime::now());
        if self.settings.accept_untrusted {
            return self.verify(leaf, rest, now, usage, None).is_ok();
        }
        let may_have_ended = resumed && !self.roots.is_empty() && !self.settings.allow_expired;
        self.asks() && (!may_have_ended || self.in_time(leaf, now).is_ok())
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
        usage: KeyUsage,
    ) -> Result<(), Refusal> {
        let now = match self.settings.allow_expired {
            true => self.time_within(leaf).unwrap_or(now),
            false => now,
        };
        // webpki takes no authority for a leaf; who lists it trusts it.
        if self.root_ders.iter().any(|root| root.as_ref() == leaf.as_ref()) {
            return self.in_time(leaf, now);
        }
        let told = |error: webpki::Error| Refusal::Chain(Flaw::of(&error));
        let certificate = EndEntityCert::try_from(leaf).map_err(told)?;
        let lists = self.revoked.iter().collect::<Vec<_>>();
        let depth = match self.settings.only_leaf_revocation {
            true => RevocationCheckDepth::EndEntity,
            false => RevocationCheckDepth::Chain,
        };
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_depth(depth)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Ignore)
                .build()
        });
        let algorithms = provider().signature_verification_algorithms.all;
        let roots = &self.roots.roots;
        let verified =
            certificate.verify_for_usage(algorithms, roots, rest, now, usage, revocation, None);
        let verified = verified.map_err(|error| match (&error, stranger(leaf, rest)) {
            (webpki::Error::UnknownIssuer, Some(flaw))
            | (webpki::Error::CaUsedAsEndEntity, Some(flaw @ Flaw::SelfSigned(0))) => flaw.into(),
            _ => told(error),
        });
        let between = verified?.intermediate_certificates().count();
        // Observed: Envoy 1.40 has one authority in between with 2, and none with 1 or 0.
        match self.settings.depth_max.map(|max| max.max(1)).filter(|max| between >= *max) {
            Some(max) => Err(Flaw::TooDeep(max).into()),
            None => Ok(()),
        }
    }

    fn in_time(&self, leaf: &CertificateDer<'_>, now: UnixTime) -> Result<(), Refusal> {
        let info = CertificateInfo::read(leaf, "").map_err(|_| Flaw::malformed())?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match (now < info.not_before, now > info.not_after) {
            (true, _) => Err(Flaw::NotYetValid.into()),
            (_, true) => Err(Flaw::Expired.into()),
            _ => Ok(()),
        }
    }

    /// A moment at which a certificate is valid: now, or its first, or its last.
    ///
    /// Observed: Envoy 1.40 takes one that is not valid yet as well.
    fn time_within(&self, leaf: &CertificateDer<'_>) -> Option<UnixTime> {
        let info = CertificateInfo::read(leaf, "").ok()?;
        let [first, last] = [info.not_before, info.not_after].map(|at| u64::try_from(at).ok());
        let seconds = UnixTime::now().as_secs().max(first?).min(last?);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// What is wrong with a chain that leads to nobody we know: where it ends.
fn stranger(leaf: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> Option<Flaw> {
    let mut last = CertificateInfo::read(leaf, "").ok()?;
    let shown = rest.iter().filter_map(|der| CertificateInfo::read(der, "").ok());
    let shown = shown.collect::<Vec<_>>();
    for depth in 0..=shown.len() {
        if last.subject == last.issuer {
            return Some(Flaw::SelfSigned(depth));
        }
        match shown.iter().find(|one| one.subject == last.issuer) {
            Some(issuer) => last = issuer.clone(),
            None => return Some(Flaw::UnknownIssuer(depth)),
        }
    }
    None
}

// === impl Flaw ===

impl Flaw {
    /// The secret has not come that says who is trusted.
    pub(super) fn nobody_is_trusted() -> Refusal {
        Flaw::Other("nobody has said yet who is trusted".to_owned()).into()
    }

    /// What webpki finds.
    fn of(error: &webpki::Error) -> Self {
        use webpki::Error as E;
        match error {
            // One that ends before it begins has ended whenever it has begun.
            E::CertExpired { .. } | E::InvalidCertValidity => Flaw::Expired,
            E::CertNotValidYet { .. } => Flaw::NotYetValid,
            E::CertRevoked => Flaw::Revoked,
            E::UnknownRevocationStatus => Flaw::NoRevocationList,
            E::UnknownIssuer => Flaw::UnknownIssuer(0),
            E::RequiredEkuNotFoundContext(_) => Flaw::Purpose,
            E::CaUsedAsEndEntity => {
                Flaw::Other("an authority's certificate is no peer's".to_owned())
            }
            other => Flaw::Other(other.to_string()),
        }
    }

    fn malformed() -> Self {
        Flaw::Other("malformed certificate".to_owned())
    }

    /// How far from the leaf it was found, where that is known.
    fn depth(&self) -> usize {
        match self {
            Flaw::TooDeep(depth) | Flaw::UnknownIssuer(depth) | Flaw::SelfSigned(depth) => *depth,
            _ => 0,
        }
    }
}

impl From<Flaw> for Refusal {
    fn from(flaw: Flaw) -> Self {
        Refusal::Chain(flaw)
    }
}

/// The host that a certificate must be for.
#[derive(Clone, Copy, Debug)]
pub struct HostName<'a> {
    /// Its name, or address.
    pub name: &'a str,
    /// It stands in a list of names (`auto_san_validation`), which is told.
    pub listed: bool,
}

impl HostName<'_> {
    fn is(&self, name: &SubjectAltName) -> bool {
        match name {
            SubjectAltName::Dns(pattern) => dns_name_matches(self.name, pattern),
            SubjectAltName::Ip(ip) => self.name.parse::<IpAddr>().is_ok_and(|host| host == *ip),
            _ => false,
        }
    }
}

// === impl SanMatcher ===

impl SanMatcher {
    /// Whether one of a certificate's names is meant.
    pub fn matches(&self, name: &SubjectAltName) -> bool {
        let kind = match name {
            SubjectAltName::Dns(_) => SanKind::Dns,
            SubjectAltName::Uri(_) => SanKind::Uri,
            SubjectAltName::Ip(_) => SanKind::Ip,
            SubjectAltName::Email(_) => SanKind::Email,
            SubjectAltName::Other(oid, _) => SanKind::Other(oid.clone()),
        };
        if self.kind != SanKind::Any && self.kind != kind {
            return false;
        }
        // Source: Envoy's `DnsExactStringSanMatcher`: a name with `*` is that of the hosts below it.
        if let (Some(exact), SubjectAltName::Dns(pattern)) = (&self.exact, name) {
            return dns_name_matches(exact, pattern);
        }
        self.matcher.matches(name.text().as_bytes())
    }
}
