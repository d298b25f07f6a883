//! Owns the proof that requests go to the host that their cluster's balancer chooses, by priority, health and hash.

mod support;

use std::{io::Write, net::SocketAddr};

use support::{
    client::{Answer, Client, get},
    config::routed,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

/// Origins that say their numbers, counted from 1.
fn origins(count: usize) -> Vec<Origin> {
    (1..=count).map(|number| Origin::saying(&number.to_string())).collect()
}

/// An endpoint, with more fields in braces.
fn endpoint(address: SocketAddr, more: &str) -> String {
    let (ip, port) = (address.ip(), address.port());
    format!(
        "{{endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}{more}}}"
    )
}

/// A cluster of these groups of endpoints, with more fields, as lines.
fn cluster(name: &str, fields: &str, groups: &[String]) -> String {
    let groups = groups.join(", ");
    format!(
        "  - {{name: {name}, connect_timeout: 1s, {fields}, load_assignment: {{cluster_name: {name}, endpoints: [{groups}]}}}}\n"
    )
}

fn group(priority: u32, endpoints: &[String]) -> String {
    format!("{{priority: {priority}, lb_endpoints: [{}]}}", endpoints.join(", "))
}

fn with(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let mut client = Client::connect(address);
    client.request(format!("GET {path} HTTP/1.1\r\nhost: t\r\n{headers}\r\n"))
}

/// Observed: Envoy 1.40: 200, 400, and for the host that reports nothing the median; what is configured is gone.
#[test]
fn hosts_are_weighed_by_what_they_report() {
    let reporting = |report: &str| {
        let answer = format!("HTTP/1.1 200 OK\r\n{report}content-length: 1\r\n\r\nx");
        Origin::answering(move |stream, _| {
            let _ = stream.write_all(answer.as_bytes());
        })
    };
    let origins = [
        reporting("endpoint-load-metrics: TEXT cpu_utilization=0.5, rps_fractional=100\r\n"),
        reporting("endpoint-load-metrics-bin: CQAAAAAAANA/MQAAAAAAAFlA\r\n"),
        reporting(""),
    ];
    let endpoints: Vec<_> = origins
        .iter()
        .map(|origin| endpoint(origin.address, ", load_balancing_weight: 9"))
        .collect();
    let policy = "load_balancing_policy: {policies: [{typed_extension_config: {name: x, typed_config: {\
        '@type': type.googleapis.com/envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.\
        ClientSideWeightedRoundRobin, blackout_period: 0s, weight_update_period: 0.1s}}}]}";
    let proxy = Proxy::start(&routed(
        "{match: {prefix: /}, route: {cluster: own}}",
        &cluster("own", policy, &[group(0, &endpoints)]),
    ));
    let main = proxy.listener("main");
    let weights = || -> Vec<String> {
        let text = get(proxy.admin, "/clusters").text();
        let weight = |origin: &Origin| {
            let line = format!("own::{}::weight::", origin.address);
            text.lines().find_map(|found| found.strip_prefix(&line)).map(str::to_owned)
        };
        origins.iter().filter_map(weight).collect()
    };
    wait_for("weights of hosts that have reported nothing", || {
        (weights() == ["1", "1", "1"]).then_some(())
    });
    wait_for("the weights that were reported", || {
        for _ in 0..3 {
            get(main, "/");
        }
        (weights() == ["200", "400", "300"]).then_some(())
    });
    let before: Vec<usize> = origins.iter().map(|origin| origin.heads().len()).collect();
    for _ in 0..90 {
        get(main, "/");
    }
    let taken: Vec<usize> =
        origins.iter().zip(before).map(|(origin, before)| origin.heads().len() - before).collect();
    assert!(
        taken.iter().zip([20, 40, 30]).all(|(taken, share)| taken.abs_diff(share) <= 2),
        "{taken:?}"
    );
}

/// Observed: Envoy 1.40, `drop_overloads` of a cluster whose hosts stand in the file.
#[test]
fn requests_are_dropped_where_the_file_says_so() {
    let origin = Origin::saying("here");
    let endpoints = group(0, &[endpoint(origin.address, "")]);
    let clusters = format!(
        "  - {{name: own, connect_timeout: 1s, load_assignment: {{cluster_name: own, endpoints: [{endpoints}], policy: \
         {{drop_overloads: [{{category: all, drop_percentage: {{numerator: 100}}}}]}}}}}}\n"
    );
    let proxy = Proxy::start(&routed("{match: {prefix: /}, route: {cluster: own}}", &clusters));
    let answer = get(proxy.listener("main"), "/");
    assert_eq!((answer.status, answer.text().as_str()), (503, "unconditional drop overload"));
}

/// Observed: Envoy 1.40, the same hosts for these keys of requests and hosts.
#[test]
fn a_header_a_query_and_a_cookie_of_one_value_lead_to_the_host_that_envoy_chooses() {
    let origins = origins(4);
    let keyed = origins.iter().enumerate().map(|(at, origin)| {
        let key =
            format!(", metadata: {{filter_metadata: {{envoy.lb: {{hash_key: k{}}}}}}}", at + 1);
        endpoint(origin.address, &key)
    });
    let ring = "lb_policy: RING_HASH, ring_hash_lb_config: {minimum_ring_size: 64}";
    let clusters = cluster("ring", ring, &[group(0, &keyed.collect::<Vec<_>>())]);
    let route = |path: &str, policy: &str| {
        format!("{{match: {{prefix: {path}}}, route: {{cluster: ring, hash_policy: [{policy}]}}}}")
    };
    let routes = [
        route("/header", "{header: {header_name: X-Key}}"),
        route("/query", "{query_parameter: {name: k}}"),
        route("/cookie", "{cookie: {name: sid}}"),
        route("/first", "{header: {header_name: a}, terminal: true}, {header: {header_name: b}}"),
        route("/second", "{header: {header_name: a}}, {header: {header_name: x-key}}"),
        route(
            "/rewritten",
            "{header: {header_name: a, regex_rewrite: {pattern: {regex: 'x+'}, substitution: k}}}",
        ),
    ];
    let proxy = Proxy::start(&routed(&routes.join(", "), &clusters));
    let main = proxy.listener("main");
    for (number, expected) in "132124221442141122321213".chars().enumerate() {
        for (path, headers) in [
            ("/header".to_owned(), format!("x-key: k{number}\r\n")),
            (format!("/query?a=b&k=k{number}&k=other"), String::new()),
            ("/cookie".to_owned(), format!("cookie: a=b; sid=\"k{number}\"\r\n")),
            ("/first".to_owned(), format!("a: k{number}\r\nb: other\r\n")),
            ("/first".to_owned(), format!("b: k{number}\r\n")),
            ("/second".to_owned(), format!("x-key: k{number}\r\n")),
            ("/rewritten".to_owned(), format!("a: xxx{number}\r\n")),
        ] {
            assert_eq!(
                with(main, &path, &headers).text(),
                expected.to_string(),
                "{path} {headers}"
            );
        }
    }
    // Values of one header are hashed in whichever order they come.
    let both = |one: &str, two: &str| {
        with(main, "/header", &format!("x-key: {one}\r\nx-key: {two}\r\n")).text()
    };
    assert!((0..9).all(|n| both("a", &n.to_string()) == both(&n.to_string(), "a")));
    assert_eq!(proxy.stat("cluster.ring.ring_hash_lb.size"), Some(64));
}

#[test]
fn a_client_without_the_cookie_is_given_one_that_leads_it_back() {
    let origins = origins(4);
    let endpoints: Vec<_> = origins.iter().map(|origin| endpoint(origin.address, "")).collect();
    let hosts = group(0, &endpoints);
    let clusters = cluster("maglev", "lb_policy: MAGLEV", std::slice::from_ref(&hosts))
        + &cluster("plain", "lb_policy: ROUND_ROBIN", &[hosts]);
    let cookie =
        "{cookie: {name: sid, ttl: 90s, path: /p, attributes: [{name: SameSite, value: Lax}]}}";
    let route = |path: &str, cluster: &str| {
        format!(
            "{{match: {{prefix: {path}}}, route: {{cluster: {cluster}, hash_policy: [{cookie}], \
            retry_policy: {{retry_on: retriable-status-codes, retriable_status_codes: [200], num_retries: 2}}}}}}"
        )
    };
    let routes = [route("/maglev", "maglev"), route("/plain", "plain")].join(", ");
    let proxy = Proxy::start(&routed(&routes, &clusters));
    let main = proxy.listener("main");
    for _ in 0..10 {
        let first = get(main, "/maglev");
        let given = first.header("set-cookie").expect("a cookie").to_owned();
        let (pair, attributes) = given.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Max-Age=90; Path=/p; SameSite=Lax; HttpOnly");
        // Once, however many tries there were.
        let given = first.headers.iter().filter(|(name, _)| name == "set-cookie");
        assert_eq!(given.count(), 1, "{:?}", first.headers);
        for _ in 0..3 {
            let again = with(main, "/maglev", &format!("cookie: {pair}\r\n"));
            assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
        }
    }
    // Who does not hash gives none.
    assert_eq!(get(main, "/plain").header("set-cookie"), None);
}

#[test]
fn priorities_localities_and_health_decide_and_explain_says_how() {
    let origins = origins(4);
    let at = |number: usize, more: &str| endpoint(origins[number - 1].address, more);
    let ill = ", health_status: UNHEALTHY";
    let failover = [group(0, &[at(1, ""), at(2, ill)]), group(1, &[at(3, "")])];
    let gone = [group(0, &[at(1, ill)]), group(1, &[at(2, ", health_status: DEGRADED")])];
    let locality = |zone: &str, weight: u32, endpoints: &str| {
        format!(
            "{{locality: {{zone: {zone}}}, load_balancing_weight: {weight}, lb_endpoints: [{endpoints}]}}"
        )
    };
    let zones = [locality("a", 3, &at(1, "")), locality("b", 1, &at(2, ""))];
    let clusters = cluster("failover", "lb_policy: ROUND_ROBIN", &failover)
        + &cluster("gone", "lb_policy: RANDOM", &gone)
        + &cluster("zones", "common_lb_config: {locality_weighted_lb_config: {}}", &zones)
        + &cluster("least", "lb_policy: LEAST_REQUEST", &[group(0, &[at(3, ""), at(4, "")])]);
    let route = |name: &str| format!("{{match: {{prefix: /{name}}}, route: {{cluster: {name}}}}}");
    let routes = ["failover", "gone", "zones", "least"].map(route).join(", ");
    let proxy = Proxy::start_with(&routed(&routes, &clusters), &["--concurrency", "1"]);
    let main = proxy.listener("main");
    let count = |path: &str, times: usize| -> [usize; 4] {
        let mut counts = [0; 4];
        let mut client = Client::connect(main);
        for _ in 0..times {
            let answer = client.request(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n"));
            counts[answer.text().parse::<usize>().expect("a number") - 1] += 1;
        }
        counts
    };
    // 70 of a hundred stay with the first priority, half of which is well.
    let [first, ill, second, _] = count("/failover", 1000);
    assert!(
        ill == 0 && first.abs_diff(700) < 100 && second.abs_diff(300) < 100,
        "{first} {second}"
    );
    assert_eq!(count("/gone", 20), [0, 20, 0, 0]);
    assert_eq!(count("/zones", 40), [30, 10, 0, 0]);
    let [_, _, third, fourth] = count("/least", 400);
    assert!(third.abs_diff(fourth) < 120, "{third} {fourth}");
    let told = get(proxy.admin, "/explain?format=json&host=t&path=/failover").text();
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    let told = &told["explained"][0];
    let share = |percent: u32| serde_json::json!({"percent": percent, "panic": false});
    assert_eq!(told["priorities"], serde_json::json!([share(70), share(30)]));
    let takes = |host: usize| told["hosts"][host]["takes_traffic"] == true;
    assert_eq!([takes(0), takes(1), takes(2)], [true, false, true]);
}

/// Observed: Envoy 1.40, connections and requests count where the host is, answers and retries with the aggregate.
#[test]
fn an_aggregate_has_the_hosts_of_its_clusters_by_priority() {
    let origins = origins(3);
    let at = |number: usize, more: &str| endpoint(origins[number - 1].address, more);
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let aggregate = |name: &str, members: &str| {
        format!(
            "  - {{name: {name}, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: \
             {{name: envoy.clusters.aggregate, typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: {members}}}}}}}\n"
        )
    };
    let round_robin = "lb_policy: ROUND_ROBIN";
    let clusters = cluster(
        "half",
        round_robin,
        &[group(0, &[at(1, ", health_status: UNHEALTHY"), at(2, "")])],
    ) + &cluster("whole", round_robin, &[group(0, &[at(3, "")])])
        + &cluster("refuses", round_robin, &[group(0, &[endpoint(nobody, "")])])
        + &aggregate("both", "[half, unknown, whole]")
        + &aggregate("none", "[unknown]")
        + &aggregate("second", "[refuses, whole]");
    let route = |name: &str| format!("{{match: {{prefix: /{name}}}, route: {{cluster: {name}}}}}");
    let retried = "{match: {prefix: /second}, route: {cluster: second, retry_policy: {retry_on: connect-failure, \
        num_retries: 3, retry_priority: {name: p, typed_config: {\"@type\": \
        type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, \
        update_frequency: 1}}}}}";
    let routes = [route("both"), route("none"), retried.to_owned()].join(", ");
    let proxy = Proxy::start_with(&routed(&routes, &clusters), &["--concurrency", "1"]);
    let main = proxy.listener("main");
    let mut client = Client::connect(main);
    let mut ask = |path: &str| client.request(format!("GET {path} HTTP/1.1\r\nhost: t\r\n\r\n"));
    let mut counts = [0; 4];
    for _ in 0..600 {
        counts[ask("/both").text().parse::<usize>().expect("a number")] += 1;
    }
    assert!(counts[1] == 0 && (340..500).contains(&counts[2]), "{counts:?}");
    for _ in 0..10 {
        assert_eq!(ask("/second").text(), "3");
    }
    let none = ask("/none");
    assert_eq!((none.status, none.text().as_str()), (503, "no healthy upstream"));
    let stat = |name: &str| proxy.stat(&format!("cluster.{name}"));
    assert_eq!(stat("both.upstream_rq_200"), Some(600));
    assert_eq!((stat("half.upstream_rq_200"), stat("both.upstream_rq_total")), (None, Some(0)));
    assert_eq!(stat("half.upstream_rq_total"), Some(counts[2] as u64));
    assert_eq!(
        (stat("second.upstream_rq_retry"), stat("second.upstream_rq_200")),
        (Some(10), Some(10))
    );
    assert_eq!(stat("none.upstream_cx_none_healthy"), Some(1));
}

#[test]
fn a_retry_leaves_out_priorities_that_were_tried() {
    let origins = origins(1);
    let nobody: SocketAddr = "127.0.0.1:1".parse().expect("an address");
    let groups = [group(0, &[endpoint(nobody, "")]), group(1, &[endpoint(origins[0].address, "")])];
    let clusters = cluster("a", "lb_policy: ROUND_ROBIN", &groups);
    let routes = "{match: {prefix: /}, route: {cluster: a, retry_policy: {retry_on: connect-failure, num_retries: 2, \
        retry_priority: {name: p, typed_config: {\"@type\": \
        type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, \
        update_frequency: 2}}}}}";
    let proxy = Proxy::start(&routed(routes, &clusters));
    for _ in 0..5 {
        assert_eq!(get(proxy.listener("main"), "/").text(), "1");
    }
    // Two were tried in vain before the second priority was.
    assert_eq!(proxy.stat("cluster.a.upstream_rq_retry"), Some(10));
}

#[test]
fn routes_and_shares_of_routes_ask_for_subsets() {
    let origins = origins(3);
    let at = |number: usize, metadata: &str| {
        let more = format!(", metadata: {{filter_metadata: {{envoy.lb: {metadata}}}}}");
        endpoint(origins[number - 1].address, &more)
    };
    let hosts = [
        at(1, "{version: v1, stage: prod}"),
        at(2, "{version: v1, stage: dev}"),
        at(3, "{version: v2, stage: prod}"),
    ];
    let subsets = "lb_policy: RANDOM, lb_subset_config: {fallback_policy: NO_FALLBACK, subset_selectors: \
        [{keys: [stage, version]}, {keys: [version]}]}";
    let clusters = cluster("a", subsets, &[group(0, &hosts)]);
    let wants =
        |metadata: &str| format!("metadata_match: {{filter_metadata: {{envoy.lb: {metadata}}}}}");
    let route =
        |path: &str, action: &str| format!("{{match: {{prefix: /{path}}}, route: {{{action}}}}}");
    let share = format!(
        "weighted_clusters: {{clusters: [{{name: a, weight: 1, {}}}]}}",
        wants("{stage: dev}")
    );
    let routes = [
        route("v2", &format!("cluster: a, {}", wants("{version: v2}"))),
        route("share", &format!("{}, {share}", wants("{version: v1, stage: prod}"))),
        route("none", &format!("cluster: a, {}", wants("{version: v3}"))),
        route("", "cluster: a"),
    ];
    let proxy = Proxy::start(&routed(&routes.join(", "), &clusters));
    let main = proxy.listener("main");
    for _ in 0..5 {
        assert_eq!(get(main, "/v2").text(), "3");
        assert_eq!(get(main, "/share").text(), "2");
        assert_eq!(get(main, "/none").status, 503);
        assert_eq!(get(main, "/").status, 503);
    }
    assert_eq!(proxy.stat("cluster.a.lb_subsets_selected"), Some(10));
}

/// Observed: Envoy 1.40.
#[test]
fn a_request_names_its_host_where_the_cluster_lets_it() {
    let origins = origins(3);
    let endpoints: Vec<_> = origins.iter().map(|origin| endpoint(origin.address, "")).collect();
    let policies = "type.googleapis.com/envoy.extensions.load_balancing_policies";
    let of_random = format!(
        "fallback_policy: {{policies: [{{typed_extension_config: {{name: r, typed_config: {{\"@type\": {policies}.random.v3.Random}}}}}}]}}"
    );
    let policy = format!(
        "load_balancing_policy: {{policies: [{{typed_extension_config: {{name: o, typed_config: {{\"@type\": \
         {policies}.override_host.v3.OverrideHost, override_host_sources: [{{header: X-Host}}], {of_random}}}}}}}]}}"
    );
    let clusters = cluster("a", &policy, &[group(0, &endpoints)]);
    let retry = "retry_policy: {retry_on: retriable-status-codes, retriable_status_codes: [200], num_retries: 1}";
    let routes = format!(
        "{{match: {{prefix: /retried}}, route: {{cluster: a, {retry}}}}}, {{match: {{prefix: /}}, route: {{cluster: a}}}}"
    );
    let proxy = Proxy::start(&routed(&routes, &clusters));
    let main = proxy.listener("main");
    let named = |path: &str, names: &str| with(main, path, &format!("x-host: {names}\r\n")).text();
    let [first, second, third] = [0, 1, 2].map(|at| origins[at].address.to_string());
    for (names, expected) in [(second.clone(), "2"), (format!("127.0.0.1:1, {third},{first}"), "3")]
    {
        assert!((0..5).all(|_| named("/", &names) == expected), "{names}");
    }
    assert_eq!(named("/retried", &format!("{third},{first}")), "1");
    let mut reached: Vec<_> = (0..60).map(|_| named("/", "127.0.0.1:1")).collect();
    reached.sort_unstable();
    reached.dedup();
    assert_eq!(reached, ["1", "2", "3"]);
}

/// Observed: Envoy 1.40.
#[test]
fn a_session_leads_back_to_its_host_while_that_may_be_had() {
    let origins = origins(3);
    let ill = endpoint(origins[2].address, ", health_status: UNHEALTHY");
    let well = origins[..2].iter().map(|origin| endpoint(origin.address, ""));
    let endpoints: Vec<_> = well.chain([ill]).collect();
    let clusters = cluster("a", "lb_policy: ROUND_ROBIN", &[group(0, &endpoints)]);
    let types = "type.googleapis.com/envoy.extensions";
    let state = |kind: &str, own: &str| {
        format!(
            "session_state: {{name: envoy.http.stateful_session.{kind}, typed_config: {{\"@type\": {types}.http.stateful_session.{own}}}}}"
        )
    };
    let cookie =
        state("cookie", "cookie.v3.CookieBasedSessionState, cookie: {name: s, ttl: 60s, path: /}");
    let header = state("header", "header.v3.HeaderBasedSessionState, name: X-S");
    let filter = format!("{types}.filters.http.stateful_session.v3.StatefulSession");
    let per = |path: &str, own: &str| {
        format!(
            "{{match: {{prefix: {path}}}, route: {{cluster: a}}, typed_per_filter_config: {{s: {{\"@type\": {filter}PerRoute, {own}}}}}}}"
        )
    };
    let routes = [
        per("/off", "disabled: true"),
        per("/header", &format!("stateful_session: {{{header}, strict: true}}")),
        "{match: {prefix: /}, route: {cluster: a}}".to_owned(),
    ];
    let config = routed(&routes.join(", "), &clusters).replace(
        "http_filters:\n",
        &format!("http_filters:\n          - {{name: s, typed_config: {{\"@type\": {filter}, {cookie}}}}}\n"),
    );
    let proxy = Proxy::start(&config);
    let main = proxy.listener("main");
    let first = get(main, "/");
    let given = first.header("set-cookie").expect("a cookie").to_owned();
    let (pair, attributes) = given.split_once("; ").expect("attributes");
    assert_eq!(attributes, "Max-Age=60; Path=/; HttpOnly");
    for _ in 0..6 {
        let again = with(main, "/", &format!("cookie: {pair}\r\n"));
        assert_eq!((again.text(), again.header("set-cookie")), (first.text(), None));
    }
    assert!((0..4).all(|_| get(main, "/off").header("set-cookie").is_none()));
    let named = get(main, "/header");
    let value = named.header("x-s").expect("a host").to_owned();
    for _ in 0..6 {
        let again = with(main, "/header", &format!("x-s: {value}\r\n"));
        assert_eq!((again.text(), again.header("x-s")), (named.text(), None));
    }
    // 127.0.0.1:1, which the cluster has not: nobody else will do.
    assert_eq!(with(main, "/header", "x-s: MTI3LjAuMC4xOjE=\r\n").status, 503);
}
