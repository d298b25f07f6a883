//! Owns the HTTP/1 conversation on the admin port: one request after the other, read and written by the
//! codec of the data plane.

use std::{future::poll_fn, io, pin::Pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};
use understudy_actors::{address::Address, stats::HttpStat};

use super::{
    BODY_BYTES_MAX, Clerk, IDLE_WAIT, Patience, Present, REQUEST_WAIT, Response, Rest, Story,
};
use crate::{
    access_log::ResponseFlag,
    codec::{
        Known, RequestHead, ResponseHead, Version,
        http1::{
            Limits,
            body::{Decoder, Encoder, Step},
            request::{Accepts, Parsed, parse},
            write::{self, BodyHeader, NameCase},
        },
    },
    local_reply::LocalReply,
    worker::{Buffer, Buffers},
};

const LIMITS: Limits = Limits::new(60 * 1024, 100);

/// Source: Envoy's admin port has neither `accept_http_10` nor `allow_absolute_url`.
const ACCEPTS: Accepts = Accepts { http_10: false, absolute_form: false };

/// Bytes of an answer that are written together.
const WRITE_BYTES: usize = 16 * 1024;

/// How long we wait for a client to read our last answer: closing a socket with unread input would reset
/// it (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of a client's that are thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 4 << 20;

/// A connection.
struct Conversation<S> {
    clerk: Arc<Clerk>,
    present: Rc<Present>,
    stream: Patience<S>,
    peer: Address,
    buffers: Buffers,
    /// Read and not used yet.
    input: Option<Buffer>,
    head: RequestHead,
}

/// What comes next.
enum Next {
    Request(Parsed),
    Refuse(LocalReply),
    Nothing,
}

/// What an answer leaves of a connection.
enum Left {
    /// Another request may follow.
    Open,
    /// It was the last answer.
    Finished,
    /// It was the last answer, and the rest of the request is nobody's.
    Unfinished,
    /// The client went, or took nothing for too long.
    Cut,
}

/// Why there is no body.
enum Unread {
    Refuse(LocalReply),
    Gone,
}

/// Serves a connection to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    clerk: Arc<Clerk>,
    present: Rc<Present>,
    stream: Patience<S>,
    peer: Address,
) {
    let mut conversation = Conversation::new(clerk, present, stream, peer);
    loop {
        let left = match conversation.next().await {
            Next::Request(parsed) => conversation.exchange(parsed).await,
            Next::Refuse(reply) => conversation.refuse(&reply).await,
            Next::Nothing => return,
        };
        match left {
            Left::Open => {}
            Left::Finished => return conversation.end().await,
            Left::Unfinished => {
                conversation.end().await;
                return conversation.linger().await;
            }
            Left::Cut => return conversation.present.cut(),
        }
    }
}

// === impl Conversation ===

impl<S: AsyncRead + AsyncWrite + Unpin> Conversation<S> {
    fn new(clerk: Arc<Clerk>, present: Rc<Present>, stream: Patience<S>, peer: Address) -> Self {
        let (buffers, input, head) = (Buffers::default(), None, RequestHead::default());
        Self { clerk, present, stream, peer, buffers, input, head }
    }

    /// Waits for the next request's head.
    async fn next(&mut self) -> Next {
        let (idle, mut begun) = (Instant::now() + IDLE_WAIT, None);
        loop {
            let input = self.input.as_deref().unwrap_or_default();
            match parse(input, &LIMITS, ACCEPTS, &mut self.head) {
                Ok(Some(parsed)) => {
                    self.consume(parsed.consumed);
                    return Next::Request(parsed);
                }
                Ok(None) => {}
                Err(error) => {
                    self.count(HttpStat::DownstreamCxProtocolError);
                    return Next::Refuse(LocalReply::malformed(error));
                }
            }
            let until = match self.input {
                None => idle,
                Some(_) => *begun.get_or_insert_with(|| Instant::now() + REQUEST_WAIT),
            };
            match timeout_at(until, self.fill()).await {
                Ok(Ok(1..)) => {}
                Err(_) if self.input.is_some() => {
                    self.count(HttpStat::DownstreamRqHeaderTimeout);
                    return Next::Refuse(LocalReply::request_headers_timeout());
                }
                Ok(_) | Err(_) => return Next::Nothing,
            }
        }
    }

    /// Carries one request.
    async fn exchange(&mut self, parsed: Parsed) -> Left {
        let clerk = self.clerk.clone();
        let mut story = Story::begin(&clerk, self.peer, &self.head);
        let mut decoder = Decoder::new(parsed.framing);
        let response = match clerk.admit(&mut self.head, &mut story) {
            Ok(()) => match self.body(&mut decoder, parsed.expects_continue, &mut story).await {
                Ok(body) => clerk.respond(&self.head, &body, self.peer).await,
                Err(Unread::Refuse(reply)) => {
                    reply.flag.into_iter().for_each(|flag| story.flag(flag));
                    Response::local(&reply)
                }
                Err(Unread::Gone) => return self.gone(story),
            },
            Err(refused) => *refused,
        };
        let rest = match (decoder.is_done(), parsed.keep_alive) {
            (false, _) => Left::Unfinished,
            (true, false) => Left::Finished,
            (true, true) => Left::Open,
        };
        self.send(response, story, rest).await
    }

