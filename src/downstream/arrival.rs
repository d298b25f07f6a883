//! Owns what happens between an accepted socket and its codec: what listener filters find out, which filter chain
//! takes the connection, and its transport socket.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, time::timeout};
use understudy_actors::{
    address::Address,
    runtime::Runtime,
    seams::{Accepted, Control},
    stats::{Lane, ListenerStat},
};

use super::{
    chains::{Chain, Chains},
    connection_log::Unwelcome,
    opened::EndedBy,
    serve::Worker,
};
use crate::{
    config::model::filter_chain_match::{FilterChainMatch, Traits},
    listener::{Found, Proxied, Verdict},
    matcher::tree::{Facts, Outcome},
    tls::{Ends, Fingerprints, Session},
    transport::{self, NotTls, Stream, Unfinished},
};

/// How long a handshake may take where the configuration does not say. Envoy waits for ever.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(60);

/// A connection whose transport is ready.
pub struct Arrival {
    /// Its bytes.
    pub stream: Stream,
    /// Who it is from.
    pub peer: Address,
    /// Whereto.
    pub local: Address,
    /// What it really is, where it stands for another.
    pub proxied: Option<Rc<Proxied>>,
    /// What its handshake came to.
    pub tls: Option<Rc<Session>>,
    /// The name that was asked for, as the TLS inspector saw it.
    pub server_name: Option<Rc<str>>,
    /// By what the client is known, as the TLS inspector saw it.
    pub fingerprints: Option<Arc<Fingerprints>>,
    /// What it begins with, where the TLS inspector knew it for no TLS.
    pub not_tls: Option<NotTls>,
    /// The cluster that a filter has chosen for it.
    pub cluster: Option<Rc<str>>,
}

// === impl Arrival ===

impl Arrival {
    /// The name that was asked for, whoever saw it.
    pub fn asked_for(&self) -> Option<&str> {
        let agreed = self.tls.as_ref().and_then(|session| session.server_name.as_deref());
        self.server_name.as_deref().or(agreed)
    }

    /// A connection whose bytes are plain.
    pub(super) fn plain(stream: TcpStream, peer: Address, local: Address) -> Self {
        let stream = stream.into();
        Self {
            stream,
            peer,
            local,
            proxied: None,
            tls: None,
            server_name: None,
            fingerprints: None,
            not_tls: None,
            cluster: None,
        }
    }
}

/// Brings a connection from its socket to the chain that takes it, and serves it to its end.
pub(super) async fn welcome(
    worker: Rc<Worker>,
    chains: Rc<Chains>,
    mut accepted: Accepted,
    control: Rc<Control>,
) {
    let started = Instant::now();
    let findings = accepted.findings.take().and_then(|found| found.downcast::<Found>().ok());
    let is_handed_over = findings.is_some();
    let found = findings.map(|found| *found);
    let mut found = found.unwrap_or_else(|| Found::new(accepted.peer, accepted.local));
    if !inspect(&worker, &chains, &accepted, &mut found).await {
        return chains.log_unserved(&worker, &Unwelcome::of(found, started, false));
    }
    // The socket's own address may be another listener's, too: TPROXY leaves it as the client meant it.
    if chains.hands_over()
        && !is_handed_over
        && let Some(other) = accepted.meant_for(found.local)
    {
        return accepted.hand_over(&other, &control, Box::new(found));
    }
    let Some(chain) = choose(&worker, &chains, &found) else {
        accepted.entrance.stats().inc(ListenerStat::NoFilterChainMatch);
        return chains.log_unserved(&worker, &Unwelcome::of(found, started, true));
    };
    let Accepted { stream: socket, entrance, .. } = accepted;
    entrance.admit(&control);
    let Found { peer, local, proxied, server_name, fingerprints, not_tls, .. } = found;
    let (proxied, server_name) = (proxied.map(Rc::new), server_name.map(Rc::from));
    let Some(tls) = &chain.tls else {
        let plain = Arrival::plain(socket, peer, local);
        let arrival = Arrival { proxied, server_name, fingerprints, not_tls, ..plain };
        return chain.serve(worker, arrival, control).await;
    };
    if !tls.context.is_ready() {
        return tls.not_ready(&worker);
    }
    let ssl = tls.stats.lane(worker.index);
    let ends = Ends { local: local.ip(), remote: peer.ip() };
    let handshake = transport::accept(socket, &tls.context, ends, |stat| ssl.inc(stat));
    let mut session = None;
    let (reason, ended_by) =
        match timeout(chain.handshake_timeout.unwrap_or(HANDSHAKE_WAIT), handshake).await {
            Ok(Ok((stream, mut session))) => {
                session.fingerprints.clone_from(&fingerprints);
                let tls = Some(Rc::new(session));
                let cluster = None;
                let arrival = Arrival {
                    stream,
                    peer,
                    local,
                    proxied,
                    tls,
                    server_name,
                    fingerprints,
                    not_tls,
                    cluster,
                };
                return chain.serve(worker, arrival, control).await;
            }
            // It was counted.
            Ok(Err(unfinished)) => {
                let Unfinished { why, session: known } = *unfinished;
                session = Some(Box::new(known));
                (why.reason(), EndedBy::Client)
            }
            Err(_) => {
                entrance.stats().inc(ListenerStat::DownstreamCxTransportSocketConnectTimeout);
                (String::new(), EndedBy::Us)
            }
        };
    let unmatched = false;
    let unwelcome = Unwelcome {
        started,
        peer,
        local,
        proxied,
        server_name,
        fingerprints,
        session,
        reason,
        unmatched,
    };
    chain.turn_away(&worker, &unwelcome, ended_by);
}

