//! Owns a listener on one worker: its socket, and the connections it has accepted.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::prelude::*;
use tokio::{net::TcpStream, time::Instant};

use crate::{
    address::Address,
    connection::{self, Connections, TellDrain},
    limits::ConnectionLimits,
    places::Places,
    plan::ListenerPlan,
    published::Cached,
    roster::Roster,
    runtime::Runtime,
    seams::{Accepted, Control, Drain, Entrance, Findings, Serve, Standing},
    shares::{HandOver, Shares},
    socket::{Accepting, Listening},
    stats::{Group, Lane, ListenerDiscoveryStat, ListenerStat, ListenerWorkerStat, Scope},
    supervise::{Fall, falls, words},
    view::View,
};

/// Connections that are accepted before other work of the thread gets its turn.
const BATCH: u64 = 32;

/// Connections that are taken out of the backlog when a listener closes.
const LAST_BATCH: usize = 4096;

/// How long accepting rests when it fails, mostly for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// Steps in which connections are discouraged over the drain time.
const DRAIN_STEPS: u32 = 100;

/// The shortest such step.
const DRAIN_STEP_MIN: Duration = Duration::from_millis(10);

/// What a listener's connections share on one worker. Outlives the actor and its socket.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) worker: usize,
    pub(crate) connections: Connections,
    plan: RefCell<Arc<ListenerPlan>>,
    serve: Rc<dyn Serve>,
    roster: Arc<Roster>,
    stats: Arc<Group<ListenerStat>>,
    /// Held so that its names are listed; nothing of it happens yet.
    _discovery: Arc<Group<ListenerDiscoveryStat>>,
    worker_stats: Arc<Group<ListenerWorkerStat>>,
    /// Connections of this listener on each worker; all of them count against `connections_max`.
    shares: Arc<Shares>,
    limits: RefCell<Limits>,
    accepted: Cell<u32>,
    since: std::time::Instant,
    drain: RefCell<Option<DrainSequence>>,
    /// The listeners of the same worker, by their addresses.
    pub(crate) neighbours: Rc<Places>,
}

/// What comes with a socket.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) peer: Address,
    /// Where every connection of its socket ends up, if that is one place.
    pub(crate) local: Option<Address>,
    /// What another listener has found out of it, which hands it over.
    pub(crate) findings: Option<Findings>,
}

/// Connections are discouraged one after the other, so that they do not come back all at once.
#[derive(Clone, Copy, Debug)]
struct DrainSequence {
    end: Instant,
    step: Duration,
    /// After the end: connections up to this number have been told.
    told_up_to: u32,
}

/// What the runtime sets of connections, worked out again when the runtime is another.
struct Limits {
    runtime: Cached<Runtime>,
    heeded: Arc<Runtime>,
    set: ConnectionLimits,
}

/// Accepts connections on one worker.
pub(crate) struct Listener {
    place: Rc<Place>,
    /// The sockets and their backlogs outlive a fall.
    sockets: Arc<[Listening]>,
}

/// The same address with other filter chains: connections that are open keep theirs, and are told to
/// end with their next answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Replan(pub(crate) Arc<ListenerPlan>);

/// Stops accepting, and tells the connections how to end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Close(pub(crate) Drain);

/// The last of a listener that closes. Sent to itself.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
struct End(Drain);

/// Says goodbye with each answer, to more and more connections until this time is over; accepting goes on.
///
/// Source: `--drain-strategy gradual`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Discourage(pub(crate) Duration);

/// Lets one connection fall; any one, if the number is not given.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct DropConnection(pub(crate) Option<u32>);

// === impl Place ===

impl Place {
    pub(crate) fn new(
        worker: usize,
        plan: Arc<ListenerPlan>,
        shares: Arc<Shares>,
        serve: Rc<dyn Serve>,
        view: &View,
        neighbours: Rc<Places>,
    ) -> Self {
        let (registry, runtime) = (&view.registry, view.runtime.read());
        let limits = Limits {
            runtime: view.runtime.cached(),
            set: ConnectionLimits::of(&plan.name, &runtime),
            heeded: runtime,
        };
        Self {
            name: format!("worker/{worker}/listener/{}", plan.name),
            worker,
            connections: Connections::default(),
            stats: registry.group(Scope::listener(&plan.stat_prefix)),
            _discovery: registry.group(Scope::listener(&plan.stat_prefix)),
            worker_stats: registry.group(Scope::listener_worker(&plan.stat_prefix, worker)),
            plan: RefCell::new(plan),
            serve,
            roster: view.roster.clone(),
            shares,
            limits: RefCell::new(limits),
            accepted: Cell::default(),
            since: std::time::Instant::now(),
            drain: RefCell::default(),
            neighbours,
        }
    }

