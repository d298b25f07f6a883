//! Owns what is known of an exchange at a moment of it.

use std::{
    net::{IpAddr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant, SystemTime},
};

use understudy_actors::{address::Address, snapshot::Host};

use crate::{
    access_log::ResponseFlags,
    codec::{HeaderBlock, RequestHead, ResponseHead, Version},
    config::model::listener::FilterChainInfo,
    filter_state::{FilterState, Object},
    listener::Proxied,
    stream::Wire,
    tls::{Fingerprints, Session},
};

/// What is known of an exchange. All of it is borrowed from where it is kept anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamInfo<'a> {
    /// The request's head as it has become.
    pub request: Option<&'a RequestHead>,
    /// The response's head as it has become.
    pub response: Option<&'a ResponseHead>,
    /// The response's trailers.
    pub trailers: Option<&'a HeaderBlock>,
    /// When it began; none takes this moment.
    pub started: Option<Instant>,
    /// How long it has taken.
    pub elapsed: Duration,
    /// Moments in between, for who asked for them.
    pub timing: Option<&'a Timing>,
    /// Status; 0 for none.
    pub status: u16,
    /// Why the answer is not the upstream's.
    pub flags: ResponseFlags,
    /// Where the answer comes from; empty for unknown.
    pub details: &'a str,
    /// Why the connection was ended; empty for nothing.
    pub termination_details: &'a str,
    /// What is spoken; none for nothing yet.
    pub protocol: Option<Version>,
    /// Bytes on the wire.
    pub wire: Wire,
    /// Bytes of the request's body.
    pub received: u64,
    /// Bytes of the response's body.
    pub sent: u64,
    /// The client's address as far as we trust what we are told; its port is known where it is the peer.
    pub remote: Option<IpAddr>,
    /// Who has connected.
    pub peer: Option<Address>,
    /// Whereto.
    pub local: Option<Address>,
    /// What the connection really is, where it stands for another.
    pub proxied: Option<&'a Proxied>,
    /// What filters have noted of it, by namespace.
    pub dynamic_metadata: Option<&'a serde_json::Value>,
    /// What they have left for others, besides what listener filters have.
    pub filter_state: Option<&'a FilterState>,
    /// The connection's number.
    pub connection_id: u64,
    /// The id of a stream that is no request; empty where it is one.
    pub stream_id: &'a [u8],
    /// What the client's handshake came to.
    pub tls: Option<&'a Session>,
    /// The name that the client asked for, as the TLS inspector saw it; empty for none.
    pub requested_server_name: &'a str,
    /// By what the client is known, as the TLS inspector saw it.
    pub fingerprints: Option<&'a Fingerprints>,
    /// Why the client's handshake came to nothing; empty for nothing.
    pub downstream_failure: &'a str,
    /// The filter chain, and its listener.
    pub filter_chain: Option<&'a FilterChainInfo>,
    /// The route's name; empty for none.
    pub route_name: &'a str,
    /// The route's `metadata.filter_metadata`.
    pub route_metadata: Option<&'a serde_json::Value>,
    /// The virtual host's `metadata.filter_metadata`.
    pub virtual_host_metadata: Option<&'a serde_json::Value>,
    /// The name of the virtual cluster; empty for none.
    pub virtual_cluster: &'a str,
    /// The cluster that was chosen; empty for none.
    pub cluster: &'a str,
    /// The cluster's `metadata.filter_metadata`.
    pub cluster_metadata: Option<&'a serde_json::Value>,
    /// The cluster's `alt_stat_name` or name.
    pub cluster_stat_name: &'a str,
    /// The host that was tried last.
    pub upstream: Option<UpstreamInfo<'a>>,
    /// How many times an upstream was tried.
    pub attempts: u32,
    /// The hosts to which there was a connection, in order.
    pub attempted: &'a [Attempted],
    /// Why no connection could be had; empty for nothing.
    pub transport_failure: &'a str,
    /// The body of a reply of our own.
    pub local_reply_body: &'a [u8],
    /// At which moment this is.
    pub log_type: AccessLogType,
}

/// The host of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct UpstreamInfo<'a> {
    /// Its address as `ip:port`, or its path.
    pub address: &'a str,
    /// Its name, if it has one.
    pub hostname: &'a str,
    /// Its `metadata.filter_metadata`.
    pub metadata: Option<&'a serde_json::Value>,
    /// The connection to it, once there is one.
    pub connection: Option<&'a UpstreamConnection>,
}

/// A connection to a host.
#[derive(Clone, Debug)]
pub struct UpstreamConnection {
    /// Our end of it.
    pub local: Option<Address>,
    /// Its other end.
    pub remote: Address,
    /// Its number.
    pub id: u64,
    /// What is spoken on it; none where that is none of our business.
    pub protocol: Option<Version>,
    /// What its handshake came to.
    pub tls: Option<Rc<Session>>,
}

/// A host to which there was a connection.
#[derive(Clone, Debug, Default)]
pub struct Attempted {
    /// Its address as `ip:port`, or its path.
    pub address: String,
    /// Its name, if it has one.
    pub hostname: String,
    /// The connection's number.
    pub connection_id: u64,
}

