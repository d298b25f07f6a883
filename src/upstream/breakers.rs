//! Owns showing circuit breakers as stats: which are open, and, where that is asked for, what is left.
//!
//! They are looked at with every sweep rather than with every request: a gauge is read far more seldom
//! than a breaker counts.

use std::sync::atomic::Ordering::Relaxed;

use understudy_actors::{
    limits::ClusterLimits,
    snapshot::ClusterShared,
    stats::{ClusterStat, Lane},
};

/// The gauges of one breaker: that it is open, and what is left.
type Gauges = (ClusterStat, ClusterStat);

/// Connections, their pools, waiting requests, requests and retries, of the default priority and of the high one.
const GAUGES: [[Gauges; 5]; 2] = {
    use ClusterStat as S;
    [
        [
            (S::CircuitBreakersDefaultCxOpen, S::CircuitBreakersDefaultRemainingCx),
            (S::CircuitBreakersDefaultCxPoolOpen, S::CircuitBreakersDefaultRemainingCxPools),
            (S::CircuitBreakersDefaultRqPendingOpen, S::CircuitBreakersDefaultRemainingPending),
            (S::CircuitBreakersDefaultRqOpen, S::CircuitBreakersDefaultRemainingRq),
            (S::CircuitBreakersDefaultRqRetryOpen, S::CircuitBreakersDefaultRemainingRetries),
        ],
        [
            (S::CircuitBreakersHighCxOpen, S::CircuitBreakersHighRemainingCx),
            (S::CircuitBreakersHighCxPoolOpen, S::CircuitBreakersHighRemainingCxPools),
            (S::CircuitBreakersHighRqPendingOpen, S::CircuitBreakersHighRemainingPending),
            (S::CircuitBreakersHighRqOpen, S::CircuitBreakersHighRemainingRq),
            (S::CircuitBreakersHighRqRetryOpen, S::CircuitBreakersHighRemainingRetries),
        ],
    ]
};

/// Writes what the breakers are now. One worker does it for all.
pub(super) fn show(shared: &ClusterShared, limits: &ClusterLimits, worker: usize) {
    let stats = shared.stats.lane(worker);
    let priorities = shared.breakers.iter().zip(&limits.thresholds).zip(GAUGES);
    for ((counts, thresholds), gauges) in priorities {
        let (pending, requests) = (counts.pending.load(Relaxed), counts.requests.load(Relaxed));
        let all = [
            (counts.connections.load(Relaxed), thresholds.connections),
            (counts.pools.load(Relaxed), thresholds.pools),
            (pending, thresholds.pending_requests),
            (requests, thresholds.requests),
            (
                counts.retries.load(Relaxed),
                thresholds.retries_max(requests.saturating_add(pending)),
            ),
        ];
        for ((count, max), (open, left)) in all.into_iter().zip(gauges) {
            // One that lets nothing through has nothing to count. Observed: Envoy 1.40.
            set(stats, open, u64::from(count > 0 && count >= max));
            if thresholds.track_remaining {
                show_left(stats, left, u64::from(max.saturating_sub(count)));
            }
        }
    }
}

fn set(stats: &Lane<ClusterStat>, gauge: ClusterStat, value: u64) {
    let now = stats.gauge(gauge);
    if value > now {
        stats.add(gauge, value - now);
    } else if value < now {
        stats.sub(gauge, now - value);
    }
}

/// The same of a gauge that is listed from its first value on, be that zero.
fn show_left(stats: &Lane<ClusterStat>, gauge: ClusterStat, value: u64) {
    stats.inc(gauge);
    set(stats, gauge, value);
}
