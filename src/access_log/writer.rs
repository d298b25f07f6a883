//! Owns the thread that writes access logs. A worker hands a line over or counts it as lost; it never
//! waits for a disk.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use understudy_actors::stats::{FilesystemStat, Group};

use crate::config::model::access_log::AccessLogSink;

/// Lines that wait for the writer at most; a line beyond is lost and counted.
const LINES_WAITING_MAX: usize = 16 * 1024;

/// When lines that are kept back are written out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushing {
    /// `--file-flush-interval-msec`
    pub interval: Duration,
    /// `--file-flush-min-size-kb`: bytes that are kept back at most.
    pub bytes: usize,
}

/// Where a worker hands its lines over.
#[derive(Debug)]
pub struct Writer {
    queue: SyncSender<Order>,
    sinks: Mutex<Sinks>,
    /// Logs of events, which stay open as long as a plan names them: those who have something to tell come and go.
    of_events: Mutex<Vec<SinkId>>,
    stats: Arc<Group<FilesystemStat>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// One place where lines go. It is closed when nobody has it any more, once what was handed over is written.
#[derive(Clone, Debug)]
pub struct SinkId(Arc<Held>);

#[derive(Debug)]
struct Held {
    number: usize,
    sink: AccessLogSink,
    queue: SyncSender<Order>,
}

/// The sinks that somebody has.
#[derive(Debug, Default)]
struct Sinks {
    open: Vec<(AccessLogSink, Weak<Held>)>,
    opened: usize,
}

enum Order {
    Open(SinkId, Box<dyn Write + Send>, AccessLogSink),
    Line(usize, Box<[u8]>),
    /// Nobody has it any more.
    Close(usize),
    Reopen,
    Flush,
    End,
}

struct Output {
    number: usize,
    held: Weak<Held>,
    /// Who has opened it gives it to those who will write: until then it is held here.
    fresh: Option<SinkId>,
    /// Nobody had it when all were flushed last.
    left: bool,
    sink: AccessLogSink,
    out: Box<dyn Write + Send>,
    kept: Vec<u8>,
    flush_bytes: usize,
}

/// Why an access log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "access log {path:?} cannot be opened: {error}; is the folder there, and may we write to it?"
)]
pub struct OpenError {
    path: std::path::PathBuf,
    error: io::Error,
}

// === impl Flushing ===

impl Default for Flushing {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { interval: Duration::from_secs(10), bytes: 64 * 1024 }
    }
}

// === impl Writer ===

impl Writer {
    /// Starts the thread.
    ///
    /// # Errors
    ///
    /// The system's, when it gives no thread.
    pub fn start(stats: Arc<Group<FilesystemStat>>, flushing: Flushing) -> io::Result<Arc<Self>> {
        let (queue, orders) = sync_channel(LINES_WAITING_MAX);
        stats.set(FilesystemStat::WriteTotalBuffered, 0);
        let counted = stats.clone();
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_on(&orders, &counted, flushing))?;
        let (sinks, of_events) = (Mutex::default(), Mutex::default());
        Ok(Arc::new(Self { queue, sinks, of_events, stats, thread: Mutex::new(Some(thread)) }))
    }

    /// Opens a sink; the same sink twice is opened once.
    ///
    /// # Errors
    ///
    /// [`OpenError`] for a file that cannot be opened.
    pub fn open(&self, sink: &AccessLogSink) -> Result<SinkId, OpenError> {
        let mut sinks = self.sinks.lock();
        let known = sinks.open.iter().find(|(known, _)| known == sink);
        if let Some(held) = known.and_then(|(_, held)| held.upgrade()) {
            return Ok(SinkId(held));
        }
        let out = output(sink)?;
        sinks.opened += 1;
        let id = SinkId(Arc::new(Held {
            number: sinks.opened,
            sink: sink.clone(),
            queue: self.queue.clone(),
        }));
        sinks.open.retain(|(_, held)| held.strong_count() > 0);
        sinks.open.push((sink.clone(), Arc::downgrade(&id.0)));
        // The writer ends only with the process; nothing is lost by ignoring that here.
        let _ = self.queue.send(Order::Open(id.clone(), out, sink.clone()));
        Ok(id)
    }

    /// Opens a sink that stays open from its first event on.
    pub(super) fn open_for_events(&self, sink: &AccessLogSink) -> Result<SinkId, OpenError> {
        let id = self.open(sink)?;
        let mut of_events = self.of_events.lock();
        if !of_events.iter().any(|known| Arc::ptr_eq(&known.0, &id.0)) {
            of_events.push(id.clone());
        }
        Ok(id)
    }

    /// Closes the logs of events that are none of these.
    pub fn close_events_but(&self, paths: &[&PathBuf]) {
        let stays =
            |id: &SinkId| matches!(&id.0.sink, AccessLogSink::File(path) if paths.contains(&path));
        self.of_events.lock().retain(stays);
    }

    /// Hands a line over, or counts it as lost when too many wait.
    pub fn write(&self, sink: &SinkId, line: &[u8]) {
        let order = Order::Line(sink.0.number, line.into());
        if let Err(TrySendError::Full(_)) = self.queue.try_send(order) {
            self.stats.add(FilesystemStat::WriteFailed, 1);
        }
    }

    /// Opens all files again, for rotation.
    pub fn reopen(&self) {
        let _ = self.queue.send(Order::Reopen);
    }

    /// Writes out what is kept back.
    pub fn flush(&self) {
        let _ = self.queue.send(Order::Flush);
    }

    /// Writes everything out and ends the thread.
    pub fn end(&self) {
        let _ = self.queue.send(Order::End);
        if let Some(thread) = self.thread.lock().take() {
            // A writer that panicked has nothing left to write.
            let _ = thread.join();
        }
    }
}

