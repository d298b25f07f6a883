//! Owns the health of one host under one check: asks it, and tells the cluster when it changes.
//!
//! Source: Envoy's architecture overview, "Health checking", and `config.core.v3.HealthCheck`.

use std::{cell::Cell, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;

use crate::{
    plan::{ClusterPlan, HealthCheckKind, HealthCheckPlan},
    published::Published,
    runtime::Runtime,
    seams::{Probe, Probed},
    snapshot::{HealthFlag, Host},
    stats::{ClusterStat, Group, HealthCheckStat},
    supervise::falls,
};

/// The shortest time between two checks of a host.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What a check keeps through a fall; the health itself is the host's.
#[derive(Clone)]
pub(crate) struct HealthCheckSeed {
    pub(crate) cluster: Arc<ClusterPlan>,
    pub(crate) plan: HealthCheckPlan,
    pub(crate) host: Arc<Host>,
    pub(crate) probe: Arc<dyn Probe>,
    pub(crate) told: Recipient<HealthChanged>,
    pub(crate) stats: Arc<Group<HealthCheckStat>>,
    pub(crate) cluster_stats: Arc<Group<ClusterStat>>,
    pub(crate) runtime: Published<Runtime>,
    /// The check has answered at least once: until then one success is enough.
    pub(crate) answered: Rc<Cell<bool>>,
}

/// Checks one host.
pub(crate) struct HealthCheck {
    seed: HealthCheckSeed,
    successes: u32,
    failures: u32,
}

/// A host's health is another now. The flags are the cluster's to set.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HealthChanged {
    pub(crate) host: Arc<Host>,
    pub(crate) health: Health,
}

/// What a check says of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    Healthy,
    Degraded,
    Failed,
    FailedByTimeout,
}

/// What follows from one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    well: bool,
    /// Thresholds hold a change back.
    pending: bool,
    /// What to tell the cluster, if anything.
    health: Option<Health>,
}

/// Time to ask. Sent to itself.
#[derive(Message)]
#[rtype(result = "()")]
struct Ask;

/// The host has left.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopChecking;

// === impl HealthCheck ===

impl HealthCheck {
    pub(crate) fn new(seed: HealthCheckSeed) -> Self {
        Self { seed, successes: 0, failures: 0 }
    }

    fn judge(&mut self, probed: &Probed) -> Verdict {
        match probed {
            Probed::Healthy => self.succeeded(Health::Healthy),
            Probed::Degraded => self.succeeded(Health::Degraded),
            Probed::Unhealthy | Probed::Retriable | Probed::NetworkFailure => {
                self.failed(probed, Health::Failed)
            }
            Probed::TimedOut => self.failed(probed, Health::FailedByTimeout),
        }
    }

    fn succeeded(&mut self, health: Health) -> Verdict {
        let host = &self.seed.host;
        let first = !self.seed.answered.replace(true);
        self.failures = 0;
        let mut pending = false;
        // Each success takes a host back that outlier detection has ejected.
        let mut changed = first
            || host.has(HealthFlag::FailedOutlierCheck)
            || host.has(HealthFlag::DegradedActiveHc) != (health == Health::Degraded);
        if host.has(HealthFlag::FailedActiveHc) {
            self.successes = self.successes.saturating_add(1);
            let enough = first || self.successes >= self.seed.plan.healthy_threshold;
            (pending, changed) = (!enough, enough);
            if enough {
                self.successes = 0;
            }
        }
        Verdict { well: true, pending, health: changed.then_some(health) }
    }

    fn failed(&mut self, probed: &Probed, health: Health) -> Verdict {
        let (host, plan) = (&self.seed.host, &self.seed.plan);
        let first = !self.seed.answered.replace(true);
        self.successes = 0;
        if host.has(HealthFlag::FailedActiveHc) {
            return Verdict { well: false, pending: false, health: first.then_some(health) };
        }
        // An HTTP answer that says "unhealthy" counts at once, whatever the threshold is.
        let is_http = matches!(plan.kind, HealthCheckKind::Http { .. });
        self.failures = self.failures.saturating_add(1);
        let at_once = is_http && *probed == Probed::Unhealthy;
        let enough = at_once || self.failures >= plan.unhealthy_threshold;
        Verdict { well: false, pending: !enough, health: enough.then_some(health) }
    }

    fn count(&self, probed: &Probed) {
        let stats = &self.seed.stats;
        let stat = match probed {
            Probed::Healthy | Probed::Degraded => HealthCheckStat::Success,
            Probed::Unhealthy | Probed::Retriable => HealthCheckStat::Failure,
            Probed::NetworkFailure | Probed::TimedOut => {
                stats.add(HealthCheckStat::NetworkFailure, 1);
                HealthCheckStat::Failure
            }
        };
        stats.add(stat, 1);
    }

    /// How long until the next check.
    fn wait(&self, verdict: Verdict) -> Duration {
        let plan = &self.seed.plan;
        let used = self.seed.cluster_stats.used(ClusterStat::UpstreamCxTotal);
        let unhealthy = plan.unhealthy_interval.unwrap_or(plan.interval);
        let base = match (used, verdict.well, verdict.pending) {
            (false, true, _) => {
                plan.no_traffic_healthy_interval.unwrap_or(plan.no_traffic_interval)
            }
            (false, false, _) => plan.no_traffic_interval,
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
    /// Thresholds begin anew; what the host's health is stays.
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
        ctx.spawn(asking.into_actor(self).map(|probed, this, ctx| {
            let probed = probed.unwrap_or(Probed::TimedOut);
            this.count(&probed);
            let verdict = this.judge(&probed);
            ctx.notify_later(Ask, this.wait(verdict));
            if let Some(health) = verdict.health {
                let host = this.seed.host.clone();
                let (cluster, address) = (&this.seed.cluster.name, &host.address_text);
                tracing::info!(target: "hc", "{address} of cluster {cluster:?} is {health:?} ({probed:?})");
                this.seed.told.do_send(HealthChanged { host, health });
            }
        }));
    }
}

impl Handler<StopChecking> for HealthCheck {
    type Result = ();

    fn handle(&mut self, _: StopChecking, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
