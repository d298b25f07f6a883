//! Owns who may use the admin port, and for what. The port knows no passwords: whoever reaches it drives it.
//! A browser reaches it for every page that its user looks at, and such a page is kept out.

use crate::{
    admin::{Answer, Ask, Endpoint},
    codec::{HeaderBlock, Method, RequestHead},
    matcher::TextMatcher,
};

/// The flag that names further hosts.
const HOSTS_FLAG: &str = "--admin-allowed-host";

/// Top-level names that public DNS does not serve: no page of a stranger can have a host below one of them.
///
/// Source: RFC 6761 and the special-use domain names of IANA; `svc` is what Kubernetes calls services by.
const PRIVATE_NAMES: [&str; 6] = ["localhost", "local", "internal", "svc", "test", "home.arpa"];

/// Lets in, or says why not.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// Names by which the port may be called, and from whose pages; in lower case.
    hosts: Vec<String>,
    read_only: bool,
    /// `Admin.allow_paths`; empty allows all.
    allow_paths: Vec<TextMatcher>,
}

// === impl Guard ===

impl Guard {
    pub(super) fn new(hosts: &[String], read_only: bool, allow_paths: Vec<TextMatcher>) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { hosts, read_only, allow_paths }
    }

    /// Keeps out what a page from elsewhere makes a browser send: requests to a name that leads here by DNS
    /// alone (rebinding), and changes from another origin.
    ///
    /// # Errors
    ///
    /// The answer that says so, and the way out.
    pub(super) fn admit(&self, head: &RequestHead) -> Result<(), Answer> {
        let authority = Some(head.authority()).filter(|_| head.has_authority());
        let authority = authority.map(String::from_utf8_lossy);
        let authority = authority.as_deref();
        if let Some(authority) = authority.filter(|authority| !self.knows(host_of(authority))) {
            return Err(refuse(format!(
                "host {authority:?} is not one of this admin port: a web page may stand behind it. IP \
                 addresses, names without a dot and private ones (.local, .internal, ...) are; start with {HOSTS_FLAG} {} to add this one",
                host_of(authority)
            )));
        }
        let reads = [Method::Get, Method::Head, Method::Options].contains(&head.method);
        match reads {
            true => Ok(()),
            false => self.admit_change(&head.headers, authority),
        }
    }

    fn admit_change(&self, headers: &HeaderBlock, authority: Option<&str>) -> Result<(), Answer> {
        let origin = headers.get_name(b"origin");
        let origin = origin.map(|origin| std::str::from_utf8(origin).unwrap_or_default());
        if let Some(origin) = origin {
            let from = origin.split_once("://").map_or("", |(_, from)| from);
            let same = authority.is_some_and(|authority| authority.eq_ignore_ascii_case(from));
            let configured = self.hosts.iter().any(|host| host.eq_ignore_ascii_case(host_of(from)));
            if configured || (same && !from.is_empty()) {
                return Ok(());
            }
            return Err(refuse(format!(
                "a web page of {origin} may not change anything here; start with {HOSTS_FLAG} {} to let it",
                if from.is_empty() { "NAME" } else { host_of(from) }
            )));
        }
        match headers.get_name(b"sec-fetch-site") == Some(b"cross-site") {
            true => Err(refuse(format!(
                "a web page from another site may not change anything here; start with {HOSTS_FLAG} NAME, \
                 the name of its host, to let it"
            ))),
            false => Ok(()),
        }
    }

    /// `Admin.allow_paths`, held against path and query. Observed: Envoy 1.40.
    ///
    /// # Errors
    ///
    /// Envoy's answer.
    pub(super) fn admit_path(&self, ask: &Ask) -> Result<(), Answer> {
        let target = &ask.target;
        let allowed = self.allow_paths.iter().any(|allowed| allowed.matches(target.as_bytes()));
        match allowed || self.allow_paths.is_empty() {
            true => Ok(()),
            false => Err(Answer::status(403, format!("request to path {target} not allowed"))),
        }
    }

    /// Whether nothing may be changed at all.
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The answer to a change where nothing may be changed.
    pub(super) fn read_only(endpoint: &Endpoint) -> Answer {
        let path = endpoint.path;
        refuse(format!(
            "{path} changes something, and this admin port is read-only (--admin-read-only)"
        ))
    }

    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let lower = host.trim_end_matches('.').to_ascii_lowercase();
        let below = |name: &&str| lower.strip_suffix(*name).is_some_and(|rest| rest.ends_with('.'));
        let single_label = !lower.contains('.');
        single_label
            || bare.parse::<std::net::IpAddr>().is_ok()
            || PRIVATE_NAMES.iter().any(below)
            || self.hosts.contains(&lower)
    }
}

fn refuse(text: String) -> Answer {
    Answer::status(403, text + "\n")
}

/// An authority without its port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(guard: &Guard, method: &str, headers: &[(&str, &str)]) -> Result<(), String> {
        let mut head = RequestHead::default();
        head.method = Method::parse(method.as_bytes()).unwrap();
        for (name, value) in headers {
            match *name {
                "host" => head.set_authority(value.as_bytes()),
                name => head.headers.append_name(name.as_bytes(), value.as_bytes()),
            }
        }
        guard.admit(&head).map_err(Answer::into_text)
    }

    #[test]
    fn a_name_that_only_dns_knows_is_kept_out_unless_it_was_named() {
        let guard = Guard::new(&["Admin.Example.com".to_owned()], false, Vec::new());
        for (host, admitted) in [
            ("127.0.0.1:8001", true),
            ("[::1]:8001", true),
            ("localhost:8001", true),
            ("a.localhost", true),
            ("envoy.mesh.svc.cluster.local:9901", true),
            ("admin.test", true),
            ("test.example", false),
            ("evillocal.com", false),
            ("envoy", true),
            ("front-proxy:9901", true),
            ("admin.example.com:9901", true),
            ("admin.example.com.", true),
            ("", true),
            ("rebound.example", false),
            ("127.0.0.1.example.com", false),
            ("admin.example.com.evil", false),
        ] {
            let verdict = verdict(&guard, "GET", &[("host", host)]);
            assert_eq!(verdict.is_ok(), admitted, "{host}: {verdict:?}");
            assert!(verdict.is_ok() || verdict.unwrap_err().contains("--admin-allowed-host"));
        }
        assert!(verdict(&guard, "GET", &[]).is_ok());
    }

    #[test]
    fn a_page_from_elsewhere_reads_nothing_here_and_changes_nothing() {
        let guard = Guard::new(&["board.example".to_owned()], false, Vec::new());
        let host = ("host", "localhost:8001");
        for (method, header, admitted) in [
            ("POST", ("origin", "http://localhost:8001"), true),
            ("POST", ("origin", "http://LOCALHOST:8001"), true),
            ("POST", ("origin", "https://board.example"), true),
            ("POST", ("origin", "http://localhost:3000"), false),
            ("POST", ("origin", "http://evil.example"), false),
            ("POST", ("origin", "null"), false),
            ("POST", ("sec-fetch-site", "cross-site"), false),
            ("POST", ("sec-fetch-site", "same-origin"), true),
            ("PUT", ("origin", "http://evil.example"), false),
            ("GET", ("sec-fetch-site", "cross-site"), true),
        ] {
            let verdict = verdict(&guard, method, &[host, header]);
            assert_eq!(verdict.is_ok(), admitted, "{method} {header:?}: {verdict:?}");
        }
    }
}
