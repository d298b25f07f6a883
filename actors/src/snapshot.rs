//! Owns what clusters publish: hosts, their health, and what all workers must share about them.

use std::{
    collections::HashMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    address::Address,
    by_hand::ByHand,
    names::Name,
    on_demand::{OnDemand, Seat},
    outlier::{Monitor, OutlierShared},
    plan::{AssignmentPolicy, ClusterPlan, EndpointPlan, Payload, Slot},
    published::Published,
    reported::Reported,
    stats::{
        AnswerStat, ByZone, ClusterHttp2Stat, ClusterStat, Group, HostStat, Http1Stat, Later,
        MaglevStat, Registry, RingHashStat, Scope, SslContextStat, SslStat,
    },
};

/// A published list of published things: slot by slot, and by name.
pub struct Directory<T> {
    /// An empty slot is a name that routes know and nobody brought (503 NC for a cluster).
    pub slots: Vec<Option<Published<T>>>,
    /// The slots that are taken, by name.
    pub by_name: HashMap<String, Slot>,
}

/// All clusters.
pub type Clusters = Directory<ClusterSnapshot>;

/// All route tables.
pub type Tables = Directory<Payload>;

/// One cluster at one moment. Immutable: a change is a new snapshot.
#[derive(Clone)]
pub struct ClusterSnapshot {
    /// What the configuration asks for.
    pub plan: Arc<ClusterPlan>,
    /// Every host, in the order of discovery, healthy or not.
    pub hosts: Arc<[Arc<Host>]>,
    /// What its assignment says of them as a whole.
    pub policy: AssignmentPolicy,
    /// Hosts that were drained by hand: visible, and nobody's to pick.
    pub draining: Arc<[Arc<Host>]>,
    /// What people changed about the hosts.
    pub by_hand: Arc<ByHand>,
    /// The names that DNS is asked for, in the plan's order.
    pub names: Arc<[Arc<Name>]>,
    /// Discovery has answered at least once (a failure counts).
    pub ready: bool,
    /// Goes up with every snapshot of this cluster.
    pub version: u64,
    /// What the workers share.
    pub shared: Arc<ClusterShared>,
    /// What [`Balance`](crate::seams::Balance) built for these hosts.
    pub balancer: Payload,
}

/// What stays the same from snapshot to snapshot of one cluster.
pub struct ClusterShared {
    /// Counts in force against [`Thresholds`](crate::plan::Thresholds), default then high priority.
    pub breakers: [BreakerCounts; 2],
    /// Woken when discovery has answered for the first time.
    pub first_answer: Notify,
    /// Woken when a host asks to be left out.
    pub(crate) asked_out: Notify,
    /// What workers tell of hosts that they have made, where they make them (`ORIGINAL_DST`).
    pub on_demand: Option<OnDemand>,
    /// What outlier detection shares with workers, where there is one.
    pub outlier: OutlierShared,
    /// `cluster.NAME.`.
    pub stats: Arc<Group<ClusterStat>>,
    /// `cluster.NAME.http1.`
    pub http1_stats: Later<Http1Stat>,
    /// `cluster.NAME.http2.`
    pub http2_stats: Later<ClusterHttp2Stat>,
    /// `cluster.NAME.ssl.`
    pub ssl_stats: Later<SslStat>,
    /// `cluster.NAME.client_ssl_socket_factory.`
    pub ssl_context_stats: Later<SslContextStat>,
    /// `cluster.NAME.canary.`
    pub canary_stats: Later<AnswerStat>,
    /// `cluster.NAME.retry.`
    pub retry_stats: Later<AnswerStat>,
    /// `cluster.NAME.ring_hash_lb.`
    pub ring_hash_stats: Later<RingHashStat>,
    /// `cluster.NAME.maglev_lb.`
    pub maglev_stats: Later<MaglevStat>,
    /// `cluster.NAME.zone.`
    pub by_zone: ByZone,
}

/// What circuit breakers count, one number across workers.
#[derive(Debug, Default)]
pub struct BreakerCounts {
    /// Open connections.
    pub connections: AtomicU32,
    /// Requests that wait for a connection.
    pub pending: AtomicU32,
    /// Requests in flight.
    pub requests: AtomicU32,
    /// Retries in flight.
    pub retries: AtomicU32,
    /// Connection pools that have or had connections.
    pub pools: AtomicU32,
}

