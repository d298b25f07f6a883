//! Owns binding: one socket for each worker on the same address, and a clear word where that fails.

mod pipe;

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    address::Address,
    plan::{AdminPlan, ListenerPlan, SocketPlan, SocketState},
    socket::Listening,
};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {whom}: {error}; {way_out}")]
pub struct BindError {
    /// The listener's name; empty for the admin port.
    listener: String,
    address: Address,
    whom: String,
    error: io::Error,
    way_out: &'static str,
}

/// Sockets that were bound for a listener.
#[derive(Default)]
pub(super) struct Bound {
    /// Where they are bound, in the order of the plan; the kernel may have chosen ports.
    pub(super) locals: Vec<Address>,
    /// For each worker one at each of these places.
    pub(super) sockets: Vec<Vec<Listening>>,
    /// What is at paths, to be put in force.
    pub(super) pipes: Vec<pipe::Made>,
}

/// Sockets of a listener of ours at one address, which gives it up meanwhile.
pub(super) struct Ours<'l> {
    /// One of each worker's.
    pub(super) sockets: Vec<&'l Listening>,
    pub(super) plan: &'l SocketPlan,
    pub(super) backlog: u32,
}

/// A socket that was bound for the admin port.
pub(super) struct BoundAdmin {
    pub(super) socket: Listening,
    pub(super) pipe: Option<pipe::Made>,
}

/// Connections that wait to be accepted on the admin port.
const ADMIN_BACKLOG: u32 = 1024;

/// Sockets that share their addresses, as many as there are workers; the kernel spreads connections. Nobody else may have
/// an address; `ours` are the sockets of a listener of ours that has it now. Where they are as they shall be they are handed
/// on, with whoever waits at them.
///
/// # Errors
///
/// [`BindError`] that names the address and the way out.
pub(super) fn shared<'l>(
    plan: &ListenerPlan,
    count: usize,
    ours: impl Fn(Address) -> Option<Ours<'l>>,
) -> Result<Bound, BindError> {
    let count = count.max(1);
    let mut bound = Bound::default();
    bound.sockets.resize_with(count, Vec::new);
    if !plan.bind_to_port {
        bound.locals.extend(plan.binds().map(|(address, _)| address));
        return Ok(bound);
    }
    for (address, socket) in plan.binds() {
        let ours = ours(address);
        let all = match address {
            Address::Ip(ip) => match &ours {
                Some(ours) if ours.are_like(socket, plan.backlog, count) => ours.once_more(),
                ours => ports(ip, socket, plan.backlog, count, ours.is_some()),
            },
            Address::Pipe(pipe) => {
                let ours = ours.and_then(|ours| ours.sockets.first().copied());
                pipe::listen(pipe, socket, plan.backlog, ours).and_then(|(one, made)| {
                    bound.pipes.push(made);
                    (0..count).map(|_| one.try_clone()).collect()
                })
            }
        };
        let all = all.map_err(|error| bind_error(address, &plan.name, error))?;
        let local = all.first().and_then(|first| first.local().ok());
        bound.locals.push(local.unwrap_or(address));
        for (sockets, socket) in bound.sockets.iter_mut().zip(all) {
            sockets.push(socket);
        }
    }
    Ok(bound)
}

/// One socket for the admin port's address.
///
/// # Errors
///
/// [`BindError`] that names the address and the way out.
pub(super) fn single(plan: &AdminPlan) -> Result<BoundAdmin, BindError> {
    let bound = match plan.address {
        Address::Ip(ip) => listen(ip, &plan.socket, ADMIN_BACKLOG, false)
            .map(|socket| BoundAdmin { socket: Listening::Ip(socket), pipe: None }),
        Address::Pipe(pipe) => pipe::listen(pipe, &plan.socket, ADMIN_BACKLOG, None)
            .map(|(socket, made)| BoundAdmin { socket, pipe: Some(made) }),
    };
    bound.map_err(|error| bind_error(plan.address, "", error))
}

