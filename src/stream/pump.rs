//! Owns carrying a body from a source to a sink.

use std::task::{Context, Poll, ready};

use super::{BodyError, Frame, Sink, Source};

/// Bytes that a sink takes before it must send: a message below it goes out in one write.
const COALESCE_BYTES: usize = 16 * 1024;

/// Carries a body from a source to a sink.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pump {
    ended: bool,
}

/// Which side stopped a pump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PumpError {
    /// The source.
    Source(BodyError),
    /// The sink.
    Sink(BodyError),
}

// === impl Pump ===

impl Pump {
    /// A pump whose body has ended already, where `ended`; what the sink holds is still to be sent.
    pub fn new(ended: bool) -> Self {
        Self { ended }
    }

    /// Moves what can be moved; ready when the end has been sent. `moved` is told of progress.
    ///
    /// # Errors
    ///
    /// [`PumpError`] with the side that failed.
    pub fn poll<S: Source + ?Sized, T: Sink + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        moved: impl FnMut(),
    ) -> Poll<Result<(), PumpError>> {
        ready!(self.poll_transfer(cx, source, sink, moved))?;
        sink.poll_flush(cx).map_err(PumpError::Sink)
    }

    /// The same, but ready when the sink has taken the end, sent or not: the source is free then.
    ///
    /// # Errors
    ///
    /// [`PumpError`] with the side that failed.
    pub fn poll_transfer<S: Source + ?Sized, T: Sink + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut S,
        sink: &mut T,
        mut moved: impl FnMut(),
    ) -> Poll<Result<(), PumpError>> {
        while !self.ended {
            // What is here already travels together: one write for many small parts.
            let wait = !source.has_more() || sink.pending() >= COALESCE_BYTES;
            if wait && sink.pending() > 0 {
                ready!(sink.poll_flush(cx)).map_err(PumpError::Sink)?;
                moved();
            }
            let Poll::Ready(frame) = source.poll_frame(cx) else {
                // What was here was framing and no part: what the sink holds is not to wait for more.
                if sink.pending() > 0 {
                    ready!(sink.poll_flush(cx)).map_err(PumpError::Sink)?;
                    moved();
                }
                return Poll::Pending;
            };
            match frame.map_err(PumpError::Source)? {
                Frame::Data(data) => sink.data(data),
                Frame::Trailers(trailers) => {
                    sink.end(Some(trailers));
                    self.ended = true;
                }
                Frame::End => {
                    sink.end(None);
                    self.ended = true;
                }
            }
            moved();
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::{codec::HeaderBlock, stream::Data};

    /// A part, and behind it framing that does not say yet what follows.
    #[derive(Default)]
    struct OnePart {
        given: bool,
    }

    impl Source for OnePart {
        fn poll_frame(&mut self, _: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
            match std::mem::replace(&mut self.given, true) {
                false => Poll::Ready(Ok(Frame::Data(Data::Slice(b"one")))),
                true => Poll::Pending,
            }
        }

        fn has_more(&self) -> bool {
            true
        }
    }

    #[derive(Default)]
    struct Wire {
        held: Vec<u8>,
        sent: Vec<u8>,
    }

    impl Sink for Wire {
        fn data(&mut self, data: Data<'_>) {
            self.held.extend_from_slice(data.as_slice());
        }

        fn end(&mut self, _: Option<&HeaderBlock>) {}

        fn pending(&self) -> usize {
            self.held.len()
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
            self.sent.append(&mut self.held);
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn a_part_is_sent_before_the_next_is_waited_for() {
        let (mut source, mut wire) = (OnePart::default(), Wire::default());
        let mut cx = Context::from_waker(Waker::noop());
        let polled = Pump::default().poll(&mut cx, &mut source, &mut wire, || {});
        assert_eq!((polled, wire.sent.as_slice()), (Poll::Pending, &b"one"[..]));
    }
}
