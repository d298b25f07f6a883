//! `/clusters`

use std::{fmt, fmt::Write as _, sync::Arc};

use serde_json::{Map, Value, json};
use understudy_actors::{
    by_hand::{Hand, Standing},
    limits::ClusterLimits,
    plan::{ClusterPlan, Discovery, Locality, Thresholds},
    runtime::Runtime,
    snapshot::{ClusterSnapshot, HealthFlag, Host},
    stats::HostStat,
};

use super::{Answer, Ask, Desk, answer, doc::Doc, json as print};
use crate::re2::{self, Extent};

const COUNTERS: [(HostStat, &str); 6] = [
    (HostStat::CxConnectFail, "cx_connect_fail"),
    (HostStat::CxTotal, "cx_total"),
    (HostStat::RqError, "rq_error"),
    (HostStat::RqSuccess, "rq_success"),
    (HostStat::RqTimeout, "rq_timeout"),
    (HostStat::RqTotal, "rq_total"),
];

const GAUGES: [(HostStat, &str); 3] = [
    (HostStat::CxActive, "cx_active"),
    (HostStat::RqActive, "rq_active"),
    (HostStat::RqPendingActive, "rq_pending_active"),
];

/// The order of the text.
const IN_TEXT: [(HostStat, &str); 9] = [
    (HostStat::CxActive, "cx_active"),
    (HostStat::CxConnectFail, "cx_connect_fail"),
    (HostStat::CxTotal, "cx_total"),
    (HostStat::RqActive, "rq_active"),
    (HostStat::RqError, "rq_error"),
    (HostStat::RqPendingActive, "rq_pending_active"),
    (HostStat::RqSuccess, "rq_success"),
    (HostStat::RqTimeout, "rq_timeout"),
    (HostStat::RqTotal, "rq_total"),
];

pub(super) fn clusters(desk: &Desk, ask: &Ask) -> Answer {
    let filter = ask.param("filter").filter(|filter| !filter.is_empty());
    let filter = match filter.map(|filter| re2::compile(filter, Extent::Part)) {
        Some(Err(_)) => return Answer::status(400, "Invalid re2 regex"),
        Some(Ok(filter)) => Some(filter),
        None => None,
    };
    let directory = desk.view.clusters.read();
    let mut snapshots: Vec<Arc<ClusterSnapshot>> =
        directory.slots.iter().flatten().map(|cluster| cluster.read()).collect();
    snapshots.retain(|cluster| {
        filter.as_ref().is_none_or(|filter| filter.is_match(cluster.plan.name.as_bytes()))
    });
    let runtime = desk.view.runtime.read();
    if ask.param("format") == Some("json") {
        let any = !snapshots.is_empty();
        let statuses =
            snapshots.into_iter().map(move |cluster| Doc::Value(status(&cluster, &runtime)));
        let list = ("cluster_statuses".to_owned(), Doc::list(statuses));
        return Answer::doc(Doc::object(any.then_some(list)));
    }
    let pieces = snapshots.into_iter().map(move |cluster| {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = text(&mut out, &cluster, &runtime);
        out.into_bytes()
    });
    Answer::pieces(answer::TEXT, pieces)
}

fn text(out: &mut String, cluster: &ClusterSnapshot, runtime: &Runtime) -> fmt::Result {
    let plan = &cluster.plan;
    let name = &plan.name;
    let limits = ClusterLimits::of(plan, runtime);
    writeln!(out, "{name}::observability_name::{}", plan.stat_name)?;
    if plan.outlier.is_some() {
        let means = cluster.shared.outlier.all_means();
        for (origin, means) in ["", "local_origin_"].iter().zip(means) {
            let (average, threshold) = (six_digits(means.average), six_digits(means.threshold));
            writeln!(out, "{name}::outlier::{origin}success_rate_average::{average}")?;
            writeln!(out, "{name}::outlier::{origin}success_rate_ejection_threshold::{threshold}")?;
        }
    }
    for (priority, thresholds) in ["default", "high"].iter().zip(limits.thresholds) {
        let Thresholds { connections, pending_requests, requests, .. } = thresholds;
        let retries = thresholds.retries_max(0);
        writeln!(out, "{name}::{priority}_priority::max_connections::{connections}")?;
        writeln!(out, "{name}::{priority}_priority::max_pending_requests::{pending_requests}")?;
        writeln!(out, "{name}::{priority}_priority::max_requests::{requests}")?;
        writeln!(out, "{name}::{priority}_priority::max_retries::{retries}")?;
    }
    writeln!(out, "{name}::added_via_api::{}", plan.added_via_api)?;
    if let Some(service) = service_name(plan) {
        writeln!(out, "{name}::eds_service_name::{service}")?;
    }
    for host in by_priority(cluster) {
        host_text(out, name, host)?;
        // Ours: only of hosts that somebody changed.
        if cluster.by_hand.of(host.address) != Hand::default() {
            writeln!(out, "{name}::{}::by_hand::true", host.address_text)?;
        }
    }
    for (address, changed) in cluster.by_hand.iter() {
        if changed.hand.standing == Standing::Removed {
            writeln!(out, "{name}::{address}::removed_by_hand::true")?;
        }
    }
    Ok(())
}

