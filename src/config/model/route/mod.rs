//! Owns the compiled route configuration: what the route table is built from.

mod attempts;
mod direct;
mod forward;
mod internal_redirect;
mod matching;
mod mirror;
mod mutation;
mod redirect;
mod retry;

use std::{ops::Range, sync::Arc};

pub use attempts::{Attempts, GrpcTimeout, StreamDuration, Tells};
pub use direct::DirectResponse;
pub use forward::{
    ClusterChoice, ClusterName, ClusterWeight, Forward, HostChange, PathChange, WeightedClusters,
};
pub use internal_redirect::{InternalRedirect, RedirectPredicate};
pub use matching::{Condition, PathMatch, RouteMatch, RuntimeFraction};
pub use mirror::{Mirror, MirrorTarget};
pub use mutation::{AppendAction, EditedName, HeaderEdit, HeaderEdits, MutationLevel, Mutations};
pub use redirect::{Redirect, RedirectPath};
pub use retry::{BackOff, ResetHeader, RetryOn, RetryPolicy};

pub use crate::re2::Substitution;
use crate::{
    filter::OfRoute,
    matcher::{HeaderMatcher, tree::Tree},
};

/// `RouteConfiguration`.
#[derive(Debug)]
pub struct RouteConfig {
    /// `name`.
    pub name: String,
    /// `virtual_hosts`, in the order of the file.
    pub virtual_hosts: Vec<VirtualHost>,
    /// `ignore_port_in_host_matching`.
    pub ignore_port: bool,
    /// `vhost_header`: the header that names the virtual host instead of the authority.
    pub vhost_header: Option<Vec<u8>>,
    /// `ignore_path_parameters_in_path_matching`.
    pub ignore_path_parameters: bool,
    /// `internal_only_headers`, in lower case: removed from requests that come from outside.
    pub internal_only_headers: Vec<Vec<u8>>,
}

/// `VirtualHost`.
#[derive(Debug)]
pub struct VirtualHost {
    /// `name`.
    pub name: String,
    /// `domains`: exact, `*.suffix`, `prefix.*` or `*`; as written.
    pub domains: Vec<String>,
    /// `routes`, in the order of the file: the first match wins. Or those of all actions of `matcher`.
    pub routes: Vec<Route>,
    /// `matcher`: which of the routes are looked at, where it is not all of them.
    pub matcher: Option<Tree<Range<usize>>>,
    /// `require_tls`.
    pub require_tls: RequireTls,
    /// `virtual_clusters`: the first whose headers a request has counts it; another where none does.
    pub virtual_clusters: Vec<VirtualCluster>,
    /// `metadata.filter_metadata`, for formats.
    pub metadata: Option<serde_json::Value>,
}

/// `VirtualCluster`: requests that are counted apart.
#[derive(Debug)]
pub struct VirtualCluster {
    /// `name`.
    pub name: String,
    /// `headers`.
    pub headers: Vec<HeaderMatcher>,
}

/// `VirtualHost.require_tls`: who is sent to `https`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RequireTls {
    /// Nobody.
    #[default]
    None,
    /// Requests from outside.
    ExternalOnly,
    /// All.
    All,
}

/// `Route`.
#[derive(Debug)]
pub struct Route {
    /// `name`.
    pub name: String,
    /// `match`.
    pub matcher: RouteMatch,
    /// What to do.
    pub action: RouteAction,
    /// `typed_per_filter_config` by the filter's name: the route's own before its virtual host's before
    /// its table's.
    pub filter_configs: Vec<(String, OfRoute)>,
    /// What is done to headers, by the route and what it stands in.
    pub mutations: Option<Arc<Mutations>>,
    /// `stat_prefix`: its requests are counted apart; empty for none.
    pub stat_prefix: String,
    /// `metadata.filter_metadata`, an object.
    pub metadata: Option<serde_json::Value>,
}

/// What a route does.
#[derive(Clone, Debug)]
pub enum RouteAction {
    /// `route`: to a cluster.
    Forward(Arc<Forward>),
    /// `redirect`.
    Redirect(Arc<Redirect>),
    /// `direct_response`.
    Direct(Arc<DirectResponse>),
}

// === impl Route ===

impl Route {
    /// The route's configuration for the filter of this name.
    pub fn filter_config(&self, name: &str) -> Option<&OfRoute> {
        self.filter_configs.iter().find(|(own, _)| own == name).map(|(_, config)| config)
    }
}
