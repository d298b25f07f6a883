//! Owns reading the header of PROXY protocol, versions 1 and 2, out of the first bytes of a connection.
//!
//! Source: HAProxy, "The PROXY protocol". What is an error, and what is no header at all, was observed in Envoy 1.40.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::{listener::Tlv, transport::Look};

/// What the first bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// A header.
    Header(Header),
    /// One of this version that says nothing that can be understood.
    Malformed(Version),
    /// Something else.
    Else,
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Which.
    pub version: Version,
    /// How many bytes it has.
    pub length: usize,
    /// Who has connected, and whereto; none for a connection of the proxy's own.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// What else it says.
    pub tlvs: Vec<Tlv>,
}

/// Of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    V1,
    /// Bytes.
    V2,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Version 1.
    pub v1: bool,
    /// Version 2.
    pub v2: bool,
    /// Anything else may come instead, so that what cannot become a header need not be waited for.
    pub optional: bool,
}

/// The longest header of all: one of version 2 whose length says so.
pub const BYTES_MAX: usize = V2_FIXED + u16::MAX as usize;

/// The longest line of version 1, and the end of the line.
const V1_MAX: usize = 108;

const V1_SIGNATURE: &[u8] = b"PROXY ";

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What every header of version 2 has: signature, command, family and length.
const V2_FIXED: usize = 16;

/// What these bytes begin, if they are enough to say.
pub fn look(bytes: &[u8], wanted: Wanted) -> Look<Read> {
    if wanted.v2 && begins(bytes, V2_SIGNATURE) {
        return v2(bytes);
    }
    let text = wanted.v1 && begins(bytes, V1_SIGNATURE);
    if wanted.optional && !text {
        return Look::Seen(Read::Else);
    }
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() < V1_MAX {
            true => Look::More,
            false => Look::Seen(Read::Else),
        };
    };
    // Observed: Envoy 1.40 minds no blanks at the end.
    let line = bytes.get(..end).unwrap_or_default().trim_ascii_end();
    let mut words = line.split(|byte| *byte == b' ');
    if words.next() != Some(b"PROXY") {
        return Look::Seen(Read::Else);
    }
    let length = end + 2;
    let malformed = Look::Seen(Read::Malformed(Version::V1));
    let addresses = match words.next() {
        _ if length > V1_MAX => return malformed,
        Some(b"UNKNOWN") => None,
        Some(family) => match v1_addresses(family, words) {
            Some(addresses) => Some(addresses),
            None => return malformed,
        },
        None => return malformed,
    };
    Look::Seen(Read::Header(Header { version: Version::V1, length, addresses, tlvs: Vec::new() }))
}

/// Whether they begin with `signature`, or with its beginning where they are fewer.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let length = bytes.len().min(signature.len());
    bytes.get(..length) == signature.get(..length)
}

fn v1_addresses<'l>(
    family: &[u8],
    words: impl Iterator<Item = &'l [u8]>,
) -> Option<(SocketAddr, SocketAddr)> {
    let words = words.map(|word| str::from_utf8(word).ok()).collect::<Option<Vec<_>>>()?;
    let [source, destination, source_port, destination_port] = words[..] else { return None };
    let ip = |text: &str| match family {
        b"TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        b"TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => None,
    };
    of_hosts(
        SocketAddr::new(ip(source)?, source_port.parse().ok()?),
        SocketAddr::new(ip(destination)?, destination_port.parse().ok()?),
    )
}

/// Both, where one host can be each of them.
fn of_hosts(source: SocketAddr, destination: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
    let is_host = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    (is_host(source.ip()) && is_host(destination.ip())).then_some((source, destination))
}

fn v2(bytes: &[u8]) -> Look<Read> {
    let Some((fixed, rest)) = bytes.split_first_chunk::<V2_FIXED>() else { return Look::More };
    let malformed = Look::Seen(Read::Malformed(Version::V2));
    let [.., command, family, high, low] = *fixed;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return malformed,
    };
    let addresses_length = match family {
        _ if is_local => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        _ => return malformed,
    };
    if length < addresses_length {
        return malformed;
    }
    let Some(body) = rest.get(..length) else { return Look::More };
    let (addresses, tlvs) = body.split_at(addresses_length);
    let mut header = Header {
        version: Version::V2,
        length: V2_FIXED + length,
        addresses: None,
        tlvs: Vec::new(),
    };
    if !is_local {
        let (addresses, tlvs) = (v2_addresses(addresses), read_tlvs(tlvs));
        let (Some(addresses), Some(tlvs)) = (addresses, tlvs) else { return malformed };
        (header.addresses, header.tlvs) = (Some(addresses), tlvs);
    }
    Look::Seen(Read::Header(header))
}

fn v2_addresses(bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let (ips, ports) = bytes.split_last_chunk::<4>()?;
    let (source, destination) = ips.split_at(ips.len() / 2);
    let ip = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(octets) => Some(IpAddr::from(octets)),
        Err(_) => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
    };
    let [a, b, c, d] = *ports;
    of_hosts(
        SocketAddr::new(ip(source)?, u16::from_be_bytes([a, b])),
        SocketAddr::new(ip(destination)?, u16::from_be_bytes([c, d])),
    )
}

