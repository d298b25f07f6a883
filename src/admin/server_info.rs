//! `/server_info`

use serde_json::{Map, Value, json};

use super::{Answer, Ask, Desk};
use crate::{
    config::{compile::Node, message::Value as Field, print},
    version,
};

pub(super) fn server_info(desk: &Desk, _: &Ask) -> Answer {
    let state = desk.view.server.read();
    let uptime = format!("{}s", state.started.elapsed().unwrap_or_default().as_secs());
    let value = json!({
        "version": version::full(),
        "state": state.lifecycle().name(),
        "uptime_current_epoch": uptime,
        "uptime_all_epochs": uptime,
        "hot_restart_version": desk.facts.flags.hot_restart_version(),
        "command_line_options": desk.facts.flags.told(),
        "node": node(desk, true),
        "hot_restart_initializing": false,
    });
    Answer::json(&value)
}

/// Our node as `envoy.config.core.v3.Node`. `whole` writes empty fields too, as `/server_info` does.
pub(super) fn node(desk: &Desk, whole: bool) -> Value {
    let configured =
        match desk.bootstrap().as_ref().and_then(|(all, _)| Some(&all.peek("node")?.value)) {
            Some(Field::Message(node)) => print::json(node),
            _ => Value::Null,
        };
    let given = |name: &str| configured.get(name).cloned();
    let Node { id, cluster, .. } = &desk.facts.node;
    // The bootstrap that `/config_dump` shows is the file's: the command line is not in it, as in Envoy.
    let named = |name: &str, known: &String| if whole { Some(json!(known)) } else { given(name) };
    let fields = [
        ("id", named("id", id)),
        ("cluster", named("cluster", cluster)),
        ("metadata", given("metadata")),
        (
            "locality",
            if whole { whole_locality(desk, given("locality")) } else { given("locality") },
        ),
        ("user_agent_name", Some(json!("envoy"))),
        ("user_agent_build_version", Some(build_version(whole))),
        ("extensions", whole.then(|| json!([]))),
        ("client_features", whole.then(|| json!([]))),
        ("listening_addresses", whole.then(|| json!([]))),
        ("dynamic_parameters", whole.then(|| json!({}))),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name, value?)));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect())
}

/// A locality with all its parts, once there is one; `--service-zone` wins over the file.
fn whole_locality(desk: &Desk, configured: Option<Value>) -> Option<Value> {
    let zone = &desk.facts.flags.service_zone;
    if configured.is_none() && zone.is_empty() {
        return None;
    }
    let part = |name: &str| match (name, zone.is_empty()) {
        ("zone", false) => json!(zone),
        _ => configured.as_ref().and_then(|all| all.get(name).cloned()).unwrap_or(json!("")),
    };
    let parts = ["region", "zone", "sub_zone"].map(|name| (name.to_owned(), part(name)));
    Some(Value::Object(parts.into_iter().collect()))
}

/// What we are. A zero is left out where defaults are.
fn build_version(whole: bool) -> Value {
    let names = ["major_number", "minor_number", "patch"];
    let numbers = names.into_iter().zip(version::numbers());
    let numbers = numbers.filter(|(_, number)| whole || *number > 0);
    let numbers: Map<String, Value> =
        numbers.map(|(name, number)| (name.to_owned(), json!(number))).collect();
    json!({
        "version": numbers,
        "metadata": {
            "revision.sha": version::REVISION,
            "revision.status": version::STATUS,
            "build.type": version::BUILD,
            "ssl.version": version::TLS,
        },
    })
}
