//! `/drain_listeners` and `/quitquitquit`.

use understudy_actors::{
    Command,
    command::{DrainListeners, Quit},
};

use super::{Answer, Ask, Desk};

pub(super) fn drain_listeners(_: &Desk, ask: &Ask) -> Result<Command, Answer> {
    Ok(Command::DrainListeners(DrainListeners {
        graceful: ask.has("graceful"),
        skip_exit: ask.has("skip_exit"),
        inbound_only: ask.has("inboundonly"),
    }))
}

pub(super) fn quit(desk: &Desk, _: &Ask) -> Result<Command, Answer> {
    Ok(Command::Quit(Quit::Graceful(desk.facts.flags.shutdown_time())))
}
