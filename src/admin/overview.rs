//! `/overview`, ours: all that the home page shows, in one read that stays small however much there is.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use regex::bytes::Regex;
use serde_json::{Value, json};
use understudy_actors::{
    command::LogLevel,
    roster::Member,
    runtime::{Runtime, RuntimeLayer},
    snapshot::{ClusterSnapshot, Host},
    stats::{
        AnyGroup, Bins, ClusterStat, Group, HistogramReading, HostStat, HttpStat, ListenerStat,
        Scope,
    },
    view::View,
};

use super::{Answer, Ask, Desk, actors, clusters::health_flags};
use crate::{
    logging::LOGGERS,
    re2::{self, Extent},
    upstream::balancer::Tables,
    version,
};

/// Clusters, and lines of each other list, that are told where nobody says how many.
pub(super) const LISTED: usize = 200;

/// The most that may be asked for.
const LISTED_MAX: usize = 1000;

/// Hosts of one cluster that are told; those that take no traffic come first.
const HOSTS_MAX: usize = 50;

/// Letters of what became of a reload; `/reload/last` has all.
const RELOAD_LETTERS_MAX: usize = 2000;

/// Answers are counted by class.
const CLASSES: [(HttpStat, &str); 5] = [
    (HttpStat::DownstreamRq1xx, "rq_1xx"),
    (HttpStat::DownstreamRq2xx, "rq_2xx"),
    (HttpStat::DownstreamRq3xx, "rq_3xx"),
    (HttpStat::DownstreamRq4xx, "rq_4xx"),
    (HttpStat::DownstreamRq5xx, "rq_5xx"),
];

/// What somebody wants to see.
struct Wanted {
    limit: usize,
    /// Clusters whose names match.
    filter: Option<Regex>,
}

pub(super) fn overview(desk: &Desk, ask: &Ask) -> Answer {
    let wanted = match read(ask) {
        Ok(wanted) => wanted,
        Err(refused) => return refused,
    };
    let view = &desk.view;
    let state = view.server.read();
    let uptime = state.started.elapsed().unwrap_or_default();
    let node = &desk.facts.node;
    Answer::json(&json!({
        "state": state.lifecycle().name(),
        "health_failed": state.health_failed,
        "read_only": desk.facts.flags.admin_read_only,
        "version": version::VERSION,
        "node": {"id": node.id, "cluster": node.cluster},
        "uptime_ms": u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX),
        "connections": view.roster.connections.load(Relaxed),
        "requests": requests(view, wanted.limit),
        "listeners": listeners(view, wanted.limit),
        "clusters": clusters(view, &wanted),
        "actors": company(view, wanted.limit),
        "loggers": loggers(view),
        "runtime": runtime(&view.runtime.read(), wanted.limit),
        "temporary": temporary(view, wanted.limit),
        "reload": reload(view),
    }))
}

/// What became of the last reload, if there was one.
fn reload(view: &View) -> Value {
    let configured = view.configured.read();
    let Some(last) = &configured.last_reload else { return Value::Null };
    let (refused, told) = match &last.outcome {
        Ok(told) => (false, told),
        Err(why) => (true, why),
    };
    let end = told.char_indices().map(|(at, _)| at).nth(RELOAD_LETTERS_MAX);
    let says = told.get(..end.unwrap_or(told.len())).unwrap_or_default();
    let at = last.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({"at": at, "who": last.who, "refused": refused, "says": says})
}

/// What is set for a time only.
fn temporary(view: &View, limit: usize) -> Value {
    let all = view.temporary.read();
    let told = all.iter().take(limit).map(|one| {
        let left = one.until.duration_since(SystemTime::now()).unwrap_or_default();
        json!({"what": one.what, "back_to": one.back_to, "left_s": left.as_secs()})
    });
    list(told, all.len())
}

