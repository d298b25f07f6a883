//! Owns counting an exchange: which stats a status, a failure and a duration raise.

use std::time::Duration;

use understudy_actors::stats::{
    AnswerStat, ClusterStat, HostStat, HttpStat, Lane, ListenerHttpStat, TracingStat,
};

use super::{manager::Manager, timers::Passed};
use crate::{stream::Reset, upstream::pool::Target};

/// Counts a finished exchange on the client's side; status 0 is one without a response.
///
/// What a filter has taken for a health check is counted as such only. Observed: Envoy 1.40.
pub(super) fn downstream(manager: &Manager, status: u16, elapsed: Duration, health_check: bool) {
    use HttpStat as H;
    use ListenerHttpStat as L;
    let (stats, listener) = (manager.stats(), manager.listener_stats());
    if health_check {
        manager.tracing_stats().inc(TracingStat::HealthCheck);
        stats.record(H::DownstreamRqTime, elapsed.as_millis() as u64);
        return;
    }
    let class = match status / 100 {
        1 => (H::DownstreamRq1xx, L::DownstreamRq1xx),
        2 => (H::DownstreamRq2xx, L::DownstreamRq2xx),
        3 => (H::DownstreamRq3xx, L::DownstreamRq3xx),
        4 => (H::DownstreamRq4xx, L::DownstreamRq4xx),
        5 => (H::DownstreamRq5xx, L::DownstreamRq5xx),
        _ => return,
    };
    stats.inc(class.0);
    listener.inc(class.1);
    stats.inc(H::DownstreamRqCompleted);
    listener.inc(L::DownstreamRqCompleted);
    stats.record(H::DownstreamRqTime, elapsed.as_millis() as u64);
}

/// Counts a client's stream that ends before both sides have said all; whether we have cut it.
pub(super) fn downstream_reset(manager: &Manager, cut: bool) {
    manager.stats().inc(HttpStat::DownstreamRqRxReset);
    if cut {
        manager.stats().inc(HttpStat::DownstreamRqTxReset);
    }
}

/// Counts an interim answer to a client. Observed: Envoy 1.40 counts it like any other.
pub(super) fn downstream_interim(manager: &Manager) {
    let (stats, listener) = (manager.stats(), manager.listener_stats());
    stats.inc(HttpStat::DownstreamRq1xx);
    stats.inc(HttpStat::DownstreamRqCompleted);
    listener.inc(ListenerHttpStat::DownstreamRq1xx);
    listener.inc(ListenerHttpStat::DownstreamRqCompleted);
}

/// Counts an interim answer of an upstream: by its class, not by its code. Observed: Envoy 1.40.
pub(super) fn upstream_interim(Target { shared, worker, .. }: &Target, internal: bool) {
    use ClusterStat as S;
    let stats = shared.stats.lane(*worker);
    let own = match internal {
        true => [S::InternalUpstreamRq1xx, S::InternalUpstreamRqCompleted],
        false => [S::ExternalUpstreamRq1xx, S::ExternalUpstreamRqCompleted],
    };
    for stat in own.into_iter().chain([S::UpstreamRq1xx, S::UpstreamRqCompleted]) {
        stats.inc(stat);
    }
}

/// Counts an upstream's response; `canary` is what the response says of itself.
pub(super) fn upstream(
    target: &Target,
    status: u16,
    internal: bool,
    canary: bool,
    waited: Option<Duration>,
) {
    let Target { shared, host, worker, .. } = target;
    let stats = shared.stats.lane(*worker);
    upstream_status(stats, status, internal);
    let waited = waited.map(|waited| waited.as_millis() as u64);
    let origin = match internal {
        true => ClusterStat::InternalUpstreamRqTime,
        false => ClusterStat::ExternalUpstreamRqTime,
    };
    if let Some(waited) = waited {
        stats.record(ClusterStat::UpstreamRqTime, waited);
        stats.record(origin, waited);
    }
    let outcome = if status >= 500 { HostStat::RqError } else { HostStat::RqSuccess };
    host.stats.lane(*worker).inc(outcome);
    if canary || has_more_to_count(target) {
        answer(target, canary, status, waited);
    }
}

/// Counts an upstream's response to a health check: its cluster's statuses and times are those of other
/// requests. Observed: Envoy 1.40.
pub(super) fn upstream_health_check(Target { host, worker, .. }: &Target, status: u16) {
    if status < 500 {
        host.stats.lane(*worker).inc(HostStat::RqSuccess);
    }
}

/// Counts an answer of ours that stands for the upstream's.
pub(super) fn upstream_failure(target: &Target, status: u16, internal: bool) {
    let Target { shared, host, worker, .. } = target;
    upstream_status(shared.stats.lane(*worker), status, internal);
    host.stats.lane(*worker).inc(HostStat::RqError);
    if has_more_to_count(target) {
        answer(target, false, status, None);
    }
}

fn has_more_to_count(Target { host, zone_stats, .. }: &Target) -> bool {
    host.endpoint.canary || zone_stats.is_some()
}

/// Counts an answer among those of canaries and those of its host's zone.
#[cold]
fn answer(target: &Target, canary: bool, status: u16, waited_ms: Option<u64>) {
    let canary = canary || target.host.endpoint.canary;
    let canary = canary.then(|| target.shared.canary_stats.get());
    for group in canary.into_iter().chain(&target.zone_stats) {
        let stats = group.lane(target.worker);
        count_answer(stats, status);
        if let Some(waited_ms) = waited_ms {
            stats.record(AnswerStat::UpstreamRqTime, waited_ms);
        }
    }
}

