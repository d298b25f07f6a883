//! Owns where a request was meant to go, for clusters whose hosts are that (`ORIGINAL_DST`).

use std::net::SocketAddr;

use understudy_actors::{
    address::Address,
    stats::{ClusterStat, Lane},
};

use crate::{config::model::original_dst::OriginalDst, listener::Proxied};

/// What is known of who asks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asks<'a> {
    /// What the header says that may name a host, if there is such a header.
    pub header: Option<&'a [u8]>,
    /// What the client's connection really is.
    pub proxied: Option<&'a Proxied>,
    /// Where it was meant to go.
    pub local: Option<Address>,
}

// === impl Asks ===

impl Asks<'_> {
    /// Where the request goes: what metadata, the header or the connection says, in this order. What says something that is
    /// no address is counted, and the next one is asked.
    ///
    /// Observed: Envoy 1.40 (tests/original_dst.rs).
    pub fn destination(self, says: &OriginalDst, stats: &Lane<ClusterStat>) -> Option<SocketAddr> {
        let read = |text: Option<&str>| {
            let read = text.and_then(address);
            if read.is_none() {
                stats.inc(ClusterStat::OriginalDstHostInvalid);
            }
            read
        };
        let noted = says.metadata.as_ref().zip(self.proxied);
        let noted = noted.and_then(|(key, proxied)| key.find(&proxied.metadata));
        let noted = noted.and_then(|noted| read(noted.as_str()));
        let told = || self.header.and_then(|header| read(std::str::from_utf8(header).ok()));
        let mut to = noted.or_else(told).or_else(|| self.restored())?;
        if let Some(port) = says.port {
            to.set_port(port);
        }
        Some(to)
    }

    /// Where the connection was meant to go, if that is elsewhere than where it came.
    fn restored(self) -> Option<SocketAddr> {
        let local = self.local?;
        self.proxied.filter(|proxied| proxied.is_restored(local)).and(local.socket())
    }
}

/// Reads an address with a port, that of IPv6 in brackets.
///
/// Observed: Envoy 1.40 takes spaces, zeros and a plus in front of a port.
fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| {
        let (ip, port) = text.rsplit_once(':')?;
        let port: u16 = port.trim_ascii().parse().ok()?;
        format!("{ip}:{port}").parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use understudy_actors::stats::Group;

    use super::*;
    use crate::config::model::original_dst::MetadataKey;

    #[test]
    fn an_address_is_read_as_envoy_reads_it() {
        for (text, expected) in [
            ("127.0.0.1:80", Some("127.0.0.1:80")),
            ("127.0.0.1:0", Some("127.0.0.1:0")),
            ("127.0.0.1:+80", Some("127.0.0.1:80")),
            ("127.0.0.1:00000080", Some("127.0.0.1:80")),
            ("127.0.0.1: 80", Some("127.0.0.1:80")),
            ("[::1]:80", Some("[::1]:80")),
            ("[0:0:0:0:0:0:0:1]:80", Some("[::1]:80")),
            ("[::ffff:127.0.0.1]:80", Some("[::ffff:127.0.0.1]:80")),
            ("[::1%1]:80", Some("[::1%1]:80")),
            ("", None),
            ("a", None),
            ("127.0.0.1", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:70000", None),
            ("127.0.0.1:80x", None),
            ("localhost:80", None),
            ("[::1]", None),
            ("::1:80", None),
            ("[127.0.0.1]:80", None),
            ("0127.0.0.1:80", None),
            ("127.1:80", None),
            ("127.0.0.1:80,127.0.0.2:80", None),
            ("/tmp/x", None),
            ("@abc", None),
            ("tcp://127.0.0.1:80", None),
        ] {
            assert_eq!(address(text).map(|at| at.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn metadata_goes_before_the_header_that_before_the_connection_and_what_is_no_address_is_counted()
     {
        let local = Address::from(([10, 0, 0, 3], 3));
        let proxied = |noted: &str, came: Address| Proxied {
            metadata: json!({"ns": {"to": noted}}),
            ..Proxied::new(([10, 9, 9, 9], 9).into(), came)
        };
        let (elsewhere, nothing) = (
            Address::from(([10, 0, 0, 4], 4)),
            Proxied { metadata: json!({}), ..proxied("", Address::from(([10, 0, 0, 4], 4))) },
        );
        let says = OriginalDst {
            metadata: Some(MetadataKey { key: "ns".to_owned(), path: vec!["to".to_owned()] }),
            ..OriginalDst::default()
        };
        let other_port = OriginalDst { port: Some(7), ..says.clone() };
        let header = Some(&b"10.0.0.2:2"[..]);
        let all = Some(proxied("10.0.0.1:1", elsewhere));
        for (says, header, proxied, expected, invalid) in [
            (&says, header, all.clone(), Some("10.0.0.1:1"), 0),
            (&other_port, header, all, Some("10.0.0.1:7"), 0),
            (&says, header, Some(proxied("x", elsewhere)), Some("10.0.0.2:2"), 1),
            (&says, Some(&b"x"[..]), Some(proxied("x", elsewhere)), Some("10.0.0.3:3"), 2),
            (&says, None, Some(nothing.clone()), Some("10.0.0.3:3"), 0),
            (&other_port, None, Some(nothing.clone()), Some("10.0.0.3:7"), 0),
            (&OriginalDst::default(), None, Some(proxied("x", elsewhere)), Some("10.0.0.3:3"), 0),
            // One that came where it was meant to go.
            (&says, None, Some(Proxied { local, ..nothing }), None, 0),
            (&says, Some(&b"\xff"[..]), None, None, 1),
            (&says, None, None, None, 0),
        ] {
            let stats = Group::<ClusterStat>::detached(1);
            let asks = Asks { header, proxied: proxied.as_ref(), local: Some(local) };
            let found = asks.destination(says, stats.lane(0));
            assert_eq!(found.map(|to| to.to_string()).as_deref(), expected, "{asks:?}");
            assert_eq!(stats.sum(ClusterStat::OriginalDstHostInvalid), invalid, "{asks:?}");
        }
    }
}
