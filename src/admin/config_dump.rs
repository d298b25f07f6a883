//! `/config_dump`: the configuration in force, in Envoy's dress.

mod dynamic;

use std::sync::Arc;

use regex::bytes::Regex;
use serde_json::{Map, Value, json};
use understudy_actors::{
    plan::Discovery,
    snapshot::{ClusterSnapshot, HealthFlag, Host},
};

use super::{
    Answer, Ask, Desk,
    answer::BARE_TEXT,
    clusters::locality,
    doc::Doc,
    json::{self as admin_json, timestamp},
    mask::Mask,
    server_info::node,
};
use crate::{
    config::{
        Message,
        message::{Set, Value as Field},
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
    fields: Doc,
}

/// A section of which something is picked or masked.
struct Shown {
    kind: String,
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
            return Answer { content_type: BARE_TEXT, ..Answer::status(400, text) };
        }
        Some((_, Ok(regex))) => Some(regex),
        None => None,
    };
    let sections = sections(desk, named.as_ref(), ask.has("include_eds"));
    let mask = given("mask").map(Mask::parse);
    let configs = match (given("resource"), &mask) {
        (None, None) => {
            let configs = Doc::list(sections.into_iter().map(Section::doc));
            return Answer::doc(Doc::object([("configs".to_owned(), configs)]));
        }
        (Some(resource), mask) => match pick(&shown(sections), resource, mask.as_ref()) {
            Ok(elements) => elements,
            Err(refused) => return refused,
        },
        (None, Some(mask)) => {
            let sections = shown(sections);
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
    };
    Answer::json(&match configs.is_empty() {
        true => json!({}),
        false => json!({"configs": configs}),
    })
}

fn bare(status: u16, text: String) -> Answer {
    Answer { content_type: BARE_TEXT, nosniff_twice: true, ..Answer::status(status, text) }
}

fn shown(sections: Vec<Section>) -> Vec<Shown> {
    let one = |Section { kind, fields }| Shown { kind, value: fields.value() };
    sections.into_iter().map(one).collect()
}

fn sections(desk: &Desk, named: Option<&Regex>, include_eds: bool) -> Vec<Section> {
    let Some((bootstrap, loaded)) = desk.bootstrap() else { return Vec::new() };
    let (at, brought) = (timestamp(loaded), dynamic::brought(desk, named));
    let each = |list, key, find: Find| {
        each(bootstrap.clone(), (list, key), named.cloned(), at.clone(), find)
    };
    let clusters = each("clusters", "cluster", |cluster| vec![cluster]);
    let listeners = each("listeners", "listener", |listener| vec![listener]);
    let tables = each("listeners", "route_config", |listener| {
        let mut tables = Vec::new();
        route_configs(listener, &mut tables);
        tables
    });
    let shown = [
        ("bootstrap".to_owned(), with_node(desk, bootstrap.clone())),
        ("last_updated".to_owned(), Doc::Value(json!(at))),
    ];
    let empty = || Doc::object([]);
    let mut out = vec![
        Section::new("BootstrapConfigDump", Doc::object(shown)),
        Section::of(
            "ClustersConfigDump",
            [
                brought.clusters_version,
                list("static_clusters", clusters),
                list("dynamic_active_clusters", brought.clusters.into_iter()),
                list("dynamic_warming_clusters", brought.warming.into_iter()),
            ],
        ),
    ];
    if include_eds && !desk.view.clusters.read().by_name.is_empty() {
        let own = endpoints(desk, named, false);
        let brought = endpoints(desk, named, true);
        out.push(Section::of(
            "EndpointsConfigDump",
            [list("static_endpoint_configs", own), list("dynamic_endpoint_configs", brought)],
        ));
    }
    out.push(Section::of(
        "ListenersConfigDump",
        [
            brought.listeners_version,
            list("static_listeners", listeners),
            list("dynamic_listeners", brought.listeners.into_iter()),
        ],
    ));
    out.push(Section::new("ScopedRoutesConfigDump", empty()));
    out.push(Section::of(
        "RoutesConfigDump",
        [
            list("static_route_configs", tables.chain(brought.tables)),
            list("dynamic_route_configs", brought.routes.into_iter()),
        ],
    ));
    out.push(Section::of(
        "SecretsConfigDump",
        [
            list("static_secrets", static_secrets(bootstrap, named)),
            list("dynamic_active_secrets", brought.secrets.into_iter()),
            list("dynamic_warming_secrets", brought.warming_secrets.into_iter()),
        ],
    ));
    out
}

