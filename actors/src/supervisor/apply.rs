//! Owns applying a plan: compared with what is there by name and fingerprint, only what differs is touched.
//!
//! A plan is first bound, which may fail and changes nothing; then it is wanted, and [`reconcile`] makes it
//! so. Reconciling can be done again at any time, and is after a fall: it starts what is missing, changes
//! what differs, ends what is not wanted.
//!
//! [`reconcile`]: Supervisor::reconcile

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use futures_util::future::{LocalBoxFuture, join_all};
use tokio::{sync::oneshot, time::Instant};

use super::{
    AdminChild, ClusterChild, RoutesChild, Supervisor, SupervisorSeed, WorkerChild,
    changes::Changes,
    ready::FIRST_ANSWERS_WAIT,
    sockets::{self, BindError, Bound, BoundAdmin},
};
use crate::{
    address::Address,
    admin::{Admin, AdminSeed, CloseAdmin},
    by_hand::ByHand,
    cluster::{Assign, Cluster, ClusterSeed, Leave},
    company::ApplyError,
    configuration::{Configuration, Install},
    configured::Base,
    plan::{
        Assignment, AssignmentPolicy, ClusterPlan, Discovery, ListenerPlan, Payload, Plan,
        RoutesPlan,
    },
    published::Published,
    routes::{self, Reroute, Routes},
    settings::{Replan, Settings},
    stats::{ClusterManagerStat, ListenerManagerStat},
    supervise::{reports_to, supervise, supervise_on},
    worker::{Worker, WorkerSeed},
};

/// How long children have to say that a change has reached them.
const ACKNOWLEDGE_MAX: Duration = Duration::from_secs(5);

/// Apply this plan: what differs from the last one is changed, the rest is not touched. Answered when nothing
/// can fail any more.
#[derive(Message)]
#[rtype(result = "Result<Begun, ApplyError>")]
pub(crate) struct Apply(pub(crate) Plan);

/// Say what this plan would change.
#[derive(Message)]
#[rtype(result = "Result<Changes, ApplyError>")]
pub(crate) struct Preview(pub(crate) Plan);

/// Begin with this static configuration. Answered when it is in force.
#[derive(Message)]
#[rtype(result = "Result<(), ApplyError>")]
pub(crate) struct Begin(pub(crate) Arc<Base>);

/// A plan that is being applied.
pub(crate) struct Begun {
    pub(crate) changes: Changes,
    pub(crate) in_force: InForce,
}

/// Resolves when a plan is in force.
pub(crate) type InForce = oneshot::Receiver<()>;

/// Children's words that a change has reached them.
pub(super) type Acknowledged = Vec<LocalBoxFuture<'static, ()>>;

impl Handler<Apply> for Supervisor {
    type Result = Result<Begun, ApplyError>;

    fn handle(&mut self, Apply(plan): Apply, ctx: &mut Context<Self>) -> Self::Result {
        if self.seed.ending.get().is_some() {
            return Err(ApplyError::Unavailable("it is shutting down".to_owned()));
        }
        // What can fail comes first: a plan that cannot be bound changes nothing.
        let bound = self.bind(&plan).and_then(|bound| Ok((bound, self.bind_admin(&plan)?)));
        let (bound, admin) = match bound {
            Ok(bound) => bound,
            Err(error) => {
                self.seed.listener_manager.add(ListenerManagerStat::ListenerCreateFailure, 1);
                self.seed.note("refused", error.to_string());
                return Err(error.into());
            }
        };
        let (answer, in_force) = oneshot::channel();
        let (seed, changes) = (&self.seed, self.changes(&plan));
        seed.note("plan", changes.summary());
        {
            // What an earlier plan was to have, which has not come in force.
            let (mut waiting, children) = (seed.bound.borrow_mut(), seed.children.borrow());
            waiting.retain(|name, waits| {
                let is = |wanted: &Arc<ListenerPlan>| {
                    let known = children.listeners.get(name);
                    waits.plan.binds_like(wanted)
                        && !known.is_some_and(|known| known.plan.binds_like(wanted))
                };
                plan.listeners.iter().any(|wanted| wanted.name == *name && is(wanted))
            });
            waiting.extend(bound);
        }
        if let Some(admin) = admin {
            seed.bound_admin.replace(admin);
        }
        seed.wanted.replace(Arc::new(plan));
        let now = Instant::now();
        let begun = seed.ready_by.get().unwrap_or(now + FIRST_ANSWERS_WAIT);
        seed.ready_by.set(Some(begun));
        // Plans that come one after the other do not put each other off.
        let patience = seed.warm_by.get().unwrap_or(now + FIRST_ANSWERS_WAIT);
        seed.warm_by.set(Some(patience));
        seed.appliers.borrow_mut().push(answer);
        self.reconcile_when_waited(ctx);
        self.reconcile(ctx);
        Ok(Begun { changes, in_force })
    }
}

