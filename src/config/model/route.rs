//! Owns the compiled route configuration: what the route table is built from.

use std::{sync::Arc, time::Duration};

use regex::bytes::Regex;
use understudy_actors::{
    plan::{Payload, Slot},
    runtime::Share,
};

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

/// `RouteMatch`.
#[derive(Debug)]
pub struct RouteMatch {
    /// The path, without its query.
    pub path: PathMatch,
    /// `case_sensitive`; Envoy's default is true.
    pub case_sensitive: bool,
    /// `runtime_fraction`: only so many of the requests.
    pub fraction: Option<RuntimeFraction>,
}

/// `RuntimeFractionalPercent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFraction {
    /// `default_value`.
    pub default: Share,
    /// `runtime_key`; empty for none.
    pub key: String,
}

/// `RouteMatch.path_specifier`.
#[derive(Debug)]
pub enum PathMatch {
    /// `prefix`: plain text.
    Prefix(String),
    /// `path`: the whole of it.
    Exact(String),
    /// `safe_regex`: the whole of it, anchored when compiled.
    Regex(Regex),
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

/// `RouteAction` to a cluster.
#[derive(Debug)]
pub struct Forward {
    /// The cluster's slot in the directory.
    pub cluster: Slot,
    /// Its name, for logs and errors.
    pub cluster_name: String,
    /// `timeout`; Envoy's default is 15 s; `None` is off.
    pub timeout: Option<Duration>,
    /// `timeout` in milliseconds, as the upstream is told of it; empty for none.
    pub timeout_ms: String,
    /// `idle_timeout`; `None` takes the connection manager's `stream_idle_timeout`.
    pub idle_timeout: Option<Duration>,
    /// `prefix_rewrite`; empty for none.
    pub prefix_rewrite: String,
    /// `host_rewrite_literal`; empty for none.
    pub host_rewrite: String,
    /// `cluster_not_found_response_code`; Envoy's default is 503.
    pub cluster_not_found_status: u16,
}

/// `RedirectAction`.
#[derive(Debug)]
pub struct Redirect {
    /// `https_redirect` or `scheme_redirect`; empty keeps the scheme.
    pub scheme: String,
    /// `host_redirect`; empty keeps the host.
    pub host: String,
    /// `port_redirect`; 0 keeps the port.
    pub port: u16,
    /// `path_redirect` (path and perhaps query), `prefix_rewrite`, or neither.
    pub path: RedirectPath,
    /// `strip_query`.
    pub strip_query: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// `RedirectAction.path_rewrite_specifier`.
#[derive(Debug)]
pub enum RedirectPath {
    /// The request's own.
    Keep,
    /// `path_redirect`.
    Replace(String),
    /// `prefix_rewrite`.
    Prefix(String),
}

/// `DirectResponseAction`.
#[derive(Debug)]
pub struct DirectResponse {
    /// `status`.
    pub status: u16,
    /// `body`, read at load when it is a file.
    pub body: Vec<u8>,
}

// === impl Route ===

impl Route {
    /// The route's configuration for the filter of this name.
    pub fn filter_config(&self, name: &str) -> Option<&Payload> {
        self.filter_configs.iter().find(|(own, _)| own == name).map(|(_, config)| config)
    }
}