fn read(ask: &Ask) -> Result<Wanted, Answer> {
    let limit = match ask.param("limit").filter(|limit| !limit.is_empty()) {
        None => LISTED,
        Some(limit) => match limit.parse() {
            Ok(limit) if limit <= LISTED_MAX => limit,
            _ => {
                let usage = format!("usage: /overview?limit=(0 to {LISTED_MAX})\n");
                return Err(Answer::status(400, usage));
            }
        },
    };
    let filter = match ask.param("filter").filter(|filter| !filter.is_empty()) {
        None => None,
        Some(filter) => Some(
            re2::compile(filter, Extent::Part)
                .map_err(|why| Answer::status(400, format!("Invalid re2 regex: {why}\n")))?,
        ),
    };
    Ok(Wanted { limit, filter })
}

/// The first of a list, and how many there are in all and beyond.
fn list(items: impl IntoIterator<Item = Value>, total: usize) -> Value {
    let list: Vec<Value> = items.into_iter().collect();
    json!({"total": total, "left_out": total - list.len().min(total), "list": list})
}

/// The connection managers by `stat_prefix`, and all of them together. The admin port is not one of them.
fn requests(view: &View, limit: usize) -> Value {
    let groups = view.registry.groups().into_iter();
    let managers: Vec<Arc<Group<HttpStat>>> = groups
        .filter_map(|group| {
            let own = group.scope().prefix == Scope::http("admin").prefix;
            group.into_any().downcast().ok().filter(|_| !own)
        })
        .collect();
    let mut whole = HistogramReading::default();
    let told: Vec<(u64, Value)> = managers
        .iter()
        .map(|http| {
            let reading = http.reading(HttpStat::DownstreamRqTime);
            whole.cumulative.merge(&reading.cumulative);
            whole.interval.merge(&reading.interval);
            let prefix = &http.scope().prefix;
            let name = prefix.strip_prefix("http.").unwrap_or(prefix).trim_end_matches('.');
            let value = told_requests(name, |stat| http.sum(stat), &reading);
            (http.sum(HttpStat::DownstreamRqTotal), value)
        })
        .collect();
    let sum = |stat| managers.iter().map(|http| http.sum(stat)).sum();
    json!({
        "all": told_requests("", sum, &whole),
        "managers": list(busiest(told, limit), managers.len()),
    })
}

fn told_requests(name: &str, sum: impl Fn(HttpStat) -> u64, reading: &HistogramReading) -> Value {
    let mut told = json!({
        "name": name,
        "rq_total": sum(HttpStat::DownstreamRqTotal),
        "rq_active": sum(HttpStat::DownstreamRqActive),
        "cx_active": sum(HttpStat::DownstreamCxActive),
        "ms": times(reading),
    });
    for (stat, class) in CLASSES {
        told[class] = json!(sum(stat));
    }
    told
}

/// Median and 99th percentile in milliseconds, of the last flush interval and since the start.
fn times(reading: &HistogramReading) -> Value {
    let two = |bins: &Bins| json!({"p50": bins.quantile(0.5), "p99": bins.quantile(0.99)});
    json!({"interval": two(&reading.interval), "all": two(&reading.cumulative)})
}

/// Those with the most requests first; the rest stays in the order it comes in.
fn busiest<T>(mut counted: Vec<(u64, T)>, limit: usize) -> impl Iterator<Item = T> {
    counted.sort_by_key(|(requests, _)| std::cmp::Reverse(*requests));
    counted.into_iter().take(limit).map(|(_, one)| one)
}

fn listeners(view: &View, limit: usize) -> Value {
    let listeners = view.listeners.read();
    let told = listeners.iter().take(limit).map(|listener| {
        let stats = Scope::listener(&listener.plan.stat_prefix);
        let stats = view.registry.group::<ListenerStat>(stats);
        json!({
            "name": listener.plan.name,
            "address": listener.local.to_string(),
            "closed": listener.closed,
            "cx_active": stats.sum(ListenerStat::DownstreamCxActive),
            "cx_total": stats.sum(ListenerStat::DownstreamCxTotal),
        })
    });
    list(told, listeners.len())
}

