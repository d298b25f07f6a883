//! Owns the tests of balancers that choose by hash: the same host as Envoy, for a key.

use understudy_actors::plan::LbValue;

use super::*;
use crate::{
    config::model::balancing::{HashTable, Hashing, RingHash},
    xxhash::xxh64,
};

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
    for balancing in [ring(1024, RING_MAX), hashing(HashTable::Maglev { size: 65_537 })] {
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
        // Some move besides: those that stay have more places each.
        assert!(!after.contains(&2) && moved < 200, "{moved}");
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

/// Observed: Envoy 1.40, fourteen requests of each key `a`, `b` and `c`, held open one after the other.
#[test]
fn requests_that_are_held_open_spread_as_they_do_in_envoy() {
    let maglev = || hashing(HashTable::Maglev { size: 65_537 });
    let (equal, weighted) = ([1; 4], [1, 2, 3, 4]);
    let ring = || ring(1024, RING_MAX);
    for (balancing, percent, weights, expected) in [
        (ring(), 100, equal, "22332311231123 33113122312231 44114122412241"),
        (ring(), 100, weighted, "22333231142313 33131232243123 44411424224142"),
        (ring(), 150, equal, "22233233232312 33311311313123 44411411414124"),
        (ring(), 150, weighted, "22323323332312 33313131323223 44444141414424"),
        (maglev(), 100, equal, "33113144314431 33113122312231 22112133213321"),
        (maglev(), 100, weighted, "33131434443143 44411424224142 22113233342133"),
        (maglev(), 150, equal, "33311311313143 33311311313123 22211211212132"),
        (maglev(), 150, weighted, "33313131343443 44444141414424 22121321332332"),
    ] {
        let Policy::Hash(hashing) = balancing.policy else { unreachable!() };
        let hashing = Hashing { bound_percent: Some(percent), ..hashing };
        let hosts = weights.iter().enumerate().map(|(at, weight)| {
            let mut host = host(0, *weight, "", 0);
            let key = LbValue::Text(format!("k{at}"));
            host.metadata.insert("hash_key".to_owned(), key);
            host
        });
        let balancing = Balancing { policy: Policy::Hash(hashing), ..Balancing::default() };
        let hosts: Vec<_> = hosts.collect();
        let held = ["a", "b", "c"].map(|key| {
            let cluster = Cluster::new(balancing.clone(), hosts.clone());
            let hash = Some(xxh64(key.as_bytes(), 0));
            let hold = |_| {
                let host = cluster.pick(Choice { hash, ..Choice::default() }).unwrap();
                cluster.snapshot.shared.stats.lane(0).inc(ClusterStat::UpstreamRqActive);
                cluster.snapshot.hosts[host].stats.lane(0).inc(HostStat::RqActive);
                (host + 1).to_string()
            };
            (0..14).map(hold).collect::<String>()
        });
        assert_eq!(held.join(" "), expected, "{percent} {weights:?}");
    }
}
