//! Owns writing to a plain socket: tokio says whether it takes anything, the system does the rest.
//!
//! Tokio's own `poll_write` bills each write to the task's budget and looks for somebody to wake. That costs 140
//! instructions more where the socket takes what it is given, as it nearly always does.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::{SendFlags, send};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// The socket under TLS, which hands its records over as lists, mostly of one. `send` costs less than `writev` of one.
#[derive(Debug)]
pub(super) struct Wire(pub(super) TcpStream);

/// Writes as much as the socket takes. Nothing is written for ever without being read somewhere, which tokio
/// bills.
#[inline]
pub(super) fn poll_write(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<io::Result<usize>> {
    loop {
        let mut sent = 0;
        let done = socket.try_io(Interest::WRITABLE, || {
            sent = send(socket, bytes, SendFlags::NOSIGNAL)?;
            // One that takes less is full. If tokio hears of it here, no write is needed to find it out.
            if sent < bytes.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match done {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                return Poll::Ready(Err(error));
            }
            Err(_) if sent == 0 => ready!(socket.poll_write_ready(cx))?,
            _ => return Poll::Ready(Ok(sent)),
        }
    }
}

// === impl Wire ===

impl AsyncRead for Wire {
    #[inline]
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Wire {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        poll_write(&self.0, cx, bytes)
    }

    #[inline]
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [one] => poll_write(&self.0, cx, one),
            many => Pin::new(&mut self.0).poll_write_vectored(cx, many),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn more_than_a_socket_takes_waits_until_it_takes_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let bytes = vec![7; 64 * 1024 * 1024];
        let mut sent = 0;
        poll_fn(|cx| {
            while let Poll::Ready(count) = poll_write(&near, cx, &bytes[sent..]) {
                sent += count.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        assert!((1..bytes.len()).contains(&sent), "{sent}");
        let mut read = vec![0; sent];
        let more = poll_fn(|cx| poll_write(&near, cx, b"more"));
        let (all, more) = tokio::join!(far.read_exact(&mut read), more);
        assert_eq!((all.unwrap(), more.unwrap()), (sent, 4));
        drop(far);
        let broken = poll_fn(|cx| match poll_write(&near, cx, b"more") {
            Poll::Ready(Ok(_)) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            other => other,
        });
        assert!(broken.await.is_err());
    }
}
