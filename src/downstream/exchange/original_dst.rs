//! Owns choosing a host where the cluster's type says how: for `ORIGINAL_DST`, the one that the request was meant for.

use std::rc::Rc;

use understudy_actors::stats::ClusterStat;

use super::{Exchange, attempt::Chosen, failure::Failure, overriding::Named};
use crate::{
    config::model::route::Forward,
    downstream::count,
    local_reply::LocalReply,
    upstream::{Aggregate, Current, original_dst::Asks, pool::HostPools},
};

// === impl Exchange ===

impl Exchange<'_> {
    /// The host that the cluster's own balancer says (`CLUSTER_PROVIDED`).
    #[inline(never)]
    pub(super) fn choose_provided(
        &mut self,
        current: Rc<Current>,
        route: &Forward,
    ) -> Result<Chosen, Failure> {
        if let Some(aggregate) = Aggregate::of(&current, &self.worker.clusters) {
            return self.choose_of(&current, &aggregate, route);
        }
        let pools = match self.named(&current) {
            Named::Nobody => self.meant(&current),
            Named::Host(host) => current.pools_at(host).cloned(),
            Named::Gone => None,
        };
        let has_host = pools.is_some();
        let sharing = self.sharing(&current.upstream, self.priority() > 0);
        let version = self.heads.request.version;
        let Some(pool) = pools.and_then(|pools| pools.pool(version, sharing.as_ref())) else {
            let stats = current.snapshot.shared.stats.lane(self.worker.index);
            if !has_host {
                stats.inc(ClusterStat::UpstreamCxNoneHealthy);
            }
            count::upstream_status(stats, 503, self.is_internal());
            return Err(Failure::reply(LocalReply::no_healthy_upstream()));
        };
        let host = &pool.target().host;
        if let Some(tries) = &mut self.tries {
            tries.tried.push(host.clone());
        }
        self.tell_filters(host);
        let chosen = Chosen::of(current, pool, None);
        self.tally.tries(&chosen, !self.manager.logs().is_empty());
        Ok(chosen)
    }

    /// The host that the request was meant for, in a cluster that has such.
    pub(super) fn meant(&self, current: &Current) -> Option<HostPools> {
        let (proxied, local) = (self.peer.proxied.as_deref(), Some(self.peer.local));
        self.meant_by(current, Asks { header: None, proxied, local })
    }

    /// The same of a copy, of which its header alone says where it goes. Observed: Envoy 1.40.
    pub(super) fn copy_meant(&self, current: &Current) -> Option<HostPools> {
        self.meant_by(current, Asks::default())
    }

    fn meant_by(&self, current: &Current, asks: Asks<'_>) -> Option<HostPools> {
        let says = current.upstream.balancing.policy.original_dst()?;
        let header = says.header.as_ref().and_then(|name| self.heads.request.value(name));
        let stats = current.snapshot.shared.stats.lane(self.worker.index);
        current.pools_to(Asks { header, ..asks }.destination(says, stats)?)
    }
}
