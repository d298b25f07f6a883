//! Owns a worker's view of the clusters: the snapshot in force, and the pools that belong to its hosts.

mod ahead;
mod on_demand;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use understudy_actors::{
    limits::ClusterLimits,
    plan::Slot,
    published::{Cached, Published},
    runtime::Runtime,
    snapshot::{self, BreakerCounts, ClusterShared, ClusterSnapshot, Host},
    view::View,
};

use self::on_demand::Destinations;
use super::{
    balancer::{Choice, Picker, Tables},
    breakers,
    pool::{HostPools, Place, Sharing, Target},
};
use crate::{
    config::model::cluster::Upstream,
    worker::{Buffers, Deadlines},
};

/// How often clusters are swept in which nothing goes on, in sweeps: a thousand of them would cost more than all that
/// has to be done.
const QUIET_EVERY: u32 = 16;

/// How often worker 0, which shows the circuit breakers of all, looks for clusters that others use.
const OTHERS_EVERY: u32 = 4;

/// How long anybody waits for a cluster's first answer.
const FIRST_ANSWER_WAIT: Duration = Duration::from_secs(1);

/// All clusters as one worker sees them.
pub struct Clusters {
    worker: usize,
    swept: Cell<u32>,
    deadlines: Deadlines,
    buffers: Buffers,
    directory: RefCell<Cached<snapshot::Clusters>>,
    runtime: RefCell<Cached<Runtime>>,
    known: RefCell<Known>,
    /// Those that requests of this worker asked for since nothing went on there.
    in_use: RefCell<Vec<Rc<Cluster>>>,
}

struct Known {
    directory: Arc<snapshot::Clusters>,
    slots: Vec<Option<Rc<Cluster>>>,
}

/// One cluster as one worker sees it.
pub struct Cluster {
    means: Means,
    published: Published<ClusterSnapshot>,
    cached: RefCell<Cached<ClusterSnapshot>>,
    /// The cluster that this proxy is of, where its zones matter here.
    local: RefCell<Option<Cached<ClusterSnapshot>>>,
    current: RefCell<Rc<Current>>,
    /// Its snapshots' own; beside them, so that a look at it is one at nothing else.
    shared: Arc<ClusterShared>,
    /// Something went on at the last sweep.
    busy: Cell<bool>,
    /// It is among [`Clusters::in_use`].
    in_use: Cell<bool>,
    /// It is not a cluster any more.
    closed: Cell<bool>,
    /// `drop_overloads` in force.
    drop_millionths: Cell<u32>,
    /// What its limits were worked out of.
    heeded: RefCell<Arc<Runtime>>,
}

/// What a worker's pools are made with, whatever host they are for.
#[derive(Clone)]
struct Means {
    worker: usize,
    deadlines: Deadlines,
    buffers: Buffers,
    limits: Limits,
}

/// A request that is turned away to spare the hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// As are some.
    AsSome,
    /// As are all.
    AsAll,
}

/// All requests, in millionths.
const EVERY: u32 = 1_000_000;

/// A cluster's limits in force, as its pools read them too.
pub type Limits = Rc<Cell<ClusterLimits>>;

/// A snapshot with this worker's pools beside it.
pub struct Current {
    /// The snapshot.
    pub snapshot: Arc<ClusterSnapshot>,
    /// Protocol options.
    pub upstream: Arc<Upstream>,
    picker: Picker,
    /// What the picker was made with.
    local: Option<Arc<ClusterSnapshot>>,
    /// The pools of each host of `snapshot.hosts`, in its order.
    pools: Vec<HostPools>,
    /// Whether nothing spoke against each host when this was published.
    well: Vec<bool>,
    /// Where each host is among them; two may have one address.
    by_host: HashMap<*const Host, usize>,
    /// Where the first host of each address is, once somebody has asked for one.
    by_address: OnceCell<HashMap<String, usize>>,
    /// Where hosts are made on demand.
    destinations: Option<Box<Destinations>>,
}

// === impl Clusters ===

