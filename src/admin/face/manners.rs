//! Owns the manners of the admin port's threads: where cores are few, traffic goes first.

use std::cell::Cell;

/// Of 99, where 0 is a niceness of 19 and 99 one of -20: this is 10. A thread weighs a tenth of a worker then,
/// where both want the core: enough for `/ready` and for scrapes when all workers are busy, which an idle
/// class is not.
#[cfg(target_os = "linux")]
const PRIORITY: u8 = 22;

/// Makes the calling thread stand back, once. Threads that it starts do as it does.
pub(super) fn stand_back() {
    thread_local! {
        static STANDS_BACK: Cell<bool> = const { Cell::new(false) };
    }
    if !STANDS_BACK.replace(true) {
        set();
    }
}

/// Batch work does not break in on a running thread when it wakes (sched(7)). `benches/admin_under_load.py`
/// measures what admin calls cost the slowest requests.
#[cfg(target_os = "linux")]
fn set() {
    use thread_priority::{
        NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    let Ok(priority) = PRIORITY.try_into() else { return };
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    // To stand back is allowed to everybody; where it is not, the port works all the same.
    if let Err(error) = set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(priority),
        batch,
    ) {
        tracing::debug!(target: "admin", "the admin port cannot stand back: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn set() {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_stands_back_alone() {
        let niceness = || {
            // The 19th field of proc(5)'s stat; the name before it ends in a bracket.
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            stat.rsplit(')').next().unwrap().split_whitespace().nth(16).unwrap().to_owned()
        };
        let before = niceness();
        let of_the_port = std::thread::spawn(move || {
            stand_back();
            std::thread::spawn(niceness).join().unwrap()
        });
        assert_eq!(of_the_port.join().unwrap(), "10");
        assert_eq!(niceness(), before);
    }
}
