//! Owns what is counted of a subscription, under Envoy's names.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::stats::{
    ClusterStat, EdsStat, Group, RdsStat, Registry, ReloadStat, Scope, SdsStat, SubscriptionStat,
};

/// What one subscriber counts. Observed: Envoy 1.40 `/stats`.
pub(super) enum Tally {
    /// `cluster_manager.cds.`, `listener_manager.lds.`, `http.PREFIX.rds.NAME.`, `sds.NAME.`
    Own {
        stats: Arc<Group<SubscriptionStat>>,
        reloads: Option<Arc<Group<ReloadStat>>>,
        routes: Option<Arc<Group<RdsStat>>>,
        secrets: Option<Arc<Group<SdsStat>>>,
    },
    /// `cluster.NAME.`
    OfCluster { cluster: Arc<Group<ClusterStat>>, stats: Arc<Group<EdsStat>> },
}

// === impl Tally ===

impl Tally {
    pub(super) fn cds(registry: &Registry) -> Self {
        let scope = Scope::plain("cluster_manager.cds.");
        let reloads = Some(registry.group(scope.clone()));
        Tally::Own { stats: registry.group(scope), reloads, routes: None, secrets: None }
    }

    pub(super) fn lds(registry: &Registry) -> Self {
        let stats = registry.group(Scope::plain("listener_manager.lds."));
        Tally::Own { stats, reloads: None, routes: None, secrets: None }
    }

    pub(super) fn rds(registry: &Registry, stat_prefix: &str, name: &str) -> Self {
        let scope = Scope::rds(stat_prefix, name);
        let reloads = Some(registry.group(scope.clone()));
        let routes = Some(registry.group(scope.clone()));
        Tally::Own { stats: registry.group(scope), reloads, routes, secrets: None }
    }

    pub(super) fn sds(registry: &Registry, name: &str) -> Self {
        let scope = Scope::sds(name);
        let secrets = Some(registry.group(scope.clone()));
        Tally::Own { stats: registry.group(scope), reloads: None, routes: None, secrets }
    }

    pub(super) fn eds(registry: &Registry, cluster: &str) -> Self {
        let scope = Scope::cluster(cluster);
        Tally::OfCluster { cluster: registry.group(scope.clone()), stats: registry.group(scope) }
    }

    /// A document is looked at.
    pub(super) fn attempt(&self) {
        match self {
            Tally::Own { stats, .. } => stats.add(SubscriptionStat::UpdateAttempt, 1),
            Tally::OfCluster { cluster, .. } => cluster.add(ClusterStat::UpdateAttempt, 1),
        }
    }

    /// It cannot be read.
    pub(super) fn failure(&self) {
        match self {
            Tally::Own { stats, .. } => stats.add(SubscriptionStat::UpdateFailure, 1),
            Tally::OfCluster { cluster, .. } => cluster.add(ClusterStat::UpdateFailure, 1),
        }
    }

    /// It is refused, wholly or in part.
    pub(super) fn rejected(&self) {
        match self {
            Tally::Own { stats, .. } => stats.add(SubscriptionStat::UpdateRejected, 1),
            Tally::OfCluster { stats, .. } => stats.add(EdsStat::UpdateRejected, 1),
        }
    }

    /// It is taken; `reloaded` where it brought something new. How long that took Envoy does not record of files.
    pub(super) fn success(&self, version: &str, hash: u64, reloaded: bool) {
        let now = now_ms();
        match self {
            Tally::Own { stats, reloads, .. } => {
                stats.add(SubscriptionStat::UpdateSuccess, 1);
                stats.set(SubscriptionStat::Version, hash);
                stats.set(SubscriptionStat::UpdateTime, now);
                stats.say(SubscriptionStat::VersionText, version);
                if let Some(reloads) = reloads.as_ref().filter(|_| reloaded) {
                    reloads.add(ReloadStat::ConfigReload, 1);
                    reloads.set(ReloadStat::ConfigReloadTimeMs, now);
                }
            }
            Tally::OfCluster { cluster, stats } => {
                cluster.add(ClusterStat::UpdateSuccess, 1);
                cluster.set(ClusterStat::Version, hash);
                stats.set(EdsStat::UpdateTime, now);
                stats.say(EdsStat::VersionText, version);
            }
        }
    }

    /// A file that a secret names is another, and cannot be used.
    pub(super) fn rotation_failed(&self) {
        if let Tally::Own { secrets: Some(secrets), .. } = self {
            secrets.add(SdsStat::KeyRotationFailed, 1);
        }
    }

    /// It brought nothing, where one was asked for.
    pub(super) fn empty(&self) {
        match self {
            Tally::Own { routes: Some(routes), .. } => routes.add(RdsStat::UpdateEmpty, 1),
            Tally::Own { .. } => {}
            Tally::OfCluster { cluster, .. } => cluster.add(ClusterStat::UpdateEmpty, 1),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
