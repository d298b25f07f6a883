//! Owns counting requests apart: those of a virtual cluster, and those of a route with a `stat_prefix`.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc, time::Duration};

use understudy_actors::stats::{AnswerStat, Group, Registry, Scope, VirtualStat};

use super::count;
use crate::{codec::RequestHead, route::Found};

/// What a connection manager's requests were counted with so far, on one worker.
#[derive(Default)]
pub(super) struct Aparts {
    by_prefix: RefCell<HashMap<String, Rc<Apart>>>,
}

/// One scope's stats.
struct Apart {
    answers: Arc<Group<AnswerStat>>,
    tries: Arc<Group<VirtualStat>>,
}

/// The scopes that count one request.
pub(super) struct CountedApart {
    scopes: Vec<Rc<Apart>>,
    worker: usize,
    /// The last try was a retry.
    retried: bool,
}

// === impl Aparts ===

impl Aparts {
    /// The scopes that count a request.
    pub(super) fn of(
        &self,
        found: Found<'_>,
        request: &RequestHead,
        registry: &Arc<Registry>,
        worker: usize,
    ) -> CountedApart {
        let host = &found.virtual_host.name;
        // `other` counts what no virtual cluster of the host does. Observed: Envoy 1.40.
        let cluster = (!found.virtual_host.virtual_clusters.is_empty()).then(|| {
            Scope::virtual_cluster(host, found.virtual_cluster(request).unwrap_or("other"))
        });
        let prefix = Some(&found.route.stat_prefix).filter(|prefix| !prefix.is_empty());
        let route = prefix.map(|prefix| Scope::route(host, prefix));
        let scopes = cluster.into_iter().chain(route).map(|scope| self.one(scope, registry));
        CountedApart { scopes: scopes.collect(), worker, retried: false }
    }

    fn one(&self, scope: Scope, registry: &Arc<Registry>) -> Rc<Apart> {
        let mut by_prefix = self.by_prefix.borrow_mut();
        if let Some(known) = by_prefix.get(&scope.prefix) {
            return known.clone();
        }
        let answers = registry.group(scope.clone());
        let prefix = scope.prefix.clone();
        let apart = Rc::new(Apart { answers, tries: registry.group(scope) });
        by_prefix.insert(prefix, apart.clone());
        apart
    }
}

// === impl CountedApart ===

impl CountedApart {
    /// Counts something about a try.
    pub(super) fn inc(&self, stat: VirtualStat) {
        self.scopes.iter().for_each(|scope| scope.tries.lane(self.worker).inc(stat));
    }

    /// There will be another try.
    pub(super) fn retry(&mut self) {
        self.retried = true;
        self.inc(VirtualStat::UpstreamRqRetry);
    }

    /// The try that was is the last, for want of a reason to retry.
    pub(super) fn satisfied(&mut self) {
        if std::mem::take(&mut self.retried) {
            self.inc(VirtualStat::UpstreamRqRetrySuccess);
        }
    }

    /// Counts the answer; `waited` is how long a host took for it.
    pub(super) fn answer(&self, status: u16, waited: Option<Duration>) {
        for scope in &self.scopes {
            let stats = scope.answers.lane(self.worker);
            count::count_answer(stats, status);
            if let Some(waited) = waited {
                stats.record(AnswerStat::UpstreamRqTime, waited.as_millis() as u64);
            }
        }
    }
}
