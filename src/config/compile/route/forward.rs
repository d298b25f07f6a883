//! Owns compiling the way to a cluster.

use std::{collections::HashSet, time::Duration};

use super::{
    super::Compiler,
    attempts::{Above, timeouts},
};
use crate::config::{Message, model::route::Forward};

/// Envoy's `RouteAction.timeout` default.
const TIMEOUT: Duration = Duration::from_secs(15);

impl Compiler<'_> {
    pub(super) fn forward(
        &mut self,
        action: &Message,
        clusters: Option<&HashSet<String>>,
        above: Above<'_>,
    ) -> Option<Forward> {
        let name = action.text("cluster")?.to_owned();
        if clusters.is_some_and(|clusters| !clusters.contains(&name)) {
            let text = format!("route: unknown cluster '{name}'");
            let known: Vec<&str> = clusters.into_iter().flatten().map(String::as_str).collect();
            let hint = match known.is_empty() {
                true => "there are no clusters".to_owned(),
                false => format!("there are {}", known.join(", ")),
            };
            self.error(action.at_of("cluster"), &action.path_of("cluster"), text, hint);
        }
        let status = action.choice("cluster_not_found_response_code");
        let attempts = self.attempts(action, above);
        let (timeout, timeout_ms) = timeouts(action, &attempts, TIMEOUT);
        Some(Forward {
            cluster: self.slots.clusters.of(&name),
            cluster_name: name,
            timeout,
            timeout_ms,
            attempts,
            idle_timeout: action.duration("idle_timeout"),
            prefix_rewrite: action.text("prefix_rewrite").unwrap_or_default().to_owned(),
            host_rewrite: action.text("host_rewrite_literal").unwrap_or_default().to_owned(),
            cluster_not_found_status: match status {
                Some("NOT_FOUND") => 404,
                Some("INTERNAL_SERVER_ERROR") => 500,
                _ => 503,
            },
        })
    }
}
