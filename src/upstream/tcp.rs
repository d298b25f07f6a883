//! Owns a connection to a host that carries the payload of a tunnel: what the client says goes to the host
//! as it is, and no HTTP goes that way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;
use understudy_actors::stats::ClusterStat;

use super::{connect::Life, pool::Target, send::poll_send};
use crate::{
    codec::{HeaderBlock, RequestHead, ResponseHead},
    stream::{
        BodyError, BodySize, Data, Frame, RequestSink, Reset, ResponseSource, Sink, Source,
        WireBytes,
    },
    transport::{ReadHalf, Stream, WriteHalf},
    worker::{Buffer, Buffers},
};

/// A connection for one tunnel.
pub struct TcpTunnel {
    stream: Stream,
    life: Life,
    sending: Sending,
    receiving: Receiving,
}

#[derive(Default)]
struct Sending {
    out: Option<Buffer>,
    /// The client's end was taken: the host is told when all before it is sent.
    ended: bool,
    shut: bool,
    taken: u64,
}

#[derive(Default)]
struct Receiving {
    input: Option<Buffer>,
    /// Bytes at the front of the input that the last frame lent out.
    lent: usize,
    received: u64,
    ended: bool,
    gone: bool,
}

/// The half that sends.
pub struct TcpSink<'a> {
    socket: WriteHalf<'a>,
    state: &'a mut Sending,
    target: &'a Target,
    buffers: &'a Buffers,
}

/// The half that receives.
pub struct TcpSource<'a> {
    socket: ReadHalf<'a>,
    state: &'a mut Receiving,
    target: &'a Target,
    buffers: &'a Buffers,
    answer: BodySize,
}

// === impl TcpTunnel ===

impl TcpTunnel {
    /// A tunnel over this connection.
    pub fn new((stream, life): (Stream, Life)) -> Self {
        life.carry_request();
        let (sending, receiving) = (Sending::default(), Receiving::default());
        Self { stream, life, sending, receiving }
    }

    /// Bytes on the wire, received and sent.
    pub fn wire(&self) -> (WireBytes, WireBytes) {
        (payload(self.receiving.received), payload(self.sending.taken))
    }

    /// The two halves; the client is told of a payload of this size.
    pub fn split<'a>(
        &'a mut self,
        target: &'a Target,
        buffers: &'a Buffers,
        answer: BodySize,
    ) -> (TcpSink<'a>, TcpSource<'a>) {
        let (read, write) = self.stream.split();
        (
            TcpSink { socket: write, state: &mut self.sending, target, buffers },
            TcpSource { socket: read, state: &mut self.receiving, target, buffers, answer },
        )
    }
}

impl Drop for TcpTunnel {
    fn drop(&mut self) {
        if self.receiving.gone || (self.receiving.ended && self.sending.shut) {
            self.life.closed_by_host();
        }
        if !(self.receiving.ended && self.sending.shut) {
            self.life.cut_with_request();
        }
    }
}

// === impl TcpSink ===

impl RequestSink for TcpSink<'_> {
    /// The host is not told of the request.
    fn head(&mut self, _: &mut RequestHead, _: BodySize) -> Result<(), Reset> {
        Ok(())
    }
}

impl Sink for TcpSink<'_> {
    fn data(&mut self, data: Data<'_>) {
        let out = self.state.out.get_or_insert_with(|| self.buffers.take());
        out.tail().extend_from_slice(data.as_slice());
        self.state.taken += data.len() as u64;
    }

    fn end(&mut self, _: Option<&HeaderBlock>) {
        self.state.ended = true;
    }

    fn pending(&self) -> usize {
        self.state.out.as_ref().map_or(0, |out| out.len())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        ready!(poll_send(cx, &mut self.socket, &mut self.state.out, self.target))?;
        if self.state.ended && !self.state.shut {
            let shut = ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
            shut.map_err(|_| BodyError::Gone)?;
            self.state.shut = true;
        }
        Poll::Ready(Ok(()))
    }

    fn wire(&self) -> WireBytes {
        payload(self.state.taken)
    }
}

// === impl TcpSource ===

impl ResponseSource for TcpSource<'_> {
    /// That there is a connection is the answer.
    fn poll_head(
        &mut self,
        _: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodySize, Reset>> {
        head.clear();
        head.status = 200;
        Poll::Ready(Ok(self.answer))
    }
}

impl Source for TcpSource<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        let Receiving { input, lent, received, ended, gone } = &mut *self.state;
        if let Some(held) = input {
            held.consume(std::mem::take(lent));
            if held.is_empty() {
                *input = None;
            }
        }
        let read = ready!(self.buffers.poll_read(cx, Pin::new(&mut self.socket), input));
        let Ok(count) = read else {
            *gone = true;
            return Poll::Ready(Err(BodyError::Gone));
        };
        if count == 0 {
            *ended = true;
            return Poll::Ready(Ok(Frame::End));
        }
        let stats = self.target.shared.stats.lane(self.target.worker);
        stats.add(ClusterStat::UpstreamCxRxBytesTotal, count as u64);
        *received += count as u64;
        let held = input.as_deref().unwrap_or_default();
        *lent = held.len();
        Poll::Ready(Ok(Frame::Data(Data::Slice(held))))
    }

    fn has_more(&self) -> bool {
        false
    }

    fn wire(&self) -> WireBytes {
        payload(self.state.received)
    }
}

/// Nothing frames it.
fn payload(bytes: u64) -> WireBytes {
    WireBytes { all: bytes, body: bytes, ..WireBytes::default() }
}
