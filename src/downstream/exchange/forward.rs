//! Owns the way upstream: a cluster, a host of its, a connection to that host.

use std::{future::poll_fn, rc::Rc, sync::atomic::Ordering::Relaxed, task::Poll, time::Duration};

use futures_util::future::LocalBoxFuture;
use understudy_actors::{
    snapshot::{ClusterSnapshot, Host},
    stats::{ClusterStat, HostStat, RouterStat},
};

use super::{super::count, Exchange, conversation::Conversation, failure::Failure};
use crate::{
    config::model::route::Forward,
    filter::{FilteredRequest, FilteredResponse},
    local_reply::LocalReply,
    stream::{Pump, RequestSource, Reset, ResponseSink, ResponseSource},
    upstream::{
        Cluster, Current, balancer,
        http1::Http1Stream,
        http2::Http2Stream,
        pool::{HostPool, Target},
    },
};

/// How long a request waits for a cluster's first answer.
const FIRST_ANSWER_WAIT: Duration = Duration::from_secs(1);

/// Tries on other connections after one that the host had closed while it was idle.
const STALE_TRIES_MAX: u32 = 3;

/// The host that a try goes to.
#[derive(Clone)]
pub(super) struct Chosen {
    current: Rc<Current>,
    pool: Rc<HostPool>,
    worker: usize,
}

/// A request in flight to a host, on a connection; counted until dropped.
struct InFlight<'a> {
    chosen: &'a Chosen,
}

// === impl Exchange ===

impl<'c> Exchange<'c> {
    /// Carries the request to its upstream and the response back.
    ///
    /// # Errors
    ///
    /// [`Failure`], which [`Exchange::conclude`] makes an end of.
    pub async fn carry<Q: RequestSource, P: ResponseSink>(
        &mut self,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        if source.expects_continue() && !self.manager.config.proxy_100_continue {
            self.say_continue(sink).await?;
        }
        let table = self.manager.table();
        let found = self.find(table.as_deref().map(|table| &**table))?;
        let source = &mut FilteredRequest::new(source);
        if !self.manager.config.filters.is_empty() {
            // Boxed: most chains have no filter but the router.
            Box::pin(self.filter(found, source, sink)).await?;
        }
        let route = self.act(found)?;
        let cluster = self.cluster(route)?;
        let mut current = cluster.current();
        if !current.snapshot.ready {
            if self.request_done {
                // The wait has its own end, and another answer than the route's timeout.
                self.timers.await_response(self.started, None);
            }
            let wait = first_answer(&cluster, route.timeout);
            self.while_client_waits(wait, source, sink).await?;
            current = cluster.current();
        }
        if self.request_done {
            self.timers.await_response(self.started, route.timeout);
        }
        let mut stale = 0;
        loop {
            let chosen = self.choose(current)?;
            let done = match &*chosen.pool {
                HostPool::Http1(pool) => {
                    let connection = match pool.checkout() {
                        Some(connection) => connection,
                        None => self
                            .while_client_waits(Box::pin(pool.acquire()), source, sink)
                            .await?
                            .map_err(|error| self.no_connection(&chosen, error))?,
                    };
                    let Some(_in_flight) = InFlight::begin(&chosen) else {
                        connection.give_back();
                        return Err(self.too_many_requests(&chosen));
                    };
                    let (reused, to_head) = (connection.reused, self.heads.request.is_head());
                    let mut stream = Http1Stream::new(connection, pool.options(), to_head);
                    let up = stream.split(&self.worker.buffers);
                    let done = self.converse(route, &chosen, reused, source, sink, up).hold().await;
                    // The next request may have the connection while this answer is still sent.
                    stream.finish();
                    done
                }
                HostPool::Http2(pool) => {
                    let lease = match pool.lease() {
                        Some(lease) => lease,
                        None => self
                            .while_client_waits(Box::pin(pool.acquire()), source, sink)
                            .await?
                            .map_err(|error| self.no_connection(&chosen, error))?,
                    };
                    let Some(_in_flight) = InFlight::begin(&chosen) else {
                        return Err(self.too_many_requests(&chosen));
                    };
                    let mut stream = Http2Stream::new(lease, self.heads.request.is_head());
                    let up = stream.split();
                    self.converse(route, &chosen, true, source, sink, up).hold().await
                }
            };
            match done {
                Ok(()) => {}
                Err(Failure::Stale) if stale < STALE_TRIES_MAX => {
                    stale += 1;
                    current = cluster.current();
                    continue;
                }
                Err(Failure::Stale) => {
                    return Err(self.upstream_reset(&chosen, Reset::Terminated));
                }
                Err(other) => return Err(other),
            }
            self.settle();
            return self.flush(sink).await;
        }
    }

