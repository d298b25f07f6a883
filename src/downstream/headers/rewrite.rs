//! Owns what a route does to a request's path and host, and its answers without an upstream.

use crate::{
    codec::{Known, RequestHead},
    config::model::route::{
        ClusterWeight, DirectResponse, Forward, HostChange, PathChange, RouteMatch,
    },
    downstream::manager::Manager,
    local_reply::LocalReply,
};

/// Rewrites host and path as the route asks, or its share of a weighted cluster.
#[inline]
pub(in crate::downstream) fn rewrite(
    head: &mut RequestHead,
    route: &Forward,
    part: Option<&ClusterWeight>,
    rule: &RouteMatch,
    manager: &Manager,
) {
    let keeps_path = matches!(route.path_rewrite, PathChange::Keep);
    if keeps_path && matches!(route.host_rewrite, HostChange::Keep) && part.is_none() {
        return;
    }
    let tells = !manager.router().suppress_envoy_headers;
    // Of this the upstream is not told the old one. Observed: Envoy 1.40.
    if let Some(part) = part.filter(|part| !part.host_rewrite.is_empty()) {
        head.set_authority(part.host_rewrite.as_bytes());
    }
    if let Some(host) = route.new_host(head) {
        change_host(head, &host, route.append_forwarded_host, tells);
    }
    let Some(new) = route.new_path(rule, head.path()) else { return };
    let old = head.path().to_vec();
    head.set_path(&new);
    if tells {
        head.headers.set(Known::XEnvoyOriginalPath, &old);
    }
}

/// `auto_host_rewrite`: the request is for the host that was chosen, if that has a name.
#[cold]
pub(in crate::downstream) fn rewrite_to_upstream(
    head: &mut RequestHead,
    route: &Forward,
    hostname: &str,
    manager: &Manager,
) {
    if !hostname.is_empty() && head.authority() != hostname.as_bytes() {
        let tells = !manager.router().suppress_envoy_headers;
        change_host(head, hostname.as_bytes(), route.append_forwarded_host, tells);
    }
}

/// Changes the host, and tells the upstream the old one.
pub(in crate::downstream) fn change_host(
    head: &mut RequestHead,
    host: &[u8],
    appends: bool,
    tells: bool,
) {
    let old = head.authority().to_vec();
    head.set_authority(host);
    if tells {
        head.headers.set(Known::XEnvoyOriginalHost, &old);
    }
    if !appends || old.is_empty() {
        return;
    }
    match head.headers.get(Known::XForwardedHost) {
        None | Some(b"") => head.headers.set(Known::XForwardedHost, &old),
        // It is told already.
        Some(hosts) if hosts.rsplit(|byte| *byte == b',').next() == Some(&old) => {}
        Some(_) => head.headers.append_to_value(Known::XForwardedHost, b",", &old),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed: Envoy 1.40.
    #[test]
    fn the_upstream_is_told_the_hosts_before_once() {
        for (forwarded, expected) in [
            (None, "x"),
            (Some(""), "x"),
            (Some("a"), "a,x"),
            (Some("a,x"), "a,x"),
            (Some("a, x"), "a, x,x"),
            (Some("x,a"), "x,a,x"),
        ] {
            let mut head = RequestHead::default();
            head.set_authority(b"x");
            if let Some(hosts) = forwarded {
                head.headers.append(Known::XForwardedHost, hosts.as_bytes());
            }
            change_host(&mut head, b"new", true, true);
            let told = head.headers.get(Known::XForwardedHost).map(String::from_utf8_lossy);
            assert_eq!(told.as_deref(), Some(expected), "{forwarded:?}");
            assert_eq!(head.headers.get(Known::XEnvoyOriginalHost), Some(&b"x"[..]));
        }
    }
}
