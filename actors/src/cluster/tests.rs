//! Owns the tests of one cluster: discovery, health, falls. Clocks are paused.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Command,
    address::Address,
    command::{Applied, EndpointChange, Refusal, Setting, Term},
    event::{Checked, What},
    fakes::*,
    plan::{
        ClusterPlan, ConfiguredHealth, Discovery, DnsPlan, HealthCheckPlan, LayerPlan, LayerSource,
    },
    published::Published,
    seams::Probed,
    snapshot::{ClusterSnapshot, HealthFlag},
    stats::{AllHealthChecksStat, ClusterManagerStat, ClusterStat, Group, HealthCheckStat, Scope},
};

struct Watched {
    raised: Raised,
    cluster: Published<ClusterSnapshot>,
    stats: Arc<Group<ClusterStat>>,
}

async fn watch(world: World, cluster: ClusterPlan) -> Watched {
    let (raised, name) = (raise(world), cluster.name.clone());
    raised.commander.install(plan(vec![cluster])).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let cluster = raised.view.clusters.read().named(&name).unwrap().clone();
    let stats = cluster.read().shared.stats.clone();
    Watched { raised, cluster, stats }
}

impl Watched {
    fn hosts(&self) -> Vec<String> {
        self.cluster
            .read()
            .hosts
            .iter()
            .map(|host| host.address.ip().unwrap().to_string())
            .collect()
    }

    fn healthy(&self) -> Vec<String> {
        let snapshot = self.cluster.read();
        let healthy = snapshot.hosts.iter().filter(|host| host.healthy());
        healthy.map(|host| host.address.ip().unwrap().to_string()).collect()
    }

    fn sums<const N: usize>(&self, stats: [ClusterStat; N]) -> [u64; N] {
        stats.map(|stat| self.stats.sum(stat))
    }
}

#[actix::test]
async fn scaling_is_seen_at_the_next_refresh_an_outage_is_not_and_nxdomain_empties() {
    tokio::time::pause();
    let start = Instant::now();
    let world = World::default();
    world.dns.say(
        "a",
        [
            Said::Hosts(&["10.0.0.1"]),
            Said::Hosts(&["10.0.0.3", "10.0.0.1", "10.0.0.2"]),
            Said::Hosts(&["10.0.0.2", "10.0.0.3", "10.0.0.1"]),
            Said::Failure,
            Said::Hosts(&["10.0.0.2"]),
            Said::Hosts(&[]),
        ],
    );
    let watched = watch(world, cluster("a", 0, strict(&["a"]))).await;
    let first = watched.cluster.read().hosts[0].clone();
    let all = &["10.0.0.1", "10.0.0.3", "10.0.0.2"][..];
    for (second, expected) in
        [(1, &["10.0.0.1"][..]), (6, all), (11, all), (16, all), (21, &["10.0.0.2"]), (26, &[])]
    {
        sleep_until(start + Duration::from_secs(second)).await;
        assert_eq!(watched.hosts(), expected, "after {second} s");
        if second < 21 {
            assert!(Arc::ptr_eq(&watched.cluster.read().hosts[0], &first));
        }
    }
    use ClusterStat as S;
    let sums = watched.sums([
        S::UpdateAttempt,
        S::UpdateSuccess,
        S::UpdateFailure,
        S::UpdateNoRebuild,
        S::MembershipChange,
        S::MembershipTotal,
    ]);
    assert_eq!(sums, [6, 5, 1, 1, 4, 0]);
}

#[actix::test]
async fn a_cluster_of_two_names_has_the_hosts_of_both_and_is_ready_when_both_were_answered() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1", "10.0.0.1", "10.0.0.2"])]);
    let watched = watch(world.clone(), cluster("both", 0, strict(&["a", "b"]))).await;
    assert_eq!(watched.hosts(), ["10.0.0.1", "10.0.0.2"]);
    assert!(!watched.cluster.read().ready);
    // One address that two names have is two hosts, as with Envoy.
    world.dns.say("b", [Said::Hosts(&["10.0.0.2"])]);
    watched.raised.kill("cluster/both/dns/b").await;
    sleep(Duration::from_millis(10)).await;
    assert_eq!(watched.hosts(), ["10.0.0.1", "10.0.0.2", "10.0.0.2"]);
    assert!(watched.cluster.read().ready);
}

