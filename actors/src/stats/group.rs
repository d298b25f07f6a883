//! Owns one scope's cells: a lane for each writer, summed when read.

use std::{
    any::Any,
    fmt,
    marker::PhantomData,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;

use super::{
    Scope,
    histogram::{Bins, Histogram, HistogramReading},
};

/// What a stat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down. Two cells: a gauge that is back at zero was written all the same.
    Gauge,
    /// A distribution of whole numbers, mostly milliseconds.
    Histogram,
    /// One counter for each HTTP status, made when first seen; `{}` in the name is the status.
    Codes,
    /// A text, which the control plane writes.
    Text,
}

/// One stat's name and kind.
#[derive(Clone, Copy, Debug)]
pub struct Def {
    /// Name below the scope's prefix.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// When readers see it.
    pub listed: Listed,
}

/// When a stat is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// From the start.
    Always,
    /// From its first value on.
    OnceWritten,
}

/// The stats of one kind of scope, made by `stat_set!`.
pub trait StatSet: Copy + Send + Sync + 'static {
    /// All stats in order.
    const DEFS: &'static [Def];
    /// Offset of each stat among the storage of its kind.
    const OFFSETS: &'static [u16];
    /// Position in [`Self::DEFS`].
    fn index(self) -> usize;
}

/// The stats of one scope. Cold reads and control-plane writes go here, hot writes to a [`Lane`].
pub struct Group<S> {
    scope: Scope,
    /// Lane 0 is the control plane's, lane `n + 1` worker `n`'s.
    lanes: Box<[Lane<S>]>,
    /// What `/reset_counters` takes off; same layout as the cells.
    reset_at: Mutex<Option<Box<[u64]>>>,
    codes_reset_at: Mutex<Vec<(usize, u16, u64)>>,
    merged: Mutex<Vec<Option<Merged>>>,
    texts: Mutex<Vec<Option<String>>>,
}

/// One writer's cells.
pub struct Lane<S> {
    cells: Box<[AtomicU64]>,
    histograms: Box<[OnceLock<Box<Histogram>>]>,
    codes: Box<[CodeCells]>,
    set: PhantomData<S>,
}

/// Counters by status, a hundred at a time.
#[derive(Default)]
struct CodeCells {
    classes: [OnceLock<Box<[AtomicU64; 100]>>; 5],
}

#[derive(Clone, Default)]
struct Merged {
    cumulative: Bins,
    interval: Bins,
}

/// A stat as a reader sees it.
#[derive(Debug)]
pub struct Reading<'a> {
    /// Name below the scope's prefix.
    pub name: &'a str,
    /// Written since the start of the process, whatever its value is now.
    pub used: bool,
    /// Its value.
    pub value: Value<'a>,
}

