//! Owns what is published of the configuration: what the file asks for, what discovery has brought, and what became of
//! the last reload.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime},
};

use crate::{
    plan::{Assignment, Discovery, Payload, Plan},
    resources::{ConfigSource, Kind, Refused, ResourcePlan, Resources, Subscription, Topic},
};

/// What a cluster is told of whom nobody knows hosts; the same each time, so that it is told once.
static NOBODY: LazyLock<Arc<Assignment>> = LazyLock::new(Arc::default);

/// The configuration in force.
#[derive(Clone, Default)]
pub struct Configured {
    /// What the file asks for; none before the first.
    pub base: Option<Arc<Base>>,
    /// What discovery has brought.
    pub resources: Resources,
    /// Listeners of discovery that others took the place of, or nobody, and that may still drain: the oldest first.
    pub drained: Vec<Arc<Drained>>,
    /// What became of the last reload that somebody asked for.
    pub last_reload: Option<Arc<Reloaded>>,
}

/// A listener of discovery that is in force no more. Of it is kept what is shown alone: what it ran is let go of.
#[derive(Debug)]
pub struct Drained {
    /// Its name.
    pub name: String,
    /// `version_info` of the response that brought it.
    pub version: String,
    /// When that was.
    pub updated: SystemTime,
    /// The message, for those who show it.
    pub message: Payload,
    /// When its connections have had the time that they are given.
    pub until: SystemTime,
}

/// Drained listeners that are remembered at most.
const DRAINED_MAX: usize = 256;

/// A static configuration.
pub struct Base {
    /// What it asks for.
    pub plan: Plan,
    /// `dynamic_resources.cds_config`
    pub clusters_from: Option<ConfigSource>,
    /// `dynamic_resources.lds_config`
    pub listeners_from: Option<ConfigSource>,
    /// The document behind it, for those who show it.
    pub bootstrap: Payload,
    /// When it was read.
    pub loaded: SystemTime,
}

/// What became of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// When.
    pub at: SystemTime,
    /// Who asked for it.
    pub who: String,
    /// What it changed, or why it changed nothing.
    pub outcome: Result<String, String>,
}

// === impl Configured ===

impl Configured {
    /// The listeners that drain now.
    pub fn draining(&self) -> impl Iterator<Item = &Arc<Drained>> {
        let now = SystemTime::now();
        self.drained.iter().filter(move |drained| drained.until > now)
    }

    /// Goes on from what was in force before: its listeners that are not here drain for so long.
    pub(crate) fn drain_after(&mut self, before: &Self, drain_time: Duration) {
        let until = SystemTime::now() + drain_time;
        let now = self.all_of(Kind::Listener);
        let gone = before.all_of(Kind::Listener).into_iter().flat_map(|all| &all.resources);
        let gone = gone.filter(|(name, old)| {
            let new = now.and_then(|all| all.resources.get(*name));
            new.is_none_or(|new| !Arc::ptr_eq(new, old))
        });
        let gone = gone.map(|(name, old)| {
            Arc::new(Drained {
                name: name.clone(),
                version: old.version.clone(),
                updated: old.updated,
                message: old.message.clone(),
                until,
            })
        });
        let mut drained: Vec<_> = before.draining().cloned().chain(gone).collect();
        drained.drain(..drained.len().saturating_sub(DRAINED_MAX));
        self.drained = drained;
    }
}

// === impl Base ===

impl From<Plan> for Base {
    /// A plan without a document.
    fn from(plan: Plan) -> Self {
        Self {
            plan,
            clusters_from: None,
            listeners_from: None,
            bootstrap: Arc::new(()),
            loaded: SystemTime::now(),
        }
    }
}

// === impl Configured ===

impl Configured {
    /// The one subscription to all clusters or all listeners.
    pub fn all_of(&self, kind: Kind) -> Option<&Subscription> {
        let all =
            self.resources.iter().find(|(topic, _)| topic.kind == kind && topic.name.is_none());
        all.map(|(_, subscription)| subscription)
    }

    /// The plan of all of it. What the file names is not discovery's to replace.
    pub(crate) fn plan(&self) -> Plan {
        let mut plan = self.base.as_ref().map(|base| base.plan.clone()).unwrap_or_default();
        let clusters: HashSet<_> = plan.clusters.iter().map(|one| one.name.clone()).collect();
        let listeners: HashSet<_> = plan.listeners.iter().map(|one| one.name.clone()).collect();
        let brought = self.resources.values().flat_map(|one| one.resources.iter());
        for (name, resource) in brought {
            match &resource.plan {
                ResourcePlan::Cluster(cluster) if !clusters.contains(name) => {
                    plan.clusters.push(cluster.clone());
                }
                ResourcePlan::Listener(listener, routes) if !listeners.contains(name) => {
                    plan.listeners.push(listener.clone());
                    plan.routes.extend(routes.iter().cloned());
                }
                ResourcePlan::Routes(routes) => plan.routes.push(routes.clone()),
                _ => {}
            }
        }
        plan.assignments = self.assignments(&plan);
        plan
    }

    /// Hosts of clusters that subscribe to them; none of a cluster whose subscription has brought none.
    fn assignments(&self, plan: &Plan) -> BTreeMap<String, Arc<Assignment>> {
        let assigned = plan.clusters.iter().filter_map(|cluster| {
            let Discovery::Eds { service_name, source } = &cluster.discovery else { return None };
            let (source, name) = (source.clone(), Some(service_name.clone()));
            let brought = self.resources.get(&Topic { kind: Kind::Endpoints, source, name });
            let assignment = match brought.and_then(Subscription::only).map(|one| &one.plan) {
                Some(ResourcePlan::Endpoints(assignment)) => assignment.clone(),
                _ => NOBODY.clone(),
            };
            Some((cluster.name.clone(), assignment))
        });
        assigned.collect()
    }

    /// A listener of discovery cannot be put in force: it stays what it was before. Gives the subscription, if it was one.
    pub(crate) fn give_up(&mut self, before: &Self, name: &str, why: &str) -> Option<Topic> {
        let all = self.resources.iter_mut();
        let (topic, subscription) = all
            .filter(|(topic, _)| topic.kind == Kind::Listener)
            .find(|(_, subscription)| subscription.resources.contains_key(name))?;
        let was = before.resources.get(topic).and_then(|one| one.resources.get(name));
        let failed = match was {
            Some(was) => subscription.resources.insert(name.to_owned(), was.clone()),
            None => subscription.resources.remove(name),
        };
        let failed = failed.filter(|failed| was.is_none_or(|was| !Arc::ptr_eq(was, failed)))?;
        subscription.refused.push(Arc::new(Refused {
            name: name.to_owned(),
            message: failed.message.clone(),
            at: SystemTime::now(),
            why: why.to_owned(),
        }));
        Some(topic.clone())
    }
}
