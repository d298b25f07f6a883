//! Owns the seams: traits of one method by which the control plane reaches what it does not know.
//! The crate above implements them; tests implement them by hand.

use std::{
    any::Any,
    cell::{Cell, RefCell},
    net::IpAddr,
    path::Path,
    rc::Rc,
    sync::Arc,
    task::Waker,
    time::Duration,
};

use futures_util::future::{BoxFuture, LocalBoxFuture};
use tokio::net::TcpStream;

use crate::{
    address::Address,
    configured::Base,
    event::Event,
    listener::Place,
    plan::{
        AssignmentPolicy, ClusterPlan, HealthCheckPlan, ListenerPlan, LookupFamily, Payload,
        ResolverPlan,
    },
    resources::{Document, Kind, Response, ResponseError},
    runtime::Runtime,
    snapshot::{ClusterSnapshot, Host},
    stats::{Lane, ListenerStat},
};

/// Asks DNS for a name.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name, in the server's order. NXDOMAIN and an empty answer are an empty
    /// [`Answer`], not an error.
    fn resolve(&self, query: Query) -> BoxFuture<'static, Looked>;
}

/// What is asked of DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Query {
    /// The name.
    pub name: String,
    /// Which addresses.
    pub family: LookupFamily,
    /// Whom to ask.
    pub resolver: Arc<ResolverPlan>,
}

/// What DNS said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Empty when the name does not exist or has no address.
    pub addresses: Vec<IpAddr>,
    /// The shortest time to live of the records.
    pub ttl: Option<Duration>,
}

/// What a lookup brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// What counts.
    pub answer: Result<Answer, LookupError>,
    /// What was said of the preferred family, where the other one had to be asked for as well.
    pub preferred: Option<Result<Answer, LookupError>>,
}

/// Why DNS said nothing: the hosts that are known stay.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No server answered in time.
    #[error("no answer within {wait:?}, {queries} times")]
    TimedOut {
        /// How long each query was waited for.
        wait: Duration,
        /// How many queries that were.
        queries: u32,
    },
    /// A server answered that it could not.
    #[error("the server answered {0}")]
    Failed(String),
    /// No server could be asked at all.
    #[error("no server could be asked: {0}")]
    Unreachable(String),
}

impl From<Result<Answer, LookupError>> for Looked {
    fn from(answer: Result<Answer, LookupError>) -> Self {
        Self { answer, preferred: None }
    }
}

/// Asks a host whether it is well.
pub trait Probe: Send + Sync + 'static {
    /// One check of one host. The caller bounds its time.
    fn probe(
        &self,
        cluster: Arc<ClusterPlan>,
        check: Arc<HealthCheckPlan>,
        host: Arc<Host>,
    ) -> BoxFuture<'static, Report>;
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How the host is.
    pub probed: Probed,
    /// The HTTP status it answered with; 0 if with none.
    pub status: u16,
    /// It is not well, and asks to be left out at once (`x-envoy-immediate-health-check-fail`).
    pub asks_out: bool,
    /// Whether it is of the service that is meant, where that is asked for (`service_name_matcher`).
    pub is_service: Option<bool>,
}

/// What a health check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probed {
    /// Well.
    Healthy,
    /// Well, but asks for less traffic (`x-envoy-degraded`).
    Degraded,
    /// It answered that it is not well; thresholds do not soften it for HTTP.
    Unhealthy,
    /// The same with one of `retriable_statuses`: thresholds count.
    Retriable,
    /// It could not be asked.
    NetworkFailure,
    /// It did not answer in time.
    TimedOut,
}

/// Writes down what happens to hosts, where the configuration asks for it.
pub trait Record: Send + Sync + 'static {
    /// Appends an event to the log of this path. A full log loses it.
    fn record(&self, log: &Path, event: &Event<'_>);
}

impl From<Probed> for Report {
    fn from(probed: Probed) -> Self {
        Self { probed, status: 0, asks_out: false, is_service: None }
    }
}

/// Builds a balancer's tables for the hosts of a snapshot, on the control plane's thread.
pub trait Balance: Send + Sync + 'static {
    /// Tables for these hosts, in this order, with the health they have now.
    fn tables(&self, membership: Membership<'_>) -> Payload;
}

/// What a balancer is built of.
#[derive(Clone, Copy)]
pub struct Membership<'a> {
    /// The cluster as it was published last: what is the same as there need not be built again.
    pub before: &'a ClusterSnapshot,
    /// The hosts that it has now.
    pub hosts: &'a [Arc<Host>],
    /// What their assignment says of them as a whole.
    pub policy: AssignmentPolicy,
    /// What people have set.
    pub runtime: &'a Runtime,
}

