//! Owns one exchange on an HTTP/2 connection to a host.

use std::{
    cell::{Cell, OnceCell},
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, client::ResponseFuture};
use http::HeaderMap;

use super::{connect::Life, pool::Http2Lease};
use crate::{
    codec::{HeaderBlock, Known, RequestHead, ResponseHead, http1::response::Asked, http2},
    stream::{
        BodyError, BodySize, CountedStream, Data, Frame, RequestSink, Reset, ResponseSource, Sink,
        Source, WireBytes,
    },
};

/// One exchange and its right to a stream.
pub struct Http2Stream {
    lease: Http2Lease,
    out: Outgoing,
    body: Option<Incoming>,
    between: Between,
}

/// What the halves of an exchange share.
struct Between {
    /// Where the half that sends leaves the response for the half that receives.
    response: Cell<Option<ResponseFuture>>,
    asked: Asked,
    /// Where bytes on the wire are counted.
    counted: OnceCell<Box<CountedStream>>,
}

/// The half that sends.
pub struct Http2Sink<'a> {
    lease: &'a mut Http2Lease,
    out: &'a mut Outgoing,
    between: &'a Between,
}

/// The half that receives.
pub struct Http2Source<'a> {
    body: &'a mut Option<Incoming>,
    between: &'a Between,
}

/// Data on its way into a stream, held back by flow control.
#[derive(Default)]
pub struct Outgoing {
    stream: Option<SendStream<Bytes>>,
    queue: VecDeque<Bytes>,
    queued: usize,
    /// The end was sent. The stream is kept: it can still be taken back.
    closed: bool,
    end: End,
    sent: u64,
}

/// What follows the last data.
#[derive(Default)]
enum End {
    /// More data.
    #[default]
    NotYet,
    /// Nothing.
    Plain,
    /// Trailers. Boxed: a map is large, and few streams have one.
    Trailers(Box<HeaderMap>),
}

/// Data on its way out of a stream; the window opens again when a frame is done with.
pub struct Incoming {
    stream: RecvStream,
    lent: usize,
    /// Boxed: few streams have any.
    trailers: Option<Box<HeaderBlock>>,
    received: u64,
    ended: bool,
    failed: bool,
    /// The peer has taken the stream back.
    reset: bool,
}

// === impl Http2Stream ===

impl Http2Stream {
    /// An exchange on this stream.
    pub fn new(lease: Http2Lease, asked: Asked) -> Self {
        let between = Between { response: Cell::new(None), asked, counted: OnceCell::new() };
        Self { lease, out: Outgoing::default(), body: None, between }
    }

    /// Whether the host still owes an answer, or we the rest of a request.
    fn is_under_way(&mut self) -> bool {
        match &self.body {
            Some(body) if body.failed => false,
            Some(body) => !(self.out.closed && body.is_over()),
            None => self.between.response.get_mut().is_some(),
        }
    }

    /// The life of its connection.
    pub fn life(&self) -> &Life {
        self.lease.life()
    }

    /// The two halves.
    pub fn split(&mut self) -> (Http2Sink<'_>, Http2Source<'_>) {
        let Self { lease, out, body, between } = self;
        (Http2Sink { lease, out, between }, Http2Source { body, between })
    }

    /// Bytes on the wire, received and sent, where they are counted.
    pub fn wire(&self) -> (WireBytes, WireBytes) {
        let received = self.body.as_ref().map_or(0, Incoming::received);
        let counted = self.between.counted.get();
        let of =
            |counted: &CountedStream| (counted.received(received), counted.sent(self.out.sent()));
        counted.map(|counted| of(counted)).unwrap_or_default()
    }
}

impl Drop for Http2Stream {
    /// Takes back what is nobody's any more. Observed: the reason of Envoy 1.40.
    fn drop(&mut self) {
        if self.is_under_way() {
            self.out.reset(Reason::INTERNAL_ERROR);
            self.lease.life().count_taken_back();
        }
    }
}

// === impl Http2Sink ===

impl RequestSink for Http2Sink<'_> {
    fn head(&mut self, head: &mut RequestHead, body: BodySize) -> Result<(), Reset> {
        let request = http2::write_request(head).map_err(|_| Reset::Protocol)?;
        let end = body == BodySize::None;
        let (response, stream) = self.lease.send.send_request(request, end).map_err(|error| {
            self.lease.retire();
            reset_of(&error)
        })?;
        if let Some(wires) = self.lease.wires() {
            let id = stream.stream_id().as_u32();
            let counted = Box::new(CountedStream::begin(wires.clone(), id));
            counted.fields_sent(head.bytes());
            let _ = self.between.counted.set(counted);
        }
        self.between.response.set(Some(response));
        *self.out = Outgoing::new(stream);
        if end {
            self.out.close();
        }
        Ok(())
    }
}

