//! Owns the registry of stats: which groups there are, and the road by which they are read.
//!
//! Writing is the hot path and lives in `group`: every writer has a lane of its own, so a counter
//! is a relaxed load and store. Reading sums the lanes and is cold.

mod by_zone;
mod group;
mod histogram;
mod names;
mod scope;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::Mutex;

pub use by_zone::ByZone;
pub use group::{AnyGroup, Def, Group, Kind, Lane, Listed, Reading, StatSet, Value};
pub use histogram::{BUCKETS, Bins, HistogramReading, QUANTILES};
pub use names::{
    AllHealthChecksStat, AnswerStat, CertificateStat, ClusterHttp2Stat, ClusterManagerStat,
    ClusterStat, ConnectionLimitStat, DnsStat, EdsStat, FilesystemStat, HealthCheckStat, HostStat,
    Http1Stat, HttpInspectorStat, HttpStat, ListenerDiscoveryStat, ListenerHttpStat,
    ListenerLocalRatelimitStat, ListenerManagerStat, ListenerStat, ListenerWorkerStat,
    LocalRateLimitStat, MaglevStat, OutlierStat, ProxyProtocolErrorStat, ProxyProtocolStat,
    ProxyProtocolVersionStat, RbacStat, RdsStat, ReloadStat, RingHashStat, RouterStat, RuntimeStat,
    SdsStat, ServerStat, ShadowRbacStat, SslContextStat, SslStat, SubscriptionStat, TcpStat,
    TlsInspectorStat, TracingStat, VirtualStat, WatchdogStat,
};
pub use scope::{Scope, Tag, cut_out};

/// All stats of the process.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    groups: Mutex<BTreeMap<String, Vec<Weak<dyn AnyGroup>>>>,
    measures: Measures,
}

/// What is measured only when stats are flushed.
#[derive(Default)]
struct Measures(Mutex<Vec<Arc<Measure>>>);

type Measure = dyn Fn(&Registry) + Send + Sync;

/// A group that is made when it is first needed, as Envoy makes those of a codec.
#[derive(Debug)]
pub struct Later<S> {
    registry: Arc<Registry>,
    scope: Scope,
    group: OnceLock<Arc<Group<S>>>,
}

// === impl Later ===

impl<S: StatSet> Later<S> {
    /// A group of this scope, not listed yet.
    pub fn new(registry: Arc<Registry>, scope: Scope) -> Self {
        Self { registry, scope, group: OnceLock::new() }
    }

    /// The group; listed from now on.
    pub fn get(&self) -> &Arc<Group<S>> {
        self.group.get_or_init(|| self.registry.group(self.scope.clone()))
    }
}

// === impl Registry ===

impl Registry {
    /// A registry for this many workers; lane 0 is the control plane's.
    pub fn new(workers: usize) -> Self {
        Self { workers, groups: Mutex::default(), measures: Measures::default() }
    }

    /// How many workers write.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// The group of this scope; an existing one if somebody holds it, so that a reload goes on
    /// counting and two connection managers of one `stat_prefix` count together.
    pub fn group<S: StatSet>(&self, scope: Scope) -> Arc<Group<S>> {
        let mut groups = self.groups.lock();
        let list = groups.entry(scope.prefix.clone()).or_default();
        list.retain(|group| group.strong_count() > 0);
        for group in list.iter() {
            if let Some(same) = group.upgrade().and_then(|g| g.into_any().downcast().ok()) {
                return same;
            }
        }
        let group = Arc::new(Group::<S>::new(scope, self.workers));
        let erased: Arc<dyn AnyGroup> = group.clone();
        list.push(Arc::downgrade(&erased));
        group
    }

    /// All living groups, by prefix.
    pub fn groups(&self) -> Vec<Arc<dyn AnyGroup>> {
        let mut groups = self.groups.lock();
        groups.retain(|_, list| {
            list.retain(|group| group.strong_count() > 0);
            !list.is_empty()
        });
        groups.values().flatten().filter_map(Weak::upgrade).collect()
    }

    /// Has this measured whenever stats are flushed.
    pub fn measure(&self, measure: impl Fn(&Registry) + Send + Sync + 'static) {
        self.measures.0.lock().push(Arc::new(measure));
    }

    /// Measures, and closes the interval of every histogram (`stats_flush_interval`).
    pub fn flush(&self) {
        let measures = self.measures.0.lock().clone();
        measures.iter().for_each(|measure| measure(self));
        self.groups().iter().for_each(|group| group.flush());
    }

    /// `/reset_counters`: counters begin at zero again; gauges and histograms stay, as in Envoy.
    pub fn reset_counters(&self) {
        self.groups().iter().for_each(|group| group.reset());
    }
}

impl fmt::Debug for Measures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measures")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_holders_of_one_scope_count_together_and_the_last_takes_it_away() {
        let registry = Registry::new(2);
        let one = registry.group::<HttpStat>(Scope::http("ingress"));
        let two = registry.group::<HttpStat>(Scope::http("ingress"));
        one.lane(0).inc(HttpStat::DownstreamRqTotal);
        two.lane(1).inc(HttpStat::DownstreamRqTotal);
        assert_eq!(one.sum(HttpStat::DownstreamRqTotal), 2);
        drop((one, two));
        assert!(registry.groups().is_empty());
    }
}
