//! `/listeners`

use std::fmt::Write as _;

use serde_json::json;

use super::{Answer, Ask, Desk, json as print};

pub(super) fn listeners(desk: &Desk, ask: &Ask) -> Answer {
    let listeners = desk.view.listeners.read();
    if ask.param("format") == Some("json") {
        let statuses: Vec<_> = listeners
            .iter()
            .map(|listener| {
                let at = print::socket_address(listener.local);
                json!({"name": listener.plan.name, "local_address": at})
            })
            .collect();
        return Answer::json(&match statuses.is_empty() {
            true => json!({}),
            false => json!({"listener_statuses": statuses}),
        });
    }
    let mut out = String::new();
    for listener in listeners.iter() {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{}::{}", listener.plan.name, listener.local);
    }
    Answer::text(out)
}
