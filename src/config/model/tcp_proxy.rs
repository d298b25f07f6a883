//! Owns the compiled `envoy.filters.network.tcp_proxy`.

use std::{sync::Arc, time::Duration};

use understudy_actors::plan::{LbMetadata, Slot};

use super::{access_log::AccessLog, listener::FilterChainInfo, route::HeaderEdits};
use crate::format::{Format, FormatString};

/// A cluster that takes connections.
#[derive(Debug)]
pub struct ClusterShare {
    /// Which one.
    pub slot: Slot,
    /// `weight`
    pub weight: u32,
    /// `metadata_match`, its own before the proxy's: which of its hosts.
    pub metadata_match: LbMetadata,
}

/// What becomes of a connection that is carried on as it is.
#[derive(Debug)]
pub struct TcpProxy {
    /// `stat_prefix`
    pub stat_prefix: String,
    /// `cluster`, or `weighted_clusters` with their weights.
    pub clusters: Vec<ClusterShare>,
    /// `metadata_match`: which hosts may take connections, where a filter has chosen the cluster.
    pub metadata_match: LbMetadata,
    /// The sum of the weights.
    pub weights: u32,
    /// `hash_policy.source_ip`: the client's address is hashed, for balancers that choose by that.
    pub hashes_source: bool,
    /// `idle_timeout`; Envoy's default is an hour; `None` is off.
    pub idle_timeout: Option<Duration>,
    /// `max_downstream_connection_duration`
    pub duration_max: Option<Duration>,
    /// `max_downstream_connection_duration_jitter_percentage`: up to this share more, in percent.
    pub duration_jitter_percent: f64,
    /// `max_connect_attempts`; Envoy's default is 1.
    pub connect_attempts_max: u32,
    /// `backoff_options`: the first and the longest wait between attempts.
    pub backoff: Option<(Duration, Duration)>,
    /// `upstream_connect_mode: ON_DOWNSTREAM_DATA`: a host is looked for when the client has said something.
    pub waits_for_data: bool,
    /// `check_drain_close`, where its listener drains with the server: what moves then ends its connection.
    pub drains_with_server: bool,
    /// `proxy_protocol_tlvs`, fixed values before formats: what a host's PROXY header says besides.
    pub tlvs: Vec<Tlv>,
    /// `proxy_protocol_tlv_merge_policy`
    pub tlv_merge: TlvMerge,
    /// `tunneling_config`
    pub tunnelling: Option<Tunnelling>,
    /// `access_log`
    pub access_logs: Vec<AccessLog>,
    /// `access_log` of its listener.
    pub listener_logs: Vec<AccessLog>,
    /// `access_log_options`: when lines are written besides at the end.
    pub logged: Logged,
    /// The chain that it ends.
    pub filter_chain: Arc<FilterChainInfo>,
}

/// `TlvEntry`
#[derive(Debug)]
pub struct Tlv {
    /// `type`
    pub tlv_type: u8,
    /// `value` or `format_string`
    pub value: TlvValue,
}

/// What a TLV says.
#[derive(Debug)]
pub enum TlvValue {
    /// `value`
    Fixed(Box<[u8]>),
    /// `format_string`
    Format(FormatString),
}

/// `ProxyProtocolTlvMergePolicy`: what becomes of `proxy_protocol_tlvs` where the client came with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlvMerge {
    /// They are not told.
    #[default]
    AddIfAbsent,
    /// They take the place of those of their types, and stand before the others.
    Overwrite,
    /// They stand behind the others.
    Append,
}

/// `TunnelingConfig`: a connection is carried in a request.
#[derive(Debug)]
pub struct Tunnelling {
    /// `hostname`: host and port that are asked for.
    pub hostname: Format,
    /// `post_path`, where `use_post` says that it is no CONNECT.
    pub post_path: Option<String>,
    /// `headers_to_add`
    pub headers: HeaderEdits,
    /// `request_id_extension`: each request has an id.
    pub request_id: Option<RequestId>,
    /// `propagate_response_headers`: the answer's head is left in the filter state.
    pub leaves_headers: bool,
    /// `propagate_response_trailers`: so are its trailers.
    pub leaves_trailers: bool,
}

/// Where the id of a tunnel's request goes.
#[derive(Debug)]
pub struct RequestId {
    /// `request_id_header`
    pub header: String,
    /// `request_id_metadata_key`
    pub metadata_key: String,
}

/// `TcpAccessLogOptions`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// `flush_access_log_on_start`
    pub at_start: bool,
    /// `flush_access_log_on_connected`
    pub when_connected: bool,
    /// `access_log_flush_interval`
    pub every: Option<Duration>,
}
