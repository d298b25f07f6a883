//! Owns whom a request is taken to be from: the peer, or whom somebody we trust names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    codec::{Known, RequestHead},
    config::model::client::Detector,
    downstream::{exchange::Peer, manager::Manager, serve::Worker},
    local_reply::LocalReply,
};

/// Whom a request is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Client {
    /// Another than the peer.
    pub(super) named: Option<IpAddr>,
    /// It may be one of ours: it has passed no proxy that we do not know of.
    pub(super) straight: bool,
}

/// Finds out whom the request is from, and appends the peer to `x-forwarded-for` where that is asked for.
///
/// # Errors
///
/// The reply to a request without the header that should say so.
pub(super) fn client(
    head: &mut RequestHead,
    manager: &Manager,
    worker: &Worker,
    peer: &Peer,
) -> Result<Client, LocalReply> {
    let config = &manager.config;
    let hops = config.xff_trusted_hops;
    if config.use_remote_address {
        let straight = !head.headers.has(Known::XForwardedFor);
        let named = match hops {
            0 => None,
            hops => behind(head, hops - 1).map(|(address, _)| address),
        };
        if !config.skip_xff_append {
            append_forwarded_for(head, worker, peer);
        }
        return Ok(Client { named, straight });
    }
    if !config.client.detectors.is_empty() {
        return detected(head, &config.client.detectors, worker, peer);
    }
    Ok(match behind(head, hops) {
        Some((address, alone)) => Client { named: Some(address), straight: alone },
        None => Client { named: None, straight: false },
    })
}

/// Whom the first detector names that names anybody.
#[cold]
fn detected(
    head: &mut RequestHead,
    detectors: &[Detector],
    worker: &Worker,
    peer: &Peer,
) -> Result<Client, LocalReply> {
    for detector in detectors {
        let (found, append) = match detector {
            Detector::Hops { hops, skip_append } => (behind(head, *hops), !*skip_append),
            Detector::Cidrs { trusted, skip_append } => {
                let trusts = |address: IpAddr| trusted.iter().any(|range| range.contains(&address));
                match peer.remote.ip().is_some_and(trusts) {
                    true => (beyond(head, trusts), !*skip_append),
                    false => (None, true),
                }
            }
            Detector::Header { name, trusted, reject_with } => {
                let address = head.headers.get_name(name.as_bytes()).and_then(parsed);
                if let (None, Some(status)) = (address, reject_with) {
                    let details = "rejecting_because_detection_failed";
                    return Err(LocalReply::new(*status, "", details));
                }
                (address.map(|address| (address, *trusted)), false)
            }
        };
        if append {
            append_forwarded_for(head, worker, peer);
        }
        if let Some((address, straight)) = found {
            return Ok(Client { named: Some(address), straight });
        }
    }
    Ok(Client { named: None, straight: false })
}

/// The address in `x-forwarded-for` before the last `hops`, and whether it is the only one.
fn behind(head: &RequestHead, hops: u32) -> Option<(IpAddr, bool)> {
    let header = head.headers.get(Known::XForwardedFor)?;
    let element = header.rsplit(|byte| *byte == b',').nth(usize::try_from(hops).ok()?)?;
    Some((parsed(element)?, hops == 0 && element.len() == header.len()))
}

/// The last address in `x-forwarded-for` that is not trusted, or the first of all, and whether it is the
/// only one. Whoever wrote what is no address is not to be trusted with the rest.
fn beyond(head: &RequestHead, trusts: impl Fn(IpAddr) -> bool) -> Option<(IpAddr, bool)> {
    let header = head.headers.get(Known::XForwardedFor)?;
    let mut last = None;
    for element in header.rsplit(|byte| *byte == b',') {
        let address = parsed(element)?;
        last = Some((address, element.len() == header.len()));
        if !trusts(address) {
            break;
        }
    }
    last
}

/// An address without a port. Observed: Envoy 1.40 takes none with one.
fn parsed(element: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(element.trim_ascii()).ok()?.parse().ok()
}

/// Whether an address means this machine to itself alone. Observed: Envoy 1.40 takes 127.0.0.9 for any
/// other.
fn is_localhost(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// Appends the peer, with a comma and no space. A peer on this machine is named by our own address.
fn append_forwarded_for(head: &mut RequestHead, worker: &Worker, peer: &Peer) {
    // Who comes by a path has no address.
    let (Some(ip), Some(text)) = (peer.remote.ip(), &peer.text) else { return };
    let text = if is_localhost(ip) { &worker.own_address } else { text };
    match head.headers.get(Known::XForwardedFor) {
        Some(b"") => head.headers.set(Known::XForwardedFor, text.as_bytes()),
        _ => head.headers.append_to_value(Known::XForwardedFor, b",", text.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(forwarded_for: &str) -> RequestHead {
        let mut head = RequestHead::default();
        head.headers.append(Known::XForwardedFor, forwarded_for.as_bytes());
        head
    }

    fn shown(found: Option<(IpAddr, bool)>) -> String {
        found.map_or("none".to_owned(), |(address, alone)| {
            format!("{address}{}", if alone { " alone" } else { "" })
        })
    }

    #[test]
    fn one_address_of_each_family_is_this_machine() {
        for (address, own) in
            [("127.0.0.1", true), ("127.0.0.9", false), ("::1", true), ("10.0.0.1", false)]
        {
            assert_eq!(is_localhost(address.parse().unwrap()), own, "{address}");
        }
    }

    #[test]
    fn an_address_is_found_behind_trusted_proxies() {
        for (header, first, second) in [
            ("1.2.3.4", "1.2.3.4 alone", "none"),
            ("1.2.3.4, 10.0.0.6", "10.0.0.6", "1.2.3.4"),
            ("junk", "none", "none"),
            ("7.7.7.7,junk,10.0.0.1", "10.0.0.1", "none"),
            ("1.2.3.4,", "none", "1.2.3.4"),
            (" , 10.0.0.1 ", "10.0.0.1", "none"),
            ("fd00::1", "fd00::1 alone", "none"),
            ("[fd00::1]:80", "none", "none"),
            ("1.2.3.4:80", "none", "none"),
            ("", "none", "none"),
        ] {
            let seen = [0, 1].map(|hops| shown(behind(&head(header), hops)));
            assert_eq!(seen, [first, second], "{header:?}");
        }
    }

    #[test]
    fn an_address_is_found_beyond_those_that_are_trusted() {
        let trusts = |address: IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10);
        for (header, expected) in [
            ("1.2.3.4", "1.2.3.4 alone"),
            ("1.2.3.4, 10.0.0.6", "1.2.3.4"),
            ("9.9.9.9,1.2.3.4, 10.0.0.6,10.0.0.7", "1.2.3.4"),
            ("10.0.0.1", "10.0.0.1 alone"),
            ("10.0.0.1,10.0.0.2", "10.0.0.1"),
            ("7.7.7.7,junk,10.0.0.1", "none"),
            ("junk,7.7.7.7,10.0.0.1", "7.7.7.7"),
            ("1.2.3.4,", "none"),
        ] {
            assert_eq!(shown(beyond(&head(header), trusts)), expected, "{header:?}");
        }
    }
}