/// What was made at paths is in force from now on.
pub(super) fn put_in_force(pipes: impl IntoIterator<Item = pipe::Made>) {
    for made in pipes {
        let path = made.path();
        if let Err(error) = made.put_in_force() {
            tracing::error!(target: "config", "{path} is not as it is asked for: {error}");
        }
    }
}

/// Sockets of one port.
fn ports(
    address: SocketAddr,
    plan: &SocketPlan,
    backlog: u32,
    count: usize,
    is_ours: bool,
) -> io::Result<Vec<Listening>> {
    // Two processes that both share an address would split its connections without a word: look
    // whether somebody has it before sharing it ourselves.
    if address.port() != 0 && !is_ours {
        bind(address, plan, false)?;
    }
    let mut local = address;
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let listening = listen(local, plan, backlog, true)?;
        // With port 0 the kernel chooses for the first; the others follow.
        local = listening.local_addr()?;
        all.push(Listening::Ip(listening));
    }
    Ok(all)
}

fn listen(
    address: SocketAddr,
    plan: &SocketPlan,
    backlog: u32,
    shared: bool,
) -> io::Result<TcpListener> {
    let socket = bind(address, plan, shared)?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    set(plan, SocketState::Listening, &socket)?;
    Ok(socket.into())
}

fn bind(address: SocketAddr, plan: &SocketPlan, shared: bool) -> io::Result<Socket> {
    let protocol = if plan.multipath { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(protocol))?;
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

// === impl Ours ===

impl Ours<'_> {
    fn are_like(&self, plan: &SocketPlan, backlog: u32, count: usize) -> bool {
        self.plan == plan && self.backlog == backlog && self.sockets.len() == count
    }

    fn once_more(&self) -> io::Result<Vec<Listening>> {
        self.sockets.iter().map(|socket| socket.try_clone()).collect()
    }
}

// === impl BindError ===

impl BindError {
    /// Two listeners of one plan have the same address.
    pub(super) fn taken_twice(address: Address, name: &str, other: &str) -> Self {
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

fn bind_error(address: Address, listener: &str, error: io::Error) -> BindError {
    use io::ErrorKind as K;
    let way_out = match (address, error.kind()) {
        // Observed: Envoy 1.40 refuses `enable_mptcp` there, too.
        _ if error.raw_os_error() == Some(libc::EPROTONOSUPPORT) => {
            "this kernel speaks no multipath TCP: take `enable_mptcp` away"
        }
        (Address::Ip(_), K::AddrInUse) => {
            "another process has it: stop that one or take another port"
        }
        (Address::Pipe(_), K::AddrInUse) => {
            "another process has it: stop that one or take another path"
        }
        (Address::Ip(_), K::PermissionDenied) => {
            "ports below 1024 want privileges: take a higher port, or grant CAP_NET_BIND_SERVICE"
        }
        (Address::Pipe(_), K::PermissionDenied) => "its directory must be one that we may write in",
        (Address::Pipe(_), K::NotFound) => "make its directory first",
        (Address::Pipe(_), K::AlreadyExists) => {
            "what is there is no socket: move it away or take another path"
        }
        (Address::Ip(_), K::AddrNotAvailable) => "no interface of this machine has that address",
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
        let elsewhere: SocketAddr = "127.0.0.2:0".parse().unwrap();
        let elsewhere = (elsewhere.into(), SocketPlan::default());
        let plan = ListenerPlan { additional: vec![elsewhere], ..plan };
        let ours = shared(&plan, 3, |_| None).unwrap();
        assert_eq!(ours.sockets.len(), 3);
        for sockets in &ours.sockets {
            let bound = sockets.iter().map(|socket| socket.local().unwrap());
            assert!(bound.eq(ours.locals.iter().copied()));
        }
        let address = ours.locals[1];
        let other = ListenerPlan { address, ..ListenerPlan::clone(&listener("b")) };
        let error = shared(&other, 1, |_| None).err().unwrap().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("another process"),
            "{error}"
        );
    }
}
