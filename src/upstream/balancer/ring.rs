//! Owns `RING_HASH`: a host stands at many places of a ring; a request goes to the next one after its own.
//!
//! The places are Envoy's, so that a key leads to the same host there and here.

use super::murmur::murmur2;
use crate::{config::model::balancing::RingHash, xxhash::xxh64};

/// A ring over the hosts of one list.
#[derive(Debug)]
pub(super) struct Ring {
    /// In order, with whose place it is: a position in the list.
    places: Box<[(u64, u32)]>,
    /// The fewest and the most places of a host.
    pub(super) each: (u64, u64),
}

// === impl Ring ===

impl Ring {
    /// Of hosts with these keys, as often as their weights say, which are 1 together.
    ///
    /// Source: Envoy, "Ring hash"; `minimum_ring_size` is enough for the lightest host to have a whole number
    /// of places.
    pub(super) fn new(hosts: &[(&str, f64)], options: &RingHash) -> Self {
        let Some(least) = hosts.iter().map(|(_, weight)| *weight).reduce(f64::min) else {
            return Self { places: Box::default(), each: (0, 0) };
        };
        let (min, max) = (options.size_min as f64, options.size_max as f64);
        let scale = ((least * min).ceil() / least).min(max);
        let size = scale.ceil() as usize;
        let mut places = Vec::with_capacity(size);
        let (mut current, mut target) = (0.0, 0.0);
        let mut each = (size as u64, 0);
        let mut key = Vec::new();
        for (at, (name, weight)) in hosts.iter().enumerate() {
            key.clear();
            key.extend_from_slice(name.as_bytes());
            key.push(b'_');
            let stem = key.len();
            target += scale * weight;
            let mut count = 0_u64;
            let mut number = itoa::Buffer::new();
            while current < target {
                key.truncate(stem);
                key.extend_from_slice(number.format(count).as_bytes());
                let hash = if options.murmur { murmur2(&key) } else { xxh64(&key, 0) };
                places.push((hash, at as u32));
                count += 1;
                current += 1.0;
            }
            each = (each.0.min(count), each.1.max(count));
        }
        places.sort_unstable();
        Self { places: places.into(), each }
    }

    /// How many places there are.
    pub(super) fn size(&self) -> usize {
        self.places.len()
    }

    /// Whom a hash leads to; the same hash at its next attempt leads one place on.
    pub(super) fn pick(&self, hash: u64, attempt: u32) -> Option<usize> {
        let at = self.places.partition_point(|(place, _)| *place < hash);
        let at = if at == self.places.len() { 0 } else { at };
        let at = (at + attempt as usize).checked_rem(self.places.len())?;
        self.places.get(at).map(|(_, host)| *host as usize)
    }
}