/// A value with its kind.
#[derive(Debug)]
pub enum Value<'a> {
    /// A counter.
    Counter(u64),
    /// A gauge.
    Gauge(u64),
    /// A histogram: since the start and of the last interval.
    Histogram(&'a HistogramReading),
    /// A text.
    Text(&'a str),
}

/// A group whose set of stats the reader does not know.
pub trait AnyGroup: Send + Sync {
    /// Prefix and tags.
    fn scope(&self) -> &Scope;
    /// What stats there are, in order.
    fn defs(&self) -> &'static [Def];
    /// Calls `see` with what [`Self::defs`] has at `at`: one stat, none yet, or one for each status.
    fn visit_one(&self, at: usize, see: &mut dyn FnMut(Reading<'_>));
    /// Calls `see` with every stat.
    fn visit(&self, see: &mut dyn FnMut(Reading<'_>)) {
        (0..self.defs().len()).for_each(|at| self.visit_one(at, see));
    }
    /// Closes the histograms' interval.
    fn flush(&self);
    /// Counters begin at zero again.
    fn reset(&self);
    /// For finding a group by its type again.
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

/// Offsets of stats among the storage of their kind; counters take one cell, gauges two.
pub(super) const fn offsets<const N: usize>(defs: &[Def; N]) -> [u16; N] {
    let mut out = [0; N];
    let (mut cells, mut histograms, mut codes, mut texts, mut at) = (0, 0, 0, 0, 0);
    while at < N {
        match defs[at].kind {
            Kind::Counter => {
                out[at] = cells;
                cells += 1;
            }
            Kind::Gauge => {
                out[at] = cells;
                cells += 2;
            }
            Kind::Histogram => {
                out[at] = histograms;
                histograms += 1;
            }
            Kind::Codes => {
                out[at] = codes;
                codes += 1;
            }
            Kind::Text => {
                out[at] = texts;
                texts += 1;
            }
        }
        at += 1;
    }
    out
}

// === impl Group ===

impl<S: StatSet> Group<S> {
    /// How many workers write.
    pub fn workers(&self) -> usize {
        self.lanes.len() - 1
    }

    pub(super) fn new(scope: Scope, workers: usize) -> Self {
        Self {
            scope,
            lanes: (0..=workers).map(|_| Lane::new()).collect(),
            reset_at: Mutex::new(None),
            codes_reset_at: Mutex::default(),
            merged: Mutex::new(vec![None; S::count(Kind::Histogram)]),
            texts: Mutex::new(vec![None; S::count(Kind::Text)]),
        }
    }

    /// A group that no registry lists, such as a host's.
    pub fn detached(workers: usize) -> Arc<Self> {
        Arc::new(Self::new(Scope::plain(""), workers))
    }

    /// The lane of worker `worker`, who alone may write to it.
    pub fn lane(&self, worker: usize) -> &Lane<S> {
        // A worker that is not there would be our own mistake; counting it somewhere beats a panic.
        self.lanes.get(worker + 1).unwrap_or(&self.lanes[0])
    }

    /// Adds to a counter from the control plane; any thread may.
    pub fn add(&self, stat: S, amount: u64) {
        self.lanes[0].cells[stat.offset()].fetch_add(amount, Relaxed);
    }

    /// Moves a gauge from the control plane; any thread may.
    pub fn shift(&self, stat: S, by: i64) {
        let side = if by >= 0 { 0 } else { 1 };
        self.lanes[0].cells[stat.offset() + side].fetch_add(by.unsigned_abs(), Relaxed);
    }

    /// Sets a gauge that only the control plane writes.
    pub fn set(&self, stat: S, value: u64) {
        let cells = &self.lanes[0].cells;
        // One up and one down: a gauge set to zero has been written.
        cells[stat.offset() + 1].store(1, Relaxed);
        cells[stat.offset()].store(value.wrapping_add(1), Relaxed);
    }

    /// Sets a text.
    pub fn say(&self, stat: S, text: &str) {
        if let Some(place) = self.texts.lock().get_mut(stat.offset()) {
            *place = Some(text.to_owned());
        }
    }

    /// Records into a histogram from the control plane.
    pub fn record(&self, stat: S, value: u64) {
        self.lanes[0].histogram(stat).record_shared(value);
    }

    /// Counts a status from the control plane.
    pub fn count_code(&self, stat: S, status: u16) {
        if let Some(cell) = self.lanes[0].codes[stat.offset()].cell(status) {
            cell.fetch_add(1, Relaxed);
        }
    }

    /// A counter's or gauge's value now.
    pub fn sum(&self, stat: S) -> u64 {
        let at = stat.offset();
        let total = self.total(at);
        match S::DEFS[stat.index()].kind {
            Kind::Gauge => total.wrapping_sub(self.total(at + 1)),
            _ => total.wrapping_sub(self.reset_at.lock().as_ref().map_or(0, |cells| cells[at])),
        }
    }

    /// Whether a counter or gauge was written since the start, whatever was reset since.
    pub fn used(&self, stat: S) -> bool {
        self.total(stat.offset()) != 0
    }

    /// A histogram as the last flush left it.
    pub fn reading(&self, stat: S) -> HistogramReading {
        self.distribution(stat.offset())
    }

    fn distribution(&self, histogram: usize) -> HistogramReading {
        let merged = self.merged.lock()[histogram].clone().unwrap_or_default();
        let Merged { cumulative, interval } = merged;
        HistogramReading { cumulative, interval }
    }

    fn total(&self, cell: usize) -> u64 {
        self.lanes.iter().fold(0, |sum: u64, lane| sum.wrapping_add(lane.cells[cell].load(Relaxed)))
    }

    fn code_total(&self, family: usize, status: u16) -> u64 {
        self.lanes.iter().fold(0, |sum, lane| sum + lane.codes[family].read(status))
    }

    /// Statuses that may have been seen: those of classes that were.
    fn statuses(&self, family: usize) -> impl Iterator<Item = u16> + '_ {
        let seen = move |class: &u16| {
            self.lanes.iter().any(|lane| lane.codes[family].has_class(usize::from(*class)))
        };
        (1..6).filter(seen).flat_map(|class| class * 100..(class + 1) * 100)
    }

    fn visit_codes(&self, def: &Def, family: usize, see: &mut dyn FnMut(Reading<'_>)) {
        for status in self.statuses(family) {
            let raw = self.code_total(family, status);
            if raw == 0 {
                continue;
            }
            let off = (self.codes_reset_at.lock().iter())
                .find(|(known, code, _)| (*known, *code) == (family, status))
                .map_or(0, |(_, _, off)| *off);
            let name = def.name.replace("{}", &status.to_string());
            let value = Value::Counter(raw.wrapping_sub(off));
            see(Reading { name: &name, used: true, value });
        }
    }

    fn merge(&self, histogram: usize) -> Bins {
        let mut bins = Bins::default();
        for lane in &self.lanes {
            if let Some(own) = lane.histograms[histogram].get() {
                own.add_to(&mut bins);
            }
        }
        bins
    }
}

impl<S: StatSet> AnyGroup for Group<S> {
    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn defs(&self) -> &'static [Def] {
        S::DEFS
    }

    fn visit_one(&self, at: usize, see: &mut dyn FnMut(Reading<'_>)) {
        let (Some(def), Some(offset)) = (S::DEFS.get(at), S::OFFSETS.get(at)) else { return };
        let at = usize::from(*offset);
        let mut see_listed = |reading: Reading<'_>| {
            if reading.used || def.listed == Listed::Always {
                see(reading);
            }
        };
        match def.kind {
            Kind::Counter => {
                let raw = self.total(at);
                let off = self.reset_at.lock().as_ref().map_or(0, |cells| cells[at]);
                let value = Value::Counter(raw.wrapping_sub(off));
                see_listed(Reading { name: def.name, used: raw != 0, value });
            }
            Kind::Gauge => {
                let (up, down) = (self.total(at), self.total(at + 1));
                let value = Value::Gauge(up.wrapping_sub(down));
                see_listed(Reading { name: def.name, used: up != 0 || down != 0, value });
            }
            Kind::Histogram => {
                let reading = self.distribution(at);
                // Used is what a flush has seen, as in Envoy; made it is with its first value.
                let used = !reading.cumulative.is_empty();
                let made = self.lanes.iter().any(|lane| lane.histograms[at].get().is_some());
                if made || def.listed == Listed::Always {
                    see(Reading { name: def.name, used, value: Value::Histogram(&reading) });
                }
            }
            Kind::Codes => self.visit_codes(def, at, see),
            Kind::Text => {
                let text = self.texts.lock().get(at).cloned().flatten();
                let value = Value::Text(text.as_deref().unwrap_or_default());
                see_listed(Reading { name: def.name, used: text.is_some(), value });
            }
        }
    }

    fn flush(&self) {
        let mut merged = self.merged.lock();
        for (at, slot) in merged.iter_mut().enumerate() {
            let now = self.merge(at);
            if now.is_empty() {
                continue;
            }
            let slot = slot.get_or_insert_default();
            slot.interval = now.since(&slot.cumulative);
            slot.cumulative = now;
        }
    }

    fn reset(&self) {
        let cells = (0..self.lanes[0].cells.len()).map(|cell| self.total(cell)).collect();
        *self.reset_at.lock() = Some(cells);
        let families = 0..S::count(Kind::Codes);
        *self.codes_reset_at.lock() = families
            .flat_map(|family| self.statuses(family).map(move |status| (family, status)))
            .map(|(family, status)| (family, status, self.code_total(family, status)))
            .filter(|(_, _, total)| *total != 0)
            .collect();
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<S> fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.scope.prefix).finish()
    }
}

impl fmt::Debug for dyn AnyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyGroup").field(&self.scope().prefix).finish()
    }
}

// === impl Lane ===

impl<S: StatSet> Lane<S> {
    fn new() -> Self {
        let cells = S::count(Kind::Counter) + 2 * S::count(Kind::Gauge);
        Self {
            cells: (0..cells).map(|_| AtomicU64::new(0)).collect(),
            histograms: (0..S::count(Kind::Histogram)).map(|_| OnceLock::new()).collect(),
            codes: (0..S::count(Kind::Codes)).map(|_| CodeCells::default()).collect(),
            set: PhantomData,
        }
    }

    /// Raises a counter or gauge by one.
    #[inline]
    pub fn inc(&self, stat: S) {
        self.add(stat, 1);
    }

    /// Raises a counter or gauge. Load and store: this lane has one writer.
    #[inline]
    pub fn add(&self, stat: S, amount: u64) {
        bump(&self.cells[stat.offset()], amount);
    }

    /// Lowers a gauge by one.
    #[inline]
    pub fn dec(&self, stat: S) {
        self.sub(stat, 1);
    }

    /// Lowers a gauge.
    #[inline]
    pub fn sub(&self, stat: S, amount: u64) {
        bump(&self.cells[stat.offset() + 1], amount);
    }

    /// What this writer has added to a gauge and not taken off again.
    pub fn gauge(&self, stat: S) -> u64 {
        let at = stat.offset();
        self.cells[at].load(Relaxed).wrapping_sub(self.cells[at + 1].load(Relaxed))
    }

    /// Records into a histogram; its storage comes with its first value.
    #[inline]
    pub fn record(&self, stat: S, value: u64) {
        self.histogram(stat).record(value);
    }

    /// Counts an HTTP status; one outside 100..=599 is not counted.
    #[inline]
    pub fn count_code(&self, stat: S, status: u16) {
        if let Some(cell) = self.codes[stat.offset()].cell(status) {
            bump(cell, 1);
        }
    }

    fn histogram(&self, stat: S) -> &Histogram {
        self.histograms[stat.offset()].get_or_init(Box::default)
    }
}

#[inline]
fn bump(cell: &AtomicU64, amount: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(amount), Relaxed);
}

