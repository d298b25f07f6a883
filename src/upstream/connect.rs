//! Owns opening a connection to a host, and counting its life.

mod happy_eyeballs;

use std::{
    cell::{Cell, OnceCell},
    future::poll_fn,
    net::Ipv4Addr,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{io::AsyncWriteExt, net::TcpStream};
use understudy_actors::{
    address::Address,
    snapshot::{ClusterShared, Host},
    stats::{ClusterHttp2Stat, ClusterStat, HostStat, SslContextStat, SslStat},
};

use super::{
    pool::Target,
    socket::{self, SocketError},
};
use crate::{
    tls::{ClientContext, Session, Speaks},
    transport::{self, HandshakeError, Stream},
    worker::{Deadlines, next_connection_id},
};

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConnectError {
    /// Refused, unreachable, reset.
    #[error("{0}")]
    Failed(Arc<SocketError>),
    /// There was a connection, and no handshake on it.
    #[error("{0}")]
    Handshake(Arc<HandshakeError>),
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
    local: Cell<Option<Address>>,
    /// The host's end of it: one of its addresses.
    remote: Cell<Address>,
    /// What its handshake came to.
    tls: OnceCell<Rc<Session>>,
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
pub async fn connect(target: &Target, speaks: Speaks) -> Result<(Stream, Life), ConnectError> {
    let Target { shared, host, worker, connect_timeout, deadlines, .. } = target;
    let life = Life::begin(target);
    let opened = within(open(target, speaks, &life), *connect_timeout, deadlines).await;
    let (stats, host_stats) = (shared.stats.lane(*worker), host.stats.lane(*worker));
    match opened {
        Ok(stream) => {
            let waited = life.opened.elapsed().as_millis() as u64;
            stats.record(ClusterStat::UpstreamCxConnectMs, waited);
            life.connected.set(true);
            if let Address::Ip(_) = life.remote.get() {
                life.local.set(stream.local_addr().ok().map(Address::Ip));
            }
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

/// A connection on which has been said what goes before everything else, and over which TLS has been agreed on.
async fn open(target: &Target, speaks: Speaks, life: &Life) -> Result<Stream, ConnectError> {
    let socket = greeted(target, life).await.map_err(|e| ConnectError::Failed(Arc::new(e)))?;
    let Some(context) = &target.tls else { return Ok(socket.into()) };
    let Target { shared, worker, host, sharing, .. } = target;
    let stats = shared.ssl_stats.get().lane(*worker);
    let name = sharing.server_name.as_deref();
    // Boxed: what a handshake needs, others shall not carry.
    match Box::pin(secure(socket, context, host, name, speaks, |stat| stats.inc(stat))).await {
        Ok((stream, session)) => {
            let _ = life.tls.set(Rc::new(session));
            Ok(stream)
        }
        Err(error) => {
            if matches!(error, HandshakeError::NotReady) {
                let stats = shared.ssl_context_stats.get().lane(*worker);
                stats.inc(SslContextStat::UpstreamContextSecretsNotReady);
            }
            Err(ConnectError::Handshake(Arc::new(error)))
        }
    }
}

/// Agrees on TLS with a host. `name` is what the request asks for, if it says.
///
/// # Errors
///
/// [`HandshakeError`], counted.
pub async fn secure(
    socket: TcpStream,
    context: &ClientContext,
    host: &Host,
    name: Option<&str>,
    speaks: Speaks,
    tally: impl Fn(SslStat),
) -> Result<(Stream, Session), HandshakeError> {
    if !context.is_ready() {
        return Err(HandshakeError::NotReady);
    }
    let own = Some(host.endpoint.hostname.as_str());
    let own = own.filter(|own| context.settings.host_name_is_asked_for && !own.is_empty());
    let name = name.or(own).or(context.settings.server_name.as_deref());
    let ip = host.address.ip().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
    let connected = transport::connect(socket, context, speaks, name, ip, tally);
    let (stream, mut session) = connected.await?;
    session.local = context.shown();
    Ok((stream, session))
}

/// A socket on which has been said what goes before everything else.
async fn greeted(target: &Target, life: &Life) -> Result<TcpStream, SocketError> {
    let mut stream = match target.host.attempts.is_empty() {
        true => {
            let source = target.sharing.source;
            socket::connect(target.host.address, &target.upstream.sockets, source).await?
        }
        false => happy_eyeballs::connect(target, life).await?,
    };
    if let Some(greeting) = &target.sharing.greeting {
        stream.write_all(greeting).await?;
    }
    Ok(stream)
}

async fn within(
    connecting: impl Future<Output = Result<Stream, ConnectError>>,
    timeout: Duration,
    deadlines: &Deadlines,
) -> Result<Stream, ConnectError> {
    let mut connecting = pin!(connecting);
    let mut deadline = deadlines.deadline();
    deadline.arm(timeout);
    poll_fn(|cx| match connecting.as_mut().poll(cx) {
        Poll::Ready(done) => Poll::Ready(done),
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
            tls: OnceCell::new(),
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
    pub fn local(&self) -> Option<Address> {
        self.local.get()
    }

    /// The host's end of it.
    pub fn remote(&self) -> Address {
        self.remote.get()
    }

    /// What its handshake came to, where there was one.
    pub fn tls(&self) -> Option<&Rc<Session>> {
        self.tls.get()
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
