//! Owns the plan: what a configuration asks for, in the control plane's own terms.
//!
//! The configuration compiles to one `Plan`; the supervisor compares it with the last one by name and
//! fingerprint, and touches only what changed. What the control plane does not need to understand (filter chains,
//! route tables, protocol options) travels as an opaque [`Payload`].

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{resources::ConfigSource, runtime::RuntimeValue};

pub use crate::outlier::{
    Consecutive, Enforcing, FailurePercentagePlan, OutlierPlan, SuccessRatePlan,
};

/// Something of the data plane's that the control plane carries and never opens.
pub type Payload = Arc<dyn Any + Send + Sync>;

/// A cluster's or route table's place in its [`Directory`](crate::snapshot::Directory).
pub type Slot = usize;

/// All that a configuration asks for.
#[derive(Clone, Default)]
pub struct Plan {
    /// Listeners, in the order of the file.
    pub listeners: Vec<Arc<ListenerPlan>>,
    /// Clusters, in the order of the file.
    pub clusters: Vec<Arc<ClusterPlan>>,
    /// Route tables.
    pub routes: Vec<Arc<RoutesPlan>>,
    /// Hosts of clusters that subscribe to them (`EDS`), by the cluster's name.
    pub assignments: BTreeMap<String, Arc<Assignment>>,
    /// The admin port, if there is one.
    pub admin: Option<Arc<AdminPlan>>,
    /// Runtime layers, lowest first.
    pub runtime: Vec<LayerPlan>,
    /// When gauges of the process are read and intervals of histograms end.
    pub stats_flush: StatsFlush,
}

/// When stats are flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatsFlush {
    /// `stats_flush_interval`; Envoy's default is 5 s.
    Every(Duration),
    /// `stats_flush_on_admin`: after somebody has looked.
    OnAdmin,
}

/// One layer of `layered_runtime`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerPlan {
    /// `RuntimeLayer.name`.
    pub name: String,
    /// Where its values come from.
    pub source: LayerSource,
}

/// `RuntimeLayer.layer_specifier`. What a control plane sends (`rtds_layer`) will be one more.
#[derive(Clone, Debug, PartialEq)]
pub enum LayerSource {
    /// `static_layer`: flattened keys (`a.b`) and their values.
    Static(BTreeMap<String, RuntimeValue>),
    /// `disk_layer`: a folder, read again when something is moved onto `root`.
    Disk {
        /// `symlink_root`.
        root: PathBuf,
        /// `subdirectory` of it, and of that the service cluster's where `append_service_cluster` asks for it.
        folder: PathBuf,
    },
    /// `admin_layer`: `/runtime_modify` writes here.
    Admin,
}

/// One listener.
#[derive(Clone)]
pub struct ListenerPlan {
    /// `Listener.name`, or a made-up one that stays the same for the same address.
    pub name: String,
    /// Where to bind. Port 0 asks the kernel.
    pub address: SocketAddr,
    /// Prefix for stats: the address, or `Listener.stat_prefix`.
    pub stat_prefix: String,
    /// `Listener.tcp_backlog_size`; Envoy's default is the kernel's limit.
    pub backlog: u32,
    /// `traffic_direction: INBOUND`, for `/drain_listeners?inboundonly`.
    pub inbound: bool,
    /// Connections accepted at most at a time; beyond it they are closed at once.
    pub connections_max: u32,
    /// The filter chains; opened by [`Serve`](crate::seams::Serve).
    pub chains: Payload,
    /// Route tables that its chains subscribe to.
    pub rds: Vec<RdsPlan>,
    /// Equal for two plans whose connections are served alike, by whichever route tables.
    pub chains_fingerprint: u64,
    /// Equal for two plans that ask for the same.
    pub fingerprint: u64,
}

/// A route table that comes by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RdsPlan {
    /// `Rds.route_config_name`.
    pub name: String,
    /// `Rds.config_source`.
    pub source: ConfigSource,
    /// Whose connection manager wants it, for stats.
    pub stat_prefix: String,
}

/// One route table.
pub struct RoutesPlan {
    /// Unique among route tables.
    pub name: String,
    /// Its place in the directory of tables.
    pub slot: Slot,
    /// The compiled table.
    pub table: Payload,
    /// Equal for two plans that ask for the same.
    pub fingerprint: u64,
}

