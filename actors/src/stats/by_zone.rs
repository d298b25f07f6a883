//! Owns what a cluster counts of answers by zone: from the proxy's own to that of the host.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use super::{AnswerStat, Group, Registry, Scope};

/// A group for each zone that hosts are in, made with the first host there and kept: `cluster.NAME.zone.FROM.TO.`.
#[derive(Debug)]
pub struct ByZone {
    registry: Arc<Registry>,
    cluster: Scope,
    /// `Node.locality.zone`; empty where it is not said, and then nothing is counted by zone.
    from: String,
    to: Mutex<BTreeMap<String, Arc<Group<AnswerStat>>>>,
}

// === impl ByZone ===

impl ByZone {
    /// Of a cluster with this scope, as seen from a zone.
    pub(crate) fn new(registry: Arc<Registry>, cluster: Scope, from: &str) -> Self {
        Self { registry, cluster, from: from.to_owned(), to: Mutex::default() }
    }

    /// What is counted of answers from this zone, if both zones have a name.
    pub fn to(&self, zone: &str) -> Option<Arc<Group<AnswerStat>>> {
        if self.from.is_empty() || zone.is_empty() {
            return None;
        }
        let mut known = self.to.lock();
        let group = known.entry(zone.to_owned()).or_insert_with(|| {
            let name = format!("zone.{}.{zone}", self.from).replace(':', "_");
            self.registry.group(self.cluster.within(&name))
        });
        Some(group.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_zone_where_both_zones_have_a_name() {
        let registry = Arc::new(Registry::new(1));
        let by_zone = |from| ByZone::new(registry.clone(), Scope::cluster("a"), from);
        assert!(by_zone("").to("b").is_none() && by_zone("x").to("").is_none());
        let from_x = by_zone("x");
        let group = from_x.to("b:1").unwrap();
        assert!(Arc::ptr_eq(&group, &from_x.to("b:1").unwrap()));
        let groups = registry.groups();
        let scope = groups[0].scope();
        assert_eq!(scope.prefix, "cluster.a.zone.x.b_1.");
        assert_eq!(scope.extracted, "cluster.zone.x.b_1.");
        let mut listed = 0;
        groups[0].visit(&mut |_| listed += 1);
        assert_eq!(listed, 0, "nothing is listed before the first answer");
    }
}
