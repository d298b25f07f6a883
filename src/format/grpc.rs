//! Owns the gRPC status of an exchange and its names.

use super::StreamInfo;
use crate::codec::{Known, RequestHead};

/// Names of the statuses, as `CAMEL_STRING` and `SNAKE_STRING` have them.
const NAMES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// How `%GRPC_STATUS%` writes a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcForm {
    Camel,
    Snake,
    Number,
}

/// Whether the client speaks gRPC.
pub(super) fn is_grpc(request: &RequestHead) -> bool {
    let kind = request.headers.get(Known::ContentType);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// The gRPC status of an exchange that is one of gRPC: from its trailers, its headers, or its HTTP status.
///
/// Source: Envoy, `%GRPC_STATUS%`.
pub(super) fn status(info: &StreamInfo<'_>) -> Option<u64> {
    info.request.filter(|request| is_grpc(request))?;
    from_headers(info).or_else(|| (info.status > 0).then(|| of_http(info.status)))
}

/// The gRPC status of any exchange, as filters of the access log take it; 2, which is unknown, for none.
pub fn named_status(info: &StreamInfo<'_>) -> u64 {
    let of_http = || (info.status > 0).then(|| of_http(info.status));
    from_headers(info).or_else(of_http).unwrap_or(2)
}

/// The gRPC status that the upstream has named, in trailers or headers.
fn from_headers(info: &StreamInfo<'_>) -> Option<u64> {
    let trailers = info.trailers.and_then(|trailers| trailers.get(Known::GrpcStatus));
    let said = trailers.or_else(|| info.response?.headers.get(Known::GrpcStatus));
    std::str::from_utf8(said?).ok()?.parse().ok()
}

/// The gRPC status for an HTTP status. Source: gRPC, "HTTP to gRPC Status Code Mapping".
fn of_http(status: u16) -> u64 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// The number of a status by its name in an access log filter, such as `DEADLINE_EXCEEDED`.
pub fn number_of(name: &str) -> Option<u64> {
    let name = if name == "CANCELED" { "CANCELLED" } else { name };
    let at = NAMES.iter().position(|(_, snake)| *snake == name)?;
    u64::try_from(at).ok()
}

/// The name of a status; none for a number that has none.
pub(super) fn name(form: GrpcForm, status: u64) -> Option<&'static str> {
    let (camel, snake) = *NAMES.get(usize::try_from(status).ok()?)?;
    match form {
        GrpcForm::Camel => Some(camel),
        GrpcForm::Snake => Some(snake),
        GrpcForm::Number => None,
    }
}
