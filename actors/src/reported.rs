//! Owns the weight that follows from what a host reports of its load, where its cluster weighs hosts by that.
//!
//! A request stores it with a few atomics of the host's; the cluster reads them at its own pace.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// How a cluster weighs hosts by their reports.
///
/// Source: `ClientSideWeightedRoundRobin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weighing {
    /// `blackout_period`: so long a host reports before its reports count.
    pub blackout: Duration,
    /// `weight_expiration_period`: so long its last report counts.
    pub expiration: Duration,
    /// `weight_update_period`: how often hosts are weighed.
    pub every: Duration,
}

/// What a host has reported.
#[derive(Debug)]
pub struct Reported {
    made: Instant,
    weight: AtomicU32,
    /// Milliseconds after this was made: the first report of those that count.
    since_ms: AtomicU64,
    /// The last one.
    at_ms: AtomicU64,
}

/// No report.
const NEVER: u64 = u64::MAX;

// === impl Reported ===

impl Reported {
    /// A host reports what comes to this weight.
    pub fn report(&self, weight: u32) {
        let now = self.now_ms();
        self.weight.store(weight, Relaxed);
        self.at_ms.store(now, Relaxed);
        // Who is first among workers says since when.
        let _ = self.since_ms.compare_exchange(NEVER, now, Relaxed, Relaxed);
    }

    /// The weight, if it counts now. Where reports have ceased, the host begins anew.
    pub(crate) fn weight(&self, weighing: &Weighing) -> Option<u32> {
        let (now, since) = (self.now_ms(), self.since_ms.load(Relaxed));
        let passed = |from: u64, period: Duration| {
            u128::from(now.saturating_sub(from)) >= period.as_millis()
        };
        if since == NEVER || !passed(since, weighing.blackout) {
            return None;
        }
        if passed(self.at_ms.load(Relaxed), weighing.expiration) {
            self.since_ms.store(NEVER, Relaxed);
            return None;
        }
        Some(self.weight.load(Relaxed))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }
}

impl Default for Reported {
    fn default() -> Self {
        let (weight, since_ms, at_ms) =
            (AtomicU32::new(0), AtomicU64::new(NEVER), AtomicU64::new(0));
        Self { made: Instant::now(), weight, since_ms, at_ms }
    }
}

/// The weights that hosts get: their own, and where that does not count, the median of all that do.
///
/// Observed: Envoy 1.40, `/clusters`; 1 where no host's weight counts, whatever is configured.
pub(crate) fn weights(own: &[Option<u32>]) -> Vec<u32> {
    let mut known: Vec<u32> = own.iter().copied().flatten().collect();
    known.sort_unstable();
    let upper = known.get(known.len() / 2).copied();
    let lower = known.get((known.len() / 2).wrapping_sub(1)).copied().or(upper);
    let median = match (known.len() % 2, lower, upper) {
        (0, Some(lower), Some(upper)) => ((u64::from(lower) + u64::from(upper)) / 2) as u32,
        (_, _, upper) => upper.unwrap_or(1),
    };
    own.iter().map(|weight| weight.unwrap_or(median).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_without_a_weight_of_their_own_get_the_median() {
        assert_eq!(weights(&[Some(200), Some(400), None]), [200, 400, 300]);
        assert_eq!(weights(&[Some(5), None, Some(1), Some(9)]), [5, 5, 1, 9]);
        assert_eq!(weights(&[Some(0), Some(7)]), [1, 7]);
        assert_eq!(weights(&[None, None]), [1, 1]);
        assert_eq!(weights(&[]), []);
    }

    #[tokio::test(start_paused = true)]
    async fn reports_count_after_the_blackout_and_until_they_expire() {
        let second = Duration::from_secs(1);
        let weighing = Weighing { blackout: second * 10, expiration: second * 30, every: second };
        let reported = Reported::default();
        assert_eq!(reported.weight(&weighing), None);
        reported.report(7);
        tokio::time::advance(second * 9).await;
        assert_eq!(reported.weight(&weighing), None);
        tokio::time::advance(second).await;
        assert_eq!(reported.weight(&weighing), Some(7));
        tokio::time::advance(second * 20).await;
        assert_eq!(reported.weight(&weighing), None);
        // It begins anew, with its blackout.
        reported.report(8);
        assert_eq!(reported.weight(&weighing), None);
        tokio::time::advance(second * 10).await;
        assert_eq!(reported.weight(&weighing), Some(8));
    }
}
