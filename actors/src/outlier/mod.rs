//! Owns outlier detection of one cluster: which hosts are out for what their requests say of them, and for
//! how long. The flags, and with them who takes traffic, are the cluster's to set.
//!
//! Source: Envoy's architecture overview, "Outlier detection", and `config.cluster.v3.OutlierDetection`.

mod ejection;
mod monitor;
mod plan;
mod rates;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix::prelude::*;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::Instant};

pub use ejection::Ejection;
pub use monitor::{Monitor, Outcome};
pub use plan::{Consecutive, Enforcing, FailurePercentagePlan, OutlierPlan, SuccessRatePlan};

use monitor::{Notice, Origin};
use plan::InForce;
use rates::Rate;

use crate::{
    event::{Event, Means, Outlier as Done, OutlierAction, What},
    plan::ClusterPlan,
    published::Published,
    runtime::Runtime,
    seams::Record,
    snapshot::{ClusterSnapshot, Host},
    stats::{Group, OutlierStat},
    supervise::falls,
};

/// The shortest interval, whatever the runtime says.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What outlier detection keeps through a fall; what it has done is in the hosts' monitors.
#[derive(Clone)]
pub(crate) struct OutlierSeed {
    pub(crate) cluster: Arc<ClusterPlan>,
    pub(crate) plan: Arc<OutlierPlan>,
    pub(crate) snapshot: Published<ClusterSnapshot>,
    pub(crate) told: Recipient<Judged>,
    pub(crate) stats: Arc<Group<OutlierStat>>,
    pub(crate) runtime: Published<Runtime>,
    pub(crate) record: Arc<dyn Record>,
}

/// Outlier detection of one cluster.
pub(crate) struct Outlier {
    seed: OutlierSeed,
}

/// Hosts are out, or back. Which, their monitors say.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Judged;

/// A health check has passed: the host is to be taken back.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TakeBack(pub(crate) Arc<Host>);

/// An interval has ended. Sent to itself.
#[derive(Message)]
#[rtype(result = "()")]
struct Judge;

/// The cluster is no longer wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopJudging;

/// How many hosts there are, and how many of them are out.
struct Count {
    hosts: usize,
    ejected: usize,
}

/// A host with its monitor.
type Monitored<'a> = (&'a Arc<Host>, &'a Monitor);

/// What a cluster's outlier detection shares with workers and readers.
#[derive(Debug, Default)]
pub struct OutlierShared {
    failing: Notify,
    means: Mutex<[Means; 2]>,
}

// === impl OutlierShared ===

impl OutlierShared {
    /// A host has failed too often in a row: its cluster's outlier detection is woken.
    pub fn wake(&self) {
        self.failing.notify_one();
    }

    /// How well the hosts do: as far as they answer, and as far as they can be reached.
    pub fn all_means(&self) -> [Means; 2] {
        *self.means.lock()
    }

    fn means(&self, origin: Origin) -> Means {
        let [external, local] = self.all_means();
        match origin {
            Origin::External => external,
            Origin::Local => local,
        }
    }

    fn set_means(&self, origin: Origin, to: Means) {
        let [external, local] = &mut *self.means.lock();
        match origin {
            Origin::External => *external = to,
            Origin::Local => *local = to,
        }
    }
}

// === impl Outlier ===

impl Outlier {
    /// Goes on from what the hosts' monitors say.
    pub(crate) fn new(seed: OutlierSeed) -> Self {
        Self { seed }
    }

    /// Waits for hosts that have failed too often in a row.
    fn hear_who_fails(&self, ctx: &mut Context<Self>) {
        let shared = self.seed.snapshot.read().shared.clone();
        let failing = async move { shared.outlier.failing.notified().await };
        ctx.spawn(failing.into_actor(self).map(|(), this, ctx| {
            this.look_at_notices();
            this.hear_who_fails(ctx);
        }));
    }

    fn look_at_notices(&self) {
        let (snapshot, runtime) = (self.seed.snapshot.read(), self.seed.runtime.read());
        let in_force = InForce { plan: &self.seed.plan, runtime: &runtime };
        let hosts = monitored(&snapshot);
        let (mut count, mut changed) = (Count::of(&hosts), false);
        for (host, monitor) in &hosts {
            let noticed = monitor.take_notices();
            if noticed & Notice::Degraded as u8 != 0 && monitor.past().degraded_at.is_none() {
                self.degrade(host, monitor, in_force);
                changed = true;
            }
            // In this order, and each only while the host is in. Observed: Envoy 1.40.
            for (notice, kind) in [
                (Notice::GatewayFailures, Ejection::ConsecutiveGatewayFailure),
                (Notice::ServerErrors, Ejection::Consecutive5xx),
                (Notice::LocalOriginFailures, Ejection::ConsecutiveLocalOriginFailure),
            ] {
                if noticed & notice as u8 == 0 || monitor.is_ejected() {
                    continue;
                }
                self.seed.stats.add(kind.detected(), 1);
                changed |= self.eject(host, monitor, kind, &mut count, in_force);
                if kind == Ejection::Consecutive5xx {
                    self.seed.stats.add(OutlierStat::Consecutive5xx, 1);
                }
                monitor.forget(notice);
            }
        }
        if changed {
            self.seed.told.do_send(Judged);
        }
    }

