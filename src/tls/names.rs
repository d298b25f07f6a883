//! Owns what algorithms are called: by Envoy (whose names are BoringSSL's), by the standards, and by rustls.

use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SignatureScheme};

/// A cipher suite of TLS 1.2 that can be chosen, and what it is called.
#[derive(Clone, Copy, Debug)]
pub struct Cipher {
    /// In `cipher_suites` and in stats.
    pub name: &'static str,
    /// By the standard.
    pub standard: &'static str,
    /// To rustls.
    pub suite: CipherSuite,
}

/// Those that can be chosen; in TLS 1.3 nothing is to be chosen.
pub const CIPHERS: [Cipher; 6] = [
    cipher(
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    ),
    cipher(
        "ECDHE-ECDSA-CHACHA20-POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    cipher(
        "ECDHE-RSA-AES128-GCM-SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    ),
    cipher(
        "ECDHE-RSA-CHACHA20-POLY1305",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ),
    cipher(
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    ),
    cipher(
        "ECDHE-RSA-AES256-GCM-SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    ),
];

/// Those that BoringSSL knows and rustls has not: without forward secrecy, without authenticated encryption, or with
/// a shared key.
pub const CIPHERS_OF_OTHERS: [&str; 11] = [
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-PSK-AES256-CBC-SHA",
    "AES128-GCM-SHA256",
    "AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES256-GCM-SHA384",
    "AES256-SHA",
];

const fn cipher(name: &'static str, standard: &'static str, suite: CipherSuite) -> Cipher {
    Cipher { name, standard, suite }
}

/// Groups by Envoy's names.
pub const GROUPS: [(&str, NamedGroup); 5] = [
    ("X25519", NamedGroup::X25519),
    ("P-256", NamedGroup::secp256r1),
    ("P-384", NamedGroup::secp384r1),
    ("P-521", NamedGroup::secp521r1),
    ("X25519MLKEM768", NamedGroup::X25519MLKEM768),
];

/// What a suite is called, in stats and in logs. Observed: Envoy 1.40 has those of TLS 1.3 by their standard names.
pub fn cipher_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => CIPHERS.iter().find(|cipher| cipher.suite == other).map_or("", |own| own.name),
    }
}

/// What a group is called.
pub fn group_name(group: NamedGroup) -> &'static str {
    GROUPS.iter().find(|(_, known)| *known == group).map_or("", |(name, _)| name)
}

/// What the newest version is called.
pub const TLS_1_3: &str = "TLSv1.3";

/// `TLSv1.2`, `TLSv1.3`.
pub fn version_name(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_3 => TLS_1_3,
        _ => "TLSv1.2",
    }
}

/// Algorithms for signatures by both of BoringSSL's names, in the order in which Envoy 1.40 offers them. It offers no ed25519.
///
/// Source of the longer names: RFC 8446, 4.2.3.
pub const SIGNATURES: [(&str, &str, SignatureScheme); 9] = [
    ("ecdsa_secp256r1_sha256", "ECDSA+SHA256", SignatureScheme::ECDSA_NISTP256_SHA256),
    ("rsa_pss_rsae_sha256", "RSA-PSS+SHA256", SignatureScheme::RSA_PSS_SHA256),
    ("rsa_pkcs1_sha256", "RSA+SHA256", SignatureScheme::RSA_PKCS1_SHA256),
    ("ecdsa_secp384r1_sha384", "ECDSA+SHA384", SignatureScheme::ECDSA_NISTP384_SHA384),
    ("rsa_pss_rsae_sha384", "RSA-PSS+SHA384", SignatureScheme::RSA_PSS_SHA384),
    ("rsa_pkcs1_sha384", "RSA+SHA384", SignatureScheme::RSA_PKCS1_SHA384),
    ("rsa_pss_rsae_sha512", "RSA-PSS+SHA512", SignatureScheme::RSA_PSS_SHA512),
    ("rsa_pkcs1_sha512", "RSA+SHA512", SignatureScheme::RSA_PKCS1_SHA512),
    ("ed25519", "ed25519", SignatureScheme::ED25519),
];

/// Those that BoringSSL knows and we have not: by SHA-1, by P-521, by lattices.
pub const SIGNATURES_OF_OTHERS: [&str; 10] = [
    "rsa_pkcs1_sha1",
    "RSA+SHA1",
    "ecdsa_sha1",
    "ECDSA+SHA1",
    "ecdsa_secp521r1_sha512",
    "ECDSA+SHA512",
    "rsa_pkcs1_sha256_legacy",
    "mldsa44",
    "mldsa65",
    "mldsa87",
];

/// What an algorithm for signatures is called; empty for one that is none of ours.
pub fn signature_name(scheme: SignatureScheme) -> &'static str {
    SIGNATURES.iter().find(|(_, _, known)| *known == scheme).map_or("", |(name, _, _)| name)
}
