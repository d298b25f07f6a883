//! Owns a worker: one thread, its data plane, and a listener for every listener of the plan.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;

use crate::{
    listener::{Close, Discourage, DropConnection, Listener, Place, Replan},
    places::Places,
    plan::ListenerPlan,
    seams::{Drain, Serve},
    shares::Shares,
    socket::Listening,
    stage::Stage,
    supervise::{ActorDown, falls, reports_to, supervise},
};

/// What a worker keeps through a fall: its data plane, its listeners and their connections never fell.
pub(crate) struct WorkerSeed {
    stage: Stage,
    index: usize,
    serve: Rc<dyn Serve>,
    children: RefCell<HashMap<String, Child>>,
    /// Its listeners by their addresses.
    places: Rc<Places>,
    /// Listeners that have closed, until their last connection has ended.
    leaving: RefCell<Vec<Rc<Place>>>,
}

struct Child {
    plan: Arc<ListenerPlan>,
    sockets: Arc<[Listening]>,
    listener: Addr<Listener>,
    place: Rc<Place>,
}

/// One worker.
pub(crate) struct Worker {
    seed: Rc<WorkerSeed>,
}

/// Accept on these sockets as this plan says. Said again, it changes nothing.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct Listen {
    pub(crate) plan: Arc<ListenerPlan>,
    pub(crate) sockets: Arc<[Listening]>,
    /// How its connections are shared out.
    pub(crate) shares: Arc<Shares>,
}

/// Close the listener of this name; `None` closes all.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Unlisten {
    pub(crate) name: Option<String>,
    /// What its connections shall do; those that are discouraged end when the drain time is over.
    pub(crate) drain: Drain,
}

/// Discourage the connections of this listener, more and more of them until this time is over.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct DiscourageThose {
    pub(crate) listener: String,
    pub(crate) over: Duration,
}

/// Tell the connections of listeners that have closed.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TellLeaving(pub(crate) Drain);

/// Are you there? The watchdog asks each second.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Ping;

/// Let a connection of this listener fall.
#[derive(Clone, Debug, Message)]
#[rtype(result = "bool")]
pub(crate) struct DropConnectionOf {
    pub(crate) listener: String,
    pub(crate) number: Option<u32>,
}

// === impl WorkerSeed ===

impl WorkerSeed {
    /// A worker's seed, made on its own thread.
    pub(crate) fn new(stage: Stage, index: usize) -> Self {
        let serve = stage.seams.serve.make(index);
        let (children, leaving) = (RefCell::default(), RefCell::default());
        Self { stage, index, serve, children, places: Rc::default(), leaving }
    }

    fn name(&self) -> String {
        format!("worker/{}", self.index)
    }

    fn begin(&self, Listen { plan, sockets, shares }: Listen, worker: Addr<Worker>) {
        let (serve, name) = (self.serve.clone(), plan.name.clone());
        serve.prepare(&plan);
        let (view, places) = (&self.stage.view, self.places.clone());
        let place = Rc::new(Place::new(self.index, plan.clone(), shares, serve, view, places));
        self.places.enter(&place, &plan, &sockets);
        let reports = reports_to(worker.recipient());
        let cast = self.stage.cast("Listener", place.name.clone(), &self.name(), reports);
        let listener = supervise(cast, |_| Listener::new(place.clone(), sockets.clone()));
        self.children.borrow_mut().insert(name, Child { plan, sockets, listener, place });
    }

    fn end(&self, name: &str, drain: Drain) {
        let Some(child) = self.children.borrow_mut().remove(name) else { return };
        self.places.leave(&child.place);
        child.listener.do_send(Close(drain));
        if drain == Drain::Discourage {
            let (place, drain_time) = (Rc::downgrade(&child.place), self.stage.options.drain_time);
            actix_rt::spawn(async move {
                tokio::time::sleep(drain_time).await;
                if let Some(place) = place.upgrade() {
                    place.tell(Drain::WhenIdle);
                }
            });
        }
        let mut leaving = self.leaving.borrow_mut();
        leaving.retain(in_use);
        leaving.push(child.place);
    }
}

/// Whether the listener is still closing, or connections are left.
fn in_use(place: &Rc<Place>) -> bool {
    Rc::strong_count(place) > 1
}

// === impl Worker ===

impl Worker {
    pub(crate) fn new(seed: Rc<WorkerSeed>) -> Self {
        Self { seed }
    }
}

impl Actor for Worker {
    type Context = Context<Self>;
}

impl Supervised for Worker {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Worker);

impl Handler<ActorDown> for Worker {
    type Result = ();

    /// A listener is revived with its socket; one that cannot stay up leaves its share of connections in
    /// the backlog until it can.
    fn handle(&mut self, ActorDown { name, why, beyond_budget }: ActorDown, _: &mut Context<Self>) {
        if beyond_budget {
            tracing::error!(target: "conn_handler", "{name} falls again and again, and pauses: {why}");
        }
    }
}

impl Handler<Listen> for Worker {
    type Result = ();

    fn handle(&mut self, listen: Listen, ctx: &mut Context<Self>) {
        let name = listen.plan.name.clone();
        let mut children = self.seed.children.borrow_mut();
        match children.get_mut(&name) {
            Some(child) if Arc::ptr_eq(&child.sockets, &listen.sockets) => {
                if !Arc::ptr_eq(&child.plan, &listen.plan) {
                    self.seed.serve.prepare(&listen.plan);
                    child.plan = listen.plan.clone();
                    child.listener.do_send(Replan(listen.plan));
                }
            }
            Some(_) => {
                drop(children);
                self.seed.end(&name, Drain::Discourage);
                self.seed.begin(listen, ctx.address());
            }
            None => {
                drop(children);
                self.seed.begin(listen, ctx.address());
            }
        }
    }
}

impl Handler<Unlisten> for Worker {
    type Result = ();

    fn handle(&mut self, Unlisten { name, drain }: Unlisten, _: &mut Context<Self>) {
        let names = match name {
            Some(name) => vec![name],
            None => self.seed.children.borrow().keys().cloned().collect(),
        };
        names.iter().for_each(|name| self.seed.end(name, drain));
    }
}

impl Handler<TellLeaving> for Worker {
    type Result = ();

    fn handle(&mut self, TellLeaving(drain): TellLeaving, _: &mut Context<Self>) {
        self.seed.leaving.borrow_mut().retain(in_use);
        self.seed.leaving.borrow().iter().for_each(|place| place.tell(drain));
    }
}

impl Handler<DiscourageThose> for Worker {
    type Result = ();

    fn handle(&mut self, order: DiscourageThose, _: &mut Context<Self>) {
        if let Some(child) = self.seed.children.borrow().get(&order.listener) {
            child.listener.do_send(Discourage(order.over));
        }
    }
}

impl Handler<Ping> for Worker {
    type Result = ();

    /// A moment to let go of listeners whose last connection has ended, and of all that was made for them.
    fn handle(&mut self, _: Ping, _: &mut Context<Self>) {
        self.seed.leaving.borrow_mut().retain(in_use);
    }
}

impl Handler<DropConnectionOf> for Worker {
    type Result = ResponseFuture<bool>;

    fn handle(&mut self, order: DropConnectionOf, _: &mut Context<Self>) -> Self::Result {
        let children = self.seed.children.borrow();
        let listener = children.get(&order.listener).map(|child| child.listener.clone());
        Box::pin(async move {
            match listener {
                Some(listener) => {
                    listener.send(DropConnection(order.number)).await.unwrap_or(false)
                }
                None => false,
            }
        })
    }
}