fn host_text(out: &mut String, cluster: &str, host: &Host) -> fmt::Result {
    let at = format!("{cluster}::{}", host.address_text);
    for (stat, name) in IN_TEXT {
        writeln!(out, "{at}::{name}::{}", host.stats.sum(stat))?;
    }
    let endpoint = &host.endpoint;
    let locality = &endpoint.locality;
    writeln!(out, "{at}::hostname::{}", endpoint.hostname)?;
    writeln!(out, "{at}::health_flags::{}", health_flags(host))?;
    writeln!(out, "{at}::weight::{}", host.weight())?;
    writeln!(out, "{at}::region::{}", locality.region)?;
    writeln!(out, "{at}::zone::{}", locality.zone)?;
    writeln!(out, "{at}::sub_zone::{}", locality.sub_zone)?;
    writeln!(out, "{at}::canary::{}", endpoint.canary)?;
    writeln!(out, "{at}::priority::{}", endpoint.priority)?;
    let [external, local] = success_rates(host).map(|rate| rate.unwrap_or(-1.0));
    writeln!(out, "{at}::success_rate::{external}")?;
    writeln!(out, "{at}::local_origin_success_rate::{local}")
}

/// Percent of a host's requests that went well, of those it answered and of those that reached it.
fn success_rates(host: &Host) -> [Option<f64>; 2] {
    host.monitor.as_ref().map_or([None, None], |monitor| monitor.success_rates())
}

