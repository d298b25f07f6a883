//! Owns which requests share connections: mostly all to a host do, but some are kept apart.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use understudy_actors::{snapshot::ClusterShared, stats::ClusterStat};

use super::{HostPool, Target};
use crate::{codec::Version, listener::OriginalSrc};

/// What requests must have in common to share connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sharing {
    /// `RouteAction.priority: HIGH`: other circuit breakers, and so other connections.
    pub high_priority: bool,
    /// The number of the client's connection. Source: `connection_pool_per_downstream_connection`.
    pub client: Option<u64>,
    /// What was said first on the connection, which tells of one client (PROXY protocol).
    pub greeting: Option<Rc<[u8]>>,
    /// The address that the connection comes from (`OriginalSrc`).
    pub source: Option<OriginalSrc>,
    /// The name that was asked for in the handshake, where the request says it (`auto_sni`).
    pub server_name: Option<Rc<str>>,
}

/// A worker's pools for one host.
#[derive(Clone)]
pub struct HostPools {
    /// Of the requests that nothing keeps apart.
    usual: Pair,
    /// Of those that something does.
    apart: Rc<RefCell<HashMap<Sharing, Pair>>>,
}

/// The pools of those who share connections.
#[derive(Clone)]
struct Pair {
    /// For every request, or for those over HTTP/1.
    usual: Rc<HostPool>,
    /// For requests over HTTP/2, where the client's protocol decides.
    http2: Option<Rc<HostPool>>,
}

/// A pool's place among those that `max_connection_pools` bounds, once it has one.
pub struct Place {
    shared: Arc<ClusterShared>,
    priority: usize,
    taken: Cell<bool>,
}

// === impl Sharing ===

impl Sharing {
    /// Whose circuit breakers count: 0 for the default priority, 1 for the high one.
    pub fn priority(&self) -> usize {
        usize::from(self.high_priority)
    }
}

// === impl HostPools ===

impl HostPools {
    /// Pools without connections.
    pub fn new(target: Target) -> Self {
        Self { usual: Pair::new(target), apart: Rc::default() }
    }

    /// The pool for a request in this version; none where there would be too many pools.
    #[inline]
    pub fn pool(&self, version: Version, sharing: Option<&Sharing>) -> Option<Rc<HostPool>> {
        let pool = match sharing {
            None => self.usual.of(version),
            Some(sharing) => self.apart(sharing).of(version),
        };
        pool.admit().then_some(pool)
    }

    /// The pools of those who share connections with nobody else.
    #[cold]
    fn apart(&self, sharing: &Sharing) -> Pair {
        let mut apart = self.apart.borrow_mut();
        if let Some(pair) = apart.get(sharing) {
            return pair.clone();
        }
        let target = self.usual.usual.target().clone();
        let place = Place::new(&target.shared, sharing);
        let pair = Pair::new(Target { place, sharing: sharing.clone(), ..target });
        apart.insert(sharing.clone(), pair.clone());
        pair
    }

    /// Lets go of what is idle for too long, and of pools that nobody needs.
    pub fn sweep(&self) {
        self.usual.each(HostPool::sweep);
        let mut apart = self.apart.borrow_mut();
        if apart.is_empty() {
            return;
        }
        apart.values().for_each(|pair| pair.each(HostPool::sweep));
        apart.retain(|_, pair| !pair.is_unused());
    }

    /// The host left: idle connections close now, busy ones after their last answer.
    pub fn close(&self) {
        self.usual.each(HostPool::close);
        self.apart.borrow().values().for_each(|pair| pair.each(HostPool::close));
    }

    /// The host is not well: idle connections close now, and it gets new ones if it is asked all the same.
    pub fn drain(&self) {
        self.usual.each(HostPool::drain);
        self.apart.borrow().values().for_each(|pair| pair.each(HostPool::drain));
    }

    /// Whether these are the same pools.
    pub fn are(&self, others: &Self) -> bool {
        Rc::ptr_eq(&self.apart, &others.apart)
    }
}

// === impl Pair ===

impl Pair {
    fn new(target: Target) -> Self {
        let (usual, http2) = HostPool::of(target);
        Self { usual: Rc::new(usual), http2: http2.map(Rc::new) }
    }

    #[inline]
    fn of(&self, version: Version) -> Rc<HostPool> {
        match (&self.http2, version) {
            (Some(http2), Version::Http2) => http2.clone(),
            _ => self.usual.clone(),
        }
    }

    fn each(&self, mut what: impl FnMut(&HostPool)) {
        what(&self.usual);
        self.http2.as_deref().into_iter().for_each(what);
    }

    /// No request holds one of them, and no connection is left.
    fn is_unused(&self) -> bool {
        let mut unused = true;
        self.each(|pool| unused &= pool.is_unused());
        let held = |pool: &Rc<HostPool>| Rc::strong_count(pool) > 1;
        unused && !held(&self.usual) && !self.http2.as_ref().is_some_and(held)
    }
}

// === impl Place ===

impl Place {
    /// None yet.
    pub fn new(shared: &Arc<ClusterShared>, sharing: &Sharing) -> Rc<Self> {
        let (shared, priority) = (shared.clone(), sharing.priority());
        Rc::new(Self { shared, priority, taken: Cell::new(false) })
    }

    /// Takes the place; `false` where `max` pools have theirs.
    ///
    /// Observed: Envoy 1.40, which counts a pool from its first request on until its last connection is gone.
    pub(super) fn take(&self, max: u32, worker: usize) -> bool {
        if self.taken.get() {
            return true;
        }
        let Some(breakers) = self.shared.breakers.get(self.priority) else { return true };
        if breakers.pools.fetch_add(1, Relaxed) >= max {
            breakers.pools.fetch_sub(1, Relaxed);
            self.shared.stats.lane(worker).inc(ClusterStat::UpstreamCxPoolOverflow);
            return false;
        }
        self.taken.set(true);
        true
    }

    /// Gives it back.
    pub(super) fn leave(&self) {
        if self.taken.replace(false)
            && let Some(breakers) = self.shared.breakers.get(self.priority)
        {
            breakers.pools.fetch_sub(1, Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
