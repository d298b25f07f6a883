//! Owns compiling the way to a cluster.

use std::{collections::HashSet, time::Duration};

use super::{
    super::{Compiler, lb_metadata::lb_metadata},
    attempts::{Above, timeouts},
};
use crate::{
    config::{
        Message,
        model::route::{
            Attempts, ClusterChoice, ClusterName, Forward, HostChange, PathChange, PathMatch,
            RouteMatch,
        },
    },
    uri_template::PathRewrite,
};

/// Envoy's `RouteAction.timeout` default.
const TIMEOUT: Duration = Duration::from_secs(15);

const URI_TEMPLATE: &str = "envoy.extensions.path.rewrite.uri_template.v3.UriTemplateRewriteConfig";

impl Compiler<'_> {
    /// `RouteAction` of the route of that match.
    pub(super) fn forward(
        &mut self,
        action: &Message,
        rule: Option<&RouteMatch>,
        clusters: Option<&HashSet<String>>,
        above: Above<'_>,
    ) -> Option<Forward> {
        let mut cluster = self.cluster_choice(action, clusters);
        let metadata_match = lb_metadata(action, "metadata_match");
        action.ignore("metadata_match", "what stands beside `envoy.lb` says nothing to balancers");
        if let Some(ClusterChoice::Weighted(weighted)) = &mut cluster {
            for one in &mut weighted.clusters {
                let own = std::mem::replace(&mut one.metadata_match, metadata_match.clone());
                one.metadata_match.extend(own);
            }
        }
        let path_rewrite = self.path_change(action, rule);
        let host_rewrite = self.host_change(action);
        let hash = self.hash_policies(action);
        let status = action.choice("cluster_not_found_response_code");
        let attempts = self.attempts(action, above);
        let (timeout, timeout_ms) = timeouts(action, &attempts, TIMEOUT);
        Some(Forward {
            cluster: cluster?,
            hash,
            metadata_match,
            timeout,
            timeout_ms,
            attempts,
            idle_timeout: action.duration("idle_timeout"),
            path_rewrite: path_rewrite?,
            host_rewrite: host_rewrite?,
            append_forwarded_host: action.boolean("append_x_forwarded_host").unwrap_or(false),
            upgrades: self.route_upgrades(action),
            cluster_not_found_status: match status {
                Some("NOT_FOUND") => 404,
                Some("INTERNAL_SERVER_ERROR") => 500,
                _ => 503,
            },
        })
    }

    /// The way of a route whose answer is left to a filter: no filter gave one, and there is no cluster.
    ///
    /// Observed: Envoy 1.40, `filter_action` and `non_forwarding_action` answer 503, `cluster_not_found`.
    pub(super) fn nowhere(&self) -> Forward {
        Forward {
            cluster: ClusterChoice::Named(self.cluster_name("")),
            hash: Vec::new(),
            metadata_match: Default::default(),
            timeout: Some(TIMEOUT),
            timeout_ms: String::new(),
            attempts: Attempts::default(),
            idle_timeout: None,
            path_rewrite: PathChange::Keep,
            host_rewrite: HostChange::Keep,
            append_forwarded_host: false,
            upgrades: Vec::new(),
            cluster_not_found_status: 503,
        }
    }

    fn cluster_choice(
        &mut self,
        action: &Message,
        clusters: Option<&HashSet<String>>,
    ) -> Option<ClusterChoice> {
        if let Some(header) = action.text("cluster_header") {
            return Some(ClusterChoice::Header(header.to_ascii_lowercase().into_bytes()));
        }
        if let Some(weighted) = action.message("weighted_clusters") {
            return self.weighted_clusters(weighted, clusters).map(ClusterChoice::Weighted);
        }
        // A plugin is left unread, and so refused.
        let name = action.text("cluster")?;
        if clusters.is_some_and(|clusters| !clusters.contains(name)) {
            let text = format!("route: unknown cluster '{name}'");
            self.unknown_cluster(action, "cluster", text, clusters);
        }
        Some(ClusterChoice::Named(self.cluster_name(name)))
    }

    pub(super) fn cluster_name(&self, name: &str) -> ClusterName {
        ClusterName { slot: self.slots.clusters.of(name), name: name.to_owned() }
    }

    pub(super) fn unknown_cluster(
        &mut self,
        holder: &Message,
        field: &str,
        text: String,
        clusters: Option<&HashSet<String>>,
    ) {
        let known: Vec<&str> = clusters.into_iter().flatten().map(String::as_str).collect();
        let hint = match known.is_empty() {
            true => "there are no clusters".to_owned(),
            false => format!("there are {}", known.join(", ")),
        };
        self.error(holder.at_of(field), &holder.path_of(field), text, hint);
    }

    /// `prefix_rewrite`, `regex_rewrite` or `path_rewrite_policy`.
    fn path_change(&mut self, action: &Message, rule: Option<&RouteMatch>) -> Option<PathChange> {
        let prefix = action.text("prefix_rewrite").filter(|prefix| !prefix.is_empty());
        let regex = action.message("regex_rewrite").map(|regex| self.substitution(regex));
        let policy = action.message("path_rewrite_policy");
        let path = rule.map(|rule| &rule.path);
        let format = action.text("path_rewrite").filter(|text| !text.is_empty());
        let count = [prefix.is_some(), regex.is_some(), policy.is_some(), format.is_some()];
        if count.iter().filter(|set| **set).count() > 1 {
            let text = "Specify only one of prefix_rewrite, regex_rewrite, path_rewrite_policy or path_rewrite";
            self.error(action.at, &action.path, text, "");
        }
        if let Some(prefix) = prefix {
            if let Some(PathMatch::Template(_)) = path {
                let (at, field) =
                    (action.at_of("prefix_rewrite"), action.path_of("prefix_rewrite"));
                let text = "Cannot use prefix_rewrite with matcher extension";
                self.error(at, &field, text, "write path_rewrite_policy");
            }
            return Some(PathChange::Prefix(prefix.to_owned()));
        }
        if let Some(regex) = regex {
            return regex.map(PathChange::Regex);
        }
        if let Some(text) = format {
            let (at, path) = (action.at_of("path_rewrite"), action.path_of("path_rewrite"));
            return self.format(at, &path, text).map(PathChange::Format);
        }
        let Some(policy) = policy else { return Some(PathChange::Keep) };
        policy.ignore("name", "free text; the type decides");
        let config = &policy.any("typed_config")?.message;
        if config.name() != URI_TEMPLATE {
            self.refuse_whole(config, config.name());
            return None;
        }
        let text = config.text("path_template_rewrite").unwrap_or_default();
        let rewrite = match path {
            Some(PathMatch::Template(template)) => PathRewrite::new(text, template)
                .map_err(|why| format!("path_rewrite_policy.path_template_rewrite {text} is invalid: {why}")),
            _ => Err("unable to use envoy.path.rewrite.uri_template.uri_template_rewriter extension without \
                envoy.path.match.uri_template.uri_template_matcher extension"
                .to_owned()),
        };
        let rewrite = rewrite.map_err(|text| {
            let field = "path_template_rewrite";
            self.error(config.at_of(field), &config.path_of(field), text, "");
        });
        rewrite.ok().map(PathChange::Template)
    }

    /// `host_rewrite_specifier`
    fn host_change(&mut self, action: &Message) -> Option<HostChange> {
        if let Some(literal) = action.text("host_rewrite_literal").filter(|text| !text.is_empty()) {
            return Some(HostChange::Literal(literal.to_owned()));
        }
        if let Some(header) = action.text("host_rewrite_header").filter(|text| !text.is_empty()) {
            return Some(HostChange::Header(header.to_ascii_lowercase().into_bytes()));
        }
        if let Some(rewrite) = action.message("host_rewrite_path_regex") {
            return self.substitution(rewrite).map(HostChange::Path);
        }
        if let Some(text) = action.text("host_rewrite").filter(|text| !text.is_empty()) {
            let (at, path) = (action.at_of("host_rewrite"), action.path_of("host_rewrite"));
            return self.format(at, &path, text).map(HostChange::Format);
        }
        Some(match action.boolean("auto_host_rewrite") {
            Some(true) => HostChange::Upstream,
            _ => HostChange::Keep,
        })
    }
}
