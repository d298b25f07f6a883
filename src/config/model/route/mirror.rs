//! Owns what a route says about copies of its requests.

use understudy_actors::plan::Slot;

use super::RuntimeFraction;

/// `RouteAction.RequestMirrorPolicy`.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where the copy goes.
    pub target: MirrorTarget,
    /// `runtime_fraction`; `None` is every request.
    pub fraction: Option<RuntimeFraction>,
    /// The copy's host; empty for the request's own.
    pub host: String,
    /// `-shadow` is appended to the host, unless `disable_shadow_host_suffix_append`.
    pub suffix: bool,
}

/// `cluster` or `cluster_header`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MirrorTarget {
    /// The cluster in this slot.
    Cluster(Slot),
    /// The cluster that this header of the request names.
    Header(String),
}
