//! Owns how hosts come from discovery, and which of them take traffic: pure functions of a cluster's state.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
};

use crate::{
    plan::{ClusterPlan, ConfiguredHealth, Discovery, EndpointPlan, HostPlan, NamePlan},
    snapshot::{HealthFlag, Host},
    stats::{ClusterStat, Group, HealthCheckStat},
};

/// What DNS said last of each name, in the plan's order; `None` while it has said nothing.
pub(super) type Answers = Vec<Option<Vec<IpAddr>>>;

/// The names that a cluster asks DNS for.
pub(super) fn names(discovery: &Discovery) -> &[NamePlan] {
    match discovery {
        Discovery::Static(_) => &[],
        Discovery::StrictDns { names, .. } => names,
        Discovery::LogicalDns { name, .. } => std::slice::from_ref(name),
    }
}

/// The hosts that discovery has now. Those that were there before are the same `Arc`, in the same order;
/// new ones come after them, so that a DNS server that rotates its answers disturbs no rotation of ours.
pub(super) fn discovered(
    plan: &ClusterPlan,
    answers: &Answers,
    assigned: Option<&[HostPlan]>,
    before: &[Arc<Host>],
    workers: usize,
) -> Vec<Arc<Host>> {
    let wanted = wanted(&plan.discovery, answers, assigned, before);
    let mut missing: HashMap<SocketAddr, VecDeque<usize>> = HashMap::new();
    for (at, (address, _)) in wanted.iter().enumerate() {
        missing.entry(*address).or_default().push_back(at);
    }
    let checked = !plan.health_checks.is_empty();
    let mut hosts = Vec::with_capacity(wanted.len());
    let mut kept: HashSet<usize> = HashSet::new();
    for host in before {
        let same = |at: &usize| *wanted[*at].1 == host.endpoint;
        let places = missing.get_mut(&host.address);
        let place = places.and_then(|at| at.iter().position(same).and_then(|i| at.remove(i)));
        if let Some(at) = place {
            kept.insert(at);
            host.health.fetch_and(!(HealthFlag::PendingDynamicRemoval as u32), Relaxed);
            hosts.push(host.clone());
        } else if checked && !plan.ignore_health_on_host_removal && is_held_up(host) {
            host.health.fetch_or(HealthFlag::PendingDynamicRemoval as u32, Relaxed);
            hosts.push(host.clone());
        }
    }
    for (at, (address, endpoint)) in wanted.iter().enumerate() {
        if !kept.contains(&at) {
            hosts.push(Arc::new(fresh(*address, endpoint, workers, checked)));
        }
    }
    hosts
}

/// Every host that the plan and the answers ask for. One address that two endpoints have is two hosts.
///
/// Observed: Envoy 1.40 `/clusters`, for `STATIC` and for `STRICT_DNS`.
fn wanted<'a>(
    discovery: &'a Discovery,
    answers: &Answers,
    assigned: Option<&'a [HostPlan]>,
    before: &[Arc<Host>],
) -> Vec<(SocketAddr, &'a EndpointPlan)> {
    let answer = |at: usize| answers.get(at).and_then(Option::as_deref).unwrap_or_default();
    match discovery {
        Discovery::Static(hosts) => {
            let hosts = assigned.unwrap_or(hosts);
            hosts.iter().map(|host| (host.address, &host.endpoint)).collect()
        }
        Discovery::StrictDns { names, .. } => {
            let mut all = Vec::new();
            for (at, name) in names.iter().enumerate() {
                let mut seen = HashSet::new();
                for ip in answer(at).iter().filter(|ip| seen.insert(**ip)) {
                    all.push((SocketAddr::new(*ip, name.port), &name.endpoint));
                }
            }
            all
        }
        Discovery::LogicalDns { name, .. } => {
            // The host in use stays while DNS still names it: a rotating answer is no reason to move.
            let in_use = before.first().map(|host| host.address.ip());
            let in_use = in_use.filter(|ip| answer(0).contains(ip));
            let ip = in_use.or_else(|| answer(0).first().copied());
            ip.map(|ip| (SocketAddr::new(ip, name.port), &name.endpoint)).into_iter().collect()
        }
    }
}

/// Source: `Cluster.ignore_health_on_host_removal`: a host that is checked and well stays, though discovery
/// no longer has it.
fn is_held_up(host: &Host) -> bool {
    !host.endpoint.unchecked
        && !host.has(HealthFlag::FailedActiveHc)
        && !host.has(HealthFlag::FailedEdsHealth)
}

fn fresh(address: SocketAddr, endpoint: &EndpointPlan, workers: usize, checked: bool) -> Host {
    let host = Host::new(address, endpoint.clone(), workers);
    let configured = match endpoint.health {
        ConfiguredHealth::Healthy => 0,
        ConfiguredHealth::Unhealthy => HealthFlag::FailedEdsHealth as u32,
        ConfiguredHealth::Degraded => HealthFlag::DegradedEdsHealth as u32,
    };
    // A host that is checked is not well until its first check says so.
    let waits = checked && !endpoint.unchecked;
    let unanswered = if waits { HealthFlag::FailedActiveHc as u32 } else { 0 };
    host.health.store(configured | unanswered, Relaxed);
    host
}

/// How many hosts are well, and how many are well but degraded.
fn census(hosts: &[Arc<Host>]) -> (u64, u64) {
    let taking = || hosts.iter().filter(|host| host.healthy());
    let degraded = taking().filter(|host| host.is_degraded()).count();
    ((taking().count() - degraded) as u64, degraded as u64)
}

/// Sets the gauges that speak of checked hosts: how many are well, and how many of them are degraded.
pub(super) fn gauge_checked(stats: &Group<HealthCheckStat>, hosts: &[Arc<Host>]) {
    let well = || hosts.iter().filter(|host| !host.endpoint.unchecked && host.healthy());
    let degraded = well().filter(|host| host.has(HealthFlag::DegradedActiveHc)).count();
    stats.set(HealthCheckStat::Healthy, well().count() as u64);
    stats.set(HealthCheckStat::Degraded, degraded as u64);
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
    // Observed: Envoy 1.40 keeps this one at 0 but for `STRICT_DNS`, whose least is 1.
    if let Discovery::StrictDns { .. } = plan.discovery {
        let heaviest = hosts.iter().map(|host| host.endpoint.weight).max();
        stats.set(ClusterStat::MaxHostWeight, u64::from(heaviest.unwrap_or(1).max(1)));
    }
}