fn output(sink: &AccessLogSink) -> Result<Box<dyn Write + Send>, OpenError> {
    Ok(match sink {
        AccessLogSink::File(path) => Box::new(file(path)?),
        AccessLogSink::Stdout => Box::new(io::stdout()),
        AccessLogSink::Stderr => Box::new(io::stderr()),
    })
}

fn file(path: &Path) -> Result<File, OpenError> {
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| OpenError { path: path.to_owned(), error })
}

fn write_on(orders: &Receiver<Order>, stats: &Group<FilesystemStat>, flushing: Flushing) {
    let mut outputs: Vec<Output> = Vec::new();
    let mut flush_at = Instant::now() + flushing.interval;
    loop {
        let order = orders.recv_timeout(flush_at.saturating_duration_since(Instant::now()));
        match order {
            Ok(Order::Open(id, out, sink)) => {
                outputs.push(Output {
                    number: id.0.number,
                    held: Arc::downgrade(&id.0),
                    fresh: Some(id),
                    left: false,
                    sink,
                    out,
                    kept: Vec::new(),
                    flush_bytes: flushing.bytes,
                });
            }
            Ok(Order::Line(id, line)) => {
                stats.add(FilesystemStat::WriteBuffered, 1);
                if let Some(output) = outputs.iter_mut().find(|output| output.number == id) {
                    output.take(&line, stats);
                }
            }
            Ok(Order::Close(number)) => outputs.retain_mut(|output| {
                let stays = output.number != number;
                if !stays {
                    output.flush(stats);
                }
                stays
            }),
            Ok(Order::Reopen) => outputs.iter_mut().for_each(|output| output.reopen(stats)),
            Ok(Order::Flush) => outputs.iter_mut().for_each(|output| output.flush(stats)),
            Err(RecvTimeoutError::Timeout) => {
                stats.add(FilesystemStat::FlushedByTimer, outputs.len() as u64);
                outputs.iter_mut().for_each(|output| output.flush(stats));
                // What could not be said for want of room in the queue: all lines of a sink that nobody had an
                // interval ago have come.
                outputs.retain_mut(|output| {
                    output.fresh = None;
                    !std::mem::replace(&mut output.left, output.held.strong_count() == 0)
                });
                flush_at = Instant::now() + flushing.interval;
            }
            Ok(Order::End) | Err(RecvTimeoutError::Disconnected) => {
                outputs.iter_mut().for_each(|output| output.flush(stats));
                return;
            }
        }
    }
}

// === impl Held ===

impl Drop for Held {
    fn drop(&mut self) {
        // Where the queue is full, the writer finds out.
        let _ = self.queue.try_send(Order::Close(self.number));
    }
}

