//! Owns compiling copies of requests, and redirects that the proxy follows itself.

use std::collections::HashSet;

use super::super::Compiler;
use crate::config::{
    Message,
    model::route::{InternalRedirect, Mirror, MirrorTarget, RedirectPredicate},
};

/// Envoy takes these alone for `redirect_response_codes`.
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

const ALLOW_LISTED: &str =
    "envoy.extensions.internal_redirect.allow_listed_routes.v3.AllowListedRoutesConfig";

const PREVIOUS_ROUTES: &str =
    "envoy.extensions.internal_redirect.previous_routes.v3.PreviousRoutesConfig";

const SAFE_CROSS_SCHEME: &str =
    "envoy.extensions.internal_redirect.safe_cross_scheme.v3.SafeCrossSchemeConfig";

impl Compiler<'_> {
    /// `request_mirror_policies` of a route, a virtual host or a table.
    pub(super) fn mirrors(
        &mut self,
        holder: &Message,
        clusters: Option<&HashSet<String>>,
    ) -> Vec<Mirror> {
        let policies = holder.messages("request_mirror_policies");
        policies.filter_map(|policy| self.mirror(policy, clusters)).collect()
    }

    fn mirror(&mut self, policy: &Message, clusters: Option<&HashSet<String>>) -> Option<Mirror> {
        policy.ignore("trace_sampled", "there is no tracing that could sample it");
        let text = |name: &str| policy.text(name).filter(|text| !text.is_empty());
        let target = match (text("cluster"), text("cluster_header")) {
            (Some(name), None) => {
                if clusters.is_some_and(|clusters| !clusters.contains(name)) {
                    let text = format!("route: unknown shadow cluster '{name}'");
                    self.error(policy.at_of("cluster"), &policy.path_of("cluster"), text, "");
                }
                MirrorTarget::Cluster(self.slots.clusters.of(name))
            }
            (None, Some(header)) => MirrorTarget::Header(header.to_ascii_lowercase()),
            (None, None) => {
                let text = "Exactly one of cluster or cluster_header in request mirror policy \
                            can be specified";
                self.error(policy.at, &policy.path, text, "name the `cluster`");
                return None;
            }
            (Some(_), Some(_)) => {
                let text = "Only one of cluster or cluster_header in request mirror policy can be \
                            specified";
                self.error(policy.at, &policy.path, text, "leave one of them out");
                return None;
            }
        };
        Some(Mirror {
            target,
            fraction: policy.message("runtime_fraction").map(super::matching::runtime_fraction),
            host: text("host_rewrite_literal").unwrap_or_default().to_owned(),
            edits: self.header_mutations(policy, "request_headers_mutations"),
            suffix: !policy.boolean("disable_shadow_host_suffix_append").unwrap_or(false),
        })
    }

    /// `internal_redirect_policy`, or what was said before there was one.
    pub(super) fn internal_redirect(&mut self, action: &Message) -> Option<Box<InternalRedirect>> {
        let old = action.choice("internal_redirect_action") == Some("HANDLE_INTERNAL_REDIRECT");
        let old_max = action.number_u32("max_internal_redirects");
        let Some(policy) = action.message("internal_redirect_policy") else {
            return old.then(|| {
                Box::new(InternalRedirect {
                    max: old_max.unwrap_or(1),
                    statuses: vec![302],
                    predicates: Vec::new(),
                    cross_scheme: false,
                    copied_headers: Vec::new(),
                })
            });
        };
        let statuses = policy.numbers("redirect_response_codes").into_iter();
        let statuses = statuses.filter_map(|status| u16::try_from(status).ok());
        let statuses: Vec<u16> = statuses.filter(|status| REDIRECTS.contains(status)).collect();
        let mut predicates = Vec::new();
        for predicate in policy.messages("predicates") {
            predicate.ignore("name", "free text; the type decides");
            let Some(config) = predicate.any("typed_config").map(|any| &any.message) else {
                let text = "`typed_config` is missing";
                self.error(predicate.at, &predicate.path, text, "its `@type` says which it is");
                continue;
            };
            match config.name() {
                ALLOW_LISTED => {
                    let names = config.texts("allowed_route_names");
                    let names = names.map(|(name, _)| name.to_owned()).collect();
                    predicates.push(RedirectPredicate::AllowListed(names));
                }
                PREVIOUS_ROUTES => predicates.push(RedirectPredicate::PreviousRoutes),
                SAFE_CROSS_SCHEME => predicates.push(RedirectPredicate::SafeCrossScheme),
                other => self.refuse_whole(config, other),
            }
        }
        let copied = policy.texts("response_headers_to_copy");
        let copied_headers = copied.map(|(name, _)| name.to_ascii_lowercase()).collect();
        Some(Box::new(InternalRedirect {
            max: policy.number_u32("max_internal_redirects").unwrap_or(1),
            statuses: if statuses.is_empty() { vec![302] } else { statuses },
            predicates,
            cross_scheme: policy.boolean("allow_cross_scheme_redirect").unwrap_or(false),
            copied_headers,
        }))
    }
}
