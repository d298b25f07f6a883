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
    let word = |shift: u32| hex((bits >> shift) as u32);
    let [a, b, c, d] = [word(96), word(64), word(32), word(0)];
    let mut out = [b'-'; UUID_BYTES];
    out[..8].copy_from_slice(&a);
    out[9..13].copy_from_slice(&b[..4]);
    out[14..18].copy_from_slice(&b[4..]);
    out[19..23].copy_from_slice(&c[..4]);
    out[24..28].copy_from_slice(&c[4..]);
    out[28..].copy_from_slice(&d);
    out
}

/// Eight hexadecimal digits, all at once: a byte for each nibble, then what makes a digit of it.
fn hex(word: u32) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let halves = (u64::from(word) | u64::from(word) << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes | bytes << 4) & (ONES * 0x0f);
    // One where a nibble is ten or more.
    let letters = ((nibbles + ONES * 6) >> 4) & ONES;
    let digits = nibbles + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10);
    digits.to_be_bytes()
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
