//! `/config_dump`: the configuration in force, in Envoy's dress.

use regex::bytes::Regex;
use serde_json::{Map, Value, json};
use understudy_actors::snapshot::{ClusterSnapshot, Host};

use super::{
    Answer, Ask, Desk,
    answer::BARE_TEXT,
    clusters::locality,
    json::{self as admin_json, timestamp},
    mask::Mask,
    server_info::node,
};
use crate::{
    config::{
        Message,
        message::Value as Field,
        print,
        schema::{self, FieldKind},
    },
    re2::{self, Extent},
};

const ADMIN: &str = "envoy.admin.v3.";

/// One element of `configs`.
struct Section {
    /// The message's full name.
    kind: String,
    /// Its fields, without its type.
    value: Value,
}

/// Errors are Envoy's. Observed: Envoy 1.40.
pub(super) fn config_dump(desk: &Desk, ask: &Ask) -> Answer {
    let given = |name: &str| ask.param(name).filter(|value| !value.is_empty());
    // A name is matched as a whole, as string matchers do.
    let named = given("name_regex").map(|text| (text, re2::compile(text, Extent::Whole)));
    let named = match named {
        Some((text, Err(why))) => {
            let text =
                format!("INVALID_ARGUMENT: Error while parsing name_regex from {text}: {why}");
            return bare(400, text);
        }
        Some((_, Ok(regex))) => Some(regex),
        None => None,
    };
    let sections = sections(desk, named.as_ref(), ask.has("include_eds"));
    let mask = given("mask").map(Mask::parse);
    let configs = match (given("resource"), &mask) {
        (Some(resource), mask) => match pick(&sections, resource, mask.as_ref()) {
            Ok(elements) => elements,
            Err(refused) => return refused,
        },
        (None, Some(mask)) => {
            let fitting = sections.iter().filter(|section| mask.fits(&section.kind));
            let masked: Vec<Value> =
                fitting.map(|section| section.json(mask.trim(&section.value))).collect();
            if masked.is_empty() {
                let text = given("mask").unwrap_or_default();
                let text =
                    format!("FieldMask {text} could not be successfully applied to any configs.");
                return bare(400, text);
            }
            masked
        }
        (None, None) => {
            sections.iter().map(|section| section.json(section.value.clone())).collect()
        }
    };
    Answer::json(&match configs.is_empty() {
        true => json!({}),
        false => json!({"configs": configs}),
    })
}

fn bare(status: u16, text: String) -> Answer {
    Answer { content_type: BARE_TEXT, ..Answer::status(status, text) }
}

fn sections(desk: &Desk, named: Option<&Regex>, include_eds: bool) -> Vec<Section> {
    let (bootstrap, at) = (&desk.facts.bootstrap, timestamp(desk.facts.loaded));
    let keep = |message: &Message| {
        let name = message.peek("name").map(|set| match &set.value {
            Field::String(name) => name.as_str(),
            _ => "",
        });
        named.is_none_or(|regex| regex.is_match(name.unwrap_or_default().as_bytes()))
    };
    let resources = |list: &str| -> Vec<&Message> {
        let resources = bootstrap.peek("static_resources").map(|set| &set.value);
        let Some(Field::Message(resources)) = resources else { return Vec::new() };
        let items = resources.peek(list).map(|set| &set.value);
        let Some(Field::List(items)) = items else { return Vec::new() };
        let messages = items.iter().filter_map(|item| match &item.value {
            Field::Message(message) => Some(&**message),
            _ => None,
        });
        messages.filter(|message| keep(message)).collect()
    };
    let with_type = |message: &Message| {
        print::any_json(&format!("type.googleapis.com/{}", message.name()), message)
    };
    let clusters: Vec<Value> = (resources("clusters").into_iter())
        .map(|cluster| json!({"cluster": with_type(cluster), "last_updated": at}))
        .collect();
    let listeners: Vec<Value> = (resources("listeners").into_iter())
        .map(|listener| json!({"listener": with_type(listener), "last_updated": at}))
        .collect();
    let mut tables = Vec::new();
    resources("listeners").into_iter().for_each(|listener| route_configs(listener, &mut tables));
    let tables: Vec<Value> = (tables.into_iter())
        .map(|table| json!({"route_config": with_type(table), "last_updated": at}))
        .collect();
    let section = |kind: &str, value| Section { kind: format!("{ADMIN}{kind}"), value };
    let list = |kind: &str, list: &str, items: Vec<Value>| match items.is_empty() {
        true => section(kind, json!({})),
        false => section(kind, json!({list: items})),
    };
    let bootstrap = json!({"bootstrap": with_node(desk), "last_updated": at});
    let mut out = vec![
        section("BootstrapConfigDump", bootstrap),
        list("ClustersConfigDump", "static_clusters", clusters),
    ];
    if include_eds {
        out.push(list("EndpointsConfigDump", "static_endpoint_configs", endpoints(desk, named)));
    }
    out.push(list("ListenersConfigDump", "static_listeners", listeners));
    out.push(section("ScopedRoutesConfigDump", json!({})));
    out.push(list("RoutesConfigDump", "static_route_configs", tables));
    out.push(section("SecretsConfigDump", json!({})));
    out
}

