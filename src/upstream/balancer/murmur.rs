//! Owns MurmurHash64A, which rings may be built with: what `std::hash` of GCC's library is.
//!
//! Source: `Cluster.RingHashLbConfig.HashFunction.MURMUR_HASH_2`; the seed is that library's.

const SEED: u64 = 0xc70f_6907;
const MUL: u64 = 0xc6a4_a793_5bd1_e995;

/// The hash of a text.
pub(super) fn murmur2(text: &[u8]) -> u64 {
    let mix = |word: u64| {
        let word = word.wrapping_mul(MUL);
        (word ^ (word >> 47)).wrapping_mul(MUL)
    };
    let (words, rest) = text.as_chunks::<8>();
    let mut hash = SEED ^ (text.len() as u64).wrapping_mul(MUL);
    for word in words {
        hash = (hash ^ mix(u64::from_le_bytes(*word))).wrapping_mul(MUL);
    }
    if !rest.is_empty() {
        let last = rest.iter().rev().fold(0, |last, byte| (last << 8) | u64::from(*byte));
        hash = (hash ^ last).wrapping_mul(MUL);
    }
    hash = (hash ^ (hash >> 47)).wrapping_mul(MUL);
    hash ^ (hash >> 47)
}
