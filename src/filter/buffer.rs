//! `envoy.filters.http.buffer`: holds a request until all of it is here.

use std::sync::Arc;

use understudy_actors::plan::Payload;

use super::{Filter, Hooks, Kind, PerRoute, Seen, StreamFilter, Verdict};
use crate::{
    codec::{Known, RequestHead},
    config::Message,
};

pub(super) static KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.buffer.v3.Buffer",
    build: |config, _| Some(Arc::new(Buffer { bytes_max: bytes_max(config) })),
    per_route: Some(PerRoute {
        config: "envoy.extensions.filters.http.buffer.v3.BufferPerRoute",
        build: |config, _| {
            let off = config.boolean("disabled").unwrap_or(false);
            let bytes_max = config.message("buffer").map(bytes_max);
            Some(Arc::new(RouteLimit(bytes_max.filter(|_| !off))))
        },
    }),
};

/// `Buffer`.
#[derive(Debug)]
struct Buffer {
    bytes_max: usize,
}

/// `BufferPerRoute`: a limit of the route's own, or none where the filter is off.
#[derive(Debug)]
struct RouteLimit(Option<usize>);

struct Stream {
    bytes_max: Option<usize>,
}

fn bytes_max(config: &Message) -> usize {
    let bytes = config.number("max_request_bytes").unwrap_or(0);
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

// === impl Buffer ===

impl Filter for Buffer {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST_HEAD
    }

    fn stream(&self, route: Option<&Payload>) -> Box<dyn StreamFilter> {
        let own = route.and_then(|route| route.downcast_ref::<RouteLimit>());
        Box::new(Stream { bytes_max: own.map_or(Some(self.bytes_max), |own| own.0) })
    }
}

// === impl Stream ===

impl StreamFilter for Stream {
    fn on_request_head(&mut self, _: &mut RequestHead, seen: &Seen) -> Verdict {
        match self.bytes_max.filter(|_| !seen.ends) {
            Some(bytes_max) => Verdict::Hold { bytes_max },
            None => Verdict::Continue,
        }
    }

    /// A body whose length nobody knew has one now. Observed: Envoy 1.40.
    fn on_request_held(&mut self, head: &mut RequestHead, body: &mut Vec<u8>, _: &Seen) -> Verdict {
        if !head.headers.has(Known::ContentLength) {
            let mut text = itoa::Buffer::new();
            head.headers.append(Known::ContentLength, text.format(body.len()).as_bytes());
        }
        Verdict::Continue
    }
}
