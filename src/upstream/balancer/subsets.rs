//! Owns balancing among subsets of a cluster's hosts: those whose metadata is what a route asks for.

use std::collections::{BTreeMap, HashMap};

use understudy_actors::{
    plan::{LbMetadata, LbValue},
    snapshot::Host,
    stats::ClusterStat,
};

use super::{Choice, build::Builder, levels::Levels, list::Place};
use crate::config::model::subsets::{Fallback, SelectorFallback, SubsetOptions};

/// The key of metadata whose alternatives are tried one after the other.
const FALLBACK_LIST: &str = "fallback_list";

/// Subsets that one host is in at most.
const OF_HOST_MAX: usize = 1024;

/// The subsets of a cluster.
#[derive(Debug)]
pub(super) struct Subsets {
    options: SubsetOptions,
    by_metadata: HashMap<LbMetadata, Subset>,
    /// Hosts that would be a second one where there is to be one.
    duplicates: u64,
    /// Those that `default_subset` names.
    default: Option<Levels>,
}

/// The hosts of one subset.
#[derive(Debug)]
enum Subset {
    Levels(Levels),
    /// One alone (`single_host_per_subset`), whatever its health is.
    Host(u32),
}

// === impl Subsets ===

impl Subsets {
    /// Of all hosts, by the keys that selectors name.
    pub(super) fn new<'a>(
        options: &SubsetOptions,
        builder: &mut Builder<'a>,
        before: Option<&'a Subsets>,
    ) -> Self {
        let mut members: BTreeMap<LbMetadata, Vec<u32>> = BTreeMap::new();
        let mut alone: BTreeMap<LbMetadata, u32> = BTreeMap::new();
        let (mut default, mut duplicates) = (Vec::new(), 0);
        for at in 0..builder.hosts() as u32 {
            let Some(host) = builder.host(at) else { continue };
            for selector in &options.selectors {
                for metadata in found(host, &selector.keys, options.list_as_any) {
                    if selector.single_host {
                        // Observed: Envoy 1.40 takes the first, and counts the others.
                        duplicates += u64::from(*alone.entry(metadata).or_insert(at) != at);
                        continue;
                    }
                    let members = members.entry(metadata).or_default();
                    if members.last() != Some(&at) {
                        members.push(at);
                    }
                }
            }
            if has_metadata(host, &options.default, options.list_as_any) {
                default.push(at);
            }
        }
        let of = |builder: &mut Builder<'a>, members: Vec<u32>, before: Option<&'a Levels>| {
            builder.go_on_from(before, |builder| Levels::new(members.into_iter(), builder))
        };
        let by_metadata = members
            .into_iter()
            .map(|(metadata, members)| {
                let before = before.and_then(|before| before.by_metadata.get(&metadata)?.levels());
                let levels = of(builder, members, before);
                (metadata, Subset::Levels(levels))
            })
            .chain(alone.into_iter().map(|(metadata, host)| (metadata, Subset::Host(host))))
            .collect();
        let default = options.needs_default().then(|| {
            let before = before.and_then(|before| before.default.as_ref());
            of(builder, default, before)
        });
        let subsets = Self { options: options.clone(), by_metadata, duplicates, default };
        subsets.count(before, builder);
        subsets
    }

    /// Counts subsets that came and went. Envoy has one of each for every thread, and counts them so.
    ///
    /// Observed: Envoy 1.40, `lb_subsets_active` is 16 of 8 subsets with one worker.
    fn count(&self, before: Option<&Subsets>, builder: &Builder<'_>) {
        let stats = &builder.shared.stats;
        let known = |subsets: Option<&Subsets>, metadata: &LbMetadata| {
            subsets.is_some_and(|subsets| subsets.by_metadata.contains_key(metadata))
        };
        let threads = stats.workers() as u64 + 1;
        let came = self.by_metadata.keys().filter(|metadata| !known(before, metadata)).count();
        let went = before.iter().flat_map(|before| before.by_metadata.keys());
        let went = went.filter(|metadata| !known(Some(self), metadata)).count();
        stats.add(ClusterStat::LbSubsetsCreated, came as u64 * threads);
        stats.add(ClusterStat::LbSubsetsRemoved, went as u64 * threads);
        stats.set(ClusterStat::LbSubsetsActive, self.by_metadata.len() as u64 * threads);
        stats.set(ClusterStat::LbSubsetsSingleHostPerSubsetDuplicate, self.duplicates);
    }

    /// Whoever takes a request whose route asks for such hosts; `all` are those of the whole cluster.
    ///
    /// Source: Envoy, "Load balancer subsets"; observed: Envoy 1.40 (tests of this file).
    pub(super) fn pick(&self, all: &Levels, place: Place<'_>, choice: Choice<'_>) -> Option<usize> {
        let wanted = choice.metadata;
        let Some((wanted, LbValue::List(alternatives))) = wanted
            .filter(|_| self.options.tries_fallback_list)
            .and_then(|wanted| Some((wanted, wanted.get(FALLBACK_LIST)?)))
        else {
            return self.pick_for(wanted, all, place, choice);
        };
        let mut wanted = wanted.clone();
        wanted.remove(FALLBACK_LIST);
        if alternatives.is_empty() {
            return self.pick_for(Some(&wanted), all, place, choice);
        }
        alternatives.iter().find_map(|alternative| {
            let mut wanted = wanted.clone();
            if let LbValue::Fields(fields) = alternative {
                wanted.extend(fields.clone());
            }
            self.pick_for(Some(&wanted), all, place, choice)
        })
    }

    fn pick_for(
        &self,
        wanted: Option<&LbMetadata>,
        all: &Levels,
        place: Place<'_>,
        choice: Choice<'_>,
    ) -> Option<usize> {
        if let Some(wanted) = wanted {
            let reduced = self.reduced(wanted);
            let wanted = reduced.as_ref().unwrap_or(wanted);
            if let Some(subset) = self.by_metadata.get(wanted) {
                place.stats().inc(ClusterStat::LbSubsetsSelected);
                return match subset {
                    Subset::Levels(levels) => levels.pick(place, choice),
                    Subset::Host(host) => Some(*host as usize),
                };
            }
            let is_its = |keys: &[String]| keys.iter().eq(wanted.keys());
            let selector = self.options.selectors.iter().find(|selector| is_its(&selector.keys));
            match selector.map(|selector| &selector.fallback) {
                Some(SelectorFallback::Nobody) => return None,
                Some(SelectorFallback::Any) => return all.pick(place, choice),
                Some(SelectorFallback::Default) => {
                    return self.default.as_ref()?.pick(place, choice);
                }
                // There are fewer keys each time.
                Some(SelectorFallback::Keys(keys)) => {
                    let fewer = wanted.iter().filter(|(key, _)| keys.contains(key));
                    let fewer = fewer.map(|(key, value)| (key.clone(), value.clone())).collect();
                    return self.pick_for(Some(&fewer), all, place, choice);
                }
                Some(SelectorFallback::AsTheCluster) | None => {}
            }
        }
        let found = match self.options.fallback {
            Fallback::Nobody => return None,
            Fallback::Any => all.pick(place, choice),
            Fallback::Default => self.default.as_ref()?.pick(place, choice),
        };
        if found.is_some() {
            place.stats().inc(ClusterStat::LbSubsetsFallback);
            return found;
        }
        let found = self.options.panic_takes_any.then(|| all.pick(place, choice)).flatten();
        if found.is_some() {
            place.stats().inc(ClusterStat::LbSubsetsFallbackPanic);
        }
        found
    }

    /// What a selector asks for of it, where more may be said than any asks for.
    fn reduced(&self, wanted: &LbMetadata) -> Option<LbMetadata> {
        let mut selectors = self.options.selectors.iter().filter(|_| self.options.takes_more_keys);
        let all = |keys: &[String]| keys.iter().all(|key| wanted.contains_key(key));
        let selector = selectors.find(|selector| all(&selector.keys))?;
        let own = wanted.iter().filter(|(key, _)| selector.keys.contains(key));
        Some(own.map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

// === impl Subset ===

impl Subset {
    fn levels(&self) -> Option<&Levels> {
        match self {
            Self::Levels(levels) => Some(levels),
            Self::Host(_) => None,
        }
    }
}

/// What a host has under these keys, if it has all: where a list stands for any of its elements, each of them.
fn found(host: &Host, keys: &[String], list_as_any: bool) -> Vec<LbMetadata> {
    let mut all = vec![LbMetadata::new()];
    for key in keys {
        let Some(value) = host.endpoint.metadata.get(key) else { return Vec::new() };
        let values = match value {
            LbValue::List(elements) if list_as_any => elements.as_slice(),
            value => std::slice::from_ref(value),
        };
        let with = |metadata: &LbMetadata, value: &LbValue| {
            let mut metadata = metadata.clone();
            metadata.insert(key.clone(), value.clone());
            metadata
        };
        all = all
            .iter()
            .flat_map(|metadata| values.iter().map(|value| with(metadata, value)))
            .take(OF_HOST_MAX)
            .collect();
    }
    all
}

/// Whether a host has all of this.
pub fn has_metadata(host: &Host, wanted: &LbMetadata, list_as_any: bool) -> bool {
    wanted.iter().all(|(key, wanted)| match host.endpoint.metadata.get(key) {
        Some(LbValue::List(elements)) if list_as_any => elements.contains(wanted),
        found => found == Some(wanted),
    })
}
