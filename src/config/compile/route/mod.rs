//! Owns compiling route configurations.

mod attempts;
mod direct;
mod forward;
mod matching;
mod mirror;
mod redirect;
mod retry;

use std::{collections::HashSet, sync::Arc};

use understudy_actors::plan::Payload;

use attempts::{Above, HostAttempts};

use super::{Compiler, filters::with_outer};
use crate::config::{
    Message,
    model::route::{Route, RouteAction, RouteConfig, VirtualHost},
};

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
        let table_mirrors = self.mirrors(config, known);
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
            let tries = self.host_attempts(host, &table_mirrors, known);
            let routes = host.messages("routes");
            let routes = routes.filter_map(|route| self.route(route, known, &filters, &tries));
            let routes = routes.collect();
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
        tries: &HostAttempts<'_>,
    ) -> Option<Route> {
        let filter_configs = with_outer(self.per_filter(route), outer);
        let matcher = route.message("match").and_then(|rule| self.route_match(rule));
        let action = if let Some(action) = route.message("route") {
            let above = Above { host: tries, route, clusters };
            self.forward(action, clusters, above)
                .map(|forward| RouteAction::Forward(Arc::new(forward)))
        } else if let Some(redirect) = route.message("redirect") {
            Some(RouteAction::Redirect(Arc::new(redirect::redirect(redirect))))
        } else if let Some(direct) = route.message("direct_response") {
            self.direct(direct).map(|direct| RouteAction::Direct(Arc::new(direct)))
        } else {
            // `filter_action` and the like are left unread, and so refused.
            None
        };
        let name = route.text("name").unwrap_or_default().to_owned();
        Some(Route { name, matcher: matcher?, action: action?, filter_configs })
    }
}
