//! Owns the end: listeners close, answers in flight are finished, and the log says what is waited for.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use actix::prelude::*;
use tokio::time::Instant;

use super::Supervisor;
use crate::{
    command::{Applied, Quit},
    seams::Drain,
    settings::ShuttingDown,
    stats::{ListenerStat, Scope},
    worker::{TellLeaving, Unlisten},
};

/// How often it is looked whether connections are left.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long whoever asked us to end has to read our answer.
const LAST_ANSWER: Duration = Duration::from_millis(50);

/// After this, connections that were in the backlog when the listeners closed have had time to ask.
const NEWCOMERS: Duration = Duration::from_millis(250);

/// The process is ending.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    since: Instant,
    until: Instant,
    /// Seconds of waiting that were logged.
    logged: u64,
    newcomers_told: bool,
}

impl Supervisor {
    /// Ends the process; asked a second time, at once.
    pub(super) fn quit(&mut self, how: Quit, ctx: &mut Context<Self>) -> Applied {
        let patience = match (how, self.seed.ending.get()) {
            (Quit::Graceful(patience), None) => patience,
            (Quit::Now, None) => Duration::ZERO,
            (_, Some(_)) => {
                tracing::warn!(target: "main", "asked again to end: exiting at once");
                self.seed.exit.end(0);
                return Applied::Done;
            }
        };
        let (since, until) = (Instant::now(), Instant::now() + patience.max(LAST_ANSWER));
        let ending = Ending { since, until, logged: 0, newcomers_told: false };
        self.seed.ending.set(Some(ending));
        // A plan that is not in force yet opens nothing any more.
        self.seed.bound.borrow_mut().clear();
        self.seed.bound_admin.take();
        let open = self.seed.stage.roster().connections.load(Relaxed);
        tracing::info!(
            target: "main",
            "shutting down: listeners close; {open} connections have {patience:?} to end"
        );
        self.wait_for_the_end(ctx);
        Applied::Done
    }

    /// Closes what is open, and looks until nothing is left; after a fall, anew.
    pub(super) fn wait_for_the_end(&self, ctx: &mut Context<Self>) {
        if self.seed.ending.get().is_none() {
            return;
        }
        if let Some(settings) = &self.seed.children.borrow().settings {
            settings.do_send(ShuttingDown);
        }
        for child in self.seed.children.borrow_mut().listeners.values_mut() {
            child.closed = true;
            child.sockets.clear();
        }
        for worker in self.workers() {
            worker.do_send(Unlisten { name: None, drain: Drain::WhenIdle });
        }
        ctx.run_interval(LOOK_INTERVAL, |this, _| this.look_for_the_end());
    }

    fn look_for_the_end(&self) {
        let (now, Some(mut ending)) = (Instant::now(), self.seed.ending.get()) else { return };
        let left = self.seed.stage.roster().connections.load(Relaxed);
        let waited = now - ending.since;
        if (left == 0 && waited >= LAST_ANSWER) || now >= ending.until {
            if left > 0 {
                tracing::warn!(target: "main", "{left} connections are cut after {waited:?}");
            }
            tracing::info!(target: "main", "exiting");
            return self.seed.exit.end(0);
        }
        if waited >= NEWCOMERS && !ending.newcomers_told {
            ending.newcomers_told = true;
            let told = TellLeaving(Drain::WhenIdle);
            self.workers().iter().for_each(|worker| worker.do_send(told));
        }
        if waited.as_secs() > ending.logged {
            ending.logged = waited.as_secs();
            let what = self.open_connections();
            tracing::info!(target: "main", "waiting for {left} connections ({what}), {waited:.0?}");
        }
        self.seed.ending.set(Some(ending));
    }

    /// Which listeners have connections.
    fn open_connections(&self) -> String {
        let registry = &self.seed.stage.view.registry;
        let children = self.seed.children.borrow();
        let open = children.listeners.values().filter_map(|child| {
            let stats = registry.group::<ListenerStat>(Scope::listener(&child.plan.stat_prefix));
            let count = stats.sum(ListenerStat::DownstreamCxActive);
            (count > 0).then(|| format!("{}: {count}", child.plan.name))
        });
        open.collect::<Vec<_>>().join(", ")
    }
}