impl Handler<Preview> for Supervisor {
    type Result = Result<Changes, ApplyError>;

    /// Binding is tried: what would fail is told.
    fn handle(&mut self, Preview(plan): Preview, _: &mut Context<Self>) -> Self::Result {
        self.bind(&plan)?;
        self.bind_admin(&plan)?;
        Ok(self.changes(&plan))
    }
}

impl Handler<Begin> for Supervisor {
    type Result = ResponseFuture<Result<(), ApplyError>>;

    fn handle(&mut self, Begin(base): Begin, _: &mut Context<Self>) -> Self::Result {
        let configuration = self.seed.children.borrow().configuration.clone();
        Box::pin(async move {
            let unavailable = |why: String| ApplyError::Unavailable(why);
            let there = configuration.ok_or_else(|| unavailable("it has not begun".to_owned()))?;
            let installed = there.send(Install(base)).await;
            let in_force = installed.map_err(|error| unavailable(error.to_string()))??;
            // The sender is kept through a fall: the answer comes, unless everything ends.
            let _ = in_force.await;
            Ok(())
        })
    }
}

impl Supervisor {
    fn bind(&self, plan: &Plan) -> Result<HashMap<String, Bound>, BindError> {
        let (children, waiting) = (self.seed.children.borrow(), self.seed.bound.borrow());
        let workers = self.seed.stage.options.concurrency;
        let mut bound: HashMap<String, Bound> = HashMap::new();
        for (at, listener) in plan.listeners.iter().enumerate() {
            let name = &listener.name;
            for (address, _) in listener.binds().filter(|(address, _)| address.port() != Some(0)) {
                let mut earlier = plan.listeners.iter().take(at);
                if let Some(twin) = earlier.find(|twin| twin.binds().any(|(a, _)| a == address)) {
                    return Err(BindError::taken_twice(address, name, &twin.name));
                }
            }
            let known = children.listeners.get(name);
            // One that has drained stays closed.
            if known.is_some_and(|known| known.plan.binds_like(listener)) {
                continue;
            }
            if waiting.get(name).is_some_and(|waits| waits.plan.binds_like(listener)) {
                continue;
            }
            // A listener of ours that gives the address up meanwhile is no stranger, nor is one that has not begun. What is
            // made at a path goes with whom it was made for.
            let ours = |address: Address| {
                let known = children.listeners.values().find_map(|known| known.at(address));
                let waits = || waiting.values().find_map(|waits| waits.at(address));
                known.or_else(|| waits().filter(|_| address.port().is_some()))
            };
            bound.insert(name.clone(), sockets::shared(listener, workers, ours)?);
        }
        Ok(bound)
    }

    /// What the admin port is to have, if that is something else than what waits for it.
    fn bind_admin(&self, plan: &Plan) -> Result<Option<Option<BoundAdmin>>, BindError> {
        let Some(wanted) = &plan.admin else { return Ok(Some(None)) };
        let is_there = |known: &AdminChild| known.plan.address == wanted.address;
        if self.seed.children.borrow().admin.as_ref().is_some_and(is_there) {
            return Ok(Some(None));
        }
        let waiting = self.seed.bound_admin.borrow();
        let local = waiting.as_ref().and_then(|waits| waits.socket.local().ok());
        match local == Some(wanted.address) {
            true => Ok(None),
            false => sockets::single(wanted).map(|bound| Some(Some(bound))),
        }
    }

