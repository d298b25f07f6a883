//! Owns certificates: a chain with its key, and what is told of one.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::SystemTime,
};

use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::{
    asn1_rs::Tag,
    extensions::{GeneralName, ParsedExtension},
    prelude::{AttributeTypeAndValue, FromDer, X509Certificate},
    public_key::PublicKey,
};

use super::{
    ocsp::OcspResponse,
    pem::{read_all, read_key},
    provider,
};

/// A chain that we show, with its key.
#[derive(Debug)]
pub struct Certificate {
    /// As rustls wants it.
    pub key: Arc<CertifiedKey>,
    /// The chain, the leaf first.
    pub chain: Vec<CertificateInfo>,
    /// Where it was read; `<inline>` for one that stands in the configuration.
    pub path: String,
    /// The name of the secret that holds it; empty for none.
    pub name: String,
    /// The same for all that have its names of its authority.
    pub identity: [u8; 32],
    /// What its authority says of it, if somebody has asked.
    pub staple: Option<Staple>,
}

/// An answer of an authority's that goes with a certificate.
#[derive(Debug)]
pub struct Staple {
    /// The answer.
    pub response: OcspResponse,
    /// The certificate with it, as rustls wants it.
    key: Arc<CertifiedKey>,
}

/// What is told of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// `CN=one.test,O=Acme` in the order of RFC 2253.
    pub subject: String,
    /// Whoever signed it, the same way.
    pub issuer: String,
    /// Names within it, in its order.
    pub names: Vec<SubjectAltName>,
    /// The first common name of the subject.
    pub common_name: Option<String>,
    /// Lower-case hexadecimal digits.
    pub serial: String,
    /// Valid from here on, in seconds of Unix time.
    pub not_before: i64,
    /// Valid up to here.
    pub not_after: i64,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub sha256: String,
    /// SHA-256 of the key.
    pub spki_sha256: [u8; 32],
    /// The key signs with an elliptic curve.
    pub is_ecdsa: bool,
    /// How long the key is, where it is one of RSA.
    pub rsa_bits: Option<usize>,
    /// The key may sign (`keyUsage`; RFC 5280, 4.2.1.3).
    pub may_sign: bool,
}

/// A name in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectAltName {
    /// A domain, maybe with a `*` in front.
    Dns(String),
    /// A URI.
    Uri(String),
    /// An address.
    Ip(IpAddr),
    /// A mail address.
    Email(String),
    /// Something else, by the number of its kind.
    Other(String, String),
}

/// Kinds of names that are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// Domains.
    Dns,
    /// URIs.
    Uri,
    /// Addresses.
    Ip,
    /// Mail addresses.
    Email,
    /// Others.
    Other,
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// There is none in it.
    #[error("failed to load certificate chain from {0}: it holds no PEM certificate")]
    NoCertificate(String),
    /// Its key is shorter than `RSA_BITS_MIN`.
    #[error(
        "failed to load certificate chain from {0}, only RSA certificates with {RSA_BITS_MIN}-bit or larger keys are supported: make another key"
    )]
    ShortKey(String),
    /// Its key may not sign.
    #[error(
        "failed to load certificate chain from {0}: its `keyUsage` has no `digitalSignature`, without which it can be shown to nobody"
    )]
    SignsNothing(String),
    /// It cannot be read.
    #[error("failed to load certificate from {0}: {1}")]
    Malformed(String, String),
    /// There is no key.
    #[error("failed to load private key from {0}: {1}")]
    NoKey(String, String),
    /// The key belongs to another certificate.
    #[error("private key {1} does not match certificate {0}")]
    Mismatch(String, String),
    /// The authority's answer belongs to another certificate; Envoy's words.
    #[error("OCSP response does not match its TLS certificate")]
    OtherStaple,
}

/// Source: Envoy's `TlsContext::loadCertificateChain`.
const RSA_BITS_MIN: usize = 2048;

/// What rustls signs with.
const KEYS_READ: &str = "keys of RSA, P-256, P-384 and Ed25519 are read";

