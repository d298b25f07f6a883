//! Owns locality weighted balancing: first a locality is chosen, then one of its hosts.

use std::collections::BTreeMap;

use understudy_actors::{plan::Locality, snapshot::Host};

use super::{
    Choice,
    build::Builder,
    levels::{Census, Part, Source},
    list::{List, Place},
};
use crate::config::model::balancing;

/// The localities of one priority whose hosts have one standing.
#[derive(Debug)]
pub(super) struct Localities {
    /// Its place among the schedules of a worker.
    schedule: usize,
    localities: Box<[One]>,
}

#[derive(Debug)]
struct One {
    /// Its place among all, with or without a weight.
    at: usize,
    weight: f64,
    list: List,
}

/// Hosts of one locality, and how much of its weight counts.
#[derive(Default)]
struct Gathered {
    weight: f64,
    all: usize,
    excluded: usize,
    members: Vec<u32>,
}

// === impl Localities ===

impl Localities {
    /// None where localities are all alike, or none of them has a weight.
    pub(super) fn new(source: Source, census: &Census, builder: &mut Builder<'_>) -> Option<Self> {
        if builder.localities != balancing::Localities::Weighted
            || census.part(source.part).is_empty()
        {
            return None;
        }
        let gathered = gather(source.part, census, builder);
        let schedule = builder.schedule();
        let overprovisioning = f64::from(builder.overprovisioning_percent) / 100.0;
        let localities: Box<[One]> = gathered
            .iter()
            .enumerate()
            .map(|(at, one)| {
                let source = Source { locality: Some(at), ..source };
                let weight = one.weight(overprovisioning);
                One { at, weight, list: builder.list(source, &one.members) }
            })
            .filter(|one| one.weight > 0.0)
            .collect();
        (!localities.is_empty()).then_some(Self { schedule, localities })
    }

    /// The hosts of one locality.
    pub(super) fn list(&self, at: usize) -> Option<&List> {
        self.localities.iter().find(|one| one.at == at).map(|one| &one.list)
    }

    pub(super) fn pick(&self, place: Place<'_>, choice: Choice<'_>) -> Option<usize> {
        let weights = || self.localities.iter().map(|one| one.weight);
        let weight = |at: u32| self.localities.get(at as usize).map_or(0.0, |one| one.weight);
        let at = place.schedules.pick(self.schedule, weights, weight)?;
        self.localities.get(at as usize)?.list.pick(place, choice)
    }
}

/// The hosts and what each weighs, 1 together: within its locality where localities have weights.
///
/// Source: Envoy, "Ring hash" and "Maglev" with locality weights, which health does not lessen.
pub(super) fn normalized(part: Part, census: &Census, builder: &Builder<'_>) -> Vec<(u32, f64)> {
    let mut out = Vec::with_capacity(census.part(part).len());
    let mut add = |members: &[u32], share: f64| {
        let sum: u64 = members.iter().map(|at| u64::from(builder.weight(*at))).sum();
        out.extend(
            members.iter().map(|at| (*at, f64::from(builder.weight(*at)) * share / sum as f64)),
        );
    };
    if builder.localities != balancing::Localities::Weighted {
        add(census.part(part), 1.0);
        return out;
    }
    let gathered = gather(part, census, builder);
    let sum: f64 = gathered.iter().map(|one| one.weight).sum();
    for one in gathered.iter().filter(|one| one.weight > 0.0) {
        add(&one.members, one.weight / sum);
    }
    out
}

/// The localities of one priority, ours first, with the hosts of this standing in each.
pub(super) fn by_zone(
    source: Source,
    census: &Census,
    builder: &mut Builder<'_>,
) -> Option<Box<[(Locality, List)]>> {
    let home = builder.zones.as_ref().filter(|_| source.level == 0)?.home.clone();
    let mut zones: BTreeMap<(bool, Locality), Vec<u32>> = BTreeMap::new();
    let mut at_each = |positions: &[u32], there: bool| {
        for at in positions {
            let Some(host) = builder.host(*at) else { continue };
            let zone = host.endpoint.locality.clone();
            let members = zones.entry((zone != home, zone)).or_default();
            members.extend(there.then_some(*at));
        }
    };
    at_each(&census.all, false);
    at_each(census.part(source.part), true);
    let lists = zones.into_iter().enumerate().map(|(at, ((_, zone), members))| {
        let source = Source { locality: Some(at), ..source };
        (zone, builder.list(source, &members))
    });
    Some(lists.collect())
}

/// By locality, in the order of their names.
fn gather(part: Part, census: &Census, builder: &Builder<'_>) -> Vec<Gathered> {
    let mut gathered: BTreeMap<(&str, &str, &str), Gathered> = BTreeMap::new();
    for (positions, count) in [
        (&census.all[..], (|one, _| one.all += 1) as fn(&mut Gathered, u32)),
        (&census.excluded, |one, _| one.excluded += 1),
        (census.part(part), |one, at| one.members.push(at)),
    ] {
        for at in positions {
            let Some(host) = builder.host(*at) else { continue };
            count(gathered.entry(key(host)).or_default(), *at);
        }
    }
    for at in &census.all {
        if let Some(host) = builder.host(*at)
            && let Some(one) = gathered.get_mut(&key(host))
        {
            one.weight = builder.locality_weight(host, one.all);
        }
    }
    gathered.into_values().collect()
}

fn key(host: &Host) -> (&str, &str, &str) {
    let Locality { region, zone, sub_zone } = &host.endpoint.locality;
    (region, zone, sub_zone)
}

// === impl Gathered ===

impl Gathered {
    /// Less where more than some of its hosts are not available.
    ///
    /// Source: Envoy, "Locality weighted load balancing".
    fn weight(&self, overprovisioning: f64) -> f64 {
        let counted = self.all - self.excluded;
        if counted == 0 {
            return 0.0;
        }
        let available = self.members.len() as f64 / counted as f64;
        self.weight * (overprovisioning * available).min(1.0)
    }
}
