//! Owns one name server: how it is asked, and whether it answered last time.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::{Duration, Instant},
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts},
    lookup::Lookup,
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RecordType},
};
use parking_lot::Mutex;
use understudy_actors::seams::LookupError;

/// How long a server that failed is left alone while another one answers.
///
/// Source: `ares_set_server_failover_options`, the default retry delay.
const LEFT_ALONE: Duration = Duration::from_secs(5);

/// One name server. hickory's own pool gives all servers together one timeout, and takes the first failure
/// for the answer; so each has a resolver of its own.
pub(super) struct Server {
    resolver: TokioResolver,
    /// Failures since its last answer.
    failures: AtomicU32,
    asked_at: Mutex<Option<Instant>>,
}

// === impl Server ===

impl Server {
    pub(super) fn new(
        server: NameServerConfig,
        options: &ResolverOpts,
    ) -> Result<Self, LookupError> {
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options.clone())
            .build()
            .map_err(|error| LookupError::Unreachable(error.to_string()))?;
        Ok(Self { resolver, failures: AtomicU32::new(0), asked_at: Mutex::default() })
    }

    /// One query.
    pub(super) async fn ask(
        &self,
        name: Name,
        kind: RecordType,
        wait: Duration,
    ) -> Result<Lookup, NetError> {
        *self.asked_at.lock() = Some(Instant::now());
        let asked = tokio::time::timeout(wait, self.resolver.lookup(name, kind)).await;
        let answer = asked.unwrap_or(Err(NetError::Timeout));
        match &answer {
            Err(error) if !error.is_no_records_found() => drop(self.failures.fetch_add(1, Relaxed)),
            _ => self.failures.store(0, Relaxed),
        }
        answer
    }

    /// Failures since its last answer.
    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Relaxed)
    }

    /// It failed, and has been left alone for a while.
    pub(super) fn is_to_be_tried_again(&self) -> bool {
        let long_ago = |at: Instant| at.elapsed() >= LEFT_ALONE;
        self.failures() > 0 && self.asked_at.lock().is_none_or(long_ago)
    }
}

/// A name server at an address.
pub(super) fn name_server(at: SocketAddr, tcp_only: bool) -> NameServerConfig {
    let ways = match tcp_only {
        true => vec![ConnectionConfig::tcp()],
        false => vec![ConnectionConfig::udp(), ConnectionConfig::tcp()],
    };
    let ways = ways.into_iter().map(|mut way| {
        way.port = at.port();
        way
    });
    NameServerConfig::new(at.ip(), true, ways.collect())
}

/// The same server, asked over TCP alone where that is wanted.
pub(super) fn tcp_if(server: NameServerConfig, tcp_only: bool) -> NameServerConfig {
    let port = server.connections.first().map_or(53, |way| way.port);
    name_server(SocketAddr::new(server.ip, port), tcp_only)
}
