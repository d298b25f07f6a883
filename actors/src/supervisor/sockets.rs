//! Owns binding: one socket for each worker on the same address, and a clear word where that fails.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::plan::{ListenerPlan, SocketPlan, SocketState};

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
#[derive(Default)]
pub(super) struct Bound {
    /// Where they are bound, in the order of the plan; the kernel may have chosen ports.
    pub(super) locals: Vec<SocketAddr>,
    /// For each worker one at each of these places.
    pub(super) sockets: Vec<Vec<TcpListener>>,
}

/// Sockets that share their addresses, as many as there are workers; the kernel spreads connections. Where it is not
/// `ours` already, nobody else may have an address.
///
/// # Errors
///
/// [`BindError`] that names the address and the way out.
pub(super) fn shared(
    plan: &ListenerPlan,
    count: usize,
    ours: impl Fn(SocketAddr) -> bool,
) -> Result<Bound, BindError> {
    let count = count.max(1);
    let mut bound = Bound::default();
    bound.sockets.resize_with(count, Vec::new);
    if !plan.bind_to_port {
        bound.locals.extend(plan.binds().map(|(address, _)| address));
        return Ok(bound);
    }
    for (address, socket) in plan.binds() {
        let fail = |error| bind_error(address, &plan.name, error);
        // Two processes that both share an address would split its connections without a word: look
        // whether somebody has it before sharing it ourselves.
        if address.port() != 0 && !ours(address) {
            bind(address, socket, false).map_err(fail)?;
        }
        let mut local = address;
        for sockets in &mut bound.sockets {
            let listening = bind(local, socket, true).and_then(|bound| {
                bound.listen(i32::try_from(plan.backlog).unwrap_or(i32::MAX))?;
                set(socket, SocketState::Listening, &bound)?;
                Ok(bound)
            });
            let listening = TcpListener::from(listening.map_err(fail)?);
            // With port 0 the kernel chooses for the first; the others follow.
            local = listening.local_addr().map_err(fail)?;
            sockets.push(listening);
        }
        bound.locals.push(local);
    }
    Ok(bound)
}

/// One socket for the admin port's address.
///
/// # Errors
///
/// [`BindError`] that names the address and the way out.
pub(super) fn single(address: SocketAddr) -> Result<TcpListener, BindError> {
    let fail = |error| bind_error(address, "", error);
    let socket = bind(address, &SocketPlan::default(), false).map_err(fail)?;
    socket.listen(1024).map_err(fail)?;
    Ok(TcpListener::from(socket))
}

fn bind(address: SocketAddr, plan: &SocketPlan, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!plan.ipv4_compat)?;
    }
    set(plan, SocketState::Prebind, &socket)?;
    socket.bind(&address.into())?;
    set(plan, SocketState::Bound, &socket)?;
    Ok(socket)
}

/// Sets what is to be set at this moment.
fn set(plan: &SocketPlan, now: SocketState, socket: &Socket) -> io::Result<()> {
    let due = plan.options.iter().filter(|(state, _)| *state == now);
    due.map(|(_, option)| option).try_for_each(|option| option.set(socket))
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
    use crate::fakes::listener;

    #[test]
    fn workers_share_an_address_and_nobody_shares_it_with_a_stranger() {
        let plan = ListenerPlan::clone(&listener("a"));
        let elsewhere = ("127.0.0.2:0".parse().unwrap(), SocketPlan::default());
        let plan = ListenerPlan { additional: vec![elsewhere], ..plan };
        let ours = shared(&plan, 3, |_| false).unwrap();
        assert_eq!(ours.sockets.len(), 3);
        for sockets in &ours.sockets {
            let bound = sockets.iter().map(|socket| socket.local_addr().unwrap());
            assert!(bound.eq(ours.locals.iter().copied()));
        }
        let address = ours.locals[1];
        let other = ListenerPlan { address, ..ListenerPlan::clone(&listener("b")) };
        let error = shared(&other, 1, |_| false).err().unwrap().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("another process"),
            "{error}"
        );
    }
}
