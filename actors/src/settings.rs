//! Owns what people change while the proxy runs: log levels, runtime overrides, the state of health. And
//! the flush: gauges of the process, and intervals of histograms.

use std::{
    cell::{Cell, RefCell},
    fs,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime},
};

use actix::prelude::*;

use crate::{
    command::{Applied, LogLevelChange, Refusal},
    log_levels::LogLevels,
    published::Publisher,
    roster::Roster,
    runtime::{Runtime, RuntimeLayer, RuntimeValue},
    server_state::{Lifecycle, ServerState},
    stats::{Group, Registry, RuntimeStat, Scope, ServerStat},
    supervise::falls,
};

/// `Bootstrap.stats_flush_interval`; Envoy's default.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);

/// What the kernel counts resident memory in.
const PAGE_BYTES: u64 = 4096;

/// What settings keep through a fall: all of it is published.
pub(crate) struct SettingsSeed {
    pub(crate) runtime: Publisher<Runtime>,
    pub(crate) log_levels: Publisher<LogLevels>,
    pub(crate) server: Publisher<ServerState>,
    registry: Arc<Registry>,
    roster: Arc<Roster>,
    stats: Arc<Group<ServerStat>>,
    runtime_stats: Arc<Group<RuntimeStat>>,
    flush_interval: Cell<Duration>,
    /// The layers of the plan, as they were before anybody overrode anything.
    planned: RefCell<Option<Vec<RuntimeLayer>>>,
}

/// The settings.
pub(crate) struct Settings {
    seed: Rc<SettingsSeed>,
    flushing: Option<SpawnHandle>,
}

/// Change a setting; answered when it is in force.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Applied")]
pub(crate) enum Set {
    /// `/healthcheck/fail`, `/healthcheck/ok`.
    HealthFailed(bool),
    /// `/logging`.
    LogLevels(Vec<LogLevelChange>),
    /// `/runtime_modify`.
    Runtime(Vec<(String, String)>),
    /// `/reset_counters`.
    ResetCounters,
}

/// Take these runtime layers and this interval; what the admin layer overrides stays. Said again, it
/// changes nothing.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Replan {
    pub(crate) layers: Vec<RuntimeLayer>,
    pub(crate) flush_interval: Option<Duration>,
}

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
        Self {
            runtime: Publisher::new(Runtime::default()),
            log_levels: Publisher::new(log_levels),
            server: Publisher::new(ServerState::starting(started)),
            stats,
            runtime_stats: registry.group(Scope::plain("runtime.")),
            registry,
            roster,
            flush_interval: Cell::new(FLUSH_INTERVAL),
            planned: RefCell::default(),
        }
    }

    fn change_state(&self, change: impl FnOnce(&mut ServerState)) {
        let mut state = (*self.server.read()).clone();
        change(&mut state);
        let lifecycle = state.lifecycle();
        self.server.publish(state);
        // Observed: Envoy 1.40 sets `live` at once and `state` with the next flush.
        self.stats.set(ServerStat::Live, u64::from(lifecycle != Lifecycle::Draining));
    }

    fn set_log_levels(&self, changes: &[LogLevelChange]) -> Applied {
        let mut levels = (*self.log_levels.read()).clone();
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
        self.log_levels.publish(levels);
        Applied::Done
    }

    /// Overrides go to the last admin layer. Source: `RuntimeLayer.admin_layer`.
    fn modify_runtime(&self, changes: &[(String, String)]) -> Applied {
        let mut layers = self.runtime.read().layers.clone();
        let Some(admin) = layers.iter_mut().rev().find(|layer| layer.admin) else {
            return Applied::Refused(Refusal::NoAdminLayer);
        };
        for (key, value) in changes {
            match value.is_empty() {
                true => drop(admin.entries.remove(key)),
                false => drop(admin.entries.insert(key.clone(), RuntimeValue::parse(value))),
            }
        }
        self.publish_runtime(layers);
        Applied::Done
    }

    fn plan_runtime(&self, planned: Vec<RuntimeLayer>) {
        if self.planned.borrow().as_ref() == Some(&planned) {
            return;
        }
        let mut layers = planned.clone();
        let before = self.runtime.read();
        let overrides = before.layers.iter().rev().find(|layer| layer.admin);
        if let Some(overrides) = overrides {
            match layers.iter_mut().rev().find(|layer| layer.admin) {
                Some(admin) => admin.entries.extend(overrides.entries.clone()),
                None if overrides.entries.is_empty() => {}
                None => {
                    tracing::warn!(target: "runtime", "the plan has no admin layer any more: overrides are gone");
                }
            }
        }
        self.publish_runtime(layers);
        self.planned.replace(Some(planned));
    }

    fn publish_runtime(&self, layers: Vec<RuntimeLayer>) {
        let (stats, runtime) = (&self.runtime_stats, Runtime::new(layers));
        let overrides = runtime.layers.iter().filter(|layer| layer.admin);
        let overrides: usize = overrides.map(|layer| layer.entries.len()).sum();
        stats.set(RuntimeStat::NumKeys, runtime.entries().count() as u64);
        stats.set(RuntimeStat::NumLayers, runtime.layers.len() as u64);
        stats.set(RuntimeStat::AdminOverridesActive, u64::from(overrides > 0));
        stats.add(RuntimeStat::LoadSuccess, 1);
        self.runtime.publish(runtime);
    }

    fn flush(&self) {
        let (stats, state) = (&self.stats, self.server.read());
        let uptime = state.started.elapsed().unwrap_or_default();
        stats.set(ServerStat::Uptime, uptime.as_secs());
        stats.set(ServerStat::State, state.lifecycle() as u64);
        stats.set(ServerStat::TotalConnections, self.roster.connections.load(Relaxed));
        let memory = Memory::read();
        stats.set(ServerStat::MemoryAllocated, memory.anonymous);
        stats.set(ServerStat::MemoryHeapSize, memory.anonymous);
        stats.set(ServerStat::MemoryPhysicalSize, memory.resident);
        self.registry.flush();
    }
}

