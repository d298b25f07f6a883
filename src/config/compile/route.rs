//! Owns compiling route configurations.

use std::{collections::HashSet, fs, sync::Arc, time::Duration};

use understudy_actors::{plan::Payload, runtime::Share};

use super::{Compiler, filters::with_outer, http::limit};
use crate::config::{
    Message,
    message::Value,
    model::route::{
        DirectResponse, Forward, PathMatch, Redirect, RedirectPath, Route, RouteAction,
        RouteConfig, RouteMatch, RuntimeFraction, VirtualHost,
    },
};

/// Envoy's `RouteAction.timeout` default.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Envoy's `max_direct_response_body_size_bytes` default.
const DIRECT_BODY_BYTES_MAX: usize = 4096;

impl Compiler<'_> {
    pub(super) fn route_config(
        &mut self,
        config: &Message,
        clusters: &HashSet<String>,
    ) -> RouteConfig {
        let name = config.text("name").unwrap_or_default().to_owned();
        let validate = config.boolean("validate_clusters").unwrap_or(true);
        let known = validate.then_some(clusters);
        let (mut seen, mut hosts) = (HashSet::new(), Vec::new());
        let table_filters = self.per_filter(config);
        for host in config.messages("virtual_hosts") {
            let mut domains = Vec::new();
            for (domain, at) in host.texts("domains") {
                if !seen.insert(domain.to_ascii_lowercase()) {
                    let text = match domain {
                        "*" => {
                            format!("Only a single wildcard domain is permitted in route {name}")
                        }
                        other => format!(
                            "Only unique values for domains are permitted; {other:?} stands twice"
                        ),
                    };
                    self.error(at, &host.path_of("domains"), text, "");
                }
                let stars = domain.matches('*').count();
                if domain.is_empty()
                    || stars > 1
                    || (stars == 1 && !domain.starts_with('*') && !domain.ends_with('*'))
                {
                    let text = format!("{domain:?} is not a domain");
                    self.error(at, &host.path_of("domains"), text, "one star, first or last");
                }
                domains.push(domain.to_owned());
            }
            let filters = with_outer(self.per_filter(host), &table_filters);
            let routes = host.messages("routes");
            let routes = routes.filter_map(|route| self.route(route, known, &filters)).collect();
            let name = host.text("name").unwrap_or_default().to_owned();
            hosts.push(VirtualHost { name, domains, routes });
        }
        RouteConfig { name, virtual_hosts: hosts }
    }

    fn route(
        &mut self,
        route: &Message,
        clusters: Option<&HashSet<String>>,
        outer: &[(String, Payload)],
    ) -> Option<Route> {
        let filter_configs = with_outer(self.per_filter(route), outer);
        let matcher = route.message("match").and_then(|rule| self.route_match(rule));
        let action = if let Some(action) = route.message("route") {
            self.forward(action, clusters).map(|forward| RouteAction::Forward(Arc::new(forward)))
        } else if let Some(redirect) = route.message("redirect") {
            Some(RouteAction::Redirect(Arc::new(redirection(redirect))))
        } else if let Some(direct) = route.message("direct_response") {
            self.direct(direct).map(|direct| RouteAction::Direct(Arc::new(direct)))
        } else {
            // `filter_action` and the like are left unread, and so refused.
            None
        };
        let name = route.text("name").unwrap_or_default().to_owned();
        Some(Route { name, matcher: matcher?, action: action?, filter_configs })
    }

    fn route_match(&mut self, rule: &Message) -> Option<RouteMatch> {
        let case_sensitive = rule.boolean("case_sensitive").unwrap_or(true);
        let path = if let Some(prefix) = rule.text("prefix") {
            PathMatch::Prefix(prefix.to_owned())
        } else if let Some(path) = rule.text("path") {
            PathMatch::Exact(path.to_owned())
        } else {
            PathMatch::Regex(self.expression(rule.message("safe_regex")?)?)
        };
        let fraction = rule.message("runtime_fraction").map(runtime_fraction);
        Some(RouteMatch { path, case_sensitive, fraction })
    }

    fn forward(&mut self, action: &Message, clusters: Option<&HashSet<String>>) -> Option<Forward> {
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
        let timeout = limit(action.duration("timeout"), Some(TIMEOUT));
        Some(Forward {
            cluster: self.slots.clusters.of(&name),
            cluster_name: name,
            timeout,
            timeout_ms: timeout.map(|timeout| timeout.as_millis().to_string()).unwrap_or_default(),
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

    fn direct(&mut self, direct: &Message) -> Option<DirectResponse> {
        let status = direct.number("status").and_then(|status| u16::try_from(status).ok())?;
        let mut body = Vec::new();
        if let Some(source) = direct.message("body") {
            body = if let Some(text) = source.text("inline_string") {
                text.as_bytes().to_vec()
            } else if let Some(Value::Bytes(bytes)) =
                source.get("inline_bytes").map(|set| &set.value)
            {
                bytes.clone()
            } else if let Some(path) = source.text("filename") {
                fs::read(path).unwrap_or_else(|error| {
                    let text = format!("cannot read {path:?}: {error}");
                    self.error(source.at, &source.path, text, "");
                    Vec::new()
                })
            } else {
                Vec::new()
            };
            if body.len() > DIRECT_BODY_BYTES_MAX {
                let text = format!(
                    "response body size is {} bytes; maximum is {DIRECT_BODY_BYTES_MAX}",
                    body.len()
                );
                self.error(source.at, &source.path, text, "");
            }
        }
        Some(DirectResponse { status, body })
    }
}

/// `RuntimeFractionalPercent`
fn runtime_fraction(fraction: &Message) -> RuntimeFraction {
    let default = fraction.message("default_value");
    let number = |name: &str| default.and_then(|value| value.number_u32(name));
    let denominator = default.and_then(|value| value.choice("denominator"));
    RuntimeFraction {
        default: Share {
            numerator: number("numerator").unwrap_or(0),
            denominator: denominator.and_then(Share::denominator).unwrap_or(100),
        },
        key: fraction.text("runtime_key").unwrap_or_default().to_owned(),
    }
}

fn redirection(redirect: &Message) -> Redirect {
    let text = |name: &str| redirect.text(name).unwrap_or_default().to_owned();
    let https = redirect.boolean("https_redirect").unwrap_or(false);
    let path = if let Some(path) = redirect.text("path_redirect") {
        RedirectPath::Replace(path.to_owned())
    } else if let Some(prefix) = redirect.text("prefix_rewrite") {
        RedirectPath::Prefix(prefix.to_owned())
    } else {
        RedirectPath::Keep
    };
    Redirect {
        scheme: if https { "https".to_owned() } else { text("scheme_redirect") },
        host: text("host_redirect"),
        port: redirect
            .number("port_redirect")
            .and_then(|port| u16::try_from(port).ok())
            .unwrap_or(0),
        path,
        strip_query: redirect.boolean("strip_query").unwrap_or(false),
        status: match redirect.choice("response_code") {
            Some("FOUND") => 302,
            Some("SEE_OTHER") => 303,
            Some("TEMPORARY_REDIRECT") => 307,
            Some("PERMANENT_REDIRECT") => 308,
            _ => 301,
        },
    }
}