fn clusters(view: &View, wanted: &Wanted) -> Value {
    let directory = view.clusters.read();
    let (mut hosts, mut healthy, mut all) = (0, 0, 0);
    let mut matching = Vec::new();
    for cluster in directory.slots.iter().flatten().map(|cluster| cluster.read()) {
        all += 1;
        hosts += cluster.hosts.len();
        healthy += well(&cluster);
        if wanted.accepts(&cluster.plan.name) {
            matching.push((cluster.shared.stats.sum(ClusterStat::UpstreamRqTotal), cluster));
        }
    }
    matching.sort_by(|(_, a), (_, b)| a.plan.name.cmp(&b.plan.name));
    let matches = matching.len();
    let mut told = list(busiest(matching, wanted.limit).map(|one| told_cluster(&one)), matches);
    told["all"] = json!(all);
    told["hosts"] = json!(hosts);
    told["hosts_healthy"] = json!(healthy);
    told
}

fn well(cluster: &ClusterSnapshot) -> usize {
    cluster.hosts.iter().filter(|host| host.healthy()).count()
}

fn told_cluster(cluster: &ClusterSnapshot) -> Value {
    let stats = &cluster.shared.stats;
    let mut hosts: Vec<&Host> = cluster.hosts.iter().map(|host| &**host).collect();
    hosts.sort_by_key(|host| host.healthy());
    let total = hosts.len();
    json!({
        "name": cluster.plan.name,
        "ready": cluster.ready,
        "panic": Tables::of(cluster).panics(),
        "rq_total": stats.sum(ClusterStat::UpstreamRqTotal),
        "rq_active": stats.sum(ClusterStat::UpstreamRqActive),
        "rq_5xx": stats.sum(ClusterStat::UpstreamRq5xx),
        "cx_active": stats.sum(ClusterStat::UpstreamCxActive),
        "ms": times(&stats.reading(ClusterStat::UpstreamRqTime)),
        "hosts_healthy": well(cluster),
        "hosts": list(hosts.into_iter().take(HOSTS_MAX).map(told_host), total),
    })
}

fn told_host(host: &Host) -> Value {
    json!({
        "address": host.address_text,
        "hostname": host.endpoint.hostname,
        "healthy": host.healthy(),
        "health_flags": health_flags(host),
        "weight": host.weight(),
        "rq_total": host.stats.sum(HostStat::RqTotal),
        "rq_error": host.stats.sum(HostStat::RqError),
        "cx_active": host.stats.sum(HostStat::CxActive),
    })
}

/// The tree of actors. Where it is cut, those that fell are kept.
fn company(view: &View, limit: usize) -> Value {
    let tree = view.roster.tree();
    let fell = |at: &usize| tree.get(*at).is_some_and(|(_, member)| has_fallen(member));
    let mut kept: Vec<usize> = (0..tree.len()).collect();
    let fallen = kept.iter().filter(|at| fell(at)).count();
    kept.sort_by_key(|at| !fell(at));
    kept.truncate(limit);
    kept.sort_unstable();
    let kept = kept.into_iter().filter_map(|at| tree.get(at));
    let mut told = list(kept.map(|(depth, member)| actors::describe(*depth, member)), tree.len());
    told["fallen"] = json!(fallen);
    told
}

fn has_fallen(member: &Member) -> bool {
    member.restarts.load(Relaxed) > 0
}

fn loggers(view: &View) -> Value {
    let levels = view.log_levels.read();
    let told = LOGGERS.iter().map(|logger| {
        let level = levels.level(logger).unwrap_or(LogLevel::Off);
        json!({"name": logger, "level": level.to_string()})
    });
    let known: Vec<String> = LogLevel::ALL.iter().map(LogLevel::to_string).collect();
    json!({"levels": known, "list": told.collect::<Vec<_>>()})
}

fn runtime(runtime: &Runtime, limit: usize) -> Value {
    let admin_layer = runtime.layers.iter().any(|layer| layer.admin);
    let total = runtime.entries().count();
    let told = runtime.entries().take(limit).map(|(key, value)| {
        let has = |layer: &&RuntimeLayer| layer.entries.contains_key(key);
        let in_force = runtime.layers.iter().rev().find(has);
        json!({
            "key": key,
            "value": value.text,
            "layer": in_force.map_or("", |layer| layer.name.as_str()),
            "overridden": runtime.layers.iter().filter(has).any(|layer| layer.admin),
        })
    });
    let mut told = list(told, total);
    told["admin_layer"] = json!(admin_layer);
    told
}