fn read_tlvs(mut bytes: &[u8]) -> Option<Vec<Tlv>> {
    let mut tlvs = Vec::new();
    while !bytes.is_empty() {
        let ([tlv_type, high, low], rest) = bytes.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(length)?;
        tlvs.push((*tlv_type, value.into()));
        bytes = rest;
    }
    Some(tlvs)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EITHER: Wanted = Wanted { v1: true, v2: true, optional: false };

    fn v2_bytes(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &length, body].concat()
    }

    const BODY: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 0, 111, 0, 222];

    fn told(bytes: &[u8]) -> String {
        match look(bytes, EITHER) {
            Look::More => "more".to_owned(),
            Look::Seen(Read::Else) => "else".to_owned(),
            Look::Seen(Read::Malformed(version)) => format!("malformed {version:?}"),
            Look::Seen(Read::Header(header)) => match header.addresses {
                Some((from, to)) => format!("{from} {to} {}", header.tlvs.len()),
                None => "unknown".to_owned(),
            },
        }
    }

    #[test]
    fn lines_of_version_1() {
        for (line, expected) in [
            ("TCP4 1.2.3.4 5.6.7.8 111 222", "1.2.3.4:111 5.6.7.8:222 0"),
            ("TCP6 2001:db8::1 2001:db8::2 1 2", "[2001:db8::1]:1 [2001:db8::2]:2 0"),
            ("TCP4 1.2.3.4 5.6.7.8 0 222", "1.2.3.4:0 5.6.7.8:222 0"),
            ("UNKNOWN", "unknown"),
            ("UNKNOWN a b c d", "unknown"),
            ("TCP5 1.2.3.4 5.6.7.8 111 222", "malformed V1"),
            ("TCP4 1.2.3 5.6.7.8 111 222", "malformed V1"),
            ("TCP4 1.2.3.4 5.6.7.8 111 99999", "malformed V1"),
            ("TCP6 1.2.3.4 5.6.7.8 111 222", "malformed V1"),
            ("TCP4  1.2.3.4 5.6.7.8 111 222", "malformed V1"),
            ("TCP4 1.2.3.4 5.6.7.8 111 222 x", "malformed V1"),
            ("TCP4 224.0.0.1 5.6.7.8 111 222", "malformed V1"),
            ("TCP4 0.0.0.0 5.6.7.8 111 222", "malformed V1"),
            ("TCP4 1.2.3.4 255.255.255.255 111 222", "malformed V1"),
            ("TCP4", "malformed V1"),
        ] {
            assert_eq!(told(format!("PROXY {line}\r\nrest").as_bytes()), expected, "{line}");
        }
        assert_eq!(told(format!("PROXY TCP4 {}\r\n", "1".repeat(120)).as_bytes()), "malformed V1");
        assert_eq!(told(b"PROXY TCP4 1.2.3.4"), "more");
        assert_eq!(told(&[b'x'; V1_MAX]), "else");
        assert_eq!(told(b"GET / HTTP/1.1\r\n"), "else");
    }

    #[test]
    fn headers_of_version_2() {
        let tlvs = [&BODY[..], &[2, 0, 1, b'x', 3, 0, 0]].concat();
        let cut = [&BODY[..], &[2, 0, 9, b'x']].concat();
        for (bytes, expected) in [
            (v2_bytes(0x21, 0x11, &BODY), "1.2.3.4:111 5.6.7.8:222 0"),
            (v2_bytes(0x21, 0x12, &BODY), "1.2.3.4:111 5.6.7.8:222 0"),
            (v2_bytes(0x21, 0x11, &tlvs), "1.2.3.4:111 5.6.7.8:222 2"),
            (v2_bytes(0x20, 0x00, &[]), "unknown"),
            (v2_bytes(0x20, 0x11, &BODY), "unknown"),
            (v2_bytes(0x21, 0x11, &cut), "malformed V2"),
            (v2_bytes(0x21, 0x00, &[]), "malformed V2"),
            (v2_bytes(0x21, 0x31, &[0; 216]), "malformed V2"),
            (v2_bytes(0x11, 0x11, &BODY), "malformed V2"),
            (v2_bytes(0x22, 0x11, &BODY), "malformed V2"),
            (v2_bytes(0x21, 0x21, &BODY), "malformed V2"),
            (v2_bytes(0x21, 0x11, &[0; 12]), "malformed V2"),
        ] {
            assert_eq!(told(&bytes), expected, "{}", bytes.escape_ascii());
            for short in 0..V2_FIXED {
                assert_eq!(told(&bytes[..short]), "more");
            }
        }
        let mut six = [1; 36];
        six[32..].copy_from_slice(&[0, 1, 0, 2]);
        assert!(told(&v2_bytes(0x21, 0x21, &six)).starts_with("[101:101:"));
    }

    /// Nobody waits for more of what cannot become a header, where none is needed.
    #[test]
    fn what_may_come_without_a_header_is_told_from_half_of_one() {
        let optional = Wanted { optional: true, ..EITHER };
        for (bytes, expected) in [
            (&b"PRO"[..], Look::More),
            (b"\r\n\r", Look::More),
            (b"", Look::More),
            (b"GE", Look::Seen(Read::Else)),
            (b"PROXi", Look::Seen(Read::Else)),
        ] {
            assert_eq!(look(bytes, optional), expected, "{}", bytes.escape_ascii());
        }
        let only_v2 = Wanted { v1: false, ..optional };
        assert_eq!(
            look(b"PROXY TCP4 1.2.3.4 5.6.7.8 111 222\r\n", only_v2),
            Look::Seen(Read::Else)
        );
    }
}
