//! Owns how hosts come from discovery, and which of them take traffic: pure functions of a cluster's state.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use crate::{
    address::Address,
    by_hand::{ByHand, Standing},
    names::Name,
    outlier::Monitor,
    plan::{
        Assignment, ClusterPlan, ConfiguredHealth, Discovery, EndpointPlan, HappyEyeballs,
        HostPlan, NamePlan,
    },
    snapshot::{ClusterSnapshot, HealthFlag, Host},
    stats::{ClusterStat, Group, OutlierStat},
};

/// What DNS said last of each name, in the plan's order; `None` while it has said nothing.
pub(super) type Answers = Vec<Option<Vec<IpAddr>>>;

/// The names that a cluster asks DNS for.
pub(super) fn names(discovery: &Discovery) -> &[NamePlan] {
    match discovery {
        Discovery::Static(_) | Discovery::Eds { .. } | Discovery::OriginalDst { .. } => &[],
        Discovery::StrictDns { names, .. } => names,
        Discovery::LogicalDns { name, .. } => std::slice::from_ref(name),
    }
}

/// The hosts of a cluster: those that may take requests, and those that were drained by hand.
pub(super) struct Found {
    pub(super) hosts: Vec<Arc<Host>>,
    pub(super) draining: Vec<Arc<Host>>,
}

/// What is known of a cluster's hosts.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) plan: &'a ClusterPlan,
    pub(super) answers: &'a Answers,
    /// Hosts that came since, in place of those of the plan.
    pub(super) assigned: Option<&'a Assignment>,
    /// Hosts that workers have made.
    pub(super) made: &'a [Arc<Host>],
    pub(super) before: &'a ClusterSnapshot,
}

/// A host that the plan, the answers or somebody asks for.
struct Wanted<'a> {
    address: Address,
    /// All addresses of a host with several, in the order in which they are tried.
    attempts: Vec<SocketAddr>,
    endpoint: Cow<'a, EndpointPlan>,
    name: Option<&'a Arc<Name>>,
    /// The host itself, where a worker has made it.
    made: Option<&'a Arc<Host>>,
}

// === impl Known ===

impl<'a> Known<'a> {
    /// The hosts that there are now. Those that were there before are the same `Arc`, in the same order;
    /// new ones come after them, so that a DNS server that rotates its answers disturbs no rotation of ours.
    pub(super) fn found(&self, by_hand: &ByHand, workers: usize) -> Found {
        let (plan, before, wanted) = (self.plan, self.before, self.wanted(by_hand));
        let mut missing: HashMap<Address, VecDeque<usize>> = HashMap::new();
        for (at, wanted) in wanted.iter().enumerate() {
            missing.entry(wanted.address).or_default().push_back(at);
        }
        let checked = !plan.health_checks.is_empty();
        let mut hosts = Vec::with_capacity(wanted.len());
        let mut kept: HashSet<usize> = HashSet::new();
        // Hosts of which something else is said now.
        let mut left: HashMap<Address, VecDeque<&Arc<Host>>> = HashMap::new();
        for host in before.hosts.iter().chain(before.draining.iter()) {
            let same = |at: &usize| wanted.get(*at).is_some_and(|wanted| wanted.is(host));
            let places = missing.get_mut(&host.address);
            let place = places.and_then(|at| at.iter().position(same).and_then(|i| at.remove(i)));
            if let Some(at) = place {
                kept.insert(at);
                host.health.fetch_and(!(HealthFlag::PendingDynamicRemoval as u32), Relaxed);
                hosts.push(host.clone());
                continue;
            }
            let goes_on = missing.get(&host.address).is_some_and(|places| !places.is_empty());
            let taken_away = by_hand.of(host.address).standing != Standing::InUse;
            if goes_on {
                left.entry(host.address).or_default().push_back(host);
            } else if checked
                && !plan.ignore_health_on_host_removal
                && is_held_up(host)
                && !taken_away
            {
                host.health.fetch_or(HealthFlag::PendingDynamicRemoval as u32, Relaxed);
                hosts.push(host.clone());
            }
        }
        for (at, wanted) in wanted.into_iter().enumerate() {
            if !kept.contains(&at) {
                let before = left.get_mut(&wanted.address).and_then(VecDeque::pop_front);
                let made = wanted.made.filter(|made| wanted.is(made)).cloned();
                hosts.push(made.unwrap_or_else(|| fresh(plan, wanted, before, workers).into()));
            }
        }
        let drained = |host: &Arc<Host>| by_hand.of(host.address).standing == Standing::Draining;
        let (draining, hosts): (Vec<_>, Vec<_>) = hosts.into_iter().partition(drained);
        for host in &hosts {
            host.health.fetch_and(!(HealthFlag::Draining as u32), Relaxed);
        }
        for host in &draining {
            host.health.fetch_or(HealthFlag::Draining as u32, Relaxed);
        }
        Found { hosts, draining }
    }

