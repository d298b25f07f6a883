//! Owns what is said about a failure to whoever has to mend it: one plain sentence for each cause.

use understudy_actors::failures::Failure;

/// What happened, and what to do, in one sentence.
pub(super) fn advice(failure: &Failure) -> String {
    let (cause, rest) = match failure.details.split_once('{') {
        Some((cause, rest)) => (cause, rest.trim_end_matches('}')),
        None => (failure.details.as_str(), ""),
    };
    let (cluster, host) = (failure.cluster.as_str(), last_host(failure));
    match cause {
        "route_not_found" if failure.virtual_host.is_empty() => format!(
            "No virtual host takes `{}`: add it to `domains` (the port is part of it), or a virtual host \
             with the domain \"*\"; /explain shows what is compared.",
            failure.authority
        ),
        "route_not_found" => format!(
            "Virtual host {} takes the name, but none of its routes this request, and no other virtual host \
             is asked then: add a route; /explain shows on what each of them failed.",
            failure.virtual_host
        ),
        "cluster_not_found" if cluster.is_empty() => {
            "The route takes its cluster from a header that the request does not have: send it, or add a \
             route before this one."
                .to_owned()
        }
        "cluster_not_found" => format!(
            "The route leads to cluster {cluster}, and there is none of this name: correct the route, or \
             add the cluster; /clusters lists those there are."
        ),
        "no_healthy_upstream" => format!(
            "Cluster {cluster} has no host that takes traffic: look at /clusters?filter={cluster} for hosts \
             that failed their health checks, and at its DNS name if there are no hosts at all. One of `type: \
             ORIGINAL_DST` has a host where a redirect, a PROXY header or a header says where the request was meant to go."
        ),
        "maintenance_mode" => format!(
            "upstream.maintenance_mode.{cluster} is set in the runtime: take it back with \
             /runtime_modify when the work is done."
        ),
        "response_timeout" => format!(
            "The route's `timeout` passed before {host} had answered: make the service faster, or the \
             timeout longer (Envoy's default is 15 s)."
        ),
        "upstream_per_try_timeout" => format!(
            "No try was answered within `per_try_timeout`, {host} the last: make the service faster, or \
             `retry_policy.per_try_timeout` longer."
        ),
        "upstream_per_try_idle_timeout" => format!(
            "Nothing moved between us and {host} for `per_try_idle_timeout`: the service hangs, or the \
             time is too short for it."
        ),
        "upstream_max_stream_duration_reached" | "max_duration_timeout" => {
            "The stream lived as long as `max_stream_duration` (or the client's grpc-timeout) allows: make \
             it longer, or zero for streams that have no end."
                .to_owned()
        }
        "stream_idle_timeout" => {
            "Nothing moved on the stream for the idle timeout: `stream_idle_timeout` of the connection \
             manager (5 min by default), or `idle_timeout` of the route, bounds it."
                .to_owned()
        }
        "request_overall_timeout" => {
            "The client did not send its whole request within `request_timeout`: it is slow, or the time \
             is too short for what it sends."
                .to_owned()
        }
        "request_header_timeout" => {
            "The client did not finish its headers within `request_headers_timeout`.".to_owned()
        }
        "request_payload_too_large" => {
            "The request's body is longer than a filter may hold (`max_request_bytes` of the buffer filter, \
             or `per_connection_buffer_limit_bytes`)."
                .to_owned()
        }
        "response_payload_too_large" => {
            "The response's body is longer than a filter may hold (`per_connection_buffer_limit_bytes`)."
                .to_owned()
        }
        "upgrade_failed" => {
            "The client asks to upgrade, and no `upgrade_configs` of the connection manager or the route \
             allows it: add `{upgrade_type: websocket}`."
                .to_owned()
        }
        "upstream_reset_before_response_started" => before_response(rest, cluster, &host),
        "upstream_reset_after_response_started" => format!(
            "{host} ended its response in the middle ({}): it crashed, was restarted, or sent less than \
             its content-length.",
            rest.replace('_', " ")
        ),
        "downstream_remote_disconnect" => {
            "The client went before its answer was whole: its own timeout is perhaps shorter than ours."
                .to_owned()
        }
        "missing_host_header" => "The request has no Host header (RFC 9112, 3.2).".to_owned(),
        "low_version" => {
            "The client speaks HTTP/1.0: `http_protocol_options.accept_http_10` would take it.".to_owned()
        }
        "path_normalization_failed" => {
            "The path cannot be brought into its one form (a fragment, or a broken escape): the client has \
             to write it differently."
                .to_owned()
        }
        "via_upstream" | "" if failure.status >= 500 => format!(
            "{host} answered {} itself: its own log says why; a `retry_policy` with `retry_on: 5xx` would \
             try another host.",
            failure.status
        ),
        "direct_response" => {
            format!("The route itself says {}: `direct_response` or `redirect`.", failure.status)
        }
        cause if cause.starts_with("http1.") || cause.starts_with("http2.") => format!(
            "The client's request breaks HTTP ({}): it was refused before any route was looked for.",
            cause.get(6..).unwrap_or_default().replace('_', " ")
        ),
        _ => format!(
            "The proxy answered {} itself ({}).",
            failure.status,
            if failure.details.is_empty() { "no details" } else { &failure.details }
        ),
    }
}

