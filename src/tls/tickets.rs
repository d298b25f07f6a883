//! Owns how sessions go on: tickets sealed with keys that other proxies have as well, or with our own, for how long they
//! are good, and that they are good only where of clients the same is asked as where they began.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
    rand::{SecureRandom, SystemRandom},
};
use rustls::server::{ProducesTickets, StoresServerSessions};

use super::{Secret, certificate::hex};

/// Source: `TlsSessionTicketKeys.keys`.
pub(super) const KEY_BYTES: usize = 80;

/// The first bytes of a key are its name.
const NAME_BYTES: usize = 16;

/// Of SHA-256.
const DIGEST_BYTES: usize = 32;

/// BoringSSL's `SSL_DEFAULT_SESSION_TIMEOUT`.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);

/// Clocks of proxies that share keys may differ.
const SKEW: Duration = Duration::from_secs(60);

/// Keys that seal tickets: the first seals, all open.
pub struct TicketKeys {
    keys: Vec<Key>,
}

struct Key {
    name: [u8; NAME_BYTES],
    sealing: LessSafeKey,
}

/// A key that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TicketKeysError {
    /// Envoy's words.
    #[error("Incorrect TLS session ticket key length. Length {0}, expected length {KEY_BYTES}.")]
    Length(usize),
}

/// Seals tickets with shared keys.
#[derive(Debug)]
pub struct SharedTickets {
    keys: Secret<TicketKeys>,
}

/// For how long a session is good, and where.
///
/// rustls looks at no certificate when a session goes on: whom it was trusted for then it is trusted for now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    lifetime: Duration,
    /// What is asked of clients, and who asks.
    digest: [u8; DIGEST_BYTES],
}

/// Makes tickets that are good on these terms.
#[derive(Debug)]
pub(super) struct BoundTickets {
    inner: Arc<dyn ProducesTickets>,
    terms: Terms,
    /// The second of the handshake in full by which the session of a connection was begun; 0 while none goes on. None where
    /// many connections share this.
    began: Option<AtomicU64>,
}

/// Keeps sessions that are good on these terms.
#[derive(Debug)]
pub(super) struct BoundSessions {
    pub(super) inner: Arc<dyn StoresServerSessions>,
    pub(super) terms: Terms,
}

// === impl TicketKeys ===

impl TicketKeys {
    /// Of keys of 80 bytes each. What they seal others open that have the same keys, if they are of our kind: Envoy's
    /// tickets have another form.
    ///
    /// # Errors
    ///
    /// [`TicketKeysError`].
    pub fn new(keys: &[Vec<u8>]) -> Result<Self, TicketKeysError> {
        let keys = keys.iter().map(|bytes| Key::new(bytes).ok_or(bytes.len()));
        keys.collect::<Result<_, _>>().map(|keys| Self { keys }).map_err(TicketKeysError::Length)
    }

    /// The same as long as the keys are.
    pub fn fingerprint(&self) -> impl Iterator<Item = String> {
        self.keys.iter().map(|key| hex(&key.name))
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        key.sealing.seal_in_place_append_tag(nonce_of, Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let (nonce, mut opened) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let plain = key.sealing.open_in_place(nonce, Aad::from(key.name), &mut opened).ok()?;
        Some(plain.to_vec())
    }
}

impl fmt::Debug for TicketKeys {
    /// A key is nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TicketKeys({})", self.keys.len())
    }
}

// === impl Key ===

impl Key {
    fn new(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != KEY_BYTES {
            return None;
        }
        let derived = Salt::new(HKDF_SHA256, b"session tickets").extract(bytes);
        let sealing = UnboundKey::from(derived.expand(&[b"AES-256-GCM"], &AES_256_GCM).ok()?);
        let name = *bytes.first_chunk::<NAME_BYTES>()?;
        Some(Self { name, sealing: LessSafeKey::new(sealing) })
    }
}

// === impl Terms ===

impl Terms {
    /// `lifetime` is `session_timeout`, if it says one.
    pub(super) fn new(lifetime: Option<Duration>, digest: [u8; DIGEST_BYTES]) -> Self {
        Self { lifetime: lifetime.unwrap_or(LIFETIME), digest }
    }

    /// A session with the second at which it began and what was asked of its client in front.
    fn mark(&self, plain: &[u8], began: u64) -> Vec<u8> {
        [&began.to_be_bytes()[..], &self.digest, plain].concat()
    }

