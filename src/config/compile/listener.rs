//! Owns compiling listeners and their filter chains.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use understudy_actors::{
    address::Address,
    plan::{ListenerPlan, RoutesPlan, SocketPlan, SocketState},
    socket_option::SocketOption,
};

use super::{Compiler, http::is_route_config, route::filter_metadata, socket::tcp_keepalive};
use crate::config::{
    Message,
    diagnostic::Span,
    digest::{digest, digest_without},
    message::Value,
    model::{
        filter_chain_match::{FilterChainMatch, SourceType},
        http::HttpConnectionManager,
        listener::{FilterChain, FilterChainInfo, FilterChains, Plain, Terminal},
        listener_filter::{ListenerFilter, ListenerFilterKind},
    },
};
use crate::{network::KINDS, tls::ServerContext};

/// Envoy's `tcp_backlog_size` default is the kernel's limit; this is more than most kernels allow.
const BACKLOG: u32 = 4096;

/// Connections of one listener on one worker; far above what a process may have descriptors for.
const CONNECTIONS_MAX: u32 = 1_000_000;

/// Envoy's `per_connection_buffer_limit_bytes` default.
pub(super) const CONNECTION_BUFFER_BYTES: usize = 1 << 20;

pub(super) const CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

const DOWNSTREAM_TLS: &str = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";

/// Envoy's `listener_filters_timeout` default.
const LISTENER_FILTERS_WAIT: Duration = Duration::from_secs(15);

const ECHO: &str = "envoy.extensions.filters.network.echo.v3.Echo";

const DIRECT_RESPONSE: &str = "envoy.extensions.filters.network.direct_response.v3.Config";

const TCP_PROXY: &str = "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

