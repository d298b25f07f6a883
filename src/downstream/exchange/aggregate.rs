//! Owns choosing a host for an aggregate cluster: among the priorities of other clusters, one after the other.

use std::{rc::Rc, sync::Arc};

use understudy_actors::{plan::Slot, snapshot::Host, stats::ClusterStat};

use super::{Exchange, attempt::Chosen, failure::Failure};
use crate::{
    config::model::route::Forward,
    local_reply::LocalReply,
    upstream::{
        Current,
        balancer::{Choice, Load, Priority},
        pool::Target,
    },
};

use super::super::count;

/// A priority of one of the clusters; those without hosts are left out.
struct Place {
    cluster: Rc<Current>,
    level: usize,
    priority: Priority,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// The host whose turn it is. Answers are counted for the aggregate, connections where they belong.
    ///
    /// Source: Envoy, "Aggregate cluster"; observed: Envoy 1.40 (tests/balancing.rs).
    pub(super) fn choose_of(
        &mut self,
        aggregate: &Rc<Current>,
        members: &[Slot],
        route: &Forward,
    ) -> Result<Chosen, Failure> {
        let worker = self.worker.index;
        let places = self.places(members);
        let priorities: Vec<Priority> = places.iter().map(|place| place.priority).collect();
        let threshold = aggregate.snapshot.plan.panic_threshold_percent;
        let hash = self.hash(&route.hash);
        let tries = self.tries.as_mut();
        let others = tries.and_then(|tries| {
            let available = priorities.iter().map(|priority| priority.available).collect();
            tries.other_priorities(available, |host| place_of(&places, host))
        });
        let load = others.unwrap_or_else(|| Load::among(&priorities, threshold));
        for attempt in 0.. {
            let (at, standing) = load.draw(hash.unwrap_or_else(|| fastrand::u64(..)));
            let Some(place) = places.get(at) else { break };
            let only = Load::at(place.level, standing);
            let current = &place.cluster;
            let hash = self.hash_for(current, route);
            let metadata = route.wanted(self.heads.part);
            let choice = Choice { hash, metadata, load: Some(&only), attempt };
            let version = self.heads.request.version;
            let sharing = self.sharing(&current.upstream, self.priority() > 0);
            let pools = current.pick(worker, choice);
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
            let shared = aggregate.snapshot.shared.clone();
            let answers = Target { shared, zone_stats: None, ..pool.target().clone() };
            let chosen = Chosen::of(current.clone(), pool, Some(Rc::new(answers)));
            self.tally.tries(&chosen, !self.manager.logs().is_empty());
            return Ok(chosen);
        }
        let stats = aggregate.snapshot.shared.stats.lane(worker);
        stats.inc(ClusterStat::UpstreamCxNoneHealthy);
        count::upstream_status(stats, 503, self.is_internal());
        Err(Failure::reply(LocalReply::no_healthy_upstream()))
    }

    fn places(&self, members: &[Slot]) -> Vec<Place> {
        let clusters = members.iter().filter_map(|slot| self.worker.clusters.get(*slot));
        let mut places = Vec::new();
        for cluster in clusters {
            let cluster = cluster.current();
            let all = cluster.tables().priorities().enumerate();
            places.extend(
                all.filter(|(_, priority)| priority.hosts > 0).map(|(level, priority)| Place {
                    cluster: cluster.clone(),
                    level,
                    priority,
                }),
            );
        }
        places
    }
}

fn place_of(places: &[Place], host: &Arc<Host>) -> Option<usize> {
    places.iter().position(|place| {
        let there = || place.cluster.snapshot.hosts.iter().any(|one| Arc::ptr_eq(one, host));
        host.endpoint.priority as usize == place.level && there()
    })
}
