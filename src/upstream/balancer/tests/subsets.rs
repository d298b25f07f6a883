//! Owns the tests of subsets: who takes a request for hosts of some metadata, and for those that there are not.

use serde_json::{Value, json};
use understudy_actors::plan::{LbMetadata, LbValue};

use super::*;
use crate::config::model::subsets::{Fallback, Selector, SelectorFallback, SubsetOptions};

fn metadata(fields: &Value) -> LbMetadata {
    fn value(json: &Value) -> LbValue {
        match json {
            Value::String(text) => LbValue::Text(text.clone()),
            Value::Number(number) => LbValue::Number(number.as_f64().unwrap().to_bits()),
            Value::Array(items) => LbValue::List(items.iter().map(value).collect()),
            fields => LbValue::Fields(metadata(fields)),
        }
    }
    let fields = fields.as_object().unwrap().iter();
    fields.map(|(key, json)| (key.clone(), value(json))).collect()
}

fn selector(keys: &[&str], fallback: SelectorFallback) -> Selector {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Selector { keys, single_host: false, fallback }
}

fn options() -> SubsetOptions {
    let as_the_cluster = || SelectorFallback::AsTheCluster;
    SubsetOptions {
        fallback: Fallback::Nobody,
        default: metadata(&json!({"stage": "dev"})),
        selectors: vec![
            selector(&["version"], as_the_cluster()),
            selector(&["stage", "version"], as_the_cluster()),
        ],
        weighs_localities: false,
        scales_localities: false,
        panic_takes_any: false,
        list_as_any: false,
        tries_fallback_list: false,
        takes_more_keys: false,
    }
}

fn with(subsets: SubsetOptions) -> Cluster {
    let hosts = [
        json!({"version": "1", "stage": "prod"}),
        json!({"version": "1", "stage": "dev"}),
        json!({"version": "2", "stage": "prod"}),
        json!({"version": ["3", "4"], "stage": "dev"}),
        json!({"version": 5}),
    ];
    let hosts = hosts.iter().map(|host| EndpointPlan { metadata: metadata(host), ..plain(0) });
    let balancing = Balancing { subsets: Some(subsets), ..Balancing::default() };
    Cluster::new(balancing, hosts.collect())
}

/// The hosts that take requests for this, counted from 1; `-` for nobody.
fn reached(cluster: &Cluster, wanted: Option<&Value>) -> String {
    let wanted = wanted.map(metadata);
    let choice = Choice { metadata: wanted.as_ref(), ..Choice::default() };
    let mut hosts: Vec<_> = (0..20).map(|_| cluster.pick(choice)).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let hosts = hosts.iter().map(|host| host.map_or("-".to_owned(), |host| (host + 1).to_string()));
    hosts.collect()
}

/// Observed: Envoy 1.40, 17 routes to each of 7 clusters.
#[test]
fn whoever_takes_a_request_is_whoever_takes_it_in_envoy() {
    use SelectorFallback as F;
    let selectors = vec![
        selector(&["version"], F::Nobody),
        selector(&["stage"], F::Default),
        selector(&["stage", "version"], F::Keys(vec!["version".to_owned()])),
        selector(&["x"], F::Any),
    ];
    let nowhere = metadata(&json!({"stage": "nowhere"}));
    let any = SubsetOptions { fallback: Fallback::Any, ..options() };
    let default = SubsetOptions { fallback: Fallback::Default, ..options() };
    let panic = SubsetOptions { panic_takes_any: true, default: nowhere, ..default.clone() };
    let clusters = [
        options(),
        any.clone(),
        default,
        SubsetOptions { list_as_any: true, ..options() },
        SubsetOptions { selectors, ..any },
        panic,
        SubsetOptions { tries_fallback_list: true, ..options() },
    ]
    .map(with);
    let all = "12345";
    for (wanted, expected) in [
        (json!({"version": "1"}), ["12", "12", "12", "12", "12", "12", "12"]),
        (json!({"version": "1", "stage": "prod"}), ["1"; 7]),
        (json!({"version": "9"}), ["-", all, "24", "-", "-", all, "-"]),
        (json!({"stage": "prod"}), ["-", all, "24", "-", "13", all, "-"]),
        (json!({}), ["-", all, "24", "-", all, all, "-"]),
        (json!({"version": "9", "stage": "prod"}), ["-", all, "24", "-", "-", all, "-"]),
        (json!({"version": "1", "stage": "x"}), ["-", all, "24", "-", "12", all, "-"]),
        (json!({"version": "3"}), ["-", all, "24", "4", "-", all, "-"]),
        (json!({"version": ["3", "4"]}), ["4", "4", "4", "-", "4", "4", "4"]),
        (json!({"version": 5}), ["5"; 7]),
        (json!({"version": "5"}), ["-", all, "24", "-", "-", all, "-"]),
        (json!({"x": 1}), ["-", all, "24", "-", all, all, "-"]),
        (
            json!({"stage": "prod", "fallback_list": [{"version": "9"}, {"version": "2"}]}),
            ["-", all, "24", "-", all, all, "3"],
        ),
        (
            json!({"version": "1", "fallback_list": [{"version": "9"}, {}]}),
            ["-", all, "24", "-", all, all, "12"],
        ),
        (
            json!({"version": "9", "fallback_list": [{"stage": "q"}]}),
            ["-", all, "24", "-", all, all, "-"],
        ),
    ] {
        let found = clusters.each_ref().map(|cluster| reached(cluster, Some(&wanted)));
        assert_eq!(found, expected, "{wanted}");
    }
    let found = clusters.each_ref().map(|cluster| reached(cluster, None));
    assert_eq!(found, ["-", all, "24", "-", all, all, "-"]);
    let active = |at: usize| clusters[at].snapshot.shared.stats.sum(ClusterStat::LbSubsetsActive);
    // As Envoy counts with one worker, which has two of each.
    assert_eq!([active(0), active(3), active(4)], [16, 20, 20]);
}