/// One cluster.
pub struct ClusterPlan {
    /// `Cluster.name`.
    pub name: String,
    /// `Cluster.alt_stat_name`, or the name.
    pub stat_name: String,
    /// Its place in the directory of clusters.
    pub slot: Slot,
    /// Where hosts come from.
    pub discovery: Discovery,
    /// `Cluster.connect_timeout`; Envoy's default is 5 s.
    pub connect_timeout: Duration,
    /// In which order the addresses of one host are tried.
    pub happy_eyeballs: HappyEyeballs,
    /// Active health checks.
    pub health_checks: Vec<Arc<HealthCheckPlan>>,
    /// `common_lb_config.ignore_new_hosts_until_first_hc`: they count for nothing until they were checked.
    pub ignores_unchecked_hosts: bool,
    /// `outlier_detection`, if hosts are watched.
    pub outlier: Option<Arc<OutlierPlan>>,
    /// `circuit_breakers`, default priority then high.
    pub thresholds: [Thresholds; 2],
    /// `common_lb_config.healthy_panic_threshold`; Envoy's default is 50.
    pub panic_threshold_percent: u32,
    /// `Cluster.wait_for_warm_on_init`; Envoy's default is true.
    pub wait_for_warm: bool,
    /// `ignore_health_on_host_removal`; Envoy's default is false: a host that its health check holds
    /// up stays when discovery no longer has it.
    pub ignore_health_on_host_removal: bool,
    /// `Node.locality.zone`, whence its requests come; empty if that is not said.
    pub from_zone: String,
    /// Brought by an API rather than by the file.
    pub added_via_api: bool,
    /// Protocol and balancer options; opened by the data plane and by [`Balance`](crate::seams::Balance).
    pub upstream: Payload,
    /// Equal for two plans that ask for the same, be it of other hosts that are known by their addresses.
    pub fingerprint: u64,
    /// Equal for two plans that ask for the same of such hosts.
    pub hosts_fingerprint: u64,
}

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
    /// `EDS`: addresses come by [`Plan::assignments`].
    Eds {
        /// `eds_cluster_config.service_name`, or the cluster's name.
        service_name: String,
        /// `eds_cluster_config.eds_config`
        source: ConfigSource,
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
    pub address: SocketAddr,
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
    /// `LbEndpoint.health_status` as configured.
    pub health: ConfiguredHealth,
    /// Where and by what name it is checked, if that is another than its own.
    pub checked_at: Option<Box<CheckedAt>>,
    /// `Endpoint.health_check_config.disable_active_health_check`.
    pub unchecked: bool,
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
    pub address: Option<SocketAddr>,
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

/// `UpstreamConnectionOptions.happy_eyeballs_config`: in which order the addresses of one host are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HappyEyeballs {
    /// `first_address_family_version`, IPv6 if true; that of the first address if none.
    pub first_is_v6: Option<bool>,
    /// `first_address_family_count`: so many of it come before one of the other; Envoy's default is 1.
    pub first_count: usize,
}

/// How a cluster asks DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsPlan {
    /// `dns_refresh_rate`; Envoy's default is 5 s.
    pub refresh: Duration,
    /// `dns_failure_refresh_rate`: first and longest wait after a failure; the refresh rate if unset.
    pub failure_refresh: Option<(Duration, Duration)>,
    /// `respect_dns_ttl`.
    pub respect_ttl: bool,
    /// `dns_min_refresh_rate`: the shortest wait that a time to live asks for.
    pub ttl_min: Duration,
    /// `hold_stale`, ours: for so long hosts stay though DNS says that there are none.
    pub hold_stale: Option<Duration>,
    /// `dns_jitter`: up to this much is added to each wait.
    pub jitter: Duration,
    /// `dns_lookup_family`.
    pub family: LookupFamily,
    /// Which servers, and how.
    pub resolver: Arc<ResolverPlan>,
}

/// `dns_lookup_family`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LookupFamily {
    /// IPv6, and IPv4 where there is none.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, and IPv6 where there is none.
    V4Preferred,
    /// Both.
    All,
}