/// The bootstrap, with what we are in its node.
fn with_node(desk: &Desk) -> Value {
    let mut out = Map::new();
    out.insert("node".to_owned(), node(desk, false));
    if let Value::Object(fields) = print::json(&desk.facts.bootstrap) {
        out.extend(fields.into_iter().filter(|(name, _)| name != "node"));
    }
    Value::Object(out)
}

/// Every inline route configuration of a listener, in the order of the file.
fn route_configs<'m>(message: &'m Message, out: &mut Vec<&'m Message>) {
    for set in &message.fields {
        collect(&set.value, out);
    }
}

fn collect<'m>(value: &'m Field, out: &mut Vec<&'m Message>) {
    match value {
        Field::Message(message) => {
            match message.name() == "envoy.config.route.v3.RouteConfiguration" {
                true => out.push(message),
                false => route_configs(message, out),
            }
        }
        Field::Any(any) => route_configs(&any.message, out),
        Field::List(items) => items.iter().for_each(|item| collect(&item.value, out)),
        _ => {}
    }
}

/// Hosts as they are known now.
fn endpoints(desk: &Desk, named: Option<&Regex>) -> Vec<Value> {
    let directory = desk.view.clusters.read();
    let clusters = directory.slots.iter().flatten().map(|cluster| cluster.read());
    let chosen = clusters
        .filter(|cluster| named.is_none_or(|regex| regex.is_match(cluster.plan.name.as_bytes())));
    chosen.map(|cluster| json!({"endpoint_config": assignment(&cluster)})).collect()
}

/// Observed: Envoy 1.40 `/config_dump?include_eds`.
fn assignment(cluster: &ClusterSnapshot) -> Value {
    // Hosts of one place and priority stand together, in the order in which they were found.
    let mut groups: Vec<Vec<&Host>> = Vec::new();
    for host in cluster.hosts.iter() {
        let joins = |group: &&mut Vec<&Host>| {
            group.first().is_some_and(|first| {
                let (a, b) = (&first.endpoint, &host.endpoint);
                a.priority == b.priority && a.locality == b.locality
            })
        };
        match groups.iter_mut().find(joins) {
            Some(group) => group.push(host),
            None => groups.push(vec![host]),
        }
    }
    let mut out = Map::new();
    let kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment";
    out.insert("@type".to_owned(), json!(kind));
    out.insert("cluster_name".to_owned(), json!(cluster.plan.name));
    if !groups.is_empty() {
        out.insert("endpoints".to_owned(), groups.iter().map(|group| place(group)).collect());
    }
    out.insert("policy".to_owned(), json!({"overprovisioning_factor": 140}));
    Value::Object(out)
}

fn place(hosts: &[&Host]) -> Value {
    let endpoints: Vec<Value> = (hosts.iter())
        .map(|host| {
            let check = match host.endpoint.health_check_port {
                Some(port) => json!({"port_value": port}),
                None => json!({}),
            };
            json!({
                "endpoint": {
                    "address": admin_json::socket_address(host.address),
                    "health_check_config": check,
                    "hostname": host.endpoint.hostname,
                },
                "health_status": if host.healthy() { "HEALTHY" } else { "UNHEALTHY" },
                "metadata": {},
                "load_balancing_weight": host.endpoint.weight,
            })
        })
        .collect();
    let mut out = Map::new();
    if let Some(first) = hosts.first() {
        out.insert("locality".to_owned(), locality(&first.endpoint.locality));
    }
    out.insert("lb_endpoints".to_owned(), Value::Array(endpoints));
    out.insert("load_balancing_weight".to_owned(), json!(0));
    if let Some(first) = hosts.first().filter(|first| first.endpoint.priority > 0) {
        out.insert("priority".to_owned(), json!(first.endpoint.priority));
    }
    Value::Object(out)
}

/// The elements of the one list that is called `resource`, each with its own type.
fn pick(sections: &[Section], resource: &str, mask: Option<&Mask>) -> Result<Vec<Value>, Answer> {
    let found = sections
        .iter()
        .find_map(|section| Some((section, schema::message(&section.kind)?.field(resource)?)));
    let Some((section, field)) = found else {
        return Err(bare(404, format!("{resource} not found in config dump")));
    };
    let FieldKind::Message(item) = &field.kind else {
        return Err(not_repeated(resource));
    };
    if !field.repeated {
        return Err(not_repeated(resource));
    }
    if let Some(mask) = mask.filter(|mask| !mask.fits(item)) {
        return Err(bare(400, format!("FieldMask {mask} could not be successfully used.")));
    }
    let items = section.value.get(resource).and_then(Value::as_array).into_iter().flatten();
    let shown =
        items.map(|value| typed(item, mask.map_or_else(|| value.clone(), |mask| mask.trim(value))));
    Ok(shown.collect())
}

fn not_repeated(resource: &str) -> Answer {
    let text =
        format!("{resource} is not a repeated field. Use ?mask={resource} to get only this field");
    bare(400, text)
}

/// A message with its type first.
fn typed(kind: &str, value: Value) -> Value {
    let mut out = Map::new();
    out.insert("@type".to_owned(), json!(format!("type.googleapis.com/{kind}")));
    if let Value::Object(fields) = value {
        out.extend(fields);
    }
    Value::Object(out)
}

// === impl Section ===

impl Section {
    fn json(&self, value: Value) -> Value {
        typed(&self.kind, value)
    }
}
