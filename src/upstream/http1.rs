//! Owns one exchange on an HTTP/1 connection to a host.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;
use understudy_actors::stats::ClusterStat;

use super::{
    connect::Life,
    pool::{Http1Connection, Target},
    send::poll_send,
};
use crate::{
    codec::{
        HeaderBlock, KeptNames, Known, RequestHead, ResponseHead, Switch,
        http1::{
            Framing, Limits,
            body::{Decoder, Encoder, FramingError, Step},
            response::{self, Asked},
            wire::{fields_read, fields_written},
            write::{self, BodyHeader, NameCase},
        },
    },
    config::model::http1::Http1Options,
    format::counts_wire,
    stream::{
        BodyError, BodySize, Data, Frame, RequestSink, Reset, ResponseSource, Sink, Source,
        WireBytes,
    },
    transport::{ReadHalf, WriteHalf},
    worker::{Buffer, Buffers},
};

/// What a head may take. Observed: Envoy 1.40 takes 80 KiB from an HTTP/1 upstream.
const HEAD_BYTES_MAX: usize = 80 * 1024;

/// One exchange and its connection.
pub struct Http1Stream {
    connection: Http1Connection,
    sending: Sending,
    receiving: Receiving,
}

struct Sending {
    out: Option<Buffer>,
    encoder: Encoder,
    trailers: bool,
    /// The end was taken.
    ended: bool,
    half_close: HalfClose,
    /// Where bytes on the wire are counted. Boxed: mostly they are not.
    wire: Option<Box<WireBytes>>,
}

/// Whether the end of what we send is the end of our direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HalfClose {
    /// It is not: framing tells.
    Never,
    /// It is: a CONNECT has no framing.
    AtEnd,
    /// The end was taken, and is to be told.
    Due,
}

struct Receiving {
    input: Option<Buffer>,
    decoder: Decoder,
    /// Payload at the front of the input that the last frame lent out; a buffer is far smaller than 4 GiB.
    lent: u32,
    asked: Asked,
    keep_alive: bool,
    head_here: bool,
    /// The host has ended the connection.
    gone: bool,
    /// Where bytes on the wire are counted. Boxed: mostly they are not.
    wire: Option<Box<WireBytes>>,
}

/// The half that sends.
pub struct Http1Sink<'a> {
    socket: WriteHalf<'a>,
    state: &'a mut Sending,
    target: &'a Target,
    buffers: &'a Buffers,
}

/// The half that receives.
pub struct Http1Source<'a> {
    socket: ReadHalf<'a>,
    state: &'a mut Receiving,
    target: &'a Target,
    buffers: &'a Buffers,
}

fn limits(target: &Target) -> Limits {
    let upstream = &target.upstream;
    Limits {
        head_bytes_max: upstream.response_headers_bytes_max.unwrap_or(HEAD_BYTES_MAX),
        headers_max: upstream.response_headers_max,
        chunked_length: upstream.http1().allow_chunked_length,
    }
}

// === impl Http1Stream ===

impl Http1Stream {
    /// An exchange on this connection.
    pub fn new(connection: Http1Connection, options: &Http1Options, asked: Asked) -> Self {
        connection.life().carry_request();
        let sending = Sending {
            out: None,
            encoder: Encoder::default(),
            trailers: options.enable_trailers,
            ended: false,
            half_close: HalfClose::Never,
            wire: counts_wire().then(Box::default),
        };
        let receiving = Receiving {
            input: None,
            decoder: Decoder::default(),
            lent: 0,
            asked,
            keep_alive: false,
            head_here: false,
            gone: false,
            wire: counts_wire().then(Box::default),
        };
        Self { connection, sending, receiving }
    }

    /// The life of its connection.
    pub fn life(&self) -> &Life {
        self.connection.life()
    }

    /// Bytes on the wire, received and sent, where they are counted.
    pub fn wire(&self) -> (WireBytes, WireBytes) {
        (self.receiving.wire(), self.sending.wire.as_deref().copied().unwrap_or_default())
    }

