//! Owns the tests of outlier detection in its cluster: who goes, who comes back, falls. Clocks are paused.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, sleep_until};

use super::*;
use crate::{
    fakes::*,
    plan::{ClusterPlan, LayerPlan, LayerSource},
    runtime::RuntimeValue,
    stats::Scope,
};

struct Watched {
    raised: Raised,
    cluster: Published<ClusterSnapshot>,
    stats: Arc<Group<OutlierStat>>,
}

const HOSTS: [&str; 5] =
    ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80", "10.0.0.5:80"];

fn outliers(outlier: OutlierPlan) -> ClusterPlan {
    let event_log = Some("/events".into());
    ClusterPlan {
        outlier: Some(Arc::new(OutlierPlan { event_log, ..outlier })),
        ..cluster("a", 0, fixed(&HOSTS))
    }
}

/// All may be ejected, for so many seconds, judged each second.
fn quick(base: u64) -> OutlierPlan {
    OutlierPlan {
        interval: Duration::from_secs(1),
        base_ejection_time: Duration::from_secs(base),
        max_ejection_percent: 100,
        ..OutlierPlan::default()
    }
}

async fn watch(plan: ClusterPlan, runtime: &[(&str, &str)]) -> Watched {
    let raised = raise(World::default());
    let mut plan = super::super::fakes::plan(vec![plan]);
    let entries = runtime.iter().map(|(key, text)| (key.to_string(), RuntimeValue::parse(text)));
    let source = LayerSource::Static(entries.collect::<BTreeMap<_, _>>());
    plan.runtime.push(LayerPlan { name: "static".to_owned(), source });
    raised.commander.install(plan).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    let cluster = raised.view.clusters.read().named("a").unwrap().clone();
    let scope = Scope::cluster("a").within("outlier_detection");
    let stats = raised.view.registry.group(scope);
    Watched { raised, cluster, stats }
}

impl Watched {
    /// So many tries of one host end like this.
    fn tries(&self, host: usize, outcome: Outcome, times: usize) {
        let snapshot = self.cluster.read();
        let limits = Consecutive::default();
        for _ in 0..times {
            if snapshot.hosts[host].monitor.as_ref().unwrap().count(outcome, limits) {
                snapshot.shared.outlier.wake();
            }
        }
    }

    /// The last digits of the hosts that nothing speaks against.
    fn healthy(&self) -> String {
        let snapshot = self.cluster.read();
        let healthy = snapshot.hosts.iter().filter(|host| host.healthy());
        healthy.filter_map(|host| host.address.ip()?.to_string().pop()).collect()
    }

    fn sum(&self, stat: OutlierStat) -> u64 {
        self.stats.sum(stat)
    }

    /// What was written down: host, and what was done.
    fn events(&self) -> Vec<String> {
        let events = self.raised.world.events.0.lock();
        let told = events.iter().filter_map(|(host, what)| {
            let What::Outlier(Done { action, ejections, .. }) = what else { return None };
            Some(match action {
                OutlierAction::Ejected { kind, enforced, .. } => {
                    format!("{host} {} {enforced} {ejections}", kind.name())
                }
                other => format!("{host} {other:?} {ejections}"),
            })
        });
        told.collect()
    }
}

async fn soon() {
    sleep(Duration::from_millis(10)).await;
}

#[actix::test]
async fn a_host_goes_at_its_last_failure_and_comes_back_after_longer_each_time() {
    tokio::time::pause();
    let watched = watch(outliers(quick(2)), &[]).await;
    watched.tries(0, Outcome::Answered(500), 4);
    soon().await;
    assert_eq!((watched.healthy().as_str(), watched.sum(OutlierStat::Active)), ("12345", 0));
    for (seconds_out, ejections) in [(2, 1), (4, 2)] {
        watched.tries(0, Outcome::Answered(500), if ejections == 1 { 1 } else { 5 });
        let start = Instant::now();
        soon().await;
        assert_eq!((watched.healthy().as_str(), watched.sum(OutlierStat::Active)), ("2345", 1));
        assert!(
            watched.cluster.read().hosts[0].has(crate::snapshot::HealthFlag::FailedOutlierCheck)
        );
        sleep_until(start + Duration::from_millis(seconds_out * 1000 - 100)).await;
        assert_eq!(watched.healthy(), "2345", "{seconds_out}");
        sleep_until(start + Duration::from_millis(seconds_out * 1000 + 1100)).await;
        assert_eq!((watched.healthy().as_str(), watched.sum(OutlierStat::Active)), ("12345", 0));
        assert_eq!(watched.sum(OutlierStat::EnforcedConsecutive5xx), ejections);
    }
    assert_eq!(
        watched.events(),
        [
            "10.0.0.1:80 CONSECUTIVE_5XX true 1",
            "10.0.0.1:80 Unejected 1",
            "10.0.0.1:80 CONSECUTIVE_5XX true 2",
            "10.0.0.1:80 Unejected 2",
        ]
    );
}

