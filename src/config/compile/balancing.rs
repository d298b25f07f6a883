//! Owns compiling how a cluster chooses among its hosts.

use understudy_actors::plan::Locality;

use super::{
    Compiler, Node,
    aggregate::{CLUSTER_PROVIDED, is_cluster_provided},
};
use crate::config::{
    Message,
    model::balancing::{
        Balancing, HashTable, Hashing, LeastRequest, Localities, OverrideHealth, Policy, RingHash,
        RuntimeDouble, SlowStart, ZoneAware,
    },
};

/// Options of policies, of which those of another one than the cluster's say nothing.
const POLICY_OPTIONS: [&str; 5] = [
    "round_robin_lb_config",
    "least_request_lb_config",
    "ring_hash_lb_config",
    "maglev_lb_config",
    "original_dst_lb_config",
];

const ROUND_ROBIN: &str = "envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin";
const LEAST_REQUEST: &str =
    "envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
const RANDOM: &str = "envoy.extensions.load_balancing_policies.random.v3.Random";
const RING_HASH: &str = "envoy.extensions.load_balancing_policies.ring_hash.v3.RingHash";
const MAGLEV: &str = "envoy.extensions.load_balancing_policies.maglev.v3.Maglev";

const BY_REPORTS: &str = "envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin";
const WRR_LOCALITY: &str = "envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality";

const OVERRIDE_HOST: &str =
    "envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost";
const SUBSET: &str = "envoy.extensions.load_balancing_policies.subset.v3.Subset";
const LOCALITIES: &str = "envoy.extensions.load_balancing_policies.common.v3.LocalityLbConfig";

/// Envoy's `maximum_ring_size` default, and the most it takes.
const RING_SIZE_MAX: u64 = 8 * 1024 * 1024;

/// Envoy's `min_cluster_size` default.
const ZONE_HOSTS_MIN: u64 = 6;

/// Envoy's `maglev_lb_config.table_size` default.
const MAGLEV_SIZE: u64 = 65_537;

