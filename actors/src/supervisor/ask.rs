//! Owns commands: each is applied, answered when it is in force, and noted in the journal with what was
//! before it and is after it.

use std::fmt;

use actix::prelude::*;

use super::Supervisor;
use crate::{
    command::{Applied, Command, LogLevelChange, Refusal, Reload, Setting},
    configuration::Reread,
    settings::{Flush, ResetCounters, Set, Settings, TrackLookups},
};

/// Somebody asks for a change.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Applied")]
pub(crate) struct Ask {
    pub(crate) who: String,
    pub(crate) command: Command,
}

impl Handler<Ask> for Supervisor {
    type Result = ResponseActFuture<Self, Applied>;

    fn handle(&mut self, Ask { who, command }: Ask, ctx: &mut Context<Self>) -> Self::Result {
        let before = self.describe(&command);
        let asked = command.clone();
        let applying = self.dispatch(&who, command, ctx);
        Box::pin(applying.map(move |applied, this: &mut Self, _| {
            let after = this.describe(&asked);
            let change = match before == after {
                true => String::new(),
                false => format!("; was {before}, is {after}"),
            };
            let outcome = match &applied {
                Applied::Done => "done".to_owned(),
                Applied::Told(text) => text.trim_end().replace('\n', "; "),
                Applied::Refused(why) => format!("refused: {why}"),
            };
            let detail = format!("{asked}: {outcome}{change}");
            tracing::info!(target: "admin", "{who} asked for {detail}");
            this.seed.stage.roster().note(who, "command", detail);
            applied
        }))
    }
}

impl Handler<Flush> for Supervisor {
    type Result = ();

    /// No change that anybody would look for in the journal.
    fn handle(&mut self, flush: Flush, _: &mut Context<Self>) {
        if let Some(settings) = &self.seed.children.borrow().settings {
            settings.do_send(flush);
        }
    }
}

impl Supervisor {
    fn dispatch(
        &mut self,
        who: &str,
        command: Command,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Applied> {
        let house = self.seed.stage.seams.house.clone();
        let applied = match command {
            Command::Set(setting, term) => return self.tell_settings_to(Set(setting, term)),
            Command::ResetCounters => return self.tell_settings_to(ResetCounters),
            Command::TrackLookups(on) => return self.tell_settings_to(TrackLookups(on)),
            Command::DrainListeners(how) => return self.drain_listeners(how, ctx),
            Command::Kill(name) => return self.kill(name, ctx),
            Command::ChangeEndpoints { cluster, changes, term } => {
                return self.change_endpoints(cluster, changes, term);
            }
            Command::RefreshDns(name) => return self.refresh_dns(name),
            Command::Reload(how) => return self.reload(who.to_owned(), how),
            Command::Quit(how) => self.quit(how, ctx),
            Command::ReopenLogs => {
                house.reopen_logs();
                Applied::Done
            }
            Command::ProfileCpu(on) => match house.profile_cpu(on) {
                Ok(()) => Applied::Done,
                Err(why) => Applied::Refused(Refusal::Profiler(why)),
            },
        };
        Box::pin(actix::fut::ready(applied))
    }

    fn reload(&self, who: String, how: Reload) -> ResponseActFuture<Self, Applied> {
        let configuration = self.seed.children.borrow().configuration.clone();
        let reloading = async move {
            let unavailable = |why: &dyn fmt::Display| Refusal::Unavailable(why.to_string());
            let Some(configuration) = configuration else {
                return Applied::Refused(unavailable(&"nothing is configured yet"));
            };
            match configuration.send(Reread { who, how }).await {
                Ok(Ok(told)) => told.when_in_force().await,
                Ok(Err(why)) => Applied::Refused(why),
                Err(error) => Applied::Refused(unavailable(&error)),
            }
        };
        Box::pin(reloading.into_actor(self))
    }

    fn tell_settings_to<M>(&self, change: M) -> ResponseActFuture<Self, Applied>
    where
        M: Message<Result = Applied> + Send + 'static,
        Settings: Handler<M>,
    {
        let settings = self.seed.children.borrow().settings.clone();
        let setting = async move {
            let answer = match settings {
                Some(settings) => settings.send(change).await.map_err(|error| error.to_string()),
                None => Err("there are no settings yet".to_owned()),
            };
            answer.unwrap_or_else(|why| Applied::Refused(Refusal::Unavailable(why)))
        };
        Box::pin(setting.into_actor(self))
    }

    /// What a command is about to change, or has changed.
    fn describe(&self, command: &Command) -> String {
        let view = &self.seed.stage.view;
        match command {
            Command::Set(Setting::HealthFailed(_), _) => {
                view.server.read().lifecycle().name().to_owned()
            }
            Command::Set(Setting::Runtime(changes), _) => {
                let runtime = view.runtime.read();
                let text = |key: &str| runtime.get(key).map_or(String::new(), |v| v.text.clone());
                let all = changes.iter().map(|(key, _)| format!("{key}={:?}", text(key)));
                all.collect::<Vec<_>>().join(" ")
            }
            Command::Set(Setting::LogLevels(changes), _) => {
                let levels = view.log_levels.read();
                let whole = changes.iter().any(|change| matches!(change, LogLevelChange::All(_)));
                let named = |logger: &str| {
                    let one =
                        |c: &LogLevelChange| matches!(c, LogLevelChange::One(n, _) if n == logger);
                    whole || changes.iter().any(one)
                };
                let all = levels.iter().filter(|(logger, _)| named(logger));
                all.map(|(logger, level)| format!("{logger}:{level}")).collect::<Vec<_>>().join(",")
            }
            Command::DrainListeners(_) => {
                let closed = |bound: &&crate::view::BoundListener| bound.closed;
                format!("{} closed", view.listeners.read().iter().filter(closed).count())
            }
            _ => String::new(),
        }
    }
}
