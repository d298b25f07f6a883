//! Owns choosing a host for an aggregate cluster: among the priorities of other clusters, one after the other.

use std::rc::Rc;

use understudy_actors::stats::ClusterStat;

use super::{Exchange, attempt::Chosen, failure::Failure};
use crate::{
    config::model::route::Forward,
    downstream::count,
    local_reply::LocalReply,
    upstream::{Aggregate, Current, balancer::Choice, pool::Target},
};

// === impl Exchange ===

impl Exchange<'_> {
    /// The host whose turn it is. Answers are counted for the aggregate, connections where they belong.
    ///
    /// Source: Envoy, "Aggregate cluster"; observed: Envoy 1.40 (tests/balancing.rs).
    pub(super) fn choose_of(
        &mut self,
        current: &Rc<Current>,
        aggregate: &Aggregate,
        route: &Forward,
    ) -> Result<Chosen, Failure> {
        let worker = self.worker.index;
        let hash = self.hash(&route.hash);
        let others = self.tries.as_mut().and_then(|tries| {
            let available = aggregate.priorities().iter().map(|one| one.available).collect();
            tries.other_priorities(available, |host| aggregate.priority_of(host))
        });
        let load = others.unwrap_or_else(|| aggregate.load());
        for attempt in 0.. {
            let number = hash.unwrap_or_else(|| fastrand::u64(..));
            let Some(drawn) = aggregate.draw(&load, number) else { break };
            let hash = self.hash_for(drawn.cluster, route);
            let metadata = route.wanted(self.heads.part);
            let choice = Choice { hash, metadata, load: Some(&drawn.load), attempt };
            let sharing = self.sharing(&drawn.cluster.upstream, self.priority() > 0);
            let version = self.heads.request.version;
            let pools = match drawn.cluster.upstream.balancing.policy.original_dst() {
                Some(_) => self.meant(drawn.cluster),
                None => drawn.cluster.pick(worker, choice).cloned(),
            };
            let pool = pools.and_then(|pools| pools.pool(version, sharing.as_ref()));
            let Some(pool) = pool else { break };
            let host = &pool.target().host;
            if let Some(tries) = &mut self.tries {
                if attempt < tries.other_hosts_max() && tries.avoids(host) {
                    continue;
                }
                tries.tried.push(host.clone());
            }
            self.tell_filters(&pool.target().host);
            let shared = current.snapshot.shared.clone();
            let answers = Target { shared, zone_stats: None, ..pool.target().clone() };
            let chosen = Chosen::of(drawn.cluster.clone(), pool, Some(Rc::new(answers)));
            self.tally.tries(&chosen, !self.manager.logs().is_empty());
            return Ok(chosen);
        }
        let stats = current.snapshot.shared.stats.lane(worker);
        stats.inc(ClusterStat::UpstreamCxNoneHealthy);
        count::upstream_status(stats, 503, self.is_internal());
        Err(Failure::reply(LocalReply::no_healthy_upstream()))
    }
}
