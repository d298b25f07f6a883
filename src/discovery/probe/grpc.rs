//! Owns a `grpc_health_check`: the request of `grpc.health.v1.Health`, and what its answer says.
//!
//! Source: the gRPC health checking protocol, and gRPC over HTTP/2.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response,
    body::{Frame, Incoming},
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT},
};
use understudy_actors::seams::{Probed, Report};

use super::{ANSWER_BYTES_MAX, Body, Trouble, request::AGENT};
use crate::config::model::health_check::GrpcAsks;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// `HealthCheckResponse.ServingStatus.SERVING`
const SERVING: u64 = 1;

/// A message on its way. Its length is not told before it: hyper would say it in a `content-length`, which
/// no gRPC client sends.
pub(super) struct Message(Full<Bytes>);

// === impl Message ===

impl hyper::body::Body for Message {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

/// The request, as Envoy writes it.
pub(super) fn request(authority: &str, asks: &GrpcAsks) -> Request<Body> {
    let message = Message(Full::new(Bytes::from(question(&asks.service))));
    let mut request = Request::new(Body::Right(message));
    *request.method_mut() = Method::POST;
    let uri = format!("http://{authority}/grpc.health.v1.Health/Check").parse();
    // The configuration was checked for an authority; one that slipped through is asked as nobody.
    *request.uri_mut() = uri.unwrap_or_default();
    let all: &mut HeaderMap = request.headers_mut();
    all.insert(TE, HeaderValue::from_static("trailers"));
    all.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    all.insert(USER_AGENT, AGENT);
    asks.add.iter().for_each(|header| super::request::add(all, header));
    if let Ok(timeout) = HeaderValue::from_str(&asks.timeout) {
        all.insert("grpc-timeout", timeout);
    }
    request
}

/// `HealthCheckRequest { service = 1 }` in its frame.
fn question(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0][..], &length.to_be_bytes(), &message].concat()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A host is well if it says that it is serving, in an answer that is gRPC's from its head to its status.
pub(super) async fn judge(answer: Response<Incoming>) -> Result<Report, Trouble> {
    let (head, mut body) = answer.into_parts();
    let (mut seen, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Trouble)?;
        match frame.into_data() {
            Ok(data) if seen.len() + data.len() > ANSWER_BYTES_MAX => {
                return Ok(Probed::Unhealthy.into());
            }
            Ok(data) => seen.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let kind = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |kind| kind.as_bytes());
    let kind = kind.strip_prefix(b"application/grpc");
    let is_grpc = kind.is_some_and(|rest| matches!(rest.first(), None | Some(b'+')));
    let status = trailers.as_ref().and_then(|trailers| trailers.get(STATUS));
    let ok = status.is_some_and(|status| status.as_bytes() == b"0");
    let serves = head.status == 200 && is_grpc && ok && answered(&seen) == Some(SERVING);
    Ok(if serves { Probed::Healthy.into() } else { Probed::Unhealthy.into() })
}

/// The serving status of the one message; empty ones beside it say nothing.
fn answered(mut bytes: &[u8]) -> Option<u64> {
    let mut status = None;
    while !bytes.is_empty() {
        let (prefix, rest) = bytes.split_at_checked(PREFIX_BYTES)?;
        let (&compressed, length) = prefix.split_first()?;
        let length = u32::from_be_bytes(length.try_into().ok()?);
        let (message, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        if !message.is_empty() {
            if compressed != 0 || status.is_some() {
                return None;
            }
            status = Some(serving_status(message)?);
        }
        bytes = rest;
    }
    status
}

/// `HealthCheckResponse.status`, field 1; fields that nobody knows are passed over.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        let skipped = match tag & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
                0
            }
            1 => 8,
            2 => take_varint(&mut message)?,
            5 => 4,
            _ => return None,
        };
        message = message.get(usize::try_from(skipped).ok()?..)?;
    }
    Some(status)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_asked_for_by_name_and_the_server_by_none() {
        assert_eq!(question(""), [0; 5]);
        assert_eq!(question("svc"), *b"\0\0\0\0\x05\x0a\x03svc");
        assert_eq!(question(&"s".repeat(300)).get(..8), Some(&b"\0\0\0\x01\x2f\x0a\xac\x02"[..]));
    }

    #[test]
    fn an_answer_is_one_message_with_a_status() {
        for (bytes, expected) in [
            (&b""[..], None),
            (b"\0\0\0\0\0", None),
            (b"\0\0\0\0\x02\x08\x01", Some(1)),
            (b"\0\0\0\0\0\0\0\0\0\x02\x08\x02", Some(2)),
            // A field of ours after others: fixed, long, of eight bytes.
            (b"\0\0\0\0\x13\x15abcd\x12\x01x\x19abcdefgh\x08\x01", Some(1)),
            (b"\0\0\0\0\x03\x12\x01x", Some(0)),
            (b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x01", None),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x01\x08", None),
            (b"\0\0\0\0\x02\x0b\x01", None),
            (b"\0\0\0\0\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\0\xff\xff\xff\xff", None),
            (b"\0\0", None),
        ] {
            assert_eq!(answered(bytes), expected, "{bytes:?}");
        }
    }
}
