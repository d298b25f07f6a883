//! Owns the timeouts of one exchange: which there are, and which has passed.

use std::{
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use crate::worker::{Deadline, Deadlines, deadline::FINE};

/// The timeouts of one exchange. All share one [`Deadline`], armed for the earliest.
#[derive(Debug)]
pub(super) struct Timers {
    deadline: Deadline,
    deadlines: Deadlines,
    response_at: Option<Instant>,
    request_at: Option<Instant>,
    idle: Option<Duration>,
    moved: Instant,
}

/// Which timeout has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// The route's `timeout`.
    Response,
    /// `request_timeout`.
    Request,
    /// `stream_idle_timeout`, or the route's `idle_timeout`.
    Idle,
}

// === impl Timers ===

impl Timers {
    /// No timeout yet.
    pub(super) fn new(deadlines: &Deadlines) -> Self {
        Self {
            deadline: deadlines.deadline(),
            deadlines: deadlines.clone(),
            response_at: None,
            request_at: None,
            idle: None,
            moved: deadlines.coarse_now(),
        }
    }

    /// `request_timeout`: the whole request must be here by then.
    pub(super) fn await_request(&mut self, started: Instant, timeout: Option<Duration>) {
        self.request_at = timeout.and_then(|timeout| started.checked_add(timeout));
        self.arm(started);
    }

    /// The request is complete: the route's timeout begins.
    ///
    /// Source: `RouteAction.timeout`, "from when the end of the downstream request has been processed".
    pub(super) fn await_response(&mut self, now: Instant, timeout: Option<Duration>) {
        self.request_at = None;
        self.response_at = timeout.and_then(|timeout| now.checked_add(timeout));
        self.arm(now);
    }

    /// Nothing may stand still for longer than this.
    pub(super) fn limit_idle(&mut self, now: Instant, idle: Option<Duration>) {
        self.idle = idle;
        self.touch();
        self.arm(now);
    }

    /// Something moved. Costs a load and a store, unless the idle timeout is a fine one.
    pub(super) fn touch(&mut self) {
        self.moved = match self.idle {
            Some(idle) if idle < FINE => Instant::now(),
            _ => self.deadlines.coarse_now(),
        };
    }

    /// Ready with the timeout that has passed; else the task is woken when one does.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Passed> {
        loop {
            ready!(self.deadline.poll_passed(cx));
            let now = Instant::now();
            let passed = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            if passed(self.response_at) {
                return Poll::Ready(Passed::Response);
            }
            if passed(self.request_at) {
                return Poll::Ready(Passed::Request);
            }
            if passed(self.idle_at()) {
                return Poll::Ready(Passed::Idle);
            }
            self.arm(now);
        }
    }

    fn idle_at(&self) -> Option<Instant> {
        self.idle.and_then(|idle| self.moved.checked_add(idle))
    }

    fn arm(&mut self, now: Instant) {
        let all = [self.response_at, self.request_at, self.idle_at()];
        let next = all.into_iter().flatten().min();
        self.deadline.arm_or_disarm(next.map(|at| at.saturating_duration_since(now)));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn the_earliest_timeout_passes_first() {
        let ms = Duration::from_millis;
        let cases = [
            (30, 10, 500, Passed::Request),
            (10, 500, 500, Passed::Response),
            (500, 500, 10, Passed::Idle),
        ];
        for (response, request, idle, expected) in cases {
            let mut timers = Timers::new(&Deadlines::new());
            let now = Instant::now();
            timers.await_response(now, Some(ms(response)));
            timers.await_request(now, Some(ms(request)));
            timers.limit_idle(now, Some(ms(idle)));
            assert_eq!(poll_fn(|cx| timers.poll(cx)).await, expected);
        }
    }
}
