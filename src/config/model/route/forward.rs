//! Owns what a route that leads to a cluster says about the way.

use std::{sync::Arc, time::Duration};

use understudy_actors::plan::{LbMetadata, Slot};

use super::Substitution;
use crate::{
    config::model::{hash_policy::HashPolicy, upgrade::RouteUpgrade},
    filter::OfRoute,
    format::Format,
    uri_template::PathRewrite,
};

use super::{Attempts, MutationLevel, Mutations};

/// `RouteAction` to a cluster.
#[derive(Debug)]
pub struct Forward {
    /// `cluster_specifier`: which cluster.
    pub cluster: ClusterChoice,
    /// `hash_policy`: what is hashed where the cluster's balancer asks for it.
    pub hash: Vec<HashPolicy>,
    /// `metadata_match`: which hosts it wants, of a cluster that has subsets.
    pub metadata_match: LbMetadata,
    /// `timeout`; Envoy's default is 15 s; `None` is off.
    pub timeout: Option<Duration>,
    /// How long a try may take, in milliseconds, as the upstream is told of it; empty for none.
    pub timeout_ms: String,
    /// What is said about tries.
    pub attempts: Attempts,
    /// `idle_timeout`; `None` takes the connection manager's `stream_idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// What becomes of the path.
    pub path_rewrite: PathChange,
    /// `host_rewrite_specifier`: what becomes of the host.
    pub host_rewrite: HostChange,
    /// `append_x_forwarded_host`: the old host is told to the upstream there, too.
    pub append_forwarded_host: bool,
    /// `upgrade_configs`.
    pub upgrades: Vec<RouteUpgrade>,
    /// `cluster_not_found_response_code`; Envoy's default is 503.
    pub cluster_not_found_status: u16,
}

/// `RouteAction.cluster_specifier`.
#[derive(Debug)]
pub enum ClusterChoice {
    /// `cluster`.
    Named(ClusterName),
    /// `cluster_header`, in lower case: the request names it.
    Header(Vec<u8>),
    /// `weighted_clusters`: one of them by lot.
    Weighted(WeightedClusters),
}

/// A cluster by name.
#[derive(Debug)]
pub struct ClusterName {
    /// Its slot in the directory.
    pub slot: Slot,
    /// Its name, for logs and errors.
    pub name: String,
}

/// `WeightedCluster`.
#[derive(Debug)]
pub struct WeightedClusters {
    /// `clusters`.
    pub clusters: Vec<ClusterWeight>,
    /// The sum of the weights.
    pub total: u32,
    /// `runtime_key_prefix`: the runtime may say other weights.
    pub by_runtime: bool,
    /// `header_name`, in lower case: the request brings the number that decides.
    pub header: Option<Vec<u8>>,
    /// `use_hash_policy`: the hash of the route's `hash_policy` decides, where there is one.
    pub by_hash: bool,
}

/// `WeightedCluster.ClusterWeight`.
#[derive(Debug)]
pub struct ClusterWeight {
    /// `name` or `cluster_header`.
    pub cluster: ClusterChoice,
    /// `weight`.
    pub weight: u32,
    /// Where the runtime may say another weight; empty for nowhere.
    pub runtime_key: String,
    /// `metadata_match`, with what the route says besides.
    pub metadata_match: LbMetadata,
    /// `host_rewrite_literal`; empty leaves it to the route.
    pub host_rewrite: String,
    /// `typed_per_filter_config`, before what the route says.
    pub filter_configs: Vec<(String, OfRoute)>,
    /// `request_headers_to_add` and its kind, of this share alone.
    pub own_mutations: MutationLevel,
    /// What is done to headers, by this share, the route and what it stands in.
    pub mutations: Option<Arc<Mutations>>,
}

/// What becomes of a request's path.
#[derive(Debug, Default)]
pub enum PathChange {
    /// It stays.
    #[default]
    Keep,
    /// `prefix_rewrite`.
    Prefix(String),
    /// `regex_rewrite`.
    Regex(Substitution),
    /// `path_rewrite_policy`: from the parts of the route's own template.
    Template(PathRewrite),
    /// `path_rewrite`
    Format(Format),
}

/// What becomes of a request's host.
#[derive(Debug, Default)]
pub enum HostChange {
    /// It stays.
    #[default]
    Keep,
    /// `host_rewrite_literal`.
    Literal(String),
    /// `host_rewrite_header`, in lower case: what the header says, if it says anything.
    Header(Vec<u8>),
    /// `host_rewrite_path_regex`: what this makes of the path.
    Path(Substitution),
    /// `auto_host_rewrite`: the name of the host that is chosen, if it has one.
    Upstream,
    /// `host_rewrite`
    Format(Format),
}

// === impl Forward ===

impl Forward {
    /// Which hosts a request of this share wants, if it matters.
    pub fn wanted(&self, part: Option<usize>) -> Option<&LbMetadata> {
        let wanted = match (&self.cluster, part) {
            (ClusterChoice::Weighted(all), Some(part)) => &all.clusters.get(part)?.metadata_match,
            _ => &self.metadata_match,
        };
        Some(wanted).filter(|wanted| !wanted.is_empty())
    }
}

impl Forward {
    /// Whether a format makes its path or host, or something of its copies.
    pub fn has_formats(&self) -> bool {
        self.attempts.mirrors.iter().any(|mirror| !mirror.edits.is_empty())
            || matches!(self.path_rewrite, PathChange::Format(_))
            || matches!(self.host_rewrite, HostChange::Format(_))
    }
}

// === impl ClusterChoice ===

impl ClusterChoice {
    /// Where a share stands among all.
    pub fn place_of(&self, part: &ClusterWeight) -> Option<usize> {
        let ClusterChoice::Weighted(all) = self else { return None };
        all.clusters.iter().position(|one| std::ptr::eq(one, part))
    }

    /// The name of the cluster where it is the same for all requests.
    pub fn name(&self) -> Option<&str> {
        match self {
            ClusterChoice::Named(cluster) => Some(&cluster.name),
            ClusterChoice::Header(_) | ClusterChoice::Weighted(_) => None,
        }
    }
}
