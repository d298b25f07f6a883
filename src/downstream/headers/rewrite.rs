//! Owns what a route does to a request's path and host, and its replies without an upstream.

use crate::{
    codec::{Known, RequestHead},
    config::model::route::{DirectResponse, Forward, PathMatch, RouteMatch},
    downstream::manager::Manager,
    local_reply::LocalReply,
};

/// A path of which what the route's rule has taken is replaced by another text; `path` has no query. A rule
/// that is no text has taken all of it.
///
/// Observed: Envoy 1.40. One slash is enough between `/` and what follows a `path_separated_prefix`.
pub(super) fn with_prefix(path: &[u8], rule: &RouteMatch, prefix: &str) -> Vec<u8> {
    let prefix = prefix.as_bytes();
    let rest = match &rule.path {
        PathMatch::Prefix(taken) | PathMatch::Exact(taken) => path.get(taken.len()..),
        PathMatch::Separated(taken) => {
            let rest = path.get(taken.len()..);
            rest.map(|rest| {
                rest.strip_prefix(b"/").filter(|_| prefix.ends_with(b"/")).unwrap_or(rest)
            })
        }
        PathMatch::Regex(_) | PathMatch::Template(_) | PathMatch::Connect => None,
    };
    [prefix, rest.unwrap_or_default()].concat()
}

/// A path before its query, and the query with its `?`.
pub(super) fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => path.split_at(at),
        None => (path, b""),
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
    if route.prefix_rewrite.is_empty() {
        return None;
    }
    let old = head.path().to_vec();
    let (path, query) = split_query(&old);
    let new = [&with_prefix(path, rule, &route.prefix_rewrite), query].concat();
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
        let scheme = request.headers.get(Known::XForwardedProto).unwrap_or(b"http");
        (Known::Location, [scheme, b"://", request.authority(), request.path()].concat())
    });
    LocalReply {
        body: body.into(),
        headers: location.into_iter().collect(),
        ..LocalReply::new(direct.status, "", "direct_response")
    }
}
