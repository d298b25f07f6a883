//! Owns the tests of zone aware routing: how many requests stay in our zone, and where the others go.

use understudy_actors::plan::Discovery;

use super::*;
use crate::config::model::balancing::ZoneAware;

const HOME: &str = "a";

fn options() -> ZoneAware {
    ZoneAware {
        local: 0,
        home: Locality { zone: HOME.to_owned(), ..Locality::default() },
        enabled_percent: 100,
        cluster_size_min: 1,
        forces_direct: false,
    }
}

fn in_zones(zones: &[&str]) -> Vec<EndpointPlan> {
    zones.iter().map(|zone| host(0, 1, zone, 0)).collect()
}

/// The proxies, of which those that are called `!` are ill.
fn local(zones: &[&str]) -> ClusterSnapshot {
    let plan = ClusterPlan::new("local", 1, Discovery::Static(Vec::new()));
    let mut snapshot = ClusterSnapshot::first(Arc::new(plan), &Arc::new(Registry::new(1)));
    let address = |at: usize| format!("127.0.2.{}:80", at + 1).parse().unwrap();
    let hosts = zones.iter().enumerate().map(|(at, zone)| {
        let of = Host::new(address(at), host(0, 1, zone.trim_end_matches('!'), 0), 1);
        let health = if zone.ends_with('!') { ILL } else { WELL };
        of.health.store(health, std::sync::atomic::Ordering::Relaxed);
        Arc::new(of)
    });
    snapshot.hosts = hosts.collect();
    snapshot
}

fn zoned(zones: ZoneAware, proxies: &[&str], hosts: &[&str]) -> Cluster {
    let balancing = Balancing { zones: Some(zones), ..Balancing::default() };
    let mut cluster = Cluster::new(balancing, in_zones(hosts));
    cluster.picker = Picker::new(&cluster.snapshot, Some(&local(proxies)), 0);
    cluster
}

/// Observed: Envoy 1.40, 400 requests from zone `a` to each of these.
#[test]
fn requests_stay_in_the_zone_as_far_as_its_share_of_hosts_reaches() {
    use ClusterStat as S;
    for (proxies, hosts, expected, stat) in [
        (
            &["a", "b"][..],
            &["a", "a", "b", "b"][..],
            &[50, 50, 0, 0][..],
            Some(S::LbZoneRoutingAllDirectly),
        ),
        (&["a", "b"], &["a", "b", "b", "b"], &[50, 17, 17, 17], Some(S::LbZoneRoutingCrossZone)),
        (&["a", "b"], &["b", "b", "c"], &[17, 17, 67], Some(S::LbZoneRoutingCrossZone)),
        (&["a", "b", "c"], &["a", "b", "b", "b"], &[75, 8, 8, 8], Some(S::LbZoneRoutingSampled)),
        // One zone, of hosts or of proxies, makes no difference; nor do proxies of which we are not one.
        (&["a", "b"], &["a", "a"], &[50, 50], None),
        (&["a", "a"], &["a", "a", "b", "b"], &[25, 25, 25, 25], None),
        (&["b", "c"], &["a", "a", "b", "b"], &[25, 25, 25, 25], Some(S::LbLocalClusterNotOk)),
        (
            &["a!", "a", "b!", "b!"],
            &["a", "b", "b", "b"],
            &[25, 25, 25, 25],
            Some(S::LbLocalClusterNotOk),
        ),
    ] {
        let cluster = zoned(options(), proxies, hosts);
        let counts = cluster.counts(4000);
        let near = |(count, percent): (&usize, &usize)| count.abs_diff(percent * 40) <= 160;
        assert!(counts.iter().zip(expected).all(near), "{proxies:?} {hosts:?} {counts:?}");
        let stats = &cluster.snapshot.shared.stats;
        assert!(stat.is_none_or(|stat| stats.sum(stat) > 0), "{proxies:?} {hosts:?}");
    }
}

#[test]
fn small_clusters_ill_zones_and_what_is_asked_for_are_heeded() {
    let hosts = &["a", "a", "b", "b"][..];
    let small = zoned(ZoneAware { cluster_size_min: 5, ..options() }, &["a", "b"], hosts);
    assert_eq!(small.counts(400), [100; 4]);
    assert_eq!(small.snapshot.shared.stats.sum(ClusterStat::LbZoneClusterTooSmall), 2);
    let off = zoned(ZoneAware { enabled_percent: 0, ..options() }, &["a", "b"], hosts);
    assert_eq!(off.counts(400), [100; 4]);
    let forces_direct = ZoneAware { forces_direct: true, ..options() };
    let forced = zoned(forces_direct, &["a"], &["a", "b", "b", "b"]);
    assert_eq!(forced.counts(100), [100, 0, 0, 0]);
    // A third of the healthy hosts is less than half of the proxies: two thirds stay.
    let mut ill = zoned(options(), &["a", "b"], hosts);
    ill.health(&[ILL, WELL, WELL, WELL]);
    ill.picker = Picker::new(&ill.snapshot, Some(&local(&["a", "b"])), 0);
    let counts = ill.counts(3000);
    assert!(counts[0] == 0 && near(counts[1], 2000), "{counts:?}");
}