// === impl Certificate ===

impl Certificate {
    /// A chain and its key, both PEM, and the password that the key may have; the paths are for errors and `/certs`.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn new(
        (chain, path): (&[u8], &str),
        (key, key_path): (&[u8], &str),
        password: Option<&[u8]>,
    ) -> Result<Self, CertificateError> {
        let ders = read_all(chain, path)?;
        let infos = ders
            .iter()
            .map(|der| CertificateInfo::read(der, path))
            .collect::<Result<Vec<_>, _>>()?;
        // Observed: Envoy 1.40, which takes one of RSA that may not sign.
        match infos.first() {
            Some(leaf) if leaf.rsa_bits.is_some_and(|bits| bits < RSA_BITS_MIN) => {
                return Err(CertificateError::ShortKey(path.to_owned()));
            }
            Some(leaf) if leaf.is_ecdsa && !leaf.may_sign => {
                return Err(CertificateError::SignsNothing(path.to_owned()));
            }
            _ => {}
        }
        let told = |error: String| CertificateError::NoKey(key_path.to_owned(), error);
        let key = read_key(key, password).map_err(told)?;
        let signs = provider().key_provider.load_private_key(key);
        let signs = signs.map_err(|error| told(format!("{error}; {KEYS_READ}")))?;
        let certified = CertifiedKey::new(ders, signs);
        // By their public keys: rustls' own comparison reads no certificate of version 1, which Envoy takes.
        let own = certified.key.public_key().map(|key| <[u8; 32]>::from(Sha256::digest(&key)));
        if own.is_some() && own != infos.first().map(|leaf| leaf.spki_sha256) {
            return Err(CertificateError::Mismatch(path.to_owned(), key_path.to_owned()));
        }
        let of = infos.first().map(|leaf| (&leaf.common_name, &leaf.names, &leaf.issuer));
        let identity = Sha256::digest(format!("{of:?}")).into();
        Ok(Self {
            key: Arc::new(certified),
            chain: infos,
            identity,
            path: path.to_owned(),
            name: String::new(),
            staple: None,
        })
    }

    /// With an answer of its authority's.
    ///
    /// # Errors
    ///
    /// [`CertificateError::OtherStaple`]: it speaks of another certificate.
    pub fn with_staple(mut self, response: OcspResponse) -> Result<Self, CertificateError> {
        if self.leaf().is_none_or(|leaf| leaf.serial != response.serial) {
            return Err(CertificateError::OtherStaple);
        }
        let mut key = CertifiedKey::clone(&self.key);
        key.ocsp = Some(response.der.clone());
        self.staple = Some(Staple { response, key: Arc::new(key) });
        Ok(self)
    }

    /// For rustls, with the answer of its authority's as long as that holds.
    pub fn stapled(&self, now: SystemTime) -> Option<&Arc<CertifiedKey>> {
        let good = self.staple.as_ref().filter(|staple| staple.response.is_good(now));
        good.map(|staple| &staple.key)
    }

    /// The same as long as the same is shown.
    pub fn fingerprint(&self) -> impl Iterator<Item = String> {
        let staple = self.staple.iter().map(|staple| hex(&Sha256::digest(&staple.response.der)));
        self.chain.iter().map(|certificate| certificate.sha256.clone()).chain(staple)
    }

    /// The certificate itself.
    pub fn leaf(&self) -> Option<&CertificateInfo> {
        self.chain.first()
    }
}

// === impl CertificateInfo ===

