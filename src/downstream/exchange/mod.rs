//! Owns one exchange: a request, the way to its upstream, and its response. One future, no spawn.
//!
//! What happens, in order: [`Exchange::carry`] (`forward`) makes the request one that may go on, finds
//! its route, and passes it by the `filters`; `attempt` finds a host and a connection; `conversation` carries
//! heads and bodies; `retry` makes another try of one that failed, as `tries` and `retrying` allow, or `hedge` one beside it;
//! [`Exchange::conclude`] (here) makes of a failure on the way a reply of our own; `record` tells stats
//! and access log what became of it.
//!
//! Every client with a request on its way holds one such future: a test bounds its size.

mod aggregate;
mod attempt;
mod beside;
mod conversation;
mod failure;
mod filters;
mod forward;
mod hashing;
mod hedge;
mod local_reply;
mod mirror;
mod original_dst;
mod outcome;
mod overriding;
mod proxy_status;
mod readdress;
mod record;
mod redirect;
mod retry;
mod retrying;
mod told;
mod tries;
mod trouble;
mod tunnel;
mod upgrade;
mod upstream_log;
mod weigh;

use std::{
    cell::OnceCell,
    future::poll_fn,
    net::IpAddr,
    ops::{Deref, DerefMut},
    rc::Rc,
    task::{Context, Poll},
    time::Instant,
};

use understudy_actors::{
    address::Address,
    runtime::Share,
    stats::{HttpStat, RouterStat},
};

pub use failure::Failure;

use super::{Arrival, count, headers, manager::Manager, serve::Worker, timers::Timers};
use crate::{
    codec::{Known, RequestHead, ResponseHead, Scheme},
    config::model::{
        hash_policy::HashPolicy,
        http::HostForm,
        route::{Forward, RouteAction},
    },
    filter::Filters,
    filter_state::FilterState,
    format::AccessLogType,
    listener::Proxied,
    local_reply::LocalReply,
    route::{Found, Lots, RouteTable, form_host},
    stream::{BodySize, RequestSource, ResponseSink, WireBytes},
    tls::{Fingerprints, Session},
    upstream::Cluster,
    worker::{AddressText, Deadline, next_connection_id},
};
use hashing::Asks;
use record::Tally;
use tries::Tries;
use upgrade::Switching;

/// Both heads of an exchange; they are pooled, since their buffers are worth keeping.
#[derive(Debug, Default)]
pub struct Heads {
    /// The request's.
    pub request: RequestHead,
    /// The response's.
    pub response: ResponseHead,
    /// Whom the request is from, where that is not the peer.
    pub client: Option<IpAddr>,
    /// Bytes of the request's head on the wire, until its stream has them.
    pub(in crate::downstream) wire: Option<Box<WireBytes>>,
    /// Which of a route's weighted clusters was drawn.
    part: Option<usize>,
    /// Cookies that the answer gives the client, so that its next requests are hashed alike.
    set_cookies: Vec<Vec<u8>>,
    /// Whether the exchange may become something else than HTTP, and is counted among those.
    switching: Switching,
}

/// What an exchange has on loan from its worker: its heads, and room for what is remembered of it. Boxed: a
/// connection that waits has no room for them, and every future on the way would have to be as large.
pub type Loan = Box<Loaned>;

/// What is lent.
#[derive(Default)]
pub struct Loaned {
    heads: Heads,
    /// Empty, but for the length of an exchange.
    tally: Tally,
}

/// What is the same for all exchanges of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client.
    pub remote: Address,
    /// Whereto it connected.
    pub local: Address,
    /// The client's IP address, if it has one, written out once.
    pub text: Option<AddressText>,
    /// The connection's number.
    pub id: u64,
    /// What its connection really is, where that stands for another.
    pub proxied: Option<Rc<Proxied>>,
    /// What its handshake came to.
    pub tls: Option<Rc<Session>>,
    /// The name that it asked for, as the TLS inspector saw it.
    pub server_name: Option<Rc<str>>,
    /// What its connection begins with, where the TLS inspector knew it for no TLS.
    pub not_tls: Option<crate::transport::NotTls>,
}

/// How an exchange ended, for the connection it was on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The response was sent to its end.
    Complete,
    /// The response was sent, but the rest of the request is nobody's any more.
    RequestUnfinished,
    /// The response cannot be finished, or the client has gone.
    Cut,
    /// The host has ended a tunnel.
    TunnelEnded,
}

/// The lots that a worker draws for a request.
struct Draw<'w> {
    worker: &'w Worker,
    asks: Asks<'w>,
    /// One number decides for the whole request, however many shares it is held against.
    number: OnceCell<u64>,
}

