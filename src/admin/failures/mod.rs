//! `/failures`, ours: the last requests that got an error of ours or of a host's, and what to do about each.

mod advice;

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use understudy_actors::failures::{FAILURES_KEPT_MAX, Failure};

use super::{Answer, Ask, Desk, json::timestamp};
use advice::advice;

/// Failures that are shown where nothing else is asked for.
const SHOWN: usize = 50;

pub(super) fn failures(desk: &Desk, ask: &Ask) -> Answer {
    let limit = match ask.param("limit").filter(|text| !text.is_empty()).map(str::parse::<usize>) {
        None => SHOWN,
        Some(Ok(limit)) => limit,
        Some(Err(_)) => {
            return Answer::status(400, "usage: /failures?limit=N&cluster=NAME&status=503\n");
        }
    };
    let kept = &desk.view.failures;
    let wanted = |failure: &Failure| {
        let is = |name: &str, own: &str| {
            ask.param(name).is_none_or(|wanted| wanted.is_empty() || wanted == own)
        };
        is("cluster", &failure.cluster)
            && is("route", &failure.route)
            && is("status", &failure.status.to_string())
            && is("request_id", &failure.request_id)
    };
    let found: Vec<Failure> = kept.latest().into_iter().filter(wanted).collect();
    match ask.param("format") {
        Some("json") => Answer::json(&as_json(kept.seen(), &found, limit)),
        _ => Answer::text(as_text(kept.seen(), &found, limit)),
    }
}

/// How often each cause is among these, the commonest first.
fn causes(failures: &[Failure]) -> Vec<(&str, &str, usize)> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for failure in failures {
        *counts.entry((&failure.details, &failure.cluster)).or_default() += 1;
    }
    let mut causes: Vec<_> =
        counts.into_iter().map(|((details, cluster), count)| (details, cluster, count)).collect();
    causes.sort_by_key(|(_, _, count)| std::cmp::Reverse(*count));
    causes
}

fn as_json(seen: u64, found: &[Failure], limit: usize) -> Value {
    let causes: Vec<Value> = causes(found)
        .into_iter()
        .map(|(details, cluster, count)| json!({"details": details, "cluster": cluster, "count": count}))
        .collect();
    let shown: Vec<Value> = found.iter().take(limit).map(describe).collect();
    json!({
        "seen": seen,
        "kept_per_worker_max": FAILURES_KEPT_MAX,
        "found": found.len(),
        "causes": causes,
        "failures": shown,
    })
}

fn describe(failure: &Failure) -> Value {
    let tries: Vec<Value> = (failure.tries.iter())
        .map(|one| json!({"host": one.host, "outcome": one.outcome}))
        .collect();
    json!({
        "at": timestamp(failure.at),
        "client": failure.client.to_string(),
        "stat_prefix": failure.stat_prefix,
        "method": failure.method,
        "authority": failure.authority,
        "path": failure.path,
        "request_id": failure.request_id,
        "virtual_host": failure.virtual_host,
        "route": failure.route,
        "cluster": failure.cluster,
        "attempts": failure.attempts,
        "tries": tries,
        "status": failure.status,
        "flags": failure.flags,
        "details": failure.details,
        "duration_ms": ms(failure.duration),
        "waited_ms": failure.waited.map(ms),
        "advice": advice(failure),
    })
}

fn ms(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn as_text(seen: u64, found: &[Failure], limit: usize) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, seen, found, limit);
    out
}

fn write(out: &mut String, seen: u64, found: &[Failure], limit: usize) -> std::fmt::Result {
    let shown = found.len().min(limit);
    writeln!(out, "{seen} failures since the start, {} kept that fit, {shown} shown", found.len())?;
    for (details, cluster, count) in causes(found) {
        writeln!(out, "  {count} x {}{}", named(details), on(cluster))?;
    }
    for failure in found.iter().take(limit) {
        let Failure { method, authority, path, status, flags, details, client, .. } = failure;
        let (at, told) = (timestamp(failure.at), named(details));
        writeln!(out, "\n{at} {status} {} {told}", named(flags))?;
        writeln!(out, "  {method} {authority}{path} from {client}, {}", timings(failure))?;
        let (virtual_host, route) = (named(&failure.virtual_host), named(&failure.route));
        writeln!(out, "  virtual host {virtual_host}, route {route}{}", on(&failure.cluster))?;
        for one in &failure.tries {
            writeln!(out, "  tried {}: {}", one.host, one.outcome)?;
        }
        writeln!(out, "  {}", advice(failure))?;
    }
    Ok(())
}

fn timings(failure: &Failure) -> String {
    let total = format!("{} ms", ms(failure.duration));
    match failure.waited {
        Some(waited) => format!("{total}, {} of them until the host answered", ms(waited)),
        None => total,
    }
}

fn named(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

fn on(cluster: &str) -> String {
    if cluster.is_empty() { String::new() } else { format!(", cluster {cluster}") }
}