    /// Every host that is asked for. One address that two endpoints have is two hosts.
    ///
    /// Observed: Envoy 1.40 `/clusters`, for `STATIC` and for `STRICT_DNS`.
    fn wanted(&self, by_hand: &ByHand) -> Vec<Wanted<'a>> {
        let mut all = self.discovered();
        for (address, _) in by_hand.iter().filter(|(_, changed)| changed.hand.added) {
            if !all.iter().any(|wanted| wanted.address == address) {
                all.push(Wanted::at(address, Cow::Owned(self.like_the_first())));
            }
        }
        all.retain(|wanted| by_hand.of(wanted.address).standing != Standing::Removed);
        // Where hosts come on demand a weight says nothing.
        for wanted in all.iter_mut().filter(|wanted| wanted.made.is_none()) {
            if let Some(weight) = by_hand.of(wanted.address).weight
                && weight != wanted.endpoint.weight
            {
                wanted.endpoint.to_mut().weight = weight;
            }
        }
        all
    }

    /// What is said of a host that somebody adds: its name and place are those of the first that is configured.
    fn like_the_first(&self) -> EndpointPlan {
        let first = match &self.plan.discovery {
            Discovery::Static(_) | Discovery::Eds { .. } | Discovery::OriginalDst { .. } => {
                self.known_by_address().first().map(|host| &host.endpoint)
            }
            discovery => names(discovery).first().map(|name| &name.endpoint),
        };
        let health = ConfiguredHealth::Healthy;
        EndpointPlan { weight: 1, health, ..first.cloned().unwrap_or_default() }
    }

    /// Whether discovery has a host at an address.
    pub(super) fn discovers(&self, address: Address) -> bool {
        self.discovered().iter().any(|wanted| wanted.address == address)
    }

    /// Hosts that are known by their addresses: those that came last, or the plan's.
    fn known_by_address(&self) -> &'a [HostPlan] {
        match (self.assigned, &self.plan.discovery) {
            (Some(assigned), _) => &assigned.hosts,
            (None, Discovery::Static(hosts)) => hosts,
            (None, _) => &[],
        }
    }

    /// Every host that the plan and the answers ask for.
    fn discovered(&self) -> Vec<Wanted<'a>> {
        let Known { plan, answers, before, .. } = *self;
        let answer = |at: usize| answers.get(at).and_then(Option::as_deref).unwrap_or_default();
        let asked = |at: usize| before.names.get(at);
        let eyeballs = &plan.happy_eyeballs;
        match &plan.discovery {
            Discovery::Static(_) | Discovery::Eds { .. } => {
                let host = |host: &'a HostPlan| {
                    let wanted = Wanted::at(host.address, Cow::Borrowed(&host.endpoint));
                    wanted.with_more(host.more.iter().copied(), eyeballs)
                };
                self.known_by_address().iter().map(host).collect()
            }
            Discovery::OriginalDst { .. } => {
                let wanted = |host: &'a Arc<Host>| Wanted {
                    made: Some(host),
                    ..Wanted::at(host.address, Cow::Borrowed(&host.endpoint))
                };
                self.made.iter().map(wanted).collect()
            }
            Discovery::StrictDns { names, .. } => {
                let mut all = Vec::new();
                for (at, name) in names.iter().enumerate() {
                    let mut seen = HashSet::new();
                    for ip in answer(at).iter().filter(|ip| seen.insert(**ip)) {
                        let address = SocketAddr::new(*ip, name.port);
                        let wanted = Wanted::at(address.into(), Cow::Borrowed(&name.endpoint));
                        all.push(Wanted { name: asked(at), ..wanted });
                    }
                }
                all
            }
            Discovery::LogicalDns { name, .. } => {
                // The same answer in another order is no reason to move.
                let mut known = before.hosts.iter().chain(before.draining.iter());
                let in_use = known.find(|host| host.name.is_some() && is_all_of(host, answer(0)));
                let in_use = in_use.and_then(|host| host.address.ip());
                let Some(ip) = in_use.or_else(|| answer(0).first().copied()) else {
                    return Vec::new();
                };
                let others = answer(0).iter().filter(|other| **other != ip);
                let others = others.map(|ip| SocketAddr::new(*ip, name.port));
                let address = SocketAddr::new(ip, name.port);
                let wanted = Wanted::at(address.into(), Cow::Borrowed(&name.endpoint));
                vec![Wanted { name: asked(0), ..wanted.with_more(others, eyeballs) }]
            }
        }
    }
}