#[actix::test]
async fn the_first_answer_wakes_who_waits_for_it() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Failure]);
    let raised = raise(world);
    raised.commander.install(plan(vec![cluster("a", 0, strict(&["a"]))])).await.unwrap();
    let published = raised.view.clusters.read().named("a").unwrap().clone();
    let shared = published.read().shared.clone();
    let first = shared.first_answer.notified();
    if !published.read().ready {
        tokio::time::timeout(Duration::from_secs(1), first).await.unwrap();
    }
    assert!(published.read().ready);
}

#[actix::test]
async fn when_to_ask_again_follows_ttl_failures_and_jitter() {
    tokio::time::pause();
    for (dns, answers, expected) in [
        (DnsPlan { respect_ttl: true, ..dns() }, vec![Said::Hosts(&["10.0.0.1"])], [30, 60]),
        (
            DnsPlan { respect_ttl: true, ttl_min: Duration::from_secs(40), ..dns() },
            vec![Said::Hosts(&["10.0.0.1"])],
            [40, 80],
        ),
        (DnsPlan { respect_ttl: true, ..dns() }, vec![Said::Hosts(&[])], [5, 10]),
        (dns(), vec![Said::Failure], [5, 10]),
    ] {
        let world = World::default();
        world.dns.say("a", answers);
        let start = Instant::now();
        let discovery = Discovery::StrictDns { names: vec![name("a")], dns };
        let _watched = watch(world.clone(), cluster("a", 0, discovery)).await;
        sleep(Duration::from_secs(81)).await;
        let asked = world.dns.asked.lock();
        let after: Vec<_> = asked.iter().map(|(_, at)| (*at - start).as_secs()).collect();
        assert_eq!(after[1..3], expected);
    }
}

#[actix::test]
async fn failures_have_a_rate_of_their_own_and_an_empty_answer_is_one_to_a_logical_cluster() {
    tokio::time::pause();
    for (logical, answer, backs_off) in [
        (false, Said::Failure, true),
        (true, Said::Hosts(&[]), true),
        (false, Said::Hosts(&[]), false),
    ] {
        let world = World::default();
        world.dns.say("a", [answer]);
        let failure_refresh = Some((Duration::from_secs(1), Duration::from_secs(16)));
        let dns = DnsPlan { failure_refresh, ..dns() };
        let discovery = match logical {
            true => Discovery::LogicalDns { name: name("a"), dns },
            false => Discovery::StrictDns { names: vec![name("a")], dns },
        };
        let _watched = watch(world.clone(), cluster("a", 0, discovery)).await;
        sleep(Duration::from_secs(600)).await;
        let asked = world.dns.asked.lock();
        let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        let longest = waits.iter().max().unwrap().as_secs();
        assert!(waits[0].as_secs() <= if backs_off { 1 } else { 5 }, "{waits:?}");
        assert!(if backs_off { (6..=16).contains(&longest) } else { longest == 5 }, "{waits:?}");
    }
}

#[actix::test]
async fn a_logical_cluster_has_one_host_keeps_it_while_named_and_through_an_empty_answer() {
    tokio::time::pause();
    let start = Instant::now();
    let world = World::default();
    world.dns.say(
        "a",
        [
            Said::Hosts(&["10.0.0.1", "10.0.0.2"]),
            Said::Hosts(&["10.0.0.2", "10.0.0.1"]),
            Said::Hosts(&["10.0.0.3", "10.0.0.2"]),
            Said::Hosts(&[]),
        ],
    );
    let discovery = Discovery::LogicalDns { name: name("a"), dns: dns() };
    let watched = watch(world, cluster("a", 0, discovery)).await;
    for (second, expected) in [(1, "10.0.0.1"), (6, "10.0.0.1"), (11, "10.0.0.3"), (16, "10.0.0.3")]
    {
        sleep_until(start + Duration::from_secs(second)).await;
        assert_eq!(watched.hosts(), [expected], "after {second} s");
    }
    let sums = watched.sums([ClusterStat::UpdateSuccess, ClusterStat::UpdateFailure]);
    assert_eq!(sums, [3, 1]);
}

