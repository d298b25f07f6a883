//! `envoy.filters.network.rbac`: who may connect.
//!
//! Nothing that decides changes while a connection lasts, so that each is judged once, whatever `enforcement_type` says.

use std::{sync::Arc, time::Duration};

use understudy_actors::{
    runtime::Runtime,
    stats::{Group, Lane, RbacStat as S, Registry, Scope, ShadowRbacStat},
};

use super::{Build, Decide, Farewell, Filter, Kind, Verdict};
use crate::{
    config::Message,
    downstream::{Arrival, serve::Worker},
    rbac::{EnforcementMode, Engine, Subject},
};

pub(super) static KIND: Kind =
    Kind { config: "envoy.extensions.filters.network.rbac.v3.RBAC", build };

#[derive(Debug)]
struct Rbac {
    stat_prefix: String,
    shadow_stat_prefix: String,
    /// In force; none lets everybody in.
    enforced: Option<Engine>,
    /// Whose judgements are only counted.
    shadow: Option<Engine>,
    /// `delay_deny`
    delay: Duration,
}

struct OnWorker {
    config: Arc<Rbac>,
    stats: Arc<Group<S>>,
    shadow: Arc<Group<ShadowRbacStat>>,
}

fn build(config: &Message, builder: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    config.ignore("enforcement_type", "a connection is judged alike each time");
    let text = |field: &str| config.text(field).unwrap_or_default().to_owned();
    Some(Arc::new(Rbac {
        stat_prefix: text("stat_prefix"),
        shadow_stat_prefix: text("shadow_rules_stat_prefix"),
        enforced: builder.engine(config, EnforcementMode::Enforced),
        shadow: builder.engine(config, EnforcementMode::Shadow),
        delay: config.duration("delay_deny").unwrap_or_default(),
    }))
}

// === impl Rbac ===

impl Filter for Rbac {
    fn run(self: Arc<Self>, registry: &Registry) -> Box<dyn Decide> {
        let scope = Scope::rbac(&self.stat_prefix);
        let shadow = match self.shadow_stat_prefix.trim_end_matches('.') {
            "" => scope.clone(),
            prefix => scope.within(prefix),
        };
        let (stats, shadow) = (registry.group(scope), registry.group(shadow));
        Box::new(OnWorker { config: self, stats, shadow })
    }
}

impl OnWorker {
    fn stats(&self, worker: &Worker) -> &Lane<S> {
        self.stats.lane(worker.index)
    }

    /// Counts what the engine that is not in force would have said.
    fn count_shadow(&self, worker: &Worker, subject: &Subject<'_>) {
        let Some(engine) = &self.config.shadow else { return };
        self.shadow.lane(worker.index).inc(match engine.judge(subject).allowed {
            true => ShadowRbacStat::ShadowAllowed,
            false => ShadowRbacStat::ShadowDenied,
        });
    }
}

impl Decide for OnWorker {
    fn on_connection(&self, worker: &Worker, arrival: &mut Arrival) -> Verdict {
        worker.with_runtime(|runtime| {
            let subject = subject(arrival, runtime);
            let Some(engine) = &self.config.enforced else {
                self.count_shadow(worker, &subject);
                return Verdict::Continue;
            };
            let judged = engine.judge(&subject);
            if judged.allowed {
                self.count_shadow(worker, &subject);
                self.stats(worker).inc(S::Allowed);
                return Verdict::Continue;
            }
            Verdict::TurnAway(Farewell {
                once_it_speaks: true,
                delay: self.config.delay,
                details: judged.details(),
                flag: None,
            })
        })
    }

    fn turned_away(&self, worker: &Worker, arrival: &Arrival) {
        worker.with_runtime(|runtime| self.count_shadow(worker, &subject(arrival, runtime)));
        self.stats(worker).inc(S::Denied);
    }
}

/// Who connects, and to what.
fn subject<'a>(arrival: &'a Arrival, runtime: &'a Runtime) -> Subject<'a> {
    Subject {
        source: arrival.peer,
        direct: arrival.proxied.as_ref().map_or(arrival.peer, |proxied| proxied.peer),
        remote: arrival.peer.ip(),
        named: false,
        destination: arrival.local,
        // As far as the TLS inspector has seen it. Observed: Envoy 1.40.
        server_name: arrival.server_name.as_deref().unwrap_or_default(),
        tls: arrival.tls.as_deref(),
        request: None,
        metadata: arrival.proxied.as_ref().map(|proxied| &proxied.metadata),
        filter_state: arrival.proxied.as_ref().map(|proxied| &proxied.filter_state),
        runtime,
    }
}