/// Moments of an exchange.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// The request's last byte was here.
    pub request_received: Option<Instant>,
    /// A connection was at hand.
    pub pool_ready: Option<Instant>,
    /// A connection was asked for.
    pub pool_asked: Option<Instant>,
    /// The request's first byte was given to the upstream.
    pub request_sending: Option<Instant>,
    /// Its last byte was.
    pub request_sent: Option<Instant>,
    /// The response's first byte was here.
    pub response_begun: Option<Instant>,
    /// Its last byte was.
    pub response_received: Option<Instant>,
    /// The response's first byte was given to the client.
    pub response_sending: Option<Instant>,
    /// Its last byte was.
    pub response_sent: Option<Instant>,
}

/// `AccessLogType`: the moment of an exchange at which something is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLogType {
    /// Not a log.
    #[default]
    NotSet,
    /// A request has come.
    DownstreamStart,
    /// It goes on.
    DownstreamPeriodic,
    /// It is over.
    DownstreamEnd,
    /// A tunnel is open.
    DownstreamTunnelSuccessfullyEstablished,
    /// A connection to the upstream is at hand.
    UpstreamPoolReady,
    /// A try goes on.
    UpstreamPeriodic,
    /// A try is over.
    UpstreamEnd,
    /// A connection without HTTP has come.
    TcpStart,
    /// It has a host.
    TcpUpstreamConnected,
    /// It goes on.
    TcpPeriodic,
    /// It is over.
    TcpConnectionEnd,
}

// === impl StreamInfo ===

impl<'a> StreamInfo<'a> {
    /// The client's address. What others have told us of it says nothing of its port.
    pub fn remote_address(&self) -> Option<Address> {
        let peer = self.peer?;
        match self.remote {
            Some(told) if peer.ip() != Some(told) => Some(SocketAddr::new(told, 0).into()),
            _ => Some(peer),
        }
    }

    /// Who has really connected.
    pub fn direct_peer(&self) -> Option<Address> {
        self.proxied.map(|proxied| proxied.peer).or(self.peer)
    }

    /// Whereto.
    pub fn direct_local(&self) -> Option<Address> {
        self.proxied.map(|proxied| proxied.local).or(self.local)
    }

    /// What was left under a key of filter state.
    pub fn left_under(&self, key: &str) -> Option<&'a Object> {
        let own = self.filter_state.and_then(|state| state.get(key));
        own.or_else(|| self.proxied?.filter_state.get(key))
    }

    /// When it began.
    pub fn start_time(&self) -> SystemTime {
        let now = SystemTime::now();
        let ago = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

// === impl UpstreamInfo ===

impl<'a> UpstreamInfo<'a> {
    /// A host, and the connection to it.
    pub fn of(host: &'a Host, connection: Option<&'a UpstreamConnection>) -> Self {
        let described = host.endpoint.described.as_ref();
        Self {
            address: &host.address_text,
            hostname: &host.endpoint.hostname,
            metadata: described.and_then(|all| all.read.downcast_ref()),
            connection,
        }
    }
}

// === impl Attempted ===

impl Attempted {
    /// A host without a name is called by its address.
    pub(super) fn name(&self) -> &str {
        if self.hostname.is_empty() { &self.address } else { &self.hostname }
    }
}

// === impl AccessLogType ===

impl AccessLogType {
    /// All of them by name.
    pub const ALL: [Self; 12] = [
        Self::NotSet,
        Self::DownstreamStart,
        Self::DownstreamPeriodic,
        Self::DownstreamEnd,
        Self::DownstreamTunnelSuccessfullyEstablished,
        Self::UpstreamPoolReady,
        Self::UpstreamPeriodic,
        Self::UpstreamEnd,
        Self::TcpStart,
        Self::TcpUpstreamConnected,
        Self::TcpPeriodic,
        Self::TcpConnectionEnd,
    ];

    /// Whether it is a moment of a try.
    pub fn is_upstream(self) -> bool {
        matches!(self, Self::UpstreamPoolReady | Self::UpstreamPeriodic | Self::UpstreamEnd)
    }

    /// As `%ACCESS_LOG_TYPE%` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::NotSet => "NotSet",
            Self::DownstreamStart => "DownstreamStart",
            Self::DownstreamPeriodic => "DownstreamPeriodic",
            Self::DownstreamEnd => "DownstreamEnd",
            Self::DownstreamTunnelSuccessfullyEstablished => {
                "DownstreamTunnelSuccessfullyEstablished"
            }
            Self::UpstreamPoolReady => "UpstreamPoolReady",
            Self::UpstreamPeriodic => "UpstreamPeriodic",
            Self::UpstreamEnd => "UpstreamEnd",
            Self::TcpStart => "TcpConnectionStart",
            Self::TcpUpstreamConnected => "TcpUpstreamConnected",
            Self::TcpPeriodic => "TcpPeriodic",
            Self::TcpConnectionEnd => "TcpConnectionEnd",
        }
    }
}
