//! Owns supervision: an actor that panics is restarted, with its address, its mailbox and the messages
//! queued behind the fatal one. The only file that looks inside actix.
//!
//! actix's own `Supervisor` revives an actor that stops and loses one that panics. Here each poll of the
//! actor's future is guarded; after a panic its public `restart()` drops what was half done, asks the actor
//! to rebuild itself (`Supervised::restarting`) and goes on. A panic costs the message that was being handled.

use std::{
    any::Any,
    cell::RefCell,
    collections::VecDeque,
    future::Future,
    panic::{self, AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Once},
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use actix::{
    dev::{
        ContextFut,
        channel::{AddressReceiver, channel},
    },
    prelude::*,
};
use tokio::time::{Instant, Sleep};

use crate::roster::{Member, Roster};

/// Messages that a mailbox takes before `try_send` refuses and `send` waits.
const MAILBOX_MESSAGES: usize = 64;

/// Falls within [`BUDGET_WINDOW`] after which an actor must wait before it goes on.
const BUDGET_FALLS: usize = 5;

/// How long a fall counts.
const BUDGET_WINDOW: Duration = Duration::from_secs(10);

/// The first wait beyond the budget; each further one is twice as long.
const BACK_OFF_FIRST: Duration = Duration::from_millis(100);

/// The longest wait.
const BACK_OFF_MAX: Duration = Duration::from_secs(10);

/// Lets an actor panic on demand. Sent by `/actors/kill`, where drills are enabled, and by tests.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Fall;

/// An actor fell. Its parent is told; it has been revived, or will be when its pause is over.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ActorDown {
    /// Its name in the roster.
    pub(crate) name: String,
    /// Why it fell.
    pub(crate) why: String,
    /// It fell more often than its budget allows.
    pub(crate) beyond_budget: bool,
}

/// Whom an actor's falls are reported to.
pub(crate) type Reports = Arc<dyn Fn(ActorDown) + Send + Sync>;

/// Implements [`Fall`] for an actor.
macro_rules! falls {
    ($Actor:ty) => {
        impl actix::Handler<$crate::supervise::Fall> for $Actor {
            type Result = ();

            fn handle(&mut self, _: $crate::supervise::Fall, _: &mut Self::Context) {
                panic!("asked to fall");
            }
        }
    };
}
pub(crate) use falls;

/// Who comes on stage.
#[derive(Clone)]
pub(crate) struct Cast {
    /// The company's list.
    pub(crate) roster: Arc<Roster>,
    /// What it is.
    pub(crate) role: &'static str,
    /// Unique name.
    pub(crate) name: String,
    /// Its parent's name.
    pub(crate) parent: String,
    /// Its parent.
    pub(crate) reports: Reports,
}

/// An actor that can be supervised.
pub(crate) trait Performer:
    Supervised + Actor<Context = Context<Self>> + Handler<Fall> + Unpin + 'static
{
}

impl<A> Performer for A where
    A: Supervised + Actor<Context = Context<A>> + Handler<Fall> + Unpin + 'static
{
}

/// Reports to an actor.
pub(crate) fn reports_to(parent: impl Into<Recipient<ActorDown>>) -> Reports {
    let parent = parent.into();
    Arc::new(move |down| parent.do_send(down))
}

/// Starts an actor on another arbiter.
pub(crate) fn supervise_on<A: Performer>(
    arbiter: &ArbiterHandle,
    cast: Cast,
    make: impl FnOnce(&mut Context<A>) -> A + Send + 'static,
) -> Addr<A> {
    let (sender, receiver) = channel(MAILBOX_MESSAGES);
    let address = Addr::new(sender);
    let seat = Seat::take(cast, &address);
    // An arbiter that has ended takes nothing: the address is closed then, and its holder sees it.
    arbiter.spawn_fn(move || run(seat, receiver, make));
    address
}

/// Starts an actor on this thread.
pub(crate) fn supervise<A: Performer>(
    cast: Cast,
    make: impl FnOnce(&mut Context<A>) -> A,
) -> Addr<A> {
    let (sender, receiver) = channel(MAILBOX_MESSAGES);
    let address = Addr::new(sender);
    let seat = Seat::take(cast, &address);
    run(seat, receiver, make);
    address
}

fn run<A: Performer>(
    seat: Seat,
    receiver: AddressReceiver<A>,
    make: impl FnOnce(&mut Context<A>) -> A,
) {
    remember_where_panics_begin();
    let mut context = Context::with_receiver(receiver);
    match catch_unwind(AssertUnwindSafe(|| make(&mut context))) {
        Ok(actor) => {
            let actor = context.into_future(actor);
            let falls = VecDeque::new();
            actix_rt::spawn(Understudy { actor, seat, falls, pause: None, down: false });
        }
        // There is nothing to restart: the address is closed, and its holder sees it.
        Err(panic) => seat.report(words(&*panic), true),
    }
}

