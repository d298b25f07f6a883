//! Owns the one place where parts meet: text to plan, plan to supervisor, signals to commands.

use std::{fs, io, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use understudy_actors::{
    ApplyError, Command, Commander, Company, House, Options, Seams,
    command::Quit,
    limits,
    log_levels::LogLevels,
    plan::{ListenerPlan, Plan},
    stats::{
        AnyGroup, Http1Stat, HttpStat, ListenerHttpStat, Registry, RouterStat, Scope, TracingStat,
    },
    view::View,
};

use crate::{
    access_log::Writer,
    admin,
    cli::{Flags, Mode},
    config::{
        Diagnostics, Source,
        compile::{self, AllSlots, Compiled},
        model::{
            access_log::AccessLogSink,
            admin::AdminOptions,
            listener::{FilterChains, Terminal},
        },
    },
    discovery::{Prober, Resolver},
    downstream::{self, DataPlane},
    logging::Logging,
    upstream::balancer::Balancers,
};

/// What a proxy is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration.
    pub source: Source,
    /// The command line.
    pub flags: Flags,
    /// Log levels to begin with.
    pub log_levels: LogLevels,
}

/// Why a proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration is refused.
    #[error("the configuration is refused")]
    Config(Diagnostics),
    /// It cannot be put in force.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// A thread, a signal handler, a file.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// An access log cannot be opened.
    #[error(transparent)]
    AccessLog(#[from] crate::access_log::OpenError),
}

/// Runs a proxy until it is told to end; gives the exit code.
///
/// # Errors
///
/// [`ServerError`] before it serves; afterwards it only ends.
pub fn run(settings: Settings, log: &Logging) -> Result<i32, ServerError> {
    actix_rt::System::new().block_on(serve(settings, log))
}

/// The same inside a system that runs already.
///
/// # Errors
///
/// [`ServerError`] before it serves.
pub async fn serve(settings: Settings, log: &Logging) -> Result<i32, ServerError> {
    let slots = AllSlots::default();
    let flags = &settings.flags;
    let compiled = compile::load(&settings.source, &flags.compile_options(), &slots);
    let compiled = compiled.map_err(ServerError::Config)?;
    if let Some(pattern) = compiled.log_format.clone() {
        log.dress(pattern);
    }
    let notes = compiled.notes.render(&settings.source);
    for line in notes.lines().filter(|_| !notes.is_empty()) {
        tracing::warn!(target: "config", "{line}");
    }
    let company = Company::prepare(Options {
        concurrency: flags.workers(),
        drain_time: flags.drain_time(),
        drain_sequence: flags.drain_sequence(),
        drills: flags.enable_drills,
        log_levels: settings.log_levels.clone(),
    });
    let view = company.view().clone();
    log.follow(view.log_levels.clone());
    let commander = company.commander().clone();
    let access_log = access_log(&view.registry, &compiled.plan, flags)?;
    let _listed = listed(&view.registry, &compiled.plan);
    let seams = seams(&settings, &compiled, &view, &commander, &access_log, log);
    let mut exit = company.raise(seams);
    commander.install(compiled.plan).await?;
    warn_of_deprecated_keys(&view);
    write_admin_address(flags, &view)?;
    if flags.mode == Mode::InitOnly {
        // Everything was checked, bound and opened; that was all.
        access_log.end();
        return Ok(0);
    }
    watch_signals(commander, flags.shutdown_time())?;
    let code = exit.wait().await;
    access_log.end();
    Ok(code)
}

/// Observed: Envoy 1.40, in these words.
fn warn_of_deprecated_keys(view: &View) {
    let key = limits::GLOBAL_CONNECTIONS;
    if view.runtime.read().get(key).is_some() {
        tracing::warn!(
            target: "main",
            "Usage of the deprecated runtime key {key}, consider switching to \
             `envoy.resource_monitors.global_downstream_max_connections` instead.\
             This runtime key will be removed in future."
        );
    }
}

/// Opens every access log, so that a wrong path is told at the start.
fn access_log(registry: &Registry, plan: &Plan, flags: &Flags) -> Result<Arc<Writer>, ServerError> {
    let stats = registry.group(Scope::plain("filesystem."));
    let writer = Writer::start(stats, flags.flushing())
        .map_err(|error| ServerError::System { what: "starting the log writer", error })?;
    for listener in &plan.listeners {
        for manager in managers(listener) {
            for log in &manager.access_logs {
                writer.open(&log.sink)?;
            }
        }
    }
    let checks = plan.clusters.iter().flat_map(|cluster| &cluster.health_checks);
    for path in checks.flat_map(|check| &check.event_logs) {
        writer.open(&AccessLogSink::File(path.clone()))?;
    }
    let outliers = plan.clusters.iter().filter_map(|cluster| cluster.outlier.as_ref());
    for path in outliers.filter_map(|outlier| outlier.event_log.as_ref()) {
        writer.open(&AccessLogSink::File(path.clone()))?;
    }
    if let Some(path) = admin_options(plan).and_then(|admin| admin.access_log.clone()) {
        writer.open(&AccessLogSink::File(path))?;
    }
    Ok(writer)
}