/// Bytes of memory; 0 where the system does not say.
struct Memory {
    resident: u64,
    /// What is not backed by a file: the heap, mostly.
    anonymous: u64,
}

// === impl Memory ===

impl Memory {
    fn read() -> Self {
        let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut fields = text.split(' ').skip(1).map(|pages| pages.parse().unwrap_or(0));
        let mut next = || fields.next().unwrap_or(0_u64).saturating_mul(PAGE_BYTES);
        let (resident, shared) = (next(), next());
        Self { resident, anonymous: resident.saturating_sub(shared) }
    }
}

// === impl Settings ===

impl Settings {
    pub(crate) fn new(seed: Rc<SettingsSeed>) -> Self {
        Self { seed, flushing: None }
    }

    fn flush_each_interval(&mut self, ctx: &mut Context<Self>) {
        if let Some(before) = self.flushing.take() {
            ctx.cancel_future(before);
        }
        let every = self.seed.flush_interval.get();
        self.flushing = Some(ctx.run_interval(every, |this, _| this.seed.flush()));
    }
}

impl Actor for Settings {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.seed.flush();
        self.flush_each_interval(ctx);
    }
}

impl Supervised for Settings {
    /// Everything that was set is published.
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Settings);

impl Handler<Set> for Settings {
    type Result = MessageResult<Set>;

    fn handle(&mut self, set: Set, _: &mut Context<Self>) -> Self::Result {
        MessageResult(match set {
            Set::HealthFailed(failed) => {
                self.seed.change_state(|state| state.health_failed = failed);
                Applied::Done
            }
            Set::LogLevels(changes) => self.seed.set_log_levels(&changes),
            Set::Runtime(changes) => self.seed.modify_runtime(&changes),
            Set::ResetCounters => {
                self.seed.registry.reset_counters();
                Applied::Done
            }
        })
    }
}

impl Handler<Replan> for Settings {
    type Result = ();