impl<S> fmt::Debug for Lane<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane").finish_non_exhaustive()
    }
}

// === impl CodeCells ===

impl CodeCells {
    fn cell(&self, status: u16) -> Option<&AtomicU64> {
        let class = self.classes.get(usize::from(status / 100).checked_sub(1)?)?;
        let cells = class.get_or_init(|| Box::new([const { AtomicU64::new(0) }; 100]));
        cells.get(usize::from(status % 100))
    }

    fn has_class(&self, class: usize) -> bool {
        let class = class.checked_sub(1).and_then(|at| self.classes.get(at));
        class.is_some_and(|cells| cells.get().is_some())
    }

    fn read(&self, status: u16) -> u64 {
        let class = usize::from(status / 100).checked_sub(1).and_then(|at| self.classes.get(at));
        class
            .and_then(OnceLock::get)
            .and_then(|cells| cells.get(usize::from(status % 100)))
            .map_or(0, |cell| cell.load(Relaxed))
    }
}

// === impl StatSet ===

trait StatSetExt: StatSet {
    fn offset(self) -> usize {
        usize::from(Self::OFFSETS[self.index()])
    }

    fn count(kind: Kind) -> usize {
        Self::DEFS.iter().filter(|def| def.kind == kind).count()
    }
}

impl<S: StatSet> StatSetExt for S {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ClusterStat, Registry};

    fn reading(group: &Group<ClusterStat>, name: &str) -> Option<(bool, u64)> {
        let mut found = None;
        group.visit(&mut |stat| {
            if let (true, Value::Counter(v) | Value::Gauge(v)) = (stat.name == name, &stat.value) {
                found = Some((stat.used, *v));
            }
        });
        found
    }

    #[test]
    fn used_means_written_since_start_whatever_the_value_is_now() {
        let registry = Registry::new(1);
        let group = registry.group::<ClusterStat>(Scope::cluster("a"));
        assert_eq!(reading(&group, "upstream_rq_total"), Some((false, 0)));
        group.lane(0).add(ClusterStat::UpstreamRqTotal, 3);
        group.reset();
        assert_eq!(reading(&group, "upstream_rq_total"), Some((true, 0)));
        group.lane(0).inc(ClusterStat::UpstreamRqActive);
        group.lane(0).dec(ClusterStat::UpstreamRqActive);
        assert_eq!(reading(&group, "upstream_rq_active"), Some((true, 0)));
        group.set(ClusterStat::MembershipTotal, 0);
        assert_eq!(reading(&group, "membership_total"), Some((true, 0)));
        group.set(ClusterStat::MembershipTotal, 7);
        assert_eq!(reading(&group, "membership_total"), Some((true, 7)));
    }

    #[test]
    fn a_status_has_a_counter_of_its_own_once_it_was_seen() {
        let group = Group::<ClusterStat>::detached(1);
        assert_eq!(reading(&group, "upstream_rq_418"), None);
        group.lane(0).count_code(ClusterStat::UpstreamRqCode, 418);
        group.lane(0).count_code(ClusterStat::UpstreamRqCode, 999);
        assert_eq!(reading(&group, "upstream_rq_418"), Some((true, 1)));
        group.reset();
        assert_eq!(reading(&group, "upstream_rq_418"), Some((true, 0)));
    }
}
