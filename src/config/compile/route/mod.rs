//! Owns compiling route configurations.

mod attempts;
mod direct;
mod forward;
mod hash_policy;
mod matcher;
mod matching;
mod mirror;
mod mutation;
mod redirect;
mod retry;
mod weighted;

use std::{collections::HashSet, sync::Arc};

use attempts::{Above, HostAttempts};

use super::{Compiler, filters::with_outer};
use crate::{
    config::{
        Message,
        message::Value,
        model::route::{
            ClusterChoice, RequireTls, Route, RouteAction, RouteConfig, RouteMatch, VirtualCluster,
            VirtualHost,
        },
    },
    filter::OfRoute,
};

pub(super) use matching::runtime_share;
use mutation::OuterMutations;

/// What is said around a route that matters to it.
#[derive(Clone, Copy)]
struct Around<'a> {
    /// The clusters there are; none where nobody asks.
    clusters: Option<&'a HashSet<String>>,
    /// `typed_per_filter_config` of its virtual host and table.
    filters: &'a [(String, OfRoute)],
    /// `max_direct_response_body_size_bytes`.
    direct_bytes_max: usize,
    /// What its virtual host says of tries.
    tries: &'a HostAttempts<'a>,
    /// What its virtual host and table do to headers.
    mutations: &'a OuterMutations,
}

