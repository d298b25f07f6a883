//! Owns the compiled `connection_keepalive` of HTTP/2.

use std::time::Duration;

/// `KeepaliveSettings`: when the other end of a connection is asked whether it is still there.
#[derive(Clone, Debug, PartialEq)]
pub struct Keepalive {
    /// `interval`: from one answer to the next question; `None` asks before streams alone.
    pub interval: Option<Duration>,
    /// `interval_jitter`, in whole percent as in Envoy; Envoy's default is 15.
    pub interval_jitter_percent: u32,
    /// `timeout`: how long it may be silent when asked.
    pub timeout: Duration,
    /// `connection_idle_interval`: after so much silence a question goes ahead of a stream of ours.
    pub idle_interval: Option<Duration>,
}