/// Whether a host's addresses are these, in whatever order.
fn is_all_of(host: &Host, answer: &[IpAddr]) -> bool {
    let attempts = host.attempts.iter().map(SocketAddr::ip);
    let own: HashSet<_> = attempts.chain(host.address.ip()).collect();
    own == answer.iter().copied().collect()
}

/// Source: `Cluster.ignore_health_on_host_removal`: a host that is checked and well stays, though discovery
/// no longer has it.
fn is_held_up(host: &Host) -> bool {
    !host.endpoint.unchecked
        && !host.has(HealthFlag::FailedActiveHc)
        && !host.has(HealthFlag::FailedEdsHealth)
}

/// A host that a worker makes. Observed: Envoy 1.40 calls it by its cluster's name and its address.
pub(crate) fn made_at(plan: &ClusterPlan, address: Address, workers: usize) -> Host {
    let hostname = format!("{}{address}", plan.name);
    let endpoint = EndpointPlan { hostname, ..EndpointPlan::default() };
    fresh(plan, Wanted::at(address, Cow::Owned(endpoint)), None, workers)
}

/// A new host. One that takes the place of another at its address goes on with its health and counts.
fn fresh(
    plan: &ClusterPlan,
    wanted: Wanted<'_>,
    before: Option<&Arc<Host>>,
    workers: usize,
) -> Host {
    let endpoint = wanted.endpoint.into_owned();
    let mut host = Host::new(wanted.address, endpoint, workers);
    host.attempts = wanted.attempts.into();
    host.name = wanted.name.cloned();
    let endpoint = &host.endpoint;
    let configured = match endpoint.health {
        ConfiguredHealth::Healthy => 0,
        ConfiguredHealth::Unhealthy => HealthFlag::FailedEdsHealth as u32,
        ConfiguredHealth::Draining => HealthFlag::EdsStatusDraining as u32,
        ConfiguredHealth::Degraded => HealthFlag::DegradedEdsHealth as u32,
    };
    let not_found = HealthFlag::FailedEdsHealth as u32
        | HealthFlag::DegradedEdsHealth as u32
        | HealthFlag::EdsStatusDraining as u32
        | HealthFlag::PendingDynamicRemoval as u32;
    // A host that is checked is not well until its first check says so.
    let waits = !plan.health_checks.is_empty() && !endpoint.unchecked;
    let unanswered = match (waits, plan.ignores_unchecked_hosts) {
        (false, _) => 0,
        (true, false) => HealthFlag::FailedActiveHc as u32,
        (true, true) => HealthFlag::FailedActiveHc as u32 | HealthFlag::PendingActiveHc as u32,
    };
    let found = before.map_or(unanswered, |before| before.flags() & !not_found);
    host.health.store(configured | found, Relaxed);
    host.monitor = plan.outlier.as_ref().map(|plan| Arc::new(Monitor::new(plan.clone())));
    host.reported = plan.weighing.map(|_| Arc::default());
    if let Some(before) = before {
        if host.reported.is_some() {
            host.reported = before.reported.clone();
            host.weigh(before.weight());
        }
        host.stats = before.stats.clone();
        host.monitor = before.monitor.clone();
    }
    host
}