impl Sink for Http2Sink<'_> {
    fn data(&mut self, data: Data<'_>) {
        self.out.push(data.into_bytes());
    }

    fn end(&mut self, trailers: Option<&HeaderBlock>) {
        if let (Some(counted), Some(trailers)) = (self.between.counted.get(), trailers) {
            counted.fields_sent(trailers.bytes());
        }
        self.out.finish(trailers);
    }

    fn pending(&self) -> usize {
        self.out.pending()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.out.poll_flush(cx)
    }

    fn wire(&self) -> WireBytes {
        let counted = self.between.counted.get();
        counted.map_or_else(WireBytes::default, |counted| counted.sent(self.out.sent()))
    }
}

// === impl Http2Source ===

impl ResponseSource for Http2Source<'_> {
    fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        head: &mut ResponseHead,
    ) -> Poll<Result<BodySize, Reset>> {
        let Some(mut waiting) = self.between.response.take() else {
            return Poll::Ready(Err(Reset::Terminated));
        };
        let Poll::Ready(response) = Pin::new(&mut waiting).poll(cx) else {
            self.between.response.set(Some(waiting));
            return Poll::Pending;
        };
        let (parts, body) = response.map_err(|error| reset_of(&error))?.into_parts();
        http2::read_response(&parts, head).map_err(|_| Reset::Protocol)?;
        if let Some(counted) = self.between.counted.get() {
            counted.fields_received(head.bytes());
        }
        let length = head.headers.get(Known::ContentLength);
        let length = length.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
        let size = match (body.is_end_stream() || self.between.asked == Asked::Head, length) {
            _ if self.switches(head) => BodySize::Tunnel,
            // RFC 9110, 15.3.5 and 15.4.5: never a body. One that comes all the same is the next answer to
            // whoever reads HTTP/1 behind us, and goes no further.
            _ if matches!(head.status, 204 | 304) => BodySize::None,
            (true, _) => BodySize::None,
            (false, Some(length)) => BodySize::Known(length),
            (false, None) => BodySize::Unknown,
        };
        *self.body = Some(Incoming::new(body));
        Poll::Ready(Ok(size))
    }
}

impl Http2Source<'_> {
    /// Whether the host agrees to what was asked for.
    fn switches(&self, head: &ResponseHead) -> bool {
        match self.between.asked {
            Asked::Connect => (200..300).contains(&head.status),
            Asked::Upgrade => head.status == 200,
            Asked::Plain | Asked::Head => false,
        }
    }
}

impl Source for Http2Source<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        match self.body {
            Some(body) => {
                let frame = ready!(body.poll_frame(cx))?;
                if let (Frame::Trailers(trailers), Some(counted)) =
                    (&frame, self.between.counted.get())
                {
                    counted.fields_received(trailers.bytes());
                }
                Poll::Ready(Ok(frame))
            }
            None => Poll::Ready(Err(BodyError::Gone)),
        }
    }

    fn has_more(&self) -> bool {
        false
    }

    fn wire(&self) -> WireBytes {
        let counted = self.between.counted.get();
        let received = self.body.as_ref().map_or(0, Incoming::received);
        counted.map_or_else(WireBytes::default, |counted| counted.received(received))
    }
}

/// What an error of the h2 crate means for the request.
fn reset_of(error: &h2::Error) -> Reset {
    match error.reason() {
        // We ended the connection, for what the host has sent.
        _ if error.is_go_away() && error.is_library() => Reset::Protocol,
        _ if error.is_io() || error.is_go_away() => Reset::Terminated,
        Some(Reason::REFUSED_STREAM) if error.is_remote() => Reset::RemoteRefused,
        // Observed: Envoy 1.40 says the same as if it had found the fault itself.
        Some(Reason::PROTOCOL_ERROR) if error.is_remote() => Reset::Protocol,
        Some(_) if error.is_remote() => Reset::Remote,
        Some(_) => Reset::Protocol,
        None => Reset::Terminated,
    }
}

// === impl Outgoing ===

impl Outgoing {
    /// Data into this stream.
    pub fn new(stream: SendStream<Bytes>) -> Self {
        Self { stream: Some(stream), ..Self::default() }
    }

    /// Takes data.
    pub fn push(&mut self, data: Bytes) {
        self.queued += data.len();
        self.queue.push_back(data);
    }