impl Compiler<'_> {
    /// `lb_policy` and all that is beside it.
    pub(super) fn balancing(&mut self, cluster: &Message) -> Balancing {
        let mut balancing = Balancing { zones: self.zones(cluster), ..Balancing::default() };
        let extension = cluster.message("load_balancing_policy");
        let named = cluster.choice("lb_policy").unwrap_or("ROUND_ROBIN");
        match extension {
            Some(extension) if is_cluster_provided(extension) => {
                self.provided(cluster, &mut balancing);
                self.extension(cluster, extension, &mut balancing);
            }
            Some(extension) => self.extension(cluster, extension, &mut balancing),
            None => {
                self.lb_policy(cluster, named, &mut balancing);
                let subsets = cluster.message("lb_subset_config");
                if let Some(subsets) = subsets.filter(|_| named == "CLUSTER_PROVIDED") {
                    let text = "cluster: LB policy CLUSTER_PROVIDED cannot be combined with lb_subset_config";
                    self.error(subsets.at, &subsets.path, text, "");
                }
                balancing.subsets = subsets.and_then(|subsets| self.subsets(subsets));
            }
        }
        for options in POLICY_OPTIONS {
            let own = extension.is_none()
                && options
                    .strip_suffix("_lb_config")
                    .is_some_and(|of| named.eq_ignore_ascii_case(of));
            if !own {
                cluster.ignore(options, "of another policy than the cluster's");
            }
        }
        if let Some(common) = cluster.message("common_lb_config") {
            localities(common, &mut balancing);
            if let Some(set) = common.message("override_host_status") {
                balancing.override_health = override_health(set);
            }
        }
        let assignment = cluster.message("load_assignment");
        if let Some(policy) = assignment.and_then(|assignment| assignment.message("policy")) {
            if let Some(percent) = policy.number_u32("overprovisioning_factor") {
                balancing.overprovisioning_percent = percent;
            }
            balancing.weighs_health = policy.boolean("weighted_priority_health").unwrap_or(false);
        }
        balancing
    }

    /// Zones matter to every cluster but the one that this proxy is of, once that is known.
    fn zones(&self, cluster: &Message) -> Option<ZoneAware> {
        let local = self.local_cluster?;
        let own = self.slots.clusters.of(cluster.text("name")?);
        let Node { region, zone, sub_zone, .. } = self.node.clone();
        (own != local).then_some(ZoneAware {
            local,
            home: Locality { region, zone, sub_zone },
            enabled_percent: 100,
            cluster_size_min: ZONE_HOSTS_MIN,
            forces_direct: false,
        })
    }

    fn lb_policy(&mut self, cluster: &Message, named: &'static str, balancing: &mut Balancing) {
        balancing.policy = match named {
            "ROUND_ROBIN" => {
                balancing.slow_start = slow_start(cluster.message("round_robin_lb_config"));
                Policy::RoundRobin
            }
            "LEAST_REQUEST" => {
                let options = cluster.message("least_request_lb_config");
                balancing.slow_start = slow_start(options);
                Policy::LeastRequest(least_request(options))
            }
            "RANDOM" => Policy::Random,
            "RING_HASH" => {
                let options = cluster.message("ring_hash_lb_config");
                let table = self.ring(cluster, options);
                self.hash_balancer(cluster, table, None)
            }
            "MAGLEV" => {
                let table = self.maglev(cluster.message("maglev_lb_config"));
                self.hash_balancer(cluster, table, None)
            }
            "CLUSTER_PROVIDED" => return self.provided(cluster, balancing),
            "LOAD_BALANCING_POLICY_CONFIG" => {
                let text = "cluster: field load_balancing_policy need to be set";
                self.error(cluster.at_of("lb_policy"), &cluster.path_of("lb_policy"), text, "");
                return;
            }
            other => {
                let (at, path) = (cluster.at_of("lb_policy"), cluster.path_of("lb_policy"));
                return self.unsupported(at, &path, &format!("`lb_policy: {other}`"));
            }
        };
    }

    /// `load_balancing_policy`: the first of its policies counts, since Envoy knows each that we know of.
    fn extension(&mut self, cluster: &Message, extension: &Message, balancing: &mut Balancing) {
        let fields =
            ["zone_aware_lb_config", "locality_weighted_lb_config", "consistent_hashing_lb_config"];
        let common = cluster.message("common_lb_config");
        let common =
            common.filter(|common| fields.iter().any(|field| common.peek(field).is_some()));
        if let Some(common) = common {
            let text = "cluster: load_balancing_policy cannot be combined with partial fields (zone_aware_lb_config, \
                locality_weighted_lb_config, consistent_hashing_lb_config) of common_lb_config";
            self.error(common.at, &common.path, text, "");
        }
        if let Some(subsets) = cluster.message("lb_subset_config") {
            let text = "cluster: load_balancing_policy cannot be combined with lb_subset_config";
            self.error(subsets.at, &subsets.path, text, "");
        }
        self.first_policy(extension, balancing);
    }

    fn first_policy(&mut self, extension: &Message, balancing: &mut Balancing) {
        let mut policies = extension.messages("policies");
        let first = policies.next();
        policies.for_each(|policy| policy.ignore("typed_extension_config", "the first counts"));
        let config = first.and_then(|policy| policy.message("typed_extension_config"));
        if let Some(config) = config {
            config.ignore("name", "free text; the type decides");
        }
        match config.and_then(|config| config.any("typed_config")) {
            Some(config) => self.policy(&config.message, balancing),
            None => {
                let text = "cluster: didn't find a registered load balancer factory";
                self.error(extension.at, &extension.path, text, "name one by its `@type`");
            }
        }
    }

    fn policy(&mut self, config: &Message, balancing: &mut Balancing) {
        balancing.policy = match config.name() {
            ROUND_ROBIN => {
                balancing.slow_start = slow_start(Some(config));
                Policy::RoundRobin
            }
            LEAST_REQUEST => {
                balancing.slow_start = slow_start(Some(config));
                Policy::LeastRequest(least_request(Some(config)))
            }
            RANDOM => Policy::Random,
            // What the cluster provides is known by now.
            CLUSTER_PROVIDED => return,
            BY_REPORTS => {
                balancing.slow_start = slow_start(Some(config));
                (balancing.weighing, balancing.worth) = self.weighing(config);
                return balancing.policy = Policy::RoundRobin;
            }
            WRR_LOCALITY => {
                balancing.localities = Localities::Weighted;
                if let Some(of_each) = config.message("endpoint_picking_policy") {
                    self.first_policy(of_each, balancing);
                    if balancing.weighing.is_none() {
                        let text = "Currently WrrLocalityLoadBalancer only supports \
                            ClientSideWeightedRoundRobinLoadBalancer as its endpoint picking policy.";
                        self.error(of_each.at, &of_each.path, text, "");
                    }
                }
                return;
            }
            RING_HASH => {
                localities(config, balancing);
                let table = self.ring(config, Some(config));
                return balancing.policy = self.hash_balancer(config, table, Some(config));
            }
            MAGLEV => {
                localities(config, balancing);
                let table = self.maglev(Some(config));
                return balancing.policy = self.hash_balancer(config, table, Some(config));
            }
            OVERRIDE_HOST => {
                balancing.override_headers = override_headers(config).into();
                if let Some(fallback) = config.message("fallback_policy") {
                    self.first_policy(fallback, balancing);
                }
                return;
            }
            SUBSET => {
                balancing.subsets = self.subsets(config);
                if let Some(of_each) = config.message("subset_lb_policy") {
                    self.first_policy(of_each, balancing);
                }
                return;
            }
            other => return self.refuse_whole(config, other),
        };
        if let Some(own) = config.message("locality_lb_config") {
            localities(own, balancing);
        }
    }

    /// `RingHashLbConfig`, of a cluster or of an extension.
    fn ring(&mut self, holder: &Message, options: Option<&Message>) -> HashTable {
        let number = |name: &str| options.and_then(|options| options.number(name));
        let ring = RingHash {
            size_min: number("minimum_ring_size").unwrap_or(1024),
            size_max: number("maximum_ring_size").unwrap_or(RING_SIZE_MAX),
            murmur: options.and_then(|options| options.choice("hash_function"))
                == Some("MURMUR_HASH_2"),
        };
        if ring.size_min > ring.size_max {
            let text = format!(
                "ring hash: minimum_ring_size ({}) > maximum_ring_size ({})",
                ring.size_min, ring.size_max
            );
            let at = options.unwrap_or(holder);
            self.error(at.at, &at.path, text, "");
        }
        HashTable::Ring(ring)
    }

    /// `MaglevLbConfig`, of a cluster or of an extension.
    fn maglev(&mut self, options: Option<&Message>) -> HashTable {
        let size = options.and_then(|options| options.number("table_size"));
        let size = size.unwrap_or(MAGLEV_SIZE);
        if let Some(options) = options.filter(|_| !is_prime(size)) {
            let (at, path) = (options.at_of("table_size"), options.path_of("table_size"));
            self.error(at, &path, "The table size of maglev must be prime number", "");
        }
        HashTable::Maglev { size }
    }

    /// What hashing balancers have in common; `extension` is the policy's own configuration, if it has one.
    fn hash_balancer(
        &mut self,
        holder: &Message,
        table: HashTable,
        extension: Option<&Message>,
    ) -> Policy {
        let common = match extension {
            Some(config) => config.message("consistent_hashing_lb_config"),
            None => {
                let common = holder.message("common_lb_config");
                common.and_then(|common| common.message("consistent_hashing_lb_config"))
            }
        };
        // The ring's older fields of the same names count where the newer message is not there.
        let older = extension.filter(|config| config.name() == RING_HASH && common.is_none());
        let options = common.or(older);
        let by_hostname = options.and_then(|options| options.boolean("use_hostname_for_hashing"));
        let bound = options.and_then(|options| options.number_u32("hash_balance_factor"));
        let policies = match (extension, common) {
            (Some(_), Some(common)) => self.hash_policies(common),
            _ => Vec::new(),
        };
        Policy::Hash(Hashing {
            table,
            by_hostname: by_hostname.unwrap_or(false),
            bound_percent: bound.filter(|percent| *percent > 0),
            policies: policies.into(),
        })
    }

    /// Hosts are known by name only where DNS has named each of them.
    pub(super) fn check_hashing(&mut self, cluster: &Message, kind: &str) {
        let common = cluster.message("common_lb_config");
        let hashing = common.and_then(|common| common.message("consistent_hashing_lb_config"));
        let Some(hashing) = hashing.filter(|_| kind != "STRICT_DNS") else { return };
        if hashing.boolean("use_hostname_for_hashing") == Some(true) {
            let field = "use_hostname_for_hashing";
            let kind = match kind {
                "LOGICAL_DNS" => "envoy.cluster.logical_dns",
                "ORIGINAL_DST" => "envoy.cluster.original_dst",
                _ => "envoy.cluster.static",
            };
            let text = format!(
                "Cannot use hostname for consistent hashing loadbalancing for cluster of type: '{kind}'"
            );
            self.error(hashing.at_of(field), &hashing.path_of(field), text, "take STRICT_DNS");
        }
    }
}