impl Clusters {
    /// The view of worker `worker`.
    pub fn new(worker: usize, view: &View, deadlines: Deadlines, buffers: Buffers) -> Self {
        let known = Known { directory: Arc::default(), slots: Vec::new() };
        Self {
            worker,
            swept: Cell::default(),
            deadlines,
            buffers,
            directory: RefCell::new(view.clusters.cached()),
            runtime: RefCell::new(view.runtime.cached()),
            known: RefCell::new(known),
            in_use: RefCell::default(),
        }
    }

    /// The cluster in a slot, if one is there now; its limits are those that the runtime has now.
    pub fn get(&self, slot: Slot) -> Option<Rc<Cluster>> {
        self.refresh();
        let cluster = self.known.borrow().slots.get(slot).cloned().flatten()?;
        cluster.heed(self.runtime.borrow_mut().load());
        if !cluster.in_use.replace(true) {
            self.in_use.borrow_mut().push(cluster.clone());
        }
        Some(cluster)
    }

    /// The cluster of a name that a request brought.
    pub fn named(&self, name: &[u8]) -> Option<Rc<Cluster>> {
        self.refresh();
        let name = std::str::from_utf8(name).ok()?;
        let slot = self.known.borrow().directory.by_name.get(name).copied()?;
        self.get(slot)
    }

    /// Looks at every cluster that has connections: pools of hosts that left are closed, idle connections swept.
    /// Called by the sweep, so that a cluster without traffic lets go too.
    pub fn sweep(&self) {
        self.refresh();
        self.swept.set(self.swept.get().wrapping_add(1));
        let all = self.swept.get().is_multiple_of(QUIET_EVERY);
        let others = self.worker == 0 && self.swept.get().is_multiple_of(OTHERS_EVERY);
        let mut clusters = Vec::new();
        self.in_use.borrow_mut().retain(|cluster| {
            let stays = !cluster.closed.get() && cluster.is_to_be_swept();
            cluster.in_use.set(stays);
            if stays {
                clusters.push(cluster.clone());
            }
            stays
        });
        if all || others {
            let known = self.known.borrow();
            let rest = known.slots.iter().flatten().filter(|cluster| !cluster.in_use.get());
            clusters.extend(rest.filter(|cluster| cluster.is_to_be_swept() || all).cloned());
        }
        for cluster in clusters {
            let current = cluster.current();
            current.each(HostPools::sweep);
            if self.worker == 0 {
                let limits = cluster.means.limits.get();
                breakers::show(&current.snapshot.shared, &limits, self.worker);
            }
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
                _ => Rc::new(Cluster::new(self, published)),
            }));
        }
        // A cluster stays in its slot as long as it is one.
        for (slot, old) in known.slots.iter().enumerate() {
            let Some(old) = old else { continue };
            let kept = slots.get(slot).and_then(Option::as_ref);
            if !kept.is_some_and(|kept: &Rc<Cluster>| Rc::ptr_eq(kept, old)) {
                old.close();
            }
        }
        for cluster in slots.iter().flatten() {
            let current = cluster.current.borrow();
            let zones = current.upstream.balancing.zones.as_ref();
            let local = zones.and_then(|zones| directory.get(zones.local));
            *cluster.local.borrow_mut() = local.map(Published::cached);
        }
        *known = Known { directory: directory.clone(), slots };
    }
}

// === impl Cluster ===

impl Cluster {
    fn new(of: &Clusters, published: &Published<ClusterSnapshot>) -> Self {
        let (snapshot, heeded) = (published.read(), Arc::<Runtime>::default());
        let shared = snapshot.shared.clone();
        let means = Means {
            worker: of.worker,
            deadlines: of.deadlines.clone(),
            buffers: of.buffers.clone(),
            limits: Rc::new(Cell::new(ClusterLimits::of(&snapshot.plan, &heeded))),
        };
        let current = Current::new(snapshot, None, None, &means);
        Self {
            means,
            drop_millionths: Cell::new(current.snapshot.policy.drop_millionths),
            published: published.clone(),
            cached: RefCell::new(published.cached()),
            local: RefCell::default(),
            current: RefCell::new(Rc::new(current)),
            shared,
            busy: Cell::new(true),
            in_use: Cell::default(),
            closed: Cell::default(),
            heeded: RefCell::new(heeded),
        }
    }

