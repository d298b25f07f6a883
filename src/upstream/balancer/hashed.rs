//! Owns lists whose order is a hash: by a ring or a table, and how much more than its share a host may carry.

use std::sync::Arc;

use understudy_actors::{
    snapshot::{ClusterShared, Host},
    stats::{HostStat, MaglevStat, RingHashStat},
};

use super::{list::Place, maglev::Maglev, mersenne::Mersenne, ring::Ring};
use crate::config::model::balancing::{HashTable, Hashing};

/// Where a hash leads to: positions in the list.
#[derive(Debug)]
pub(super) enum Table {
    Ring(Ring),
    Maglev(Maglev),
}

/// The order of a list of hosts.
#[derive(Debug)]
pub(super) struct Hashed {
    pub(super) table: Arc<Table>,
    /// What the hosts weigh, 1 together.
    pub(super) weights: Box<[f64]>,
    /// `hash_balance_factor`: a host carries at most so many percent of what is its share.
    bound_percent: Option<u32>,
}

// === impl Table ===

impl Table {
    /// Over these hosts. Its shape is told in stats.
    pub(super) fn new(
        options: &Hashing,
        hosts: &[&Arc<Host>],
        weights: &[f64],
        shared: &ClusterShared,
    ) -> Self {
        let keys = hosts.iter().map(|host| key(host, options.by_hostname));
        let hosts: Vec<(&str, f64)> = keys.zip(weights.iter().copied()).collect();
        match &options.table {
            HashTable::Ring(ring) => {
                let ring = Ring::new(&hosts, ring);
                let stats = shared.ring_hash_stats.get();
                if !hosts.is_empty() {
                    let (fewest, most) = ring.each;
                    stats.set(RingHashStat::Size, ring.size() as u64);
                    stats.set(RingHashStat::MinHashesPerHost, fewest);
                    stats.set(RingHashStat::MaxHashesPerHost, most);
                }
                Table::Ring(ring)
            }
            HashTable::Maglev { size } => {
                let maglev = Maglev::new(&hosts, *size);
                let stats = shared.maglev_stats.get();
                if !hosts.is_empty() {
                    let (fewest, most) = maglev.each;
                    stats.set(MaglevStat::MinEntriesPerHost, fewest);
                    stats.set(MaglevStat::MaxEntriesPerHost, most);
                }
                Table::Maglev(maglev)
            }
        }
    }

    fn pick(&self, hash: u64, attempt: u32) -> Option<usize> {
        match self {
            Table::Ring(ring) => ring.pick(hash, attempt),
            Table::Maglev(maglev) => maglev.pick(hash, attempt),
        }
    }
}

/// By what a host is known, there and here.
///
/// Source: Envoy, "Ring hash" and "Maglev": `hash_key` of the metadata `envoy.lb` before all else.
fn key(host: &Host, by_hostname: bool) -> &str {
    match host.endpoint.hash_key() {
        Some(key) => key,
        None if by_hostname => &host.endpoint.hostname,
        None => &host.address_text,
    }
}

// === impl Hashed ===

impl Hashed {
    pub(super) fn new(table: Arc<Table>, weights: Box<[f64]>, bound_percent: Option<u32>) -> Self {
        Self { table, weights, bound_percent }
    }

    /// Whom a hash leads to; the same hash at its next attempt leads elsewhere.
    pub(super) fn pick(
        &self,
        hosts: &[u32],
        place: Place<'_>,
        hash: u64,
        attempt: u32,
    ) -> Option<usize> {
        let at = self.table.pick(hash, attempt)?;
        let at = match self.bound_percent {
            Some(percent) => self.less_busy(at, hosts, place, hash, percent),
            None => at,
        };
        hosts.get(at).map(|host| *host as usize)
    }

    /// The host itself, or the first on its hash's own way through the others that carries no more than it
    /// may; where all carry more, the one that does least.
    ///
    /// Source: `hash_balance_factor`; "Consistent Hashing with Bounded Loads", and random jumps for the way.
    fn less_busy(
        &self,
        first: usize,
        hosts: &[u32],
        place: Place<'_>,
        hash: u64,
        percent: u32,
    ) -> usize {
        let active = place.active();
        let slots = ((active + 1) * u64::from(percent)).div_ceil(100) as f64;
        let overload = |at: usize| {
            let weight = self.weights.get(at).copied().unwrap_or_default();
            let requests = hosts.get(at).and_then(|host| place.host(*host));
            let requests = requests.map_or(0, |host| host.stats.sum(HostStat::RqActive));
            requests as f64 / (slots * weight).ceil().max(1.0)
        };
        let (mut best, mut least) = (first, overload(first));
        if least <= 1.0 {
            return first;
        }
        let mut way: Vec<usize> = (0..self.weights.len()).collect();
        let mut random = Mersenne::new(hash as u32);
        for at in 0..way.len() {
            let other = at + random.below((way.len() - at) as u32) as usize;
            way.swap(at, other);
            let Some(host) = way.get(at).copied().filter(|host| *host != first) else { continue };
            let overload = overload(host);
            if overload <= 1.0 {
                return host;
            }
            if overload < least {
                (best, least) = (host, overload);
            }
        }
        best
    }
}
