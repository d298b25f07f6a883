//! Owns what is said of upgrades: which protocols may take a stream over, and what is done about it.

use super::http::RouterConfig;
use crate::filter::Placed;

/// The name under which CONNECT is one of the upgrades.
pub const CONNECT: &str = "CONNECT";

/// `HttpConnectionManager.UpgradeConfig`.
#[derive(Debug)]
pub struct Upgrade {
    /// `upgrade_type`; case does not matter.
    pub name: String,
    /// `enabled`; Envoy's default is true. A route can say otherwise.
    pub enabled: bool,
    /// `filters` before the router, in place of the connection manager's own, if there are any.
    pub filters: Option<Vec<Placed>>,
    /// The last of `filters`.
    pub router: RouterConfig,
}

/// `RouteAction.UpgradeConfig`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteUpgrade {
    /// `upgrade_type`; case does not matter.
    pub name: String,
    /// `enabled`; Envoy's default is true.
    pub enabled: bool,
    /// `connect_config`: the payload of a CONNECT goes to the host as it is.
    pub connect: Option<ConnectConfig>,
}

/// `RouteAction.UpgradeConfig.ConnectConfig`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConnectConfig {
    /// `allow_post`: a POST is taken for a CONNECT.
    pub allow_post: bool,
}
