//! Owns the answers that the proxy gives itself: status, body, flags and details of each cause.

use std::borrow::Cow;

use crate::{
    access_log::ResponseFlag,
    codec::{HeaderBlock, Known, http1::request::RequestError},
    stream::Reset,
};

/// What is said of an answer that spares an upstream.
const OVERLOADED: &str = "x-envoy-overloaded";

/// An answer of the proxy's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalReply {
    /// HTTP status.
    pub status: u16,
    /// Plain text; empty for none.
    pub body: Cow<'static, str>,
    /// `%RESPONSE_FLAGS%`.
    pub flag: Option<ResponseFlag>,
    /// `%RESPONSE_CODE_DETAILS%`.
    pub details: Cow<'static, str>,
    /// More headers, such as the `location` of a redirect.
    pub headers: Vec<(Known, Vec<u8>)>,
    /// What a gRPC client is told, where the HTTP status does not say it.
    pub grpc_status: Option<u8>,
    /// This header, such as `x-envoy-overloaded`, stands first and is `true`.
    pub overloaded: Option<&'static str>,
    /// The connection ends with it (HTTP/1).
    pub close: bool,
}

// === impl LocalReply ===

impl LocalReply {
    /// A reply with a body.
    pub fn new(status: u16, body: &'static str, details: &'static str) -> Self {
        Self {
            status,
            body: Cow::Borrowed(body),
            flag: None,
            details: Cow::Borrowed(details),
            headers: Vec::new(),
            grpc_status: None,
            overloaded: None,
            close: false,
        }
    }

    /// Says what the body is, if there is one.
    pub fn describe_body(&self, headers: &mut HeaderBlock) {
        if !self.body.is_empty() {
            let mut text = itoa::Buffer::new();
            headers.set(Known::ContentLength, text.format(self.body.len()).as_bytes());
            if !headers.has(Known::ContentType) {
                headers.append(Known::ContentType, b"text/plain");
            }
        }
    }

    /// The same as the connection's last answer.
    pub fn closing(self) -> Self {
        Self { close: true, ..self }
    }

    /// The same with a flag for the access log.
    pub fn flagged(self, flag: ResponseFlag) -> Self {
        Self { flag: Some(flag), ..self }
    }

    /// The request cannot be read.
    pub fn malformed(error: RequestError) -> Self {
        Self::new(error.status, error.body, error.details)
            .flagged(ResponseFlag::DownstreamProtocolError)
    }

    /// No virtual host or no route takes the request.
    pub fn route_not_found() -> Self {
        Self::new(404, "", "route_not_found").flagged(ResponseFlag::NoRouteFound)
    }

    /// The protocol that was asked for is not one that may take the stream over here.
    pub fn upgrade_failed() -> Self {
        Self::new(403, "", "upgrade_failed").closing()
    }

    /// The route's cluster is not there.
    pub fn cluster_not_found(status: u16) -> Self {
        Self::new(status, "", "cluster_not_found").flagged(ResponseFlag::NoClusterFound)
    }

    /// The cluster has no host that takes traffic.
    pub fn no_healthy_upstream() -> Self {
        Self::new(503, "no healthy upstream", "no_healthy_upstream")
            .flagged(ResponseFlag::NoHealthyUpstream)
    }

    /// `upstream.maintenance_mode.NAME` spares the cluster this request.
    pub fn maintenance_mode() -> Self {
        let reply = Self::new(503, "maintenance mode", "maintenance_mode");
        Self { overloaded: Some(OVERLOADED), ..reply }.flagged(ResponseFlag::UpstreamOverflow)
    }

    /// `drop_overloads` spares the cluster's hosts this request, as some or as all.
    ///
    /// Observed: Envoy 1.40.
    pub fn dropped(as_all: bool) -> Self {
        let (body, details, header, flag) = match as_all {
            true => (
                "unconditional drop overload",
                "unconditional_drop_overload",
                "x-envoy-unconditional-drop-overload",
                ResponseFlag::UnconditionalDropOverload,
            ),
            false => (
                "drop overload",
                "drop_overload",
                "x-envoy-drop-overload",
                ResponseFlag::DropOverload,
            ),
        };
        Self { overloaded: Some(header), ..Self::new(503, body, details) }.flagged(flag)
    }

