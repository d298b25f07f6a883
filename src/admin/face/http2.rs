//! Owns HTTP/2 on the admin port, which hyper speaks.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Request,
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};

use understudy_actors::address::Address;

use super::{BODY_BYTES_MAX, Clerk, Patience, REQUEST_WAIT, Response, Rest, Story};
use crate::{
    codec::{
        RequestHead,
        http2::{read_request, write_response},
    },
    local_reply::LocalReply,
};

/// Streams of a connection at a time.
const STREAMS_MAX: u32 = 32;

/// Serves a connection to its end.
pub(super) async fn serve(clerk: Arc<Clerk>, stream: Patience, peer: Address) {
    let serving = hyper::server::conn::http2::Builder::new(Here)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .serve_connection(
            TokioIo::new(stream),
            service_fn(move |request| answer(clerk.clone(), peer, request)),
        );
    // A client that breaks off, or takes too long, has had its answer.
    drop(serving.await);
}

async fn answer(
    clerk: Arc<Clerk>,
    peer: Address,
    request: Request<Incoming>,
) -> Result<hyper::Response<Told>, Infallible> {
    let (parts, body) = request.into_parts();
    let mut head = RequestHead::default();
    let read = read_request(&parts, &mut head);
    let mut story = Story::begin(&clerk, peer, &head);
    let response = match read {
        Ok(()) => respond(&clerk, &mut head, &mut story, body, peer).await,
        Err(error) => Response::local(&LocalReply::new(400, "", error.0)),
    };
    story.answer(response.head.status);
    let told = Told { body: Rest::new(response.body, clerk.scribe.clone()), story };
    let (parts, ()) = write_response(&response.head).unwrap_or_default().into_parts();
    Ok(hyper::Response::from_parts(parts, told))
}

async fn respond(
    clerk: &Clerk,
    head: &mut RequestHead,
    story: &mut Story,
    body: Incoming,
    peer: Address,
) -> Response {
    if let Err(refused) = clerk.admit(head, story) {
        return *refused;
    }
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(REQUEST_WAIT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Response::local(&LocalReply::payload_too_large());
        }
        Ok(Err(_)) => return Response::local(&LocalReply::new(400, "", "http2.body")),
        Err(_) => return Response::local(&LocalReply::request_timeout()),
    };
    story.received = body.len() as u64;
    clerk.respond(head, &body, peer).await
}

/// A body that ends its story when it ends, or when nobody takes it any more.
struct Told {
    body: Rest,
    story: Story,
}

impl hyper::body::Body for Told {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = ready!(self.body.poll_piece(cx));
        self.story.sent += piece.as_ref().map_or(0, Vec::len) as u64;
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece.into()))))
    }
}

/// Runs HTTP/2 streams on the thread they came by.
#[derive(Clone, Copy)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
