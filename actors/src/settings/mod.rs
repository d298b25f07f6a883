//! Owns what people change while the proxy runs: log levels, runtime overrides, the state of health; what
//! of it is set for a time only; and the flush.

mod disk;
mod flush;
mod leases;
mod runtime;
#[cfg(test)]
mod tests;

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::SystemTime,
};

use actix::prelude::*;
use tokio::time::Instant;

use self::leases::Leases;
use crate::{
    command::{Applied, LogLevel, LogLevelChange, Refusal, Setting, Term},
    log_levels::LogLevels,
    plan::{LayerPlan, StatsFlush},
    published::Publisher,
    roster::Roster,
    runtime::Runtime,
    server_state::{Lifecycle, ServerState},
    stats::{Group, Registry, RuntimeStat, Scope, ServerStat},
    supervise::falls,
    view::Temporary,
};

/// What settings keep through a fall: all that was set is published, and what of it has an end is here.
pub(crate) struct SettingsSeed {
    pub(crate) runtime: Publisher<Runtime>,
    pub(crate) log_levels: Publisher<LogLevels>,
    pub(crate) server: Publisher<ServerState>,
    pub(crate) temporary: Publisher<Vec<Temporary>>,
    registry: Arc<Registry>,
    roster: Arc<Roster>,
    stats: Arc<Group<ServerStat>>,
    runtime_stats: Arc<Group<RuntimeStat>>,
    flush: Cell<StatsFlush>,
    /// The layers of the plan, before anybody overrode anything.
    planned: RefCell<Option<Vec<LayerPlan>>>,
    overrides: RefCell<Leases<String, String>>,
    levels: RefCell<Leases<&'static str, LogLevel>>,
    health: RefCell<Leases<(), bool>>,
}

/// The settings.
pub(crate) struct Settings {
    seed: Rc<SettingsSeed>,
    flushing: Option<SpawnHandle>,
    ending: Option<SpawnHandle>,
    watching: Option<SpawnHandle>,
}

/// Set this, for so long; answered when it is in force.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Applied")]
pub(crate) struct Set(pub(crate) Setting, pub(crate) Term);

/// `/reset_counters`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Applied")]
pub(crate) struct ResetCounters;

/// `/stats/recentlookups/enable` and `disable`.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "Applied")]
pub(crate) struct TrackLookups(pub(crate) bool);

/// Take these runtime layers and flush so; what the admin layer overrides stays. Said again, it
/// changes nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Replan {
    pub(crate) layers: Vec<LayerPlan>,
    pub(crate) flush: StatsFlush,
}

/// Somebody has looked at the stats, who are flushed for that.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Flush;

/// How far initialization is.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Progressed {
    pub(crate) to: Lifecycle,
    /// Clusters that have not answered yet.
    pub(crate) unready: Vec<String>,
}

/// The process is ending.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ShuttingDown;

// === impl SettingsSeed ===

impl SettingsSeed {
    pub(crate) fn new(
        registry: Arc<Registry>,
        roster: Arc<Roster>,
        log_levels: LogLevels,
        started: SystemTime,
    ) -> Self {
        let stats: Arc<Group<ServerStat>> = registry.group(Scope::plain("server."));
        stats.set(ServerStat::Live, 1);
        let seed = Self {
            runtime: Publisher::new(Runtime::default()),
            log_levels: Publisher::new(log_levels),
            server: Publisher::new(ServerState::starting(started)),
            temporary: Publisher::new(Vec::new()),
            stats,
            runtime_stats: registry.group(Scope::plain("runtime.")),
            registry,
            roster,
            flush: Cell::default(),
            planned: RefCell::default(),
            overrides: RefCell::default(),
            levels: RefCell::default(),
            health: RefCell::default(),
        };
        // Envoy loads once before it asks control planes for layers, and once after.
        seed.load_layers(BTreeMap::new());
        seed
    }

