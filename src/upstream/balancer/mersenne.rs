//! Owns the Mersenne Twister, MT19937, by which bounded hashing goes from a busy host to the others: the same
//! way for the same hash, and Envoy's way.

const SIZE: usize = 624;
const MIDDLE: usize = 397;

/// Random numbers of 32 bits that follow from a seed.
pub(super) struct Mersenne {
    state: Box<[u32; SIZE]>,
    at: usize,
}

// === impl Mersenne ===

impl Mersenne {
    pub(super) fn new(seed: u32) -> Self {
        let mut state = Box::new([0; SIZE]);
        let mut last = seed;
        for (number, word) in (1_u32..).zip(state.iter_mut()) {
            *word = last;
            last = 1_812_433_253_u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(number);
        }
        Self { state, at: SIZE }
    }

    fn next(&mut self) -> u32 {
        if self.at == SIZE {
            self.turn();
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    /// A number below `end`, each as likely as the others.
    pub(super) fn below(&mut self, end: u32) -> u32 {
        let Some(each) = (1_u64 << 32).checked_div(u64::from(end)) else { return 0 };
        loop {
            let number = u64::from(self.next()) / each;
            if number < u64::from(end) {
                return number as u32;
            }
        }
    }

    fn turn(&mut self) {
        let state = &mut self.state;
        for at in 0..SIZE {
            let word = (state[at] & 0x8000_0000) | (state[(at + 1) % SIZE] & 0x7fff_ffff);
            let odd = if word & 1 == 1 { 0x9908_b0df } else { 0 };
            state[at] = state[(at + MIDDLE) % SIZE] ^ (word >> 1) ^ odd;
        }
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: the C++ standard, [rand.predef]: the ten thousandth number of the default seed.
    #[test]
    fn the_ten_thousandth_number_is_the_standards() {
        let mut mersenne = Mersenne::new(5489);
        let last = (0..10_000).map(|_| mersenne.next()).last();
        assert_eq!(last, Some(4_123_659_995));
        assert_eq!(mersenne.below(1), 0);
        assert!((0..1000).all(|_| mersenne.below(7) < 7));
    }
}
