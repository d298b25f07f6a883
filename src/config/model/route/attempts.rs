//! Owns what a route says about trying: for how long, how often, and what is done beside.

use std::{sync::Arc, time::Duration};

use super::{InternalRedirect, Mirror, RetryPolicy};

/// What `RouteAction`, its route and its virtual host say about the tries of a request.
#[derive(Debug, Default)]
pub struct Attempts {
    /// Nothing below is said, so a request need not look at it.
    pub plain: bool,
    /// `priority: HIGH`: other circuit breakers count.
    pub high_priority: bool,
    /// `retry_policy`, or the virtual host's.
    pub retry: Option<Arc<RetryPolicy>>,
    /// `request_mirror_policies`, or the virtual host's, or the table's.
    pub mirrors: Vec<Mirror>,
    /// `internal_redirect_policy`.
    pub internal_redirect: Option<Box<InternalRedirect>>,
    /// Bytes of a body that are kept to be sent again; `request_body_buffer_limit`,
    /// `per_request_buffer_limit_bytes`, or what the listener's connections may hold.
    pub buffer_bytes_max: usize,
    /// `max_stream_duration`; it takes the place of `timeout`.
    pub stream_duration: Option<StreamDuration>,
    /// `max_grpc_timeout`.
    pub grpc_timeout: Option<GrpcTimeout>,
    /// `hedge_policy.hedge_on_per_try_timeout`, or the virtual host's: a try that is slow goes on while
    /// another begins.
    pub hedges: bool,
    /// What is told of the tries.
    pub tells: Tells,
}

/// `RouteAction.max_stream_duration`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamDuration {
    /// `max_stream_duration`; zero is for ever, `None` leaves it to the connection manager.
    pub max: Option<Duration>,
    /// `grpc_timeout_header_max`; zero is no limit, `None` leaves `grpc-timeout` unheeded.
    pub grpc_header_max: Option<Duration>,
    /// `grpc_timeout_header_offset`.
    pub grpc_header_offset: Option<Duration>,
}

/// `RouteAction.max_grpc_timeout` and `grpc_timeout_offset`, which are deprecated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// `max_grpc_timeout`; zero is no limit.
    pub max: Duration,
    /// `grpc_timeout_offset`.
    pub offset: Option<Duration>,
}

/// What a virtual host lets others know of the tries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tells {
    /// `include_request_attempt_count`.
    pub count_upstream: bool,
    /// `include_attempt_count_in_response`.
    pub count_downstream: bool,
    /// `include_is_timeout_retry_header`.
    pub timeout_retry: bool,
}