impl CertificateInfo {
    /// What a certificate says.
    ///
    /// # Errors
    ///
    /// [`CertificateError::Malformed`]: it is none.
    pub fn read(der: &[u8], path: &str) -> Result<Self, CertificateError> {
        let malformed = |error: String| CertificateError::Malformed(path.to_owned(), error);
        let (_, read) = X509Certificate::from_der(der).map_err(|e| malformed(e.to_string()))?;
        let mut names = Vec::new();
        for extension in read.extensions() {
            if let ParsedExtension::SubjectAlternativeName(alternative) =
                extension.parsed_extension()
            {
                names.extend(alternative.general_names.iter().filter_map(SubjectAltName::of));
            }
        }
        let common_name = read.subject().iter_common_name().next();
        let serial = read.raw_serial().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let key = &read.tbs_certificate.subject_pki;
        Ok(Self {
            subject: distinguished_name(read.subject()),
            issuer: distinguished_name(read.issuer()),
            common_name: common_name.and_then(|name| name.as_str().ok()).map(str::to_owned),
            names,
            // A leading zero keeps a number positive; it is none of its digits.
            serial: serial
                .strip_prefix("00")
                .filter(|rest| !rest.is_empty())
                .unwrap_or(&serial)
                .to_owned(),
            not_before: read.validity().not_before.timestamp(),
            not_after: read.validity().not_after.timestamp(),
            sha256: hex(&Sha256::digest(der)),
            spki_sha256: Sha256::digest(key.raw).into(),
            is_ecdsa: key.algorithm.algorithm
                == x509_parser::oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY,
            rsa_bits: match key.parsed() {
                Ok(PublicKey::RSA(key)) => Some(key.key_size()),
                _ => None,
            },
            may_sign: read
                .key_usage()
                .ok()
                .flatten()
                .is_none_or(|usage| usage.value.digital_signature()),
        })
    }

    /// Its names of a kind, as texts.
    pub fn names_of(&self, kind: NameKind) -> impl Iterator<Item = String> {
        let names = self.names.iter().filter(move |name| name.kind() == kind);
        names.map(SubjectAltName::text)
    }

    /// The names a client may ask for, and what they are without alternative names: the common name.
    pub fn server_names(&self) -> impl Iterator<Item = &str> {
        let dns = self.names.iter().filter_map(|name| match name {
            SubjectAltName::Dns(name) => Some(name.as_str()),
            _ => None,
        });
        // Source: Envoy's `TlsContext`: the common name counts where there are no alternative names of that kind.
        let none = dns.clone().next().is_none();
        dns.chain(self.common_name.as_deref().filter(|_| none))
    }
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As RFC 2253 writes it: the last part first, with its marks escaped.
fn distinguished_name(name: &x509_parser::prelude::X509Name<'_>) -> String {
    let mut parts = Vec::new();
    for relative in name.iter() {
        let attributes = relative.iter().map(|attribute| {
            let oid = attribute.attr_type();
            let registry = x509_parser::oid_registry::OidRegistry::default().with_x509();
            let abbreviated = abbreviation(&oid.to_id_string()).map(str::to_owned);
            let kind = abbreviated.unwrap_or_else(|| {
                registry.get(oid).map_or_else(|| oid.to_id_string(), |entry| entry.sn().to_owned())
            });
            format!("{kind}={}", escaped(&value_of(attribute)))
        });
        let mut attributes = attributes.collect::<Vec<_>>();
        attributes.reverse();
        parts.push(attributes.join("+"));
    }
    parts.reverse();
    parts.join(",")
}

/// What attributes of names are called. Source: RFC 4519, 2; RFC 2985 for the mail address.
fn abbreviation(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "2.5.4.3" => "CN",
        "2.5.4.4" => "SN",
        "2.5.4.5" => "serialNumber",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "ST",
        "2.5.4.9" => "street",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "2.5.4.12" => "title",
        "2.5.4.42" => "GN",
        "0.9.2342.19200300.100.1.1" => "UID",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "emailAddress",
        _ => return None,
    })
}

/// The text of an attribute, whatever it is encoded in.
fn value_of(attribute: &AttributeTypeAndValue<'_>) -> String {
    if let Ok(text) = attribute.as_str() {
        return text.to_owned();
    }
    let value = attribute.attr_value();
    match value.tag() {
        Tag::T61String => value.data.iter().copied().map(char::from).collect(),
        Tag::BmpString => {
            let units = value.data.chunks_exact(2).filter_map(|pair| pair.try_into().ok());
            let units = units.map(u16::from_be_bytes);
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect()
        }
        _ => String::from_utf8_lossy(value.data).into_owned(),
    }
}