    fn change_state(&self, change: impl FnOnce(&mut ServerState)) {
        let mut state = (*self.server.read()).clone();
        change(&mut state);
        let lifecycle = state.lifecycle();
        self.server.publish(state);
        // Observed: Envoy 1.40 sets `live` at once and `state` with the next flush.
        self.stats.set(ServerStat::Live, u64::from(lifecycle != Lifecycle::Draining));
    }

    fn set_health(&self, failed: bool, term: Term) -> Applied {
        self.health.borrow_mut().set((), self.server.read().health_failed, term);
        self.change_state(|state| state.health_failed = failed);
        Applied::Done
    }

    fn set_log_levels(&self, changes: &[LogLevelChange], term: Term) -> Applied {
        let before = self.log_levels.read();
        let mut levels = (*before).clone();
        for change in changes {
            match change {
                LogLevelChange::All(level) => levels.set_all(*level),
                LogLevelChange::One(logger, level) => {
                    if !levels.set(logger, *level) {
                        return Applied::Refused(Refusal::UnknownLogger(logger.clone()));
                    }
                }
            }
        }
        let named = |logger: &str| {
            let one = |change: &LogLevelChange| match change {
                LogLevelChange::All(_) => true,
                LogLevelChange::One(name, _) => name == logger,
            };
            changes.iter().any(one)
        };
        for (logger, level) in before.iter().filter(|(logger, _)| named(logger)) {
            self.levels.borrow_mut().set(logger, level, term);
        }
        self.log_levels.publish(levels);
        Applied::Done
    }

    /// When the next thing that was set for a time gives way.
    fn next_end(&self) -> Option<Instant> {
        let ends = [
            self.overrides.borrow().next_end(),
            self.levels.borrow().next_end(),
            self.health.borrow().next_end(),
        ];
        ends.into_iter().flatten().min()
    }

    /// Brings back what was lasting before what has ended.
    fn end_leases(&self) {
        let (overrides, levels) =
            (self.overrides.borrow_mut().take_ended(), self.levels.borrow_mut().take_ended());
        let health = self.health.borrow_mut().take_ended();
        if !overrides.is_empty() {
            let keys: Vec<_> = overrides.iter().map(|(key, _)| key.as_str()).collect();
            self.note_end(&format!("runtime {}", keys.join(", ")));
            self.override_runtime(&overrides);
        }
        if !levels.is_empty() {
            let mut restored = (*self.log_levels.read()).clone();
            for (logger, level) in &levels {
                restored.set(logger, *level);
            }
            let pairs: Vec<_> =
                levels.iter().map(|(name, level)| format!("{name}:{level}")).collect();
            self.note_end(&format!("log levels, which are again {}", pairs.join(",")));
            self.log_levels.publish(restored);
        }
        for (_, failed) in health {
            self.note_end("the state of health");
            self.change_state(|state| state.health_failed = failed);
        }
    }

    fn note_end(&self, what: &str) {
        tracing::info!(target: "admin", "the time is over for {what}");
        self.roster.note("settings", "time over", what);
    }

    /// Publishes what is set for a time.
    fn publish_temporary(&self) {
        let wall =
            |until: Instant| SystemTime::now() + until.saturating_duration_since(Instant::now());
        let mut all = Vec::new();
        for (key, lease) in self.overrides.borrow().iter() {
            let (what, back_to) = (format!("runtime {key}"), lease.lasting.clone());
            all.push(Temporary { what, back_to, until: wall(lease.until) });
        }
        for (logger, lease) in self.levels.borrow().iter() {
            let (what, back_to) = (format!("logger {logger}"), lease.lasting.to_string());
            all.push(Temporary { what, back_to, until: wall(lease.until) });
        }
        for (_, lease) in self.health.borrow().iter() {
            let back_to = if lease.lasting { "failed" } else { "ok" }.to_owned();
            all.push(Temporary { what: "health".to_owned(), back_to, until: wall(lease.until) });
        }
        if !(all.is_empty() && self.temporary.read().is_empty()) {
            self.temporary.publish(all);
        }
    }
}

// === impl Settings ===

impl Settings {
    pub(crate) fn new(seed: Rc<SettingsSeed>) -> Self {
        Self { seed, flushing: None, ending: None, watching: None }
    }