    /// The client's stream and the host's, brought together.
    fn converse<'a, Q, P, U, V>(
        &'a mut self,
        route: &'a Forward,
        chosen: &'a Chosen,
        reused: bool,
        source: &'a mut Q,
        sink: &'a mut P,
        (up_sink, up_source): (U, V),
    ) -> Conversation<'a, 'c, Q, P, U, V>
    where
        V: ResponseSource,
    {
        let up = Pump::new(self.request_done);
        let up_source = FilteredResponse::new(up_source, self.filters.clone());
        let exchange = self;
        Conversation {
            exchange,
            route,
            chosen,
            source,
            sink,
            up_sink,
            up_source,
            up,
            sent: false,
            reused,
        }
    }

    /// The route's cluster; its idle timeout is in force from here.
    fn cluster(&mut self, route: &Forward) -> Result<Rc<Cluster>, Failure> {
        if let Some(idle) = route.idle_timeout {
            self.timers.limit_idle((!idle.is_zero()).then_some(idle));
        }
        let Some(cluster) = self.worker.clusters.get(route.cluster) else {
            self.manager.router_stats().inc(RouterStat::NoCluster);
            return Err(Failure::reply(LocalReply::cluster_not_found(
                route.cluster_not_found_status,
            )));
        };
        if cluster.is_in_maintenance() {
            return Err(self.turn_away(&cluster));
        }
        Ok(cluster)
    }

    /// Counts a request that the cluster is spared, and answers it.
    #[cold]
    fn turn_away(&self, cluster: &Cluster) -> Failure {
        let current = cluster.current();
        let stats = current.snapshot.shared.stats.lane(self.worker.index);
        stats.inc(ClusterStat::UpstreamRqMaintenanceMode);
        count::upstream_status(stats, 503, self.is_internal());
        Failure::reply(LocalReply::maintenance_mode())
    }

    /// The host whose turn it is.
    fn choose(&mut self, current: Rc<Current>) -> Result<Chosen, Failure> {
        let worker = self.worker.index;
        let stats = current.snapshot.shared.stats.lane(worker);
        if current.snapshot.panic {
            stats.inc(ClusterStat::LbHealthyPanic);
        }
        let turn = balancer::pick(&current.snapshot);
        match turn.and_then(|turn| current.pool(turn, self.heads.request.version)).cloned() {
            Some(pool) => {
                let chosen = Chosen { current, pool, worker };
                if !self.manager.log_sinks().is_empty() {
                    self.tally.chosen = Some(chosen.clone());
                }
                Ok(chosen)
            }
            None => {
                stats.inc(ClusterStat::UpstreamCxNoneHealthy);
                count::upstream_status(stats, 503, self.is_internal());
                Err(Failure::reply(LocalReply::no_healthy_upstream()))
            }
        }
    }

    /// Waits for something on the way upstream, unless the client goes or a timeout passes first.
    /// Boxed: it is rare, and every exchange would have room for it.
    pub(super) fn while_client_waits<'a, Q: RequestSource, P: ResponseSink, T: 'a>(
        &'a mut self,
        mut waiting: LocalBoxFuture<'a, T>,
        source: &'a mut Q,
        sink: &'a mut P,
    ) -> impl Future<Output = Result<T, Failure>> + 'a {
        poll_fn(move |cx| match waiting.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Ok(done)),
            Poll::Pending => self.poll_interrupted(cx, source, sink).map(Err),
        })
    }
}

/// Waits until the cluster's discovery has answered once, within limits.
fn first_answer(cluster: &Cluster, timeout: Option<Duration>) -> LocalBoxFuture<'_, ()> {
    let wait = timeout.map_or(FIRST_ANSWER_WAIT, |timeout| timeout.min(FIRST_ANSWER_WAIT));
    Box::pin(async move {
        let current = cluster.current();
        let first = current.snapshot.shared.first_answer.notified();
        // It may have come between looking and listening.
        if !cluster.current().snapshot.ready {
            // Whichever comes first: the request goes on with what is there then.
            let _ = tokio::time::timeout(wait, first).await;
        }
    })
}

// === impl Chosen ===

impl Chosen {
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

impl<'a> InFlight<'a> {
    /// Counts the request; none when the cluster carries as many as it may.
    fn begin(chosen: &'a Chosen) -> Option<Self> {
        let snapshot = chosen.snapshot();
        let requests = &snapshot.shared.breakers[0].requests;
        if requests.fetch_add(1, Relaxed) >= chosen.target().thresholds().requests {
            requests.fetch_sub(1, Relaxed);
            return None;
        }
        let stats = snapshot.shared.stats.lane(chosen.worker);
        stats.inc(ClusterStat::UpstreamRqTotal);
        stats.inc(ClusterStat::UpstreamRqActive);
        let host_stats = chosen.host().stats.lane(chosen.worker);
        host_stats.inc(HostStat::RqTotal);
        host_stats.inc(HostStat::RqActive);
        Some(Self { chosen })
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let Chosen { worker, .. } = *self.chosen;
        let shared = &self.chosen.snapshot().shared;
        shared.breakers[0].requests.fetch_sub(1, Relaxed);
        shared.stats.lane(worker).dec(ClusterStat::UpstreamRqActive);
        self.chosen.host().stats.lane(worker).dec(HostStat::RqActive);
    }
}
