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
            match ready!(source.poll_frame(cx)).map_err(PumpError::Source)? {
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
