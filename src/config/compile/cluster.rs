//! Owns compiling clusters: where their hosts come from, and how they are spoken to.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use understudy_actors::plan::{
    CheckedAt, ClusterPlan, ConfiguredHealth, Described, Discovery, EndpointPlan, HappyEyeballs,
    HostPlan, LbMetadata, LbValue, Locality, NamePlan, RetryBudget, Thresholds,
};

use understudy_actors::{address::Address, resources::print_of};

use super::{
    Compiler,
    address::{Named, Place},
    lb_metadata::{lb_fields, lb_metadata, transport_metadata},
    route::filter_metadata,
};
use crate::config::{
    Message,
    digest::{digest, digest_without},
    message::Value,
    model::cluster::{SocketMatch, Upstream},
    print,
};

const ASSIGNMENT: &str = "envoy.config.endpoint.v3.ClusterLoadAssignment";

/// Envoy's `connect_timeout` default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint with the address it is written with.
pub(super) struct Endpoint {
    place: Place,
    /// `additional_addresses`.
    more: Vec<Named>,
    plan: EndpointPlan,
}

impl Compiler<'_> {
    pub(super) fn clusters(&mut self, resources: &Message) -> Vec<Arc<ClusterPlan>> {
        let mut plans: Vec<Arc<ClusterPlan>> = Vec::new();
        for cluster in resources.messages("clusters") {
            let Some(plan) = self.cluster(cluster) else { continue };
            if plans.iter().any(|known| known.name == plan.name) {
                let text = format!("duplicate cluster '{}'", plan.name);
                self.error(
                    cluster.at_of("name"),
                    &cluster.path_of("name"),
                    text,
                    "give each its own name",
                );
            }
            plans.push(Arc::new(plan));
        }
        plans
    }

    pub(super) fn cluster(&mut self, cluster: &Message) -> Option<ClusterPlan> {
        let name = cluster.text("name")?.to_owned();
        let discovery = self.discovery(cluster);
        let stat_name = cluster.text("alt_stat_name").filter(|name| !name.is_empty());
        let common = cluster.message("common_lb_config");
        let panic = common.and_then(|common| common.message("healthy_panic_threshold"));
        self.sds.clear();
        let upstream = self.upstream(cluster);
        let contexts = upstream.contexts().flat_map(|tls| tls.fingerprint()).collect::<Vec<_>>();
        let ignore_health = cluster.boolean("ignore_health_on_host_removal");
        Some(ClusterPlan {
            stat_name: stat_name.unwrap_or(&name).to_owned(),
            slot: self.slots.clusters.of(&name),
            connect_timeout: cluster.duration("connect_timeout").unwrap_or(CONNECT_TIMEOUT),
            happy_eyeballs: happy_eyeballs(cluster),
            health_checks: self.health_checks(cluster, &upstream),
            ignores_unchecked_hosts: common
                .and_then(|common| common.boolean("ignore_new_hosts_until_first_hc"))
                .unwrap_or(false),
            outlier: self.outlier(cluster),
            weighing: upstream.balancing.weighing,
            thresholds: self.thresholds(cluster),
            panic_threshold_percent: panic
                .map_or(50, |percent| percent.double("value").unwrap_or(0.0).round() as u32),
            drop_millionths: cluster
                .message("load_assignment")
                .and_then(|assignment| assignment.message("policy"))
                .map_or(0, |policy| self.drops(policy)),
            merge_window: common
                .and_then(|common| common.duration("update_merge_window"))
                .unwrap_or_default(),
            wait_for_warm: cluster.boolean("wait_for_warm_on_init").unwrap_or(true),
            // A host that nobody uses leaves, whatever its health is.
            ignore_health_on_host_removal: ignore_health.unwrap_or(false)
                || matches!(discovery, Some(Discovery::OriginalDst { .. })),
            from_zone: self.node.zone.clone(),
            added_via_api: self.added_via_api,
            upstream: Arc::new(upstream),
            sds: std::mem::take(&mut self.sds),
            fingerprint: {
                let own = match discovery {
                    Some(Discovery::Static(_)) => digest_without(cluster, |message, set| {
                        message.name() == ASSIGNMENT && set.field.name == "endpoints"
                    }),
                    _ => digest(cluster),
                };
                // A certificate's file may hold another than before.
                if contexts.is_empty() { own } else { own ^ print_of(contexts.concat().as_bytes()) }
            },
            hosts_fingerprint: match cluster.message("load_assignment") {
                Some(assignment) => digest(assignment),
                None => 0,
            },
            discovery: discovery?,
            name,
        })
    }

    fn discovery(&mut self, cluster: &Message) -> Option<Discovery> {
        if self.is_aggregate(cluster) {
            return Some(Discovery::Static(Vec::new()));
        }
        let (kind, dns) = self.found_by(cluster)?;
        self.check_hashing(cluster, kind);
        let (at, path) = (cluster.at, cluster.path.clone());
        if kind != "ORIGINAL_DST" {
            cluster.ignore("cleanup_interval", "of another type than the cluster's");
        }
        if kind == "EDS" {
            return self.eds(cluster);
        }
        if kind == "ORIGINAL_DST" {
            return Some(self.on_demand(cluster));
        }
        if !matches!(kind, "STATIC" | "STRICT_DNS" | "LOGICAL_DNS") {
            cluster.ignore("load_assignment", "the whole type is refused");
            let what = format!("`type: {kind}`");
            self.unsupported(cluster.at_of("type"), &cluster.path_of("type"), &what);
            return None;
        }
        let endpoints = match cluster.message("load_assignment") {
            Some(assignment) => self.endpoints(assignment),
            None => Vec::new(),
        };
        if kind == "STATIC" {
            return Some(Discovery::Static(self.known_by_address(endpoints)));
        }
        let mut names = Vec::new();
        for Endpoint { place, more, plan } in endpoints {
            let Place::Socket(named) = place else {
                let text = "a pipe is no name that DNS knows";
                self.error(at, &path, text, "take `type: STATIC`");
                continue;
            };
            if let Some(more) = more.first() {
                let text = "DNS says which addresses there are; this one is not used";
                self.notes.warning(more.at, &more.path, text, "as in Envoy");
            }
            let hostname = match plan.hostname.is_empty() {
                true => named.text.clone(),
                false => plan.hostname.clone(),
            };
            let endpoint = EndpointPlan { hostname, ..plan };
            names.push(NamePlan { name: named.text, port: named.port, endpoint });
        }
        match kind {
            "STRICT_DNS" => Some(Discovery::StrictDns { names, dns }),
            _ => {
                if names.len() != 1 {
                    let text = "LOGICAL_DNS clusters must have a single locality_lb_endpoint and a single lb_endpoint";
                    self.error(at, &path, text, "or take STRICT_DNS");
                }
                // Observed: Envoy 1.40 shows its one host with priority 0, whatever is said.
                let first = names.into_iter().next().map(|mut name| {
                    name.endpoint.priority = 0;
                    name
                });
                first.map(|name| Discovery::LogicalDns { name, dns })
            }
        }
    }

    /// `EDS`: hosts come by themselves.
    fn eds(&mut self, cluster: &Message) -> Option<Discovery> {
        let eds = cluster.message("eds_cluster_config");
        let Some(source) = eds.and_then(|eds| eds.message("eds_config")) else {
            cluster.ignore("load_assignment", "the whole cluster is refused");
            let text = "cannot create an EDS cluster without an EDS config";
            self.error(cluster.at, &cluster.path, text, "add `eds_cluster_config.eds_config`");
            return None;
        };
        let service = eds.and_then(|eds| eds.text("service_name")).filter(|name| !name.is_empty());
        let service_name = service.or(cluster.text("name")).unwrap_or_default().to_owned();
        let source = self.config_source(source)?;
        Some(Discovery::Eds { service_name, source })
    }

    /// Endpoints whose addresses are no names.
    pub(super) fn known_by_address(&mut self, endpoints: Vec<Endpoint>) -> Vec<HostPlan> {
        let mut hosts = Vec::with_capacity(endpoints.len());
        for Endpoint { place, more, plan: endpoint } in endpoints {
            let named = match place {
                Place::Socket(named) => named,
                Place::Pipe(pipe) => {
                    if let Some(more) = more.first() {
                        self.unsupported(more.at, &more.path, "another address beside a pipe");
                    }
                    let (address, more) = (Address::Pipe(pipe), Vec::new());
                    hosts.push(HostPlan { address, more, endpoint });
                    continue;
                }
            };
            match named.text.parse::<IpAddr>() {
                Ok(ip) => {
                    let address = SocketAddr::new(ip, named.port).into();
                    let more = more.iter().filter_map(|more| self.ip_of(more)).collect();
                    hosts.push(HostPlan { address, more, endpoint });
                }
                Err(_) => {
                    let text = format!("malformed IP address: {}", named.text);
                    let hint = "a name wants `type: STRICT_DNS` or LOGICAL_DNS";
                    self.error(named.at, &named.path, text, hint);
                }
            }
        }
        hosts
    }

    pub(super) fn endpoints(&mut self, assignment: &Message) -> Vec<Endpoint> {
        assignment.ignore("cluster_name", "the cluster's own name counts");
        // Observed: Envoy 1.40 takes no endpoint without an address of its own, so that none is looked up here.
        assignment.ignore("named_endpoints", "nobody refers to them");
        let mut out = Vec::new();
        for group in assignment.messages("endpoints") {
            let locality = group.message("locality");
            let part = |name: &str| {
                locality.and_then(|locality| locality.text(name)).unwrap_or_default().to_owned()
            };
            let locality =
                Locality { region: part("region"), zone: part("zone"), sub_zone: part("sub_zone") };
            let locality_weight = group.number_u32("load_balancing_weight").unwrap_or(0);
            let priority = group.number_u32("priority").unwrap_or(0);
            for endpoint in group.messages("lb_endpoints") {
                let plan = EndpointPlan {
                    weight: endpoint.number_u32("load_balancing_weight").unwrap_or(1),
                    priority,
                    locality: locality.clone(),
                    locality_weight,
                    health: match endpoint.choice("health_status") {
                        Some("UNHEALTHY" | "TIMEOUT") => ConfiguredHealth::Unhealthy,
                        Some("DRAINING") => ConfiguredHealth::Draining,
                        Some("DEGRADED") => ConfiguredHealth::Degraded,
                        _ => ConfiguredHealth::Healthy,
                    },
                    ..EndpointPlan::default()
                };
                out.extend(self.endpoint(endpoint, plan));
            }
        }
        out
    }

    /// `Endpoint.health_check_config`
    fn checked_at(&mut self, check: &Message) -> CheckedAt {
        let port = check.number("port_value").and_then(|port| u16::try_from(port).ok());
        let port = port.filter(|port| *port > 0);
        let address = check.message("address").and_then(|address| self.address(address));
        if let (Some(Address::Pipe(pipe)), Some(port)) = (address, port) {
            let text = format!("{} has no port {port}", pipe.path());
            let hint = "take `port_value` away";
            self.error(check.at_of("port_value"), &check.path_of("port_value"), text, hint);
        }
        CheckedAt { address, port, hostname: check.text("hostname").unwrap_or_default().to_owned() }
    }

    fn endpoint(&mut self, lb_endpoint: &Message, plan: EndpointPlan) -> Option<Endpoint> {
        let metadata = lb_metadata(lb_endpoint, "metadata");
        let described = lb_endpoint.message("metadata").map(|all| {
            let read = Box::new(filter_metadata(all));
            Arc::new(Described { text: print::json(all).to_string(), read })
        });
        let transport_metadata = transport_metadata(lb_endpoint, "metadata");
        lb_endpoint.ignore("metadata", "what stands beside `envoy.lb` says nothing to balancers");
        let endpoint = lb_endpoint.message("endpoint")?;
        let check = endpoint.message("health_check_config");
        let unchecked = check.and_then(|check| check.boolean("disable_active_health_check"));
        let plan = EndpointPlan {
            canary: metadata.get("canary") == Some(&LbValue::Boolean(true)),
            metadata,
            described,
            transport_metadata,
            hostname: endpoint.text("hostname").unwrap_or_default().to_owned(),
            checked_at: check.map(|check| self.checked_at(check)).map(Box::new),
            unchecked: unchecked.unwrap_or(false),
            ..plan
        };
        let place = self.place(endpoint.message("address")?)?;
        let more = endpoint.messages("additional_addresses");
        let more = more.filter_map(|more| self.named_address(more.message("address")?)).collect();
        Some(Endpoint { place, more, plan })
    }

    fn thresholds(&mut self, cluster: &Message) -> [Thresholds; 2] {
        let mut out = [Thresholds::default(); 2];
        let Some(breakers) = cluster.message("circuit_breakers") else { return out };
        for thresholds in breakers.messages("thresholds") {
            let priority = usize::from(thresholds.choice("priority") == Some("HIGH"));
            let default = Thresholds::default();
            let number = |name: &str, default| thresholds.number_u32(name).unwrap_or(default);
            out[priority] = Thresholds {
                connections: number("max_connections", default.connections),
                pending_requests: number("max_pending_requests", default.pending_requests),
                requests: number("max_requests", default.requests),
                retries: number("max_retries", default.retries),
                retry_budget: thresholds.message("retry_budget").map(retry_budget),
                track_remaining: thresholds.boolean("track_remaining").unwrap_or(false),
                pools: number("max_connection_pools", default.pools),
            };
        }
        out
    }

    /// `transport_socket_matches`
    fn socket_matches(&mut self, cluster: &Message) -> Vec<SocketMatch> {
        let mut matches = Vec::new();
        for one in cluster.messages("transport_socket_matches") {
            let wanted = match one.get("match").map(|set| &set.value) {
                Some(Value::Json(fields)) => lb_fields(fields),
                _ => LbMetadata::new(),
            };
            let Some(socket) = one.message("transport_socket") else { continue };
            let transport = self.upstream_transport_socket(socket);
            if transport.greeting.is_some() {
                let what = "PROXY protocol to some hosts alone";
                self.unsupported(socket.at, &socket.path, what);
            }
            one.ignore("name", "hosts are not counted by it");
            matches.push(SocketMatch { wanted, tls: transport.tls });
        }
        matches
    }

    fn upstream(&mut self, cluster: &Message) -> Upstream {
        let mut upstream = Upstream {
            balancing: self.balancing(cluster),
            metadata: cluster.message("metadata").map(filter_metadata),
            ..Upstream::default()
        };
        if let Some(bytes) = cluster.number("per_connection_buffer_limit_bytes") {
            upstream.buffer_bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        upstream.sockets = self.sockets(cluster);
        if let Some(socket) = cluster.message("transport_socket") {
            let transport = self.upstream_transport_socket(socket);
            (upstream.tls, upstream.sockets.greeting) = (transport.tls, transport.greeting);
        }
        upstream.socket_matches = self.socket_matches(cluster);
        upstream.closes_to_ill_hosts =
            cluster.boolean("close_connections_on_host_health_failure").unwrap_or(false);
        upstream.apart_per_client =
            cluster.boolean("connection_pool_per_downstream_connection").unwrap_or(false);
        if let Some(breakers) = cluster.message("circuit_breakers") {
            for thresholds in breakers.messages("per_host_thresholds") {
                let priority = usize::from(thresholds.choice("priority") == Some("HIGH"));
                let max = thresholds.number_u32("max_connections").unwrap_or(u32::MAX);
                upstream.host_connections_max[priority] = max;
            }
        }
        if let Some(policy) = cluster.message("preconnect_policy") {
            upstream.preconnect_ratio =
                policy.double("per_upstream_preconnect_ratio").unwrap_or(1.0);
            upstream.predictive_ratio = policy.double("predictive_preconnect_ratio").unwrap_or(1.0);
        }
        self.spoken_upstream(cluster, &mut upstream);
        upstream
    }
}

/// `upstream_connection_options.happy_eyeballs_config`.
fn happy_eyeballs(cluster: &Message) -> HappyEyeballs {
    let options = cluster.message("upstream_connection_options");
    let config = options.and_then(|options| options.message("happy_eyeballs_config"));
    let Some(config) = config else { return HappyEyeballs::default() };
    let first_is_v6 = match config.choice("first_address_family_version") {
        Some("V4") => Some(false),
        Some("V6") => Some(true),
        _ => None,
    };
    let count = config.number_u32("first_address_family_count").unwrap_or(1);
    HappyEyeballs { first_is_v6, first_count: count as usize }
}

fn retry_budget(budget: &Message) -> RetryBudget {
    let percent = budget.message("budget_percent");
    let percent = percent.map_or(20.0, |percent| percent.double("value").unwrap_or(0.0));
    RetryBudget {
        millionths: (percent.clamp(0.0, 100.0) * 10_000.0) as u32,
        at_least: budget.number_u32("min_retry_concurrency").unwrap_or(3),
    }
}
