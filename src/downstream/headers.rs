//! Owns what the connection manager and the router do to headers on their way through.
//!
//! Source: Envoy's "HTTP header manipulation" documents; every rule was observed on Envoy 1.40.

use std::{
    net::{IpAddr, Ipv4Addr, UdpSocket},
    time::Duration,
};

use super::{
    exchange::Peer, local_reply::LocalReply, manager::Manager, serve::Worker, stream::BodySize,
};
use crate::worker::AddressText;
use crate::{
    access_log::ResponseFlag,
    codec::{HeaderBlock, Known, KnownSet, Method, RequestHead, ResponseHead},
    config::model::{
        http::ServerHeader,
        route::{DirectResponse, Forward, PathMatch, Redirect, RedirectPath, RouteMatch},
    },
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

/// Headers between two neighbours only (RFC 9110, 7.6.1, and what Envoy takes for such).
const REQUEST_HOP_BY_HOP: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Upgrade,
    Known::TransferEncoding,
    Known::Http2Settings,
]);

const RESPONSE_HOP_BY_HOP: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Upgrade,
    Known::TransferEncoding,
]);

/// Makes a client's request one that may go on.
///
/// # Errors
///
/// The reply for a request that may not.
pub(super) fn request(
    head: &mut RequestHead,
    manager: &Manager,
    worker: &Worker,
    peer: &Peer,
    body: BodySize,
) -> Result<(), LocalReply> {
    check(head)?;
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
        head.headers.set(Known::XForwardedProto, b"http");
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
    request_id(head, manager, worker, edge && !internal);
    if !config.via.is_empty() {
        head.headers.append(Known::Via, config.via.as_bytes());
    }
    let lengthless = head.headers.get(Known::ContentLength).is_none();
    if body == BodySize::None && lengthless && head.method.announces_empty_body() {
        head.headers.set(Known::ContentLength, b"0");
    }
    Ok(())
}

/// Refuses targets that Envoy refuses after parsing.
fn check(head: &RequestHead) -> Result<(), LocalReply> {
    if head.method == Method::Connect {
        return Err(LocalReply::route_not_found().closing());
    }
    if !head.has_authority() {
        return Err(LocalReply::new(400, "", "missing_host_header").closing());
    }
    // Observed: Envoy 1.40. A query without a type means nothing.
    let untyped = || head.headers.get(Known::ContentType).is_none_or(<[u8]>::is_empty);
    if head.method == Method::Query && untyped() {
        return Err(LocalReply::new(400, "", "query_missing_content_type").closing());
    }
    let path = head.path();
    if path.first() != Some(&b'/') {
        return Err(LocalReply::new(404, "", "absolute_path_rejected"));
    }
    if path.contains(&b'#') {
        return Err(LocalReply::new(400, "", "path_normalization_failed").closing());
    }
    let upgrade =
        head.headers.get(Known::Upgrade).is_some_and(|value| !value.eq_ignore_ascii_case(b"h2c"));
    let asked = || {
        let connection = head.headers.get(Known::Connection).unwrap_or_default();
        tokens(connection).any(|token| token.eq_ignore_ascii_case(b"upgrade"))
    };
    if upgrade && asked() {
        return Err(LocalReply::new(403, "", "upgrade_failed").closing());
    }
    Ok(())
}

/// Removes what was meant for us alone.
fn hop_by_hop(head: &mut RequestHead, keep_expect: bool) -> Result<(), LocalReply> {
    let headers = &mut head.headers;
    if headers.has(Known::Connection) {
        remove_named_by_connection(headers)?;
    }
    headers.remove_all(REQUEST_HOP_BY_HOP);
    // What we answer ourselves (100 Continue) does not go on; expectations we do not know do.
    let continues = |value: &[u8]| value.eq_ignore_ascii_case(b"100-continue");
    if !keep_expect && head_expects(headers, continues) {
        headers.remove(Known::Expect);
    }
    // RFC 9110, 10.1.4: of `te` only `trailers` may go on.
    let trailers = |te: &[u8]| tokens(te).any(|token| token.eq_ignore_ascii_case(b"trailers"));
    match headers.get(Known::Te).map(|te| (te == b"trailers", trailers(te))) {
        None | Some((true, _)) => {}
        Some((false, true)) => headers.set(Known::Te, b"trailers"),
        Some((false, false)) => headers.remove(Known::Te),
    }
    Ok(())
}

