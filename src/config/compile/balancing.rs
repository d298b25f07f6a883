//! Owns compiling how a cluster chooses among its hosts.

use super::Compiler;
use crate::config::{
    Message,
    model::balancing::{Balancing, LeastRequest, Localities, Policy, RuntimeDouble},
};

/// Options of policies, of which those of another one than the cluster's say nothing.
const POLICY_OPTIONS: [&str; 5] = [
    "round_robin_lb_config",
    "least_request_lb_config",
    "ring_hash_lb_config",
    "maglev_lb_config",
    "original_dst_lb_config",
];

impl Compiler<'_> {
    /// `lb_policy` and all that is beside it.
    pub(super) fn balancing(&mut self, cluster: &Message) -> Balancing {
        let mut balancing = Balancing {
            policy: self.lb_policy(cluster).unwrap_or(Policy::RoundRobin),
            ..Balancing::default()
        };
        for options in POLICY_OPTIONS {
            if !is_taken(cluster, options) {
                cluster.ignore(options, "of another policy than the cluster's");
            }
        }
        if let Some(common) = cluster.message("common_lb_config") {
            self.merge_window(common);
            balancing.localities = localities(common, &mut balancing.fails_on_panic);
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

    fn lb_policy(&mut self, cluster: &Message) -> Option<Policy> {
        match cluster.choice("lb_policy").unwrap_or("ROUND_ROBIN") {
            "ROUND_ROBIN" => {
                cluster.message("round_robin_lb_config");
                Some(Policy::RoundRobin)
            }
            "LEAST_REQUEST" => Some(Policy::LeastRequest(least_request(
                cluster.message("least_request_lb_config"),
            ))),
            "RANDOM" => Some(Policy::Random),
            other => {
                let (at, path) = (cluster.at_of("lb_policy"), cluster.path_of("lb_policy"));
                self.unsupported(at, &path, &format!("`lb_policy: {other}`"));
                None
            }
        }
    }

    /// Updates are in force at once, which is what a window of 0 asks for.
    fn merge_window(&mut self, common: &Message) {
        let field = "update_merge_window";
        if common.duration(field).is_some_and(|window| !window.is_zero()) {
            self.unsupported(common.at_of(field), &common.path_of(field), "holding updates back");
        }
    }
}

/// Whether the options are those of the cluster's policy.
fn is_taken(cluster: &Message, options: &str) -> bool {
    let policy = cluster.choice("lb_policy").unwrap_or("ROUND_ROBIN");
    options.strip_suffix("_lb_config").is_some_and(|of| policy.eq_ignore_ascii_case(of))
}

/// `LeastRequestLbConfig`
fn least_request(config: Option<&Message>) -> LeastRequest {
    let choices = config.and_then(|config| config.number_u32("choice_count"));
    let bias = config.and_then(|config| config.message("active_request_bias"));
    LeastRequest {
        choices: Some(choices.unwrap_or(2)),
        bias: bias.map_or(RuntimeDouble { default: 1.0, key: String::new() }, runtime_double),
    }
}

/// `RuntimeDouble`
fn runtime_double(double: &Message) -> RuntimeDouble {
    RuntimeDouble {
        default: double.double("default_value").unwrap_or(0.0),
        key: double.text("runtime_key").unwrap_or_default().to_owned(),
    }
}

/// `locality_config_specifier` of `CommonLbConfig`.
fn localities(common: &Message, fails_on_panic: &mut bool) -> Localities {
    if let Some(zones) = common.message("zone_aware_lb_config") {
        *fails_on_panic = zones.boolean("fail_traffic_on_panic").unwrap_or(false);
        for field in ["routing_enabled", "min_cluster_size"] {
            zones.ignore(field, "of what there is with a local cluster, which is refused");
        }
    }
    match common.message("locality_weighted_lb_config") {
        Some(_) => Localities::Weighted,
        None => Localities::Alike,
    }
}