/// One exchange. Its end, however it comes, is its drop: stats and access log are written there.
///
/// It borrows what belongs to its connection, so that the future that carries it stays small.
pub struct Exchange<'c> {
    worker: &'c Worker,
    manager: &'c Manager,
    peer: &'c Peer,
    heads: &'c mut Heads,
    body: BodySize,
    started: Instant,
    timers: Timers<'c>,
    /// The whole request has been read.
    request_done: bool,
    /// None where the chain has none but the router.
    filters: Option<Filters>,
    /// None where the route says nothing of tries.
    tries: Option<Box<Tries>>,
    tally: &'c mut Tally,
}

// === impl Loaned ===

impl Deref for Loaned {
    type Target = Heads;

    fn deref(&self) -> &Heads {
        &self.heads
    }
}

impl DerefMut for Loaned {
    fn deref_mut(&mut self) -> &mut Heads {
        &mut self.heads
    }
}

// === impl Peer ===

impl Peer {
    /// Who has connected.
    pub fn of(arrival: &Arrival) -> Self {
        let text = arrival.peer.ip().map(AddressText::new);
        let (id, tls) = (next_connection_id(), arrival.tls.clone());
        let (proxied, server_name) = (arrival.proxied.clone(), arrival.server_name.clone());
        let (remote, local) = (arrival.peer, arrival.local);
        let not_tls = arrival.not_tls;
        Self { remote, local, text, id, proxied, tls, server_name, not_tls }
    }

    /// By what it is known, as the TLS inspector saw it.
    pub fn fingerprints(&self) -> Option<&Fingerprints> {
        self.tls.as_ref()?.fingerprints.as_deref()
    }

    /// Whether it comes by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }
}

// === impl Draw ===

impl Lots for Draw<'_> {
    fn takes(&self, key: &str, default: Share, number: u64) -> bool {
        self.worker.with_runtime(|runtime| runtime.enabled(key, default, number))
    }

    fn number(&self) -> u64 {
        *self.number.get_or_init(|| fastrand::u64(..))
    }

    fn weight(&self, key: &str, default: u32) -> u32 {
        let weight = self.worker.with_runtime(|runtime| runtime.integer(key, u64::from(default)));
        u32::try_from(weight).unwrap_or(u32::MAX)
    }

    fn certificate(&self) -> Option<bool> {
        let shown = self.asks.peer.tls.as_ref()?.peer.as_ref()?;
        Some(shown.validated)
    }

    fn filter_state(&self) -> Option<&FilterState> {
        self.asks.peer.proxied.as_deref().map(|proxied| &proxied.filter_state)
    }

    fn hash(&self, policies: &[HashPolicy], request: &RequestHead) -> Option<u64> {
        // Nobody is given a cookie for a cluster. Observed: Envoy 1.40.
        self.asks.hash(policies, request, |_, _| None)
    }
}

// === impl Exchange ===

impl<'c> Exchange<'c> {
    /// Begins with a request whose head has been parsed.
    pub fn begin(
        worker: &'c Worker,
        manager: &'c Manager,
        peer: &'c Peer,
        deadline: &'c mut Deadline,
        loan: &'c mut Loaned,
        body: BodySize,
    ) -> Self {
        let started = Instant::now();
        let stats = manager.stats();
        stats.inc(HttpStat::DownstreamRqTotal);
        stats.inc(HttpStat::DownstreamRqActive);
        let mut timers = Timers::new(deadline, manager.config.stream_idle_timeout);
        let request_done = body == BodySize::None;
        let request_timeout = manager.config.request_timeout.filter(|_| !request_done);
        timers.await_request(started, request_timeout);
        if let Some(max) = manager.config.max_stream_duration {
            timers.limit_stream(started, Some(max));
        }
        let Loaned { heads, tally } = loan;
        heads.set_cookies.clear();
        tally.begin(manager.tells(), request_done, started);
        let (filters, tries) = (None, None);
        Self {
            worker,
            manager,
            peer,
            heads,
            body,
            started,
            timers,
            request_done,
            filters,
            tries,
            tally,
        }
    }

