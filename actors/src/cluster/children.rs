//! Owns who works for a cluster: a lookup for each name, a check for each host; started once, ended with it.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use actix::prelude::*;

use super::{Cluster, ClusterSeed, hosts};
use crate::{
    dns_refresh::{DnsRefresh, DnsRefreshSeed, Forget},
    health_check::{Finding, HealthCheck, HealthCheckSeed, LeaveOut, StopChecking},
    outlier::{Outlier, OutlierSeed, StopJudging, TakeBack},
    plan::{Discovery, HealthCheckKind},
    snapshot::{HealthFlag, Host},
    stats::{AllHealthChecksStat, HealthCheckStat},
    supervise::{Reports, supervise},
};

/// Who works for a cluster. Kept through its fall.
#[derive(Default)]
pub(super) struct Children {
    /// By position of the name in the plan.
    pub(super) names: HashMap<usize, Addr<DnsRefresh>>,
    /// By host.
    pub(super) checks: HashMap<*const Host, Checked>,
    /// Where hosts are watched.
    pub(super) outlier: Option<Addr<Outlier>>,
}

/// A host and who checks it.
pub(super) struct Checked {
    /// Held, so that no other host gets its address in memory, which is the key.
    pub(super) host: Arc<Host>,
    /// In the plan's order: who checks, and what that has found.
    pub(super) checks: Vec<(Addr<HealthCheck>, Rc<Finding>)>,
}

// === impl Checked ===

impl Checked {
    fn stop(&self) {
        self.checks.iter().for_each(|(check, _)| check.do_send(StopChecking));
    }

    /// The host's flags, as all of its checks have it.
    ///
    /// Observed: Envoy 1.40 says of several checks together that a host failed, not that it was for a timeout.
    pub(super) fn flags(&self) -> u32 {
        let all = self.checks.iter().fold(0, |all, (_, found)| all | found.flags.get());
        match self.checks.len() {
            0 | 1 => all,
            _ => all & !(HealthFlag::ActiveHcTimeout as u32),
        }
    }
}

// === impl ClusterSeed ===

impl ClusterSeed {
    /// Starts the lookups that are missing.
    pub(super) fn start_names(&self, cluster: &Addr<Cluster>, reports: &Reports) {
        let (Discovery::StrictDns { dns, .. } | Discovery::LogicalDns { dns, .. }) =
            &self.plan.discovery
        else {
            return;
        };
        let Some(dns_stats) = &self.dns_stats else { return };
        let before = self.publisher.read();
        let names = hosts::names(&self.plan.discovery);
        for (at, name) in names.iter().enumerate() {
            if self.children.borrow().names.contains_key(&at) {
                continue;
            }
            let (Some(known), Some(status)) = (before.names.get(at), self.names.get(at)) else {
                continue;
            };
            let seed = DnsRefreshSeed {
                at,
                name: known.clone(),
                status: status.clone(),
                dns: dns.clone(),
                resolve: self.stage.seams.resolve.clone(),
                cluster: cluster.clone().recipient(),
                stats: dns_stats.clone(),
                cluster_stats: before.shared.stats.clone(),
                empty_fails: matches!(self.plan.discovery, Discovery::LogicalDns { .. }),
            };
            // Two endpoints may have one name, and two ports.
            let earlier = names.iter().take(at).filter(|other| other.name == name.name).count();
            let title = match earlier {
                0 => format!("{}/dns/{}", self.name(), name.name),
                _ => format!("{}/dns/{}/{}", self.name(), name.name, earlier + 1),
            };
            let cast = self.stage.cast("DnsRefresh", title, &self.name(), reports.clone());
            let child = supervise(cast, |_| DnsRefresh::new(seed));
            self.children.borrow_mut().names.insert(at, child);
        }
    }

