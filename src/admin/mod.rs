//! Owns the admin port's face: endpoints that read what is published, or name a command. Nothing here can
//! change anything itself.

mod actors;
mod answer;
mod ask;
mod certs;
mod clusters;
mod config_dump;
mod dns;
mod doc;
mod drain;
mod endpoint;
mod endpoints;
mod explain;
mod face;
mod failures;
mod help;
mod home;
mod json;
mod list;
mod listeners;
mod logging;
mod mask;
mod memory;
mod overview;
mod profiler;
mod reload;
mod runtime;
mod server_info;
mod simple;
mod stats;

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use understudy_actors::view::View;

pub use answer::{Answer, Body};
pub use ask::Ask;
pub use endpoint::{Action, Endpoint, Origin, Param, ParamKind};
pub use face::AdminFace;
pub use list::ENDPOINTS;
pub use profiler::Profiler;

use crate::{
    cli::Flags,
    config::{Message, compile::Node, model::stats::StatsRules},
};

/// What endpoints read from.
pub struct Desk {
    /// What the control plane publishes.
    pub view: View,
    /// What does not change while the process runs.
    pub facts: Facts,
}

// === impl Desk ===

impl Desk {
    /// The static configuration in force, and when it was read; none before the first.
    fn bootstrap(&self) -> Option<(Arc<Message>, SystemTime)> {
        let base = self.view.configured.read().base.clone()?;
        Some((base.bootstrap.clone().downcast().ok()?, base.loaded))
    }
}

/// What does not change while the process runs.
pub struct Facts {
    /// Who we are.
    pub node: Node,
    /// Which stats are shown, and how.
    pub stats: Arc<StatsRules>,
    /// The command line.
    pub flags: Flags,
    /// Our address, which stands in the access log for a client on this machine, as in Envoy.
    pub own_address: IpAddr,
}