#[test]
fn a_subset_has_a_health_of_its_own_and_goes_on_where_it_stood() {
    let mut cluster = with(options());
    let one = json!({"version": "1"});
    assert_eq!(reached(&cluster, Some(&one)), "12");
    cluster.health(&[WELL, WELL, ILL, ILL, ILL]);
    assert_eq!(reached(&cluster, Some(&one)), "12");
    // One of two is half: no panic. None is.
    cluster.health(&[ILL, WELL, WELL, WELL, WELL]);
    assert_eq!(reached(&cluster, Some(&one)), "2");
    cluster.health(&[ILL, ILL, WELL, WELL, WELL]);
    assert_eq!(reached(&cluster, Some(&one)), "12");
    let stats = &cluster.snapshot.shared.stats;
    assert_eq!(stats.sum(ClusterStat::LbHealthyPanic), 20);
    assert_eq!(stats.sum(ClusterStat::LbSubsetsSelected), 80);
    let created = stats.sum(ClusterStat::LbSubsetsCreated);
    cluster.snapshot.hosts = cluster.snapshot.hosts[..3].into();
    cluster.build();
    let stats = &cluster.snapshot.shared.stats;
    assert_eq!(stats.sum(ClusterStat::LbSubsetsCreated), created);
    assert_eq!(stats.sum(ClusterStat::LbSubsetsRemoved), 6);
    assert_eq!(stats.sum(ClusterStat::LbSubsetsActive), created - 6);
}

#[test]
fn a_route_may_say_more_than_a_selector_asks_for_where_that_is_taken() {
    let more = json!({"version": "1", "stage": "prod", "other": "x"});
    assert_eq!(reached(&with(options()), Some(&more)), "-");
    let takes_more = SubsetOptions { takes_more_keys: true, ..options() };
    // The first selector whose keys are all there.
    assert_eq!(reached(&with(takes_more), Some(&more)), "12");
}

/// Observed: Envoy 1.40, `single_host_per_subset`.
#[test]
fn a_subset_of_one_host_is_the_first_of_those_it_would_have_whatever_its_health() {
    let mut alone = options();
    alone.selectors[0].single_host = true;
    let mut cluster = with(alone);
    cluster.health(&[ILL, WELL, WELL, WELL, WELL]);
    for (wanted, expected) in [
        (json!({"version": "1"}), "1"),
        (json!({"version": "2"}), "3"),
        (json!({"version": "1", "stage": "dev"}), "2"),
        (json!({"version": "9"}), "-"),
    ] {
        assert_eq!(reached(&cluster, Some(&wanted)), expected, "{wanted}");
    }
    let stats = &cluster.snapshot.shared.stats;
    assert_eq!(stats.sum(ClusterStat::LbSubsetsSingleHostPerSubsetDuplicate), 1);
}
