//! Owns the compiled route configuration: what the route table is built from.

mod attempts;
mod direct;
mod forward;
mod internal_redirect;
mod matching;
mod mirror;
mod redirect;
mod retry;

use std::sync::Arc;

use understudy_actors::plan::Payload;

pub use attempts::{Attempts, GrpcTimeout, StreamDuration, Tells};
pub use direct::DirectResponse;
pub use forward::Forward;
pub use internal_redirect::{InternalRedirect, RedirectPredicate};
pub use matching::{PathMatch, RouteMatch, RuntimeFraction};
pub use mirror::{Mirror, MirrorTarget};
pub use redirect::{Redirect, RedirectPath};
pub use retry::{BackOff, ResetHeader, RetryOn, RetryPolicy};

/// `RouteConfiguration`.
#[derive(Debug)]
pub struct RouteConfig {
    /// `name`.
    pub name: String,
    /// `virtual_hosts`, in the order of the file.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// `VirtualHost`.
#[derive(Debug)]
pub struct VirtualHost {
    /// `name`.
    pub name: String,
    /// `domains`: exact, `*.suffix`, `prefix.*` or `*`; as written.
    pub domains: Vec<String>,
    /// `routes`, in the order of the file: the first match wins.
    pub routes: Vec<Route>,
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
    pub filter_configs: Vec<(String, Payload)>,
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
    pub fn filter_config(&self, name: &str) -> Option<&Payload> {
        self.filter_configs.iter().find(|(own, _)| own == name).map(|(_, config)| config)
    }
}
