//! Owns TLS without its transport: certificates, who is trusted, and the contexts that handshakes are made of.
//!
//! Built when a configuration is read, so that what is wrong with a certificate is told with its line. A handshake reads
//! what is published of a secret at that moment: a rotated certificate is that of the next one.

mod certificate;
mod client;
pub mod names;
mod parameters;
mod server;
mod session;
mod signatures;
mod validation;

pub use certificate::{Certificate, CertificateError, CertificateInfo, NameKind, SubjectAltName};
pub use client::{ClientContext, ClientSettings, Speaks};
pub use parameters::{Parameters, ParametersError, Version};
pub use server::{ServerContext, ServerSettings, refusal};
pub use session::{Peer, Session};
pub use signatures::Signatures;
pub use validation::{
    HostName, Refusal, SanKind, SanMatcher, Validation, ValidationError, ValidationSettings,
};

use std::sync::Arc;

use understudy_actors::published::Published;

/// A secret, wherever it comes from: none until its source has said it.
#[derive(Debug)]
pub struct Secret<T> {
    published: Published<Option<Arc<T>>>,
}

// === impl Secret ===

impl<T> Secret<T> {
    /// One that stands in the configuration.
    pub fn fixed(value: Arc<T>) -> Self {
        Self { published: Published::constant(Some(value)) }
    }

    /// One that its source publishes.
    pub fn published(published: Published<Option<Arc<T>>>) -> Self {
        Self { published }
    }

    /// What it is now.
    pub fn read(&self) -> Option<Arc<T>> {
        self.published.read().as_ref().clone()
    }
}

impl<T> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self { published: self.published.clone() }
    }
}

/// The algorithms: ring's.
pub(crate) fn provider() -> rustls::crypto::CryptoProvider {
    rustls::crypto::ring::default_provider()
}
