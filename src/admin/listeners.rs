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
                let at = print::address(listener.local);
                let mut status = json!({"name": listener.plan.name, "local_address": at});
                if !listener.additional.is_empty() {
                    let also = listener.additional.iter().map(|at| print::address(*at));
                    status["additional_local_addresses"] = also.collect();
                }
                status
            })
            .collect();
        return Answer::json(&match statuses.is_empty() {
            true => json!({}),
            false => json!({"listener_statuses": statuses}),
        });
    }
    let mut out = String::new();
    for listener in listeners.iter() {
        for local in std::iter::once(&listener.local).chain(&listener.additional) {
            // Writing to a string cannot fail.
            let _ = writeln!(out, "{}::{local}", listener.plan.name);
        }
    }
    Answer::text(out)
}
