//! Owns one exchange: a request, the way to its upstream, and its response. One future, no spawn.

use std::{
    borrow::Cow,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use understudy_actors::{
    seams::Accepted,
    snapshot::{BreakerCounts, ClusterSnapshot, Host},
    stats::{ClusterStat, HostStat, HttpStat, RouterStat},
};

use super::{
    count, headers,
    local_reply::{LocalReply, Reset},
    manager::Manager,
    serve::Worker,
    stream::{
        BodyError, BodySize, Pump, PumpError, RequestSink, RequestSource, ResponseSink,
        ResponseSource,
    },
    timers::{Passed, Timers},
};
use crate::worker::AddressText;
use crate::{
    access_log::{Record, ResponseFlag},
    codec::{Known, RequestHead, ResponseHead},
    config::model::route::{Forward, RouteAction},
    upstream::{
        Cluster, Current, balancer,
        connect::ConnectError,
        http1::Http1Stream,
        http2::Http2Stream,
        pool::{HostPool, PoolError},
    },
};

/// How long a request waits for a cluster's first answer.
const FIRST_ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Tries on other connections after one that the host had closed while it was idle.
const STALE_TRIES_MAX: u32 = 3;

/// Both heads of an exchange; they are pooled, since their buffers are worth keeping.
#[derive(Debug, Default)]
pub struct Heads {
    /// The request's.
    pub request: RequestHead,
    /// The response's.
    pub response: ResponseHead,
}

/// Heads on loan from the worker. Boxed: they go from the connection to the exchange and back.
pub type Loan = Box<Heads>;

/// What is the same for all exchanges of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The client.
    pub remote: SocketAddr,
    /// Whereto it connected.
    pub local: SocketAddr,
    /// The client's IP address, written out once.
    pub text: AddressText,
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
}

/// One exchange. Its end, however it comes, is its drop: stats and access log are written there.
pub struct Exchange<'w> {
    worker: &'w Rc<Worker>,
    manager: &'w Rc<Manager>,
    peer: Peer,
    /// The heads.
    pub heads: Loan,
    body: BodySize,
    started: Instant,
    timers: Timers,
    request_done: bool,
    response_begun: bool,
    record: Tally,
}

/// What the access log and the stats want to know at the end.
#[derive(Default)]
struct Tally {
    flags: crate::access_log::ResponseFlags,
    details: Cow<'static, str>,
    upstream: Option<Arc<Host>>,
    service_time: Option<Duration>,
    original_path: Option<Vec<u8>>,
    status: u16,
    received: u64,
    sent: u64,
}

/// Why the way upstream gave no response.
enum Failure {
    /// We answer ourselves.
    Reply(LocalReply),
    /// The upstream failed.
    Reset(Reset),
    /// A timeout has passed.
    TimedOut(Passed),
    /// The client has gone.
    ClientGone,
    /// The response began and cannot be finished.
    Cut,
    /// The connection had been closed while it was idle, before it took the request.
    Stale,
}

/// A request in flight to a host; counted until dropped.
struct InFlight {
    snapshot: Arc<ClusterSnapshot>,
    host: Arc<Host>,
    worker: usize,
}

// === impl Peer ===

impl Peer {
    /// Who has connected.
    pub fn of(accepted: &Accepted) -> Self {
        let text = AddressText::new(accepted.peer.ip());
        Self { remote: accepted.peer, local: accepted.local, text }
    }
}

// === impl Exchange ===