#[actix::test]
async fn falls_of_a_cluster_and_its_lookups_lose_no_host() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1"]), Said::Failure]);
    let watched = watch(world.clone(), cluster("a", 0, strict(&["a"]))).await;
    let host = watched.cluster.read().hosts[0].clone();
    for _ in 0..3 {
        watched.raised.kill("cluster/a").await;
        watched.raised.kill("cluster/a/dns/a").await;
        assert!(Arc::ptr_eq(&watched.cluster.read().hosts[0], &host));
    }
    // Only those that were revived can bring this.
    world.dns.say("a", [Said::Hosts(&["10.0.0.1", "10.0.0.2"])]);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(watched.hosts(), ["10.0.0.1", "10.0.0.2"]);
    assert!(Arc::ptr_eq(&watched.cluster.read().hosts[0], &host));
}

#[actix::test]
async fn a_cluster_beyond_its_budget_begins_anew_with_its_children_from_its_snapshot() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1"])]);
    let watched = watch(world, cluster("a", 0, strict(&["a"]))).await;
    for _ in 0..8 {
        watched.raised.kill("cluster/a").await;
    }
    sleep(Duration::from_secs(20)).await;
    assert_eq!(watched.hosts(), ["10.0.0.1"]);
    let named = |name: &&String| name.starts_with("cluster/a");
    let cast = watched.raised.cast();
    assert_eq!(cast.iter().filter(named).count(), 2, "{cast:?}");
}

#[actix::test]
async fn configured_health_decides_who_takes_traffic() {
    let mut discovery = fixed(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]);
    if let Discovery::Static(hosts) = &mut discovery {
        hosts[1].endpoint.health = ConfiguredHealth::Unhealthy;
        hosts[2].endpoint.health = ConfiguredHealth::Degraded;
    }
    let watched = watch(World::default(), cluster("a", 0, discovery)).await;
    assert_eq!(watched.healthy(), ["10.0.0.1", "10.0.0.3"]);
    assert!(watched.cluster.read().hosts[2].is_degraded());
}

fn checked(discovery: Discovery) -> ClusterPlan {
    let mut plan = cluster("a", 0, discovery);
    plan.health_checks.push(Arc::new(check()));
    plan
}

#[actix::test]
async fn a_checked_host_takes_traffic_after_its_first_success_and_until_the_threshold() {
    tokio::time::pause();
    let world = World::default();
    let address = "10.0.0.1:80".parse().unwrap();
    let says = world.health.clone();
    let say = move |probed| {
        says.says.lock().insert(address, probed);
    };
    say(Probed::TimedOut);
    let watched = watch(world.clone(), checked(fixed(&["10.0.0.1:80"]))).await;
    // As if it had traffic: else it is checked each minute only.
    watched.stats.add(ClusterStat::UpstreamCxTotal, 1);
    assert!(!watched.cluster.read().ready);
    sleep(Duration::from_secs(1)).await;
    assert!(watched.cluster.read().ready && watched.healthy().is_empty());
    assert!(watched.cluster.read().hosts[0].has(HealthFlag::ActiveHcTimeout));

    let start = Instant::now();
    // (what it says from now on, seconds later, and whether it takes traffic then)
    for (probed, seconds, well) in [
        (Probed::Healthy, 2, false),
        (Probed::Healthy, 4, true),
        (Probed::NetworkFailure, 6, true),
        (Probed::NetworkFailure, 8, false),
        (Probed::Healthy, 12, true),
        (Probed::Unhealthy, 14, false),
    ] {
        say(probed.clone());
        sleep_until(start + Duration::from_millis(seconds * 1000 + 100)).await;
        assert_eq!(!watched.healthy().is_empty(), well, "after {seconds} s, {probed:?}");
    }
    let registry = &watched.raised.view.registry;
    let stats = registry.group::<HealthCheckStat>(Scope::cluster("a").within("health_check"));
    use HealthCheckStat as S;
    let sums = [S::Attempt, S::Success, S::Failure, S::NetworkFailure, S::Healthy];
    assert_eq!(sums.map(|stat| stats.sum(stat)), [8, 4, 4, 3, 0]);
}