impl Compiler<'_> {
    pub(super) fn listeners(
        &mut self,
        resources: &Message,
        clusters: &HashSet<String>,
    ) -> (Vec<Arc<ListenerPlan>>, Vec<Arc<RoutesPlan>>) {
        let (mut listeners, mut routes) = (Vec::<Arc<ListenerPlan>>::new(), Vec::new());
        for listener in resources.messages("listeners") {
            let Some(plan) = self.listener(listener, clusters, &mut routes) else { continue };
            if listeners.iter().any(|known| known.name == plan.name) {
                let text = format!("duplicate listener name {:?}", plan.name);
                self.error(listener.at, &listener.path, text, "give each its own");
            }
            let taken = listeners.iter().find_map(|known| {
                let its = |at| known.binds().any(|(its, _)| its == at);
                let fixed = plan.binds().map(|(at, _)| at).filter(|at| at.port() != Some(0));
                fixed.into_iter().find(|at| its(*at)).map(|at| (&known.name, at))
            });
            if let Some((name, at)) = taken {
                let text = format!("listener {name:?} has the address {at} already");
                self.error(listener.at_of("address"), &listener.path_of("address"), text, "");
            }
            listeners.push(Arc::new(plan));
        }
        (listeners, routes)
    }

    pub(super) fn listener(
        &mut self,
        listener: &Message,
        clusters: &HashSet<String>,
        routes: &mut Vec<Arc<RoutesPlan>>,
    ) -> Option<ListenerPlan> {
        let (plan, held) = self.reading(|this| this.listener_as_told(listener, clusters, routes));
        let plan = plan?;
        Some(ListenerPlan {
            chains_fingerprint: plan.chains_fingerprint ^ held,
            fingerprint: plan.fingerprint ^ held,
            ..plan
        })
    }

    /// The same, whatever stands in the files that it names.
    fn listener_as_told(
        &mut self,
        listener: &Message,
        clusters: &HashSet<String>,
        routes: &mut Vec<Arc<RoutesPlan>>,
    ) -> Option<ListenerPlan> {
        listener.ignore("enable_reuse_port", "each worker has a socket of its own in any case");
        listener.ignore("reuse_port", "each worker has a socket of its own in any case");
        // Bodies stream; it bounds what is kept of one that may be sent again.
        let kept = listener.number("per_connection_buffer_limit_bytes");
        self.connection_buffer_bytes = kept
            .filter(|bytes| *bytes > 0)
            .map_or(CONNECTION_BUFFER_BYTES, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if let Some(field) = other_kind(listener) {
            for set in &listener.fields {
                listener.ignore(set.field.name, "the whole listener is refused");
            }
            let (at, path) = (listener.at_of(field), listener.path_of(field));
            self.unsupported(at, &path, &format!("`{field}`"));
            return None;
        }
        let Some(address) = listener.message("address") else {
            let text = "error adding listener: address is necessary";
            self.error(listener.at, &listener.path, text, "add `address`");
            return None;
        };
        // Observed: Envoy 1.40 binds where neither says no.
        let v1 = listener.message("deprecated_v1").and_then(|v1| v1.boolean("bind_to_port"));
        let bind_to_port = listener.boolean("bind_to_port") != Some(false) && v1 != Some(false);
        let socket = self.socket_plan(listener, address, listener);
        let address = self.address(address);
        let additional = self.additional_addresses(listener);
        let name = listener.text("name").filter(|name| !name.is_empty()).map(str::to_owned);
        let named = address.map_or(String::new(), |address| address.to_string());
        let name = name.unwrap_or_else(|| made_up_name(&named));
        let stat_prefix = listener.text("stat_prefix").filter(|prefix| !prefix.is_empty());
        let stat_prefix = stat_prefix.map_or_else(|| named.clone(), str::to_owned);
        let mut chains: Vec<FilterChain> = Vec::new();
        self.rds.clear();
        self.sds.clear();
        let all = listener.messages("filter_chains").map(|chain| (chain, false));
        let default = listener.message("default_filter_chain").map(|chain| (chain, true));
        let mut default_chain = None;
        let of_listener = listener.message("metadata").map(filter_metadata).map(Arc::new);
        for (index, (chain, is_default)) in all.chain(default).enumerate() {
            let info = Arc::new(FilterChainInfo {
                name: chain.text("name").unwrap_or_default().to_owned(),
                metadata: chain.message("metadata").map(filter_metadata),
                listener_metadata: of_listener.clone(),
            });
            let key = format!("{name}/{index}");
            let made = self.filter_chain(chain, info, &key, &stat_prefix, clusters, routes);
            let Some(made) = made else { continue };
            match is_default {
                true => default_chain = Some(made),
                false => {
                    if listener.peek("filter_chain_matcher").is_none() {
                        self.must_differ(&chains, &made, chain, &name);
                    }
                    chains.push(made);
                }
            }
        }
        let logs = self.access_logs(listener);
        let drains_with_server = listener.choice("drain_type") != Some("MODIFY_ONLY");
        for chain in chains.iter_mut().chain(&mut default_chain) {
            chain.terminal.log_connections(&logs);
            chain.terminal.drains_with_server(drains_with_server);
        }
        if listener.list("filter_chains").is_empty() && default_chain.is_none() && default.is_none()
        {
            let text = format!("error adding listener '{name}': no filter chains specified");
            self.error(listener.at, &listener.path, text, "add `filter_chains`");
        }
        let matcher = self.filter_chain_matcher(listener, &name, &chains);
        listener.ignore("bypass_overload_manager", "there is no overload manager");
        let use_original_dst = listener.boolean("use_original_dst") == Some(true);
        let mut listener_filters = self.listener_filters(listener, &chains, matcher.as_ref());
        if use_original_dst {
            // Observed: Envoy 1.40 lets it look last, whatever the file lists.
            let kind = ListenerFilterKind::OriginalDst;
            listener_filters.push(ListenerFilter { disabled: None, kind });
        }
        let timeout = listener.duration("listener_filters_timeout");
        let chains = FilterChains {
            workers: AtomicUsize::new(0),
            chains,
            matcher,
            default: default_chain,
            use_original_dst,
            unmatched: FilterChainInfo { listener_metadata: of_listener, ..Default::default() },
            listener_filters,
            listener_filters_timeout: timeout.map_or(Some(LISTENER_FILTERS_WAIT), |set| {
                Some(set).filter(|wait| !wait.is_zero())
            }),
            continues_on_timeout: listener.boolean("continue_on_listener_filters_timeout")
                == Some(true),
        };
        let balance = listener.message("connection_balance_config");
        let exact_balance = balance.is_some_and(|set| set.message("exact_balance").is_some());
        let backlog = listener.number_u32("tcp_backlog_size").unwrap_or(BACKLOG);
        let inbound = listener.choice("traffic_direction") == Some("INBOUND");
        Some(ListenerPlan {
            name,
            bind_to_port,
            address: address?,
            socket,
            additional,
            ignores_global_limit: listener.boolean("ignore_global_conn_limit") == Some(true),
            exact_balance,
            accepts_max: listener.number_u32("max_connections_to_accept_per_socket_event"),
            stat_prefix,
            backlog,
            inbound,
            connections_max: CONNECTIONS_MAX,
            rds: std::mem::take(&mut self.rds),
            sds: std::mem::take(&mut self.sds),
            chains_fingerprint: chains_fingerprint(listener, &chains),
            fingerprint: fingerprint(listener, &chains),
            chains: Arc::new(chains),
        })
    }

    /// How the socket of one of a listener's addresses is made; `own` has its options and keepalive.
    fn socket_plan(&mut self, listener: &Message, address: &Message, own: &Message) -> SocketPlan {
        let socket = address.message("socket_address");
        let ipv4_compat = socket.and_then(|socket| socket.boolean("ipv4_compat")) == Some(true);
        let prebind = |option| (SocketState::Prebind, option);
        let mut options = Vec::new();
        if let Some(on) = listener.boolean("freebind") {
            options.push(prebind(SocketOption::Freebind(on)));
        }
        if let Some(on) = listener.boolean("transparent") {
            options.push(prebind(SocketOption::Transparent(on)));
        }
        if let Some(clients) = listener.number_u32("tcp_fast_open_queue_length") {
            options.push((SocketState::Listening, SocketOption::FastOpen(clients)));
        }
        let kept = [own, listener].into_iter().find_map(|of| of.message("tcp_keepalive"));
        if let Some(keepalive) = kept.map(tcp_keepalive) {
            options.push(prebind(SocketOption::KeepAlive(true)));
            options.extend(keepalive.idle.map(|idle| prebind(SocketOption::KeepIdle(idle))));
            let interval = keepalive.interval.map(SocketOption::KeepInterval);
            options.extend(interval.map(prebind));
            options.extend(keepalive.probes.map(|count| prebind(SocketOption::KeepProbes(count))));
        }
        // Those of an additional address are in a message of their own.
        let overriding = match std::ptr::eq(own, listener) {
            true => None,
            false => own.message("socket_options"),
        };
        options.extend(self.socket_options_by_state(overriding.unwrap_or(listener)));
        let multipath = listener.boolean("enable_mptcp") == Some(true);
        SocketPlan { ipv4_compat, multipath, mode: self.pipe_mode(address), options }
    }

    fn additional_addresses(&mut self, listener: &Message) -> Vec<(Address, SocketPlan)> {
        let mut additional = Vec::new();
        for one in listener.messages("additional_addresses") {
            let Some(address) = one.message("address") else { continue };
            let socket = self.socket_plan(listener, address, one);
            additional.extend(self.address(address).map(|address| (address, socket)));
        }
        additional
    }

    fn filter_chain(
        &mut self,
        chain: &Message,
        info: Arc<FilterChainInfo>,
        key: &str,
        stat_prefix: &str,
        clusters: &HashSet<String>,
        routes: &mut Vec<Arc<RoutesPlan>>,
    ) -> Option<FilterChain> {
        let tls = match chain.message("transport_socket") {
            Some(socket) => self.downstream_transport_socket(socket),
            None => Some(None),
        };
        let Some(tls) = tls else {
            for set in &chain.fields {
                chain.ignore(set.field.name, "its transport socket is refused");
            }
            return None;
        };
        let matches = chain.message("filter_chain_match");
        let matches = matches.map_or_else(FilterChainMatch::default, |set| self.chain_match(set));
        let handshake_timeout = chain.duration("transport_socket_connect_timeout");
        let (mut filters, mut terminal) = (Vec::new(), None);
        for filter in chain.messages("filters") {
            filter.ignore("name", "free text; the type decides");
            let Some(config) = filter.any("typed_config") else {
                let text = "`typed_config` is missing";
                self.error(filter.at, &filter.path, text, "its `@type` says which filter it is");
                continue;
            };
            if terminal.is_some() {
                let text = "a terminal filter must be the last of its chain";
                self.error(filter.at, &filter.path, text, "");
            }
            match config.message.name() {
                CONNECTION_MANAGER => {
                    let manager = self.connection_manager(
                        &config.message,
                        key,
                        stat_prefix,
                        clusters,
                        routes,
                    );
                    let filter_chain = info.clone();
                    let manager = HttpConnectionManager { filter_chain, ..manager };
                    terminal = Some(Terminal::Http(Arc::new(manager)));
                }
                TCP_PROXY => {
                    let proxy = self.tcp_proxy(&config.message, &info);
                    terminal = proxy.map(|proxy| Terminal::Tcp(Arc::new(proxy)));
                }
                ECHO => terminal = Some(Terminal::Echo(plain(&info))),
                DIRECT_RESPONSE => {
                    let response = config.message.message("response");
                    let response = response.and_then(|response| self.data_source(response));
                    let response = response.unwrap_or_default().into();
                    terminal = Some(Terminal::DirectResponse(plain(&info), response));
                }
                other => match KINDS.iter().find(|kind| kind.config == other) {
                    Some(kind) => filters.extend((kind.build)(&config.message, self)),
                    None => self.refuse_whole(&config.message, other),
                },
            }
        }
        if chain.list("filters").is_empty() {
            self.error(chain.at, &chain.path, "a filter chain needs a filter", "");
        } else if terminal.is_none() && !filters.is_empty() {
            let text = "non-terminal filter must not be the last filter in a network filter chain";
            self.error(
                chain.at_of("filters"),
                &chain.path_of("filters"),
                text,
                "add one that serves",
            );
        }
        let handshake_timeout = handshake_timeout.filter(|wait| !wait.is_zero());
        let terminal = terminal?;
        Some(FilterChain { info, matches, tls, handshake_timeout, filters, terminal })
    }

    /// `FilterChainMatch`
    fn chain_match(&mut self, set: &Message) -> FilterChainMatch {
        let lower = |(name, _): (&str, Span)| name.to_ascii_lowercase();
        let names = set.texts("server_names").map(lower).collect::<Vec<_>>();
        for (name, at) in set.texts("server_names") {
            // Observed: Envoy 1.40 refuses `*` anywhere but in front of a dot.
            let part = name.strip_prefix("*.").unwrap_or(name);
            if name.is_empty() || part.contains('*') {
                let text =
                    format!("partial wildcards are not supported in \"server_names\": {name:?}");
                self.error(at, &set.path, text, "write a whole name, or `*.` and its parent");
            }
        }
        let ports = set.numbers("source_ports");
        FilterChainMatch {
            destination_port: set.number("destination_port").and_then(|port| port.try_into().ok()),
            prefix_ranges: self.ranges(set, "prefix_ranges"),
            server_names: names,
            transport_protocol: set.text("transport_protocol").unwrap_or_default().to_owned(),
            application_protocols: set
                .texts("application_protocols")
                .map(|(name, _)| name.to_owned())
                .collect(),
            direct_source_prefix_ranges: self.ranges(set, "direct_source_prefix_ranges"),
            source_type: match set.choice("source_type") {
                Some("SAME_IP_OR_LOOPBACK") => SourceType::SameIpOrLoopback,
                Some("EXTERNAL") => SourceType::External,
                _ => SourceType::Any,
            },
            source_prefix_ranges: self.ranges(set, "source_prefix_ranges"),
            source_ports: ports.iter().filter_map(|port| u16::try_from(*port).ok()).collect(),
        }
    }

    /// No connection may fit two chains equally well.
    fn must_differ(
        &mut self,
        before: &[FilterChain],
        made: &FilterChain,
        chain: &Message,
        listener: &str,
    ) {
        let Some(same) = before.iter().find(|known| known.matches.overlaps(&made.matches)) else {
            return;
        };
        let how = match same.matches == made.matches {
            true => "the same",
            false => "overlapping",
        };
        let text = format!(
            "error adding listener '{listener}': filter chain '{}' has {how} matching rules as '{}'",
            made.info.name, same.info.name
        );
        let hint = "give each a `filter_chain_match` of its own";
        self.error(chain.at, &chain.path, text, hint);
    }

    /// Refuses an extension as a whole, so that its fields are not refused one by one.
    pub(super) fn refuse_whole(&mut self, message: &Message, what: &str) {
        for set in &message.fields {
            message.ignore(set.field.name, "the whole extension is refused");
        }
        self.unsupported(message.at, &message.path, what);
    }

    /// How a chain's connections are encrypted; none for those that are not. `None` outside where an error was told.
    fn downstream_transport_socket(
        &mut self,
        socket: &Message,
    ) -> Option<Option<Arc<ServerContext>>> {
        socket.ignore("name", "free text; the type decides");
        let Some(config) = socket.any("typed_config") else {
            let text = "`typed_config` is missing";
            self.error(socket.at, &socket.path, text, "its `@type` says which transport it is");
            return None;
        };
        match config.message.name() {
            RAW => Some(None),
            DOWNSTREAM_TLS => self.downstream_tls(&config.message).map(|made| Some(Arc::new(made))),
            other => {
                self.refuse_whole(&config.message, other);
                None
            }
        }
    }
}