impl<'w> Exchange<'w> {
    /// Begins with a request whose head has been parsed.
    pub fn begin(
        worker: &'w Rc<Worker>,
        manager: &'w Rc<Manager>,
        peer: Peer,
        heads: Loan,
        body: BodySize,
    ) -> Self {
        let started = Instant::now();
        let stats = manager.stats();
        stats.inc(HttpStat::DownstreamRqTotal);
        stats.inc(HttpStat::DownstreamRqActive);
        let mut timers = Timers::new(&worker.deadlines);
        timers.limit_idle(started, manager.config.stream_idle_timeout);
        if body != BodySize::None {
            timers.await_request(started, manager.config.request_timeout);
        }
        let (request_done, record) = (body == BodySize::None, Tally::default());
        let response_begun = false;
        Self {
            worker,
            manager,
            peer,
            heads,
            body,
            started,
            timers,
            request_done,
            response_begun,
            record,
        }
    }

    /// Carries the request to its end.
    pub async fn run<Q: RequestSource, P: ResponseSink>(
        &mut self,
        source: &mut Q,
        sink: &mut P,
    ) -> Ended {
        let outcome = self.answer(source, sink).await;
        let outcome = match outcome {
            Err(Failure::Reply(reply)) => self.reply(reply, source, sink).await,
            Err(Failure::TimedOut(passed)) => {
                let reply = self.timeout_reply(passed);
                self.reply(reply, source, sink).await
            }
            other => other,
        };
        self.record.received = source.received();
        self.record.sent = sink.sent();
        match outcome {
            Ok(()) if self.request_done => Ended::Complete,
            Ok(()) => Ended::RequestUnfinished,
            Err(Failure::ClientGone) => {
                self.record.flags.insert(ResponseFlag::DownstreamConnectionTermination);
                self.record.details = Cow::Borrowed("downstream_remote_disconnect");
                Ended::Cut
            }
            Err(_) => Ended::Cut,
        }
    }

    /// Answers with a reply of our own, outside of any route.
    pub async fn refuse<Q: RequestSource, P: ResponseSink>(
        &mut self,
        reply: LocalReply,
        source: &mut Q,
        sink: &mut P,
    ) -> Ended {
        let sent = self.reply(reply, source, sink).await;
        self.record.sent = sink.sent();
        if sent.is_ok() { Ended::RequestUnfinished } else { Ended::Cut }
    }

    async fn answer<Q: RequestSource, P: ResponseSink>(
        &mut self,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        headers::request(&mut self.heads.request, self.manager, self.worker, &self.peer, self.body)
            .map_err(Failure::Reply)?;
        let table = self.manager.table();
        let request = &self.heads.request;
        let found =
            table.as_ref().and_then(|table| table.find(request.authority(), request.path()));
        let Some(found) = found else {
            self.manager.router_stats().inc(RouterStat::NoRoute);
            return Err(Failure::Reply(LocalReply::route_not_found()));
        };
        self.manager.router_stats().inc(RouterStat::RqTotal);
        match &found.route.action {
            RouteAction::Direct(direct) => {
                self.manager.router_stats().inc(RouterStat::RqDirectResponse);
                Err(Failure::Reply(headers::direct_response(direct)))
            }
            RouteAction::Redirect(redirect) => {
                self.manager.router_stats().inc(RouterStat::RqRedirect);
                let reply = headers::redirect(redirect, &found.route.matcher, request);
                Err(Failure::Reply(reply))
            }
            RouteAction::Forward(forward) => {
                let forward = forward.clone();
                let prefix = headers::matched_prefix(&found.route.matcher);
                self.record.original_path =
                    headers::rewrite(&mut self.heads.request, &forward, prefix);
                self.forward(&forward, source, sink).await
            }
        }
    }