#[actix::test]
async fn no_more_hosts_go_than_may_and_what_is_not_enforced_is_only_counted() {
    tokio::time::pause();
    use OutlierStat as S;
    for (max, always_one, enforcing, eligible, sums) in [
        // Overflow, total, enforced total, active.
        (40, false, 100, "345", [1, 2, 2, 2]),
        (10, false, 100, "12345", [3, 0, 0, 0]),
        (10, true, 100, "2345", [2, 1, 1, 1]),
        (100, false, 0, "12345", [0, 3, 0, 0]),
    ] {
        let mut plan = OutlierPlan {
            max_ejection_percent: max,
            always_eject_one_host: always_one,
            ..quick(30)
        };
        plan.enforcing.consecutive_5xx = enforcing;
        let watched = watch(outliers(plan), &[]).await;
        for host in 0..3 {
            watched.tries(host, Outcome::Answered(500), 5);
            soon().await;
        }
        assert_eq!(watched.healthy(), eligible, "{max} {always_one} {enforcing}");
        let stats = [S::Overflow, S::Total, S::EnforcedTotal, S::Active];
        assert_eq!(stats.map(|stat| watched.sum(stat)), sums, "{max} {always_one} {enforcing}");
        assert_eq!(watched.sum(S::DetectedConsecutive5xx), 3);
        assert_eq!(watched.sum(S::Consecutive5xx), 3);
    }
}

#[actix::test]
async fn hosts_that_do_worse_than_others_go_at_the_end_of_an_interval() {
    tokio::time::pause();
    for (fails_itself, kind, stat) in [
        (false, "SUCCESS_RATE", OutlierStat::EnforcedSuccessRate),
        (true, "FAILURE_PERCENTAGE", OutlierStat::EnforcedFailurePercentage),
    ] {
        let mut plan = quick(30);
        plan.consecutive.server_errors = 1000;
        plan.success_rate.request_volume = 10;
        plan.failure_percentage.request_volume = 10;
        if fails_itself {
            plan.enforcing.success_rate = 0;
            plan.enforcing.failure_percentage = 100;
        }
        let watched = watch(outliers(plan), &[]).await;
        for host in 0..5 {
            let status = if host == 3 { 500 } else { 200 };
            // As if the threshold in a row were higher.
            for _ in 0..4 {
                watched.tries(host, Outcome::Answered(status), 4);
                watched.tries(host, Outcome::Answered(200), usize::from(host != 3));
                if let Some(monitor) = &watched.cluster.read().hosts[host].monitor {
                    monitor.forget(Notice::ServerErrors);
                }
            }
        }
        assert_eq!(watched.healthy(), "12345");
        sleep(Duration::from_secs(1)).await;
        assert_eq!((watched.healthy().as_str(), watched.sum(stat)), ("1235", 1), "{kind}");
        let snapshot = watched.cluster.read();
        let [external, local] = snapshot.shared.outlier.all_means();
        assert_eq!((external, local), (Means { average: 80.0, threshold: 4.0 }, Means::UNKNOWN));
        let rates = |host: usize| snapshot.hosts[host].monitor.as_ref().unwrap().success_rates();
        assert_eq!((rates(0), rates(3)), ([Some(100.0), None], [Some(0.0), None]));
        assert!(watched.events().contains(&format!("10.0.0.4:80 {kind} true 1")));
        // An interval without requests says nothing.
        sleep(Duration::from_secs(1)).await;
        assert_eq!(rates(0), [None, None]);
        assert_eq!(watched.healthy(), "1235");
    }
}

