//! `envoy.filters.network.connection_limit`: how many connections there may be at a time.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use understudy_actors::stats::{ConnectionLimitStat as S, Group, Registry, Scope};

use super::{Build, Decide, Farewell, Filter, Kind, Verdict};
use crate::{
    config::{Message, model::runtime_flag::RuntimeFlag},
    downstream::{Arrival, serve::Worker},
};

pub(super) static KIND: Kind =
    Kind { config: "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit", build };

#[derive(Debug)]
struct ConnectionLimit {
    stat_prefix: String,
    connections_max: u64,
    /// How much later one too many is told.
    delay: Duration,
    enabled: RuntimeFlag,
    /// Those that are open, on all workers.
    open: AtomicU64,
}

struct OnWorker {
    config: Arc<ConnectionLimit>,
    stats: Arc<Group<S>>,
}

/// A connection that counts until it is dropped.
struct Counted {
    config: Arc<ConnectionLimit>,
    stats: Arc<Group<S>>,
    worker: usize,
}

fn build(config: &Message, builder: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    Some(Arc::new(ConnectionLimit {
        stat_prefix: config.text("stat_prefix").unwrap_or_default().to_owned(),
        connections_max: config.number("max_connections").unwrap_or(0),
        delay: config.duration("delay").unwrap_or_default(),
        enabled: builder.runtime_enabled(config),
        open: AtomicU64::new(0),
    }))
}

// === impl ConnectionLimit ===

impl Filter for ConnectionLimit {
    fn run(self: Arc<Self>, registry: &Registry) -> Box<dyn Decide> {
        let stats = registry.group(Scope::connection_limit(&self.stat_prefix));
        Box::new(OnWorker { stats, config: self })
    }
}

impl Decide for OnWorker {
    fn on_connection(&self, worker: &Worker, _: &mut Arrival) -> Verdict {
        if !worker.with_runtime(|runtime| self.config.enabled.is_on(runtime)) {
            return Verdict::Continue;
        }
        let max = self.config.connections_max;
        let more = |open: u64| (open < max).then(|| open + 1);
        if self.config.open.fetch_update(Relaxed, Relaxed, more).is_err() {
            return Verdict::TurnAway(Farewell { delay: self.config.delay, ..Farewell::default() });
        }
        let (config, stats) = (self.config.clone(), self.stats.clone());
        stats.lane(worker.index).inc(S::ActiveConnections);
        let counted: Box<dyn Any> = Box::new(Counted { config, stats, worker: worker.index });
        Verdict::Hold(counted)
    }

    fn turned_away(&self, worker: &Worker, _: &Arrival) {
        self.stats.lane(worker.index).inc(S::LimitedConnections);
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        self.config.open.fetch_sub(1, Relaxed);
        self.stats.lane(self.worker).dec(S::ActiveConnections);
    }
}
