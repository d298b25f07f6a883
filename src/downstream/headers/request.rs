//! Owns making a client's request one that may go on: who it is from, and what it may say.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use super::{hop_by_hop::hop_by_hop, paths};
use crate::{
    admission::{self, Inadmissible},
    codec::{Known, KnownSet, RequestHead, Switch},
    downstream::{exchange::Peer, manager::Manager, serve::Worker},
    local_reply::LocalReply,
    stream::BodySize,
    worker::AddressText,
};

/// Control headers that only a trusted client may send; removed from every external request.
const EXTERNAL_REMOVED: KnownSet = KnownSet::of(&[
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyUpstreamRqTimeoutAltResponse,
    Known::XEnvoyUpstreamAltStatName,
    Known::XEnvoyHedgeOnPerTryTimeout,
    Known::XEnvoyUpstreamStreamDurationMs,
    Known::XEnvoyIpTags,
    Known::XEnvoyForceTrace,
    Known::XEnvoyInternal,
    Known::XEnvoyExpectedRqTimeoutMs,
]);

/// Removed besides where we are the edge (`use_remote_address`).
const EDGE_REMOVED: KnownSet = KnownSet::of(&[
    Known::XEnvoyOriginalPath,
    Known::XEnvoyOriginalHost,
    Known::XEnvoyDecoratorOperation,
    Known::XEnvoyDownstreamServiceCluster,
    Known::XEnvoyDownstreamServiceNode,
]);

/// Makes a client's request one that may go on.
///
/// # Errors
///
/// The reply for a request that may not.
pub(in crate::downstream) fn request(
    head: &mut RequestHead,
    manager: &Manager,
    worker: &Worker,
    peer: &Peer,
) -> Result<(), LocalReply> {
    // A CONNECT has a target and no path.
    if head.switch == Switch::Connect {
        admission::check_target(head).map_err(Inadmissible::reply)?;
    } else {
        admission::check(head).map_err(|why| {
            why.stat().into_iter().for_each(|stat| manager.stats().inc(stat));
            why.reply()
        })?;
        if let Some(rules) = &manager.paths {
            paths::normalize(head, rules, manager)?;
        }
    }
    let config = &manager.config;
    hop_by_hop(head, config.proxy_100_continue)?;
    let edge = config.use_remote_address;
    let trusted = trusted_address(head, manager, peer);
    let internal = is_internal(head, manager, trusted);

    head.headers.remove(Known::XForwardedClientCert);
    if !internal {
        head.headers.remove_all(EXTERNAL_REMOVED);
        if edge {
            head.headers.remove_all(EDGE_REMOVED);
        }
    }

    if edge && !config.skip_xff_append {
        append_forwarded_for(head, worker, peer);
    }
    if head.headers.get(Known::XForwardedProto).is_none() || (edge && config.xff_trusted_hops == 0)
    {
        head.headers.set_line(Known::XForwardedProto, b"x-forwarded-proto: http\r\n");
    }
    if let Some(address) = trusted.filter(|_| edge && !internal) {
        // Mostly it is the peer itself, whose text is at hand.
        match address == peer.remote.ip() {
            true => head.headers.set(Known::XEnvoyExternalAddress, peer.text.as_bytes()),
            false => {
                let text = AddressText::new(address);
                head.headers.set(Known::XEnvoyExternalAddress, text.as_bytes());
            }
        }
    }
    if internal {
        head.headers.set(Known::XEnvoyInternal, b"true");
    }
    if !config.via.is_empty() {
        head.headers.append_to_value(Known::Via, b", ", config.via.as_bytes());
    }
    request_id(head, manager, worker, edge && !internal);
    Ok(())
}

/// Says that there is no body where one is to be expected.
pub(in crate::downstream) fn empty_length(head: &mut RequestHead, body: BodySize) {
    let lengthless = !head.headers.has(Known::ContentLength);
    if body == BodySize::None && lengthless && head.method.announces_empty_body() {
        head.headers.append(Known::ContentLength, b"0");
    }
}

/// Whose request this is, as far as we trust what we are told.
fn trusted_address(head: &RequestHead, manager: &Manager, peer: &Peer) -> Option<IpAddr> {
    let hops = manager.config.xff_trusted_hops as usize;
    let from_header = |from_the_right: usize| {
        let header = head.headers.get(Known::XForwardedFor)?;
        let element = header.rsplit(|byte| *byte == b',').nth(from_the_right)?;
        std::str::from_utf8(element.trim_ascii()).ok()?.parse().ok()
    };
    match (manager.config.use_remote_address, hops) {
        (true, 0) => Some(peer.remote.ip()),
        (true, hops) => from_header(hops - 1).or(Some(peer.remote.ip())),
        (false, hops) => from_header(hops).or(Some(peer.remote.ip())),
    }
}

/// Whether the request comes from inside.
///
/// Observed: Envoy 1.40 trusts no address unless `internal_address_config` names it.
fn is_internal(head: &RequestHead, manager: &Manager, trusted: Option<IpAddr>) -> bool {
    let ranges = &manager.config.internal_addresses;
    if ranges.is_empty() {
        return false;
    }
    // Only a request that comes straight from its client can be internal: behind the edge it has passed
    // exactly one proxy, at the edge none.
    let passed = head.headers.get(Known::XForwardedFor);
    let straight = match manager.config.use_remote_address {
        true => passed.is_none(),
        false => passed.is_some_and(|header| !header.contains(&b',')),
    };
    if !straight {
        return false;
    }
    trusted.is_some_and(|address| ranges.iter().any(|range| range.contains(&address)))
}

/// Appends the peer, with a comma and no space. A loopback peer is named by our own address.
fn append_forwarded_for(head: &mut RequestHead, worker: &Worker, peer: &Peer) {
    let own = peer.remote.ip().is_loopback();
    let text = if own { &worker.own_address } else { &peer.text };
    head.headers.append_to_value(Known::XForwardedFor, b",", text.as_bytes());
}

/// The address others know this machine by: the source address of a packet to a far network. No
/// packet is sent.
pub fn own_address() -> IpAddr {
    let far = (Ipv4Addr::new(192, 0, 2, 1), 9);
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect(far).and_then(|()| socket.local_addr()))
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

fn request_id(head: &mut RequestHead, manager: &Manager, worker: &Worker, external: bool) {
    let config = &manager.config;
    let known = head.headers.get(Known::XRequestId).is_some();
    let keep = known && (!external || config.preserve_external_request_id);
    match (keep, config.generate_request_id) {
        (true, _) => {}
        // In the place of the client's own. Observed: Envoy 1.40.
        (false, true) => head.headers.set(Known::XRequestId, &worker.uuids.next()),
        // Nobody would replace it. Observed: Envoy 1.40.
        (false, false) => {}
    }
}

/// Tells the upstream how long we wait; empty is for ever.
pub(in crate::downstream) fn expected_timeout(head: &mut RequestHead, timeout_ms: &str) {
    match timeout_ms {
        "" => head.headers.remove(Known::XEnvoyExpectedRqTimeoutMs),
        ms => head.headers.set(Known::XEnvoyExpectedRqTimeoutMs, ms.as_bytes()),
    }
}