/// One upstream host. The same `Arc` from snapshot to snapshot while the host stays.
pub struct Host {
    /// Where it listens.
    pub address: Address,
    /// The address as `ip:port` or path, for logs and `/clusters`.
    pub address_text: String,
    /// Every address of a host that has several, in the order in which they are tried.
    pub attempts: Box<[SocketAddr]>,
    /// The name that DNS was asked for, if it was.
    pub name: Option<Arc<Name>>,
    /// What the configuration says about it.
    pub endpoint: EndpointPlan,
    /// Health flags, bits of [`HealthFlag`]; written by its cluster alone.
    pub health: AtomicU32,
    /// It has asked to be left out, and its cluster has not heard of it yet.
    asked_out: AtomicBool,
    made: Instant,
    /// Milliseconds after it was made that it became well, for the last time.
    well_since_ms: AtomicU64,
    /// What it is worth beside others: what is configured, or what was made of its reports.
    weight: AtomicU32,
    /// Its place among hosts that are made on demand, if it is one.
    pub(crate) seat: Option<Seat>,
    /// What it reports of its load, where that is asked for.
    pub reported: Option<Arc<Reported>>,
    /// What its requests say of it, where outlier detection watches it.
    pub monitor: Option<Arc<Monitor>>,
    /// What is counted of it.
    pub stats: Arc<Group<HostStat>>,
}

/// Why a host takes no traffic, with Envoy's names in `/clusters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum HealthFlag {
    /// An active health check failed.
    FailedActiveHc = 1,
    /// Outlier detection ejected it.
    FailedOutlierCheck = 2,
    /// The configuration calls it unhealthy.
    FailedEdsHealth = 4,
    /// An active health check called it degraded.
    DegradedActiveHc = 8,
    /// The configuration calls it degraded.
    DegradedEdsHealth = 16,
    /// DNS no longer names it; it stays while a health check holds it up.
    PendingDynamicRemoval = 32,
    /// Health checking has not answered yet.
    PendingActiveHc = 64,
    /// It asked to be taken out by `x-envoy-immediate-health-check-fail`.
    ExcludedViaImmediateHcFail = 128,
    /// The check that failed timed out.
    ActiveHcTimeout = 256,
    /// The configuration says that it drains.
    EdsStatusDraining = 512,
    /// Outlier detection takes it for degraded.
    DegradedOutlierDetection = 1024,
    /// It was drained by hand. Ours.
    Draining = 1 << 31,
}

// === impl Directory ===

impl<T> Directory<T> {
    /// What is in a slot.
    pub fn get(&self, slot: Slot) -> Option<&Published<T>> {
        self.slots.get(slot).and_then(Option::as_ref)
    }

    /// Puts something into a slot.
    pub fn put(&mut self, slot: Slot, name: &str, published: Published<T>) {
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(published);
            self.by_name.insert(name.to_owned(), slot);
        }
    }

    /// Empties a slot.
    pub fn remove(&mut self, slot: Slot, name: &str) {
        if let Some(place) = self.slots.get_mut(slot) {
            *place = None;
        }
        self.by_name.remove(name);
    }

    /// What has a name.
    pub fn named(&self, name: &str) -> Option<&Published<T>> {
        self.by_name.get(name).and_then(|slot| self.get(*slot))
    }
}

impl<T> Default for Directory<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), by_name: HashMap::new() }
    }
}

impl<T> Clone for Directory<T> {
    fn clone(&self) -> Self {
        Self { slots: self.slots.clone(), by_name: self.by_name.clone() }
    }
}

// === impl ClusterSnapshot ===

impl ClusterSnapshot {
    /// Before anything is known of its hosts.
    pub fn first(plan: Arc<ClusterPlan>, registry: &Arc<Registry>) -> Self {
        let shared = Arc::new(ClusterShared::new(&plan, registry));
        let policy = AssignmentPolicy {
            drop_millionths: plan.drop_millionths,
            ..AssignmentPolicy::default()
        };
        Self {
            plan,
            hosts: Arc::new([]),
            policy,
            draining: Arc::new([]),
            by_hand: Arc::default(),
            names: Arc::new([]),
            ready: false,
            version: 0,
            shared,
            balancer: Arc::new(()),
        }
    }

    /// A host's answer says `x-envoy-immediate-health-check-fail`: its cluster is told, which is heard only
    /// where hosts are checked, since nothing else could bring it back.
    pub fn ask_out(&self, host: &Host) {
        let checked = !self.plan.health_checks.is_empty() && !host.endpoint.unchecked;
        if checked && !host.asked_out.swap(true, Relaxed) {
            self.shared.asked_out.notify_one();
        }
    }
}

// === impl ClusterShared ===

impl ClusterShared {
    fn new(plan: &ClusterPlan, registry: &Arc<Registry>) -> Self {
        let scope = Scope::cluster(&plan.stat_name);
        Self {
            breakers: Default::default(),
            first_answer: Default::default(),
            asked_out: Default::default(),
            on_demand: OnDemand::of(plan, registry.workers()),
            outlier: Default::default(),
            http1_stats: Later::new(registry.clone(), scope.within("http1")),
            http2_stats: Later::new(registry.clone(), scope.within("http2")),
            ssl_stats: Later::new(registry.clone(), scope.within("ssl")),
            ssl_context_stats: Later::new(
                registry.clone(),
                scope.within("client_ssl_socket_factory"),
            ),
            canary_stats: Later::new(registry.clone(), scope.within("canary")),
            retry_stats: Later::new(registry.clone(), scope.within("retry")),
            ring_hash_stats: Later::new(registry.clone(), scope.within("ring_hash_lb")),
            maglev_stats: Later::new(registry.clone(), scope.within("maglev_lb")),
            by_zone: ByZone::new(registry.clone(), scope.clone(), &plan.from_zone),
            stats: registry.group(scope),
        }
    }
}