/// Source: RFC 2253, 2.4. Observed: Envoy 1.40 writes what is no ASCII in hexadecimal digits.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (at, byte) in value.bytes().enumerate() {
        let edge = (at == 0 && matches!(byte, b' ' | b'#')) || (at == last && byte == b' ');
        match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => {
                out.extend(['\\', char::from(byte)]);
            }
            _ if edge => out.extend(['\\', char::from(byte)]),
            b' '..=b'~' => out.push(char::from(byte)),
            other => {
                let _ = write!(out, "\\{other:02X}");
            }
        }
    }
    out
}

// === impl SubjectAltName ===

impl SubjectAltName {
    fn of(name: &GeneralName<'_>) -> Option<Self> {
        Some(match name {
            GeneralName::DNSName(name) => SubjectAltName::Dns((*name).to_owned()),
            GeneralName::URI(uri) => SubjectAltName::Uri((*uri).to_owned()),
            GeneralName::RFC822Name(mail) => SubjectAltName::Email((*mail).to_owned()),
            GeneralName::IPAddress(bytes) => SubjectAltName::Ip(match bytes.len() {
                4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(*bytes).ok()?)),
                _ => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).ok()?)),
            }),
            GeneralName::OtherName(oid, value) => {
                let text = String::from_utf8_lossy(value.get(4..).unwrap_or_default()).into_owned();
                SubjectAltName::Other(oid.to_id_string(), text)
            }
            _ => return None,
        })
    }

    fn kind(&self) -> NameKind {
        match self {
            SubjectAltName::Dns(_) => NameKind::Dns,
            SubjectAltName::Uri(_) => NameKind::Uri,
            SubjectAltName::Ip(_) => NameKind::Ip,
            SubjectAltName::Email(_) => NameKind::Email,
            SubjectAltName::Other(..) => NameKind::Other,
        }
    }

    /// Its text.
    pub fn text(&self) -> String {
        match self {
            SubjectAltName::Dns(text)
            | SubjectAltName::Uri(text)
            | SubjectAltName::Email(text)
            | SubjectAltName::Other(_, text) => text.clone(),
            SubjectAltName::Ip(ip) => ip.to_string(),
        }
    }
}

/// Whether a name of a certificate, maybe with `*.` in front for exactly one label, is that of a host.
///
/// Source: RFC 6125, 6.4.3; Envoy's `Utility::dnsNameMatch`.
pub(super) fn dns_name_matches(host: &str, pattern: &str) -> bool {
    if host.eq_ignore_ascii_case(pattern) {
        return true;
    }
    let Some(parent) = pattern.strip_prefix("*.") else { return false };
    host.split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed: Envoy 1.40, a certificate of `openssl req -subj /CN=joe+OU=x`.
    #[test]
    fn parts_of_a_name_that_belong_together_are_turned_round_as_well() {
        use x509_parser::prelude::{FromDer, X509Name};
        let der = b"\x30\x18\x31\x16\x30\x08\x06\x03\x55\x04\x0b\x0c\x01x\
            \x30\x0a\x06\x03\x55\x04\x03\x0c\x03joe";
        let (_, name) = X509Name::from_der(der).unwrap();
        assert_eq!(distinguished_name(&name), "CN=joe+OU=x");
    }

    #[test]
    fn names_are_written_as_rfc_2253_has_them() {
        for (value, expected) in [
            ("Acme, Inc.", "Acme\\, Inc."),
            ("#1 \"a\\b\"", "\\#1 \\\"a\\\\b\\\""),
            (" a ", "\\ a\\ "),
            ("Ü", "\\C3\\9C"),
            ("a#b", "a#b"),
        ] {
            assert_eq!(escaped(value), expected);
        }
    }
}
