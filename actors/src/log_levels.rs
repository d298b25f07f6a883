//! Owns what is published about logging: a level for each of Envoy's loggers.

use std::collections::BTreeMap;

use crate::command::LogLevel;

/// The level of every logger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLevels {
    by_logger: BTreeMap<&'static str, LogLevel>,
}

// === impl LogLevels ===

impl LogLevels {
    /// Every logger at one level.
    pub fn all(loggers: &[&'static str], level: LogLevel) -> Self {
        Self { by_logger: loggers.iter().map(|name| (*name, level)).collect() }
    }

    /// The level of a logger; `None` for a name that no logger has.
    pub fn level(&self, logger: &str) -> Option<LogLevel> {
        self.by_logger.get(logger).copied()
    }

    /// Sets one logger; false for a name that no logger has.
    pub fn set(&mut self, logger: &str, level: LogLevel) -> bool {
        self.by_logger.get_mut(logger).map(|slot| *slot = level).is_some()
    }

    /// Sets every logger.
    pub fn set_all(&mut self, level: LogLevel) {
        self.by_logger.values_mut().for_each(|slot| *slot = level);
    }

    /// Loggers and levels, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, LogLevel)> + '_ {
        self.by_logger.iter().map(|(name, level)| (*name, *level))
    }

    /// The most talkative level of all.
    pub fn most_verbose(&self) -> LogLevel {
        self.by_logger.values().copied().min().unwrap_or(LogLevel::Off)
    }
}
