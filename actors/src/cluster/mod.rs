//! Owns one cluster: its hosts, their health, and the snapshot that requests read.

mod by_hand;
mod children;
mod hosts;
#[cfg(test)]
mod tests;

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use actix::prelude::*;

pub(crate) use self::by_hand::{ChangeEndpoints, Inherit, RefreshNames};
use self::{
    children::Children,
    hosts::{Found, Known},
};
use crate::{
    by_hand::ByHand,
    dns_refresh::Resolved,
    health_check::{Health, HealthChanged},
    names::{Name, NameStatus},
    plan::{ClusterPlan, Discovery, HostPlan, NamePlan},
    published::{Published, Publisher},
    seams::Membership,
    snapshot::{ClusterSnapshot, HealthFlag, Host},
    stage::Stage,
    stats::{ClusterStat, DnsStat, Group, HealthCheckStat, Scope},
    supervise::{ActorDown, falls, reports_to},
};

/// What a cluster keeps through a fall.
pub(crate) struct ClusterSeed {
    stage: Stage,
    plan: Arc<ClusterPlan>,
    publisher: Publisher<ClusterSnapshot>,
    /// What is known of each name, in the plan's order; its lookup publishes.
    names: Vec<Rc<Publisher<NameStatus>>>,
    answers: RefCell<hosts::Answers>,
    /// Hosts that came since, in place of those of the plan.
    assigned: RefCell<Option<Vec<HostPlan>>>,
    children: RefCell<Children>,
    warmed: Recipient<Warmed>,
    check_stats: Option<Arc<Group<HealthCheckStat>>>,
    /// None where the cluster asks no DNS: only then are they listed.
    dns_stats: Option<Arc<Group<DnsStat>>>,
}

/// One cluster.
pub(crate) struct Cluster {
    seed: Rc<ClusterSeed>,
}

/// A cluster is ready to be used: each of its names was answered, each of its first hosts checked.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Warmed {
    pub(crate) cluster: String,
}

/// These are its hosts that are known by their addresses, from now on.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Assign(pub(crate) Vec<HostPlan>);

/// The cluster is no longer wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

/// The cluster fell again and again: let its children begin anew as well, from its snapshot.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Remake;

// === impl ClusterSeed ===

impl ClusterSeed {
    /// A seed, and the readers' side of what the cluster will publish. What was changed by hand in a cluster
    /// that this one takes the place of stays.
    pub(crate) fn new(
        stage: &Stage,
        plan: Arc<ClusterPlan>,
        by_hand: Arc<ByHand>,
        warmed: Recipient<Warmed>,
    ) -> (Self, Published<ClusterSnapshot>) {
        let registry = &stage.view.registry;
        let scope = Scope::cluster(&plan.stat_name);
        let checked = !plan.health_checks.is_empty();
        let check_stats = checked.then(|| registry.group(scope.within("health_check")));
        let (names, statuses): (Vec<_>, _) =
            hosts::names(&plan.discovery).iter().map(publish_name).unzip();
        let first = ClusterSnapshot::first(plan.clone(), registry);
        let publisher = Publisher::new(ClusterSnapshot { by_hand, names: names.into(), ..first });
        let published = publisher.subscribe();
        let answers = RefCell::new(vec![None; hosts::names(&plan.discovery).len()]);
        let asks_dns = !matches!(plan.discovery, Discovery::Static(_));
        let dns_stats = asks_dns.then(|| registry.group(Scope::plain("dns.cares.")));
        let seed = Self {
            stage: stage.clone(),
            plan,
            publisher,
            names: statuses,
            answers,
            assigned: RefCell::default(),
            children: RefCell::default(),
            warmed,
            check_stats,
            dns_stats,
        };
        (seed, published)
    }

    fn name(&self) -> String {
        format!("cluster/{}", self.plan.name)
    }

    /// Every name was answered, be it by a failure, and every check has.
    fn is_warm(&self) -> bool {
        let answered = self.answers.borrow().iter().all(Option::is_some);
        let checks = &self.children.borrow().checks;
        answered && checks.values().all(|checked| checked.answered.get())
    }

    /// Publishes these hosts with the health they have.
    fn publish(&self, hosts: Vec<Arc<Host>>) {
        let before = self.publisher.read();
        self.publish_all(hosts, before.draining.clone(), before.by_hand.clone());
    }

    fn publish_all(&self, hosts: Vec<Arc<Host>>, draining: Arc<[Arc<Host>]>, by_hand: Arc<ByHand>) {
        let (plan, before) = (&self.plan, self.publisher.read());
        // Observed: Envoy 1.40 writes none of them for a cluster of the file's that has no hosts.
        let none = hosts.is_empty() && before.hosts.is_empty();
        let never_any = none && matches!(plan.discovery, Discovery::Static(_));
        if !never_any {
            hosts::gauge(plan, &before.shared.stats, &hosts);
        }
        if let Some(stats) = &self.check_stats {
            hosts::gauge_checked(stats, &hosts);
        }
        let runtime = self.stage.view.runtime.read();
        let membership = Membership { before: &before, hosts: &hosts, runtime: &runtime };
        self.publisher.publish(ClusterSnapshot {
            plan: plan.clone(),
            balancer: self.stage.seams.balance.tables(membership),
            // Hosts that somebody brought need no answer.
            ready: before.ready || self.is_warm() || by_hand.iter().any(|(_, c)| c.hand.added),
            hosts: hosts.into(),
            draining,
            by_hand,
            names: before.names.clone(),
            version: before.version + 1,
            shared: before.shared.clone(),
        });
        if !before.ready {
            self.tell_ready();
        }
    }

