//! Owns `MAGLEV`: a table in which every host has its share of the entries, and keeps most of them as others
//! come and go.
//!
//! The table is Envoy's, so that a key leads to the same host there and here.

use crate::xxhash::xxh64;

/// A table over the hosts of one list.
#[derive(Debug)]
pub(super) struct Maglev {
    /// Whose entry it is: a position in the list.
    entries: Box<[u32]>,
    /// The fewest and the most entries of a host.
    pub(super) each: (u64, u64),
}

/// A host that looks for its next entry.
struct Seeker {
    host: u32,
    offset: u64,
    skip: u64,
    weight: f64,
    /// It may look again when the rounds have given it this much weight.
    target: f64,
    next: u64,
    count: u64,
}

// === impl Maglev ===

impl Maglev {
    /// Of hosts with these keys and weights. `size` is a prime.
    ///
    /// Source: "Maglev: A Fast and Reliable Software Network Load Balancer", 3.4; Envoy, "Maglev".
    pub(super) fn new(hosts: &[(&str, f64)], size: u64) -> Self {
        let mut ordered: Vec<_> = hosts.iter().enumerate().collect();
        ordered.sort_by_key(|(_, (key, _))| *key);
        let mut seekers: Vec<Seeker> = ordered
            .iter()
            .map(|(at, (key, weight))| Seeker::new(*at, key, *weight, size))
            .collect();
        let heaviest = hosts.iter().map(|(_, weight)| *weight).fold(0.0, f64::max);
        if heaviest <= 0.0 {
            return Self { entries: Box::default(), each: (0, 0) };
        }
        let mut entries = vec![None; usize::try_from(size).unwrap_or(0)];
        let mut left = entries.len();
        let mut round = 0.0;
        while left > 0 {
            round += 1.0;
            for seeker in &mut seekers {
                // A host of half the weight finds an entry in every second round.
                if left == 0 || round * seeker.weight < seeker.target {
                    continue;
                }
                seeker.target += heaviest;
                seeker.take(&mut entries, size);
                left -= 1;
            }
        }
        let counts = || seekers.iter().map(|seeker| seeker.count);
        let each = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
        Self { entries: entries.into_iter().flatten().collect(), each }
    }

    /// Whom a hash leads to; the same hash at its next attempt leads elsewhere.
    pub(super) fn pick(&self, hash: u64, attempt: u32) -> Option<usize> {
        let hash = if attempt > 0 { hash ^ u64::from(attempt).wrapping_neg() } else { hash };
        let at = hash.checked_rem(self.entries.len() as u64)?;
        self.entries.get(at as usize).map(|host| *host as usize)
    }
}

// === impl Seeker ===

impl Seeker {
    fn new(host: usize, key: &str, weight: f64, size: u64) -> Self {
        Self {
            host: host as u32,
            offset: xxh64(key.as_bytes(), 0) % size,
            skip: xxh64(key.as_bytes(), 1) % (size - 1) + 1,
            weight,
            target: 0.0,
            next: 0,
            count: 0,
        }
    }

    /// Takes the next entry of its own order that nobody has.
    fn take(&mut self, entries: &mut [Option<u32>], size: u64) {
        // A prime is passed over in whole by any step: of the entries that are left, one is found.
        for _ in 0..size {
            let at = (self.offset + self.skip * self.next) % size;
            self.next += 1;
            if let Some(entry @ None) = entries.get_mut(at as usize) {
                *entry = Some(self.host);
                self.count += 1;
                return;
            }
        }
    }
}
