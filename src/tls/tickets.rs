//! Owns session tickets: sealed with keys that other proxies have as well, or with our own, and for how long they are good.

use std::{
    fmt,
    sync::Arc,
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

/// Makes tickets of shared keys.
#[derive(Debug)]
pub struct SharedTickets {
    keys: Secret<TicketKeys>,
    lifetime: Duration,
}

/// Makes tickets that are good for no longer than this.
#[derive(Debug)]
pub struct TimedTickets {
    inner: Arc<dyn ProducesTickets>,
    lifetime: Duration,
}

/// Keeps sessions that are good for no longer than this.
#[derive(Debug)]
pub(super) struct TimedSessions {
    inner: Arc<dyn StoresServerSessions>,
    lifetime: Duration,
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

    fn seal(&self, plain: &[u8], now: SystemTime) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = dated(plain, now);
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        key.sealing.seal_in_place_append_tag(nonce_of, Aad::from(key.name), &mut sealed).ok()?;
        Some([&key.name[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], now: SystemTime, lifetime: Duration) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let (nonce, mut opened) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let plain = key.sealing.open_in_place(nonce, Aad::from(key.name), &mut opened).ok()?;
        undated(plain, now, lifetime).map(<[u8]>::to_vec)
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

/// With the second in front at which it was made.
fn dated(plain: &[u8], now: SystemTime) -> Vec<u8> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    [&now.to_be_bytes()[..], plain].concat()
}

/// What is behind the second, if that is neither too long ago nor still to come.
fn undated(dated: &[u8], now: SystemTime, lifetime: Duration) -> Option<&[u8]> {
    let (made, plain) = dated.split_first_chunk::<8>()?;
    let made = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*made)))?;
    let good = made <= now.checked_add(SKEW)? && now <= made.checked_add(lifetime)?;
    good.then_some(plain)
}

fn seconds(lifetime: Duration) -> u32 {
    u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX)
}

// === impl SharedTickets ===

impl SharedTickets {
    /// Of these keys; `lifetime` is `session_timeout`, if it says one.
    pub fn new(keys: Secret<TicketKeys>, lifetime: Option<Duration>) -> Self {
        Self { keys, lifetime: lifetime.unwrap_or(LIFETIME) }
    }
}

impl ProducesTickets for SharedTickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        seconds(self.lifetime)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.read()?.seal(plain, SystemTime::now())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.keys.read()?.open(ticket, SystemTime::now(), self.lifetime)
    }
}

// === impl TimedTickets ===

impl TimedTickets {
    /// Tickets of `inner`; `lifetime` is `session_timeout`, if it says one.
    pub fn new(inner: Arc<dyn ProducesTickets>, lifetime: Option<Duration>) -> Self {
        Self { inner, lifetime: lifetime.unwrap_or(LIFETIME) }
    }
}

impl ProducesTickets for TimedTickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime().min(seconds(self.lifetime))
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(&dated(plain, SystemTime::now()))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let opened = self.inner.decrypt(ticket)?;
        undated(&opened, SystemTime::now(), self.lifetime).map(<[u8]>::to_vec)
    }
}

// === impl TimedSessions ===

impl TimedSessions {
    /// Sessions in `inner`; `lifetime` is `session_timeout`, if it says one.
    pub(super) fn new(inner: Arc<dyn StoresServerSessions>, lifetime: Option<Duration>) -> Self {
        Self { inner, lifetime: lifetime.unwrap_or(LIFETIME) }
    }

    fn still_good(&self, dated: Option<Vec<u8>>) -> Option<Vec<u8>> {
        undated(&dated?, SystemTime::now(), self.lifetime).map(<[u8]>::to_vec)
    }
}

impl StoresServerSessions for TimedSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.inner.put(key, dated(&value, SystemTime::now()))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.still_good(self.inner.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.still_good(self.inner.take(key))
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
    fn the_first_key_seals_all_open_and_no_ticket_outlives_its_time() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ticket = keys(&[1, 2]).seal(b"session", now).unwrap();
        for (others, opens) in [(&[1, 2][..], true), (&[2, 1], true), (&[2], false), (&[], false)] {
            let opened = keys(others).open(&ticket, now, HOUR);
            assert_eq!(opened.as_deref() == Some(b"session"), opens, "{others:?}");
        }
        let open = |at: SystemTime| keys(&[1]).open(&ticket, at, HOUR).is_some();
        assert!(open(now + HOUR) && !open(now + HOUR + Duration::from_secs(1)));
        assert!(open(now - SKEW) && !open(now - SKEW - Duration::from_secs(1)));
    }

    #[test]
    fn a_ticket_that_was_touched_is_none() {
        let now = SystemTime::now();
        let ticket = keys(&[1]).seal(b"session", now).unwrap();
        for at in 0..ticket.len() {
            let mut other = ticket.clone();
            other[at] ^= 1;
            assert_eq!(keys(&[1]).open(&other, now, HOUR), None, "{at}");
            assert_eq!(keys(&[1]).open(&ticket[..at], now, HOUR), None, "{at}");
        }
    }

    #[test]
    fn a_key_has_its_length() {
        assert_eq!(TicketKeys::new(&[vec![0; 48]]).unwrap_err(), TicketKeysError::Length(48));
    }
}
