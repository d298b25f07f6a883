//! Owns the health of one host under one check: asks it, and tells the cluster when it changes.
//!
//! Source: Envoy's architecture overview, "Health checking", and `config.core.v3.HealthCheck`.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix::prelude::*;

use crate::{
    event::{Checked, Event, Failure, What},
    plan::{ClusterPlan, HealthCheckPlan},
    published::Published,
    runtime::{Runtime, Share},
    seams::{Probe, Probed, Record, Report},
    snapshot::{HealthFlag, Host},
    stats::{ClusterStat, Group, HealthCheckStat},
    supervise::falls,
};

/// The shortest time between two checks of a host.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What a check keeps through a fall.
#[derive(Clone)]
pub(crate) struct HealthCheckSeed {
    pub(crate) cluster: Arc<ClusterPlan>,
    pub(crate) plan: Arc<HealthCheckPlan>,
    pub(crate) host: Arc<Host>,
    pub(crate) probe: Arc<dyn Probe>,
    pub(crate) told: Recipient<HealthChanged>,
    pub(crate) stats: Arc<Group<HealthCheckStat>>,
    pub(crate) cluster_stats: Arc<Group<ClusterStat>>,
    pub(crate) runtime: Published<Runtime>,
    pub(crate) record: Arc<dyn Record>,
    pub(crate) found: Rc<Finding>,
}

/// What one check has found of its host. The check writes it, its cluster makes flags of it.
#[derive(Debug)]
pub(crate) struct Finding {
    /// The check has answered at least once: until then one success is enough.
    pub(crate) answered: Cell<bool>,
    /// Bits of [`HealthFlag`], as they would be if this were the only check.
    pub(crate) flags: Cell<u32>,
}

/// Checks one host.
pub(crate) struct HealthCheck {
    seed: HealthCheckSeed,
    successes: u32,
    failures: u32,
}

/// A check has found something else of a host than before, or has passed one that is an outlier. The
/// host's flags are the cluster's to set.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HealthChanged {
    pub(crate) host: Arc<Host>,
    pub(crate) passed: bool,
}

/// What follows from one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    well: bool,
    transition: Transition,
}

/// Whether an answer makes another of its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transition {
    Unchanged,
    /// Thresholds hold a change back.
    Pending,
    Changed,
}

/// Time to ask. Sent to itself.
#[derive(Message)]
#[rtype(result = "()")]
struct Ask;

/// The host has asked to be left out, in an answer to a request.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct LeaveOut;

/// The host has left.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopChecking;

// === impl Finding ===

impl Finding {
    /// The flags that checks set.
    pub(crate) const FLAGS: u32 = HealthFlag::FailedActiveHc as u32
        | HealthFlag::DegradedActiveHc as u32
        | HealthFlag::PendingActiveHc as u32
        | HealthFlag::ExcludedViaImmediateHcFail as u32
        | HealthFlag::ActiveHcTimeout as u32;

    /// What is known of a host before this check has asked it.
    pub(crate) fn of(host: &Host) -> Self {
        Self { answered: Cell::new(false), flags: Cell::new(host.flags() & Self::FLAGS) }
    }

    pub(crate) fn has(&self, flag: HealthFlag) -> bool {
        self.flags.get() & flag as u32 != 0
    }

    fn set(&self, flag: HealthFlag, up: bool) {
        let others = self.flags.get() & !(flag as u32);
        self.flags.set(if up { others | flag as u32 } else { others });
    }
}

// === impl HealthCheck ===

impl HealthCheck {
    pub(crate) fn new(seed: HealthCheckSeed) -> Self {
        Self { seed, successes: 0, failures: 0 }
    }

    /// Takes an answer for what it says.
    fn judge(&mut self, report: &Report) -> Verdict {
        match report.probed {
            Probed::Healthy | Probed::Degraded if !self.is_meant(report) => {
                self.failed(Failure::Active, true, report)
            }
            Probed::Healthy => self.succeeded(false),
            Probed::Degraded => self.succeeded(true),
            // An answer that says "unhealthy" counts at once, whatever the threshold is.
            Probed::Unhealthy => self.failed(Failure::Active, true, report),
            Probed::Retriable => self.failed(Failure::Active, false, report),
            Probed::NetworkFailure => self.failed(Failure::Network, false, report),
            Probed::TimedOut => self.failed(Failure::NetworkTimeout, false, report),
        }
    }

