//! Owns what is configured: the static file, what discovery brings, and the one plan that is made of both.
//!
//! A change is made on a copy of what is published. What the supervisor refuses leaves everything as it was.

mod files;
mod settle;
mod store;
mod tally;
#[cfg(test)]
mod tests;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::SystemTime};

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;

use self::{
    files::{Files, FilesSeed, Noticed, Observe},
    settle::{Ledger, Look, Settled},
};
use crate::{
    command::{Applied, Refusal, Reload},
    company::ApplyError,
    configured::{Base, Configured, Reloaded},
    published::Publisher,
    stage::Stage,
    supervise::{ActorDown, falls, reports_to, supervise},
    supervisor::{Apply, Begun, InForce, Preview, Supervisor},
};

/// What the configuration keeps through a fall.
pub(crate) struct ConfigurationSeed {
    stage: Stage,
    publisher: Publisher<Configured>,
    supervisor: RefCell<Option<Addr<Supervisor>>>,
    ledger: Ledger,
    files: RefCell<Option<Addr<Files>>>,
}

/// The configuration.
pub(crate) struct Configuration {
    seed: Rc<ConfigurationSeed>,
}

/// Put this static configuration in force.
#[derive(Message)]
#[rtype(result = "Result<InForce, ApplyError>")]
pub(crate) struct Install(pub(crate) Arc<Base>);

/// Read the static configuration again, and put it in force or say what that would change.
#[derive(Message)]
#[rtype(result = "Result<Told, Refusal>")]
pub(crate) struct Reread {
    pub(crate) who: String,
    pub(crate) how: Reload,
}

/// What there is to tell of a reload, and when it is so.
pub(crate) struct Told {
    text: String,
    in_force: Option<InForce>,
}

// === impl ConfigurationSeed ===

impl ConfigurationSeed {
    pub(crate) fn new(stage: Stage, publisher: Publisher<Configured>) -> Self {
        let (supervisor, files) = (RefCell::default(), RefCell::default());
        Self { stage, publisher, supervisor, ledger: Ledger::default(), files }
    }

    /// Who applies plans.
    pub(crate) fn serve(&self, supervisor: Addr<Supervisor>) {
        self.supervisor.replace(Some(supervisor));
    }

    /// Asks the supervisor.
    fn ask<M, T>(&self, question: M) -> LocalBoxFuture<'static, Result<T, ApplyError>>
    where
        M: Message<Result = Result<T, ApplyError>> + Send + 'static,
        T: Send + 'static,
        Supervisor: Handler<M>,
    {
        let supervisor = self.supervisor.borrow().clone();
        Box::pin(async move {
            let unavailable = |why: String| ApplyError::Unavailable(why);
            let supervisor = supervisor.ok_or_else(|| unavailable("it is not there yet".into()))?;
            let answer = supervisor.send(question).await;
            answer.map_err(|error| unavailable(error.to_string()))?
        })
    }

    /// What is published, with the file as it is now.
    fn reread(&self) -> Result<Configured, Refusal> {
        let running = self.publisher.read();
        let base = running.base.as_ref();
        let base = base.ok_or_else(|| Refusal::Unavailable("nothing runs yet".into()))?;
        let base = self.stage.seams.load.load(base).map_err(Refusal::Configuration)?;
        Ok(Configured { base: Some(Arc::new(base)), ..(*running).clone() })
    }

    /// Brings what discovery has to say up to date.
    fn settle(&self, next: &mut Configured, look: Look) -> Settled {
        let (understand, registry) = (&*self.stage.seams.understand, &self.stage.view.registry);
        self.ledger.settle(next, look, understand, registry)
    }

    /// Remembers what became of a reload.
    fn remember(&self, who: String, outcome: Result<String, String>) {
        if let Err(why) = &outcome {
            tracing::error!(target: "config", "{who} asked to reload, which is refused:\n{why}");
        }
        let reloaded = Arc::new(Reloaded { at: SystemTime::now(), who, outcome });
        let configured = (*self.publisher.read()).clone();
        self.publisher.publish(Configured { last_reload: Some(reloaded), ..configured });
    }
}

// === impl Configuration ===

impl Configuration {
    pub(crate) fn new(seed: Rc<ConfigurationSeed>) -> Self {
        Self { seed }
    }

    /// Puts it in force, and publishes it if the supervisor accepts its plan. A listener of discovery that cannot be
    /// bound is given up, and the rest goes on.
    fn put_in_force(
        &self,
        mut next: Configured,
        mut settled: Settled,
    ) -> ResponseActFuture<Self, Result<Begun, ApplyError>> {
        self.seed.stage.seams.secrets.publish_first(&next.resources);
        let applying = self.seed.ask(Apply(next.plan()));
        Box::pin(applying.into_actor(self).then(move |applied, this, ctx| {
            if let Err(ApplyError::Bind(error)) = &applied
                && let before = this.seed.publisher.read()
                && let Some(topic) = next.give_up(&before, error.listener(), &error.to_string())
            {
                let refused = next.resources.get(&topic).map(|one| one.refused.as_slice());
                let why = store::refusals(topic.kind, refused.unwrap_or_default());
                settled.refuse(&topic, why.unwrap_or_default());
                return this.put_in_force(next, settled);
            }
            if applied.is_ok() {
                this.take_over(next, &settled, ctx);
            }
            Box::pin(fut::ready(applied))
        }))
    }

