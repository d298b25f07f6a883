//! `envoy.filters.listener.original_dst`: where a connection was meant to go before the kernel redirected it.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use understudy_actors::address::Address;

use super::{Found, Verdict};

/// Where the kernel has redirected nothing, it stays where it was meant to go as far as is known. That connections are
/// tracked must change nothing: then the kernel says where each went. Where it cannot say, the socket may know: a
/// transparent one (TPROXY) has the address that was meant, whatever its listener is bound to.
pub(super) fn look(socket: &TcpStream, found: &mut Found) -> Verdict {
    let went = found.proxied.as_ref().map_or(found.local, |proxied| proxied.local);
    let kernel = SockRef::from(socket);
    let told = match went {
        Address::Ip(SocketAddr::V4(_)) => kernel.original_dst_v4(),
        Address::Ip(SocketAddr::V6(_)) => kernel.original_dst_v6(),
        Address::Pipe(_) => return Verdict::Continue,
    };
    let told = told.ok().and_then(|address| address.as_socket());
    let meant = told.or_else(|| socket.local_addr().ok());
    // Labels and scopes of IPv6 are no part of where it goes.
    let meant = meant.map(|meant| Address::from((meant.ip(), meant.port())).canonical());
    if let Some(meant) = meant.filter(|meant| *meant != went) {
        found.proxied();
        found.local = meant;
    }
    Verdict::Continue
}