/// Secrets that stand in the file; keys are not shown.
fn static_secrets(
    bootstrap: Arc<Message>,
    named: Option<&Regex>,
) -> impl Iterator<Item = Doc> + Send + 'static {
    let named = named.cloned();
    let count =
        resources(&bootstrap).and_then(|resources| resources.peek("secrets")).map_or(0, length);
    (0..count).filter_map(move |index| {
        let secret = item(resources(&bootstrap)?.peek("secrets")?, index)?;
        let name = secret.peek_text("name").unwrap_or_default();
        let fits = named.as_ref().is_none_or(|regex| regex.is_match(name.as_bytes()));
        fits.then(|| Doc::Value(json!({"name": name, "secret": with_type(secret)})))
    })
}

/// What of a static resource is shown.
type Find = fn(&Message) -> Vec<&Message>;

/// What is found in the static resources of one list, each under `key`. It is found again when it is
/// written: only the bootstrap is kept.
fn each(
    bootstrap: Arc<Message>,
    (list, key): (&'static str, &'static str),
    named: Option<Regex>,
    at: String,
    find: Find,
) -> impl Iterator<Item = Doc> + Send + 'static {
    let keep = move |message: &Message| {
        let name = message.peek("name").map(|set| match &set.value {
            Field::String(name) => name.as_str(),
            _ => "",
        });
        named.as_ref().is_none_or(|regex| regex.is_match(name.unwrap_or_default().as_bytes()))
    };
    let count = resources(&bootstrap).and_then(|resources| resources.peek(list)).map_or(0, length);
    (0..count).flat_map(move |index| {
        let set = resources(&bootstrap).and_then(|resources| resources.peek(list));
        let found = set.and_then(|set| item(set, index)).map_or_else(Vec::new, find);
        let kept = found.into_iter().filter(|message| keep(message));
        let shown = kept.map(|message| json!({key: with_type(message), "last_updated": at}));
        shown.map(Doc::Value).collect::<Vec<_>>()
    })
}

fn resources(bootstrap: &Message) -> Option<&Message> {
    match &bootstrap.peek("static_resources")?.value {
        Field::Message(resources) => Some(resources),
        _ => None,
    }
}

fn length(set: &Set) -> usize {
    match &set.value {
        Field::List(items) => items.len(),
        _ => 0,
    }
}

fn item(set: &Set, index: usize) -> Option<&Message> {
    match &set.value {
        Field::List(items) => match &items.get(index)?.value {
            Field::Message(message) => Some(message),
            _ => None,
        },
        _ => None,
    }
}

/// A list that is not there at all when it is empty.
fn list(name: &str, items: impl Iterator<Item = Doc> + Send + 'static) -> Fields {
    let mut items = items.peekable();
    let any = items.peek().is_some();
    any.then(|| (name.to_owned(), Doc::list(items))).into_iter().collect()
}

/// Fields of a section.
type Fields = Vec<(String, Doc)>;

fn with_type(message: &Message) -> Value {
    print::any_json(&format!("type.googleapis.com/{}", message.name()), message)
}

/// The bootstrap, with what we are in its node.
fn with_node(desk: &Desk, bootstrap: Arc<Message>) -> Doc {
    let node = ("node".to_owned(), Doc::Value(node(desk, false)));
    let rest = print::in_order(&bootstrap).into_iter().filter(|set| set.field.name != "node");
    let names: Vec<&'static str> = rest.map(|set| set.field.name).collect();
    let rest = names.into_iter().filter_map(move |name| {
        let doc = match name {
            "static_resources" => static_resources(bootstrap.clone()),
            _ => Doc::Value(print::set_json(bootstrap.peek(name)?)?),
        };
        Some((name.to_owned(), doc))
    });
    Doc::object([node].into_iter().chain(rest))
}

