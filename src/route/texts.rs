//! Owns looking a text up: a map with a fast hash.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

/// Positions by text.
pub(super) type Texts = HashMap<Box<[u8]>, usize, BuildHasherDefault<TextHasher>>;

/// A fast hash (FNV-1a, eight bytes at a time). What is stored comes from the configuration, so a client
/// cannot make entries collide.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TextHasher(u64);

impl Hasher for TextHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let mut words = bytes.chunks_exact(8);
        for word in &mut words {
            let word = word.try_into().map_or(0, u64::from_le_bytes);
            self.0 = (self.0 ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
        }
        for byte in words.remainder() {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}
