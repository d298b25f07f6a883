//! Owns a listener's compiled filter chains; the payload of `ListenerPlan::chains`.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use super::{
    access_log::AccessLog, filter_chain_match::FilterChainMatch, http::HttpConnectionManager,
    listener_filter::ListenerFilter, tcp_proxy::TcpProxy,
};
use crate::{matcher::tree::Tree, network::Filter, tls::ServerContext};

/// What a listener does with a connection.
#[derive(Debug)]
pub struct FilterChains {
    /// Chains in the order of the file.
    pub chains: Vec<FilterChain>,
    /// `filter_chain_matcher`: chooses among them in the place of what each of them takes.
    pub matcher: Option<Tree<NamedChain>>,
    /// `default_filter_chain`: takes what no other does.
    pub default: Option<FilterChain>,
    /// What is told of a connection that no chain takes.
    pub unmatched: FilterChainInfo,
    /// `use_original_dst`: a connection that was meant for another listener's address is handed over to that one.
    pub use_original_dst: bool,
    /// What is found out of a connection first, in the order of the file.
    pub listener_filters: Vec<ListenerFilter>,
    /// `listener_filters_timeout`; `None` waits for ever.
    pub listener_filters_timeout: Option<Duration>,
    /// `continue_on_listener_filters_timeout`
    pub continues_on_timeout: bool,
    /// How many workers run it: whoever else holds it is a listener.
    pub workers: AtomicUsize,
}

/// The place of the chain of a name in the order of the file; none where no chain has it.
pub type NamedChain = Option<usize>;

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// Its name and what else is told of it.
    pub info: Arc<FilterChainInfo>,
    /// What it takes.
    pub matches: FilterChainMatch,
    /// How it is encrypted; none is not at all.
    pub tls: Option<Arc<ServerContext>>,
    /// `transport_socket_connect_timeout`: how long a handshake may take.
    pub handshake_timeout: Option<Duration>,
    /// The network filters before the last one.
    pub filters: Vec<Arc<dyn Filter>>,
    /// The last one.
    pub terminal: Terminal,
}

/// The last network filter of a chain, which owns the connection.
#[derive(Debug)]
pub enum Terminal {
    /// `envoy.filters.network.http_connection_manager`.
    Http(Arc<HttpConnectionManager>),
    /// `envoy.filters.network.tcp_proxy`.
    Tcp(Arc<TcpProxy>),
    /// `envoy.filters.network.echo`.
    Echo(Arc<Plain>),
    /// `envoy.filters.network.direct_response`: its `response`.
    DirectResponse(Arc<Plain>, Arc<[u8]>),
}

/// What is told of a filter chain and of its listener.
#[derive(Debug, Default)]
pub struct FilterChainInfo {
    /// `FilterChain.name`; empty for none.
    pub name: String,
    /// `FilterChain.metadata.filter_metadata`
    pub metadata: Option<serde_json::Value>,
    /// `Listener.metadata.filter_metadata`
    pub listener_metadata: Option<Arc<serde_json::Value>>,
}

/// What a filter without a configuration of its own has.
#[derive(Debug, Default)]
pub struct Plain {
    /// The chain that it ends.
    pub filter_chain: Arc<FilterChainInfo>,
    /// `access_log` of its listener.
    pub listener_logs: Vec<AccessLog>,
}

// === impl FilterChains ===

impl FilterChains {
    /// All of them, the default one last.
    pub fn all(&self) -> impl Iterator<Item = &FilterChain> {
        self.chains.iter().chain(&self.default)
    }

    /// The only chain, where it takes every connection as it comes.
    pub fn only(&self) -> Option<&FilterChain> {
        match (&self.chains[..], &self.default) {
            ([only], None) | ([], Some(only))
                if only.matches == FilterChainMatch::default()
                    && self.matcher.is_none()
                    && self.listener_filters.is_empty() =>
            {
                Some(only)
            }
            _ => None,
        }
    }
}

// === impl Terminal ===

impl Terminal {
    /// Its connections are written down, too, by these logs of their listener.
    pub fn log_connections(&mut self, logs: &[AccessLog]) {
        if logs.is_empty() {
            return;
        }
        match self {
            // Nobody else has them yet.
            Terminal::Http(manager) => {
                if let Some(manager) = Arc::get_mut(manager) {
                    manager.listener_logs = logs.to_vec();
                }
            }
            Terminal::Tcp(proxy) => {
                if let Some(proxy) = Arc::get_mut(proxy) {
                    proxy.listener_logs = logs.to_vec();
                }
            }
            Terminal::Echo(plain) | Terminal::DirectResponse(plain, _) => {
                if let Some(plain) = Arc::get_mut(plain) {
                    plain.listener_logs = logs.to_vec();
                }
            }
        }
    }

    /// What is written of a connection that no filter has let through to it.
    pub fn connection_logs(&self) -> impl Iterator<Item = &AccessLog> {
        let none: &[AccessLog] = &[];
        let (own, listener) = match self {
            Terminal::Http(manager) => (none, &manager.listener_logs),
            Terminal::Tcp(proxy) => (&*proxy.access_logs, &proxy.listener_logs),
            Terminal::Echo(plain) | Terminal::DirectResponse(plain, _) => {
                (none, &plain.listener_logs)
            }
        };
        own.iter().chain(listener)
    }

    /// `drain_type` of its listener: whether its connections end while the server drains.
    pub fn drains_with_server(&mut self, drains: bool) {
        match self {
            Terminal::Http(manager) => {
                if let Some(manager) = Arc::get_mut(manager) {
                    manager.drains_with_server = drains;
                }
            }
            Terminal::Tcp(proxy) => {
                if let Some(proxy) = Arc::get_mut(proxy) {
                    proxy.drains_with_server &= drains;
                }
            }
            Terminal::Echo(_) | Terminal::DirectResponse(..) => {}
        }
    }

    /// Where it logs to, and its listener.
    pub fn access_logs(&self) -> impl Iterator<Item = &AccessLog> {
        let none: &[AccessLog] = &[];
        let (own, listener, upstream) = match self {
            Terminal::Http(manager) => {
                (&*manager.access_logs, &*manager.listener_logs, &*manager.router.upstream_logs)
            }
            Terminal::Tcp(proxy) => (&*proxy.access_logs, &*proxy.listener_logs, none),
            Terminal::Echo(plain) | Terminal::DirectResponse(plain, _) => {
                (none, &*plain.listener_logs, none)
            }
        };
        own.iter().chain(listener).chain(upstream)
    }
}
