//! Owns a worker's connections to one host: HTTP/1 ones that are idle, HTTP/2 ones that are shared.

mod auto;
mod http1;
mod http2;
mod sharing;

pub use auto::AutoPool;
pub use http1::{Http1Connection, Http1Pool};
pub use http2::{Http2Connection, Http2Lease, Http2Pool, count_flood};
pub use sharing::{HostPools, Place, Sharing};

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use understudy_actors::{
    plan::Thresholds,
    snapshot::{BreakerCounts, ClusterShared, Host},
    stats::{AnswerStat, ClusterStat, Group, HostStat},
};

use super::{
    Limits,
    connect::{ConnectError, Life, connect},
};
use crate::{
    config::model::cluster::{Upstream, UpstreamProtocol},
    stream::{ConnectFailure, Reset},
    tls::{ClientContext, Speaks},
    transport::Stream,
};

/// What all pools of a host need to know.
#[derive(Clone)]
pub struct Target {
    /// The host.
    pub host: Arc<Host>,
    /// What is counted of its zone, if that has a name.
    pub zone_stats: Option<Arc<Group<AnswerStat>>>,
    /// What its cluster's workers share.
    pub shared: Arc<ClusterShared>,
    /// Protocol options.
    pub upstream: Arc<Upstream>,
    /// `connect_timeout`.
    pub connect_timeout: std::time::Duration,
    /// Connections and requests at most, over all workers.
    pub limits: Limits,
    /// Whose pool this is.
    pub worker: usize,
    /// The worker's deadlines.
    pub deadlines: crate::worker::Deadlines,
    /// The worker's buffers.
    pub buffers: crate::worker::Buffers,
    /// Who shares the connections.
    pub sharing: Sharing,
    /// How the host is greeted, if connections to it are encrypted.
    pub tls: Option<Arc<ClientContext>>,
    /// The pool's place among those that are bounded.
    pub place: Rc<Place>,
}

/// A worker's pool for one host.
pub enum HostPool {
    /// One request at a time on each connection.
    Http1(Rc<Http1Pool>),
    /// Many requests on each connection.
    Http2(Rc<Http2Pool>),
    /// Whichever the host's handshake chooses.
    Auto(AutoPool),
}

/// Why a pool gives no connection.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Connecting failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// `max_pending_requests` or `max_connections` is reached.
    #[error("too many requests wait for a connection (circuit_breakers)")]
    Overflow,
    /// The connection did not survive its first exchange (HTTP/2 preface and settings).
    #[error("the host ended the connection before it could carry a request")]
    Terminated,
}

/// A request that waits for a connection: counted while it does, however its waiting ends.
struct Pending<'a> {
    target: &'a Target,
}

// === impl PoolError ===

impl From<PoolError> for Reset {
    /// What it means for a request that there is no connection.
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Connect(ConnectError::Failed(why)) => {
                // The system's words, without its number.
                let text = why.error.to_string();
                let words = text.split(" (os error").next().unwrap_or_default().to_owned();
                Reset::ConnectFailed(Box::new(ConnectFailure { stage: why.stage, words }))
            }
            PoolError::Connect(ConnectError::Handshake(why)) => {
                Reset::HandshakeFailed(why.to_string().into())
            }
            PoolError::Connect(ConnectError::TimedOut(_)) => Reset::ConnectTimeout,
            PoolError::Overflow => Reset::Overflow,
            PoolError::Terminated => Reset::Terminated,
        }
    }
}

// === impl Target ===

impl Target {
    /// The circuit breakers in force.
    pub fn thresholds(&self) -> Thresholds {
        self.limits.get().thresholds[self.sharing.priority()]
    }

    /// What they count.
    fn counts(&self) -> &BreakerCounts {
        &self.shared.breakers[self.sharing.priority()]
    }

    /// Whether the cluster or the host has as many connections as it may.
    fn is_full(&self) -> bool {
        let connections = self.counts().connections.load(Relaxed);
        let host_max = self.upstream.host_connections_max[self.sharing.priority()];
        connections >= self.thresholds().connections
            || (host_max < u32::MAX
                && self.host.stats.sum(HostStat::CxActive) >= u64::from(host_max))
    }

    /// How many requests of this priority the cluster may carry at a time.
    pub fn requests_max(&self, priority: usize) -> u32 {
        self.limits.get().thresholds.get(priority).map_or(0, |thresholds| thresholds.requests)
    }

    /// How many retries of this priority the cluster may have under way.
    pub fn retries_max(&self, priority: usize) -> u32 {
        let limits = self.limits.get();
        let both = limits.thresholds.get(priority).zip(self.shared.breakers.get(priority));
        both.map_or(0, |(thresholds, counts)| {
            let waiting = counts.pending.load(Relaxed);
            thresholds.retries_max(counts.requests.load(Relaxed).saturating_add(waiting))
        })
    }
}

// === impl HostPool ===

