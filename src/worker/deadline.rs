//! Owns a worker's deadlines: arming one is a store, and one sweep wakes all that have passed.
//!
//! A tokio timer per request costs 550 instructions; this costs a handful. The price is that a
//! deadline passes up to [`SWEEP`] late, so waits shorter than [`FINE`] use a timer of their own.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::{Rc, Weak},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::time::Sleep;

/// How often deadlines are swept.
pub const SWEEP: Duration = Duration::from_millis(50);

/// Waits below this are timed exactly.
pub const FINE: Duration = Duration::from_secs(2);

/// A moment in a worker's life: milliseconds since its deadlines were made. Counting them costs less
/// than comparing [`Instant`]s, and no timeout is finer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

/// A wait, counted like [`Tick`]s; the greatest is for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticks(u64);

/// Waits below this are timed exactly, in ticks.
const FINE_TICKS: u64 = FINE.as_millis() as u64;

/// All deadlines of a worker.
#[derive(Clone, Debug)]
pub struct Deadlines {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// The time of the last sweep.
    swept_at: Cell<Tick>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Debug)]
struct Slot {
    at: Cell<Tick>,
    waker: RefCell<Option<Waker>>,
}

/// One task's deadline. Dropping it gives its place back.
#[derive(Debug)]
pub struct Deadline {
    slot: usize,
    shared: Rc<Shared>,
    fine: Option<Pin<Box<Sleep>>>,
}

// === impl Deadlines ===