    /// Takes the end.
    pub fn finish(&mut self, trailers: Option<&HeaderBlock>) {
        let mut map = HeaderMap::new();
        let sayable = trailers.is_some_and(|t| http2::write_fields(t, &mut map).is_ok());
        self.end = if sayable { End::Trailers(Box::new(map)) } else { End::Plain };
    }

    /// The head was the end: nothing follows.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Bytes taken and not sent.
    pub fn pending(&self) -> usize {
        self.queued
    }

    /// Bytes sent.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Takes the stream back: the peer is told that it failed.
    pub fn reset(&mut self, reason: Reason) {
        if let Some(stream) = &mut self.stream {
            stream.send_reset(reason);
        }
    }

    /// Ready when the peer has taken the stream back, or has gone: says which.
    pub fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        match &mut self.stream {
            Some(stream) if !self.closed => stream.poll_reset(cx).map(|reset| reset.is_ok()),
            _ => Poll::Pending,
        }
    }

    /// Sends what flow control allows.
    ///
    /// # Errors
    ///
    /// [`BodyError`] when the stream is no more.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.closed) else {
            return Poll::Ready(Ok(()));
        };
        while let Some(mut data) = self.queue.pop_front() {
            stream.reserve_capacity(self.queued);
            let room = match stream.capacity() {
                0 => match stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(_) => return Poll::Ready(Err(BodyError::Reset)),
                    Poll::Pending => {
                        self.queue.push_front(data);
                        return Poll::Pending;
                    }
                },
                room => room,
            };
            let now = data.split_to(room.min(data.len()));
            if !data.is_empty() {
                self.queue.push_front(data);
            }
            self.queued -= now.len();
            self.sent += now.len() as u64;
            let last = self.queue.is_empty() && matches!(self.end, End::Plain);
            stream.send_data(now, last).map_err(|_| BodyError::Reset)?;
            if last {
                self.end = End::NotYet;
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
        }
        match std::mem::take(&mut self.end) {
            End::Trailers(trailers) => {
                stream.send_trailers(*trailers).map_err(|_| BodyError::Reset)?;
                self.closed = true;
            }
            End::Plain => {
                // An end that was sent with the head already has nothing more to say.
                let _ = stream.send_data(Bytes::new(), true);
                self.closed = true;
            }
            End::NotYet => {}
        }
        Poll::Ready(Ok(()))
    }
}

// === impl Incoming ===

impl Incoming {
    /// Data out of this stream.
    pub fn new(stream: RecvStream) -> Self {
        let (ended, failed, reset) = (false, false, false);
        Self { stream, lent: 0, trailers: None, received: 0, ended, failed, reset }
    }

    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Whether the peer has taken the stream back.
    pub fn was_reset(&self) -> bool {
        self.reset
    }

    /// Whether nothing more will come.
    fn is_over(&self) -> bool {
        self.ended || self.stream.is_end_stream()
    }

    /// The trailers, to be changed; none but what [`Self::poll_frame`] has found.
    pub fn trailers_mut(&mut self) -> &mut HeaderBlock {
        self.trailers.get_or_insert_default()
    }

    /// The next frame; the window opens for what the last one held.
    ///
    /// # Errors
    ///
    /// [`BodyError`] when the stream is no more.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        let lent = std::mem::take(&mut self.lent);
        if lent > 0 {
            // A stream that has ended needs no window any more.
            let _ = self.stream.flow_control().release_capacity(lent);
        }
        loop {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.lent = data.len();
                    self.received += data.len() as u64;
                    return Poll::Ready(Ok(Frame::Data(Data::Bytes(data))));
                }
                Some(Err(error)) => {
                    self.failed = true;
                    self.reset = error.is_reset() && error.is_remote();
                    let reset = error.is_reset() || error.is_library();
                    return Poll::Ready(Err(if reset {
                        BodyError::Reset
                    } else {
                        BodyError::Gone
                    }));
                }
                None => break,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        (self.ended, self.failed) = (trailers.is_ok(), trailers.is_err());
        match trailers {
            Ok(Some(map)) => {
                let trailers = self.trailers.get_or_insert_default();
                match http2::read_trailers(&map, trailers) {
                    Ok(()) => Poll::Ready(Ok(Frame::Trailers(trailers))),
                    Err(_) => Poll::Ready(Err(BodyError::Reset)),
                }
            }
            Ok(None) => Poll::Ready(Ok(Frame::End)),
            Err(_) => Poll::Ready(Err(BodyError::Reset)),
        }
    }
}
