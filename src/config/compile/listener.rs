//! Owns compiling listeners and their filter chains.

use std::{
    collections::HashSet,
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use understudy_actors::plan::{ListenerPlan, RoutesPlan};

use super::{Compiler, http::is_route_config};
use crate::config::{
    Message,
    digest::{digest, digest_without},
    message::Value,
    model::{
        http::HttpConnectionManager,
        listener::{FilterChain, FilterChains, Terminal},
    },
};

/// Envoy's `tcp_backlog_size` default is the kernel's limit; this is more than most kernels allow.
const BACKLOG: u32 = 4096;

/// Connections of one listener on one worker; far above what a process may have descriptors for.
const CONNECTIONS_MAX: u32 = 1_000_000;

/// Envoy's `per_connection_buffer_limit_bytes` default.
pub(super) const CONNECTION_BUFFER_BYTES: usize = 1 << 20;

pub(super) const CONNECTION_MANAGER: &str =
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";

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
            let taken = listeners
                .iter()
                .find(|known| known.address == plan.address && plan.address.port() != 0);
            if let Some(taken) = taken {
                let text =
                    format!("listener {:?} has the address {} already", taken.name, plan.address);
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
        let address = self.ip_address(address);
        let name = listener.text("name").filter(|name| !name.is_empty()).map(str::to_owned);
        let named = address.map_or(String::new(), |address| address.to_string());
        let name = name.unwrap_or_else(|| made_up_name(&named));
        let stat_prefix = listener.text("stat_prefix").filter(|prefix| !prefix.is_empty());
        let stat_prefix = stat_prefix.map_or_else(|| named.clone(), str::to_owned);
        let mut chains: Vec<FilterChain> = Vec::new();
        self.rds.clear();
        for (index, chain) in listener.messages("filter_chains").enumerate() {
            if index > 0 {
                self.unsupported(chain.at, &chain.path, "more than one filter chain");
            }
            let key = format!("{name}/{index}");
            chains.extend(self.filter_chain(chain, &key, &stat_prefix, clusters, routes));
        }
        let logs = self.access_logs(listener);
        chains.iter_mut().for_each(|chain| chain.terminal.log_connections(&logs));
        if listener.list("filter_chains").is_empty()
            && listener.peek("default_filter_chain").is_none()
        {
            let text = format!("error adding listener '{name}': no filter chains specified");
            self.error(listener.at, &listener.path, text, "add `filter_chains`");
        }
        let backlog = listener.number_u32("tcp_backlog_size").unwrap_or(BACKLOG);
        let inbound = listener.choice("traffic_direction") == Some("INBOUND");
        Some(ListenerPlan {
            name,
            address: address?,
            stat_prefix,
            backlog,
            inbound,
            connections_max: CONNECTIONS_MAX,
            rds: std::mem::take(&mut self.rds),
            chains_fingerprint: chains_fingerprint(listener, &chains),
            fingerprint: digest(listener),
            chains: Arc::new(FilterChains { chains }),
        })
    }

    fn filter_chain(
        &mut self,
        chain: &Message,
        key: &str,
        stat_prefix: &str,
        clusters: &HashSet<String>,
        routes: &mut Vec<Arc<RoutesPlan>>,
    ) -> Option<FilterChain> {
        if let Some(socket) = chain.message("transport_socket") {
            self.transport_socket(socket);
        }
        let name = chain.text("name").unwrap_or_default().to_owned();
        let mut terminal = None;
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
                    let filter_chain = name.clone();
                    let manager = HttpConnectionManager { filter_chain, ..manager };
                    terminal = Some(Terminal::Http(Arc::new(manager)));
                }
                TCP_PROXY => {
                    let proxy = self.tcp_proxy(&config.message, &name);
                    terminal = proxy.map(|proxy| Terminal::Tcp(Arc::new(proxy)));
                }
                other => self.refuse_whole(&config.message, other),
            }
        }
        if chain.list("filters").is_empty() {
            self.error(chain.at, &chain.path, "a filter chain needs a filter", "");
        }
        Some(FilterChain { name, terminal: terminal? })
    }

    /// Refuses an extension as a whole, so that its fields are not refused one by one.
    pub(super) fn refuse_whole(&mut self, message: &Message, what: &str) {
        for set in &message.fields {
            message.ignore(set.field.name, "the whole extension is refused");
        }
        self.unsupported(message.at, &message.path, what);
    }

    /// Plain sockets are what we have; anything else encrypts or wraps, and is refused.
    pub(super) fn transport_socket(&mut self, socket: &Message) {
        socket.ignore("name", "free text; the type decides");
        const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
        match socket.any("typed_config") {
            Some(config) if config.message.name() == RAW => {}
            Some(config) => self.refuse_whole(&config.message, config.message.name()),
            None => self.unsupported(socket.at, &socket.path, "`transport_socket`"),
        }
    }
}

/// Route tables are replaced where they are; but by their names connections find them.
fn chains_fingerprint(listener: &Message, chains: &[FilterChain]) -> u64 {
    let mut hasher = DefaultHasher::new();
    digest_without(listener, is_route_config).hash(&mut hasher);
    for chain in chains {
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
    let socket = peek_message(peek_message(listener, "address")?, "socket_address")?;
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
