//! Owns the log of the process: Envoy's line, Envoy's loggers, to stderr or `--log-path`.

mod loggers;
mod pattern;
mod subscriber;

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use understudy_actors::{Published, log_levels::LogLevels};

pub use loggers::{LOGGERS, LevelError, changes, levels};
pub use pattern::{DEFAULT_PATTERN, Pattern};
use subscriber::{Levels, Lines};

/// How to log.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--log-format`.
    pub pattern: Pattern,
    /// `--log-format-escaped`: a line stays a line, whatever is in it.
    pub escaped: bool,
    /// `--log-path`; stderr without.
    pub path: Option<PathBuf>,
    /// `--log-level` and `--component-log-level`.
    pub levels: LogLevels,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The file could not be opened.
    #[error(
        "--log-path {path:?} cannot be opened: {error}; is the folder there, and may we write to it?"
    )]
    Open {
        /// `--log-path`.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Somebody else logs in this process.
    #[error("this process logs already")]
    Taken,
}

/// The log of the process. Kept for following levels and for opening its file again.
#[derive(Clone)]
pub struct Logging {
    sink: Arc<Sink>,
    levels: Arc<Levels>,
    pattern: Arc<RwLock<Pattern>>,
}

/// Where lines go.
pub(crate) struct Sink {
    path: Option<PathBuf>,
    file: Mutex<Option<File>>,
}

// === impl Logging ===

impl Logging {
    /// Takes all events of the process from now on.
    ///
    /// # Errors
    ///
    /// [`LoggingError`] for a file that cannot be opened, and for a second call.
    pub fn start(options: Options) -> Result<Self, LoggingError> {
        let (logging, lines) = Self::lines(options)?;
        tracing::subscriber::set_global_default(lines).map_err(|_| LoggingError::Taken)?;
        log_panics();
        Ok(logging)
    }

    fn lines(options: Options) -> Result<(Self, Lines), LoggingError> {
        let file = options.path.as_deref().map(open).transpose()?;
        let sink = Arc::new(Sink { path: options.path, file: Mutex::new(file) });
        let levels = Arc::new(Levels::new(Published::constant(options.levels)));
        let pattern = Arc::new(RwLock::new(options.pattern));
        let lines = Lines::new(pattern.clone(), options.escaped, sink.clone(), levels.clone());
        Ok((Self { sink, levels, pattern }, lines))
    }

    /// Reads levels from this publisher from now on: a change is in force with the next line.
    pub fn follow(&self, levels: Published<LogLevels>) {
        self.levels.follow(levels);
    }

    /// Writes lines in this form from now on: `application_log_config`.
    pub fn dress(&self, pattern: Pattern) {
        *self.pattern.write() = pattern;
    }

    /// Opens the file again, for rotation; the old one stays if that fails.
    ///
    /// # Errors
    ///
    /// [`LoggingError::Open`].
    pub fn reopen(&self) -> Result<(), LoggingError> {
        if let Some(path) = &self.sink.path {
            let file = open(path)?;
            *self.sink.file.lock() = Some(file);
        }
        Ok(())
    }
}

/// A panic is told in the log as well, in a line; its stack goes to stderr as before.
fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let payload = panic.payload_as_str().unwrap_or("no text");
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        tracing::error!(target: "backtrace", critical = true, "thread {thread} panicked at {place}: {payload}");
        before(panic);
    }));
}

fn open(path: &Path) -> Result<File, LoggingError> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| LoggingError::Open { path: path.to_owned(), error })
}

// === impl Sink ===

impl Sink {
    /// A line in one write, so that lines of several processes do not mix. A line that cannot be
    /// written is lost: there is no place left to say so.
    fn write(&self, line: &[u8]) {
        let _ = match &mut *self.file.lock() {
            Some(file) => file.write_all(line),
            None => io::stderr().write_all(line),
        };
    }
}

#[cfg(test)]
mod tests {
    use understudy_actors::{Publisher, command::LogLevel};

    use super::*;

    #[test]
    fn a_change_of_level_is_in_force_with_the_next_line_and_a_moved_file_is_opened_again() {
        let folder =
            std::env::temp_dir().join(format!("understudy-logging-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("log"), folder.join("log.1"));
        let options = Options {
            pattern: Pattern::parse("[%l][%n] %v"),
            escaped: false,
            path: Some(path.clone()),
            levels: levels("info", "").unwrap(),
        };
        let (logging, lines) = Logging::lines(options).unwrap();
        tracing::subscriber::with_default(lines, || {
            let say = |text| {
                tracing::debug!(target: "upstream", host = "a", "{text}");
                tracing::info!(target: "admin", "{text}");
            };
            say("one");
            let publisher = Publisher::new(levels("info", "").unwrap());
            logging.follow(publisher.subscribe());
            let mut changed = (*publisher.read()).clone();
            changed.set("upstream", LogLevel::Debug);
            changed.set("admin", LogLevel::Warning);
            publisher.publish(changed);
            say("two");
            tracing::error!(target: "main", critical = true, "over");
            tracing::warn!(target: "h2::proto", "odd");
            tracing::info!(target: "h2::proto", "chatter");
            std::fs::rename(&path, &moved).unwrap();
            logging.reopen().unwrap();
            logging.dress(Pattern::parse(r#"{"Level":"%l","Message":"%j"}"#));
            say("three");
        });
        let old = "[info][admin] one\n[debug][upstream] two host=a\n\
                   [critical][main] over\n[warning][http2] odd\n";
        assert_eq!(std::fs::read_to_string(&moved).unwrap(), old);
        let new = std::fs::read_to_string(&path).unwrap();
        assert_eq!(new, "{\"Level\":\"debug\",\"Message\":\"three host=a\"}\n");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
