//! Owns a cluster's hosts by priority: who is available, who is in panic, and whence a request takes its host.

use std::sync::Arc;

use understudy_actors::{plan::Locality, snapshot::Host, stats::ClusterStat};

use super::{
    Choice,
    build::Builder,
    list::{List, Order, Place},
    load::{Availability, Load, Priority, Standing},
    localities::{Localities, by_zone},
    round_robin::Rotation,
    zones::Way,
};

/// The priorities of a cluster.
#[derive(Debug)]
pub(super) struct Levels {
    levels: Box<[Level]>,
    load: Load,
}

/// One priority.
#[derive(Debug)]
struct Level {
    priority: Priority,
    /// Too few of its hosts are available: all are used, or none.
    panic: bool,
    /// Its healthy hosts; in panic all there are.
    healthy: Hosts,
    /// Its degraded ones; none in panic, and where the policy knows no such difference.
    degraded: Option<Hosts>,
}

/// Hosts of one priority and one standing.
#[derive(Debug)]
struct Hosts {
    all: List,
    localities: Option<Localities>,
    /// Ours first, where zones make a difference.
    zones: Option<Box<[(Locality, List)]>>,
}

/// Who is in a priority: positions among all hosts of the cluster.
#[derive(Debug, Default)]
pub(super) struct Census {
    pub(super) all: Vec<u32>,
    pub(super) healthy: Vec<u32>,
    pub(super) degraded: Vec<u32>,
    pub(super) excluded: Vec<u32>,
}

/// Which list of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) level: usize,
    pub(super) part: Part,
    /// Of one locality alone.
    pub(super) locality: Option<usize>,
}

/// Which hosts of a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    All,
    Healthy,
    Degraded,
}

// === impl Levels ===

impl Levels {
    /// The priorities of these hosts. There is always a first one, be it empty.
    pub(super) fn new(members: impl Iterator<Item = u32>, builder: &mut Builder<'_>) -> Self {
        let mut censuses = vec![Census::default()];
        for at in members {
            let Some(host) = builder.host(at) else { continue };
            let level = host.endpoint.priority as usize;
            if censuses.len() <= level {
                censuses.resize_with(level + 1, Census::default);
            }
            if let Some(census) = censuses.get_mut(level) {
                census.add(at, host);
            }
        }
        let priorities: Vec<_> = censuses.iter().map(|census| census.priority(builder)).collect();
        let available: Vec<_> = priorities.iter().map(|priority| priority.available).collect();
        let (enough, threshold) = (Availability::total(&available) == 100, builder.panic_percent);
        let load = Load::among(&priorities, threshold);
        let levels = censuses.iter().zip(priorities).enumerate();
        let levels = levels.map(|(level, (census, priority))| {
            let panic = !enough && priority.panics(threshold);
            Level::new(level, census, priority, panic, builder)
        });
        Self { levels: levels.collect(), load }
    }

    /// The rotation that takes all requests, where nothing else is to be decided.
    pub(super) fn only(&self) -> Option<&Rotation> {
        let [level] = &*self.levels else { return None };
        let plain = !level.panic
            && self.load.only() == Some(0)
            && level.healthy.localities.is_none()
            && level.healthy.zones.is_none();
        match &level.healthy.all.order {
            Order::Rotation(rotation) if plain => Some(rotation),
            _ => None,
        }
    }

    /// The list that takes all requests, where one does.
    pub(super) fn only_list(&self) -> Option<&List> {
        let level = self.levels.get(self.load.only()?)?;
        level.healthy.localities.is_none().then_some(&level.healthy.all)
    }

    /// A list there is.
    pub(super) fn list(&self, source: Source) -> Option<&List> {
        let level = self.levels.get(source.level)?;
        let hosts = match (source.part, level.panic) {
            (Part::All, true) | (Part::Healthy, false) => &level.healthy,
            (Part::Degraded, false) => level.degraded.as_ref()?,
            _ => return None,
        };
        match source.locality {
            None => Some(&hosts.all),
            Some(at) => match (&hosts.localities, &hosts.zones) {
                (Some(localities), _) => localities.list(at),
                (None, zones) => zones.as_ref()?.get(at).map(|(_, list)| list),
            },
        }
    }

    /// Whoever takes the request.
    pub(super) fn pick(&self, place: Place<'_>, choice: Choice<'_>) -> Option<usize> {
        // What a hash has led to stays where it is, whatever was tried.
        let load = choice.load.filter(|_| choice.hash.is_none()).unwrap_or(&self.load);
        let (at, standing) = match (load.only(), choice.hash) {
            (Some(only), _) => (only, Standing::Healthy),
            (None, hash) => load.draw(hash.unwrap_or_else(|| fastrand::u64(..))),
        };
        let level = self.levels.get(at)?;
        if level.panic {
            place.stats().inc(ClusterStat::LbHealthyPanic);
        }
        level.hosts(standing).pick(place, choice)
    }

    /// The zones of the first priority, ours first, with how many healthy hosts each has.
    pub(super) fn zones(&self) -> Option<Vec<(&Locality, usize)>> {
        let zones = self.levels.first()?.healthy.zones.as_ref()?;
        Some(zones.iter().map(|(zone, list)| (zone, list.hosts.len())).collect())
    }

