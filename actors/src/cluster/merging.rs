//! Owns holding back changes of health alone: many that come together are published as one.
//!
//! Source: `CommonLbConfig.update_merge_window`. Hosts that come or go are published at once, with all that was held.

use std::time::Duration;

use actix::prelude::*;
use tokio::time::Instant;

use super::Cluster;
use crate::stats::ClusterManagerStat;

/// What is held back. Lost with a fall, after which everything is published anew.
#[derive(Default)]
pub(super) struct Merging {
    last: Option<Instant>,
    held: Option<SpawnHandle>,
}

impl Cluster {
    /// Publishes that the health of some hosts is another, now or with what else comes within the window.
    pub(super) fn publish_health(&mut self, ctx: &mut Context<Self>) {
        let snapshot = self.seed.publisher.read();
        let window = self.seed.plan.merge_window;
        if window.is_zero() || !snapshot.ready {
            return self.seed.publish(snapshot.hosts.to_vec());
        }
        if self.merging.held.is_some() {
            return;
        }
        match self.merging.last.map(|last| last.elapsed()) {
            Some(since) if since < window => self.hold_back(window, ctx),
            since => {
                if since.is_some() {
                    self.seed.count(ClusterManagerStat::UpdateOutOfMergeWindow);
                }
                self.merging.last = Some(Instant::now());
                self.seed.publish(snapshot.hosts.to_vec());
            }
        }
    }

    fn hold_back(&mut self, window: Duration, ctx: &mut Context<Self>) {
        self.merging.held = Some(ctx.run_later(window, |this, _| {
            this.merging = Merging { last: Some(Instant::now()), held: None };
            this.seed.count(ClusterManagerStat::ClusterUpdatedViaMerge);
            this.seed.publish(this.seed.publisher.read().hosts.to_vec());
        }));
    }

    /// Everything is about to be published for another reason.
    pub(super) fn published_anyway(&mut self, ctx: &mut Context<Self>) {
        if let Some(held) = self.merging.held.take() {
            ctx.cancel_future(held);
            self.seed.count(ClusterManagerStat::UpdateMergeCancelled);
        }
        // What comes while a cluster gets ready is no reason to wait.
        self.merging.last = self.seed.publisher.read().ready.then(Instant::now);
    }
}
