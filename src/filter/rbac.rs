//! `envoy.filters.http.rbac`: whose requests are let through.

use std::sync::{Arc, OnceLock};

use understudy_actors::{
    plan::Payload,
    stats::{AnyGroup, Group, RbacStat, Registry, Scope, ShadowRbacStat},
};

use super::{Build, Filter, Hooks, Kind, PerRoute, Seen, StreamFilter, Verdict};
use crate::{
    codec::RequestHead,
    config::Message,
    local_reply::LocalReply,
    rbac::{Rules, Subject},
};

pub(super) static KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.rbac.v3.RBAC",
    build,
    per_route: Some(PerRoute {
        config: "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
        build: build_for_route,
    }),
};

#[derive(Debug)]
struct Rbac {
    sets: Arc<Sets>,
    stat_prefix: String,
    shadow_stat_prefix: String,
    stats: OnceLock<Stats>,
}

/// The rules in force, and those that are only counted.
#[derive(Debug, Default)]
struct Sets {
    rules: Option<Rules>,
    shadow_rules: Option<Rules>,
}

#[derive(Clone)]
struct Stats {
    in_force: Arc<Group<RbacStat>>,
    shadow: Arc<Group<ShadowRbacStat>>,
}

struct Stream {
    sets: Arc<Sets>,
    stats: Option<Stats>,
}

fn build(config: &Message, builder: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    let text =
        |field: &str| config.text(field).unwrap_or_default().trim_end_matches('.').to_owned();
    Some(Arc::new(Rbac {
        sets: Arc::new(Sets::of(config, builder)),
        stat_prefix: text("rules_stat_prefix"),
        shadow_stat_prefix: text("shadow_rules_stat_prefix"),
        stats: OnceLock::new(),
    }))
}

/// A route that says nothing of it lets everybody through.
fn build_for_route(config: &Message, builder: &mut dyn Build) -> Option<Payload> {
    let own = config.message("rbac").map(|rbac| Sets::of(rbac, builder));
    Some(Arc::new(own.unwrap_or_default()))
}

// === impl Sets ===

impl Sets {
    fn of(config: &Message, builder: &mut dyn Build) -> Self {
        let rules = builder.rules(config, "rules");
        Self { rules, shadow_rules: builder.rules(config, "shadow_rules") }
    }
}

// === impl Stats ===

impl std::fmt::Debug for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stats").finish_non_exhaustive()
    }
}

// === impl Rbac ===

impl Filter for Rbac {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST_HEAD
    }

    fn stream(&self, route: Option<&Payload>) -> Box<dyn StreamFilter> {
        let own = route.and_then(|route| route.clone().downcast::<Sets>().ok());
        let sets = own.unwrap_or_else(|| self.sets.clone());
        Box::new(Stream { sets, stats: self.stats.get().cloned() })
    }

    fn count_in(&self, registry: &Registry, stat_prefix: &str) -> Vec<Arc<dyn AnyGroup>> {
        let scope = Scope::http(stat_prefix).within("rbac");
        let below = |prefix: &str| match prefix {
            "" => scope.clone(),
            prefix => scope.within(prefix),
        };
        let Stats { in_force, shadow } = self.stats.get_or_init(|| Stats {
            in_force: registry.group(below(&self.stat_prefix)),
            shadow: registry.group(below(&self.shadow_stat_prefix)),
        });
        vec![in_force.clone(), shadow.clone()]
    }
}

// === impl Stream ===

impl StreamFilter for Stream {
    fn on_request_head(&mut self, head: &mut RequestHead, seen: &Seen) -> Verdict {
        let client = &seen.client;
        let subject = Subject {
            source: client.peer,
            direct: client.direct,
            remote: client.remote,
            destination: client.local,
            server_name: client.server_name.as_deref().unwrap_or_default(),
            tls: client.tls.as_deref(),
            request: Some(head),
            metadata: None,
        };
        let worker = seen.now.worker;
        if let (Some(rules), Some(stats)) = (&self.sets.shadow_rules, &self.stats) {
            stats.shadow.lane(worker).inc(match rules.judge(&subject).allowed {
                true => ShadowRbacStat::ShadowAllowed,
                false => ShadowRbacStat::ShadowDenied,
            });
        }
        let Some(rules) = &self.sets.rules else { return Verdict::Continue };
        let judged = rules.judge(&subject);
        if let Some(stats) = &self.stats {
            stats.in_force.lane(worker).inc(match judged.allowed {
                true => RbacStat::Allowed,
                false => RbacStat::Denied,
            });
        }
        if judged.allowed {
            return Verdict::Continue;
        }
        let policy = judged.policy.unwrap_or("none");
        let details = format!("rbac_access_denied_matched_policy[{policy}]").into();
        Verdict::Reply(LocalReply { details, ..LocalReply::new(403, "RBAC: access denied", "") })
    }
}
