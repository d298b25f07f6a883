//! Owns the manners of the admin port's threads: where cores are few, traffic goes first.

use std::cell::Cell;

/// How much nicer than the rest of the process they are. At 10 a thread weighs a tenth of a worker where both
/// want the core: enough for `/ready` and for scrapes when all workers are busy, which an idle class is not.
const NICER: i32 = 10;

/// The nicest that there is.
const NICEST: i32 = 19;

/// Makes the calling thread stand back, once. Threads that it starts do as it does.
pub(super) fn stand_back() {
    thread_local! {
        static STANDS_BACK: Cell<bool> = const { Cell::new(false) };
    }
    if !STANDS_BACK.replace(true) {
        set(NICER);
    }
}

/// On Linux `None` is the calling thread; elsewhere it is the process, which is not meant.
#[cfg(target_os = "linux")]
fn set(nicer: i32) {
    use rustix::process::{getpriority_process, setpriority_process};
    let now = getpriority_process(None).unwrap_or(0);
    // To be nicer is always allowed; if it were not, the port works all the same.
    if let Err(error) = setpriority_process(None, (now + nicer).min(NICEST)) {
        tracing::debug!(target: "admin", "cannot lower the priority of the admin port: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn set(_: i32) {}
