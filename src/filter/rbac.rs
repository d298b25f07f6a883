//! `envoy.filters.http.rbac`: whose requests are let through.

use std::sync::{Arc, OnceLock};

use understudy_actors::{
    plan::Payload,
    stats::{Group, RbacStat, Registry, Scope, ShadowRbacStat},
};

use super::{Build, Filter, Hooks, Kind, PerRoute, Seen, StreamFilter, Verdict};
use crate::{
    codec::RequestHead,
    config::Message,
    local_reply::LocalReply,
    rbac::{EnforcementMode, Engine, Subject},
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
    engines: Arc<Engines>,
    stat_prefix: String,
    shadow_stat_prefix: String,
    stats: OnceLock<Stats>,
}

/// What is in force, and what is only counted.
#[derive(Debug, Default)]
struct Engines {
    enforced: Option<Engine>,
    shadow: Option<Engine>,
}

#[derive(Clone)]
struct Stats {
    in_force: Arc<Group<RbacStat>>,
    shadow: Arc<Group<ShadowRbacStat>>,
}

struct Stream {
    engines: Arc<Engines>,
    stats: Option<Stats>,
}

fn build(config: &Message, builder: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    let text =
        |field: &str| config.text(field).unwrap_or_default().trim_end_matches('.').to_owned();
    Some(Arc::new(Rbac {
        engines: Arc::new(Engines::of(config, builder)),
        stat_prefix: text("rules_stat_prefix"),
        shadow_stat_prefix: text("shadow_rules_stat_prefix"),
        stats: OnceLock::new(),
    }))
}

/// A route that says nothing of it lets everybody through.
fn build_for_route(config: &Message, builder: &mut dyn Build) -> Option<Payload> {
    let own = config.message("rbac").map(|rbac| Engines::of(rbac, builder));
    Some(Arc::new(own.unwrap_or_default()))
}

// === impl Engines ===

impl Engines {
    fn of(config: &Message, builder: &mut dyn Build) -> Self {
        let enforced = builder.engine(config, EnforcementMode::Enforced);
        Self { enforced, shadow: builder.engine(config, EnforcementMode::Shadow) }
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
        let own = route.and_then(|route| route.clone().downcast::<Engines>().ok());
        let engines = own.unwrap_or_else(|| self.engines.clone());
        Box::new(Stream { engines, stats: self.stats.get().cloned() })
    }

    fn count_in(&self, registry: &Registry, stat_prefix: &str) {
        let scope = Scope::http(stat_prefix).within("rbac");
        let below = |prefix: &str| match prefix {
            "" => scope.clone(),
            prefix => scope.within(prefix),
        };
        self.stats.get_or_init(|| Stats {
            in_force: registry.group(below(&self.stat_prefix)),
            shadow: registry.group(below(&self.shadow_stat_prefix)),
        });
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
            named: client.named,
            destination: client.local,
            server_name: client.server_name.as_deref().unwrap_or_default(),
            tls: client.tls.as_deref(),
            request: Some(head),
            metadata: None,
            filter_state: client.proxied.as_ref().map(|proxied| &proxied.filter_state),
            runtime: &seen.now.runtime,
        };
        let worker = seen.now.worker;
        if let (Some(engine), Some(stats)) = (&self.engines.shadow, &self.stats) {
            stats.shadow.lane(worker).inc(match engine.judge(&subject).allowed {
                true => ShadowRbacStat::ShadowAllowed,
                false => ShadowRbacStat::ShadowDenied,
            });
        }
        let Some(engine) = &self.engines.enforced else { return Verdict::Continue };
        let judged = engine.judge(&subject);
        if let Some(stats) = &self.stats {
            stats.in_force.lane(worker).inc(match judged.allowed {
                true => RbacStat::Allowed,
                false => RbacStat::Denied,
            });
        }
        if judged.allowed {
            return Verdict::Continue;
        }
        let details = judged.details().into();
        Verdict::Reply(LocalReply { details, ..LocalReply::new(403, "RBAC: access denied", "") })
    }
}
