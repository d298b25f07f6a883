//! Owns the admin port: its socket, and the clients it has accepted.

use std::{
    cell::Cell,
    future::poll_fn,
    panic::AssertUnwindSafe,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;
use futures_util::FutureExt;
use tokio::net::TcpStream;

use crate::{
    address::Address,
    roster::Roster,
    seams::Face,
    socket::Listening,
    stats::{Group, ListenerStat, ListenerWorkerStat, Registry, Scope},
    supervise::{falls, words},
};

/// Clients at a time; one more is closed at once.
const CLIENTS_MAX: usize = 1024;

/// How long accepting rests when it fails, mostly for want of descriptors.
const REST: Duration = Duration::from_millis(100);

/// What the admin port keeps through a fall. Clients that were accepted are served on.
pub(crate) struct AdminSeed {
    /// Kept until the port closes; its backlog outlives the actor.
    socket: Cell<Option<Rc<Listening>>>,
    face: Arc<dyn Face>,
    roster: Arc<Roster>,
    stats: Arc<Group<ListenerStat>>,
    thread_stats: Arc<Group<ListenerWorkerStat>>,
    clients: Cell<usize>,
}

/// The admin port.
pub(crate) struct Admin {
    seed: Rc<AdminSeed>,
}

/// Close the port.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct CloseAdmin;

// === impl AdminSeed ===

impl AdminSeed {
    pub(crate) fn new(
        socket: Listening,
        face: Arc<dyn Face>,
        roster: Arc<Roster>,
        registry: &Registry,
    ) -> Self {
        Self {
            socket: Cell::new(Some(Rc::new(socket))),
            face,
            roster,
            stats: registry.group(Scope::plain("listener.admin.")),
            thread_stats: registry.group(Scope::plain("listener.admin.main_thread.")),
            clients: Cell::default(),
        }
    }

    fn socket(&self) -> Option<Rc<Listening>> {
        let socket = self.socket.take();
        self.socket.set(socket.clone());
        socket
    }

    fn take(self: Rc<Self>, stream: TcpStream, peer: Address) {
        if self.clients.get() >= CLIENTS_MAX {
            self.stats.add(ListenerStat::DownstreamCxOverflow, 1);
            return;
        }
        let client = Client::count(self);
        actix_rt::spawn(async move {
            let serving = async { client.seed.face.serve(stream, peer).await };
            if let Err(panic) = AssertUnwindSafe(serving).catch_unwind().await {
                let why = words(&*panic);
                tracing::error!(target: "admin", "the client {peer} is cut off: {why}");
                client.seed.roster.note(format!("admin/client/{peer}"), "fell", why);
            }
        });
    }
}

// === impl Admin ===

impl Admin {
    pub(crate) fn new(seed: Rc<AdminSeed>) -> Self {
        Self { seed }
    }

    async fn accept(seed: Rc<AdminSeed>, socket: Rc<Listening>) {
        loop {
            let error = match socket.watched() {
                Ok(socket) => loop {
                    match poll_fn(|cx| socket.poll_accept(cx)).await {
                        Ok((stream, peer)) => {
                            seed.stats.record(ListenerStat::ConnectionsAcceptedPerSocketEvent, 1);
                            seed.clone().take(stream, peer);
                        }
                        Err(error) => {
                            tracing::error!(target: "admin", "cannot accept: {error}");
                            tokio::time::sleep(REST).await;
                        }
                    }
                },
                Err(error) => error,
            };
            tracing::error!(target: "admin", "cannot listen: {error}");
            tokio::time::sleep(REST).await;
        }
    }
}

impl Actor for Admin {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        if let Some(socket) = self.seed.socket() {
            ctx.spawn(Admin::accept(self.seed.clone(), socket).into_actor(self));
        }
    }
}

impl Supervised for Admin {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Admin);

impl Handler<CloseAdmin> for Admin {
    type Result = ();

    fn handle(&mut self, _: CloseAdmin, ctx: &mut Context<Self>) {
        // Clients hold on to the seed; the socket must not stay open for them.
        self.seed.socket.set(None);
        ctx.stop();
    }
}

/// Counts a client of the admin port while it is there.
struct Client {
    seed: Rc<AdminSeed>,
    since: Instant,
}

// === impl Client ===

impl Client {
    fn count(seed: Rc<AdminSeed>) -> Self {
        seed.clients.set(seed.clients.get() + 1);
        seed.stats.add(ListenerStat::DownstreamCxTotal, 1);
        seed.stats.shift(ListenerStat::DownstreamCxActive, 1);
        seed.stats.set(ListenerStat::DownstreamPreCxActive, 0);
        seed.thread_stats.add(ListenerWorkerStat::DownstreamCxTotal, 1);
        seed.thread_stats.shift(ListenerWorkerStat::DownstreamCxActive, 1);
        Self { seed, since: Instant::now() }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let seed = &self.seed;
        seed.clients.set(seed.clients.get().saturating_sub(1));
        seed.stats.add(ListenerStat::DownstreamCxDestroy, 1);
        seed.stats.shift(ListenerStat::DownstreamCxActive, -1);
        seed.thread_stats.shift(ListenerWorkerStat::DownstreamCxActive, -1);
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        seed.stats.record(ListenerStat::DownstreamCxLengthMs, ms);
    }
}
