//! Owns ids for requests: random UUIDs (RFC 9562, version 4) without a system call each.

use std::cell::RefCell;

/// Length of a UUID's text.
pub const UUID_BYTES: usize = 36;

/// A source of ids. Seeded from the system once; unguessable ids are not promised.
#[derive(Debug)]
pub struct Uuids {
    random: RefCell<fastrand::Rng>,
}

// === impl Uuids ===

impl Uuids {
    /// A new id, as text.
    pub fn next(&self) -> [u8; UUID_BYTES] {
        let mut random = self.random.borrow_mut();
        let bits = (u128::from(random.u64(..)) << 64) | u128::from(random.u64(..));
        text(bits & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62))
    }
}

impl Default for Uuids {
    fn default() -> Self {
        Self { random: RefCell::new(fastrand::Rng::new()) }
    }
}

fn text(bits: u128) -> [u8; UUID_BYTES] {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut out = [b'-'; UUID_BYTES];
    let mut at = 0;
    for byte in bits.to_be_bytes() {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        out[at] = HEX[usize::from(byte >> 4)];
        out[at + 1] = HEX[usize::from(byte & 15)];
        at += 2;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_look_like_version_4() {
        let uuids = Uuids::default();
        let (one, two) = (uuids.next(), uuids.next());
        assert_ne!(one, two);
        assert_eq!(
            text(0x0123_4567_89ab_4def_8123_4567_89ab_cdef),
            *b"01234567-89ab-4def-8123-456789abcdef"
        );
        assert_eq!((one[14], &one[8..9]), (b'4', &b"-"[..]));
        assert!(matches!(one[19], b'8' | b'9' | b'a' | b'b'));
    }
}
