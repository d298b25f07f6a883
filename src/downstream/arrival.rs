//! Owns what happens between an accepted socket and its codec: what listener filters find out, which filter chain
//! takes the connection, and its transport socket.

use std::{
    future::Future,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout};
use understudy_actors::{
    seams::{Accepted, Control},
    stats::{Lane, ListenerStat, TlsInspectorStat},
};

use super::{chains::Chains, connection_log::Unwelcome, serve::Worker};
use crate::{
    config::model::{
        filter_chain_match::{FilterChainMatch, Traits},
        listener::ListenerFilter,
    },
    tls::Session,
    transport::{self, Hello, Peeked, Stream, Told, peek},
};

/// How long a handshake may take where the configuration does not say. Envoy waits for ever.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(60);

/// A connection whose transport is ready.
pub struct Arrival {
    /// Its bytes.
    pub stream: Stream,
    /// Who connected.
    pub peer: SocketAddr,
    /// Whereto.
    pub local: SocketAddr,
    /// What its handshake came to.
    pub tls: Option<Rc<Session>>,
    /// The name that was asked for, as the TLS inspector saw it.
    pub server_name: Option<Rc<str>>,
}

/// What is known of a connection before its chain is chosen.
#[derive(Debug, Default)]
struct Found {
    hello: Option<Hello>,
}

// === impl Arrival ===

impl From<Accepted> for Arrival {
    fn from(accepted: Accepted) -> Self {
        let Accepted { stream, peer, local, .. } = accepted;
        Self { stream: stream.into(), peer, local, tls: None, server_name: None }
    }
}

// === impl Found ===

impl Found {
    fn server_name(&self) -> Option<Rc<str>> {
        self.hello.as_ref()?.server_name.as_deref().map(Rc::from)
    }
}

/// Brings a connection from its socket to the chain that takes it, and serves it to its end.
pub(super) async fn welcome(
    worker: Rc<Worker>,
    chains: Rc<Chains>,
    accepted: Accepted,
    control: Rc<Control>,
) {
    let stats = accepted.stats.clone();
    let (stats, started) = (stats.lane(worker.index), Instant::now());
    let Some(found) = inspect(&worker, &chains, &accepted, stats).await else { return };
    let Some(chain) = choose(&chains, &accepted, &found) else {
        stats.inc(ListenerStat::NoFilterChainMatch);
        let Accepted { peer, local, .. } = accepted;
        // Observed: Envoy 1.40 tells of no name then.
        let (server_name, reason, unmatched) = (None, String::new(), true);
        let unwelcome = Unwelcome { started, peer, local, server_name, reason, unmatched };
        return chains.log_unmatched(&worker, &unwelcome);
    };
    let server_name = found.server_name();
    let Some(tls) = &chain.tls else {
        let arrival = Arrival { server_name, ..accepted.into() };
        return chain.serve(worker, arrival, control).await;
    };
    let Accepted { stream: socket, peer, local, .. } = accepted;
    if !tls.context.is_ready() {
        return tls.not_ready(&worker);
    }
    let ssl = tls.stats.lane(worker.index);
    let handshake = transport::accept(socket, &tls.context, |stat| ssl.inc(stat));
    let reason = match timeout(chain.handshake_timeout.unwrap_or(HANDSHAKE_WAIT), handshake).await {
        Ok(Ok((stream, session))) => {
            let tls = Some(Rc::new(session));
            let arrival = Arrival { stream, peer, local, tls, server_name };
            return chain.serve(worker, arrival, control).await;
        }
        // It was counted.
        Ok(Err(error)) => error.reason(),
        Err(_) => {
            stats.inc(ListenerStat::DownstreamCxTransportSocketConnectTimeout);
            String::new()
        }
    };
    let unmatched = false;
    let unwelcome = Unwelcome { started, peer, local, server_name, reason, unmatched };
    chain.log_unwelcome(&worker, &unwelcome);
}

/// Lets the listener filters look; none where the connection has ended or must.
async fn inspect(
    worker: &Worker,
    chains: &Chains,
    accepted: &Accepted,
    stats: &Lane<ListenerStat>,
) -> Option<Found> {
    let config = chains.config()?;
    if config.listener_filters.is_empty() {
        return Some(Found::default());
    }
    stats.inc(ListenerStat::DownstreamPreCxActive);
    let looking = async {
        let mut found = Found::default();
        for filter in &config.listener_filters {
            match filter {
                ListenerFilter::TlsInspector => {
                    found.hello = look_for_tls(worker, &accepted.stream).await?;
                }
            }
        }
        Some(found)
    };
    let found = within(config.listener_filters_timeout, looking).await;
    stats.dec(ListenerStat::DownstreamPreCxActive);
    match found {
        Some(Some(found)) => Some(found),
        Some(None) => {
            stats.inc(ListenerStat::DownstreamListenerFilterRemoteClose);
            None
        }
        None => {
            stats.inc(ListenerStat::DownstreamPreCxTimeout);
            config.continues_on_timeout.then(Found::default)
        }
    }
}

/// What comes of it in time.
async fn within<T>(wait: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match wait {
        Some(wait) => timeout(wait, work).await.ok(),
        None => Some(work.await),
    }
}

/// What a client says of TLS; `None` outside where it has gone first.
async fn look_for_tls(worker: &Worker, socket: &TcpStream) -> Option<Option<Hello>> {
    use TlsInspectorStat as S;
    let stats = worker.tls_inspector_stats();
    let hello = match peek(socket, Told::BYTES_MAX, Told::look).await.ok()? {
        Peeked::Closed => return None,
        Peeked::TooMuch => {
            stats.inc(S::ClientHelloTooLarge);
            return None;
        }
        Peeked::Seen(Told::Else) => {
            stats.inc(S::TlsNotFound);
            return Some(None);
        }
        Peeked::Seen(Told::Tls(hello)) => hello,
    };
    stats.inc(S::TlsFound);
    stats.inc(if hello.server_name.is_some() { S::SniFound } else { S::SniNotFound });
    stats.inc(if hello.alpn.is_empty() { S::AlpnNotFound } else { S::AlpnFound });
    stats.record(S::BytesProcessed, hello.bytes as u64);
    Some(Some(hello))
}

/// The chain that takes it.
fn choose<'c>(
    chains: &'c Chains,
    accepted: &Accepted,
    found: &Found,
) -> Option<&'c Rc<super::chains::Chain>> {
    let config = chains.config()?;
    let hello = found.hello.as_ref();
    let traits = Traits {
        destination: (accepted.local.ip().to_canonical(), accepted.local.port()),
        source: (accepted.peer.ip().to_canonical(), accepted.peer.port()),
        direct_source: accepted.peer.ip().to_canonical(),
        server_name: hello.and_then(|hello| hello.server_name.as_deref()).unwrap_or_default(),
        transport_protocol: if hello.is_some() { "tls" } else { "raw_buffer" },
        application_protocols: hello.map_or(&[], |hello| &hello.alpn),
    };
    let matches = config.chains.iter().map(|chain| &chain.matches).collect::<Vec<_>>();
    let chosen = FilterChainMatch::choose(&matches, &traits);
    match chosen {
        Some(at) => chains.at(at),
        None => chains.default(),
    }
}