/// Headers that a `connection` header may name: fewer than this.
const CONNECTION_TOKENS_MAX: usize = 10;

/// Removes the headers that `connection` names (RFC 9110, 7.6.1), unless they are such that somebody
/// behind us would miss them. Observed: Envoy 1.40, which refuses the same and counts the same.
fn remove_named_by_connection(headers: &mut HeaderBlock) -> Result<(), LocalReply> {
    let connection: Vec<u8> =
        headers.get_all(Known::Connection).collect::<Vec<_>>().join(&b","[..]).to_ascii_lowercase();
    if tokens(&connection).count() >= CONNECTION_TOKENS_MAX {
        return Err(connection_rejected());
    }
    for token in tokens(&connection).filter(|token| !is_connection_option(token)) {
        match token {
            b"x-forwarded-for" | b"x-forwarded-host" | b"x-forwarded-proto" | [b':', ..] => {
                return Err(connection_rejected());
            }
            b"host" => return Err(LocalReply::new(400, "", "missing_host_header").closing()),
            name => headers.remove_name(name),
        }
    }
    Ok(())
}

fn connection_rejected() -> LocalReply {
    LocalReply::new(400, "Bad Request", "http1.connection_header_rejected")
        .flagged(ResponseFlag::DownstreamProtocolError)
        .closing()
}

fn head_expects(headers: &HeaderBlock, is: impl Fn(&[u8]) -> bool) -> bool {
    headers.get(Known::Expect).is_some_and(is)
}

fn is_connection_option(token: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"te", b"upgrade", b"http2-settings"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}

/// The elements of a comma-separated list, trimmed, without empty ones.
fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
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
    if !manager.config.use_remote_address {
        // Only a request that passed exactly one proxy can be internal.
        let header = head.headers.get(Known::XForwardedFor);
        if header.is_none_or(|header| header.contains(&b',')) {
            return false;
        }
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
    if known && !keep {
        head.headers.remove(Known::XRequestId);
    }
    if !keep && config.generate_request_id {
        head.headers.append(Known::XRequestId, &worker.uuids.next());
    }
}

/// Tells the upstream how long we wait.
pub(super) fn expected_timeout(head: &mut RequestHead, timeout: Option<Duration>) {
    match timeout {
        Some(timeout) => {
            let mut text = itoa::Buffer::new();
            let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            head.headers.set(Known::XEnvoyExpectedRqTimeoutMs, text.format(ms).as_bytes());
        }
        None => head.headers.remove(Known::XEnvoyExpectedRqTimeoutMs),
    }
}

/// The length of the path that a route's rule has taken, for `prefix_rewrite`.
pub(super) fn matched_prefix(rule: &RouteMatch) -> Option<usize> {
    match &rule.path {
        PathMatch::Prefix(prefix) | PathMatch::Exact(prefix) => Some(prefix.len()),
        PathMatch::Regex(_) => None,
    }
}

/// Rewrites path and host as the route asks; gives the old path back if it changed.
pub(super) fn rewrite(
    head: &mut RequestHead,
    route: &Forward,
    prefix: Option<usize>,
) -> Option<Vec<u8>> {
    if !route.host_rewrite.is_empty() {
        let old = head.authority().to_vec();
        head.set_authority(route.host_rewrite.as_bytes());
        head.headers.set(Known::XEnvoyOriginalHost, &old);
    }
    let prefix = prefix.filter(|_| !route.prefix_rewrite.is_empty())?;
    let old = head.path().to_vec();
    let rest = old.get(prefix..).unwrap_or_default();
    let new = [route.prefix_rewrite.as_bytes(), rest].concat();
    head.set_path(&new);
    head.headers.set(Known::XEnvoyOriginalPath, &old);
    Some(old)
}