    /// Sends the request to the route's cluster and its response back.
    async fn forward<Q: RequestSource, P: ResponseSink>(
        &mut self,
        route: &Forward,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        let now = self.started;
        if let Some(idle) = route.idle_timeout {
            self.timers.limit_idle(now, (!idle.is_zero()).then_some(idle));
        }
        if self.request_done {
            self.timers.await_response(now, route.timeout);
        }
        let Some(cluster) = self.worker.clusters.get(route.cluster) else {
            self.manager.router_stats().inc(RouterStat::NoCluster);
            let status = route.cluster_not_found_status;
            return Err(Failure::Reply(LocalReply::cluster_not_found(status)));
        };
        let mut current = cluster.current();
        if !current.snapshot.ready {
            self.first_answer(&cluster, &current, source, sink).await?;
            current = cluster.current();
        }
        headers::expected_timeout(&mut self.heads.request, route.timeout);
        let mut stale = 0;
        loop {
            match self.attempt(route, &current, source, sink).await {
                Err(Failure::Stale) if stale < STALE_TRIES_MAX => stale += 1,
                Err(Failure::Stale) => return Err(self.upstream_reset(&current, Reset::Terminated)),
                done => return done,
            }
            current = cluster.current();
        }
    }

    /// Waits until the cluster's discovery has answered once, within limits.
    async fn first_answer<Q: RequestSource, P: ResponseSink>(
        &mut self,
        cluster: &Cluster,
        current: &Current,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        let answered = async {
            let first = current.snapshot.shared.first_answer.notified();
            // It may have come between looking and listening.
            if cluster.current().snapshot.ready {
                return;
            }
            let _ = tokio::time::timeout(FIRST_ANSWER_WAIT, first).await;
        };
        self.while_client_waits(answered, source, sink).await
    }

    /// One try with one host.
    async fn attempt<Q: RequestSource, P: ResponseSink>(
        &mut self,
        route: &Forward,
        current: &Rc<Current>,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        let snapshot = &current.snapshot;
        let stats = snapshot.shared.stats.lane(self.worker.index);
        let picked = balancer::pick(snapshot).and_then(|at| current.pools.get(at).cloned());
        let Some(pool) = picked else {
            stats.inc(ClusterStat::UpstreamCxNoneHealthy);
            count::upstream_status(stats, 503, self.is_internal());
            return Err(Failure::Reply(LocalReply::no_healthy_upstream()));
        };
        if snapshot.panic {
            stats.inc(ClusterStat::LbHealthyPanic);
        }
        match &*pool {
            HostPool::Http1(pool) => {
                let host = pool.target().host.clone();
                let in_flight = self.enter(snapshot, &host)?;
                let connection = match pool.checkout() {
                    Some(connection) => connection,
                    None => {
                        let acquired =
                            self.while_client_waits(pool.acquire(), source, sink).await?;
                        acquired.map_err(|error| self.pool_failure(current, error))?
                    }
                };
                let reused = connection.reused;
                let to_head = self.heads.request.is_head();
                let mut stream =
                    Http1Stream::new(connection, &self.worker.buffers, pool.options(), to_head);
                let (mut up_sink, mut up_source) = stream.split();
                let both = (&mut up_sink, &mut up_source);
                let done = self.converse(route, current, source, sink, both, reused).await;
                drop(in_flight);
                // The next request may have the connection while this answer is still sent.
                stream.finish();
                done?;
                self.flush(sink).await
            }
            HostPool::Http2(pool) => {
                let host = pool.target().host.clone();
                let in_flight = self.enter(snapshot, &host)?;
                let acquired = self.while_client_waits(pool.acquire(), source, sink).await?;
                let lease = acquired.map_err(|error| self.pool_failure(current, error))?;
                let mut stream = Http2Stream::new(lease, self.heads.request.is_head());
                let (mut up_sink, mut up_source) = stream.split();
                let both = (&mut up_sink, &mut up_source);
                let done = self.converse(route, current, source, sink, both, true).await;
                drop(in_flight);
                drop(stream);
                done?;
                self.flush(sink).await
            }
        }
    }

    /// Counts the request against the cluster's limits.
    fn enter(
        &mut self,
        snapshot: &Arc<ClusterSnapshot>,
        host: &Arc<Host>,
    ) -> Result<InFlight, Failure> {
        self.record.upstream = Some(host.clone());
        InFlight::begin(snapshot, host, self.worker.index).ok_or_else(|| {
            let stats = snapshot.shared.stats.lane(self.worker.index);
            stats.inc(ClusterStat::UpstreamRqPendingOverflow);
            count::upstream_status(stats, 503, self.is_internal());
            Failure::Reply(LocalReply::upstream_reset(&Reset::Overflow))
        })
    }

