//! Owns what one host's requests say of it: counted by workers, judged by its cluster's outlier detection.
//!
//! A worker adds to a few atomics and sends no message; it wakes outlier detection where a host has failed
//! so often in a row that it is out at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Consecutive, OutlierPlan};

/// What became of a try, as far as its host has to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a connection. What becomes of the request is told apart.
    Connected,
    /// There is a connection, and nothing more will be told.
    Reached,
    /// The host answered with this status, or with a gRPC status that stands for it.
    Answered(u16),
    /// There was no connection, or it ended, or the stream did.
    Lost,
    /// There was no answer in time; the client is told so by this status.
    TimedOut(u16),
    /// The answer says that its host is degraded (`x-envoy-degraded`).
    Degraded,
}

/// Something about a host that is to be looked at at once; bits of [`Monitor::noticed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Notice {
    GatewayFailures = 1,
    ServerErrors = 2,
    LocalOriginFailures = 4,
    Degraded = 8,
}

/// One host's requests.
#[derive(Debug)]
pub struct Monitor {
    plan: Arc<OutlierPlan>,
    server_errors: AtomicU32,
    gateway_failures: AtomicU32,
    local_origin_failures: AtomicU32,
    external: Sums,
    local: Sums,
    noticed: AtomicU8,
    past: Mutex<Past>,
}

/// Requests since the last interval began.
#[derive(Debug, Default)]
struct Sums {
    all: AtomicU32,
    well: AtomicU32,
}

/// What was done about a host: outlier detection writes it, and goes on from it after a fall.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Past {
    /// It is out.
    pub(super) ejected: bool,
    /// How often it was ejected.
    pub(super) ejections: u32,
    pub(super) ejected_at: Option<Instant>,
    pub(super) unejected_at: Option<Instant>,
    /// How many times the base ejection time it stays out.
    pub(super) backoff: u32,
    pub(super) jitter: Duration,
    /// Since when it is taken for degraded.
    pub(super) degraded_at: Option<Instant>,
    pub(super) undegraded_at: Option<Instant>,
    pub(super) degraded_backoff: u32,
    /// Percent of its requests in the last interval; none where there were too few.
    pub(super) success_rate: Option<f64>,
    pub(super) local_origin_success_rate: Option<f64>,
}

/// Whose errors are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    External,
    Local,
}

// === impl Monitor ===

impl Monitor {
    /// Of a host that nothing is known of.
    pub(crate) fn new(plan: Arc<OutlierPlan>) -> Self {
        Self {
            plan,
            server_errors: AtomicU32::new(0),
            gateway_failures: AtomicU32::new(0),
            local_origin_failures: AtomicU32::new(0),
            external: Sums::default(),
            local: Sums::default(),
            noticed: AtomicU8::new(0),
            past: Mutex::default(),
        }
    }

    /// Whether answers are to be looked at for what they say of their host.
    pub fn detects_degraded(&self) -> bool {
        self.plan.detects_degraded
    }

    /// Counts what became of a try; whether outlier detection has to look at once.
    ///
    /// Source: Envoy, "Outlier detection", and `split_external_local_origin_errors`.
    #[must_use]
    pub fn count(&self, outcome: Outcome, limits: Consecutive) -> bool {
        let splits = self.plan.splits_local_origin;
        let noticed = match outcome {
            Outcome::Answered(status) => self.answered(status, limits),
            Outcome::Connected | Outcome::Reached if splits => self.local_success(),
            Outcome::Connected => 0,
            Outcome::Reached => self.answered(200, limits),
            Outcome::Lost | Outcome::TimedOut(_) if splits => self.local_failure(limits),
            Outcome::Lost => self.answered(503, limits),
            Outcome::TimedOut(status) => self.answered(status, limits),
            Outcome::Degraded => Notice::Degraded as u8,
        };
        noticed != 0 && self.noticed.fetch_or(noticed, Relaxed) & noticed != noticed
    }

    fn answered(&self, status: u16, limits: Consecutive) -> u8 {
        self.external.all.fetch_add(1, Relaxed);
        if !(500..600).contains(&status) {
            self.external.well.fetch_add(1, Relaxed);
            reset(&self.server_errors);
            reset(&self.gateway_failures);
            return 0;
        }
        let mut noticed = 0;
        if !(502..=504).contains(&status) {
            reset(&self.gateway_failures);
        } else if one_more(&self.gateway_failures) == limits.gateway_failures {
            noticed |= Notice::GatewayFailures as u8;
        }
        if one_more(&self.server_errors) == limits.server_errors {
            noticed |= Notice::ServerErrors as u8;
        }
        noticed
    }