    /// Leads from what is there to what is wanted. What was done already is not done again.
    pub(super) fn reconcile(&mut self, ctx: &mut Context<Self>) {
        let (plan, seed) = (self.seed.wanted.borrow().clone(), self.seed.clone());
        let mut acknowledged = Acknowledged::new();
        self.start_workers(ctx);
        self.start_configuration(ctx);
        self.start_settings(ctx);
        if !self.settings_know(&plan, ctx) {
            return;
        }
        self.start_clusters(&plan, ctx);
        // At the start everything serves what it can; later, who needs a cluster waits until it is warm.
        let patient = seed.warm_by.get().is_some_and(|until| Instant::now() < until);
        if !(seed.live.get() && patient && self.is_cold(&plan)) {
            self.swap_clusters(&plan);
            self.apply_routes(&plan, ctx, &mut acknowledged);
            self.apply_listeners(&plan, ctx, &mut acknowledged);
            self.apply_admin(&plan, ctx);
            seed.children.borrow_mut().clusters.values_mut().for_each(|child| child.waited = true);
            seed.warm_by.set(None);
            seed.stage.seams.house.plan_in_force(&plan);
            seed.publishers.plan.publish(plan);
            self.when_heard(acknowledged, ctx);
        }
        self.look_ready(ctx);
    }

    /// Arms the end of waiting for clusters; after a fall, anew.
    pub(super) fn reconcile_when_waited(&self, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let ends = [self.seed.ready_by.get(), self.seed.warm_by.get()];
        for end in ends.into_iter().flatten().filter(|end| *end > now) {
            ctx.run_later(end - now, |this, ctx| {
                if this.seed.warm_by.get().is_some() || !this.seed.live.get() {
                    this.reconcile(ctx);
                }
            });
        }
    }

    /// Once every child has said that its change has reached it, ends what is not wanted and answers those who wait for the
    /// plan. Until then a worker may accept for a listener that is gone, whose route table and clusters are there for it.
    fn when_heard(&self, acknowledged: Acknowledged, ctx: &mut Context<Self>) {
        let round = self.seed.rounds.get() + 1;
        self.seed.rounds.set(round);
        let all = tokio::time::timeout(ACKNOWLEDGE_MAX, join_all(acknowledged));
        ctx.spawn(all.into_actor(self).map(move |done, this, _| {
            if done.is_err() {
                tracing::warn!(target: "main", "not every child has acknowledged the plan in time");
            }
            let (seed, plan) = (&this.seed, this.seed.wanted.borrow().clone());
            // Who has not heard of a later round yet is waited for by that one, which does what is left of this.
            if seed.rounds.get() == round && Arc::ptr_eq(&plan, &seed.publishers.plan.read()) {
                this.end_routes(&plan);
                this.end_clusters(&plan);
                for applier in seed.appliers.take() {
                    // Who asked may have gone.
                    let _ = applier.send(());
                }
            }
        }));
    }

    /// Starts workers that are missing, be it that their thread is gone.
    pub(super) fn start_workers(&self, ctx: &mut Context<Self>) {
        let (stage, mut children) = (&self.seed.stage, self.seed.children.borrow_mut());
        for index in 0..stage.options.concurrency {
            let known = children.workers.get(index);
            if known.is_some_and(|child| child.worker.connected()) {
                continue;
            }
            let arbiter = known.map(|child| child.arbiter.clone()).filter(ArbiterHandle::alive);
            let arbiter = match arbiter.map_or_else(|| stage.threads.worker(), Ok) {
                Ok(arbiter) => arbiter,
                Err(error) => {
                    return self
                        .seed
                        .exit
                        .give_up(&format!("no thread for worker {index}: {error}"));
                }
            };
            let reports = reports_to(ctx.address());
            let cast = stage.cast("Worker", format!("worker/{index}"), "supervisor", reports);
            let own = stage.clone();
            let worker: Addr<Worker> = supervise_on(&arbiter, cast, move |_| {
                Worker::new(Rc::new(WorkerSeed::new(own, index)))
            });
            let child = WorkerChild { arbiter, worker };
            match children.workers.get_mut(index) {
                Some(place) => *place = child,
                None => children.workers.push(child),
            }
        }
    }

