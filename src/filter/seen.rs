//! Owns what filters see besides the message: the client, and what is published.

use std::{
    cell::{Cell, RefCell},
    fmt,
    net::IpAddr,
    rc::Rc,
    sync::Arc,
};

use understudy_actors::{
    address::Address,
    plan::Slot,
    published::{Cached, Published},
    runtime::Runtime,
    server_state::ServerState,
    snapshot::{ClusterSnapshot, Clusters, Host},
};

use crate::{listener::Proxied, tls::Session};

/// What a filter is shown besides the message.
#[derive(Debug)]
pub struct Seen {
    /// The client.
    pub client: Client,
    /// Nothing follows the request's head.
    pub ends: bool,
    /// What is published at the time of the call.
    pub now: Rc<Sight>,
    health_check: Cell<bool>,
    /// What a filter has said of the host that the request goes to.
    wanted: RefCell<Option<WantedHost>>,
    /// Somebody wants to know which host that is.
    watches_host: Cell<bool>,
    host: RefCell<Option<Arc<Host>>>,
}

/// Whose request it is.
#[derive(Clone, Debug)]
pub struct Client {
    /// Who it is from, as far as we trust what we are told; none where nobody says.
    pub remote: Option<IpAddr>,
    /// Somebody has named it: of such a one only the address is known.
    pub named: bool,
    /// Who has connected.
    pub peer: Address,
    /// Whose socket it is, without regard to what a PROXY header says.
    pub direct: Address,
    /// Whereto.
    pub local: Address,
    /// The name that was asked for (SNI).
    pub server_name: Option<Rc<str>>,
    /// What its handshake came to.
    pub tls: Option<Rc<Session>>,
    /// What its connection really is, where it stands for another.
    pub proxied: Option<Rc<Proxied>>,
}

/// A host that a filter wants the request to go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedHost {
    /// `ip:port`.
    pub address: String,
    /// Nobody else will do.
    pub strict: bool,
}

/// What is published, as a worker saw it last. On top of the shared values, so that a stream that keeps it
/// writes no counter that other workers write too.
pub struct Sight {
    /// Which worker looks.
    pub worker: usize,
    /// The process itself.
    pub server: Arc<ServerState>,
    /// Runtime values.
    pub runtime: Arc<Runtime>,
    clusters: Arc<Clusters>,
}

/// A worker's eyes for its filters: they load nothing themselves.
pub struct Lookout {
    watched: RefCell<Watched>,
}

struct Watched {
    server: Cached<ServerState>,
    runtime: Cached<Runtime>,
    clusters: Cached<Clusters>,
    last: Rc<Sight>,
}

// === impl Seen ===

impl Seen {
    /// What is to be seen at the beginning of a stream.
    pub(super) fn new(client: Client, ends: bool, now: Rc<Sight>) -> Self {
        Self {
            client,
            ends,
            now,
            health_check: Cell::new(false),
            wanted: RefCell::default(),
            watches_host: Cell::new(false),
            host: RefCell::default(),
        }
    }

    /// Whether a filter has taken the request for a health check: it is counted apart.
    pub fn is_health_check(&self) -> bool {
        self.health_check.get()
    }

    /// Says which host the request should go to, if any, and asks to be told which it goes to.
    pub fn want_host(&self, wanted: Option<WantedHost>) {
        *self.wanted.borrow_mut() = wanted;
        self.watches_host.set(true);
    }

    /// The host that the request went to, for who has asked to be told.
    pub fn host(&self) -> Option<Arc<Host>> {
        self.host.borrow().clone()
    }

    pub(super) fn wanted_host(&self) -> Option<WantedHost> {
        self.wanted.borrow().clone()
    }

    pub(super) fn tell_host(&self, host: &Arc<Host>) {
        if self.watches_host.get() {
            *self.host.borrow_mut() = Some(host.clone());
        }
    }

    /// Takes the request for a health check.
    pub fn take_for_health_check(&self) {
        self.health_check.set(true);
    }
}

// === impl Sight ===

impl Sight {
    /// The cluster in a slot, which [`Build::cluster`](super::Build::cluster) has for a name; none if there
    /// is no such cluster.
    pub fn cluster(&self, slot: Slot) -> Option<Arc<ClusterSnapshot>> {
        self.clusters.get(slot).map(Published::read)
    }
}

impl fmt::Debug for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sight")
            .field("worker", &self.worker)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

// === impl Lookout ===

impl Lookout {
    /// The eyes of one worker.
    pub fn new(
        worker: usize,
        server: &Published<ServerState>,
        runtime: &Published<Runtime>,
        clusters: &Published<Clusters>,
    ) -> Self {
        let last = Rc::new(Sight {
            worker,
            server: server.read(),
            runtime: runtime.read(),
            clusters: clusters.read(),
        });
        let (server, runtime, clusters) = (server.cached(), runtime.cached(), clusters.cached());
        Self { watched: RefCell::new(Watched { server, runtime, clusters, last }) }
    }

    /// What is published now; the same as before while nothing changes.
    pub fn look(&self) -> Rc<Sight> {
        let Watched { server, runtime, clusters, last } = &mut *self.watched.borrow_mut();
        let (server, runtime, clusters) = (server.load(), runtime.load(), clusters.load());
        let unchanged = Arc::ptr_eq(&last.server, server)
            && Arc::ptr_eq(&last.runtime, runtime)
            && Arc::ptr_eq(&last.clusters, clusters);
        if !unchanged {
            *last = Rc::new(Sight {
                worker: last.worker,
                server: server.clone(),
                runtime: runtime.clone(),
                clusters: clusters.clone(),
            });
        }
        last.clone()
    }
}

#[cfg(test)]
pub(super) mod fake {
    /// A client of this machine.
    pub(in crate::filter) fn client() -> super::Client {
        let peer: Address = "127.0.0.1:1".parse().unwrap();
        super::Client {
            remote: peer.ip(),
            named: false,
            peer,
            direct: peer,
            local: peer,
            server_name: None,
            tls: None,
            proxied: None,
        }
    }

    use std::time::SystemTime;

    use super::*;

    /// Sees a server that does as told, and these clusters.
    pub(in crate::filter) fn lookout(
        server: &Published<ServerState>,
        clusters: Clusters,
    ) -> Rc<Lookout> {
        let runtime = Published::constant(Runtime::default());
        Rc::new(Lookout::new(0, server, &runtime, &Published::constant(clusters)))
    }

    /// Sees a server to which nothing happens, and nothing else.
    pub(in crate::filter) fn dull() -> Rc<Lookout> {
        let state = ServerState::starting(SystemTime::UNIX_EPOCH);
        lookout(&Published::constant(state), Clusters::default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use understudy_actors::published::Publisher;

    use super::*;

    #[test]
    fn what_is_seen_is_one_value_until_something_is_published() {
        let mut state = ServerState::starting(SystemTime::UNIX_EPOCH);
        let server = Publisher::new(state.clone());
        let lookout = fake::lookout(&server.subscribe(), Clusters::default());
        let before = lookout.look();
        assert!(Rc::ptr_eq(&before, &lookout.look()));
        state.health_failed = true;
        server.publish(state);
        assert!(lookout.look().server.health_failed && !before.server.health_failed);
        assert!(lookout.look().cluster(0).is_none());
    }
}
