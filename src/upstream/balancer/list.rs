//! Owns lists of hosts of which one is taken, each in the order of its policy.

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use understudy_actors::{
    snapshot::{ClusterShared, Host},
    stats::{ClusterStat, HostStat, Lane},
};

use super::{Choice, edf::Edf, hashed::Hashed, round_robin::Rotation, zones::Zoning};

/// Hosts of which one takes a request.
#[derive(Debug)]
pub(super) struct List {
    /// Their positions among all hosts of the cluster.
    pub(super) hosts: Arc<[u32]>,
    pub(super) order: Order,
}

/// Which of them.
#[derive(Debug)]
pub(super) enum Order {
    /// One after the other.
    Rotation(Rotation),
    /// By weights that change from request to request: each worker has a schedule of its own.
    Scheduled {
        /// Its place among [`Schedules`].
        schedule: usize,
        weigh: Weigh,
    },
    /// The one with the fewest requests of so many that are drawn, or of all.
    FewestRequests { choices: Option<u32> },
    /// Any.
    Random,
    /// The one that the request's hash leads to.
    Hashed(Hashed),
}

/// What a host's turn weighs at this moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weigh {
    /// How much requests in flight count against it.
    pub(super) bias: f64,
    /// What a host has that is new.
    pub(super) slow_start: Option<Ramp>,
}

/// How the weight of a new host grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ramp {
    pub(super) window: Duration,
    pub(super) aggression: f64,
    pub(super) weight_min: f64,
}

/// Where one is taken from a list.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    /// All hosts of the cluster.
    pub(super) hosts: &'a [Arc<Host>],
    pub(super) shared: &'a ClusterShared,
    pub(super) worker: usize,
    pub(super) schedules: &'a Schedules,
    pub(super) zones: Option<&'a Zoning>,
}

/// A worker's schedules for the tables in force, made when they are needed.
#[derive(Debug, Default)]
pub(super) struct Schedules {
    all: RefCell<Vec<Option<Edf>>>,
    /// The numbers of picks that were foreseen, and are to come.
    foreseen: RefCell<VecDeque<usize>>,
}

/// Schedules begin anywhere, so that not all workers go to the same hosts after each change.
const PICKS_BEFORE_MAX: u32 = 1 << 16;

// === impl List ===

impl List {
    /// Whoever takes the request.
    pub(super) fn pick(&self, place: Place<'_>, choice: Choice<'_>) -> Option<usize> {
        match &self.order {
            Order::Rotation(rotation) => rotation.pick(),
            Order::Scheduled { schedule, weigh } => {
                let weight = |at: u32| {
                    let host = self.hosts.get(at as usize).and_then(|at| place.host(*at));
                    host.map_or(0.0, |host| weigh.weight(host))
                };
                let weights = || (0..self.hosts.len() as u32).map(weight);
                let at = place.schedules.pick(*schedule, weights, weight)?;
                self.hosts.get(at as usize).map(|host| *host as usize)
            }
            Order::FewestRequests { choices: Some(choices) } => {
                let drawn = (0..*choices).filter_map(|_| fastrand::choice(&*self.hosts));
                fewest(drawn, place, || false)
            }
            Order::FewestRequests { choices: None } => {
                let mut alike = 1;
                fewest(self.hosts.iter(), place, || {
                    alike += 1;
                    fastrand::u32(..alike) == 0
                })
            }
            Order::Random => {
                let foreseen = place.schedules.foreseen.borrow_mut().pop_front();
                self.at(foreseen.unwrap_or_else(|| fastrand::usize(..)))
            }
            Order::Hashed(hashed) => {
                // Without anything to hash, any.
                let hash = choice.hash.unwrap_or_else(|| fastrand::u64(..));
                hashed.pick(&self.hosts, place, hash, choice.attempt)
            }
        }
    }
}