/// `HealthStatusSet`
fn override_health(set: &Message) -> OverrideHealth {
    let statuses = set.choices("statuses");
    let any = |names: &[&str]| statuses.iter().any(|status| names.contains(status));
    OverrideHealth {
        healthy: any(&["UNKNOWN", "HEALTHY"]),
        degraded: any(&["DEGRADED"]),
        unhealthy: any(&["UNHEALTHY", "DRAINING", "TIMEOUT"]),
    }
}

/// `override_host_sources`; metadata of requests is left unread, and so refused.
fn override_headers(config: &Message) -> Vec<Vec<u8>> {
    let sources = config.messages("override_host_sources");
    let headers = sources.filter_map(|source| source.text("header"));
    headers.map(|name| name.to_ascii_lowercase().into_bytes()).collect()
}

/// `LeastRequestLbConfig`, of a cluster or of an extension.
fn least_request(config: Option<&Message>) -> LeastRequest {
    let choices = config.and_then(|config| config.number_u32("choice_count"));
    let bias = config.and_then(|config| config.message("active_request_bias"));
    let extension = config.filter(|config| config.name() == LEAST_REQUEST);
    let scans = extension.is_some_and(|config| {
        let older = config.boolean("enable_full_scan").unwrap_or(false);
        (config.choice("selection_method") == Some("FULL_SCAN")) | older
    });
    LeastRequest {
        choices: (!scans).then_some(choices.unwrap_or(2)),
        bias: bias.map_or(RuntimeDouble { default: 1.0, key: String::new() }, runtime_double),
    }
}

