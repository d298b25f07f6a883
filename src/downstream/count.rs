//! Owns counting an exchange: which stats a status, a failure and a duration raise.

use std::time::Duration;

use understudy_actors::{
    snapshot::{ClusterSnapshot, Host},
    stats::{ClusterStat, HostStat, HttpStat, Lane, ListenerHttpStat, TracingStat},
};

use super::manager::Manager;
use crate::stream::Reset;

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

/// Counts an upstream's response.
pub(super) fn upstream(
    snapshot: &ClusterSnapshot,
    host: &Host,
    worker: usize,
    status: u16,
    internal: bool,
    waited: Duration,
) {
    let stats = snapshot.shared.stats.lane(worker);
    upstream_status(stats, status, internal);
    let waited = waited.as_millis() as u64;
    stats.record(ClusterStat::UpstreamRqTime, waited);
    let origin = match internal {
        true => ClusterStat::InternalUpstreamRqTime,
        false => ClusterStat::ExternalUpstreamRqTime,
    };
    stats.record(origin, waited);
    let outcome = if status >= 500 { HostStat::RqError } else { HostStat::RqSuccess };
    host.stats.lane(worker).inc(outcome);
}

/// Counts an upstream's response to a health check: its cluster's statuses and times are those of other
/// requests. Observed: Envoy 1.40.
pub(super) fn upstream_health_check(host: &Host, worker: usize, status: u16) {
    if status < 500 {
        host.stats.lane(worker).inc(HostStat::RqSuccess);
    }
}

/// Counts an answer of ours that stands for the upstream's.
pub(super) fn upstream_failure(
    snapshot: &ClusterSnapshot,
    host: &Host,
    worker: usize,
    status: u16,
    internal: bool,
) {
    upstream_status(snapshot.shared.stats.lane(worker), status, internal);
    host.stats.lane(worker).inc(HostStat::RqError);
}

/// Counts what became of a stream that the upstream did not answer.
pub(super) fn upstream_reset(snapshot: &ClusterSnapshot, worker: usize, reset: &Reset) {
    let stats = snapshot.shared.stats.lane(worker);
    match reset {
        Reset::ConnectFailed(_) | Reset::ConnectTimeout => {
            stats.inc(ClusterStat::UpstreamRqPendingFailureEject);
        }
        Reset::Remote | Reset::Terminated => stats.inc(ClusterStat::UpstreamRqRxReset),
        Reset::Protocol => {
            stats.inc(ClusterStat::UpstreamCxProtocolError);
            stats.inc(ClusterStat::UpstreamRqTxReset);
        }
        Reset::Overflow | Reset::Refused => {}
    }
}

/// Counts a route timeout.
pub(super) fn upstream_timeout(snapshot: &ClusterSnapshot, host: &Host, worker: usize) {
    let stats = snapshot.shared.stats.lane(worker);
    stats.inc(ClusterStat::UpstreamRqTimeout);
    stats.inc(ClusterStat::UpstreamRqTxReset);
    host.stats.lane(worker).inc(HostStat::RqTimeout);
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