impl Compiler<'_> {
    pub(super) fn route_config(
        &mut self,
        config: &Message,
        clusters: &HashSet<String>,
        validates: bool,
    ) -> RouteConfig {
        let name = config.text("name").unwrap_or_default().to_owned();
        let validate = config.boolean("validate_clusters").unwrap_or(validates);
        let known = validate.then_some(clusters);
        let (mut seen, mut hosts) = (HashSet::new(), Vec::new());
        let table_mirrors = self.mirrors(config, known);
        let table_filters = self.per_filter(config);
        let table_mutations = self.mutation_level(config);
        let wins = config.boolean("most_specific_header_mutations_wins").unwrap_or(false);
        let direct_bytes_max = config
            .number("max_direct_response_body_size_bytes")
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or(direct::BODY_BYTES_MAX);
        for host in config.messages("virtual_hosts") {
            let domains = self.domains(host, &name, &mut seen);
            let filters = with_outer(self.per_filter(host), &table_filters);
            let tries = self.host_attempts(host, &table_mirrors, known);
            let mutations = OuterMutations {
                host: self.mutation_level(host),
                table: table_mutations.clone(),
                most_specific_wins: wins,
            };
            let around = Around {
                clusters: known,
                filters: &filters,
                direct_bytes_max,
                tries: &tries,
                mutations: &mutations,
            };
            let routes = host.messages("routes");
            let mut routes = routes.filter_map(|route| self.route(route, &around)).collect();
            let matcher = self.host_matcher(host, &around, &mut routes);
            let name = host.text("name").unwrap_or_default().to_owned();
            let require_tls = match host.choice("require_tls") {
                Some("EXTERNAL_ONLY") => RequireTls::ExternalOnly,
                Some("ALL") => RequireTls::All,
                _ => RequireTls::None,
            };
            hosts.push(VirtualHost {
                name,
                domains,
                routes,
                matcher,
                require_tls,
                virtual_clusters: self.virtual_clusters(host),
                metadata: host.message("metadata").map(filter_metadata),
            });
        }
        config.ignore("metadata", "nobody reads it");
        let lower = |name: &str| name.to_ascii_lowercase().into_bytes();
        let flag = |name: &str| config.boolean(name).unwrap_or(false);
        RouteConfig {
            name,
            virtual_hosts: hosts,
            ignore_port: flag("ignore_port_in_host_matching"),
            vhost_header: config.text("vhost_header").filter(|name| !name.is_empty()).map(lower),
            ignore_path_parameters: flag("ignore_path_parameters_in_path_matching"),
            internal_only_headers: config
                .texts("internal_only_headers")
                .map(|(name, _)| lower(name))
                .collect(),
        }
    }

    fn virtual_clusters(&mut self, host: &Message) -> Vec<VirtualCluster> {
        let mut clusters = Vec::new();
        for cluster in host.messages("virtual_clusters") {
            let headers = cluster.messages("headers").filter_map(|one| self.header_matcher(one));
            let headers: Vec<_> = headers.collect();
            if cluster.list("headers").is_empty() {
                let text = "virtual clusters must define 'headers'";
                self.error(cluster.at, &cluster.path, text, "");
            }
            let name = cluster.text("name").unwrap_or_default().to_owned();
            clusters.push(VirtualCluster { name, headers });
        }
        clusters
    }

    /// The domains of a virtual host; `seen` are those of the table's others.
    fn domains(&mut self, host: &Message, table: &str, seen: &mut HashSet<String>) -> Vec<String> {
        let mut domains = Vec::new();
        for (domain, at) in host.texts("domains") {
            if !seen.insert(domain.to_ascii_lowercase()) {
                let text = match domain {
                    "*" => format!("Only a single wildcard domain is permitted in route {table}"),
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
        domains
    }

    fn route(&mut self, route: &Message, around: &Around<'_>) -> Option<Route> {
        let filter_configs = with_outer(self.per_filter(route), around.filters);
        let matcher = route.message("match").and_then(|rule| self.route_match(rule));
        let level = self.mutation_level(route);
        let mut action = self.action(route, matcher.as_ref(), around);
        if let Some(RouteAction::Forward(forward)) = &mut action
            && let Some(forward) = Arc::get_mut(forward)
            && let ClusterChoice::Weighted(weighted) = &mut forward.cluster
        {
            for part in &mut weighted.clusters {
                part.mutations = around.mutations.with(Some(&part.own_mutations), &level);
            }
        }
        let mutations = around.mutations.with(None, &level);
        let metadata = route.message("metadata").map(filter_metadata);
        let name = route.text("name").unwrap_or_default().to_owned();
        let stat_prefix = route.text("stat_prefix").unwrap_or_default().to_owned();
        route.ignore("decorator", "there are no spans whose operation it could name");
        route.ignore("tracing", "there is no tracing whose sampling it could change");
        Some(Route {
            name,
            matcher: matcher?,
            action: action?,
            filter_configs,
            mutations,
            stat_prefix,
            metadata,
        })
    }

    fn action(
        &mut self,
        route: &Message,
        matcher: Option<&RouteMatch>,
        around: &Around<'_>,
    ) -> Option<RouteAction> {
        if let Some(action) = route.message("route") {
            let above = Above { host: around.tries, route, clusters: around.clusters };
            let forward = self.forward(action, matcher, around.clusters, above)?;
            return Some(RouteAction::Forward(Arc::new(forward)));
        }
        if let Some(redirect) = route.message("redirect") {
            return self
                .redirect(redirect)
                .map(|redirect| RouteAction::Redirect(Arc::new(redirect)));
        }
        if let Some(direct) = route.message("direct_response") {
            let direct = self.direct(direct, around.direct_bytes_max)?;
            return Some(RouteAction::Direct(Arc::new(direct)));
        }
        let _neither = route.message("filter_action").or(route.message("non_forwarding_action"))?;
        Some(RouteAction::Forward(Arc::new(self.nowhere())))
    }
}

/// `Metadata.filter_metadata` as one object.
pub(in crate::config::compile) fn filter_metadata(metadata: &Message) -> serde_json::Value {
    metadata.ignore("typed_filter_metadata", "nobody reads it");
    let members = metadata.map("filter_metadata").iter().filter_map(|(name, item)| {
        let Value::Json(value) = &item.value else { return None };
        Some((name.clone(), value.clone()))
    });
    serde_json::Value::Object(members.collect())
}
