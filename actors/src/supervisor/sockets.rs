//! Owns binding: one socket for each worker on the same address, and a clear word where that fails.

mod pipe;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

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
pub(super) struct Bound {
    /// What they were bound for.
    pub(super) plan: Arc<ListenerPlan>,
    /// Where they are bound, in the order of the plan; the kernel may have chosen ports.
    pub(super) locals: Vec<Address>,
    /// For each worker one at each of these places.
    pub(super) sockets: Vec<Vec<Listening>>,
    /// What is at paths, to be put in force.
    pipes: Vec<pipe::Made>,
}

/// Sockets of a listener of ours at one address, which gives it up meanwhile.
pub(super) struct Ours<'l> {
    /// One of each worker's.
    pub(super) sockets: Vec<&'l Listening>,
    pub(super) plan: &'l SocketPlan,
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
    plan: &Arc<ListenerPlan>,
    count: usize,
    ours: impl Fn(Address) -> Option<Ours<'l>>,
) -> Result<Bound, BindError> {
    let count = count.max(1);
    let (locals, pipes) = (Vec::new(), Vec::new());
    let mut bound = Bound { plan: plan.clone(), locals, sockets: Vec::new(), pipes };
    bound.sockets.resize_with(count, Vec::new);
    if !plan.bind_to_port {
        bound.locals.extend(plan.binds().map(|(address, _)| address));
        return Ok(bound);
    }
    for (address, socket) in plan.binds() {
        let ours = ours(address);
        let all = match address {
            Address::Ip(ip) => match &ours {
                Some(ours) if ours.are_like(socket, count) => ours.once_more(),
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
        Address::Ip(ip) => bind(ip, &plan.socket, false).and_then(|socket| {
            listen(&SockRef::from(&socket), &plan.socket, ADMIN_BACKLOG)?;
            Ok(BoundAdmin { socket: Listening::Ip(socket.into()), pipe: None })
        }),
        Address::Pipe(pipe) => pipe::listen(pipe, &plan.socket, ADMIN_BACKLOG, None)
            .map(|(socket, made)| BoundAdmin { socket, pipe: Some(made) }),
    };
    bound.map_err(|error| bind_error(plan.address, "", error))
}

// === impl Bound ===

impl Bound {
    /// They are in force from now on.
    pub(super) fn put_in_force(&mut self) {
        for made in self.pipes.drain(..) {
            put_in_force(made);
        }
        for sockets in &self.sockets {
            for (socket, (_, plan)) in sockets.iter().zip(self.plan.binds()) {
                let Listening::Ip(ip) = socket else { continue };
                if let Err(error) = listen(&SockRef::from(ip), plan, self.plan.backlog) {
                    let told = "a listener's socket is not as it is asked for";
                    tracing::error!(target: "config", "{told}: {error}");
                }
            }
        }
    }

    /// Its sockets at this address.
    pub(super) fn at(&self, address: Address) -> Option<Ours<'_>> {
        Ours::among(&self.plan, &self.locals, &self.sockets, address)
    }
}

/// What was made at a path is in force from now on.
pub(super) fn put_in_force(made: pipe::Made) {
    let path = made.path();
    if let Err(error) = made.put_in_force() {
        tracing::error!(target: "config", "{path} is not as it is asked for: {error}");
    }
}

/// Sockets of one port; of one of ours they do not listen before they are in force, or the kernel would give them
/// connections that nobody accepts.
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
        let socket = bind(local, plan, true)?;
        if !is_ours {
            listen(&SockRef::from(&socket), plan, backlog)?;
        }
        let socket = TcpListener::from(socket);
        // With port 0 the kernel chooses for the first; the others follow.
        local = socket.local_addr()?;
        all.push(Listening::Ip(socket));
    }
    Ok(all)
}

/// Lets a socket listen, or listen on with another backlog.
fn listen(socket: &SockRef<'_>, plan: &SocketPlan, backlog: u32) -> io::Result<()> {
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    set(plan, SocketState::Listening, socket)
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

impl<'l> Ours<'l> {
    /// Those at `address` of a listener with these sockets, if it has any there.
    pub(super) fn among(
        plan: &'l ListenerPlan,
        locals: &[Address],
        sockets: &'l [impl AsRef<[Listening]>],
        address: Address,
    ) -> Option<Self> {
        let at = locals.iter().position(|local| *local == address)?;
        let (_, plan) = plan.binds().nth(at)?;
        let sockets: Vec<_> = sockets.iter().filter_map(|all| all.as_ref().get(at)).collect();
        (!sockets.is_empty()).then_some(Self { sockets, plan })
    }

    fn are_like(&self, plan: &SocketPlan, count: usize) -> bool {
        self.plan == plan && self.sockets.len() == count
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
        let plan = Arc::new(ListenerPlan { additional: vec![elsewhere], ..plan });
        let ours = shared(&plan, 3, |_| None).unwrap();
        assert_eq!(ours.sockets.len(), 3);
        for sockets in &ours.sockets {
            let bound = sockets.iter().map(|socket| socket.local().unwrap());
            assert!(bound.eq(ours.locals.iter().copied()));
        }
        let address = ours.locals[1];
        let other = Arc::new(ListenerPlan { address, ..ListenerPlan::clone(&listener("b")) });
        let error = shared(&other, 1, |_| None).err().unwrap().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("another process"),
            "{error}"
        );
    }
}
