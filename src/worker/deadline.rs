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

/// Never: what an unarmed deadline holds.
const NEVER: u64 = u64::MAX;

/// All deadlines of a worker.
#[derive(Clone, Debug)]
pub struct Deadlines {
    shared: Rc<Shared>,
}

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// Milliseconds since `start`, as of the last sweep.
    now_ms: Cell<u64>,
    slots: RefCell<Vec<Slot>>,
    free: RefCell<Vec<usize>>,
}

#[derive(Debug)]
struct Slot {
    at_ms: Cell<u64>,
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
            now_ms: Cell::new(0),
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

    /// A deadline for the calling task, not armed.
    pub fn deadline(&self) -> Deadline {
        let slot = self.shared.free.borrow_mut().pop().unwrap_or_else(|| {
            let mut slots = self.shared.slots.borrow_mut();
            slots.push(Slot { at_ms: Cell::new(NEVER), waker: RefCell::default() });
            slots.len() - 1
        });
        Deadline { slot, shared: self.shared.clone(), fine: None }
    }

    /// The time of the last sweep, for what need not be exact. No clock is read.
    pub fn coarse_now(&self) -> Instant {
        self.shared.start + Duration::from_millis(self.shared.now_ms.get())
    }
}

impl Default for Deadlines {
    fn default() -> Self {
        Self::new()
    }
}

// === impl Shared ===

impl Shared {
    fn sweep(&self) {
        let now = self.start.elapsed().as_millis() as u64;
        self.now_ms.set(now);
        for slot in self.slots.borrow().iter() {
            if slot.at_ms.get() <= now
                && let Some(waker) = slot.waker.borrow_mut().take()
            {
                waker.wake();
            }
        }
    }
}

// === impl Deadline ===

impl Deadline {
    /// Arms it: it passes `wait` from now.
    pub fn arm(&mut self, wait: Duration) {
        if wait < FINE {
            self.fine = Some(Box::pin(tokio::time::sleep(wait)));
            return self.set(NEVER);
        }
        self.fine = None;
        // Rounded up to a sweep, and by one more since `now_ms` may be that old.
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(NEVER / 2);
        self.set(self.shared.now_ms.get().saturating_add(wait_ms) + SWEEP.as_millis() as u64);
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
        self.fine = None;
        self.set(NEVER);
    }

    /// Ready when it has passed; else the task is woken when it does.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.fine {
            return sleep.as_mut().poll(cx);
        }
        let slots = self.shared.slots.borrow();
        let Some(slot) = slots.get(self.slot) else { return Poll::Pending };
        if slot.at_ms.get() == NEVER {
            return Poll::Pending;
        }
        if slot.at_ms.get() <= self.shared.now_ms.get() {
            return Poll::Ready(());
        }
        let mut waker = slot.waker.borrow_mut();
        match waker.as_ref() {
            Some(known) if known.will_wake(cx.waker()) => {}
            _ => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    fn set(&self, at_ms: u64) {
        if let Some(slot) = self.shared.slots.borrow().get(self.slot) {
            slot.at_ms.set(at_ms);
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        if let Some(slot) = self.shared.slots.borrow().get(self.slot) {
            slot.at_ms.set(NEVER);
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
        coarse.set(10);
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