    /// Whether a host is of the service that is meant, where that is looked at.
    fn is_meant(&self, report: &Report) -> bool {
        let Some(is_service) = report.is_service else { return true };
        let (key, always) =
            ("health_check.verify_cluster", Share { numerator: 100, denominator: 100 });
        if !self.seed.runtime.read().enabled(key, always, fastrand::u64(..)) {
            return true;
        }
        self.seed.stats.add(HealthCheckStat::VerifyCluster, 1);
        is_service
    }

    fn succeeded(&mut self, degraded: bool) -> Verdict {
        let HealthCheckSeed { found, plan, stats, .. } = &self.seed;
        let first = !found.answered.replace(true);
        self.failures = 0;
        stats.add(HealthCheckStat::Success, 1);
        let mut transition = Transition::Unchanged;
        if found.has(HealthFlag::FailedActiveHc) {
            self.successes = self.successes.saturating_add(1);
            transition = Transition::Pending;
            if first || self.successes == plan.healthy_threshold {
                found.set(HealthFlag::FailedActiveHc, false);
                found.set(HealthFlag::ActiveHcTimeout, false);
                found.set(HealthFlag::ExcludedViaImmediateHcFail, false);
                transition = Transition::Changed;
                self.record(Checked::Added { first });
            }
        }
        if transition != Transition::Changed && plan.logs_successes {
            self.record(Checked::Passed);
        }
        transition = self.no_longer_pending(transition);
        if degraded != found.has(HealthFlag::DegradedActiveHc) {
            found.set(HealthFlag::DegradedActiveHc, degraded);
            self.record(if degraded { Checked::Degraded } else { Checked::NoLongerDegraded });
            if transition == Transition::Unchanged {
                transition = Transition::Changed;
            }
        }
        Verdict { well: true, transition }
    }

    fn failed(&mut self, failure: Failure, at_once: bool, report: &Report) -> Verdict {
        let HealthCheckSeed { found, plan, stats, .. } = &self.seed;
        let first = !found.answered.replace(true);
        self.successes = 0;
        stats.add(HealthCheckStat::Failure, 1);
        match failure {
            Failure::Network | Failure::NetworkTimeout => {
                stats.add(HealthCheckStat::NetworkFailure, 1);
            }
            Failure::Passive => stats.add(HealthCheckStat::PassiveFailure, 1),
            Failure::Active => {}
        }
        let mut transition = Transition::Unchanged;
        if !found.has(HealthFlag::FailedActiveHc) {
            self.failures = self.failures.saturating_add(u32::from(!at_once));
            transition = Transition::Pending;
            if at_once || self.failures == plan.unhealthy_threshold {
                found.set(HealthFlag::FailedActiveHc, true);
                transition = Transition::Changed;
                self.record(Checked::Ejected { failure, status: report.status });
            }
        }
        if report.asks_out {
            found.set(HealthFlag::ExcludedViaImmediateHcFail, true);
        }
        let timed_out = failure == Failure::NetworkTimeout && found.has(HealthFlag::FailedActiveHc);
        found.set(HealthFlag::ActiveHcTimeout, timed_out);
        transition = self.no_longer_pending(transition);
        if first || plan.logs_failures {
            self.record(Checked::Failed { failure, first, status: report.status });
        }
        Verdict { well: false, transition }
    }

    /// A host that was not checked before is now.
    fn no_longer_pending(&self, transition: Transition) -> Transition {
        let found = &self.seed.found;
        if !found.has(HealthFlag::PendingActiveHc) {
            return transition;
        }
        found.set(HealthFlag::PendingActiveHc, false);
        Transition::Changed
    }

