//! Owns which listener of a worker has which address, and how a connection gets from one listener to another.

use std::{
    cell::RefCell,
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    rc::{Rc, Weak},
};

use crate::{
    address::Address,
    listener::{Incoming, Place},
    plan::ListenerPlan,
    seams::{Accepted, Control, Entrance, Findings},
    socket::Listening,
};

/// The listeners of one worker by their addresses, bound or not. Its worker writes here, its connections read.
#[derive(Default)]
pub(crate) struct Places {
    by_address: RefCell<HashMap<Address, Entry>>,
}

struct Entry {
    place: Weak<Place>,
    /// As `::` it stands for all IPv4 addresses, too.
    ipv4_compat: bool,
}

// === impl Places ===

impl Places {
    /// From now on this listener has the addresses of its plan; for sockets those that they are bound to.
    pub(crate) fn enter(&self, place: &Rc<Place>, plan: &ListenerPlan, sockets: &[Listening]) {
        let mut by_address = self.by_address.borrow_mut();
        for (at, (address, socket)) in plan.binds().enumerate() {
            let bound = sockets.get(at).and_then(|socket| socket.local().ok());
            let entry = Entry { place: Rc::downgrade(place), ipv4_compat: socket.ipv4_compat };
            by_address.insert(bound.unwrap_or(address).canonical(), entry);
        }
    }

    /// It has none any more; what another has taken meanwhile stays with that one.
    pub(crate) fn leave(&self, place: &Rc<Place>) {
        let is_its = |entry: &Entry| std::ptr::eq(entry.place.as_ptr(), Rc::as_ptr(place));
        self.by_address.borrow_mut().retain(|_, entry| !is_its(entry));
    }

    /// The listener of an address.
    ///
    /// Observed: Envoy 1.40 looks for the very address, then for one on all addresses of the family with that port, then,
    /// for IPv4, for `::` with `ipv4_compat`.
    fn of(&self, address: Address) -> Option<Rc<Place>> {
        let by_address = self.by_address.borrow();
        let exactly = || by_address.get(&address);
        let all_v6 = |port| by_address.get(&(Ipv6Addr::UNSPECIFIED, port).into());
        let found = match address {
            Address::Ip(SocketAddr::V4(v4)) => {
                let all = || by_address.get(&(Ipv4Addr::UNSPECIFIED, v4.port()).into());
                let compat = || all_v6(v4.port()).filter(|entry| entry.ipv4_compat);
                exactly().or_else(all).or_else(compat)
            }
            Address::Ip(SocketAddr::V6(v6)) => exactly().or_else(|| all_v6(v6.port())),
            Address::Pipe(_) => exactly(),
        };
        found?.place.upgrade()
    }
}

// === impl Accepted ===

impl Accepted {
    /// The listener that a connection to this address is meant for, if it is another one.
    pub fn meant_for(&self, address: Address) -> Option<Entrance> {
        let own = &self.entrance.0;
        let found = own.neighbours.of(address).filter(|found| !Rc::ptr_eq(found, own));
        found.map(Entrance)
    }

    /// Hands the connection over to another listener, with what is known of it: there it is a new one, here it has never
    /// been. Limits are not looked at again.
    ///
    /// Observed: Envoy 1.40, which lets the other listener balance it among workers.
    pub fn hand_over(self, to: &Entrance, control: &Control, findings: Findings) {
        let Self { stream, peer, local, entrance, .. } = self;
        to.0.share_out(stream, Incoming { peer, local: Some(local), findings: Some(findings) });
        entrance.0.hand_over(control);
    }
}

#[cfg(test)]
mod tests;