/// How many hosts are well, and how many are well but degraded.
fn census(hosts: &[Arc<Host>]) -> (u64, u64) {
    let taking = || hosts.iter().filter(|host| host.healthy());
    let degraded = taking().filter(|host| host.is_degraded()).count();
    ((taking().count() - degraded) as u64, degraded as u64)
}

/// Writes what outlier detection has judged into the flags; whether any is another now.
pub(super) fn flag_judged(hosts: &[Arc<Host>]) -> bool {
    let both = HealthFlag::FailedOutlierCheck as u32 | HealthFlag::DegradedOutlierDetection as u32;
    let mut changed = false;
    for host in hosts {
        let Some(monitor) = &host.monitor else { continue };
        let mut judged = 0;
        if monitor.is_ejected() {
            judged |= HealthFlag::FailedOutlierCheck as u32;
        }
        if monitor.is_degraded() {
            judged |= HealthFlag::DegradedOutlierDetection as u32;
        }
        let before = host.flags();
        host.health.store(before & !both | judged, Relaxed);
        changed |= before & both != judged;
    }
    changed
}

/// Sets the gauge of ejected hosts; it is untouched while there never was any.
pub(super) fn gauge_ejected(stats: &Group<OutlierStat>, hosts: &[Arc<Host>]) {
    let ejected = hosts.iter().filter(|host| host.has(HealthFlag::FailedOutlierCheck)).count();
    if stats.sum(OutlierStat::Active) != ejected as u64 {
        stats.set(OutlierStat::Active, ejected as u64);
    }
}

/// Sets the gauges that speak of hosts.
pub(super) fn gauge(plan: &ClusterPlan, stats: &Group<ClusterStat>, hosts: &[Arc<Host>]) {
    // Observed: Envoy 1.40 counts as unused what a cluster without hosts has.
    if hosts.is_empty() && !stats.used(ClusterStat::MembershipTotal) {
        return gauge_weight(plan, stats, hosts);
    }
    let (healthy, degraded) = census(hosts);
    let excluded = hosts.iter().filter(|host| host.is_excluded()).count();
    stats.set(ClusterStat::MembershipTotal, hosts.len() as u64);
    stats.set(ClusterStat::MembershipHealthy, healthy);
    stats.set(ClusterStat::MembershipDegraded, degraded);
    stats.set(ClusterStat::MembershipExcluded, excluded as u64);
    gauge_weight(plan, stats, hosts);
}

fn gauge_weight(plan: &ClusterPlan, stats: &Group<ClusterStat>, hosts: &[Arc<Host>]) {
    // Observed: Envoy 1.40 keeps this one at 0 but for `STRICT_DNS` and `EDS`, whose least is 1.
    if let Discovery::StrictDns { .. } | Discovery::Eds { .. } = plan.discovery {
        let heaviest = hosts.iter().map(|host| host.weight()).max();
        stats.set(ClusterStat::MaxHostWeight, u64::from(heaviest.unwrap_or(1).max(1)));
    }
}

// === impl Wanted ===

impl<'a> Wanted<'a> {
    fn at(address: Address, endpoint: Cow<'a, EndpointPlan>) -> Self {
        Self { address, attempts: Vec::new(), endpoint, name: None, made: None }
    }

    fn with_more(
        mut self,
        more: impl Iterator<Item = SocketAddr>,
        eyeballs: &HappyEyeballs,
    ) -> Self {
        let mut seen = HashSet::new();
        let addresses = self.address.socket().into_iter().chain(more);
        let addresses: Vec<_> = addresses.filter(|address| seen.insert(*address)).collect();
        if addresses.len() > 1 {
            self.attempts = eyeballs.order(&addresses);
        }
        self
    }

    /// Whether this is that host, whatever the order of its further addresses.
    fn is(&self, host: &Host) -> bool {
        *self.endpoint == host.endpoint
            && self.address == host.address
            && self.attempts.len() == host.attempts.len()
            && self.attempts.iter().all(|address| host.attempts.contains(address))
    }
}
