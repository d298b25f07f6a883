//! `/logging`: levels of all loggers or of single ones.

use std::fmt::Write as _;

use understudy_actors::{
    Applied, Command,
    command::{LogLevel, LogLevelChange, Refusal, Setting},
};

use super::{Answer, Ask, Desk};
use crate::logging::LOGGERS;

/// Observed: Envoy 1.40 `POST /logging` with a mistake in it.
const USAGE: &str = "\n\nusage: /logging?<name>=<level> (change single level)\n\
    usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
    usage: /logging?level=<level> (change all levels)\n\
    usage: /logging?group=<group_name>:<level> (change group of loggers)\n";

pub(super) fn change(desk: &Desk, ask: &Ask) -> Result<Command, Answer> {
    // The form of the home page sends empty fields along.
    let given: Vec<_> = ask.changes().filter(|(_, value)| !value.is_empty()).collect();
    let refuse = |why: &str| Err(error(desk, why));
    let (name, value) = match given.as_slice() {
        [] => return Err(listing(desk)),
        [(name, value)] => (name.as_str(), value.as_str()),
        _ => return refuse("invalid number of parameters"),
    };
    let level =
        |text: &str| LogLevel::parse(text).ok_or_else(|| error(desk, "unknown logger level"));
    let changes = match name {
        "group" => return refuse("group parameter requires fine-grain logging to be enabled"),
        "level" => vec![LogLevelChange::All(level(value)?)],
        "paths" => {
            let mut changes = Vec::new();
            for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                let (logger, text) = pair.split_once(':').unwrap_or((pair, ""));
                if logger.is_empty() || text.is_empty() {
                    return refuse("empty logger name or empty logger level");
                }
                changes.push(LogLevelChange::One(logger.to_owned(), level(text)?));
            }
            changes
        }
        logger => vec![LogLevelChange::One(logger.to_owned(), level(value)?)],
    };
    Ok(Command::Set(Setting::LogLevels(changes), ask.term()?))
}

fn error(desk: &Desk, why: &str) -> Answer {
    let levels: String = LogLevel::ALL.iter().map(|level| format!("{level} ")).collect();
    let active = active(desk);
    Answer::status(400, format!("error: {why}{USAGE}levels: {levels}\n{active}"))
}

pub(super) fn answer(desk: &Desk, _: &Ask, applied: Applied) -> Answer {
    match applied {
        Applied::Done | Applied::Told(_) => listing(desk),
        Applied::Refused(Refusal::UnknownLogger(_)) => error(desk, "unknown logger name"),
        Applied::Refused(refusal) => Answer::refused(&refusal),
    }
}

fn listing(desk: &Desk) -> Answer {
    Answer::text(active(desk))
}

fn active(desk: &Desk) -> String {
    let levels = desk.view.log_levels.read();
    let mut out = "active loggers:\n".to_owned();
    for logger in LOGGERS {
        let level = levels.level(logger).unwrap_or(LogLevel::Off);
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {logger}: {level}");
    }
    out.push('\n');
    out
}
