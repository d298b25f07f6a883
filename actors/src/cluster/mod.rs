//! Owns one cluster: its hosts, their health, and the snapshot that requests read.

mod by_hand;
mod children;
mod hosts;
mod merging;
mod on_demand;
#[cfg(test)]
mod tests;
mod weighing;

use std::{
    cell::RefCell,
    net::IpAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use actix::prelude::*;

pub(crate) use self::{
    by_hand::{ChangeEndpoints, Inherit, RefreshNames},
    hosts::made_at,
};
use self::{
    children::Children,
    hosts::{Found, Known},
    merging::Merging,
    on_demand::Uses,
};
use crate::{
    by_hand::ByHand,
    dns_refresh::Resolved,
    health_check::{Finding, HealthChanged},
    names::{Name, NameStatus},
    outlier::Judged,
    plan::{Assignment, ClusterPlan, Discovery, NamePlan},
    published::{Published, Publisher},
    seams::Membership,
    snapshot::{ClusterSnapshot, HealthFlag, Host},
    stage::Stage,
    stats::{
        AllHealthChecksStat, ClusterManagerStat, ClusterStat, DnsStat, Group, HealthCheckStat,
        OutlierStat, Scope,
    },
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
    assigned: RefCell<Option<Arc<Assignment>>>,
    /// Hosts that workers have made, and that are still used.
    made: RefCell<Vec<Arc<Host>>>,
    children: RefCell<Children>,
    warmed: Recipient<Warmed>,
    /// In the order of the plan's checks.
    check_stats: Vec<Arc<Group<HealthCheckStat>>>,
    /// Where there are several.
    all_checks_stats: Option<Arc<Group<AllHealthChecksStat>>>,
    outlier_stats: Option<Arc<Group<OutlierStat>>>,
    /// None where the cluster asks no DNS: only then are they listed.
    dns_stats: Option<Arc<Group<DnsStat>>>,
}

/// One cluster.
pub(crate) struct Cluster {
    seed: Rc<ClusterSeed>,
    merging: Merging,
    uses: Uses,
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
pub(crate) struct Assign(pub(crate) Arc<Assignment>);

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
        let several = plan.health_checks.len() > 1;
        let all_checks_stats = several.then(|| registry.group(scope.within("health_check")));
        let check_stats = plan.health_checks.iter();
        let check_stats =
            check_stats.map(|check| registry.group(scope.health_check(&check.name))).collect();
        let outlier_stats = plan.outlier.as_ref();
        let outlier_stats =
            outlier_stats.map(|_| registry.group(scope.within("outlier_detection")));
        let (names, statuses): (Vec<_>, _) =
            hosts::names(&plan.discovery).iter().map(publish_name).unzip();
        let first = ClusterSnapshot::first(plan.clone(), registry);
        let publisher = Publisher::new(ClusterSnapshot { by_hand, names: names.into(), ..first });
        let published = publisher.subscribe();
        let answers = RefCell::new(vec![None; hosts::names(&plan.discovery).len()]);
        let asks_dns =
            matches!(plan.discovery, Discovery::StrictDns { .. } | Discovery::LogicalDns { .. });
        let dns_stats = asks_dns.then(|| registry.group(Scope::plain("dns.cares.")));
        let seed = Self {
            stage: stage.clone(),
            plan,
            publisher,
            names: statuses,
            answers,
            assigned: RefCell::default(),
            made: RefCell::default(),
            children: RefCell::default(),
            warmed,
            check_stats,
            all_checks_stats,
            outlier_stats,
            dns_stats,
        };
        (seed, published)
    }

    fn name(&self) -> String {
        format!("cluster/{}", self.plan.name)
    }

    /// Every name was answered, be it by a failure, and every check has.
    fn is_warm(&self) -> bool {
        let answered = match self.plan.discovery {
            Discovery::Eds { .. } => self.assigned.borrow().is_some(),
            _ => self.answers.borrow().iter().all(Option::is_some),
        };
        let checks = &self.children.borrow().checks;
        let mut checks = checks.values().flat_map(|checked| &checked.checks);
        answered && checks.all(|(_, found)| found.answered.get())
    }

    /// Counts what became of an update: `cluster_manager.`.
    fn count(&self, stat: ClusterManagerStat) {
        self.stage.view.registry.group(Scope::plain("cluster_manager.")).add(stat, 1);
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
        self.gauge_checked();
        if let Some(stats) = &self.outlier_stats {
            hosts::gauge_ejected(stats, &hosts);
        }
        let runtime = self.stage.view.runtime.read();
        let policy = self.assigned.borrow().as_ref().map_or(before.policy, |one| one.policy);
        let membership = Membership { before: &before, hosts: &hosts, policy, runtime: &runtime };
        self.publisher.publish(ClusterSnapshot {
            plan: plan.clone(),
            policy,
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
        Self { seed, merging: Merging::default(), uses: Uses::default() }
    }

    /// Publishes the hosts that discovery has now, if they are others; says whether they are.
    fn discover(&mut self, ctx: &mut Context<Self>) -> bool {
        let by_hand = self.seed.publisher.read().by_hand.clone();
        self.discover_with(by_hand, ctx)
    }

    /// The same with what was changed by hand.
    fn discover_with(&mut self, by_hand: Arc<ByHand>, ctx: &mut Context<Self>) -> bool {
        let seed = self.seed.clone();
        let ClusterSeed { plan, stage, publisher, .. } = &*seed;
        let before = publisher.read();
        let workers = stage.view.registry.workers();
        let (answers, assigned) = (seed.answers.borrow(), seed.assigned.borrow());
        let (assigned, made) = (assigned.as_deref(), &*seed.made.borrow());
        let known = Known { plan, answers: &answers, assigned, made, before: &before };
        let Found { hosts, draining } = known.found(&by_hand, workers);
        let stats = &before.shared.stats;
        let same_hosts = are_same(&hosts, &before.hosts);
        let same = same_hosts && are_same(&draining, &before.draining);
        if !same_hosts {
            stats.add(ClusterStat::MembershipChange, 1);
            self.seed.start_checks(&hosts, &ctx.address(), &reports_to(ctx.address()));
        }
        if !same || !before.ready || *by_hand != *before.by_hand {
            self.published_anyway(ctx);
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

    /// Publishes who is out, or back, if outlier detection has judged anew.
    fn flag_judged(&mut self, ctx: &mut Context<Self>) {
        if hosts::flag_judged(&self.seed.publisher.read().hosts) {
            self.publish_health(ctx);
        }
    }

    fn leave_out(&self) {
        let snapshot = self.seed.publisher.read();
        for host in snapshot.hosts.iter().filter(|host| host.has_asked_out()) {
            self.seed.leave_out(host);
        }
    }
}

/// The reader's and the writer's side of what will be known of a name.
fn publish_name(name: &NamePlan) -> (Arc<Name>, Rc<Publisher<NameStatus>>) {
    let publisher = Publisher::new(NameStatus::default());
    (Arc::new(Name::new(&name.name, name.port, publisher.subscribe())), Rc::new(publisher))
}

/// Whether two answers name the same addresses, in whatever order.
fn are_the_same(answer: &[IpAddr], other: &[IpAddr]) -> bool {
    let sorted = |answer: &[IpAddr]| {
        let mut sorted = answer.to_vec();
        sorted.sort_unstable();
        sorted
    };
    answer.len() == other.len() && (answer == other || sorted(answer) == sorted(other))
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
        self.seed.start_outlier(&cluster, &reports);
        before.shared.stats.set(ClusterStat::WarmingState, u64::from(!before.ready));
        if !self.seed.check_stats.is_empty() {
            self.hear_who_asks_out(ctx);
        }
        self.begin_on_demand(ctx);
        self.end_when_due(ctx);
        self.weigh_again_and_again(ctx);
        if before.version > 0 {
            // Flags that were set when it fell may not be in what is published.
            hosts::flag_judged(&before.hosts);
            self.seed.publish(before.hosts.to_vec());
            self.seed.tell_ready();
        } else if let Discovery::Static(hosts) = &self.seed.plan.discovery {
            let stats = &before.shared.stats;
            stats.add(ClusterStat::DefaultTotalMatchCount, hosts.len() as u64);
            self.discover(ctx);
        } else {
            hosts::gauge(&self.seed.plan, &before.shared.stats, &[]);
        }
        if let Discovery::OriginalDst { .. } = &self.seed.plan.discovery {
            // It is ready without hosts; those that were heard of before a fall may not have been published.
            self.discover(ctx);
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
        let ready = self.seed.publisher.read().ready;
        if let Some(place) = self.seed.answers.borrow_mut().get_mut(at) {
            if let (Some(answer), Some(before), true) = (&answer, &*place, ready)
                && are_the_same(&answer.addresses, before)
            {
                // Nothing to find out: most answers are.
                return stats.add(ClusterStat::UpdateNoRebuild, 1);
            }
            match answer {
                Some(answer) => *place = Some(answer.addresses),
                // An answer it is all the same: nobody needs to wait for a better one.
                None => drop(place.get_or_insert_default()),
            }
        }
        if failed && ready {
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
    fn handle(&mut self, Assign(assigned): Assign, ctx: &mut Context<Self>) {
        let before = self.seed.publisher.read();
        let stats = &before.shared.stats;
        // Observed: Envoy 1.40 looks for a transport socket for each of them.
        stats.add(ClusterStat::DefaultTotalMatchCount, assigned.hosts.len() as u64);
        let policy = assigned.policy;
        let first = self.seed.assigned.replace(Some(assigned)).is_none();
        if self.discover(ctx) {
            return;
        }
        if policy != before.policy {
            self.seed.publish(before.hosts.to_vec());
        } else if !first {
            stats.add(ClusterStat::UpdateNoRebuild, 1);
        }
    }
}

impl Handler<HealthChanged> for Cluster {
    type Result = ();

    fn handle(&mut self, HealthChanged { host, passed }: HealthChanged, ctx: &mut Context<Self>) {
        let before = self.seed.publisher.read();
        if !before.hosts.iter().any(|known| Arc::ptr_eq(known, &host)) {
            return;
        }
        let flags_before = host.flags();
        if let Some(flags) = self.seed.checked_flags(&host) {
            if flags & HealthFlag::FailedActiveHc as u32 == 0
                && host.has(HealthFlag::FailedActiveHc)
            {
                host.becomes_well();
            }
            host.health.store(host.flags() & !Finding::FLAGS | flags, Relaxed);
        }
        if passed {
            self.seed.take_back(&host);
        }
        // A host that DNS no longer names stays only as long as its check holds it up.
        let stays =
            |host: &&Arc<Host>| host.healthy() || !host.has(HealthFlag::PendingDynamicRemoval);
        let hosts: Vec<_> = before.hosts.iter().filter(stays).cloned().collect();
        let some_leave = hosts.len() < before.hosts.len();
        if some_leave {
            before.shared.stats.add(ClusterStat::MembershipChange, 1);
            self.seed.start_checks(&hosts, &ctx.address(), &reports_to(ctx.address()));
        }
        if some_leave {
            self.published_anyway(ctx);
            self.seed.publish(hosts);
        } else if before.ready && flags_before == host.flags() {
            // One of several checks, or a check that has passed once more.
            self.seed.gauge_checked();
        } else {
            self.publish_health(ctx);
        }
    }
}

impl Handler<Judged> for Cluster {
    type Result = ();

    fn handle(&mut self, _: Judged, ctx: &mut Context<Self>) {
        self.flag_judged(ctx);
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
        self.seed.start_outlier(&cluster, &reports);
    }
}

impl Handler<Leave> for Cluster {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        self.seed.end_children();
        ctx.stop();
    }
}
