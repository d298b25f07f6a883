//! Owns zone aware routing: requests stay in this proxy's own zone as far as its share of hosts reaches.

use std::{collections::BTreeMap, sync::Arc};

use understudy_actors::{
    plan::Locality,
    snapshot::{ClusterSnapshot, Host},
    stats::{ClusterStat, Lane},
};

use crate::config::model::balancing::ZoneAware;

/// Shares are counted in hundredths of a percent.
const WHOLE: u64 = 10_000;

/// How requests to a priority are shared among its zones, as seen from ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Zones {
    /// Too many of the proxies' own hosts are ill for their shares to mean anything.
    LocalPanic,
    /// All stay in our zone.
    Direct,
    /// So much of them; the others go where more hosts are than proxies.
    Residual {
        /// Of [`WHOLE`].
        stays: u64,
        /// What the zones up to each have left, in order.
        left: Vec<u64>,
    },
}

/// Who takes a request.
pub(super) enum Way {
    /// A host of this zone, counted in order.
    Zone(usize),
    /// Any host, or nobody where panic is to fail.
    AsInPanic,
}

/// Zone aware routing as one worker does it.
#[derive(Debug)]
pub(super) struct Zoning {
    zones: Zones,
    enabled_percent: u32,
    pub(super) fails_on_panic: bool,
}

// === impl Zoning ===

impl Zoning {
    pub(super) fn new(zones: Zones, options: &ZoneAware, fails_on_panic: bool) -> Self {
        Self { zones, enabled_percent: options.enabled_percent, fails_on_panic }
    }

    /// Whether it is for this request.
    pub(super) fn is_enabled(&self) -> bool {
        fastrand::u32(..100) < self.enabled_percent
    }

    pub(super) fn pick(&self, stats: &Lane<ClusterStat>) -> Way {
        self.zones.pick(stats)
    }
}

// === impl Zones ===

impl Zones {
    /// What follows from how many healthy hosts each zone has, ours first, and how many proxies; none where
    /// zones make no difference.
    ///
    /// Source: Envoy, "Zone aware routing"; observed: Envoy 1.40, `min_cluster_size` counts healthy hosts.
    pub(super) fn new(
        options: &ZoneAware,
        zones: &[(&Locality, usize)],
        local: &ClusterSnapshot,
        count: impl Fn(ClusterStat),
    ) -> Option<Self> {
        let proxies = Proxies::of(local);
        if zones.len() < 2 || (proxies.all.len() < 2 && !options.forces_direct) {
            return None;
        }
        if !proxies.all.contains_key(&options.home) {
            count(ClusterStat::LbLocalClusterNotOk);
            return None;
        }
        let hosts: usize = zones.iter().map(|(_, hosts)| hosts).sum();
        if (hosts as u64) < options.cluster_size_min {
            count(ClusterStat::LbZoneClusterTooSmall);
            return None;
        }
        if proxies.panic {
            return Some(Self::LocalPanic);
        }
        let share =
            |part: usize, all: usize| (WHOLE * part as u64).checked_div(all as u64).unwrap_or(0);
        let shares: Vec<(u64, u64)> = zones
            .iter()
            .map(|(zone, count)| match count {
                0 => (0, 0),
                count => {
                    let own = proxies.healthy.get(*zone).copied().unwrap_or(0);
                    (share(own, proxies.healthy_all()), share(*count, hosts))
                }
            })
            .collect();
        let (ours, theirs) = shares.first().copied().unwrap_or_default();
        let at_home = zones.first().is_some_and(|(zone, _)| **zone == options.home);
        if at_home && ((theirs > 0 && theirs >= ours) || options.forces_direct) {
            return Some(Self::Direct);
        }
        let stays = if at_home { (theirs * WHOLE).checked_div(ours).unwrap_or(0) } else { 0 };
        let mut sum = 0;
        let left = shares.iter().enumerate().map(|(at, (proxies, hosts))| {
            // Ours has taken what it could.
            if at > 0 || !at_home {
                sum += hosts.saturating_sub(*proxies);
            }
            sum
        });
        Some(Self::Residual { stays, left: left.collect() })
    }

    /// Who takes a request.
    fn pick(&self, stats: &Lane<ClusterStat>) -> Way {
        let (stays, left) = match self {
            Self::LocalPanic => {
                stats.inc(ClusterStat::LbLocalClusterNotOk);
                return Way::AsInPanic;
            }
            Self::Direct => {
                stats.inc(ClusterStat::LbZoneRoutingAllDirectly);
                return Way::Zone(0);
            }
            Self::Residual { stays, left } => (*stays, left),
        };
        if fastrand::u64(..WHOLE) < stays {
            stats.inc(ClusterStat::LbZoneRoutingSampled);
            return Way::Zone(0);
        }
        stats.inc(ClusterStat::LbZoneRoutingCrossZone);
        match left.last() {
            Some(all) if *all > 0 => {
                let drawn = fastrand::u64(..*all);
                Way::Zone(left.iter().position(|sum| drawn < *sum).unwrap_or(0))
            }
            _ => {
                stats.inc(ClusterStat::LbZoneNoCapacityLeft);
                Way::Zone(fastrand::usize(..left.len().max(1)))
            }
        }
    }
}

/// The proxies that this one is one of, by zone.
struct Proxies {
    all: BTreeMap<Locality, usize>,
    healthy: BTreeMap<Locality, usize>,
    panic: bool,
}

impl Proxies {
    fn of(local: &ClusterSnapshot) -> Self {
        let hosts = || local.hosts.iter().filter(|host| host.endpoint.priority == 0);
        let healthy = |host: &&Arc<Host>| host.healthy() && !host.is_degraded();
        let (mut all, mut well) = (BTreeMap::new(), BTreeMap::new());
        hosts().for_each(|host| *all.entry(host.endpoint.locality.clone()).or_default() += 1);
        hosts()
            .filter(healthy)
            .for_each(|host| *well.entry(host.endpoint.locality.clone()).or_default() += 1);
        let counted = hosts().filter(|host| !host.is_excluded()).count();
        let available = hosts().filter(|host| host.healthy()).count() as f64;
        let percent = if counted == 0 { 0.0 } else { 100.0 * available / counted as f64 };
        let panic = percent < f64::from(local.plan.panic_threshold_percent);
        Self { all, healthy: well, panic }
    }

    fn healthy_all(&self) -> usize {
        self.healthy.values().sum()
    }
}
