//! Owns the reader's side of the control plane in one hand: what is published, and nothing that
//! changes it.

use std::{sync::Arc, time::SystemTime};

use crate::{
    address::Address,
    configured::Configured,
    failures::Failures,
    log_levels::LogLevels,
    plan::{ListenerPlan, Plan},
    published::Published,
    roster::Roster,
    runtime::Runtime,
    server_state::ServerState,
    snapshot::{Clusters, Tables},
    stats::Registry,
};

/// All that the control plane publishes. Cheap to clone, safe to send.
#[derive(Clone)]
pub struct View {
    /// Clusters by slot and by name.
    pub clusters: Published<Clusters>,
    /// Route tables by slot and by name.
    pub tables: Published<Tables>,
    /// Listeners that are bound.
    pub listeners: Published<Vec<BoundListener>>,
    /// The plan that was applied last.
    pub plan: Published<Plan>,
    /// The configuration behind it.
    pub configured: Published<Configured>,
    /// Where the admin port listens, once it does.
    pub admin: Published<Option<Address>>,
    /// Runtime values.
    pub runtime: Published<Runtime>,
    /// Log levels.
    pub log_levels: Published<LogLevels>,
    /// What is set for a time only.
    pub temporary: Published<Vec<Temporary>>,
    /// The process itself.
    pub server: Published<ServerState>,
    /// Stats.
    pub registry: Arc<Registry>,
    /// The last requests that failed.
    pub failures: Arc<Failures>,
    /// Who is on stage, and the journal.
    pub roster: Arc<Roster>,
}

/// A listener with the address it got from the kernel.
#[derive(Clone)]
pub struct BoundListener {
    /// What the configuration asks for.
    pub plan: Arc<ListenerPlan>,
    /// Where it listens.
    pub local: Address,
    /// Where else.
    pub additional: Vec<Address>,
    /// It no longer accepts (`/drain_listeners`).
    pub closed: bool,
}

/// Something that is set for a time (`ttl=10m`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Temporary {
    /// `runtime KEY`, `logger NAME` or `health`.
    pub what: String,
    /// The value that comes back; empty for an override that goes.
    pub back_to: String,
    /// When.
    pub until: SystemTime,
}
