//! Owns what is published of the configuration: what the file asks for, and what became of the last reload.

use std::{sync::Arc, time::SystemTime};

use crate::plan::{Payload, Plan};

/// The configuration in force.
#[derive(Clone, Default)]
pub struct Configured {
    /// What the file asks for; none before the first.
    pub base: Option<Arc<Base>>,
    /// What became of the last reload that somebody asked for.
    pub last_reload: Option<Arc<Reloaded>>,
}

/// A static configuration.
pub struct Base {
    /// What it asks for.
    pub plan: Plan,
    /// The document behind it, for those who show it.
    pub bootstrap: Payload,
    /// When it was read.
    pub loaded: SystemTime,
}

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// When.
    pub at: SystemTime,
    /// Who asked for it.
    pub who: String,
    /// What it changed, or why it changed nothing.
    pub outcome: Result<String, String>,
}

// === impl Base ===

impl From<Plan> for Base {
    /// A plan without a document.
    fn from(plan: Plan) -> Self {
        Self { plan, bootstrap: Arc::new(()), loaded: SystemTime::now() }
    }
}

// === impl Configured ===

impl Configured {
    /// The plan of all of it.
    pub(crate) fn plan(&self) -> Plan {
        self.base.as_ref().map(|base| base.plan.clone()).unwrap_or_default()
    }
}
