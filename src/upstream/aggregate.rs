//! Owns the priorities of an aggregate cluster: those of its clusters, one after the other.

use std::{rc::Rc, sync::Arc};

use understudy_actors::{plan::Slot, snapshot::Host};

use super::{
    Clusters, Current,
    balancer::{Load, Priority, Standing},
};

/// The priorities that an aggregate has at this moment; those without hosts are left out.
pub struct Aggregate {
    places: Vec<Place>,
    panic_percent: u32,
}

/// A priority of one of the clusters.
struct Place {
    cluster: Rc<Current>,
    level: usize,
    priority: Priority,
}

/// Where a request goes: a cluster, and how it is shared among that one's priorities, which is to one alone.
pub struct Drawn<'a> {
    /// The cluster.
    pub cluster: &'a Rc<Current>,
    /// All to one of its priorities.
    pub load: Load,
}

// === impl Aggregate ===

impl Aggregate {
    /// Of the cluster that this snapshot is of; none where its hosts are its own.
    #[inline]
    pub fn of(current: &Current, clusters: &Clusters) -> Option<Self> {
        let members = current.upstream.balancing.policy.members()?;
        Some(Self::gather(members, current.snapshot.plan.panic_threshold_percent, clusters))
    }

    fn gather(members: &[Slot], panic_percent: u32, clusters: &Clusters) -> Self {
        let mut places = Vec::new();
        for cluster in members.iter().filter_map(|slot| clusters.get(*slot)) {
            let cluster = cluster.current();
            let levels = cluster.tables().priorities().enumerate();
            let levels = levels.filter(|(_, priority)| priority.hosts > 0);
            places.extend(levels.map(|(level, priority)| Place {
                cluster: cluster.clone(),
                level,
                priority,
            }));
        }
        Self { places, panic_percent }
    }

    /// The priorities, in order.
    pub fn priorities(&self) -> Vec<Priority> {
        self.places.iter().map(|place| place.priority).collect()
    }

    /// How requests are shared among them.
    pub fn load(&self) -> Load {
        Load::among(&self.priorities(), self.panic_percent)
    }

    /// Where a request goes that has drawn this number.
    pub fn draw(&self, load: &Load, number: u64) -> Option<Drawn<'_>> {
        let (at, standing): (usize, Standing) = load.draw(number);
        let place = self.places.get(at)?;
        Some(Drawn { cluster: &place.cluster, load: Load::at(place.level, standing) })
    }

    /// The priority, counted among all, that a host is in.
    pub fn priority_of(&self, host: &Arc<Host>) -> Option<usize> {
        self.places.iter().position(|place| {
            host.endpoint.priority as usize == place.level && place.cluster.has(host)
        })
    }
}