/// An actor that is not supervised: it lives in somebody's future, who polls it and catches its fall.
pub(crate) struct Beside<A: Actor<Context = Context<A>>>(ContextFut<A, Context<A>>);

// === impl Beside ===

impl<A: Actor<Context = Context<A>>> Beside<A> {
    pub(crate) fn new(actor: A) -> Self {
        Self(Context::new().into_future(actor))
    }

    pub(crate) fn address(&self) -> Addr<A> {
        self.0.address()
    }
}

impl<A: Actor<Context = Context<A>> + Unpin> Future for Beside<A> {
    type Output = ();

    /// Ready when the actor has stopped.
    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// An actor's place in the roster; leaving is its drop.
struct Seat {
    roster: Arc<Roster>,
    member: Arc<Member>,
    reports: Reports,
}

/// Stands behind an actor and steps in when it falls.
struct Understudy<A: Performer> {
    actor: ContextFut<A, Context<A>>,
    seat: Seat,
    falls: VecDeque<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
    /// It fell and was not rebuilt yet.
    down: bool,
}

// === impl Seat ===

impl Seat {
    fn take<A: Performer>(cast: Cast, address: &Addr<A>) -> Self {
        let Cast { roster, role, name, parent, reports } = cast;
        let member = roster.enter(role, name, parent, address.clone().recipient());
        Self { roster, member, reports }
    }

    fn report(&self, why: String, beyond_budget: bool) {
        let name = self.member.name.clone();
        tracing::error!(target: "main", actor = name, beyond_budget, "fell: {why}");
        self.roster.note(name.clone(), "fell", why.clone());
        self.member.fell(why.clone());
        (self.reports)(ActorDown { name, why, beyond_budget });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.roster.leave(&self.member);
    }
}

// === impl Understudy ===

impl<A: Performer> Future for Understudy<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if let Some(pause) = &mut this.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                this.pause = None;
                this.seat.member.state.lock().paused = false;
            }
            if this.down {
                let actor = &mut this.actor;
                match catch_unwind(AssertUnwindSafe(|| actor.restart())) {
                    Ok(true) => {
                        this.down = false;
                        this.seat.roster.note(this.seat.member.name.clone(), "restarted", "");
                    }
                    // Nobody holds its address any more.
                    Ok(false) => return Poll::Ready(()),
                    Err(panic) => {
                        this.fell(format!("while restarting: {}", words(&*panic)));
                        continue;
                    }
                }
            }
            let actor = &mut this.actor;
            match catch_unwind(AssertUnwindSafe(|| Pin::new(actor).poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                // An actor ends by its own will only: then it is over.
                Ok(Poll::Ready(())) => return Poll::Ready(()),
                Err(panic) => this.fell(words(&*panic)),
            }
        }
    }
}

impl<A: Performer> Understudy<A> {
    /// Notes a fall, and beyond the budget lays in a pause.
    fn fell(&mut self, why: String) {
        let (now, member) = (Instant::now(), &self.seat.member);
        self.down = true;
        self.falls.push_back(now);
        while self.falls.front().is_some_and(|fall| now - *fall > BUDGET_WINDOW) {
            self.falls.pop_front();
        }
        let beyond = self.falls.len().checked_sub(BUDGET_FALLS + 1);
        self.seat.report(why, beyond.is_some());
        if let Some(beyond) = beyond {
            let doublings = u32::try_from(beyond).unwrap_or(u32::MAX).min(16);
            let wait = BACK_OFF_FIRST.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
            self.seat.roster.note(member.name.clone(), "paused", format!("for {wait:?}"));
            member.state.lock().paused = true;
            self.pause = Some(Box::pin(tokio::time::sleep(wait)));
        }
    }
}

thread_local! {
    static PANICKED_AT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The payload of a panic does not say where it began; the hook is told, and keeps it for [`words`].
fn remember_where_panics_begin() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            PANICKED_AT.with_borrow_mut(|kept| *kept = place);
            before(info);
        }));
    });
}

/// The text of a panic that was caught on this thread, and where it began.
pub(crate) fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    let text = text.unwrap_or_else(|| "a panic without words".to_owned());
    match PANICKED_AT.take() {
        Some(place) => format!("{text} ({place})"),
        None => text,
    }
}

#[cfg(test)]
mod tests;
