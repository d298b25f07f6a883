//! Owns the words by which the outside asks for a change. The outside changes nothing itself: the
//! supervisor applies a command, and answers when it is in force.

use std::{fmt, time::Duration};

use crate::address::Address;

/// A change somebody asked for. Applied by the supervisor alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `/healthcheck/fail`, `/healthcheck/ok`, `/logging` and `/runtime_modify`.
    Set(Setting, Term),
    /// `/reset_counters`.
    ResetCounters,
    /// `/stats/recentlookups/enable` and `disable`.
    TrackLookups(bool),
    /// `/drain_listeners`.
    DrainListeners(DrainListeners),
    /// `/reopen_logs` and SIGUSR1.
    ReopenLogs,
    /// `/cpuprofiler`.
    ProfileCpu(bool),
    /// `/reload` and SIGHUP.
    Reload(Reload),
    /// `/quitquitquit`, SIGTERM and SIGINT.
    Quit(Quit),
    /// `/clusters/endpoints`: changes a cluster's hosts by hand.
    ChangeEndpoints {
        /// The cluster's name.
        cluster: String,
        /// What to change, in this order.
        changes: Vec<EndpointChange>,
        /// For how long.
        term: Term,
    },
    /// `/dns/refresh?name=…`: asks DNS at once for this name, wherever it is asked for; for all without one.
    RefreshDns(Option<String>),
    /// `/actors/kill?name=…`: lets the named actor panic. Refused unless drills are enabled.
    Kill(String),
}

/// What people set while the proxy runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Setting {
    /// `/healthcheck/fail` (true) and `/healthcheck/ok` (false).
    HealthFailed(bool),
    /// `/logging`: what to set, in order.
    LogLevels(Vec<LogLevelChange>),
    /// `/runtime_modify`: key and new value; an empty value removes the override.
    Runtime(Vec<(String, String)>),
}

/// One change of a cluster's hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointChange {
    /// It is a host from now on, and takes requests.
    Add {
        /// Where it listens.
        address: Address,
        /// `load_balancing_weight`; discovery's, or 1, if none.
        weight: Option<u32>,
    },
    /// It is no host any more, whatever discovery says.
    Remove(Address),
    /// It takes no new requests.
    Drain(Address),
}

/// For how long something is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Term {
    /// Until somebody sets it again.
    #[default]
    Lasting,
    /// `ttl=10m`: for so long; then what was lasting before comes back by itself.
    For(Duration),
}

/// How listeners end when `/drain_listeners` asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DrainListeners {
    /// Discourage connections for the drain time before closing the listeners.
    pub graceful: bool,
    /// Do not close the listeners at all.
    pub skip_exit: bool,
    /// Only listeners whose `traffic_direction` is `INBOUND`.
    pub inbound_only: bool,
}

/// What is done with a configuration that is read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is put in force as a whole, or refused as a whole.
    Apply,
    /// It is told what that would change.
    DryRun,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quit {
    /// Listeners close, requests in flight end, at most this long.
    Graceful(Duration),
    /// At once.
    Now,
}

/// One change of log levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogLevelChange {
    /// Every logger.
    All(LogLevel),
    /// One logger by Envoy's name (`upstream`, `http`, `admin` …).
    One(String, LogLevel),
}

/// Envoy's log levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Everything.
    Trace,
    /// For developers.
    Debug,
    /// What happens.
    Info,
    /// What should not happen.
    Warning,
    /// What went wrong.
    Error,
    /// What ends the process.
    Critical,
    /// Nothing.
    Off,
}

