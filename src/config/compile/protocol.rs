//! Owns compiling protocol options, for both sides.

use std::{sync::Arc, time::Duration};

use super::{Compiler, http::limit, keepalive::keepalive};
use crate::{
    codec::Keeping,
    config::{
        Message,
        message::Value,
        model::{
            cluster::{ServerNameOf, Upstream, UpstreamProtocol},
            http::{FloodLimits, Http2Options},
            http1::{HeaderCase, Http1Options},
        },
    },
};

const PRESERVE_CASE: &str =
    "envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";

impl Compiler<'_> {
    pub(super) fn http1_options(&mut self, options: Option<&Message>) -> Http1Options {
        let Some(options) = options else { return Http1Options::default() };
        let flag = |name: &str| options.boolean(name).unwrap_or(false);
        options.ignore("use_balsa_parser", "the parser is our own");
        if flag("allow_custom_methods") {
            let field = "allow_custom_methods";
            let what = "`allow_custom_methods: true`";
            self.unsupported(options.at_of(field), &options.path_of(field), what);
        }
        let goes_on = options.boolean("override_stream_error_on_invalid_http_message");
        let ignored = options.messages("ignore_http_11_upgrade");
        let ignored_upgrades = ignored.filter_map(|matcher| self.text_matcher(matcher)).collect();
        let default_host = options.text("default_host_for_http_10").unwrap_or_default();
        Http1Options {
            accept_http_10: flag("accept_http_10"),
            default_host_for_http_10: default_host.to_owned(),
            allow_absolute_url: options.boolean("allow_absolute_url").unwrap_or(true),
            enable_trailers: flag("enable_trailers"),
            header_case: self.header_case(options),
            allow_chunked_length: flag("allow_chunked_length"),
            goes_on_after_bad_request: goes_on,
            fully_qualified_url: flag("send_fully_qualified_url"),
            ignored_upgrades,
        }
    }

    fn header_case(&mut self, options: &Message) -> HeaderCase {
        let Some(format) = options.message("header_key_format") else { return HeaderCase::Lower };
        if format.message("proper_case_words").is_some() {
            return HeaderCase::Proper;
        }
        let Some(formatter) = format.message("stateful_formatter") else {
            return HeaderCase::Lower;
        };
        formatter.ignore("name", "free text; the type decides");
        let Some(config) = formatter.any("typed_config") else { return HeaderCase::Lower };
        let config = &config.message;
        if config.name() != PRESERVE_CASE {
            self.refuse_whole(config, config.name());
            return HeaderCase::Lower;
        }
        let others = config.choice("formatter_type_on_envoy_headers");
        HeaderCase::Preserve(Keeping {
            others_proper: others == Some("PROPER_CASE"),
            reason: config.boolean("forward_reason_phrase").unwrap_or(false),
        })
    }

    pub(super) fn http2_options(&mut self, options: Option<&Message>) -> Http2Options {
        let default = Http2Options::default();
        let Some(options) = options else { return default };
        let number = |name: &str, default| options.number_u32(name).unwrap_or(default);
        options.ignore("use_oghttp2_codec", "the codec is the h2 crate");
        options.ignore("max_metadata_size", "counts only with metadata, which is refused");
        options.ignore("enable_huffman_encoding", "how a value is written, not what it says");
        if options.boolean("allow_metadata") == Some(true) {
            let field = "allow_metadata";
            let what = "`allow_metadata: true`";
            self.unsupported(options.at_of(field), &options.path_of(field), what);
        }
        for field in ["max_outbound_frames", "max_outbound_control_frames"] {
            if options.get(field).is_some() {
                let why = "(what waits to be sent is bounded by flow control and the h2 crate)";
                let what = format!("`{field}` {why}");
                self.unsupported(options.at_of(field), &options.path_of(field), &what);
            }
        }
        let why = "a bad stream ends alone, whatever this says";
        options.ignore("override_stream_error_on_invalid_http_message", why);
        options.ignore("stream_error_on_invalid_http_messaging", why);
        let streams = number("max_concurrent_streams", default.concurrent_streams_max);
        let stream_window = number("initial_stream_window_size", default.stream_window_bytes);
        let window = number("initial_connection_window_size", default.connection_window_bytes);
        Http2Options {
            concurrent_streams_max: streams,
            stream_window_bytes: stream_window,
            connection_window_bytes: window,
            hpack_table_bytes: number("hpack_table_size", default.hpack_table_bytes),
            allow_connect: options.boolean("allow_connect").unwrap_or(false),
            keepalive: keepalive(options),
            floods: flood_limits(options),
        }
    }

    /// What is spoken to a cluster's hosts: by fields of its own, which are deprecated, or by
    /// `typed_extension_protocol_options`.
    pub(super) fn spoken_upstream(&mut self, cluster: &Message, upstream: &mut Upstream) {
        let http1 = cluster.message("http_protocol_options");
        let http2 = cluster.message("http2_protocol_options");
        let by_downstream = cluster.choice("protocol_selection") == Some("USE_DOWNSTREAM_PROTOCOL");
        if by_downstream || http1.is_some() || http2.is_some() {
            upstream.protocol = match (by_downstream, http2) {
                (false, Some(http2)) => UpstreamProtocol::Http2(self.http2_options(Some(http2))),
                (false, None) => UpstreamProtocol::Http1(self.http1_options(http1)),
                (true, http2) => UpstreamProtocol::ByDownstream(
                    self.http1_options(http1),
                    self.http2_options(http2),
                ),
            };
        }
        if let Some(requests) = cluster.number_u32("max_requests_per_connection") {
            upstream.max_requests_per_connection = requests;
        }
        if let Some(common) = cluster.message("common_http_protocol_options") {
            common_options(common, upstream);
        }
        if let Some(options) = cluster.message("upstream_http_protocol_options") {
            self.server_name_of(options, upstream);
        }
        for (_, item) in cluster.map("typed_extension_protocol_options") {
            let Value::Any(any) = &item.value else { continue };
            if any.message.name() != "envoy.extensions.upstreams.http.v3.HttpProtocolOptions" {
                self.refuse_whole(&any.message, any.message.name());
                continue;
            }
            self.upstream_options(&any.message, upstream);
        }
    }

    /// `UpstreamHttpProtocolOptions`
    fn server_name_of(&mut self, options: &Message, upstream: &mut Upstream) {
        let header = options.text("override_auto_sni_header").filter(|name| !name.is_empty());
        let asks = options.boolean("auto_sni") == Some(true);
        upstream.server_name_of = asks.then(|| match header {
            Some(name) => ServerNameOf::Header(name.to_ascii_lowercase()),
            None => ServerNameOf::Authority,
        });
        if options.boolean("auto_san_validation") != Some(true) {
            return;
        }
        if !asks {
            let field = "auto_san_validation";
            let what = "`auto_san_validation` without `auto_sni`";
            return self.unsupported(options.at_of(field), &options.path_of(field), what);
        }
        let matches = upstream.socket_matches.iter_mut().filter_map(|one| one.tls.as_mut());
        for tls in upstream.tls.iter_mut().chain(matches) {
            match tls.verifying_server_name() {
                Ok(verifying) => *tls = Arc::new(verifying),
                Err(error) => self.error(options.at, &options.path, error.to_string(), ""),
            }
        }
    }

    fn upstream_options(&mut self, options: &Message, upstream: &mut Upstream) {
        if let Some(common) = options.message("common_http_protocol_options") {
            common_options(common, upstream);
        }
        if let Some(options) = options.message("upstream_http_protocol_options") {
            self.server_name_of(options, upstream);
        }
        let outliers = options.message("outlier_detection");
        if let Some(matcher) = outliers.and_then(|outliers| outliers.message("error_matcher")) {
            upstream.errors = self.answer_matcher(matcher);
        }
        if let Some(explicit) = options.message("explicit_http_config") {
            upstream.protocol = match explicit.message("http2_protocol_options") {
                Some(http2) => UpstreamProtocol::Http2(self.http2_options(Some(http2))),
                None => {
                    let http1 = explicit.message("http_protocol_options");
                    UpstreamProtocol::Http1(self.http1_options(http1))
                }
            };
        } else if let Some(same) = options.message("use_downstream_protocol_config") {
            upstream.protocol = UpstreamProtocol::ByDownstream(
                self.http1_options(same.message("http_protocol_options")),
                self.http2_options(same.message("http2_protocol_options")),
            );
        } else if let Some(auto) = options.message("auto_config") {
            let one = self.http1_options(auto.message("http_protocol_options"));
            let two = self.http2_options(auto.message("http2_protocol_options"));
            upstream.protocol = UpstreamProtocol::Auto(one, two);
            if upstream.tls.is_none() || upstream.socket_matches.iter().any(|m| m.tls.is_none()) {
                let (at, path) = (options.at_of("auto_config"), options.path_of("auto_config"));
                let text = "ALPN configured for a cluster which has a non-ALPN transport socket";
                let hint = "say what is spoken (`explicit_http_config` or \
                            `use_downstream_protocol_config`), or give the cluster TLS";
                self.error(at, &path, text, hint);
            }
        }
    }
}

