//! Owns PEM texts (RFC 7468): the certificates and the key that are in one.

use std::borrow::Cow;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificate::CertificateError;

/// A private key of a PEM text.
pub(super) fn read_key(
    pem: &[u8],
    password: Option<&[u8]>,
) -> Result<PrivateKeyDer<'static>, String> {
    if let Some(text) = encrypted(pem) {
        let password = password.ok_or("it is encrypted, and there is no `password`")?;
        return decrypt(text, password).ok_or_else(|| UNDECRYPTABLE.to_owned());
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| {
        match pem.windows(9).any(|w| w == b"ENCRYPTED") {
            true => UNDECRYPTABLE.to_owned(),
            false => pem_error(&error, "private key"),
        }
    })
}

const UNDECRYPTABLE: &str = "it cannot be decrypted: the `password` is another, or it is not PKCS #8 with AES \
    (`openssl pkcs8 -topk8 -v2 aes-256-cbc` makes one of it)";

/// The part of a PEM text that is a key with a password (PKCS #8).
fn encrypted(pem: &[u8]) -> Option<&str> {
    const BEGIN: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const END: &str = "-----END ENCRYPTED PRIVATE KEY-----";
    let text = std::str::from_utf8(pem).ok()?;
    let from = text.find(BEGIN)?;
    let to = text.get(from..)?.find(END)? + END.len();
    text.get(from..from + to)
}

fn decrypt(text: &str, password: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let (_, sealed) = pkcs8::SecretDocument::from_pem(text).ok()?;
    let sealed = pkcs8::EncryptedPrivateKeyInfoRef::try_from(sealed.as_bytes()).ok()?;
    let opened = sealed.decrypt(password).ok()?;
    Some(PrivateKeyDer::Pkcs8(opened.as_bytes().to_vec().into()))
}

/// All certificates of a PEM text.
pub(super) fn read_all(
    pem: &[u8],
    path: &str,
) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let pem = with_plain_labels(pem);
    let read = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let ders = read.map_err(|error| {
        CertificateError::Malformed(path.to_owned(), pem_error(&error, "certificate"))
    })?;
    let ders = ders.into_iter().map(only_the_certificate).collect::<Vec<_>>();
    match ders.is_empty() {
        true => Err(CertificateError::NoCertificate(path.to_owned())),
        false => Ok(ders),
    }
}

/// A PEM text whose certificates are called by the name that they have today.
///
/// Source: BoringSSL's `PEM_read_bio_X509_AUX` takes the other two as well.
fn with_plain_labels(pem: &[u8]) -> Cow<'_, [u8]> {
    let Ok(text) = std::str::from_utf8(pem) else { return Cow::Borrowed(pem) };
    let others = ["TRUSTED CERTIFICATE-----", "X509 CERTIFICATE-----"];
    match others.iter().any(|label| text.contains(label)) {
        false => Cow::Borrowed(pem),
        true => {
            let plain = others
                .iter()
                .fold(text.to_owned(), |text, label| text.replace(label, "CERTIFICATE-----"));
            Cow::Owned(plain.into_bytes())
        }
    }
}

/// A certificate without what a `TRUSTED CERTIFICATE` says behind it.
fn only_the_certificate(der: CertificateDer<'static>) -> CertificateDer<'static> {
    let behind = X509Certificate::from_der(&der).map_or(0, |(rest, _)| rest.len());
    match der.split_at_checked(der.len() - behind) {
        Some((own, rest)) if !rest.is_empty() => own.to_vec().into(),
        _ => der,
    }
}

/// What is wrong with a PEM text.
fn pem_error(error: &pem::Error, wanted: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("it holds no PEM {wanted}"),
        pem::Error::MissingSectionEnd { end_marker } => {
            let marker = String::from_utf8_lossy(end_marker);
            format!("it has a beginning, and no line `-----END {marker}-----`")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::provider;

    /// `openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:secret`
    const ENCRYPTED: &[u8] = include_bytes!("../../tests/fixtures/encrypted.key");

    #[test]
    fn a_key_with_a_password_is_read_by_who_has_it() {
        let key = read_key(ENCRYPTED, Some(b"secret")).unwrap();
        assert!(provider().key_provider.load_private_key(key).is_ok());
        for (password, expected) in
            [(Some(&b"other"[..]), "cannot be decrypted"), (None, "no `password`")]
        {
            let error = read_key(ENCRYPTED, password).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let cut = ENCRYPTED.len() / 2;
        assert!(read_key(&ENCRYPTED[..cut], Some(b"secret")).is_err());
        // Of a key without one it is no business.
        let plain = include_bytes!("../../tests/fixtures/rsa.key");
        assert!(read_key(plain, Some(b"any")).is_ok());
    }

    #[test]
    fn certificates_have_old_names_too_and_what_follows_in_them_is_left_out() {
        let plain = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap().cert.pem();
        let expected = read_all(plain.as_bytes(), "").unwrap();
        let x509 = plain.replace("CERTIFICATE", "X509 CERTIFICATE");
        assert_eq!(read_all(x509.as_bytes(), "").unwrap(), expected);
        let trusted = [&expected[0][..], b"\x30\x00"].concat();
        let trusted = format!(
            "-----BEGIN TRUSTED CERTIFICATE-----\n{}\n-----END TRUSTED CERTIFICATE-----\n",
            crate::base64::write(&trusted)
        );
        assert_eq!(read_all(trusted.as_bytes(), "").unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_with_a_text_is_told() {
        let cut = b"-----BEGIN CERTIFICATE-----\nAAAA\n";
        let error = read_all(cut, "a.pem").unwrap_err().to_string();
        assert!(error.ends_with("no line `-----END CERTIFICATE-----`"), "{error}");
        assert_eq!(read_key(b" ", None).unwrap_err(), "it holds no PEM private key");
    }
}