    /// The session and when it began, if that is neither too long ago nor still to come, and the same is asked now.
    fn unmark(&self, marked: &[u8], now: u64) -> Option<(u64, Vec<u8>)> {
        let (began, marked) = marked.split_first_chunk::<8>()?;
        let (digest, plain) = marked.split_first_chunk::<DIGEST_BYTES>()?;
        let began = u64::from_be_bytes(*began);
        let good = began <= now.saturating_add(SKEW.as_secs())
            && now <= began.saturating_add(self.lifetime.as_secs());
        (good && *digest == self.digest).then(|| (began, plain.to_vec()))
    }
}

/// Seconds of Unix time.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

// === impl SharedTickets ===

impl SharedTickets {
    /// Of these keys.
    pub fn new(keys: Secret<TicketKeys>) -> Self {
        Self { keys }
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    /// As long as there is the key.
    fn lifetime(&self) -> u32 {
        u32::MAX
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.read()?.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.keys.read()?.open(ticket)
    }
}

// === impl BoundTickets ===

impl BoundTickets {
    /// For all connections: each ticket is good for its whole time.
    pub(super) fn shared(inner: Arc<dyn ProducesTickets>, terms: Terms) -> Self {
        Self { inner, terms, began: None }
    }

    /// For one connection: its tickets are good for as long as the one that it came with. In TLS 1.3 each time that a
    /// session goes on brings new ones, and nobody would look at the client's certificate again.
    pub(super) fn of_one(inner: Arc<dyn ProducesTickets>, terms: Terms) -> Self {
        Self { inner, terms, began: Some(AtomicU64::new(0)) }
    }
}

impl ProducesTickets for BoundTickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        let seconds = u32::try_from(self.terms.lifetime.as_secs()).unwrap_or(u32::MAX);
        self.inner.lifetime().min(seconds)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let began = self.began.as_ref().map(|began| began.load(Relaxed)).filter(|began| *began > 0);
        self.inner.encrypt(&self.terms.mark(plain, began.unwrap_or_else(now)))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (began, plain) = self.terms.unmark(&self.inner.decrypt(ticket)?, now())?;
        if let Some(goes_on) = &self.began {
            goes_on.store(began, Relaxed);
        }
        Some(plain)
    }
}

// === impl BoundSessions ===

impl StoresServerSessions for BoundSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.inner.put(key, self.terms.mark(&value, now()))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.terms.unmark(&self.inner.get(key)?, now()).map(|(_, plain)| plain)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.terms.unmark(&self.inner.take(key)?, now()).map(|(_, plain)| plain)
    }

    fn can_cache(&self) -> bool {
        self.inner.can_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn keys(of: &[u8]) -> TicketKeys {
        let keys = of.iter().map(|byte| vec![*byte; KEY_BYTES]).collect::<Vec<_>>();
        TicketKeys::new(&keys).unwrap()
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        let ticket = keys(&[1, 2]).seal(b"session").unwrap();
        for (others, opens) in [(&[1, 2][..], true), (&[2, 1], true), (&[2], false), (&[], false)] {
            let opened = keys(others).open(&ticket);
            assert_eq!(opened.as_deref() == Some(b"session"), opens, "{others:?}");
        }
    }

    #[test]
    fn a_session_outlives_neither_its_time_nor_what_was_asked_when_it_was_made() {
        let (now, hour, skew) = (1_800_000_000, HOUR.as_secs(), SKEW.as_secs());
        let terms = Terms::new(Some(HOUR), [1; DIGEST_BYTES]);
        let marked = terms.mark(b"session", now);
        assert_eq!(terms.unmark(&marked, now + 1), Some((now, b"session".to_vec())));
        let good = |at: u64| terms.unmark(&marked, at).is_some();
        assert!(good(now + hour) && !good(now + hour + 1));
        assert!(good(now - skew) && !good(now - skew - 1));
        let other = Terms::new(Some(HOUR), [2; DIGEST_BYTES]);
        assert_eq!(other.unmark(&marked, now), None);
        for short in 0..marked.len() - b"session".len() {
            assert_eq!(terms.unmark(&marked[..short], now), None, "{short}");
        }
    }

    #[test]
    fn a_ticket_that_was_touched_is_none() {
        let ticket = keys(&[1]).seal(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(keys(&[1]).open(&other), None, "{at}");
            assert_eq!(keys(&[1]).open(&ticket[..at]), None, "{at}");
        }
    }

    #[test]
    fn a_key_has_its_length() {
        assert_eq!(TicketKeys::new(&[vec![0; 48]]).unwrap_err(), TicketKeysError::Length(48));
    }
}
