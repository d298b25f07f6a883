//! Owns counting the bytes of a connection whose codec reads and writes the socket itself (h2).

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::Stream;

/// Told of every read and write.
pub trait Meter {
    /// These bytes came in.
    ///
    /// # Errors
    ///
    /// The connection is to end, for what they are.
    fn received(&self, bytes: &[u8]) -> io::Result<()>;
    /// These bytes went out.
    fn sent(&self, bytes: &[u8]);
}

/// A socket that counts, with bytes that were read before the codec was chosen in front.
#[derive(Debug)]
pub struct Metered<M> {
    stream: Stream,
    first: Vec<u8>,
    meter: M,
}

// === impl Metered ===

impl<M: Meter> Metered<M> {
    /// Wraps a socket; `first` is read before anything else and was counted by whoever read it.
    pub fn new(stream: Stream, first: Vec<u8>, meter: M) -> Self {
        Self { stream, first, meter }
    }
}

impl<M: Meter + Unpin> AsyncRead for Metered<M> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(into.remaining());
            into.put_slice(&self.first[..count]);
            self.first.drain(..count);
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        Poll::Ready(self.meter.received(into.filled().get(before..).unwrap_or_default()))
    }
}

impl<M: Meter + Unpin> AsyncWrite for Metered<M> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.meter.sent(bytes.get(..written).unwrap_or_default());
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let here = left.min(slice.len());
            left -= here;
            if here > 0 {
                self.meter.sent(&slice[..here]);
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
