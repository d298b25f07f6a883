//! Owns the header of PROXY protocol: what a host is told of the client before anything else.
//!
//! Source: HAProxy, "The PROXY protocol", versions 1 and 2.

use std::net::{IpAddr, SocketAddr};

use understudy_actors::address::Address;

use crate::{
    config::model::socket::{Greeting, ProxyProtocol},
    listener::{Proxied, Tlv},
};

/// What begins every header of version 2.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2 with the command PROXY: the addresses are a client's.
const V2_PROXY: u8 = 0x21;

/// Version 2 with the command LOCAL: the connection is our own.
const V2_LOCAL: u8 = 0x20;

/// TCP over IPv4, and over IPv6.
const TCP_V4: u8 = 0x11;
const TCP_V6: u8 = 0x21;

/// The header that tells of a client at `from`, which has connected to `to`, and what its own header said.
pub fn header(
    greeting: &Greeting,
    from: Address,
    to: Address,
    proxied: Option<&Proxied>,
) -> Vec<u8> {
    let is_added = |kind: u8| greeting.added.iter().any(|(added, _)| *added == kind);
    let kept = proxied.into_iter().flat_map(|proxied| proxied.told(&greeting.kept));
    let told = greeting.added.iter().chain(kept.filter(|(kind, _)| !is_added(*kind)));
    let (Some(from), Some(to)) = (from.socket(), to.socket()) else {
        return nobodys(greeting.version);
    };
    of_version(greeting.version, from, to, told)
}

fn of_version<'t>(
    version: ProxyProtocol,
    from: SocketAddr,
    to: SocketAddr,
    tlvs: impl Iterator<Item = &'t Tlv>,
) -> Vec<u8> {
    let (source, destination) = one_family(from.ip(), to.ip());
    match version {
        ProxyProtocol::V1 => {
            let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
            let (from, to) = (from.port(), to.port());
            format!("PROXY {family} {source} {destination} {from} {to}\r\n").into_bytes()
        }
        ProxyProtocol::V2 => {
            let family = if source.is_ipv4() { TCP_V4 } else { TCP_V6 };
            let mut body = Vec::new();
            for ip in [source, destination] {
                match ip {
                    IpAddr::V4(ip) => body.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => body.extend_from_slice(&ip.octets()),
                }
            }
            body.extend_from_slice(&from.port().to_be_bytes());
            body.extend_from_slice(&to.port().to_be_bytes());
            let mut length = u16::try_from(body.len()).unwrap_or_default();
            for (tlv_type, value) in tlvs {
                let size = u16::try_from(value.len()).unwrap_or(u16::MAX);
                // What came in one header fits into one of the same family.
                let Some(longer) = length.checked_add(3).and_then(|l| l.checked_add(size)) else {
                    break;
                };
                length = longer;
                body.push(*tlv_type);
                body.extend_from_slice(&size.to_be_bytes());
                body.extend_from_slice(value);
            }
            [&SIGNATURE[..], &[V2_PROXY, family], &length.to_be_bytes(), &body].concat()
        }
    }
}

/// The header of a connection that is nobody's but ours, such as a health check's.
/// Its ends are told where they have addresses.
pub fn own_header(version: ProxyProtocol, ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    match (version, ends) {
        (ProxyProtocol::V1, Some((local, remote))) => {
            of_version(version, local, remote, std::iter::empty())
        }
        _ => nobodys(version),
    }
}

/// The header that tells of no client.
fn nobodys(version: ProxyProtocol) -> Vec<u8> {
    match version {
        ProxyProtocol::V1 => b"PROXY UNKNOWN\r\n".to_vec(),
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
    use crate::config::model::listener_filter::KeptTlvs;

    fn plain(version: ProxyProtocol, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
        header(
            &Greeting { version, kept: KeptTlvs::All, added: Vec::new() },
            from.into(),
            to.into(),
            None,
        )
    }

    #[test]
    fn what_the_clients_header_said_goes_on_as_far_as_it_is_asked_for() {
        let (from, to) = ("1.2.3.4:5".parse().unwrap(), "6.7.8.9:258".parse().unwrap());
        let tlvs = vec![(2, (*b"one").into()), (3, (*b"two").into()), (2, (*b"").into())];
        let proxied = Proxied { tlvs, ..Proxied::new(from, to) };
        for (kept, added, expected) in [
            (KeptTlvs::None, None, &b""[..]),
            (KeptTlvs::These(vec![2]), None, b"\x02\0\x03one\x02\0\0"),
            (KeptTlvs::All, None, b"\x02\0\x03one\x03\0\x03two\x02\0\0"),
            // Observed: Envoy 1.40.
            (KeptTlvs::None, Some(9), b"\x09\0\x01x"),
            (KeptTlvs::All, Some(2), b"\x02\0\x01x\x03\0\x03two"),
        ] {
            let added = added.map(|kind| (kind, (*b"x").into())).into_iter().collect();
            let greeting = Greeting { version: ProxyProtocol::V2, kept, added };
            let header = header(&greeting, from, to, Some(&proxied));
            let (fixed, tlvs) = header.split_at(16 + 12);
            assert_eq!(tlvs, expected);
            assert_eq!(usize::from(fixed[15]), 12 + expected.len());
        }
    }

    #[test]
    fn headers_are_what_the_protocol_says() {
        let (from, to) = ("1.2.3.4:5".parse().unwrap(), "6.7.8.9:258".parse().unwrap());
        assert_eq!(plain(ProxyProtocol::V1, from, to), b"PROXY TCP4 1.2.3.4 6.7.8.9 5 258\r\n");
        let v2 =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x06\x07\x08\x09\0\x05\x01\x02";
        assert_eq!(plain(ProxyProtocol::V2, from, to), v2);
        let six = "[2001:db8::1]:5".parse().unwrap();
        assert_eq!(
            plain(ProxyProtocol::V1, six, to),
            b"PROXY TCP6 2001:db8::1 ::ffff:6.7.8.9 5 258\r\n"
        );
        assert_eq!(plain(ProxyProtocol::V2, six, to).len(), 16 + 36);
        assert_eq!(
            own_header(ProxyProtocol::V2, Some((from, to))),
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
        );
    }
}
