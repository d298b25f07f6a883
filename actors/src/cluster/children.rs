//! Owns who works for a cluster: a lookup for each name, a check for each host; started once, ended with it.

use std::{
    cell::Cell,
    collections::{HashMap, HashSet},
    rc::Rc,
    sync::Arc,
};

use actix::prelude::*;

use super::{Cluster, ClusterSeed, hosts};
use crate::{
    dns_refresh::{DnsRefresh, DnsRefreshSeed, Forget},
    health_check::{HealthCheck, HealthCheckSeed, StopChecking},
    plan::{Discovery, HealthCheckKind},
    snapshot::Host,
    supervise::{Reports, supervise},
};

/// Who works for a cluster. Kept through its fall.
#[derive(Default)]
pub(super) struct Children {
    /// By position of the name in the plan.
    pub(super) names: HashMap<usize, Addr<DnsRefresh>>,
    /// By host.
    pub(super) checks: HashMap<*const Host, Checked>,
}

/// A host and who checks it.
pub(super) struct Checked {
    /// Held, so that no other host gets its address in memory, which is the key.
    pub(super) host: Arc<Host>,
    pub(super) check: Addr<HealthCheck>,
    /// The check has answered at least once.
    pub(super) answered: Rc<Cell<bool>>,
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
        let (Some(stats), Some(plan)) = (&self.check_stats, self.plan.health_checks.first()) else {
            return;
        };
        let stay: HashSet<_> = hosts.iter().map(Arc::as_ptr).collect();
        let shared = self.publisher.read().shared.clone();
        let mut children = self.children.borrow_mut();
        children.checks.retain(|_, checked| {
            let stays = stay.contains(&Arc::as_ptr(&checked.host));
            if !stays {
                checked.check.do_send(StopChecking);
            }
            stays
        });
        for host in hosts.iter().filter(|host| !host.endpoint.unchecked) {
            if children.checks.contains_key(&Arc::as_ptr(host)) {
                continue;
            }
            if let HealthCheckKind::Http { http2: false, .. } = plan.kind {
                shared.http1_stats.get();
            }
            let answered = Rc::default();
            let seed = HealthCheckSeed {
                cluster: self.plan.clone(),
                plan: plan.clone(),
                host: host.clone(),
                probe: self.stage.seams.probe.clone(),
                told: cluster.clone().recipient(),
                stats: stats.clone(),
                cluster_stats: shared.stats.clone(),
                runtime: self.stage.view.runtime.clone(),
                answered: Rc::clone(&answered),
            };
            // One address may be two hosts.
            let twin = |checked: &&Checked| checked.host.address == host.address;
            let title = match children.checks.values().filter(twin).count() {
                0 => format!("{}/health_check/{}", self.name(), host.address_text),
                n => format!("{}/health_check/{}/{}", self.name(), host.address_text, n + 1),
            };
            let cast = self.stage.cast("HealthCheck", title, &self.name(), reports.clone());
            let check = supervise(cast, |_| HealthCheck::new(seed));
            let checked = Checked { host: host.clone(), check, answered };
            children.checks.insert(Arc::as_ptr(host), checked);
        }
    }

    pub(super) fn end_children(&self) {
        let children = std::mem::take(&mut *self.children.borrow_mut());
        children.names.values().for_each(|name| name.do_send(Forget));
        children.checks.values().for_each(|checked| checked.check.do_send(StopChecking));
    }
}
