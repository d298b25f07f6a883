//! Owns the parts of `/config_dump` that discovery has brought: what is in force, in which version, and what was refused.

use std::{collections::BTreeMap, time::SystemTime};

use regex::bytes::Regex;
use serde_json::{Map, Value, json};
use understudy_actors::{
    configured::{Configured, Drained},
    plan::Payload,
    resources::{Kind, Refused, Resource, Subscription},
};

use super::{Desk, Doc, Fields, route_configs, timestamp, with_type};
use crate::config::Message;

/// What discovery has brought.
#[derive(Default)]
pub(super) struct Brought {
    pub(super) clusters_version: Fields,
    pub(super) clusters: Vec<Doc>,
    pub(super) warming: Vec<Doc>,
    pub(super) listeners_version: Fields,
    pub(super) listeners: Vec<Doc>,
    /// Tables that stand in listeners.
    pub(super) tables: Vec<Doc>,
    /// Tables that came by themselves.
    pub(super) routes: Vec<Doc>,
    pub(super) secrets: Vec<Doc>,
    /// Those that have not come yet.
    pub(super) warming_secrets: Vec<Doc>,
}

/// What of it is called by a name that fits.
pub(super) fn brought(desk: &Desk, named: Option<&Regex>) -> Brought {
    let configured = desk.view.configured.read();
    let fits = |name: &str| named.is_none_or(|regex| regex.is_match(name.as_bytes()));
    let mut out = Brought::default();
    if let Some(clusters) = configured.all_of(Kind::Cluster) {
        out.clusters_version = version(clusters);
        let directory = desk.view.clusters.read();
        for (name, resource) in clusters.resources.iter().filter(|(name, _)| fits(name)) {
            let mut state = state(resource, "cluster");
            if let Some(refused) = last(clusters, name) {
                state.insert("error_state".to_owned(), error_state(refused));
            }
            let ready = directory.named(name).is_some_and(|cluster| cluster.read().ready);
            let list = if ready { &mut out.clusters } else { &mut out.warming };
            list.push(Doc::Value(Value::Object(state)));
        }
    }
    if let Some(listeners) = configured.all_of(Kind::Listener) {
        out.listeners_version = version(listeners);
        out.listeners = dynamic_listeners(&configured, listeners, &fits);
        out.tables = tables(listeners, &fits);
    }
    let routes = configured.resources.iter().filter(|(topic, _)| topic.kind == Kind::Routes);
    for (name, resource) in routes.flat_map(|(_, one)| &one.resources) {
        if fits(name) {
            out.routes.push(Doc::Value(Value::Object(state(resource, "route_config"))));
        }
    }
    let secrets = configured.resources.iter().filter(|(topic, _)| topic.kind == Kind::Secret);
    let begun = configured.base.as_ref().map_or(SystemTime::now(), |base| base.loaded);
    for (topic, subscription) in secrets {
        let name = topic.name.as_deref().unwrap_or_default();
        match subscription.only() {
            _ if !fits(name) => {}
            Some(resource) => out.secrets.push(secret(name, resource)),
            None => out.warming_secrets.push(no_secret(name, begun)),
        }
    }
    out
}

fn secret(name: &str, resource: &Resource) -> Doc {
    let mut named = Map::new();
    named.insert("name".to_owned(), json!(name));
    named.extend(state(resource, "secret"));
    Doc::Value(Value::Object(named))
}

/// Observed: Envoy 1.40 shows of a secret that has not come what is asked for.
fn no_secret(name: &str, begun: SystemTime) -> Doc {
    let kind = format!("type.googleapis.com/{}", Kind::Secret.message());
    Doc::Value(json!({
        "name": name,
        "version_info": "uninitialized",
        "last_updated": timestamp(begun),
        "secret": {"@type": kind, "name": name},
    }))
}

fn version(subscription: &Subscription) -> Fields {
    let version = &subscription.version;
    let any = !version.is_empty();
    any.then(|| ("version_info".to_owned(), Doc::Value(json!(version)))).into_iter().collect()
}

/// Observed: Envoy 1.40 lists what the last update could not have once more, without a name.
fn dynamic_listeners(
    configured: &Configured,
    listeners: &Subscription,
    fits: &dyn Fn(&str) -> bool,
) -> Vec<Doc> {
    let mut out = Vec::new();
    // Observed: Envoy 1.40 shows the oldest of those of one name that drain.
    let mut draining = BTreeMap::new();
    for drained in configured.draining().filter(|drained| fits(&drained.name)) {
        draining.entry(drained.name.as_str()).or_insert(&**drained);
    }
    for (name, resource) in listeners.resources.iter().filter(|(name, _)| fits(name)) {
        let mut listener = Map::new();
        listener.insert("name".to_owned(), json!(name));
        listener.insert("active_state".to_owned(), Value::Object(state(resource, "listener")));
        if let Some(drained) = draining.remove(name.as_str()) {
            listener.insert("draining_state".to_owned(), draining_state(drained));
        }
        if let Some(refused) = last(listeners, name) {
            listener.insert("error_state".to_owned(), error_state(refused));
        }
        out.push(Doc::Value(Value::Object(listener)));
    }
    for (name, drained) in draining {
        out.push(Doc::Value(json!({"name": name, "draining_state": draining_state(drained)})));
    }
    let refused = || listeners.refused.iter().filter(|refused| fits(&refused.name));
    for one in refused().filter(|one| !listeners.resources.contains_key(&one.name)) {
        let listener = json!({"name": one.name, "error_state": error_state(one)});
        out.push(Doc::Value(listener));
    }
    out.extend(refused().map(|one| Doc::Value(json!({"error_state": error_state(one)}))));
    out
}

/// Route tables that stand in listeners are static, as in Envoy.
fn tables(listeners: &Subscription, fits: &dyn Fn(&str) -> bool) -> Vec<Doc> {
    let mut out = Vec::new();
    for resource in listeners.resources.values() {
        let Some(listener) = message(&resource.message) else { continue };
        let mut tables = Vec::new();
        route_configs(listener, &mut tables);
        for table in tables {
            if fits(table.peek_text("name").unwrap_or_default()) {
                let at = timestamp(resource.updated);
                let shown = json!({"route_config": with_type(table), "last_updated": at});
                out.push(Doc::Value(shown));
            }
        }
    }
    out
}

/// A resource with its version.
fn state(resource: &Resource, key: &str) -> Map<String, Value> {
    state_of(&resource.version, &resource.message, resource.updated, key)
}

fn draining_state(drained: &Drained) -> Value {
    Value::Object(state_of(&drained.version, &drained.message, drained.updated, "listener"))
}

fn state_of(version: &str, shown: &Payload, updated: SystemTime, key: &str) -> Map<String, Value> {
    let mut state = Map::new();
    if !version.is_empty() {
        state.insert("version_info".to_owned(), json!(version));
    }
    let shown = message(shown).map(with_type);
    state.insert(key.to_owned(), shown.unwrap_or_default());
    state.insert("last_updated".to_owned(), json!(timestamp(updated)));
    state
}

fn last<'s>(subscription: &'s Subscription, name: &str) -> Option<&'s Refused> {
    subscription.refused.iter().map(|refused| &**refused).find(|refused| refused.name == name)
}

fn error_state(refused: &Refused) -> Value {
    json!({
        "failed_configuration": message(&refused.message).map(with_type),
        "last_update_attempt": timestamp(refused.at),
        "details": refused.why,
    })
}

fn message(payload: &Payload) -> Option<&Message> {
    payload.downcast_ref()
}
