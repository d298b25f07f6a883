//! Owns tunnelling: a client's bytes are carried in the body of a request to the host, and the answer's back.
//!
//! Source: `TcpProxy.TunnelingConfig`. What counts as an agreement, flags and failure reasons were observed in Envoy 1.40.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;
use understudy_actors::{
    outlier::Outcome,
    seams::Drain,
    stats::{Lane, TcpStat},
};

use super::{
    in_use::Requested,
    overheard::{Overheard, answered},
    tcp_proxy::{Carried, End},
    times::Times,
};
use crate::{
    access_log::ResponseFlag,
    codec::{
        HeaderBlock, Method, RequestHead, ResponseHead, Scheme, Switch, Version,
        http1::response::Asked,
    },
    config::model::tcp_proxy::Tunnelling,
    filter_state::{TUNNEL_RESPONSE_HEADERS, TUNNEL_RESPONSE_TRAILERS},
    format::{AccessLogType, UpstreamConnection},
    stream::{
        BodyError, BodySize, Data, Frame, Pump, PumpError, RequestSink, Reset, ResponseSource,
        Sink, Source,
    },
    transport::{ReadHalf, WriteHalf},
    upstream::{
        connect::Life,
        http1::Http1Stream,
        http2::Http2Stream,
        pool::{HostPool, PoolError},
    },
    worker::{Buffer, Buffers},
};

/// Why there is no tunnel.
pub(super) enum NoTunnel {
    /// There was no connection.
    Pool(PoolError),
    /// The host has answered otherwise; empty where it has not answered.
    Refused(String),
    /// It is over before it began.
    Over(End),
}

/// What was read of a client and is not sent yet.
#[derive(Default)]
struct Reading {
    input: Option<Buffer>,
    /// Bytes at the front of the input that the last frame lent out.
    lent: usize,
}

/// What is to be written to it.
#[derive(Default)]
struct Writing {
    out: Option<Buffer>,
    ended: bool,
    shut: bool,
}

/// A client as a body's source.
struct ClientSource<'a> {
    socket: ReadHalf<'a>,
    state: &'a mut Reading,
    buffers: &'a Buffers,
    stats: &'a Lane<TcpStat>,
    count: &'a mut u64,
}

/// A client as a body's sink.
struct ClientSink<'a> {
    socket: WriteHalf<'a>,
    state: &'a mut Writing,
    buffers: &'a Buffers,
    stats: &'a Lane<TcpStat>,
    count: &'a mut u64,
}

// === impl Carried ===

impl Carried {
    /// Asks the host for a tunnel, and carries the connection in it.
    pub(super) async fn tunnel(
        &mut self,
        pool: &Rc<HostPool>,
        tunnelling: &Tunnelling,
    ) -> Result<End, NoTunnel> {
        let worker = self.worker.clone();
        let asked = match tunnelling.post_path {
            Some(_) => Asked::Plain,
            None => Asked::Connect,
        };
        match &**pool {
            HostPool::Auto(auto) => {
                let settled = auto.settle().await?;
                Box::pin(self.tunnel(&settled, tunnelling)).await
            }
            HostPool::Http1(http1) => {
                let connection = match http1.checkout() {
                    Some(connection) => connection,
                    None => http1.acquire().await?,
                };
                let _requested = Requested::begin(pool.clone());
                let mut stream = Http1Stream::new(connection, http1.options(), asked);
                self.connected(pool, stream.life(), Version::Http11);
                let end = self.through(pool, stream.split(&worker.buffers), tunnelling).await;
                stream.finish();
                end
            }
            HostPool::Http2(http2) => {
                let lease = match http2.lease() {
                    Some(lease) => lease,
                    None => http2.acquire().await?,
                };
                let _requested = Requested::begin(pool.clone());
                let mut stream = Http2Stream::new(lease, asked);
                self.connected(pool, stream.life(), Version::Http2);
                self.through(pool, stream.split(), tunnelling).await
            }
        }
    }

    fn connected(&mut self, pool: &HostPool, life: &Life, version: Version) {
        let (local, remote) = (life.local(), pool.target().host.address);
        let (protocol, tls) = (Some(version), life.tls().cloned());
        let id = life.id();
        self.connection = Some(UpstreamConnection { local, remote, id, protocol, tls });
    }

