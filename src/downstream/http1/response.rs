//! Owns the client's half of an HTTP/1 exchange that is written: the response.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;
use understudy_actors::{
    seams::{Control, Drain},
    stats::HttpStat,
};

use crate::{
    codec::{
        HeaderBlock, Known, ResponseHead, Version,
        http1::{
            body::Encoder,
            wire::fields_written,
            write::{self, BodyHeader, NameCase},
        },
    },
    downstream::{opened::Opened, serve::Worker},
    format::counts_wire,
    stream::{BodyError, BodySize, Data, ResponseSink, Sink, WireBytes},
    transport::WriteHalf,
    worker::Buffer,
};

/// The response on its way to a client.
pub(super) struct Http1Response<'a> {
    socket: WriteHalf<'a>,
    worker: &'a Worker,
    opened: &'a Opened,
    out: Option<Buffer>,
    encoder: Encoder,
    version: Version,
    to_head_request: bool,
    control: &'a Control,
    close: bool,
    sent: u64,
    /// Where bytes on the wire are counted. Boxed: mostly they are not.
    wire: Option<Box<WireBytes>>,
}

// === impl Http1Response ===

impl<'a> Http1Response<'a> {
    /// The answer to a request of this version; the connection's last if `close`, or if by the time of its
    /// head the connection is to end.
    pub(super) fn new(
        socket: WriteHalf<'a>,
        worker: &'a Worker,
        opened: &'a Opened,
        version: Version,
        to_head_request: bool,
        control: &'a Control,
        close: bool,
    ) -> Self {
        let (out, encoder, sent) = (None, Encoder::default(), 0);
        Self {
            socket,
            worker,
            opened,
            out,
            encoder,
            version,
            to_head_request,
            control,
            close,
            sent,
            wire: counts_wire().then(Box::default),
        }
    }

    /// Whether the connection ends after this answer.
    pub(super) fn closes(&self) -> bool {
        self.close
    }

    fn out(&mut self) -> &mut Vec<u8> {
        self.out.get_or_insert_with(|| self.worker.buffers.take()).tail()
    }

    /// Counts the head that was written behind so many bytes.
    #[inline]
    fn count_head(&mut self, before: usize) {
        if let (Some(wire), Some(out)) = (&mut self.wire, &self.out) {
            wire.head_sent(fields_written(out.get(before..).unwrap_or_default()));
        }
    }

    /// How names are written: as the upstream has, if they were kept.
    fn case<'h>(&self, head: &'h ResponseHead) -> NameCase<'h> {
        match &head.kept {
            Some(kept) => NameCase::Kept(kept),
            None if self.opened.manager().config.http1.header_case.is_proper() => NameCase::Proper,
            None => NameCase::Lower,
        }
    }

    /// What the head must say about a body of this size.
    fn framing(&self, head: &ResponseHead, body: BodySize) -> BodyHeader {
        let lengthless = head.headers.get(Known::ContentLength).is_none();
        let never_a_body = head.status < 200 || matches!(head.status, 204 | 304);
        match body {
            BodySize::Tunnel => BodyHeader::AsIs,
            _ if !lengthless || never_a_body => BodyHeader::AsIs,
            BodySize::None if !self.to_head_request => BodyHeader::Empty,
            _ if self.version == Version::Http10 => BodyHeader::AsIs,
            // Envoy says so even in answer to HEAD, where no chunk follows.
            _ => BodyHeader::Chunked,
        }
    }
}

impl ResponseSink for Http1Response<'_> {
    fn head(&mut self, head: &mut ResponseHead, body: BodySize) {
        let framing = self.framing(head, body);
        // An HTTP/1.0 client finds the end of a body without a length by the connection's end.
        let unframed = self.version == Version::Http10
            && framing == BodyHeader::AsIs
            && body == BodySize::Unknown;
        self.close |= head.close || unframed;
        let manager = self.opened.manager();
        let drains = manager.config.drains_with_server && self.worker.draining();
        if !self.close && (drains || self.control.drain() >= Drain::Discourage) {
            manager.stats().inc(HttpStat::DownstreamCxDrainClose);
            self.close = true;
        }
        // What becomes another protocol's ends without a word of ours, and so does what has a word of the
        // host's (426). Observed: Envoy 1.40.
        let tunnel = body == BodySize::Tunnel;
        head.close = self.close && !tunnel && !head.headers.has(Known::Connection);
        self.close |= tunnel;
        if self.version == Version::Http10 && !self.close {
            head.headers.append(Known::Connection, b"keep-alive");
        }
        let (version, case) = (self.version, self.case(head));
        let before = self.pending();
        write::response(self.out(), head, version, framing, case);
        self.count_head(before);
        self.encoder = Encoder::new(framing == BodyHeader::Chunked && !self.to_head_request);
        if body == BodySize::None {
            self.encoder = Encoder::default();
        }
    }

    fn interim(&mut self, head: &ResponseHead) {
        let case = self.case(head);
        let before = self.pending();
        write::response(self.out(), head, Version::Http11, BodyHeader::AsIs, case);
        self.count_head(before);
    }

    fn sent(&self) -> u64 {
        self.sent
    }
}

impl Sink for Http1Response<'_> {
    fn data(&mut self, data: Data<'_>) {
        self.sent += data.len() as u64;
        let out = self.out.get_or_insert_with(|| self.worker.buffers.take());
        self.encoder.data(out.tail(), data.as_slice());
    }

    fn end(&mut self, trailers: Option<&HeaderBlock>) {
        let trailers = trailers.filter(|_| self.opened.manager().config.http1.enable_trailers);
        let out = self.out.get_or_insert_with(|| self.worker.buffers.take());
        if let (Some(wire), Some(trailers)) = (&mut self.wire, trailers)
            && self.encoder.is_chunked()
        {
            wire.trailers_sent(trailers);
        }
        self.encoder.end(out.tail(), trailers);
    }

    fn pending(&self) -> usize {
        self.out.as_ref().map_or(0, |out| out.len())
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        let Some(out) = &mut self.out else { return Poll::Ready(Ok(())) };
        self.encoder.seal(out.tail());
        while !out.is_empty() {
            match ready!(Pin::new(&mut self.socket).poll_write(cx, out)) {
                Ok(count) if count > 0 => {
                    self.opened.sent(count);
                    out.consume(count);
                    if let Some(wire) = &mut self.wire {
                        wire.all += count as u64;
                    }
                }
                _ => return Poll::Ready(Err(BodyError::Gone)),
            }
        }
        // What TLS has encrypted may not have gone out yet.
        ready!(Pin::new(&mut self.socket).poll_flush(cx)).map_err(|_| BodyError::Gone)?;
        self.out = None;
        Poll::Ready(Ok(()))
    }

    fn wire(&self) -> WireBytes {
        let wire = self.wire.as_deref().copied().unwrap_or_default();
        WireBytes { body: self.sent, ..wire }
    }
}
