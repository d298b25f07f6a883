//! Owns a worker's side of hosts that nobody lists (`ORIGINAL_DST`): it makes the one that a request wants to go to, and
//! keeps its pools until a snapshot has it.

use std::{cell::RefCell, collections::HashMap, net::SocketAddr, rc::Rc, sync::Arc};

use understudy_actors::{
    by_hand::Standing,
    snapshot::{ClusterSnapshot, Host},
};

use super::{Current, Means};
use crate::upstream::pool::HostPools;

/// Which host is where.
pub(super) struct Destinations {
    means: Means,
    /// Where the host of each address is in the snapshot.
    listed: HashMap<SocketAddr, usize>,
    /// Those that were made here and that no snapshot has yet.
    waiting: Rc<RefCell<Waiting>>,
}

type Waiting = HashMap<SocketAddr, (Arc<Host>, HostPools)>;

// === impl Destinations ===

impl Destinations {
    /// Those of a snapshot, where hosts come so. What was made here is kept until there is a snapshot that has it, or a
    /// host of another worker at its address.
    pub(super) fn of(
        snapshot: &ClusterSnapshot,
        before: Option<&Current>,
        means: &Means,
    ) -> Option<Box<Self>> {
        let on_demand = snapshot.shared.on_demand.as_ref()?;
        let hosts = snapshot.hosts.iter().enumerate().rev();
        let listed = hosts.filter_map(|(at, host)| Some((host.address.socket()?, at)));
        let listed: HashMap<_, _> = listed.collect();
        let before = before.and_then(|before| before.destinations.as_ref());
        let waiting = before.map(|before| before.waiting.clone()).unwrap_or_default();
        let some_were_heard = {
            let mut waiting = waiting.borrow_mut();
            let all = waiting.len();
            waiting.retain(|address, (host, pools)| {
                if snapshot.by_hand.of(host.address).standing != Standing::InUse {
                    pools.close();
                    return false;
                }
                let Some(at) = listed.get(address) else { return true };
                if !snapshot.hosts.get(*at).is_some_and(|listed| Arc::ptr_eq(listed, host)) {
                    pools.close();
                }
                false
            });
            waiting.len() < all
        };
        if some_were_heard {
            on_demand.tell(means.worker, hosts_of(&waiting.borrow()));
        }
        Some(Box::new(Self { means: means.clone(), listed, waiting }))
    }

    /// Those of a host that no snapshot has had.
    pub(super) fn pools_of(&self, host: &Arc<Host>) -> Option<HostPools> {
        let waiting = self.waiting.borrow();
        let (made, pools) = waiting.get(&host.address.socket()?)?;
        Arc::ptr_eq(made, host).then(|| pools.clone())
    }

    /// Does something to the pools of each that no snapshot has yet.
    pub(super) fn each_waiting(&self, what: impl Fn(&HostPools)) {
        self.waiting.borrow().values().for_each(|(_, pools)| what(pools));
    }
}

fn hosts_of(waiting: &Waiting) -> Vec<Arc<Host>> {
    waiting.values().map(|(host, _)| host.clone()).collect()
}

// === impl Current ===

impl Current {
    /// The pools of the host at an address, which is made if there is none; none where there are too many hosts, or
    /// where somebody has taken that one away.
    pub fn pools_to(&self, to: SocketAddr) -> Option<HostPools> {
        let Destinations { means, listed, waiting } = &**self.destinations.as_ref()?;
        if let Some(at) = listed.get(&to) {
            return self.pools_at(*at).cloned();
        }
        let snapshot = &self.snapshot;
        if snapshot.by_hand.of(to.into()).standing != Standing::InUse {
            return None;
        }
        let mut waiting = waiting.borrow_mut();
        if let Some((_, pools)) = waiting.get(&to) {
            return Some(pools.clone());
        }
        let on_demand = snapshot.shared.on_demand.as_ref()?;
        let host = on_demand.make(&snapshot.plan, to)?;
        let pools = means.pools(&host, snapshot, &self.upstream);
        waiting.insert(to, (host, pools.clone()));
        on_demand.tell(means.worker, hosts_of(&waiting));
        Some(pools)
    }
}
