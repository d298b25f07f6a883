//! Owns drills: `/actors/kill` lets an actor fall, where that is allowed.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use actix::prelude::*;

use super::Supervisor;
use crate::{
    command::{Applied, Command, Refusal},
    roster::{Member, Roster},
    supervise::Fall,
    worker::DropConnectionOf,
};

/// How long a fall is waited for: behind how many messages it stands is not known.
const FALL_WAIT: Duration = Duration::from_secs(2);

/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// The supervisor's own name in the roster.
const ITS_NAME: &str = "supervisor";

/// How long the supervisor stays up to answer who let it fall.
const OWN_FALL_AFTER: Duration = Duration::from_millis(20);

impl Supervisor {
    /// Lets an actor fall; answered when it has.
    pub(super) fn kill(
        &mut self,
        name: String,
        ctx: &mut Context<Self>,
    ) -> ResponseActFuture<Self, Applied> {
        if !self.seed.stage.options.drills {
            let why = "drills are not enabled; start with --enable-drills".to_owned();
            return refuse(Refusal::Drill(why));
        }
        if let Some((worker, listener, number)) = connection_name(&name) {
            let Some(worker) = self.workers().get(worker).cloned() else {
                return refuse(Refusal::NoActor(name));
            };
            let dropped = worker.send(DropConnectionOf { listener, number });
            return Box::pin(dropped.into_actor(self).map(|dropped, _, _| match dropped {
                Ok(true) => Applied::Done,
                _ => Applied::Refused(Refusal::NoActor(name)),
            }));
        }
        if name == ITS_NAME {
            ctx.notify_later(Fall, OWN_FALL_AFTER);
            return Box::pin(actix::fut::ready(Applied::Done));
        }
        let Some(member) = self.seed.stage.roster().member(&name) else {
            return refuse(Refusal::NoActor(name));
        };
        let before = member.restarts.load(Relaxed);
        member.drill();
        Box::pin(fallen(member, before).into_actor(self))
    }
}

/// Waits until the supervisor, which was asked to fall, has: it cannot say so itself.
pub(crate) async fn fallen_itself(roster: &Roster, before: u64) -> Applied {
    match roster.member(ITS_NAME) {
        Some(supervisor) => fallen(supervisor, before).await,
        None => Applied::Refused(Refusal::NoActor(ITS_NAME.to_owned())),
    }
}

/// Whether a command is about the supervisor's own fall; if so, how often it fell before.
pub(crate) fn own_falls(roster: &Roster, command: &Command) -> Option<u64> {
    let Command::Kill(name) = command else { return None };
    let supervisor = roster.member(ITS_NAME).filter(|_| name == ITS_NAME)?;
    Some(supervisor.restarts.load(Relaxed))
}

/// Waits until an actor has fallen once more, and stood up.
async fn fallen(member: Arc<Member>, before: u64) -> Applied {
    let looking = async {
        while member.restarts.load(Relaxed) == before {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    match tokio::time::timeout(FALL_WAIT, looking).await {
        Ok(()) => Applied::Done,
        Err(_) => {
            let why = format!("{:?} has not fallen within {FALL_WAIT:?}", member.name);
            Applied::Refused(Refusal::Drill(why))
        }
    }
}

fn refuse(why: Refusal) -> ResponseActFuture<Supervisor, Applied> {
    Box::pin(actix::fut::ready(Applied::Refused(why)))
}

/// Reads `worker/0/listener/NAME/connection[/7]`.
fn connection_name(name: &str) -> Option<(usize, String, Option<u32>)> {
    let rest = name.strip_prefix("worker/")?;
    let (worker, rest) = rest.split_once('/')?;
    let rest = rest.strip_prefix("listener/")?;
    let (listener, number) = rest.rsplit_once("/connection")?;
    let number = match number.strip_prefix('/') {
        Some(number) => Some(number.parse().ok()?),
        None if number.is_empty() => None,
        None => return None,
    };
    Some((worker.parse().ok()?, listener.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_named_by_its_listener_and_perhaps_a_number() {
        for (name, expected) in [
            ("worker/0/listener/a/connection", Some((0, "a", None))),
            ("worker/12/listener/a/b/connection/7", Some((12, "a/b", Some(7)))),
            ("worker/0/listener/a", None),
            ("worker/0/listener/a/connection/x", None),
            ("worker/x/listener/a/connection", None),
            ("cluster/a", None),
        ] {
            let expected = expected.map(|(worker, name, n)| (worker, name.to_owned(), n));
            assert_eq!(connection_name(name), expected, "{name}");
        }
    }
}