/// Which name servers to ask, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResolverPlan {
    /// Empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// `use_tcp_for_dns_lookups`.
    pub tcp_only: bool,
    /// `no_default_search_domain`.
    pub no_search: bool,
    /// `use_resolvers_as_fallback`.
    pub fallback: bool,
    /// `rotate_nameservers`: any of the servers is asked first, not always the same.
    pub rotate: bool,
    /// Each query's timeout; `None` is the resolver's own default.
    pub query_timeout: Option<Duration>,
    /// Tries per query; `None` is the resolver's own default.
    pub tries: Option<u32>,
}

/// An active health check.
pub struct HealthCheckPlan {
    /// `name`: its stats are listed by it. May be empty where it is its cluster's only one.
    pub name: String,
    /// `timeout`.
    pub timeout: Duration,
    /// `interval`.
    pub interval: Duration,
    /// `initial_jitter`: the first check comes this much later, at random.
    pub initial_jitter: Duration,
    /// `interval_jitter`: added to each interval, at random up to this.
    pub interval_jitter: Duration,
    /// `interval_jitter_percent`: the same, up to this share of it.
    pub interval_jitter_percent: u32,
    /// `no_traffic_interval`; Envoy's default is 60 s.
    pub no_traffic_interval: Duration,
    /// `no_traffic_healthy_interval`: the same of hosts that are well; the former if unset.
    pub no_traffic_healthy_interval: Option<Duration>,
    /// `unhealthy_interval` and friends, where set.
    pub unhealthy_interval: Option<Duration>,
    /// `unhealthy_edge_interval`.
    pub unhealthy_edge_interval: Option<Duration>,
    /// `healthy_edge_interval`.
    pub healthy_edge_interval: Option<Duration>,
    /// Failures until a host is unhealthy.
    pub unhealthy_threshold: u32,
    /// Successes until it is healthy again.
    pub healthy_threshold: u32,
    /// `reuse_connection`; Envoy's default is true.
    pub reuse_connection: bool,
    /// `event_log_path`, and the files of `event_logger`.
    pub event_logs: Vec<PathBuf>,
    /// `always_log_health_check_failures`: not only those that change something.
    pub logs_failures: bool,
    /// `always_log_health_check_success`.
    pub logs_successes: bool,
    /// Which kind of check it is.
    pub kind: HealthCheckKind,
    /// What is asked; opened by [`Probe`](crate::seams::Probe).
    pub asks: Payload,
}

/// Which kind a health check is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthCheckKind {
    /// `http_health_check`.
    Http {
        /// `codec_client_type: HTTP2`.
        http2: bool,
    },
    /// `tcp_health_check`.
    Tcp,
    /// `grpc_health_check`.
    Grpc,
}

/// `circuit_breakers.thresholds` of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// `max_connections`.
    pub connections: u32,
    /// `max_pending_requests`.
    pub pending_requests: u32,
    /// `max_requests`.
    pub requests: u32,
    /// `max_retries`.
    pub retries: u32,
    /// `retry_budget`, in place of `retries`.
    pub retry_budget: Option<RetryBudget>,
    /// `track_remaining`: how much is left is a stat.
    pub track_remaining: bool,
    /// `max_connection_pools`; unbounded unless it is set.
    pub pools: u32,
}

/// `circuit_breakers.thresholds.retry_budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// `budget_percent`, in millionths of all requests in flight or waiting; Envoy's default is 20 %.
    pub millionths: u32,
    /// `min_retry_concurrency`; Envoy's default is 3.
    pub at_least: u32,
}

/// The admin port.
#[derive(Clone)]
pub struct AdminPlan {
    /// Where to bind.
    pub address: SocketAddr,
    /// What it lets in and where it logs; opened by [`Face`](crate::seams::Face).
    pub options: Payload,
}

/// Gives each name a slot for the life of the process, so that a route finds its cluster without a
/// look-up by name. Names are never forgotten: a reload that brings a cluster back finds its slot.
#[derive(Debug, Default)]
pub struct Slots {
    by_name: Mutex<HashMap<String, Slot>>,
}

// === impl Slots ===

impl Slots {
    /// The slot of `name`, a new one if it has none.
    pub fn of(&self, name: &str) -> Slot {
        let mut by_name = self.by_name.lock();
        match by_name.get(name) {
            Some(slot) => *slot,
            None => {
                let slot = by_name.len();
                by_name.insert(name.to_owned(), slot);
                slot
            }
        }
    }
}

