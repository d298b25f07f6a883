//! Owns reading the static configuration: at the start, and again while it runs.

use std::{fs, path::Path, path::PathBuf, sync::Arc, time::SystemTime};

use understudy_actors::{
    configured::Base,
    plan::{ClusterPlan, ListenerPlan, Plan},
    resources::{Document, Kind, Known, ResourcePlan, Response, ResponseError},
    seams::{Load, Understand},
    secrets::Secrets,
};

use crate::{
    access_log::{OpenError, Writer},
    cli::Flags,
    config::{
        BOOTSTRAP, Diagnostics, Message, Source,
        compile::{self, AllSlots, Compiled, Defaults},
        digest::digest_without,
        model::{
            access_log::AccessLogSink,
            admin::AdminOptions,
            listener::{FilterChains, Terminal},
        },
        resources,
    },
};

const ADMIN: &str = "envoy.config.bootstrap.v3.Admin";

/// Fields of a bootstrap that can change while we run, besides where the admin port listens. The others take a
/// restart.
const CHANGEABLE: [&str; 5] = [
    "static_resources",
    "dynamic_resources",
    "layered_runtime",
    "stats_flush_interval",
    "stats_flush_on_admin",
];

/// Reads the static configuration again.
pub struct Loader {
    first: Source,
    flags: Flags,
    slots: Arc<AllSlots>,
    defaults: Defaults,
    access_log: Arc<Writer>,
}

/// The configuration that the command line names.
///
/// # Errors
///
/// Why there is none, for a person.
pub fn source(flags: &Flags) -> Result<Source, String> {
    match (&flags.config_path, &flags.config_yaml) {
        (Some(path), Some(text)) => {
            read(path).map(|source| source.with(Source::yaml("--config-yaml", text)))
        }
        (Some(path), None) => read(path),
        (None, Some(text)) => Ok(Source::yaml("--config-yaml", text)),
        (None, None) => Err(
            "a configuration is wanted: -c FILE, or --config-yaml YAML; or try `understudy demo`"
                .to_owned(),
        ),
    }
}

/// A file as a source.
///
/// # Errors
///
/// That it cannot be read, for a person.
pub fn read(path: &Path) -> Result<Source, String> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Source::file(path, text)),
        Err(error) => Err(format!("cannot read {}: {error}", path.display())),
    }
}

/// What the control plane is handed of a configuration.
pub fn base(compiled: &Compiled) -> Base {
    Base {
        plan: compiled.plan.clone(),
        clusters_from: compiled.clusters_from.clone(),
        listeners_from: compiled.listeners_from.clone(),
        bootstrap: compiled.bootstrap.clone(),
        loaded: SystemTime::now(),
    }
}

/// Logs warnings, and what an upgrade did.
pub fn tell(notes: &Diagnostics, source: &Source) {
    let notes = notes.render(source);
    for line in notes.lines() {
        tracing::warn!(target: "config", "{line}");
    }
}

/// Opens every log, so that a wrong path is told before anybody logs.
///
/// # Errors
///
/// [`OpenError`] for the first that cannot be opened.
pub fn open_logs(writer: &Writer, plan: &Plan) -> Result<(), OpenError> {
    plan.listeners.iter().try_for_each(|listener| open_logs_of_listener(writer, listener))?;
    plan.clusters.iter().try_for_each(|cluster| open_logs_of_cluster(writer, cluster))?;
    let admin = plan.admin.as_ref().and_then(|admin| admin.options.downcast_ref::<AdminOptions>());
    if let Some(path) = admin.and_then(|admin| admin.access_log.clone()) {
        writer.open(&AccessLogSink::File(path))?;
    }
    Ok(())
}

fn open_logs_of_cluster(writer: &Writer, cluster: &ClusterPlan) -> Result<(), OpenError> {
    event_logs(cluster)
        .try_for_each(|path| writer.open(&AccessLogSink::File(path.clone())).map(drop))
}

/// Where events of a cluster's hosts are told.
pub fn event_logs(cluster: &ClusterPlan) -> impl Iterator<Item = &PathBuf> {
    let of_checks = cluster.health_checks.iter().flat_map(|check| &check.event_logs);
    let of_outliers = cluster.outlier.iter().filter_map(|outlier| outlier.event_log.as_ref());
    of_checks.chain(of_outliers)
}

