//! Owns the path and host that a route makes by a format, from anything that is known of the request.

use super::Exchange;
use crate::{
    codec::{Known, http1::request::is_authority},
    config::model::route::{Forward, HostChange, PathChange},
    downstream::headers,
    format::AccessLogType,
};

// === impl Exchange ===

impl Exchange<'_> {
    /// `host_rewrite`: what makes no host leaves the one that came, since whoever asks might choose it.
    ///
    /// Observed: Envoy 1.40, with headers of the route's there already, and the path as it came.
    #[inline]
    pub(super) fn format_host(&mut self, route: &Forward) {
        let HostChange::Format(format) = &route.host_rewrite else { return };
        let mut host = Vec::new();
        format.write(&mut host, &self.info(AccessLogType::NotSet));
        if is_authority(&host) {
            let tells = !self.manager.router().suppress_envoy_headers;
            headers::change_host(
                &mut self.heads.request,
                &host,
                route.append_forwarded_host,
                tells,
            );
        }
    }

    /// `path_rewrite`: the query stays behind it. What comes to nothing changes nothing.
    ///
    /// Observed: Envoy 1.40.
    #[inline]
    pub(super) fn format_path(&mut self, route: &Forward) {
        let PathChange::Format(format) = &route.path_rewrite else { return };
        let mut made = Vec::new();
        format.write_omitting(&mut made, &self.info(AccessLogType::NotSet));
        if made.is_empty() {
            return;
        }
        let request = &mut self.heads.request;
        let old = request.path().to_vec();
        let mut path = sayable(&made);
        let query = old.iter().position(|byte| *byte == b'?');
        path.extend_from_slice(query.and_then(|at| old.get(at..)).unwrap_or_default());
        request.set_path(&path);
        if !self.manager.router().suppress_envoy_headers {
            self.heads.request.headers.set(Known::XEnvoyOriginalPath, &old);
        }
    }
}

/// A text as a path: it begins with a slash, and what no request line can hold is escaped. Else a header of the
/// client's could say where its request goes, or be two requests to whoever reads it next.
fn sayable(text: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(text.len() + 1);
    if text.first() != Some(&b'/') {
        path.push(b'/');
    }
    for byte in text {
        match byte {
            b'!'..=b'~' if *byte != b'#' => path.push(*byte),
            _ => path.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_path_is_one() {
        for (text, path) in [
            ("/a/b?c=%41", "/a/b?c=%41"),
            ("a", "/a"),
            ("/a b#c\t\u{e9}", "/a%20b%23c%09%C3%A9"),
            ("http://x/", "/http://x/"),
        ] {
            assert_eq!(sayable(text.as_bytes()), path.as_bytes(), "{text}");
        }
    }
}
