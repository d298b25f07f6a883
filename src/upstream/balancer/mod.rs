//! Owns the balancers: which host of a cluster takes a request.
//!
//! What can be worked out before is, by [`Balancers`] on the control plane's thread: hosts by priority
//! (`levels`), how requests are shared among those (`load`), by locality, and each list of hosts in the
//! order of its policy (`list`). For a request, [`Picker::pick`] is what is left.

mod build;
mod edf;
mod hashed;
mod levels;
mod list;
mod load;
mod localities;
mod maglev;
mod mersenne;
mod murmur;
mod ring;
mod round_robin;
mod subsets;
#[cfg(test)]
mod tests;
mod zones;

use std::sync::Arc;

use understudy_actors::{
    plan::{LbMetadata, Payload},
    seams::{Balance, Membership},
    snapshot::ClusterSnapshot,
    stats::ClusterStat,
};

pub use load::{Availability, Load, Priority, Standing};
pub use subsets::has_metadata;

use self::{
    build::Builder,
    levels::Levels,
    list::{List, Place, Schedules},
    round_robin::Rotation,
    subsets::Subsets,
    zones::{Zones, Zoning},
};
use crate::config::model::{balancing::ZoneAware, cluster::Upstream};

/// Builds [`Tables`] for the control plane.
#[derive(Debug, Default)]
pub struct Balancers;

/// What was built for the hosts of one snapshot.
#[derive(Debug, Default)]
pub struct Tables {
    /// Where nothing is to be decided but whose turn it is.
    only: Option<Rotation>,
    levels: Option<Levels>,
    /// Where routes may ask for hosts by their metadata.
    subsets: Option<Subsets>,
    /// Where zones make a difference: how, and whether panic is to fail.
    zones: Option<(ZoneAware, bool)>,
}

/// What besides the tables decides about a host.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice<'a> {
    /// Of what the request says, where the policy asks for that.
    pub hash: Option<u64>,
    /// What the route asks of the metadata of hosts.
    pub metadata: Option<&'a LbMetadata>,
    /// How many hosts were ruled out for this try before.
    pub attempt: u32,
    /// How requests are shared among priorities, where it is not as usual.
    pub load: Option<&'a Load>,
}

/// A worker's way to choose among the hosts of one snapshot.
#[derive(Debug)]
pub struct Picker {
    tables: Arc<Tables>,
    schedules: Schedules,
    zones: Option<Zoning>,
}

// === impl Balancers ===

impl Balance for Balancers {
    fn tables(&self, membership: Membership<'_>) -> Payload {
        let upstream = membership.before.plan.upstream.clone();
        let upstream = upstream.downcast::<Upstream>().unwrap_or_default();
        let before = membership.before.balancer.downcast_ref::<Tables>();
        let levels_before = before.and_then(|before| before.levels.as_ref());
        let balancing = &upstream.balancing;
        let mut builder = Builder::new(balancing, membership, levels_before);
        let levels = Levels::new(0..membership.hosts.len() as u32, &mut builder);
        let subsets_before = before.and_then(|before| before.subsets.as_ref());
        let subsets = balancing.subsets.as_ref();
        let subsets = subsets.map(|options| Subsets::new(options, &mut builder, subsets_before));
        let only = levels.only().filter(|_| subsets.is_none()).cloned();
        let zones = builder.zones.take().map(|zones| (zones, balancing.fails_on_panic));
        Arc::new(Tables { only, levels: Some(levels), subsets, zones })
    }
}

// === impl Tables ===

impl Tables {
    /// Those of a snapshot; of one that has none yet, empty ones.
    pub fn of(snapshot: &ClusterSnapshot) -> Arc<Self> {
        snapshot.balancer.clone().downcast().unwrap_or_default()
    }

    /// Whether some requests go where too few hosts are available, and are sent to any.
    pub fn panics(&self) -> bool {
        self.levels.as_ref().is_some_and(Levels::panics)
    }

    /// How many of a hundred requests go to each priority, and whether that is for panic.
    pub fn shares(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        self.levels.iter().flat_map(Levels::shares)
    }

    fn zoning(
        &self,
        snapshot: &ClusterSnapshot,
        local: &ClusterSnapshot,
        worker: usize,
    ) -> Option<Zoning> {
        let (options, fails_on_panic) = self.zones.as_ref()?;
        let zones = self.levels.as_ref()?.zones()?;
        let stats = snapshot.shared.stats.lane(worker);
        // Envoy's main thread works them out as well, and counts that.
        let times = if worker == 0 { 2 } else { 1 };
        stats.add(ClusterStat::LbRecalculateZoneStructures, times);
        let zones = Zones::new(options, &zones, local, |stat| stats.add(stat, times))?;
        Some(Zoning::new(zones, options, *fails_on_panic))
    }

    /// Whether the host in this position takes requests now.
    pub fn reaches(&self, host: usize) -> bool {
        self.levels.as_ref().is_some_and(|levels| levels.reaches(host as u32))
    }

    /// The priorities, in order.
    pub fn priorities(&self) -> impl Iterator<Item = Priority> + '_ {
        self.levels.iter().flat_map(Levels::priorities)
    }
}

// === impl Picker ===

impl Picker {
    /// For the requests of one worker; `local` is the cluster that this proxy is of.
    pub fn new(snapshot: &ClusterSnapshot, local: Option<&ClusterSnapshot>, worker: usize) -> Self {
        let tables = Tables::of(snapshot);
        let zones = local.and_then(|local| tables.zoning(snapshot, local, worker));
        Self { tables, schedules: Schedules::default(), zones }
    }

    /// What is chosen from.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// The position of the host that the next request but those foreseen already will go to, if that can be said.
    ///
    /// Observed: Envoy 1.40, which foresees what a rotation and chance do, and no more picks than there are hosts.
    pub fn foresee(&self) -> Option<usize> {
        self.foreseeable()?.foresee(&self.schedules)
    }

    /// A request has gone to its host.
    pub fn has_picked(&self) {
        if let Some(list) = self.foreseeable() {
            list.has_picked(&self.schedules);
        }
    }

    /// The list that all requests are picked from, where there is one.
    fn foreseeable(&self) -> Option<&List> {
        let plain = self.tables.subsets.is_none() && self.zones.is_none();
        self.tables.levels.as_ref().filter(|_| plain)?.only_list()
    }

    /// The position among `snapshot.hosts` of the host that takes the next request, if there is any.
    #[inline]
    pub fn pick(
        &self,
        snapshot: &ClusterSnapshot,
        worker: usize,
        choice: Choice<'_>,
    ) -> Option<usize> {
        match &self.tables.only {
            Some(rotation) => rotation.pick(),
            None => self.pick_among(snapshot, worker, choice),
        }
    }

    fn pick_among(
        &self,
        snapshot: &ClusterSnapshot,
        worker: usize,
        choice: Choice<'_>,
    ) -> Option<usize> {
        let (hosts, shared) = (&*snapshot.hosts, &*snapshot.shared);
        let (schedules, zones) = (&self.schedules, self.zones.as_ref());
        let place = Place { hosts, shared, worker, schedules, zones };
        let levels = self.tables.levels.as_ref()?;
        match &self.tables.subsets {
            Some(subsets) => subsets.pick(levels, place, choice),
            None => levels.pick(place, choice),
        }
    }
}