    /// Ends what [`Self::carry`] has begun: a failure before the response becomes a reply of our own.
    pub async fn conclude<Q: RequestSource, P: ResponseSink>(
        &mut self,
        outcome: Result<(), Failure>,
        source: &mut Q,
        sink: &mut P,
    ) -> Ended {
        let outcome = match outcome {
            // Boxed: it is rare.
            Err(failure @ Failure::Redirected(_)) => {
                Box::pin(self.redirected(failure, source, sink)).await
            }
            outcome => outcome,
        };
        let outcome = match outcome {
            Err(Failure::Reply(reply)) => self.reply(reply, sink).await,
            Err(Failure::TimedOut(passed)) => {
                let reply = Box::new(self.timeout_reply(passed));
                self.reply(reply, sink).await
            }
            other => other,
        };
        self.tally.received = source.received();
        self.tally.sent = sink.sent();
        self.count_wire(source, sink);
        let (ended, cut) = match outcome {
            Ok(()) if self.request_done => return Ended::Complete,
            Ok(()) => (Ended::RequestUnfinished, false),
            Err(Failure::ClientGone) => {
                self.tally.client_gone(source.was_reset() || sink.was_reset());
                (Ended::Cut, false)
            }
            Err(Failure::TunnelEnded) => (Ended::TunnelEnded, true),
            Err(_) => (Ended::Cut, true),
        };
        count::downstream_reset(self.manager, cut);
        ended
    }

    /// Takes note of the bytes on the client's wire.
    #[inline]
    pub fn count_wire<Q: RequestSource, P: ResponseSink>(&mut self, source: &Q, sink: &P) {
        if let Some(told) = &mut self.tally.told {
            (told.wire.received, told.wire.sent) = (source.wire(), sink.wire());
        }
    }

    /// Answers with a reply of our own, outside of any route.
    pub async fn refuse<P: ResponseSink>(&mut self, reply: Box<LocalReply>, sink: &mut P) -> Ended {
        let sent = self.reply(reply, sink).await;
        self.tally.sent = sink.sent();
        if let Some(told) = &mut self.tally.told {
            told.wire.received = self.heads.wire.take().map(|wire| *wire).unwrap_or_default();
            told.wire.sent = sink.wire();
        }
        count::downstream_reset(self.manager, false);
        if sent.is_ok() { Ended::RequestUnfinished } else { Ended::Cut }
    }

