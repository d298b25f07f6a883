//! Owns how many bytes each stream of an HTTP/2 connection is on the wire, by its frames.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    task::{Context, Poll, Waker},
};

use super::WireBytes;
use crate::codec::http2::{FrameHead, FrameScan};

/// Streams that are kept in mind; the oldest is forgotten for another. More than may be open at a time.
const STREAMS_MAX: usize = 4096;

/// The streams of a connection.
pub struct Wires {
    streams: RefCell<BTreeMap<u32, Rc<StreamWire>>>,
    received: RefCell<FrameScan>,
    sent: RefCell<FrameScan>,
    /// The peer opens streams.
    serves: bool,
}

/// One stream whose bytes are counted, until it is dropped.
pub struct CountedStream {
    wires: Rc<Wires>,
    id: u32,
    stream: Rc<StreamWire>,
    /// Bytes of the fields that came, before they were compressed.
    fields_received: Cell<u64>,
    /// Of those that went.
    fields_sent: Cell<u64>,
}

/// What is known of a stream by its frames.
#[derive(Default)]
struct StreamWire {
    received: Cell<WireBytes>,
    sent: Cell<WireBytes>,
    /// Our last frame of it was written, or nobody waits for one any more.
    ended: Cell<bool>,
    waits: RefCell<Option<Waker>>,
}

// === impl Wires ===

impl Wires {
    /// Those of a client's connection.
    pub fn of_client() -> Rc<Self> {
        Rc::new(Self::new(FrameScan::of_client(), FrameScan::of_server(), true))
    }

    /// Those of a connection to a host.
    pub fn of_host() -> Rc<Self> {
        Rc::new(Self::new(FrameScan::of_server(), FrameScan::of_client(), false))
    }

    fn new(received: FrameScan, sent: FrameScan, serves: bool) -> Self {
        let (received, sent) = (RefCell::new(received), RefCell::new(sent));
        Self { streams: RefCell::default(), received, sent, serves }
    }

    /// A stream, from its first frame on.
    fn of(&self, id: u32) -> Rc<StreamWire> {
        let mut streams = self.streams.borrow_mut();
        if streams.len() >= STREAMS_MAX && !streams.contains_key(&id) {
            streams.pop_first();
        }
        streams.entry(id).or_default().clone()
    }

    /// These bytes came.
    pub fn received(&self, bytes: &[u8]) {
        self.received.borrow_mut().see(bytes, |frame| {
            if self.serves && frame.kind == FrameHead::HEADERS {
                self.of(frame.stream);
            }
            if let Some(stream) = self.streams.borrow().get(&frame.stream) {
                count(&stream.received, frame);
                if frame.kind == FrameHead::RST_STREAM {
                    stream.end();
                }
            }
        });
    }

    /// These bytes went.
    pub fn sent(&self, bytes: &[u8]) {
        self.sent.borrow_mut().see(bytes, |frame| {
            if let Some(stream) = self.streams.borrow().get(&frame.stream) {
                count(&stream.sent, frame);
                if frame.ends_stream() || frame.kind == FrameHead::RST_STREAM {
                    stream.end();
                }
            }
        });
    }

    /// The connection is over.
    pub fn end(&self) {
        self.streams.borrow().values().for_each(|stream| stream.end());
    }
}

// === impl CountedStream ===

impl CountedStream {
    /// Counts the stream of this number.
    pub fn begin(wires: Rc<Wires>, id: u32) -> Self {
        let stream = wires.of(id);
        Self { wires, id, stream, fields_received: Cell::new(0), fields_sent: Cell::new(0) }
    }

    /// A head or trailers came, of so many bytes.
    pub fn fields_received(&self, bytes: u64) {
        self.fields_received.set(self.fields_received.get() + bytes);
    }

    /// A head or trailers went, of so many bytes.
    pub fn fields_sent(&self, bytes: u64) {
        self.fields_sent.set(self.fields_sent.get() + bytes);
    }

    /// What came, with so much of a body.
    pub fn received(&self, body: u64) -> WireBytes {
        let decompressed = self.fields_received.get();
        WireBytes { decompressed, body, ..self.stream.received.get() }
    }

    /// What went, with so much of a body.
    pub fn sent(&self, body: u64) -> WireBytes {
        let decompressed = self.fields_sent.get();
        WireBytes { decompressed, body, ..self.stream.sent.get() }
    }

    /// Ready when our last frame was written.
    pub fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.stream.ended.get() {
            return Poll::Ready(());
        }
        *self.stream.waits.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for CountedStream {
    fn drop(&mut self) {
        self.wires.streams.borrow_mut().remove(&self.id);
    }
}

// === impl StreamWire ===

impl StreamWire {
    fn end(&self) {
        self.ended.set(true);
        if let Some(waits) = self.waits.borrow_mut().take() {
            waits.wake();
        }
    }
}

/// Observed: Envoy 1.40 counts all frames of a stream, and as headers those that hold some.
fn count(bytes: &Cell<WireBytes>, frame: FrameHead) {
    let mut counted = bytes.get();
    counted.all += frame.bytes();
    if matches!(frame.kind, FrameHead::HEADERS | FrameHead::CONTINUATION) {
        counted.headers += frame.bytes();
    }
    bytes.set(counted);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stream_has_its_own_bytes_and_the_oldest_is_forgotten() {
        let wires = Wires::of_client();
        wires.received(crate::codec::http2::PREFACE);
        wires.received(&[0, 0, 1, 1, 4, 0, 0, 0, 1, 9, 0, 0, 2, 0, 1, 0, 0, 0, 1, 7, 7]);
        let stream = CountedStream::begin(wires.clone(), 1);
        let expected = WireBytes { all: 10 + 11, headers: 10, body: 2, decompressed: 5 };
        stream.fields_received(5);
        assert_eq!(stream.received(2), expected);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(stream.poll_ended(cx).is_pending());
        wires.sent(&[0, 0, 0, 1, 5, 0, 0, 0, 1]);
        assert!(stream.poll_ended(cx).is_ready());
        assert_eq!(stream.sent(0).headers, 9);
        drop(stream);
        assert!(wires.streams.borrow().is_empty());
        wires.of(1);
        for id in 0..STREAMS_MAX as u32 {
            wires.of(2 * id + 3);
        }
        assert_eq!(wires.streams.borrow().len(), STREAMS_MAX);
        assert!(!wires.streams.borrow().contains_key(&1));
    }
}
