//! Owns telling outlier detection what became of a try; a branch where a cluster watches none of its hosts.

use understudy_actors::outlier::{Monitor, Outcome};

use super::pool::Target;

// === impl Target ===

impl Target {
    /// Counts what became of a try of this host, and wakes who has to look at it at once.
    #[inline]
    pub fn report(&self, outcome: Outcome) {
        if let Some(monitor) = &self.host.monitor {
            self.report_to(monitor, outcome);
        }
    }

    fn report_to(&self, monitor: &Monitor, outcome: Outcome) {
        if monitor.count(outcome, self.limits.get().consecutive) {
            self.shared.outlier.wake();
        }
    }
}
