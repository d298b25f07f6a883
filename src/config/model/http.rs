//! Owns the compiled HTTP connection manager.

use std::{sync::Arc, time::Duration};

use understudy_actors::plan::Slot;

use super::{
    access_log::{AccessLog, Logged},
    client::ClientOptions,
    http1::Http1Options,
    keepalive::Keepalive,
    listener::FilterChainInfo,
    local_reply::LocalReplies,
    paths::{PathOptions, Underscores},
    route::HeaderEdits,
    upgrade::Upgrade,
};
use crate::{codec::Known, filter::Placed};

/// `InternalAddressConfig`: who is inside.
#[derive(Debug, Default)]
pub struct InternalAddresses {
    /// `cidr_ranges`
    pub ranges: Vec<ipnet::IpNet>,
    /// `unix_sockets`: whoever comes by a path and says nothing of anybody else.
    pub unix_sockets: bool,
}

/// `HttpConnectionManager`, defaults filled in.
#[derive(Debug)]
pub struct HttpConnectionManager {
    /// `stat_prefix`.
    pub stat_prefix: String,
    /// The listener's stat prefix, for `listener.ADDRESS.http.PREFIX.`.
    pub listener_stat_prefix: String,
    /// The listener's `drain_type`: `MODIFY_ONLY` goes on while the server drains.
    pub drains_with_server: bool,
    /// `codec_type`.
    pub codec: CodecType,
    /// The route table's slot in the directory of tables.
    pub routes: Slot,
    /// `http_filters` before the router, in the order of the file.
    pub filters: Vec<Placed>,
    /// The last of `http_filters`.
    pub router: RouterConfig,
    /// `upgrade_configs`.
    pub upgrades: Vec<Upgrade>,
    /// `http_protocol_options`.
    pub http1: Http1Options,
    /// `http2_protocol_options`.
    pub http2: Http2Options,
    /// `server_name`; Envoy's default is `envoy`.
    pub server_name: String,
    /// `server_header_transformation`.
    pub server_header: ServerHeader,
    /// `use_remote_address`.
    pub use_remote_address: bool,
    /// `xff_num_trusted_hops`.
    pub xff_trusted_hops: u32,
    /// `skip_xff_append`.
    pub skip_xff_append: bool,
    /// `internal_address_config.cidr_ranges`.
    pub internal_addresses: InternalAddresses,
    /// Whose word is taken for who the client is, and what is said of it.
    pub client: ClientOptions,
    /// `via`; empty for none.
    pub via: String,
    /// `generate_request_id`; Envoy's default is true.
    pub generate_request_id: bool,
    /// `preserve_external_request_id`.
    pub preserve_external_request_id: bool,
    /// `always_set_request_id_in_response`.
    pub always_set_request_id_in_response: bool,
    /// Rules for paths.
    pub paths: PathOptions,
    /// `common_http_protocol_options.headers_with_underscores_action`.
    pub underscores: Underscores,
    /// `stream_error_on_invalid_http_message`, or HTTP/1's own word on it.
    pub goes_on_after_bad_request: bool,
    /// `proxy_100_continue`: pass 100 and other interim answers on instead of saying 100 ourselves.
    pub proxy_100_continue: bool,
    /// `max_request_headers_kb` in bytes; Envoy's default is 60 KiB.
    pub request_headers_bytes_max: usize,
    /// `common_http_protocol_options.max_headers_count`; Envoy's default is 100.
    pub request_headers_max: usize,
    /// `common_http_protocol_options.idle_timeout`; Envoy's default is 1 h; `None` is off.
    pub idle_timeout: Option<Duration>,
    /// `common_http_protocol_options.max_connection_duration`.
    pub max_connection_duration: Option<Duration>,
    /// `common_http_protocol_options.max_connection_duration_jitter`: up to this share is added, in percent.
    pub max_connection_duration_jitter: f64,
    /// `common_http_protocol_options.max_requests_per_connection`; 0 is no limit.
    pub max_requests_per_connection: u32,
    /// `common_http_protocol_options.max_stream_duration`; `None` is off.
    pub max_stream_duration: Option<Duration>,
    /// `stream_idle_timeout`; Envoy's default is 5 min; `None` is off.
    pub stream_idle_timeout: Option<Duration>,
    /// `request_timeout`.
    pub request_timeout: Option<Duration>,
    /// `request_headers_timeout`.
    pub request_headers_timeout: Option<Duration>,
    /// `drain_timeout`; Envoy's default is 5 s.
    pub drain_timeout: Duration,
    /// `delayed_close_timeout`; Envoy's default is 1 s; `None` closes at once.
    pub delayed_close_timeout: Option<Duration>,
    /// `access_log_options`.
    pub logged: Logged,
    /// `access_log`.
    pub access_logs: Vec<AccessLog>,
    /// `access_log` of its listener.
    pub listener_logs: Vec<AccessLog>,
    /// `early_header_mutation_extensions`: done to requests before all else, one after the other.
    pub early_mutations: Vec<HeaderEdits>,
    /// `proxy_status_config`; boxed: most have none.
    pub proxy_status: Option<Box<ProxyStatus>>,
    /// `local_reply_config`; boxed: most have none.
    pub local_replies: Option<Box<LocalReplies>>,
    /// The chain that it ends.
    pub filter_chain: Arc<FilterChainInfo>,
    /// `Bootstrap.node.cluster` (or `--service-cluster`), for filters and headers that name it.
    pub node_cluster: String,
    /// What of a request's host is not to be seen.
    pub host_form: HostForm,
}

