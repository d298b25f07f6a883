//! Owns the tests of balancers over whole clusters: who is chosen, by priority, health, weight and locality.

use std::{collections::BTreeMap, sync::Arc};

use understudy_actors::{
    plan::{ClusterPlan, Discovery, EndpointPlan, LbValue, Locality},
    runtime::{Runtime, RuntimeLayer, RuntimeValue},
    seams::{Balance, Membership},
    snapshot::{ClusterSnapshot, HealthFlag, Host},
    stats::{ClusterStat, HostStat, Registry},
};

use super::*;
use crate::config::model::{
    balancing::{
        Balancing, HashTable, Hashing, LeastRequest, Localities, Policy, RingHash, RuntimeDouble,
        SlowStart,
    },
    cluster::Upstream,
};
use crate::xxhash::xxh64;

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
        let picker = Picker::new(&snapshot);
        let mut cluster = Self { snapshot, runtime: Runtime::default(), picker };
        cluster.build();
        cluster
    }

    fn build(&mut self) {
        let Self { snapshot, runtime, .. } = self;
        let membership = Membership { before: snapshot, hosts: &snapshot.hosts, runtime };
        snapshot.balancer = Balancers.tables(membership);
        self.picker = Picker::new(snapshot);
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

fn hashing(table: HashTable) -> Balancing {
    let policies = Vec::new().into();
    let hashing = Hashing { table, by_hostname: false, bound_percent: None, policies };
    Balancing { policy: Policy::Hash(hashing), ..Balancing::default() }
}

fn ring(size_min: u64, size_max: u64) -> Balancing {
    hashing(HashTable::Ring(RingHash { size_min, size_max, murmur: false }))
}

const RING_MAX: u64 = 8 << 20;

impl Cluster {
    /// The hosts that the keys `k0` to `k23` lead to, counted from 1.
    fn by_keys(&self) -> String {
        let hosts = (0..24).map(|key| {
            let hash = Some(xxh64(format!("k{key}").as_bytes(), 0));
            let host = self.pick(Choice { hash, ..Choice::default() });
            host.map_or("-".to_owned(), |host| (host + 1).to_string())
        });
        hosts.collect()
    }

    fn gauge(&self, name: &str) -> Vec<u64> {
        use understudy_actors::stats::{MaglevStat as M, RingHashStat as R};
        let shared = &self.snapshot.shared;
        let ring = || shared.ring_hash_stats.get();
        match name {
            "ring" => [R::Size, R::MinHashesPerHost, R::MaxHashesPerHost]
                .map(|stat| ring().sum(stat))
                .to_vec(),
            _ => [M::MinEntriesPerHost, M::MaxEntriesPerHost]
                .map(|stat| shared.maglev_stats.get().sum(stat))
                .to_vec(),
        }
    }
}

/// Observed: Envoy 1.40, `hash_policy` of a header, hosts 127.0.1.1 to 127.0.1.5, port 21100.
#[test]
fn a_key_leads_to_the_host_that_it_leads_to_in_envoy() {
    let of_weights = |weights: &[u32]| -> Vec<EndpointPlan> {
        weights.iter().map(|weight| host(0, *weight, "", 0)).collect()
    };
    let equal = |hosts: usize| of_weights(&vec![1; hosts]);
    let weighted = || of_weights(&[1, 2, 3, 4, 10]);
    let named = || {
        let mut hosts = equal(4);
        for (at, host) in hosts.iter_mut().enumerate() {
            let key = LbValue::Text(format!("k{}", at + 1));
            host.metadata.insert("hash_key".to_owned(), key);
        }
        hosts
    };
    let murmur = HashTable::Ring(RingHash { size_min: 100, size_max: RING_MAX, murmur: true });
    let maglev = |size| hashing(HashTable::Maglev { size });
    for (balancing, hosts, expected, stat, shape) in [
        (ring(1024, RING_MAX), equal(5), "124112452251231515433343", "ring", &[1025, 205, 205][..]),
        (hashing(murmur), equal(5), "315112111441315155231335", "ring", &[100, 20, 20]),
        (ring(64, RING_MAX), weighted(), "424455355535234554434553", "ring", &[80, 4, 40]),
        (ring(3, 6), equal(4), "222222324222132422311142", "ring", &[4, 1, 1]),
        (ring(64, RING_MAX), named(), "132124221442141122321213", "ring", &[64, 16, 16]),
        (maglev(65_537), equal(5), "233542112434251242223531", "maglev", &[13_107, 13_108]),
        (maglev(251), weighted(), "455555153515355555535324", "maglev", &[13, 124]),
    ] {
        let cluster = Cluster::new(balancing, hosts);
        assert_eq!(cluster.by_keys(), expected, "{stat} {shape:?}");
        assert_eq!(cluster.gauge(stat), shape, "{expected}");
    }
    let mut cluster = Cluster::new(ring(1024, RING_MAX), equal(5));
    cluster.health(&[WELL, ILL, WELL, DEGRADED, WELL]);
    assert_eq!(cluster.by_keys(), "135111155351531515533333");
    // Three fifths of the first priority's hosts are ill: 35 of a hundred hashes find it.
    let hosts = (0..5).map(|at| host(u32::from(at == 4), 1, "", 0)).collect();
    let mut cluster = Cluster::new(ring(1024, RING_MAX), hosts);
    cluster.health(&[WELL, ILL, ILL, ILL, WELL]);
    assert_eq!(cluster.by_keys(), "155151555155551555555551");
    // Localities with weights, one without.
    let hosts = || {
        let zones = [("b", 3), ("b", 3), ("a", 1), ("a", 1), ("c", 0)];
        zones.into_iter().map(|(zone, weight)| host(0, 1, zone, weight)).collect::<Vec<_>>()
    };
    for (balancing, expected) in [
        (ring(1024, RING_MAX), "122112122231231213433342"),
        (maglev(65_537), "232142112434221242223221"),
    ] {
        let balancing = Balancing { localities: Localities::Weighted, ..balancing };
        assert_eq!(Cluster::new(balancing, hosts()).by_keys(), expected);
    }
}

#[test]
fn a_host_that_leaves_takes_few_keys_with_it_and_unchanged_tables_stay() {
    for (balancing, others_max) in
        [(ring(1024, RING_MAX), 0), (hashing(HashTable::Maglev { size: 65_537 }), 10)]
    {
        let mut cluster = Cluster::new(balancing, vec![plain(0); 5]);
        let picks = |cluster: &Cluster| -> Vec<usize> {
            let hash = |key: u64| Some(xxh64(&key.to_le_bytes(), 0));
            let choice = |key| Choice { hash: hash(key), ..Choice::default() };
            (0..1000).filter_map(|key| cluster.pick(choice(key))).collect()
        };
        let before = picks(&cluster);
        for host in 0..5 {
            let count = before.iter().filter(|picked| **picked == host).count();
            assert!(count.abs_diff(200) < 140, "{count}");
        }
        cluster.health(&[WELL, WELL, ILL, WELL, WELL]);
        let after = picks(&cluster);
        let moved = before.iter().zip(&after).filter(|(b, a)| **b != 2 && a != b).count();
        assert!(!after.contains(&2) && moved <= others_max * 10, "{moved}");
        cluster.build();
        assert_eq!(picks(&cluster), after);
    }
}

#[test]
fn a_busy_host_gives_what_is_above_its_bound_to_the_same_others() {
    let Policy::Hash(hashing) = ring(1024, RING_MAX).policy else { unreachable!() };
    let hashing = Hashing { bound_percent: Some(150), ..hashing };
    let balancing = Balancing { policy: Policy::Hash(hashing), ..Balancing::default() };
    let cluster = Cluster::new(balancing, vec![plain(0); 5]);
    assert_eq!(cluster.by_keys(), "124112452251231515433343");
    cluster.snapshot.shared.stats.lane(0).add(ClusterStat::UpstreamRqActive, 9);
    cluster.snapshot.hosts[0].stats.lane(0).add(HostStat::RqActive, 9);
    let others = cluster.by_keys();
    assert!(!others.contains('1') && others.contains('5'), "{others}");
    assert_eq!(cluster.by_keys(), others);
    let kept = "124112452251231515433343".chars().zip(others.chars());
    assert!(kept.into_iter().all(|(before, now)| before == '1' || before == now), "{others}");
}

#[test]
fn without_a_hash_any_host_is_taken_and_a_next_attempt_leads_elsewhere() {
    for balancing in [ring(1024, RING_MAX), hashing(HashTable::Maglev { size: 65_537 })] {
        let cluster = Cluster::new(balancing, vec![plain(0); 3]);
        assert!(cluster.counts(3000).iter().all(|count| near(*count, 1000)));
        let attempts = |hash| {
            let choice = |attempt| Choice { hash: Some(hash), attempt, ..Choice::default() };
            (0..20).filter_map(|attempt| cluster.pick(choice(attempt))).collect::<Vec<_>>()
        };
        let mut reached = attempts(42);
        reached.sort_unstable();
        reached.dedup();
        assert_eq!(reached, [0, 1, 2]);
    }
    let none = Cluster::new(ring(1024, RING_MAX), Vec::new());
    assert!(none.picks(3).is_empty());
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
