//! Owns a response's body on its way out, and the line of the access log that is written at its end.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Instant, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::{
    Method, Request, Version,
    body::{Frame, Incoming},
    header::{HOST, HeaderValue, USER_AGENT},
};
use tokio::task::JoinError;
use understudy_actors::stats::HttpStat;

use super::{
    Clerk,
    scribe::{self, Piece, Pieces, Scribe},
};
use crate::{
    access_log::{Record, ResponseFlags},
    admin::Body,
};

/// A body that tells its story when it ends, or when nobody takes it any more.
pub(super) struct Told {
    left: Left,
    scribe: Scribe,
    story: Story,
}

/// What is left of a body.
enum Left {
    Nothing,
    Whole(Vec<u8>),
    Pieces(Pieces),
    /// A piece is being made.
    Making(BoxFuture<'static, Result<Piece, JoinError>>),
}

/// What the access log tells of one exchange.
pub(super) struct Story {
    clerk: Arc<Clerk>,
    started: SystemTime,
    clock: Instant,
    method: Method,
    target: String,
    protocol: &'static str,
    forwarded_for: Vec<u8>,
    agent: Option<HeaderValue>,
    request_id: Option<HeaderValue>,
    authority: Option<String>,
    pub(super) received: u64,
    pub(super) status: u16,
    sent: u64,
}

// === impl Story ===

impl Story {
    pub(super) fn begin(clerk: &Arc<Clerk>, peer: SocketAddr, request: &Request<Incoming>) -> Self {
        clerk.http.add(HttpStat::DownstreamRqTotal, 1);
        clerk.http.shift(HttpStat::DownstreamRqActive, 1);
        let (protocol, stat) = match request.version() {
            Version::HTTP_2 => ("HTTP/2", HttpStat::DownstreamRqHttp2Total),
            Version::HTTP_10 => ("HTTP/1.0", HttpStat::DownstreamRqHttp1Total),
            _ => ("HTTP/1.1", HttpStat::DownstreamRqHttp1Total),
        };
        clerk.http.add(stat, 1);
        let headers = request.headers();
        let client = if peer.ip().is_loopback() { clerk.desk.facts.own_address } else { peer.ip() };
        let before = headers.get("x-forwarded-for").map_or(&b""[..], HeaderValue::as_bytes);
        let comma = if before.is_empty() { "" } else { "," };
        let forwarded_for = [before, comma.as_bytes(), client.to_string().as_bytes()].concat();
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(|authority| authority.as_str()).or(host);
        Self {
            clerk: clerk.clone(),
            started: SystemTime::now(),
            clock: Instant::now(),
            method: request.method().clone(),
            target: request.uri().path_and_query().map_or("/", |t| t.as_str()).to_owned(),
            protocol,
            forwarded_for,
            agent: headers.get(USER_AGENT).cloned(),
            request_id: headers.get("x-request-id").cloned(),
            authority: authority.map(str::to_owned),
            received: 0,
            status: 0,
            sent: 0,
        }
    }

    fn end(&self) {
        let duration = self.clock.elapsed();
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.clerk.http.shift(HttpStat::DownstreamRqActive, -1);
        self.clerk.http.record(HttpStat::DownstreamRqTime, ms);
        let Some((writer, sink)) = &self.clerk.access_log else { return };
        let mut line = Vec::with_capacity(256);
        let record = Record {
            started: self.started,
            method: self.method.as_str().as_bytes(),
            path: self.target.as_bytes(),
            protocol: self.protocol,
            status: self.status,
            flags: ResponseFlags::default(),
            received: self.received,
            sent: self.sent,
            duration,
            service_time: None,
            forwarded_for: Some(&self.forwarded_for),
            user_agent: self.agent.as_ref().map(HeaderValue::as_bytes),
            request_id: self.request_id.as_ref().map(HeaderValue::as_bytes),
            authority: self.authority.as_deref().map(str::as_bytes),
            upstream: None,
        };
        record.write_default(&mut line);
        writer.write(*sink, &line);
    }
}

// === impl Told ===

impl Told {
    pub(super) fn new(body: Body, scribe: Scribe, story: Story) -> Self {
        let left = match body {
            Body::Whole(bytes) if bytes.is_empty() => Left::Nothing,
            Body::Whole(bytes) => Left::Whole(bytes),
            Body::Pieces(pieces) => Left::Pieces(pieces),
        };
        Self { left, scribe, story }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        loop {
            match std::mem::replace(&mut self.left, Left::Nothing) {
                Left::Nothing => return Poll::Ready(None),
                Left::Whole(bytes) => return Poll::Ready(Some(bytes)),
                Left::Pieces(pieces) => {
                    let making = self.scribe.clone().make(move || scribe::next(pieces));
                    self.left = Left::Making(Box::pin(making));
                }
                Left::Making(mut making) => match making.as_mut().poll(cx) {
                    Poll::Pending => {
                        self.left = Left::Making(making);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((piece, rest))) => {
                        self.left = rest.map_or(Left::Nothing, Left::Pieces);
                        if !piece.is_empty() {
                            return Poll::Ready(Some(piece));
                        }
                    }
                    // The client must not take a part for the whole: its connection falls.
                    Poll::Ready(Err(error)) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_ended) => return Poll::Ready(None),
                    },
                },
            }
        }
    }
}

/// Its length is never told, so HTTP/1 sends it in chunks, as Envoy does.
impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.poll_piece(cx));
        self.story.sent += piece.as_ref().map_or(0, Vec::len) as u64;
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.story.end();
    }
}
