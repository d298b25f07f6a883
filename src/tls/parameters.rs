//! Owns `TlsParameters`: which versions, ciphers, groups and signatures are spoken.

use std::sync::Arc;

use rustls::{
    CipherSuite, SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::CryptoProvider,
    version::{TLS12, TLS13},
};

use super::{
    names::{CIPHERS, CIPHERS_OF_OTHERS, GROUPS, SIGNATURES, SIGNATURES_OF_OTHERS},
    provider,
};

/// A version that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// RFC 5246.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// What a handshake may come to.
#[derive(Clone, Debug)]
pub struct Parameters {
    pub(super) provider: Arc<CryptoProvider>,
    /// The same with suites that are equal to each other (`[A|B]`) the other way round.
    pub(super) turned: Arc<CryptoProvider>,
    pub(super) versions: Vec<&'static SupportedProtocolVersion>,
    /// By what both sides sign, in the order of preference, where that is said.
    pub(super) signatures: Option<Arc<[SignatureScheme]>>,
}

/// What is asked for and cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParametersError {
    /// No version is left.
    #[error("the minimum TLS version is above the maximum")]
    NoVersion,
    /// BoringSSL knows it.
    #[error("the cipher {0} is known to Envoy, and not supported by Understudy")]
    OtherCipher(String),
    /// Nobody knows it.
    #[error("failed to initialize cipher suites: {0:?} is none")]
    UnknownCipher(String),
    /// BoringSSL knows it.
    #[error("the curve {0} is known to Envoy, and not supported by this build of Understudy")]
    OtherGroup(String),
    /// Nobody knows it.
    #[error("failed to initialize ECDH curves: {0:?} is none")]
    UnknownGroup(String),
    /// BoringSSL knows it.
    #[error("the signature algorithm {0} is known to Envoy, and not supported by Understudy")]
    OtherSignature(String),
    /// Nobody knows it.
    #[error("failed to initialize TLS signature algorithms: {0:?} is none")]
    UnknownSignature(String),
    /// Envoy refuses it, too.
    #[error("failed to initialize TLS signature algorithms: {0} stands there twice")]
    SignatureTwice(String),
}

/// Envoy's order, which is the server's in TLS 1.2.
const DEFAULT_CIPHERS: &[&str] = &[
    "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
    "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
];

// === impl Parameters ===

impl Parameters {
    /// What these settings allow; empty lists are Envoy's defaults.
    ///
    /// # Errors
    ///
    /// [`ParametersError`].
    pub fn new(
        from: Version,
        to: Version,
        ciphers: &[&str],
        groups: &[&str],
        signatures: &[&str],
    ) -> Result<Self, ParametersError> {
        let versions = [(Version::Tls13, &TLS13), (Version::Tls12, &TLS12)].into_iter();
        let versions = versions.filter(|(version, _)| (from..=to).contains(version));
        let versions = versions.map(|(_, version)| version).collect::<Vec<_>>();
        if versions.is_empty() {
            return Err(ParametersError::NoVersion);
        }
        let all = provider();
        let mut provider = CryptoProvider { kx_groups: Vec::new(), ..all.clone() };
        provider.cipher_suites.retain(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
        let mut turned = provider.cipher_suites.clone();
        let ciphers = if ciphers.is_empty() { DEFAULT_CIPHERS } else { ciphers };
        for group in ciphers.iter().flat_map(|text| text.split(':')) {
            // `[A|B]` are equal to each other; the client's order decides among them.
            let names = group.trim_matches(['[', ']']).split('|').filter(|name| !name.is_empty());
            let suites =
                names.map(|name| find_cipher(name, &all)).collect::<Result<Vec<_>, _>>()?;
            turned.extend(suites.iter().rev());
            provider.cipher_suites.extend(suites);
        }
        // Observed: Envoy 1.40 offers X25519 and P-256.
        let groups = if groups.is_empty() { &["X25519", "P-256"][..] } else { groups };
        for name in groups.iter().flat_map(|text| text.split(':')) {
            let Some((_, group)) = GROUPS.iter().find(|(known, _)| known == &name) else {
                return Err(ParametersError::UnknownGroup(name.to_owned()));
            };
            match all.kx_groups.iter().find(|supported| supported.name() == *group) {
                Some(supported) => provider.kx_groups.push(*supported),
                None => return Err(ParametersError::OtherGroup(name.to_owned())),
            }
        }
        let turned = Arc::new(CryptoProvider { cipher_suites: turned, ..provider.clone() });
        let signatures = find_signatures(signatures)?;
        Ok(Self { provider: Arc::new(provider), turned, versions, signatures })
    }

    /// What `FIPS_202205` allows, whatever else is asked for: what is approved by NIST SP 800-52r2, in TLS 1.2 and 1.3.
    ///
    /// # Errors
    ///
    /// [`ParametersError`], of a build whose algorithms are others.
    pub fn fips() -> Result<Self, ParametersError> {
        let (from, to) = (Version::Tls12, Version::Tls13);
        let mut made = Self::new(from, to, FIPS_CIPHERS, FIPS_GROUPS, FIPS_SIGNATURES)?;
        for provider in [&mut made.provider, &mut made.turned] {
            Arc::make_mut(provider).cipher_suites.retain(|suite| !is_chacha20(suite));
        }
        Ok(made)
    }
}

/// Sources: BoringSSL's `SSL_CTX_set_compliance_policy`, `ssl_compliance_policy_fips_202205`.
const FIPS_CIPHERS: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
];
const FIPS_GROUPS: &[&str] = &["P-256", "P-384"];
const FIPS_SIGNATURES: &[&str] = &[
    "rsa_pkcs1_sha256",
    "rsa_pkcs1_sha384",
    "rsa_pkcs1_sha512",
    "ecdsa_secp256r1_sha256",
    "ecdsa_secp384r1_sha384",
    "rsa_pss_rsae_sha256",
    "rsa_pss_rsae_sha384",
    "rsa_pss_rsae_sha512",
];

