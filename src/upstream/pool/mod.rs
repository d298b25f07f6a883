//! Owns a worker's connections to one host: HTTP/1 ones that are idle, HTTP/2 ones that are shared.

mod http1;
mod http2;

pub use http1::{Http1Connection, Http1Pool};
pub use http2::{Http2Connection, Http2Lease, Http2Pool};

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use tokio::net::TcpStream;
use understudy_actors::{
    plan::Thresholds,
    snapshot::{ClusterShared, Host},
    stats::{AnswerStat, ClusterStat, Group, HostStat},
};

use super::{
    Limits,
    connect::{ConnectError, Life, connect},
};
use crate::config::model::cluster::{Upstream, UpstreamProtocol};

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
}

/// A worker's pool for one host.
pub enum HostPool {
    /// One request at a time on each connection.
    Http1(Rc<Http1Pool>),
    /// Many requests on each connection.
    Http2(Rc<Http2Pool>),
}

/// A worker's pools for one host.
#[derive(Clone)]
pub struct HostPools {
    /// For every request, or for those over HTTP/1.
    pub usual: Rc<HostPool>,
    /// For requests over HTTP/2, where the client's protocol decides.
    pub http2: Option<Rc<HostPool>>,
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

// === impl Target ===

impl Target {
    /// The circuit breakers in force.
    pub fn thresholds(&self) -> Thresholds {
        self.limits.get().thresholds[0]
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
    /// Empty pools: one, and where the client's protocol decides, one for each.
    pub fn of(target: Target) -> HostPools {
        let Target { upstream, .. } = &target;
        let http2 = match &upstream.protocol {
            UpstreamProtocol::ByDownstream(_, http2) => {
                let pool = Http2Pool::new(target.clone(), http2.clone());
                Some(Rc::new(HostPool::Http2(Rc::new(pool))))
            }
            UpstreamProtocol::Http1(_) | UpstreamProtocol::Http2(_) => None,
        };
        HostPools { usual: Rc::new(Self::new(target)), http2 }
    }

    fn new(target: Target) -> Self {
        match &target.upstream.protocol {
            UpstreamProtocol::Http1(options) | UpstreamProtocol::ByDownstream(options, _) => {
                let options = options.clone();
                HostPool::Http1(Rc::new(Http1Pool::new(target, options)))
            }
            UpstreamProtocol::Http2(options) => {
                let options = options.clone();
                HostPool::Http2(Rc::new(Http2Pool::new(target, options)))
            }
        }
    }

    /// Whose pool this is.
    pub fn target(&self) -> &Target {
        match self {
            HostPool::Http1(pool) => pool.target(),
            HostPool::Http2(pool) => pool.target(),
        }
    }

    /// A connection of nobody else's, over which no HTTP goes.
    ///
    /// # Errors
    ///
    /// [`PoolError`], counted.
    pub async fn connect(&self) -> Result<(TcpStream, Life), PoolError> {
        let target = self.target();
        let Target { shared, host, worker, connect_timeout, deadlines, .. } = target;
        let _pending = Pending::begin(target)?;
        if shared.breakers[0].connections.load(Relaxed) >= target.thresholds().connections {
            shared.stats.lane(*worker).inc(ClusterStat::UpstreamCxOverflow);
            return Err(PoolError::Overflow);
        }
        Ok(connect(shared, host, *worker, *connect_timeout, deadlines).await?)
    }

    /// The host left: idle connections close now, busy ones after their last answer.
    pub fn close(&self) {
        match self {
            HostPool::Http1(pool) => pool.close(),
            HostPool::Http2(pool) => pool.close(),
        }
    }

    /// The host is not well: idle connections close now, and it gets new ones if it is asked all the same.
    ///
    /// Observed: Envoy 1.40, hosts that fail a check or are ejected.
    pub fn drain(&self) {
        match self {
            HostPool::Http1(pool) => pool.drain(),
            HostPool::Http2(pool) => pool.drain(),
        }
    }

    /// Lets go of idle connections that the host closed or that were idle for too long.
    pub fn sweep(&self) {
        match self {
            HostPool::Http1(pool) => pool.sweep(),
            HostPool::Http2(pool) => pool.sweep(),
        }
    }
}

// === impl HostPools ===

impl HostPools {
    /// All there are.
    pub fn iter(&self) -> impl Iterator<Item = &Rc<HostPool>> {
        std::iter::once(&self.usual).chain(&self.http2)
    }
}

// === impl Pending ===

impl<'a> Pending<'a> {
    /// Begins to wait, unless `max_pending_requests` do already.
    fn begin(target: &'a Target) -> Result<Self, PoolError> {
        let Target { shared, host, worker, .. } = target;
        let (stats, waiting) = (shared.stats.lane(*worker), &shared.breakers[0].pending);
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
        shared.breakers[0].pending.fetch_sub(1, Relaxed);
        shared.stats.lane(*worker).dec(ClusterStat::UpstreamRqPendingActive);
        host.stats.lane(*worker).dec(HostStat::RqPendingActive);
    }
}
