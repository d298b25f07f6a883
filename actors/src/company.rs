//! Owns raising the company: from options and seams to a running supervisor, and the handle to ask it.

use std::{
    rc::Rc,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use actix::prelude::*;
use tokio::sync::watch;

use crate::{
    command::{Applied, Command, Refusal},
    configured::{Base, Configured},
    failures::Failures,
    plan::Plan,
    published::Publisher,
    roster::Roster,
    settings::{Flush, SettingsSeed},
    snapshot::{Clusters, Tables},
    stage::{Options, Seams, Stage, Threads},
    stats::{Group, Registry, Scope, ServerStat},
    supervise::supervise,
    supervisor::{
        Ask, Begin, BindError, Exits, Publishers, Supervisor, SupervisorSeed, fallen_itself,
        own_falls, watch_control,
    },
    view::View,
};

/// How long a command may take to be in force.
const COMMAND_WAIT: Duration = Duration::from_secs(10);

/// The company before it is raised: everything is published already, nobody acts yet.
pub struct Company {
    options: Options,
    publishers: Publishers,
    settings: SettingsSeed,
    configured: Publisher<Configured>,
    view: View,
    commander: Commander,
}

/// Asks the supervisor for changes. Cheap to clone, safe to send.
#[derive(Clone)]
pub struct Commander {
    supervisor: Arc<OnceLock<Addr<Supervisor>>>,
    roster: Arc<Roster>,
}

/// Resolves when the process shall end.
pub struct Exit {
    code: watch::Receiver<Option<i32>>,
}

/// Why a plan is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The supervisor fell while it applied the plan.
    #[error("the supervisor did not answer: {0}")]
    Unavailable(String),
}

// === impl Company ===

impl Company {
    /// Prepares everything that readers need.
    pub fn prepare(options: Options) -> Self {
        let registry = Arc::new(Registry::new(options.concurrency));
        let started = SystemTime::now();
        let (roster, levels) = (Arc::new(Roster::default()), options.log_levels.clone());
        let settings = SettingsSeed::new(registry.clone(), roster.clone(), levels, started);
        let publishers = Publishers {
            clusters: Publisher::new(Clusters::default()),
            tables: Publisher::new(Tables::default()),
            listeners: Publisher::new(Vec::new()),
            plan: Publisher::new(Plan::default()),
            admin: Publisher::new(None),
        };
        let configured = Publisher::new(Configured::default());
        let view = View {
            clusters: publishers.clusters.subscribe(),
            tables: publishers.tables.subscribe(),
            listeners: publishers.listeners.subscribe(),
            plan: publishers.plan.subscribe(),
            configured: configured.subscribe(),
            admin: publishers.admin.subscribe(),
            runtime: settings.runtime.subscribe(),
            log_levels: settings.log_levels.subscribe(),
            temporary: settings.temporary.subscribe(),
            server: settings.server.subscribe(),
            registry,
            failures: Arc::new(Failures::new(options.concurrency)),
            roster: roster.clone(),
        };
        let commander = Commander { supervisor: Arc::default(), roster };
        Self { options, publishers, settings, configured, view, commander }
    }

    /// What is published.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Who to ask for changes.
    pub fn commander(&self) -> &Commander {
        &self.commander
    }

    /// Raises everybody. Called on the thread of the control actors.
    pub fn raise(self, seams: Seams) -> Exit {
        let front_desk = match Arbiter::try_new() {
            Ok(arbiter) => arbiter.handle(),
            Err(error) => {
                tracing::warn!(target: "admin", "no thread for the admin port, it shares one: {error}");
                Arbiter::current()
            }
        };
        let registry = self.view.registry.clone();
        let threads = Threads::Own { front_desk: front_desk.clone() };
        let (exit, supervisor) = self.raise_on(threads, seams);
        front_desk.spawn(watch_control(supervisor, registry));
        exit
    }

    /// The same on threads of the caller's choice.
    pub(crate) fn raise_on(self, threads: Threads, seams: Seams) -> (Exit, Addr<Supervisor>) {
        let Self { options, publishers, settings, configured, view, commander } = self;
        let (code, exit) = watch::channel(None);
        let exits = Exits { code: Arc::new(code), roster: view.roster.clone() };
        let stage = Stage { view, seams, options, threads };
        gauge_start(&stage);
        let cast = stage.cast("Supervisor", "supervisor", "", exits.clone().reports());
        let seed = SupervisorSeed::new(stage, publishers, settings, configured, exits);
        let supervisor = supervise(cast, |_| Supervisor::new(Rc::new(seed)));
        // Set once: a company is raised once.
        let _ = commander.supervisor.set(supervisor.clone());
        (Exit { code: exit }, supervisor)
    }
}

fn gauge_start(stage: &Stage) {
    let stats: Arc<Group<ServerStat>> = stage.view.registry.group(Scope::plain("server."));
    stats.set(ServerStat::Concurrency, stage.options.concurrency as u64);
    // Envoy's word for "there is no certificate".
    stats.set(ServerStat::DaysUntilFirstCertExpiring, u64::from(u32::MAX));
    // Set once and never changed. Observed: Envoy 1.40 `/stats?usedonly` at the start.
    for never in [
        ServerStat::CompilationSettingsFipsMode,
        ServerStat::StatsRecentLookups,
        ServerStat::Version,
    ] {
        stats.set(never, 0);
    }
}

// === impl Commander ===

impl Commander {
    /// Asks for a change; the answer comes when it is in force, or refused.
    pub async fn apply(&self, who: impl Into<String>, command: Command) -> Applied {
        let unavailable = |why: &str| Applied::Refused(Refusal::Unavailable(why.to_owned()));
        let Some(supervisor) = self.supervisor.get() else {
            return unavailable("it is not there yet");
        };
        let own_falls = own_falls(&self.roster, &command);
        let ask = Ask { who: who.into(), command };
        match (supervisor.send(ask).timeout(COMMAND_WAIT).await, own_falls) {
            (Ok(Applied::Done), Some(before)) => fallen_itself(&self.roster, before).await,
            (Ok(applied), _) => applied,
            (Err(error), _) => unavailable(&error.to_string()),
        }
    }

    /// Says that somebody has looked at the stats: intervals of histograms end. Not answered, and not said
    /// again while too much waits for the supervisor: whoever looks next says it.
    pub fn flush_stats(&self) {
        if let Some(supervisor) = self.supervisor.get() {
            let _ = supervisor.try_send(Flush);
        }
    }

    /// Puts a static configuration in force.
    ///
    /// # Errors
    ///
    /// [`ApplyError`]; nothing has changed then.
    pub async fn install(&self, base: impl Into<Base>) -> Result<(), ApplyError> {
        let unavailable = |why: String| ApplyError::Unavailable(why);
        let supervisor = self.supervisor.get();
        let supervisor = supervisor.ok_or_else(|| unavailable("it is not there yet".to_owned()))?;
        let installed = supervisor.send(Begin(Arc::new(base.into()))).await;
        installed.map_err(|error| unavailable(error.to_string()))?
    }
}

// === impl Exit ===

impl Exit {
    /// Waits for the end; gives the exit code.
    pub async fn wait(&mut self) -> i32 {
        loop {
            if let Some(code) = *self.code.borrow_and_update() {
                return code;
            }
            if self.code.changed().await.is_err() {
                // The supervisor is gone for good, which it never is of its own will.
                return 1;
            }
        }
    }
}
