//! Owns what a route does to a request's path and host, and its answers without an upstream.

use crate::{
    codec::{Known, RequestHead},
    config::model::route::{
        ClusterWeight, DirectResponse, Forward, HostChange, PathChange, PathMatch, RouteMatch,
    },
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
            let rest = path.get(taken.len()..).unwrap_or_default();
            let slash = rest.strip_prefix(b"/").filter(|_| prefix.ends_with(b"/"));
            Some(slash.unwrap_or(rest))
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
    if let Some(host) = new_host(head, route) {
        change_host(head, &host, route.append_forwarded_host, tells);
    }
    let Some(new) = new_path(head.path(), route, rule) else { return };
    let old = head.path().to_vec();
    head.set_path(&new);
    if tells {
        head.headers.set(Known::XEnvoyOriginalPath, &old);
    }
}

/// The host that the route asks for, if it asks for one.
fn new_host(head: &RequestHead, route: &Forward) -> Option<Vec<u8>> {
    match &route.host_rewrite {
        HostChange::Keep | HostChange::Upstream => None,
        HostChange::Literal(host) => Some(host.as_bytes().to_vec()),
        HostChange::Header(name) => {
            let host = head.value(name).filter(|host| !host.is_empty());
            host.map(<[u8]>::to_vec)
        }
        HostChange::Path(substitution) => Some(substitution.apply(split_query(head.path()).0)),
    }
}

/// The path with its query that the route asks for, if it asks for one.
///
/// Observed: Envoy 1.40. What comes to nothing changes nothing.
fn new_path(path: &[u8], route: &Forward, rule: &RouteMatch) -> Option<Vec<u8>> {
    let (bare, query) = split_query(path);
    let mut new = match (&route.path_rewrite, &rule.path) {
        (PathChange::Keep, _) => return None,
        (PathChange::Prefix(prefix), _) => with_prefix(bare, rule, prefix),
        (PathChange::Regex(substitution), _) => substitution.apply(bare),
        (PathChange::Template(rewrite), PathMatch::Template(template)) => {
            rewrite.apply(template, bare)?
        }
        (PathChange::Template(_), _) => return None,
    };
    if new.is_empty() {
        return None;
    }
    new.extend_from_slice(query);
    Some(new)
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
fn change_host(head: &mut RequestHead, host: &[u8], appends: bool, tells: bool) {
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
    use crate::{
        config::model::route::{Attempts, ClusterChoice, Substitution},
        uri_template::{PathRewrite, PathTemplate},
    };

    fn rule(path: PathMatch) -> RouteMatch {
        RouteMatch { path, case_sensitive: true, conditions: Vec::new() }
    }

    fn route(path_rewrite: PathChange, host_rewrite: HostChange) -> Forward {
        Forward {
            cluster: ClusterChoice::Header(Vec::new()),
            timeout: None,
            timeout_ms: String::new(),
            attempts: Attempts::default(),
            idle_timeout: None,
            path_rewrite,
            host_rewrite,
            append_forwarded_host: true,
            cluster_not_found_status: 503,
        }
    }

    /// Observed: Envoy 1.40.
    #[test]
    fn a_path_is_rewritten_by_what_its_route_has_taken_and_keeps_its_query() {
        let text = str::to_owned;
        let prefix = |path: &str| PathMatch::Prefix(text(path));
        let put = |path: &str| PathChange::Prefix(text(path));
        let regex = |regex, text| PathChange::Regex(Substitution::new(regex, text).unwrap());
        let template = || PathTemplate::new("/t/{x}/{y=**}").unwrap();
        let anew = PathRewrite::new("/{y}/of/{x}", &template()).unwrap();
        let any = regex::bytes::Regex::new("/rg/.*").unwrap();
        for (taken, change, path, expected) in [
            (prefix("/p1/"), put("/"), "/p1/a?b", "/a?b"),
            (prefix("/p1"), put("/"), "/p1/a", "//a"),
            (prefix("/p2"), put("/x?k=v&"), "/p2/a?b", "/x?k=v&/a?b"),
            (PathMatch::Exact(text("/e")), put("/f"), "/e?b", "/f?b"),
            (PathMatch::Separated(text("/ps")), put("/new"), "/ps/a?b", "/new/a?b"),
            (PathMatch::Separated(text("/ps")), put("/"), "/ps/a", "/a"),
            (PathMatch::Separated(text("/ps")), put("/"), "/ps", "/"),
            (PathMatch::Regex(any), put("/new"), "/rg/a?b", "/new?b"),
            (prefix("/"), regex("one", "two"), "/one/one?one", "/two/two?one"),
            (prefix("/"), regex("nomatch", "x"), "/a?b", "/a?b"),
            (
                PathMatch::Template(template()),
                PathChange::Template(anew),
                "/t/1/2/3?q",
                "/2/3/of/1?q",
            ),
        ] {
            let route = route(change, HostChange::Keep);
            let new = new_path(path.as_bytes(), &route, &rule(taken));
            assert_eq!(new.map(|new| String::from_utf8(new).unwrap()).as_deref(), Some(expected));
        }
        let to_nothing = route(regex("/a", ""), HostChange::Keep);
        assert_eq!(new_path(b"/a?b", &to_nothing, &rule(prefix("/"))), None);
    }

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

    #[test]
    fn a_host_is_what_the_route_a_header_or_the_path_says() {
        let path = Substitution::new("^/hp/([^/]+)/.*$", r"\1.test").unwrap();
        for (change, expected) in [
            (HostChange::Keep, None),
            (HostChange::Upstream, None),
            (HostChange::Literal("l".to_owned()), Some("l")),
            (HostChange::Header(b"x-new".to_vec()), Some("n")),
            (HostChange::Header(b"x-empty".to_vec()), None),
            (HostChange::Header(b"x-none".to_vec()), None),
            (HostChange::Header(b":method".to_vec()), Some("GET")),
            (HostChange::Path(path), Some("tenant.test")),
        ] {
            let mut head = RequestHead::default();
            head.method = crate::codec::Method::Get;
            head.set_path(b"/hp/tenant/x?q");
            head.headers.append_name(b"x-new", b"n");
            head.headers.append_name(b"x-empty", b"");
            let host = new_host(&head, &route(PathChange::Keep, change));
            assert_eq!(host.map(|host| String::from_utf8(host).unwrap()).as_deref(), expected);
        }
    }
}
