//! Owns telling what a plan changes and which connections that touches: for the journal, and for whoever reloads.

use std::{collections::HashMap, fmt, sync::Arc};

use super::Supervisor;
use crate::plan::{ClusterPlan, Plan};

/// Names of one kind that are written out at most.
const NAMED_MAX: usize = 50;

/// What a plan changes. Written out, it has a line for each kind, and one for each listener or cluster whose
/// connections are touched.
pub(crate) struct Changes {
    kinds: Vec<Kind>,
    touched: Vec<String>,
}

/// What changes of one kind, by name.
struct Kind {
    what: &'static str,
    added: Vec<String>,
    changed: Vec<String>,
    removed: Vec<String>,
    stay: usize,
}

// === impl Changes ===

impl Changes {
    /// One line of numbers, for the journal.
    pub(super) fn summary(&self) -> String {
        let counts = self.kinds.iter().map(|kind| {
            let Kind { what, added, changed, removed, .. } = kind;
            format!("{what} +{} ~{} -{}", added.len(), changed.len(), removed.len())
        });
        counts.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kinds.iter().try_for_each(|kind| writeln!(f, "{kind}"))?;
        if self.touched.is_empty() {
            return writeln!(f, "no connection is touched");
        }
        self.touched.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

// === impl Kind ===

impl Kind {
    /// Compares by what `print` says: a name, and what is equal for those that ask for the same.
    fn compare<T>(
        what: &'static str,
        before: &[Arc<T>],
        after: &[Arc<T>],
        print: impl Fn(&T) -> (&str, (u64, u64)),
    ) -> Self {
        let known: HashMap<_, _> = before.iter().map(|one| print(one)).collect();
        let wanted: HashMap<_, _> = after.iter().map(|one| print(one)).collect();
        let (mut added, mut changed, mut stay) = (Vec::new(), Vec::new(), 0);
        for (name, asked) in after.iter().map(|one| print(one)) {
            match known.get(name) {
                None => added.push(name.to_owned()),
                Some(before) if *before != asked => changed.push(name.to_owned()),
                Some(_) => stay += 1,
            }
        }
        let gone = before.iter().map(|one| print(one).0).filter(|name| !wanted.contains_key(name));
        let removed = gone.map(str::to_owned).collect();
        Self { what, added, changed, removed, stay }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        let lists =
            [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        for (word, names) in lists.into_iter().filter(|(_, names)| !names.is_empty()) {
            let named = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
            let more = if names.len() > NAMED_MAX { ", …" } else { "" };
            write!(f, "{} {word} ({named}{more}), ", names.len())?;
        }
        write!(f, "{} stay", self.stay)
    }
}

// === impl Supervisor ===

impl Supervisor {
    /// What a plan changes of what is wanted now.
    pub(super) fn changes(&self, after: &Plan) -> Changes {
        let before = self.seed.wanted.borrow().clone();
        let kinds = vec![
            Kind::compare("clusters", &before.clusters, &after.clusters, cluster_print),
            Kind::compare("route tables", &before.routes, &after.routes, |routes| {
                (routes.name.as_str(), (routes.fingerprint, 0))
            }),
            Kind::compare("listeners", &before.listeners, &after.listeners, |listener| {
                (listener.name.as_str(), (listener.fingerprint, 0))
            }),
        ];
        let mut touched = self.touched_listeners(&before, after);
        touched.extend(touched_clusters(&before, after));
        Changes { kinds, touched }
    }

    fn touched_listeners(&self, before: &Plan, after: &Plan) -> Vec<String> {
        let (children, drain) = (self.seed.children.borrow(), self.seed.stage.options.drain_time);
        let wanted: HashMap<_, _> = after.listeners.iter().map(|l| (l.name.as_str(), l)).collect();
        let told = before.listeners.iter().filter_map(|listener| {
            let name = &listener.name;
            let open = children.listeners.get(name).map_or(0, |child| child.shares.open());
            let end = format!("its {open} connections end with their next answer");
            match wanted.get(name.as_str()) {
                None => {
                    Some(format!("listener {name} closes: {end}, or when idle after {drain:?}"))
                }
                Some(after) if !after.binds_like(listener) => {
                    let to = after.address;
                    Some(format!(
                        "listener {name} moves to {to}: {end}, or when idle after {drain:?}"
                    ))
                }
                Some(after) if after.chains_fingerprint != listener.chains_fingerprint => Some(
                    format!("listener {name} changes: {end}; what is under way on them is not cut"),
                ),
                Some(_) => None,
            }
        });
        told.collect()
    }
}

fn cluster_print(cluster: &ClusterPlan) -> (&str, (u64, u64)) {
    (&cluster.name, (cluster.fingerprint, cluster.hosts_fingerprint))
}

fn touched_clusters(before: &Plan, after: &Plan) -> Vec<String> {
    let wanted: HashMap<_, _> =
        after.clusters.iter().map(|cluster| cluster_print(cluster)).collect();
    let told = before.clusters.iter().filter_map(|cluster| {
        let (name, (print, hosts)) = cluster_print(cluster);
        let end = "once what they carry is done";
        match wanted.get(name) {
            None => Some(format!("cluster {name} goes: connections to its hosts end {end}")),
            Some((other, _)) if *other != print => Some(format!(
                "cluster {name} changes: connections to its hosts end {end}, new ones take their place"
            )),
            Some((_, other)) if *other != hosts => Some(format!(
                "cluster {name} has other hosts: connections to those that leave end {end}"
            )),
            Some(_) => None,
        }
    });
    told.collect()
}
