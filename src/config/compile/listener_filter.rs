//! Owns compiling listener filters.

use std::{sync::Arc, time::Duration};

use super::Compiler;
use crate::{
    config::{
        Message,
        model::{
            listener::{FilterChain, NamedChain},
            listener_filter::{
                KeptTlvs, ListenerFilter, ListenerFilterKind, LocalRatelimit, PortRule,
                ProxyProtocol, TlsInspector, TlvLocation, TlvRule,
            },
            runtime_flag::RuntimeFlag,
        },
    },
    matcher::tree::{Input, Tree},
    token_bucket::TokenBucket,
    transport::Takes,
};

const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
const HTTP_INSPECTOR: &str = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";
const PROXY_PROTOCOL: &str = "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol";
const ORIGINAL_DST: &str = "envoy.extensions.filters.listener.original_dst.v3.OriginalDst";
const ORIGINAL_SRC: &str = "envoy.extensions.filters.listener.original_src.v3.OriginalSrc";
const LOCAL_RATELIMIT: &str = "envoy.extensions.filters.listener.local_ratelimit.v3.LocalRateLimit";

/// Where values of TLVs are noted unless a rule says otherwise.
const PROXY_PROTOCOL_NAMESPACE: &str = "envoy.filters.listener.proxy_protocol";

/// The shortest `fill_interval`. Observed: Envoy 1.40 refuses a shorter one.
const FILL_INTERVAL_MIN: Duration = Duration::from_millis(50);

impl Compiler<'_> {
    /// `listener_filters`, and the one that encrypted chains need and nobody has asked for. Envoy 1.40 does not add it:
    /// there such a chain takes no connection.
    pub(super) fn listener_filters(
        &mut self,
        listener: &Message,
        chains: &[FilterChain],
        matcher: Option<&Tree<NamedChain>>,
    ) -> Vec<ListenerFilter> {
        let filters = listener.messages("listener_filters");
        let mut filters =
            filters.filter_map(|filter| self.listener_filter(filter)).collect::<Vec<_>>();
        if proxied_by_chain(listener) {
            let kind = ListenerFilterKind::ProxyProtocol(Arc::default());
            filters.push(ListenerFilter { disabled: None, kind });
        }
        let asks = matcher.is_some_and(|tree| tree.asks(is_told_by_hello));
        let asked = |chain: &FilterChain| asks || chain.matches.asks_for_tls();
        let asked = chains.iter().any(|chain| chain.tls.is_some() && asked(chain));
        let inspects =
            |filter: &ListenerFilter| matches!(filter.kind, ListenerFilterKind::TlsInspector(_));
        if asked && !filters.iter().any(inspects) {
            let kind = ListenerFilterKind::TlsInspector(TlsInspector::default());
            // Before TLS there may be a PROXY header.
            let proxied = |filter: &ListenerFilter| {
                matches!(filter.kind, ListenerFilterKind::ProxyProtocol(_))
            };
            let place = filters.iter().rposition(proxied).map_or(0, |last| last + 1);
            filters.insert(place, ListenerFilter { disabled: None, kind });
        }
        filters
    }

    fn listener_filter(&mut self, filter: &Message) -> Option<ListenerFilter> {
        filter.ignore("name", "free text; the type decides");
        let disabled = filter.message("filter_disabled").map(port_rule);
        let Some(config) = filter.any("typed_config") else {
            let text = "`typed_config` is missing";
            self.error(filter.at, &filter.path, text, "its `@type` says which filter it is");
            return None;
        };
        let config = &config.message;
        let kind = match config.name() {
            TLS_INSPECTOR => {
                config.ignore("initial_read_buffer_size", "bytes are looked at where they are");
                let most = config.number_u32("max_client_hello_size").map(|bytes| bytes as usize);
                let asked = |field| config.boolean(field) == Some(true);
                let default = TlsInspector::default();
                ListenerFilterKind::TlsInspector(TlsInspector {
                    hello_bytes_max: most.unwrap_or(default.hello_bytes_max),
                    wants_hello: asked("close_connection_on_client_hello_parsing_errors"),
                    takes: Takes {
                        ja3: asked("enable_ja3_fingerprinting"),
                        ja4: asked("enable_ja4_fingerprinting"),
                    },
                })
            }
            HTTP_INSPECTOR => ListenerFilterKind::HttpInspector,
            PROXY_PROTOCOL => {
                ListenerFilterKind::ProxyProtocol(Arc::new(self.proxy_protocol_filter(config)))
            }
            ORIGINAL_DST => ListenerFilterKind::OriginalDst,
            ORIGINAL_SRC => {
                config.ignore("bind_port", "Envoy 1.40 takes it, and binds to any port");
                ListenerFilterKind::OriginalSrc { mark: config.number_u32("mark").unwrap_or(0) }
            }
            LOCAL_RATELIMIT => ListenerFilterKind::LocalRatelimit(LocalRatelimit {
                stat_prefix: config.text("stat_prefix").unwrap_or_default().to_owned(),
                bucket: Arc::new(self.token_bucket(config)),
                enabled: runtime_flag(config, "runtime_enabled"),
            }),
            other => {
                self.refuse_whole(config, other);
                return None;
            }
        };
        Some(ListenerFilter { disabled, kind })
    }

    fn proxy_protocol_filter(&mut self, config: &Message) -> ProxyProtocol {
        let mut rules: Vec<TlvRule> = Vec::new();
        for rule in config.messages("rules") {
            let tlv_type = rule.number("tlv_type").and_then(|tlv| u8::try_from(tlv).ok());
            let tlv_type = tlv_type.unwrap_or(0);
            let Some(noted) = rule.message("on_tlv_present") else { continue };
            let namespace = noted.text("metadata_namespace").filter(|name| !name.is_empty());
            // Of two for one type the last counts. Observed: Envoy 1.40.
            rules.retain(|known| known.tlv_type != tlv_type);
            rules.push(TlvRule {
                tlv_type,
                namespace: namespace.unwrap_or(PROXY_PROTOCOL_NAMESPACE).to_owned(),
                key: noted.text("key").unwrap_or_default().to_owned(),
                in_base64: noted.choice("value_string_encoding") == Some("BASE64"),
            });
        }
        let refused = config.choices("disallowed_versions");
        if refused.contains(&"V1") && refused.contains(&"V2") {
            let text = "Proxy Protocol filter is misconfigured: all proxy protocol versions are disallowed.";
            let (at, path) =
                (config.at_of("disallowed_versions"), config.path_of("disallowed_versions"));
            self.error(at, &path, text, "leave one of them");
        }
        ProxyProtocol {
            optional: config.boolean("allow_requests_without_proxy_protocol") == Some(true),
            refuses_v1: refused.contains(&"V1"),
            refuses_v2: refused.contains(&"V2"),
            stat_prefix: config.text("stat_prefix").unwrap_or_default().to_owned(),
            rules,
            tlv_location: match config.choice("tlv_location") {
                Some("FILTER_STATE") => TlvLocation::FilterState,
                _ => TlvLocation::DynamicMetadata,
            },
            kept: config.message("pass_through_tlvs").map_or(KeptTlvs::None, kept_tlvs),
        }
    }

    /// `token_bucket` of a filter.
    pub(super) fn token_bucket(&mut self, of: &Message) -> TokenBucket {
        let bucket = of.message("token_bucket");
        let number = |name: &str| bucket.and_then(|bucket| bucket.number_u32(name));
        let interval = bucket.and_then(|bucket| bucket.duration("fill_interval"));
        if let (Some(bucket), Some(interval)) = (bucket, interval)
            && interval < FILL_INTERVAL_MIN
        {
            let text = "local rate limit token bucket fill timer must be >= 50ms";
            let (at, path) = (bucket.at_of("fill_interval"), bucket.path_of("fill_interval"));
            self.error(at, &path, text, "write 0.05s or more");
        }
        TokenBucket::new(
            number("max_tokens").unwrap_or(0),
            number("tokens_per_fill").unwrap_or(1),
            interval.unwrap_or(FILL_INTERVAL_MIN),
        )
    }
}

