//! Owns the way upstream: the cluster, and one try after the other until an answer stands.

use std::{future::poll_fn, rc::Rc, task::Poll, time::Instant};

use futures_util::future::LocalBoxFuture;
use understudy_actors::stats::{ClusterStat, RouterStat};

use super::{super::count, Exchange, failure::Failure};
use crate::{
    codec::Switch,
    config::model::route::{ClusterChoice, ClusterWeight, Forward, HostChange},
    downstream::headers,
    filter::FilteredRequest,
    format::AccessLogType,
    local_reply::LocalReply,
    stream::{BodySize, Replay, RequestSource, ResponseSink, Source},
    upstream::{Cluster, Dropped},
};

/// Tries on other connections after one that the host had closed while it was idle.
pub(super) const STALE_TRIES_MAX: u32 = 3;

// === impl Exchange ===

impl<'c> Exchange<'c> {
    /// Carries the request to its upstream and the response back.
    ///
    /// # Errors
    ///
    /// [`Failure`], which [`Exchange::conclude`] makes an end of.
    pub fn carry<Q: RequestSource, P: ResponseSink>(
        &mut self,
        source: &mut Q,
        sink: &mut P,
    ) -> impl Future<Output = Result<(), Failure>> {
        self.pass(false, source, sink)
    }

    /// The same; `redirected` is a request that has been through this before, and has another address now.
    #[expect(clippy::manual_async_fn, reason = "an `async fn` would hold each argument twice")]
    pub(super) fn pass<Q: RequestSource, P: ResponseSink>(
        &mut self,
        redirected: bool,
        source: &mut Q,
        sink: &mut P,
    ) -> impl Future<Output = Result<(), Failure>> {
        async move {
            if !redirected && source.expects_continue() && !self.manager.config.proxy_100_continue {
                self.say_continue(sink).await?;
            }
            if let Some(told) = &mut self.tally.told {
                told.wire.received = source.wire();
            }
            let table = self.manager.table();
            let found = self.find(table.as_deref().map(|table| &**table), redirected)?;
            if self.manager.config.logged.new_requests && !redirected {
                self.log(AccessLogType::DownstreamStart);
            }
            self.remember(table.as_ref(), found);
            self.begin_lines();
            if self.heads.request.switch != Switch::Nothing {
                self.admit_switch(found)?;
            }
            let source = &mut FilteredRequest::new(source);
            if !self.chain().is_empty() {
                // Boxed: most chains have no filter but the router.
                Box::pin(self.filter(found, source, sink)).await?;
            }
            let (route, cluster) = self.act(found)?;
            let mut current = cluster.current();
            if !current.snapshot.ready {
                if self.request_done {
                    // The wait has its own end, and another answer than the route's timeout.
                    self.timers.await_response(self.started, None);
                }
                let wait = Box::pin(cluster.first_answer(self.response_timeout(route)));
                self.while_client_waits(wait, source, sink).await?;
                current = cluster.current();
            }
            if self.request_done {
                let asked = if redirected { Instant::now() } else { self.started };
                self.await_response(asked, route);
            }
            let source = &mut Replay::new(source);
            if let Some(bytes_max) = self.keeps_body() {
                source.keep(bytes_max);
            }
            let mut stale = 0;
            loop {
                let chosen = match self.choose(current, route) {
                    Ok(chosen) => chosen,
                    Err(failure) => return Err(self.tell_count(failure)),
                };
                if self.body == BodySize::None {
                    self.mirror(None);
                }
                if let HostChange::Upstream = route.host_rewrite {
                    let (head, name) = (&mut self.heads.request, &chosen.host().endpoint.hostname);
                    headers::rewrite_to_upstream(head, route, name, self.manager);
                }
                self.begin_upstream_log();
                let done = match self.attempt(route, &chosen, source, sink).await {
                    // Boxed: it is rare.
                    Err(Failure::Slow(Some(first))) => {
                        Box::pin(self.hedge(route, first, source, sink)).await
                    }
                    done => done,
                };
                if let Some(told) = &mut self.tally.told {
                    told.wire.received = source.wire();
                }
                self.end_upstream_log(&done);
                let failure = match done {
                    Ok(()) => {
                        self.settle();
                        return self.flush(sink).await;
                    }
                    Err(failure) => failure,
                };
                match failure {
                    Failure::Stale
                        if stale < STALE_TRIES_MAX
                            && source.received() == 0
                            && self.heads.request.method.is_idempotent()
                            && !self.retries_lost_connections() =>
                    {
                        stale += 1;
                    }
                    // Boxed: it is rare.
                    Failure::Redirected(_) => {
                        return Err(Failure::Redirected(source.take_kept()));
                    }
                    failure => Box::pin(self.retry(failure, &chosen, source, sink)).await?,
                }
                current = cluster.current();
            }
        }
    }

    /// The route's cluster; its idle timeout is in force from here.
    pub(super) fn cluster(
        &mut self,
        route: &Forward,
        part: Option<&ClusterWeight>,
    ) -> Result<Rc<Cluster>, Failure> {
        if let Some(idle) = route.idle_timeout {
            self.timers.limit_idle((!idle.is_zero()).then_some(idle));
        }
        let Some(cluster) = self.cluster_of(route, part) else {
            self.manager.router_stats().inc(RouterStat::NoCluster);
            return Err(Failure::reply(LocalReply::cluster_not_found(
                route.cluster_not_found_status,
            )));
        };
        self.tally.goes_to(&cluster);
        if cluster.is_in_maintenance() {
            return Err(self.turn_away(&cluster));
        }
        if let Some(dropped) = cluster.drops() {
            return Err(self.drop_one(&cluster, dropped));
        }
        Ok(cluster)
    }

    /// The cluster that the route names, if there is one.
    pub(super) fn cluster_of(
        &self,
        route: &Forward,
        part: Option<&ClusterWeight>,
    ) -> Option<Rc<Cluster>> {
        let clusters = &self.worker.clusters;
        match part.map_or(&route.cluster, |part| &part.cluster) {
            ClusterChoice::Named(cluster) => clusters.get(cluster.slot),
            ClusterChoice::Header(name) => {
                self.heads.request.value(name).and_then(|name| clusters.named(name))
            }
            // One of them was drawn when the route was found.
            ClusterChoice::Weighted(_) => None,
        }
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

    /// Counts a request that `drop_overloads` turns away, and answers it.
    #[cold]
    fn drop_one(&self, cluster: &Cluster, dropped: Dropped) -> Failure {
        let current = cluster.current();
        let stats = current.snapshot.shared.stats.lane(self.worker.index);
        count::upstream_status(stats, 503, self.is_internal());
        Failure::reply(LocalReply::dropped(dropped == Dropped::AsAll))
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
