//! Owns what end-to-end tests stand on: the built binary, origins, and plain clients. It knows no type
//! of the proxy: everything goes over sockets.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]

pub mod certificates;
pub mod chromium;
pub mod client;
pub mod config;
pub mod dns;
pub mod h2;
pub mod load;
pub mod namespace;
pub mod origin;
pub mod proxy;
pub mod tls;
pub mod undisturbed;

use std::time::{Duration, Instant};

/// Waits until `condition` gives something, for ten seconds at most.
///
/// # Panics
///
/// When it does not; `what` says what was waited for.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < patience, "waited ten seconds in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