    /// Sends the request and receives the response over one stream; ready when the response has been
    /// taken by the sink, sent or not.
    async fn converse<Q, P, U, V>(
        &mut self,
        route: &Forward,
        current: &Rc<Current>,
        source: &mut Q,
        sink: &mut P,
        (up_sink, up_source): (&mut U, &mut V),
        reused: bool,
    ) -> Result<(), Failure>
    where
        Q: RequestSource,
        P: ResponseSink,
        U: RequestSink,
        V: ResponseSource,
    {
        let replayable = self.request_done || source.received() == 0;
        if let Err(reset) = up_sink.head(&mut self.heads.request, self.body) {
            return Err(match reset {
                Reset::Terminated if reused && replayable => Failure::Stale,
                reset => self.upstream_reset(current, reset),
            });
        }
        if source.expects_continue() && !self.manager.config.proxy_100_continue {
            headers::continue_head(&mut self.heads.response);
            sink.interim(&self.heads.response);
            self.flush(sink).await?;
        }
        let mut up = Pump::new(self.request_done);
        let size = loop {
            let head = self.response_head(route, source, sink, up_sink, up_source, &mut up).await;
            let size = match head {
                Ok(size) => size,
                Err(Failure::Stale) if reused && replayable && source.received() == 0 => {
                    return Err(Failure::Stale);
                }
                Err(Failure::Stale) => return Err(self.upstream_reset(current, Reset::Terminated)),
                Err(Failure::Reset(reset)) => return Err(self.upstream_reset(current, reset)),
                Err(Failure::TimedOut(passed)) => {
                    return Err(self.upstream_timed_out(current, passed));
                }
                Err(other) => return Err(other),
            };
            // 101 would need an upgrade, which was not asked for: the codec refuses it.
            if self.heads.response.status >= 200 {
                break size;
            }
            if self.heads.response.status == 100 && self.manager.config.proxy_100_continue {
                sink.interim(&self.heads.response);
                self.flush(sink).await?;
            }
        };
        self.respond(current, sink, size);
        self.relay(source, sink, up_sink, up_source, up, size).await
    }

