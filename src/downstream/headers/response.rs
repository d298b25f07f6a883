//! Owns the head of a response: an upstream's, and that of a reply of our own.

use std::time::Duration;

use super::hop_by_hop::{RESPONSE_HOP_BY_HOP, UPGRADED_HOP_BY_HOP};
use crate::{
    codec::{Known, KnownSet, RequestHead, ResponseHead, Switch, says_upgrade},
    config::model::http::ServerHeader,
    downstream::{manager::Manager, serve::Worker},
    local_reply::LocalReply,
};

/// Makes an upstream's response one that may go on.
pub(in crate::downstream) fn response(
    head: &mut ResponseHead,
    manager: &Manager,
    waited: Option<Duration>,
    attempts: Option<u32>,
    asked: Switch,
) {
    let headers = &mut head.headers;
    match asked == Switch::Upgrade && says_upgrade(headers) {
        true => headers.remove_all(UPGRADED_HOP_BY_HOP),
        false => headers.remove_all(RESPONSE_HOP_BY_HOP),
    }
    if let Some(waited) = waited.filter(|_| !manager.router().suppress_envoy_headers) {
        let mut text = itoa::Buffer::new();
        let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        headers.set(Known::XEnvoyUpstreamServiceTime, text.format(ms).as_bytes());
    }
    if let Some(attempts) = attempts {
        headers.set(Known::XEnvoyAttemptCount, itoa::Buffer::new().format(attempts).as_bytes());
    }
}

/// Adds what the connection manager has to say.
pub(in crate::downstream) fn finish_response(
    head: &mut ResponseHead,
    manager: &Manager,
    worker: &Worker,
    request: &RequestHead,
) {
    let headers = &mut head.headers;
    if headers.get(Known::Date).is_none() {
        worker.clock.with_date_line(|line| headers.append_line(Known::Date, line));
    }
    server_and_via(head, manager);
    request_id(head, manager, request);
}

/// Source: `always_set_request_id_in_response`, and `x-envoy-force-trace`.
fn request_id(head: &mut ResponseHead, manager: &Manager, request: &RequestHead) {
    let always = manager.config.always_set_request_id_in_response;
    if (always || request.headers.has(Known::XEnvoyForceTrace))
        && let Some(id) = request.headers.get(Known::XRequestId)
    {
        head.headers.set(Known::XRequestId, id);
    }
}

fn server_and_via(head: &mut ResponseHead, manager: &Manager) {
    let line = manager.server_line();
    match manager.config.server_header {
        ServerHeader::Overwrite => head.headers.set_line(Known::Server, line),
        ServerHeader::AppendIfAbsent if !head.headers.has(Known::Server) => {
            head.headers.append_line(Known::Server, line);
        }
        ServerHeader::AppendIfAbsent | ServerHeader::PassThrough => {}
    }
    if !manager.config.via.is_empty() {
        head.headers.append_to_value(Known::Via, b", ", manager.config.via.as_bytes());
    }
}

/// Whether the client speaks gRPC, whose errors are answers of status 200.
pub(in crate::downstream) fn is_grpc(request: &RequestHead) -> bool {
    request.is_grpc()
}

/// The head of `100 Continue`.
pub(in crate::downstream) fn continue_head(head: &mut ResponseHead) {
    head.clear();
    head.status = 100;
}

/// What a reply of our own answers.
#[derive(Clone, Copy, Debug)]
pub(in crate::downstream) struct Local {
    /// A gRPC request, whose errors are answers of status 200.
    pub(in crate::downstream) grpc: bool,
    /// What such a request is told, where the HTTP status does not say it.
    pub(in crate::downstream) grpc_status: Option<u8>,
    /// A HEAD request, whose answer has no body.
    pub(in crate::downstream) to_head: bool,
    /// The connection ends with it: the request is not complete and its rest nobody's, or the reply says so.
    pub(in crate::downstream) closes: bool,
}

/// Begins the head of a reply of our own: what the route's header mutations see of it.
pub(in crate::downstream) fn begin_reply(head: &mut ResponseHead, reply: &LocalReply) {
    head.clear();
    head.status = reply.status;
    for (name, value) in reply.headers.iter().filter(|(name, _)| IN_ROUTES_SIGHT.contains(*name)) {
        head.headers.append(*name, value);
    }
}

/// Headers of a reply that a route itself gives: its mutations may change them.
const IN_ROUTES_SIGHT: KnownSet = KnownSet::of(&[Known::Location, Known::ContentType]);

/// Adds what a reply of our own says besides. Observed: Envoy 1.40, where it follows what the route adds.
pub(in crate::downstream) fn add_to_reply(
    head: &mut ResponseHead,
    reply: &LocalReply,
    manager: &Manager,
) {
    let said = reply.overloaded.filter(|_| !manager.router().suppress_envoy_headers);
    if let Some(name) = said {
        head.headers.append_name(name.as_bytes(), b"true");
    }
    for (name, value) in reply.headers.iter().filter(|(name, _)| !IN_ROUTES_SIGHT.contains(*name)) {
        head.headers.append(*name, value);
    }
}

/// Fills in the head of a reply of our own as filters see it. `content_type` is what the body is, where
/// somebody has said so.
pub(in crate::downstream) fn local_reply(
    head: &mut ResponseHead,
    status: u16,
    body: &[u8],
    content_type: Option<&str>,
    Local { grpc, closes, grpc_status: own_grpc_status, .. }: Local,
) {
    head.close = closes;
    head.status = if grpc { 200 } else { status };
    let headers = &mut head.headers;
    let mut text = itoa::Buffer::new();
    if grpc {
        headers.set(Known::ContentType, b"application/grpc");
        let told = own_grpc_status.unwrap_or_else(|| grpc_status(status));
        headers.set(Known::GrpcStatus, text.format(told).as_bytes());
        // A line of JSON ends with its line, a header does not. Observed: Envoy 1.40.
        let line = body.strip_suffix(b"\n").filter(|_| content_type == Some("application/json"));
        let message = line.unwrap_or(body);
        if !message.is_empty() {
            headers.set(Known::GrpcMessage, &percent_encoded(message));
        }
    } else if body.is_empty() {
        headers.remove(Known::ContentLength);
        headers.remove(Known::ContentType);
    } else {
        headers.set(Known::ContentLength, text.format(body.len()).as_bytes());
        match content_type {
            Some(kind) => headers.set(Known::ContentType, kind.as_bytes()),
            None if headers.has(Known::ContentType) => {}
            None => headers.append(Known::ContentType, b"text/plain"),
        }
    }
}

/// Fills in what filters do not see of it.
pub(in crate::downstream) fn finish_reply(
    head: &mut ResponseHead,
    request: &RequestHead,
    manager: &Manager,
    worker: &Worker,
) {
    if !head.headers.has(Known::Date) {
        worker.clock.with_date_line(|line| head.headers.append_line(Known::Date, line));
    }
    server_and_via(head, manager);
    request_id(head, manager, request);
}

/// The gRPC status for an HTTP status. Source: gRPC, "HTTP to gRPC Status Code Mapping".
fn grpc_status(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// gRPC's percent-encoding of a status message. Source: gRPC over HTTP2, "Percent-Encoded".
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            // Envoy encodes the tilde, too. Observed: Envoy 1.40.
            b' '..=b'}' if *byte != b'%' => out.push(*byte),
            byte => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let (high, low) = (byte >> 4, byte & 15);
                out.extend([b'%', HEX[usize::from(high)], HEX[usize::from(low)]]);
            }
        }
    }
    out
}