    /// Whether anything goes on here, or did at the last sweep: what is zero now has to be shown once.
    fn is_to_be_swept(&self) -> bool {
        let busy = self.shared.breakers.iter().any(BreakerCounts::any);
        self.busy.replace(busy) || busy
    }

    /// Works the limits out again if the runtime is another.
    fn heed(&self, runtime: &Arc<Runtime>) {
        let mut heeded = self.heeded.borrow_mut();
        if !Arc::ptr_eq(&heeded, runtime) {
            // Another plan would be another publisher, and so another `Cluster`.
            self.means.limits.set(ClusterLimits::of(&self.current().snapshot.plan, runtime));
            *heeded = runtime.clone();
        }
    }

    /// Whether this request is among those that are turned away: `upstream.maintenance_mode.NAME`.
    pub fn is_in_maintenance(&self) -> bool {
        let percent = self.means.limits.get().maintenance_percent;
        percent > 0 && fastrand::u8(..100) < percent
    }

    /// Whether this request is among those that `drop_overloads` turns away, and whether all are.
    pub fn drops(&self) -> Option<Dropped> {
        match self.drop_millionths.get() {
            0 => None,
            EVERY.. => Some(Dropped::AsAll),
            some => (fastrand::u32(..EVERY) < some).then_some(Dropped::AsSome),
        }
    }

    /// Waits until the cluster's discovery has answered once, within limits.
    pub async fn first_answer(&self, timeout: Option<Duration>) {
        let wait = timeout.map_or(FIRST_ANSWER_WAIT, |timeout| timeout.min(FIRST_ANSWER_WAIT));
        let current = self.current();
        let first = current.snapshot.shared.first_answer.notified();
        // It may have come between looking and listening.
        if !self.current().snapshot.ready {
            // Whichever comes first: who waits goes on with what is there then.
            let _ = tokio::time::timeout(wait, first).await;
        }
    }

    /// What is published now, with this worker's pools.
    pub fn current(&self) -> Rc<Current> {
        let mut cached = self.cached.borrow_mut();
        let snapshot = cached.load();
        let mut local = self.local.borrow_mut();
        let local = local.as_mut().map(Cached::load);
        let mut current = self.current.borrow_mut();
        let moved = match (&local, &current.local) {
            (None, None) => false,
            (Some(local), Some(known)) => !Arc::ptr_eq(local, known),
            _ => true,
        };
        if moved || !Arc::ptr_eq(snapshot, &current.snapshot) {
            let (snapshot, local) = (snapshot.clone(), local.cloned());
            let next = Current::new(snapshot, local, Some(&current), &self.means);
            current.close_all_but(&next);
            self.drop_millionths.set(next.snapshot.policy.drop_millionths);
            next.drain_fallen_since(&current);
            *current = Rc::new(next);
        }
        current.clone()
    }

    fn close(&self) {
        self.closed.set(true);
        self.current.borrow().each(HostPools::close);
    }
}

// === impl Means ===

impl Means {
    /// Pools without connections.
    fn pools(
        &self,
        host: &Arc<Host>,
        snapshot: &ClusterSnapshot,
        upstream: &Arc<Upstream>,
    ) -> HostPools {
        let Self { worker, deadlines, buffers, limits } = self.clone();
        HostPools::new(Target {
            host: host.clone(),
            zone_stats: snapshot.shared.by_zone.to(&host.endpoint.locality.zone),
            shared: snapshot.shared.clone(),
            upstream: upstream.clone(),
            connect_timeout: snapshot.plan.connect_timeout,
            limits,
            worker,
            deadlines,
            buffers,
            place: Place::new(&snapshot.shared, &Sharing::default()),
            sharing: Sharing::default(),
            tls: upstream.tls_to(&host.endpoint).cloned(),
        })
    }
}

// === impl Current ===