    fn start_configuration(&self, ctx: &mut Context<Self>) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        children.configuration.get_or_insert_with(|| {
            let own = seed.configuration.clone();
            own.serve(ctx.address());
            let reports = reports_to(ctx.address());
            let cast = seed.stage.cast("Configuration", "configuration", "supervisor", reports);
            supervise(cast, move |_| Configuration::new(own))
        });
    }

    fn start_settings(&self, ctx: &mut Context<Self>) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        children.settings.get_or_insert_with(|| {
            let own = seed.settings.clone();
            let reports = reports_to(ctx.address());
            let cast = seed.stage.cast("Settings", "settings", "supervisor", reports);
            supervise(cast, move |_| Settings::new(own))
        });
    }

    /// Whether the settings are those of this plan; else they are told, and what is wanted goes on when they are. The runtime
    /// comes first: what is made for a plan reads it.
    fn settings_know(&self, plan: &Arc<Plan>, ctx: &mut Context<Self>) -> bool {
        let seed = &self.seed;
        let known = |told: &Arc<Plan>| Arc::ptr_eq(told, plan);
        // Before the first plan there is nothing to tell.
        if seed.ready_by.get().is_none() || seed.told.borrow().as_ref().is_some_and(known) {
            return true;
        }
        let Some(settings) = seed.children.borrow().settings.clone() else { return true };
        let (layers, flush) = (plan.runtime.clone(), plan.stats_flush);
        let (telling, plan) = (settings.send(Replan { layers, flush }), plan.clone());
        // Those that fall over it keep what they were told.
        ctx.spawn(telling.into_actor(self).map(move |_, this, ctx| {
            this.seed.told.replace(Some(plan));
            this.reconcile(ctx);
        }));
        false
    }

    /// Starts clusters that are missing, and those that will take the place of others.
    fn start_clusters(&self, plan: &Plan, ctx: &mut Context<Self>) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        let mut brought = Vec::new();
        for wanted in &plan.clusters {
            let name = &wanted.name;
            let is_wanted = |child: &ClusterChild| child.plan.fingerprint == wanted.fingerprint;
            match children.clusters.get_mut(name) {
                None => {
                    let mut child = self.start_cluster(wanted, Arc::default(), ctx);
                    child.assign(wanted, plan);
                    brought.push(child.clone());
                    children.clusters.insert(name.clone(), child);
                    seed.cluster_manager.add(ClusterManagerStat::ClusterAdded, 1);
                }
                Some(child) if is_wanted(child) => {
                    if child.assign(wanted, plan) {
                        // Observed: Envoy 1.40, for which it is another cluster.
                        seed.cluster_manager.add(ClusterManagerStat::ClusterModified, 1);
                    }
                    if let Some(not_now) = children.warming.remove(name) {
                        not_now.cluster.do_send(Leave);
                    }
                }
                Some(before) => match (before.published.clone(), children.warming.get_mut(name)) {
                    (_, Some(child)) if is_wanted(child) => drop(child.assign(wanted, plan)),
                    (before, _) => {
                        let by_hand = before.read().by_hand.clone();
                        let mut child = self.start_cluster(wanted, by_hand, ctx);
                        child.assign(wanted, plan);
                        if let Some(not_now) = children.warming.insert(name.clone(), child) {
                            not_now.cluster.do_send(Leave);
                        }
                    }
                },
            }
        }
        let warming = children.warming.len() as u64;
        seed.cluster_manager.set(ClusterManagerStat::WarmingClusters, warming);
        seed.show(&brought, &[]);
    }

    fn start_cluster(
        &self,
        plan: &Arc<ClusterPlan>,
        by_hand: Arc<ByHand>,
        ctx: &mut Context<Self>,
    ) -> ClusterChild {
        let (stage, warmed) = (&self.seed.stage, ctx.address().recipient());
        let (seed, published) = ClusterSeed::new(stage, plan.clone(), by_hand, warmed);
        let (name, reports) = (format!("cluster/{}", plan.name), reports_to(ctx.address()));
        let cast = stage.cast("Cluster", name, "supervisor", reports);
        let cluster = supervise(cast, |_| Cluster::new(Rc::new(seed)));
        ClusterChild { plan: plan.clone(), cluster, published, assigned: None, waited: false }
    }

    /// Whether a cluster that the plan brings or changes has not answered yet.
    pub(super) fn is_cold(&self, plan: &Plan) -> bool {
        let children = self.seed.children.borrow();
        let waits = |wanted: &&Arc<ClusterPlan>| {
            let child = children.warming.get(&wanted.name);
            let child = child.or_else(|| children.clusters.get(&wanted.name));
            let waits = |child: &ClusterChild| !child.waited && !child.published.read().ready;
            wanted.wait_for_warm && child.is_some_and(waits)
        };
        plan.clusters.iter().any(|wanted| waits(&wanted))
    }

    /// Puts changed clusters in the place of those of the same name.
    fn swap_clusters(&self, plan: &Plan) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        let wanted: HashSet<_> = plan.clusters.iter().map(|c| c.name.as_str()).collect();
        let mut swapped = Vec::new();
        for (name, child) in std::mem::take(&mut children.warming) {
            if !wanted.contains(name.as_str()) {
                child.cluster.do_send(Leave);
                continue;
            }
            swapped.push(child.clone());
            seed.cluster_manager.add(ClusterManagerStat::ClusterModified, 1);
            if let Some(before) = children.clusters.insert(name, child) {
                before.cluster.do_send(Leave);
            }
        }
        seed.cluster_manager.set(ClusterManagerStat::WarmingClusters, 0);
        seed.show(&swapped, &[]);
    }

    /// Ends clusters that are not wanted; nothing refers to them any more.
    fn end_clusters(&self, plan: &Plan) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        let wanted: HashSet<_> = plan.clusters.iter().map(|c| c.name.as_str()).collect();
        let mut gone = Vec::new();
        children.clusters.retain(|name, child| {
            let stays = wanted.contains(name.as_str());
            if !stays {
                child.cluster.do_send(Leave);
                gone.push(child.plan.clone());
                seed.cluster_manager.add(ClusterManagerStat::ClusterRemoved, 1);
            }
            stays
        });
        let active = children.clusters.len() as u64;
        seed.cluster_manager.set(ClusterManagerStat::ActiveClusters, active);
        seed.show(&[], &gone);
    }

    /// Ends route tables that are not wanted.
    fn end_routes(&self, plan: &Plan) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        let wanted: HashSet<_> = plan.routes.iter().map(|r| r.name.as_str()).collect();
        let mut tables = (*seed.publishers.tables.read()).clone();
        let before = children.routes.len();
        children.routes.retain(|name, child| {
            let stays = wanted.contains(name.as_str());
            if !stays {
                child.routes.do_send(routes::Leave);
                tables.remove(child.plan.slot, name);
            }
            stays
        });
        if children.routes.len() < before {
            seed.publishers.tables.publish(tables);
        }
    }

    fn apply_routes(&self, plan: &Plan, ctx: &mut Context<Self>, acknowledged: &mut Acknowledged) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        let (mut tables, mut others) = ((*seed.publishers.tables.read()).clone(), false);
        for wanted in &plan.routes {
            match children.routes.get_mut(&wanted.name) {
                Some(child) if child.plan.fingerprint == wanted.fingerprint => {}
                Some(child) => {
                    let told = child.routes.send(Reroute(wanted.clone()));
                    acknowledged.push(Box::pin(async move { told.await.unwrap_or(()) }));
                    child.plan = wanted.clone();
                }
                None => {
                    let (routes, published) = self.start_routes(wanted, ctx);
                    tables.put(wanted.slot, &wanted.name, published);
                    others = true;
                    let child = RoutesChild { plan: wanted.clone(), routes };
                    children.routes.insert(wanted.name.clone(), child);
                }
            }
        }
        if others {
            seed.publishers.tables.publish(tables);
        }
    }

    fn start_routes(
        &self,
        plan: &Arc<RoutesPlan>,
        ctx: &mut Context<Self>,
    ) -> (Addr<Routes>, Published<Payload>) {
        let (publisher, published) = Routes::publish(plan);
        let (name, reports) = (format!("routes/{}", plan.name), reports_to(ctx.address()));
        let cast = self.seed.stage.cast("Routes", name, "supervisor", reports);
        (supervise(cast, |_| Routes::new(Rc::new(publisher))), published)
    }

    fn apply_admin(&self, plan: &Plan, ctx: &mut Context<Self>) {
        let (seed, mut children) = (&self.seed, self.seed.children.borrow_mut());
        let socket = seed.bound_admin.take();
        let gone = children.admin.take_if(|_| plan.admin.is_none() || socket.is_some());
        if let Some(gone) = gone {
            gone.admin.do_send(CloseAdmin);
            seed.publishers.admin.publish(None);
        }
        let (Some(BoundAdmin { socket, pipe }), Some(wanted)) = (socket, plan.admin.clone()) else {
            return;
        };
        pipe.into_iter().for_each(sockets::put_in_force);
        let (stage, local) = (&seed.stage, socket.local().unwrap_or(wanted.address));
        tracing::info!(target: "main", "admin address: {local}");
        let (face, registry) = (stage.seams.face.clone(), stage.view.registry.clone());
        let cast = stage.cast("Admin", "admin", "supervisor", reports_to(ctx.address()));
        let roster = stage.roster().clone();
        let admin = supervise_on(&stage.threads.front_desk(), cast, move |_| {
            Admin::new(Rc::new(AdminSeed::new(socket, face, roster, &registry)))
        });
        children.admin = Some(AdminChild { plan: wanted, admin });
        seed.publishers.admin.publish(Some(local));
    }
}

