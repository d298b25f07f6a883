//! Owns sockets that listen, be it on an IP address or on a path, and what is accepted from them.

use std::{
    io,
    net::{TcpListener as StdTcpListener, TcpStream as StdTcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream},
    },
    task::{Context, Poll},
};

use tokio::net::{TcpListener, TcpStream, UnixListener};

use crate::address::{Address, Pipe};

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listening {
    Ip(StdTcpListener),
    Pipe(StdUnixListener, Pipe),
}

/// The same as one thread's runtime watches it.
pub(crate) enum Accepting {
    Ip(TcpListener),
    Pipe(UnixListener, Pipe),
}

/// A connection by a unix socket in the form of one by TCP.
///
/// Whoever serves connections so has one type for both, without a choice to make for each read and write: what a stream
/// of TCP asks of its socket (`recv`, `send`, `shutdown`, `splice`) one of a path answers as well. What is TCP's own
/// (`TCP_NODELAY`, its addresses) is not asked of it.
pub fn as_tcp(stream: StdUnixStream) -> io::Result<TcpStream> {
    stream.set_nonblocking(true)?;
    TcpStream::from_std(StdTcpStream::from(OwnedFd::from(stream)))
}

// === impl Listening ===

impl Listening {
    /// Where it listens.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn local(&self) -> io::Result<Address> {
        match self {
            Listening::Ip(socket) => socket.local_addr().map(Address::Ip),
            Listening::Pipe(_, pipe) => Ok(Address::Pipe(*pipe)),
        }
    }

    /// The same socket once more.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Listening::Ip(socket) => Listening::Ip(socket.try_clone()?),
            Listening::Pipe(socket, pipe) => Listening::Pipe(socket.try_clone()?, *pipe),
        })
    }

    /// Where every connection of it ends up; `None` for one on all addresses.
    pub(crate) fn everybodys(&self) -> Option<Address> {
        self.local().ok().filter(|local| local.ip().is_none_or(|ip| !ip.is_unspecified()))
    }

    /// What has come, and from where, if something has.
    ///
    /// # Errors
    ///
    /// The system's; that it would block where nothing has come.
    pub(crate) fn accept(&self) -> io::Result<(TcpStream, Address)> {
        match self {
            Listening::Ip(socket) => {
                let (stream, peer) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok((TcpStream::from_std(stream)?, peer.into()))
            }
            Listening::Pipe(socket, pipe) => {
                let (stream, _) = socket.accept()?;
                Ok((as_tcp(stream)?, Address::Pipe(*pipe)))
            }
        }
    }

    /// The same socket, watched by this thread's runtime.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn watched(&self) -> io::Result<Accepting> {
        Ok(match self.try_clone()? {
            Listening::Ip(socket) => Accepting::Ip(TcpListener::from_std(socket)?),
            Listening::Pipe(socket, pipe) => Accepting::Pipe(UnixListener::from_std(socket)?, pipe),
        })
    }
}

// === impl Accepting ===

impl Accepting {
    /// What comes next, and from where. Who connects to a path mostly has no name, and is told as coming from that path.
    ///
    /// Observed: Envoy 1.40.
    pub(crate) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(TcpStream, Address)>> {
        match self {
            Accepting::Ip(socket) => {
                socket.poll_accept(cx).map_ok(|(stream, peer)| (stream, peer.into()))
            }
            Accepting::Pipe(socket, pipe) => socket.poll_accept(cx).map(|accepted| {
                let (stream, _) = accepted?;
                Ok((as_tcp(stream.into_std()?)?, Address::Pipe(*pipe)))
            }),
        }
    }
}
