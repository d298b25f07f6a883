//! `envoy.filters.network.local_ratelimit`: how often a connection may come.

use std::sync::Arc;

use understudy_actors::stats::{Group, LocalRateLimitStat as S, Registry, Scope};

use super::{Build, Decide, Farewell, Filter, Kind, Verdict};
use crate::{
    access_log::ResponseFlag,
    config::{Message, model::runtime_flag::RuntimeFlag},
    downstream::{Arrival, serve::Worker},
    token_bucket::TokenBucket,
};

pub(super) static KIND: Kind =
    Kind { config: "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit", build };

#[derive(Debug)]
struct LocalRatelimit {
    stat_prefix: String,
    /// One for all workers.
    bucket: TokenBucket,
    enabled: RuntimeFlag,
}

struct OnWorker {
    config: Arc<LocalRatelimit>,
    stats: Arc<Group<S>>,
}

fn build(config: &Message, builder: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    Some(Arc::new(LocalRatelimit {
        stat_prefix: config.text("stat_prefix").unwrap_or_default().to_owned(),
        bucket: builder.token_bucket(config),
        enabled: builder.runtime_enabled(config),
    }))
}

// === impl LocalRatelimit ===

impl Filter for LocalRatelimit {
    fn run(self: Arc<Self>, registry: &Registry) -> Box<dyn Decide> {
        let stats = registry.group(Scope::local_rate_limit(&self.stat_prefix));
        Box::new(OnWorker { stats, config: self })
    }
}

impl Decide for OnWorker {
    fn on_connection(&self, worker: &Worker, _: &mut Arrival) -> Verdict {
        let enabled = worker.with_runtime(|runtime| self.config.enabled.is_on(runtime));
        if !enabled || self.config.bucket.take() {
            return Verdict::Continue;
        }
        // Observed: Envoy 1.40 flags it so.
        let flag = Some(ResponseFlag::UpstreamRetryLimitExceeded);
        Verdict::TurnAway(Farewell { flag, ..Farewell::default() })
    }

    fn turned_away(&self, worker: &Worker, _: &Arrival) {
        self.stats.lane(worker.index).inc(S::RateLimited);
    }
}