    /// Ejects a host, if it may be; whether it was.
    fn eject(
        &self,
        host: &Host,
        monitor: &Monitor,
        kind: Ejection,
        count: &mut Count,
        in_force: InForce<'_>,
    ) -> bool {
        let stats = &self.seed.stats;
        if !in_force.may_eject(count.ejected, count.hosts) {
            stats.add(OutlierStat::Overflow, 1);
            return false;
        }
        if kind.is_of_the_first() {
            stats.add(OutlierStat::Total, 1);
        }
        let enforced = in_force.enforces(kind);
        if enforced && monitor.is_ejected() {
            return false;
        }
        if enforced {
            count.ejected += 1;
            stats.add(OutlierStat::EnforcedTotal, 1);
            stats.add(kind.enforced(), 1);
            let (base, max) = (in_force.base_ejection_time(), in_force.max_ejection_time());
            monitor.change(|past| {
                past.ejected = true;
                past.ejections = past.ejections.saturating_add(1);
                past.ejected_at = Some(Instant::now());
                past.jitter = in_force.jitter();
                past.backoff = longer(past.backoff, base, max);
            });
        }
        let past = monitor.past();
        let (success_rate, origin) = match kind {
            Ejection::LocalOriginSuccessRate | Ejection::LocalOriginFailurePercentage => {
                (past.local_origin_success_rate, Origin::Local)
            }
            _ => (past.success_rate, Origin::External),
        };
        let cluster = self.seed.snapshot.read().shared.outlier.means(origin);
        let success_rate = success_rate.unwrap_or(-1.0);
        let action = OutlierAction::Ejected { kind, enforced, success_rate, cluster };
        self.record(host, monitor, past.unejected_at, action);
        enforced
    }

    /// Takes a host for degraded, which is not limited as ejections are. Observed: Envoy 1.40.
    fn degrade(&self, host: &Host, monitor: &Monitor, in_force: InForce<'_>) {
        self.seed.stats.add(OutlierStat::DetectedDegradation, 1);
        let (base, max) = (in_force.base_ejection_time(), in_force.max_ejection_time());
        monitor.change(|past| {
            past.degraded_at = Some(Instant::now());
            past.degraded_backoff = longer(past.degraded_backoff, base, max);
        });
        self.record(host, monitor, None, OutlierAction::Degraded);
    }

    /// Takes a host back.
    fn unejects(&self, host: &Host, monitor: &Monitor) {
        monitor.change(|past| {
            past.ejected = false;
            past.unejected_at = Some(Instant::now());
        });
        for notice in [Notice::ServerErrors, Notice::GatewayFailures, Notice::LocalOriginFailures] {
            monitor.forget(notice);
        }
        self.record(host, monitor, monitor.past().ejected_at, OutlierAction::Unejected);
    }

    /// Writes down what was done, where that is asked for.
    fn record(&self, host: &Host, monitor: &Monitor, last: Option<Instant>, action: OutlierAction) {
        let cluster = &self.seed.cluster.name;
        tracing::info!(target: "upstream", "{} of cluster {cluster:?}: {action:?}", host.address_text);
        let Some(log) = &self.seed.plan.event_log else { return };
        let told = Done {
            seconds_since_last: last.map(|last| last.elapsed().as_secs()),
            ejections: monitor.past().ejections,
            action,
        };
        let what = What::Outlier(told);
        self.seed.record.record(log, &Event { cluster, host, at: SystemTime::now(), what });
    }

    /// Whether a host that is out, or degraded, has been so for long enough; if so it no longer is.
    fn take_back(&self, host: &Host, monitor: &Monitor, in_force: InForce<'_>) -> bool {
        let past = monitor.past();
        let (base, max) = (in_force.base_ejection_time(), in_force.max_ejection_time());
        let over = |since: Instant, backoff: u32, jitter: Duration| {
            base.saturating_mul(backoff).min(max).saturating_add(jitter) <= since.elapsed()
        };
        let mut changed = false;
        if let (true, Some(since)) = (past.ejected, past.ejected_at)
            && over(since, past.backoff, past.jitter)
        {
            self.unejects(host, monitor);
            changed = true;
        }
        if let Some(since) = past.degraded_at
            && over(since, past.degraded_backoff, Duration::ZERO)
        {
            monitor.change(|past| {
                past.degraded_at = None;
                past.undegraded_at = Some(Instant::now());
            });
            self.record(host, monitor, None, OutlierAction::Unejected);
            changed = true;
        }
        changed
    }

