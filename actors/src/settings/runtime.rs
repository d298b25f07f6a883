//! Owns the runtime's layers: those of the plan, those on disk, and what people override.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use actix::prelude::*;

use super::{Settings, SettingsSeed, disk};
use crate::{
    command::{Applied, Refusal, Term},
    plan::{LayerPlan, LayerSource},
    runtime::{Runtime, RuntimeLayer, RuntimeValue},
    stats::RuntimeStat,
    watch::{Noticing, Watch},
};

// === impl SettingsSeed ===

impl SettingsSeed {
    /// Overrides go to the admin layer; of a key that stands twice the first counts.
    ///
    /// Source: `RuntimeLayer.admin_layer`. Observed: Envoy 1.40, `/runtime_modify?a=1&a=2`.
    pub(super) fn modify_runtime(&self, changes: &[(String, String)], term: Term) -> Applied {
        let runtime = self.runtime.read();
        let Some(admin) = runtime.layers.iter().find(|layer| layer.admin) else {
            return Applied::Refused(Refusal::NoAdminLayer);
        };
        let mut firsts: Vec<(String, String)> = Vec::new();
        for (key, value) in changes {
            if !firsts.iter().any(|(known, _)| known == key) {
                firsts.push((key.clone(), value.clone()));
                let before = admin.entries.get(key).map_or("", |value| value.text.as_str());
                self.overrides.borrow_mut().set(key.clone(), before.to_owned(), term);
            }
        }
        self.override_runtime(&firsts);
        Applied::Done
    }

    /// Puts overrides in force; an empty value takes one away. Layers on disk are read again, as Envoy does.
    pub(super) fn override_runtime(&self, changes: &[(String, String)]) {
        let mut overrides = self.overrides();
        for (key, value) in changes {
            match value.is_empty() {
                true => drop(overrides.remove(key)),
                false => drop(overrides.insert(key.clone(), RuntimeValue::parse(value))),
            }
        }
        self.load_layers(overrides);
    }

    /// What the admin layer says.
    fn overrides(&self) -> BTreeMap<String, RuntimeValue> {
        let runtime = self.runtime.read();
        let admin = runtime.layers.iter().find(|layer| layer.admin);
        admin.map(|layer| layer.entries.clone()).unwrap_or_default()
    }

    /// Takes the layers of a plan, unless they are those it has; says whether they are others.
    pub(super) fn plan_runtime(&self, planned: Vec<LayerPlan>) -> bool {
        if self.planned.borrow().as_ref() == Some(&planned) {
            return false;
        }
        self.planned.replace(Some(planned));
        self.load_layers(self.overrides());
        true
    }

    /// Reads every layer again. One that cannot be read is left out, as is one whose folder is not there.
    ///
    /// Observed: Envoy 1.40, layers and `runtime.*` stats after each of these.
    pub(super) fn load_layers(&self, mut overrides: BTreeMap<String, RuntimeValue>) {
        let planned = self.planned.borrow();
        let mut layers = Vec::new();
        let (mut on_disk, mut failed) = (0, false);
        for LayerPlan { name, source } in planned.iter().flatten() {
            let (admin, entries) = match source {
                LayerSource::Static(entries) => (false, entries.clone()),
                LayerSource::Admin => (true, std::mem::take(&mut overrides)),
                LayerSource::Disk { folder, .. } => match disk::read(folder) {
                    Ok(Some(entries)) => {
                        on_disk += 1;
                        (false, entries)
                    }
                    Ok(None) => continue,
                    Err(error) => {
                        failed = true;
                        tracing::warn!(target: "runtime", "layer {name} is left out: {error}");
                        continue;
                    }
                },
            };
            layers.push(RuntimeLayer { name: name.clone(), admin, entries });
        }
        if !overrides.is_empty() {
            tracing::warn!(target: "runtime", "the plan has no admin layer any more: overrides are gone");
        }
        let stats = &self.runtime_stats;
        stats.add(if failed { RuntimeStat::LoadError } else { RuntimeStat::LoadSuccess }, 1);
        // The second layer on disk is what is meant by the override directory.
        stats.add(
            match on_disk > 1 {
                true => RuntimeStat::OverrideDirExists,
                false => RuntimeStat::OverrideDirNotExists,
            },
            1,
        );
        self.publish_runtime(layers);
    }

    fn publish_runtime(&self, layers: Vec<RuntimeLayer>) {
        let (stats, runtime) = (&self.runtime_stats, Runtime::new(layers));
        let overrides = runtime.layers.iter().filter(|layer| layer.admin);
        let overrides: usize = overrides.map(|layer| layer.entries.len()).sum();
        stats.set(RuntimeStat::NumKeys, runtime.entries().count() as u64);
        stats.set(RuntimeStat::NumLayers, runtime.layers.len() as u64);
        if overrides > 0 || stats.used(RuntimeStat::AdminOverridesActive) {
            stats.set(RuntimeStat::AdminOverridesActive, u64::from(overrides > 0));
        }
        self.runtime.publish(runtime);
    }

    /// What layers on disk are swapped by.
    fn roots(&self) -> Vec<PathBuf> {
        let planned = self.planned.borrow();
        let planned = planned.as_deref().unwrap_or_default();
        let roots = planned.iter().filter_map(|layer| match &layer.source {
            LayerSource::Disk { root, .. } => Some(root.clone()),
            LayerSource::Static(_) | LayerSource::Admin => None,
        });
        roots.collect()
    }
}

// === impl Settings ===

impl Settings {
    /// Loads layers again when something is moved onto the root of one.
    pub(super) fn watch_layers(&mut self, ctx: &mut Context<Self>) {
        if let Some(before) = self.watching.take() {
            ctx.cancel_future(before);
        }
        let roots = self.seed.roots();
        if roots.is_empty() {
            return;
        }
        match Watch::on(roots.iter().map(|root| (root.as_path(), Noticing::Moves))) {
            Ok(watch) => self.wait_for_move(watch, ctx),
            Err(error) => {
                let names: Vec<_> =
                    roots.iter().map(|root| Path::display(root).to_string()).collect();
                let names = names.join(", ");
                tracing::error!(target: "runtime", "unable to add filesystem watch for {names}: {error}");
            }
        }
    }

    fn wait_for_move(&mut self, mut watch: Watch, ctx: &mut Context<Self>) {
        let moved = async move {
            let moved = watch.noticed().await;
            (watch, moved)
        };
        let waiting = moved.into_actor(self).map(|(watch, moved), this, ctx| match moved {
            Ok(_) => {
                this.seed.load_layers(this.seed.overrides());
                this.wait_for_move(watch, ctx);
            }
            Err(error) => {
                tracing::error!(target: "runtime", "runtime folders are no longer watched: {error}");
            }
        });
        self.watching = Some(ctx.spawn(waiting));
    }
}