    /// Sends the request until the response's head is here.
    async fn response_head<Q, P, U, V>(
        &mut self,
        route: &Forward,
        source: &mut Q,
        sink: &mut P,
        up_sink: &mut U,
        up_source: &mut V,
        up: &mut Pump,
    ) -> Result<BodySize, Failure>
    where
        Q: RequestSource,
        P: ResponseSink,
        U: RequestSink,
        V: ResponseSource,
    {
        let mut sent = false;
        let Self { timers, heads, request_done, .. } = self;
        poll_fn(|cx| {
            if !sent {
                match up.poll(cx, source, up_sink, || timers.touch()) {
                    Poll::Ready(Ok(())) => {
                        sent = true;
                        if !*request_done {
                            *request_done = true;
                            timers.await_response(Instant::now(), route.timeout);
                        }
                    }
                    Poll::Ready(Err(PumpError::Source(error))) => {
                        return Poll::Ready(Err(request_failed(&error)));
                    }
                    // The upstream may have answered before it stopped listening.
                    Poll::Ready(Err(PumpError::Sink(_))) => sent = true,
                    Poll::Pending => {}
                }
            }
            match up_source.poll_head(cx, &mut heads.response) {
                Poll::Ready(Ok(size)) => return Poll::Ready(Ok(size)),
                Poll::Ready(Err(Reset::Terminated)) => return Poll::Ready(Err(Failure::Stale)),
                Poll::Ready(Err(reset)) => {
                    return Poll::Ready(Err(Failure::Reset(reset)));
                }
                Poll::Pending => {}
            }
            if *request_done && (source.poll_gone(cx).is_ready() || sink.poll_gone(cx).is_ready()) {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            timers.poll(cx).map(|passed| Err(Failure::TimedOut(passed)))
        })
        .await
    }

    /// Hands the response's head to the client's side.
    fn respond<P: ResponseSink>(&mut self, current: &Current, sink: &mut P, size: BodySize) {
        let waited = self.started.elapsed();
        self.record.service_time = Some(waited);
        let status = self.heads.response.status;
        let (host, internal) = (self.record.upstream.as_deref(), self.is_internal());
        count::upstream(&current.snapshot, host, self.worker.index, status, internal, waited);
        self.record.status = status;
        self.record.details = Cow::Borrowed("via_upstream");
        let Heads { request, response } = &mut *self.heads;
        headers::response(response, self.manager, self.worker, Some(waited), request);
        sink.head(response, size);
        if size == BodySize::None {
            sink.end(None);
        }
    }

    /// Carries both bodies until the response's end has been taken by the sink.
    async fn relay<Q, P, U, V>(
        &mut self,
        source: &mut Q,
        sink: &mut P,
        up_sink: &mut U,
        up_source: &mut V,
        mut up: Pump,
        size: BodySize,
    ) -> Result<(), Failure>
    where
        Q: RequestSource,
        P: ResponseSink,
        U: RequestSink,
        V: ResponseSource,
    {
        if size == BodySize::None {
            return Ok(());
        }
        let mut down = Pump::new(false);
        let mut sending = !self.request_done;
        let Self { timers, request_done, record, .. } = self;
        poll_fn(|cx| {
            if sending {
                match up.poll(cx, source, up_sink, || timers.touch()) {
                    Poll::Ready(Ok(())) => {
                        *request_done = true;
                        sending = false;
                    }
                    Poll::Ready(Err(PumpError::Source(error))) => {
                        return Poll::Ready(Err(request_failed(&error)));
                    }
                    Poll::Ready(Err(PumpError::Sink(_))) => sending = false,
                    Poll::Pending => {}
                }
            }
            match down.poll_transfer(cx, up_source, sink, || timers.touch()) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(PumpError::Source(error))) => {
                    // What came before the fault is the client's; a full socket ends it here.
                    let _ = sink.poll_flush(cx);
                    record.cut_by_upstream(&error);
                    return Poll::Ready(Err(Failure::Cut));
                }
                Poll::Ready(Err(PumpError::Sink(_))) => {
                    return Poll::Ready(Err(Failure::ClientGone));
                }
                Poll::Pending => {}
            }
            timers.poll(cx).map(|passed| {
                record.cut_by_timeout(passed);
                Err(Failure::Cut)
            })
        })
        .await
    }

    /// Sends what the client's side holds.
    async fn flush<P: ResponseSink>(&mut self, sink: &mut P) -> Result<(), Failure> {
        let Self { timers, record, .. } = self;
        poll_fn(|cx| match sink.poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Failure::ClientGone)),
            Poll::Pending => timers.poll(cx).map(|passed| {
                record.cut_by_timeout(passed);
                Err(Failure::Cut)
            }),
        })
        .await
    }

    /// Waits for something on the way upstream, unless the client goes or a timeout passes first.
    async fn while_client_waits<Q: RequestSource, P: ResponseSink, T>(
        &mut self,
        waiting: impl Future<Output = T>,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<T, Failure> {
        let mut waiting = pin!(waiting);
        let Self { timers, request_done, .. } = self;
        poll_fn(|cx| {
            if let Poll::Ready(done) = waiting.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if *request_done && (source.poll_gone(cx).is_ready() || sink.poll_gone(cx).is_ready()) {
                return Poll::Ready(Err(Failure::ClientGone));
            }
            timers.poll(cx).map(|passed| Err(Failure::TimedOut(passed)))
        })
        .await
    }

    /// Sends a reply of our own.
    async fn reply<Q: RequestSource, P: ResponseSink>(
        &mut self,
        reply: LocalReply,
        _source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        if let Some(flag) = reply.flag {
            self.record.flags.insert(flag);
        }
        self.record.status = reply.status;
        let Heads { request, response } = &mut *self.heads;
        let (grpc, head_only, unfinished) =
            (headers::is_grpc(request), request.is_head(), !self.request_done);
        let made = headers::Local { grpc, to_head: head_only, unfinished };
        headers::local_reply(response, &reply, made, self.manager, self.worker);
        self.record.details = reply.details;
        let body = if grpc { "" } else { &*reply.body };
        let size = match (body.is_empty(), head_only) {
            (true, _) => BodySize::None,
            // A response to HEAD has no body, and Envoy does not count what it would have been.
            (false, true) => BodySize::Unknown,
            (false, false) => BodySize::Known(body.len() as u64),
        };
        self.response_begun = true;
        sink.head(&mut self.heads.response, size);
        if !head_only && !body.is_empty() {
            sink.data(super::stream::Data::Slice(body.as_bytes()));
        }
        sink.end(None);
        self.flush(sink).await
    }

    /// Whether the request comes from inside, as [`headers::request`] has found.
    fn is_internal(&self) -> bool {
        self.heads.request.headers.get(Known::XEnvoyInternal).is_some()
    }

    /// Writes the access log.
    fn log(&self, elapsed: Duration) {
        let Heads { request, .. } = &*self.heads;
        let record = Record {
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            method: request.method.as_str().as_bytes(),
            path: self.record.original_path.as_deref().unwrap_or(request.path()),
            protocol: request.version.as_str(),
            status: self.record.status,
            flags: self.record.flags,
            received: self.record.received,
            sent: self.record.sent,
            duration: elapsed,
            service_time: self.record.service_time,
            forwarded_for: request.headers.get(Known::XForwardedFor),
            user_agent: request.headers.get(Known::UserAgent),
            request_id: request.headers.get(Known::XRequestId),
            authority: Some(request.authority()),
            upstream: self.record.upstream.as_ref().map(|host| host.address_text.as_str()),
        };
        self.worker.with_line(|line| {
            record.write_default(line);
            self.manager
                .log_sinks()
                .iter()
                .for_each(|sink| self.worker.access_log.write(*sink, line));
        });
    }

    fn pool_failure(&mut self, current: &Current, error: PoolError) -> Failure {
        let reset = match error {
            PoolError::Connect(ConnectError::Failed(why)) => {
                Reset::ConnectFailed(system_text(&why))
            }
            PoolError::Connect(ConnectError::TimedOut(_)) => Reset::ConnectTimeout,
            PoolError::Overflow => Reset::Overflow,
            PoolError::Terminated => Reset::Terminated,
        };
        self.upstream_reset(current, reset)
    }

    /// Counts a failure of the upstream's, and answers for it.
    fn upstream_reset(&mut self, current: &Current, reset: Reset) -> Failure {
        let (host, internal) = (self.record.upstream.as_deref(), self.is_internal());
        let (snapshot, worker) = (&current.snapshot, self.worker.index);
        let reply = LocalReply::upstream_reset(&reset);
        count::upstream_reset(snapshot, worker, &reset);
        count::upstream_failure(snapshot, host, worker, reply.status, internal);
        Failure::Reply(reply)
    }

    /// Counts a timeout while the upstream had the request, and answers for it.
    fn upstream_timed_out(&mut self, current: &Current, passed: Passed) -> Failure {
        let (host, internal) = (self.record.upstream.as_deref(), self.is_internal());
        let (snapshot, worker) = (&current.snapshot, self.worker.index);
        if passed == Passed::Response {
            count::upstream_timeout(snapshot, host, worker);
            count::upstream_failure(snapshot, host, worker, 504, internal);
        }
        Failure::Reply(self.timeout_reply(passed))
    }

    fn timeout_reply(&self, passed: Passed) -> LocalReply {
        let stats = self.manager.stats();
        match passed {
            Passed::Response => LocalReply::response_timeout(),
            Passed::Request => {
                stats.inc(HttpStat::DownstreamRqTimeout);
                LocalReply::request_timeout()
            }
            Passed::Idle => {
                stats.inc(HttpStat::DownstreamRqIdleTimeout);
                LocalReply::stream_idle_timeout(self.request_done)
            }
        }
    }
}