// === impl BreakerCounts ===

impl BreakerCounts {
    /// Whether anything is counted now.
    pub fn any(&self) -> bool {
        let Self { connections, pending, requests, retries, pools } = self;
        [connections, pending, requests, retries, pools].iter().any(|count| count.load(Relaxed) > 0)
    }
}

// === impl Host ===

impl Host {
    /// A host that nothing is known against yet.
    pub fn new(address: Address, endpoint: EndpointPlan, workers: usize) -> Self {
        Self {
            weight: AtomicU32::new(endpoint.weight),
            reported: None,
            seat: None,
            address,
            address_text: address.to_string(),
            attempts: Box::default(),
            name: None,
            endpoint,
            health: AtomicU32::new(0),
            asked_out: AtomicBool::new(false),
            made: Instant::now(),
            well_since_ms: AtomicU64::new(0),
            monitor: None,
            stats: Group::detached(workers),
        }
    }

    /// Connecting to it failed: where DNS named it, DNS is asked whether it still does.
    pub fn doubt(&self) {
        if let Some(name) = &self.name {
            name.doubt();
        }
    }

    /// What it is worth beside others.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// It is worth this from now on; whether that is another weight.
    pub(crate) fn weigh(&self, weight: u32) -> bool {
        self.weight.swap(weight, Relaxed) != weight
    }

    /// Whether a flag is up.
    pub fn has(&self, flag: HealthFlag) -> bool {
        self.flags() & flag as u32 != 0
    }

    /// All flags.
    pub fn flags(&self) -> u32 {
        self.health.load(Relaxed)
    }

    /// Whether it has asked to be left out since this was looked at last.
    pub(crate) fn has_asked_out(&self) -> bool {
        self.asked_out.swap(false, Relaxed)
    }

    /// Whether nothing speaks against sending traffic here.
    pub fn healthy(&self) -> bool {
        let against = HealthFlag::FailedActiveHc as u32
            | HealthFlag::FailedOutlierCheck as u32
            | HealthFlag::FailedEdsHealth as u32
            | HealthFlag::EdsStatusDraining as u32;
        self.flags() & against == 0
    }

    /// A check has found it well that was not.
    pub(crate) fn becomes_well(&self) {
        let ms = u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.well_since_ms.store(ms, Relaxed);
    }

    /// How long it has been there and well.
    pub fn well_for(&self) -> Duration {
        let since = Duration::from_millis(self.well_since_ms.load(Relaxed));
        self.made.elapsed().saturating_sub(since)
    }

    /// Whether it takes traffic only where no better host does.
    pub fn is_degraded(&self) -> bool {
        let degraded = HealthFlag::DegradedActiveHc as u32
            | HealthFlag::DegradedEdsHealth as u32
            | HealthFlag::DegradedOutlierDetection as u32;
        self.flags() & degraded != 0
    }

    /// Whether it does not count among those of which enough should be healthy.
    pub fn is_excluded(&self) -> bool {
        let out = HealthFlag::PendingActiveHc as u32
            | HealthFlag::ExcludedViaImmediateHcFail as u32
            | HealthFlag::EdsStatusDraining as u32;
        self.flags() & out != 0
    }
}

impl HealthFlag {
    /// All flags with Envoy's names, in the order `/clusters` prints them.
    pub const ALL: [(HealthFlag, &'static str); 12] = [
        (HealthFlag::FailedActiveHc, "failed_active_hc"),
        (HealthFlag::FailedOutlierCheck, "failed_outlier_check"),
        (HealthFlag::FailedEdsHealth, "failed_eds_health"),
        (HealthFlag::DegradedActiveHc, "degraded_active_hc"),
        (HealthFlag::DegradedEdsHealth, "degraded_eds_health"),
        (HealthFlag::PendingDynamicRemoval, "pending_dynamic_removal"),
        (HealthFlag::PendingActiveHc, "pending_active_hc"),
        (HealthFlag::ExcludedViaImmediateHcFail, "excluded_via_immediate_hc_fail"),
        (HealthFlag::ActiveHcTimeout, "active_hc_timeout"),
        (HealthFlag::EdsStatusDraining, "eds_status_draining"),
        (HealthFlag::DegradedOutlierDetection, "degraded_outlier_detection"),
        (HealthFlag::Draining, "draining"),
    ];
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Host").field(&self.address).finish()
    }
}

impl fmt::Debug for ClusterSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterSnapshot")
            .field("name", &self.plan.name)
            .field("version", &self.version)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}
