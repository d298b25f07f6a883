//! Owns binding: one socket for each worker on the same address, and a clear word where that fails.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {whom}: {error}; {way_out}")]
pub struct BindError {
    /// The listener's name; empty for the admin port.
    listener: String,
    address: SocketAddr,
    whom: String,
    error: io::Error,
    way_out: &'static str,
}

/// Sockets that were bound for a listener.
pub(super) struct Bound {
    /// Where they are bound; the kernel may have chosen the port.
    pub(super) local: SocketAddr,
    /// One for each worker.
    pub(super) sockets: Vec<TcpListener>,
}

/// Sockets that share one address, as many as there are workers; the kernel spreads connections. With
/// `alone`, nobody else may have the address.
///
/// # Errors
///
/// [`BindError`] that names the address and the way out.
pub(super) fn shared(
    address: SocketAddr,
    listener: &str,
    backlog: u32,
    count: usize,
    alone: bool,
) -> Result<Bound, BindError> {
    let fail = |error| bind_error(address, listener, error);
    // Two processes that both share an address would split its connections without a word: look
    // whether somebody has it before sharing it ourselves.
    if alone && address.port() != 0 {
        bind(address, false).map_err(fail)?;
    }
    let mut sockets = Vec::with_capacity(count);
    let mut address = address;
    for _ in 0..count.max(1) {
        let socket = bind(address, true).map_err(fail)?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)).map_err(fail)?;
        let socket = TcpListener::from(socket);
        // With port 0 the kernel chooses for the first; the others follow.
        address = socket.local_addr().map_err(fail)?;
        sockets.push(socket);
    }
    Ok(Bound { local: address, sockets })
}

/// One socket for the admin port's address.
///
/// # Errors
///
/// [`BindError`] that names the address and the way out.
pub(super) fn single(address: SocketAddr) -> Result<TcpListener, BindError> {
    let fail = |error| bind_error(address, "", error);
    let socket = bind(address, false).map_err(fail)?;
    socket.listen(1024).map_err(fail)?;
    Ok(TcpListener::from(socket))
}

fn bind(address: SocketAddr, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

// === impl BindError ===

impl BindError {
    /// Two listeners of one plan have the same address.
    pub(super) fn taken_twice(address: SocketAddr, name: &str, other: &str) -> Self {
        let error = io::Error::new(io::ErrorKind::AddrInUse, format!("listener {other:?} has it"));
        let way_out = "give one of them another address";
        let (listener, whom) = (name.to_owned(), format!("listener {name:?}"));
        Self { listener, address, whom, error, way_out }
    }

    /// The listener that it is about; empty for the admin port.
    pub(crate) fn listener(&self) -> &str {
        &self.listener
    }
}

fn bind_error(address: SocketAddr, listener: &str, error: io::Error) -> BindError {
    let way_out = match error.kind() {
        io::ErrorKind::AddrInUse => "another process has it: stop that one or take another port",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 want privileges: take a higher port, or grant CAP_NET_BIND_SERVICE"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has that address",
        _ => "check the address",
    };
    let whom = match listener {
        "" => "the admin port".to_owned(),
        name => format!("listener {name:?}"),
    };
    BindError { listener: listener.to_owned(), address, whom, error, way_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_and_nobody_shares_it_with_a_stranger() {
        let any = "127.0.0.1:0".parse().unwrap();
        let ours = shared(any, "a", 128, 3, true).unwrap();
        let address = ours.local;
        assert!(ours.sockets.iter().all(|socket| socket.local_addr().unwrap() == address));
        let error = shared(address, "b", 128, 1, true).err().unwrap().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("another process"),
            "{error}"
        );
    }
}
