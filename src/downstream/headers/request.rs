//! Owns making a client's request one that may go on: who it is from, and what it may say.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    time::Duration,
};

use super::{
    client::{Client, client},
    client_certificate::client_certificate,
    hop_by_hop::hop_by_hop,
    paths, referer,
};
use crate::{
    admission::{self, Inadmissible},
    codec::{Known, KnownSet, RequestHead, Scheme, Switch},
    config::model::{
        client::{ForwardProto, UserAgent},
        http::InternalAddresses,
    },
    downstream::{exchange::Peer, manager::Manager, serve::Worker},
    local_reply::LocalReply,
    stream::BodySize,
    worker::{AddressText, UUID_BYTES},
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

/// Makes a client's request one that may go on; gives back whom it is from, if not from the peer.
///
/// # Errors
///
/// The reply for a request that may not.
pub(in crate::downstream) fn request(
    head: &mut RequestHead,
    manager: &Manager,
    worker: &Worker,
    peer: &Peer,
) -> Result<Option<IpAddr>, LocalReply> {
    // A CONNECT has a target and no path.
    if head.switch == Switch::Connect {
        admission::check_target(head).map_err(Inadmissible::reply)?;
    } else {
        admission::check(head).map_err(|why| {
            why.stat().into_iter().for_each(|stat| manager.stats().inc(stat));
            bad_request(why.reply(), manager)
        })?;
        if let Some(rules) = &manager.paths {
            paths::normalize(head, rules, manager).map_err(|reply| bad_request(reply, manager))?;
        }
    }
    let config = &manager.config;
    hop_by_hop(head, config.proxy_100_continue)?;
    referer::sanitize(head);
    let edge = config.use_remote_address;
    head.headers.remove(Known::XEnvoyInternal);
    let client = client(head, manager, worker, peer)?;
    let internal = is_internal(manager, peer, client);
    scheme(head, manager, peer);

    if internal {
        head.headers.append(Known::XEnvoyInternal, b"true");
    } else {
        head.headers.remove_all(EXTERNAL_REMOVED);
        if edge {
            head.headers.remove_all(EDGE_REMOVED);
        }
    }
    if let Some(agent) = &config.client.user_agent {
        add_user_agent(head, agent);
    }
    if !config.via.is_empty() {
        head.headers.append_to_value(Known::Via, b", ", config.via.as_bytes());
    }
    if edge && !internal {
        match (client.named, &peer.text) {
            (Some(address), _) => {
                let text = AddressText::new(address);
                head.headers.set(Known::XEnvoyExternalAddress, text.as_bytes());
            }
            // Its text is at hand.
            (None, Some(text)) => head.headers.set(Known::XEnvoyExternalAddress, text.as_bytes()),
            // What a client says of itself is not to be believed.
            (None, None) => head.headers.remove(Known::XEnvoyExternalAddress),
        }
    }
    request_id(head, manager, worker, edge && !internal);
    client_certificate(head, &config.client.certificate, peer);
    Ok(client.named)
}

/// A client whose request is bad may go on only where that is asked for.
///
/// Source: `stream_error_on_invalid_http_message`. Observed: Envoy 1.40 goes on after no other error.
fn bad_request(reply: LocalReply, manager: &Manager) -> LocalReply {
    let goes_on = reply.status == 400 && manager.config.goes_on_after_bad_request;
    LocalReply { close: reply.close && !goes_on, ..reply }
}

/// Says which protocol the client has spoken, and on which port.
fn scheme(head: &mut RequestHead, manager: &Manager, peer: &Peer) {
    let config = &manager.config;
    // What a client says of itself counts for nothing at the edge.
    let trusted = !config.use_remote_address || config.xff_trusted_hops > 0;
    match head.headers.get(Known::XForwardedProto) {
        Some(said) if trusted => {
            if head.scheme == Scheme::Unset {
                head.scheme = Scheme::parse(said);
            }
        }
        _ if spoke_https(&config.client.forward_proto, peer) => {
            head.headers.set_line(Known::XForwardedProto, b"x-forwarded-proto: https\r\n");
            if head.scheme == Scheme::Unset {
                head.scheme = Scheme::Https;
            }
        }
        _ => head.headers.set_line(Known::XForwardedProto, b"x-forwarded-proto: http\r\n"),
    }
    let options = &config.client;
    if options.append_port
        && (!trusted || head.headers.get_name(FORWARDED_PORT).is_none())
        && let Some(port) = peer.local.port()
    {
        let port = itoa::Buffer::new().format(port).to_owned();
        head.headers.set_name(FORWARDED_PORT, port.as_bytes());
    }
    if let Some(is_https) = options.scheme_is_https {
        head.scheme = if is_https { Scheme::Https } else { Scheme::Http };
        head.headers.set(Known::XForwardedProto, head.scheme.as_str().as_bytes());
    }
}

/// Whether the client spoke TLS, with us or with whoever took its connection.
///
/// Source: `forward_proto_config`, which speaks of connections whose address was restored.
fn spoke_https(ports: &ForwardProto, peer: &Peer) -> bool {
    let restored = peer.proxied.as_ref().is_some_and(|proxied| proxied.is_restored(peer.local));
    match peer.local.port().filter(|_| restored) {
        Some(port) if ports.https.contains(&port) => true,
        Some(port) if ports.http.contains(&port) => false,
        _ => peer.is_tls(),
    }
}

const FORWARDED_PORT: &[u8] = b"x-forwarded-port";

/// Source: `add_user_agent`.
fn add_user_agent(head: &mut RequestHead, agent: &UserAgent) {
    let headers = &mut head.headers;
    headers.set(Known::XEnvoyDownstreamServiceCluster, agent.cluster.as_bytes());
    if headers.get(Known::UserAgent).is_none_or(<[u8]>::is_empty) {
        headers.set(Known::UserAgent, agent.cluster.as_bytes());
    }
    if !agent.node.is_empty() {
        headers.set(Known::XEnvoyDownstreamServiceNode, agent.node.as_bytes());
    }
}

/// Says that there is no body where one is to be expected.
pub(in crate::downstream) fn empty_length(head: &mut RequestHead, body: BodySize) {
    let lengthless = !head.headers.has(Known::ContentLength);
    if body == BodySize::None && lengthless && head.method.announces_empty_body() {
        head.headers.append(Known::ContentLength, b"0");
    }
}

/// Whether the request comes from inside.
///
/// Observed: Envoy 1.40 trusts no address unless `internal_address_config` names it.
fn is_internal(manager: &Manager, peer: &Peer, client: Client) -> bool {
    let InternalAddresses { ranges, unix_sockets } = &manager.config.internal_addresses;
    if !client.straight {
        return false;
    }
    match client.named.or_else(|| peer.remote.ip()) {
        Some(address) => ranges.iter().any(|range| range.contains(&address)),
        None => *unix_sockets,
    }
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
    if !config.generate_request_id {
        return;
    }
    let known = head.headers.get(Known::XRequestId).is_some_and(|id| !id.is_empty());
    match known && (!external || config.preserve_external_request_id) {
        // In the place of the client's own. Observed: Envoy 1.40.
        false => head.headers.set(Known::XRequestId, &worker.uuids.next()),
        true if external && config.client.pack_trace_reason => untraced(head),
        true => {}
    }
}

/// A client from outside may not decide that its request is traced: the digit of its id that says so
/// says no. Observed: Envoy 1.40.
fn untraced(head: &mut RequestHead) {
    const REASON: usize = 14;
    let id =
        head.headers.get(Known::XRequestId).and_then(|id| <[u8; UUID_BYTES]>::try_from(id).ok());
    if let Some(mut id) = id {
        id[REASON] = b'4';
        head.headers.set(Known::XRequestId, &id);
    }
}

/// The wait that a `grpc-timeout` asks for: up to eight digits and a unit.
///
/// Source: gRPC over HTTP2, "Timeout"; what is finer than a millisecond is rounded up.
pub(in crate::downstream) fn grpc_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.trim_ascii().split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_millis(number.div_ceil(1000)),
        b'n' => Duration::from_millis(number.div_ceil(1_000_000)),
        _ => return None,
    })
}

/// Tells the upstream how long we wait; empty is for ever.
pub(in crate::downstream) fn expected_timeout(head: &mut RequestHead, timeout_ms: &str) {
    match timeout_ms {
        "" => head.headers.remove(Known::XEnvoyExpectedRqTimeoutMs),
        ms => head.headers.set(Known::XEnvoyExpectedRqTimeoutMs, ms.as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grpc_timeout_is_digits_and_a_unit() {
        for (text, ms) in [
            ("2H", Some(7_200_000)),
            ("3M", Some(180_000)),
            ("4S", Some(4_000)),
            ("250m", Some(250)),
            ("1500u", Some(2)),
            ("1n", Some(1)),
            ("99999999S", Some(99_999_999_000)),
            ("100000000S", None),
            ("S", None),
            ("5", None),
            ("-5S", None),
            ("5x", None),
            ("", None),
        ] {
            let expected = ms.map(Duration::from_millis);
            assert_eq!(grpc_timeout(text.as_bytes()), expected, "{text:?}");
        }
    }
}