// === impl Wanted ===

impl Wanted {
    fn accepts(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.is_match(name.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use understudy_actors::{Company, Options, runtime::RuntimeValue};

    use super::*;

    fn ask(query: &str) -> Ask {
        Ask::new("GET", &format!("/overview?{query}"), None, ([127, 0, 0, 1], 1).into())
    }

    fn view() -> View {
        let log_levels = crate::logging::levels("info", "").unwrap();
        let (drain_time, drain_sequence) = (Duration::ZERO, Duration::ZERO);
        let options =
            Options { concurrency: 1, drain_time, drain_sequence, drills: false, log_levels };
        Company::prepare(options).view().clone()
    }

    #[test]
    fn a_limit_beyond_the_most_and_a_broken_filter_are_refused() {
        for (query, limit) in [
            ("", Ok(LISTED)),
            ("limit=", Ok(LISTED)),
            ("limit=0&filter=a", Ok(0)),
            ("limit=1000", Ok(1000)),
            ("limit=1001", Err("usage: /overview?limit=(0 to 1000)\n")),
            ("limit=-1", Err("usage: /overview?limit=(0 to 1000)\n")),
            ("filter=(", Err("Invalid re2 regex: missing ): (\n")),
        ] {
            let read = read(&ask(query)).map(|wanted| wanted.limit).map_err(Answer::into_text);
            assert_eq!(read, limit.map_err(str::to_owned), "{query}");
        }
    }

    #[test]
    fn requests_are_told_by_manager_and_together_and_without_the_admin_port() {
        let view = view();
        let [few, many, _admin] = ["few", "many", "admin"]
            .map(|prefix| view.registry.group::<HttpStat>(Scope::http(prefix)));
        for (http, requests, ms) in [(&few, 1, 9), (&many, 3, 1), (&_admin, 50, 900)] {
            http.add(HttpStat::DownstreamRqTotal, requests);
            http.add(HttpStat::DownstreamRq5xx, 1);
            http.record(HttpStat::DownstreamRqTime, ms);
        }
        view.registry.flush();
        let told = requests(&view, 1);
        assert_eq!((&told["all"]["rq_total"], &told["all"]["rq_5xx"]), (&json!(4), &json!(2)));
        let ms = &told["all"]["ms"]["interval"];
        assert_eq!((&ms["p50"], &ms["p99"]), (&json!(1.05), &json!(9.05)));
        let managers = &told["managers"];
        assert_eq!((&managers["total"], &managers["left_out"]), (&json!(2), &json!(1)));
        assert_eq!(managers["list"][0]["name"], "many");
        view.registry.flush();
        let ms = &requests(&view, 1)["all"]["ms"];
        assert_eq!((&ms["interval"]["p99"], &ms["all"]["p99"]), (&Value::Null, &json!(9.05)));
    }

    #[test]
    fn a_runtime_value_says_from_which_layer_it_comes() {
        let layer = |name: &str, admin, entries: &[(&str, &str)]| RuntimeLayer {
            name: name.to_owned(),
            admin,
            entries: (entries.iter())
                .map(|(key, value)| ((*key).to_owned(), RuntimeValue::parse(value)))
                .collect(),
        };
        let base = layer("base", false, &[("a", "1"), ("b", "2"), ("c", "3")]);
        let told = runtime(&Runtime::new(vec![base.clone()]), 9);
        assert_eq!(told["admin_layer"], false);
        let admin = layer("admin", true, &[("b", "<b>")]);
        let told = runtime(&Runtime::new(vec![base, admin]), 2);
        assert_eq!((&told["left_out"], &told["admin_layer"]), (&json!(1), &json!(true)));
        let [a, b] = ["a", "b"].map(|key| {
            let list = told["list"].as_array().unwrap().iter();
            list.clone().find(|one| one["key"] == key).unwrap()
        });
        assert_eq!((&a["layer"], &a["overridden"]), (&json!("base"), &json!(false)));
        assert_eq!((&b["value"], &b["overridden"]), (&json!("<b>"), &json!(true)));
    }
}