    /// The route's timeout passed before the response began.
    pub fn response_timeout() -> Self {
        Self::new(504, "upstream request timeout", "response_timeout")
            .flagged(ResponseFlag::UpstreamRequestTimeout)
    }

    /// `per_try_timeout` or `per_try_idle_timeout` passed, and there is no other try.
    pub fn try_timeout(details: &'static str) -> Self {
        Self { details: Cow::Borrowed(details), ..Self::response_timeout() }
    }

    /// The upstream's `max_stream_duration` passed.
    pub fn try_duration(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        let (body, details) =
            ("upstream max stream duration reached", "upstream_max_stream_duration_reached");
        Self::new(status, body, details).flagged(ResponseFlag::UpstreamMaxStreamDurationReached)
    }

    /// The stream's `max_stream_duration` passed.
    pub fn stream_duration(request_complete: bool) -> Self {
        let status = if request_complete { 504 } else { 408 };
        // Without a flag, and to a gRPC client a deadline. Observed: Envoy 1.40.
        let reply = Self::new(status, "downstream duration timeout", "max_duration_timeout");
        Self { grpc_status: Some(4), ..reply }
    }

    /// Nothing moved for the stream's idle timeout, and the request was complete.
    pub fn stream_idle_timeout(request_complete: bool) -> Self {
        // The client is to blame while it still owes a part of its request.
        let status = if request_complete { 504 } else { 408 };
        Self::new(status, "stream timeout", "stream_idle_timeout")
            .flagged(ResponseFlag::StreamIdleTimeout)
    }

    /// `request_timeout`: the request was not complete in time.
    pub fn request_timeout() -> Self {
        Self::new(408, "request timeout", "request_overall_timeout")
    }

    /// `request_headers_timeout`.
    pub fn request_headers_timeout() -> Self {
        Self::new(408, "request header timeout", "request_header_timeout")
    }

    /// A filter held more of the request than the buffer limit allows.
    pub fn payload_too_large() -> Self {
        Self::new(413, "Payload Too Large", "request_payload_too_large")
    }

    /// A filter held more of the response than the buffer limit allows.
    pub fn response_too_large() -> Self {
        Self::new(500, "Internal Server Error", "response_payload_too_large")
    }

    /// A header that steers the router says nothing that can be done.
    pub fn invalid_control(name: &str, value: &[u8]) -> Self {
        let value = String::from_utf8_lossy(value);
        let reply = Self::new(400, "", "").flagged(ResponseFlag::InvalidEnvoyRequestHeaders);
        let reply = reply.closing();
        Self {
            body: format!("invalid header '{name}' with value '{value}'").into(),
            details: format!("request_headers_failed_strict_check{{{name}}}").into(),
            ..reply
        }
    }

    /// The same about the last of several tries.
    pub fn retried(self) -> Self {
        let body = self.body.replace("reset reason:", "retried and the latest reset reason:");
        Self { body: Cow::Owned(body), ..self }
    }

    /// The same with nothing to say but that there is nothing.
    pub fn without_content(self) -> Self {
        Self { status: 204, body: Cow::Borrowed(""), ..self }
    }

    /// The upstream failed before its response began.
    pub fn upstream_reset(reset: &Reset) -> Self {
        let (reason, flag) = reset.reason();
        let status = if matches!(reset, Reset::Protocol) { 502 } else { 503 };
        let mut cause = reason.replace(' ', "_");
        if let Some(why) = reset.transport_failure() {
            cause = format!("{cause}|{why}");
        }
        let details = format!("upstream_reset_before_response_started{{{cause}}}");
        Self {
            status,
            body: Cow::Owned(format!(
                "upstream connect error or disconnect/reset before headers. reset reason: {reason}"
            )),
            flag: Some(flag),
            details: Cow::Owned(details),
            headers: Vec::new(),
            grpc_status: None,
            overloaded: matches!(reset, Reset::Overflow).then_some(OVERLOADED),
            close: false,
        }
    }
}