    /// Ejects hosts for how many of their requests went well in the interval that has ended.
    fn compare(&self, hosts: &[Monitored<'_>], origin: Origin, in_force: InForce<'_>) -> bool {
        let (success, failure) = (in_force.success_rate(), in_force.failure_percentage());
        let shared = &self.seed.snapshot.read().shared;
        let mut rates = Vec::with_capacity(hosts.len());
        for (at, (_, monitor)) in hosts.iter().enumerate() {
            let sums = monitor.take_sums(origin);
            let percent = sums.filter(|(requests, _)| *requests >= success.1.min(failure.1));
            let few = (hosts.len() as u64) < success.0.min(failure.0) || monitor.is_ejected();
            let percent = percent.map(|(_, percent)| percent).filter(|_| !few);
            monitor.change(|past| match origin {
                Origin::External => past.success_rate = percent,
                Origin::Local => past.local_origin_success_rate = percent,
            });
            if let (Some((requests, percent)), false) = (sums, few) {
                rates.push(Rate { at, requests, percent });
            }
        }
        let (means, below) = rates::far_below(&rates, success);
        shared.outlier.set_means(origin, means);
        let kinds = match origin {
            Origin::External => [Ejection::SuccessRate, Ejection::FailurePercentage],
            Origin::Local => {
                [Ejection::LocalOriginSuccessRate, Ejection::LocalOriginFailurePercentage]
            }
        };
        let (mut count, mut changed) = (Count::of(hosts), false);
        for (kind, outliers) in kinds.into_iter().zip([below, rates::failing(&rates, failure)]) {
            for (host, monitor) in outliers.iter().filter_map(|rate| hosts.get(rate.at)) {
                if let Ejection::SuccessRate | Ejection::LocalOriginSuccessRate = kind {
                    self.seed.stats.add(OutlierStat::SuccessRate, 1);
                }
                self.seed.stats.add(kind.detected(), 1);
                changed |= self.eject(host, monitor, kind, &mut count, in_force);
            }
        }
        changed
    }
}

// === impl Count ===

impl Count {
    fn of(hosts: &[Monitored<'_>]) -> Self {
        let ejected = hosts.iter().filter(|(_, monitor)| monitor.is_ejected()).count();
        Self { hosts: hosts.len(), ejected }
    }
}

/// The hosts of a snapshot that are watched.
fn monitored(snapshot: &ClusterSnapshot) -> Vec<Monitored<'_>> {
    let hosts = snapshot.hosts.iter();
    hosts.filter_map(|host| host.monitor.as_deref().map(|monitor| (host, monitor))).collect()
}

/// How many times the base time a host is out next, as long as that is not beyond the longest.
fn longer(backoff: u32, base: Duration, max: Duration) -> u32 {
    match base.saturating_mul(backoff) < max.saturating_add(base) {
        true => backoff.saturating_add(1),
        false => backoff,
    }
}

impl Actor for Outlier {
    type Context = Context<Self>;

    /// What was noticed meanwhile is looked at first.
    fn started(&mut self, ctx: &mut Context<Self>) {
        let runtime = self.seed.runtime.read();
        let in_force = InForce { plan: &self.seed.plan, runtime: &runtime };
        self.look_at_notices();
        self.hear_who_fails(ctx);
        ctx.notify_later(Judge, in_force.interval().max(INTERVAL_MIN));
    }
}

impl Supervised for Outlier {
    /// Monitors are the memory: whoever is out stays out, and is taken back in its time.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Outlier);

impl Handler<Judge> for Outlier {
    type Result = ();

    fn handle(&mut self, _: Judge, ctx: &mut Context<Self>) {
        let (snapshot, runtime) = (self.seed.snapshot.read(), self.seed.runtime.read());
        let in_force = InForce { plan: &self.seed.plan, runtime: &runtime };
        let interval = in_force.interval().max(INTERVAL_MIN);
        let hosts = monitored(&snapshot);
        let mut changed = false;
        for (host, monitor) in &hosts {
            changed |= self.take_back(host, monitor, in_force);
        }
        changed |= self.compare(&hosts, Origin::External, in_force);
        changed |= self.compare(&hosts, Origin::Local, in_force);
        // Who behaves is ejected for less long the next time.
        let well_since = |since: Option<Instant>| since.is_some_and(|at| at.elapsed() >= interval);
        for (_, monitor) in &hosts {
            monitor.change(|past| {
                if !past.ejected && well_since(past.unejected_at) {
                    past.backoff = past.backoff.saturating_sub(1);
                }
                if past.degraded_at.is_none() && well_since(past.undegraded_at) {
                    past.degraded_backoff = past.degraded_backoff.saturating_sub(1);
                }
            });
        }
        if changed {
            self.seed.told.do_send(Judged);
        }
        ctx.notify_later(Judge, interval);
    }
}

impl Handler<TakeBack> for Outlier {
    type Result = ();

    fn handle(&mut self, TakeBack(host): TakeBack, _: &mut Context<Self>) {
        if let Some(monitor) = host.monitor.as_deref().filter(|monitor| monitor.is_ejected()) {
            self.unejects(&host, monitor);
            self.seed.told.do_send(Judged);
        }
    }
}

impl Handler<StopJudging> for Outlier {
    type Result = ();

    fn handle(&mut self, _: StopJudging, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
