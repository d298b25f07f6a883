//! Owns the compiled options of sockets to hosts.

use std::{net::SocketAddr, time::Duration};

pub use understudy_actors::socket_option::SocketOption;

use super::listener_filter::KeptTlvs;

/// How sockets to a cluster's hosts are made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// `upstream_bind_config`: the first of a host's address family is where its connections come from.
    pub sources: Vec<SourceAddress>,
    /// `upstream_connection_options.tcp_keepalive`.
    pub keepalive: Option<TcpKeepalive>,
    /// What is said first on a connection, before anything of HTTP.
    pub greeting: Option<Greeting>,
}

/// Where connections come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAddress {
    /// Port 0 is any; without an address the kernel chooses, and the options alone are set.
    pub address: Option<SocketAddr>,
    /// Set before the socket is bound, in this order.
    pub options: Vec<SocketOption>,
}

/// `core.v3.TcpKeepalive`; what is not set is the kernel's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpKeepalive {
    /// `keepalive_probes`.
    pub probes: Option<u32>,
    /// `keepalive_time`.
    pub idle: Option<Duration>,
    /// `keepalive_interval`.
    pub interval: Option<Duration>,
}

/// `ProxyProtocolConfig`: what a host is told of the client before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// `version`
    pub version: ProxyProtocol,
    /// `pass_through_tlvs`: of what the client's own header said.
    pub kept: KeptTlvs,
    /// `added_tlvs`: said first, in the place of those of their types.
    pub added: Vec<(u8, Box<[u8]>)>,
}

/// `ProxyProtocolConfig.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

// === impl Sockets ===

impl Sockets {
    /// Whether a socket is made as any other.
    pub fn are_plain(&self) -> bool {
        self.sources.is_empty() && self.keepalive.is_none()
    }
}