    /// Makes the request one that may go on, and finds its route, if there is one.
    fn find<'t>(
        &mut self,
        table: Option<&'t RouteTable>,
        redirected: bool,
    ) -> Result<Option<Found<'t>>, Failure> {
        let Self { manager, worker, peer, .. } = *self;
        if !redirected {
            for step in &manager.config.early_mutations {
                self.edit_request(step);
            }
            let client = headers::request(&mut self.heads.request, manager, worker, peer);
            self.heads.client = client.map_err(Failure::reply)?;
            if manager.config.host_form != HostForm::default() {
                let form = manager.config.host_form;
                form_host(&mut self.heads.request, form, peer.local.port());
            }
        }
        let Some(table) = table else { return Ok(None) };
        if !table.config().internal_only_headers.is_empty() && !self.is_internal() {
            let own = &table.config().internal_only_headers;
            own.iter().for_each(|name| self.heads.request.headers.remove_name(name));
        }
        Ok(self.route_of(table))
    }

    /// The route of the request as it is now.
    fn route_of<'t>(&self, table: &'t RouteTable) -> Option<Found<'t>> {
        if self.heads.request.headers.get(Known::XForwardedProto) == Some(b"") {
            // Who says nothing there has no route. Observed: Envoy 1.40.
            return None;
        }
        let asks = Asks { peer: self.peer, client: self.heads.client };
        let draw = Draw { worker: self.worker, asks, number: OnceCell::new() };
        table.find(&self.heads.request, &draw)
    }

    /// Where the route sends the request, or what it answers itself.
    fn act<'t>(&mut self, found: Option<Found<'t>>) -> Result<(&'t Forward, Rc<Cluster>), Failure> {
        let stats = self.manager.router_stats();
        stats.inc(RouterStat::RqTotal);
        let Some(found) = found else {
            stats.inc(RouterStat::NoRoute);
            return Err(Failure::reply(LocalReply::route_not_found()));
        };
        let rule = &found.route.matcher;
        match &found.route.action {
            RouteAction::Direct(direct) => {
                stats.inc(RouterStat::RqDirectResponse);
                let mut reply = headers::direct_response(direct, &self.heads.request);
                self.format_direct(direct, &mut reply);
                Err(Failure::reply(reply))
            }
            RouteAction::Redirect(redirect) => {
                // Envoy's own `rq_redirect` stays zero. Observed: Envoy 1.40.
                stats.inc(RouterStat::RqDirectResponse);
                Err(Failure::reply(headers::redirect(redirect, rule, &self.heads.request)))
            }
            RouteAction::Forward(forward) => {
                self.heads.part = found.part.and_then(|part| forward.cluster.place_of(part));
                let cluster = self.cluster(forward, found.part)?;
                if !self.manager.router().strict_headers.is_empty() {
                    self.check_controls()?;
                }
                if found.is_counted_apart() {
                    let apart = self.manager.count_apart(found, &self.heads.request);
                    self.tally.apart = Some(apart);
                    if let Some(told) = &mut self.tally.told
                        && let Some(name) = found.virtual_cluster(&self.heads.request)
                    {
                        name.clone_into(&mut told.virtual_cluster);
                    }
                }
                self.plan_tries(forward);
                let request = &mut self.heads.request;
                if self.manager.config.client.matches_upstream_scheme {
                    let encrypted = cluster.current().upstream.tls.is_some();
                    request.scheme = if encrypted { Scheme::Https } else { Scheme::Http };
                }
                let part = found.part.and_then(|part| part.mutations.as_ref());
                if let Some(mutations) = part.or(found.route.mutations.as_ref()) {
                    self.mutate_request(mutations);
                }
                self.format_host(forward);
                let request = &mut self.heads.request;
                headers::rewrite(request, forward, found.part, rule, self.manager);
                self.format_path(forward);
                let request = &mut self.heads.request;
                headers::empty_length(request, self.body);
                Ok((forward, cluster))
            }
        }
    }

    /// Sends a reply of our own.
    fn reply<P: ResponseSink>(
        &mut self,
        reply: Box<LocalReply>,
        sink: &mut P,
    ) -> impl Future<Output = Result<(), Failure>> {
        self.compose(&reply, sink);
        self.flush(sink)
    }

    /// Counts the exchange as done: before its last bytes are sent, so that whoever has read them finds
    /// it counted. Observed: Envoy 1.40.
    pub fn settle(&mut self) {
        if self.tally.settled {
            return;
        }
        self.tally.settled = true;
        let elapsed = self.tally.duration(self.started);
        if let Some(apart) = &self.tally.apart
            && self.tally.status != 0
        {
            apart.answer(self.tally.status, self.tally.service_time);
        }
        self.manager.stats().dec(HttpStat::DownstreamRqActive);
        count::downstream(self.manager, self.tally.status, elapsed, self.is_health_check());
    }

    /// Ready with what ends the wait for a response: the client goes, or takes its request back, or a
    /// timeout passes.
    fn poll_interrupted<Q: RequestSource, P: ResponseSink>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut Q,
        sink: &mut P,
    ) -> Poll<Failure> {
        if self.request_done && (source.poll_gone(cx).is_ready() || sink.poll_gone(cx).is_ready()) {
            return Poll::Ready(Failure::ClientGone);
        }
        self.timers.poll(cx).map(Failure::TimedOut)
    }

    /// Tells a client that waits for it to go on; the router need not be asked. Observed: Envoy 1.40.
    async fn say_continue<P: ResponseSink>(&mut self, sink: &mut P) -> Result<(), Failure> {
        headers::continue_head(&mut self.heads.response);
        sink.interim(&self.heads.response);
        count::downstream_interim(self.manager);
        self.flush(sink).await
    }

    /// Sends what the client's side holds.
    fn flush<P: ResponseSink>(
        &mut self,
        sink: &mut P,
    ) -> impl Future<Output = Result<(), Failure>> {
        poll_fn(|cx| match sink.poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::ClientGone)),
            Poll::Pending => {
                self.tally.paused = true;
                self.timers.poll(cx).map(|passed| {
                    count::passed(self.manager, passed);
                    self.tally.cut_by_timeout(passed, self.request_done);
                    Err(Failure::Cut)
                })
            }
        })
    }

    /// Whether a filter has taken the request for a health check, which is counted apart.
    fn is_health_check(&self) -> bool {
        self.filters.as_ref().is_some_and(Filters::is_health_check)
    }

    /// Whether the request comes from inside, as [`headers::request`] has found.
    fn is_internal(&self) -> bool {
        self.heads.request.headers.has(Known::XEnvoyInternal)
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        self.settle();
        if let Some(filters) = &self.filters {
            filters.end(self.tally.status);
        }
        if std::mem::take(&mut self.heads.switching) != Switching::No {
            self.manager.stats().dec(HttpStat::DownstreamCxUpgradesActive);
        }
        self.end_upstream_log(&Ok(()));
        if !self.manager.logs().is_empty() {
            self.log(AccessLogType::DownstreamEnd);
        }
        if self.tally.trouble.is_some() {
            self.keep_trouble();
        }
        // What it holds of tables and hosts is not kept for the next.
        *self.tally = Tally::default();
    }
}