#[actix::test]
async fn changes_of_health_within_the_window_are_one_and_hosts_that_come_do_not_wait() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1", "10.0.0.2"])]);
    let window = Duration::from_secs(60);
    let mut plan = checked(strict(&["a"]));
    plan.merge_window = window;
    let watched = watch(world.clone(), plan).await;
    watched.stats.add(ClusterStat::UpstreamCxTotal, 1);
    sleep(Duration::from_secs(61)).await;
    let manager = watched.raised.view.registry.group(Scope::plain("cluster_manager."));
    use ClusterManagerStat as S;
    let sums = || {
        [S::ClusterUpdatedViaMerge, S::UpdateOutOfMergeWindow, S::UpdateMergeCancelled]
            .map(|stat| manager.sum(stat))
    };
    let say = |host: &str, probed| {
        world.health.says.lock().insert(format!("{host}:80").parse().unwrap(), probed);
    };
    let (version, start) = (watched.cluster.read().version, Instant::now());
    // The first after a while is published at once, what follows is held.
    say("10.0.0.1", Probed::Unhealthy);
    sleep(Duration::from_secs(7)).await;
    assert_eq!((watched.cluster.read().version, sums()), (version + 1, [0, 1, 0]));
    say("10.0.0.2", Probed::Unhealthy);
    sleep(Duration::from_secs(7)).await;
    say("10.0.0.1", Probed::Healthy);
    sleep(Duration::from_secs(20)).await;
    assert_eq!(watched.healthy(), ["10.0.0.1"]);
    assert_eq!((watched.cluster.read().version, sums()), (version + 1, [0, 1, 0]));
    sleep_until(start + window * 2).await;
    assert_eq!((watched.cluster.read().version, sums()), (version + 2, [1, 1, 0]));
    // A host that comes takes with it what is held.
    say("10.0.0.2", Probed::Healthy);
    sleep(Duration::from_secs(14)).await;
    assert_eq!(watched.cluster.read().version, version + 2);
    world.dns.say("a", [Said::Hosts(&["10.0.0.1", "10.0.0.2", "10.0.0.3"])]);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(watched.hosts(), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    assert_eq!(sums(), [1, 1, 1]);
}

#[actix::test]
async fn without_traffic_hosts_are_checked_at_the_slow_interval() {
    tokio::time::pause();
    let world = World::default();
    let watched = watch(world.clone(), checked(fixed(&["10.0.0.1:80"]))).await;
    assert_eq!(watched.healthy(), ["10.0.0.1"]);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(world.health.asked.lock().len(), 1);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(world.health.asked.lock().len(), 2);
}

#[actix::test]
async fn a_fall_of_a_check_keeps_what_it_found_and_checks_on() {
    tokio::time::pause();
    let world = World::default();
    let address = "10.0.0.1:80".parse().unwrap();
    let watched = watch(world.clone(), checked(fixed(&["10.0.0.1:80"]))).await;
    assert_eq!(watched.healthy(), ["10.0.0.1"]);
    world.health.says.lock().insert(address, Probed::Unhealthy);
    watched.raised.kill("cluster/a").await;
    assert_eq!(watched.healthy(), ["10.0.0.1"]);
    watched.raised.kill("cluster/a/health_check/10.0.0.1:80").await;
    sleep(Duration::from_millis(10)).await;
    assert!(watched.healthy().is_empty());
}

#[actix::test]
async fn a_host_that_dns_no_longer_names_stays_while_its_check_holds_it_up() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1", "10.0.0.2"]), Said::Hosts(&["10.0.0.2"])]);
    let watched = watch(world.clone(), checked(strict(&["a"]))).await;
    watched.stats.add(ClusterStat::UpstreamCxTotal, 1);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(watched.hosts(), ["10.0.0.1", "10.0.0.2"]);
    assert!(watched.cluster.read().hosts[0].has(HealthFlag::PendingDynamicRemoval));
    world.health.says.lock().insert("10.0.0.1:80".parse().unwrap(), Probed::Unhealthy);
    sleep(Duration::from_secs(61)).await;
    assert_eq!(watched.hosts(), ["10.0.0.2"]);
    let checks = |name: &&String| name.contains("health_check");
    assert_eq!(watched.raised.cast().iter().filter(checks).count(), 1);
}