    /// The two halves; they borrow buffers while they have something to hold.
    pub fn split<'a>(&'a mut self, buffers: &'a Buffers) -> (Http1Sink<'a>, Http1Source<'a>) {
        let (socket, target) = self.connection.parts();
        let (read, write) = socket.split();
        (
            Http1Sink { socket: write, state: &mut self.sending, target, buffers },
            Http1Source { socket: read, state: &mut self.receiving, target, buffers },
        )
    }

    /// The exchange is over: the connection goes back if another may follow on it.
    pub fn finish(self) {
        let Self { connection, sending, receiving } = self;
        let sent = sending.ended && sending.out.is_none();
        let received = receiving.head_here && receiving.decoder.is_done();
        let rest =
            receiving.input.as_ref().is_some_and(|input| input.len() > receiving.lent as usize);
        match (sent && received, receiving.keep_alive) {
            (true, true) if !rest => connection.give_back(),
            (true, false) => connection.life().closed_by_host(),
            (true, true) => {}
            (false, _) => {
                connection.life().cut_with_request();
                if receiving.gone {
                    connection.life().closed_by_host();
                }
            }
        }
    }
}

// === impl Receiving ===

impl Receiving {
    fn wire(&self) -> WireBytes {
        let wire = self.wire.as_deref().copied().unwrap_or_default();
        WireBytes { all: wire.all + u64::from(self.lent), ..wire }
    }
}

// === impl Http1Sink ===

impl RequestSink for Http1Sink<'_> {
    fn head(&mut self, head: &mut RequestHead, body: BodySize) -> Result<(), Reset> {
        let lengthless = head.headers.get(Known::ContentLength).is_none();
        // Whatever became of the length: what has a body says where it ends.
        let chunked = lengthless && !matches!(body, BodySize::None | BodySize::Tunnel);
        let out = self.state.out.get_or_insert_with(|| self.buffers.take());
        let says = if chunked { BodyHeader::Chunked } else { BodyHeader::AsIs };
        let options = self.target.upstream.http1();
        let case = match &head.kept {
            Some(kept) => NameCase::Kept(kept),
            None if options.header_case.is_proper() => NameCase::Proper,
            None => NameCase::Lower,
        };
        let before = out.len();
        write::request(out.tail(), head, says, case, options.fully_qualified_url);
        if let Some(wire) = &mut self.state.wire {
            wire.head_sent(fields_written(out.get(before..).unwrap_or_default()));
        }
        self.state.encoder = Encoder::new(chunked);
        self.state.ended = body == BodySize::None;
        if head.switch == Switch::Connect {
            self.state.half_close = HalfClose::AtEnd;
        }
        Ok(())
    }
}

impl Sink for Http1Sink<'_> {
    fn data(&mut self, data: Data<'_>) {
        if let Some(wire) = &mut self.state.wire {
            wire.body += data.len() as u64;
        }
        let out = self.state.out.get_or_insert_with(|| self.buffers.take());
        self.state.encoder.data(out.tail(), data.as_slice());
    }

    fn end(&mut self, trailers: Option<&HeaderBlock>) {
        if self.state.half_close == HalfClose::AtEnd {
            self.state.half_close = HalfClose::Due;
        }
        let out = self.state.out.get_or_insert_with(|| self.buffers.take());
        let trailers = trailers.filter(|_| self.state.trailers);
        if let (Some(wire), Some(trailers)) = (&mut self.state.wire, trailers)
            && self.state.encoder.is_chunked()
        {
            wire.trailers_sent(trailers);
        }
        self.state.encoder.end(out.tail(), trailers);
        if out.is_empty() {
            self.state.out = None;
        }
        self.state.ended = true;
    }

    fn pending(&self) -> usize {
        self.state.out.as_ref().map_or(0, |out| out.len())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if let Some(out) = &mut self.state.out {
            self.state.encoder.seal(out.tail());
            let held = out.len();
            let sent = poll_send(cx, &mut self.socket, &mut self.state.out, self.target);
            if let Some(wire) = &mut self.state.wire {
                wire.all += (held - self.state.out.as_ref().map_or(0, |out| out.len())) as u64;
            }
            ready!(sent)?;
        }
        self.poll_half_close(cx)
    }

    fn wire(&self) -> WireBytes {
        self.state.wire.as_deref().copied().unwrap_or_default()
    }
}

impl Http1Sink<'_> {
    /// Ends our direction if that is due.
    #[inline]
    fn poll_half_close(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        if self.state.half_close == HalfClose::Due {
            let shut = ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
            shut.map_err(|_| BodyError::Gone)?;
            self.state.half_close = HalfClose::Never;
        }
        Poll::Ready(Ok(()))
    }
}

// === impl Http1Source ===