/// `slow_start_config` of a policy.
fn slow_start(policy: Option<&Message>) -> Option<SlowStart> {
    let config = policy?.message("slow_start_config")?;
    let aggression = config.message("aggression");
    let least = config.message("min_weight_percent");
    let least = least.map_or(10.0, |percent| percent.double("value").unwrap_or(0.0));
    Some(SlowStart {
        window: config.duration("slow_start_window").unwrap_or_default(),
        aggression: aggression
            .map_or(RuntimeDouble { default: 1.0, key: String::new() }, runtime_double),
        weight_min: least / 100.0,
    })
}

/// `RuntimeDouble`
fn runtime_double(double: &Message) -> RuntimeDouble {
    RuntimeDouble {
        default: double.double("default_value").unwrap_or(0.0),
        key: double.text("runtime_key").unwrap_or_default().to_owned(),
    }
}

/// `locality_config_specifier` of `CommonLbConfig` and its like.
fn localities(holder: &Message, balancing: &mut Balancing) {
    if holder.name() != RING_HASH
        && holder.name() != MAGLEV
        && let Some(zones) = holder.message("zone_aware_lb_config")
    {
        balancing.fails_on_panic = zones.boolean("fail_traffic_on_panic").unwrap_or(false);
        let enabled = zones.message("routing_enabled");
        let enabled = enabled.map(|percent| percent.double("value").unwrap_or(0.0));
        let least = zones.number("min_cluster_size");
        let forces = holder.name() == LOCALITIES
            && zones.boolean("force_locality_direct_routing").unwrap_or(false);
        if let Some(own) = &mut balancing.zones {
            own.enabled_percent = enabled.map_or(100, |percent| percent.round() as u32);
            own.cluster_size_min = least.unwrap_or(ZONE_HOSTS_MIN);
            own.forces_direct = forces;
        }
    }
    if holder.message("locality_weighted_lb_config").is_some() {
        balancing.localities = Localities::Weighted;
    }
}

fn is_prime(number: u64) -> bool {
    number > 1 && (2..).take_while(|n| n * n <= number).all(|n| !number.is_multiple_of(n))
}
