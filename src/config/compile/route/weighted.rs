//! Owns compiling clusters by weight.

use std::collections::HashSet;

use super::super::{Compiler, lb_metadata::lb_metadata};
use crate::config::{
    Message,
    model::route::{ClusterChoice, ClusterWeight, WeightedClusters},
};

impl Compiler<'_> {
    /// `WeightedCluster`
    pub(super) fn weighted_clusters(
        &mut self,
        weighted: &Message,
        clusters: Option<&HashSet<String>>,
    ) -> Option<WeightedClusters> {
        weighted.ignore("total_weight", "the weights say it; Envoy does not compare");
        let prefix = weighted.text("runtime_key_prefix").filter(|prefix| !prefix.is_empty());
        let mut all = Vec::new();
        let mut total = 0_u64;
        for weight in weighted.messages("clusters") {
            let one = self.cluster_weight(weight, prefix, clusters);
            total += one.as_ref().map_or(0, |one| u64::from(one.weight));
            all.extend(one);
        }
        let (at, path) = (weighted.at_of("clusters"), weighted.path_of("clusters"));
        let total = match u32::try_from(total) {
            Ok(0) if all.len() == weighted.list("clusters").len() => {
                let text = "Sum of weights in the weighted_cluster must be greater than 0.";
                self.error(at, &path, text, "");
                return None;
            }
            Ok(total) => total,
            Err(_) => {
                let text = "The sum of weights of all weighted clusters exceeds 4294967295";
                self.error(at, &path, text, "");
                return None;
            }
        };
        let header = weighted.text("header_name").filter(|name| !name.is_empty());
        Some(WeightedClusters {
            clusters: all,
            total,
            by_runtime: prefix.is_some(),
            header: header.map(|name| name.to_ascii_lowercase().into_bytes()),
            by_hash: weighted.boolean("use_hash_policy").unwrap_or(false),
        })
    }

    /// `WeightedCluster.ClusterWeight`
    fn cluster_weight(
        &mut self,
        weight: &Message,
        runtime_prefix: Option<&str>,
        clusters: Option<&HashSet<String>>,
    ) -> Option<ClusterWeight> {
        let filter_configs = self.per_filter(weight);
        let own_mutations = self.mutation_level(weight);
        let metadata_match = lb_metadata(weight, "metadata_match");
        weight.ignore("metadata_match", "what stands beside `envoy.lb` says nothing to balancers");
        let set = |field: &str| weight.text(field).filter(|text| !text.is_empty());
        let number = weight.number_u32("weight");
        let (name, header) = (set("name"), set("cluster_header"));
        let told = match (name, header, number) {
            (Some(_), Some(_), _) => "Only one of name or cluster_header can be specified",
            (None, None, _) => "At least one of name or cluster_header need to be specified",
            (_, _, None) => "Field 'weight' is missing",
            _ => "",
        };
        if !told.is_empty() {
            self.error(weight.at, &weight.path, told, "");
            return None;
        }
        if let Some(name) = name.filter(|name| clusters.is_some_and(|all| !all.contains(*name))) {
            let text = format!("route: unknown weighted cluster '{name}'");
            self.unknown_cluster(weight, "name", text, clusters);
        }
        let cluster = match header {
            Some(header) => ClusterChoice::Header(header.to_ascii_lowercase().into_bytes()),
            None => ClusterChoice::Named(self.cluster_name(name.unwrap_or_default())),
        };
        let runtime_key = runtime_prefix
            .map(|prefix| format!("{prefix}.{}", name.unwrap_or_default()))
            .unwrap_or_default();
        Some(ClusterWeight {
            cluster,
            weight: number.unwrap_or(0),
            runtime_key,
            metadata_match,
            host_rewrite: set("host_rewrite_literal").unwrap_or_default().to_owned(),
            filter_configs,
            own_mutations,
            mutations: None,
        })
    }
}