#[actix::test]
async fn a_balancer_is_built_of_the_hosts_and_the_runtime_in_force_and_of_what_was_before() {
    tokio::time::pause();
    let world = World::default();
    let two = Said::Hosts(&["10.0.0.1", "10.0.0.2"]);
    world.dns.say("a", [Said::Hosts(&["10.0.0.1"]), two]);
    let raised = raise(world);
    let mut plan = plan(vec![cluster("a", 0, strict(&["a"]))]);
    plan.runtime.push(LayerPlan { name: "admin".to_owned(), source: LayerSource::Admin });
    raised.commander.install(plan).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let cluster = raised.view.clusters.read().named("a").unwrap().clone();
    let told = |expected: Told| {
        assert_eq!(cluster.read().balancer.downcast_ref::<Told>(), Some(&expected));
    };
    told(Told { hosts: 1, panic_percent: 50, first: true });
    let change = vec![("upstream.healthy_panic_threshold".to_owned(), "51".to_owned())];
    raised.command(Command::Set(Setting::Runtime(change), Term::Lasting)).await;
    raised.kill("cluster/a").await;
    sleep(Duration::from_secs(6)).await;
    told(Told { hosts: 2, panic_percent: 51, first: false });
}

#[actix::test]
async fn a_host_is_well_if_all_of_its_checks_say_so() {
    tokio::time::pause();
    let world = World::default();
    let mut plan = cluster("a", 0, fixed(&["10.0.0.1:80", "10.0.0.2:80"]));
    for name in ["one", "two"] {
        let check = HealthCheckPlan { name: name.to_owned(), healthy_threshold: 1, ..check() };
        plan.health_checks.push(Arc::new(check));
    }
    let watched = watch(world.clone(), plan).await;
    watched.stats.add(ClusterStat::UpstreamCxTotal, 1);
    let say = |name: &str, probed| {
        let address = "10.0.0.1:80".parse().unwrap();
        world.health.says_of.lock().insert((address, name.to_owned()), probed);
    };
    let registry = &watched.raised.view.registry;
    let of = |name| registry.group::<HealthCheckStat>(Scope::cluster("a").health_check(name));
    let all = registry.group::<AllHealthChecksStat>(Scope::cluster("a").within("health_check"));
    sleep(Duration::from_secs(61)).await;
    for (name, probed, eligible, healthy, flags) in [
        ("one", Probed::Healthy, "12", [2, 2, 2], 0),
        ("two", Probed::Unhealthy, "2", [2, 1, 1], HealthFlag::FailedActiveHc as u32),
        ("one", Probed::Unhealthy, "2", [1, 1, 1], HealthFlag::FailedActiveHc as u32),
        ("two", Probed::Degraded, "2", [1, 2, 1], 9),
        ("one", Probed::Healthy, "2", [2, 2, 2], HealthFlag::DegradedActiveHc as u32),
        ("two", Probed::Healthy, "12", [2, 2, 2], 0),
    ] {
        say(name, probed.clone());
        sleep(Duration::from_secs(3)).await;
        let last = |ip: &String| ip.chars().last();
        let hosts = watched.cluster.read().hosts.clone();
        let taking = hosts.iter().filter(|host| host.healthy() && !host.is_degraded());
        let taking: Vec<_> = taking.map(|host| host.address.ip().unwrap().to_string()).collect();
        let now: String = taking.iter().filter_map(last).collect();
        assert_eq!(now, eligible, "{name} {probed:?}");
        assert_eq!(watched.cluster.read().hosts[0].flags(), flags, "{name} {probed:?}");
        let own = ["one", "two"].map(|name| of(name).sum(HealthCheckStat::Healthy));
        let sums = [own[0], own[1], all.sum(AllHealthChecksStat::Healthy)];
        assert_eq!(sums, healthy, "{name} {probed:?}");
    }
    // Each check falls by itself, and goes on.
    let attempts = |name| of(name).sum(HealthCheckStat::Attempt);
    let before = ["one", "two"].map(attempts);
    watched.raised.kill("cluster/a/health_check/10.0.0.1:80/two").await;
    sleep(Duration::from_secs(3)).await;
    assert!(attempts("one") > before[0] && attempts("two") > before[1]);
    assert_eq!(watched.healthy(), ["10.0.0.1", "10.0.0.2"]);
}

