//! Owns one route table: publishes it, and publishes it anew when it changes.

use std::{rc::Rc, sync::Arc};

use actix::prelude::*;

use crate::{
    plan::{Payload, RoutesPlan},
    published::{Published, Publisher},
    supervise::falls,
};

/// One route table.
pub(crate) struct Routes {
    publisher: Rc<Publisher<Payload>>,
}

/// Another table takes the place of this one.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Reroute(pub(crate) Arc<RoutesPlan>);

/// The table is no longer wanted.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Leave;

// === impl Routes ===

impl Routes {
    /// The publisher for a first table, and its readers' side.
    pub(crate) fn publish(plan: &RoutesPlan) -> (Publisher<Payload>, Published<Payload>) {
        let publisher = Publisher::new(plan.table.clone());
        let published = publisher.subscribe();
        (publisher, published)
    }

    pub(crate) fn new(publisher: Rc<Publisher<Payload>>) -> Self {
        Self { publisher }
    }
}

impl Actor for Routes {
    type Context = Context<Self>;
}

impl Supervised for Routes {
    /// The table that was published is the memory.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.publisher.clone());
    }
}

falls!(Routes);

impl Handler<Reroute> for Routes {
    type Result = ();

    fn handle(&mut self, Reroute(plan): Reroute, _: &mut Context<Self>) {
        self.publisher.publish(Payload::clone(&plan.table));
    }
}

impl Handler<Leave> for Routes {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}
