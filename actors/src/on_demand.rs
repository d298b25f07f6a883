//! Owns how a cluster hears of hosts that nobody lists (`ORIGINAL_DST`): a worker makes the one that a request wants to
//! go to, uses it at once, and tells; the cluster publishes it, for all.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use crate::{cluster, plan::ClusterPlan, plan::Discovery, published::Publisher, snapshot::Host};

/// Hosts of one cluster that exist at a time, at most. Whoever sends requests may say where they go, and each host costs
/// every worker a pool, and each that comes a snapshot of all.
pub const HOSTS_MAX: usize = 4096;

/// What the workers of a cluster tell it.
pub struct OnDemand {
    /// What each worker has made and has seen in no snapshot yet; nobody else writes there.
    made: Box<[Publisher<Vec<Arc<Host>>>]>,
    /// Woken when one of them has made another.
    pub(crate) told: Notify,
    seats: Arc<AtomicUsize>,
}

/// A host's place among [`HOSTS_MAX`]; free again when nobody knows of the host any more.
pub(crate) struct Seat(Arc<AtomicUsize>);

// === impl OnDemand ===

impl OnDemand {
    /// For clusters whose hosts come so.
    pub(crate) fn of(plan: &ClusterPlan, workers: usize) -> Option<Self> {
        let Discovery::OriginalDst { .. } = plan.discovery else { return None };
        let made = (0..workers).map(|_| Publisher::new(Vec::new())).collect();
        Some(Self { made, told: Notify::new(), seats: Arc::default() })
    }

    /// A host at an address; none where there are too many.
    pub fn make(&self, plan: &ClusterPlan, at: SocketAddr) -> Option<Arc<Host>> {
        let seat = Seat::take(&self.seats)?;
        let mut host = cluster::made_at(plan, at.into(), self.made.len());
        host.seat = Some(seat);
        Some(Arc::new(host))
    }

    /// A worker tells all that it has made and has seen in no snapshot yet.
    pub fn tell(&self, worker: usize, made: Vec<Arc<Host>>) {
        let Some(own) = self.made.get(worker) else { return };
        let is_news = made.len() > own.read().len();
        own.publish(made);
        if is_news {
            self.told.notify_one();
        }
    }

    /// What all of them have told; several may have made a host for the same address.
    pub(crate) fn made(&self) -> Vec<Arc<Host>> {
        self.made.iter().flat_map(|made| made.read().to_vec()).collect()
    }

    /// Whether another host would be one too many.
    pub(crate) fn is_full(&self) -> bool {
        self.seats.load(Relaxed) >= HOSTS_MAX
    }
}

// === impl Seat ===

impl Seat {
    fn take(seats: &Arc<AtomicUsize>) -> Option<Self> {
        let seat = Self(seats.clone());
        // Counted before it is looked at; what is dropped here is counted no more.
        (seats.fetch_add(1, Relaxed) < HOSTS_MAX).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_host_too_many_is_not_made_until_another_is_forgotten() {
        let plan = ClusterPlan::new("a", 0, Discovery::OriginalDst { cleanup: Duration::MAX });
        let on_demand = OnDemand::of(&plan, 2).unwrap();
        let at = |port: usize| SocketAddr::from(([10, 0, 0, 1], port as u16));
        let mut made: Vec<_> =
            (0..HOSTS_MAX).map(|port| on_demand.make(&plan, at(port)).unwrap()).collect();
        assert!(on_demand.is_full() && on_demand.make(&plan, at(1)).is_none());
        on_demand.tell(1, made.clone());
        made.pop();
        assert!(on_demand.make(&plan, at(1)).is_none(), "a worker still knows of it");
        on_demand.tell(1, Vec::new());
        let another = on_demand.make(&plan, at(1)).unwrap();
        assert_eq!(another.endpoint.hostname, "a10.0.0.1:1");
        assert!(on_demand.make(&plan, at(2)).is_none());
    }
}
