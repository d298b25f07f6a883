//! Owns the tests of hosts that people change.

use super::*;

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