// === impl Tally ===

impl Tally {
    /// The upstream ended the response before its end.
    fn cut_by_upstream(&mut self, error: &BodyError) {
        let (flag, details) = match error {
            BodyError::Protocol(_) => (
                ResponseFlag::UpstreamProtocolError,
                "upstream_reset_after_response_started{protocol_error}",
            ),
            BodyError::Gone => (
                ResponseFlag::UpstreamConnectionTermination,
                "upstream_reset_after_response_started{connection_termination}",
            ),
            BodyError::Reset => (
                ResponseFlag::UpstreamRemoteReset,
                "upstream_reset_after_response_started{remote_reset}",
            ),
        };
        self.flags.insert(flag);
        self.details = Cow::Borrowed(details);
    }

    /// A timeout passed after the response had begun.
    fn cut_by_timeout(&mut self, passed: Passed) {
        let (flag, details) = match passed {
            Passed::Idle => (ResponseFlag::StreamIdleTimeout, "stream_idle_timeout"),
            Passed::Response | Passed::Request => {
                (ResponseFlag::UpstreamRequestTimeout, "response_timeout")
            }
        };
        self.flags.insert(flag);
        self.details = Cow::Borrowed(details);
    }
}

impl Drop for Exchange<'_> {
    fn drop(&mut self) {
        let stats = self.manager.stats();
        let elapsed = self.started.elapsed();
        stats.dec(HttpStat::DownstreamRqActive);
        count::downstream(self.manager, self.record.status, elapsed);
        if !self.manager.config.access_logs.is_empty() {
            self.log(elapsed);
        }
        self.worker.keep(std::mem::take(&mut self.heads));
    }
}