    fn flush_each_interval(&mut self, ctx: &mut Context<Self>) {
        if let Some(before) = self.flushing.take() {
            ctx.cancel_future(before);
        }
        if let StatsFlush::Every(interval) = self.seed.flush.get() {
            self.flushing = Some(ctx.run_interval(interval, |this, _| this.seed.flush()));
        }
    }

    /// Arms the end of what is set for a time; after a fall, anew.
    fn end_when_due(&mut self, ctx: &mut Context<Self>) {
        if let Some(before) = self.ending.take() {
            ctx.cancel_future(before);
        }
        self.seed.publish_temporary();
        let Some(next) = self.seed.next_end() else { return };
        let wait = next.saturating_duration_since(Instant::now());
        self.ending = Some(ctx.run_later(wait, |this, ctx| {
            this.ending = None;
            this.seed.end_leases();
            this.end_when_due(ctx);
        }));
    }
}

impl Actor for Settings {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.seed.flush();
        self.flush_each_interval(ctx);
        self.end_when_due(ctx);
        self.watch_layers(ctx);
    }
}

impl Supervised for Settings {
    /// Everything that was set is published, and the seed knows what of it has an end.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Settings);

impl Handler<Set> for Settings {
    type Result = MessageResult<Set>;

    fn handle(&mut self, Set(setting, term): Set, ctx: &mut Context<Self>) -> Self::Result {
        let applied = match setting {
            Setting::HealthFailed(failed) => self.seed.set_health(failed, term),
            Setting::LogLevels(changes) => self.seed.set_log_levels(&changes, term),
            Setting::Runtime(changes) => self.seed.modify_runtime(&changes, term),
        };
        self.end_when_due(ctx);
        MessageResult(applied)
    }
}

impl Handler<ResetCounters> for Settings {
    type Result = MessageResult<ResetCounters>;

    fn handle(&mut self, _: ResetCounters, _: &mut Context<Self>) -> Self::Result {
        self.seed.registry.reset_counters();
        MessageResult(Applied::Done)
    }
}

impl Handler<TrackLookups> for Settings {
    type Result = MessageResult<TrackLookups>;

    fn handle(&mut self, TrackLookups(on): TrackLookups, _: &mut Context<Self>) -> Self::Result {
        self.seed.change_state(|state| state.tracks_lookups = on);
        MessageResult(Applied::Done)
    }
}

impl Handler<Replan> for Settings {
    type Result = ();

    fn handle(&mut self, Replan { layers, flush }: Replan, ctx: &mut Context<Self>) {
        if self.seed.plan_runtime(layers) {
            self.watch_layers(ctx);
        }
        if self.seed.flush.replace(flush) != flush {
            self.flush_each_interval(ctx);
        }
    }
}

impl Handler<Flush> for Settings {
    type Result = ();

    fn handle(&mut self, _: Flush, _: &mut Context<Self>) {
        self.seed.flush();
    }
}

impl Handler<Progressed> for Settings {
    type Result = ();

    fn handle(&mut self, Progressed { to, unready }: Progressed, _: &mut Context<Self>) {
        let before = self.seed.server.read();
        if before.initialization != Lifecycle::Live && to == Lifecycle::Live {
            let took = before.started.elapsed().unwrap_or_default().as_millis();
            let took = u64::try_from(took).unwrap_or(u64::MAX);
            self.seed.stats.record(ServerStat::InitializationTimeMs, took);
            self.seed.stats.set(ServerStat::State, to as u64);
        }
        self.seed.change_state(|state| {
            state.initialization = to;
            state.unready = unready;
        });
        // Envoy flushes when it begins to serve, so that `server.state` is right from the first scrape.
        if to == Lifecycle::Live {
            self.seed.flush();
        }
    }
}

impl Handler<ShuttingDown> for Settings {
    type Result = ();

    fn handle(&mut self, _: ShuttingDown, _: &mut Context<Self>) {
        self.seed.change_state(|state| state.shutting_down = true);
    }
}