/// `ProxyStatusConfig`: the `proxy-status` header (RFC 9209).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyStatus {
    /// What we call ourselves there.
    pub name: String,
    /// Not `remove_details`.
    pub tells_details: bool,
    /// Not `remove_response_flags`.
    pub tells_flags: bool,
    /// `set_recommended_response_code`
    pub sets_status: bool,
}

/// What of a request's host is taken away before anybody looks at it, the upstream too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostForm {
    /// `strip_matching_host_port` or `strip_any_host_port`.
    pub port: HostPort,
    /// `strip_trailing_host_dot`.
    pub strip_trailing_dot: bool,
}

/// What becomes of a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HostPort {
    /// It stays.
    #[default]
    Keep,
    /// It goes if it is the listener's.
    StripOwn,
    /// It goes.
    StripAny,
}

/// `codec_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecType {
    /// HTTP/2 if the connection opens with its preface, else HTTP/1.
    Auto,
    /// HTTP/1 only.
    Http1,
    /// HTTP/2 only.
    Http2,
}

/// `server_header_transformation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    /// Ours, always.
    Overwrite,
    /// Ours where the upstream sent none.
    AppendIfAbsent,
    /// The upstream's or none.
    PassThrough,
}

/// `envoy.extensions.filters.http.router.v3.Router`.
#[derive(Clone, Debug, Default)]
pub struct RouterConfig {
    /// `suppress_envoy_headers`.
    pub suppress_envoy_headers: bool,
    /// `respect_expected_rq_timeout`.
    pub respect_expected_rq_timeout: bool,
    /// `strict_check_headers`.
    pub strict_headers: Vec<Known>,
    /// `upstream_log`: a line for each try.
    pub upstream_logs: Vec<AccessLog>,
    /// `upstream_log_options.flush_upstream_log_on_upstream_stream`: one when it has its connection, too.
    pub logs_upstream_streams: bool,
    /// `upstream_log_options.upstream_log_flush_interval`: and so often while it goes on.
    pub upstream_log_interval: Option<Duration>,
}

/// `Http2ProtocolOptions`, for both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Http2Options {
    /// `max_concurrent_streams`; Envoy's default is 1024.
    pub concurrent_streams_max: u32,
    /// `initial_stream_window_size`; Envoy's default is 16 MiB.
    pub stream_window_bytes: u32,
    /// `initial_connection_window_size`; Envoy's default is 24 MiB.
    pub connection_window_bytes: u32,
    /// `hpack_table_size`; Envoy's default is 4096.
    pub hpack_table_bytes: u32,
    /// `allow_connect`: clients may ask for upgrades (RFC 8441). Hosts are asked in any case, as Envoy
    /// does.
    pub allow_connect: bool,
    /// `connection_keepalive`.
    pub keepalive: Option<Keepalive>,
    /// Limits of frames that cost their sender little, where any is set.
    pub floods: Option<FloodLimits>,
}

/// How many frames of a kind a peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloodLimits {
    /// `max_consecutive_inbound_frames_with_empty_payload`; Envoy's default is 1.
    pub empty_in_a_row_max: u32,
    /// `max_inbound_priority_frames_per_stream`; Envoy's default is 100.
    pub priority_per_stream_max: u32,
    /// `max_inbound_window_update_frames_per_data_frame_sent`; Envoy's default is 10.
    pub window_updates_per_data_max: u32,
}

// === impl Http2Options ===

impl Default for Http2Options {
    /// Envoy's defaults. Observed: SETTINGS of Envoy 1.40.
    fn default() -> Self {
        Self {
            concurrent_streams_max: 1024,
            stream_window_bytes: 16 << 20,
            connection_window_bytes: 24 << 20,
            hpack_table_bytes: 4096,
            allow_connect: false,
            keepalive: None,
            floods: None,
        }
    }
}
