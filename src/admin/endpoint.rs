//! Owns what an endpoint is: by type it either reads, or names a command that the supervisor applies.

use understudy_actors::{Applied, Command};

use super::{Answer, Ask, Desk};

/// One endpoint; the list of them is the help, the home page's table and the 404 text.
pub struct Endpoint {
    /// Exact path.
    pub path: &'static str,
    /// What it does.
    pub help: &'static str,
    /// What it takes.
    pub params: &'static [Param],
    /// Whose it is.
    pub origin: Origin,
    /// What answers.
    pub action: Action,
}

/// A parameter.
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// How the home page asks for it.
    pub kind: ParamKind,
}

/// How the home page asks for a parameter.
pub enum ParamKind {
    /// Free text.
    Text,
    /// Yes or no.
    Flag,
    /// One of these.
    OneOf(&'static [&'static str]),
}

/// Whose endpoint it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Envoy has it.
    Envoy,
    /// We added it.
    Ours,
}

/// What answers.
pub enum Action {
    /// Reads what is published.
    Read(fn(&Desk, &Ask) -> Answer),
    /// Reads so much that nobody else shall wait for it: on a thread of its own.
    ReadMuch(fn(&Desk, &Ask) -> Answer),
    /// Reads, though Envoy wants a POST for it: what it would change does not exist here.
    ReadByPost(fn(&Desk, &Ask) -> Answer),
    /// Names a command; the answer is made when it is in force, or refused.
    Change(fn(&Desk, &Ask) -> Result<Command, Answer>, fn(&Desk, &Ask, Applied) -> Answer),
}

// === impl Action ===

impl Action {
    /// Whether it wants a POST.
    pub fn wants_post(&self) -> bool {
        !matches!(self, Action::Read(_) | Action::ReadMuch(_))
    }
}
