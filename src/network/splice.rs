//! Owns carrying bytes from one socket to another, one way.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;

use crate::{
    transport::{ReadHalf, WriteHalf},
    worker::{Buffer, Buffers},
};

/// One direction of a connection that is carried on. It holds a buffer only while the receiver is slow, and reads no
/// more until that is sent: a slow reader slows the writer down.
#[derive(Debug, Default)]
pub(super) struct Flow {
    held: Option<Buffer>,
    ended: bool,
    shut: bool,
    /// Bytes that were read.
    pub(super) bytes: u64,
}

/// What a flow tells of as it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moved {
    /// So many bytes were read.
    Read(usize),
    /// So many were written.
    Written(usize),
}

/// Which socket failed.
#[derive(Debug)]
pub(super) enum Broken {
    /// The one that is read.
    Source,
    /// The one that is written.
    Sink,
}

// === impl Flow ===

impl Flow {
    /// Carries what there is; ready when the source has ended and the sink has been told.
    ///
    /// # Errors
    ///
    /// [`Broken`], with which side it was.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut ReadHalf<'_>,
        sink: &mut WriteHalf<'_>,
        buffers: &Buffers,
        mut moved: impl FnMut(Moved),
    ) -> Poll<Result<(), Broken>> {
        loop {
            while let Some(held) = &mut self.held {
                match ready!(Pin::new(&mut *sink).poll_write(cx, held)) {
                    Ok(count) if count > 0 => {
                        moved(Moved::Written(count));
                        held.consume(count);
                    }
                    _ => return Poll::Ready(Err(Broken::Sink)),
                }
                if held.is_empty() {
                    // What TLS has encrypted may not have gone out yet.
                    if ready!(Pin::new(&mut *sink).poll_flush(cx)).is_err() {
                        return Poll::Ready(Err(Broken::Sink));
                    }
                    self.held = None;
                }
            }
            if self.ended {
                if !self.shut {
                    // A receiver that has gone meanwhile has nothing to be told.
                    let _ = ready!(Pin::new(&mut *sink).poll_shutdown(cx));
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            match ready!(buffers.poll_read(cx, Pin::new(&mut *source), &mut self.held)) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.bytes += count as u64;
                    moved(Moved::Read(count));
                }
                Err(_) => return Poll::Ready(Err(Broken::Source)),
            }
        }
    }

    /// Reads what a sink is to have that is not there yet; ready with whether there is anything before the end.
    ///
    /// # Errors
    ///
    /// [`Broken::Source`].
    pub(super) fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut ReadHalf<'_>,
        buffers: &Buffers,
        mut moved: impl FnMut(Moved),
    ) -> Poll<Result<bool, Broken>> {
        let read = ready!(buffers.poll_read(cx, Pin::new(&mut *source), &mut self.held));
        let count = read.map_err(|_| Broken::Source)?;
        self.bytes += count as u64;
        moved(Moved::Read(count));
        Poll::Ready(Ok(count > 0))
    }

    /// What was read and is with no sink yet, for one of another kind.
    pub(super) fn take_held(&mut self) -> Option<Buffer> {
        self.held.take()
    }

    /// Whether all that was read is written.
    pub(super) fn is_written(&self) -> bool {
        self.held.is_none()
    }

    /// Both the end of the source and the telling of it are done.
    pub(super) fn is_over(&self) -> bool {
        self.shut
    }
}