/// What became of a command that was applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It is in force.
    Done,
    /// The same, with something to tell the person who asked.
    Told(String),
    /// Refused; nothing changed. The text is for the person who asked.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `/runtime_modify` without an admin layer. The text is Envoy's.
    #[error("No admin layer specified")]
    NoAdminLayer,
    /// `/logging` with a name no logger has.
    #[error("unknown logger name")]
    UnknownLogger(String),
    /// `/actors/kill` without `--enable-drills`, or of an actor that does not fall.
    #[error("{0}")]
    Drill(String),
    /// `/actors/kill` of an actor that is not there.
    #[error("no actor is called {0:?}; /actors lists them")]
    NoActor(String),
    /// `/clusters/endpoints` of a cluster that is not there.
    #[error("no cluster is called {0:?}; /clusters lists them")]
    NoCluster(String),
    /// `/clusters/endpoints` asks for what cannot be.
    #[error("{0}")]
    Endpoints(String),
    /// `/dns/refresh` of a name that nobody asks for.
    #[error("no cluster asks DNS for {0:?}; /dns lists the names")]
    NoName(String),
    /// The configuration that was read again cannot be put in force. The text names each place.
    #[error("{0}")]
    Configuration(String),
    /// The CPU profiler could not start or write.
    #[error("failure to start the profiler")]
    Profiler(String),
    /// The proxy is going down or the supervisor could not be reached in time.
    #[error("the supervisor did not answer: {0}")]
    Unavailable(String),
}

// === impl Command ===

impl fmt::Display for Command {
    /// As the journal and the log tell of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Set(setting, Term::Lasting) => write!(f, "{setting}"),
            Command::Set(setting, Term::For(time)) => write!(f, "{setting} for {time:?}"),
            Command::ResetCounters => f.write_str("reset counters"),
            Command::TrackLookups(on) => {
                write!(f, "track lookups {}", if *on { "on" } else { "off" })
            }
            Command::DrainListeners(how) => write!(f, "drain listeners ({how:?})"),
            Command::ReopenLogs => f.write_str("reopen logs"),
            Command::ProfileCpu(on) => write!(f, "CPU profiler {}", if *on { "on" } else { "off" }),
            Command::Reload(Reload::Apply) => f.write_str("reload"),
            Command::Reload(Reload::DryRun) => f.write_str("reload (dry run)"),
            Command::Quit(how) => write!(f, "quit ({how:?})"),
            Command::ChangeEndpoints { cluster, changes, term } => {
                write!(f, "change endpoints of {cluster:?}:")?;
                changes.iter().try_for_each(|change| write!(f, " {change}"))?;
                match term {
                    Term::Lasting => Ok(()),
                    Term::For(time) => write!(f, " for {time:?}"),
                }
            }
            Command::RefreshDns(Some(name)) => write!(f, "ask DNS for {name:?}"),
            Command::RefreshDns(None) => f.write_str("ask DNS for every name"),
            Command::Kill(name) => write!(f, "kill {name}"),
        }
    }
}

// === impl EndpointChange ===

impl EndpointChange {
    /// Whose it is.
    pub fn address(&self) -> Address {
        match self {
            Self::Add { address, .. } | Self::Remove(address) | Self::Drain(address) => *address,
        }
    }
}

impl fmt::Display for EndpointChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { address, weight: Some(weight) } => {
                write!(f, "add {address} weight {weight}")
            }
            Self::Add { address, weight: None } => write!(f, "add {address}"),
            Self::Remove(address) => write!(f, "remove {address}"),
            Self::Drain(address) => write!(f, "drain {address}"),
        }
    }
}

// === impl Setting ===

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Setting::HealthFailed(true) => f.write_str("health checks fail"),
            Setting::HealthFailed(false) => f.write_str("health checks pass"),
            Setting::LogLevels(changes) => {
                f.write_str("log levels")?;
                changes.iter().try_for_each(|change| match change {
                    LogLevelChange::All(level) => write!(f, " all:{level}"),
                    LogLevelChange::One(logger, level) => write!(f, " {logger}:{level}"),
                })
            }
            Setting::Runtime(changes) => {
                f.write_str("runtime")?;
                changes.iter().try_for_each(|(key, value)| write!(f, " {key}={value:?}"))
            }
        }
    }
}

// === impl LogLevel ===

impl LogLevel {
    /// All levels in Envoy's order.
    pub const ALL: [LogLevel; 7] = [
        LogLevel::Trace,
        LogLevel::Debug,
        LogLevel::Info,
        LogLevel::Warning,
        LogLevel::Error,
        LogLevel::Critical,
        LogLevel::Off,
    ];

    /// Envoy's spelling, as `/logging` prints it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Trace => "trace",
            LogLevel::Debug => "debug",
            LogLevel::Info => "info",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
            LogLevel::Critical => "critical",
            LogLevel::Off => "off",
        }
    }

    /// Reads Envoy's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == text)
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
