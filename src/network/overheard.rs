//! Owns what a tunnel notes and leaves for logs: the id of its request, and what its answer says besides the bytes.
//!
//! Observed in Envoy 1.40: of several tries the last one's is kept, and a refusal's headers are left, too.

use std::task::{Context, Poll};

use serde_json::{Value, json};

use super::tcp_proxy::Carried;
use crate::{
    codec::ResponseHead,
    filter_state::Object,
    stream::{BodyError, Frame, Source, WireBytes},
};

/// Where a TCP proxy notes something.
const NAMESPACE: &str = "envoy.filters.network.tcp_proxy";

/// An answer's body, of which the trailers are kept.
pub(super) struct Overheard<S> {
    pub(super) source: S,
    pub(super) trailers: Option<Object>,
}

/// The head of an answer as an object.
pub(super) fn answered(head: &ResponseHead) -> Object {
    let status = head.status.to_string();
    let first = (&b":status"[..], status.as_bytes());
    Object::headers(std::iter::once(first).chain(head.headers.iter()))
}

// === impl Carried ===

impl Carried {
    /// Notes the id of a request, beside what is noted already.
    pub(super) fn note_request_id(&mut self, key: &str, id: &[u8]) {
        let id = String::from_utf8_lossy(id).into_owned();
        let noted = self.noted().cloned().unwrap_or(Value::Null);
        let metadata = self.metadata.get_or_insert(noted);
        if !metadata.is_object() {
            *metadata = json!({});
        }
        if let Some(spaces) = metadata.as_object_mut() {
            spaces.insert(NAMESPACE.to_owned(), json!({key: id}));
        }
    }
}

// === impl Overheard ===

impl<S: Source> Source for Overheard<S> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        let frame = self.source.poll_frame(cx);
        if let Poll::Ready(Ok(Frame::Trailers(trailers))) = &frame {
            self.trailers = Some(Object::headers(trailers.iter()));
        }
        frame
    }

    fn has_more(&self) -> bool {
        self.source.has_more()
    }

    fn wire(&self) -> WireBytes {
        self.source.wire()
    }
}
