//! Owns the registry of stats: which groups there are, and the road by which they are read.
//!
//! Writing is the hot path and lives in `group`: every writer has a lane of its own, so a counter
//! is a relaxed load and store. Reading sums the lanes and is cold.

mod by_zone;
mod group;
mod histogram;
mod names;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::Mutex;

pub use by_zone::ByZone;
pub use group::{AnyGroup, Def, Group, Kind, Lane, Listed, Reading, StatSet, Value};
pub use histogram::{BUCKETS, Bins, HistogramReading, QUANTILES};
pub use names::{
    AnswerStat, ClusterHttp2Stat, ClusterManagerStat, ClusterStat, DnsStat, FilesystemStat,
    HealthCheckStat, HostStat, Http1Stat, HttpStat, ListenerDiscoveryStat, ListenerHttpStat,
    ListenerManagerStat, ListenerStat, ListenerWorkerStat, RouterStat, RuntimeStat, ServerStat,
    TracingStat, WatchdogStat,
};

/// Where a group's names stand: their prefix, and the tags that Envoy's default rules take from it.
///
/// `cluster.service1.` has the tag `envoy.cluster_name = service1` and, with the tag cut out, the
/// prefix `cluster.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Prefix of the full names, with the last dot; empty for none.
    pub prefix: String,
    /// The prefix with tag values cut out, with the last dot.
    pub extracted: String,
    /// Tag name and value, in the order of Envoy's default extraction rules.
    pub tags: Vec<(&'static str, String)>,
}

/// All stats of the process.
#[derive(Debug)]
pub struct Registry {
    workers: usize,
    groups: Mutex<BTreeMap<String, Vec<Weak<dyn AnyGroup>>>>,
}

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

// === impl Scope ===

impl Scope {
    /// Names without tags, such as `server.`.
    pub fn plain(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), extracted: prefix.to_owned(), tags: Vec::new() }
    }

    /// `cluster.NAME.`; `:` in a name becomes `_`, as in Envoy.
    pub fn cluster(name: &str) -> Self {
        let name = name.replace(':', "_");
        Self {
            prefix: format!("cluster.{name}."),
            extracted: "cluster.".to_owned(),
            tags: vec![("envoy.cluster_name", name)],
        }
    }

    /// `server.worker_N.`.
    pub fn server_worker(worker: usize) -> Self {
        Self {
            prefix: format!("server.worker_{worker}."),
            extracted: "server.worker_".to_owned(),
            tags: vec![("envoy.worker_id", worker.to_string())],
        }
    }

    /// A scope within this one: `cluster.NAME.http2.`.
    pub fn within(&self, name: &str) -> Self {
        Self {
            prefix: format!("{}{name}.", self.prefix),
            extracted: format!("{}{name}.", self.extracted),
            tags: self.tags.clone(),
        }
    }

    /// `http.PREFIX.`, the HTTP connection manager's `stat_prefix`.
    pub fn http(stat_prefix: &str) -> Self {
        let name = stat_prefix.replace(':', "_");
        Self {
            prefix: format!("http.{name}."),
            extracted: "http.".to_owned(),
            tags: vec![("envoy.http_conn_manager_prefix", name)],
        }
    }

    /// `http.PREFIX.tracing.`.
    pub fn http_tracing(stat_prefix: &str) -> Self {
        let http = Self::http(stat_prefix);
        Self {
            prefix: format!("{}tracing.", http.prefix),
            extracted: "http.tracing.".to_owned(),
            tags: http.tags,
        }
    }

    /// `listener.ADDRESS.`; `:` becomes `_`.
    pub fn listener(address: &str) -> Self {
        let address = address.replace(':', "_");
        Self {
            prefix: format!("listener.{address}."),
            extracted: "listener.".to_owned(),
            tags: vec![("envoy.listener_address", address)],
        }
    }

    /// `listener.ADDRESS.http.PREFIX.`.
    pub fn listener_http(address: &str, stat_prefix: &str) -> Self {
        let (listener, http) = (Self::listener(address), Self::http(stat_prefix));
        Self {
            prefix: format!("{}{}", listener.prefix, http.prefix),
            extracted: "listener.http.".to_owned(),
            tags: [http.tags, listener.tags].concat(),
        }
    }

    /// `listener.admin.http.admin.`
    pub fn admin_http() -> Self {
        Self {
            prefix: "listener.admin.http.admin.".to_owned(),
            extracted: "listener.admin.http.".to_owned(),
            tags: vec![("envoy.http_conn_manager_prefix", "admin".to_owned())],
        }
    }

    /// `listener.ADDRESS.worker_N.`.
    pub fn listener_worker(address: &str, worker: usize) -> Self {
        let listener = Self::listener(address);
        Self {
            prefix: format!("{}worker_{worker}.", listener.prefix),
            extracted: "listener.worker_".to_owned(),
            tags: [vec![("envoy.worker_id", worker.to_string())], listener.tags].concat(),
        }
    }
}

// === impl Registry ===

impl Registry {
    /// A registry for this many workers; lane 0 is the control plane's.
    pub fn new(workers: usize) -> Self {
        Self { workers, groups: Mutex::default() }
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

    /// Closes the interval of every histogram (`stats_flush_interval`).
    pub fn flush(&self) {
        self.groups().iter().for_each(|group| group.flush());
    }

    /// `/reset_counters`: counters and histograms begin at zero again; gauges stay.
    pub fn reset_counters(&self) {
        self.groups().iter().for_each(|group| group.reset());
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
