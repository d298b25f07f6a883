//! Owns the tests of stats: each form as Envoy 1.40 prints the same values.

use understudy_actors::stats::{ClusterStat, HttpStat, ListenerHttpStat, Scope};

use super::*;

fn registry() -> (Arc<Registry>, Vec<Arc<dyn AnyGroup>>) {
    let registry = Arc::new(Registry::new(1));
    let a = registry.group::<ClusterStat>(Scope::cluster("a"));
    let b = registry.group::<ClusterStat>(Scope::cluster("b"));
    let http = registry.group::<HttpStat>(Scope::http("in"));
    let listener = registry.group::<ListenerHttpStat>(Scope::listener_http("127.0.0.1:80", "in"));
    for value in [0, 1, 1, 1, 2] {
        a.record(ClusterStat::UpstreamRqTime, value);
        a.count_code(ClusterStat::UpstreamRqCode, 200);
        a.add(ClusterStat::UpstreamRq2xx, 1);
    }
    a.set(ClusterStat::MembershipTotal, 2);
    b.set(ClusterStat::MembershipTotal, 0);
    http.add(HttpStat::DownstreamRqTotal, 5);
    listener.add(ListenerHttpStat::DownstreamRq2xx, 5);
    registry.flush();
    registry.flush();
    (registry, vec![a, b, http, listener])
}

fn asked(query: &str) -> (u16, String) {
    let (registry, _groups) = registry();
    let peer = ([127, 0, 0, 1], 1).into();
    let path = if query.starts_with("prom:") { "/stats/prometheus" } else { "/stats" };
    let target = format!("{path}?{}", query.trim_start_matches("prom:"));
    let ask = Ask::new("GET", &target, None, peer);
    let rules = Arc::new(StatsRules::default());
    let answer = match path {
        "/stats" => stats_of(&registry, &rules, &ask),
        _ => prometheus_of(&registry, &rules, &ask),
    };
    (answer.status, answer.into_text())
}

#[test]
fn numbers_come_first_and_histograms_last_each_by_name() {
    for (query, expected) in [
        (
            "usedonly",
            "cluster.a.membership_total: 2\ncluster.a.upstream_rq_200: 5\n\
             cluster.a.upstream_rq_2xx: 5\ncluster.b.membership_total: 0\n\
             http.in.downstream_rq_total: 5\n\
             listener.127.0.0.1_80.http.in.downstream_rq_2xx: 5\n\
             cluster.a.upstream_rq_time: P0(nan,0) P25(nan,1.025) P50(nan,1.05) P75(nan,1.075) \
             P90(nan,2.05) P95(nan,2.05) P99(nan,2.05) P99.5(nan,2.05) P99.9(nan,2.05) \
             P100(nan,2.05)\n",
        ),
        (
            "filter=^cluster.*membership_total&type=Gauges",
            "cluster.a.membership_total: 2\ncluster.b.membership_total: 0\n",
        ),
        ("filter=membership_total&type=Counters", ""),
        ("filter=b.upstream_cx_length_ms", "cluster.b.upstream_cx_length_ms: No recorded values\n"),
        ("filter=.&invert_filter", ""),
        ("hidden=&filter=nosuch", ""),
        ("hidden=only", ""),
        ("type=TextReadouts", ""),
        (
            "usedonly&filter=rq_time&histogram_buckets=detailed",
            "cluster.a.upstream_rq_time:\n  totals=0,0:1, 1,0.1:3, 2,0.1:1\n  intervals=\n  \
             summary=P0(nan,0) P25(nan,1.025) P50(nan,1.05) P75(nan,1.075) P90(nan,2.05) \
             P95(nan,2.05) P99(nan,2.05) P99.5(nan,2.05) P99.9(nan,2.05) P100(nan,2.05)\n",
        ),
    ] {
        assert_eq!(asked(query), (200, expected.to_owned()), "{query}");
    }
    let (_, cumulative) = asked("usedonly&filter=rq_time&histogram_buckets=cumulative");
    assert!(
        cumulative.starts_with("cluster.a.upstream_rq_time: B0.5(0,1) B1(0,4) B5(0,5) B10(0,5)")
            && cumulative.ends_with("B600000(0,5) B1.8e+06(0,5) B3.6e+06(0,5)\n"),
        "{cumulative}"
    );
    let (_, disjoint) = asked("usedonly&filter=rq_time&histogram_buckets=disjoint");
    assert!(disjoint.contains(": B0.5(0,1) B1(0,3) B5(0,1) B10(0,0)"), "{disjoint}");
}

