//! Owns the tests of balancers over whole clusters: who is chosen, by priority, health, weight and locality.

use std::{collections::BTreeMap, sync::Arc};

use understudy_actors::{
    plan::{ClusterPlan, Discovery, EndpointPlan, Locality},
    runtime::{Runtime, RuntimeLayer, RuntimeValue},
    seams::{Balance, Membership},
    snapshot::{ClusterSnapshot, HealthFlag, Host},
    stats::{ClusterStat, HostStat, Registry},
};

use super::*;
use crate::config::model::{
    balancing::{Balancing, LeastRequest, Localities, Policy, RuntimeDouble, SlowStart},
    cluster::Upstream,
};

mod hashing;
mod subsets;
mod zones;

/// A cluster whose tables are built again whenever something of it has changed.
struct Cluster {
    snapshot: ClusterSnapshot,
    runtime: Runtime,
    picker: Picker,
}

/// A host: where it stands in the order of all, and what is said of it.
fn host(priority: u32, weight: u32, zone: &str, locality_weight: u32) -> EndpointPlan {
    let locality = Locality { zone: zone.to_owned(), ..Locality::default() };
    EndpointPlan { priority, weight, locality, locality_weight, ..EndpointPlan::default() }
}

fn plain(priority: u32) -> EndpointPlan {
    host(priority, 1, "", 0)
}

const WELL: u32 = 0;
const ILL: u32 = HealthFlag::FailedActiveHc as u32;
const DEGRADED: u32 = HealthFlag::DegradedActiveHc as u32;
const OUT: u32 = ILL | HealthFlag::ExcludedViaImmediateHcFail as u32;

impl Cluster {
    fn new(balancing: Balancing, hosts: Vec<EndpointPlan>) -> Self {
        let mut plan = ClusterPlan::new("a", 0, Discovery::Static(Vec::new()));
        plan.upstream = Arc::new(Upstream { balancing, ..Upstream::default() });
        let mut snapshot = ClusterSnapshot::first(Arc::new(plan), &Arc::new(Registry::new(1)));
        let address = |at: usize| format!("127.0.1.{}:21100", at + 1).parse().unwrap();
        let hosts = hosts.into_iter().enumerate();
        snapshot.hosts =
            hosts.map(|(at, plan)| Arc::new(Host::new(address(at), plan, 1))).collect();
        let picker = Picker::new(&snapshot, None, 0);
        let mut cluster = Self { snapshot, runtime: Runtime::default(), picker };
        cluster.build();
        cluster
    }

    fn build(&mut self) {
        let Self { snapshot, runtime, .. } = self;
        let membership = Membership {
            before: snapshot,
            hosts: &snapshot.hosts,
            policy: snapshot.policy,
            runtime,
        };
        snapshot.balancer = Balancers.tables(membership);
        self.picker = Picker::new(snapshot, None, 0);
    }

    fn health(&mut self, flags: &[u32]) {
        for (host, flags) in self.snapshot.hosts.iter().zip(flags) {
            host.health.store(*flags, std::sync::atomic::Ordering::Relaxed);
        }
        self.build();
    }

    fn panic_threshold(&mut self, percent: u32) {
        let value = RuntimeValue::parse(&percent.to_string());
        let entries = BTreeMap::from([("upstream.healthy_panic_threshold".to_owned(), value)]);
        let layer = RuntimeLayer { name: String::new(), admin: false, entries };
        self.runtime = Runtime::new(vec![layer]);
        self.build();
    }

    fn pick(&self, choice: Choice<'_>) -> Option<usize> {
        self.picker.pick(&self.snapshot, 0, choice)
    }

    fn picks(&self, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| self.pick(Choice::default())).collect()
    }

    /// How many of so many requests each host takes.
    fn counts(&self, count: usize) -> Vec<usize> {
        let mut counts = vec![0; self.snapshot.hosts.len()];
        self.picks(count).into_iter().for_each(|host| counts[host] += 1);
        counts
    }

    fn panics_counted(&self) -> u64 {
        self.snapshot.shared.stats.sum(ClusterStat::LbHealthyPanic)
    }
}

fn least(choices: Option<u32>, bias: f64) -> Balancing {
    let bias = RuntimeDouble { default: bias, key: String::new() };
    let policy = Policy::LeastRequest(LeastRequest { choices, bias });
    Balancing { policy, ..Balancing::default() }
}

fn near(count: usize, expected: usize) -> bool {
    count.abs_diff(expected) * 5 <= expected
}

