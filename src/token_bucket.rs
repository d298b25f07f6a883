//! Owns a bucket of tokens that fills steadily: how often something may happen, for all workers together and without a lock.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

/// `envoy.type.v3.TokenBucket`.
#[derive(Debug)]
pub struct TokenBucket {
    /// Tokens in a second.
    rate: f64,
    /// Seconds in which an empty bucket fills.
    to_fill: f64,
    began: Instant,
    /// When the bucket would have been empty if nothing had been lost to its brim: seconds since `began`, as bits.
    empty_at: AtomicU64,
}

// === impl TokenBucket ===

impl TokenBucket {
    /// A full one of `max` tokens, to which `per_fill` are added in each `interval`; bit by bit, not all at its end.
    pub fn new(max: u32, per_fill: u32, interval: Duration) -> Self {
        let rate = f64::from(per_fill.max(1)) / interval.as_secs_f64().max(1e-9);
        let to_fill = f64::from(max) / rate;
        let empty_at = AtomicU64::new((-to_fill).to_bits());
        Self { rate, to_fill, began: Instant::now(), empty_at }
    }

    /// Takes a token, if there is one.
    pub fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let now = now.saturating_duration_since(self.began).as_secs_f64();
        let taken = self.empty_at.fetch_update(Relaxed, Relaxed, |bits| {
            let after = f64::from_bits(bits).max(now - self.to_fill) + 1.0 / self.rate;
            // A rounding error is no reason to refuse.
            (after <= now + 1e-9).then(|| after.to_bits())
        });
        taken.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_gives_what_it_holds_and_fills_steadily_up_to_its_brim() {
        let bucket = TokenBucket::new(2, 1, Duration::from_secs(10));
        let at = |seconds| bucket.began + Duration::from_secs(seconds);
        let takes = [(0, true), (0, true), (0, false), (9, false), (10, true), (10, false)];
        for (second, expected) in takes {
            assert_eq!(bucket.take_at(at(second)), expected, "second {second}");
        }
        let later = [(1000, true), (1000, true), (1000, false)];
        for (second, expected) in later {
            assert_eq!(bucket.take_at(at(second)), expected, "second {second}");
        }
    }

    #[test]
    fn a_bucket_without_room_gives_nothing() {
        let bucket = TokenBucket::new(0, 1, Duration::from_secs(1));
        assert!(!bucket.take_at(bucket.began + Duration::from_secs(100)));
    }
}