    /// Wakes those who wait for the first answer. Said again after a fall, it does no harm.
    fn tell_ready(&self) {
        let snapshot = self.publisher.read();
        if snapshot.ready {
            snapshot.shared.stats.set(ClusterStat::WarmingState, 0);
            snapshot.shared.first_answer.notify_waiters();
            self.warmed.do_send(Warmed { cluster: self.plan.name.clone() });
        }
    }
}

// === impl Cluster ===

impl Cluster {
    /// Goes on from what is published: of a fresh cluster, nothing.
    pub(crate) fn new(seed: Rc<ClusterSeed>) -> Self {
        Self { seed }
    }

    /// Publishes the hosts that discovery has now, if they are others; says whether they are.
    fn discover(&self, ctx: &mut Context<Self>) -> bool {
        let by_hand = self.seed.publisher.read().by_hand.clone();
        self.discover_with(by_hand, ctx)
    }

    /// The same with what was changed by hand.
    fn discover_with(&self, by_hand: Arc<ByHand>, ctx: &mut Context<Self>) -> bool {
        let ClusterSeed { plan, stage, publisher, .. } = &*self.seed;
        let before = publisher.read();
        let workers = stage.view.registry.workers();
        let (answers, assigned) = (self.seed.answers.borrow(), self.seed.assigned.borrow());
        let known =
            Known { plan, answers: &answers, assigned: assigned.as_deref(), before: &before };
        let Found { hosts, draining } = known.found(&by_hand, workers);
        let stats = &before.shared.stats;
        let same_hosts = are_same(&hosts, &before.hosts);
        let same = same_hosts && are_same(&draining, &before.draining);
        if !same_hosts {
            stats.add(ClusterStat::MembershipChange, 1);
            self.seed.start_checks(&hosts, &ctx.address(), &reports_to(ctx.address()));
        }
        if !same || !before.ready || *by_hand != *before.by_hand {
            self.seed.publish_all(hosts, draining.into(), by_hand);
        }
        !same
    }

    /// Waits for hosts that ask to be left out, and leaves them out until their check passes again.
    ///
    /// Observed: Envoy 1.40, `x-envoy-immediate-health-check-fail` in an answer to a proxied request.
    fn hear_who_asks_out(&self, ctx: &mut Context<Self>) {
        let shared = self.seed.publisher.read().shared.clone();
        let asked = async move { shared.asked_out.notified().await };
        ctx.spawn(asked.into_actor(self).map(|(), this, ctx| {
            this.leave_out();
            this.hear_who_asks_out(ctx);
        }));
    }

    fn leave_out(&self) {
        let snapshot = self.seed.publisher.read();
        let asked: Vec<_> = snapshot.hosts.iter().filter(|host| host.has_asked_out()).collect();
        let out = HealthFlag::FailedActiveHc as u32 | HealthFlag::ExcludedViaImmediateHcFail as u32;
        for host in &asked {
            host.health.fetch_or(out, Relaxed);
            if let Some(stats) = &self.seed.check_stats {
                stats.add(HealthCheckStat::PassiveFailure, 1);
                stats.add(HealthCheckStat::Failure, 1);
            }
        }
        if !asked.is_empty() {
            self.seed.publish(snapshot.hosts.to_vec());
        }
    }
}

/// The reader's and the writer's side of what will be known of a name.
fn publish_name(name: &NamePlan) -> (Arc<Name>, Rc<Publisher<NameStatus>>) {
    let publisher = Publisher::new(NameStatus::default());
    (Arc::new(Name::new(&name.name, name.port, publisher.subscribe())), Rc::new(publisher))
}

fn are_same(hosts: &[Arc<Host>], others: &[Arc<Host>]) -> bool {
    hosts.len() == others.len() && hosts.iter().zip(others).all(|(a, b)| Arc::ptr_eq(a, b))
}

impl Actor for Cluster {
    type Context = Context<Self>;

    /// Begins discovery; after a fall, adopts the children there are.
    fn started(&mut self, ctx: &mut Context<Self>) {
        let (cluster, reports) = (ctx.address(), reports_to(ctx.address()));
        let before = self.seed.publisher.read();
        self.seed.start_names(&cluster, &reports);
        self.seed.start_checks(&before.hosts, &cluster, &reports);
        before.shared.stats.set(ClusterStat::WarmingState, u64::from(!before.ready));
        if self.seed.check_stats.is_some() {
            self.hear_who_asks_out(ctx);
        }
        self.end_when_due(ctx);
        if before.version > 0 {
            self.seed.tell_ready();
        } else if let Discovery::Static(hosts) = &self.seed.plan.discovery {
            let stats = &before.shared.stats;
            stats.add(ClusterStat::DefaultTotalMatchCount, hosts.len() as u64);
            self.discover(ctx);
        } else {
            hosts::gauge(&self.seed.plan, &before.shared.stats, &[]);
        }
    }
}

