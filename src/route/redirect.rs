//! Owns where a route that redirects sends a request.

use super::rewrite::{split_query, with_prefix};
use crate::{
    codec::RequestHead,
    config::model::route::{Redirect, RedirectPath, RouteMatch},
};

impl Redirect {
    /// The `location` for a request that a route of this match has taken.
    ///
    /// Observed: Envoy 1.40, forty redirects.
    pub fn location(&self, rule: &RouteMatch, request: &RequestHead) -> Vec<u8> {
        let own = request.scheme.as_str().as_bytes();
        let scheme = if self.scheme.is_empty() { own } else { self.scheme.as_bytes() };
        let mut location = [scheme, b"://"].concat();
        let host = if self.host.is_empty() { request.authority() } else { self.host.as_bytes() };
        match self.port {
            0 if self.host.is_empty() && !self.keep_port => {
                location.extend_from_slice(without_usual_port(host, own, self));
            }
            0 => location.extend_from_slice(host),
            port => {
                location.extend_from_slice(without_port(host));
                location.push(b':');
                location.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
            }
        }
        let (bare, query) = split_query(request.path());
        let path = match &self.path {
            RedirectPath::Keep => bare.to_vec(),
            RedirectPath::Replace(new) => new.as_bytes().to_vec(),
            RedirectPath::Prefix(new) => with_prefix(bare, rule, new),
            RedirectPath::Regex(substitution) => substitution.apply(bare),
        };
        // A path that was given without its slash stands behind the host all the same.
        if path.first().is_some_and(|first| *first != b'/') {
            location.push(b'/');
        }
        // A replacement with a query of its own keeps that one.
        let has_own = matches!(&self.path, RedirectPath::Replace(new) if new.contains('?'));
        match (has_own, self.strip_query) {
            (true, _) => location.extend_from_slice(&path),
            (false, true) => location.extend_from_slice(split_query(&path).0),
            (false, false) => {
                location.extend_from_slice(&path);
                location.extend_from_slice(query);
            }
        }
        location
    }
}

/// The host without the port that is usual for the scheme that the redirect leaves.
fn without_usual_port<'h>(host: &'h [u8], own: &[u8], redirect: &Redirect) -> &'h [u8] {
    let leaves = |scheme: &[u8], other: &str| {
        own.eq_ignore_ascii_case(scheme) && redirect.scheme.eq_ignore_ascii_case(other)
    };
    let usual: &[u8] = match () {
        () if leaves(b"http", "https") => b":80",
        () if leaves(b"https", "http") => b":443",
        () => return host,
    };
    host.strip_suffix(usual).unwrap_or(host)
}

/// A host without its port; the colons of a bracketed IPv6 address are not one.
fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host[at..].contains(&b']') => &host[..at],
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        codec::Scheme,
        config::model::route::{PathMatch, Substitution},
    };

    fn rule(path: &str) -> RouteMatch {
        let path = PathMatch::Prefix(path.to_owned());
        RouteMatch { path, case_sensitive: true, conditions: Vec::new() }
    }

    fn sent_to(redirect: &Redirect, prefix: &str, host: &str, path: &str, scheme: &str) -> String {
        let mut request = RequestHead::default();
        request.set_authority(host.as_bytes());
        request.set_path(path.as_bytes());
        request.scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
        String::from_utf8(redirect.location(&rule(prefix), &request)).unwrap()
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_say() {
        let none = Redirect::default;
        let scheme = |scheme: &str| Redirect { scheme: scheme.to_owned(), ..none() };
        let port = |port| Redirect { port, ..none() };
        let path = |path| Redirect { path, ..none() };
        let replace = |text: &str| path(RedirectPath::Replace(text.to_owned()));
        let regex =
            |regex, text| path(RedirectPath::Regex(Substitution::new(regex, text).unwrap()));
        for (redirect, host, path, own, expected) in [
            (none(), "b:1", "/p?a", "http", "http://b:1/p?a"),
            (scheme("https"), "a:80", "/p/a?q", "http", "https://a/p/a?q"),
            (scheme("https"), "a:443", "/p", "http", "https://a:443/p"),
            (scheme("https"), "[::1]:80", "/p", "http", "https://[::1]/p"),
            (scheme("https"), "a:443", "/p", "https", "https://a:443/p"),
            (scheme("http"), "a:443", "/p", "https", "http://a/p"),
            (scheme("HTTPS"), "a:80", "/p", "http", "HTTPS://a/p"),
            (
                Redirect { keep_port: true, ..scheme("https") },
                "a:80",
                "/p",
                "http",
                "https://a:80/p",
            ),
            (
                Redirect { host: "n:80".to_owned(), ..scheme("https") },
                "a",
                "/p",
                "http",
                "https://n:80/p",
            ),
            (port(80), "a:9", "/p", "http", "http://a:80/p"),
            (port(443), "[::1]", "/p", "http", "http://[::1]:443/p"),
            (replace("/n?x=1"), "x", "/p?z", "http", "http://x/n?x=1"),
            (replace("/n"), "x", "/p/x?z=2", "http", "http://x/n?z=2"),
            (replace("/n?"), "x", "/p?z", "http", "http://x/n?"),
            (replace("rel"), "x", "/p?a", "http", "http://x/rel?a"),
            (regex("[0-9]+", "M"), "x", "/p/1/22?3", "http", "http://x/p/M/M?3"),
            (regex("p", "?a=b"), "x", "/p?q", "http", "http://x/?a=b?q"),
            (
                path(RedirectPath::Prefix("/y?k=v&".to_owned())),
                "x",
                "/p/a?b",
                "http",
                "http://x/y?k=v&/a?b",
            ),
        ] {
            assert_eq!(sent_to(&redirect, "/p", host, path, own), expected, "{redirect:?}");
        }
    }
}