/// Reads the static configuration.
pub trait Load: Send + Sync + 'static {
    /// What the file asks for now, in place of what runs.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, for a person.
    fn load(&self, running: &Base) -> Result<Base, String>;
}

/// Understands what discovery sends.
pub trait Understand: Send + Sync + 'static {
    /// The response that a document is.
    ///
    /// # Errors
    ///
    /// [`ResponseError`]: it is none.
    fn understand(&self, kind: Kind, document: &Document) -> Result<Response, ResponseError>;
}

/// Makes the data plane of a worker, on its thread.
pub trait MakeServe: Send + Sync + 'static {
    /// Called once on each worker's thread, when it starts. A worker that falls keeps its data plane; one
    /// whose thread is gone is made anew.
    fn make(&self, worker: usize) -> Rc<dyn Serve>;
}

/// Drives connections on a worker's thread.
pub trait Serve {
    /// A listener is about to accept by this plan: what its connections share is made while everything that the plan
    /// names is published, which may be taken away again before the first of them asks.
    fn prepare(&self, listener: &ListenerPlan);

    /// Serves one connection to its end. The future is the connection: dropping it closes.
    fn serve(&self, accepted: Accepted, control: Rc<Control>) -> LocalBoxFuture<'static, ()>;
}

/// Answers one connection to the admin port.
pub trait Face: Send + Sync + 'static {
    /// Serves one connection to its end, on the admin port's own thread.
    fn serve(&self, stream: TcpStream, peer: Address) -> LocalBoxFuture<'static, ()>;
}

/// A connection that a listener has accepted.
pub struct Accepted {
    /// The socket, with `TCP_NODELAY` set where it is one of TCP.
    pub stream: TcpStream,
    /// Who connected.
    pub peer: Address,
    /// Whereto.
    pub local: Address,
    /// The listener it came by.
    pub listener: Arc<ListenerPlan>,
    /// Where it is counted.
    pub entrance: Entrance,
    /// What the listener has found out of it that hands it over; none if it was accepted here.
    pub findings: Option<Findings>,
}

/// What a data plane has found out of a connection. The control plane carries it and never opens it.
pub type Findings = Box<dyn Any + Send>;

/// Where a listener counts what comes by it.
pub struct Entrance(pub(crate) Rc<Place>);

/// How a connection is told to end. Stands beside the task that serves it: reading it costs a load.
#[derive(Debug, Default)]
pub struct Control {
    drain: Cell<Drain>,
    waker: RefCell<Option<Waker>>,
    /// Something lies in the mailbox of the actor beside the connection.
    mail: Cell<bool>,
    standing: Cell<Standing>,
}

/// Whose a connection is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody's yet.
    #[default]
    Waiting,
    /// A filter chain has taken it: it is its listener's.
    Admitted,
    /// Another listener's.
    HandedOver,
}

/// What a connection shall do about its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drain {
    /// Go on.
    #[default]
    Stay,
    /// Say goodbye with the next answer (`connection: close`, GOAWAY), but stay open while idle.
    Discourage,
    /// Close when idle, and with the next answer.
    WhenIdle,
    /// Close now.
    Now,
}

// === impl Entrance ===

impl Entrance {
    /// A filter chain takes the connection: from now on it is one of its listener's connections, and counted.
    ///
    /// Observed: Envoy 1.40 counts none that no chain has taken.
    pub fn admit(&self, control: &Control) {
        if control.standing() == Standing::Waiting {
            control.stands(Standing::Admitted);
            self.0.admitted();
        }
    }

    /// `listener.ADDRESS.`
    pub fn stats(&self) -> &Lane<ListenerStat> {
        self.0.stats()
    }
}

// === impl Control ===

impl Control {
    /// What the connection shall do.
    pub fn drain(&self) -> Drain {
        self.drain.get()
    }

    /// Tells the connection, and wakes it if it sleeps. A later order never softens an earlier one.
    pub fn tell(&self, drain: Drain) {
        if drain > self.drain.get() {
            self.drain.set(drain);
            if let Some(waker) = self.waker.borrow_mut().take() {
                waker.wake();
            }
        }
    }

    /// Whose the connection is.
    pub(crate) fn standing(&self) -> Standing {
        self.standing.get()
    }

    /// Says whose the connection is from now on.
    pub(crate) fn stands(&self, standing: Standing) {
        self.standing.set(standing);
    }

    /// Says whether there is mail from now on, and gives what was so before.
    pub(crate) fn mail(&self, there_is: bool) -> bool {
        self.mail.replace(there_is)
    }

    /// Asks to be woken by the next [`tell`](Self::tell).
    pub fn register(&self, waker: &Waker) {
        let mut slot = self.waker.borrow_mut();
        match slot.as_ref() {
            Some(old) if old.will_wake(waker) => {}
            _ => *slot = Some(waker.clone()),
        }
    }
}