impl Deadlines {
    /// Deadlines that nobody sweeps yet; see [`Self::sweeper`].
    pub fn new() -> Self {
        let shared = Shared {
            start: Instant::now(),
            swept_at: Cell::new(Tick(0)),
            slots: RefCell::default(),
            free: RefCell::default(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Sweeps until the last `Deadlines` is dropped; calls `each` after every sweep.
    pub fn sweeper(&self, each: impl Fn() + 'static) -> impl Future<Output = ()> + 'static {
        let shared = Rc::downgrade(&self.shared);
        async move {
            let mut ticks = tokio::time::interval(SWEEP);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                match Weak::upgrade(&shared) {
                    Some(shared) => shared.sweep(),
                    None => return,
                }
                each();
            }
        }
    }

    /// A deadline that passes after this wait.
    pub fn after(&self, wait: Duration) -> Deadline {
        let mut deadline = self.deadline();
        deadline.arm(wait);
        deadline
    }

    /// A deadline for the calling task, not armed.
    pub fn deadline(&self) -> Deadline {
        let slot = self.shared.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut slots = self.shared.slots.borrow_mut();
            slots.push(Slot { at: Cell::new(Tick::NEVER), waker: RefCell::default() });
            slots.len() - 1
        });
        Deadline { slot, shared: self.shared.clone(), fine: None }
    }

    /// The time of the last sweep, for what need not be exact. No clock is read.
    pub fn coarse_now(&self) -> Tick {
        self.shared.swept_at.get()
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Shared ===

impl Shared {
    /// Rounded down.
    fn tick_of(&self, time: Instant) -> Tick {
        let since = time.saturating_duration_since(self.start);
        Tick(since.as_secs() * 1000 + u64::from(since.subsec_millis()))
    }

    fn sweep(&self) {
        let now = self.tick_of(Instant::now());
        self.swept_at.set(now);
        for slot in self.slots.borrow().iter() {
            if slot.at.get() <= now
                && let Some(waker) = slot.waker.borrow_mut().take()
            {
                waker.wake();
            }
        }
    }
}

// === impl Tick ===

impl Tick {
    /// No moment: what an unarmed deadline holds.
    pub const NEVER: Self = Self(u64::MAX);

    /// So much later.
    pub fn after(self, wait: Ticks) -> Self {
        Self(self.0.saturating_add(wait.0))
    }

    /// How long after `earlier` this is.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

// === impl Ticks ===

impl Ticks {
    /// The wait, rounded up; none is for ever.
    pub fn of(wait: Option<Duration>) -> Self {
        let Some(wait) = wait else { return Self(u64::MAX) };
        let rest = u64::from(wait.subsec_nanos().div_ceil(1_000_000));
        Self(wait.as_secs().saturating_mul(1000).saturating_add(rest))
    }

    /// Whether it is timed exactly.
    pub fn is_fine(self) -> bool {
        self.0 < FINE_TICKS
    }
}

// === impl Deadline ===

impl Deadline {
    /// The time of the last sweep. No clock is read.
    pub fn coarse_now(&self) -> Tick {
        self.shared.swept_at.get()
    }

    /// The tick that this moment belongs to.
    pub fn tick_of(&self, time: Instant) -> Tick {
        self.shared.tick_of(time)
    }

    /// Arms it: it passes `wait` from now.
    pub fn arm(&mut self, wait: Duration) {
        if wait < FINE {
            return self.arm_finely(wait);
        }
        // The last sweep may be as long ago as one takes to come.
        self.arm_coarsely(self.coarse_now().after(Ticks::of(Some(wait + SWEEP))));
    }

    /// Arms it: it passes at this tick, or with the sweep after it.
    pub fn arm_at(&mut self, at: Tick) {
        match at.0.saturating_sub(self.coarse_now().0) < FINE_TICKS {
            true => self.arm_finely(at.since(self.tick_of(Instant::now()))),
            false => self.arm_coarsely(at),
        }
    }

    /// Arms it with `wait`, or disarms it.
    pub fn arm_or_disarm(&mut self, wait: Option<Duration>) {
        match wait {
            Some(wait) => self.arm(wait),
            None => self.disarm(),
        }
    }

    /// It no longer passes.
    pub fn disarm(&mut self) {
        self.arm_coarsely(Tick::NEVER);
    }

    /// Ready when it has passed; else the task is woken when it does.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.fine {
            return sleep.as_mut().poll(cx);
        }
        let slots = self.shared.slots.borrow();
        let Some(slot) = slots.get(self.slot) else { return Poll::Pending };
        if slot.at.get() == Tick::NEVER {
            return Poll::Pending;
        }
        if slot.at.get() <= self.shared.swept_at.get() {
            return Poll::Ready(());
        }
        let mut waker = slot.waker.borrow_mut();
        match waker.as_ref() {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn arm_finely(&mut self, wait: Duration) {
        self.set(Tick::NEVER);
        self.fine = Some(Box::pin(tokio::time::sleep(wait)));
    }

    fn arm_coarsely(&mut self, at: Tick) {
        self.fine = None;
        self.set(at);
    }

    fn set(&self, at: Tick) {
        if let Some(slot) = self.shared.slots.borrow().get(self.slot) {
            slot.at.set(at);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(slot) = self.shared.slots.borrow().get(self.slot) {
            slot.at.set(Tick::NEVER);
            slot.waker.borrow_mut().take();
        }
        self.shared.free.borrow_mut().push(self.slot);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn a_coarse_and_a_fine_deadline_pass_and_a_disarmed_one_does_not() {
        let deadlines = Deadlines::new();
        let (mut coarse, mut fine, mut never) =
            (deadlines.deadline(), deadlines.deadline(), deadlines.deadline());
        fine.arm(Duration::from_millis(5));
        poll_fn(|cx| fine.poll_passed(cx)).await;

        coarse.arm(FINE);
        coarse.set(Tick(10));
        never.arm(FINE);
        never.disarm();
        let sweeping = deadlines.sweeper(|| {});
        tokio::select! {
            () = sweeping => unreachable!("the sweeper sweeps on"),
            () = poll_fn(|cx| coarse.poll_passed(cx)) => {}
            () = poll_fn(|cx| never.poll_passed(cx)) => panic!("a disarmed deadline passed"),
        }
    }

    #[test]
    fn a_dropped_deadline_gives_its_place_back() {
        let deadlines = Deadlines::new();
        let first = deadlines.deadline().slot;
        assert_eq!(deadlines.deadline().slot, first);
    }
}
