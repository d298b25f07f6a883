//! Owns what an answer to an `http_health_check` says of its host.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Response, body::Incoming, header::HeaderName};
use understudy_actors::seams::{Probed, Report};

use super::{ANSWER_BYTES_MAX, Trouble, holds};
use crate::config::model::health_check::HttpAsks;

/// A host that asks for less traffic says so. Source: Envoy, "Health checking", degraded hosts.
const DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");

/// A host that asks for none at all.
const LEAVE_OUT: HeaderName = HeaderName::from_static("x-envoy-immediate-health-check-fail");

/// Whose a host is.
const SERVICE: HeaderName = HeaderName::from_static("x-envoy-upstream-healthchecked-cluster");

/// Reads an answer, and takes it for what it says.
///
/// Source: `HttpHealthCheck`: what the body must hold comes before the status, and that before the service.
pub(super) async fn judge(answer: Response<Incoming>, asks: &HttpAsks) -> Result<Report, Trouble> {
    let (head, mut body) = answer.into_parts();
    let (mut read, mut seen) = (0, Vec::new());
    let look = asks.receive_bytes_max.unwrap_or(ANSWER_BYTES_MAX);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Trouble)?;
        let Some(data) = frame.data_ref() else { continue };
        read += Bytes::len(data);
        if !asks.receive.is_empty() {
            let room = look.saturating_sub(seen.len()).min(data.len());
            seen.extend_from_slice(data.get(..room).unwrap_or_default());
        }
        if read > ANSWER_BYTES_MAX {
            break;
        }
    }
    let status = head.status.as_u16();
    let among =
        |ranges: &[(u16, u16)]| ranges.iter().any(|(from, to)| (*from..*to).contains(&status));
    let probed = match among(&asks.expected) {
        _ if !holds(&seen, &asks.receive) => Probed::Unhealthy,
        true if head.headers.contains_key(DEGRADED) => Probed::Degraded,
        true => Probed::Healthy,
        false if among(&asks.retriable) => Probed::Retriable,
        false => Probed::Unhealthy,
    };
    let well = matches!(probed, Probed::Healthy | Probed::Degraded);
    let service = head.headers.get(SERVICE).map_or(&b""[..], |name| name.as_bytes());
    Ok(Report {
        status,
        asks_out: !well && head.headers.contains_key(LEAVE_OUT),
        is_service: asks.service.as_ref().filter(|_| well).map(|meant| meant.matches(service)),
        probed,
    })
}
