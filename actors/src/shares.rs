//! Owns how a listener's connections are shared out among workers: how many each has, and the way to each.

use std::{
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use actix::prelude::*;
use arc_swap::ArcSwapOption;

use crate::listener::Incoming;

/// The shares of one listener. They outlive its workers' falls.
pub(crate) struct Shares {
    of: Box<[Share]>,
}

#[derive(Default)]
struct Share {
    open: AtomicU32,
    /// Who takes connections for that worker; none until it listens.
    taker: ArcSwapOption<Recipient<HandOver>>,
}

/// A connection that another worker has accepted. Sent by that one; how often is bounded by accepting.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct HandOver {
    pub(crate) stream: TcpStream,
    pub(crate) incoming: Incoming,
}

// === impl Shares ===

impl Shares {
    /// None have any.
    pub(crate) fn of(workers: usize) -> Arc<Self> {
        Arc::new(Self { of: (0..workers).map(|_| Share::default()).collect() })
    }

    /// Connections on all workers.
    pub(crate) fn open(&self) -> u32 {
        self.of.iter().map(|share| share.open.load(Relaxed)).sum()
    }

    /// Says who takes connections for a worker from now on.
    pub(crate) fn taken_by(&self, worker: usize, taker: Recipient<HandOver>) {
        if let Some(share) = self.of.get(worker) {
            share.taker.store(Some(Arc::new(taker)));
        }
    }

    /// A worker takes no more from others.
    pub(crate) fn taken_by_nobody(&self, worker: usize) {
        if let Some(share) = self.of.get(worker) {
            share.taker.store(None);
        }
    }

    /// A worker has one more.
    pub(crate) fn enter(&self, worker: usize) {
        if let Some(share) = self.of.get(worker) {
            share.open.fetch_add(1, Relaxed);
        }
    }

    /// A worker has one less.
    pub(crate) fn leave(&self, worker: usize) {
        if let Some(share) = self.of.get(worker) {
            share.open.fetch_sub(1, Relaxed);
        }
    }

    /// The worker that has the fewest, which has one more now: the next to ask sees it. Of several it is `own`, or the
    /// first.
    pub(crate) fn enter_fewest(&self, own: usize) -> usize {
        loop {
            let counts = self.of.iter().map(|share| share.open.load(Relaxed)).enumerate();
            let fewest = counts.min_by_key(|(at, open)| (*open, *at != own, *at));
            let Some((at, open)) = fewest else { return own };
            let Some(share) = self.of.get(at) else { return own };
            if share.open.compare_exchange(open, open + 1, Relaxed, Relaxed).is_ok() {
                return at;
            }
        }
    }

    /// Gives a connection to a worker that it was counted for; back where that one cannot take it.
    pub(crate) fn hand_over(&self, worker: usize, connection: HandOver) -> Result<(), HandOver> {
        let taker = self.of.get(worker).and_then(|share| share.taker.load_full());
        let Some(taker) = taker else { return Err(connection) };
        match taker.try_send(connection) {
            Ok(()) => Ok(()),
            Err(SendError::Full(connection) | SendError::Closed(connection)) => Err(connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_get_the_next_and_among_equals_whoever_has_accepted_it() {
        let shares = Shares::of(3);
        assert_eq!(shares.enter_fewest(1), 1);
        assert_eq!(shares.enter_fewest(1), 0);
        assert_eq!(shares.enter_fewest(1), 2);
        shares.leave(2);
        assert_eq!(shares.enter_fewest(0), 2);
        assert_eq!(shares.open(), 3);
    }

    #[test]
    fn a_worker_that_does_not_listen_takes_nothing() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.local_addr().unwrap().into();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let shares = Shares::of(1);
        let incoming = Incoming { peer, local: None, findings: None };
        assert!(shares.hand_over(0, HandOver { stream, incoming }).is_err());
    }
}
