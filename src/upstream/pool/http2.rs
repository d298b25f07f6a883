//! Owns a worker's HTTP/2 connections to one host: shared by requests, opened when all are full.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::poll_fn,
    io,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::sync::Notify;
use understudy_actors::{
    snapshot::ClusterShared,
    stats::{ClusterHttp2Stat, ClusterStat, Lane},
};

use super::{Pending, PoolError, Target};
use crate::{
    config::model::http::Http2Options,
    format::counts_wire,
    stream::{Flood, Floods, Wires},
    tls::Speaks,
    transport::Stream,
    upstream::connect::{ConnectError, Life, connect},
    worker::{
        Deadlines, Meter, Metered, Outbox, Tick,
        keepalive::{Pinger, Signs},
    },
};

/// Connections to one host that carry many requests at a time.
pub struct Http2Pool {
    target: Target,
    options: Http2Options,
    connections: RefCell<Vec<Rc<Http2Connection>>>,
    opening: RefCell<Option<Rc<Opening>>>,
    /// Told of streams and connections that end, while there may be no more connections.
    freed: Rc<Notify>,
    closed: Cell<bool>,
}

/// One connection.
pub struct Http2Connection {
    send: SendRequest<Bytes>,
    streams: Cell<usize>,
    /// When the last stream ended.
    idle_since: Cell<Tick>,
    gone: Cell<bool>,
    life: Rc<Life>,
    /// Told of streams, where there is `connection_keepalive`.
    signs: Option<Rc<Signs>>,
    /// Where bytes of its streams are counted.
    wires: Option<Rc<Wires>>,
}

/// The right to one stream on a connection; gives it back when dropped.
pub struct Http2Lease {
    connection: Rc<Http2Connection>,
    /// Starts the stream.
    pub send: SendRequest<Bytes>,
    freed: Rc<Notify>,
    deadlines: Deadlines,
}

/// A connection that is being opened; those who wait for it share its fate.
#[derive(Default)]
struct Opening {
    done: OnceCell<Result<(), OpenError>>,
    changed: Notify,
}

#[derive(Clone)]
enum OpenError {
    Connect(ConnectError),
    Terminated,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By the host, after its last stream or before the next.
    Orderly,
    /// By an error.
    Failed,
    /// By us: no answer within `connection_keepalive.timeout`.
    Silent,
}

/// Counts what a connection reads and writes.
struct UpstreamMeter {
    shared: Arc<ClusterShared>,
    worker: usize,
    /// Told of what comes, where there is `connection_keepalive`.
    signs: Option<Rc<Signs>>,
    /// Told of all bytes, where those of streams are counted.
    wires: Option<Rc<Wires>>,
    /// Told of them, too, where frames are bounded.
    floods: Option<Box<Floods>>,
}

/// What polls a connection's codec, and sends what it writes.
struct Driver {
    codec: h2::client::Connection<Metered<UpstreamMeter>, Bytes>,
    outbox: Outbox<UpstreamMeter>,
}

// === impl Http2Pool ===

impl Http2Pool {
    pub(super) fn new(target: Target, options: Http2Options) -> Self {
        Self {
            target,
            options,
            connections: RefCell::default(),
            opening: RefCell::default(),
            freed: Rc::default(),
            closed: Cell::new(false),
        }
    }

    /// Whose pool this is.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The right to one stream, on a connection that has room or on a new one.
    ///
    /// # Errors
    ///
    /// [`PoolError`], counted.
    pub async fn acquire(self: &Rc<Self>) -> Result<Http2Lease, PoolError> {
        if let Some(lease) = self.lease() {
            return Ok(lease);
        }
        let _pending = Pending::begin(&self.target)?;
        self.open_and_lease().await
    }