    /// Takes something for what it says, and tells the cluster if the host is another now.
    fn take(&mut self, report: &Report, judge: impl FnOnce(&mut Self) -> Verdict) -> Verdict {
        let found = self.seed.found.clone();
        let (before, unanswered) = (found.flags.get(), !found.answered.get());
        let verdict = judge(self);
        let HealthCheckSeed { cluster, host, told, .. } = &self.seed;
        let failed = found.has(HealthFlag::FailedActiveHc);
        let changed = unanswered || before != found.flags.get();
        if changed {
            let (name, address) = (&cluster.name, &host.address_text);
            let how = if failed { "not well" } else { "well" };
            tracing::info!(target: "hc", "{address} of cluster {name:?} is {how} ({:?})", report.probed);
        }
        // Each success takes a host back that outlier detection has ejected.
        let passed = verdict.well && !failed;
        if changed || (passed && host.has(HealthFlag::FailedOutlierCheck)) {
            told.do_send(HealthChanged { host: host.clone(), passed });
        }
        verdict
    }

    /// Writes down what was found, where that is asked for.
    fn record(&self, checked: Checked) {
        let HealthCheckSeed { cluster, plan, host, record, .. } = &self.seed;
        for log in &plan.event_logs {
            let what = What::HealthCheck(plan.kind, checked);
            let at = SystemTime::now();
            record.record(log, &Event { cluster: &cluster.name, host, at, what });
        }
    }

    /// How long until the next check.
    fn wait(&self, Verdict { well, transition }: Verdict) -> Duration {
        let plan = &self.seed.plan;
        let pending = transition == Transition::Pending;
        let used = self.seed.cluster_stats.used(ClusterStat::UpstreamCxTotal);
        let unhealthy = plan.unhealthy_interval.unwrap_or(plan.interval);
        let base = match (used, well, pending) {
            (false, true, false) => {
                plan.no_traffic_healthy_interval.unwrap_or(plan.no_traffic_interval)
            }
            (false, _, _) => plan.no_traffic_interval,
            (true, true, false) => plan.interval,
            (true, true, true) => plan.healthy_edge_interval.unwrap_or(plan.interval),
            (true, false, false) => unhealthy,
            (true, false, true) => plan.unhealthy_edge_interval.unwrap_or(unhealthy),
        };
        let share = base.mul_f64(f64::from(plan.interval_jitter_percent) / 100.0);
        let jitter = |most: Duration| most.mul_f64(fastrand::f64());
        let wait = base + jitter(share) + jitter(plan.interval_jitter);
        let runtime = self.seed.runtime.read();
        let max = runtime.integer("health_check.max_interval", u64::MAX);
        let min = runtime.integer("health_check.min_interval", 0);
        wait.min(Duration::from_millis(max)).max(Duration::from_millis(min)).max(INTERVAL_MIN)
    }
}

impl Actor for HealthCheck {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let jitter = self.seed.plan.initial_jitter.mul_f64(fastrand::f64());
        ctx.notify_later(Ask, jitter);
    }
}

impl Supervised for HealthCheck {
    /// Thresholds begin anew; what was found of the host stays.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(HealthCheck);

impl Handler<Ask> for HealthCheck {
    type Result = ();

    fn handle(&mut self, _: Ask, ctx: &mut Context<Self>) {
        let HealthCheckSeed { cluster, plan, host, probe, stats, .. } = &self.seed;
        stats.add(HealthCheckStat::Attempt, 1);
        let asking = probe.probe(cluster.clone(), plan.clone(), host.clone());
        let asking = tokio::time::timeout(plan.timeout, asking);
        ctx.spawn(asking.into_actor(self).map(|report, this, ctx| {
            let report = report.unwrap_or_else(|_| Probed::TimedOut.into());
            let verdict = this.take(&report, |this| this.judge(&report));
            ctx.notify_later(Ask, this.wait(verdict));
        }));
    }
}

impl Handler<LeaveOut> for HealthCheck {
    type Result = ();

    /// Observed: Envoy 1.40, `x-envoy-immediate-health-check-fail` in an answer to a proxied request.
    fn handle(&mut self, _: LeaveOut, _: &mut Context<Self>) {
        let report = Report { asks_out: true, ..Probed::Unhealthy.into() };
        self.take(&report, |this| this.failed(Failure::Passive, true, &report));
    }
}

impl Handler<StopChecking> for HealthCheck {
    type Result = ();

    fn handle(&mut self, _: StopChecking, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