    /// Milliseconds since we began. Wraps after 49 days: lengths up to that are right.
    pub(crate) fn now_ms(&self) -> u32 {
        self.since.elapsed().as_millis() as u32
    }

    /// A number that no open connection has.
    fn next_number(&self) -> u32 {
        loop {
            let number = self.accepted.get().wrapping_add(1);
            self.accepted.set(number);
            if !self.connections.borrow().contains_key(&number) {
                return number;
            }
        }
    }

    /// `listener.ADDRESS.`
    pub(crate) fn stats(&self) -> &Lane<ListenerStat> {
        self.stats.lane(self.worker)
    }

    /// A connection that is counted among the worker's share is served: it counts against the limits.
    pub(crate) fn entered(&self) {
        self.roster.connections.fetch_add(1, Relaxed);
    }

    /// Counts a connection that a filter chain has taken.
    pub(crate) fn admitted(&self) {
        let (lane, own) = (self.stats(), self.worker_stats.lane(self.worker));
        lane.inc(ListenerStat::DownstreamCxTotal);
        lane.inc(ListenerStat::DownstreamCxActive);
        own.inc(ListenerWorkerStat::DownstreamCxTotal);
        own.inc(ListenerWorkerStat::DownstreamCxActive);
    }

    /// A connection is no longer one of this listener's, who has never had it.
    pub(crate) fn hand_over(&self, control: &Control) {
        self.left(Standing::Waiting, 0);
        control.stands(Standing::HandedOver);
    }

    /// A connection has ended after so many milliseconds.
    pub(crate) fn left(&self, standing: Standing, after_ms: u32) {
        if standing == Standing::HandedOver {
            return;
        }
        self.shares.leave(self.worker);
        self.roster.connections.fetch_sub(1, Relaxed);
        if standing == Standing::Waiting {
            return;
        }
        let (lane, own) = (self.stats(), self.worker_stats.lane(self.worker));
        lane.dec(ListenerStat::DownstreamCxActive);
        lane.inc(ListenerStat::DownstreamCxDestroy);
        lane.record(ListenerStat::DownstreamCxLengthMs, u64::from(after_ms));
        own.dec(ListenerWorkerStat::DownstreamCxActive);
    }

    /// Notes the fall of a connection, which is its end.
    pub(crate) fn fallen(&self, number: u32, why: &str) {
        let name = format!("{}/connection/{number}", self.name);
        tracing::error!(target: "conn_handler", "{name} fell and is closed: {why}");
        self.roster.note(name, "fell", why);
    }

    /// Tells every connection.
    pub(crate) fn tell(&self, drain: Drain) {
        self.connections.borrow().values().for_each(|line| line.send(TellDrain(drain)));
    }

    /// Whether there are too many connections for another one, and how that is counted.
    ///
    /// Observed: Envoy 1.40 looks at all connections first, then at the listener's own.
    fn overflows(&self, plan: &ListenerPlan) -> Option<ListenerStat> {
        let limits = self.limits.borrow_mut().in_force(&plan.name);
        let most = limits.listener.unwrap_or(plan.connections_max.into());
        let global = limits.global.filter(|_| !plan.ignores_global_limit);
        if global.is_some_and(|all| self.roster.connections.load(Relaxed) >= all) {
            return Some(ListenerStat::DownstreamGlobalCxOverflow);
        }
        // Its own is among them already.
        let full = u64::from(self.shares.open()) > most;
        full.then_some(ListenerStat::DownstreamCxOverflow)
    }

    /// Takes a connection in that is counted among the worker's share, unless there are too many; says whether it is
    /// served.
    fn take(self: &Rc<Self>, stream: TcpStream, incoming: Incoming) -> io::Result<bool> {
        let Incoming { peer, local, findings } = incoming;
        let plan = self.plan.borrow().clone();
        // What is handed over was let in already.
        if findings.is_none() {
            if let Some(overflow) = self.overflows(&plan) {
                self.stats.lane(self.worker).inc(overflow);
                return Ok(false);
            }
            if let Address::Ip(_) = peer {
                stream.set_nodelay(true)?;
            }
        }
        let local = local.map_or_else(|| stream.local_addr().map(Address::Ip), Ok)?;
        let (peer, local) = (peer.canonical(), local.canonical());
        let number = self.next_number();
        let control = Rc::new(Control::default());
        // Where no listener filter holds it back, it has been and gone.
        self.stats().inc(ListenerStat::DownstreamPreCxActive);
        self.stats().dec(ListenerStat::DownstreamPreCxActive);
        self.entered();
        let entrance = Entrance(self.clone());
        let accepted = Accepted { stream, peer, local, listener: plan, entrance, findings };
        if self.drain.borrow().is_some_and(|sequence| sequence.end <= Instant::now()) {
            control.tell(Drain::Discourage);
        }
        let serving = AssertUnwindSafe(|| self.serve.serve(accepted, control.clone()));
        match catch_unwind(serving) {
            Ok(serving) => connection::start(self, number, control, serving),
            Err(panic) => {
                self.left(control.standing(), 0);
                self.fallen(number, &words(&*panic));
            }
        }
        Ok(true)
    }