    async fn open_and_lease(self: &Rc<Self>) -> Result<Http2Lease, PoolError> {
        loop {
            if self.target.is_full() && self.has_others_to_wait_for() {
                let stats = self.target.shared.stats.lane(self.target.worker);
                stats.inc(ClusterStat::UpstreamCxOverflow);
                self.freed.notified().await;
                match self.lease() {
                    Some(lease) => return Ok(lease),
                    None => continue,
                }
            }
            let opening = self.opening();
            while opening.done.get().is_none() {
                opening.changed.notified().await;
            }
            match opening.done.get() {
                Some(Err(OpenError::Connect(error))) => return Err(error.clone().into()),
                Some(Err(OpenError::Terminated)) => return Err(PoolError::Terminated),
                Some(Ok(())) | None => {}
            }
            if let Some(lease) = self.lease() {
                return Ok(lease);
            }
        }
    }

    /// A host without any connection of this worker gets one: nobody would ever give a stream back.
    fn has_others_to_wait_for(&self) -> bool {
        !self.connections.borrow().is_empty() && self.opening.borrow().is_none()
    }

    /// The connection that is being opened; begins to open one if none is.
    fn opening(self: &Rc<Self>) -> Rc<Opening> {
        let mut slot = self.opening.borrow_mut();
        if let Some(opening) = slot.as_ref() {
            return opening.clone();
        }
        let opening = Rc::new(Opening::default());
        *slot = Some(opening.clone());
        tokio::task::spawn_local(self.clone().open(opening.clone()));
        opening
    }

    /// Opens a connection for nobody yet, if there is none.
    pub(super) fn open_first(self: &Rc<Self>) -> bool {
        let opens = self.is_empty() && !self.closed.get() && !self.target.is_full();
        if opens {
            self.opening();
        }
        opens
    }

    /// Opens a connection and drives it to its end.
    async fn open(self: Rc<Self>, opening: Rc<Opening>) {
        let opened = self.handshake().await;
        self.opening.borrow_mut().take();
        match opened {
            Err(error) => {
                let _ = opening.done.set(Err(error));
                opening.changed.notify_waiters();
            }
            Ok((connection, driver)) => {
                self.connections.borrow_mut().push(connection.clone());
                let _ = opening.done.set(Ok(()));
                opening.changed.notify_waiters();
                drop(opening);
                self.see_through(connection, driver).await;
            }
        }
    }

    /// Takes a connection that was opened before it was known what is spoken on it.
    ///
    /// # Errors
    ///
    /// [`PoolError::Terminated`]: it does not speak HTTP/2 after all.
    pub(super) async fn adopt(
        self: &Rc<Self>,
        stream: Stream,
        life: Life,
    ) -> Result<(), PoolError> {
        let begun = self.begin_on(stream, life).await;
        let (connection, driver) = begun.map_err(|_| PoolError::Terminated)?;
        self.connections.borrow_mut().push(connection.clone());
        let pool = self.clone();
        tokio::task::spawn_local(async move { pool.see_through(connection, driver).await });
        Ok(())
    }

    /// Drives a connection to its end, and takes leave of it.
    async fn see_through(self: &Rc<Self>, connection: Rc<Http2Connection>, driver: Driver) {
        let life = connection.life.clone();
        // No handle is kept here: the driver ends when the last is gone.
        let (signs, handle) = (connection.signs.clone(), Rc::downgrade(&connection));
        drop(connection);
        let end = self.drive(signs, driver).await;
        let Some(connection) = handle.upgrade() else { return };
        if end == End::Failed || connection.streams.get() > 0 {
            life.cut_with_request();
        }
        if end != End::Silent {
            life.closed_by_host();
        }
        self.forget(&connection);
    }

