//! Owns counting what drains: listeners that were removed and chains that were replaced, for the drain time.

use actix::prelude::*;
use tokio::time::Instant;

use super::Supervisor;
use crate::stats::ListenerManagerStat;

/// Until when each of them is counted.
#[derive(Default)]
pub(super) struct Draining {
    pub(super) listeners: Vec<Instant>,
    pub(super) chains: Vec<Instant>,
}

impl Supervisor {
    /// Counts what has begun to drain; after a fall, what still does.
    ///
    /// Observed: Envoy 1.40 counts for the whole drain time, connections or not.
    pub(super) fn count_draining(&self, ctx: &mut Context<Self>) {
        let (now, mut draining) = (Instant::now(), self.seed.draining.borrow_mut());
        let Draining { listeners, chains } = &mut *draining;
        let stats = &self.seed.listener_manager;
        for (ends, stat) in [
            (&mut *listeners, ListenerManagerStat::TotalListenersDraining),
            (&mut *chains, ListenerManagerStat::TotalFilterChainsDraining),
        ] {
            ends.retain(|end| *end > now);
            stats.set(stat, ends.len() as u64);
        }
        let next = listeners.iter().chain(chains.iter()).min();
        let again =
            |next: &Instant| ctx.run_later(*next - now, |this, ctx| this.count_draining(ctx));
        if let Some(before) = self.counts_again.replace(next.map(again)) {
            ctx.cancel_future(before);
        }
    }
}
