//! Owns one try: a host, a connection to it, and the exchange on that connection.

use std::{borrow::Borrow, rc::Rc, sync::atomic::Ordering::Relaxed};

use futures_util::future::LocalBoxFuture;
use understudy_actors::{
    snapshot::{ClusterSnapshot, Host},
    stats::{ClusterStat, HostStat},
};

use super::{
    super::count, Exchange, Peer, conversation::Conversation, failure::Failure, outcome,
    overriding::Named,
};
use crate::{
    codec::{RequestHead, Switch, Version, http1::response::Asked},
    config::model::{
        cluster::{ServerNameOf, Upstream},
        route::Forward,
    },
    filter::FilteredResponse,
    local_reply::LocalReply,
    stream::{BodySize, Pump, RequestSource, Reset, ResponseSink, ResponseSource},
    upstream::{
        Current,
        balancer::Choice,
        http1::Http1Stream,
        http2::Http2Stream,
        pool::{HostPool, HostPools, PoolError, Sharing, Target},
        proxy_protocol,
        tcp::TcpTunnel,
    },
};

/// The host that a try goes to.
#[derive(Clone)]
pub(super) struct Chosen {
    current: Rc<Current>,
    pool: Rc<HostPool>,
    /// Whose answers are counted, where that is not the host's own cluster.
    answers: Option<Rc<Target>>,
}

/// A request in flight to a host, on a connection; counted until dropped.
pub(super) struct InFlight<C: Borrow<Chosen>> {
    chosen: C,
    priority: usize,
}

// === impl Exchange ===

impl<'c> Exchange<'c> {
    /// The host whose turn it is; a retry looks for one that its policy does not rule out.
    pub(super) fn choose(
        &mut self,
        current: Rc<Current>,
        route: &Forward,
    ) -> Result<Chosen, Failure> {
        if current.upstream.balancing.policy.is_provided() {
            return self.choose_provided(current, route);
        }
        let worker = self.worker.index;
        let version = self.heads.request.version;
        let sharing = self.sharing(&current.upstream, self.priority() > 0);
        let hash = self.hash_for(&current, route);
        let tries = self.tries.as_mut();
        let load = tries.and_then(|tries| tries.other_priorities_of(current.tables()));
        let asks = current.upstream.balancing.subsets.is_some();
        let metadata = if asks { route.wanted(self.heads.part) } else { None };
        let mut choice = Choice { hash, metadata, load: load.as_ref(), attempt: 0 };
        let mut too_many_pools = false;
        let mut pool_of = |pools: Option<&HostPools>| {
            let pool = pools?.pool(version, sharing.as_ref());
            too_many_pools = pool.is_none();
            pool
        };
        let named = self.named(&current);
        let is_free = matches!(named, Named::Nobody);
        let mut pool = pool_of(match named {
            Named::Nobody => current.pick(worker, choice),
            Named::Host(host) => current.pools_at(host),
            Named::Gone => None,
        });
        if let Some(tries) = &mut self.tries {
            for _ in 0..if is_free { tries.other_hosts_max() } else { 0 } {
                match &pool {
                    Some(avoided) if tries.avoids(&avoided.target().host) => {
                        choice.attempt += 1;
                        pool = pool_of(current.pick(worker, choice));
                    }
                    _ => break,
                }
            }
            tries.tried.extend(pool.as_ref().map(|pool| pool.target().host.clone()));
        }
        match pool {
            Some(pool) => {
                if current.upstream.predictive_ratio > 1.0 {
                    current.open_ahead(worker, version, sharing.as_ref());
                }
                self.tell_filters(&pool.target().host);
                let chosen = Chosen::of(current, pool, None);
                self.tally.tries(&chosen, !self.manager.logs().is_empty());
                Ok(chosen)
            }
            None => {
                let stats = current.snapshot.shared.stats.lane(worker);
                if !too_many_pools {
                    stats.inc(ClusterStat::UpstreamCxNoneHealthy);
                }
                count::upstream_status(stats, 503, self.is_internal());
                Err(Failure::reply(LocalReply::no_healthy_upstream()))
            }
        }
    }

    /// With whom the request shares a connection; `None` for all those that nothing keeps apart.
    #[inline]
    pub(super) fn sharing(&self, upstream: &Upstream, high_priority: bool) -> Option<Sharing> {
        let sockets = &upstream.sockets;
        let asks = upstream.server_name_of.as_ref();
        if !high_priority
            && !upstream.apart_per_client
            && sockets.greeting.is_none()
            && asks.is_none()
            && self.peer.proxied.is_none()
        {
            return None;
        }
        let Peer { remote, local, proxied, .. } = self.peer;
        let source = proxied.as_ref().and_then(|proxied| proxied.source);
        let greeting =
            |greeting| proxy_protocol::header(greeting, *remote, *local, proxied.as_deref());
        Some(Sharing {
            high_priority,
            client: upstream.apart_per_client.then_some(self.peer.id),
            greeting: sockets.greeting.as_ref().map(greeting).map(Rc::from),
            source,
            server_name: asks.and_then(|of| server_name(of, &self.heads.request)),
        })
    }

