//! Owns the words in which `/explain` tells of requests, routes and what they miss.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{
    codec::RequestHead,
    config::model::{
        original_dst::OriginalDst,
        route::{Condition, Forward, Route, RouteMatch},
    },
    route::Miss,
};

/// The request as its routes see it.
pub(super) fn request(request: &RequestHead) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes);
    let (host, path) = (text(request.authority()), text(request.path()));
    format!("{} {}://{host}{path}", request.method.as_str(), request.scheme.as_str())
}

/// A route by its place, name and match.
pub(super) fn route(at: usize, route: &Route) -> Value {
    json!({"number": at + 1, "name": route.name, "match": asks(&route.matcher)})
}

/// Routes that a request has missed: those that it missed by more than its path before the others.
pub(super) fn misses(
    misses: &[(usize, &Route, Miss<'_>)],
    shown_max: usize,
    request: &RequestHead,
) -> Value {
    let by_path = |miss: &Miss<'_>| matches!(miss, Miss::Path);
    let mut kept: Vec<_> = misses.iter().filter(|(.., miss)| !by_path(miss)).collect();
    kept.extend(misses.iter().filter(|(.., miss)| by_path(miss)));
    kept.truncate(shown_max);
    kept.sort_by_key(|(at, ..)| *at);
    let shown = kept.into_iter().map(|(at, missed, miss)| {
        let mut one = route(*at, missed);
        one["missed_by"] = json!(missed_by(miss, request));
        one
    });
    let shown: Vec<Value> = shown.collect();
    json!({"left_out": misses.len() - shown.len(), "routes": shown})
}

fn missed_by(miss: &Miss<'_>, request: &RequestHead) -> String {
    match miss {
        Miss::Path => "path".to_owned(),
        Miss::Condition(Condition::Header(matcher)) => {
            let name = String::from_utf8_lossy(matcher.name());
            let own: Vec<_> = request.headers.get_all_named(matcher.name()).collect();
            match own.is_empty() && request.value(matcher.name()).is_none() {
                true => format!("header {name}, which is not there"),
                false => {
                    let values = request.value(matcher.name()).unwrap_or_default();
                    format!("header {name}, which is {:?}", String::from_utf8_lossy(values))
                }
            }
        }
        Miss::Condition(other) => condition(other),
    }
}

/// All that a route asks for.
fn asks(rule: &RouteMatch) -> String {
    let mut text = rule.path.to_string();
    if !rule.case_sensitive {
        text.push_str(", in any case");
    }
    for one in &rule.conditions {
        text.push_str(", ");
        text.push_str(&condition(one));
    }
    text
}

fn condition(condition: &Condition) -> String {
    let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    match condition {
        Condition::Fraction(fraction) => {
            let share = fraction.default;
            let key = match fraction.key.is_empty() {
                true => String::new(),
                false => format!(", unless runtime {} says otherwise", fraction.key),
            };
            format!("runtime share: {} of {} requests{key}", share.numerator, share.denominator)
        }
        Condition::Header(matcher) => format!("header {}", name(matcher.name())),
        Condition::Query(matcher) => format!("query parameter {}", name(matcher.name())),
        Condition::Cookie(matcher) => format!("cookie {}", name(matcher.name())),
        Condition::Grpc => "gRPC, by its content-type".to_owned(),
        Condition::Certificate { .. } => "the client's certificate".to_owned(),
        Condition::Metadata { filter, .. } => format!("dynamic metadata of {filter}"),
        Condition::FilterState(matcher) => format!("filter state {}", matcher.key),
    }
}

/// How long a route waits.
pub(super) fn timeouts(forward: &Forward) -> Value {
    let seconds = |time: Option<Duration>| match time {
        Some(time) if !time.is_zero() => format!("{}s", time.as_secs_f64()),
        _ => "none".to_owned(),
    };
    let idle = match forward.idle_timeout {
        None => "the listener's".to_owned(),
        own => seconds(own),
    };
    json!({"route": seconds(forward.timeout), "idle": idle})
}

/// What a route does about failures.
pub(super) fn retries(forward: &Forward) -> Value {
    let Some(retry) = &forward.attempts.retry else { return Value::Null };
    json!({
        "retry_on": retry.on.names(),
        "num_retries": retry.retries,
        "per_try_timeout": retry.per_try_timeout.map(|time| format!("{}s", time.as_secs_f64())),
    })
}

/// What was told of one connection manager, as text.
pub(super) fn told(told: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".to_owned(),
        other => other.to_string(),
    };
    let mut out = String::new();
    // Writing to a string cannot fail.
    let mut line = |indent: &str, name: &str, value: &str| {
        let _ = writeln!(out, "{indent}{name}: {value}");
    };
    line("", "listener", &text(&told["listener"]));
    for name in ["stat_prefix", "route_table", "request"] {
        if told.get(name).is_some() {
            line("  ", name, &text(&told[name]));
        }
    }
    if let Some(host) = told.get("virtual_host") {
        let domains = host["domains"].as_array().into_iter().flatten().map(text);
        let domains: Vec<String> = domains.collect();
        line("  ", "virtual_host", &format!("{} ({})", text(&host["name"]), domains.join(", ")));
    }
    if let Some(missed) = told.get("missed") {
        for route in missed["routes"].as_array().into_iter().flatten() {
            let missed_by = format!("{}, missed by {}", numbered(route), text(&route["missed_by"]));
            line("  ", "not", &missed_by);
        }
        if missed["left_out"] != 0 {
            line("  ", "not", &format!("{} routes more", missed["left_out"]));
        }
    }
    if let Some(route) = told.get("route") {
        line("  ", "route", &numbered(route));
    }
    line("  ", "outcome", &text(&told["outcome"]));
    for name in ["body", "location", "upstream_host", "upstream_path"] {
        if told.get(name).is_some() {
            line("    ", name, &text(&told[name]));
        }
    }
    if let Some(timeouts) = told.get("timeouts") {
        let (route, idle) = (text(&timeouts["route"]), text(&timeouts["idle"]));
        line("    ", "timeouts", &format!("route {route}, idle {idle}"));
    }
    if let Some(retry) = told.get("retry_policy").filter(|retry| !retry.is_null()) {
        let on = retry["retry_on"].as_array().into_iter().flatten().map(text);
        let on: Vec<String> = on.collect();
        let (times, each) = (&retry["num_retries"], text(&retry["per_try_timeout"]));
        let retry = format!("{times} times on {}, timeout of each try {each}", on.join(", "));
        line("    ", "retries", &retry);
    }
    for share in told["weighted_clusters"].as_array().into_iter().flatten() {
        let (weight, percent) = (&share["weight"], &share["percent"]);
        let told = format!("{}, weight {weight}, {percent} %", text(&share["cluster"]));
        line("    ", "one of", &told);
    }
    let priorities = told["priorities"].as_array().into_iter().flatten();
    for (priority, one) in priorities.enumerate() {
        let panic = if one["panic"] == true { ", in panic" } else { "" };
        line("    ", "priority", &format!("{priority}, {} %{panic}", one["percent"]));
    }
    for host in told["hosts"].as_array().into_iter().flatten() {
        let takes = if host["takes_traffic"] == true { "takes traffic" } else { "takes none" };
        let told = format!("{}, {}, {takes}", text(&host["address"]), text(&host["health"]));
        line("    ", "host", &told);
    }
    out
}

/// Where a request goes whose host is where it was meant to go.
pub(super) fn meant(says: &OriginalDst) -> String {
    let metadata = says.metadata.as_ref();
    let metadata = metadata.map(|key| format!("metadata {}:{}", key.key, key.path.join(":")));
    let header = says.header.as_ref();
    let header = header.map(|name| format!("header {}", String::from_utf8_lossy(name)));
    let all: Vec<_> = metadata.into_iter().chain(header).collect();
    let port = says.port.map_or_else(String::new, |port| format!(", port {port}"));
    match all.is_empty() {
        true => format!("where its connection was meant to go{port}, else 503"),
        false => format!(
            "where {} says, or where its connection was meant to go{port}, else 503",
            all.join(" or ")
        ),
    }
}

fn numbered(route: &Value) -> String {
    let name = match route["name"].as_str() {
        None | Some("") => String::new(),
        Some(name) => format!(" {name}:"),
    };
    let asks = route["match"].as_str().unwrap_or_default();
    match route["number"].as_u64() {
        Some(number) => format!("{number}.{name} {asks}"),
        None => asks.to_owned(),
    }
}