    fn local_success(&self) -> u8 {
        self.local.all.fetch_add(1, Relaxed);
        self.local.well.fetch_add(1, Relaxed);
        reset(&self.local_origin_failures);
        0
    }

    fn local_failure(&self, limits: Consecutive) -> u8 {
        self.local.all.fetch_add(1, Relaxed);
        match one_more(&self.local_origin_failures) == limits.local_origin_failures {
            true => Notice::LocalOriginFailures as u8,
            false => 0,
        }
    }

    /// Whether it is out.
    pub fn is_ejected(&self) -> bool {
        self.past.lock().ejected
    }

    /// Whether it is taken for degraded.
    pub fn is_degraded(&self) -> bool {
        self.past.lock().degraded_at.is_some()
    }

    /// `success_rate` and `local_origin_success_rate` of `/clusters`, in percent.
    pub fn success_rates(&self) -> [Option<f64>; 2] {
        let past = self.past.lock();
        [past.success_rate, past.local_origin_success_rate]
    }

    pub(super) fn past(&self) -> Past {
        *self.past.lock()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Past)) {
        change(&mut self.past.lock());
    }

    /// What is to be looked at, once.
    pub(super) fn take_notices(&self) -> u8 {
        self.noticed.swap(0, Relaxed)
    }

    /// Failures in a row of this kind begin anew.
    pub(super) fn forget(&self, notice: Notice) {
        match notice {
            Notice::GatewayFailures => reset(&self.gateway_failures),
            Notice::ServerErrors => reset(&self.server_errors),
            Notice::LocalOriginFailures => reset(&self.local_origin_failures),
            Notice::Degraded => {}
        }
    }

    /// Ends an interval: how many requests there were, and how many percent of them went well.
    pub(super) fn take_sums(&self, origin: Origin) -> Option<(u64, f64)> {
        let sums = match origin {
            Origin::External => &self.external,
            Origin::Local => &self.local,
        };
        let (all, well) = (sums.all.swap(0, Relaxed), sums.well.swap(0, Relaxed));
        // The two are not taken at one moment.
        let percent = f64::from(well.min(all)) * 100.0 / f64::from(all);
        (all > 0).then_some((u64::from(all), percent))
    }
}

fn one_more(count: &AtomicU32) -> u32 {
    count.fetch_add(1, Relaxed).wrapping_add(1)
}

/// Mostly it is zero, and then nothing is written.
fn reset(count: &AtomicU32) {
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn monitor(splits_local_origin: bool) -> Monitor {
        Monitor::new(Arc::new(OutlierPlan { splits_local_origin, ..OutlierPlan::default() }))
    }

    #[test]
    fn failures_in_a_row_are_noticed_once_and_a_success_between_begins_anew() {
        use Outcome::{Answered as A, Connected as C, Lost as L, Reached as R, TimedOut as T};
        let limits =
            Consecutive { server_errors: 3, gateway_failures: 2, local_origin_failures: 2 };
        let (gateway, server, local) = (1, 2, 4);
        for (splits, outcomes, expected) in [
            (false, &[A(500), A(500), A(500), A(500)][..], server),
            (false, &[A(500), A(500), A(404), A(500)], 0),
            (false, &[A(502), A(500), A(504)], server),
            (false, &[A(503), L], gateway),
            (false, &[T(504), C, T(504), C, L], gateway | server),
            (false, &[T(204), T(204), T(204)], 0),
            (false, &[L, R, L, R, L], 0),
            (true, &[L, R, L], 0),
            (true, &[L, L], local),
            (true, &[L, C, T(504)], 0),
            (true, &[T(504), T(504)], local),
            (true, &[A(503), C, A(503)], gateway),
        ] {
            let monitor = monitor(splits);
            let told = outcomes.iter().filter(|outcome| monitor.count(**outcome, limits)).count();
            assert_eq!(monitor.take_notices(), expected, "{outcomes:?}");
            let bits = u8::count_ones(expected);
            assert_eq!(told, bits as usize, "{outcomes:?}");
        }
    }

    #[test]
    fn an_interval_ends_with_how_many_requests_went_well() {
        let (monitor, limits) = (monitor(true), OutlierPlan::default().consecutive);
        let outcomes = [200, 500, 404, 503].map(Outcome::Answered);
        for outcome in outcomes.into_iter().chain([Outcome::Lost, Outcome::Connected]) {
            assert!(!monitor.count(outcome, limits));
        }
        assert_eq!(monitor.take_sums(Origin::External), Some((4, 50.0)));
        assert_eq!(monitor.take_sums(Origin::Local), Some((2, 50.0)));
        assert_eq!(monitor.take_sums(Origin::External), None);
    }
}
