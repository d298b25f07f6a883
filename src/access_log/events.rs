//! Owns the lines of event logs: what happened to hosts, as JSON in Envoy's terms.
//!
//! Source: `envoy.data.core.v3.HealthCheckEvent`, `envoy.data.cluster.v3.OutlierDetectionEvent`; observed: Envoy 1.40, which writes fields in the
//! order of their numbers, and those that are at zero too.

use std::path::Path;

use serde_json::{Map, Value, json};
use understudy_actors::{
    address::Address,
    event::{Checked, Event, Outlier, OutlierAction, What},
    outlier::Ejection,
    plan::HealthCheckKind,
    seams::Record,
};

use super::{Writer, line};
use crate::config::model::access_log::AccessLogSink;

impl Record for Writer {
    fn record(&self, log: &Path, event: &Event<'_>) {
        match self.open_for_events(&AccessLogSink::File(log.to_owned())) {
            Ok(sink) => self.write(&sink, format!("{}\n", line_of(event)).as_bytes()),
            Err(error) => tracing::warn!(target: "upstream", "an event is lost: {error}"),
        }
    }
}

fn line_of(event: &Event<'_>) -> Value {
    match &event.what {
        What::HealthCheck(kind, checked) => of_health_check(event, *kind, *checked),
        What::Outlier(outlier) => of_outlier(event, outlier),
    }
}

fn object<const N: usize>(fields: [(&str, Option<Value>); N]) -> Value {
    let fields = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(Map::from_iter(fields))
}

fn timestamp(event: &Event<'_>) -> Value {
    let mut text = Vec::new();
    line::timestamp(&mut text, event.at);
    json!(String::from_utf8_lossy(&text))
}

fn of_health_check(event: &Event<'_>, kind: HealthCheckKind, checked: Checked) -> Value {
    let (mut early, mut late, mut last) = (None, None, None);
    match checked {
        Checked::Ejected { failure, status } => {
            let told = json!({"failure_type": failure.name(), "http_status_code": status});
            early = Some(("eject_unhealthy_event", told));
        }
        Checked::Added { first } => {
            early = Some(("add_healthy_event", json!({"first_check": first})));
        }
        Checked::Failed { failure, first, status } => {
            let told = json!({
                "failure_type": failure.name(),
                "first_check": first,
                "http_status_code": status,
            });
            late = Some(("health_check_failure_event", told));
        }
        Checked::Degraded => late = Some(("degraded_healthy_host", json!({}))),
        Checked::NoLongerDegraded => late = Some(("no_longer_degraded_host", json!({}))),
        Checked::Passed => last = Some(("successful_health_check_event", json!({}))),
    }
    let locality = &event.host.endpoint.locality;
    let host = match event.host.address {
        Address::Ip(address) => json!({ "socket_address": {
            "protocol": "TCP",
            "address": address.ip().to_string(),
            "port_value": address.port(),
            "resolver_name": "",
            "ipv4_compat": false,
            "network_namespace_filepath": "",
        } }),
        Address::Pipe(pipe) => json!({ "pipe": { "path": pipe.path(), "mode": 0 } }),
    };
    let locality = json!({
        "region": locality.region,
        "zone": locality.zone,
        "sub_zone": locality.sub_zone,
    });
    let metadata = event.host.endpoint.described.as_ref().map(|all| &*all.text);
    let metadata = metadata.and_then(|text| serde_json::from_str(text).ok());
    let metadata = metadata.map(|mut fields: Map<String, Value>| {
        for empty in ["filter_metadata", "typed_filter_metadata"] {
            fields.entry(empty).or_insert_with(|| json!({}));
        }
        Value::Object(fields)
    });
    let field = |told: Option<(&'static str, Value)>| match told {
        Some((name, value)) => (name, Some(value)),
        None => ("", None),
    };
    object([
        ("health_checker_type", Some(json!(kind.name()))),
        ("host", Some(host)),
        ("cluster_name", Some(json!(event.cluster))),
        field(early),
        ("timestamp", Some(timestamp(event))),
        field(late),
        ("metadata", metadata),
        ("locality", Some(locality)),
        field(last),
    ])
}

fn of_outlier(event: &Event<'_>, outlier: &Outlier) -> Value {
    let (mut rate, mut failing, mut consecutive) = (None, None, None);
    // Observed: what took a host back is told as the first of all kinds.
    let (kind, action, is_enforced) = match &outlier.action {
        OutlierAction::Unejected => (Ejection::Consecutive5xx.name(), "UNEJECT", false),
        OutlierAction::Degraded => {
            consecutive = Some(json!({}));
            ("DEGRADED", "EJECT", true)
        }
        OutlierAction::Ejected { kind, enforced, success_rate, cluster } => {
            match kind {
                Ejection::SuccessRate | Ejection::LocalOriginSuccessRate => {
                    rate = Some(json!({
                        "host_success_rate": whole(*success_rate),
                        "cluster_average_success_rate": whole(cluster.average),
                        "cluster_success_rate_ejection_threshold": whole(cluster.threshold),
                    }));
                }
                Ejection::FailurePercentage | Ejection::LocalOriginFailurePercentage => {
                    failing = Some(json!({"host_success_rate": whole(*success_rate)}));
                }
                Ejection::Consecutive5xx
                | Ejection::ConsecutiveGatewayFailure
                | Ejection::ConsecutiveLocalOriginFailure => consecutive = Some(json!({})),
            }
            (kind.name(), "EJECT", *enforced)
        }
    };
    object([
        ("type", Some(json!(kind))),
        ("timestamp", Some(timestamp(event))),
        ("secs_since_last_action", outlier.seconds_since_last.map(|s| json!(s.to_string()))),
        ("cluster_name", Some(json!(event.cluster))),
        ("upstream_url", Some(json!(event.host.address_text))),
        ("action", Some(json!(action))),
        ("num_ejections", Some(json!(outlier.ejections))),
        ("enforced", Some(json!(is_enforced))),
        ("eject_success_rate_event", rate),
        ("eject_consecutive_event", consecutive),
        ("eject_failure_percentage_event", failing),
    ])
}

