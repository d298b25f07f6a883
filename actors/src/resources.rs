//! Owns what discovery has brought: each subscription with its resources, their versions, and what of them was refused.
//!
//! A subscription is a type, a source and a name, or all names. Who subscribes follows from what is configured; where
//! an answer comes from (a file today) is the source's affair alone.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use crate::plan::{Assignment, ClusterPlan, ListenerPlan, Payload, RoutesPlan};

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `envoy.config.cluster.v3.Cluster`
    Cluster,
    /// `envoy.config.endpoint.v3.ClusterLoadAssignment`
    Endpoints,
    /// `envoy.config.listener.v3.Listener`
    Listener,
    /// `envoy.config.route.v3.RouteConfiguration`
    Routes,
    /// `envoy.extensions.transport_sockets.tls.v3.Secret`
    Secret,
}

/// `ConfigSource`: who is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConfigSource {
    /// `path_config_source`
    File {
        /// `path`
        path: PathBuf,
        /// `watched_directory`: a move within it says that the file is another.
        watched: Option<PathBuf>,
    },
}

/// What somebody subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// Of this type.
    pub kind: Kind,
    /// From there.
    pub source: ConfigSource,
    /// The one of this name; none for all.
    pub name: Option<String>,
}

/// All subscriptions.
pub type Resources = BTreeMap<Topic, Subscription>;

/// What came of a subscription.
#[derive(Clone, Debug, Default)]
pub struct Subscription {
    /// `version_info` of the response that was looked at last.
    pub version: String,
    /// What is in force, by name.
    pub resources: BTreeMap<String, Arc<Resource>>,
    /// What of the last response was refused.
    pub refused: Vec<Arc<Refused>>,
}

/// A resource that is in force.
#[derive(Debug)]
pub struct Resource {
    /// `version_info` of the response that brought it as it is.
    pub version: String,
    /// When that was.
    pub updated: SystemTime,
    /// The message, for those who show it.
    pub message: Payload,
    /// Equal for two messages that say the same.
    pub fingerprint: u64,
    /// What it asks for.
    pub plan: ResourcePlan,
}

/// What a resource asks for.
#[derive(Clone)]
pub enum ResourcePlan {
    /// A cluster.
    Cluster(Arc<ClusterPlan>),
    /// A listener, and the route tables that stand in it.
    Listener(Arc<ListenerPlan>, Vec<Arc<RoutesPlan>>),
    /// A route table.
    Routes(Arc<RoutesPlan>),
    /// A cluster's hosts.
    Endpoints(Arc<Assignment>),
    /// A secret.
    Secret(Arc<Secret>),
}

/// A secret that discovery has brought.
#[derive(Clone)]
pub struct Secret {
    /// What handshakes read.
    pub value: Payload,
    /// The files that it names, each with a number for what it held: a secret is another when one of them is.
    pub files: Vec<(ConfigSource, u64)>,
    /// Equal for two secrets that hold the same, whatever files they name.
    pub fingerprint: u64,
}

/// A resource that was refused.
#[derive(Debug)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// The message, for those who show it.
    pub message: Payload,
    /// When.
    pub at: SystemTime,
    /// Why, in one line.
    pub why: String,
}

/// A document that a source holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is.
    pub path: PathBuf,
    /// What stands in it.
    pub text: Arc<str>,
}

/// A response of discovery.
pub struct Response {
    /// `version_info`
    pub version: String,
    /// The number that stands for it in stats.
    pub version_hash: u64,
    /// `resources`
    pub resources: Vec<Found>,
}

/// A resource of a response.
pub struct Found {
    /// Its name.
    pub name: String,
    /// The message.
    pub message: Payload,
    /// Equal for two messages that say the same.
    pub fingerprint: u64,
    /// What it asks for, given what there is, or why it cannot be had.
    pub plan: Planning,
}

/// What a resource asks for, given what there is besides.
pub type Planning = Box<dyn Fn(&Known) -> Result<ResourcePlan, Wrong>>;

/// What there is besides a resource.
#[derive(Debug, Default)]
pub struct Known {
    /// Names of clusters.
    pub clusters: HashSet<String>,
    /// The field that a secret must have for who subscribes to it; empty for any.
    pub secret: &'static str,
}

/// What is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// In one line, for dumps.
    pub line: String,
    /// At length, with its place, for the log.
    pub told: String,
}

/// Why a document is no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseError {
    /// It cannot be read at all (`update_failure`).
    Unreadable(String),
    /// It can, and breaks a rule (`update_rejected`).
    Rejected(String),
}

/// A number for what a file holds.
pub fn print_of(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

// === impl Kind ===

impl Kind {
    /// The full name of its message.
    pub fn message(self) -> &'static str {
        match self {
            Kind::Cluster => "envoy.config.cluster.v3.Cluster",
            Kind::Endpoints => "envoy.config.endpoint.v3.ClusterLoadAssignment",
            Kind::Listener => "envoy.config.listener.v3.Listener",
            Kind::Routes => "envoy.config.route.v3.RouteConfiguration",
            Kind::Secret => "envoy.extensions.transport_sockets.tls.v3.Secret",
        }
    }

    /// How logs call its subscription.
    pub fn service(self) -> &'static str {
        match self {
            Kind::Cluster => "cds",
            Kind::Endpoints => "eds",
            Kind::Listener => "lds",
            Kind::Routes => "rds",
            Kind::Secret => "sds",
        }
    }
}

// === impl ConfigSource ===

impl ConfigSource {
    /// The file it is.
    pub fn path(&self) -> &PathBuf {
        let ConfigSource::File { path, .. } = self;
        path
    }
}

// === impl Subscription ===

impl Subscription {
    /// The one resource of a subscription to one.
    pub fn only(&self) -> Option<&Arc<Resource>> {
        self.resources.values().next()
    }
}

impl fmt::Debug for ResourcePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ResourcePlan::Cluster(_) => "Cluster",
            ResourcePlan::Listener(..) => "Listener",
            ResourcePlan::Routes(_) => "Routes",
            ResourcePlan::Endpoints(_) => "Endpoints",
            ResourcePlan::Secret(_) => "Secret",
        })
    }
}