    /// Tries the host; done when the sink has taken the whole response, sent or not.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` would hold each argument twice")]
    pub(super) fn attempt<Q: RequestSource, P: ResponseSink>(
        &mut self,
        route: &Forward,
        chosen: &Chosen,
        source: &mut Q,
        sink: &mut P,
    ) -> impl Future<Output = Result<(), Failure>> {
        async move {
            if self.ends_tunnel(route) {
                // Boxed: few requests do.
                return Box::pin(self.tunnel(route, chosen, source, sink)).await;
            }
            match &*chosen.pool {
                // Boxed: few hosts are asked what they speak.
                HostPool::Auto(_) => {
                    Box::pin(self.attempt_settled(route, chosen, source, sink)).await
                }
                HostPool::Http1(pool) => {
                    let connection = match pool.checkout() {
                        Some(connection) => connection,
                        None => self
                            .while_client_waits(Box::pin(pool.acquire()), source, sink)
                            .await?
                            .map_err(|error| self.no_connection(chosen, error))?,
                    };
                    let Some(in_flight) = InFlight::begin(chosen, self.priority()) else {
                        connection.give_back();
                        return Err(self.too_many_requests(chosen));
                    };
                    self.tally.begins_try();
                    let (reused, asked) = (connection.reused, Asked::by(&self.heads.request));
                    let mut stream = Http1Stream::new(connection, pool.options(), asked);
                    self.tally.connected(chosen.host(), stream.life(), Version::Http11);
                    self.log_pool_ready();
                    let done = {
                        let up = stream.split(&self.worker.buffers);
                        self.converse(route, chosen, source, sink, up).hold(None).await
                    };
                    if let Err(Failure::Slow(_)) = done {
                        return Err(Failure::slow(in_flight.owned(), stream));
                    }
                    self.add_wire(|| stream.wire());
                    // The next request may have the connection while this answer is still sent.
                    stream.finish();
                    stale_if(reused, done)
                }
                HostPool::Http2(pool) => {
                    let lease = match pool.lease() {
                        Some(lease) => lease,
                        None => self
                            .while_client_waits(Box::pin(pool.acquire()), source, sink)
                            .await?
                            .map_err(|error| self.no_connection(chosen, error))?,
                    };
                    let Some(in_flight) = InFlight::begin(chosen, self.priority()) else {
                        return Err(self.too_many_requests(chosen));
                    };
                    self.tally.begins_try();
                    let mut stream = Http2Stream::new(lease, Asked::by(&self.heads.request));
                    let reused = stream.life().requests() > 1;
                    self.tally.connected(chosen.host(), stream.life(), Version::Http2);
                    self.log_pool_ready();
                    let done = {
                        let up = stream.split();
                        self.converse(route, chosen, source, sink, up).hold(None).await
                    };
                    if let Err(Failure::Slow(_)) = done {
                        return Err(Failure::slow(in_flight.owned(), stream));
                    }
                    self.add_wire(|| stream.wire());
                    stale_if(reused, done)
                }
            }
        }
    }

    /// Hears what the host speaks, and tries it then.
    async fn attempt_settled<Q: RequestSource, P: ResponseSink>(
        &mut self,
        route: &Forward,
        chosen: &Chosen,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        let settling = Box::pin(chosen.clone().settled());
        let settled = self.while_client_waits(settling, source, sink).await?;
        let settled = settled.map_err(|error| self.no_connection(chosen, error))?;
        let trying: LocalBoxFuture<'_, _> = Box::pin(self.attempt(route, &settled, source, sink));
        trying.await
    }

    /// Takes a tunnel's payload to the host, over a connection of its own.
    async fn tunnel<Q: RequestSource, P: ResponseSink>(
        &mut self,
        route: &Forward,
        chosen: &Chosen,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        let connecting = Box::pin(chosen.pool.connect());
        let connection = self.while_client_waits(connecting, source, sink).await?;
        let connection = connection.map_err(|error| self.no_connection(chosen, error))?;
        let Some(_in_flight) = InFlight::begin(chosen, self.priority()) else {
            return Err(self.too_many_requests(chosen));
        };
        let answer = match self.heads.request.switch {
            Switch::Nothing => BodySize::Unknown,
            Switch::Connect | Switch::Upgrade => BodySize::Tunnel,
        };
        self.tally.connected(chosen.host(), &connection.1, Version::Http11);
        self.log_pool_ready();
        let mut tunnel = TcpTunnel::new(connection);
        let up = tunnel.split(chosen.target(), &self.worker.buffers, answer);
        let done = self.converse(route, chosen, source, sink, up).hold(None).await;
        self.add_wire(|| tunnel.wire());
        stale_if(false, done)
    }