// === impl ClusterPlan ===

impl ClusterPlan {
    /// With Envoy's defaults for all that is not said here.
    pub fn new(name: &str, slot: Slot, discovery: Discovery) -> Self {
        Self {
            name: name.to_owned(),
            stat_name: name.to_owned(),
            slot,
            discovery,
            connect_timeout: Duration::from_secs(5),
            happy_eyeballs: HappyEyeballs::default(),
            health_checks: Vec::new(),
            ignores_unchecked_hosts: false,
            outlier: None,
            thresholds: [Thresholds::default(); 2],
            panic_threshold_percent: 50,
            wait_for_warm: true,
            ignore_health_on_host_removal: false,
            from_zone: String::new(),
            added_via_api: false,
            upstream: Arc::new(()),
            fingerprint: 1,
            hosts_fingerprint: 1,
        }
    }
}

// === impl StatsFlush ===

impl Default for StatsFlush {
    fn default() -> Self {
        Self::Every(Duration::from_secs(5))
    }
}

// === impl Thresholds ===

impl Thresholds {
    /// How many retries may be under way while so many requests are in flight or wait.
    pub fn retries_max(&self, requests: u32) -> u32 {
        let Some(budget) = self.retry_budget else { return self.retries };
        let share = u64::from(requests) * u64::from(budget.millionths) / 1_000_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(budget.at_least)
    }
}

impl Default for Thresholds {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            connections: 1024,
            pending_requests: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None,
            track_remaining: false,
            pools: u32::MAX,
        }
    }
}

// === impl HealthCheckKind ===

impl HealthCheckKind {
    /// `HealthCheckerType`
    pub fn name(self) -> &'static str {
        match self {
            HealthCheckKind::Http { .. } => "HTTP",
            HealthCheckKind::Tcp => "TCP",
            HealthCheckKind::Grpc => "GRPC",
        }
    }
}

impl fmt::Debug for HealthCheckPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HealthCheckPlan").field(&self.name).field(&self.kind).finish()
    }
}

// === impl HappyEyeballs ===

impl HappyEyeballs {
    /// Addresses in the order in which they are tried: families take turns.
    ///
    /// Source: RFC 8305, section 4, and `HappyEyeballsConfig`.
    pub fn order(&self, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let first_is_v6 = self.first_is_v6.or_else(|| addresses.first().map(SocketAddr::is_ipv6));
        let of_first = |address: &&SocketAddr| Some(address.is_ipv6()) == first_is_v6;
        let mut first = addresses.iter().filter(of_first);
        let mut other = addresses.iter().filter(|address| !of_first(address));
        let mut out = Vec::with_capacity(addresses.len());
        while out.len() < addresses.len() {
            out.extend(first.by_ref().take(self.first_count.max(1)));
            out.extend(other.next());
        }
        out
    }
}

impl Default for HappyEyeballs {
    fn default() -> Self {
        Self { first_is_v6: None, first_count: 1 }
    }
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
            health: ConfiguredHealth::default(),
            checked_at: None,
            unchecked: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_families_of_a_hosts_addresses_take_turns() {
        let addresses = |text: &str| -> Vec<SocketAddr> {
            let address = |word: &str| match word.strip_prefix('v') {
                Some(last) => format!("[fd00::{last}]:80").parse().unwrap(),
                None => format!("10.0.0.{word}:80").parse().unwrap(),
            };
            text.split(' ').map(address).collect()
        };
        for (first_is_v6, first_count, given, expected) in [
            (None, 1, "1 2 v1 v2", "1 v1 2 v2"),
            (None, 1, "v1 1 2 3", "v1 1 2 3"),
            (None, 1, "1 2 3", "1 2 3"),
            (Some(true), 1, "1 2 v1 v2", "v1 1 v2 2"),
            (Some(false), 2, "v1 1 v2 2", "1 2 v1 v2"),
            (Some(false), 2, "v1 v2 v3 1", "1 v1 v2 v3"),
            (Some(true), 1, "1 2", "1 2"),
        ] {
            let order = HappyEyeballs { first_is_v6, first_count }.order(&addresses(given));
            assert_eq!(order, addresses(expected), "{given}, {first_is_v6:?} {first_count}");
        }
    }
}
