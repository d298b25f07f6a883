//! Owns a worker's connections to one host: HTTP/1 ones that are idle, HTTP/2 ones that are shared.

mod http1;
mod http2;

pub use http1::{Http1Connection, Http1Pool};
pub use http2::{Http2Connection, Http2Lease, Http2Pool};

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use understudy_actors::snapshot::{ClusterShared, Host};

use super::connect::ConnectError;
use crate::config::model::cluster::{Upstream, UpstreamProtocol};

/// What all pools of a host need to know.
#[derive(Clone)]
pub struct Target {
    /// The host.
    pub host: Arc<Host>,
    /// What its cluster's workers share.
    pub shared: Arc<ClusterShared>,
    /// Protocol options.
    pub upstream: Arc<Upstream>,
    /// `connect_timeout`.
    pub connect_timeout: std::time::Duration,
    /// Connections and waiting requests at most, over all workers.
    pub thresholds: understudy_actors::plan::Thresholds,
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

/// A count among those that circuit breakers bound; goes down when dropped.
struct Counted<'a>(&'a AtomicU32);

// === impl HostPool ===

impl HostPool {
    /// An empty pool.
    pub fn new(target: Target) -> Self {
        match &target.upstream.protocol {
            UpstreamProtocol::Http1(options) => {
                let options = options.clone();
                HostPool::Http1(Rc::new(Http1Pool::new(target, options)))
            }
            UpstreamProtocol::Http2(options) => {
                let options = options.clone();
                HostPool::Http2(Rc::new(Http2Pool::new(target, options)))
            }
        }
    }

    /// The host left: idle connections close now, busy ones after their last answer.
    pub fn close(&self) {
        match self {
            HostPool::Http1(pool) => pool.close(),
            HostPool::Http2(pool) => pool.close(),
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

// === impl Counted ===

impl<'a> Counted<'a> {
    fn below(counter: &'a AtomicU32, max: u32) -> Option<Self> {
        if counter.fetch_add(1, Relaxed) >= max {
            counter.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Self(counter))
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
