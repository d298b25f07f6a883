//! `/explain`, ours: the way of a request that has not come, by the code that takes those that do.

mod asked;
mod way;
mod words;

use serde_json::{Value, json};

use super::{Answer, Ask, Desk};
use crate::{
    codec::RequestHead,
    config::model::{
        hash_policy::HashPolicy,
        http::HttpConnectionManager,
        listener::{FilterChains, Terminal},
    },
    filter_state::FilterState,
    route::{Lots, RouteTable},
};
use asked::Asked;
use understudy_actors::runtime::{Runtime, Share};

/// Listeners that are explained at a time; `listener=` picks one.
const LISTENERS_MAX: usize = 20;
/// Routes that are shown with what they were missed by.
const MISSES_MAX: usize = 50;

const USAGE: &str = "usage: /explain?host=NAME&path=/PATH&method=GET&header=NAME:VALUE (again for more)&\
    scheme=http&listener=NAME&format=text|json\n";

pub(super) fn explain(desk: &Desk, ask: &Ask) -> Answer {
    let asked = match Asked::of(ask) {
        Ok(asked) => asked,
        Err(why) => return Answer::status(400, format!("{why}\n{USAGE}")),
    };
    let wanted = ask.param("listener").filter(|name| !name.is_empty());
    let listeners = desk.view.listeners.read();
    let mut told = Vec::new();
    for listener in listeners.iter() {
        if wanted.is_some_and(|wanted| wanted != listener.plan.name) {
            continue;
        }
        let Some(chains) = listener.plan.chains.downcast_ref::<FilterChains>() else { continue };
        for chain in chains.all() {
            // What carries no requests has nothing to explain of one.
            let Terminal::Http(manager) = &chain.terminal else { continue };
            let mut one = told_by(desk, manager, &asked, listener.local.port());
            one["listener"] = json!(listener.plan.name);
            one["stat_prefix"] = json!(manager.stat_prefix);
            told.push(one);
        }
    }
    if told.is_empty() {
        let names = listeners.iter().map(|listener| listener.plan.name.as_str());
        let names: Vec<&str> = names.take(LISTENERS_MAX).collect();
        let text = format!("no such listener; there are {}\n", names.join(", "));
        return Answer::status(404, text);
    }
    let left_out = told.len().saturating_sub(LISTENERS_MAX);
    told.truncate(LISTENERS_MAX);
    match ask.param("format") {
        Some("json") => Answer::json(&json!({"explained": told, "left_out": left_out})),
        _ => {
            let texts: Vec<String> = told.iter().map(words::told).collect();
            Answer::text(texts.join("\n"))
        }
    }
}

/// What one connection manager would do.
fn told_by(
    desk: &Desk,
    manager: &HttpConnectionManager,
    asked: &Asked,
    port: Option<u16>,
) -> Value {
    let tables = desk.view.tables.read();
    let payload = tables.get(manager.routes).map(|table| table.read());
    let table = payload.as_ref().and_then(|payload| payload.downcast_ref::<RouteTable>());
    let Some(table) = table else {
        return json!({"outcome": "404: there is no route table yet"});
    };
    let runtime = desk.view.runtime.read();
    let mut request = match asked.request(table, manager, &runtime, port) {
        Ok(request) => request,
        Err(refused) => return json!({"outcome": refused}),
    };
    let lots = Drawn { runtime: &runtime };
    let mut told = json!({
        "route_table": table.config().name,
        "request": words::request(&request),
    });
    let virtual_host = table.host_for(&request);
    match virtual_host {
        Some(host) => {
            told["virtual_host"] = json!({"name": host.name, "domains": bounded(&host.domains)});
        }
        None => told["outcome"] = json!("404: no virtual host has this domain"),
    }
    let found = table.find(&request, &lots);
    if found.is_none_or(|found| !table.is_to_https(found.route)) {
        let misses: Vec<_> = table.misses(&request, &lots).collect();
        told["missed"] = words::misses(&misses, MISSES_MAX, &request);
    }
    match found {
        Some(found) => way::add(&mut told, desk, found, &mut request),
        None if virtual_host.is_some() => {
            told["outcome"] = json!("404: the virtual host has no route for it");
        }
        None => {}
    }
    told
}

/// The first of many texts.
fn bounded(texts: &[String]) -> Vec<&str> {
    texts.iter().take(MISSES_MAX).map(String::as_str).collect()
}

/// Lots as they fall for a request that is among the first of every share.
struct Drawn<'r> {
    runtime: &'r Runtime,
}

// === impl Drawn ===

impl Lots for Drawn<'_> {
    fn takes(&self, key: &str, default: Share, number: u64) -> bool {
        self.runtime.enabled(key, default, number)
    }

    fn number(&self) -> u64 {
        0
    }

    fn certificate(&self) -> Option<bool> {
        None
    }

    fn filter_state(&self) -> Option<&FilterState> {
        None
    }

    fn weight(&self, key: &str, default: u32) -> u32 {
        u32::try_from(self.runtime.integer(key, u64::from(default))).unwrap_or(u32::MAX)
    }

    /// Whom a request is from is not said.
    fn hash(&self, _: &[HashPolicy], _: &RequestHead) -> Option<u64> {
        None
    }
}
