//! `envoy.filters.listener.original_dst`: where a connection was meant to go before the kernel redirected it.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use understudy_actors::address::Address;

use super::{Found, Verdict};

/// Where the kernel has redirected nothing, or cannot say, it stays where it was meant to go as far as is known. That
/// connections are tracked must change nothing: then the kernel says where each went.
pub(super) fn look(socket: &TcpStream, found: &mut Found) -> Verdict {
    let went = found.proxied.as_ref().map_or(found.local, |proxied| proxied.local);
    let socket = SockRef::from(socket);
    let told = match went {
        Address::Ip(SocketAddr::V4(_)) => socket.original_dst_v4(),
        Address::Ip(SocketAddr::V6(_)) => socket.original_dst_v6(),
        Address::Pipe(_) => return Verdict::Continue,
    };
    // Labels and scopes of IPv6 are no part of where it goes.
    let meant = told.ok().and_then(|address| address.as_socket());
    let meant = meant.map(|meant| Address::from((meant.ip(), meant.port())));
    if let Some(meant) = meant.filter(|meant| *meant != went) {
        found.proxied();
        found.local = meant;
    }
    Verdict::Continue
}
