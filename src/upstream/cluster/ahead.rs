//! Owns connections that are opened before the requests come that will need them: to the hosts that these will go to.
//!
//! Source: `PreconnectPolicy.predictive_preconnect_ratio`; observed: Envoy 1.40 (tests/upstream_connections.rs).

use understudy_actors::stats::ClusterStat;

use super::Current;
use crate::{codec::Version, upstream::pool::Sharing};

/// Connections that one request opens ahead at most.
const AHEAD_MAX: usize = 3;

// === impl Current ===

impl Current {
    /// A request is about to go to its host: opens connections for those that are to be expected.
    #[cold]
    pub fn open_ahead(&self, worker: usize, version: Version, sharing: Option<&Sharing>) {
        let ratio = self.upstream.predictive_ratio;
        self.picker.has_picked();
        for _ in 0..AHEAD_MAX {
            let opened = self.wants_more(ratio, worker)
                && self
                    .picker
                    .foresee()
                    .and_then(|host| self.pools_at(host)?.pool(version, sharing))
                    .is_some_and(|pool| pool.open_ahead(ratio));
            if !opened {
                return;
            }
        }
    }

    /// Whether this worker's connections to all hosts could carry less than is to be expected.
    fn wants_more(&self, ratio: f64, worker: usize) -> bool {
        let stats = self.snapshot.shared.stats.lane(worker);
        let requests = stats.gauge(ClusterStat::UpstreamRqActive)
            + stats.gauge(ClusterStat::UpstreamRqPendingActive);
        let room = stats.gauge(ClusterStat::UpstreamCxActive) * self.upstream.streams_max();
        (requests + 1) as f64 * ratio > room as f64
    }
}
