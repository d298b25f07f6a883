//! Owns what an active health check is to do.

use std::{fmt, path::PathBuf, time::Duration};

use super::Payload;

/// An active health check.
pub struct HealthCheckPlan {
    /// `name`: its stats are listed by it. May be empty where it is its cluster's only one.
    pub name: String,
    /// `timeout`.
    pub timeout: Duration,
    /// `interval`.
    pub interval: Duration,
    /// `initial_jitter`: the first check comes this much later, at random.
    pub initial_jitter: Duration,
    /// `interval_jitter`: added to each interval, at random up to this.
    pub interval_jitter: Duration,
    /// `interval_jitter_percent`: the same, up to this share of it.
    pub interval_jitter_percent: u32,
    /// `no_traffic_interval`; Envoy's default is 60 s.
    pub no_traffic_interval: Duration,
    /// `no_traffic_healthy_interval`: the same of hosts that are well; the former if unset.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// `unhealthy_interval` and friends, where set.
    pub unhealthy_interval: Option<Duration>,
    /// `unhealthy_edge_interval`.
    pub unhealthy_edge_interval: Option<Duration>,
    /// `healthy_edge_interval`.
    pub healthy_edge_interval: Option<Duration>,
    /// Failures until a host is unhealthy.
    pub unhealthy_threshold: u32,
    /// Successes until it is healthy again.
    pub healthy_threshold: u32,
    /// `reuse_connection`; Envoy's default is true.
    pub reuse_connection: bool,
    /// `event_log_path`, and the files of `event_logger`.
    pub event_logs: Vec<PathBuf>,
    /// `always_log_health_check_failures`: not only those that change something.
    pub logs_failures: bool,
    /// `always_log_health_check_success`.
    pub logs_successes: bool,
    /// Which kind of check it is.
    pub kind: HealthCheckKind,
    /// What is asked; opened by [`Probe`](crate::seams::Probe).
    pub asks: Payload,
}

/// Which kind a health check is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckKind {
    /// `http_health_check`.
    Http {
        /// `codec_client_type: HTTP2`.
        http2: bool,
    },
    /// `tcp_health_check`.
    Tcp,
    /// `grpc_health_check`.
    Grpc,
}

// === impl HealthCheckKind ===

impl HealthCheckKind {
    /// `HealthCheckerType`
    pub fn name(self) -> &'static str {
        match self {
            HealthCheckKind::Http { .. } => "HTTP",
            HealthCheckKind::Tcp => "TCP",
            HealthCheckKind::Grpc => "GRPC",
        }
    }
}

impl fmt::Debug for HealthCheckPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HealthCheckPlan").field(&self.name).field(&self.kind).finish()
    }
}
