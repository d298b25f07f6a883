//! Owns the actor beside a client's connection: it has a mailbox and a name, and passes orders on.
//!
//! Both live in one task. The data path never asks the actor, and the actor is only looked after when
//! something lies in its mailbox: to a request it costs one load. A task of its own would cost 300 bytes.

use std::{
    cell::RefCell,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context as TaskContext, Poll},
};

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;

use crate::{
    listener::Place,
    seams::{Control, Drain},
    supervise::{Beside, Fall, words},
};

/// The connections of one listener on one worker, by number.
pub(crate) type Connections = RefCell<HashMap<u32, Line>>;

/// One connection. Unsupervised: a fall closes this one and no other.
pub(crate) struct Connection {
    control: Rc<Control>,
}

/// The way to a connection's mailbox.
pub(crate) struct Line {
    connection: Addr<Connection>,
    control: Rc<Control>,
}

/// An order about its end.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct TellDrain(pub(crate) Drain);

/// The connection and its actor; its drop is the end of both. Two words more, and tokio would need another
/// 128 bytes for it.
struct Task {
    serving: LocalBoxFuture<'static, ()>,
    actor: Beside<Connection>,
    control: Rc<Control>,
    place: Rc<Place>,
    number: u32,
    since_ms: u32,
}

/// Serves a connection with its actor beside it, and lists it until its end.
pub(crate) fn start(
    place: &Rc<Place>,
    number: u32,
    control: Rc<Control>,
    serving: LocalBoxFuture<'static, ()>,
) {
    let actor = Beside::new(Connection { control: control.clone() });
    let line = Line { connection: actor.address(), control: control.clone() };
    line.control.mail(true);
    place.connections.borrow_mut().insert(number, line);
    let since_ms = place.now_ms();
    actix_rt::spawn(Task { serving, actor, control, place: place.clone(), number, since_ms });
}

// === impl Line ===

impl Line {
    /// Puts a message into the mailbox. How often is bounded by whoever drains a listener.
    pub(crate) fn send<M>(&self, message: M)
    where
        M: Message<Result = ()> + Send + 'static,
        Connection: Handler<M>,
    {
        self.control.mail(true);
        self.connection.do_send(message);
    }
}

// === impl Task ===

impl Task {
    /// Ready when the actor or the client has had enough.
    fn poll_both(&mut self, cx: &mut TaskContext<'_>) -> Poll<()> {
        if self.control.mail(false) && Pin::new(&mut self.actor).poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.serving.as_mut().poll(cx)
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        match catch_unwind(AssertUnwindSafe(|| self.poll_both(cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                self.place.fallen(self.number, &words(&*panic));
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let lasted_ms = self.place.now_ms().wrapping_sub(self.since_ms);
        self.place.left(self.control.standing(), lasted_ms);
        self.place.connections.borrow_mut().remove(&self.number);
    }
}

// === impl Connection ===

impl Actor for Connection {
    type Context = Context<Self>;
}

impl Handler<TellDrain> for Connection {
    type Result = ();

    fn handle(&mut self, TellDrain(drain): TellDrain, ctx: &mut Context<Self>) {
        match drain {
            Drain::Now => ctx.stop(),
            drain => self.control.tell(drain),
        }
    }
}

impl Handler<Fall> for Connection {
    type Result = ();

    fn handle(&mut self, _: Fall, _: &mut Context<Self>) {
        panic!("asked to fall");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_and_its_actor_fit_into_what_tokio_allots() {
        assert!(size_of::<Task>() <= 512 - 104, "{}", size_of::<Task>());
    }
}
