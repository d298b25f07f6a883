//! Owns compiled listener filters: what looks at a connection before its chain is chosen.

use std::sync::Arc;

use super::runtime_flag::RuntimeFlag;
use crate::{token_bucket::TokenBucket, transport::Takes};

/// The most of a ClientHello that is looked at, unless `max_client_hello_size` says less. Source: Envoy's
/// `TLS_MAX_CLIENT_HELLO`.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;

/// One of `listener_filters`.
#[derive(Debug)]
pub struct ListenerFilter {
    /// `filter_disabled`: connections to these ports are left alone.
    pub disabled: Option<PortRule>,
    /// Which it is.
    pub kind: ListenerFilterKind,
}

/// What a listener filter does.
#[derive(Debug)]
pub enum ListenerFilterKind {
    /// `envoy.filters.listener.tls_inspector`.
    TlsInspector(TlsInspector),
    /// `envoy.filters.listener.http_inspector`.
    HttpInspector,
    /// `envoy.filters.listener.proxy_protocol`.
    ProxyProtocol(Arc<ProxyProtocol>),
    /// `envoy.filters.listener.original_dst`.
    OriginalDst,
    /// `envoy.filters.listener.original_src`.
    OriginalSrc {
        /// `mark`; 0 for none.
        mark: u32,
    },
    /// `envoy.filters.listener.local_ratelimit`.
    LocalRatelimit(LocalRatelimit),
}

/// What a TLS inspector is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsInspector {
    /// `max_client_hello_size`
    pub hello_bytes_max: usize,
    /// `close_connection_on_client_hello_parsing_errors`: what is no hello is not wanted.
    pub wants_hello: bool,
    /// Which fingerprints are taken.
    pub takes: Takes,
}

impl Default for TlsInspector {
    fn default() -> Self {
        let takes = Takes::default();
        Self { hello_bytes_max: CLIENT_HELLO_BYTES_MAX, wants_hello: false, takes }
    }
}

/// `ListenerFilterChainMatchPredicate`, over the port that was connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRule {
    /// Any.
    Any,
    /// `destination_port_range`: from the first, up to but without the second.
    Range(i64, i64),
    /// All of these.
    And(Vec<PortRule>),
    /// One of these.
    Or(Vec<PortRule>),
    /// Not this.
    Not(Box<PortRule>),
}

/// What is done with a PROXY header, and without one.
#[derive(Debug, Default)]
pub struct ProxyProtocol {
    /// `allow_requests_without_proxy_protocol`
    pub optional: bool,
    /// `disallowed_versions` has `V1`.
    pub refuses_v1: bool,
    /// `disallowed_versions` has `V2`.
    pub refuses_v2: bool,
    /// `stat_prefix`
    pub stat_prefix: String,
    /// `rules`: of which TLV a value is noted, in which namespace and by which key; one for a type.
    pub rules: Vec<TlvRule>,
    /// `tlv_location`
    pub tlv_location: TlvLocation,
    /// `pass_through_tlvs`
    pub kept: KeptTlvs,
}

/// `ProxyProtocol.TlvLocation`: where the values of TLVs go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlvLocation {
    /// Into the dynamic metadata.
    #[default]
    DynamicMetadata,
    /// Into one object of the filter state, without namespaces.
    FilterState,
}

/// `ProxyProtocol.Rule`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlvRule {
    /// `tlv_type`
    pub tlv_type: u8,
    /// `metadata_namespace`
    pub namespace: String,
    /// `key`
    pub key: String,
    /// `value_string_encoding` is `BASE64`.
    pub in_base64: bool,
}

/// `ProxyProtocolPassThroughTLVs`: which TLVs go on to hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeptTlvs {
    /// None of them.
    #[default]
    None,
    /// `INCLUDE_ALL`
    All,
    /// `INCLUDE`
    These(Vec<u8>),
}

/// How many connections may come.
#[derive(Debug)]
pub struct LocalRatelimit {
    /// `stat_prefix`
    pub stat_prefix: String,
    /// One bucket for all workers.
    pub bucket: Arc<TokenBucket>,
    /// `runtime_enabled`
    pub enabled: RuntimeFlag,
}

// === impl PortRule ===

impl PortRule {
    /// Whether it speaks of this port; a pipe has none.
    pub fn takes(&self, port: Option<u16>) -> bool {
        match self {
            PortRule::Any => true,
            PortRule::Range(from, to) => {
                port.is_some_and(|port| (*from..*to).contains(&i64::from(port)))
            }
            PortRule::And(rules) => rules.iter().all(|rule| rule.takes(port)),
            PortRule::Or(rules) => rules.iter().any(|rule| rule.takes(port)),
            PortRule::Not(rule) => !rule.takes(port),
        }
    }
}

// === impl KeptTlvs ===

impl KeptTlvs {
    /// Whether this one is kept.
    pub fn keeps(&self, tlv_type: u8) -> bool {
        match self {
            KeptTlvs::None => false,
            KeptTlvs::All => true,
            KeptTlvs::These(types) => types.contains(&tlv_type),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_taken_by_ranges_whose_end_is_not_in_them() {
        let range = PortRule::Range(80, 82);
        let not = PortRule::Not(Box::new(PortRule::Range(81, 82)));
        let rule = PortRule::And(vec![range, not]);
        assert_eq!(
            [79, 80, 81, 82].map(|port| rule.takes(Some(port))),
            [false, true, false, false]
        );
        let either = PortRule::Or(vec![rule, PortRule::Any]);
        assert!(either.takes(Some(1)));
    }
}