impl Supervised for Cluster {
    /// What was published is the memory: a fall loses no host and no child.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Cluster);

impl Handler<Resolved> for Cluster {
    type Result = ();

    /// An empty answer (NXDOMAIN) takes the hosts of a `STRICT_DNS` cluster away; a failure keeps them.
    ///
    /// Observed: Envoy 1.40, `update_success` and `update_failure` of both after NXDOMAIN.
    fn handle(&mut self, Resolved { at, answer }: Resolved, ctx: &mut Context<Self>) {
        let stats = self.seed.publisher.read().shared.stats.clone();
        let stat = match answer {
            Some(_) => ClusterStat::UpdateSuccess,
            None => ClusterStat::UpdateFailure,
        };
        stats.add(stat, 1);
        if let Some(answer) = &answer {
            // Observed: Envoy 1.40 looks for a transport socket for each host of each answer.
            let logical = matches!(self.seed.plan.discovery, Discovery::LogicalDns { .. });
            let hosts = if logical { 1 } else { answer.addresses.len() };
            stats.add(ClusterStat::DefaultTotalMatchCount, hosts as u64);
        }
        let failed = answer.is_none();
        if let Some(place) = self.seed.answers.borrow_mut().get_mut(at) {
            match answer {
                Some(answer) => *place = Some(answer.addresses),
                // An answer it is all the same: nobody needs to wait for a better one.
                None => drop(place.get_or_insert_default()),
            }
        }
        if failed && self.seed.publisher.read().ready {
            return;
        }
        if !self.discover(ctx) && !failed {
            stats.add(ClusterStat::UpdateNoRebuild, 1);
        }
    }
}

impl Handler<Assign> for Cluster {
    type Result = ();

    /// Hosts that stay are the same, with their connections and what is known of their health.
    fn handle(&mut self, Assign(hosts): Assign, ctx: &mut Context<Self>) {
        let stats = self.seed.publisher.read().shared.stats.clone();
        stats.add(ClusterStat::DefaultTotalMatchCount, hosts.len() as u64);
        self.seed.assigned.replace(Some(hosts));
        self.discover(ctx);
    }
}

impl Handler<HealthChanged> for Cluster {
    type Result = ();

    fn handle(&mut self, HealthChanged { host, health }: HealthChanged, ctx: &mut Context<Self>) {
        use HealthFlag as F;
        let before = self.seed.publisher.read();
        if !before.hosts.iter().any(|known| Arc::ptr_eq(known, &host)) {
            return;
        }
        let down = F::FailedActiveHc as u32
            | F::DegradedActiveHc as u32
            | F::ActiveHcTimeout as u32
            | F::ExcludedViaImmediateHcFail as u32;
        let up = match health {
            Health::Healthy => 0,
            Health::Degraded => F::DegradedActiveHc as u32,
            Health::Failed => F::FailedActiveHc as u32,
            Health::FailedByTimeout => F::FailedActiveHc as u32 | F::ActiveHcTimeout as u32,
        };
        if up & F::FailedActiveHc as u32 == 0 && host.has(F::FailedActiveHc) {
            host.becomes_well();
        }
        host.health.store(host.flags() & !down | up, Relaxed);
        // A host that DNS no longer names stays only as long as its check holds it up.
        let stays = |host: &&Arc<Host>| host.healthy() || !host.has(F::PendingDynamicRemoval);
        let hosts: Vec<_> = before.hosts.iter().filter(stays).cloned().collect();
        if hosts.len() < before.hosts.len() {
            before.shared.stats.add(ClusterStat::MembershipChange, 1);
            self.seed.start_checks(&hosts, &ctx.address(), &reports_to(ctx.address()));
        }
        self.seed.publish(hosts);
    }
}

impl Handler<ActorDown> for Cluster {
    type Result = ();

    /// A child is revived in its place; what it has told stays in force meanwhile.
    fn handle(&mut self, ActorDown { name, why, beyond_budget }: ActorDown, _: &mut Context<Self>) {
        if beyond_budget {
            tracing::error!(target: "upstream", "{name} falls again and again, and pauses: {why}");
        }
    }
}

impl Handler<Remake> for Cluster {
    type Result = ();

    fn handle(&mut self, _: Remake, ctx: &mut Context<Self>) {
        let (cluster, reports) = (ctx.address(), reports_to(ctx.address()));
        self.seed.end_children();
        self.seed.start_names(&cluster, &reports);
        let hosts = self.seed.publisher.read().hosts.clone();
        self.seed.start_checks(&hosts, &cluster, &reports);
    }
}

impl Handler<Leave> for Cluster {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        self.seed.end_children();
        ctx.stop();
    }
}