/// The system's words for an error, without its number.
fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

fn request_failed(error: &BodyError) -> Failure {
    match error {
        BodyError::Gone | BodyError::Reset => Failure::ClientGone,
        BodyError::Protocol(error) => {
            let refusal = error.refusal();
            let reply = LocalReply::new(refusal.status, refusal.body, refusal.details);
            Failure::Reply(reply.flagged(ResponseFlag::DownstreamProtocolError))
        }
    }
}

// === impl InFlight ===

impl InFlight {
    /// `None` when the cluster carries as many requests as it may.
    fn begin(snapshot: &Arc<ClusterSnapshot>, host: &Arc<Host>, worker: usize) -> Option<Self> {
        let counts: &BreakerCounts = &snapshot.shared.breakers[0];
        if counts.requests.fetch_add(1, Relaxed) >= snapshot.plan.thresholds[0].requests {
            counts.requests.fetch_sub(1, Relaxed);
            return None;
        }
        let stats = snapshot.shared.stats.lane(worker);
        stats.inc(ClusterStat::UpstreamRqTotal);
        stats.inc(ClusterStat::UpstreamRqActive);
        let host_stats = host.stats.lane(worker);
        host_stats.inc(HostStat::RqTotal);
        host_stats.inc(HostStat::RqActive);
        Some(Self { snapshot: snapshot.clone(), host: host.clone(), worker })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.snapshot.shared.breakers[0].requests.fetch_sub(1, Relaxed);
        self.snapshot.shared.stats.lane(self.worker).dec(ClusterStat::UpstreamRqActive);
        self.host.stats.lane(self.worker).dec(HostStat::RqActive);
    }
}
