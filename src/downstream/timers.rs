//! Owns the timeouts of one exchange: which there are, and which has passed.

use std::{
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use crate::worker::{Deadline, Tick, deadline::Ticks};

/// The timeouts of one exchange. All share one [`Deadline`], armed for the earliest.
#[derive(Debug)]
pub(super) struct Timers<'c> {
    deadline: &'c mut Deadline,
    response_at: Tick,
    request_at: Tick,
    idle: Ticks,
    moved: Tick,
    /// The deadline is that of the earliest. Arming waits for the first wait: most changes before it
    /// would be armed in vain.
    armed: bool,
}

/// Which timeout has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passed {
    /// The route's `timeout`.
    Response,
    /// `request_timeout`.
    Request,
    /// `stream_idle_timeout`, or the route's `idle_timeout`.
    Idle,
}

// === impl Timers ===

impl<'c> Timers<'c> {
    /// No timeout yet but `stream_idle_timeout`.
    pub(super) fn new(deadline: &'c mut Deadline, idle: Option<Duration>) -> Self {
        let (never, moved) = (Tick::NEVER, deadline.coarse_now());
        let idle = Ticks::of(idle);
        Self { deadline, response_at: never, request_at: never, idle, moved, armed: false }
    }

    /// `request_timeout`: the whole request must be here by then.
    pub(super) fn await_request(&mut self, started: Instant, timeout: Option<Duration>) {
        self.request_at = self.later(started, timeout);
        self.armed = false;
    }

    /// The request is complete: the route's timeout begins.
    ///
    /// Source: `RouteAction.timeout`, "from when the end of the downstream request has been processed".
    pub(super) fn await_response(&mut self, now: Instant, timeout: Option<Duration>) {
        self.request_at = Tick::NEVER;
        self.response_at = self.later(now, timeout);
        self.armed = false;
    }

    /// Nothing may stand still for longer than this.
    pub(super) fn limit_idle(&mut self, idle: Option<Duration>) {
        self.idle = Ticks::of(idle);
        self.armed = false;
        self.touch();
    }

    /// Something moved. Costs a load and a store, unless the idle timeout is a fine one.
    pub(super) fn touch(&mut self) {
        self.moved = match self.idle.is_fine() {
            true => self.deadline.tick_of(Instant::now()),
            false => self.deadline.coarse_now(),
        };
    }

    /// Ready with the timeout that has passed; else the task is woken when one does.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Passed> {
        loop {
            if !self.armed {
                self.arm();
            }
            ready!(self.deadline.poll_passed(cx));
            let now = self.deadline.tick_of(Instant::now());
            if self.response_at <= now {
                return Poll::Ready(Passed::Response);
            }
            if self.request_at <= now {
                return Poll::Ready(Passed::Request);
            }
            if self.moved.after(self.idle) <= now {
                return Poll::Ready(Passed::Idle);
            }
            self.armed = false;
        }
    }

    fn later(&self, now: Instant, timeout: Option<Duration>) -> Tick {
        match timeout {
            Some(_) => self.deadline.tick_of(now).after(Ticks::of(timeout)),
            None => Tick::NEVER,
        }
    }

    fn arm(&mut self) {
        let idle_at = self.moved.after(self.idle);
        self.deadline.arm_at(self.response_at.min(self.request_at).min(idle_at));
        self.armed = true;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::worker::Deadlines;

    #[tokio::test]
    async fn the_earliest_timeout_passes_first() {
        let ms = Duration::from_millis;
        let cases = [
            (30, 10, 500, Passed::Request),
            (10, 500, 500, Passed::Response),
            (500, 500, 10, Passed::Idle),
        ];
        for (response, request, idle, expected) in cases {
            let mut deadline = Deadlines::new().deadline();
            let mut timers = Timers::new(&mut deadline, Some(ms(1000)));
            let now = Instant::now();
            timers.limit_idle(Some(ms(idle)));
            timers.await_response(now, Some(ms(response)));
            timers.await_request(now, Some(ms(request)));
            assert_eq!(poll_fn(|cx| timers.poll(cx)).await, expected);
        }
    }
}