    /// The client's stream and the host's, brought together.
    pub(super) fn converse<'a, Q, P, U, V>(
        &'a mut self,
        route: &'a Forward,
        chosen: &'a Chosen,
        source: &'a mut Q,
        sink: &'a mut P,
        (up_sink, up_source): (U, V),
    ) -> Conversation<'a, 'c, Q, P, U, V>
    where
        V: ResponseSource,
    {
        let up = Pump::new(self.body == BodySize::None);
        let up_source = FilteredResponse::new(up_source, self.filters.clone());
        let exchange = self;
        Conversation { exchange, route, chosen, source, sink, up_sink, up_source, up, sent: false }
    }
}

/// A new connection was not idle: there is nothing that it could have missed.
#[inline]
fn stale_if(reused: bool, done: Result<(), Failure>) -> Result<(), Failure> {
    match done {
        Err(Failure::Stale) if !reused => Err(Failure::Reset(Reset::Terminated)),
        done => done,
    }
}

/// The name that a host is asked for, where a request says it.
///
/// Source: `UpstreamHttpProtocolOptions.auto_sni`; without a port, and lower case as names are compared.
#[cold]
fn server_name(of: &ServerNameOf, request: &RequestHead) -> Option<Rc<str>> {
    let named = match of {
        ServerNameOf::Header(name) => request.headers.get_name(name.as_bytes()),
        ServerNameOf::Authority => None,
    };
    let text = std::str::from_utf8(named.unwrap_or(request.authority())).ok()?;
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => text,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (!host.is_empty()).then(|| host.to_ascii_lowercase().into())
}

// === impl Chosen ===

impl Chosen {
    /// That one; what it answers may be counted elsewhere.
    pub(super) fn of(
        current: Rc<Current>,
        pool: Rc<HostPool>,
        answers: Option<Rc<Target>>,
    ) -> Self {
        Self { current, pool, answers }
    }

    /// Where its answers are counted.
    #[inline]
    pub(super) fn answers(&self) -> &Target {
        self.answers.as_deref().unwrap_or_else(|| self.pool.target())
    }

    /// The same with a pool of the protocol that the host speaks.
    pub(super) async fn settled(self) -> Result<Self, PoolError> {
        let pool = match &*self.pool {
            HostPool::Auto(auto) => auto.settle().await?,
            _ => self.pool.clone(),
        };
        Ok(Self { pool, ..self })
    }

    /// The host's pool.
    pub(super) fn pool(&self) -> &HostPool {
        &self.pool
    }

    /// The snapshot it was chosen from.
    pub(super) fn snapshot(&self) -> &ClusterSnapshot {
        &self.current.snapshot
    }

    /// The host, and what belongs to it.
    pub(super) fn target(&self) -> &Target {
        self.pool.target()
    }

    /// The host.
    pub(super) fn host(&self) -> &Host {
        &self.target().host
    }

    /// Whether a request has a stream of its own there, which can be reset.
    pub(super) fn has_streams(&self) -> bool {
        matches!(*self.pool, HostPool::Http2(_))
    }
}

// === impl InFlight ===

impl InFlight<&Chosen> {
    /// The same request, however long its host is lent.
    pub(super) fn owned(self) -> InFlight<Chosen> {
        let owned = InFlight { chosen: Chosen::clone(self.chosen), priority: self.priority };
        // It is counted on, not twice.
        std::mem::forget(self);
        owned
    }
}

impl<C: Borrow<Chosen>> InFlight<C> {
    /// Whom it goes to.
    pub(super) fn chosen(&self) -> &Chosen {
        self.chosen.borrow()
    }

    /// Counts the request; none when the cluster carries as many as it may.
    pub(super) fn begin(to: C, priority: usize) -> Option<Self> {
        let chosen = to.borrow();
        let snapshot = chosen.snapshot();
        let requests = &snapshot.shared.breakers.get(priority)?.requests;
        if requests.fetch_add(1, Relaxed) >= chosen.target().requests_max(priority) {
            requests.fetch_sub(1, Relaxed);
            return None;
        }
        let stats = snapshot.shared.stats.lane(chosen.target().worker);
        stats.inc(ClusterStat::UpstreamRqTotal);
        stats.inc(ClusterStat::UpstreamRqActive);
        let host_stats = chosen.host().stats.lane(chosen.target().worker);
        host_stats.inc(HostStat::RqTotal);
        host_stats.inc(HostStat::RqActive);
        outcome::connected(chosen.target());
        Some(Self { chosen: to, priority })
    }
}

impl<C: Borrow<Chosen>> Drop for InFlight<C> {
    fn drop(&mut self) {
        let chosen = self.chosen.borrow();
        let worker = chosen.target().worker;
        let shared = &chosen.snapshot().shared;
        if let Some(breakers) = shared.breakers.get(self.priority) {
            breakers.requests.fetch_sub(1, Relaxed);
        }
        shared.stats.lane(worker).dec(ClusterStat::UpstreamRqActive);
        chosen.host().stats.lane(worker).dec(HostStat::RqActive);
    }
}