// === impl SupervisorSeed ===

impl SupervisorSeed {
    /// Publishes the list of clusters, if it is another: every worker looks through it.
    fn show(&self, brought: &[ClusterChild], gone: &[Arc<ClusterPlan>]) {
        if brought.is_empty() && gone.is_empty() {
            return;
        }
        let mut directory = (*self.publishers.clusters.read()).clone();
        for child in brought {
            directory.put(child.plan.slot, &child.plan.name, child.published.clone());
        }
        gone.iter().for_each(|plan| directory.remove(plan.slot, &plan.name));
        self.publishers.clusters.publish(directory);
    }
}

// === impl ClusterChild ===

impl ClusterChild {
    /// Tells the cluster of its hosts that are known by their addresses, if they are others; says whether its plan
    /// asks for others.
    fn assign(&mut self, wanted: &Arc<ClusterPlan>, plan: &Plan) -> bool {
        let others = self.plan.hosts_fingerprint != wanted.hosts_fingerprint;
        if let (true, Discovery::Static(hosts)) = (others, &wanted.discovery) {
            let (hosts, policy) = (hosts.clone(), AssignmentPolicy::default());
            self.cluster.do_send(Assign(Arc::new(Assignment { hosts, policy })));
        }
        self.plan = wanted.clone();
        let assigned = plan.assignments.get(&wanted.name);
        let known =
            |assigned| self.assigned.as_ref().is_some_and(|known| Arc::ptr_eq(known, assigned));
        if let Some(assigned) = assigned.filter(|assigned| !known(*assigned)) {
            self.cluster.do_send(Assign(assigned.clone()));
            self.assigned = Some(assigned.clone());
        }
        others
    }
}
