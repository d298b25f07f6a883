//! Owns compiling `envoy.filters.network.tcp_proxy`.

use std::{sync::Arc, time::Duration};

use super::{Compiler, http::limit, lb_metadata::lb_metadata};
use crate::config::{
    Message,
    message::Value,
    model::{
        listener::FilterChainInfo,
        route::HeaderEdits,
        tcp_proxy::{
            ClusterShare, Logged, RequestId, TcpProxy, Tlv, TlvMerge, TlvValue, Tunnelling,
        },
    },
};

const BESIDE: &str = "what stands beside `envoy.lb` says nothing to balancers";

/// Envoy's `request_id_header` default.
const REQUEST_ID_HEADER: &str = "x-request-id";

/// Envoy's `request_id_metadata_key` default.
const REQUEST_ID_METADATA_KEY: &str = "tunnel_request_id";

/// Envoy's `idle_timeout` default.
const IDLE: Duration = Duration::from_secs(3600);

impl Compiler<'_> {
    pub(super) fn tcp_proxy(
        &mut self,
        proxy: &Message,
        filter_chain: &Arc<FilterChainInfo>,
    ) -> Option<TcpProxy> {
        for field in ["downstream_idle_timeout", "upstream_idle_timeout"] {
            proxy.ignore(field, "Envoy 1.40 takes it and does nothing");
        }
        let metadata_match = lb_metadata(proxy, "metadata_match");
        proxy.ignore("metadata_match", BESIDE);
        let mut clusters = Vec::new();
        if let Some(name) = proxy.text("cluster") {
            // One that nobody has brought yet is none of ours to refuse. Observed: Envoy 1.40.
            let (slot, metadata_match) = (self.slots.clusters.of(name), metadata_match.clone());
            clusters.push(ClusterShare { slot, weight: 1, metadata_match });
        }
        if let Some(weighted) = proxy.message("weighted_clusters") {
            for share in weighted.messages("clusters") {
                let Some(name) = share.text("name") else { continue };
                let weight = share.number_u32("weight").unwrap_or(1);
                let mut metadata_match = metadata_match.clone();
                metadata_match.extend(lb_metadata(share, "metadata_match"));
                share.ignore("metadata_match", BESIDE);
                let slot = self.slots.clusters.of(name);
                clusters.push(ClusterShare { slot, weight, metadata_match });
            }
        }
        let sum: u64 = clusters.iter().map(|share| u64::from(share.weight)).sum();
        let Ok(weights) = u32::try_from(sum) else {
            let (at, path) = (proxy.at_of("weighted_clusters"), proxy.path_of("weighted_clusters"));
            let text = "The sum of weights of all weighted clusters exceeds 4294967295";
            self.error(at, &path, text, "");
            return None;
        };
        let jitter = proxy.message("max_downstream_connection_duration_jitter_percentage");
        let backoff = proxy.message("backoff_options").map(|backoff| {
            let first = backoff.duration("base_interval").unwrap_or_default();
            let longest = backoff.duration("max_interval");
            (first, longest.unwrap_or_else(|| first.saturating_mul(10)))
        });
        let options = proxy.message("access_log_options");
        let flag = |name: &str| options.and_then(|options| options.boolean(name)).unwrap_or(false);
        let every = options.and_then(|options| options.duration("access_log_flush_interval"));
        let old = proxy.boolean("flush_access_log_on_connected").unwrap_or(false);
        let tunnelling = match proxy.message("tunneling_config") {
            Some(set) => Some(self.tunnelling(set)?),
            None => None,
        };
        let waits_for_data = self.upstream_connect_mode(proxy);
        Some(TcpProxy {
            stat_prefix: proxy.text("stat_prefix").unwrap_or_default().to_owned(),
            clusters,
            metadata_match,
            weights,
            hashes_source: proxy
                .messages("hash_policy")
                .any(|policy| policy.message("source_ip").is_some()),
            idle_timeout: limit(proxy.duration("idle_timeout"), Some(IDLE)),
            duration_max: proxy.duration("max_downstream_connection_duration"),
            duration_jitter_percent: jitter
                .and_then(|percent| percent.double("value"))
                .unwrap_or(0.0),
            connect_attempts_max: proxy.number_u32("max_connect_attempts").unwrap_or(1),
            backoff,
            waits_for_data,
            drains_with_server: proxy.boolean("check_drain_close") == Some(true),
            tlvs: self.tlvs(proxy, "proxy_protocol_tlvs"),
            tlv_merge: match proxy.choice("proxy_protocol_tlv_merge_policy") {
                Some("OVERWRITE_BY_TYPE_IF_EXISTS_OR_ADD") => TlvMerge::Overwrite,
                Some("APPEND_IF_EXISTS_OR_ADD") => TlvMerge::Append,
                _ => TlvMerge::AddIfAbsent,
            },
            tunnelling,
            access_logs: self.access_logs(proxy),
            listener_logs: Vec::new(),
            logged: Logged {
                at_start: flag("flush_access_log_on_start"),
                when_connected: old || flag("flush_access_log_on_connected"),
                every: every.or(proxy.duration("access_log_flush_interval")),
            },
            filter_chain: filter_chain.clone(),
        })
    }

    /// Whether a host is looked for only when the client has said something. Here a handshake is over before a TCP proxy
    /// has the connection: `ON_DOWNSTREAM_TLS_HANDSHAKE` is what happens anyway.
    fn upstream_connect_mode(&mut self, proxy: &Message) -> bool {
        let mode = proxy.choice("upstream_connect_mode").unwrap_or("IMMEDIATE");
        if mode != "IMMEDIATE" && proxy.peek("max_early_data_bytes").is_none() {
            // Observed: Envoy 1.40 refuses it in these words.
            let text =
                "max_early_data_bytes must be set when upstream_connect_mode is not IMMEDIATE";
            let (at, path) =
                (proxy.at_of("upstream_connect_mode"), proxy.path_of("upstream_connect_mode"));
            self.error(at, &path, text, "write `max_early_data_bytes: 8192`");
        }
        proxy.ignore(
            "max_early_data_bytes",
            "one buffer is read, and what is more waits in the socket",
        );
        mode == "ON_DOWNSTREAM_DATA"
    }

    /// A list of `TlvEntry`s. Fixed values come first, whatever their order. Observed: Envoy 1.40.
    pub(super) fn tlvs(&mut self, of: &Message, field: &str) -> Vec<Tlv> {
        let (mut fixed, mut formats) = (Vec::new(), Vec::new());
        for entry in of.messages(field) {
            let tlv_type = entry.number("type").and_then(|kind| u8::try_from(kind).ok());
            let tlv_type = tlv_type.unwrap_or(0);
            let value = match entry.get("value").map(|set| &set.value) {
                Some(Value::Bytes(bytes)) if !bytes.is_empty() => Some(bytes.as_slice()),
                _ => None,
            };
            // Observed: Envoy 1.40 refuses both in these words.
            let wrong = match (value, entry.message("format_string")) {
                (Some(value), None) => {
                    fixed.push(Tlv { tlv_type, value: TlvValue::Fixed(value.into()) });
                    continue;
                }
                (None, Some(format)) => {
                    if let Some(format) = self.format_string(format) {
                        formats.push(Tlv { tlv_type, value: TlvValue::Format(format) });
                    }
                    continue;
                }
                (Some(_), Some(_)) => "only one of 'value' or 'format_string' may be set.",
                (None, None) => "one of 'value' or 'format_string' must be set.",
            };
            let text = format!("Invalid TLV configuration: {wrong}");
            self.error(entry.at, &entry.path, text, "say its value, or a format that makes it");
        }
        fixed.append(&mut formats);
        fixed
    }

    /// `TunnelingConfig`
    fn tunnelling(&mut self, set: &Message) -> Option<Tunnelling> {
        let hostname = set.text("hostname").unwrap_or_default();
        let (at, path) = (set.at_of("hostname"), set.path_of("hostname"));
        let hostname = self.format(at, &path, hostname)?;
        let post = set.boolean("use_post") == Some(true);
        let path = set.text("post_path").filter(|path| !path.is_empty());
        if let (Some(_), false) = (path, post) {
            // Observed: Envoy 1.40 refuses it in these words.
            let text = "Can't set a post path when POST method isn't used";
            self.error(set.at_of("post_path"), &set.path_of("post_path"), text, "set `use_post`");
        }
        let add = set.messages("headers_to_add").filter_map(|option| self.header_edit(option));
        let headers = HeaderEdits { add: add.collect(), ..HeaderEdits::default() };
        let post_path = post.then(|| path.unwrap_or("/").to_owned());
        let request_id = self.tunnel_request_id(set);
        let asked = |field| set.boolean(field) == Some(true);
        Some(Tunnelling {
            hostname,
            post_path,
            headers,
            request_id,
            leaves_headers: asked("propagate_response_headers"),
            leaves_trailers: asked("propagate_response_trailers"),
        })
    }

    /// `request_id_extension` with what belongs to it. Observed: Envoy 1.40 makes no id by one that says no type.
    fn tunnel_request_id(&mut self, set: &Message) -> Option<RequestId> {
        let text = |field| set.text(field).filter(|text| !text.is_empty());
        let (header, key) = (text("request_id_header"), text("request_id_metadata_key"));
        if let Some(name) = header.filter(|name| !may_have_an_id(name)) {
            let text = format!("`{name}` is no header for an id");
            let hint = "write the name of a header that says nothing else, such as x-request-id";
            let field = "request_id_header";
            self.error(set.at_of(field), &set.path_of(field), &text, hint);
        }
        let is_made = set
            .message("request_id_extension")
            .is_some_and(|extension| self.request_id_extension(extension).is_some());
        is_made.then(|| RequestId {
            header: header.unwrap_or(REQUEST_ID_HEADER).to_ascii_lowercase(),
            metadata_key: key.unwrap_or(REQUEST_ID_METADATA_KEY).to_owned(),
        })
    }
}

/// Whether a header is none of those that make the request what it is. Envoy 1.40 takes them, and sends what no host can
/// read, or nothing.
fn may_have_an_id(name: &str) -> bool {
    let framing = ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te"];
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    name.bytes().all(is_token) && !framing.iter().any(|known| name.eq_ignore_ascii_case(known))
}