    /// Drives a connection to its end.
    async fn drive(&self, signs: Option<Rc<Signs>>, mut driver: Driver) -> End {
        let options = self.options.keepalive.as_ref().zip(signs);
        let mut pinger = options
            .and_then(|(options, signs)| Pinger::begin(options, driver.codec.ping_pong(), signs))
            .map(Box::new);
        poll_fn(|cx| {
            if let Some(pinger) = &mut pinger {
                pinger.before_streams();
            }
            let driven = Pin::new(&mut driver.codec).poll(cx);
            driver.outbox.send(cx);
            if let Poll::Ready(ended) = driven {
                return Poll::Ready(if ended.is_err() { End::Failed } else { End::Orderly });
            }
            let Some(pinger) = &mut pinger else { return Poll::Pending };
            pinger.poll_dead(cx).map(|()| {
                let Target { shared, worker, .. } = &self.target;
                let stats = shared.http2_stats.get().lane(*worker);
                stats.inc(ClusterHttp2Stat::KeepaliveTimeout);
                End::Silent
            })
        })
        .await
    }

    async fn handshake(&self) -> Result<(Rc<Http2Connection>, Driver), OpenError> {
        let Target { shared, worker, .. } = &self.target;
        shared.stats.lane(*worker).inc(ClusterStat::UpstreamCxHttp2Total);
        let (stream, life) =
            connect(&self.target, Speaks::Http2).await.map_err(OpenError::Connect)?;
        self.begin_on(stream, life).await
    }

    /// Begins to speak HTTP/2 on a connection.
    async fn begin_on(
        &self,
        stream: Stream,
        life: Life,
    ) -> Result<(Rc<Http2Connection>, Driver), OpenError> {
        let Target { shared, worker, deadlines, buffers, .. } = &self.target;
        let http2_stats = shared.http2_stats.get().lane(*worker);
        http2_stats.inc(ClusterHttp2Stat::Nghttp2UpstreamConnections);
        let signs = self.options.keepalive.as_ref().map(|options| Signs::new(options, deadlines));
        let wires = counts_wire().then(Wires::of_host);
        let meter = UpstreamMeter {
            shared: shared.clone(),
            worker: *worker,
            signs: signs.clone(),
            wires: wires.clone(),
            floods: self.options.floods.map(|limits| Box::new(Floods::of_host(limits))),
        };
        let (metered, outbox) = Metered::new(stream, Vec::new(), meter, buffers.clone());
        let (send, codec) = crate::codec::http2::client(&self.options)
            .handshake(metered)
            .await
            .map_err(|_| OpenError::Terminated)?;
        let connection = Http2Connection {
            send,
            streams: Cell::new(0),
            idle_since: Cell::new(deadlines.coarse_now()),
            gone: Cell::new(false),
            life: Rc::new(life),
            signs,
            wires,
        };
        Ok((Rc::new(connection), Driver { codec, outbox }))
    }

    /// The right to one stream on a connection that has room. Waits for nothing.
    pub fn lease(&self) -> Option<Http2Lease> {
        let connections = self.connections.borrow();
        let streams_max = self.options.concurrent_streams_max as usize;
        let connection = connections
            .iter()
            .find(|connection| !self.retire_old(connection) && connection.has_room(streams_max))?;
        connection.streams.set(connection.streams.get() + 1);
        connection.life.carry_request();
        let requests_max = u64::from(self.target.upstream.max_requests_per_connection);
        if requests_max > 0 && connection.life.requests() >= requests_max {
            connection.gone.set(true);
            let stats = self.target.shared.stats.lane(self.target.worker);
            stats.inc(ClusterStat::UpstreamCxMaxRequests);
        }
        if let Some(signs) = &connection.signs {
            signs.begin_stream();
        }
        let (send, connection) = (connection.send.clone(), connection.clone());
        let (freed, deadlines) = (self.freed.clone(), self.target.deadlines.clone());
        Some(Http2Lease { send, connection, freed, deadlines })
    }

    /// Lets no further stream start on a connection past `max_connection_duration`; whether it is.
    fn retire_old(&self, connection: &Http2Connection) -> bool {
        let Some(max) = self.target.upstream.max_connection_duration else { return false };
        let old = connection.life.opened().elapsed() >= max;
        if old && !connection.gone.replace(true) {
            let stats = self.target.shared.stats.lane(self.target.worker);
            stats.inc(ClusterStat::UpstreamCxMaxDurationReached);
        }
        old
    }

