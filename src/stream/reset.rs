//! Owns the ways in which an upstream fails.

use std::net::SocketAddr;

use understudy_actors::address::Address;

use crate::access_log::ResponseFlag;

/// How an upstream failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reset {
    /// Connecting failed.
    ConnectFailed(Box<ConnectFailure>),
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

/// How connecting failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectFailure {
    /// At which point.
    pub stage: ConnectStage,
    /// The system's words.
    pub words: String,
}

/// At which point connecting failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectStage {
    /// The socket cannot come from this address.
    Bind(SocketAddr),
    /// The system refused at once to connect to this address.
    Immediate(Address),
    /// The host, or the way there, refused.
    Delayed,
}

// === impl Reset ===

impl Reset {
    /// Why no connection could be had, as Envoy's formats and details have it.
    pub fn transport_failure(&self) -> Option<String> {
        match self {
            Reset::ConnectFailed(failure) => {
                let why = failure.words.replace(' ', "_");
                Some(match failure.stage {
                    ConnectStage::Bind(source) => format!("failed_to_bind_to_{source}:_{why}"),
                    ConnectStage::Immediate(remote) => {
                        format!("immediate_connect_error:_{why}|remote_address:{remote}")
                    }
                    ConnectStage::Delayed => format!("delayed_connect_error:_{why}"),
                })
            }
            // Observed: Envoy 1.40 says nothing of a host that has gone.
            Reset::HandshakeFailed(why) => (!why.is_empty()).then(|| why.replace(' ', "_")),
            _ => None,
        }
    }

    /// Envoy's words and flag.
    pub fn reason(&self) -> (&'static str, ResponseFlag) {
        match self {
            Reset::ConnectFailed(failure) if matches!(failure.stage, ConnectStage::Bind(_)) => {
                ("local connection failure", ResponseFlag::UpstreamConnectionFailure)
            }
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
