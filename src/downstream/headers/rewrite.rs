//! Owns what a route does to a request's path and host, and its replies without an upstream.

use crate::{
    codec::{Known, RequestHead},
    config::model::route::{
        DirectResponse, Forward, PathMatch, Redirect, RedirectPath, RouteMatch,
    },
    downstream::manager::Manager,
    local_reply::LocalReply,
};

/// The length of the path that a route's rule has taken, for `prefix_rewrite`.
fn matched_prefix(rule: &RouteMatch) -> Option<usize> {
    match &rule.path {
        PathMatch::Prefix(prefix) | PathMatch::Exact(prefix) => Some(prefix.len()),
        PathMatch::Regex(_) => None,
    }
}

/// Rewrites path and host as the route asks; gives the old path back if it changed.
pub(in crate::downstream) fn rewrite(
    head: &mut RequestHead,
    route: &Forward,
    rule: &RouteMatch,
    manager: &Manager,
) -> Option<Box<[u8]>> {
    let tells = !manager.router().suppress_envoy_headers;
    if !route.host_rewrite.is_empty() {
        let old = head.authority().to_vec();
        head.set_authority(route.host_rewrite.as_bytes());
        if tells {
            head.headers.set(Known::XEnvoyOriginalHost, &old);
        }
    }
    let prefix = matched_prefix(rule).filter(|_| !route.prefix_rewrite.is_empty())?;
    let old = head.path().to_vec();
    let rest = old.get(prefix..).unwrap_or_default();
    let new = [route.prefix_rewrite.as_bytes(), rest].concat();
    head.set_path(&new);
    if tells {
        head.headers.set(Known::XEnvoyOriginalPath, &old);
    }
    Some(old.into())
}

/// The reply of a `direct_response` route. One that says `Created` or redirects names the request's own
/// address (RFC 9110, 15.3.2). Observed: Envoy 1.40.
pub(in crate::downstream) fn direct_response(
    direct: &DirectResponse,
    request: &RequestHead,
) -> LocalReply {
    let body = String::from_utf8_lossy(&direct.body).into_owned();
    let named = matches!(direct.status, 201 | 300..400);
    let location = named.then(|| {
        let scheme = request.scheme.as_str().as_bytes();
        (Known::Location, [scheme, b"://", request.authority(), request.path()].concat())
    });
    LocalReply {
        body: body.into(),
        headers: location.into_iter().collect(),
        ..LocalReply::new(direct.status, "", "direct_response")
    }
}

/// The reply of a `redirect` route.
pub(in crate::downstream) fn redirect(
    redirect: &Redirect,
    rule: &RouteMatch,
    request: &RequestHead,
) -> LocalReply {
    let mut location = Vec::new();
    let own = request.scheme.as_str().as_bytes();
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
    LocalReply { headers: vec![(Known::Location, location)], ..reply }
}

/// A host without its port; the colons of a bracketed IPv6 address are not one.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host[at..].contains(&b']') => &host[..at],
        _ => host,
    }
}
