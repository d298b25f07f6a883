//! Owns what bounds floods of HTTP/2 frames that cost their sender little: those without a payload, and those of
//! which only so many can be meant.
//!
//! Source: `Http2ProtocolOptions`; observed: Envoy 1.40. Looked for only where a limit is set: the h2 crate has limits of its own.

use std::cell::{Cell, RefCell};

use crate::{
    codec::http2::{FrameHead, FrameScan},
    config::model::http::FloodLimits,
};

/// The frames of one connection.
pub struct Floods {
    limits: FloodLimits,
    received: RefCell<FrameScan>,
    sent: RefCell<FrameScan>,
    /// The peer opens streams.
    serves: bool,
    counts: Cell<Counts>,
}

/// Which frames were too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// `max_consecutive_inbound_frames_with_empty_payload`
    Empty,
    /// `max_inbound_priority_frames_per_stream`
    Priority,
    /// `max_inbound_window_update_frames_per_data_frame_sent`
    WindowUpdate,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    opened: u64,
    last_opened: u32,
    /// In a row.
    empty: u64,
    priority: u64,
    window_updates: u64,
    data_sent: u64,
}

// === impl Floods ===

impl Floods {
    /// Those of a client's connection.
    pub fn of_client(limits: FloodLimits) -> Self {
        Self::new(limits, FrameScan::of_client(), FrameScan::of_server(), true)
    }

    /// Those of a connection to a host.
    pub fn of_host(limits: FloodLimits) -> Self {
        Self::new(limits, FrameScan::of_server(), FrameScan::of_client(), false)
    }

    fn new(limits: FloodLimits, received: FrameScan, sent: FrameScan, serves: bool) -> Self {
        let (received, sent) = (RefCell::new(received), RefCell::new(sent));
        Self { limits, received, sent, serves, counts: Cell::default() }
    }

    /// These bytes came. Says of what there was too much, if there was: the connection is to end.
    pub fn received(&self, bytes: &[u8]) -> Option<Flood> {
        let (mut counts, mut flood) = (self.counts.get(), None);
        self.received.borrow_mut().see(bytes, |frame| {
            counts.receive(frame, self.serves);
            flood = flood.or_else(|| counts.flood(&self.limits));
        });
        self.counts.set(counts);
        flood
    }

    /// These bytes went.
    pub fn sent(&self, bytes: &[u8]) {
        let mut counts = self.counts.get();
        self.sent.borrow_mut().see(bytes, |frame| match frame.kind {
            FrameHead::DATA => counts.data_sent += 1,
            FrameHead::HEADERS if !self.serves => counts.open(frame.stream),
            _ => {}
        });
        self.counts.set(counts);
    }
}

// === impl Counts ===

impl Counts {
    fn open(&mut self, stream: u32) {
        if stream > self.last_opened {
            self.last_opened = stream;
            self.opened += 1;
        }
    }

    fn receive(&mut self, frame: FrameHead, serves: bool) {
        match frame.kind {
            FrameHead::DATA | FrameHead::HEADERS | FrameHead::CONTINUATION => {
                let empty = frame.length == 0 && !frame.ends_stream();
                self.empty = if empty { self.empty + 1 } else { 0 };
                if serves && frame.kind == FrameHead::HEADERS {
                    self.open(frame.stream);
                }
            }
            FrameHead::PRIORITY => self.priority += 1,
            FrameHead::WINDOW_UPDATE => self.window_updates += 1,
            _ => {}
        }
    }

    fn flood(&self, limits: &FloodLimits) -> Option<Flood> {
        let per_stream = u64::from(limits.priority_per_stream_max);
        let per_data = u64::from(limits.window_updates_per_data_max);
        if self.empty > u64::from(limits.empty_in_a_row_max) {
            return Some(Flood::Empty);
        }
        if self.priority > per_stream.saturating_mul(1 + self.opened) {
            return Some(Flood::Priority);
        }
        let meant = self.opened.saturating_add(per_data.saturating_mul(self.data_sent));
        (self.window_updates > 5 + meant.saturating_mul(2)).then_some(Flood::WindowUpdate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
        frame.resize(frame.len() + usize::from(length), 0);
        frame
    }

    /// Observed: Envoy 1.40.
    #[test]
    fn each_kind_of_flood_ends_at_its_limit() {
        let limits = FloodLimits {
            empty_in_a_row_max: 2,
            priority_per_stream_max: 3,
            window_updates_per_data_max: 1,
        };
        let open = || {
            let floods = Floods::of_client(limits);
            assert_eq!(floods.received(crate::codec::http2::PREFACE), None);
            assert_eq!(floods.received(&frame(FrameHead::HEADERS, 4, 1, 5)), None);
            floods
        };
        let count = |floods: &Floods, kind, length| {
            let flooded = |_: &u32| floods.received(&frame(kind, 0, 1, length)).is_some();
            (1..1000).find(flooded)
        };
        assert_eq!(count(&open(), FrameHead::DATA, 0), Some(3));
        assert_eq!(count(&open(), FrameHead::DATA, 1), None);
        assert_eq!(count(&open(), FrameHead::PRIORITY, 5), Some(3 * 2 + 1));
        assert_eq!(count(&open(), FrameHead::WINDOW_UPDATE, 4), Some(5 + 2 + 1));
        let sends = open();
        (0..4).for_each(|_| sends.sent(&frame(FrameHead::DATA, 0, 1, 1)));
        assert_eq!(count(&sends, FrameHead::WINDOW_UPDATE, 4), Some(5 + 2 + 2 * 4 + 1));
    }
}
