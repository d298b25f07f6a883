//! Owns what is published of a name that DNS is asked for: what was answered, and when it is asked for again.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::published::Published;

/// One name of a cluster. The same from snapshot to snapshot.
#[derive(Debug)]
pub struct Name {
    /// The name.
    pub name: String,
    /// Port of the hosts that live at it.
    pub port: u16,
    /// What is known of it.
    pub status: Published<NameStatus>,
    doubted: AtomicBool,
    doubt: Notify,
}

/// What is known of a name at one moment.
#[derive(Clone, Debug, Default)]
pub struct NameStatus {
    /// The addresses that stand: those of the last answer, unless that was one that leaves hosts as they are.
    pub addresses: Vec<IpAddr>,
    /// Their time to live, counted from `answered_at`.
    pub ttl: Option<Duration>,
    /// When they were answered last.
    pub answered_at: Option<Instant>,
    /// When it was asked for last.
    pub asked_at: Option<Instant>,
    /// When it will be asked for again; none while a lookup is under way.
    pub next_at: Option<Instant>,
    /// The last lookup that left hosts as they are: when, and why.
    pub last_error: Option<(Instant, String)>,
    /// Such lookups since the last answer that counted.
    pub failures: u32,
    /// Since when DNS says that there is nothing, while `hold_stale` keeps the addresses.
    pub held_since: Option<Instant>,
}

// === impl Name ===

impl Name {
    pub(crate) fn new(name: &str, port: u16, status: Published<NameStatus>) -> Self {
        let (doubted, doubt) = (AtomicBool::new(false), Notify::new());
        Self { name: name.to_owned(), port, status, doubted, doubt }
    }

    /// A host of this name could not be reached: the answer may be stale. Whoever asks DNS is woken, once until it
    /// asks.
    pub fn doubt(&self) {
        if !self.is_doubted() && !self.doubted.swap(true, Relaxed) {
            self.doubt.notify_one();
        }
    }

    /// Whether a host could not be reached since DNS was asked.
    pub(crate) fn is_doubted(&self) -> bool {
        self.doubted.load(Relaxed)
    }

    /// Waits until the answer is doubted.
    pub(crate) async fn doubted(&self) {
        self.doubt.notified().await;
    }

    /// DNS is asked.
    pub(crate) fn begin_to_ask(&self) {
        self.doubted.store(false, Relaxed);
    }
}
