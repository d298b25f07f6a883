//! Owns the header of PROXY protocol: what a host is told of the client before anything else.
//!
//! Source: HAProxy, "The PROXY protocol", versions 1 and 2.

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
};

use crate::config::model::socket::ProxyProtocol;

/// What begins every header of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 with the command PROXY: the addresses are a client's.
const V2_PROXY: u8 = 0x21;

/// Version 2 with the command LOCAL: the connection is our own.
const V2_LOCAL: u8 = 0x20;

/// TCP over IPv4, and over IPv6.
const TCP_V4: u8 = 0x11;
const TCP_V6: u8 = 0x21;

/// The header that tells of a client at `from`, which has connected to `to`.
pub fn header(version: ProxyProtocol, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (source, destination) = one_family(from.ip(), to.ip());
    match version {
        ProxyProtocol::V1 => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (from.port(), to.port());
            format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
        }
        ProxyProtocol::V2 => {
            let (family, length) = if source.is_ipv4() { (TCP_V4, 12) } else { (TCP_V6, 36) };
            let mut out = SIGNATURE.to_vec();
            out.extend_from_slice(&[V2_PROXY, family, 0, length]);
            for ip in [source, destination] {
                // Writing to a vector cannot fail.
                let _ = match ip {
                    IpAddr::V4(ip) => out.write_all(&ip.octets()),
                    IpAddr::V6(ip) => out.write_all(&ip.octets()),
                };
            }
            out.extend_from_slice(&from.port().to_be_bytes());
            out.extend_from_slice(&to.port().to_be_bytes());
            out
        }
    }
}

/// The header of a connection that is nobody's but ours, such as a health check's.
pub fn own_header(version: ProxyProtocol, local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => header(version, local, remote),
        ProxyProtocol::V2 => [&SIGNATURE[..], &[V2_LOCAL, 0, 0, 0]].concat(),
    }
}

/// Both addresses in one family: the header has room for one alone.
fn one_family(from: IpAddr, to: IpAddr) -> (IpAddr, IpAddr) {
    let v6 = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => ip,
    };
    match from.is_ipv4() == to.is_ipv4() {
        true => (from, to),
        false => (v6(from), v6(to)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_what_the_protocol_says() {
        let (from, to) = ("1.2.3.4:5".parse().unwrap(), "6.7.8.9:258".parse().unwrap());
        assert_eq!(header(ProxyProtocol::V1, from, to), b"PROXY TCP4 1.2.3.4 6.7.8.9 5 258\r\n");
        let v2 =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x06\x07\x08\x09\0\x05\x01\x02";
        assert_eq!(header(ProxyProtocol::V2, from, to), v2);
        let six = "[2001:db8::1]:5".parse().unwrap();
        assert_eq!(
            header(ProxyProtocol::V1, six, to),
            b"PROXY TCP6 2001:db8::1 ::ffff:6.7.8.9 5 258\r\n"
        );
        assert_eq!(header(ProxyProtocol::V2, six, to).len(), 16 + 36);
        assert_eq!(own_header(ProxyProtocol::V2, from, to), b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
