//! Owns the tests of one cluster: discovery, health, falls. Clocks are paused.

mod by_hand;
mod health_checks;

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

fn checked(discovery: Discovery) -> ClusterPlan {
    let mut plan = cluster("a", 0, discovery);
    plan.health_checks.push(Arc::new(check()));
    plan
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
