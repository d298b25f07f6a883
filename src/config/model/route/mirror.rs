//! Owns what a route says about copies of its requests.

use understudy_actors::plan::Slot;

use super::{HeaderEdits, RuntimeFraction};

/// `RouteAction.RequestMirrorPolicy`.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where the copy goes.
    pub target: MirrorTarget,
    /// `runtime_fraction`; `None` is every request.
    pub fraction: Option<RuntimeFraction>,
    /// The copy's host; empty for the request's own.
    pub host: String,
    /// `request_headers_mutations`: done to the copy alone, one after the other.
    pub edits: Vec<HeaderEdits>,
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
