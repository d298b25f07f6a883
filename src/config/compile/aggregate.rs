//! Owns compiling aggregate clusters: those whose hosts are other clusters'.

use std::sync::Arc;

use understudy_actors::plan::Slot;

use super::Compiler;
use crate::config::{
    Message,
    message::Value,
    model::balancing::{Balancing, Policy},
};

pub(super) const CLUSTER_PROVIDED: &str =
    "envoy.extensions.load_balancing_policies.cluster_provided.v3.ClusterProvided";

const AGGREGATE: &str = "envoy.extensions.clusters.aggregate.v3.ClusterConfig";

impl Compiler<'_> {
    /// The balancer that the cluster's own type provides, which two types do.
    pub(super) fn provided(&mut self, cluster: &Message, balancing: &mut Balancing) {
        if let Some(says) = self.original_dst(cluster) {
            balancing.policy = Policy::OriginalDst(says);
            return;
        }
        if let Some(members) = self.aggregate(cluster) {
            balancing.policy = Policy::Aggregate(members);
            return;
        }
        let name = cluster.text("name").unwrap_or_default();
        let text = format!(
            "cluster manager: cluster provided LB specified but cluster '{name}' did not provide one. Check cluster \
             documentation."
        );
        let (at, path) = (cluster.at_of("lb_policy"), cluster.path_of("lb_policy"));
        self.error(at, &path, text, "an aggregate cluster does, and `type: ORIGINAL_DST`");
    }

    /// The clusters whose hosts an aggregate has, in order.
    fn aggregate(&mut self, cluster: &Message) -> Option<Arc<[Slot]>> {
        let kind = cluster.message("cluster_type")?;
        kind.ignore("name", "free text; the type decides");
        let config = kind.any("typed_config").filter(|any| any.message.name() == AGGREGATE)?;
        let names = config.message.texts("clusters");
        Some(names.map(|(name, _)| self.slots.clusters.of(name)).collect())
    }

    /// Whether a cluster of an extended type is an aggregate; one needs the policy that it provides.
    pub(super) fn is_aggregate(&mut self, cluster: &Message) -> bool {
        let typed = cluster.peek("cluster_type").map(|set| &set.value);
        let Some(Value::Message(kind)) = typed else { return false };
        let config = kind.peek("typed_config").map(|set| &set.value);
        let Some(Value::Any(config)) = config else { return false };
        if config.message.name() != AGGREGATE {
            return false;
        }
        self.wants_provided(cluster);
        true
    }

    /// A cluster whose type provides a balancer needs the policy that this is.
    pub(super) fn wants_provided(&mut self, cluster: &Message) {
        let provided = match cluster.message("load_balancing_policy") {
            Some(extension) => is_cluster_provided(extension),
            None => cluster.choice("lb_policy") == Some("CLUSTER_PROVIDED"),
        };
        if !provided {
            let name = cluster.text("name").unwrap_or_default();
            let text = format!(
                "cluster manager: cluster provided LB not specified but cluster '{name}' provided one. Check cluster \
                 documentation."
            );
            cluster.ignore("cluster_type", "it is in error");
            self.error(cluster.at, &cluster.path, text, "write `lb_policy: CLUSTER_PROVIDED`");
        }
    }
}

/// Whether the first of the policies, which counts, is what the cluster's type provides.
pub(super) fn is_cluster_provided(extension: &Message) -> bool {
    let first = extension.messages("policies").next();
    let config = first.and_then(|policy| policy.message("typed_extension_config"));
    let config = config.and_then(|config| config.any("typed_config"));
    config.is_some_and(|config| config.message.name() == CLUSTER_PROVIDED)
}
