//! Owns opening a connection to a host, and counting its life.

mod happy_eyeballs;

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant},
};

use tokio::io::AsyncWriteExt;
use understudy_actors::{
    snapshot::{ClusterShared, Host},
    stats::{ClusterHttp2Stat, ClusterStat, HostStat},
};

use super::{pool::Target, socket};
use crate::{
    transport::Stream,
    worker::{Deadlines, next_connection_id},
};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, reset.
    #[error("{0}")]
    Failed(Arc<io::Error>),
    /// Not within `connect_timeout`.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
}

/// Counts one connection from its opening to its end; the end is its drop.
pub struct Life {
    shared: Arc<ClusterShared>,
    host: Arc<Host>,
    worker: usize,
    /// Whose circuit breakers count it.
    priority: usize,
    opened: Instant,
    /// The connection's number.
    id: u64,
    /// Our end of it.
    local: Cell<Option<SocketAddr>>,
    /// The host's end of it: one of its addresses.
    remote: Cell<SocketAddr>,
    connected: Cell<bool>,
    requests: Cell<u64>,
    closed_by_host: Cell<bool>,
    with_request: Cell<bool>,
}

/// Connects to a host, within the cluster's `connect_timeout`.
///
/// # Errors
///
/// [`ConnectError`]; counted as `upstream_cx_connect_fail` or `_timeout`.
pub async fn connect(target: &Target) -> Result<(Stream, Life), ConnectError> {
    let Target { shared, host, worker, connect_timeout, deadlines, .. } = target;
    let life = Life::begin(target);
    let opened = within(greeted(target, &life), *connect_timeout, deadlines).await;
    let (stats, host_stats) = (shared.stats.lane(*worker), host.stats.lane(*worker));
    match opened {
        Ok(stream) => {
            let waited = life.opened.elapsed().as_millis() as u64;
            stats.record(ClusterStat::UpstreamCxConnectMs, waited);
            life.connected.set(true);
            life.local.set(stream.local_addr().ok());
            Ok((stream, life))
        }
        Err(error) => {
            host.doubt();
            host_stats.inc(HostStat::CxConnectFail);
            stats.inc(ClusterStat::UpstreamCxConnectFail);
            if matches!(error, ConnectError::TimedOut(_)) {
                stats.inc(ClusterStat::UpstreamCxConnectTimeout);
            } else {
                life.closed_by_host();
            }
            Err(error)
        }
    }
}

/// A connection on which has been said what goes before everything else.
async fn greeted(target: &Target, life: &Life) -> io::Result<Stream> {
    let mut stream = match target.host.attempts.is_empty() {
        true => socket::connect(target.host.address, &target.upstream.sockets).await?,
        false => happy_eyeballs::connect(target, life).await?,
    };
    // Nagle's algorithm would hold a small request back; a socket without it still works.
    let _ = stream.set_nodelay(true);
    if let Some(greeting) = &target.sharing.greeting {
        stream.write_all(greeting).await?;
    }
    Ok(stream.into())
}

async fn within(
    connecting: impl Future<Output = io::Result<Stream>>,
    timeout: Duration,
    deadlines: &Deadlines,
) -> Result<Stream, ConnectError> {
    let mut connecting = pin!(connecting);
    let mut deadline = deadlines.deadline();
    deadline.arm(timeout);
    poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(done) => {
            Poll::Ready(done.map_err(|error| ConnectError::Failed(Arc::new(error))))
        }
        Poll::Pending => deadline.poll_passed(cx).map(|()| Err(ConnectError::TimedOut(timeout))),
    })
    .await
}

// === impl Life ===

impl Life {
    fn begin(target: &Target) -> Self {
        let (shared, host) = (target.shared.clone(), target.host.clone());
        let (worker, priority) = (target.worker, target.sharing.priority());
        shared.breakers[priority].connections.fetch_add(1, Relaxed);
        let stats = shared.stats.lane(worker);
        stats.inc(ClusterStat::UpstreamCxTotal);
        stats.inc(ClusterStat::UpstreamCxActive);
        // These move with every connection, and are mostly back at zero: used, as Envoy counts it.
        for back_at_zero in [
            ClusterStat::UpstreamCxRxBytesBuffered,
            ClusterStat::CircuitBreakersDefaultCxOpen,
            ClusterStat::CircuitBreakersDefaultCxPoolOpen,
            ClusterStat::CircuitBreakersDefaultRqOpen,
            ClusterStat::CircuitBreakersDefaultRqPendingOpen,
        ] {
            stats.inc(back_at_zero);
            stats.dec(back_at_zero);
        }
        host.stats.lane(worker).inc(HostStat::CxTotal);
        host.stats.lane(worker).inc(HostStat::CxActive);
        Self {
            remote: Cell::new(host.address),
            shared,
            host,
            worker,
            priority,
            opened: Instant::now(),
            id: next_connection_id(),
            local: Cell::new(None),
            connected: Cell::new(false),
            requests: Cell::new(0),
            closed_by_host: Cell::new(false),
            with_request: Cell::new(false),
        }
    }

    /// When it was opened.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// The connection's number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Our end of it, once it is open.
    pub fn local(&self) -> Option<SocketAddr> {
        self.local.get()
    }

    /// The host's end of it.
    pub fn remote(&self) -> SocketAddr {
        self.remote.get()
    }

    /// How many requests it has carried.
    pub fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Counts a request.
    pub fn carry_request(&self) {
        self.requests.set(self.requests.get() + 1);
    }

    /// Counts a stream on it that we have taken back (HTTP/2).
    pub fn count_taken_back(&self) {
        let (stats, worker) = (&self.shared.stats, self.worker);
        stats.lane(worker).inc(ClusterStat::UpstreamRqTxReset);
        self.shared.http2_stats.get().lane(worker).inc(ClusterHttp2Stat::TxReset);
    }

    /// It ends because the host ended it.
    pub fn closed_by_host(&self) {
        self.closed_by_host.set(true);
    }

    /// It ends while a request is on it.
    pub fn cut_with_request(&self) {
        self.with_request.set(true);
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        use ClusterStat as S;
        self.shared.breakers[self.priority].connections.fetch_sub(1, Relaxed);
        let stats = self.shared.stats.lane(self.worker);
        stats.dec(S::UpstreamCxActive);
        stats.inc(S::UpstreamCxDestroy);
        let (by, with_request) = match self.closed_by_host.get() {
            true => (S::UpstreamCxDestroyRemote, S::UpstreamCxDestroyRemoteWithActiveRq),
            false => (S::UpstreamCxDestroyLocal, S::UpstreamCxDestroyLocalWithActiveRq),
        };
        stats.inc(by);
        if self.with_request.get() {
            stats.inc(S::UpstreamCxDestroyWithActiveRq);
            stats.inc(with_request);
        }
        stats.record(S::UpstreamCxLengthMs, self.opened.elapsed().as_millis() as u64);
        if self.connected.get() {
            stats.record(S::UpstreamRqPerCx, self.requests.get());
        }
        self.host.stats.lane(self.worker).dec(HostStat::CxActive);
    }
}