fn open_logs_of_listener(writer: &Writer, listener: &ListenerPlan) -> Result<(), OpenError> {
    let mut logs = terminals(listener).flat_map(Terminal::access_logs);
    logs.try_for_each(|log| writer.open(&log.sink).map(drop))
}

/// What a listener's connections go to.
fn terminals(listener: &ListenerPlan) -> impl Iterator<Item = &Terminal> {
    let chains = listener.chains.downcast_ref::<FilterChains>();
    chains.into_iter().flat_map(|chains| chains.all()).map(|chain| &chain.terminal)
}

// === impl Loader ===

impl Loader {
    /// Goes on from the first configuration, with the slots that its names were given.
    pub fn new(
        first: Source,
        flags: Flags,
        slots: AllSlots,
        defaults: Defaults,
        access_log: Arc<Writer>,
    ) -> Self {
        Self { first, flags, slots: Arc::new(slots), defaults, access_log }
    }

    /// Where secrets of discovery stand.
    pub fn secrets(&self) -> Arc<Secrets> {
        self.slots.secrets.clone()
    }

    /// Where access logs are written.
    pub fn access_log(&self) -> Arc<Writer> {
        self.access_log.clone()
    }
}

impl Load for Loader {
    fn load(&self, running: &Base) -> Result<Base, String> {
        let source = match self.flags.config_path {
            Some(_) => source(&self.flags)?,
            None => self.first.clone(),
        };
        let compiled = compile::load(&source, &self.flags.compile_options(), &self.slots);
        let compiled = compiled.map_err(|errors| errors.render(&source))?;
        if let Some(before) = running.bootstrap.downcast_ref::<Message>() {
            let fixed = fixed(before, &compiled.bootstrap);
            if fixed.has_errors() {
                return Err(fixed.render(&source));
            }
        }
        open_logs(&self.access_log, &compiled.plan).map_err(|error| error.to_string())?;
        tell(&compiled.notes, &source);
        Ok(base(&compiled))
    }
}

impl Understand for Loader {
    fn understand(&self, kind: Kind, document: &Document) -> Result<Response, ResponseError> {
        let (options, slots) = (self.flags.compile_options(), self.slots.clone());
        let (defaults, access_log) = (self.defaults.clone(), self.access_log.clone());
        let path = document.path.clone();
        let compile = move |message: &Message, known: &Known, source: &Source| {
            let compiled =
                compile::resource(kind, message, (&path, known), &options, &slots, &defaults);
            let (plan, notes) = compiled?;
            let opened = match &plan {
                ResourcePlan::Listener(listener, _) => open_logs_of_listener(&access_log, listener),
                ResourcePlan::Cluster(cluster) => open_logs_of_cluster(&access_log, cluster),
                ResourcePlan::Endpoints(_) | ResourcePlan::Routes(_) | ResourcePlan::Secret(_) => {
                    Ok(())
                }
            };
            opened.map_err(|error| {
                let mut errors = Diagnostics::default();
                errors.error(message.at, &message.path, error.to_string(), "");
                errors
            })?;
            tell(&notes, source);
            Ok(plan)
        };
        resources::read(kind, document, tell, compile)
    }
}

/// An error for each field that differs and takes a restart.
fn fixed(before: &Message, after: &Message) -> Diagnostics {
    let mut errors = Diagnostics::default();
    let fields = before.schema.fields.iter().map(|field| field.name);
    for name in fields.filter(|name| !CHANGEABLE.contains(name)) {
        if said(before, name) != said(after, name) {
            let path = after.path_of(name);
            let text =
                format!("`{name}` is not what it was at the start, and only a restart changes it");
            errors.error(after.at_of(name), &path, text, "undo the change, or restart");
        }
    }
    errors
}

/// A number for what a field says; of the admin port's, all but where it listens.
fn said(bootstrap: &Message, name: &str) -> u64 {
    digest_without(bootstrap, |message, set| match message.name() {
        BOOTSTRAP => set.field.name != name,
        ADMIN => set.field.name == "address",
        _ => false,
    })
}
