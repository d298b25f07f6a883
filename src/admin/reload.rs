//! `/reload`, ours: the configuration is read again. `/reload/last`: what became of that.

use understudy_actors::{Command, command::Reload};

use super::{Answer, Ask, Desk, json::timestamp};

pub(super) fn reload(_: &Desk, ask: &Ask) -> Result<Command, Answer> {
    Ok(Command::Reload(match ask.has("dry_run") {
        true => Reload::DryRun,
        false => Reload::Apply,
    }))
}

pub(super) fn last(desk: &Desk, _: &Ask) -> Answer {
    let configured = desk.view.configured.read();
    let loaded = configured.base.as_ref().map_or(String::new(), |base| {
        format!("what is in force was read at {}\n", timestamp(base.loaded))
    });
    Answer::text(match &configured.last_reload {
        None => format!("{loaded}nobody has reloaded yet\n"),
        Some(last) => {
            let (at, who) = (timestamp(last.at), &last.who);
            match &last.outcome {
                Ok(told) => format!("{loaded}reloaded at {at} by {who}:\n{told}"),
                Err(why) => format!("{loaded}refused at {at}, asked for by {who}:\n{why}"),
            }
        }
    })
}
