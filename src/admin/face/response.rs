//! Owns a response before a protocol carries it: Envoy's headers in Envoy's order.

use crate::{
    admin::{Answer, Body},
    codec::{HeaderBlock, Known, ResponseHead},
    local_reply::LocalReply,
    worker::Clock,
};

const NOSNIFF: (&[u8], &[u8]) = (b"x-content-type-options", b"nosniff");

/// A response.
pub(super) struct Response {
    pub(super) head: ResponseHead,
    pub(super) body: Body,
    /// The head does not say how long the body is.
    pub(super) lengthless: bool,
}

// === impl Response ===

impl Response {
    /// An endpoint's answer.
    pub(super) fn answering(answer: Answer) -> Self {
        let mut head = ResponseHead { status: answer.status, ..ResponseHead::default() };
        let headers = &mut head.headers;
        if answer.nosniff_twice {
            headers.append_name(NOSNIFF.0, NOSNIFF.1);
        }
        headers.append(Known::ContentType, answer.content_type.as_bytes());
        headers.append_name(b"cache-control", b"no-cache, max-age=0");
        headers.append_name(NOSNIFF.0, NOSNIFF.1);
        if let Some(policy) = answer.policy {
            headers.append_name(b"content-security-policy", policy.as_bytes());
        }
        date_and_server(headers);
        Self { head, body: answer.body, lengthless: true }
    }

    /// The answer to a request that no endpoint sees.
    pub(super) fn local(reply: &LocalReply) -> Self {
        let mut head = ResponseHead { status: reply.status, ..ResponseHead::default() };
        head.close = reply.close;
        reply.describe_body(&mut head.headers);
        date_and_server(&mut head.headers);
        let body = Body::Whole(reply.body.as_bytes().to_vec());
        Self { head, body, lengthless: false }
    }
}

fn date_and_server(headers: &mut HeaderBlock) {
    thread_local! {
        static CLOCK: Clock = Clock::default();
    }
    CLOCK.with(|clock| clock.with_date_line(|line| headers.append_line(Known::Date, line)));
    headers.append(Known::Server, b"envoy");
}