/// A percentage as a whole number: what is behind the point is cut off.
fn whole(percent: f64) -> u32 {
    percent as u32
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use understudy_actors::{
        event::{Failure, Means},
        plan::{Described, EndpointPlan, Locality},
        snapshot::Host,
    };

    use super::*;

    #[test]
    fn what_a_check_found_is_written_as_envoy_writes_it() {
        let zone = Locality { zone: "z".to_owned(), ..Locality::default() };
        let text: &str = r#"{"filter_metadata":{"envoy.lb":{"a":"x"}}}"#;
        let described = Described { text: text.to_owned(), read: Box::new(()) };
        let described = Some(Arc::new(described));
        let endpoint = EndpointPlan { locality: zone, described, ..EndpointPlan::default() };
        let host = Host::new(([127, 0, 0, 1], 80).into(), endpoint, 1);
        let of = r#""host":{"socket_address":{"protocol":"TCP","address":"127.0.0.1","port_value":80,"resolver_name":"","ipv4_compat":false,"network_namespace_filepath":""}},"cluster_name":"a""#;
        let at = r#""timestamp":"1970-01-01T00:00:01.500Z""#;
        let rest = r#""metadata":{"filter_metadata":{"envoy.lb":{"a":"x"}},"typed_filter_metadata":{}},"locality":{"region":"","zone":"z","sub_zone":""}"#;
        let (failure, status) = (Failure::NetworkTimeout, 0);
        for (kind, checked, expected) in [
            (
                HealthCheckKind::Http { http2: false },
                Checked::Ejected { failure: Failure::Active, status: 500 },
                format!(
                    r#"{{"health_checker_type":"HTTP",{of},"eject_unhealthy_event":{{"failure_type":"ACTIVE","http_status_code":500}},{at},{rest}}}"#
                ),
            ),
            (
                HealthCheckKind::Tcp,
                Checked::Added { first: true },
                format!(
                    r#"{{"health_checker_type":"TCP",{of},"add_healthy_event":{{"first_check":true}},{at},{rest}}}"#
                ),
            ),
            (
                HealthCheckKind::Grpc,
                Checked::Failed { failure, first: false, status },
                format!(
                    r#"{{"health_checker_type":"GRPC",{of},{at},"health_check_failure_event":{{"failure_type":"NETWORK_TIMEOUT","first_check":false,"http_status_code":0}},{rest}}}"#
                ),
            ),
            (
                HealthCheckKind::Tcp,
                Checked::NoLongerDegraded,
                format!(
                    r#"{{"health_checker_type":"TCP",{of},{at},"no_longer_degraded_host":{{}},{rest}}}"#
                ),
            ),
            (
                HealthCheckKind::Tcp,
                Checked::Passed,
                format!(
                    r#"{{"health_checker_type":"TCP",{of},{at},{rest},"successful_health_check_event":{{}}}}"#
                ),
            ),
        ] {
            let what = What::HealthCheck(kind, checked);
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
            let event = Event { cluster: "a", host: &host, at, what };
            assert_eq!(line_of(&event).to_string(), expected);
        }
    }

    #[test]
    fn what_outlier_detection_did_is_written_as_envoy_writes_it() {
        let host = Host::new(([127, 0, 0, 1], 80).into(), EndpointPlan::default(), 1);
        let ejected = |kind| OutlierAction::Ejected {
            kind,
            enforced: true,
            success_rate: 57.9,
            cluster: Means { average: 80.5, threshold: 40.0 },
        };
        let head = r#""timestamp":"1970-01-01T00:00:01.500Z""#;
        let of = r#""cluster_name":"a","upstream_url":"127.0.0.1:80""#;
        for (seconds_since_last, action, expected) in [
            (
                None,
                ejected(Ejection::ConsecutiveGatewayFailure),
                format!(
                    r#"{{"type":"CONSECUTIVE_GATEWAY_FAILURE",{head},{of},"action":"EJECT","num_ejections":2,"enforced":true,"eject_consecutive_event":{{}}}}"#
                ),
            ),
            (
                Some(7),
                ejected(Ejection::SuccessRate),
                format!(
                    r#"{{"type":"SUCCESS_RATE",{head},"secs_since_last_action":"7",{of},"action":"EJECT","num_ejections":2,"enforced":true,"eject_success_rate_event":{{"host_success_rate":57,"cluster_average_success_rate":80,"cluster_success_rate_ejection_threshold":40}}}}"#
                ),
            ),
            (
                None,
                ejected(Ejection::LocalOriginFailurePercentage),
                format!(
                    r#"{{"type":"FAILURE_PERCENTAGE_LOCAL_ORIGIN",{head},{of},"action":"EJECT","num_ejections":2,"enforced":true,"eject_failure_percentage_event":{{"host_success_rate":57}}}}"#
                ),
            ),
            (
                Some(0),
                OutlierAction::Unejected,
                format!(
                    r#"{{"type":"CONSECUTIVE_5XX",{head},"secs_since_last_action":"0",{of},"action":"UNEJECT","num_ejections":2,"enforced":false}}"#
                ),
            ),
        ] {
            let what = What::Outlier(Outlier { seconds_since_last, ejections: 2, action });
            let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1500);
            let event = Event { cluster: "a", host: &host, at, what };
            assert_eq!(line_of(&event).to_string(), expected);
        }
    }
}