    /// Asks on this stream; the client is not read before the host has agreed.
    async fn through(
        &mut self,
        pool: &HostPool,
        (mut up_sink, mut up_source): (impl RequestSink, impl ResponseSource),
        tunnelling: &Tunnelling,
    ) -> Result<End, NoTunnel> {
        let mut head = self.request(tunnelling);
        let size = match tunnelling.post_path {
            Some(_) => BodySize::Unknown,
            None => BodySize::Tunnel,
        };
        up_sink.head(&mut head, size).map_err(|_| NoTunnel::Refused(String::new()))?;
        let mut times = self.times();
        let mut response = ResponseHead::default();
        loop {
            poll_fn(|cx| {
                // A host that has stopped listening may have answered all the same.
                let _ = up_sink.poll_flush(cx);
                if let Poll::Ready(answer) = up_source.poll_head(cx, &mut response) {
                    return Poll::Ready(answer.map_err(NoTunnel::from));
                }
                if self.is_told_to_end(cx) {
                    return Poll::Ready(Err(NoTunnel::Over(End::Drained)));
                }
                times.poll_end(cx).map(|end| Err(NoTunnel::Over(end)))
            })
            .await?;
            if response.status >= 200 {
                break;
            }
        }
        if tunnelling.leaves_headers {
            let object = answered(&response);
            self.filter_state.leave(TUNNEL_RESPONSE_HEADERS, object);
        }
        if !(200..300).contains(&response.status) {
            return Err(NoTunnel::Refused(format!("tunnel_response:{}", response.status)));
        }
        pool.target().report(Outcome::Reached);
        if self.proxy.config.logged.when_connected {
            self.log(AccessLogType::TcpUpstreamConnected);
        }
        let mut up_source = Overheard { source: up_source, trailers: None };
        let end = self.stand(&mut up_sink, &mut up_source, &mut times).await;
        if let Some(trailers) = up_source.trailers.filter(|_| tunnelling.leaves_trailers) {
            self.filter_state.leave(TUNNEL_RESPONSE_TRAILERS, trailers);
        }
        Ok(end)
    }

    /// The request that asks.
    fn request(&mut self, tunnelling: &Tunnelling) -> RequestHead {
        let mut head = RequestHead::default();
        let mut hostname = Vec::new();
        let info = self.info(AccessLogType::NotSet, self.started.elapsed());
        tunnelling.hostname.write(&mut hostname, &info);
        if let Some(wanted) = &tunnelling.request_id {
            let id = self.worker.uuids.next();
            head.headers.append_name(wanted.header.as_bytes(), &id);
            self.note_request_id(&wanted.metadata_key, &id);
        }
        // A name that a client has asked for is no place for a line of its own.
        hostname.retain(|byte| byte.is_ascii_graphic());
        head.set_authority(&hostname);
        match &tunnelling.post_path {
            Some(path) => {
                head.method = Method::Post;
                head.set_path(path.as_bytes());
                head.scheme = Scheme::Http;
            }
            None => {
                head.method = Method::Connect;
                head.switch = Switch::Connect;
            }
        }
        let info = self.info(AccessLogType::NotSet, self.started.elapsed());
        let made = tunnelling.headers.make(&head.headers, &info);
        made.put_into(&mut head.headers);
        head
    }

    /// Carries bytes both ways until the host has said all, or a side cannot go on.
    async fn stand(
        &mut self,
        up_sink: &mut impl RequestSink,
        up_source: &mut impl Source,
        times: &mut Times,
    ) -> End {
        let early = Reading { input: self.up.take_held(), lent: 0 };
        let (mut reading, mut writing) = (early, Writing::default());
        let (mut upward, mut downward) = (Pump::default(), Pump::default());
        poll_fn(|cx| {
            let Self { proxy, worker, client, up, down, .. } = &mut *self;
            let (read, write) = client.split();
            let (stats, buffers, mut any) = (proxy.stats(), &worker.buffers, false);
            let (state, count) = (&mut reading, &mut up.bytes);
            let mut source = ClientSource { socket: read, state, buffers, stats, count };
            let (state, count) = (&mut writing, &mut down.bytes);
            let mut sink = ClientSink { socket: write, state, buffers, stats, count };
            let there = upward.poll(cx, &mut source, up_sink, || any = true);
            let back = downward.poll(cx, up_source, &mut sink, || any = true);
            if let Some(end) = over(&there, &back) {
                return Poll::Ready(end);
            }
            if any {
                times.moved = worker.deadlines.coarse_now();
            }
            if any && writing.out.is_none() && proxy.drains(worker) {
                return Poll::Ready(End::Drains);
            }
            if self.is_told_to_end(cx) {
                return Poll::Ready(End::Drained);
            }
            if times.poll_line(cx).is_ready() {
                self.log(AccessLogType::TcpPeriodic);
            }
            times.poll_end(cx)
        })
        .await
    }

