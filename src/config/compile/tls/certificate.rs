//! Owns compiling certificates, and reading what they are made of.

use std::sync::Arc;

use super::super::Compiler;
use crate::{
    config::Message,
    tls::{Certificate, OcspResponse},
};

impl Compiler<'_> {
    /// `TlsCertificate`
    pub(super) fn tls_certificate(
        &mut self,
        certificate: &Message,
        name: &str,
    ) -> Option<Arc<Certificate>> {
        let [chain, key] =
            ["certificate_chain", "private_key"].map(|field| self.secret_text(certificate, field));
        let (chain, key) = (chain?, key?);
        let password = match certificate.message("password") {
            Some(source) => Some(self.data_source(source)?),
            None => None,
        };
        let password = password.as_deref();
        let made = Certificate::new((&chain.0, &chain.1), (&key.0, &key.1), password);
        let staple = match certificate.message("ocsp_staple") {
            Some(source) => Some(self.ocsp_staple(source)?),
            None => None,
        };
        let made = made.and_then(|made| match staple {
            Some(response) => made.with_staple(response),
            None => Ok(made),
        });
        made.map(|made| Arc::new(Certificate { name: name.to_owned(), ..made }))
            .map_err(|error| self.error(certificate.at, &certificate.path, error.to_string(), ""))
            .ok()
    }

    /// `TlsCertificate.ocsp_staple`, DER
    pub(super) fn ocsp_staple(&mut self, source: &Message) -> Option<OcspResponse> {
        let der = self.data_source(source)?;
        let hint = "`openssl ocsp -respout FILE` writes one";
        let read = OcspResponse::read(&der);
        read.map_err(|error| self.error(source.at, &source.path, error.to_string(), hint)).ok()
    }

    /// A part of a secret that must be there: what it holds, and what it is called.
    pub(super) fn secret_text(
        &mut self,
        secret: &Message,
        field: &str,
    ) -> Option<(Vec<u8>, String)> {
        match secret.message(field) {
            Some(source) => self.named_source(source),
            None => {
                let text = format!("a TLS certificate needs `{field}`");
                self.error(secret.at, &secret.path, text, "");
                None
            }
        }
    }

    /// What a source holds, and its path.
    pub(super) fn named_source(&mut self, source: &Message) -> Option<(Vec<u8>, String)> {
        let path = source.peek_text("filename").unwrap_or("<inline>").to_owned();
        self.data_source(source).map(|bytes| (bytes, path))
    }
}