#[test]
fn hosts_take_turns_and_whoever_falls_ill_is_left_out() {
    let mut cluster = Cluster::new(Balancing::default(), vec![plain(0), plain(0), plain(0)]);
    assert_eq!(cluster.picks(6), [0, 1, 2, 0, 1, 2]);
    cluster.health(&[WELL, ILL, WELL]);
    assert_eq!(cluster.picks(4), [0, 2, 0, 2]);
    cluster.health(&[WELL, WELL, WELL]);
    assert_eq!(cluster.counts(9), [3, 3, 3]);
}

#[test]
fn too_few_healthy_hosts_are_panic_and_all_take_requests_or_none() {
    use Balancing as B;
    for (flags, threshold, expected, panics) in [
        ([WELL, WELL, WELL], 50, &[0, 1, 2][..], false),
        ([WELL, WELL, ILL], 50, &[0, 1], false),
        ([WELL, ILL, ILL], 50, &[0, 1, 2], true),
        ([WELL, ILL, ILL], 0, &[0], false),
        ([ILL, ILL, ILL], 0, &[], false),
        ([WELL, DEGRADED, DEGRADED], 50, &[0, 1, 2], false),
        ([ILL, DEGRADED, DEGRADED], 50, &[1, 2], false),
        ([WELL, OUT, OUT], 50, &[0], false),
    ] {
        for fails_on_panic in [false, true] {
            let balancing = B { fails_on_panic, ..B::default() };
            let mut cluster = Cluster::new(balancing, vec![plain(0), plain(0), plain(0)]);
            cluster.health(&flags);
            cluster.panic_threshold(threshold);
            let mut reached = cluster.picks(500);
            reached.sort_unstable();
            reached.dedup();
            let expected = if panics && fails_on_panic { &[][..] } else { expected };
            assert_eq!(reached, expected, "{flags:?} {threshold}");
            let tables = cluster.picker.tables();
            let told: Vec<_> = (0..3).filter(|host| tables.reaches(*host)).collect();
            assert_eq!((told, tables.panics()), (expected.to_vec(), panics), "{flags:?}");
            assert_eq!(cluster.panics_counted(), if panics { 500 } else { 0 });
        }
    }
}

#[test]
fn degraded_hosts_take_what_healthy_ones_cannot() {
    let mut cluster = Cluster::new(Balancing::default(), vec![plain(0); 4]);
    cluster.health(&[WELL, WELL, DEGRADED, DEGRADED]);
    // 2 of 4 healthy: 70 %.
    let counts = cluster.counts(4000);
    assert!(near(counts[0] + counts[1], 2800) && near(counts[2] + counts[3], 1200), "{counts:?}");
    assert_eq!(counts[0].abs_diff(counts[1]) + counts[2].abs_diff(counts[3]), {
        (counts[0] + counts[1]) % 2 + (counts[2] + counts[3]) % 2
    });
}

#[test]
fn a_priority_takes_over_as_the_one_above_loses_its_health() {
    let mut cluster = Cluster::new(Balancing::default(), vec![plain(0), plain(0), plain(1)]);
    assert_eq!(cluster.counts(100), [50, 50, 0]);
    cluster.health(&[ILL, WELL, WELL]);
    let counts = cluster.counts(4000);
    assert!(counts[0] == 0 && near(counts[1], 2800) && near(counts[2], 1200), "{counts:?}");
    cluster.health(&[ILL, ILL, WELL]);
    assert_eq!(cluster.counts(100), [0, 0, 100]);
    assert_eq!(cluster.panics_counted(), 0);
    // Nobody is left: by size, to all.
    cluster.health(&[ILL, ILL, ILL]);
    let counts = cluster.counts(4000);
    assert!(near(counts[0] + counts[1], 2680) && near(counts[2], 1320), "{counts:?}");
    assert_eq!(cluster.panics_counted(), 4000);
}

#[test]
fn weights_count_for_turns_and_where_asked_for_health() {
    let hosts = || vec![host(0, 1, "", 0), host(0, 3, "", 0), host(1, 1, "", 0)];
    let mut cluster = Cluster::new(Balancing::default(), hosts());
    assert_eq!(cluster.counts(40), [10, 30, 0]);
    cluster.health(&[ILL, WELL, WELL]);
    assert!(near(cluster.counts(4000)[1], 2800));
    let weighs_health = Balancing { weighs_health: true, ..Balancing::default() };
    let mut cluster = Cluster::new(weighs_health, hosts());
    cluster.health(&[ILL, WELL, WELL]);
    // 3 of 4 is enough: 105 %.
    assert_eq!(cluster.counts(100), [0, 100, 0]);
}

