//! Owns XXH64, the hash by which Envoy spreads requests and hosts.
//!
//! Source: the xxHash specification, 0.1.1, "XXH64 Algorithm Description".

const PRIMES: [u64; 5] = [
    0x9E37_79B1_85EB_CA87,
    0xC2B2_AE3D_27D4_EB4F,
    0x1656_67B1_9E37_79F9,
    0x85EB_CA77_C2B2_AE63,
    0x27D4_EB2F_1656_67C5,
];

/// The hash of a text.
pub(crate) fn xxh64(text: &[u8], seed: u64) -> u64 {
    let [p1, p2, p3, p4, p5] = PRIMES;
    let (stripes, mut rest) = text.as_chunks::<32>();
    let mut hash = match stripes.is_empty() {
        true => seed.wrapping_add(p5),
        false => {
            let mut lanes = [
                seed.wrapping_add(p1).wrapping_add(p2),
                seed.wrapping_add(p2),
                seed,
                seed.wrapping_sub(p1),
            ];
            for stripe in stripes {
                let (words, _) = stripe.as_chunks::<8>();
                for (lane, word) in lanes.iter_mut().zip(words) {
                    *lane = round(*lane, u64::from_le_bytes(*word));
                }
            }
            let [a, b, c, d] = lanes;
            let mut hash = a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18));
            for lane in lanes {
                hash = (hash ^ round(0, lane)).wrapping_mul(p1).wrapping_add(p4);
            }
            hash
        }
    };
    hash = hash.wrapping_add(text.len() as u64);
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        hash ^= round(0, u64::from_le_bytes(*word));
        hash = hash.rotate_left(27).wrapping_mul(p1).wrapping_add(p4);
        rest = after;
    }
    if let Some((word, after)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*word)).wrapping_mul(p1);
        hash = hash.rotate_left(23).wrapping_mul(p2).wrapping_add(p3);
        rest = after;
    }
    for byte in rest {
        hash ^= u64::from(*byte).wrapping_mul(p5);
        hash = hash.rotate_left(11).wrapping_mul(p1);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(p2);
    hash = (hash ^ (hash >> 29)).wrapping_mul(p3);
    hash ^ (hash >> 32)
}

fn round(lane: u64, word: u64) -> u64 {
    let [p1, p2, ..] = PRIMES;
    lane.wrapping_add(word.wrapping_mul(p2)).rotate_left(31).wrapping_mul(p1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the reference implementation, xxHash 0.8.
    #[test]
    fn known_hashes_of_every_length_of_tail() {
        let text = b"The quick brown fox jumps over the lazy dog, and then some more of it.";
        for (length, seed, expected) in [
            (0, 0, 0xEF46_DB37_51D8_E999),
            (1, 0, 0x5B4D_6AF2_47A3_CF7B),
            (5, 0, 0xF0D7_A3AD_CFA8_C683),
            (8, 1, 0x68DE_2EDF_ECE9_0E00),
            (15, 0, 0x59BF_1A33_358C_7D98),
            (32, 0, 0xE2BB_C913_6629_A4EE),
            (33, 7, 0x7097_F5E0_D083_F59A),
            (47, 0, 0x9ADF_BEC4_5A4C_9EDC),
            (70, 0, 0xAE52_3B66_4D0C_3271),
            (70, u64::MAX, 0x2FF4_0325_6511_CAA0),
        ] {
            assert_eq!(xxh64(&text[..length], seed), expected, "{length} bytes, seed {seed}");
        }
    }
}
