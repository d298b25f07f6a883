//! Owns what outlier detection is told of a try: which of its ends say something of its host; and what of an answer
//! says what its host is worth.
//!
//! Costs a branch where a cluster watches none of its hosts. Source: Envoy, "Outlier detection".

use understudy_actors::outlier::{Monitor, Outcome};

use super::tries::whole_number;
use crate::{
    codec::{HeaderBlock, Known, RequestHead, ResponseHead},
    downstream::{headers, timers::Passed},
    stream::Reset,
    upstream::{load_report, pool::Target},
};

/// A host has a connection for the request.
#[inline]
pub(super) fn connected(target: &Target) {
    target.report(Outcome::Connected);
}

/// A host's answer is here.
#[inline]
pub(super) fn answered(target: &Target, request: &RequestHead, answer: &ResponseHead) {
    load_report::heed(target, &answer.headers);
    if let Some(monitor) = &target.host.monitor {
        heed(target, monitor, request, answer);
    }
}

/// The trailers of a host's answer are here.
pub(super) fn ended(target: &Target, trailers: &HeaderBlock) {
    load_report::heed(target, trailers);
}

/// A host was lost, before its answer or in it.
pub(super) fn lost(target: &Target) {
    target.report(Outcome::Lost);
}

/// There is no answer: limits of ours, and filters, say nothing of the host.
pub(super) fn reset(target: &Target, reset: &Reset) {
    match reset {
        Reset::Overflow | Reset::Refused | Reset::Unwanted => {}
        _ => lost(target),
    }
}

/// An answer did not come in time; the client is told so by 504, or where it wants that by 204.
pub(super) fn timed_out(target: &Target, passed: Passed, no_content: bool) {
    if let Passed::Response | Passed::Try | Passed::TryIdle = passed {
        target.report(Outcome::TimedOut(if no_content { 204 } else { 504 }));
    }
}

fn heed(target: &Target, monitor: &Monitor, request: &RequestHead, answer: &ResponseHead) {
    let grpc_status = || answer.headers.get(Known::GrpcStatus).and_then(whole_number);
    let status = match &target.upstream.errors {
        // Observed: Envoy 1.40 counts what matches as 500, and all else as well done.
        Some(errors) => {
            if errors.matches(answer) {
                500
            } else {
                200
            }
        }
        None => match headers::is_grpc(request).then(grpc_status).flatten() {
            Some(status) => of_grpc(status),
            None => answer.status,
        },
    };
    // Observed: Envoy 1.40 takes no word about being degraded from a host that fails.
    let degraded = monitor.detects_degraded() && answer.headers.has(Known::XEnvoyDegraded);
    if degraded && !(500..600).contains(&status) {
        target.report(Outcome::Degraded);
    }
    target.report(Outcome::Answered(status));
}

/// The HTTP status that stands for a gRPC status.
///
/// Source: google/rpc/code.proto, "HTTP Mapping", and Envoy's `Grpc::Utility::grpcToHttpStatus`.
fn of_grpc(status: u64) -> u16 {
    match status {
        0 => 200,
        1 => 499,
        3 | 9 | 11 => 400,
        4 => 504,
        5 => 404,
        6 | 10 => 409,
        7 => 403,
        8 => 429,
        12 => 501,
        14 => 503,
        16 => 401,
        _ => 500,
    }
}