/// Most of a bootstrap, so its lists are printed item by item.
fn static_resources(bootstrap: Arc<Message>) -> Doc {
    let sets = resources(&bootstrap).map(print::in_order).unwrap_or_default();
    let lists: Vec<_> = sets.into_iter().map(|set| (set.field.name, length(set))).collect();
    let lists = lists.into_iter().filter(|(_, count)| *count > 0).map(move |(name, count)| {
        let bootstrap = bootstrap.clone();
        let items = (0..count).filter_map(move |index| {
            let set = resources(&bootstrap)?.peek(name)?;
            Some(Doc::Value(print::json(item(set, index)?)))
        });
        (name.to_owned(), Doc::list(items))
    });
    Doc::object(lists)
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
fn endpoints(
    desk: &Desk,
    named: Option<&Regex>,
    brought: bool,
) -> impl Iterator<Item = Doc> + Send + use<> + 'static {
    let directory = desk.view.clusters.read();
    let clusters = directory.slots.iter().flatten().map(|cluster| cluster.read());
    let chosen = clusters
        .filter(|cluster| cluster.plan.added_via_api == brought)
        .filter(|cluster| named.is_none_or(|regex| regex.is_match(cluster.plan.name.as_bytes())));
    let chosen: Vec<Arc<ClusterSnapshot>> = chosen.collect();
    let item = |cluster: &ClusterSnapshot| json!({"endpoint_config": assignment(cluster)});
    chosen.into_iter().map(move |cluster| Doc::Value(item(&cluster)))
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
    let name = match &cluster.plan.discovery {
        Discovery::Eds { service_name, .. } => service_name,
        _ => &cluster.plan.name,
    };
    out.insert("cluster_name".to_owned(), json!(name));
    if !groups.is_empty() {
        out.insert("endpoints".to_owned(), groups.iter().map(|group| place(group)).collect());
    }
    let factor = cluster.policy.overprovisioning_percent.unwrap_or(140);
    out.insert("policy".to_owned(), json!({"overprovisioning_factor": factor}));
    Value::Object(out)
}

fn place(hosts: &[&Host]) -> Value {
    let endpoints: Vec<Value> = (hosts.iter())
        .map(|host| {
            let check = match host.endpoint.checked_at.as_ref().and_then(|at| at.port) {
                Some(port) => json!({"port_value": port}),
                None => json!({}),
            };
            let mut endpoint = Map::new();
            endpoint.insert("address".to_owned(), admin_json::address(host.address));
            endpoint.insert("health_check_config".to_owned(), check);
            // Hosts that DNS has named have a hostname and metadata, be it empty; others only what was set.
            let named = !host.endpoint.hostname.is_empty();
            if named {
                endpoint.insert("hostname".to_owned(), json!(host.endpoint.hostname));
            }
            let mut out = Map::new();
            out.insert("endpoint".to_owned(), Value::Object(endpoint));
            out.insert("health_status".to_owned(), json!(health_status(host)));
            let metadata = host.endpoint.described.as_ref().map(|all| &*all.text);
            match metadata.and_then(|text| serde_json::from_str(text).ok()) {
                Some(metadata) => drop(out.insert("metadata".to_owned(), metadata)),
                None if named => drop(out.insert("metadata".to_owned(), json!({}))),
                None => {}
            }
            out.insert("load_balancing_weight".to_owned(), json!(host.weight()));
            Value::Object(out)
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

fn health_status(host: &Host) -> &'static str {
    let degraded =
        host.has(HealthFlag::DegradedActiveHc) || host.has(HealthFlag::DegradedEdsHealth);
    match (host.healthy(), degraded) {
        (false, _) => "UNHEALTHY",
        (true, true) => "DEGRADED",
        (true, false) => "HEALTHY",
    }
}

/// The elements of the one list that is called `resource`, each with its own type.
fn pick(sections: &[Shown], resource: &str, mask: Option<&Mask>) -> Result<Vec<Value>, Answer> {
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
    let items = section.value.get(resource).and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    if let Some(mask) = mask.filter(|mask| !items.is_empty() && !mask.fits(item)) {
        return Err(bare(400, format!("FieldMask {mask} could not be successfully used.")));
    }
    let shown = items
        .iter()
        .map(|value| typed(item, mask.map_or_else(|| value.clone(), |mask| mask.trim(value))));
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
    /// Of fields that stand one after the other.
    fn of<const N: usize>(kind: &str, fields: [Fields; N]) -> Self {
        Self::new(kind, Doc::object(fields.into_iter().flatten()))
    }

    fn new(kind: &str, fields: Doc) -> Self {
        Self { kind: format!("{ADMIN}{kind}"), fields }
    }

    /// With its type first.
    fn doc(self) -> Doc {
        let kind = Doc::Value(json!(format!("type.googleapis.com/{}", self.kind)));
        let kind = [("@type".to_owned(), kind)].into_iter();
        match self.fields {
            Doc::Object(fields) => Doc::object(kind.chain(fields)),
            _ => Doc::object(kind),
        }
    }
}

// === impl Shown ===

impl Shown {
    fn json(&self, value: Value) -> Value {
        typed(&self.kind, value)
    }
}
