//! Owns listener filters: what looks at a connection before its filter chain is chosen. One file each.
//!
//! They run in the order of the configuration, on the connection's own task, and leave its bytes where they are; but for
//! the PROXY header, which is taken.

mod http_inspector;
mod local_ratelimit;
mod original_dst;
mod original_src;
mod proxied;
pub mod proxy_protocol;
mod tls_inspector;

use std::sync::Arc;

use tokio::net::TcpStream;
use understudy_actors::{address::Address, stats::Registry};

use crate::{
    config::model::listener_filter::{ListenerFilter, ListenerFilterKind, PortRule},
    downstream::serve::Worker,
    tls::Fingerprints,
    transport::NotTls,
};

pub use proxied::{OriginalSrc, Proxied, Tlv};

/// What is known of a connection before its chain is chosen.
#[derive(Debug)]
pub struct Found {
    /// Who it is from.
    pub peer: Address,
    /// Where it was meant to go.
    pub local: Address,
    /// What it really is, where the two are not its own.
    pub proxied: Option<Proxied>,
    /// It begins with TLS.
    pub is_tls: bool,
    /// It begins with something else, as the TLS inspector saw it.
    pub not_tls: Option<NotTls>,
    /// The host that is asked for (SNI), in lower case.
    pub server_name: Option<String>,
    /// What the client offers, or what was seen of it.
    pub application_protocols: Vec<Vec<u8>>,
    /// By what it is known, where that is asked for.
    pub fingerprints: Option<Arc<Fingerprints>>,
}

/// What a filter says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The next one may look.
    Continue,
    /// The connection is not wanted; why has been counted.
    Refuse,
    /// The client has gone.
    Gone,
}

/// The listener filters of one listener, as one worker runs them.
pub struct Filters {
    all: Vec<Filter>,
}

struct Filter {
    disabled: Option<PortRule>,
    runs: Runs,
}

enum Runs {
    TlsInspector(tls_inspector::TlsInspector),
    HttpInspector(http_inspector::HttpInspector),
    ProxyProtocol(proxy_protocol::ProxyProtocol),
    OriginalDst,
    OriginalSrc(u32),
    LocalRatelimit(local_ratelimit::LocalRatelimit),
}

// === impl Filters ===

impl Filters {
    /// A worker's side of these.
    pub fn new(filters: &[ListenerFilter], registry: &Registry) -> Self {
        use ListenerFilterKind as K;
        let run = |filter: &ListenerFilter| Filter {
            disabled: filter.disabled.clone(),
            runs: match &filter.kind {
                K::TlsInspector(config) => {
                    Runs::TlsInspector(tls_inspector::TlsInspector::new(*config, registry))
                }
                K::HttpInspector => {
                    Runs::HttpInspector(http_inspector::HttpInspector::new(registry))
                }
                K::ProxyProtocol(config) => Runs::ProxyProtocol(
                    proxy_protocol::ProxyProtocol::new(config.clone(), registry),
                ),
                K::OriginalDst => Runs::OriginalDst,
                K::OriginalSrc { mark } => Runs::OriginalSrc(*mark),
                K::LocalRatelimit(config) => {
                    Runs::LocalRatelimit(local_ratelimit::LocalRatelimit::new(config, registry))
                }
            },
        };
        Self { all: filters.iter().map(run).collect() }
    }

    /// Whether nobody looks.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Lets each look, until one is against the connection.
    pub async fn look(&self, worker: &Worker, socket: &TcpStream, found: &mut Found) -> Verdict {
        for filter in &self.all {
            if filter.disabled.as_ref().is_some_and(|rule| rule.takes(found.local.port())) {
                continue;
            }
            let verdict = match &filter.runs {
                Runs::TlsInspector(filter) => filter.look(worker.index, socket, found).await,
                Runs::HttpInspector(filter) => filter.look(worker.index, socket, found).await,
                Runs::ProxyProtocol(filter) => filter.look(worker.index, socket, found).await,
                Runs::OriginalDst => original_dst::look(socket, found),
                Runs::OriginalSrc(mark) => original_src::look(*mark, found),
                Runs::LocalRatelimit(filter) => filter.look(worker),
            };
            if verdict != Verdict::Continue {
                return verdict;
            }
        }
        Verdict::Continue
    }
}

// === impl Found ===

impl Found {
    /// What a connection says of itself before anybody has looked.
    pub fn new(peer: Address, local: Address) -> Self {
        Self {
            peer,
            local,
            proxied: None,
            is_tls: false,
            not_tls: None,
            server_name: None,
            application_protocols: Vec::new(),
            fingerprints: None,
        }
    }

    /// What it really is; made the first time that something else is said.
    fn proxied(&mut self) -> &mut Proxied {
        let (peer, local) = (self.peer, self.local);
        self.proxied.get_or_insert_with(|| Proxied::new(peer, local))
    }
}