/// The upstream failed before it had answered.
fn before_response(reason: &str, cluster: &str, host: &str) -> String {
    let (reason, why) = reason.split_once('|').unwrap_or((reason, ""));
    match reason {
        "local_connection_failure" => format!(
            "No connection can come from where cluster {cluster} asks for it ({}): does this machine have that address \
             (`upstream_bind_config`)?",
            why.replace('_', " ")
        ),
        "remote_connection_failure" | "connection_failure" => {
            let why = why.trim_start_matches("delayed_connect_error:_");
            let why = why.trim_start_matches("immediate_connect_error:_");
            let why = why.split('|').next().unwrap_or_default().replace('_', " ");
            format!(
                "No connection to {host} ({why}): is the service running, does it listen on that address, \
                 and does a firewall let us through?"
            )
        }
        "connection_timeout" => format!(
            "{host} did not take the connection within `connect_timeout` of cluster {cluster}: it is down, \
             overloaded, or its packets are dropped on the way."
        ),
        "connection_termination" => format!(
            "{host} closed the connection before it answered: it crashed on this request, or closes idle \
             connections sooner than we do (set `common_http_protocol_options.idle_timeout` of cluster \
             {cluster} below its keep-alive time); `retry_on: reset` would try again."
        ),
        "protocol_error" => format!(
            "What {host} sent is not HTTP as cluster {cluster} expects it: perhaps it speaks HTTP/2 or TLS \
             where HTTP/1 is configured, or the other way round."
        ),
        "remote_reset" | "remote_refused_stream_reset" => {
            format!(
                "{host} reset the stream: its own log says why; `retry_on: reset` would try again."
            )
        }
        "overflow" => format!(
            "A circuit breaker of cluster {cluster} is open: more hosts, or higher `circuit_breakers` \
             thresholds (1024 by default) let more through; /clusters?filter={cluster} shows them."
        ),
        other => format!("{host} failed before it answered ({}).", other.replace('_', " ")),
    }
}

/// The host that was tried last.
fn last_host(failure: &Failure) -> String {
    match failure.tries.last() {
        Some(last) => format!("host {}", last.host),
        None if failure.cluster.is_empty() => "the host".to_owned(),
        None => format!("the host of cluster {}", failure.cluster),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use understudy_actors::failures::Try;

    use super::*;

    fn failure(details: &str, status: u16) -> Failure {
        Failure {
            at: SystemTime::UNIX_EPOCH,
            client: ([127, 0, 0, 1], 1).into(),
            stat_prefix: "ingress".to_owned(),
            method: "GET".to_owned(),
            authority: "shop.test".to_owned(),
            path: "/".to_owned(),
            request_id: String::new(),
            virtual_host: "shop".to_owned(),
            route: "all".to_owned(),
            cluster: "backend".to_owned(),
            tries: vec![Try { host: "10.0.0.1:80".to_owned(), outcome: String::new() }],
            attempts: 1,
            status,
            flags: String::new(),
            details: details.to_owned(),
            duration: Duration::ZERO,
            waited: None,
        }
    }

    #[test]
    fn each_cause_has_a_sentence_that_names_what_to_change() {
        for (details, status, words) in [
            ("route_not_found", 404, &["shop", "/explain"][..]),
            ("cluster_not_found", 503, &["backend", "/clusters"]),
            ("no_healthy_upstream", 503, &["/clusters?filter=backend"]),
            ("maintenance_mode", 503, &["upstream.maintenance_mode.backend"]),
            ("response_timeout", 504, &["`timeout`", "10.0.0.1:80"]),
            ("upstream_per_try_timeout", 504, &["per_try_timeout"]),
            ("stream_idle_timeout", 408, &["stream_idle_timeout"]),
            ("request_overall_timeout", 408, &["request_timeout"]),
            ("upgrade_failed", 403, &["upgrade_configs"]),
            (
                "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
                503,
                &["10.0.0.1:80 (Connection refused)"],
            ),
            (
                "upstream_reset_before_response_started{remote_connection_failure|immediate_connect_error:_No_such_file_or_directory|remote_address:/run/a}",
                503,
                &["10.0.0.1:80 (No such file or directory)"],
            ),
            (
                "upstream_reset_before_response_started{local_connection_failure|failed_to_bind_to_192.0.2.1:0:_Cannot_assign_requested_address}",
                503,
                &["192.0.2.1:0", "`upstream_bind_config`", "backend"],
            ),
            (
                "upstream_reset_before_response_started{connection_timeout}",
                503,
                &["connect_timeout", "backend"],
            ),
            (
                "upstream_reset_before_response_started{connection_termination}",
                503,
                &["idle_timeout", "retry_on: reset"],
            ),
            ("upstream_reset_before_response_started{protocol_error}", 502, &["HTTP/2 or TLS"]),
            ("upstream_reset_before_response_started{overflow}", 503, &["circuit_breakers"]),
            ("upstream_reset_after_response_started{protocol_error}", 200, &["in the middle"]),
            ("via_upstream", 500, &["10.0.0.1:80 answered 500", "retry_on: 5xx"]),
            ("http1.codec_error", 400, &["codec error"]),
            ("direct_response", 503, &["direct_response"]),
            ("some_filter", 403, &["some_filter"]),
        ] {
            let told = advice(&failure(details, status));
            for word in words {
                assert!(told.contains(word), "{details}: no {word:?} in {told:?}");
            }
        }
    }

    #[test]
    fn a_name_that_no_virtual_host_takes_is_told_as_it_was_asked_for() {
        let nowhere = Failure { virtual_host: String::new(), ..failure("route_not_found", 404) };
        assert!(advice(&nowhere).contains("`shop.test`"), "{}", advice(&nowhere));
    }
}
