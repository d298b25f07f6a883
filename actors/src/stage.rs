//! Owns what every control actor stands on: what is published, who to ask, and where to run.

use std::{io, sync::Arc, time::Duration};

use actix::prelude::*;

use crate::{
    plan::Plan,
    roster::Roster,
    seams::{Balance, Face, Load, MakeServe, Probe, Record, Resolve, Understand},
    secrets::Secrets,
    supervise::{Cast, Reports},
    view::View,
};

/// The upper crate's side of the seams.
#[derive(Clone)]
pub struct Seams {
    /// Drives connections.
    pub serve: Arc<dyn MakeServe>,
    /// Asks DNS.
    pub resolve: Arc<dyn Resolve>,
    /// Asks hosts whether they are well.
    pub probe: Arc<dyn Probe>,
    /// Builds balancers' tables.
    pub balance: Arc<dyn Balance>,
    /// Writes down what happens to hosts.
    pub record: Arc<dyn Record>,
    /// Answers on the admin port.
    pub face: Arc<dyn Face>,
    /// Reads the static configuration.
    pub load: Arc<dyn Load>,
    /// Understands what discovery sends.
    pub understand: Arc<dyn Understand>,
    /// Where the secrets of it stand.
    pub secrets: Arc<Secrets>,
    /// What the process does beside the actors: logs, profiler.
    pub house: Arc<dyn House>,
}

/// Changes outside of any actor's state that a command asks for.
pub trait House: Send + Sync + 'static {
    /// Opens log files again.
    fn reopen_logs(&self);

    /// Starts or stops the CPU profiler.
    ///
    /// # Errors
    ///
    /// Why it did not start, or could not write.
    fn profile_cpu(&self, on: bool) -> Result<(), String>;

    /// Another plan is in force.
    fn plan_in_force(&self, plan: &Plan);
}

/// How the company is set up; fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--concurrency`: workers.
    pub concurrency: usize,
    /// `--drain-time-s`: how long connections are discouraged before they are closed.
    pub drain_time: Duration,
    /// `--drain-strategy`: over how long they are chosen one by one; zero discourages all at once.
    pub drain_sequence: Duration,
    /// `--enable-drills`: `/actors/kill` is allowed.
    pub drills: bool,
    /// Log levels to begin with.
    pub log_levels: crate::log_levels::LogLevels,
}

/// What an actor is handed when it is made. Cheap to clone.
#[derive(Clone)]
pub struct Stage {
    /// Everything that is published.
    pub view: View,
    /// The upper crate.
    pub seams: Seams,
    /// How the company is set up.
    pub options: Options,
    /// Where actors run.
    pub(crate) threads: Threads,
}

/// Which thread an actor runs on. A control actor never shares a worker's.
#[derive(Clone)]
pub(crate) enum Threads {
    /// Each worker its own, and the admin port its own: a slow reader there delays nobody.
    Own {
        /// The admin port's.
        front_desk: ArbiterHandle,
    },
    /// All on one, so that a test can pause its clock.
    #[cfg(test)]
    One(ArbiterHandle),
}

// === impl Stage ===

impl Stage {
    /// A place in the company's list.
    pub(crate) fn cast(
        &self,
        role: &'static str,
        name: impl Into<String>,
        parent: &str,
        reports: Reports,
    ) -> Cast {
        let (roster, name, parent) = (self.roster().clone(), name.into(), parent.to_owned());
        Cast { roster, role, name, parent, reports }
    }

    /// The company's list.
    pub fn roster(&self) -> &Arc<Roster> {
        &self.view.roster
    }
}

// === impl Threads ===

impl Threads {
    /// Where the admin port runs.
    pub(crate) fn front_desk(&self) -> ArbiterHandle {
        match self {
            Threads::Own { front_desk } => front_desk.clone(),
            #[cfg(test)]
            Threads::One(all) => all.clone(),
        }
    }

    /// A thread for a worker.
    ///
    /// # Errors
    ///
    /// The system gives no thread, or no event queue for it.
    pub(crate) fn worker(&self) -> io::Result<ArbiterHandle> {
        match self {
            Threads::Own { .. } => Arbiter::try_new().map(|arbiter| arbiter.handle()),
            #[cfg(test)]
            Threads::One(all) => Ok(all.clone()),
        }
    }
}
