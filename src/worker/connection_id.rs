//! Owns the numbers of connections, of clients and hosts alike, as `%CONNECTION_ID%` has them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The number of a new connection; the first is 1.
pub fn next_connection_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}
