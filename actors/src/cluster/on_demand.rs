//! Owns hosts that workers make (`ORIGINAL_DST`): that they are published, and that they leave when nobody uses them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;

use super::Cluster;
use crate::{
    on_demand::HOSTS_MAX,
    plan::Discovery,
    snapshot::Host,
    stats::{ClusterStat, HostStat},
};

/// Between one snapshot for new hosts and the next: those that come meanwhile come together, since whoever sends
/// requests may say where they go, and each snapshot costs as much as there are hosts.
const PAUSE: Duration = Duration::from_millis(50);

/// The shortest time between two looks at who is used.
const CLEANUP_MIN: Duration = Duration::from_millis(1);

/// What was seen at the last look at who is used. Lost with a fall, after which each host is looked at anew.
#[derive(Default)]
pub(super) struct Uses {
    /// What was counted of each host.
    counts: HashMap<*const Host, u64>,
    /// That there are as many hosts as there may be was said since.
    was_full: bool,
}

// === impl Cluster ===

impl Cluster {
    /// Begins to hear of hosts, and to let go of them; after a fall, anew.
    pub(super) fn begin_on_demand(&mut self, ctx: &mut Context<Self>) {
        let Discovery::OriginalDst { cleanup } = self.seed.plan.discovery else { return };
        ctx.run_interval(cleanup.max(CLEANUP_MIN), |this, ctx| this.let_go(ctx));
        self.take_made();
        self.hear_of_made(ctx);
    }

    fn hear_of_made(&self, ctx: &mut Context<Self>) {
        let shared = self.seed.publisher.read().shared.clone();
        let told = async move {
            match &shared.on_demand {
                Some(on_demand) => on_demand.told.notified().await,
                None => std::future::pending().await,
            }
        };
        ctx.spawn(told.into_actor(self).map(|(), this, ctx| {
            if this.take_made() {
                this.discover(ctx);
            }
            ctx.run_later(PAUSE, |this, ctx| this.hear_of_made(ctx));
        }));
    }

    /// Takes the hosts that workers have made, the first of each address; says whether there are any.
    fn take_made(&mut self) -> bool {
        let shared = self.seed.publisher.read().shared.clone();
        let Some(on_demand) = &shared.on_demand else { return false };
        let mut made = self.seed.made.borrow_mut();
        let before = made.len();
        let mut known: HashSet<_> = made.iter().map(|host| host.address).collect();
        made.extend(on_demand.made().into_iter().filter(|host| known.insert(host.address)));
        let new = made.len() - before;
        // Observed: Envoy 1.40 looks for a transport socket for each of them.
        shared.stats.add(ClusterStat::DefaultTotalMatchCount, new as u64);
        if on_demand.is_full() && !std::mem::replace(&mut self.uses.was_full, true) {
            let name = &self.seed.plan.name;
            tracing::warn!(
                target: "upstream",
                "cluster {name:?} has as many hosts as it may ({HOSTS_MAX}): requests to others are answered with 503"
            );
        }
        new > 0
    }

    /// Lets go of hosts that nobody has used since the last look.
    ///
    /// Observed: Envoy 1.40, which keeps a host as long as it has a connection, be it an idle one.
    fn let_go(&mut self, ctx: &mut Context<Self>) {
        let shared = self.seed.publisher.read().shared.clone();
        let waiting = shared.on_demand.iter().flat_map(|on_demand| on_demand.made());
        // Whoever has made it does not know yet that it was published.
        let waiting: HashSet<_> = waiting.map(|host| Arc::as_ptr(&host)).collect();
        let before = std::mem::take(&mut self.uses).counts;
        let uses = &mut self.uses.counts;
        let mut made = self.seed.made.borrow_mut();
        let all = made.len();
        made.retain(|host| {
            let (key, count) = (Arc::as_ptr(host), count(host));
            let used = is_busy(host) || waiting.contains(&key) || before.get(&key) != Some(&count);
            if used {
                uses.insert(key, count);
            }
            used
        });
        let some_left = made.len() < all;
        drop(made);
        if some_left {
            self.discover(ctx);
        }
    }
}

/// What goes up when a host is used.
fn count(host: &Host) -> u64 {
    let counters = [HostStat::CxTotal, HostStat::CxConnectFail, HostStat::RqTotal];
    counters.into_iter().map(|stat| host.stats.sum(stat)).sum()
}

/// Whether there is a connection to a host, or somebody waits for one.
fn is_busy(host: &Host) -> bool {
    let gauges = [HostStat::CxActive, HostStat::RqActive, HostStat::RqPendingActive];
    gauges.into_iter().any(|stat| host.stats.sum(stat) > 0)
}