/// Lets the listener filters look; false where the connection has ended or must.
async fn inspect(worker: &Worker, chains: &Chains, accepted: &Accepted, found: &mut Found) -> bool {
    if chains.filters.is_empty() {
        return true;
    }
    let (Some(config), stats) = (chains.config(), accepted.entrance.stats()) else { return false };
    let looked_at = LookedAt::count(stats);
    let looking = chains.filters.look(worker, &accepted.stream, found);
    let verdict = within(config.listener_filters_timeout, looking).await;
    drop(looked_at);
    match verdict {
        Some(Verdict::Continue) => true,
        Some(Verdict::Refuse) => false,
        Some(Verdict::Gone) => {
            stats.inc(ListenerStat::DownstreamListenerFilterRemoteClose);
            false
        }
        None => {
            stats.inc(ListenerStat::DownstreamPreCxTimeout);
            config.continues_on_timeout
        }
    }
}

/// A connection that filters look at, counted however that ends.
struct LookedAt<'s>(&'s Lane<ListenerStat>);

impl<'s> LookedAt<'s> {
    fn count(stats: &'s Lane<ListenerStat>) -> Self {
        stats.inc(ListenerStat::DownstreamPreCxActive);
        Self(stats)
    }
}

impl Drop for LookedAt<'_> {
    fn drop(&mut self) {
        self.0.dec(ListenerStat::DownstreamPreCxActive);
    }
}

/// What comes of it in time.
async fn within<T>(wait: Option<Duration>, work: impl Future<Output = T>) -> Option<T> {
    match wait {
        Some(wait) => timeout(wait, work).await.ok(),
        None => Some(work.await),
    }
}

/// What chains see of an address. One without IP is that of nobody, on no port; who comes by a path so is of this machine.
///
/// Observed: Envoy 1.40, where `prefix_ranges` of all addresses take connections by a path.
fn matched(address: Address) -> (IpAddr, u16) {
    match address.canonical() {
        Address::Ip(ip) => (ip.ip(), ip.port()),
        Address::Pipe(_) => (Ipv4Addr::BROADCAST.into(), 0),
    }
}

/// The chain that takes it.
fn choose<'c>(worker: &Worker, chains: &'c Chains, found: &Found) -> Option<&'c Rc<Chain>> {
    let config = chains.config()?;
    if let Some(matcher) = &config.matcher {
        return worker.with_runtime(|runtime| match matcher.find(&facts(found, runtime)) {
            Outcome::Action(named) => chains.at((*named)?),
            Outcome::NoMatch | Outcome::Undecided => chains.default(),
        });
    }
    let direct = direct(found);
    let traits = Traits {
        destination: matched(found.local),
        source: matched(found.peer),
        direct_source: matched(direct).0,
        server_name: found.server_name.as_deref().unwrap_or_default(),
        transport_protocol: transport_protocol(found),
        application_protocols: &found.application_protocols,
    };
    let matches = config.chains.iter().map(|chain| &chain.matches).collect::<Vec<_>>();
    let chosen = FilterChainMatch::choose(&matches, &traits);
    match chosen {
        Some(at) => chains.at(at),
        None => chains.default(),
    }
}

/// What a `filter_chain_matcher` sees.
fn facts<'a>(found: &'a Found, runtime: &'a Runtime) -> Facts<'a> {
    Facts {
        destination: found.local.socket(),
        source: found.peer.socket(),
        direct_source: direct(found).ip(),
        server_name: found.server_name.as_deref().unwrap_or_default(),
        transport_protocol: transport_protocol(found),
        application_protocols: &found.application_protocols,
        filter_state: found.proxied.as_ref().map(|proxied| &proxied.filter_state),
        shares: Some(runtime),
        ..Facts::default()
    }
}

/// Whose socket it is.
fn direct(found: &Found) -> Address {
    found.proxied.as_ref().map_or(found.peer, |proxied| proxied.peer)
}

fn transport_protocol(found: &Found) -> &'static str {
    if found.is_tls { "tls" } else { "raw_buffer" }
}
