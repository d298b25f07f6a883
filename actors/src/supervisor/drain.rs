//! Owns `/drain_listeners`: listeners close, at once or after their connections were discouraged.

use actix::prelude::*;
use futures_util::future::{LocalBoxFuture, join_all};
use tokio::time::Instant;

use super::Supervisor;
use crate::{
    command::{Applied, DrainListeners},
    seams::Drain,
    stats::ListenerManagerStat,
    worker::{DiscourageThose, Unlisten},
};

/// Listeners that will close when the drain time is over.
#[derive(Clone)]
pub(super) struct Closing {
    names: Vec<String>,
    at: Instant,
}

impl Supervisor {
    /// Observed: Envoy 1.40. Connections are discouraged in any case; `skip_exit` closes no listener, `graceful`
    /// closes them after the drain time, and without either they close at once. Connections stay; `/listeners`
    /// lists closed ones still, and the state stays `LIVE`.
    pub(super) fn drain_listeners(
        &mut self,
        how: DrainListeners,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Applied> {
        let chosen: Vec<String> = (self.seed.children.borrow().listeners.values())
            .filter(|child| !child.closed && (!how.inbound_only || child.plan.inbound))
            .map(|child| child.plan.name.clone())
            .collect();
        let options = &self.seed.stage.options;
        let (workers, over) = (self.workers(), options.drain_sequence);
        let orders = workers.iter().flat_map(|worker| {
            chosen
                .iter()
                .map(move |name| worker.send(DiscourageThose { listener: name.clone(), over }))
        });
        let told = join_all(orders);
        let closing: LocalBoxFuture<'static, ()> = match (how.skip_exit, how.graceful) {
            (true, _) => Box::pin(async {}),
            (false, true) => {
                let at = Instant::now() + options.drain_time;
                self.seed.closing.borrow_mut().push(Closing { names: chosen, at });
                self.close_when_due(ctx);
                Box::pin(async {})
            }
            (false, false) => Box::pin(self.close_listeners(&chosen)),
        };
        let done = async move {
            told.await;
            closing.await;
        };
        Box::pin(done.into_actor(self).map(|(), _, _| Applied::Done))
    }

    /// Arms what is to close later; after a fall, anew.
    pub(super) fn close_when_due(&self, ctx: &mut Context<Self>) {
        let next = self.seed.closing.borrow().iter().map(|closing| closing.at).min();
        let Some(next) = next else { return };
        ctx.run_later(next.saturating_duration_since(Instant::now()), |this, ctx| {
            let now = Instant::now();
            let due: Vec<Closing> = {
                let mut closing = this.seed.closing.borrow_mut();
                let due = closing.iter().filter(|closing| closing.at <= now).cloned().collect();
                closing.retain(|closing| closing.at > now);
                due
            };
            for closing in due {
                let closed = this.close_listeners(&closing.names);
                ctx.spawn(closed.into_actor(this));
            }
            this.close_when_due(ctx);
        });
    }

    /// Closes listeners; the future says when every worker has. Their connections stay.
    fn close_listeners(&self, names: &[String]) -> impl Future<Output = ()> + 'static {
        let (seed, workers) = (&self.seed, self.workers());
        let mut children = seed.children.borrow_mut();
        for name in names {
            let Some(child) = children.listeners.get_mut(name) else { continue };
            child.closed = true;
            child.sockets.clear();
            seed.listener_manager.add(ListenerManagerStat::ListenerStopped, 1);
        }
        let mut listing = (*seed.publishers.listeners.read()).clone();
        for bound in &mut listing {
            bound.closed |= names.contains(&bound.plan.name);
        }
        seed.publishers.listeners.publish(listing);
        let orders = workers.iter().flat_map(|worker| {
            names.iter().map(move |name| {
                worker.send(Unlisten { name: Some(name.clone()), drain: Drain::Stay })
            })
        });
        let told = join_all(orders);
        async move { drop(told.await) }
    }
}