impl List {
    /// Whoever takes the request after those foreseen already. No more are foreseen than there are hosts.
    pub(super) fn foresee(&self, schedules: &Schedules) -> Option<usize> {
        let mut foreseen = schedules.foreseen.borrow_mut();
        if foreseen.len() >= self.hosts.len() {
            return None;
        }
        let (host, number) = match &self.order {
            Order::Rotation(rotation) => (rotation.foresee(foreseen.len()), 0),
            Order::Random => {
                let number = fastrand::usize(..);
                (self.at(number), number)
            }
            Order::Scheduled { .. } | Order::FewestRequests { .. } | Order::Hashed(_) => {
                return None;
            }
        };
        foreseen.push_back(number);
        host
    }

    /// A request was picked for: of a rotation, one that was foreseen.
    pub(super) fn has_picked(&self, schedules: &Schedules) {
        if let Order::Rotation(_) = &self.order {
            schedules.foreseen.borrow_mut().pop_front();
        }
    }

    /// The host that a number drawn at random leads to.
    fn at(&self, number: usize) -> Option<usize> {
        let at = number.checked_rem(self.hosts.len())?;
        self.hosts.get(at).map(|host| *host as usize)
    }
}

/// The one with the fewest requests; of two alike the later one if `takes_later`.
fn fewest<'a>(
    mut hosts: impl Iterator<Item = &'a u32>,
    place: Place<'_>,
    mut takes_later: impl FnMut() -> bool,
) -> Option<usize> {
    let active = |at: &u32| place.host(*at).map_or(u64::MAX, requests);
    let mut best = hosts.next()?;
    let mut least = active(best);
    for host in hosts {
        let requests = active(host);
        if requests < least || (requests == least && takes_later()) {
            (best, least) = (host, requests);
        }
    }
    Some(*best as usize)
}

/// Requests in flight to a host.
fn requests(host: &Host) -> u64 {
    host.stats.sum(HostStat::RqActive)
}

// === impl Weigh ===

impl Weigh {
    /// Source: Envoy, "Weighted least request".
    fn weight(self, host: &Host) -> f64 {
        let weight = f64::from(host.weight().max(1));
        let weight = match self.slow_start {
            Some(ramp) => weight * ramp.share(host),
            None => weight,
        };
        if self.bias == 0.0 {
            return weight;
        }
        weight / (requests(host) as f64 + 1.0).powf(self.bias)
    }
}

// === impl Ramp ===

impl Ramp {
    /// Whether a host is new.
    pub(super) fn covers(&self, host: &Host) -> bool {
        host.healthy() && !host.is_degraded() && host.well_for() < self.window
    }

    /// How much of its weight a host has by now.
    ///
    /// Source: Envoy, "Slow start mode".
    fn share(&self, host: &Host) -> f64 {
        if !self.covers(host) {
            return 1.0;
        }
        let passed = host.well_for().max(Duration::from_millis(1));
        let passed = passed.as_secs_f64() / self.window.as_secs_f64();
        passed.powf(1.0 / self.aggression).max(self.weight_min)
    }
}

// === impl Place ===

impl<'a> Place<'a> {
    /// What this worker counts.
    pub(super) fn stats(&self) -> &'a Lane<ClusterStat> {
        self.shared.stats.lane(self.worker)
    }

    /// Requests in flight to all hosts.
    pub(super) fn active(&self) -> u64 {
        self.shared.stats.sum(ClusterStat::UpstreamRqActive)
    }

    pub(super) fn host(&self, at: u32) -> Option<&'a Host> {
        self.hosts.get(at as usize).map(|host| &**host)
    }
}

// === impl Schedules ===

impl Schedules {
    /// Whose turn it is in one of them.
    pub(super) fn pick<W: Iterator<Item = f64>>(
        &self,
        schedule: usize,
        weights: impl FnOnce() -> W,
        weight: impl FnOnce(u32) -> f64,
    ) -> Option<u32> {
        let mut all = self.all.borrow_mut();
        if all.len() <= schedule {
            all.resize_with(schedule + 1, || None);
        }
        let schedule = all.get_mut(schedule)?.get_or_insert_with(|| {
            Edf::later(weights(), f64::from(fastrand::u32(..PICKS_BEFORE_MAX)))
        });
        schedule.pick(weight)
    }
}
