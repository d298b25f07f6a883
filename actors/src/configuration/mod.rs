//! Owns what is configured: has the file read again when somebody asks for it, and keeps the plan in force.
//!
//! A change is made on a copy of what is published. What the supervisor refuses leaves everything as it was.

#[cfg(test)]
mod tests;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::SystemTime};

use actix::prelude::*;
use futures_util::future::LocalBoxFuture;

use crate::{
    command::{Applied, Refusal, Reload},
    company::ApplyError,
    configured::{Base, Configured, Reloaded},
    published::Publisher,
    stage::Stage,
    supervise::falls,
    supervisor::{Apply, Begun, InForce, Preview, Supervisor},
};

/// What the configuration keeps through a fall.
pub(crate) struct ConfigurationSeed {
    stage: Stage,
    publisher: Publisher<Configured>,
    supervisor: RefCell<Option<Addr<Supervisor>>>,
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
        Self { stage, publisher, supervisor: RefCell::default() }
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

    /// Puts it in force, and publishes it if the supervisor accepts its plan.
    fn put_in_force(&self, next: Configured) -> ResponseActFuture<Self, Result<Begun, ApplyError>> {
        let applying = self.seed.ask(Apply(next.plan()));
        Box::pin(applying.into_actor(self).map(move |applied, this, _| {
            if applied.is_ok() {
                this.seed.publisher.publish(next);
            }
            applied
        }))
    }

    /// Puts the file in force as it is now.
    fn reload(&self, who: String) -> ResponseActFuture<Self, Result<Told, Refusal>> {
        let next = match self.seed.reread() {
            Ok(next) => next,
            Err(why) => {
                self.seed.remember(who, Err(why.to_string()));
                return Box::pin(fut::err(why));
            }
        };
        Box::pin(self.put_in_force(next).map(move |applied, this, _| match applied {
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
        let next = Configured { base: Some(base), ..configured };
        let installed = self.put_in_force(next).map(|applied, _, _| Ok(applied?.in_force));
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