impl Http1Source<'_> {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, BodyError>> {
        let Receiving { input, gone, .. } = &mut *self.state;
        let read = ready!(self.buffers.poll_read(cx, Pin::new(&mut self.socket), input));
        *gone = read.as_ref().map_or(true, |count| *count == 0);
        let count = read.map_err(|_| BodyError::Gone)?;
        let stats = self.target.shared.stats.lane(self.target.worker);
        stats.add(ClusterStat::UpstreamCxRxBytesTotal, count as u64);
        Poll::Ready(Ok(count))
    }

    /// Done with what the last frame lent out.
    fn return_lent(&mut self) {
        let lent = std::mem::take(&mut self.state.lent) as usize;
        if let Some(wire) = &mut self.state.wire {
            wire.all += lent as u64;
        }
        if let Some(input) = &mut self.state.input {
            input.consume(lent);
            if input.is_empty() {
                self.state.input = None;
            }
        }
    }
}

impl ResponseSource for Http1Source<'_> {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodySize, Reset>> {
        loop {
            if let Some(input) = &mut self.state.input {
                let parsed = response::parse(input, &limits(self.target), self.state.asked, head);
                if let Some(parsed) = parsed.map_err(|_| Reset::Protocol)? {
                    if let Some(keeping) = self.target.upstream.http1().header_case.keeping() {
                        let read = input.get(..parsed.consumed).unwrap_or_default();
                        head.kept = Some(Box::new(KeptNames::read(read, keeping)));
                    }
                    if let Some(wire) = &mut self.state.wire {
                        let read = input.get(..parsed.consumed).unwrap_or_default();
                        wire.head_received(parsed.consumed, fields_read(read));
                    }
                    input.consume(parsed.consumed);
                    if input.is_empty() {
                        self.state.input = None;
                    }
                    if head.status < 200 && head.status != 101 {
                        return Poll::Ready(Ok(BodySize::None));
                    }
                    self.state.head_here = true;
                    self.state.keep_alive = parsed.keep_alive;
                    self.state.decoder = Decoder::new(parsed.framing);
                    return Poll::Ready(Ok(match parsed.framing {
                        Framing::None | Framing::Length(0) => BodySize::None,
                        Framing::Length(length) => BodySize::Known(length),
                        Framing::Chunked | Framing::UntilClose => BodySize::Unknown,
                        Framing::Tunnel => BodySize::Tunnel,
                    }));
                }
            }
            if ready!(self.poll_fill(cx)).map_err(|_| Reset::Terminated)? == 0 {
                let begun = self.state.input.is_some();
                return Poll::Ready(Err(if begun { Reset::Protocol } else { Reset::Terminated }));
            }
        }
    }
}

impl Source for Http1Source<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        self.return_lent();
        loop {
            let input = self.state.input.as_deref().unwrap_or_default();
            let step = self.state.decoder.step(input, &limits(self.target));
            match step.map_err(BodyError::Protocol)? {
                Step::Data(count) => {
                    self.state.lent = count as u32;
                    if let Some(wire) = &mut self.state.wire {
                        wire.body += count as u64;
                    }
                    let input = self.state.input.as_deref().unwrap_or_default();
                    return Poll::Ready(Ok(Frame::Data(Data::Slice(&input[..count]))));
                }
                Step::Skip(count) => {
                    self.state.lent = count as u32;
                    self.return_lent();
                }
                Step::End => {
                    let wanted = self.target.upstream.http1().enable_trailers;
                    let trailers = self.state.decoder.trailers().filter(|_| wanted);
                    if let (Some(wire), Some(trailers)) = (&mut self.state.wire, trailers) {
                        wire.trailers_received(trailers);
                    }
                    return Poll::Ready(Ok(trailers.map_or(Frame::End, Frame::Trailers)));
                }
                Step::More => {
                    if ready!(self.poll_fill(cx))? == 0 {
                        return Poll::Ready(match self.state.decoder.until_close() {
                            true => Ok(Frame::End),
                            // Its end says nothing of whether all was said.
                            false if self.state.decoder.is_tunnel() => Err(BodyError::Gone),
                            false => Err(BodyError::Protocol(FramingError::Cut)),
                        });
                    }
                }
            }
        }
    }

    fn has_more(&self) -> bool {
        let held = self.state.input.as_ref().map_or(0, |input| input.len());
        held > self.state.lent as usize || (self.state.head_here && self.state.decoder.is_done())
    }

    fn wire(&self) -> WireBytes {
        self.state.wire()
    }
}
