//! Owns the balancers: one file each, [`Tables`] lists them.

mod round_robin;

use std::{any::Any, sync::Arc};

use understudy_actors::{
    plan::ClusterPlan,
    seams::Balance,
    snapshot::{ClusterSnapshot, Host},
};

use crate::config::model::cluster::{BalancerKind, Upstream};

/// What a balancer built for the hosts of one snapshot, on the control plane's thread.
#[derive(Debug)]
pub enum Tables {
    /// `ROUND_ROBIN`.
    RoundRobin(round_robin::RoundRobin),
}

/// Builds [`Tables`] for the control plane.
#[derive(Debug, Default)]
pub struct Balancers;

// === impl Balancers ===

impl Balance for Balancers {
    fn tables(&self, cluster: &ClusterPlan, eligible: &[Arc<Host>]) -> Arc<dyn Any + Send + Sync> {
        let kind = cluster.upstream.downcast_ref::<Upstream>().map(|upstream| upstream.balancer);
        Arc::new(match kind.unwrap_or(BalancerKind::RoundRobin) {
            BalancerKind::RoundRobin => Tables::RoundRobin(round_robin::RoundRobin::new(eligible)),
        })
    }
}

/// The position among `snapshot.eligible` of the host for the next request, if there is any host.
pub fn pick(snapshot: &ClusterSnapshot) -> Option<usize> {
    match snapshot.balancer.downcast_ref::<Tables>() {
        Some(Tables::RoundRobin(round_robin)) => round_robin.pick(snapshot),
        None => None,
    }
}
