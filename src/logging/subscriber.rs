//! Owns the road from a `tracing` event to a line: who may speak, and how the line is put together.

use std::{
    cell::{Cell, RefCell},
    fmt::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parking_lot::{Mutex, RwLock};
use tracing::{
    Event, Level, Metadata, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};
use understudy_actors::{Cached, Published, command::LogLevel, log_levels::LogLevels};

use super::{
    LOGGERS, Sink,
    loggers::{is_ours, logger_of},
    pattern::{Line, Pattern, escape},
};

/// Slots of a thread's memory of which target belongs to which logger.
const MEMORY: usize = 256;

/// Turns events into lines.
pub(super) struct Lines {
    pattern: Arc<RwLock<Pattern>>,
    escaped: bool,
    sink: Arc<Sink>,
    levels: Arc<Levels>,
    /// When the line before was written, in nanoseconds since 1970.
    before: AtomicU64,
}

/// The levels that are in force.
pub(super) struct Levels {
    followed: Mutex<Published<LogLevels>>,
    /// Goes up when another publisher is followed.
    generation: AtomicU64,
}

/// What a thread remembers, so that a level that is off costs a few nanoseconds.
#[derive(Default)]
struct Remembered {
    generation: Cell<Option<u64>>,
    cached: RefCell<Option<Cached<LogLevels>>>,
    read: RefCell<Option<Arc<LogLevels>>>,
    by_logger: RefCell<Vec<LogLevel>>,
    loggers: RefCell<Vec<Option<(Identifier, usize)>>>,
    buffer: RefCell<(String, Vec<u8>)>,
}

thread_local! {
    static REMEMBERED: Remembered = Remembered::default();
}

// === impl Levels ===

impl Levels {
    pub(super) fn new(levels: Published<LogLevels>) -> Self {
        Self { followed: Mutex::new(levels), generation: AtomicU64::new(0) }
    }

    pub(super) fn follow(&self, levels: Published<LogLevels>) {
        *self.followed.lock() = levels;
        self.generation.fetch_add(1, Relaxed);
    }

    fn level(&self, logger: usize) -> LogLevel {
        let level = REMEMBERED.try_with(|memory| {
            let generation = self.generation.load(Relaxed);
            let mut cached = memory.cached.borrow_mut();
            if memory.generation.replace(Some(generation)) != Some(generation) {
                *cached = None;
            }
            let cached = cached.get_or_insert_with(|| self.followed.lock().cached());
            let now = cached.load();
            let mut read = memory.read.borrow_mut();
            if !read.as_ref().is_some_and(|read| Arc::ptr_eq(read, now)) {
                let levels = LOGGERS.iter().map(|name| now.level(name).unwrap_or(LogLevel::Off));
                *memory.by_logger.borrow_mut() = levels.collect();
                *read = Some(now.clone());
            }
            memory.by_logger.borrow().get(logger).copied()
        });
        // A thread that is ending has forgotten; it may still say what it has to say.
        level.ok().flatten().unwrap_or(LogLevel::Info)
    }
}

/// The position of the logger of an event, from memory where this callsite has asked before.
fn logger_at(metadata: &Metadata<'_>) -> usize {
    let (callsite, target) = (metadata.callsite(), metadata.target());
    let at = (target.as_ptr() as usize >> 2) % MEMORY;
    let remembered = REMEMBERED.try_with(|memory| {
        let mut loggers = memory.loggers.borrow_mut();
        if loggers.is_empty() {
            loggers.resize(MEMORY, None);
        }
        match loggers.get_mut(at)? {
            Some((known, logger)) if *known == callsite => Some(*logger),
            slot => {
                let logger = logger_of(target);
                *slot = Some((callsite, logger));
                Some(logger)
            }
        }
    });
    remembered.ok().flatten().unwrap_or_else(|| logger_of(target))
}

// === impl Lines ===

impl Lines {
    pub(super) fn new(
        pattern: Arc<RwLock<Pattern>>,
        escaped: bool,
        sink: Arc<Sink>,
        levels: Arc<Levels>,
    ) -> Self {
        Self { pattern, escaped, sink, levels, before: AtomicU64::new(nanos(SystemTime::now())) }
    }
}

/// Since 1970; the year 2554 is as far as it goes.
fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// An event's level in Envoy's terms. `tracing` has none above "error": a field named `critical` marks it.
fn level_of(metadata: &Metadata<'_>) -> LogLevel {
    match *metadata.level() {
        Level::TRACE => LogLevel::Trace,
        Level::DEBUG => LogLevel::Debug,
        Level::INFO => LogLevel::Info,
        Level::WARN => LogLevel::Warning,
        Level::ERROR if metadata.fields().field("critical").is_some() => LogLevel::Critical,
        Level::ERROR => LogLevel::Error,
    }
}

impl Subscriber for Lines {
    /// What a library says below a warning is turned off for good: h2 alone would ask dozens of times
    /// for each request whether it may speak.
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        match metadata.is_event()
            && (is_ours(metadata.target()) || *metadata.level() <= Level::WARN)
        {
            true => Interest::sometimes(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::TRACE)
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && level_of(metadata) >= self.levels.level(logger_at(metadata))
    }

    fn event(&self, event: &Event<'_>) {
        let metadata = event.metadata();
        let logger = logger_at(metadata);
        let written = REMEMBERED.try_with(|memory| {
            // A line inside a line (a value whose Debug logs) has no buffer left, and is dropped.
            let Ok(mut buffer) = memory.buffer.try_borrow_mut() else { return };
            let (text, out) = &mut *buffer;
            text.clear();
            out.clear();
            event.record(&mut Text(text));
            let at = SystemTime::now();
            let before = self.before.swap(nanos(at), Relaxed);
            let line = Line {
                at,
                since: Duration::from_nanos(nanos(at).saturating_sub(before)),
                thread: rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs(),
                level: level_of(metadata),
                logger: LOGGERS.get(logger).copied().unwrap_or_default(),
                file: metadata.file().unwrap_or_default(),
                line: metadata.line().unwrap_or_default(),
                module: metadata.module_path().unwrap_or_default(),
                text,
            };
            self.pattern.read().write(out, &line);
            if self.escaped {
                let plain = String::from_utf8_lossy(out).into_owned();
                out.clear();
                escape(out, &plain);
            }
            out.push(b'\n');
            self.sink.write(out);
        });
        // The thread is ending: the line is lost, as is everything it might still have done.
        let _ = written;
    }

    // Spans are not ours: `register_callsite` turns them all off.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Puts an event's fields in a row: the message first, then `name=value`.
struct Text<'a>(&'a mut String);

impl Visit for Text<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => {
                let rest = std::mem::take(self.0);
                write!(self.0, "{value:?}{rest}")
            }
            "critical" => Ok(()),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
