//! Owns the compiled upstream options of a cluster; the payload of `ClusterPlan::upstream`.

use std::{sync::Arc, time::Duration};

use understudy_actors::plan::{EndpointPlan, LbMetadata};

use super::{balancing::Balancing, http::Http2Options, http1::Http1Options, socket::Sockets};
use crate::{matcher::AnswerMatcher, tls::ClientContext};

/// How connections to a cluster's hosts speak.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// `metadata.filter_metadata`, for formats.
    pub metadata: Option<serde_json::Value>,
    /// HTTP/1 or HTTP/2.
    pub protocol: UpstreamProtocol,
    /// Which of its hosts a request goes to.
    pub balancing: Balancing,
    /// `max_requests_per_connection`; 0 is no limit.
    pub max_requests_per_connection: u32,
    /// `common_http_protocol_options.idle_timeout`; Envoy's default is 1 h; `None` is off.
    pub idle_timeout: Option<Duration>,
    /// `common_http_protocol_options.max_connection_duration`.
    pub max_connection_duration: Option<Duration>,
    /// `common_http_protocol_options.max_headers_count`; Envoy's default is 100.
    pub response_headers_max: usize,
    /// `common_http_protocol_options.max_response_headers_kb`; the default is the protocol's.
    pub response_headers_bytes_max: Option<usize>,
    /// `common_http_protocol_options.max_stream_duration`.
    pub max_stream_duration: Option<Duration>,
    /// `outlier_detection.error_matcher`: which answers count as errors, in place of those of 5xx.
    pub errors: Option<AnswerMatcher>,
    /// `close_connections_on_host_health_failure`: those of a TCP proxy; others are let go of when they are idle.
    pub closes_to_ill_hosts: bool,
    /// `per_connection_buffer_limit_bytes`; Envoy's default is 1 MiB.
    pub buffer_bytes_max: usize,
    /// How sockets are made.
    pub sockets: Sockets,
    /// How hosts are greeted, if connections to them are encrypted.
    pub tls: Option<Arc<ClientContext>>,
    /// Transport sockets of hosts that have such metadata; the first that fits.
    pub socket_matches: Vec<SocketMatch>,
    /// `upstream_http_protocol_options.auto_sni`: a request says which name its host is asked for.
    pub server_name_of: Option<ServerNameOf>,
    /// `connection_pool_per_downstream_connection`.
    pub apart_per_client: bool,
    /// `preconnect_policy.per_upstream_preconnect_ratio`; 1 opens none ahead.
    pub preconnect_ratio: f64,
    /// `preconnect_policy.predictive_preconnect_ratio`: the same over all hosts, where it is known which come next.
    pub predictive_ratio: f64,
    /// `circuit_breakers.per_host_thresholds`, default priority then high.
    pub host_connections_max: [u32; 2],
}

/// One of `Cluster.transport_socket_matches`.
#[derive(Clone, Debug)]
pub struct SocketMatch {
    /// What must stand under `envoy.transport_socket_match` in a host's metadata.
    pub wanted: LbMetadata,
    /// How such hosts are greeted, if connections to them are encrypted.
    pub tls: Option<Arc<ClientContext>>,
}

/// Where a request says which name its host is asked for.
#[derive(Clone, Debug)]
pub enum ServerNameOf {
    /// In its authority.
    Authority,
    /// In this header, and in its authority where it has none (`override_auto_sni_header`).
    Header(String),
}

/// What is spoken upstream.
#[derive(Clone, Debug)]
pub enum UpstreamProtocol {
    /// `http_protocol_options`, and the default.
    Http1(Http1Options),
    /// `http2_protocol_options`.
    Http2(Http2Options),
    /// `use_downstream_protocol_config`: what the client speaks.
    ByDownstream(Http1Options, Http2Options),
    /// `auto_config`: what the host's handshake chooses.
    Auto(Http1Options, Http2Options),
}

// === impl Upstream ===

impl Upstream {
    /// All ways in which its hosts are greeted.
    pub fn contexts(&self) -> impl Iterator<Item = &Arc<ClientContext>> {
        self.tls.iter().chain(self.socket_matches.iter().filter_map(|one| one.tls.as_ref()))
    }

    /// How a host is greeted, if connections to it are encrypted.
    pub fn tls_to(&self, endpoint: &EndpointPlan) -> Option<&Arc<ClientContext>> {
        let fits = |one: &&SocketMatch| {
            let has = |(key, value)| endpoint.transport_metadata.get(key) == Some(value);
            one.wanted.iter().all(has)
        };
        self.socket_matches.iter().find(fits).map_or(self.tls.as_ref(), |found| found.tls.as_ref())
    }

    /// How many requests one connection carries at a time.
    pub fn streams_max(&self) -> u64 {
        match &self.protocol {
            UpstreamProtocol::Http2(options) => options.concurrent_streams_max.into(),
            UpstreamProtocol::Http1(_)
            | UpstreamProtocol::ByDownstream(..)
            | UpstreamProtocol::Auto(..) => 1,
        }
    }

    /// Options for HTTP/1; those of nobody where it is not spoken.
    pub fn http1(&self) -> &Http1Options {
        static NONE: Http1Options = Http1Options::none();
        match &self.protocol {
            UpstreamProtocol::Http1(options)
            | UpstreamProtocol::ByDownstream(options, _)
            | UpstreamProtocol::Auto(options, _) => options,
            UpstreamProtocol::Http2(_) => &NONE,
        }
    }
}

impl Default for Upstream {
    /// HTTP/1 and Envoy's defaults.
    fn default() -> Self {
        Self {
            protocol: UpstreamProtocol::Http1(Http1Options::default()),
            balancing: Balancing::default(),
            max_requests_per_connection: 0,
            idle_timeout: Some(Duration::from_secs(3600)),
            max_connection_duration: None,
            response_headers_max: 100,
            response_headers_bytes_max: None,
            max_stream_duration: None,
            errors: None,
            closes_to_ill_hosts: false,
            buffer_bytes_max: 1 << 20,
            sockets: Sockets::default(),
            tls: None,
            socket_matches: Vec::new(),
            server_name_of: None,
            apart_per_client: false,
            preconnect_ratio: 1.0,
            predictive_ratio: 1.0,
            host_connections_max: [u32::MAX; 2],
            metadata: None,
        }
    }
}