    /// Publishes what is in force, and watches what it subscribes to.
    fn take_over(&self, mut next: Configured, settled: &Settled, ctx: &mut Context<Self>) {
        let sources = Ledger::sources(&next);
        self.seed.stage.seams.secrets.publish(&next.resources);
        let registry = &self.seed.stage.view.registry;
        self.seed.ledger.count_contexts(&next, &settled.secrets, registry);
        let drain_time = self.seed.stage.options.drain_time;
        next.drain_after(&self.seed.publisher.read(), drain_time);
        self.seed.publisher.publish(next);
        settled.commit(&self.seed.ledger);
        let mut files = self.seed.files.borrow_mut();
        if files.is_none() && sources.is_empty() {
            return;
        }
        let files = files.get_or_insert_with(|| {
            let seed = Rc::new(FilesSeed::new(ctx.address().recipient()));
            let (name, reports) = ("configuration/files", reports_to(ctx.address()));
            let cast = self.seed.stage.cast("Files", name, "configuration", reports);
            supervise(cast, |_| Files::new(seed))
        });
        files.do_send(Observe(sources));
    }

    /// Looks at documents that are others; what they bring is put in force before anything else is done.
    fn look(&self, look: Look, ctx: &mut Context<Self>) {
        let mut next = (*self.seed.publisher.read()).clone();
        let settled = self.seed.settle(&mut next, look);
        if !settled.changed {
            return self.take_over(next, &settled, ctx);
        }
        let applied = self.put_in_force(next, settled).map(|applied, _, _| {
            if let Err(error) = applied {
                tracing::error!(target: "config", "what discovery brought is not in force: {error}");
            }
        });
        ctx.wait(applied);
    }

    /// Puts the file in force as it is now.
    fn reload(&self, who: String) -> ResponseActFuture<Self, Result<Told, Refusal>> {
        let mut next = match self.seed.reread() {
            Ok(next) => next,
            Err(why) => {
                self.seed.remember(who, Err(why.to_string()));
                return Box::pin(fut::err(why));
            }
        };
        let settled = self.seed.settle(&mut next, Look::No);
        Box::pin(self.put_in_force(next, settled).map(move |applied, this, _| match applied {
            Ok(Begun { changes, in_force }) => {
                this.seed.remember(who, Ok(changes.to_string()));
                Ok(Told { text: changes.to_string(), in_force: Some(in_force) })
            }
            Err(why) => {
                this.seed.remember(who, Err(why.to_string()));
                Err(Refusal::Configuration(why.to_string()))
            }
        }))
    }

    /// Says what a reload would change.
    fn dry_run(&self) -> ResponseActFuture<Self, Result<Told, Refusal>> {
        let next = match self.seed.reread() {
            Ok(next) => next,
            Err(why) => return Box::pin(fut::err(why)),
        };
        let changes = self.seed.ask(Preview(next.plan()));
        Box::pin(changes.into_actor(self).map(|changes, _, _| match changes {
            Ok(changes) => Ok(Told { text: changes.to_string(), in_force: None }),
            Err(why) => Err(Refusal::Configuration(why.to_string())),
        }))
    }
}

impl Actor for Configuration {
    type Context = Context<Self>;

    /// After a fall: what was noticed meanwhile may be lost with it.
    fn started(&mut self, ctx: &mut Context<Self>) {
        if self.seed.publisher.read().base.is_some() {
            self.look(Look::Changed, ctx);
        }
    }
}

impl Supervised for Configuration {
    /// What was published is the memory.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Configuration);

impl Handler<Install> for Configuration {
    type Result = AtomicResponse<Self, Result<InForce, ApplyError>>;

    /// One change at a time: what comes meanwhile waits.
    fn handle(&mut self, Install(base): Install, _: &mut Context<Self>) -> Self::Result {
        let configured = (*self.seed.publisher.read()).clone();
        let mut next = Configured { base: Some(base), ..configured };
        let settled = self.seed.settle(&mut next, Look::No);
        let installed = self.put_in_force(next, settled).map(|applied, _, _| Ok(applied?.in_force));
        AtomicResponse::new(Box::pin(installed))
    }
}

impl Handler<Reread> for Configuration {
    type Result = AtomicResponse<Self, Result<Told, Refusal>>;

    fn handle(&mut self, Reread { who, how }: Reread, _: &mut Context<Self>) -> Self::Result {
        AtomicResponse::new(match how {
            Reload::Apply => self.reload(who),
            Reload::DryRun => self.dry_run(),
        })
    }
}

impl Handler<Noticed> for Configuration {
    type Result = ();

    fn handle(&mut self, noticed: Noticed, ctx: &mut Context<Self>) {
        match noticed {
            Noticed::Changed(source) => self.look(Look::At(source), ctx),
            Noticed::Unsure => self.look(Look::Changed, ctx),
        }
    }
}

impl Handler<ActorDown> for Configuration {
    type Result = ();

    /// The watch is revived in its place, and looks for what it missed.
    fn handle(&mut self, ActorDown { name, why, beyond_budget }: ActorDown, _: &mut Context<Self>) {
        if beyond_budget {
            tracing::error!(target: "config", "{name} falls again and again, and pauses: {why}");
        }
    }
}

// === impl Told ===

impl Told {
    /// The answer to who asked, once it is so.
    pub(crate) async fn when_in_force(self) -> Applied {
        if let Some(in_force) = self.in_force {
            // The supervisor keeps its end through a fall: the answer comes, unless everything ends.
            let _ = in_force.await;
        }
        Applied::Told(self.text)
    }
}