/// `common_http_protocol_options` of a cluster.
fn common_options(common: &Message, upstream: &mut Upstream) {
    let hour = Some(Duration::from_secs(3600));
    upstream.idle_timeout = limit(common.duration("idle_timeout"), hour);
    upstream.max_connection_duration = limit(common.duration("max_connection_duration"), None);
    upstream.max_stream_duration = limit(common.duration("max_stream_duration"), None);
    if let Some(requests) = common.number_u32("max_requests_per_connection") {
        upstream.max_requests_per_connection = requests;
    }
    let size = |name: &str| common.number(name).and_then(|number| usize::try_from(number).ok());
    if let Some(count) = size("max_headers_count") {
        upstream.response_headers_max = count;
    }
    upstream.response_headers_bytes_max =
        size("max_response_headers_kb").map(|kb| kb.saturating_mul(1024));
    common.ignore("headers_with_underscores_action", "of requests alone. Observed: Envoy 1.40");
}

/// Limits of frames, where any is set. Source: the defaults of `Http2ProtocolOptions`.
fn flood_limits(options: &Message) -> Option<FloodLimits> {
    let empty = options.number_u32("max_consecutive_inbound_frames_with_empty_payload");
    let priority = options.number_u32("max_inbound_priority_frames_per_stream");
    let updates = options.number_u32("max_inbound_window_update_frames_per_data_frame_sent");
    empty.or(priority).or(updates)?;
    Some(FloodLimits {
        empty_in_a_row_max: empty.unwrap_or(1),
        priority_per_stream_max: priority.unwrap_or(100),
        window_updates_per_data_max: updates.unwrap_or(10),
    })
}
