//! Owns weighing a cluster's hosts by what they report of their load.

use std::sync::Arc;

use actix::prelude::*;

use super::Cluster;
use crate::{reported::weights, snapshot::Host};

// === impl Cluster ===

impl Cluster {
    /// Begins to weigh hosts, where that is asked for.
    pub(super) fn weigh_again_and_again(&self, ctx: &mut Context<Self>) {
        if let Some(weighing) = self.seed.plan.weighing {
            ctx.run_interval(weighing.every, |this, ctx| this.weigh(ctx));
        }
    }

    /// Each priority for itself, as in Envoy. What changes is published.
    fn weigh(&mut self, ctx: &mut Context<Self>) {
        let Some(weighing) = self.seed.plan.weighing else { return };
        let hosts = self.seed.publisher.read().hosts.clone();
        let last = hosts.iter().map(|host| host.endpoint.priority).max().unwrap_or(0);
        let mut changed = false;
        for priority in 0..=last {
            let of = |host: &&Arc<Host>| host.endpoint.priority == priority;
            let own: Vec<_> = hosts.iter().filter(of).collect();
            let reported = |host: &&Arc<Host>| host.reported.as_ref()?.weight(&weighing);
            let weights = weights(&own.iter().map(reported).collect::<Vec<_>>());
            for (host, weight) in own.into_iter().zip(weights) {
                changed |= host.weigh(weight);
            }
        }
        if changed {
            self.published_anyway(ctx);
            self.seed.publish(hosts.to_vec());
        }
    }
}
