//! Owns making a socket to a host: where it comes from, its options, and the connection attempt itself.

use std::{io, net::SocketAddr};

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use understudy_actors::{address::Address, socket::as_tcp};

use crate::{
    config::model::socket::{self, SocketOption, Sockets},
    listener::OriginalSrc,
    stream::ConnectStage,
};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct SocketError {
    /// At which point there was none.
    pub stage: ConnectStage,
    /// What the system says.
    pub error: io::Error,
}

/// Connects to an address, from `source` where there is one.
///
/// # Errors
///
/// What the system says of an option, of the source address or of the connection.
pub async fn connect(
    to: Address,
    sockets: &Sockets,
    source: Option<OriginalSrc>,
) -> Result<TcpStream, SocketError> {
    match to {
        Address::Ip(to) => {
            let stream = connect_ip(to, sockets, source).await?;
            // Nagle's algorithm would hold a small request back; a socket without it still works.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        // Source addresses and keepalive are IP's.
        Address::Pipe(pipe) => {
            let connected = UnixStream::connect(pipe.system_path()).await;
            let stream = connected.and_then(UnixStream::into_std).and_then(as_tcp);
            stream.map_err(|error| SocketError { stage: ConnectStage::Immediate(to), error })
        }
    }
}

async fn connect_ip(
    to: SocketAddr,
    sockets: &Sockets,
    original: Option<OriginalSrc>,
) -> Result<TcpStream, SocketError> {
    let failed = |error| SocketError::connecting(to, error);
    if sockets.are_plain() && original.is_none() {
        return TcpStream::connect(to).await.map_err(failed);
    }
    let socket = match to {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(keepalive) = &sockets.keepalive {
        SockRef::from(&socket).set_tcp_keepalive(&probes(keepalive))?;
    }
    let family = |source: &&socket::SourceAddress| {
        source.address.is_some_and(|address| address.is_ipv4() == to.is_ipv4())
    };
    // Source: `core.v3.UpstreamBindConfig`, the default local address selector.
    let source = sockets.sources.iter().find(family).or(sockets.sources.first());
    if let Some(original) = original {
        come_from(&socket, original)?;
    } else if let Some(source) = source {
        let made = SockRef::from(&socket);
        source.options.iter().try_for_each(|option| option.set(&made))?;
        if let Some(address) = source.address {
            socket
                .bind(address)
                .map_err(|error| SocketError { stage: ConnectStage::Bind(address), error })?;
        }
    }
    socket.connect(to).await.map_err(failed)
}

/// Binds a socket to an address that is not ours, which takes CAP_NET_ADMIN; the port is any.
fn come_from(socket: &TcpSocket, original: OriginalSrc) -> Result<(), SocketError> {
    let made = SockRef::from(socket);
    if original.mark != 0 {
        SocketOption::Mark(original.mark).set(&made)?;
    }
    SocketOption::Transparent(true).set(&made)?;
    let address = SocketAddr::new(original.ip, 0);
    let bound = socket.bind(address);
    bound.map_err(|error| SocketError { stage: ConnectStage::Bind(address), error })
}

// === impl SocketError ===

impl SocketError {
    /// The system knows at once where it has no way to.
    fn connecting(to: SocketAddr, error: io::Error) -> Self {
        use io::ErrorKind::{InvalidInput, NetworkUnreachable, PermissionDenied};
        let at_once = matches!(error.kind(), NetworkUnreachable | PermissionDenied | InvalidInput);
        match at_once {
            true => Self { stage: ConnectStage::Immediate(to.into()), error },
            false => error.into(),
        }
    }
}

impl From<io::Error> for SocketError {
    fn from(error: io::Error) -> Self {
        Self { stage: ConnectStage::Delayed, error }
    }
}

impl From<SocketError> for io::Error {
    fn from(error: SocketError) -> Self {
        error.error
    }
}

fn probes(keepalive: &socket::TcpKeepalive) -> TcpKeepalive {
    let mut probes = TcpKeepalive::new();
    if let Some(idle) = keepalive.idle {
        probes = probes.with_time(idle);
    }
    if let Some(interval) = keepalive.interval {
        probes = probes.with_interval(interval);
    }
    if let Some(count) = keepalive.probes {
        probes = probes.with_retries(count);
    }
    probes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::model::socket::SourceAddress;

    #[tokio::test]
    async fn a_socket_comes_from_its_source_and_has_its_options() {
        let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source = SourceAddress {
            address: Some("127.0.0.9:0".parse().unwrap()),
            options: vec![
                SocketOption::numbered(0, 15, 1, None).unwrap(),
                SocketOption::numbered(6, 18, 1500, None).unwrap(),
                SocketOption::numbered(1, 12, 3, None).unwrap(),
            ],
        };
        let keepalive = socket::TcpKeepalive {
            probes: Some(3),
            idle: Some(Duration::from_secs(20)),
            interval: Some(Duration::from_secs(5)),
        };
        let sockets =
            Sockets { sources: vec![source], keepalive: Some(keepalive), ..Sockets::default() };
        let stream = connect(host.local_addr().unwrap().into(), &sockets, None).await.unwrap();
        assert_eq!(host.accept().await.unwrap().1.ip().to_string(), "127.0.0.9");
        let socket = SockRef::from(&stream);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(20));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(5));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_millis(1500)));
        assert_eq!(socket.priority().unwrap(), 3);
        assert!(socket.keepalive().unwrap());
        let elsewhere =
            SourceAddress { address: Some("192.0.2.1:0".parse().unwrap()), options: Vec::new() };
        let sockets = Sockets { sources: vec![elsewhere], ..Sockets::default() };
        let refused = connect(host.local_addr().unwrap().into(), &sockets, None).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.error.kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(refused.stage, ConnectStage::Bind("192.0.2.1:0".parse().unwrap()));
    }

    #[tokio::test]
    async fn options_are_set_of_a_socket_that_comes_from_anywhere() {
        let host = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let options = vec![SocketOption::numbered(1, 12, 3, None).unwrap()];
        let source = SourceAddress { address: None, options };
        let sockets = Sockets { sources: vec![source], ..Sockets::default() };
        let stream = connect(host.local_addr().unwrap().into(), &sockets, None).await.unwrap();
        assert_eq!(SockRef::from(&stream).priority().unwrap(), 3);
    }
}