#[actix::test]
async fn hosts_that_were_never_checked_count_for_nothing_where_they_are_ignored() {
    tokio::time::pause();
    for (ignores, excluded) in [(true, 2), (false, 0)] {
        let world = World::default();
        for last in [2, 3] {
            let address = format!("10.0.0.{last}:80").parse().unwrap();
            world.health.says.lock().insert(address, Probed::TimedOut);
        }
        let mut plan = checked(fixed(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]));
        plan.ignores_unchecked_hosts = ignores;
        let watched = watch(world, plan).await;
        let snapshot = watched.cluster.read();
        let unchecked = snapshot.hosts.iter().filter(|host| host.is_excluded()).count();
        assert_eq!(unchecked as u64, excluded);
        let sums = watched.sums([ClusterStat::MembershipExcluded, ClusterStat::MembershipTotal]);
        assert_eq!(sums, [excluded, 3]);
        // Once they were, they are ill as others are.
        sleep(Duration::from_secs(2)).await;
        assert_eq!(watched.sums([ClusterStat::MembershipExcluded]), [0]);
    }
}

#[actix::test]
async fn what_a_check_finds_is_written_down_when_it_changes_or_always() {
    tokio::time::pause();
    use Checked as C;
    use Probed as P;
    for (logs_all, expected) in [
        (false, vec!["Added", "Ejected", "Added", "Degraded", "NoLongerDegraded"]),
        (
            true,
            vec![
                "Added",
                "Passed",
                "Failed",
                "Ejected",
                "Failed",
                "Failed",
                "Added",
                "Degraded",
                "Passed",
                "NoLongerDegraded",
            ],
        ),
    ] {
        let world = World::default();
        let mut plan = cluster("a", 0, fixed(&["10.0.0.1:80"]));
        plan.health_checks.push(Arc::new(HealthCheckPlan {
            healthy_threshold: 1,
            logs_failures: logs_all,
            logs_successes: logs_all,
            ..check()
        }));
        let watched = watch(world.clone(), plan).await;
        watched.stats.add(ClusterStat::UpstreamCxTotal, 1);
        sleep(Duration::from_millis(59_500)).await;
        // A network failure is borne once, an answer that says "unhealthy" not at all.
        for probed in
            [P::Healthy, P::NetworkFailure, P::Unhealthy, P::Unhealthy, P::Degraded, P::Healthy]
        {
            world.health.says.lock().insert("10.0.0.1:80".parse().unwrap(), probed);
            sleep(Duration::from_secs(2)).await;
        }
        let events = world.events.0.lock();
        let told = events.iter().map(|(_, what)| match what {
            What::HealthCheck(_, C::Added { .. }) => "Added",
            What::HealthCheck(_, C::Ejected { .. }) => "Ejected",
            What::HealthCheck(_, C::Failed { .. }) => "Failed",
            What::HealthCheck(_, C::Passed) => "Passed",
            What::HealthCheck(_, C::Degraded) => "Degraded",
            What::HealthCheck(_, C::NoLongerDegraded) => "NoLongerDegraded",
            What::Outlier(_) => "Outlier",
        });
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

impl Watched {
    async fn change(&self, changes: &[EndpointChange], term: Term) -> Applied {
        let (cluster, changes) = (self.cluster.read().plan.name.clone(), changes.to_vec());
        self.raised.command(Command::ChangeEndpoints { cluster, changes, term }).await
    }

    fn draining(&self) -> Vec<String> {
        self.cluster
            .read()
            .draining
            .iter()
            .map(|host| host.address.ip().unwrap().to_string())
            .collect()
    }
}

fn at(last: u8) -> Address {
    Address::Ip(([10, 0, 0, last], 80).into())
}

#[actix::test]
async fn what_is_changed_by_hand_stays_through_falls_answers_and_another_plan() {
    use EndpointChange::{Add, Drain, Remove};
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1", "10.0.0.2", "10.0.0.3"])]);
    let watched = watch(world.clone(), cluster("a", 0, strict(&["a"]))).await;
    let first = watched.cluster.read().hosts[0].clone();
    let add = Add { address: at(4), weight: Some(2) };
    let changes = [add, Remove(at(3)), Drain(at(2))];
    assert_eq!(watched.change(&changes, Term::Lasting).await, Applied::Done);
    let as_changed = |watched: &Watched| {
        assert_eq!(watched.hosts(), ["10.0.0.1", "10.0.0.4"]);
        assert_eq!(watched.draining(), ["10.0.0.2"]);
        assert_eq!(watched.cluster.read().hosts[1].endpoint.weight, 2);
    };
    as_changed(&watched);
    watched.raised.kill("cluster/a").await;
    watched.raised.kill("cluster/a/dns/a").await;
    world.dns.say("a", [Said::Hosts(&["10.0.0.3", "10.0.0.2", "10.0.0.1"])]);
    sleep(Duration::from_secs(6)).await;
    as_changed(&watched);
    assert!(Arc::ptr_eq(&watched.cluster.read().hosts[0], &first));

    // Another plan brings another cluster, which goes on with what was changed.
    let other = ClusterPlan { fingerprint: 2, ..cluster("a", 0, strict(&["a"])) };
    watched.raised.commander.install(plan(vec![other])).await.unwrap();
    let cluster = watched.raised.view.clusters.read().named("a").unwrap().clone();
    assert!(!cluster.same(&watched.cluster));
    let watched = Watched { cluster, ..watched };
    as_changed(&watched);

    let back =
        [Add { address: at(2), weight: None }, Add { address: at(3), weight: None }, Remove(at(4))];
    assert_eq!(watched.change(&back, Term::Lasting).await, Applied::Done);
    assert_eq!(watched.hosts().len(), 3);
    assert_eq!(watched.cluster.read().by_hand.iter().count(), 0);
    let refused = watched.change(&[add, Drain(at(9))], Term::Lasting).await;
    assert!(matches!(refused, Applied::Refused(Refusal::Endpoints(_))), "{refused:?}");
    assert_eq!(watched.hosts().len(), 3, "all of it or nothing");
}

#[actix::test]
async fn what_is_changed_for_a_time_ends_by_itself_be_it_after_a_fall() {
    tokio::time::pause();
    let watched = watch(World::default(), cluster("a", 0, fixed(&["10.0.0.1:80"]))).await;
    let term = Term::For(Duration::from_secs(10));
    let changes =
        [EndpointChange::Add { address: at(2), weight: None }, EndpointChange::Drain(at(1))];
    assert_eq!(watched.change(&changes, term).await, Applied::Done);
    watched.raised.kill("cluster/a").await;
    sleep(Duration::from_secs(9)).await;
    assert_eq!(
        (watched.hosts(), watched.draining()),
        (vec!["10.0.0.2".into()], vec!["10.0.0.1".into()])
    );
    sleep(Duration::from_secs(2)).await;
    assert_eq!((watched.hosts(), watched.draining()), (vec!["10.0.0.1".into()], vec![]));
    assert!(!watched.cluster.read().hosts[0].has(HealthFlag::Draining));
}

#[actix::test]
async fn a_host_of_which_something_else_is_said_goes_on_with_its_health() {
    tokio::time::pause();
    let watched = watch(World::default(), checked(fixed(&["10.0.0.1:80", "10.0.0.2:80"]))).await;
    let first = watched.cluster.read().hosts[0].clone();
    let weigh = [EndpointChange::Add { address: at(1), weight: Some(9) }];
    assert_eq!(watched.change(&weigh, Term::Lasting).await, Applied::Done);
    let hosts = watched.cluster.read().hosts.clone();
    assert_eq!(hosts.iter().map(|host| host.endpoint.weight).collect::<Vec<_>>(), [1, 9]);
    assert!(hosts[1].healthy() && Arc::ptr_eq(&hosts[1].stats, &first.stats));
    assert!(hosts[0].healthy());
}

#[actix::test]
async fn hosts_are_held_for_a_time_where_dns_says_that_there_are_none() {
    tokio::time::pause();
    let start = Instant::now();
    let world = World::default();
    let empty = || Said::Hosts(&[]);
    world.dns.say("a", [Said::Hosts(&["10.0.0.1"]), empty(), Said::Failure, empty()]);
    let dns = DnsPlan { hold_stale: Some(Duration::from_secs(12)), ..dns() };
    let discovery = Discovery::StrictDns { names: vec![name("a")], dns };
    let watched = watch(world.clone(), cluster("a", 0, discovery)).await;
    let held = |watched: &Watched| watched.cluster.read().names[0].status.read().held_since;
    for (second, hosts, is_held) in [(4, 1, false), (6, 1, true), (16, 1, true), (18, 0, false)] {
        sleep_until(start + Duration::from_secs(second)).await;
        assert_eq!(watched.hosts().len(), hosts, "after {second} s");
        assert_eq!(held(&watched).is_some(), is_held, "after {second} s");
        if second == 6 {
            watched.raised.kill("cluster/a/dns/a").await;
        }
    }
    world.dns.say("a", [Said::Hosts(&["10.0.0.2"])]);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(watched.hosts(), ["10.0.0.2"]);
}

#[actix::test]
async fn a_host_that_cannot_be_reached_lets_dns_be_asked_at_once_and_once_a_second_at_most() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1"]), Said::Hosts(&["10.0.0.2"])]);
    let watched = watch(world.clone(), cluster("a", 0, strict(&["a"]))).await;
    sleep(Duration::from_secs(2)).await;
    let host = watched.cluster.read().hosts[0].clone();
    host.doubt();
    sleep(Duration::from_millis(10)).await;
    assert_eq!(watched.hosts(), ["10.0.0.2"]);
    for _ in 0..300 {
        host.doubt();
        sleep(Duration::from_millis(10)).await;
    }
    let asked = world.dns.asked.lock().len();
    assert!((4..=6).contains(&asked), "{asked} times in five seconds");
}

#[actix::test]
async fn dns_is_asked_when_somebody_asks_for_it_and_the_answer_is_in_force_then() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say("a", [Said::Hosts(&["10.0.0.1"]), Said::Hosts(&["10.0.0.2"])]);
    let watched = watch(world, cluster("a", 0, strict(&["a"]))).await;
    let refresh = |name: Option<&str>| Command::RefreshDns(name.map(str::to_owned));
    assert_eq!(watched.raised.command(refresh(Some("a"))).await, Applied::Done);
    until("the answer is in force", || watched.hosts() == ["10.0.0.2"]).await;
    assert_eq!(watched.raised.command(refresh(None)).await, Applied::Done);
    let unknown = Applied::Refused(Refusal::NoName("b".to_owned()));
    assert_eq!(watched.raised.command(refresh(Some("b"))).await, unknown);
}