#[test]
fn least_request_leaves_busy_hosts_alone() {
    let busy = |cluster: &Cluster, requests: u64| {
        cluster.snapshot.hosts[0].stats.lane(0).add(HostStat::RqActive, requests);
    };
    for choices in [Some(2), Some(5), None] {
        let cluster = Cluster::new(least(choices, 1.0), vec![plain(0); 3]);
        let counts = cluster.counts(3000);
        assert!(counts.iter().all(|count| near(*count, 1000)), "{counts:?}");
        busy(&cluster, 5);
        let counts = cluster.counts(9000);
        // It is taken where all that are drawn are this one.
        let share = choices.map_or(0, |choices| 9000 / 3_usize.pow(choices));
        assert!(counts[0].abs_diff(share) <= share / 3 + 20, "{choices:?} {counts:?}");
    }
    // With weights, requests in flight count against them, as much as the bias says.
    for (bias, expected) in [(1.0, [1000, 1000]), (0.0, [1500, 500]), (2.0, [500, 1500])] {
        let cluster =
            Cluster::new(least(Some(2), bias), vec![host(0, 3, "", 0), host(0, 1, "", 0)]);
        assert_eq!(cluster.counts(40).iter().sum::<usize>(), 40);
        busy(&cluster, 2);
        let counts = cluster.counts(3000);
        let share = 3000 * expected[0] / (expected[0] + expected[1]);
        assert!(near(counts[0], share), "{bias} {counts:?}");
    }
}

#[test]
fn random_is_even_and_without_order() {
    let policy = Policy::Random;
    let cluster = Cluster::new(Balancing { policy, ..Balancing::default() }, vec![plain(0); 3]);
    assert!(cluster.counts(6000).iter().all(|count| near(*count, 2000)));
    let picks = cluster.picks(40);
    assert!(picks.chunks(3).any(|three| three != &picks[..three.len()]));
}

#[test]
fn a_locality_takes_what_its_weight_says_and_less_where_its_hosts_are_ill() {
    let localities = Localities::Weighted;
    let hosts = || {
        let mut hosts = vec![host(0, 1, "x", 3), host(0, 1, "x", 3)];
        hosts.extend([host(0, 1, "y", 1), host(0, 1, "y", 1), host(0, 1, "z", 0)]);
        hosts
    };
    let mut cluster = Cluster::new(Balancing { localities, ..Balancing::default() }, hosts());
    assert_eq!(cluster.counts(800), [300, 300, 100, 100, 0]);
    cluster.health(&[ILL, WELL, WELL, WELL, WELL]);
    // 3 * 0.7 against 1.
    let counts = cluster.counts(3100);
    assert!(near(counts[1], 2100) && near(counts[2] + counts[3], 1000), "{counts:?}");
    // In panic nobody asks for localities.
    cluster.panic_threshold(90);
    cluster.health(&[ILL, ILL, ILL, WELL, ILL]);
    assert!(cluster.counts(1000).iter().all(|count| near(*count, 200)));
    // Where no locality has a weight, they are all alike.
    let alike = vec![host(0, 1, "x", 0), host(0, 1, "y", 0)];
    let cluster = Cluster::new(Balancing { localities, ..Balancing::default() }, alike);
    assert_eq!(cluster.picks(4), [0, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_new_host_begins_slowly_and_is_as_the_others_after_its_window() {
    let second = std::time::Duration::from_secs(1);
    let aggression = RuntimeDouble { default: 1.0, key: String::new() };
    let slow_start = Some(SlowStart { window: 100 * second, aggression, weight_min: 0.1 });
    for policy in [Balancing::default(), least(Some(2), 1.0)] {
        let balancing = Balancing { slow_start: slow_start.clone(), ..policy };
        let mut cluster = Cluster::new(balancing, vec![plain(0); 2]);
        // All are new: they are alike.
        assert!(cluster.counts(1000).iter().all(|count| near(*count, 500)));
        tokio::time::advance(200 * second).await;
        let address = "127.0.1.9:80".parse().unwrap();
        let mut hosts = cluster.snapshot.hosts.to_vec();
        hosts.push(Arc::new(Host::new(address, plain(0), 1)));
        cluster.snapshot.hosts = hosts.into();
        cluster.build();
        for (seconds, share) in [(0, 0.1), (50, 0.5), (49, 0.99), (2, 1.0)] {
            tokio::time::advance(seconds * second).await;
            let counts = cluster.counts(4000);
            let expected = 4000.0 * share / (2.0 + share);
            assert!((counts[2] as f64 - expected).abs() < 0.2 * expected, "{share} {counts:?}");
        }
        cluster.build();
        assert!(cluster.counts(3000).iter().all(|count| near(*count, 1000)));
    }
}
