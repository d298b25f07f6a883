//! `envoy.filters.listener.original_dst`: where a connection was meant to go before the kernel redirected it.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use understudy_actors::address::Address;

use super::{Found, Verdict};

/// Where the kernel cannot say, the connection went where it was meant to.
pub(super) fn look(socket: &TcpStream, found: &mut Found) -> Verdict {
    let socket = SockRef::from(socket);
    let told = match found.local {
        Address::Ip(SocketAddr::V4(_)) => socket.original_dst_v4(),
        Address::Ip(SocketAddr::V6(_)) => socket.original_dst_v6(),
        Address::Pipe(_) => return Verdict::Continue,
    };
    let meant = told.ok().and_then(|address| address.as_socket()).map(Address::Ip);
    if let Some(meant) = meant.filter(|meant| *meant != found.local) {
        found.proxied();
        found.local = meant;
    }
    Verdict::Continue
}