    fn is_told_to_end(&self, cx: &Context<'_>) -> bool {
        if self.control.drain() == Drain::Now {
            return true;
        }
        self.control.register(cx.waker());
        false
    }

    /// A tunnel was refused, or there was nobody to ask.
    pub(super) fn no_tunnel(&mut self, reason: String) {
        self.flag(ResponseFlag::UpstreamConnectionFailure);
        self.transport_failure = reason;
    }
}

/// How both directions came to an end, if that is one for both: the host's end is, in whatever way it came.
///
/// Observed: Envoy 1.40 flags none of its ways.
fn over(there: &Poll<Result<(), PumpError>>, back: &Poll<Result<(), PumpError>>) -> Option<End> {
    match (there, back) {
        (_, Poll::Ready(Ok(()) | Err(PumpError::Source(_)))) => Some(End::Done),
        (Poll::Ready(Err(PumpError::Source(_))), _) => Some(End::ClientReset),
        (_, Poll::Ready(Err(PumpError::Sink(_)))) => Some(End::ClientReset),
        (Poll::Ready(Err(PumpError::Sink(_))), _) => Some(End::Done),
        _ => None,
    }
}

// === impl NoTunnel ===

impl From<PoolError> for NoTunnel {
    fn from(error: PoolError) -> Self {
        NoTunnel::Pool(error)
    }
}

impl From<Reset> for NoTunnel {
    fn from(_: Reset) -> Self {
        NoTunnel::Refused(String::new())
    }
}

// === impl ClientSource ===

impl Source for ClientSource<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        let Reading { input, lent } = &mut *self.state;
        if let Some(held) = input {
            held.consume(std::mem::take(lent));
            if held.is_empty() {
                *input = None;
            } else {
                // What was read before there was a host.
                *lent = held.len();
                return Poll::Ready(Ok(Frame::Data(Data::Slice(
                    input.as_deref().unwrap_or_default(),
                ))));
            }
        }
        let read = ready!(self.buffers.poll_read(cx, Pin::new(&mut self.socket), input));
        let count = read.map_err(|_| BodyError::Gone)?;
        if count == 0 {
            return Poll::Ready(Ok(Frame::End));
        }
        self.stats.add(TcpStat::DownstreamCxRxBytesTotal, count as u64);
        *self.count += count as u64;
        let held = input.as_deref().unwrap_or_default();
        *lent = held.len();
        Poll::Ready(Ok(Frame::Data(Data::Slice(held))))
    }

    fn has_more(&self) -> bool {
        false
    }
}

// === impl ClientSink ===

impl Sink for ClientSink<'_> {
    fn data(&mut self, data: Data<'_>) {
        let out = self.state.out.get_or_insert_with(|| self.buffers.take());
        out.tail().extend_from_slice(data.as_slice());
    }

    fn end(&mut self, _: Option<&HeaderBlock>) {
        self.state.ended = true;
    }

    fn pending(&self) -> usize {
        self.state.out.as_ref().map_or(0, |out| out.len())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if let Some(out) = &mut self.state.out {
            while !out.is_empty() {
                match ready!(Pin::new(&mut self.socket).poll_write(cx, out)) {
                    Ok(count) if count > 0 => {
                        self.stats.add(TcpStat::DownstreamCxTxBytesTotal, count as u64);
                        *self.count += count as u64;
                        out.consume(count);
                    }
                    _ => return Poll::Ready(Err(BodyError::Gone)),
                }
            }
            // What TLS has encrypted may not have gone out yet.
            let flushed = ready!(Pin::new(&mut self.socket).poll_flush(cx));
            flushed.map_err(|_| BodyError::Gone)?;
            self.state.out = None;
        }
        if self.state.ended && !self.state.shut {
            // A client that has gone meanwhile has nothing to be told.
            let _ = ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
            self.state.shut = true;
        }
        Poll::Ready(Ok(()))
    }
}