    fn handle(&mut self, Replan { layers, flush_interval }: Replan, ctx: &mut Context<Self>) {
        self.seed.plan_runtime(layers);
        let every = flush_interval.unwrap_or(FLUSH_INTERVAL);
        if self.seed.flush_interval.replace(every) != every {
            self.flush_each_interval(ctx);
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::LogLevel,
        supervise::{Cast, Fall, supervise},
    };

    fn settings() -> (Addr<Settings>, Rc<SettingsSeed>) {
        let (registry, roster) = (Arc::new(Registry::new(1)), Arc::new(Roster::default()));
        let levels = LogLevels::all(&["upstream", "admin"], LogLevel::Info);
        let seed = Rc::new(SettingsSeed::new(registry, roster.clone(), levels, SystemTime::now()));
        let (role, name, parent) = ("Settings", "settings".to_owned(), String::new());
        let cast = Cast { roster, role, name, parent, reports: Arc::new(|_| {}) };
        let own = seed.clone();
        (supervise(cast, move |_| Settings::new(own)), seed)
    }

    fn layers(key: &str, value: &str) -> Vec<RuntimeLayer> {
        let layer = |name: &str, admin| RuntimeLayer {
            name: name.to_owned(),
            admin,
            entries: Default::default(),
        };
        let mut layers = vec![layer("static", false), layer("admin", true)];
        layers[0].entries.insert(key.to_owned(), RuntimeValue::parse(value));
        layers
    }

    fn pair(key: &str, value: &str) -> Vec<(String, String)> {
        vec![(key.to_owned(), value.to_owned())]
    }

    #[actix::test]
    async fn a_fall_loses_no_override_no_log_level_and_no_state_of_health() {
        let (settings, seed) = settings();
        let replan = Replan { layers: layers("a", "1"), flush_interval: None };
        settings.send(replan.clone()).await.unwrap();
        for set in [
            Set::Runtime(pair("a", "2")),
            Set::LogLevels(vec![LogLevelChange::One("admin".to_owned(), LogLevel::Debug)]),
            Set::HealthFailed(true),
        ] {
            assert_eq!(settings.send(set).await.unwrap(), Applied::Done);
        }
        settings.do_send(Fall);
        // The supervisor says its plan again after its own falls; that must not undo an override.
        settings.send(replan).await.unwrap();
        assert_eq!(seed.runtime.read().integer("a", 0), 2);
        assert_eq!(seed.log_levels.read().level("admin"), Some(LogLevel::Debug));
        assert_eq!(seed.server.read().lifecycle(), Lifecycle::Draining);
        assert_eq!(seed.stats.sum(ServerStat::Live), 0);

        settings.send(Set::Runtime(pair("a", ""))).await.unwrap();
        assert_eq!(seed.runtime.read().integer("a", 0), 1);
    }

    #[actix::test]
    async fn another_plan_keeps_overrides_and_brings_its_own_layers() {
        let (settings, seed) = settings();
        let refused = settings.send(Set::Runtime(pair("a", "2"))).await.unwrap();
        assert_eq!(refused, Applied::Refused(Refusal::NoAdminLayer));
        let replan = |layers| Replan { layers, flush_interval: None };
        settings.send(replan(layers("a", "1"))).await.unwrap();
        settings.send(Set::Runtime(pair("a", "2"))).await.unwrap();
        settings.send(replan(layers("b", "3"))).await.unwrap();
        let runtime = seed.runtime.read();
        assert_eq!((runtime.integer("a", 0), runtime.integer("b", 0)), (2, 3));
    }

    #[actix::test]
    async fn one_unknown_logger_leaves_all_levels_as_they_were() {
        let (settings, seed) = settings();
        let changes = vec![
            LogLevelChange::All(LogLevel::Trace),
            LogLevelChange::One("nobody".to_owned(), LogLevel::Debug),
        ];
        let applied = settings.send(Set::LogLevels(changes)).await.unwrap();
        assert_eq!(applied, Applied::Refused(Refusal::UnknownLogger("nobody".to_owned())));
        assert_eq!(seed.log_levels.read().level("admin"), Some(LogLevel::Info));
    }

    #[actix::test]
    async fn the_flush_keeps_the_interval_of_the_plan_through_a_fall() {
        let (settings, seed) = settings();
        tokio::time::pause();
        let flush_interval = Some(Duration::from_secs(1));
        settings.send(Replan { layers: Vec::new(), flush_interval }).await.unwrap();
        settings.do_send(Fall);
        settings.send(Set::HealthFailed(true)).await.unwrap();
        assert_eq!(seed.stats.sum(ServerStat::State), 2);
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(seed.stats.sum(ServerStat::State), 1);
    }
}
