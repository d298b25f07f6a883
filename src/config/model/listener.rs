//! Owns a listener's compiled filter chains; the payload of `ListenerPlan::chains`.

use std::sync::Arc;

use super::{access_log::AccessLog, http::HttpConnectionManager, tcp_proxy::TcpProxy};

/// What a listener does with a connection.
#[derive(Debug)]
pub struct FilterChains {
    /// Chains in the order of the file. Today the first takes every connection.
    pub chains: Vec<FilterChain>,
}

/// One filter chain.
#[derive(Debug)]
pub struct FilterChain {
    /// `FilterChain.name`.
    pub name: String,
    /// The terminal network filter.
    pub terminal: Terminal,
}

/// The last network filter of a chain, which owns the connection.
#[derive(Debug)]
pub enum Terminal {
    /// `envoy.filters.network.http_connection_manager`.
    Http(Arc<HttpConnectionManager>),
    /// `envoy.filters.network.tcp_proxy`.
    Tcp(Arc<TcpProxy>),
}

// === impl Terminal ===

impl Terminal {
    /// Where it logs to.
    pub fn access_logs(&self) -> &[AccessLog] {
        match self {
            Terminal::Http(manager) => &manager.access_logs,
            Terminal::Tcp(proxy) => &proxy.access_logs,
        }
    }
}