    /// Starts checks of new hosts, ends those of hosts that left.
    pub(super) fn start_checks(
        &self,
        hosts: &[Arc<Host>],
        cluster: &Addr<Cluster>,
        reports: &Reports,
    ) {
        if self.check_stats.is_empty() {
            return;
        }
        let stay: HashSet<_> = hosts.iter().map(Arc::as_ptr).collect();
        let shared = self.publisher.read().shared.clone();
        let mut children = self.children.borrow_mut();
        children.checks.retain(|_, checked| {
            let stays = stay.contains(&Arc::as_ptr(&checked.host));
            if !stays {
                checked.stop();
            }
            stays
        });
        for host in hosts.iter().filter(|host| !host.endpoint.unchecked) {
            if children.checks.contains_key(&Arc::as_ptr(host)) {
                continue;
            }
            // One address may be two hosts.
            let twin = |checked: &&Checked| checked.host.address == host.address;
            let title = match children.checks.values().filter(twin).count() {
                0 => format!("{}/health_check/{}", self.name(), host.address_text),
                n => format!("{}/health_check/{}/{}", self.name(), host.address_text, n + 1),
            };
            let mut checks = Vec::new();
            for (plan, stats) in self.plan.health_checks.iter().zip(&self.check_stats) {
                if let HealthCheckKind::Http { http2: false } = plan.kind {
                    shared.http1_stats.get();
                }
                let found = Rc::new(Finding::of(host));
                let seed = HealthCheckSeed {
                    cluster: self.plan.clone(),
                    plan: plan.clone(),
                    host: host.clone(),
                    probe: self.stage.seams.probe.clone(),
                    told: cluster.clone().recipient(),
                    stats: stats.clone(),
                    cluster_stats: shared.stats.clone(),
                    runtime: self.stage.view.runtime.clone(),
                    record: self.stage.seams.record.clone(),
                    found: found.clone(),
                };
                let title = match self.check_stats.len() {
                    1 => title.clone(),
                    _ => format!("{title}/{}", plan.name),
                };
                let cast = self.stage.cast("HealthCheck", title, &self.name(), reports.clone());
                checks.push((supervise(cast, |_| HealthCheck::new(seed)), found));
            }
            children.checks.insert(Arc::as_ptr(host), Checked { host: host.clone(), checks });
        }
    }

    /// Starts outlier detection, if there is to be one and is none.
    pub(super) fn start_outlier(&self, cluster: &Addr<Cluster>, reports: &Reports) {
        let (Some(plan), Some(stats)) = (&self.plan.outlier, &self.outlier_stats) else { return };
        let mut children = self.children.borrow_mut();
        if children.outlier.is_some() {
            return;
        }
        let seed = OutlierSeed {
            cluster: self.plan.clone(),
            plan: plan.clone(),
            snapshot: self.publisher.subscribe(),
            told: cluster.clone().recipient(),
            stats: stats.clone(),
            runtime: self.stage.view.runtime.clone(),
            record: self.stage.seams.record.clone(),
        };
        let title = format!("{}/outlier", self.name());
        let cast = self.stage.cast("Outlier", title, &self.name(), reports.clone());
        children.outlier = Some(supervise(cast, |_| Outlier::new(seed)));
    }

    /// The flags that the checks of a host set, if it is checked.
    pub(super) fn checked_flags(&self, host: &Arc<Host>) -> Option<u32> {
        self.children.borrow().checks.get(&Arc::as_ptr(host)).map(Checked::flags)
    }

    /// Sets the gauges that speak of checked hosts: how many are well, how many are degraded.
    pub(super) fn gauge_checked(&self) {
        let children = self.children.borrow();
        let count = |so: &dyn Fn(&Checked) -> bool| {
            children.checks.values().filter(|checked| so(checked)).count() as u64
        };
        let (failed, degraded) = (HealthFlag::FailedActiveHc, HealthFlag::DegradedActiveHc);
        for (at, stats) in self.check_stats.iter().enumerate() {
            let has = |checked: &Checked, flag| {
                checked.checks.get(at).is_some_and(|(_, found)| found.has(flag))
            };
            stats.set(HealthCheckStat::Healthy, count(&|checked| !has(checked, failed)));
            stats.set(HealthCheckStat::Degraded, count(&|checked| has(checked, degraded)));
        }
        if let Some(stats) = &self.all_checks_stats {
            let has = |checked: &Checked, flag: HealthFlag| checked.flags() & flag as u32 != 0;
            stats.set(AllHealthChecksStat::Healthy, count(&|checked| !has(checked, failed)));
            stats.set(AllHealthChecksStat::Degraded, count(&|checked| has(checked, degraded)));
        }
    }

    /// A host has asked to be left out: the last of its checks is told. Observed: Envoy 1.40.
    pub(super) fn leave_out(&self, host: &Arc<Host>) {
        let children = self.children.borrow();
        let checked = children.checks.get(&Arc::as_ptr(host));
        if let Some((check, _)) = checked.and_then(|checked| checked.checks.last()) {
            check.do_send(LeaveOut);
        }
    }

    /// A host has passed its check: that it was an outlier is forgiven, if the plan says so.
    pub(super) fn take_back(&self, host: &Arc<Host>) {
        let forgives =
            self.plan.outlier.as_ref().is_some_and(|plan| plan.unejected_by_health_check);
        if forgives
            && host.has(HealthFlag::FailedOutlierCheck)
            && let Some(outlier) = &self.children.borrow().outlier
        {
            outlier.do_send(TakeBack(host.clone()));
        }
    }

    pub(super) fn end_children(&self) {
        let children = std::mem::take(&mut *self.children.borrow_mut());
        children.names.values().for_each(|name| name.do_send(Forget));
        children.checks.values().for_each(Checked::stop);
        children.outlier.iter().for_each(|outlier| outlier.do_send(StopJudging));
    }
}