fn is_chacha20(suite: &SupportedCipherSuite) -> bool {
    suite.suite() == CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
}

fn find_signatures(names: &[&str]) -> Result<Option<Arc<[SignatureScheme]>>, ParametersError> {
    let mut schemes = Vec::new();
    for name in names.iter().flat_map(|text| text.split(':')).filter(|name| !name.is_empty()) {
        // `PSS+SHA256` is `RSA-PSS+SHA256`.
        let known = |(long, short, _): &&(&str, &str, _)| {
            *long == name || *short == name || short.strip_prefix("RSA-") == Some(name)
        };
        let Some((_, _, scheme)) = SIGNATURES.iter().find(known) else {
            return Err(match SIGNATURES_OF_OTHERS.contains(&name) {
                true => ParametersError::OtherSignature(name.to_owned()),
                false => ParametersError::UnknownSignature(name.to_owned()),
            });
        };
        if schemes.contains(scheme) {
            return Err(ParametersError::SignatureTwice(name.to_owned()));
        }
        schemes.push(*scheme);
    }
    Ok((!schemes.is_empty()).then(|| schemes.into()))
}

fn find_cipher(name: &str, all: &CryptoProvider) -> Result<SupportedCipherSuite, ParametersError> {
    let Some(cipher) = CIPHERS.iter().find(|known| known.name == name || known.standard == name)
    else {
        return Err(match CIPHERS_OF_OTHERS.contains(&name) {
            true => ParametersError::OtherCipher(name.to_owned()),
            false => ParametersError::UnknownCipher(name.to_owned()),
        });
    };
    let found = all.cipher_suites.iter().find(|suite| suite.suite() == cipher.suite);
    found.copied().ok_or_else(|| ParametersError::OtherCipher(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ciphers(text: &[&str]) -> Result<Vec<String>, String> {
        let made = Parameters::new(Version::Tls12, Version::Tls12, text, &[], &[]);
        let named = |parameters: Parameters| {
            let suites = parameters.provider.cipher_suites.iter().map(|suite| suite.suite());
            suites.map(super::super::names::cipher_name).map(str::to_owned).collect::<Vec<_>>()
        };
        made.map(named).map_err(|error| error.to_string())
    }

    #[test]
    fn ciphers_are_envoys_names_and_what_we_have_not_is_told_from_what_nobody_has() {
        let chosen =
            ciphers(&["[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]"]).unwrap();
        let of_1_2 = &chosen[3..];
        assert_eq!(of_1_2, ["ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"]);
        let other = ciphers(&["ECDHE-RSA-AES128-SHA"]).unwrap_err();
        assert!(other.contains("known to Envoy"), "{other}");
        assert!(ciphers(&["AES-NONE"]).unwrap_err().contains("is none"));
    }

    #[test]
    fn versions_and_groups_are_bounded() {
        let none = Parameters::new(Version::Tls13, Version::Tls12, &[], &[], &[]);
        assert_eq!(none.unwrap_err(), ParametersError::NoVersion);
        let p521 = Parameters::new(Version::Tls12, Version::Tls13, &[], &["P-521"], &[]);
        assert_eq!(p521.unwrap_err(), ParametersError::OtherGroup("P-521".to_owned()));
        let default = Parameters::new(Version::Tls12, Version::Tls13, &[], &[], &[]).unwrap();
        assert_eq!(default.provider.kx_groups.len(), 2);
        assert_eq!(default.versions.len(), 2);
    }

    #[test]
    fn fips_leaves_what_nist_approves() {
        let made = Parameters::fips().unwrap();
        for provider in [&made.provider, &made.turned] {
            let suites = provider.cipher_suites.iter().map(|suite| suite.suite());
            let suites = suites.map(super::super::names::cipher_name).collect::<Vec<_>>();
            assert!(suites.iter().all(|name| name.contains("AES")), "{suites:?}");
            assert_eq!(suites.len(), 6);
            assert_eq!(provider.kx_groups.len(), 2);
        }
        let signatures = made.signatures.unwrap();
        assert!(!signatures.contains(&SignatureScheme::ED25519));
    }

    #[test]
    fn signatures_are_boringssls_names_once_each() {
        let signatures = |text: &[&str]| {
            let made = Parameters::new(Version::Tls12, Version::Tls13, &[], &[], text);
            made.map(|parameters| parameters.signatures.map(|all| all.to_vec()))
        };
        assert_eq!(signatures(&[]), Ok(None));
        let both = vec![SignatureScheme::RSA_PSS_SHA256, SignatureScheme::ECDSA_NISTP256_SHA256];
        for text in [
            &["RSA-PSS+SHA256", "ecdsa_secp256r1_sha256"][..],
            &["rsa_pss_rsae_sha256:ECDSA+SHA256"],
        ] {
            assert_eq!(signatures(text), Ok(Some(both.clone())), "{text:?}");
        }
        for (text, expected) in [
            (&["mldsa44"][..], ParametersError::OtherSignature("mldsa44".to_owned())),
            (&["dsa_sha1"], ParametersError::UnknownSignature("dsa_sha1".to_owned())),
            (&["ed25519", "ed25519"], ParametersError::SignatureTwice("ed25519".to_owned())),
        ] {
            assert_eq!(signatures(text), Err(expected));
        }
    }
}