    pub(super) fn priorities(&self) -> impl Iterator<Item = Priority> + '_ {
        self.levels.iter().map(|level| level.priority)
    }

    /// Whether some requests go where too few hosts are available.
    pub(super) fn panics(&self) -> bool {
        let reached = |at| {
            self.load.of(at, Standing::Healthy) > 0 || self.load.of(at, Standing::Degraded) > 0
        };
        self.levels.iter().enumerate().any(|(at, level)| level.panic && reached(at))
    }

    /// How many of a hundred requests go to each priority, and whether that is for panic.
    pub(super) fn shares(&self) -> impl Iterator<Item = (u32, bool)> + '_ {
        self.levels.iter().enumerate().map(|(at, level)| {
            let share = self.load.of(at, Standing::Healthy) + self.load.of(at, Standing::Degraded);
            (share, level.panic)
        })
    }

    /// Whether a host takes requests now.
    pub(super) fn reaches(&self, host: u32) -> bool {
        self.levels.iter().enumerate().any(|(at, level)| {
            let in_list = |hosts: &Hosts| hosts.all.hosts.contains(&host);
            let degraded = level.degraded.as_ref().is_some_and(in_list);
            (self.load.of(at, Standing::Healthy) > 0 && in_list(&level.healthy))
                || (self.load.of(at, Standing::Degraded) > 0
                    && (degraded || (level.degraded.is_none() && in_list(&level.healthy))))
        })
    }
}

// === impl Level ===

impl Level {
    fn new(
        level: usize,
        census: &Census,
        priority: Priority,
        panic: bool,
        builder: &mut Builder<'_>,
    ) -> Self {
        // A hash leads to healthy hosts alone.
        let hashes = builder.balancing.policy.hashing().is_some();
        let mut hosts = |part| Hosts::new(level, part, census, builder);
        let (healthy, degraded) = match panic {
            true => (hosts(Part::All), None),
            false if hashes => (hosts(Part::Healthy), None),
            false => (hosts(Part::Healthy), Some(hosts(Part::Degraded))),
        };
        Self { priority, panic, healthy, degraded }
    }

    fn hosts(&self, standing: Standing) -> &Hosts {
        match (standing, &self.degraded) {
            (Standing::Degraded, Some(degraded)) => degraded,
            _ => &self.healthy,
        }
    }
}

// === impl Hosts ===

impl Hosts {
    fn new(level: usize, part: Part, census: &Census, builder: &mut Builder<'_>) -> Self {
        let source = Source { level, part, locality: None };
        if let Some(hashing) = builder.balancing.policy.hashing() {
            let all = builder.hashed(hashing, source, census);
            return Self { all, localities: None, zones: None };
        }
        let fails = part == Part::All && builder.balancing.fails_on_panic;
        let members = if fails { &[][..] } else { census.part(part) };
        let all = builder.list(source, members);
        let localities = match part {
            // In panic localities count for nothing.
            Part::All => None,
            Part::Healthy | Part::Degraded => Localities::new(source, census, builder),
        };
        let zones = match part {
            Part::All => None,
            Part::Healthy | Part::Degraded => by_zone(source, census, builder),
        };
        Self { all, localities, zones }
    }

    fn pick(&self, place: Place<'_>, choice: Choice<'_>) -> Option<usize> {
        if let Some(localities) = &self.localities {
            return localities.pick(place, choice);
        }
        match (&self.zones, place.zones) {
            (Some(lists), Some(zones)) if zones.is_enabled() => match zones.pick(place.stats()) {
                Way::Zone(at) => lists.get(at)?.1.pick(place, choice),
                Way::AsInPanic if zones.fails_on_panic => None,
                Way::AsInPanic => self.all.pick(place, choice),
            },
            _ => self.all.pick(place, choice),
        }
    }
}

// === impl Census ===

impl Census {
    fn add(&mut self, at: u32, host: &Arc<Host>) {
        self.all.push(at);
        match (host.healthy(), host.is_degraded()) {
            (true, false) => self.healthy.push(at),
            (true, true) => self.degraded.push(at),
            (false, _) => {}
        }
        if host.is_excluded() {
            self.excluded.push(at);
        }
    }

    pub(super) fn part(&self, part: Part) -> &[u32] {
        match part {
            Part::All => &self.all,
            Part::Healthy => &self.healthy,
            Part::Degraded => &self.degraded,
        }
    }

    fn priority(&self, builder: &Builder<'_>) -> Priority {
        let size = |hosts: &[u32]| match builder.weighs_health {
            true => hosts.iter().map(|at| u64::from(builder.weight(*at))).sum(),
            false => hosts.len() as u64,
        };
        let all = size(&self.all).saturating_sub(size(&self.excluded));
        let percent = builder.overprovisioning_percent;
        let available = Availability::new(size(&self.healthy), size(&self.degraded), all, percent);
        let well = 100 * (self.healthy.len() + self.degraded.len());
        let well_percent = match self.all.len() - self.excluded.len() {
            0 => 0.0,
            counted => well as f64 / counted as f64,
        };
        Priority { available, hosts: self.all.len(), well_percent }
    }
}