#[actix::test]
async fn the_one_host_of_a_logical_cluster_has_every_address_that_was_answered() {
    tokio::time::pause();
    let world = World::default();
    world.dns.say(
        "a",
        [
            Said::Hosts(&["10.0.0.1", "10.0.0.2", "fd00::1"]),
            Said::Hosts(&["fd00::1", "10.0.0.2", "10.0.0.1"]),
            Said::Hosts(&["10.0.0.1"]),
        ],
    );
    let discovery = Discovery::LogicalDns { name: name("a"), dns: dns() };
    let watched = watch(world, cluster("a", 0, discovery)).await;
    let host = watched.cluster.read().hosts[0].clone();
    let attempts: Vec<_> = host.attempts.iter().map(|at| at.ip().to_string()).collect();
    assert_eq!(attempts, ["10.0.0.1", "fd00::1", "10.0.0.2"]);
    sleep(Duration::from_secs(6)).await;
    assert!(Arc::ptr_eq(&watched.cluster.read().hosts[0], &host), "the same in another order");
    sleep(Duration::from_secs(5)).await;
    assert!(watched.cluster.read().hosts[0].attempts.is_empty());
}

#[actix::test]
async fn a_host_that_is_said_to_drain_takes_nothing_and_counts_for_nothing() {
    let Discovery::Static(mut hosts) = fixed(&["10.0.0.1:80", "10.0.0.2:80"]) else { panic!() };
    hosts[0].endpoint.health = ConfiguredHealth::Draining;
    let watched = watch(World::default(), cluster("a", 0, Discovery::Static(hosts))).await;
    assert_eq!(watched.healthy(), ["10.0.0.2"]);
    let sums = watched.sums([ClusterStat::MembershipExcluded, ClusterStat::MembershipHealthy]);
    assert_eq!(sums, [1, 1]);
}
