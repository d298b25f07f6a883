//! Owns the data plane of a worker: what its connections share, and the way from a socket to a codec.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
};

use futures_util::future::LocalBoxFuture;
use understudy_actors::{
    plan::ListenerPlan,
    published::Cached,
    runtime::Runtime,
    seams::{Accepted, Control, MakeServe, Serve},
    server_state::ServerState,
    stats::{ClusterHttp2Stat, Group, Http1Stat, Lane, Later, Scope},
    view::View,
};

use super::{
    arrival::{self, Arrival},
    chains::Chains,
    exchange::Loan,
    headers,
};
use crate::{
    access_log::Writer,
    filter::Lookout,
    upstream::Clusters,
    worker::{AddressText, Buffers, Clock, Deadlines, Uuids},
};

/// Pairs of heads that a worker keeps at most.
const HEADS_KEPT_MAX: usize = 256;

/// Connections of a worker that may keep the room for an exchange while they wait: about 256 KiB.
const WARM_MAX: usize = 256;

/// Makes the data plane of each worker.
pub struct DataPlane {
    view: View,
    access_log: Arc<Writer>,
}

/// The data plane of one worker. Never leaves its thread.
pub struct Worker {
    /// Which worker this is.
    pub index: usize,
    /// Read and write buffers.
    pub buffers: Buffers,
    /// Timeouts.
    pub deadlines: Deadlines,
    /// The `date` header.
    pub clock: Clock,
    /// Ids of requests.
    pub uuids: Uuids,
    /// Clusters and their pools.
    pub clusters: Clusters,
    /// What filters see of what is published.
    pub lookout: Rc<Lookout>,
    /// Access log lines go here.
    pub access_log: Arc<Writer>,
    /// What `x-forwarded-for` calls a client on this machine.
    pub own_address: AddressText,
    server: RefCell<Cached<ServerState>>,
    runtime: RefCell<Cached<Runtime>>,
    http1: Arc<Group<Http1Stat>>,
    http2: Later<ClusterHttp2Stat>,
    heads: RefCell<Vec<Loan>>,
    chains: RefCell<Vec<Rc<Chains>>>,
    text: RefCell<Vec<u8>>,
    view: View,
    swept: Cell<u32>,
    warm: Cell<usize>,
}

/// The leave to keep the room for an exchange; given back when dropped.
pub struct Warm {
    worker: Rc<Worker>,
}

// === impl DataPlane ===

impl DataPlane {
    /// A data plane that reads `view`.
    pub fn new(view: View, access_log: Arc<Writer>) -> Self {
        Self { view, access_log }
    }
}

impl MakeServe for DataPlane {
    fn make(&self, worker: usize) -> Rc<dyn Serve> {
        let worker = Rc::new(Worker::new(worker, self.view.clone(), self.access_log.clone()));
        let swept = Rc::downgrade(&worker);
        tokio::task::spawn_local(worker.deadlines.sweeper(move || {
            if let Some(worker) = swept.upgrade() {
                worker.sweep();
            }
        }));
        Rc::new(Server { worker })
    }
}

/// Serves the connections of one worker.
struct Server {
    worker: Rc<Worker>,
}

impl Serve for Server {
    fn prepare(&self, listener: &ListenerPlan) {
        self.worker.chains(listener);
    }

    fn serve(&self, accepted: Accepted, control: Rc<Control>) -> LocalBoxFuture<'static, ()> {
        let worker = self.worker.clone();
        let Some(chains) = worker.chains(&accepted.listener) else {
            return Box::pin(async {});
        };
        match &chains.only {
            Some(only) if accepted.findings.is_none() => {
                accepted.entrance.admit(&control);
                let Accepted { stream, peer, local, .. } = accepted;
                only.serve(worker, Arrival::plain(stream, peer, local), control)
            }
            _ => Box::pin(arrival::welcome(worker, chains, accepted, control)),
        }
    }
}

