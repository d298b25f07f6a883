//! Owns the ways in which an upstream fails.

use crate::access_log::ResponseFlag;

/// How an upstream failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Connecting failed; the text is the system's.
    ConnectFailed(String),
    /// There was a connection, and no handshake (TLS); the text says what was wrong.
    HandshakeFailed(Box<str>),
    /// Connecting took longer than `connect_timeout`.
    ConnectTimeout,
    /// The connection ended.
    Terminated,
    /// The stream was reset by the upstream (HTTP/2).
    Remote,
    /// The same, and nothing of the request was looked at (`REFUSED_STREAM`).
    RemoteRefused,
    /// What came is not HTTP, or breaks its rules.
    Protocol,
    /// A circuit breaker is open.
    Overflow,
    /// A filter refused the response, and has left a reply.
    Refused,
    /// The upstream answered, and the answer goes no further: there will be another.
    Unwanted,
}

// === impl Reset ===

impl Reset {
    /// Why no connection could be had, as Envoy's formats and details have it.
    pub fn transport_failure(&self) -> Option<String> {
        match self {
            Reset::ConnectFailed(why) => {
                Some(format!("delayed_connect_error:_{}", why.replace(' ', "_")))
            }
            Reset::HandshakeFailed(why) => Some(why.replace(' ', "_")),
            _ => None,
        }
    }

    /// Envoy's words and flag.
    pub fn reason(&self) -> (&'static str, ResponseFlag) {
        match self {
            Reset::ConnectFailed(_) | Reset::HandshakeFailed(_) => {
                ("remote connection failure", ResponseFlag::UpstreamConnectionFailure)
            }
            Reset::ConnectTimeout => {
                ("connection timeout", ResponseFlag::UpstreamConnectionFailure)
            }
            Reset::Terminated => {
                ("connection termination", ResponseFlag::UpstreamConnectionTermination)
            }
            Reset::Remote => ("remote reset", ResponseFlag::UpstreamRemoteReset),
            Reset::RemoteRefused => {
                ("remote refused stream reset", ResponseFlag::UpstreamRemoteReset)
            }
            Reset::Protocol => ("protocol error", ResponseFlag::UpstreamProtocolError),
            Reset::Overflow => ("overflow", ResponseFlag::UpstreamOverflow),
            Reset::Refused => ("refused", ResponseFlag::UpstreamProtocolError),
            Reset::Unwanted => ("local reset", ResponseFlag::LocalReset),
        }
    }
}
