//! Owns building lists: which order the policy gives them, and what goes on from the tables before.

use std::sync::Arc;

use understudy_actors::{
    runtime::Runtime,
    seams::Membership,
    snapshot::{ClusterShared, Host},
};

use super::{
    hashed::{Hashed, Table},
    levels::{Census, Levels, Source},
    list::{List, Order, Ramp, Weigh},
    localities::normalized,
    round_robin::{Cursor, Rotation, are_equal},
};
use crate::config::model::balancing::{
    Balancing, Hashing, Localities, Policy, RuntimeDouble, SlowStart, ZoneAware,
};

/// Hosts that are drawn for a request at most.
const CHOICES_MAX: u32 = 1024;

/// What tables are built of.
pub(super) struct Builder<'a> {
    pub(super) balancing: &'a Balancing,
    /// The panic threshold in force.
    pub(super) panic_percent: u32,
    pub(super) shared: &'a ClusterShared,
    pub(super) localities: Localities,
    /// What the runtime makes of it.
    pub(super) zones: Option<ZoneAware>,
    hosts: &'a [Arc<Host>],
    hosts_before: &'a [Arc<Host>],
    runtime: &'a Runtime,
    before: Option<&'a Levels>,
    schedules: usize,
    /// `overprovisioning_factor` in force.
    pub(super) overprovisioning_percent: u32,
    /// `weighted_priority_health` in force.
    pub(super) weighs_health: bool,
}

// === impl Builder ===

impl<'a> Builder<'a> {
    pub(super) fn new(
        balancing: &'a Balancing,
        membership: Membership<'a>,
        before: Option<&'a Levels>,
    ) -> Self {
        let Membership { hosts, policy, runtime, before: cluster } = membership;
        let threshold = u64::from(cluster.plan.panic_threshold_percent);
        let percent = runtime.integer("upstream.healthy_panic_threshold", threshold).min(100);
        let panic_percent = u32::try_from(percent).unwrap_or(100);
        // In subsets localities have weights only where that is asked for.
        let localities = match &balancing.subsets {
            Some(subsets) if !subsets.weighs_localities => Localities::Alike,
            _ => balancing.localities,
        };
        Self {
            balancing,
            localities,
            zones: balancing.zones.as_ref().map(|zones| in_force(zones, runtime)),
            panic_percent,
            hosts,
            hosts_before: &cluster.hosts,
            shared: &cluster.shared,
            runtime,
            before,
            schedules: 0,
            overprovisioning_percent: policy
                .overprovisioning_percent
                .unwrap_or(balancing.overprovisioning_percent),
            weighs_health: policy.weighs_health.unwrap_or(balancing.weighs_health),
        }
    }

    /// How many hosts there are.
    pub(super) fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Builds something that goes on from other levels than the cluster's.
    pub(super) fn go_on_from<T>(
        &mut self,
        before: Option<&'a Levels>,
        build: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let usual = std::mem::replace(&mut self.before, before);
        let built = build(self);
        self.before = usual;
        built
    }

    /// Of a locality's weight, what counts where only so many of its hosts are there.
    pub(super) fn locality_weight(&self, host: &Host, there: usize) -> f64 {
        let weight = f64::from(host.endpoint.locality_weight);
        if !self.balancing.subsets.as_ref().is_some_and(|subsets| subsets.scales_localities) {
            return weight;
        }
        let same = |other: &&Arc<Host>| {
            other.endpoint.priority == host.endpoint.priority
                && other.endpoint.locality == host.endpoint.locality
        };
        let all = self.hosts.iter().filter(same).count().max(1);
        (weight * there as f64 / all as f64).round()
    }

