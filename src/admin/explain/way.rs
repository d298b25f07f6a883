//! Owns telling what becomes of a request that a route has taken.

use serde_json::{Value, json};
use understudy_actors::snapshot::ClusterSnapshot;

use super::{
    super::{Desk, clusters::health_flags},
    words,
};
use crate::{
    codec::RequestHead,
    config::model::{
        cluster::Upstream,
        original_dst::OriginalDst,
        route::{
            ClusterChoice, ClusterWeight, Forward, HostChange, PathChange, RouteAction,
            WeightedClusters,
        },
    },
    route::Found,
    upstream::balancer::Tables,
};

/// Hosts and clusters that are shown.
const SHOWN_MAX: usize = 50;
/// Characters of a body that are shown.
const BODY_CHARS_MAX: usize = 200;

/// Adds the route and what it does.
pub(super) fn add(told: &mut Value, desk: &Desk, found: Found<'_>, request: &mut RequestHead) {
    let routes = &found.virtual_host.routes;
    let at = routes.iter().position(|route| std::ptr::eq(route, found.route));
    told["route"] = match at {
        Some(at) => words::route(at, found.route),
        None => json!({"match": "all: the virtual host has `require_tls`"}),
    };
    match &found.route.action {
        RouteAction::Direct(direct) => {
            let body = String::from_utf8_lossy(&direct.body);
            told["outcome"] = json!(format!("{}: a direct response", direct.status));
            told["body"] = json!(body.chars().take(BODY_CHARS_MAX).collect::<String>());
        }
        RouteAction::Redirect(redirect) => {
            let location = redirect.location(&found.route.matcher, request);
            told["outcome"] = json!(format!("{}: a redirect", redirect.status));
            told["location"] = json!(String::from_utf8_lossy(&location));
        }
        RouteAction::Forward(forward) => {
            forwarded(told, desk, forward, found, request);
        }
    }
}

fn forwarded(
    told: &mut Value,
    desk: &Desk,
    forward: &Forward,
    found: Found<'_>,
    request: &mut RequestHead,
) {
    if let ClusterChoice::Weighted(weighted) = &forward.cluster {
        told["weighted_clusters"] = shares(desk, weighted);
    }
    let choice = found.part.map_or(&forward.cluster, |part| &part.cluster);
    let name = match choice {
        ClusterChoice::Named(cluster) => cluster.name.clone(),
        ClusterChoice::Header(header) => {
            let name = request.value(header).unwrap_or_default();
            String::from_utf8_lossy(name).into_owned()
        }
        ClusterChoice::Weighted(_) => String::new(),
    };
    told["timeouts"] = words::timeouts(forward);
    told["retry_policy"] = words::retries(forward);
    rewritten(told, forward, found, request);
    let directory = desk.view.clusters.read();
    let snapshot = directory.named(&name).map(|cluster| cluster.read());
    told["cluster"] = json!(name);
    told["outcome"] = match snapshot {
        Some(snapshot) => {
            told["hosts"] = hosts(&snapshot);
            let tables = Tables::of(&snapshot);
            told["panic"] = json!(tables.panics());
            if tables.shares().nth(1).is_some() {
                told["priorities"] = priorities(&tables);
            }
            match original_dst(&snapshot) {
                Some(says) => json!(format!("goes to cluster {name}: {}", words::meant(says))),
                None if (0..snapshot.hosts.len()).any(|host| tables.reaches(host)) => {
                    json!(format!("goes to cluster {name}"))
                }
                None => json!(format!("503: cluster {name} has no host that takes traffic")),
            }
        }
        None => {
            let status = forward.cluster_not_found_status;
            json!(format!("{status}: there is no cluster `{name}`"))
        }
    };
}

/// Host and path as the upstream would see them.
fn rewritten(told: &mut Value, forward: &Forward, found: Found<'_>, request: &mut RequestHead) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let part = found.part.map(|part: &ClusterWeight| part.host_rewrite.as_str());
    if let Some(host) = part.filter(|host| !host.is_empty()) {
        request.set_authority(host.as_bytes());
    }
    let host = forward.new_host(request).unwrap_or_else(|| request.authority().to_vec());
    let path = forward.new_path(&found.route.matcher, request.path());
    let path = path.unwrap_or_else(|| request.path().to_vec());
    told["upstream_host"] = match forward.host_rewrite {
        HostChange::Upstream => json!("the name of the host that is chosen"),
        HostChange::Format(ref format) => json!(format!("what `{format}` says")),
        _ => json!(text(&host)),
    };
    told["upstream_path"] = match &forward.path_rewrite {
        PathChange::Format(format) => json!(format!("what `{format}` says")),
        _ => json!(text(&path)),
    };
}

fn shares(desk: &Desk, weighted: &WeightedClusters) -> Value {
    let runtime = desk.view.runtime.read();
    let weight = |cluster: &ClusterWeight| match weighted.by_runtime {
        true => runtime.integer(&cluster.runtime_key, u64::from(cluster.weight)),
        false => u64::from(cluster.weight),
    };
    let total: u64 = weighted.clusters.iter().map(weight).sum();
    let shown = weighted.clusters.iter().take(SHOWN_MAX).map(|cluster| {
        let name = match &cluster.cluster {
            ClusterChoice::Header(header) => {
                format!("as header {} says", String::from_utf8_lossy(header))
            }
            other => other.name().unwrap_or_default().to_owned(),
        };
        let percent = 100.0 * weight(cluster) as f64 / total.max(1) as f64;
        let percent = (percent * 100.0).round() / 100.0;
        json!({"cluster": name, "weight": weight(cluster), "percent": percent})
    });
    Value::Array(shown.collect())
}

/// What says where a request was meant to go, where that is its host.
fn original_dst(snapshot: &ClusterSnapshot) -> Option<&OriginalDst> {
    snapshot.plan.upstream.downcast_ref::<Upstream>()?.balancing.policy.original_dst()
}

fn hosts(snapshot: &ClusterSnapshot) -> Value {
    let tables = Tables::of(snapshot);
    let whoever_is_asked = original_dst(snapshot).is_some();
    let shown = snapshot.hosts.iter().take(SHOWN_MAX).enumerate().map(|(at, host)| {
        json!({
            "address": host.address_text,
            "hostname": host.endpoint.hostname,
            "health": health_flags(host),
            "priority": host.endpoint.priority,
            "takes_traffic": whoever_is_asked || tables.reaches(at),
        })
    });
    Value::Array(shown.collect())
}

/// How many of a hundred requests each priority takes.
fn priorities(tables: &Tables) -> Value {
    let shares = tables.shares().map(|(share, panic)| json!({"percent": share, "panic": panic}));
    Value::Array(shares.collect())
}