/// Counts an answer's status.
pub(super) fn count_answer(stats: &Lane<AnswerStat>, status: u16) {
    use AnswerStat as A;
    let classes =
        [A::UpstreamRq1xx, A::UpstreamRq2xx, A::UpstreamRq3xx, A::UpstreamRq4xx, A::UpstreamRq5xx];
    stats.inc(A::UpstreamRqCompleted);
    stats.count_code(A::UpstreamRqCode, status);
    if let Some(class) = classes.get(usize::from(status / 100).wrapping_sub(1)) {
        stats.inc(*class);
    }
}

/// Counts what became of a request that the upstream did not answer. Only a stream can be reset; over
/// HTTP/1 the connection tells all.
///
/// Observed: Envoy 1.40, hosts that close and hosts that talk nonsense.
pub(super) fn upstream_reset(
    Target { shared, worker, .. }: &Target,
    reset: &Reset,
    has_streams: bool,
) {
    use ClusterStat as S;
    let stats = shared.stats.lane(*worker);
    if *reset == Reset::Protocol {
        stats.inc(S::UpstreamCxProtocolError);
    }
    match reset {
        Reset::ConnectFailed(_) | Reset::HandshakeFailed(_) | Reset::ConnectTimeout => {
            stats.inc(S::UpstreamRqPendingFailureEject);
        }
        Reset::Terminated if has_streams => stats.inc(S::UpstreamRqPendingFailureEject),
        Reset::Remote => stats.inc(S::UpstreamRqRxReset),
        Reset::Protocol if has_streams => stats.inc(S::UpstreamRqTxReset),
        Reset::Terminated | Reset::Protocol | Reset::Overflow => {}
        Reset::RemoteRefused | Reset::Refused | Reset::Unwanted => {}
    }
}

/// Counts an answer that is asked for again.
pub(super) fn retried_answer(Target { shared, host, worker, .. }: &Target, status: u16) {
    count_answer(shared.retry_stats.get().lane(*worker), status);
    host.stats.lane(*worker).inc(HostStat::RqError);
}

/// Counts a try of no answer that is made again.
pub(super) fn retried_reset(Target { host, worker, .. }: &Target) {
    host.stats.lane(*worker).inc(HostStat::RqError);
}

/// Counts a timeout of the client's side, if it is one.
pub(super) fn passed(manager: &Manager, passed: Passed) {
    let stat = match passed {
        Passed::Request => HttpStat::DownstreamRqTimeout,
        Passed::Idle => HttpStat::DownstreamRqIdleTimeout,
        Passed::Stream => HttpStat::DownstreamRqMaxDurationReached,
        Passed::Response | Passed::Try | Passed::TryIdle | Passed::TryDuration => return,
    };
    manager.stats().inc(stat);
}

/// Counts a timeout of the upstream's side, if it is one, while a host has the request.
pub(super) fn passed_upstream(target: &Target, passed: Passed) {
    use ClusterStat as S;
    let stat = match passed {
        Passed::Response => return upstream_timeout(target),
        Passed::Try => S::UpstreamRqPerTryTimeout,
        Passed::TryIdle => S::UpstreamRqPerTryIdleTimeout,
        Passed::TryDuration => S::UpstreamRqMaxDurationReached,
        Passed::Request | Passed::Idle | Passed::Stream => return,
    };
    let Target { shared, host, worker, .. } = target;
    let stats = shared.stats.lane(*worker);
    stats.inc(stat);
    if passed != Passed::TryDuration {
        host.stats.lane(*worker).inc(HostStat::RqTimeout);
    }
}

/// Counts a route timeout.
pub(super) fn upstream_timeout(Target { shared, host, worker, .. }: &Target) {
    let stats = shared.stats.lane(*worker);
    stats.inc(ClusterStat::UpstreamRqTimeout);
    host.stats.lane(*worker).inc(HostStat::RqTimeout);
}

/// `upstream_rq_{200,2xx,completed}`, and the same for the request's origin.
pub(super) fn upstream_status(stats: &Lane<ClusterStat>, status: u16, internal: bool) {
    use ClusterStat as S;
    let (code, completed, classes) = match internal {
        true => (
            S::InternalUpstreamRqCode,
            S::InternalUpstreamRqCompleted,
            [
                S::InternalUpstreamRq1xx,
                S::InternalUpstreamRq2xx,
                S::InternalUpstreamRq3xx,
                S::InternalUpstreamRq4xx,
                S::InternalUpstreamRq5xx,
            ],
        ),
        false => (
            S::ExternalUpstreamRqCode,
            S::ExternalUpstreamRqCompleted,
            [
                S::ExternalUpstreamRq1xx,
                S::ExternalUpstreamRq2xx,
                S::ExternalUpstreamRq3xx,
                S::ExternalUpstreamRq4xx,
                S::ExternalUpstreamRq5xx,
            ],
        ),
    };
    let both =
        [S::UpstreamRq1xx, S::UpstreamRq2xx, S::UpstreamRq3xx, S::UpstreamRq4xx, S::UpstreamRq5xx];
    let class = usize::from(status / 100).wrapping_sub(1);
    stats.inc(S::UpstreamRqCompleted);
    stats.inc(completed);
    if let (Some(both), Some(own)) = (both.get(class), classes.get(class)) {
        stats.inc(*both);
        stats.inc(*own);
    }
    stats.count_code(S::UpstreamRqCode, status);
    stats.count_code(code, status);
}