#[actix::test]
async fn what_happens_on_this_side_is_counted_apart_where_it_is_split() {
    tokio::time::pause();
    let split = OutlierPlan { splits_local_origin: true, ..quick(30) };
    let watched = watch(outliers(split), &[]).await;
    watched.tries(0, Outcome::Lost, 4);
    watched.tries(0, Outcome::Connected, 1);
    watched.tries(0, Outcome::Lost, 4);
    watched.tries(1, Outcome::TimedOut(504), 5);
    soon().await;
    assert_eq!(watched.healthy(), "1345");
    assert_eq!(watched.events(), ["10.0.0.2:80 CONSECUTIVE_LOCAL_ORIGIN_FAILURE true 1"]);
}

#[actix::test]
async fn the_runtime_says_otherwise() {
    tokio::time::pause();
    let runtime = [
        ("outlier_detection.max_ejection_percent", "20"),
        ("outlier_detection.base_ejection_time_ms", "1500"),
        ("outlier_detection.interval_ms", "500"),
        ("outlier_detection.enforcing_consecutive_gateway_failure", "100"),
    ];
    let watched = watch(outliers(OutlierPlan::default()), &runtime).await;
    for host in [0, 1] {
        watched.tries(host, Outcome::Answered(503), 5);
        soon().await;
    }
    assert_eq!(watched.healthy(), "2345");
    let sums = [OutlierStat::EnforcedConsecutiveGatewayFailure, OutlierStat::Overflow];
    assert_eq!(sums.map(|stat| watched.sum(stat)), [1, 2]);
    sleep(Duration::from_millis(2100)).await;
    assert_eq!(watched.healthy(), "12345");
}

#[actix::test]
async fn a_host_that_calls_itself_degraded_is_used_where_no_other_can() {
    tokio::time::pause();
    let plan = OutlierPlan { detects_degraded: true, max_ejection_percent: 0, ..quick(2) };
    let watched = watch(outliers(plan), &[]).await;
    watched.tries(4, Outcome::Degraded, 3);
    soon().await;
    assert!(
        watched.cluster.read().hosts[4].has(crate::snapshot::HealthFlag::DegradedOutlierDetection)
    );
    assert_eq!(watched.sum(OutlierStat::DetectedDegradation), 1);
    sleep(Duration::from_secs(3)).await;
    assert_eq!(watched.cluster.read().hosts[4].flags(), 0);
    assert_eq!(watched.events(), ["10.0.0.5:80 Degraded 0", "10.0.0.5:80 Unejected 0"]);
}

#[actix::test]
async fn a_success_of_an_active_check_takes_a_host_back() {
    tokio::time::pause();
    for (forgives, eligible) in [(true, "12345"), (false, "2345")] {
        let outlier = OutlierPlan { unejected_by_health_check: forgives, ..quick(300) };
        let mut plan = outliers(outlier);
        plan.health_checks.push(Arc::new(check()));
        let watched = watch(plan, &[]).await;
        watched.cluster.read().shared.stats.add(crate::stats::ClusterStat::UpstreamCxTotal, 1);
        watched.tries(0, Outcome::Answered(500), 5);
        soon().await;
        assert_eq!(watched.healthy(), "2345");
        sleep(Duration::from_secs(61)).await;
        assert_eq!(watched.healthy(), eligible);
    }
}

#[actix::test]
async fn falls_of_the_cluster_and_of_outlier_detection_keep_who_is_out_and_for_how_long() {
    tokio::time::pause();
    let watched = watch(outliers(quick(3)), &[]).await;
    watched.tries(0, Outcome::Answered(500), 5);
    soon().await;
    for _ in 0..3 {
        watched.raised.kill("cluster/a").await;
        watched.raised.kill("cluster/a/outlier").await;
        assert_eq!((watched.healthy().as_str(), watched.sum(OutlierStat::Active)), ("2345", 1));
    }
    // Only who was revived can do this.
    watched.tries(1, Outcome::Answered(500), 5);
    soon().await;
    assert_eq!(watched.healthy(), "345");
    sleep(Duration::from_millis(3900)).await;
    assert_eq!((watched.healthy().as_str(), watched.sum(OutlierStat::Active)), ("12345", 0));
    let named = |name: &&String| name.starts_with("cluster/a");
    assert_eq!(watched.raised.cast().iter().filter(named).count(), 2);
}
