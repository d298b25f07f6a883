//! Owns the bytes of a connection, whatever transport socket carries them.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;

use super::plain::{self, Wire};

/// A connection to a client or to a host.
#[derive(Debug)]
pub struct Stream {
    /// Both halves reach it, from one task and one after the other.
    socket: RefCell<Socket>,
}

/// What carries the bytes.
#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<Wire>>),
}

/// The half that reads. Both halves belong to one task.
#[derive(Debug)]
pub struct ReadHalf<'a> {
    socket: &'a RefCell<Socket>,
}

/// The half that writes.
#[derive(Debug)]
pub struct WriteHalf<'a> {
    socket: &'a RefCell<Socket>,
}

// === impl Stream ===

impl Stream {
    /// Both halves, for one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf { socket: &self.socket }, WriteHalf { socket: &self.socket })
    }

    /// Whether a connection that nobody uses is as it was left: the peer has neither closed it nor said something that
    /// nobody asked for. Without a system call, but where TLS has something of its own to read (tickets).
    pub fn is_quiet(&mut self) -> bool {
        match self.socket.get_mut() {
            // `try_io` asks for no wake-up, which costs a lock.
            Socket::Plain(socket) => socket.try_io(Interest::READABLE, || Ok(())).is_err(),
            tls @ Socket::Tls(_) => {
                let (mut byte, mut cx) = ([0], Context::from_waker(Waker::noop()));
                tls.poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
            }
        }
    }

    /// What was agreed on in the handshake (ALPN).
    pub fn agreed(&self) -> Option<Vec<u8>> {
        match &*self.socket.borrow() {
            Socket::Plain(_) => None,
            Socket::Tls(tls) => tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec),
        }
    }

    /// Says goodbye to a peer that has (`close_notify`; RFC 8446, 6.1), where there is TLS to say it in.
    pub fn take_leave(&mut self) {
        if let Socket::Tls(tls) = self.socket.get_mut() {
            // One that reads no more hears none, and is not waited for.
            let _ = Pin::new(tls).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Our end of it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.borrow().tcp().local_addr()
    }

    /// The peer's end of it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.socket.borrow().tcp().peer_addr()
    }

    /// Its peer is to see a reset, not an end, when this is closed.
    pub fn reset_when_dropped(&self) {
        // One that is gone already needs none.
        let _ = SockRef::from(self.socket.borrow().tcp()).set_linger(Some(Duration::ZERO));
    }
}

impl From<TcpStream> for Stream {
    fn from(socket: TcpStream) -> Self {
        Self { socket: RefCell::new(Socket::Plain(socket)) }
    }
}

impl From<TlsStream<Wire>> for Stream {
    fn from(tls: TlsStream<Wire>) -> Self {
        Self { socket: RefCell::new(Socket::Tls(Box::new(tls))) }
    }
}

impl AsyncRead for Stream {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().socket.get_mut().poll_read(cx, into)
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().socket.get_mut().poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut().socket.get_mut() {
            Socket::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
            Socket::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.get_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.get_mut().poll_shutdown(cx)
    }
}

// === impl Socket ===

impl Socket {
    fn tcp(&self) -> &TcpStream {
        match self {
            Socket::Plain(socket) => socket,
            Socket::Tls(tls) => &tls.get_ref().0.0,
        }
    }

    /// An end without the peer's goodbye (`close_notify`) is an end as well: what is inside says whether it is whole.
    ///
    /// Observed: Envoy 1.40.
    #[inline]
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Plain(socket) => Pin::new(socket).poll_read(cx, into),
            Socket::Tls(tls) => match Pin::new(tls).poll_read(cx, into) {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    Poll::Ready(Ok(()))
                }
                other => other,
            },
        }
    }

    #[inline]
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Socket::Plain(socket) => plain::poll_write(socket, cx, bytes),
            Socket::Tls(tls) => Pin::new(tls).poll_write(cx, bytes),
        }
    }

    /// What TLS has encrypted may lie here still.
    #[inline]
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Plain(_) => Poll::Ready(Ok(())),
            Socket::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Plain(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}

// === impl ReadHalf ===

impl AsyncRead for ReadHalf<'_> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket.borrow_mut().poll_read(cx, into)
    }
}

// === impl WriteHalf ===

impl AsyncWrite for WriteHalf<'_> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket.borrow_mut().poll_write(cx, bytes)
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.borrow_mut().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.borrow_mut().poll_shutdown(cx)
    }
}