/// Whether the input is what a client says at the beginning of TLS.
fn is_told_by_hello(input: &Input) -> bool {
    matches!(input, Input::ServerName | Input::TransportProtocol | Input::ApplicationProtocols)
}

/// `ProxyProtocolPassThroughTLVs`
pub(super) fn kept_tlvs(set: &Message) -> KeptTlvs {
    let types = set.numbers("tlv_type").into_iter().filter_map(|tlv| u8::try_from(tlv).ok());
    match set.choice("match_type") {
        Some("INCLUDE") => KeptTlvs::These(types.collect()),
        _ => KeptTlvs::All,
    }
}

/// A `RuntimeFeatureFlag`; on where there is none.
pub(super) fn runtime_flag(of: &Message, name: &str) -> RuntimeFlag {
    let Some(flag) = of.message(name) else { return RuntimeFlag::on() };
    RuntimeFlag {
        default: flag.boolean("default_value").unwrap_or(true),
        key: flag.text("runtime_key").unwrap_or_default().to_owned(),
    }
}

/// `ListenerFilterChainMatchPredicate`
fn port_rule(set: &Message) -> PortRule {
    let all = |list: &Message| list.messages("rules").map(port_rule).collect();
    if let Some(list) = set.message("or_match") {
        return PortRule::Or(all(list));
    }
    if let Some(list) = set.message("and_match") {
        return PortRule::And(all(list));
    }
    if let Some(rule) = set.message("not_match") {
        return PortRule::Not(Box::new(port_rule(rule)));
    }
    match set.message("destination_port_range") {
        Some(range) => {
            let bound = |name| range.integer(name).unwrap_or(0);
            PortRule::Range(bound("start"), bound("end"))
        }
        None => {
            set.boolean("any_match");
            PortRule::Any
        }
    }
}

/// The old way to ask for PROXY headers. Observed: Envoy 1.40 looks at the first chain alone, and lets the filter look after all
/// others.
fn proxied_by_chain(listener: &Message) -> bool {
    let chains = listener.messages("filter_chains");
    let mut asked = chains.map(|chain| chain.boolean("use_proxy_proto") == Some(true));
    let first = asked.next() == Some(true);
    // All of them are read.
    let _ = asked.count();
    let _ = listener.message("default_filter_chain").map(|last| last.boolean("use_proxy_proto"));
    first
}
