//! Owns the one place where parts meet: text to plan, plan to supervisor, signals to commands.

use std::{fs, io, sync::Arc, time::Duration};

use tokio::signal::unix::{SignalKind, signal};
use understudy_actors::{
    ApplyError, Command, Commander, Company, House, Options, Seams,
    command::{Quit, Reload},
    limits,
    log_levels::LogLevels,
    plan::Plan,
    stats::{Registry, Scope},
    view::View,
};

use crate::{
    access_log::Writer,
    admin,
    cli::{Flags, Mode},
    config::{
        Diagnostics, Source,
        compile::{self, AllSlots, Compiled},
        model::admin::AdminOptions,
    },
    contexts::Gauges,
    discovery::{Prober, Resolver},
    downstream::{self, DataPlane},
    loader::{self, Loader},
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
    loader::tell(&compiled.notes, &settings.source);
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
    let access_log = access_log(&view.registry, flags)?;
    loader::open_logs(&access_log, &compiled.plan)?;
    let loader = Loader::new(
        settings.source.clone(),
        flags.clone(),
        slots,
        compiled.defaults.clone(),
        access_log.clone(),
    );
    let seams = seams(&settings, &compiled, &view, &commander, loader, log);
    let mut exit = company.raise(seams);
    commander.install(loader::base(&compiled)).await?;
    // Its plan is the actors' now, who let go of it with the next one.
    drop(compiled);
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

fn access_log(registry: &Registry, flags: &Flags) -> Result<Arc<Writer>, ServerError> {
    let stats = registry.group(Scope::plain("filesystem."));
    Writer::start(stats, flags.flushing())
        .map_err(|error| ServerError::System { what: "starting the log writer", error })
}

fn admin_options(plan: &Plan) -> Option<Arc<AdminOptions>> {
    plan.admin.as_ref()?.options.clone().downcast().ok()
}

fn seams(
    settings: &Settings,
    compiled: &Compiled,
    view: &View,
    commander: &Commander,
    loader: Loader,
    log: &Logging,
) -> Seams {
    let loader = Arc::new(loader);
    let access_log = loader.access_log();
    let facts = admin::Facts {
        node: compiled.defaults.node.clone(),
        stats: Arc::new(compiled.stats.clone()),
        flags: settings.flags.clone(),
        own_address: downstream::own_address(),
    };
    let options = admin_options(&compiled.plan);
    let profile_path = options.as_ref().map(|admin| admin.profile_path.clone());
    let options = options.unwrap_or_default();
    let face = admin::AdminFace::new(view.clone(), commander.clone(), facts, &options, &access_log);
    Seams {
        serve: Arc::new(DataPlane::new(view.clone(), access_log.clone())),
        resolve: Arc::new(Resolver::default()),
        probe: Arc::new(Prober::new(view.registry.clone())),
        balance: Arc::new(Balancers),
        record: access_log.clone(),
        face: Arc::new(face),
        secrets: loader.secrets(),
        load: loader.clone(),
        understand: loader,
        house: Arc::new(OurHouse {
            gauges: gauges(view),
            log: log.clone(),
            access_log,
            profiler: admin::Profiler::new(profile_path),
            registry: view.registry.clone(),
        }),
    }
}

/// What the process does beside the actors.
struct OurHouse {
    log: Logging,
    access_log: Arc<Writer>,
    profiler: admin::Profiler,
    registry: Arc<Registry>,
    gauges: Arc<Gauges>,
}

/// When certificates end; days go by, and secrets change, without another plan.
fn gauges(view: &View) -> Arc<Gauges> {
    let (gauges, plan) = (Arc::new(Gauges::default()), view.plan.clone());
    let told = gauges.clone();
    view.registry.measure(move |registry| told.tell_again(&plan.read(), registry));
    gauges
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

    fn plan_in_force(&self, plan: &Plan) {
        self.gauges.tell(plan, &self.registry);
        let clusters = plan.clusters.iter();
        let logs = clusters.flat_map(|cluster| loader::event_logs(cluster)).collect::<Vec<_>>();
        self.access_log.close_events_but(&logs);
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

/// SIGTERM and SIGINT end the process, SIGUSR1 opens logs again, SIGHUP reads the configuration again.
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
            // In Envoy's words, but for SIGHUP.
            let (name, text, command) = tokio::select! {
                _ = terminate.recv() => ("SIGTERM", "caught ENVOY_SIGTERM", end),
                _ = interrupt.recv() => ("SIGINT", "caught SIGINT", end),
                _ = reopen.recv() => {
                    ("SIGUSR1", "caught SIGUSR1. Reopening access logs.", Command::ReopenLogs)
                }
                _ = hang_up.recv() => {
                    let reload = Command::Reload(Reload::Apply);
                    ("SIGHUP", "caught SIGHUP. Reading the configuration again.", reload)
                },
            };
            tracing::warn!(target: "main", "{text}");
            // What becomes of it is logged; the next signal need not wait for it.
            let commander = commander.clone();
            actix_rt::spawn(async move { commander.apply(name, command).await });
        }
    });
    Ok(())
}
