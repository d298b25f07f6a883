//! Owns the last requests that failed, a bounded ring for each worker: what `/failures` shows.
//!
//! A worker that serves writes its own ring, and never waits for it: while somebody reads that very ring,
//! a failure is counted and not kept.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;

use crate::address::Address;

/// Failures that each worker's ring keeps.
pub const FAILURES_KEPT_MAX: usize = 256;

/// Hosts that are told of one failure.
pub const TRIES_TOLD_MAX: usize = 8;

/// Bytes that are kept of a text that a client chose.
const TEXT_BYTES_MAX: usize = 256;

/// The last requests that failed.
#[derive(Debug)]
pub struct Failures {
    rings: Box<[Ring]>,
}

#[derive(Debug, Default)]
struct Ring {
    kept: Mutex<VecDeque<Failure>>,
    seen: AtomicU64,
}

/// One request that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When it ended.
    pub at: SystemTime,
    /// Who asked.
    pub client: Address,
    /// `stat_prefix` of the connection manager.
    pub stat_prefix: String,
    /// `:method`
    pub method: String,
    /// `:authority`, and path and query as they came.
    pub authority: String,
    /// Path and query as they came.
    pub path: String,
    /// `x-request-id`; empty for none.
    pub request_id: String,
    /// The virtual host that took it; empty for none.
    pub virtual_host: String,
    /// The route that took it: its name, or how it matches; empty for none.
    pub route: String,
    /// Whereto it should have gone; empty for nowhere.
    pub cluster: String,
    /// The hosts that were tried, in order, the first [`TRIES_TOLD_MAX`].
    pub tries: Vec<Try>,
    /// How often it was tried; 0 where it never came so far.
    pub attempts: u32,
    /// What the client was told; 0 for nothing.
    pub status: u16,
    /// `%RESPONSE_FLAGS%`
    pub flags: String,
    /// `%RESPONSE_CODE_DETAILS%`
    pub details: String,
    /// From its head to its end.
    pub duration: Duration,
    /// From its head to the head of the upstream's response.
    pub waited: Option<Duration>,
}

/// A host that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Try {
    /// Its address.
    pub host: String,
    /// What became of it: a status, or how it failed.
    pub outcome: String,
}

// === impl Failures ===

impl Failures {
    /// Rings for so many workers.
    pub fn new(workers: usize) -> Self {
        Self { rings: (0..workers.max(1)).map(|_| Ring::default()).collect() }
    }

    /// Keeps a failure of this worker's; the oldest goes when its ring is full.
    pub fn keep(&self, worker: usize, failure: Failure) {
        let Some(ring) = self.rings.get(worker) else { return };
        ring.seen.fetch_add(1, Relaxed);
        if let Some(mut kept) = ring.kept.try_lock() {
            if kept.len() == FAILURES_KEPT_MAX {
                kept.pop_front();
            }
            kept.push_back(failure);
        }
    }

    /// How many there were, kept or not.
    pub fn seen(&self) -> u64 {
        self.rings.iter().map(|ring| ring.seen.load(Relaxed)).sum()
    }

    /// What is kept, the latest first.
    pub fn latest(&self) -> Vec<Failure> {
        let mut all: Vec<Failure> = Vec::new();
        for ring in &self.rings {
            all.extend(ring.kept.lock().iter().cloned());
        }
        all.sort_by_key(|failure| std::cmp::Reverse(failure.at));
        all
    }
}

/// A text that a client chose, as far as it is kept.
pub fn told(text: &[u8]) -> String {
    let kept = text.get(..TEXT_BYTES_MAX).unwrap_or(text);
    let more = if kept.len() < text.len() { "..." } else { "" };
    format!("{}{more}", String::from_utf8_lossy(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(second: u64) -> Failure {
        Failure {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(second),
            client: "127.0.0.1:1".parse().unwrap(),
            stat_prefix: String::new(),
            method: "GET".to_owned(),
            authority: String::new(),
            path: format!("/{second}"),
            request_id: String::new(),
            virtual_host: String::new(),
            route: String::new(),
            cluster: String::new(),
            tries: Vec::new(),
            attempts: 0,
            status: 503,
            flags: String::new(),
            details: String::new(),
            duration: Duration::ZERO,
            waited: None,
        }
    }

    #[test]
    fn the_latest_of_all_workers_come_first_and_the_oldest_go() {
        let failures = Failures::new(2);
        let kept = FAILURES_KEPT_MAX as u64;
        (0..kept + 10).for_each(|second| failures.keep(0, failure(second)));
        failures.keep(1, failure(100_000));
        failures.keep(7, failure(200_000));
        let latest = failures.latest();
        let paths: Vec<&str> = latest.iter().map(|failure| failure.path.as_str()).collect();
        assert_eq!(paths.len(), FAILURES_KEPT_MAX + 1);
        assert_eq!((paths[0], *paths.last().unwrap()), ("/100000", "/10"));
        assert_eq!(failures.seen(), kept + 11);
    }

    #[test]
    fn a_failure_is_not_waited_for_while_its_ring_is_read() {
        let failures = Failures::new(1);
        let reading = failures.rings[0].kept.lock();
        failures.keep(0, failure(1));
        drop(reading);
        assert_eq!((failures.seen(), failures.latest().len()), (1, 0));
    }

    #[test]
    fn a_long_text_is_cut_and_says_so() {
        assert_eq!(told(b"/a"), "/a");
        assert_eq!(told(&[b'a'; 300]), format!("{}...", "a".repeat(256)));
        assert_eq!(told(b"\xff"), "\u{fffd}");
    }
}
