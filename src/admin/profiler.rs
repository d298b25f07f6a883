//! `/cpuprofiler`: samples the process and writes a profile in pprof's format.

use std::{fmt, fs, path::PathBuf};

use parking_lot::Mutex;
use understudy_actors::Command;

use super::{Answer, Ask, Desk};

/// Samples a second: a prime, so as not to march in step with timers.
const SAMPLES_PER_SECOND: i32 = 97;

/// The CPU profiler.
pub struct Profiler {
    path: Option<PathBuf>,
    running: Mutex<Option<pprof::ProfilerGuard<'static>>>,
}

pub(super) fn cpu(_: &Desk, ask: &Ask) -> Result<Command, Answer> {
    match ask.param("enable") {
        Some("y") => Ok(Command::ProfileCpu(true)),
        Some("n") => Ok(Command::ProfileCpu(false)),
        _ => Err(Answer::status(400, "?enable=<y|n>\n")),
    }
}

// === impl Profiler ===

impl Profiler {
    /// A profiler that writes to `profile_path`.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, running: Mutex::new(None) }
    }

    /// Starts it, or stops it and writes what was seen.
    ///
    /// # Errors
    ///
    /// Why it did not start, or could not write.
    pub fn switch(&self, on: bool) -> Result<(), String> {
        let mut running = self.running.lock();
        if on {
            if running.is_some() {
                return Ok(());
            }
            // A profile that could not be written in the end is refused at the start.
            let path = self.path.as_ref().ok_or("there is no profile_path")?;
            fs::write(path, b"").map_err(|error| format!("{}: {error}", path.display()))?;
            let guard = pprof::ProfilerGuard::new(SAMPLES_PER_SECOND);
            *running = Some(guard.map_err(|error| error.to_string())?);
            return Ok(());
        }
        let (Some(guard), Some(path)) = (running.take(), &self.path) else { return Ok(()) };
        let report = guard.report().build().map_err(|error| error.to_string())?;
        let profile = encode(&report, 1_000_000_000 / i64::from(SAMPLES_PER_SECOND));
        fs::write(path, profile).map_err(|error| format!("{}: {error}", path.display()))
    }
}

impl fmt::Debug for Profiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profiler").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Writes a profile. Source: `profile.proto` of google/pprof.
fn encode(report: &pprof::Report, period_ns: i64) -> Vec<u8> {
    let mut names = Names::default();
    let (mut out, mut locations) = (Vec::new(), Vec::new());
    let (samples, count, cpu, nanoseconds) =
        (names.of("samples"), names.of("count"), names.of("cpu"), names.of("nanoseconds"));
    for (kind, unit) in [(samples, count), (cpu, nanoseconds)] {
        message(&mut out, 1, &value_type(kind, unit));
    }
    for (frames, count) in &report.data {
        let mut ids = Vec::new();
        for symbol in frames.frames.iter().flatten() {
            let name = names.of(&symbol.name());
            let known = locations.iter().position(|known| *known == name);
            let id = known.unwrap_or_else(|| {
                locations.push(name);
                locations.len() - 1
            });
            varint(&mut ids, id as u64 + 1);
        }
        let (mut sample, mut values) = (Vec::new(), Vec::new());
        message(&mut sample, 1, &ids);
        varint(&mut values, count.unsigned_abs() as u64);
        varint(&mut values, (count.unsigned_abs() as u64) * period_ns.unsigned_abs());
        message(&mut sample, 2, &values);
        message(&mut out, 2, &sample);
    }
    for (index, name) in locations.iter().enumerate() {
        let id = index as u64 + 1;
        let (mut line, mut location, mut function) = (Vec::new(), Vec::new(), Vec::new());
        number(&mut line, 1, id);
        number(&mut location, 1, id);
        message(&mut location, 4, &line);
        message(&mut out, 4, &location);
        number(&mut function, 1, id);
        number(&mut function, 2, *name);
        message(&mut out, 5, &function);
    }
    message(&mut out, 11, &value_type(cpu, nanoseconds));
    number(&mut out, 12, period_ns.unsigned_abs());
    for name in &names.list {
        message(&mut out, 6, name.as_bytes());
    }
    out
}

/// The string table; its first entry is empty.
struct Names {
    list: Vec<String>,
}

impl Default for Names {
    fn default() -> Self {
        Self { list: vec![String::new()] }
    }
}

impl Names {
    fn of(&mut self, name: &str) -> u64 {
        let known = self.list.iter().position(|known| known == name);
        let index = known.unwrap_or_else(|| {
            self.list.push(name.to_owned());
            self.list.len() - 1
        });
        index as u64
    }
}

fn value_type(kind: u64, unit: u64) -> Vec<u8> {
    let mut out = Vec::new();
    number(&mut out, 1, kind);
    number(&mut out, 2, unit);
    out
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn message(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, (field << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