#[test]
fn json_is_one_line() {
    for (query, expected) in [
        (
            "filter=in.downstream_rq_total",
            r#"{"stats":[{"name":"http.in.downstream_rq_total","value":5}]}"#,
        ),
        ("filter=nosuch", r#"{"stats":[]}"#),
    ] {
        assert_eq!(asked(&format!("format=json&{query}")).1, expected, "{query}");
    }
    for buckets in ["", "cumulative", "disjoint", "detailed", "summary"] {
        let (_, text) = asked(&format!("format=json&histogram_buckets={buckets}"));
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(read["stats"].as_array().unwrap().last().unwrap().get("histograms").is_some());
    }
    let (_, text) = asked("format=json&usedonly&type=Histograms");
    let start = "{\"stats\":[{\"histograms\":{\"supported_quantiles\":[0,25,50,75,90,95,99,99.5,\
                 99.9,100],\"computed_quantiles\":[{\"name\":\"cluster.a.upstream_rq_time\",\
                 \"values\":[{\"cumulative\":0,\"interval\":null},{\"cumulative\":1.025,";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn prometheus_gets_tags_as_labels_the_status_first() {
    let (_, text) = asked("prom:usedonly");
    let expected = "\
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code=\"200\",envoy_cluster_name=\"a\"} 5
# TYPE envoy_cluster_upstream_rq_xx counter
envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"2\",envoy_cluster_name=\"a\"} 5
# TYPE envoy_http_downstream_rq_total counter
envoy_http_downstream_rq_total{envoy_http_conn_manager_prefix=\"in\"} 5
# TYPE envoy_listener_http_downstream_rq_xx counter
envoy_listener_http_downstream_rq_xx{envoy_response_code_class=\"2\",\
envoy_http_conn_manager_prefix=\"in\",envoy_listener_address=\"127.0.0.1_80\"} 5
# TYPE envoy_cluster_membership_total gauge
envoy_cluster_membership_total{envoy_cluster_name=\"a\"} 2
envoy_cluster_membership_total{envoy_cluster_name=\"b\"} 0
# TYPE envoy_cluster_upstream_rq_time histogram
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"0.5\"} 1
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"1\"} 4
";
    assert!(text.starts_with(expected), "{text}");
    let end = "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"3600000\"} 5
envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"a\",le=\"+Inf\"} 5
envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"a\"} 5
envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"a\"} 5
";
    assert!(text.ends_with(end), "{text}");
    assert_eq!(asked("format=prometheus&usedonly").1, text);
    let (_, summary) = asked("prom:usedonly&filter=rq_time&histogram_buckets=summary");
    assert!(summary.contains("{envoy_cluster_name=\"a\",quantile=\"0.995\"} nan\n"), "{summary}");
}

#[test]
fn what_is_wrong_with_a_question_is_said_as_envoy_says_it() {
    for (query, text) in [
        ("type=x&hidden=x", "invalid &type= param"),
        ("invert_filter", "invert_filter can only be used if filter is also provided"),
        ("prom:invert_filter&filter=", "invert_filter can only be used if filter is also provided"),
        ("format=x", "usage: /stats?format=(html|active-html|json|prometheus|text)\n\n"),
        ("hidden=x", "usage: /stats?hidden=(include|only|exclude)\n\n"),
        (
            "histogram_buckets=x",
            "usage: /stats?histogram_buckets=(cumulative|disjoint|detailed|summary|prometheusnative)\n",
        ),
        (
            "histogram_buckets=prometheusnative",
            "Invalid histogram_buckets type for non prometheus stats type",
        ),
        ("prom:histogram_buckets=detailed", "unsupported prometheus histogram bucket mode"),
    ] {
        assert_eq!(asked(query), (400, text.to_owned()), "{query}");
    }
    let text = "Invalid re2 regex: no argument for repetition operator: *";
    assert_eq!(asked("filter=*bad"), (400, text.to_owned()));
}
