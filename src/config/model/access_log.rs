//! Owns the compiled access log.

use std::{path::PathBuf, time::Duration};

use crate::{access_log::LogFilter, format::FormatString};

/// One `access_log` entry.
#[derive(Clone, Debug)]
pub struct AccessLog {
    /// Where lines go.
    pub sink: AccessLogSink,
    /// `filter`: which exchanges are written down.
    pub filter: Option<LogFilter>,
    /// What is written; none for Envoy's default line.
    pub format: Option<FormatString>,
}

/// When lines are written besides at the end of a request: `HcmAccessLogOptions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// `flush_access_log_on_new_request`: when it comes.
    pub new_requests: bool,
    /// `access_log_flush_interval`: so often while it goes on.
    pub every: Option<Duration>,
    /// `flush_log_on_tunnel_successfully_established`: when it has become a tunnel.
    pub tunnels: bool,
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccessLogSink {
    /// `envoy.access_loggers.file`.
    File(PathBuf),
    /// `envoy.access_loggers.stdout`.
    Stdout,
    /// `envoy.access_loggers.stderr`.
    Stderr,
}
