//! Owns the compiled access log.

use std::path::PathBuf;

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