/// Makes an upstream's response one that may go on.
pub(super) fn response(
    head: &mut ResponseHead,
    manager: &Manager,
    worker: &Worker,
    service_time: Option<Duration>,
    request: &RequestHead,
) {
    let headers = &mut head.headers;
    headers.remove_all(RESPONSE_HOP_BY_HOP);
    if let Some(waited) = service_time {
        let mut text = itoa::Buffer::new();
        let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        headers.set(Known::XEnvoyUpstreamServiceTime, text.format(ms).as_bytes());
    }
    if headers.get(Known::Date).is_none() {
        worker.clock.with_date(|date| headers.append(Known::Date, date));
    }
    server_header(head, manager, true);
    if manager.config.always_set_request_id_in_response
        && let Some(id) = request.headers.get(Known::XRequestId)
    {
        head.headers.set(Known::XRequestId, id);
    }
}

fn server_header(head: &mut ResponseHead, manager: &Manager, from_upstream: bool) {
    let name = manager.config.server_name.as_bytes();
    match manager.config.server_header {
        ServerHeader::Overwrite => head.headers.set(Known::Server, name),
        ServerHeader::AppendIfAbsent if head.headers.get(Known::Server).is_none() => {
            head.headers.append(Known::Server, name);
        }
        ServerHeader::AppendIfAbsent => {}
        ServerHeader::PassThrough => {
            debug_assert!(from_upstream || head.headers.get(Known::Server).is_none());
        }
    }
}

/// Whether the client speaks gRPC, whose errors are answers of status 200.
pub(super) fn is_grpc(request: &RequestHead) -> bool {
    let Some(kind) = request.headers.get(Known::ContentType) else { return false };
    match kind.strip_prefix(b"application/grpc") {
        Some(rest) => rest.is_empty() || rest.starts_with(b"+"),
        None => false,
    }
}

/// What a reply of our own answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local {
    /// A gRPC request, whose errors are answers of status 200.
    pub(super) grpc: bool,
    /// A HEAD request, whose answer has no body.
    pub(super) to_head: bool,
    /// A request that is not complete: its rest is nobody's, and the connection ends.
    pub(super) unfinished: bool,
}

/// Fills in the head of a reply of our own.
pub(super) fn local_reply(
    head: &mut ResponseHead,
    reply: &LocalReply,
    Local { grpc, to_head, unfinished }: Local,
    manager: &Manager,
    worker: &Worker,
) {
    head.clear();
    head.status = if grpc { 200 } else { reply.status };
    let headers = &mut head.headers;
    if reply.overloaded {
        headers.append(Known::XEnvoyOverloaded, b"true");
    }
    if let Some(location) = &reply.location {
        headers.append(Known::Location, location);
    }
    if grpc {
        headers.append(Known::ContentType, b"application/grpc");
        let mut text = itoa::Buffer::new();
        headers.append(Known::GrpcStatus, text.format(grpc_status(reply.status)).as_bytes());
        if !reply.body.is_empty() {
            headers.append(Known::GrpcMessage, &percent_encoded(reply.body.as_bytes()));
        }
    } else if !reply.body.is_empty() {
        if !to_head {
            let mut text = itoa::Buffer::new();
            headers.append(Known::ContentLength, text.format(reply.body.len()).as_bytes());
        }
        headers.append(Known::ContentType, b"text/plain");
    }
    worker.clock.with_date(|date| headers.append(Known::Date, date));
    server_header(head, manager, false);
    head.close = unfinished || reply.close;
}

/// The gRPC status for an HTTP status. Source: gRPC, "HTTP to gRPC Status Code Mapping".
fn grpc_status(status: u16) -> u8 {
    match status {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

/// gRPC's percent-encoding of a status message. Source: gRPC over HTTP2, "Percent-Encoded".
fn percent_encoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        match byte {
            b' '..=b'~' if *byte != b'%' => out.push(*byte),
            byte => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                let (high, low) = (byte >> 4, byte & 15);
                out.extend([b'%', HEX[usize::from(high)], HEX[usize::from(low)]]);
            }
        }
    }
    out
}

