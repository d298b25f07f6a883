//! Owns the compiled balancing of a cluster: which of its hosts a request goes to.

use std::{sync::Arc, time::Duration};

use understudy_actors::{
    plan::{Locality, Slot},
    reported::Weighing,
};

use super::{
    hash_policy::HashPolicy, load_report::Worth, original_dst::OriginalDst, subsets::SubsetOptions,
};

/// How a host is chosen.
#[derive(Clone, Debug)]
pub struct Balancing {
    /// `lb_policy`, or the extension of `load_balancing_policy`.
    pub policy: Policy,
    /// What localities are to the choice.
    pub localities: Localities,
    /// `load_assignment.policy.overprovisioning_factor`, in percent; Envoy's default is 140.
    pub overprovisioning_percent: u32,
    /// `load_assignment.policy.weighted_priority_health`: health is a share of weights, not of hosts.
    pub weighs_health: bool,
    /// `override_host_status`: of which health a host may be that a session wants.
    pub override_health: OverrideHealth,
    /// `override_host_sources` of the extension, in lower case: headers by which a request names its host.
    pub override_headers: Arc<[Vec<u8>]>,
    /// `zone_aware_lb_config`, where there is a local cluster.
    pub zones: Option<ZoneAware>,
    /// `lb_subset_config`: a route may ask for hosts by their metadata.
    pub subsets: Option<SubsetOptions>,
    /// `slow_start_config`: hosts that are new begin with less.
    pub slow_start: Option<SlowStart>,
    /// `client_side_weighted_round_robin`: hosts are weighed by what they report, and so often.
    pub weighing: Option<Weighing>,
    /// What a report is worth there.
    pub worth: Option<Worth>,
    /// `fail_traffic_on_panic`: in panic nobody takes requests, rather than all.
    pub fails_on_panic: bool,
}

/// Who of those that may takes a request.
#[derive(Clone, Debug)]
pub enum Policy {
    /// `ROUND_ROBIN`.
    RoundRobin,
    /// `LEAST_REQUEST`.
    LeastRequest(LeastRequest),
    /// `RANDOM`.
    Random,
    /// `RING_HASH` and `MAGLEV`.
    Hash(Hashing),
    /// `envoy.clusters.aggregate`: the hosts are those of other clusters, in this order.
    Aggregate(Arc<[Slot]>),
    /// `ORIGINAL_DST`: the host is where the request was meant to go.
    OriginalDst(OriginalDst),
}

/// How a request's hash leads to a host.
#[derive(Clone, Debug)]
pub struct Hashing {
    /// By what.
    pub table: HashTable,
    /// `use_hostname_for_hashing`: a host is known by its name rather than by its address.
    pub by_hostname: bool,
    /// `hash_balance_factor`: a host carries at most so many percent of what is its share.
    pub bound_percent: Option<u32>,
    /// `hash_policy` of the policy itself; where there is one, the route's says nothing.
    pub policies: Arc<[HashPolicy]>,
}

/// What a hash is held against.
#[derive(Clone, Debug)]
pub enum HashTable {
    /// `RING_HASH`.
    Ring(RingHash),
    /// `MAGLEV`.
    Maglev {
        /// `table_size`, a prime; Envoy's default is 65537.
        size: u64,
    },
}

/// `RingHashLbConfig`.
#[derive(Clone, Copy, Debug)]
pub struct RingHash {
    /// `minimum_ring_size`; Envoy's default is 1024.
    pub size_min: u64,
    /// `maximum_ring_size`; Envoy's default is 8 Mi.
    pub size_max: u64,
    /// `hash_function: MURMUR_HASH_2` rather than `XX_HASH`.
    pub murmur: bool,
}

/// `LeastRequestLbConfig`.
#[derive(Clone, Debug)]
pub struct LeastRequest {
    /// How many hosts are compared; `None` is all of them (`FULL_SCAN`). Envoy's default is 2.
    pub choices: Option<u32>,
    /// `active_request_bias`, where weights differ: how much requests in flight count against a weight.
    pub bias: RuntimeDouble,
}

/// Of which health a host may be that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverrideHealth {
    /// HEALTHY or UNKNOWN.
    pub healthy: bool,
    /// DEGRADED.
    pub degraded: bool,
    /// UNHEALTHY, DRAINING or TIMEOUT.
    pub unhealthy: bool,
}

/// `ZoneAwareLbConfig`: requests stay in the zone of this proxy as far as its share of hosts reaches.
#[derive(Clone, Debug)]
pub struct ZoneAware {
    /// `cluster_manager.local_cluster_name`: this proxy and those like it, as a cluster.
    pub local: Slot,
    /// `Node.locality`: where this one is.
    pub home: Locality,
    /// `routing_enabled`, in percent; Envoy's default is 100.
    pub enabled_percent: u32,
    /// `min_cluster_size`: with fewer healthy hosts zones make no difference. Envoy's default is 6.
    pub cluster_size_min: u64,
    /// `force_locality_direct_routing`: all requests stay, whatever the shares are.
    pub forces_direct: bool,
}

/// `SlowStartConfig`: a host that came or recovered lately has less than its weight.
#[derive(Clone, Debug)]
pub struct SlowStart {
    /// `slow_start_window`: so long.
    pub window: Duration,
    /// `aggression`: how fast its weight grows, 1 for evenly.
    pub aggression: RuntimeDouble,
    /// `min_weight_percent`, as a share: what it begins with. Envoy's default is a tenth.
    pub weight_min: f64,
}

/// `RuntimeDouble`.
#[derive(Clone, Debug)]
pub struct RuntimeDouble {
    /// `default_value`.
    pub default: f64,
    /// `runtime_key`; empty for none.
    pub key: String,
}

/// What localities are to the choice of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Localities {
    /// Nothing.
    #[default]
    Alike,
    /// `locality_weighted_lb_config`: first a locality is chosen, by its weight and by how many of its hosts are
    /// available.
    Weighted,
}

// === impl OverrideHealth ===

impl Default for OverrideHealth {
    /// Envoy's default.
    fn default() -> Self {
        Self { healthy: true, degraded: true, unhealthy: false }
    }
}

// === impl Policy ===

impl Policy {
    /// Whether the cluster's type provides it (`CLUSTER_PROVIDED`), and no tables of ours say who takes a request.
    #[inline]
    pub fn is_provided(&self) -> bool {
        matches!(self, Policy::Aggregate(_) | Policy::OriginalDst(_))
    }

    /// What says where a request was meant to go, where that is its host.
    pub fn original_dst(&self) -> Option<&OriginalDst> {
        match self {
            Policy::OriginalDst(says) => Some(says),
            _ => None,
        }
    }

    /// The clusters that an aggregate is of.
    pub fn members(&self) -> Option<&[Slot]> {
        match self {
            Policy::Aggregate(members) => Some(members),
            _ => None,
        }
    }

    /// How a request's hash leads to a host, if it does.
    pub fn hashing(&self) -> Option<&Hashing> {
        match self {
            Policy::Hash(hashing) => Some(hashing),
            _ => None,
        }
    }
}

// === impl Balancing ===

impl Default for Balancing {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            policy: Policy::RoundRobin,
            localities: Localities::default(),
            overprovisioning_percent: 140,
            weighs_health: false,
            override_health: OverrideHealth::default(),
            override_headers: Arc::new([]),
            zones: None,
            subsets: None,
            slow_start: None,
            weighing: None,
            worth: None,
            fails_on_panic: false,
        }
    }
}
