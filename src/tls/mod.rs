//! Owns TLS without its transport: certificates, who is trusted, and the contexts that handshakes are made of.
//!
//! Built when a configuration is read, so that what is wrong with a certificate is told with its line. A handshake reads
//! what is published of a secret when it begins, and stays with it to its end: a rotated certificate is that of the next
//! one, and a session goes on only where who is trusted is the same as when it began.

mod certificate;
mod client;
mod greeting;
mod key_log;
pub mod names;
mod ocsp;
mod parameters;
mod pem;
mod refused;
mod server;
mod session;
mod signatures;
mod tickets;
mod trusted;
mod validation;

pub(crate) use certificate::hex;
pub use certificate::{Certificate, CertificateError, CertificateInfo, NameKind, SubjectAltName};
pub use client::{ClientContext, ClientSettings, Speaks, Verified};
pub use greeting::{Greeting, Rejection};
pub use key_log::{Ends, KeyLogFile};
pub use ocsp::{OcspError, OcspResponse};
pub use parameters::{Parameters, ParametersError, Version};
pub use refused::{Refused, refused};
pub use server::{ServerContext, ServerSettings, Stapling};
pub use session::{Fingerprints, Peer, Session};
pub use signatures::Signatures;
pub use tickets::{SharedTickets, TicketKeys, TicketKeysError};
pub use validation::{
    Flaw, HostName, Refusal, SanKind, SanMatcher, Validation, ValidationError, ValidationSettings,
};

use std::{fmt, sync::Arc};

#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as algorithms;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as algorithms;
use understudy_actors::{
    plan::Payload,
    published::{Published, Publisher},
};

/// A secret, wherever it comes from: none until its source has said it.
#[derive(Debug)]
pub struct Secret<T> {
    from: From<T>,
}

#[derive(Debug)]
enum From<T> {
    /// The configuration itself.
    Fixed(Arc<T>),
    /// Discovery.
    Brought(Arc<Brought<T>>),
}

/// What discovery brings, and what was made of it last.
struct Brought<T> {
    published: Published<Option<Payload>>,
    make: Box<Make<T>>,
    made: Publisher<Option<(Payload, Arc<T>)>>,
}

type Make<T> = dyn Fn(&Payload) -> Option<Arc<T>> + Send + Sync;

// === impl Secret ===

impl<T> Secret<T> {
    /// One that stands in the configuration.
    pub fn fixed(value: Arc<T>) -> Self {
        Self { from: From::Fixed(value) }
    }

    /// One that its source publishes, and what is made of it: by the first handshake that sees it.
    pub fn brought(
        published: Published<Option<Payload>>,
        make: impl Fn(&Payload) -> Option<Arc<T>> + Send + Sync + 'static,
    ) -> Self {
        let (make, made) = (Box::new(make), Publisher::new(None));
        Self { from: From::Brought(Arc::new(Brought { published, make, made })) }
    }

    /// What it is now.
    pub fn read(&self) -> Option<Arc<T>> {
        match &self.from {
            From::Fixed(value) => Some(value.clone()),
            From::Brought(brought) => brought.read(),
        }
    }

    /// What it will always be, if it stands in the configuration.
    pub fn as_fixed(&self) -> Option<&Arc<T>> {
        match &self.from {
            From::Fixed(value) => Some(value),
            From::Brought(_) => None,
        }
    }
}

impl<T> Clone for Secret<T> {
    fn clone(&self) -> Self {
        let from = match &self.from {
            From::Fixed(value) => From::Fixed(value.clone()),
            From::Brought(brought) => From::Brought(brought.clone()),
        };
        Self { from }
    }
}

// === impl Brought ===

impl<T> Brought<T> {
    fn read(&self) -> Option<Arc<T>> {
        let now = self.published.read();
        let payload = now.as_ref().as_ref()?;
        if let Some((of, made)) = self.made.read().as_ref()
            && Arc::ptr_eq(of, payload)
        {
            return Some(made.clone());
        }
        // Whoever makes it at the same time makes the same.
        let made = (self.make)(payload)?;
        self.made.publish(Some((payload.clone(), made.clone())));
        Some(made)
    }
}

impl<T> fmt::Debug for Brought<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Brought")
    }
}

/// The algorithms: ring's, or those of aws-lc-rs where the build has that feature.
pub(crate) fn provider() -> rustls::crypto::CryptoProvider {
    algorithms::default_provider()
}

/// Seals sessions with a key of its own, which it changes by itself.
///
/// # Errors
///
/// rustls' own: there is no randomness to be had.
pub(crate) fn ticketer() -> Result<Arc<dyn rustls::server::ProducesTickets>, rustls::Error> {
    algorithms::Ticketer::new()
}