impl Current {
    fn new(
        snapshot: Arc<ClusterSnapshot>,
        local: Option<Arc<ClusterSnapshot>>,
        before: Option<&Current>,
        means: &Means,
    ) -> Self {
        let plan = &snapshot.plan;
        let upstream = plan.upstream.clone().downcast::<Upstream>().unwrap_or_default();
        // Connections that speak by other options than those in force are not handed out again.
        let before = before.filter(|before| Arc::ptr_eq(&before.snapshot.plan, plan));
        if upstream.tls.is_some() || upstream.socket_matches.iter().any(|one| one.tls.is_some()) {
            // Listed from the start.
            snapshot.shared.ssl_stats.get();
            snapshot.shared.ssl_context_stats.get();
        }
        let mut by_host = HashMap::with_capacity(snapshot.hosts.len());
        let mut all_pools = Vec::with_capacity(snapshot.hosts.len());
        let well = snapshot.hosts.iter().map(|host| host.healthy()).collect();
        for (at, host) in snapshot.hosts.iter().enumerate() {
            by_host.insert(Arc::as_ptr(host), at);
            let known = before.and_then(|before| before.pools_of(host));
            all_pools.push(known.unwrap_or_else(|| means.pools(host, &snapshot, &upstream)));
        }
        let picker = Picker::new(&snapshot, local.as_deref(), means.worker);
        let by_address = OnceCell::new();
        let destinations = Destinations::of(&snapshot, before, means);
        Self {
            snapshot,
            upstream,
            picker,
            local,
            pools: all_pools,
            well,
            by_host,
            by_address,
            destinations,
        }
    }

    /// Does something to the pools of all hosts.
    fn each(&self, what: impl Fn(&HostPools)) {
        self.pools.iter().for_each(&what);
        if let Some(destinations) = &self.destinations {
            destinations.each_waiting(what);
        }
    }

    /// What the balancer has built.
    pub fn tables(&self) -> &Tables {
        self.picker.tables()
    }

    /// The pools of the host that takes the next request.
    #[inline]
    pub fn pick(&self, worker: usize, choice: Choice<'_>) -> Option<&HostPools> {
        self.pools_at(self.picker.pick(&self.snapshot, worker, choice)?)
    }

    /// Where the host of an address is, as `ip:port`.
    pub fn host_at(&self, address: &str) -> Option<usize> {
        let by_address = self.by_address.get_or_init(|| {
            let hosts = self.snapshot.hosts.iter().enumerate().rev();
            hosts.map(|(at, host)| (host.address_text.clone(), at)).collect()
        });
        by_address.get(address).copied()
    }

    /// The pools of the host in this position.
    #[inline]
    pub fn pools_at(&self, host: usize) -> Option<&HostPools> {
        self.pools.get(host)
    }

    /// Whether a host is one of its own.
    pub fn has(&self, host: &Arc<Host>) -> bool {
        self.by_host.contains_key(&Arc::as_ptr(host))
    }

    fn pools_of(&self, host: &Arc<Host>) -> Option<HostPools> {
        match self.by_host.get(&Arc::as_ptr(host)) {
            Some(at) => self.pools.get(*at).cloned(),
            None => self.destinations.as_ref()?.pools_of(host),
        }
    }

    /// Lets go of connections to hosts that were well before and are not now.
    fn drain_fallen_since(&self, before: &Current) {
        for ((host, pools), well) in self.snapshot.hosts.iter().zip(&self.pools).zip(&self.well) {
            let at = before.by_host.get(&Arc::as_ptr(host));
            let was_well = at.and_then(|at| before.well.get(*at)).is_some_and(|well| *well);
            if was_well && !well {
                pools.drain();
            }
        }
    }

    /// Closes the pools that `next` does not go on with.
    fn close_all_but(&self, next: &Current) {
        for (host, pools) in self.snapshot.hosts.iter().zip(&self.pools) {
            let kept = next.pools_of(host);
            if !kept.is_some_and(|kept| kept.are(pools)) {
                pools.close();
            }
        }
    }
}