/// The reply of a `direct_response` route.
pub(super) fn direct_response(direct: &DirectResponse) -> LocalReply {
    let body = String::from_utf8_lossy(&direct.body).into_owned();
    LocalReply { body: body.into(), ..LocalReply::new(direct.status, "", "direct_response") }
}

/// The reply of a `redirect` route.
pub(super) fn redirect(
    redirect: &Redirect,
    rule: &RouteMatch,
    request: &RequestHead,
) -> LocalReply {
    let mut location = Vec::new();
    let own = request.headers.get(Known::XForwardedProto).unwrap_or(b"http");
    let scheme = if redirect.scheme.is_empty() { own } else { redirect.scheme.as_bytes() };
    location.extend_from_slice(scheme);
    location.extend_from_slice(b"://");
    let host =
        if redirect.host.is_empty() { request.authority() } else { redirect.host.as_bytes() };
    match redirect.port {
        0 => location.extend_from_slice(host),
        port => {
            location.extend_from_slice(without_port(host));
            location.push(b':');
            location.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
    }
    let path = request.path();
    let (bare, query) = match path.iter().position(|byte| *byte == b'?') {
        Some(at) => path.split_at(at),
        None => (path, &b""[..]),
    };
    let query = if redirect.strip_query { b"" } else { query };
    match &redirect.path {
        RedirectPath::Keep => location.extend_from_slice(bare),
        RedirectPath::Replace(new) => location.extend_from_slice(new.as_bytes()),
        RedirectPath::Prefix(new) => {
            location.extend_from_slice(new.as_bytes());
            let prefix = matched_prefix(rule).unwrap_or(0);
            location.extend_from_slice(bare.get(prefix..).unwrap_or_default());
        }
    }
    // A replacement with a query of its own keeps that one.
    if !matches!(&redirect.path, RedirectPath::Replace(new) if new.contains('?')) {
        location.extend_from_slice(query);
    }
    let reply = LocalReply::new(redirect.status, "", "direct_response");
    LocalReply { location: Some(location), ..reply }
}

/// A host without its port; the colons of a bracketed IPv6 address are not one.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host[at..].contains(&b']') => &host[..at],
        _ => host,
    }
}

/// The head of `100 Continue`.
pub(super) fn continue_head(head: &mut ResponseHead) {
    head.clear();
    head.status = 100;
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn after(connection: &[&str]) -> Result<Vec<String>, Cow<'static, str>> {
        let mut head = RequestHead::default();
        for value in connection {
            head.headers.append(Known::Connection, value.as_bytes());
        }
        for name in ["x-a", "x-b", "content-length", "te", "cookie"] {
            head.headers.append_name(name.as_bytes(), b"trailers");
        }
        hop_by_hop(&mut head, false).map_err(|reply| reply.details)?;
        let names = head.headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned());
        Ok(names.collect())
    }

    #[test]
    fn a_connection_header_takes_with_it_what_it_names_but_not_what_others_rely_on() {
        for (connection, left) in [
            (&["close"][..], &["x-a", "x-b", "content-length", "te", "cookie"][..]),
            (&["X-A, te , upgrade"], &["x-b", "content-length", "te", "cookie"]),
            (&["x-a", "cookie"], &["x-b", "content-length", "te"]),
            (&["content-length"], &["x-a", "x-b", "te", "cookie"]),
            (&[",,,,,,,,,,,x-a"], &["x-b", "content-length", "te", "cookie"]),
        ] {
            assert_eq!(after(connection).unwrap(), left, "{connection:?}");
        }
        for (connection, details) in [
            ("Host", "missing_host_header"),
            ("X-Forwarded-For", "http1.connection_header_rejected"),
            ("x-a, x-forwarded-proto", "http1.connection_header_rejected"),
            (":path", "http1.connection_header_rejected"),
            ("a,b,c,d,e,f,g,h,i,j", "http1.connection_header_rejected"),
        ] {
            assert_eq!(after(&[connection]).unwrap_err(), details, "{connection}");
        }
    }
}