// === impl Worker ===

impl Worker {
    fn new(index: usize, view: View, access_log: Arc<Writer>) -> Self {
        let (deadlines, buffers) = (Deadlines::new(), Buffers::default());
        let lookout = Lookout::new(index, &view.server, &view.runtime, &view.clusters);
        Self {
            index,
            clock: Clock::default(),
            uuids: Uuids::default(),
            clusters: Clusters::new(index, &view, deadlines.clone(), buffers.clone()),
            deadlines,
            buffers,
            lookout: Rc::new(lookout),
            access_log,
            own_address: AddressText::new(headers::own_address()),
            server: RefCell::new(view.server.cached()),
            runtime: RefCell::new(view.runtime.cached()),
            http1: view.registry.group(Scope::plain("http1.")),
            http2: Later::new(view.registry.clone(), Scope::plain("http2.")),
            heads: RefCell::default(),
            chains: RefCell::default(),
            text: RefCell::default(),
            view,
            swept: Cell::new(0),
            warm: Cell::new(0),
        }
    }

    /// Whether answers tell their connection to end.
    pub fn draining(&self) -> bool {
        self.server.borrow_mut().load().draining()
    }

    /// `http1.`.
    pub fn http1_stats(&self) -> &Lane<Http1Stat> {
        self.http1.lane(self.index)
    }

    /// `http2.`, listed from the first client on that speaks it.
    pub fn http2_stats(&self) -> &Lane<ClusterHttp2Stat> {
        self.http2.get().lane(self.index)
    }

    /// Lets `read` see the runtime in force.
    pub fn with_runtime<T>(&self, read: impl FnOnce(&Runtime) -> T) -> T {
        read(self.runtime.borrow_mut().load())
    }

    /// Leave for a connection to keep the room for an exchange, unless too many have it.
    pub fn warm(self: &Rc<Self>) -> Option<Warm> {
        let leave = self.warm.get() < WARM_MAX;
        leave.then(|| {
            self.warm.set(self.warm.get() + 1);
            Warm { worker: self.clone() }
        })
    }

    /// A pair of empty heads.
    pub fn heads(&self) -> Loan {
        self.heads.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a pair of heads back.
    pub fn keep(&self, mut heads: Loan) {
        let mut kept = self.heads.borrow_mut();
        if kept.len() < HEADS_KEPT_MAX {
            heads.request.clear();
            heads.response.clear();
            heads.client = None;
            kept.push(heads);
        }
    }

    /// Calls `use_it` with an empty buffer for a line of the access log.
    pub fn with_line(&self, use_it: impl FnOnce(&mut Vec<u8>)) {
        let mut line = self.text.borrow_mut();
        line.clear();
        use_it(&mut line);
    }

    /// What a listener's connections go to.
    fn chains(&self, plan: &ListenerPlan) -> Option<Rc<Chains>> {
        let mut all = self.chains.borrow_mut();
        if let Some(known) = all.iter().find(|chains| chains.runs(&plan.chains)) {
            return Some(known.clone());
        }
        let made = Rc::new(Chains::new(plan, self.index, &self.view, &self.access_log)?);
        all.push(made.clone());
        Some(made)
    }

    /// Housekeeping after a sweep of the deadlines.
    fn sweep(&self) {
        // Pools are looked at each 100 ms, chains of listeners that are gone each 3 s.
        let swept = self.swept.get().wrapping_add(1);
        self.swept.set(swept);
        if swept.is_multiple_of(2) {
            self.clusters.sweep();
        }
        if swept.is_multiple_of(64) {
            self.chains
                .borrow_mut()
                .retain(|chains| Rc::strong_count(chains) > 1 || chains.is_used());
        }
    }
}

// === impl Warm ===

impl Drop for Warm {
    fn drop(&mut self) {
        self.worker.warm.set(self.worker.warm.get() - 1);
    }
}
