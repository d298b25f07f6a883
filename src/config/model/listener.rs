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
        }
    }

    /// Where it logs to, and its listener.
    pub fn access_logs(&self) -> impl Iterator<Item = &AccessLog> {
        let none: &[AccessLog] = &[];
        let (own, listener, upstream) = match self {
            Terminal::Http(manager) => {
                (&manager.access_logs, &manager.listener_logs, &*manager.router.upstream_logs)
            }
            Terminal::Tcp(proxy) => (&proxy.access_logs, &proxy.listener_logs, none),
        };
        own.iter().chain(listener).chain(upstream)
    }
}