// === impl Output ===

impl Output {
    fn take(&mut self, line: &[u8], stats: &Group<FilesystemStat>) {
        self.kept.extend_from_slice(line);
        // A person reads along on a terminal; a file can wait.
        let now = !matches!(self.sink, AccessLogSink::File(_));
        if now || self.kept.len() >= self.flush_bytes {
            self.flush(stats);
        }
    }

    fn flush(&mut self, stats: &Group<FilesystemStat>) {
        if self.kept.is_empty() {
            return;
        }
        let written = self.out.write_all(&self.kept).and_then(|()| self.out.flush());
        let stat = match written {
            Ok(()) => FilesystemStat::WriteCompleted,
            // A full disk loses lines, never requests.
            Err(_) => FilesystemStat::WriteFailed,
        };
        stats.add(stat, 1);
        self.kept.clear();
    }

    fn reopen(&mut self, stats: &Group<FilesystemStat>) {
        self.flush(stats);
        match output(&self.sink) {
            Ok(out) => self.out = out,
            Err(_) => stats.add(FilesystemStat::ReopenFailed, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use understudy_actors::stats::{Registry, Scope};

    use super::*;

    #[test]
    fn lines_arrive_in_order_and_a_rotated_file_is_opened_again() {
        let folder = std::env::temp_dir().join(format!("understudy-log-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (path, moved) = (folder.join("log"), folder.join("log.1"));
        let registry = Registry::new(1);
        let writer =
            Writer::start(registry.group(Scope::plain("filesystem.")), Flushing::default())
                .unwrap();
        let sink = writer.open(&AccessLogSink::File(path.clone())).unwrap();
        writer.write(&sink, b"one\n");
        writer.flush();
        writer.write(&sink, b"two\n");
        // The flush before the move is seen by the thread before the reopening.
        writer.reopen();
        let patience = Instant::now() + Duration::from_secs(10);
        while std::fs::read(&path).unwrap() != b"one\ntwo\n" {
            assert!(Instant::now() < patience);
            thread::sleep(Duration::from_millis(5));
        }
        std::fs::rename(&path, &moved).unwrap();
        writer.reopen();
        writer.write(&sink, b"three\n");
        writer.end();
        assert_eq!(std::fs::read(&moved).unwrap(), b"one\ntwo\n");
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert!(writer.open(&AccessLogSink::File(folder.join("no/such"))).is_err());
        drop(sink);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_sink_that_nobody_has_is_written_out_and_closed() {
        let path = std::env::temp_dir().join(format!("understudy-closed-{}", std::process::id()));
        let registry = Registry::new(1);
        let flushing = Flushing { interval: Duration::from_millis(20), ..Flushing::default() };
        let writer = Writer::start(registry.group(Scope::plain("filesystem.")), flushing).unwrap();
        let file = AccessLogSink::File(path.clone());
        let (one, same) = (writer.open(&file).unwrap(), writer.open(&file).unwrap());
        assert!(Arc::ptr_eq(&one.0, &same.0));
        let held = Arc::downgrade(&one.0);
        let until = |what: &dyn Fn() -> bool| {
            let patience = Instant::now() + Duration::from_secs(10);
            while !what() {
                assert!(Instant::now() < patience);
                thread::sleep(Duration::from_millis(5));
            }
        };
        let is_open = || {
            let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            files.filter_map(|file| std::fs::read_link(file.path()).ok()).any(|to| to == path)
        };
        writer.write(&one, b"last\n");
        drop(one);
        writer.write(&same, b"words\n");
        assert!(is_open());
        drop(same);
        until(&|| held.strong_count() == 0 && !is_open());
        assert_eq!(std::fs::read(&path).unwrap(), b"last\nwords\n");
        let again = writer.open_for_events(&file).unwrap();
        writer.write(&again, b"again\n");
        drop(again);
        writer.close_events_but(&[&path]);
        assert!(is_open());
        writer.close_events_but(&[]);
        until(&|| !is_open());
        writer.end();
        assert_eq!(std::fs::read(&path).unwrap(), b"last\nwords\nagain\n");
        std::fs::remove_file(&path).unwrap();
    }
}