/// A number as C's `%g` writes it, where that needs no exponent.
fn six_digits(number: f64) -> String {
    let whole_digits = number.abs().max(1.0).log10() as usize + 1;
    let text = format!("{number:.*}", 6_usize.saturating_sub(whole_digits));
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// The flags that are up, or `healthy`.
pub(super) fn health_flags(host: &Host) -> String {
    let up = HealthFlag::ALL.iter().filter(|(flag, _)| host.has(*flag));
    let names: String = up.map(|(_, name)| format!("/{name}")).collect();
    if names.is_empty() { "healthy".to_owned() } else { names }
}

/// All hosts, those of each priority together, as Envoy lists them.
fn by_priority(cluster: &ClusterSnapshot) -> Vec<&Host> {
    let hosts = cluster.hosts.iter().chain(cluster.draining.iter());
    let mut hosts: Vec<&Host> = hosts.map(|host| &**host).collect();
    hosts.sort_by_key(|host| host.endpoint.priority);
    hosts
}

fn status(cluster: &ClusterSnapshot, runtime: &Runtime) -> Value {
    let plan = &cluster.plan;
    let hosts: Vec<Value> = by_priority(cluster).into_iter().map(host_status).collect();
    let mut out = Map::new();
    out.insert("name".to_owned(), json!(plan.name));
    if plan.added_via_api {
        out.insert("added_via_api".to_owned(), json!(true));
    }
    let means = cluster.shared.outlier.all_means().map(|means| means.threshold);
    let [threshold, local_threshold] = means.map(|threshold| percent(Some(threshold)));
    if let Some(threshold) = threshold {
        out.insert("success_rate_ejection_threshold".to_owned(), threshold);
    }
    if !hosts.is_empty() {
        out.insert("host_statuses".to_owned(), Value::Array(hosts));
    }
    if let Some(threshold) = local_threshold {
        out.insert("local_origin_success_rate_ejection_threshold".to_owned(), threshold);
    }
    let limits = ClusterLimits::of(plan, runtime);
    let thresholds: Vec<Value> = (limits.thresholds.iter().enumerate())
        .map(|(priority, thresholds)| {
            let mut one = Map::new();
            if priority == 1 {
                one.insert("priority".to_owned(), json!("HIGH"));
            }
            one.insert("max_connections".to_owned(), json!(thresholds.connections));
            one.insert("max_pending_requests".to_owned(), json!(thresholds.pending_requests));
            one.insert("max_requests".to_owned(), json!(thresholds.requests));
            one.insert("max_retries".to_owned(), json!(thresholds.retries));
            Value::Object(one)
        })
        .collect();
    out.insert("circuit_breakers".to_owned(), json!({"thresholds": thresholds}));
    out.insert("observability_name".to_owned(), json!(plan.stat_name));
    if let Some(service) = service_name(plan) {
        out.insert("eds_service_name".to_owned(), json!(service));
    }
    Value::Object(out)
}

/// `eds_cluster_config.service_name`, where it is not the cluster's own.
fn service_name(plan: &ClusterPlan) -> Option<&str> {
    match &plan.discovery {
        Discovery::Eds { service_name, .. } if *service_name != plan.name => Some(service_name),
        _ => None,
    }
}

fn host_status(host: &Host) -> Value {
    let stat = |kind: Option<&str>, stat, name: &str| {
        let mut one = Map::new();
        if let Some(kind) = kind {
            one.insert("type".to_owned(), json!(kind));
        }
        // proto3 JSON leaves out a zero.
        let value = host.stats.sum(stat);
        if value > 0 {
            one.insert("value".to_owned(), json!(value.to_string()));
        }
        one.insert("name".to_owned(), json!(name));
        Value::Object(one)
    };
    let counters = COUNTERS.iter().map(|(which, name)| stat(None, *which, name));
    let gauges = GAUGES.iter().map(|(which, name)| stat(Some("GAUGE"), *which, name));
    let mut out = Map::new();
    out.insert("address".to_owned(), print::address(host.address));
    out.insert("stats".to_owned(), counters.chain(gauges).collect());
    out.insert("health_status".to_owned(), health_status(host));
    let [external, local] = success_rates(host).map(percent);
    if let Some(rate) = external {
        out.insert("success_rate".to_owned(), rate);
    }
    out.insert("weight".to_owned(), json!(host.weight()));
    if !host.endpoint.hostname.is_empty() {
        out.insert("hostname".to_owned(), json!(host.endpoint.hostname));
    }
    if host.endpoint.priority > 0 {
        out.insert("priority".to_owned(), json!(host.endpoint.priority));
    }
    if let Some(rate) = local {
        out.insert("local_origin_success_rate".to_owned(), rate);
    }
    out.insert("locality".to_owned(), locality(&host.endpoint.locality));
    Value::Object(out)
}

/// `envoy.type.v3.Percent`, if there is something to be said.
fn percent(percent: Option<f64>) -> Option<Value> {
    let percent = percent.filter(|percent| *percent >= 0.0)?;
    // protobuf writes no `.0`, and leaves out a zero.
    Some(match percent {
        0.0 => json!({}),
        whole if whole.fract() == 0.0 => json!({"value": whole as u64}),
        percent => json!({"value": percent}),
    })
}

/// `envoy.config.core.v3.Locality`; what is empty is left out.
pub(super) fn locality(locality: &Locality) -> Value {
    let parts =
        [("region", &locality.region), ("zone", &locality.zone), ("sub_zone", &locality.sub_zone)];
    let parts = parts.into_iter().filter(|(_, text)| !text.is_empty());
    Value::Object(parts.map(|(name, text)| (name.to_owned(), json!(text))).collect())
}

fn health_status(host: &Host) -> Value {
    // In the order of the fields' numbers. Observed: Envoy 1.40.
    let eds = [
        (HealthFlag::Draining, "DRAINING"),
        (HealthFlag::FailedEdsHealth, "UNHEALTHY"),
        (HealthFlag::DegradedEdsHealth, "DEGRADED"),
    ];
    let eds = eds.iter().find(|(flag, _)| host.has(*flag)).map_or("HEALTHY", |(_, name)| name);
    let flag = |flag, name| (name, host.has(flag).then(|| json!(true)));
    let fields = [
        flag(HealthFlag::FailedActiveHc, "failed_active_health_check"),
        flag(HealthFlag::FailedOutlierCheck, "failed_outlier_check"),
        ("eds_health_status", Some(json!(eds))),
        flag(HealthFlag::DegradedActiveHc, "failed_active_degraded_check"),
        flag(HealthFlag::PendingDynamicRemoval, "pending_dynamic_removal"),
        flag(HealthFlag::PendingActiveHc, "pending_active_hc"),
        flag(HealthFlag::ExcludedViaImmediateHcFail, "excluded_via_immediate_hc_fail"),
        flag(HealthFlag::ActiveHcTimeout, "active_hc_timeout"),
        flag(HealthFlag::DegradedOutlierDetection, "failed_degraded_outlier_detection"),
    ];
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(fields.collect())
}
