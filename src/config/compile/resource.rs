//! Owns compiling one resource that discovery brought.

use std::{collections::HashSet, path::Path, sync::Arc};

use understudy_actors::{
    plan::{Assignment, AssignmentPolicy, RoutesPlan},
    resources::{Kind, Known, ResourcePlan},
};

use super::{AllSlots, Compiler, Defaults, Options};
use crate::{
    config::{Diagnostics, Message, digest::digest},
    route::RouteTable,
};

/// What a resource from this file asks for, and warnings.
///
/// # Errors
///
/// Everything that is wrong with it, at once.
pub fn resource(
    kind: Kind,
    message: &Message,
    (path, known): (&Path, &Known),
    options: &Options,
    slots: &AllSlots,
    defaults: &Defaults,
) -> Result<(ResourcePlan, Diagnostics), Diagnostics> {
    let Defaults { node, local_cluster, outlier_log, source_addresses, resolver, secrets } =
        defaults.clone();
    let mut compiler = Compiler {
        node,
        local_cluster,
        outlier_log,
        source_addresses,
        secrets,
        resolver,
        added_via_api: true,
        ..Compiler::new(options, slots)
    };
    let plan = match kind {
        Kind::Cluster => {
            let cluster = compiler.cluster(message);
            cluster.map(|cluster| ResourcePlan::Cluster(Arc::new(cluster)))
        }
        Kind::Endpoints => Some(ResourcePlan::Endpoints(Arc::new(compiler.assignment(message)))),
        Kind::Listener => {
            let mut routes = Vec::new();
            let listener = compiler.listener(message, &known.clusters, &mut routes);
            listener.map(|listener| ResourcePlan::Listener(Arc::new(listener), routes))
        }
        Kind::Routes => Some(compiler.table(message, path, known)),
        Kind::Secret => compiler.secret(message, known.secret),
    };
    compiler.refuse_unread(message);
    match plan {
        Some(plan) if !compiler.errors.has_errors() => Ok((plan, compiler.notes)),
        _ => Err(compiler.errors),
    }
}

/// What a table from a file is called, by which connection managers find it.
pub(super) fn table_name(path: &Path, name: &str) -> String {
    format!("rds/{}/{name}", path.display())
}

/// `FractionalPercent`, in millionths.
fn millionths(percent: &Message) -> u32 {
    let each = match percent.choice("denominator") {
        Some("TEN_THOUSAND") => 100,
        Some("MILLION") => 1,
        _ => 10_000,
    };
    percent.number_u32("numerator").unwrap_or(0).saturating_mul(each).min(1_000_000)
}

impl Compiler<'_> {
    fn table(&mut self, config: &Message, path: &Path, known: &Known) -> ResourcePlan {
        let name = table_name(path, config.peek_text("name").unwrap_or_default());
        // Source: `validate_clusters` is not the default where a table comes by itself.
        let (table, held) = self.reading(|this| this.route_config(config, &known.clusters, false));
        let (slot, fingerprint) = (self.slots.tables.of(&name), digest(config) ^ held);
        let table: understudy_actors::plan::Payload = Arc::new(RouteTable::new(table));
        ResourcePlan::Routes(Arc::new(RoutesPlan { name, slot, table, fingerprint }))
    }

    /// `ClusterLoadAssignment` of a cluster that subscribes to it.
    fn assignment(&mut self, assignment: &Message) -> Assignment {
        let endpoints = self.endpoints(assignment);
        let mut hosts = self.known_by_address(endpoints);
        // Observed: Envoy 1.40 takes the first of those that have one address.
        let mut seen = HashSet::new();
        hosts.retain(|host| seen.insert(host.address));
        let mut policy = AssignmentPolicy::default();
        if let Some(said) = assignment.message("policy") {
            policy.overprovisioning_percent = said.number_u32("overprovisioning_factor");
            policy.weighs_health = said.boolean("weighted_priority_health");
            policy.drop_millionths = self.drops(said);
        }
        Assignment { hosts, policy }
    }

    /// `drop_overloads` in millionths, of which there may be one.
    pub(super) fn drops(&mut self, policy: &Message) -> u32 {
        let drops: Vec<&Message> = policy.messages("drop_overloads").collect();
        if drops.len() > 1 {
            let count = drops.len();
            let text = format!(
                "Cluster drop_overloads config has {count} categories. Envoy only support one."
            );
            self.error(policy.at_of("drop_overloads"), &policy.path_of("drop_overloads"), text, "");
            for field in ["category", "drop_percentage"] {
                drops.iter().for_each(|drop| drop.ignore(field, "there are too many"));
            }
        }
        let Some(drop) = drops.first() else { return 0 };
        drop.ignore("category", "there is one, and stats do not name it");
        drop.message("drop_percentage").map_or(0, millionths)
    }
}
