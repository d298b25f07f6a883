//! Owns drills: `/actors/kill` lets an actor fall, where that is allowed.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use actix::prelude::*;

use super::Supervisor;
use crate::{
    command::{Applied, Refusal},
    supervise::Fall,
    worker::DropConnectionOf,
};

/// How long a fall is waited for: behind how many messages it stands is not known.
const FALL_WAIT: Duration = Duration::from_secs(2);

/// How often it is looked.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

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
            return self.refuse("drills are not enabled; start with --enable-drills".to_owned());
        }
        let unknown = format!("no actor is called {name:?}; /actors lists them");
        if let Some((worker, listener, number)) = connection_name(&name) {
            let Some(worker) = self.workers().get(worker).cloned() else {
                return self.refuse(unknown);
            };
            let dropped = worker.send(DropConnectionOf { listener, number });
            return Box::pin(dropped.into_actor(self).map(|dropped, _, _| match dropped {
                Ok(true) => Applied::Done,
                _ => Applied::Refused(Refusal::Drill(unknown)),
            }));
        }
        if name == "supervisor" {
            ctx.notify_later(Fall, OWN_FALL_AFTER);
            return Box::pin(actix::fut::ready(Applied::Done));
        }
        let Some(member) = self.seed.stage.roster().member(&name) else {
            return self.refuse(unknown);
        };
        let before = member.restarts.load(Relaxed);
        member.drill();
        let fallen = async move {
            while member.restarts.load(Relaxed) == before {
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        };
        let fallen = tokio::time::timeout(FALL_WAIT, fallen).into_actor(self);
        Box::pin(fallen.map(move |fallen, _, _| match fallen {
            Ok(()) => Applied::Done,
            Err(_) => {
                let why = format!("{name:?} has not fallen within {FALL_WAIT:?}");
                Applied::Refused(Refusal::Drill(why))
            }
        }))
    }

    fn refuse(&self, why: String) -> ResponseActFuture<Self, Applied> {
        Box::pin(actix::fut::ready(Applied::Refused(Refusal::Drill(why))))
    }
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
