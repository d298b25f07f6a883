//! Owns the client's half of an HTTP/1 exchange that is read: the rest of its request.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use crate::{
    codec::http1::{
        Limits,
        body::{Decoder, FramingError, Step},
        request::Parsed,
    },
    config::model::paths::Underscores,
    downstream::{opened::Opened, serve::Worker, underscores::check_http1},
    stream::{BodyError, Data, Frame, RequestSource, Source, WireBytes},
    transport::ReadHalf,
    worker::Buffer,
};

/// The rest of a request.
pub(super) struct Http1Request<'a> {
    socket: ReadHalf<'a>,
    /// Read and not used yet; what is left at the end is the next request.
    input: &'a mut Option<Buffer>,
    worker: &'a Worker,
    opened: &'a Opened,
    decoder: Decoder,
    /// Payload at the front of the input that the last frame lent out; a buffer is far smaller than 4 GiB.
    lent: u32,
    expects_continue: bool,
    received: u64,
    gone: bool,
    /// Where bytes on the wire are counted. Boxed: mostly they are not.
    wire: Option<Box<WireBytes>>,
}

// === impl Http1Request ===

impl<'a> Http1Request<'a> {
    /// What follows a head that was parsed like this.
    pub(super) fn new(
        socket: ReadHalf<'a>,
        input: &'a mut Option<Buffer>,
        worker: &'a Worker,
        opened: &'a Opened,
        parsed: Parsed,
        wire: Option<Box<WireBytes>>,
    ) -> Self {
        Self {
            socket,
            input,
            worker,
            opened,
            decoder: Decoder::new(parsed.framing),
            lent: 0,
            expects_continue: parsed.expects_continue,
            received: 0,
            gone: false,
            wire,
        }
    }

    /// Whether the client has gone away.
    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    fn limits(&self) -> Limits {
        let config = &self.opened.manager().config;
        Limits::new(config.request_headers_bytes_max, config.request_headers_max)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let read = self.worker.buffers.poll_read(cx, Pin::new(&mut self.socket), self.input);
        let count = ready!(read);
        match &count {
            Ok(count) if *count > 0 => {
                self.opened.received(*count);
            }
            _ => self.gone = true,
        }
        Poll::Ready(count)
    }

    fn return_lent(&mut self) {
        let lent = std::mem::take(&mut self.lent) as usize;
        if let Some(wire) = &mut self.wire {
            wire.all += lent as u64;
        }
        if let Some(input) = self.input {
            input.consume(lent);
            if input.is_empty() {
                *self.input = None;
            }
        }
    }
}

impl Source for Http1Request<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        self.return_lent();
        loop {
            let limits = self.limits();
            let input = self.input.as_deref().unwrap_or_default();
            let step = self.decoder.step(input, &limits);
            match step.map_err(BodyError::Protocol)? {
                Step::Data(count) => {
                    self.lent = count as u32;
                    self.received += count as u64;
                    let input = self.input.as_deref().unwrap_or_default();
                    return Poll::Ready(Ok(Frame::Data(Data::Slice(&input[..count]))));
                }
                Step::Skip(count) => {
                    self.lent = count as u32;
                    self.return_lent();
                }
                Step::End => {
                    let wanted = self.opened.manager().config.http1.enable_trailers;
                    let action = self.opened.manager().config.underscores;
                    if wanted && action != Underscores::Allow {
                        let trailers = self.decoder.trailers_mut();
                        let checked = trailers
                            .map_or(Ok(()), |block| check_http1(block, action, self.worker));
                        checked.map_err(|_| BodyError::Protocol(FramingError::Underscore))?;
                    }
                    let trailers = self.decoder.trailers().filter(|_| wanted);
                    if let (Some(wire), Some(trailers)) = (&mut self.wire, trailers) {
                        wire.trailers_received(trailers);
                    }
                    return Poll::Ready(Ok(trailers.map_or(Frame::End, Frame::Trailers)));
                }
                Step::More => match ready!(self.poll_fill(cx)) {
                    Ok(count) if count > 0 => {}
                    _ => return Poll::Ready(Err(BodyError::Gone)),
                },
            }
        }
    }

    fn has_more(&self) -> bool {
        let held = self.input.as_ref().map_or(0, |input| input.len());
        held > self.lent as usize || self.decoder.is_done()
    }

    fn wire(&self) -> WireBytes {
        let wire = self.wire.as_deref().copied().unwrap_or_default();
        WireBytes { all: wire.all + u64::from(self.lent), body: self.received, ..wire }
    }
}

impl RequestSource for Http1Request<'_> {
    fn received(&self) -> u64 {
        self.received
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.return_lent();
        // A client that has sent its next request already is there; more is not read before its turn.
        if self.input.is_some() {
            return Poll::Pending;
        }
        match ready!(self.poll_fill(cx)) {
            Ok(count) if count > 0 => Poll::Pending,
            _ => Poll::Ready(()),
        }
    }

    fn expects_continue(&self) -> bool {
        self.expects_continue
    }
}
