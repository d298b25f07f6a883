//! Owns the watchdog: every worker answers a ping each second, and so does the control plane.
//!
//! Source: `config.bootstrap.v3.Watchdog`, with Envoy's defaults.

use std::{cell::RefCell, collections::HashSet, sync::Arc, time::Duration};

use actix::prelude::*;

use super::Supervisor;
use crate::{
    stats::{Group, Registry, Scope, WatchdogStat},
    worker::{Ping, Worker},
};

/// How often is pinged.
const INTERVAL: Duration = Duration::from_secs(1);

/// `miss_timeout`.
const MISS: Duration = Duration::from_millis(200);

/// `megamiss_timeout`.
const MEGA_MISS: Duration = Duration::from_secs(1);

/// What the watchdog has seen of the workers.
pub(super) struct Watched {
    all: Arc<Group<WatchdogStat>>,
    each: Vec<Arc<Group<WatchdogStat>>>,
    /// Workers whose answer is awaited.
    awaited: RefCell<HashSet<usize>>,
}

// === impl Watched ===

impl Watched {
    pub(super) fn new(registry: &Registry) -> Self {
        let each = |index| registry.group(Scope::server_worker(index));
        Self {
            all: registry.group(Scope::plain("workers.")),
            each: (0..registry.workers()).map(each).collect(),
            awaited: RefCell::default(),
        }
    }

    fn missed(&self, index: usize, stat: WatchdogStat) {
        self.all.add(stat, 1);
        if let Some(own) = self.each.get(index) {
            own.add(stat, 1);
        }
    }
}

impl Supervisor {
    pub(super) fn watch_each_second(&self, ctx: &mut Context<Self>) {
        // Whoever was awaited was so by an actor that fell.
        self.seed.watchdog.awaited.borrow_mut().clear();
        ctx.run_interval(INTERVAL, |this, ctx| {
            if this.workers().iter().any(|worker| !worker.connected()) {
                this.seed.note("worker lost", "its thread is gone; it is made anew");
                this.reconcile(ctx);
            }
            for (index, worker) in this.workers().into_iter().enumerate() {
                if this.seed.watchdog.awaited.borrow_mut().insert(index) {
                    this.watch(index, worker, ctx);
                }
            }
        });
    }

    fn watch(&self, index: usize, worker: Addr<Worker>, ctx: &mut Context<Self>) {
        let seed = self.seed.clone();
        let watching = async move {
            let answered = ping(worker, |stat| seed.watchdog.missed(index, stat)).await;
            if let Some(after) = answered {
                let detail = format!("worker/{index} was stuck for {after:?}");
                tracing::warn!(target: "main", "watchdog: {detail}");
                seed.note("stuck", detail);
            }
            seed.watchdog.awaited.borrow_mut().remove(&index);
        };
        ctx.spawn(watching.into_actor(self));
    }
}

/// Pings once; says how long the answer took if that was far too long.
async fn ping<A>(actor: Addr<A>, missed: impl Fn(WatchdogStat)) -> Option<Duration>
where
    A: Actor<Context = Context<A>> + Handler<Ping>,
{
    let begun = tokio::time::Instant::now();
    let mut answer = Box::pin(actor.send(Ping));
    if tokio::time::timeout(MISS, &mut answer).await.is_ok() {
        return None;
    }
    missed(WatchdogStat::Miss);
    if tokio::time::timeout(MEGA_MISS - MISS, &mut answer).await.is_ok() {
        return None;
    }
    missed(WatchdogStat::MegaMiss);
    // A mailbox that is closed is no longer stuck either.
    let _ = answer.await;
    Some(begun.elapsed())
}

/// Watches the control plane's own thread from another one, for ever.
pub(crate) async fn watch_control(supervisor: Addr<Supervisor>, registry: Arc<Registry>) {
    let groups: [Arc<Group<WatchdogStat>>; 2] =
        ["main_thread.", "server.main_thread."].map(|at| registry.group(Scope::plain(at)));
    while supervisor.connected() {
        tokio::time::sleep(INTERVAL).await;
        let missed = |stat| groups.iter().for_each(|group| group.add(stat, 1));
        if let Some(after) = ping(supervisor.clone(), missed).await {
            tracing::warn!(target: "main", "watchdog: the control plane was stuck for {after:?}");
        }
    }
}

impl Handler<Ping> for Supervisor {
    type Result = ();

    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {}
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Takes its time to answer.
    struct Slow(Duration);

    impl Actor for Slow {
        type Context = Context<Self>;
    }

    impl Handler<Ping> for Slow {
        type Result = ResponseFuture<()>;

        fn handle(&mut self, _: Ping, _: &mut Context<Self>) -> Self::Result {
            Box::pin(tokio::time::sleep(self.0))
        }
    }

    #[actix::test]
    async fn a_miss_is_counted_after_200_ms_and_a_mega_miss_after_a_second() {
        tokio::time::pause();
        for (ms, misses, mega_misses) in [(100, 0, 0), (500, 1, 0), (3000, 1, 1)] {
            let seen = RefCell::new(Vec::new());
            let slow = Slow(Duration::from_millis(ms)).start();
            let stuck = ping(slow, |stat| seen.borrow_mut().push(stat)).await;
            let count = |stat| seen.borrow().iter().filter(|seen| **seen == stat).count();
            let counted = (count(WatchdogStat::Miss), count(WatchdogStat::MegaMiss));
            assert_eq!(counted, (misses, mega_misses), "{ms} ms");
            assert_eq!(stuck.map(|after| after.as_secs()), (ms == 3000).then_some(3));
        }
    }
}
