//! Owns the bytes of a connection whose codec reads and writes the socket itself (h2): counts them, and sends
//! together what the codec writes piece by piece.
//!
//! The h2 crate writes and flushes every DATA frame by itself. Sent like that, each is a system call, and a record where
//! there is TLS: the larger part of what a small answer costs.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Buffer, Buffers};
use crate::transport::Stream;

/// Bytes that are sent together at most: what a record of TLS holds.
const TOGETHER_BYTES_MAX: usize = 16 * 1024;

/// Bytes that wait for others at most. More at a time goes the straight way: a second like it would find no room.
const PIECE_BYTES_MAX: usize = TOGETHER_BYTES_MAX / 2;

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

/// A socket that counts, for the codec.
#[derive(Debug)]
pub struct Metered<M> {
    line: Rc<RefCell<Line<M>>>,
}

/// Where what the codec wrote waits, for whoever polls the codec.
#[derive(Debug)]
pub struct Outbox<M> {
    line: Rc<RefCell<Line<M>>>,
}

/// What both have in common.
#[derive(Debug)]
struct Line<M> {
    stream: Stream,
    /// Bytes that were read before the codec was chosen, to be read first.
    first: Vec<u8>,
    /// Written, and neither sent nor counted.
    waiting: Option<Buffer>,
    /// The stream may still hold what it was given.
    unflushed: bool,
    /// Sending failed: the next write says so.
    failed: Option<io::ErrorKind>,
    meter: M,
    buffers: Buffers,
}

// === impl Metered ===

impl<M: Meter> Metered<M> {
    /// Wraps a socket; `first` is read before anything else and was counted by whoever read it. What is written waits
    /// for [`Outbox::send`].
    pub fn new(stream: Stream, first: Vec<u8>, meter: M, buffers: Buffers) -> (Self, Outbox<M>) {
        let (waiting, unflushed, failed) = (None, false, None);
        let line = Line { stream, first, waiting, unflushed, failed, meter, buffers };
        let line = Rc::new(RefCell::new(line));
        (Self { line: line.clone() }, Outbox { line })
    }
}

impl<M: Meter + Unpin> AsyncRead for Metered<M> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.line.borrow_mut().poll_read(cx, into)
    }
}

impl<M: Meter + Unpin> AsyncWrite for Metered<M> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.line.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.line.borrow_mut().poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// More may follow at once: the outbox sends.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.line.borrow().check())
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut line = self.line.borrow_mut();
        ready!(line.poll_send(cx))?;
        Pin::new(&mut line.stream).poll_shutdown(cx)
    }
}

// === impl Outbox ===

impl<M: Meter> Outbox<M> {
    /// What `codec` comes to, with all sent that it writes on its way.
    pub async fn sending<F: Future>(&self, codec: F) -> F::Output {
        let mut codec = pin!(codec);
        poll_fn(|cx| {
            let done = codec.as_mut().poll(cx);
            self.send(cx);
            done
        })
        .await
    }

    /// Sends what was written, as far as the socket takes it; the task is woken when it takes more. To be called
    /// when the codec was polled and has no more to say.
    pub fn send(&self, cx: &mut Context<'_>) {
        let mut line = self.line.borrow_mut();
        if let Poll::Ready(Err(error)) = line.poll_send(cx)
            && line.failed.replace(error.kind()).is_none()
        {
            // The codec hears of it when it is polled again.
            cx.waker().wake_by_ref();
        }
    }
}

// === impl Line ===

impl<M: Meter> Line<M> {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
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

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        let count = slices.iter().map(|slice| slice.len()).sum();
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.len());
        let piece = count <= PIECE_BYTES_MAX;
        if !piece || waiting + count > TOGETHER_BYTES_MAX {
            ready!(self.poll_send_waiting(cx))?;
        }
        if !piece {
            return self.poll_pass(cx, slices);
        }
        let waiting = self.waiting.get_or_insert_with(|| self.buffers.take());
        slices.iter().for_each(|slice| waiting.tail().extend_from_slice(slice));
        Poll::Ready(Ok(count))
    }

    /// Writes without a wait. Nothing waits.
    fn poll_pass(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, slices))?;
        self.unflushed = true;
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

    /// Ready when nothing waits, here or in the stream.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_waiting(cx))?;
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        while let Some(waiting) = &mut self.waiting {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, waiting))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.meter.sent(&waiting[..written]);
            waiting.consume(written);
            if waiting.is_empty() {
                self.waiting = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn check(&self) -> io::Result<()> {
        self.failed.map_or(Ok(()), |kind| Err(kind.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, net::SocketAddr, sync::Arc, task::Wake};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Counts, and takes everything.
    #[derive(Default)]
    struct Bytes(Rc<Cell<usize>>);

    impl Meter for Bytes {
        fn received(&self, _: &[u8]) -> io::Result<()> {
            Ok(())
        }

        fn sent(&self, bytes: &[u8]) {
            self.0.set(self.0.get() + bytes.len());
        }
    }

    /// Our end of a connection, what it has sent, and the other end.
    async fn pair() -> (Metered<Bytes>, Outbox<Bytes>, Rc<Cell<usize>>, TcpStream) {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        let sent = Rc::default();
        let meter = Bytes(Rc::clone(&sent));
        let (metered, outbox) = Metered::new(near.into(), Vec::new(), meter, Buffers::default());
        (metered, outbox, sent, far)
    }

    #[tokio::test]
    async fn what_is_written_and_flushed_in_pieces_is_sent_at_once_and_in_order() {
        let (mut metered, outbox, sent, mut far) = pair().await;
        for piece in 0..100 {
            metered.write_all(&[piece; 100]).await.unwrap();
            metered.flush().await.unwrap();
        }
        assert_eq!(sent.get(), 0);
        outbox.sending(async {}).await;
        assert_eq!(sent.get(), 100 * 100);
        // Pieces that do not go together any more, and one that goes alone.
        let sizes = [1, PIECE_BYTES_MAX, PIECE_BYTES_MAX, 40_000, PIECE_BYTES_MAX - 1, 2];
        let writing = async {
            for (piece, size) in (100..).zip(sizes) {
                metered.write_all(&vec![piece; size]).await.unwrap();
            }
        };
        outbox.sending(writing).await;
        let all = 100 * 100 + sizes.iter().sum::<usize>();
        let mut read = vec![0; all];
        far.read_exact(&mut read).await.unwrap();
        assert!(read.is_sorted(), "the order is another");
        assert_eq!(sent.get(), all);
    }

    #[tokio::test]
    async fn what_waits_goes_ahead_of_the_end() {
        let (mut metered, _outbox, _, mut far) = pair().await;
        metered.write_all(b"goodbye").await.unwrap();
        metered.shutdown().await.unwrap();
        let mut read = String::new();
        far.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, "goodbye");
    }

    #[tokio::test]
    async fn a_codec_is_woken_once_to_hear_that_sending_failed() {
        #[derive(Default)]
        struct Count(std::sync::atomic::AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        let (mut metered, outbox, _, far) = pair().await;
        socket2::SockRef::from(&far).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(far);
        let woken = Arc::new(Count::default());
        let waker = Arc::clone(&woken).into();
        let count = || woken.0.load(std::sync::atomic::Ordering::Relaxed);
        let mut cx = Context::from_waker(&waker);
        while count() == 0 {
            metered.write_all(b"more").await.unwrap();
            outbox.send(&mut cx);
            tokio::task::yield_now().await;
        }
        outbox.send(&mut cx);
        assert_eq!(count(), 1);
        assert!(metered.flush().await.is_err());
        assert!(metered.write_all(b"more").await.is_err());
    }
}