    fn take_or_lose(self: &Rc<Self>, stream: TcpStream, incoming: Incoming) {
        let peer = incoming.peer;
        let taken = self.take(stream, incoming);
        if !matches!(taken, Ok(true)) {
            self.shares.leave(self.worker);
        }
        if let Err(error) = taken {
            tracing::debug!(target: "conn_handler", "{}: {peer} was lost at once: {error}", self.name);
        }
    }

    /// Takes a connection that has come by this worker, or gives it to the one that has the fewest.
    pub(crate) fn share_out(self: &Rc<Self>, stream: TcpStream, incoming: Incoming) {
        let own = self.worker;
        let whose = match self.plan.borrow().exact_balance {
            true => self.shares.enter_fewest(own),
            false => {
                self.shares.enter(own);
                own
            }
        };
        if whose == own {
            return self.take_or_lose(stream, incoming);
        }
        let Ok(stream) = stream.into_std() else { return self.shares.leave(whose) };
        if let Err(kept) = self.shares.hand_over(whose, HandOver { stream, incoming }) {
            self.shares.leave(whose);
            self.shares.enter(own);
            self.take_over(kept);
        }
    }

    /// Takes a connection that came in the form of no runtime.
    fn take_over(self: &Rc<Self>, HandOver { stream, incoming }: HandOver) {
        match TcpStream::from_std(stream) {
            Ok(stream) => self.take_or_lose(stream, incoming),
            Err(_) => self.shares.leave(self.worker),
        }
    }

    /// Accepts what has come, up to a batch; ready only with an error.
    fn poll_accept(
        self: &Rc<Self>,
        socket: &Accepting,
        local: Option<Address>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<io::Error> {
        let accepts_max = self.plan.borrow().accepts_max.map_or(BATCH, |max| BATCH.min(max.into()));
        let mut count = 0;
        let done = loop {
            if count == accepts_max {
                cx.waker().wake_by_ref();
                break Poll::Pending;
            }
            match socket.poll_accept(cx) {
                Poll::Ready(Ok((stream, peer))) => {
                    count += 1;
                    self.share_out(stream, Incoming { peer, local, findings: None });
                }
                Poll::Ready(Err(error)) if is_clients_fault(&error) => {}
                Poll::Ready(Err(error)) => break Poll::Ready(error),
                Poll::Pending => break Poll::Pending,
            }
        };
        if count > 0 {
            let lane = self.stats.lane(self.worker);
            lane.record(ListenerStat::ConnectionsAcceptedPerSocketEvent, count);
        }
        done
    }

    /// Discourages connections step by step, for as long as there are any; neither the listener's fall nor its end ends it.
    fn drain_each_step(self: &Rc<Self>) {
        let place = Rc::downgrade(self);
        actix_rt::spawn(async move {
            loop {
                let step = place.upgrade().and_then(|place| Some((*place.drain.borrow())?.step));
                let Some(step) = step else { return };
                tokio::time::sleep(step).await;
                if let Some(place) = place.upgrade() {
                    place.drain_step();
                }
            }
        });
    }

    /// One step of a drain sequence: each connection is drawn by such odds that over the whole time as many
    /// are drawn in each step. Those that come after the end are told at once.
    fn drain_step(&self) {
        let Some(DrainSequence { end, step, told_up_to }) = *self.drain.borrow() else { return };
        let left = end.saturating_duration_since(Instant::now());
        let odds = step.as_secs_f64() / (left + step).as_secs_f64();
        for (number, line) in &*self.connections.borrow() {
            let drawn = match left.is_zero() {
                true => *number > told_up_to,
                false => fastrand::f64() < odds,
            };
            if drawn {
                line.send(TellDrain(Drain::Discourage));
            }
        }
        if let Some(sequence) = self.drain.borrow_mut().as_mut().filter(|_| left.is_zero()) {
            sequence.told_up_to = self.accepted.get();
        }
    }
}

// === impl Limits ===

impl Limits {
    fn in_force(&mut self, listener: &str) -> ConnectionLimits {
        let runtime = self.runtime.load();
        if !Arc::ptr_eq(runtime, &self.heeded) {
            self.set = ConnectionLimits::of(listener, runtime);
            self.heeded = runtime.clone();
        }
        self.set
    }
}

/// Whether the connection that was to be accepted is gone already.
fn is_clients_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

// === impl Listener ===

impl Listener {
    pub(crate) fn new(place: Rc<Place>, sockets: Arc<[Listening]>) -> Self {
        Self { place, sockets }
    }

