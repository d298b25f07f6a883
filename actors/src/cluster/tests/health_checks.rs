//! Owns the tests of what checks make of hosts.

use super::*;

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