/// What a filter has that has no configuration of its own.
fn plain(filter_chain: &Arc<FilterChainInfo>) -> Arc<Plain> {
    Arc::new(Plain { filter_chain: filter_chain.clone(), listener_logs: Vec::new() })
}

/// A certificate's file may hold another than before, though the listener says the same.
fn fingerprint(listener: &Message, chains: &FilterChains) -> u64 {
    let mut hasher = DefaultHasher::new();
    digest(listener).hash(&mut hasher);
    for tls in chains.all().filter_map(|chain| chain.tls.as_ref()) {
        tls.fingerprint().hash(&mut hasher);
    }
    hasher.finish()
}

/// Route tables are replaced where they are; but by their names connections find them.
fn chains_fingerprint(listener: &Message, chains: &FilterChains) -> u64 {
    let mut hasher = DefaultHasher::new();
    digest_without(listener, is_route_config).hash(&mut hasher);
    for chain in chains.all() {
        if let Some(tls) = &chain.tls {
            tls.fingerprint().hash(&mut hasher);
        }
        if let Terminal::Http(manager) = &chain.terminal {
            manager.routes.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The name of a listener, made up where it has none.
pub(crate) fn name_of(listener: &Message) -> Option<String> {
    if let Some(name) = listener.peek_text("name").filter(|name| !name.is_empty()) {
        return Some(name.to_owned());
    }
    let address = peek_message(listener, "address")?;
    if let Some(pipe) = peek_message(address, "pipe") {
        return pipe.peek_text("path").map(made_up_name);
    }
    let socket = peek_message(address, "socket_address")?;
    let ip: IpAddr = socket.peek_text("address")?.parse().ok()?;
    let Value::Uint(port) = socket.peek("port_value")?.value else { return None };
    Some(made_up_name(&SocketAddr::new(ip, u16::try_from(port).ok()?).to_string()))
}

fn peek_message<'m>(message: &'m Message, name: &str) -> Option<&'m Message> {
    match &message.peek(name)?.value {
        Value::Message(message) => Some(message),
        _ => None,
    }
}

/// A name in the form of a uuid, as Envoy gives one. Ours is the same for the same address, so that a
/// listener is known again when its file is loaded again.
fn made_up_name(address: &str) -> String {
    let part = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        (salt, address).hash(&mut hasher);
        hasher.finish()
    };
    let digits = format!("{:016x}{:016x}", part(0), part(1));
    let group = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [group(0, 8), group(8, 12), group(12, 16), group(16, 20), group(20, 32)].join("-")
}

/// The field that says that this is no listener for TCP.
fn other_kind(listener: &Message) -> Option<&'static str> {
    let kinds = ["internal_listener", "api_listener", "udp_listener_config"];
    kinds.into_iter().find(|kind| listener.peek(kind).is_some())
}