    pub(super) fn host(&self, at: u32) -> Option<&'a Arc<Host>> {
        self.hosts.get(at as usize)
    }

    pub(super) fn weight(&self, at: u32) -> u32 {
        self.host(at).map_or(1, |host| host.weight().max(1))
    }

    /// A place among the schedules of a worker.
    pub(super) fn schedule(&mut self) -> usize {
        self.schedules += 1;
        self.schedules - 1
    }

    /// The list of these hosts, in the order of the policy.
    pub(super) fn list(&mut self, source: Source, members: &[u32]) -> List {
        let hosts: Arc<[u32]> = members.into();
        let weights: Vec<u32> = members.iter().map(|at| self.weight(*at)).collect();
        let equal = are_equal(&weights);
        let ramp = self.ramp().filter(|ramp| {
            // One host alone has nobody to leave its share to.
            let new = |at: &u32| self.host(*at).is_some_and(|host| ramp.covers(host));
            members.len() > 1 && members.iter().any(new)
        });
        let order = match &self.balancing.policy {
            Policy::RoundRobin if ramp.is_some() => self.scheduled(0.0, ramp),
            Policy::RoundRobin => {
                let before = self.before.and_then(|before| before.list(source));
                let cursor = match before.map(|list| &list.order) {
                    Some(Order::Rotation(rotation)) => rotation.cursor().clone(),
                    _ => Cursor::default(),
                };
                Order::Rotation(Rotation::new(&hosts, &weights, cursor))
            }
            Policy::LeastRequest(least) if equal && ramp.is_none() => {
                let choices = least.choices.map(|choices| choices.min(CHOICES_MAX));
                Order::FewestRequests { choices }
            }
            Policy::LeastRequest(least) => {
                let bias = self.double(&least.bias);
                // Envoy takes 1 for what makes no sense, too.
                self.scheduled(if bias >= 0.0 { bias } else { 1.0 }, ramp)
            }
            // What hashes has lists of its own, and an aggregate no hosts.
            Policy::Random | Policy::Hash(_) | Policy::Aggregate(_) | Policy::OriginalDst(_) => {
                Order::Random
            }
        };
        List { hosts, order }
    }

    /// The list of these hosts, in the order of hashes.
    pub(super) fn hashed(&mut self, hashing: &Hashing, source: Source, census: &Census) -> List {
        let (members, weights): (Vec<u32>, Vec<f64>) =
            normalized(source.part, census, self).into_iter().unzip();
        let hosts: Vec<&Arc<Host>> = members.iter().filter_map(|at| self.host(*at)).collect();
        let known = self.before.and_then(|before| before.list(source));
        let known = known.and_then(|list| match &list.order {
            Order::Hashed(hashed) => {
                let before = list.hosts.iter().filter_map(|at| self.hosts_before.get(*at as usize));
                let same = hashed.weights[..] == weights[..]
                    && before.map(Arc::as_ptr).eq(hosts.iter().map(|host| Arc::as_ptr(host)));
                same.then(|| hashed.table.clone())
            }
            _ => None,
        });
        let table =
            known.unwrap_or_else(|| Arc::new(Table::new(hashing, &hosts, &weights, self.shared)));
        let hashed = Hashed::new(table, weights.into(), hashing.bound_percent);
        List { hosts: members.into(), order: Order::Hashed(hashed) }
    }

    fn scheduled(&mut self, bias: f64, slow_start: Option<Ramp>) -> Order {
        Order::Scheduled { schedule: self.schedule(), weigh: Weigh { bias, slow_start } }
    }

    fn ramp(&self) -> Option<Ramp> {
        let SlowStart { window, aggression, weight_min } = self.balancing.slow_start.as_ref()?;
        let aggression = self.double(aggression);
        let aggression = if aggression > 0.0 { aggression } else { 1.0 };
        Some(Ramp { window: *window, aggression, weight_min: *weight_min })
    }

    fn double(&self, double: &RuntimeDouble) -> f64 {
        let set = self.runtime.get(&double.key).and_then(|value| value.number);
        set.unwrap_or(double.default)
    }
}

/// Source: Envoy, "Zone aware load balancing, runtime".
fn in_force(zones: &ZoneAware, runtime: &Runtime) -> ZoneAware {
    let key = |name: &str| format!("upstream.zone_routing.{name}");
    let enabled = runtime.integer(&key("enabled"), u64::from(zones.enabled_percent));
    ZoneAware {
        enabled_percent: u32::try_from(enabled.min(100)).unwrap_or(100),
        cluster_size_min: runtime.integer(&key("min_cluster_size"), zones.cluster_size_min),
        forces_direct: runtime.boolean(&key("force_locality_direct_routing"), zones.forces_direct),
        ..zones.clone()
    }
}
