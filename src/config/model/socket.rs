//! Owns the compiled options of sockets to hosts.

use std::{net::SocketAddr, time::Duration};

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

/// An address that connections come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceAddress {
    /// Port 0 is any.
    pub address: SocketAddr,
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
}

/// `ProxyProtocolConfig.version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// A `core.v3.SocketOption` that we know how to set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `SOL_SOCKET`, `SO_REUSEADDR`.
    ReuseAddress(bool),
    /// `SOL_SOCKET`, `SO_SNDBUF`.
    SendBuffer(usize),
    /// `SOL_SOCKET`, `SO_RCVBUF`.
    ReceiveBuffer(usize),
    /// `SOL_SOCKET`, `SO_KEEPALIVE`.
    KeepAlive(bool),
    /// `SOL_SOCKET`, `SO_PRIORITY`.
    Priority(u32),
    /// `SOL_SOCKET`, `SO_MARK`.
    Mark(u32),
    /// `SOL_SOCKET`, `SO_BINDTODEVICE`.
    Device(Vec<u8>),
    /// `IPPROTO_TCP`, `TCP_NODELAY`.
    NoDelay(bool),
    /// `IPPROTO_TCP`, `TCP_MAXSEG`.
    MaxSegment(u32),
    /// `IPPROTO_TCP`, `TCP_KEEPIDLE`.
    KeepIdle(Duration),
    /// `IPPROTO_TCP`, `TCP_KEEPINTVL`.
    KeepInterval(Duration),
    /// `IPPROTO_TCP`, `TCP_KEEPCNT`.
    KeepProbes(u32),
    /// `IPPROTO_TCP`, `TCP_USER_TIMEOUT`.
    UserTimeout(Duration),
    /// `IPPROTO_TCP`, `TCP_CONGESTION`.
    Congestion(Vec<u8>),
    /// `IPPROTO_IP`, `IP_TOS`.
    TypeOfService(u32),
    /// `IPPROTO_IP`, `IP_FREEBIND`, and `freebind` of a binding.
    Freebind(bool),
    /// `IPPROTO_IP`, `IP_TRANSPARENT`.
    Transparent(bool),
    /// `IPPROTO_IPV6`, `IPV6_TCLASS`.
    TrafficClass(u32),
}

// === impl Sockets ===

impl Sockets {
    /// Whether a socket is made as any other.
    pub fn are_plain(&self) -> bool {
        self.sources.is_empty() && self.keepalive.is_none()
    }
}

// === impl SocketOption ===

impl SocketOption {
    /// An option by the numbers that Linux gives it on x86-64 and ARM; `None` for one that we cannot set.
    pub fn numbered(level: i64, name: i64, int: i64, bytes: Option<&[u8]>) -> Option<Self> {
        let number = u32::try_from(int);
        let seconds = || number.map(|number| Duration::from_secs(number.into()));
        Some(match (level, name) {
            (1, 2) => Self::ReuseAddress(int != 0),
            (1, 7) => Self::SendBuffer(usize::try_from(int).ok()?),
            (1, 8) => Self::ReceiveBuffer(usize::try_from(int).ok()?),
            (1, 9) => Self::KeepAlive(int != 0),
            (1, 12) => Self::Priority(number.ok()?),
            (1, 25) => Self::Device(bytes?.strip_suffix(b"\0").or(bytes)?.to_vec()),
            (1, 36) => Self::Mark(number.ok()?),
            (6, 1) => Self::NoDelay(int != 0),
            (6, 2) => Self::MaxSegment(number.ok()?),
            (6, 4) => Self::KeepIdle(seconds().ok()?),
            (6, 5) => Self::KeepInterval(seconds().ok()?),
            (6, 6) => Self::KeepProbes(number.ok()?),
            (6, 13) => Self::Congestion(bytes?.to_vec()),
            (6, 18) => Self::UserTimeout(Duration::from_millis(number.ok()?.into())),
            (0, 1) => Self::TypeOfService(number.ok()?),
            (0, 15) => Self::Freebind(int != 0),
            (0, 19) => Self::Transparent(int != 0),
            (41, 67) => Self::TrafficClass(number.ok()?),
            _ => return None,
        })
    }
}
