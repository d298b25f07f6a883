//! Owns the listeners of a plan: which are begun, changed and let go, and what `/listeners` lists.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use actix::prelude::*;
use tokio::time::Instant;

use super::{
    ListenerChild, Supervisor,
    apply::Acknowledged,
    sockets::{Bound, Ours},
};
use crate::{
    address::Address,
    plan::{ListenerPlan, Plan},
    seams::Drain,
    shares::Shares,
    socket::Listening,
    stats::ListenerManagerStat,
    view::BoundListener,
    worker::{Listen, Ping, Unlisten, Worker},
};

// === impl Supervisor ===

impl Supervisor {
    pub(super) fn apply_listeners(
        &self,
        plan: &Plan,
        ctx: &mut Context<Self>,
        acknowledged: &mut Acknowledged,
    ) {
        let (seed, workers) = (&self.seed, self.workers());
        let (drained, mut left, mut replaced) =
            (Instant::now() + seed.stage.options.drain_time, 0, 0);
        let stats = &seed.listener_manager;
        let wanted: HashMap<_, _> = plan.listeners.iter().map(|l| (l.name.as_str(), ())).collect();
        let mut children = seed.children.borrow_mut();
        children.listeners.retain(|name, _| {
            let stays = wanted.contains_key(name.as_str());
            if !stays {
                self.remove_listener(name, &workers);
                left += 1;
            }
            stays
        });
        for wanted in &plan.listeners {
            let bound = seed.bound.borrow_mut().remove(&wanted.name);
            let known = children.listeners.get_mut(&wanted.name);
            let stat = match (known, bound) {
                (None, None) => continue,
                (known, Some(mut bound)) => {
                    bound.put_in_force();
                    let stat = match known {
                        Some(_) => {
                            left += 1;
                            ListenerManagerStat::ListenerModified
                        }
                        None => ListenerManagerStat::ListenerAdded,
                    };
                    let child = ListenerChild::new(wanted.clone(), bound);
                    children.listeners.insert(wanted.name.clone(), child);
                    stat
                }
                (Some(known), None) if known.plan.fingerprint != wanted.fingerprint => {
                    known.replan(wanted);
                    replaced += 1;
                    // Observed: Envoy 1.40 counts both.
                    stats.add(ListenerManagerStat::ListenerInPlaceUpdated, 1);
                    ListenerManagerStat::ListenerModified
                }
                (Some(_), None) => continue,
            };
            stats.add(stat, 1);
            stats.add(ListenerManagerStat::ListenerCreateSuccess, workers.len() as u64);
        }
        if left + replaced > 0 {
            let mut draining = seed.draining.borrow_mut();
            draining.listeners.extend(std::iter::repeat_n(drained, left));
            draining.chains.extend(std::iter::repeat_n(drained, replaced));
            drop(draining);
            self.count_draining(ctx);
        }
        let active = children.listeners.len() as u64;
        stats.set(ListenerManagerStat::TotalListenersActive, active);
        stats.set(ListenerManagerStat::TotalListenersWarming, 0);
        seed.publishers.listeners.publish(listing(plan, &children.listeners));
        for child in children.listeners.values() {
            for (worker, sockets) in workers.iter().zip(&child.sockets) {
                worker.do_send(child.listen_on(sockets));
            }
        }
        for worker in workers {
            acknowledged.push(Box::pin(async move { worker.send(Ping).await.unwrap_or(()) }));
        }
    }

    /// Connections may go on for the drain time, and are told to end with each answer.
    fn remove_listener(&self, name: &str, workers: &[Addr<Worker>]) {
        self.seed.listener_manager.add(ListenerManagerStat::ListenerRemoved, 1);
        for worker in workers {
            worker.do_send(Unlisten { name: Some(name.to_owned()), drain: Drain::Discourage });
        }
    }
}

fn listing(plan: &Plan, children: &BTreeMap<String, ListenerChild>) -> Vec<BoundListener> {
    let bound = |wanted: &Arc<ListenerPlan>| {
        let child = children.get(&wanted.name)?;
        Some(BoundListener {
            plan: child.plan.clone(),
            local: *child.locals.first()?,
            additional: child.locals.get(1..).unwrap_or_default().to_vec(),
            closed: child.closed,
        })
    };
    plan.listeners.iter().filter_map(bound).collect()
}

// === impl ListenerChild ===

impl ListenerChild {
    fn new(plan: Arc<ListenerPlan>, Bound { locals, sockets, .. }: Bound) -> Self {
        let sockets = sockets.into_iter().map(Arc::from).collect::<Vec<_>>();
        let shares = Shares::of(sockets.len());
        Self { plan, locals, sockets, shares, closed: false }
    }

    /// The same address with another plan. Where connections are served alike they are served by what they had:
    /// nobody needs to be told.
    fn replan(&mut self, wanted: &Arc<ListenerPlan>) {
        let mut plan = ListenerPlan::clone(wanted);
        if plan.chains_fingerprint == self.plan.chains_fingerprint {
            plan.chains = self.plan.chains.clone();
        }
        self.plan = Arc::new(plan);
    }

    /// Its sockets at this address, while it listens.
    pub(super) fn at(&self, address: Address) -> Option<Ours<'_>> {
        Ours::among(&self.plan, &self.locals, &self.sockets, address).filter(|_| !self.closed)
    }

    fn listen_on(&self, sockets: &Arc<[Listening]>) -> Listen {
        Listen { plan: self.plan.clone(), sockets: sockets.clone(), shares: self.shares.clone() }
    }
}
