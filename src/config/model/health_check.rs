//! Owns the compiled questions of health checks; the payload of `HealthCheckPlan::asks`.

use crate::matcher::TextMatcher;

/// What a health check asks.
#[derive(Clone, Debug)]
pub enum Asks {
    /// `http_health_check`.
    Http(HttpAsks),
    /// `tcp_health_check`.
    Tcp(TcpAsks),
    /// `grpc_health_check`.
    Grpc(GrpcAsks),
}

/// `http_health_check`
#[derive(Clone, Debug)]
pub struct HttpAsks {
    /// `host`; empty: the cluster's name.
    pub host: String,
    /// `path`.
    pub path: String,
    /// `method`.
    pub method: String,
    /// `codec_client_type: HTTP2`.
    pub http2: bool,
    /// `send`: the body of the request; empty for none.
    pub send: Vec<u8>,
    /// `receive`: texts that the body of the answer must hold, in order.
    pub receive: Vec<Vec<u8>>,
    /// `response_buffer_size`: so much of the body is looked at; `None` is as much as we read at all.
    pub receive_bytes_max: Option<usize>,
    /// `expected_statuses` as half-open ranges; Envoy's default is 200.
    pub expected: Vec<(u16, u16)>,
    /// `retriable_statuses`, likewise: these count against the threshold, others fail at once.
    pub retriable: Vec<(u16, u16)>,
    /// `request_headers_to_remove`, which come first.
    pub remove: Vec<String>,
    /// `request_headers_to_add`.
    pub add: Vec<HeaderToAdd>,
    /// `service_name_matcher`: what `x-envoy-upstream-healthchecked-cluster` must be.
    pub service: Option<TextMatcher>,
}

/// `tcp_health_check`: bytes to send, and texts that must come back in order.
#[derive(Clone, Debug)]
pub struct TcpAsks {
    /// `proxy_protocol_config`: what goes before them.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// `send`.
    pub send: Vec<u8>,
    /// `receive`; empty: connecting is enough.
    pub receive: Vec<Vec<u8>>,
}

/// `ProxyProtocolConfig.version`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text with both addresses.
    V1,
    /// Binary, and about nobody's connection (`LOCAL`).
    V2,
}

/// `grpc_health_check`
#[derive(Clone, Debug)]
pub struct GrpcAsks {
    /// `service_name`; empty: the server as a whole.
    pub service: String,
    /// `authority`; empty: the cluster's name.
    pub authority: String,
    /// `initial_metadata`.
    pub add: Vec<HeaderToAdd>,
    /// `grpc-timeout`: how long the check waits.
    pub timeout: String,
}

/// `HeaderValueOption`
#[derive(Clone, Debug, PartialEq)]
pub struct HeaderToAdd {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// What to do where there is one already, or none.
    pub action: AppendAction,
}

/// `HeaderValueOption.append_action`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAction {
    /// A value more.
    AppendOrAdd,
    /// Only where there is none.
    AddIfAbsent,
    /// In place of what is there.
    OverwriteOrAdd,
    /// Only where there is one.
    OverwriteIfExists,
}
