//! `envoy.filters.listener.local_ratelimit`: closes connections that come too often, before a byte of them is read.

use std::sync::Arc;

use understudy_actors::stats::{Group, ListenerLocalRatelimitStat as S, Registry, Scope};

use super::Verdict;
use crate::{
    config::model::{listener_filter, runtime_flag::RuntimeFlag},
    downstream::serve::Worker,
    token_bucket::TokenBucket,
};

pub(super) struct LocalRatelimit {
    bucket: Arc<TokenBucket>,
    enabled: RuntimeFlag,
    /// `listener_local_ratelimit.PREFIX.`
    stats: Arc<Group<S>>,
}

// === impl LocalRatelimit ===

impl LocalRatelimit {
    pub(super) fn new(config: &listener_filter::LocalRatelimit, registry: &Registry) -> Self {
        let (bucket, enabled) = (config.bucket.clone(), config.enabled.clone());
        let stats = registry.group(Scope::listener_local_ratelimit(&config.stat_prefix));
        Self { bucket, enabled, stats }
    }

    pub(super) fn look(&self, worker: &Worker) -> Verdict {
        if !worker.with_runtime(|runtime| self.enabled.is_on(runtime)) || self.bucket.take() {
            return Verdict::Continue;
        }
        self.stats.lane(worker.index).inc(S::RateLimited);
        Verdict::Refuse
    }
}
