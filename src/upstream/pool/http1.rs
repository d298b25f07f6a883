//! Owns a worker's HTTP/1 connections to one host: last in, first out, and a queue of those who wait.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    task::{Context, Waker},
};

use tokio::sync::oneshot;
use understudy_actors::stats::{ClusterStat, HostStat};

use super::{Pending, PoolError, Target};
use crate::{
    config::model::http1::Http1Options,
    tls::Speaks,
    transport::Stream,
    upstream::connect::{ConnectError, Life, connect},
    worker::Tick,
};

/// Connections that are opened ahead at a time.
const AHEAD_MAX: u64 = 3;

/// Connections to one host that carry one request at a time.
pub struct Http1Pool {
    target: Target,
    options: Http1Options,
    idle: RefCell<Vec<Idle>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Http1Connection>>>,
    /// Connections that are being opened before anybody asks for them.
    ahead: Cell<u32>,
    closed: Cell<bool>,
}

/// A connection that is in use.
pub struct Http1Connection {
    open: Box<Open>,
    /// It has carried a request before, so the host may have closed it while it was idle.
    pub reused: bool,
    seat: Seat,
}

/// A connection's place among those that `max_connections` bounds. One that ends lets somebody who
/// waits open another.
struct Seat {
    pool: Rc<Http1Pool>,
    given_back: Cell<bool>,
}

struct Idle {
    open: Box<Open>,
    since: Tick,
}

/// A connection. Boxed, so that handing it out and back moves a pointer.
struct Open {
    stream: Stream,
    life: Life,
}

// === impl Http1Pool ===

impl Http1Pool {
    pub(super) fn new(target: Target, options: Http1Options) -> Self {
        Self {
            target,
            options,
            idle: RefCell::default(),
            waiting: RefCell::default(),
            ahead: Cell::new(0),
            closed: Cell::new(false),
        }
    }

    /// Whose pool this is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Protocol options.
    pub fn options(&self) -> &Http1Options {
        &self.options
    }