    /// Accepts for ever; a part of the actor, so that it ends and falls with it.
    async fn accept(place: Rc<Place>, sockets: Arc<[Listening]>, at: usize) {
        let Some(socket) = sockets.get(at) else { return };
        let local = socket.everybodys();
        loop {
            let error = match socket.watched() {
                Ok(socket) => loop {
                    let error = poll_fn(|cx| place.poll_accept(&socket, local, cx)).await;
                    tracing::error!(target: "conn_handler", "{} cannot accept: {error}", place.name);
                    tokio::time::sleep(REST).await;
                },
                Err(error) => error,
            };
            tracing::error!(target: "conn_handler", "{} cannot listen: {error}", place.name);
            tokio::time::sleep(REST).await;
        }
    }

    /// Takes what the kernel has accepted for us: closing the sockets would reset it.
    fn empty_backlogs(&self) {
        for socket in &*self.sockets {
            let local = socket.everybodys();
            for _ in 0..LAST_BATCH {
                let Ok((stream, peer)) = socket.accept() else { break };
                self.place.shares.enter(self.place.worker);
                self.place.take_or_lose(stream, Incoming { peer, local, findings: None });
            }
        }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.place.shares.taken_by(self.place.worker, ctx.address().recipient());
        for at in 0..self.sockets.len() {
            let accepting = Listener::accept(self.place.clone(), self.sockets.clone(), at);
            ctx.spawn(accepting.into_actor(self));
        }
    }
}

impl Supervised for Listener {
    /// The socket has its backlog, and the connections never fell.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Listener::new(self.place.clone(), self.sockets.clone());
    }
}

falls!(Listener);

impl Handler<HandOver> for Listener {
    type Result = ();

    fn handle(&mut self, connection: HandOver, _: &mut Context<Self>) {
        self.place.take_over(connection);
    }
}

impl Handler<Replan> for Listener {
    type Result = ();

    fn handle(&mut self, Replan(plan): Replan, _: &mut Context<Self>) {
        let before = self.place.plan.replace(plan.clone());
        if !Arc::ptr_eq(&before.chains, &plan.chains) {
            self.place.tell(Drain::Discourage);
        }
    }
}

impl Handler<Close> for Listener {
    type Result = ();

    /// What other workers have handed over before is in the mailbox, and is taken first.
    fn handle(&mut self, Close(drain): Close, ctx: &mut Context<Self>) {
        self.place.shares.taken_by_nobody(self.place.worker);
        ctx.address().do_send(End(drain));
    }
}

impl Handler<End> for Listener {
    type Result = ();

    fn handle(&mut self, End(drain): End, ctx: &mut Context<Self>) {
        // Those that are taken now have had no chance to ask; they are told when it comes to waiting.
        self.place.tell(drain);
        self.empty_backlogs();
        ctx.stop();
    }
}

impl Handler<Discourage> for Listener {
    type Result = ();

    fn handle(&mut self, Discourage(over): Discourage, _: &mut Context<Self>) {
        let before = self.place.drain.replace(Some(DrainSequence {
            end: Instant::now() + over,
            step: (over / DRAIN_STEPS).max(DRAIN_STEP_MIN),
            told_up_to: 0,
        }));
        match before {
            // The steps that are under way read the new sequence.
            Some(_) => {}
            None => self.place.drain_each_step(),
        }
        // Nobody is drawn before the first step is over, unless there is no time at all.
        if over.is_zero() {
            self.place.drain_step();
        }
    }
}

impl Handler<DropConnection> for Listener {
    type Result = bool;

    fn handle(&mut self, DropConnection(number): DropConnection, _: &mut Context<Self>) -> bool {
        let connections = self.place.connections.borrow();
        let found = match number {
            Some(number) => connections.get(&number),
            None => connections.values().next(),
        };
        found.map(|line| line.send(Fall)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use tokio::net::TcpStream as Client;

    use super::*;
    use crate::fakes::{World, listener, raise, say};

    #[actix::test]
    async fn what_is_handed_over_while_it_closes_is_served() {
        let raised = raise(World::default());
        let serve = World::default().seams().serve.make(0);
        let shares = Shares::of(1);
        let (plan, places) = (listener("a"), Rc::default());
        let place = Place::new(0, plan, shares.clone(), serve, &raised.view, places);
        let closing = Listener::new(Rc::new(place), Arc::new([])).start();
        tokio::task::yield_now().await;
        let door = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(door.local_addr().unwrap()).unwrap();
        let (stream, peer) = door.accept().unwrap();
        stream.set_nonblocking(true).unwrap();
        closing.do_send(Close(Drain::Stay));
        shares.enter(0);
        let incoming = Incoming { peer: peer.into(), local: None, findings: None };
        shares.hand_over(0, HandOver { stream, incoming }).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut client = Client::from_std(client).unwrap();
        assert_eq!(say(&mut client, "x").await, "a");
    }
}
