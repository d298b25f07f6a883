//! Owns where a cluster's hosts come from, and what is said about each.

use std::{any::Any, collections::BTreeMap, fmt, net::SocketAddr, sync::Arc, time::Duration};

use super::DnsPlan;
use crate::{address::Address, resources::ConfigSource};

/// Where a cluster's hosts come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Discovery {
    /// `STATIC`: addresses as they stand.
    Static(Vec<HostPlan>),
    /// `STRICT_DNS`: every address of every name is a host.
    StrictDns {
        /// The names, as endpoints.
        names: Vec<NamePlan>,
        /// How to ask.
        dns: DnsPlan,
    },
    /// `LOGICAL_DNS`: one host, new connections go to the first address.
    LogicalDns {
        /// The one name.
        name: NamePlan,
        /// How to ask.
        dns: DnsPlan,
    },
    /// `EDS`: addresses come by [`Plan::assignments`](super::Plan::assignments).
    Eds {
        /// `eds_cluster_config.service_name`, or the cluster's name.
        service_name: String,
        /// `eds_cluster_config.eds_config`
        source: ConfigSource,
    },
    /// `ORIGINAL_DST`: a request that wants to go to an address makes it a host.
    OriginalDst {
        /// `cleanup_interval`: a host that nobody has used for so long leaves; Envoy's default is 5 s.
        cleanup: Duration,
    },
}

/// `ClusterLoadAssignment`: the hosts of a cluster, and what is to be done about them as a whole.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// The hosts.
    pub hosts: Vec<HostPlan>,
    /// `policy`, as far as it says something.
    pub policy: AssignmentPolicy,
}

/// `ClusterLoadAssignment.Policy`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AssignmentPolicy {
    /// `overprovisioning_factor`
    pub overprovisioning_percent: Option<u32>,
    /// `weighted_priority_health`
    pub weighs_health: Option<bool>,
    /// `drop_overloads`: of a million requests so many are turned away.
    pub drop_millionths: u32,
}

/// One host that is known by its address.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPlan {
    /// Where it listens.
    pub address: Address,
    /// `Endpoint.additional_addresses`: where it listens too.
    pub more: Vec<SocketAddr>,
    /// What is said about it.
    pub endpoint: EndpointPlan,
}

/// One endpoint that is known by a name.
#[derive(Clone, Debug, PartialEq)]
pub struct NamePlan {
    /// DNS name (or an address in text).
    pub name: String,
    /// Port of the hosts.
    pub port: u16,
    /// What is said about them.
    pub endpoint: EndpointPlan,
}

/// What a configuration says about an endpoint besides where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointPlan {
    /// `Endpoint.hostname`; for DNS clusters the name.
    pub hostname: String,
    /// `load_balancing_weight`; Envoy's default is 1.
    pub weight: u32,
    /// `LocalityLbEndpoints.priority`.
    pub priority: u32,
    /// `locality`.
    pub locality: Locality,
    /// `LocalityLbEndpoints.load_balancing_weight`; 0 where it is not set.
    pub locality_weight: u32,
    /// `canary: true` of the metadata `envoy.lb`.
    pub canary: bool,
    /// What stands under `envoy.lb` in its metadata.
    pub metadata: LbMetadata,
    /// All its metadata, if it has any.
    pub described: Option<Arc<Described>>,
    /// What stands under `envoy.transport_socket_match`.
    pub transport_metadata: LbMetadata,
    /// `LbEndpoint.health_status` as configured.
    pub health: ConfiguredHealth,
    /// Where and by what name it is checked, if that is another than its own.
    pub checked_at: Option<Box<CheckedAt>>,
    /// `Endpoint.health_check_config.disable_active_health_check`.
    pub unchecked: bool,
}

/// All metadata of a host. Two are the same if their texts are.
pub struct Described {
    /// As JSON.
    pub text: String,
    /// As formats read it, who alone know the type.
    pub read: Box<dyn Any + Send + Sync>,
}

/// Metadata that balancers read, by key.
pub type LbMetadata = BTreeMap<String, LbValue>;

/// One value of metadata; two are equal if they say the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LbValue {
    /// A text.
    Text(String),
    /// True or false.
    Boolean(bool),
    /// The bits of a number.
    Number(u64),
    /// A list.
    List(Vec<LbValue>),
    /// A struct.
    Fields(LbMetadata),
    /// Null.
    Nothing,
}

/// `Endpoint.health_check_config`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckedAt {
    /// `address`, where checks go elsewhere.
    pub address: Option<Address>,
    /// `port_value`, where it differs.
    pub port: Option<u16>,
    /// `hostname`; empty for that of the check.
    pub hostname: String,
}

/// `LbEndpoint.health_status`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ConfiguredHealth {
    /// UNKNOWN or HEALTHY.
    #[default]
    Healthy,
    /// UNHEALTHY or TIMEOUT.
    Unhealthy,
    /// DRAINING.
    Draining,
    /// DEGRADED.
    Degraded,
}

/// Region, zone and sub-zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locality {
    /// `region`.
    pub region: String,
    /// `zone`.
    pub zone: String,
    /// `sub_zone`.
    pub sub_zone: String,
}

// === impl EndpointPlan ===

impl EndpointPlan {
    /// By what hashing balancers know it, where that is not its address.
    pub fn hash_key(&self) -> Option<&str> {
        match self.metadata.get("hash_key") {
            Some(LbValue::Text(key)) if !key.is_empty() => Some(key),
            _ => None,
        }
    }
}

impl PartialEq for Described {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Default for EndpointPlan {
    fn default() -> Self {
        Self {
            hostname: String::new(),
            weight: 1,
            priority: 0,
            locality: Locality::default(),
            locality_weight: 0,
            canary: false,
            metadata: LbMetadata::default(),
            described: None,
            transport_metadata: LbMetadata::default(),
            health: ConfiguredHealth::default(),
            checked_at: None,
            unchecked: false,
        }
    }
}
