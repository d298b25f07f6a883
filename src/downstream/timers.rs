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
    /// Boxed: most exchanges have none of these.
    rare: Option<Box<Rare>>,
    /// The deadline is that of the earliest. Arming waits for the first wait: most changes before it
    /// would be armed in vain.
    armed: bool,
}

/// Timeouts that are mostly not set.
#[derive(Debug)]
struct Rare {
    try_at: Tick,
    try_idle: Ticks,
    try_moved: Tick,
    try_soft: bool,
    try_duration_at: Tick,
    stream_at: Tick,
}

/// The timeouts of one try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TryLimits {
    /// `per_try_timeout`.
    pub(super) whole: Option<Duration>,
    /// `per_try_idle_timeout`.
    pub(super) idle: Option<Duration>,
    /// They end nothing: another try begins beside this one.
    pub(super) soft: bool,
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
    /// `per_try_timeout`.
    Try,
    /// `per_try_idle_timeout`.
    TryIdle,
    /// `max_stream_duration` of the upstream's side.
    TryDuration,
    /// `max_stream_duration` of the client's side.
    Stream,
}

// === impl Timers ===

impl<'c> Timers<'c> {
    /// No timeout yet but `stream_idle_timeout`.
    pub(super) fn new(deadline: &'c mut Deadline, idle: Option<Duration>) -> Self {
        let (never, moved) = (Tick::NEVER, deadline.coarse_now());
        let idle = Ticks::of(idle);
        let rare = None;
        Self { deadline, response_at: never, request_at: never, idle, moved, rare, armed: false }
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

    /// `max_stream_duration`: the stream ends so long after it began.
    pub(super) fn limit_stream(&mut self, started: Instant, max: Option<Duration>) {
        let stream_at = self.later(started, max);
        self.rare().stream_at = stream_at;
        self.armed = false;
    }

    /// The upstream's side of the stream ends so long after now.
    pub(super) fn limit_try_duration(&mut self, max: Duration) {
        let at = self.later(Instant::now(), Some(max));
        self.rare().try_duration_at = at;
        self.armed = false;
    }

    /// A try begins whose request is complete.
    pub(super) fn begin_try(&mut self, limits: TryLimits) {
        let now = Instant::now();
        let (try_at, try_moved) = (self.later(now, limits.whole), self.deadline.tick_of(now));
        let rare = self.rare();
        (rare.try_at, rare.try_idle, rare.try_moved) = (try_at, Ticks::of(limits.idle), try_moved);
        rare.try_soft = limits.soft;
        self.armed = false;
    }

    /// The try has been answered: its `per_try_timeout` is over, and where that would end nothing, its
    /// `per_try_idle_timeout`, too.
    pub(super) fn answer_try(&mut self) {
        if let Some(rare) = &mut self.rare {
            rare.try_at = Tick::NEVER;
            if rare.try_soft {
                rare.try_idle = Ticks::of(None);
            }
            self.armed = false;
        }
    }

    /// The try is over, and its timeouts.
    pub(super) fn end_try(&mut self) {
        if let Some(rare) = &mut self.rare {
            (rare.try_at, rare.try_duration_at) = (Tick::NEVER, Tick::NEVER);
            rare.try_idle = Ticks::of(None);
            self.armed = false;
        }
    }

    fn rare(&mut self) -> &mut Rare {
        let (never, now) = (Tick::NEVER, self.deadline.coarse_now());
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                try_at: never,
                try_idle: Ticks::of(None),
                try_moved: now,
                try_soft: false,
                try_duration_at: never,
                stream_at: never,
            })
        })
    }

    /// Something moved. Costs a load and a store, unless the idle timeout is a fine one.
    pub(super) fn touch(&mut self) {
        self.moved = match self.idle.is_fine() {
            true => self.deadline.tick_of(Instant::now()),
            false => self.deadline.coarse_now(),
        };
        if let Some(rare) = &mut self.rare {
            rare.try_moved = self.deadline.tick_of(Instant::now());
        }
    }

    /// Ready with the timeout that has passed; else the task is woken when one does.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Passed> {
        loop {
            if !self.armed {
                self.arm();
            }
            ready!(self.deadline.poll_passed(cx));
            let now = self.deadline.tick_of(Instant::now());
            if let Some(passed) = self.rare.as_ref().and_then(|rare| rare.passed(now)) {
                return Poll::Ready(passed);
            }
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
        let rare_at = self.rare.as_ref().map_or(Tick::NEVER, |rare| rare.earliest());
        self.deadline.arm_at(self.response_at.min(self.request_at).min(idle_at).min(rare_at));
        self.armed = true;
    }
}

// === impl Rare ===

impl Rare {
    fn earliest(&self) -> Tick {
        let try_idle_at = self.try_moved.after(self.try_idle);
        self.try_at.min(try_idle_at).min(self.try_duration_at).min(self.stream_at)
    }

    /// The one that has passed. The stream's end leaves nothing to be tried.
    fn passed(&self, now: Tick) -> Option<Passed> {
        if self.stream_at <= now {
            return Some(Passed::Stream);
        }
        if self.try_at <= now {
            return Some(Passed::Try);
        }
        if self.try_moved.after(self.try_idle) <= now {
            return Some(Passed::TryIdle);
        }
        (self.try_duration_at <= now).then_some(Passed::TryDuration)
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
