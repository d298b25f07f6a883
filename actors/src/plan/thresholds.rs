//! Owns the limits of a cluster's circuit breakers.

/// `circuit_breakers.thresholds` of one priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// `max_connections`.
    pub connections: u32,
    /// `max_pending_requests`.
    pub pending_requests: u32,
    /// `max_requests`.
    pub requests: u32,
    /// `max_retries`.
    pub retries: u32,
    /// `retry_budget`, in place of `retries`.
    pub retry_budget: Option<RetryBudget>,
    /// `track_remaining`: how much is left is a stat.
    pub track_remaining: bool,
    /// `max_connection_pools`; unbounded unless it is set.
    pub pools: u32,
}

/// `circuit_breakers.thresholds.retry_budget`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// `budget_percent`, in millionths of all requests in flight or waiting; Envoy's default is 20 %.
    pub millionths: u32,
    /// `min_retry_concurrency`; Envoy's default is 3.
    pub at_least: u32,
}

// === impl Thresholds ===

impl Thresholds {
    /// How many retries may be under way while so many requests are in flight or wait.
    pub fn retries_max(&self, requests: u32) -> u32 {
        let Some(budget) = self.retry_budget else { return self.retries };
        let share = u64::from(requests) * u64::from(budget.millionths) / 1_000_000;
        u32::try_from(share).unwrap_or(u32::MAX).max(budget.at_least)
    }
}

impl Default for Thresholds {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            connections: 1024,
            pending_requests: 1024,
            requests: 1024,
            retries: 3,
            retry_budget: None,
            track_remaining: false,
            pools: u32::MAX,
        }
    }
}
