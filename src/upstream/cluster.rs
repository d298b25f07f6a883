//! Owns a worker's view of the clusters: the snapshot in force, and the pools that belong to its hosts.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use understudy_actors::{
    plan::Slot,
    published::{Cached, Published},
    snapshot::{self, ClusterSnapshot, Host},
};

use super::pool::{HostPool, Target};
use crate::{config::model::cluster::Upstream, worker::Deadlines};

/// All clusters as one worker sees them.
pub struct Clusters {
    worker: usize,
    deadlines: Deadlines,
    directory: RefCell<Cached<snapshot::Clusters>>,
    known: RefCell<Known>,
}

struct Known {
    directory: Arc<snapshot::Clusters>,
    slots: Vec<Option<Rc<Cluster>>>,
}

/// One cluster as one worker sees it.
pub struct Cluster {
    worker: usize,
    deadlines: Deadlines,
    published: Published<ClusterSnapshot>,
    cached: RefCell<Cached<ClusterSnapshot>>,
    current: RefCell<Rc<Current>>,
}

/// A snapshot with this worker's pools beside it.
pub struct Current {
    /// The snapshot.
    pub snapshot: Arc<ClusterSnapshot>,
    /// Protocol options.
    pub upstream: Arc<Upstream>,
    /// The pool of each host of `snapshot.eligible`, in its order.
    pub pools: Vec<Rc<HostPool>>,
    by_host: HashMap<*const Host, Rc<HostPool>>,
}

// === impl Clusters ===

impl Clusters {
    /// The view of worker `worker`.
    pub fn new(
        worker: usize,
        directory: &Published<snapshot::Clusters>,
        deadlines: Deadlines,
    ) -> Self {
        let known = Known { directory: Arc::default(), slots: Vec::new() };
        Self {
            worker,
            deadlines,
            directory: RefCell::new(directory.cached()),
            known: RefCell::new(known),
        }
    }

    /// The cluster in a slot, if one is there now.
    pub fn get(&self, slot: Slot) -> Option<Rc<Cluster>> {
        self.refresh();
        self.known.borrow().slots.get(slot).cloned().flatten()
    }

    /// Looks at every cluster: pools of hosts that left are closed, idle connections swept. Called
    /// by the sweep, so that a cluster without traffic lets go too.
    pub fn sweep(&self) {
        self.refresh();
        let clusters: Vec<_> = self.known.borrow().slots.iter().flatten().cloned().collect();
        for cluster in clusters {
            cluster.current().by_host.values().for_each(|pool| pool.sweep());
        }
    }

    fn refresh(&self) {
        let mut cached = self.directory.borrow_mut();
        let directory = cached.load();
        let mut known = self.known.borrow_mut();
        if Arc::ptr_eq(directory, &known.directory) {
            return;
        }
        let mut slots = Vec::with_capacity(directory.slots.len());
        for (slot, published) in directory.slots.iter().enumerate() {
            let old = known.slots.get(slot).cloned().flatten();
            slots.push(published.as_ref().map(|published| match old {
                Some(old) if old.published.same(published) => old,
                _ => Rc::new(Cluster::new(self.worker, published, self.deadlines.clone())),
            }));
        }
        for old in known.slots.iter().flatten() {
            if !slots.iter().flatten().any(|kept: &Rc<Cluster>| Rc::ptr_eq(kept, old)) {
                old.close();
            }
        }
        *known = Known { directory: directory.clone(), slots };
    }
}

// === impl Cluster ===

impl Cluster {
    fn new(worker: usize, published: &Published<ClusterSnapshot>, deadlines: Deadlines) -> Self {
        let current = Current::new(published.read(), None, worker, &deadlines);
        Self {
            worker,
            deadlines,
            published: published.clone(),
            cached: RefCell::new(published.cached()),
            current: RefCell::new(Rc::new(current)),
        }
    }

    /// What is published now, with this worker's pools.
    pub fn current(&self) -> Rc<Current> {
        let mut cached = self.cached.borrow_mut();
        let snapshot = cached.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(snapshot, &current.snapshot) {
            let next = Current::new(snapshot.clone(), Some(&current), self.worker, &self.deadlines);
            current.close_all_but(&next);
            *current = Rc::new(next);
        }
        current.clone()
    }

    fn close(&self) {
        self.current.borrow().by_host.values().for_each(|pool| pool.close());
    }
}

// === impl Current ===

impl Current {
    fn new(
        snapshot: Arc<ClusterSnapshot>,
        before: Option<&Current>,
        worker: usize,
        deadlines: &Deadlines,
    ) -> Self {
        let plan = &snapshot.plan;
        let upstream = plan.upstream.clone().downcast::<Upstream>().unwrap_or_default();
        // Connections that speak by other options than those in force are not handed out again.
        let before = before.filter(|before| Arc::ptr_eq(&before.snapshot.plan, plan));
        let mut by_host = HashMap::with_capacity(snapshot.hosts.len());
        for host in snapshot.hosts.iter() {
            let key = Arc::as_ptr(host);
            let known = before.and_then(|before| before.by_host.get(&key)).cloned();
            let pool = known.unwrap_or_else(|| {
                Rc::new(HostPool::new(Target {
                    host: host.clone(),
                    shared: snapshot.shared.clone(),
                    upstream: upstream.clone(),
                    connect_timeout: plan.connect_timeout,
                    thresholds: plan.thresholds[0],
                    worker,
                    deadlines: deadlines.clone(),
                }))
            });
            by_host.insert(key, pool);
        }
        let pools = (snapshot.eligible.iter())
            .filter_map(|host| by_host.get(&Arc::as_ptr(host)).cloned())
            .collect();
        Self { snapshot, upstream, pools, by_host }
    }

    /// Closes the pools that `next` does not go on with.
    fn close_all_but(&self, next: &Current) {
        for (host, pool) in &self.by_host {
            if !next.by_host.get(host).is_some_and(|kept| Rc::ptr_eq(kept, pool)) {
                pool.close();
            }
        }
    }
}
