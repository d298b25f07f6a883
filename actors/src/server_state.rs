//! Owns what is published about the process itself.

use std::time::SystemTime;

/// `server_info.state`, with the numbers of the gauge `server.state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifecycle {
    /// Serving.
    Live = 0,
    /// Told to fail health checks, or going down.
    Draining = 1,
    /// Before clusters have their first answer.
    PreInitializing = 2,
    /// Waiting for other first configuration.
    Initializing = 3,
}

/// One value: no reader sees half a change.
#[derive(Clone, Debug)]
pub struct ServerState {
    /// When the process began.
    pub started: SystemTime,
    /// Where initialization stands, whatever health checks are told.
    pub initialization: Lifecycle,
    /// `/healthcheck/fail` is in force.
    pub health_failed: bool,
    /// The process is ending: every answer tells its connection to end.
    pub shutting_down: bool,
    /// `/stats/recentlookups/enable` is in force.
    pub tracks_lookups: bool,
    /// Names of clusters whose first answer is missing, for `/init_dump` and the log.
    pub unready: Vec<String>,
}

// === impl ServerState ===

impl ServerState {
    /// The state at the start of the process.
    pub fn starting(started: SystemTime) -> Self {
        Self {
            started,
            initialization: Lifecycle::PreInitializing,
            health_failed: false,
            shutting_down: false,
            tracks_lookups: false,
            unready: Vec::new(),
        }
    }

    /// What `/ready` and `/server_info` say.
    pub fn lifecycle(&self) -> Lifecycle {
        match self.health_failed || self.shutting_down {
            true => Lifecycle::Draining,
            false => self.initialization,
        }
    }

    /// Whether answers tell their connection to end (`connection: close`, GOAWAY).
    pub fn draining(&self) -> bool {
        self.health_failed || self.shutting_down
    }
}

impl Lifecycle {
    /// Envoy's spelling.
    pub fn name(self) -> &'static str {
        match self {
            Lifecycle::Live => "LIVE",
            Lifecycle::Draining => "DRAINING",
            Lifecycle::PreInitializing => "PRE_INITIALIZING",
            Lifecycle::Initializing => "INITIALIZING",
        }
    }
}
