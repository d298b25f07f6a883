//! Owns the plan: what a configuration asks for, in the control plane's own terms.
//!
//! The configuration compiles to one `Plan`; the supervisor compares it with the last one by name and
//! fingerprint, and touches only what changed. What the control plane does not need to understand (filter chains,
//! route tables, protocol options) travels as an opaque [`Payload`].

mod dns;
mod happy_eyeballs;
mod health_check;
mod hosts;
mod thresholds;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

use crate::{
    address::Address, reported::Weighing, resources::ConfigSource, runtime::RuntimeValue,
    socket_option::SocketOption,
};

pub use dns::{DnsPlan, LookupFamily, ResolverPlan};
pub use happy_eyeballs::HappyEyeballs;
pub use health_check::{HealthCheckKind, HealthCheckPlan};
pub use hosts::{
    Assignment, AssignmentPolicy, CheckedAt, ConfiguredHealth, Described, Discovery, EndpointPlan,
    HostPlan, LbMetadata, LbValue, Locality, NamePlan,
};
pub use thresholds::{RetryBudget, Thresholds};

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
    /// `bind_to_port`; without it no socket is made, and connections come from listeners that have one.
    pub bind_to_port: bool,
    /// Where to bind. Port 0 asks the kernel.
    pub address: Address,
    /// How that socket is made.
    pub socket: SocketPlan,
    /// `additional_addresses`, and how their sockets are made.
    pub additional: Vec<(Address, SocketPlan)>,
    /// Prefix for stats: the address, or `Listener.stat_prefix`.
    pub stat_prefix: String,
    /// `Listener.tcp_backlog_size`; Envoy's default is the kernel's limit.
    pub backlog: u32,
    /// `traffic_direction: INBOUND`, for `/drain_listeners?inboundonly`.
    pub inbound: bool,
    /// Connections accepted at most at a time; beyond it they are closed at once.
    pub connections_max: u32,
    /// `ignore_global_conn_limit`
    pub ignores_global_limit: bool,
    /// `connection_balance_config.exact_balance`: workers have as many connections as each other.
    pub exact_balance: bool,
    /// `max_connections_to_accept_per_socket_event`; none takes all that have come.
    pub accepts_max: Option<u32>,
    /// The filter chains; opened by [`Serve`](crate::seams::Serve).
    pub chains: Payload,
    /// Route tables that its chains subscribe to.
    pub rds: Vec<RdsPlan>,
    /// Secrets that its chains subscribe to, once for each context.
    pub sds: Vec<SdsPlan>,
    /// Equal for two plans whose connections are served alike, by whichever route tables.
    pub chains_fingerprint: u64,
    /// Equal for two plans that ask for the same.
    pub fingerprint: u64,
}

/// How a socket that listens is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketPlan {
    /// `ipv4_compat`: an IPv6 socket takes connections by IPv4, too.
    pub ipv4_compat: bool,
    /// `enable_mptcp`: it speaks multipath TCP with who does.
    pub multipath: bool,
    /// `pipe.mode`: who may connect to its path.
    pub mode: Option<u32>,
    /// What is set of it, and when. What is accepted inherits it.
    pub options: Vec<(SocketState, SocketOption)>,
}

/// `SocketOption.SocketState`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Before it is bound.
    Prebind,
    /// Once it is bound.
    Bound,
    /// Once it listens.
    Listening,
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

/// A secret that comes by itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SdsPlan {
    /// `SdsSecretConfig.sds_config`
    pub source: ConfigSource,
    /// `SdsSecretConfig.name`
    pub name: String,
    /// The field that it must have.
    pub wants: &'static str,
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
    /// Hosts are weighed by what they report of their load.
    pub weighing: Option<Weighing>,
    /// `circuit_breakers`, default priority then high.
    pub thresholds: [Thresholds; 2],
    /// `common_lb_config.healthy_panic_threshold`; Envoy's default is 50.
    pub panic_threshold_percent: u32,
    /// `load_assignment.policy.drop_overloads`: of a million requests so many are turned away.
    pub drop_millionths: u32,
    /// `common_lb_config.update_merge_window`: changes of health alone that come within it are one; zero unless it is set.
    pub merge_window: Duration,
    /// `Cluster.wait_for_warm_on_init`; Envoy's default is true.
    pub wait_for_warm: bool,
    /// `ignore_health_on_host_removal`; Envoy's default is false: a host that its health check holds
    /// up stays when discovery no longer has it.
    pub ignore_health_on_host_removal: bool,
    /// `Node.locality.zone`, whence its requests come; empty if that is not said.
    pub from_zone: String,
    /// Brought by an API rather than by the file.
    pub added_via_api: bool,
    /// Secrets that it subscribes to, once for each context.
    pub sds: Vec<SdsPlan>,
    /// Protocol and balancer options; opened by the data plane and by [`Balance`](crate::seams::Balance).
    pub upstream: Payload,
    /// Equal for two plans that ask for the same, be it of other hosts that are known by their addresses.
    pub fingerprint: u64,
    /// Equal for two plans that ask for the same of such hosts.
    pub hosts_fingerprint: u64,
}

/// The admin port.
#[derive(Clone)]
pub struct AdminPlan {
    /// Where to bind.
    pub address: Address,
    /// How its socket is made.
    pub socket: SocketPlan,
    /// What it lets in and where it logs; opened by [`Face`](crate::seams::Face).
    pub options: Payload,
}

/// Gives each name a slot for the life of the process, so that a route finds its cluster without a
/// look-up by name. Names are never forgotten: a reload that brings a cluster back finds its slot.
#[derive(Debug, Default)]
pub struct Slots {
    by_name: Mutex<HashMap<String, Slot>>,
}

// === impl ListenerPlan ===

impl ListenerPlan {
    /// Its addresses, and how sockets there are made; its own address first.
    pub fn binds(&self) -> impl Iterator<Item = (Address, &SocketPlan)> {
        let additional = self.additional.iter().map(|(address, socket)| (*address, socket));
        std::iter::once((self.address, &self.socket)).chain(additional)
    }

    /// Whether both listen at the same places, by sockets that are made alike and counted under the same name: one
    /// takes the place of the other without another socket.
    pub fn binds_like(&self, other: &ListenerPlan) -> bool {
        let of = |plan: &ListenerPlan| (plan.bind_to_port, plan.backlog);
        of(self) == of(other)
            && self.stat_prefix == other.stat_prefix
            && self.binds().eq(other.binds())
    }
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
            weighing: None,
            thresholds: [Thresholds::default(); 2],
            panic_threshold_percent: 50,
            drop_millionths: 0,
            merge_window: Duration::ZERO,
            wait_for_warm: true,
            ignore_health_on_host_removal: false,
            from_zone: String::new(),
            added_via_api: false,
            sds: Vec::new(),
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
