//! Owns compiling an HTTP connection manager.

use std::{collections::HashSet, sync::Arc, time::Duration};

use understudy_actors::plan::{RdsPlan, RoutesPlan};

use super::{Compiler, listener::CONNECTION_MANAGER, resource::table_name};
use crate::{
    config::{
        Message,
        digest::digest,
        message::Set,
        model::http::{
            CodecType, HostForm, HostPort, HttpConnectionManager, ProxyStatus, ServerHeader,
        },
    },
    route::RouteTable,
};

/// A timeout of which zero means none.
pub(super) fn limit(timeout: Option<Duration>, default: Option<Duration>) -> Option<Duration> {
    match timeout {
        Some(timeout) => (!timeout.is_zero()).then_some(timeout),
        None => default,
    }
}

impl Compiler<'_> {
    pub(super) fn connection_manager(
        &mut self,
        manager: &Message,
        key: &str,
        listener_stat_prefix: &str,
        clusters: &HashSet<String>,
        routes: &mut Vec<Arc<RoutesPlan>>,
    ) -> HttpConnectionManager {
        let common = manager.message("common_http_protocol_options");
        let own = |name: &str| common.and_then(|common| common.duration(name));
        let hour = Duration::from_secs(3600);
        let header_kb = manager.number("max_request_headers_kb").unwrap_or(60);
        let (filters, router) = self.http_filters(manager);
        let http1 = self.http1_options(manager.message("http_protocol_options"));
        let goes_on = manager.boolean("stream_error_on_invalid_http_message");
        if let Some(common) = common {
            common.ignore("max_response_headers_kb", "of upstreams alone");
        }
        HttpConnectionManager {
            stat_prefix: manager.text("stat_prefix").unwrap_or_default().to_owned(),
            listener_stat_prefix: listener_stat_prefix.to_owned(),
            drains_with_server: true,
            codec: self.codec_type(manager),
            routes: self.route_table(manager, key, clusters, routes),
            filters,
            router,
            upgrades: self.upgrades(manager),
            goes_on_after_bad_request: http1.goes_on_after_bad_request.or(goes_on).unwrap_or(false),
            http1,
            http2: self.http2_options(manager.message("http2_protocol_options")),
            server_name: manager
                .text("server_name")
                .filter(|name| !name.is_empty())
                .unwrap_or("envoy")
                .to_owned(),
            server_header: match manager.choice("server_header_transformation") {
                Some("APPEND_IF_ABSENT") => ServerHeader::AppendIfAbsent,
                Some("PASS_THROUGH") => ServerHeader::PassThrough,
                _ => ServerHeader::Overwrite,
            },
            use_remote_address: manager.boolean("use_remote_address").unwrap_or(false),
            xff_trusted_hops: manager.number_u32("xff_num_trusted_hops").unwrap_or(0),
            skip_xff_append: manager.boolean("skip_xff_append").unwrap_or(false),
            internal_addresses: manager
                .message("internal_address_config")
                .map(|config| self.internal_addresses(config))
                .unwrap_or_default(),
            client: self.client_options(manager),
            via: manager.text("via").unwrap_or_default().to_owned(),
            generate_request_id: manager.boolean("generate_request_id").unwrap_or(true),
            preserve_external_request_id: manager
                .boolean("preserve_external_request_id")
                .unwrap_or(false),
            always_set_request_id_in_response: manager
                .boolean("always_set_request_id_in_response")
                .unwrap_or(false),
            paths: self.path_options(manager),
            underscores: self.underscores(common),
            proxy_100_continue: manager.boolean("proxy_100_continue").unwrap_or(false),
            request_headers_bytes_max: usize::try_from(header_kb).unwrap_or(8192) * 1024,
            request_headers_max: common
                .and_then(|common| common.number("max_headers_count"))
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(100),
            idle_timeout: limit(own("idle_timeout"), Some(hour)),
            max_connection_duration: limit(own("max_connection_duration"), None),
            max_connection_duration_jitter: common
                .and_then(|common| common.message("max_connection_duration_jitter"))
                .and_then(|percent| percent.double("value"))
                .unwrap_or(0.0),
            max_requests_per_connection: common
                .and_then(|common| common.number_u32("max_requests_per_connection"))
                .unwrap_or(0),
            max_stream_duration: limit(own("max_stream_duration"), None),
            stream_idle_timeout: limit(
                manager.duration("stream_idle_timeout"),
                Some(Duration::from_secs(300)),
            ),
            request_timeout: limit(manager.duration("request_timeout"), None),
            request_headers_timeout: limit(manager.duration("request_headers_timeout"), None),
            drain_timeout: manager.duration("drain_timeout").unwrap_or(Duration::from_secs(5)),
            delayed_close_timeout: limit(
                manager.duration("delayed_close_timeout"),
                Some(Duration::from_secs(1)),
            ),
            access_logs: self.access_logs(manager),
            listener_logs: Vec::new(),
            logged: self.logged(manager),
            early_mutations: self.early_mutations(manager),
            proxy_status: self.proxy_status(manager).map(Box::new),
            local_replies: self.local_replies(manager).map(Box::new),
            filter_chain: Arc::default(),
            node_cluster: self.node.cluster.clone(),
            host_form: self.host_form(manager),
        }
    }

    /// `proxy_status_config`
    fn proxy_status(&mut self, manager: &Message) -> Option<ProxyStatus> {
        let config = manager.message("proxy_status_config")?;
        let flag = |name: &str| config.boolean(name).unwrap_or(false);
        let why = "nothing is known of why a connection was ended while its answer begins";
        config.ignore("remove_connection_termination_details", why);
        let literal = config.text("literal_proxy_name").filter(|name| !name.is_empty());
        let server = manager.text("server_name").filter(|name| !name.is_empty());
        let name = match flag("use_node_id") {
            true => self.node.id.as_str(),
            false => literal.or(server).unwrap_or("envoy"),
        };
        Some(ProxyStatus {
            name: name.to_owned(),
            tells_details: !flag("remove_details"),
            tells_flags: !flag("remove_response_flags"),
            sets_status: flag("set_recommended_response_code"),
        })
    }

    /// What of a request's host is not to be seen.
    fn host_form(&mut self, manager: &Message) -> HostForm {
        let flag = |name: &str| manager.boolean(name).unwrap_or(false);
        let matching = flag("strip_matching_host_port");
        let any = flag("strip_any_host_port");
        if matching && any {
            let text = "only one of strip_matching_host_port and strip_any_host_port can be set";
            self.error(manager.at, &manager.path, text, "");
        }
        HostForm {
            port: match (matching, any) {
                (_, true) => HostPort::StripAny,
                (true, false) => HostPort::StripOwn,
                (false, false) => HostPort::Keep,
            },
            strip_trailing_dot: flag("strip_trailing_host_dot"),
        }
    }

    fn codec_type(&mut self, manager: &Message) -> CodecType {
        match manager.choice("codec_type") {
            Some("HTTP1") => CodecType::Http1,
            Some("HTTP2") => CodecType::Http2,
            Some("HTTP3") => {
                let (at, path) = (manager.at_of("codec_type"), manager.path_of("codec_type"));
                self.unsupported(at, &path, "HTTP3");
                CodecType::Auto
            }
            _ => CodecType::Auto,
        }
    }

    fn route_table(
        &mut self,
        manager: &Message,
        key: &str,
        clusters: &HashSet<String>,
        routes: &mut Vec<Arc<RoutesPlan>>,
    ) -> usize {
        if let Some(rds) = manager.message("rds") {
            return self.rds(rds, manager.text("stat_prefix").unwrap_or_default());
        }
        let config = manager.message("route_config");
        let name = config.and_then(|config| config.text("name")).unwrap_or_default();
        let name = format!("{key}/{name}");
        let slot = self.slots.tables.of(&name);
        if let Some(config) = config {
            let (table, held) = self.reading(|this| this.route_config(config, clusters, true));
            let table: understudy_actors::plan::Payload = Arc::new(RouteTable::new(table));
            // What is kept of a body is the listener's word, where the route has none.
            let fingerprint = digest(config) ^ held ^ self.connection_buffer_bytes as u64;
            routes.push(Arc::new(RoutesPlan { name, slot, table, fingerprint }));
        }
        slot
    }

    /// A table that comes by itself; until then there is none.
    fn rds(&mut self, rds: &Message, stat_prefix: &str) -> usize {
        let name = rds.text("route_config_name").unwrap_or_default().to_owned();
        let source = rds.message("config_source").and_then(|source| self.config_source(source));
        // Without one there is an error already.
        let Some(source) = source else { return self.slots.tables.of("") };
        let slot = self.slots.tables.of(&table_name(source.path(), &name));
        self.rds.push(RdsPlan { name, source, stat_prefix: stat_prefix.to_owned() });
        slot
    }
}

/// What of a connection manager its connections do not depend on.
pub(super) fn is_route_config(message: &Message, set: &Set) -> bool {
    message.name() == CONNECTION_MANAGER && set.field.name == "route_config"
}
