//! Owns initialization: which clusters have not answered yet, and when we call ourselves live.

use std::time::Duration;

use actix::prelude::*;
use futures_util::future::join_all;
use tokio::time::Instant;

use super::Supervisor;
use crate::{
    cluster::Warmed, server_state::Lifecycle, settings::Progressed, stats::ListenerManagerStat,
    worker::Ping,
};

/// How long clusters that do not answer are waited for: by `/ready` at the start, by the routes that need
/// them when an update brings them.
pub(super) const FIRST_ANSWERS_WAIT: Duration = Duration::from_secs(5);

impl Supervisor {
    /// Looks whether all clusters that are waited for have answered; if so, or if they had their time, and
    /// once the workers listen, we are live.
    pub(super) fn look_ready(&mut self, ctx: &mut Context<Self>) {
        let unready = self.unready();
        let Some(until) = self.seed.ready_by.get() else {
            // There is no plan yet.
            return;
        };
        if self.seed.live.get() {
            return self.progressed(Lifecycle::Live, unready);
        }
        let waited = Instant::now() >= until;
        if !unready.is_empty() && !waited {
            return self.progressed(Lifecycle::PreInitializing, unready);
        }
        self.progressed(Lifecycle::Initializing, unready);
        let listening = join_all(self.workers().into_iter().map(|worker| worker.send(Ping)));
        ctx.spawn(listening.into_actor(self).map(|_, this, _| this.live()));
    }

    fn live(&self) {
        if self.seed.live.replace(true) {
            return;
        }
        let unready = self.unready();
        if !unready.is_empty() {
            let names = unready.join(", ");
            tracing::warn!(target: "main", "serving without a first answer for: {names}");
        }
        self.seed.note("live", unready.join(", "));
        self.seed.listener_manager.set(ListenerManagerStat::WorkersStarted, 1);
        tracing::info!(target: "main", "starting main dispatch loop");
        self.progressed(Lifecycle::Live, unready);
    }

    fn progressed(&self, to: Lifecycle, unready: Vec<String>) {
        let state = self.seed.stage.view.server.read();
        let settings = &self.seed.children.borrow().settings;
        let news = state.initialization != to || state.unready != unready;
        if let Some(settings) = settings.as_ref().filter(|_| news) {
            settings.do_send(Progressed { to, unready });
        }
    }

    /// Names of clusters whose first answer is missing.
    fn unready(&self) -> Vec<String> {
        let children = self.seed.children.borrow();
        let all = children.clusters.values().chain(children.warming.values());
        all.filter(|child| child.plan.wait_for_warm && !child.published.read().ready)
            .map(|child| child.plan.name.clone())
            .collect()
    }
}

impl Handler<Warmed> for Supervisor {
    type Result = ();

    fn handle(&mut self, Warmed { cluster }: Warmed, ctx: &mut Context<Self>) {
        tracing::debug!(target: "upstream", "cluster {cluster:?} has its first answer");
        // It may be the last that an update waits for. The start waits for none: what it could do is done,
        // and doing it again for each of a thousand clusters would take seconds.
        let awaited = self.seed.live.get() && self.seed.warm_by.get().is_some();
        let wanted = self.seed.wanted.borrow().clone();
        if awaited && !self.is_cold(&wanted) {
            self.reconcile(ctx);
        } else {
            self.look_ready(ctx);
        }
    }
}