    /// Answers a request that could not be read.
    async fn refuse(&mut self, reply: &LocalReply) -> Left {
        // What was read of it is no request.
        self.head.clear();
        let mut story = Story::begin(&self.clerk, self.peer, &self.head);
        reply.flag.into_iter().for_each(|flag| story.flag(flag));
        self.send(Response::local(reply), story, Left::Unfinished).await
    }

    /// Reads the body of the request.
    async fn body(
        &mut self,
        decoder: &mut Decoder,
        expects_continue: bool,
        story: &mut Story,
    ) -> Result<Vec<u8>, Unread> {
        if expects_continue && !decoder.is_done() {
            self.say_continue(story).await.map_err(|_| Unread::Gone)?;
        }
        let until = Instant::now() + REQUEST_WAIT;
        let mut body = Vec::new();
        loop {
            let input = self.input.as_deref().unwrap_or_default();
            let step = decoder.step(input, &LIMITS).map_err(|error| {
                self.count(HttpStat::DownstreamCxProtocolError);
                Unread::Refuse(LocalReply::malformed(error.refusal()))
            })?;
            match step {
                Step::Data(count) => {
                    body.extend_from_slice(input.get(..count).unwrap_or_default());
                    self.consume(count);
                    story.received = body.len() as u64;
                    if body.len() > BODY_BYTES_MAX {
                        self.count(HttpStat::DownstreamRqTooLarge);
                        return Err(Unread::Refuse(LocalReply::payload_too_large().closing()));
                    }
                }
                Step::Skip(count) => self.consume(count),
                Step::End => return Ok(body),
                Step::More => match timeout_at(until, self.fill()).await {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return Err(Unread::Gone),
                    Err(_) => return Err(Unread::Refuse(LocalReply::request_timeout())),
                },
            }
        }
    }

    /// Tells a client that waits for it to go on.
    async fn say_continue(&mut self, story: &mut Story) -> io::Result<()> {
        let head = ResponseHead { status: 100, ..ResponseHead::default() };
        story.answer(head.status);
        let mut out = Vec::new();
        write::response(&mut out, &head, Version::Http11, BodyHeader::AsIs, NameCase::Lower);
        self.stream.write_all(&out).await
    }

    /// Sends a response, piece by piece; says what it leaves: `rest` or less.
    async fn send(&mut self, response: Response, mut story: Story, rest: Left) -> Left {
        if let Left::Unfinished = rest {
            self.count(HttpStat::DownstreamRqResponseBeforeRqComplete);
            self.count(HttpStat::DownstreamRqRxReset);
        }
        story.answer(response.head.status);
        let rest = match rest {
            Left::Open if response.head.close => Left::Finished,
            rest => rest,
        };
        let closes = !matches!(rest, Left::Open);
        match self.write(response, closes, &mut story).await {
            Ok(()) => rest,
            Err(_) => {
                story.flag(ResponseFlag::DownstreamConnectionTermination);
                Left::Cut
            }
        }
    }

    async fn write(
        &mut self,
        response: Response,
        closes: bool,
        story: &mut Story,
    ) -> io::Result<()> {
        let Response { mut head, body, lengthless } = response;
        let to_head = self.head.is_head();
        let framing = match lengthless {
            true if to_head => BodyHeader::AsIs,
            true => BodyHeader::Chunked,
            false if head.headers.has(Known::ContentLength) => BodyHeader::AsIs,
            false => BodyHeader::Empty,
        };
        head.close = closes;
        let mut out = Vec::with_capacity(1024);
        write::response(&mut out, &head, Version::Http11, framing, NameCase::Lower);
        if !to_head {
            let mut encoder = Encoder::new(lengthless);
            let mut body = Rest::new(body, self.clerk.scribe.clone());
            while let Some(piece) = poll_fn(|cx| body.poll_piece(cx)).await {
                story.sent += piece.len() as u64;
                encoder.data(&mut out, &piece);
                if out.len() >= WRITE_BYTES {
                    encoder.seal(&mut out);
                    self.stream.write_all(&out).await?;
                    out.clear();
                }
            }
            encoder.end(&mut out, None);
        }
        self.stream.write_all(&out).await
    }

    /// The client has gone, or half closed, before its request was complete.
    fn gone(&self, mut story: Story) -> Left {
        self.count(HttpStat::DownstreamRqRxReset);
        story.flag(ResponseFlag::DownstreamConnectionTermination);
        Left::Cut
    }

    async fn end(&mut self) {
        self.present.leave();
        // The client may have gone first; there is nothing to do about it then.
        let _ = self.stream.shutdown().await;
    }

    async fn linger(&mut self) {
        self.input = None;
        let reading = async {
            let mut waste = [0; 4096];
            let mut thrown_away = 0;
            while let Ok(count @ 1..) = self.stream.read(&mut waste).await
                && thrown_away < LINGER_BYTES_MAX
            {
                thrown_away += count;
            }
        };
        if timeout(LINGER, reading).await.is_err() {
            self.count(HttpStat::DownstreamCxDelayedCloseTimeout);
        }
    }

    /// Reads on; 0 is the client's end.
    async fn fill(&mut self) -> io::Result<usize> {
        let Self { buffers, stream, input, .. } = self;
        poll_fn(|cx| buffers.poll_read(cx, Pin::new(stream), input)).await
    }

    fn consume(&mut self, count: usize) {
        if let Some(input) = &mut self.input {
            input.consume(count);
            if input.is_empty() {
                self.input = None;
            }
        }
    }

    fn count(&self, stat: HttpStat) {
        self.clerk.http.add(stat, 1);
    }
}

#[cfg(test)]
mod tests;
