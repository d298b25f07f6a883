//! Owns one of several tries beside each other: its host, its stream, its answer's head and its timeouts.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::LocalBoxFuture;
use tokio::time::Sleep;

use super::{
    attempt::{Chosen, InFlight},
    upstream_log::Trying,
};
use crate::{
    codec::{RequestHead, ResponseHead, Version, http1::response::Asked},
    format::UpstreamConnection,
    stream::{
        BodyError, BodySize, Data, RequestSink, RequestSource, Reset, ResponseSource, Sink,
        WireBytes,
    },
    upstream::{
        connect::Life,
        http1::Http1Stream,
        http2::Http2Stream,
        pool::{HostPool, PoolError},
    },
    worker::Buffers,
};

/// A try beside others.
pub struct Beside {
    pub(super) chosen: Chosen,
    pub(super) phase: Phase,
    pub(super) head: ResponseHead,
    /// It is the one that was alone: the exchange's own timers know of it.
    pub(super) first: bool,
    /// Another has begun since, or will: it gives rise to no more.
    pub(super) retried: bool,
    /// It is slow after this.
    pub(super) slow: Option<Pin<Box<Sleep>>>,
    /// It ends after this: `max_stream_duration`.
    pub(super) over: Option<Pin<Box<Sleep>>>,
    /// How often it was lost with a connection that had been idle.
    pub(super) stale: u32,
    /// Outlier detection knows that it is slow.
    pub(super) told_slow: bool,
    /// For the access log, where there is one.
    pub(super) connection: Option<UpstreamConnection>,
    /// For the router's log, where there is one.
    pub(super) trying: Option<Box<Trying>>,
}

#[expect(clippy::large_enum_variant, reason = "a try beside another is boxed as a whole")]
pub(super) enum Phase {
    Connecting(LocalBoxFuture<'static, Result<Connected, Unconnected>>),
    Waiting(Connected),
}

/// A try that has its stream.
pub(super) struct Connected {
    pub(super) stream: Stream,
    pub(super) _in_flight: InFlight<Chosen>,
    pub(super) reused: bool,
}

/// Why a try has no stream.
pub(super) enum Unconnected {
    Pool(PoolError),
    TooManyRequests,
}

/// A stream to a host.
pub(super) enum Stream {
    Http1(Http1Stream),
    Http2(Http2Stream),
}

// === impl Beside ===

impl Beside {
    /// The try that was alone.
    pub(super) fn first(_in_flight: InFlight<Chosen>, stream: Stream) -> Self {
        let chosen = _in_flight.chosen().clone();
        let phase = Phase::Waiting(Connected { stream, _in_flight, reused: false });
        Self { first: true, ..Self::new(chosen, phase) }
    }

    pub(super) fn new(chosen: Chosen, phase: Phase) -> Self {
        Self {
            chosen,
            phase,
            head: ResponseHead::default(),
            first: false,
            retried: false,
            slow: None,
            over: None,
            stale: 0,
            told_slow: false,
            connection: None,
            trying: None,
        }
    }
}

// === impl Stream ===

impl Stream {
    pub(super) fn life(&self) -> &Life {
        match self {
            Self::Http1(stream) => stream.life(),
            Self::Http2(stream) => stream.life(),
        }
    }

    pub(super) fn version(&self) -> Version {
        match self {
            Self::Http1(_) => Version::Http11,
            Self::Http2(_) => Version::Http2,
        }
    }

    /// Takes the whole request, whose body was kept.
    pub(super) fn send<Q: RequestSource>(
        &mut self,
        head: &mut RequestHead,
        size: BodySize,
        source: &Q,
        buffers: &Buffers,
    ) -> Result<(), Reset> {
        match self {
            Self::Http1(stream) => hand_over(stream.split(buffers).0, head, size, source),
            Self::Http2(stream) => hand_over(stream.split().0, head, size, source),
        }
    }

    /// Sends what was taken until the answer's head is here.
    pub(super) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
        buffers: &Buffers,
    ) -> Poll<Result<BodySize, Reset>> {
        // A host may answer before it has read everything, or instead of it.
        let flush = |sent: Poll<Result<(), BodyError>>| drop(sent);
        match self {
            Self::Http1(stream) => {
                let (mut sink, mut source) = stream.split(buffers);
                flush(sink.poll_flush(cx));
                source.poll_head(cx, head)
            }
            Self::Http2(stream) => {
                let (mut sink, mut source) = stream.split();
                flush(sink.poll_flush(cx));
                source.poll_head(cx, head)
            }
        }
    }

    /// Bytes on the wire, received and sent.
    pub(super) fn wire(&self) -> (WireBytes, WireBytes) {
        match self {
            Self::Http1(stream) => stream.wire(),
            Self::Http2(stream) => stream.wire(),
        }
    }

    /// The exchange on it is over.
    pub(super) fn finish(self) {
        if let Self::Http1(stream) = self {
            stream.finish();
        }
    }
}

impl From<Http1Stream> for Stream {
    fn from(stream: Http1Stream) -> Self {
        Self::Http1(stream)
    }
}

impl From<Http2Stream> for Stream {
    fn from(stream: Http2Stream) -> Self {
        Self::Http2(stream)
    }
}

/// Gets a try its stream.
pub(super) async fn connect(
    chosen: Chosen,
    asked: Asked,
    priority: usize,
) -> Result<Connected, Unconnected> {
    let chosen = chosen.settled().await.map_err(Unconnected::Pool)?;
    match chosen.pool() {
        // Settled pools are of one protocol.
        HostPool::Auto(_) => Err(Unconnected::Pool(PoolError::Terminated)),
        HostPool::Http1(pool) => {
            let connection = pool.acquire().await.map_err(Unconnected::Pool)?;
            let Some(_in_flight) = InFlight::begin(chosen.clone(), priority) else {
                connection.give_back();
                return Err(Unconnected::TooManyRequests);
            };
            let reused = connection.reused;
            let stream = Http1Stream::new(connection, pool.options(), asked).into();
            Ok(Connected { stream, _in_flight, reused })
        }
        HostPool::Http2(pool) => {
            let lease = pool.acquire().await.map_err(Unconnected::Pool)?;
            let in_flight = InFlight::begin(chosen.clone(), priority);
            let _in_flight = in_flight.ok_or(Unconnected::TooManyRequests)?;
            let stream = Http2Stream::new(lease, asked).into();
            Ok(Connected { stream, _in_flight, reused: true })
        }
    }
}

/// Whether this has passed, if there is such a timeout.
pub(super) fn passed(timeout: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    timeout.as_mut().is_some_and(|timeout| timeout.as_mut().poll(cx).is_ready())
}

fn hand_over<Q: RequestSource>(
    mut sink: impl RequestSink,
    head: &mut RequestHead,
    size: BodySize,
    source: &Q,
) -> Result<(), Reset> {
    sink.head(head, size)?;
    if size != BodySize::None {
        let (body, trailers) = source.whole().unwrap_or_default();
        sink.data(Data::Slice(body));
        sink.end(trailers);
    }
    Ok(())
}