impl HostPool {
    /// Empty pools: one, and where the client's protocol decides, one more for HTTP/2.
    fn of(target: Target) -> (Self, Option<Self>) {
        let http1 = |target, options| HostPool::Http1(Rc::new(Http1Pool::new(target, options)));
        let http2 = |target, options| HostPool::Http2(Rc::new(Http2Pool::new(target, options)));
        match target.upstream.clone().protocol.clone() {
            UpstreamProtocol::Http1(options) => (http1(target, options), None),
            UpstreamProtocol::Http2(options) => (http2(target, options), None),
            UpstreamProtocol::ByDownstream(one, two) => {
                let place = Place::new(&target.shared, &target.sharing);
                let second = http2(Target { place, ..target.clone() }, two);
                (http1(target, one), Some(second))
            }
            UpstreamProtocol::Auto(one, two) => {
                let http1 = Rc::new(Http1Pool::new(target.clone(), one));
                (HostPool::Auto(AutoPool::new(http1, Rc::new(Http2Pool::new(target, two)))), None)
            }
        }
    }

    /// Whether the pool may have connections: the cluster has no more pools than it may.
    #[inline]
    fn admit(&self) -> bool {
        let target = self.target();
        let max = target.thresholds().pools;
        max == u32::MAX || target.place.take(max, target.worker)
    }

    /// Opens a connection ahead, if this worker's to the host could carry less than is to be expected; whether it
    /// does. A host that is not well is spared.
    pub fn open_ahead(&self, ratio: f64) -> bool {
        let Target { host, worker, .. } = self.target();
        let stats = host.stats.lane(*worker);
        let requests = stats.gauge(HostStat::RqActive) + stats.gauge(HostStat::RqPendingActive);
        let wanted = (requests + 1) as f64 * ratio;
        if !host.healthy() || host.is_degraded() {
            return false;
        }
        match self {
            HostPool::Http1(pool) => {
                let opens =
                    wanted > stats.gauge(HostStat::CxActive) as f64 && pool.may_open_ahead();
                if opens {
                    pool.open_one_ahead();
                }
                opens
            }
            HostPool::Http2(pool) => pool.open_first(),
            HostPool::Auto(pool) => pool.settled().is_some_and(|settled| settled.open_ahead(ratio)),
        }
    }

    /// No connection is left, and nobody waits for one.
    fn is_unused(&self) -> bool {
        match self {
            HostPool::Http1(pool) => Rc::strong_count(pool) == 1 && pool.is_empty(),
            HostPool::Http2(pool) => Rc::strong_count(pool) == 1 && pool.is_empty(),
            HostPool::Auto(pool) => pool.is_unused(),
        }
    }

    /// Whose pool this is.
    pub fn target(&self) -> &Target {
        match self {
            HostPool::Http1(pool) => pool.target(),
            HostPool::Http2(pool) => pool.target(),
            HostPool::Auto(pool) => pool.target(),
        }
    }

    /// A connection of nobody else's, over which no HTTP goes.
    ///
    /// # Errors
    ///
    /// [`PoolError`], counted.
    pub async fn connect(&self) -> Result<(Stream, Life), PoolError> {
        let target = self.target();
        let _pending = Pending::begin(target)?;
        if target.is_full() {
            target.shared.stats.lane(target.worker).inc(ClusterStat::UpstreamCxOverflow);
            return Err(PoolError::Overflow);
        }
        Ok(connect(target, Speaks::Anything).await?)
    }

    /// The host left: idle connections close now, busy ones after their last answer.
    pub fn close(&self) {
        match self {
            HostPool::Http1(pool) => pool.close(),
            HostPool::Http2(pool) => pool.close(),
            HostPool::Auto(pool) => pool.each(HostPool::close),
        }
    }

    /// The host is not well: idle connections close now, and it gets new ones if it is asked all the same.
    ///
    /// Observed: Envoy 1.40, hosts that fail a check or are ejected.
    pub fn drain(&self) {
        match self {
            HostPool::Http1(pool) => pool.drain(),
            HostPool::Http2(pool) => pool.drain(),
            HostPool::Auto(pool) => pool.each(HostPool::drain),
        }
    }

    /// Lets go of idle connections that the host closed or that were idle for too long.
    pub fn sweep(&self) {
        match self {
            HostPool::Http1(pool) => pool.sweep(),
            HostPool::Http2(pool) => pool.sweep(),
            HostPool::Auto(pool) => pool.each(HostPool::sweep),
        }
        if self.is_unused() {
            self.target().place.leave();
        }
    }
}

// === impl Pending ===

impl<'a> Pending<'a> {
    /// Begins to wait, unless `max_pending_requests` do already.
    fn begin(target: &'a Target) -> Result<Self, PoolError> {
        let Target { shared, host, worker, .. } = target;
        let (stats, waiting) = (shared.stats.lane(*worker), &target.counts().pending);
        if waiting.fetch_add(1, Relaxed) >= target.thresholds().pending_requests {
            waiting.fetch_sub(1, Relaxed);
            stats.inc(ClusterStat::UpstreamRqPendingOverflow);
            return Err(PoolError::Overflow);
        }
        stats.inc(ClusterStat::UpstreamRqPendingTotal);
        stats.inc(ClusterStat::UpstreamRqPendingActive);
        host.stats.lane(*worker).inc(HostStat::RqPendingActive);
        Ok(Self { target })
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        let Target { shared, host, worker, .. } = self.target;
        self.target.counts().pending.fetch_sub(1, Relaxed);
        shared.stats.lane(*worker).dec(ClusterStat::UpstreamRqPendingActive);
        host.stats.lane(*worker).dec(HostStat::RqPendingActive);
    }
}
