//! Owns what a route that leads to a cluster says about the way.

use std::time::Duration;

use understudy_actors::plan::Slot;

use super::Attempts;

/// `RouteAction` to a cluster.
#[derive(Debug)]
pub struct Forward {
    /// The cluster's slot in the directory.
    pub cluster: Slot,
    /// Its name, for logs and errors.
    pub cluster_name: String,
    /// `timeout`; Envoy's default is 15 s; `None` is off.
    pub timeout: Option<Duration>,
    /// How long a try may take, in milliseconds, as the upstream is told of it; empty for none.
    pub timeout_ms: String,
    /// What is said about tries.
    pub attempts: Attempts,
    /// `idle_timeout`; `None` takes the connection manager's `stream_idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// `prefix_rewrite`; empty for none.
    pub prefix_rewrite: String,
    /// `host_rewrite_literal`; empty for none.
    pub host_rewrite: String,
    /// `cluster_not_found_response_code`; Envoy's default is 503.
    pub cluster_not_found_status: u16,
}
