//! Owns the path and host that a route makes of a request's own.

use crate::{
    codec::RequestHead,
    config::model::route::{Forward, HostChange, PathChange, PathMatch, RouteMatch},
};

impl Forward {
    /// The host that the route asks for, if it asks for one.
    pub fn new_host(&self, request: &RequestHead) -> Option<Vec<u8>> {
        match &self.host_rewrite {
            HostChange::Keep | HostChange::Upstream | HostChange::Format(_) => None,
            HostChange::Literal(host) => Some(host.as_bytes().to_vec()),
            HostChange::Header(name) => {
                let host = request.value(name).filter(|host| !host.is_empty());
                host.map(<[u8]>::to_vec)
            }
            HostChange::Path(substitution) => {
                Some(substitution.apply(split_query(request.path()).0))
            }
        }
    }

    /// The path with its query that the route asks for, if it asks for one.
    ///
    /// Observed: Envoy 1.40. What comes to nothing changes nothing.
    pub fn new_path(&self, rule: &RouteMatch, path: &[u8]) -> Option<Vec<u8>> {
        let (bare, query) = split_query(path);
        let mut new = match (&self.path_rewrite, &rule.path) {
            (PathChange::Keep | PathChange::Format(_), _) => return None,
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
}

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
        PathMatch::Regex { .. } | PathMatch::Template(_) | PathMatch::Connect => None,
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
            hash: Vec::new(),
            metadata_match: Default::default(),
            timeout: None,
            timeout_ms: String::new(),
            attempts: Attempts::default(),
            idle_timeout: None,
            path_rewrite,
            host_rewrite,
            append_forwarded_host: true,
            upgrades: Vec::new(),
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
            (
                PathMatch::Regex { text: String::new(), regex: any },
                put("/new"),
                "/rg/a?b",
                "/new?b",
            ),
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
            let new = route.new_path(&rule(taken), path.as_bytes());
            assert_eq!(new.map(|new| String::from_utf8(new).unwrap()).as_deref(), Some(expected));
        }
        let to_nothing = route(regex("/a", ""), HostChange::Keep);
        assert_eq!(to_nothing.new_path(&rule(prefix("/")), b"/a?b"), None);
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
            let host = route(PathChange::Keep, change).new_host(&head);
            assert_eq!(host.map(|host| String::from_utf8(host).unwrap()).as_deref(), expected);
        }
    }
}