    /// The connection that went idle last, if one still lives. Costs no system call.
    pub fn checkout(self: &Rc<Self>) -> Option<Http1Connection> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { mut open, .. }) = idle.pop() {
            if open.stream.is_quiet() {
                return Some(self.in_use(open, true));
            }
            open.life.closed_by_host();
        }
        None
    }

    /// A connection: an idle one, a new one, or the next that somebody gives back when there may be
    /// no more.
    ///
    /// # Errors
    ///
    /// [`PoolError`], counted.
    pub async fn acquire(self: &Rc<Self>) -> Result<Http1Connection, PoolError> {
        if let Some(connection) = self.checkout() {
            return Ok(connection);
        }
        let _pending = Pending::begin(&self.target)?;
        self.open_or_wait().await
    }

    async fn open_or_wait(self: &Rc<Self>) -> Result<Http1Connection, PoolError> {
        let Target { shared, host, worker, .. } = &self.target;
        let host_stats = host.stats.lane(*worker);
        if self.ahead.get() as usize > self.waiting.borrow().len() {
            // One is on its way that nobody waits for.
            if let Some(connection) = self.wait().await {
                return Ok(connection);
            }
        }
        if self.target.is_full() {
            shared.stats.lane(*worker).inc(ClusterStat::UpstreamCxOverflow);
            // A host without any connection of this worker gets one: nobody would ever give one back.
            if host_stats.gauge(HostStat::CxActive) > 0
                && let Some(connection) = self.wait().await
            {
                return Ok(connection);
            }
        }
        let open = self.open().await?;
        Ok(self.in_use(open, false))
    }

    /// The next connection that is to be had; none where whoever waits is to open one.
    async fn wait(&self) -> Option<Http1Connection> {
        let (give, given) = oneshot::channel();
        self.waiting.borrow_mut().push_back(give);
        given.await.ok()
    }

    async fn open(&self) -> Result<Box<Open>, ConnectError> {
        let Target { shared, worker, .. } = &self.target;
        shared.stats.lane(*worker).inc(ClusterStat::UpstreamCxHttp1Total);
        shared.http1_stats.get();
        let (stream, life) = connect(&self.target, Speaks::Http1).await?;
        Ok(Box::new(Open { stream, life }))
    }

    /// Keeps a connection that was opened before it was known what is spoken on it.
    pub(super) fn adopt(self: &Rc<Self>, stream: Stream, life: Life) {
        self.target.shared.http1_stats.get();
        self.put(Box::new(Open { stream, life }));
    }

    /// Opens connections that the next requests may need, while this many are in use.
    ///
    /// Source: `PreconnectPolicy.per_upstream_preconnect_ratio`.
    #[cold]
    fn open_ahead(self: &Rc<Self>, ratio: f64) {
        let host_stats = self.target.host.stats.lane(self.target.worker);
        let all = host_stats.gauge(HostStat::CxActive);
        let unused = self.idle.borrow().len() as u64 + u64::from(self.ahead.get());
        let wanted = (all.saturating_sub(unused) as f64 * ratio).ceil() as u64;
        for _ in 0..wanted.saturating_sub(all).min(AHEAD_MAX) {
            if !self.may_open_ahead() {
                return;
            }
            self.open_one_ahead();
        }
    }

    /// Opens a connection for nobody yet. It is counted when this returns.
    pub(super) fn open_one_ahead(self: &Rc<Self>) {
        self.ahead.set(self.ahead.get() + 1);
        let pool = self.clone();
        let mut opening = Box::pin(async move {
            let opened = pool.open().await;
            pool.ahead.set(pool.ahead.get() - 1);
            match opened {
                Ok(open) => pool.put(open),
                // Counted, and nobody's: whoever waits for it tries itself.
                Err(_) => drop(pool.next_waiting()),
            }
        });
        if opening.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::task::spawn_local(opening);
        }
    }

    /// Whether there may be more connections of this worker's to the host.
    pub(super) fn may_open_ahead(&self) -> bool {
        !self.closed.get() && !self.target.is_full()
    }

    fn next_waiting(&self) -> Option<oneshot::Sender<Http1Connection>> {
        self.waiting.borrow_mut().pop_front()
    }

    fn in_use(self: &Rc<Self>, open: Box<Open>, reused: bool) -> Http1Connection {
        let ratio = self.target.upstream.preconnect_ratio;
        if ratio > 1.0 {
            self.open_ahead(ratio);
        }
        let seat = Seat { pool: self.clone(), given_back: Cell::new(false) };
        Http1Connection { open, reused, seat }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.waiting.borrow().is_empty()
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
        self.idle.borrow_mut().clear();
    }

    pub(super) fn drain(&self) {
        self.idle.borrow_mut().clear();
    }

    pub(super) fn sweep(&self) {
        let mut idle = self.idle.borrow_mut();
        if idle.is_empty() {
            return;
        }
        let (timeout, now) =
            (self.target.upstream.idle_timeout, self.target.deadlines.coarse_now());
        let stats = self.target.shared.stats.lane(self.target.worker);
        idle.retain_mut(|connection| {
            let quiet = connection.open.stream.is_quiet();
            if !quiet {
                connection.open.life.closed_by_host();
                return false;
            }
            let expired = timeout.is_some_and(|t| now.since(connection.since) > t);
            if expired {
                stats.inc(ClusterStat::UpstreamCxIdleTimeout);
            }
            !expired && !self.is_old(&connection.open.life)
        });
    }

    /// Whether a connection is past `max_connection_duration`, which is counted.
    fn is_old(&self, life: &Life) -> bool {
        let Some(max) = self.target.upstream.max_connection_duration else { return false };
        let old = life.opened().elapsed() >= max;
        if old {
            let stats = self.target.shared.stats.lane(self.target.worker);
            stats.inc(ClusterStat::UpstreamCxMaxDurationReached);
        }
        old
    }

    fn put(self: &Rc<Self>, open: Box<Open>) {
        let (life, upstream) = (&open.life, &self.target.upstream);
        let requests_max = u64::from(upstream.max_requests_per_connection);
        let worn = requests_max > 0 && life.requests() >= requests_max;
        if worn {
            self.target
                .shared
                .stats
                .lane(self.target.worker)
                .inc(ClusterStat::UpstreamCxMaxRequests);
        }
        if worn || self.is_old(life) || self.closed.get() {
            return;
        }
        let mut open = open;
        while let Some(waiting) = self.next_waiting() {
            match waiting.send(self.in_use(open, true)) {
                Ok(()) => return,
                Err(back) => open = back.into_open(),
            }
        }
        let since = self.target.deadlines.coarse_now();
        self.idle.borrow_mut().push(Idle { open, since });
    }
}

// === impl Http1Connection ===

impl Http1Connection {
    /// The answer is complete and the host keeps the connection: the next request may have it.
    pub fn give_back(self) {
        let pool = self.seat.pool.clone();
        pool.put(self.into_open());
    }

    /// Its life, for the stats.
    pub fn life(&self) -> &Life {
        &self.open.life
    }

    /// The socket, and whose it is.
    pub fn parts(&mut self) -> (&mut Stream, &Target) {
        (&mut self.open.stream, &self.seat.pool.target)
    }

    /// The connection without its seat: it does not end, so nobody need open another for it.
    fn into_open(self) -> Box<Open> {
        self.seat.given_back.set(true);
        self.open
    }
}

// === impl Seat ===

impl Drop for Seat {
    fn drop(&mut self) {
        if self.given_back.get() {
            return;
        }
        // Dropping the sender tells the first who still waits to open a connection itself.
        while self.pool.next_waiting().is_some_and(|next| next.is_closed()) {}
    }
}