    fn forget(&self, gone: &Rc<Http2Connection>) {
        gone.gone.set(true);
        self.connections.borrow_mut().retain(|connection| !Rc::ptr_eq(connection, gone));
        self.freed.notify_one();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.connections.borrow().is_empty() && self.opening.borrow().is_none()
    }

    pub(super) fn close(&self) {
        self.closed.set(true);
        // The driver ends by itself when the last handle is gone and the last stream is done.
        self.connections.borrow_mut().clear();
    }

    pub(super) fn drain(&self) {
        // Each ends with its last stream, as above.
        self.connections.borrow_mut().clear();
    }

    pub(super) fn sweep(&self) {
        let Target { shared, upstream, worker, deadlines, .. } = &self.target;
        let now = deadlines.coarse_now();
        self.connections.borrow_mut().retain(|connection| {
            let idle = connection.streams.get() == 0;
            let waited = now.since(connection.idle_since.get());
            let expired = idle && upstream.idle_timeout.is_some_and(|timeout| waited > timeout);
            if expired {
                shared.stats.lane(*worker).inc(ClusterStat::UpstreamCxIdleTimeout);
            }
            !expired && !self.retire_old(connection) && !connection.gone.get()
        });
    }
}

// === impl Http2Connection ===

impl Http2Connection {
    fn has_room(&self, streams_max: usize) -> bool {
        if self.gone.get() {
            return false;
        }
        // Ready, or an error: after GOAWAY no stream may start here.
        let ready = self.send.clone().poll_ready(&mut Context::from_waker(Waker::noop()));
        match ready {
            Poll::Ready(Err(_)) => {
                self.gone.set(true);
                false
            }
            _ => self.streams.get() < streams_max.min(self.send.current_max_send_streams()),
        }
    }
}

impl Http2Lease {
    /// The life of its connection.
    pub fn life(&self) -> &Life {
        &self.connection.life
    }

    /// Where bytes of its streams are counted, if they are.
    pub fn wires(&self) -> Option<&Rc<Wires>> {
        self.connection.wires.as_ref()
    }

    /// No further stream may start on this connection.
    pub fn retire(&self) {
        self.connection.gone.set(true);
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get().saturating_sub(1));
        self.connection.idle_since.set(self.deadlines.coarse_now());
        self.freed.notify_one();
    }
}

// === impl UpstreamMeter ===

impl Meter for UpstreamMeter {
    fn received(&self, bytes: &[u8]) -> io::Result<()> {
        let stats = self.shared.stats.lane(self.worker);
        stats.add(ClusterStat::UpstreamCxRxBytesTotal, bytes.len() as u64);
        if let Some(wires) = &self.wires {
            wires.received(bytes);
        }
        if let Some(signs) = &self.signs {
            signs.hear();
        }
        match self.floods.as_ref().and_then(|floods| floods.received(bytes)) {
            None => Ok(()),
            Some(flood) => {
                stats.inc(ClusterStat::UpstreamCxProtocolError);
                count_flood(self.shared.http2_stats.get().lane(self.worker), flood);
                Err(io::Error::from(io::ErrorKind::InvalidData))
            }
        }
    }

    fn sent(&self, bytes: &[u8]) {
        let stats = self.shared.stats.lane(self.worker);
        stats.add(ClusterStat::UpstreamCxTxBytesTotal, bytes.len() as u64);
        if let Some(floods) = &self.floods {
            floods.sent(bytes);
        }
        if let Some(wires) = &self.wires {
            wires.sent(bytes);
        }
    }
}

/// Counts a flood, on whichever side.
pub fn count_flood(stats: &Lane<ClusterHttp2Stat>, flood: Flood) {
    stats.inc(match flood {
        Flood::Empty => ClusterHttp2Stat::InboundEmptyFramesFlood,
        Flood::Priority => ClusterHttp2Stat::InboundPriorityFramesFlood,
        Flood::WindowUpdate => ClusterHttp2Stat::InboundWindowUpdateFramesFlood,
    });
}
