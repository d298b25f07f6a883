//! `/actors`, ours: who is on stage, how they fare, and what happened. `/actors/kill`: a drill.

use std::{
    fmt::Write as _,
    sync::atomic::Ordering::Relaxed,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use understudy_actors::{Command, roster::Member};

use super::{Answer, Ask, Desk};

pub(super) fn actors(desk: &Desk, ask: &Ask) -> Answer {
    let roster = &desk.view.roster;
    let connections = roster.connections.load(Relaxed);
    if ask.param("format") == Some("json") {
        let actors: Vec<Value> =
            roster.tree().iter().map(|(depth, member)| describe(*depth, member)).collect();
        let journal: Vec<Value> = (roster.journal().iter())
            .map(|entry| {
                json!({"at": unix(entry.at), "who": entry.who, "what": entry.what, "detail": entry.detail})
            })
            .collect();
        let temporary: Vec<Value> = (desk.view.temporary.read().iter())
            .map(|t| json!({"what": t.what, "back_to": t.back_to, "until": unix(t.until)}))
            .collect();
        let all = json!({
            "actors": actors,
            "connections": connections,
            "temporary": temporary,
            "journal": journal,
        });
        return Answer::json(&all);
    }
    let mut out = String::new();
    for (depth, member) in roster.tree() {
        let (age, state) = (age(member.since), state(&member));
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{}{} {} {state}, mailbox {}, {} restarts, {age} s",
            "  ".repeat(depth),
            member.role,
            member.name,
            mailbox(&member),
            member.restarts.load(Relaxed),
        );
        if let Some((at, why)) = &member.state.lock().last_fall {
            let _ = writeln!(out, "{}  fell {} s ago: {why}", "  ".repeat(depth), self::age(*at));
        }
    }
    let _ = writeln!(out, "{connections} connections");
    for temporary in desk.view.temporary.read().iter() {
        let left = temporary.until.duration_since(SystemTime::now()).unwrap_or_default().as_secs();
        let (what, back_to) = (&temporary.what, &temporary.back_to);
        let _ = writeln!(out, "for {left} s more: {what}, then again {back_to:?}");
    }
    let _ = writeln!(out, "\njournal:");
    for entry in roster.journal() {
        let (age, detail) = (age(entry.at), entry.detail);
        let _ = writeln!(out, "  {age} s ago, {} {}: {detail}", entry.who, entry.what);
    }
    Answer::text(out)
}

/// One actor and its depth in the tree.
pub(super) fn describe(depth: usize, member: &Member) -> Value {
    let fall = member.state.lock().last_fall.clone();
    json!({
        "role": member.role,
        "name": member.name,
        "parent": member.parent,
        "depth": depth,
        "state": state(member),
        "restarts": member.restarts.load(Relaxed),
        "last_fall": fall.map(|(at, why)| json!({"at": unix(at), "why": why})),
        "mailbox": mailbox(member),
        "age_s": age(member.since),
    })
}

fn state(member: &Member) -> &'static str {
    match member.state.lock().paused {
        true => "paused",
        false => "acting",
    }
}

fn mailbox(member: &Member) -> &'static str {
    if member.is_open() { "open" } else { "closed" }
}

fn age(since: SystemTime) -> u64 {
    since.elapsed().map_or(0, |age| age.as_secs())
}

fn unix(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

pub(super) fn kill(_: &Desk, ask: &Ask) -> Result<Command, Answer> {
    match ask.param("name") {
        Some(name) if !name.is_empty() => Ok(Command::Kill(name.to_owned())),
        _ => Err(Answer::status(400, "usage: /actors/kill?name=NAME; /actors lists the names\n")),
    }
}