/// Stats that a worker makes with its first connection, kept from the start: `/stats` lists them at zero,
/// as in Envoy.
fn listed(registry: &Registry, plan: &Plan) -> Vec<Arc<dyn AnyGroup>> {
    let mut groups: Vec<Arc<dyn AnyGroup>> = Vec::new();
    groups.push(registry.group::<Http1Stat>(Scope::plain("http1.")));
    for manager in plan.listeners.iter().flat_map(|listener| managers(listener)) {
        let by_listener = Scope::listener_http(&manager.listener_stat_prefix, &manager.stat_prefix);
        let prefix = &manager.stat_prefix;
        groups.push(registry.group::<HttpStat>(Scope::http(prefix)));
        groups.push(registry.group::<RouterStat>(Scope::http(prefix)));
        groups.push(registry.group::<TracingStat>(Scope::http_tracing(prefix)));
        groups.push(registry.group::<ListenerHttpStat>(by_listener));
    }
    groups
}

fn managers(
    listener: &ListenerPlan,
) -> impl Iterator<Item = &crate::config::model::http::HttpConnectionManager> {
    let chains = listener.chains.downcast_ref::<FilterChains>();
    chains.into_iter().flat_map(|chains| &chains.chains).map(|chain| match &chain.terminal {
        Terminal::Http(manager) => &**manager,
    })
}

fn admin_options(plan: &Plan) -> Option<Arc<AdminOptions>> {
    plan.admin.as_ref()?.options.clone().downcast().ok()
}

fn seams(
    settings: &Settings,
    compiled: &Compiled,
    view: &View,
    commander: &Commander,
    access_log: &Arc<Writer>,
    log: &Logging,
) -> Seams {
    let facts = admin::Facts {
        bootstrap: compiled.bootstrap.clone(),
        node: compiled.node.clone(),
        stats: Arc::new(compiled.stats.clone()),
        flags: settings.flags.clone(),
        loaded: std::time::SystemTime::now(),
        own_address: downstream::own_address(),
    };
    let options = admin_options(&compiled.plan);
    let profile_path = options.as_ref().map(|admin| admin.profile_path.clone());
    let options = options.unwrap_or_default();
    let face = admin::AdminFace::new(view.clone(), commander.clone(), facts, &options, access_log);
    Seams {
        serve: Arc::new(DataPlane::new(view.clone(), access_log.clone())),
        resolve: Arc::new(Resolver::default()),
        probe: Arc::new(Prober::default()),
        balance: Arc::new(Balancers),
        record: access_log.clone(),
        face: Arc::new(face),
        house: Arc::new(OurHouse {
            log: log.clone(),
            access_log: access_log.clone(),
            profiler: admin::Profiler::new(profile_path),
        }),
    }
}

/// What the process does beside the actors.
struct OurHouse {
    log: Logging,
    access_log: Arc<Writer>,
    profiler: admin::Profiler,
}

impl House for OurHouse {
    fn reopen_logs(&self) {
        self.access_log.reopen();
        if let Err(error) = self.log.reopen() {
            tracing::warn!(target: "main", "{error}; the old file is written on");
        }
    }

    fn profile_cpu(&self, on: bool) -> Result<(), String> {
        self.profiler.switch(on)
    }
}

fn write_admin_address(flags: &Flags, view: &View) -> Result<(), ServerError> {
    let (Some(path), Some(address)) = (&flags.admin_address_path, *view.admin.read()) else {
        return Ok(());
    };
    // A reader that waits for the file finds it whole.
    let partial = path.with_extension("partial");
    fs::write(&partial, address.to_string())
        .and_then(|()| fs::rename(&partial, path))
        .map_err(|error| ServerError::System { what: "writing --admin-address-path", error })
}

/// SIGTERM and SIGINT end the process, SIGUSR1 opens logs again, SIGHUP is told and eaten.
fn watch_signals(commander: Commander, patience: Duration) -> Result<(), ServerError> {
    let listen = |kind| {
        signal(kind).map_err(|error| ServerError::System { what: "listening for signals", error })
    };
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut reopen = listen(SignalKind::user_defined1())?;
    let mut hang_up = listen(SignalKind::hangup())?;
    actix_rt::spawn(async move {
        loop {
            let end = Command::Quit(Quit::Graceful(patience));
            // In Envoy's words, but for hot restart.
            let (name, text, command) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", "caught ENVOY_SIGTERM", Some(end)),
                _ = interrupt.recv() => ("SIGINT", "caught SIGINT", Some(end)),
                _ = reopen.recv() => {
                    ("SIGUSR1", "caught SIGUSR1. Reopening access logs.", Some(Command::ReopenLogs))
                }
                _ = hang_up.recv() => {
                    ("SIGHUP", "caught and eating SIGHUP. There is no hot restart yet.", None)
                },
            };
            tracing::warn!(target: "main", "{text}");
            if let Some(command) = command {
                commander.apply(name, command).await;
            }
        }
    });
    Ok(())
}
