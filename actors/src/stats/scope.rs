//! Owns where a group's names stand: their prefix, and the tags that Envoy's default rules take from it.

use std::ops::Range;

/// A prefix and its tags. `cluster.service1.` has the tag `envoy.cluster_name = service1` and, with the tag
/// cut out, the prefix `cluster.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Prefix of the full names, with the last dot; empty for none.
    pub prefix: String,
    /// The prefix with tag values cut out, with the last dot.
    pub extracted: String,
    /// In the order of Envoy's default extraction rules.
    pub tags: Vec<Tag>,
}

/// What a rule takes from a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// `envoy.cluster_name` and the like.
    pub name: &'static str,
    /// `service1`.
    pub value: String,
    /// Where it stands in the name, with the dot that goes with it.
    pub cut: Range<usize>,
}

/// A text without these parts of it, which may overlap.
pub fn cut_out(text: &str, mut cuts: Vec<Range<usize>>) -> String {
    cuts.sort_by_key(|cut| cut.start);
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for cut in cuts {
        out.push_str(text.get(from..cut.start).unwrap_or_default());
        from = from.max(cut.end);
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// A name as a part of stat names: `:` becomes `_`, as in Envoy.
fn clean(name: &str) -> String {
    name.replace(':', "_")
}

// === impl Scope ===

impl Scope {
    fn new(prefix: String, tags: Vec<Tag>) -> Self {
        let extracted = cut_out(&prefix, tags.iter().map(|tag| tag.cut.clone()).collect());
        Self { prefix, extracted, tags }
    }

    /// Names without tags, such as `server.`.
    pub fn plain(prefix: &str) -> Self {
        Self::new(prefix.to_owned(), Vec::new())
    }

    /// `cluster.NAME.`
    pub fn cluster(name: &str) -> Self {
        let prefix = format!("cluster.{}.", clean(name));
        let tag = Tag::token("envoy.cluster_name", &prefix, "cluster.".len());
        Self::new(prefix, vec![tag])
    }

    /// `server.worker_N.`
    pub fn server_worker(worker: usize) -> Self {
        let prefix = format!("server.worker_{worker}.");
        let tag = Tag::token("envoy.worker_id", &prefix, "server.worker_".len());
        Self::new(prefix, vec![tag])
    }

    /// A scope within this one: `cluster.NAME.http2.`.
    pub fn within(&self, name: &str) -> Self {
        Self::new(format!("{}{name}.", self.prefix), self.tags.clone())
    }

    /// `cluster.NAME.health_check.`, and where the check has a name, `name.CHECK.` after it.
    pub fn health_check(&self, name: &str) -> Self {
        let before = format!("{}health_check.", self.prefix);
        if name.is_empty() {
            return self.within("health_check");
        }
        let named = format!("{before}name.");
        let prefix = format!("{named}{}.", clean(name));
        let mut own = Tag::token("envoy.health_check_name", &prefix, named.len());
        own.cut.start = before.len();
        Self::new(prefix, [vec![own], self.tags.clone()].concat())
    }

    /// `http.PREFIX.`, the HTTP connection manager's `stat_prefix`.
    pub fn http(stat_prefix: &str) -> Self {
        let prefix = format!("http.{}.", clean(stat_prefix));
        let tag = Tag::token("envoy.http_conn_manager_prefix", &prefix, "http.".len());
        Self::new(prefix, vec![tag])
    }

    /// `tcp.PREFIX.`, the TCP proxy's `stat_prefix`.
    pub fn tcp(stat_prefix: &str) -> Self {
        let prefix = format!("tcp.{}.", clean(stat_prefix));
        let tag = Tag::token("envoy.tcp_prefix", &prefix, "tcp.".len());
        Self::new(prefix, vec![tag])
    }

    /// `http.PREFIX.tracing.`
    pub fn http_tracing(stat_prefix: &str) -> Self {
        Self::http(stat_prefix).within("tracing")
    }

    /// `http.PREFIX.rds.NAME.`, a route table's subscription.
    pub fn rds(stat_prefix: &str, name: &str) -> Self {
        let before = format!("http.{}.rds.", clean(stat_prefix));
        let prefix = format!("{before}{}.", clean(name));
        let table = Tag::token("envoy.rds_route_config", &prefix, before.len());
        let whole = Tag { value: clean(name), cut: before.len()..prefix.len(), ..table };
        let manager = Tag::token("envoy.http_conn_manager_prefix", &prefix, "http.".len());
        Self::new(prefix, vec![whole, manager])
    }

    /// `sds.NAME.`, a secret's subscription.
    pub fn sds(name: &str) -> Self {
        Self::plain(&format!("sds.{}.", clean(name)))
    }

    /// `vhost.HOST.vcluster.NAME.`, what a virtual host counts apart.
    pub fn virtual_cluster(host: &str, name: &str) -> Self {
        Self::in_virtual_host(host, "vcluster", "envoy.virtual_cluster", name)
    }

    /// `vhost.HOST.route.PREFIX.`, the route's `stat_prefix`.
    pub fn route(host: &str, stat_prefix: &str) -> Self {
        Self::in_virtual_host(host, "route", "envoy.route", stat_prefix)
    }

    fn in_virtual_host(host: &str, kind: &str, tag: &'static str, name: &str) -> Self {
        let before = format!("vhost.{}.{kind}.", clean(host));
        let prefix = format!("{before}{}.", clean(name));
        let own = Tag::token(tag, &prefix, before.len());
        let host = Tag::token("envoy.virtual_host", &prefix, "vhost.".len());
        Self::new(prefix, vec![own, host])
    }

    /// `listener.ADDRESS.`
    pub fn listener(address: &str) -> Self {
        let prefix = format!("listener.{}.", clean(address));
        let tag = Tag::address(&prefix);
        Self::new(prefix, vec![tag])
    }

    /// `listener.ADDRESS.ssl.certificate.NAME.` and the like of clusters. Observed: Envoy 1.40 keeps the name as it is.
    pub fn certificate(&self, name: &str) -> Self {
        let before = format!("{}ssl.certificate.", self.prefix);
        let prefix = format!("{before}{name}.");
        let own = Tag::token("envoy.tls_certificate", &prefix, before.len());
        Self::new(prefix, [vec![own], self.tags.clone()].concat())
    }

    /// `listener.ADDRESS.http.PREFIX.`
    pub fn listener_http(address: &str, stat_prefix: &str) -> Self {
        let listener = Self::listener(address);
        let before = format!("{}http.", listener.prefix);
        let prefix = format!("{before}{}.", clean(stat_prefix));
        let tag = Tag::token("envoy.http_conn_manager_prefix", &prefix, before.len());
        Self::new(prefix, [vec![tag], listener.tags].concat())
    }

    /// `listener_local_ratelimit.PREFIX.`, a listener filter's `stat_prefix`.
    pub fn listener_local_ratelimit(stat_prefix: &str) -> Self {
        let before = "listener_local_ratelimit.";
        let prefix = format!("{before}{}.", clean(stat_prefix));
        let tag = Tag::token("envoy.local_listener_ratelimit_prefix", &prefix, before.len());
        Self::new(prefix, vec![tag])
    }

    /// `local_rate_limit.PREFIX.`, a network filter's `stat_prefix`.
    pub fn local_rate_limit(stat_prefix: &str) -> Self {
        let before = "local_rate_limit.";
        let prefix = format!("{before}{}.", clean(stat_prefix));
        let tag = Tag::token("envoy.local_network_ratelimit_prefix", &prefix, before.len());
        Self::new(prefix, vec![tag])
    }

    /// `connection_limit.PREFIX.`
    pub fn connection_limit(stat_prefix: &str) -> Self {
        let before = "connection_limit.";
        let prefix = format!("{before}{}.", clean(stat_prefix));
        let tag = Tag::token("envoy.connection_limit_prefix", &prefix, before.len());
        Self::new(prefix, vec![tag])
    }

    /// `PREFIX.rbac.`, a network filter's `stat_prefix`, which may end in a dot of its own.
    pub fn rbac(stat_prefix: &str) -> Self {
        let name = clean(stat_prefix.trim_end_matches('.'));
        let prefix = format!("{name}.rbac.");
        // A name with dots in it is no tag: Envoy's rule takes one token.
        let whole = !name.contains('.');
        let tag = Tag { name: "envoy.rbac_prefix", cut: 0..name.len() + 1, value: name };
        Self::new(prefix, if whole { vec![tag] } else { Vec::new() })
    }

    /// `proxy_proto.PREFIX.`, and of a version `versions.vN.` after it.
    pub fn proxy_protocol(stat_prefix: &str, version: Option<u8>) -> Self {
        let before = "proxy_proto.";
        let (mut prefix, mut tags) = (before.to_owned(), Vec::new());
        if !stat_prefix.is_empty() {
            prefix = format!("{before}{}.", clean(stat_prefix));
            tags.push(Tag::token("envoy.proxy_protocol_prefix", &prefix, before.len()));
        }
        if let Some(version) = version {
            // Behind a prefix with dots in it no rule finds the version.
            let whole = tags.iter().all(|tag| tag.cut.end == prefix.len());
            let start = prefix.len();
            prefix = format!("{prefix}versions.v{version}.");
            if whole {
                let (value, cut) = (version.to_string(), start..prefix.len());
                tags.push(Tag { name: "envoy.proxy_protocol_version", value, cut });
            }
        }
        Self::new(prefix, tags)
    }

    /// `listener.admin.http.admin.`: the admin port's listener is no tag.
    pub fn admin_http() -> Self {
        let before = "listener.admin.http.";
        let prefix = format!("{before}admin.");
        let tag = Tag::token("envoy.http_conn_manager_prefix", &prefix, before.len());
        Self::new(prefix, vec![tag])
    }

    /// `listener.ADDRESS.worker_N.`
    pub fn listener_worker(address: &str, worker: usize) -> Self {
        let listener = Self::listener(address);
        let before = format!("{}worker_", listener.prefix);
        let prefix = format!("{before}{worker}.");
        let tag = Tag::token("envoy.worker_id", &prefix, before.len());
        // Between a worker and a name with dots in it no rule finds the worker.
        let whole = listener.tags.iter().all(|tag| tag.cut.end == listener.prefix.len());
        let tags = if whole { [vec![tag], listener.tags].concat() } else { listener.tags };
        Self::new(prefix, tags)
    }
}

// === impl Tag ===

impl Tag {
    /// What stands between `start` and the next dot: so Envoy's rules take a name, dots in it or not.
    fn token(name: &'static str, prefix: &str, start: usize) -> Self {
        let rest = prefix.get(start..).unwrap_or_default();
        let value = rest.split('.').next().unwrap_or_default();
        Self { name, value: value.to_owned(), cut: start..start + value.len() + 1 }
    }

    /// The address of `listener.ADDRESS.`: an IP address and a port, or what a token is.
    fn address(prefix: &str) -> Self {
        let (name, start) = ("envoy.listener_address", "listener.".len());
        let rest = prefix.get(start..).and_then(|rest| rest.strip_suffix('.')).unwrap_or_default();
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_address = rest.rsplit_once('_').is_some_and(|(host, port)| {
            let v4 = host.split('.').count() == 4 && host.split('.').all(digits);
            digits(port) && (v4 || (host.starts_with('[') && host.ends_with(']')))
        });
        match is_address {
            true => Self { name, value: rest.to_owned(), cut: start..prefix.len() },
            false => Self::token(name, prefix, start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_taken_as_envoys_default_rules_take_them() {
        for (scope, extracted, tags) in [
            (Scope::cluster("a"), "cluster.", "cluster_name=a"),
            (Scope::cluster("b.c-d"), "cluster.c-d.", "cluster_name=b"),
            (Scope::cluster("f:g").within("http2"), "cluster.http2.", "cluster_name=f_g"),
            (
                Scope::cluster("a").health_check("on.e"),
                "cluster.health_check.e.",
                "health_check_name=on cluster_name=a",
            ),
            (Scope::cluster("a").health_check(""), "cluster.health_check.", "cluster_name=a"),
            (Scope::cluster(".lead"), "cluster.lead.", "cluster_name="),
            (Scope::http("in"), "http.", "http_conn_manager_prefix=in"),
            (Scope::http_tracing("in.x"), "http.x.tracing.", "http_conn_manager_prefix=in"),
            (Scope::listener("127.0.0.1:80"), "listener.", "listener_address=127.0.0.1_80"),
            (Scope::listener("[::1]:80"), "listener.", "listener_address=[__1]_80"),
            (Scope::listener("my-list.x"), "listener.x.", "listener_address=my-list"),
            (
                Scope::listener_http("127.0.0.1:80", "in"),
                "listener.http.",
                "http_conn_manager_prefix=in listener_address=127.0.0.1_80",
            ),
            (
                Scope::listener_worker("127.0.0.1:80", 1),
                "listener.worker_",
                "worker_id=1 listener_address=127.0.0.1_80",
            ),
            (
                Scope::listener_worker("my-list.x", 0),
                "listener.x.worker_0.",
                "listener_address=my-list",
            ),
            (Scope::server_worker(3), "server.worker_", "worker_id=3"),
            (
                Scope::listener_local_ratelimit("a"),
                "listener_local_ratelimit.",
                "local_listener_ratelimit_prefix=a",
            ),
            (Scope::local_rate_limit("a"), "local_rate_limit.", "local_network_ratelimit_prefix=a"),
            (Scope::connection_limit("a"), "connection_limit.", "connection_limit_prefix=a"),
            (Scope::rbac("rb."), "rbac.", "rbac_prefix=rb"),
            (Scope::rbac("a.b"), "a.b.rbac.", ""),
            (Scope::proxy_protocol("", None), "proxy_proto.", ""),
            (Scope::proxy_protocol("", Some(1)), "proxy_proto.", "proxy_protocol_version=1"),
            (
                Scope::proxy_protocol("c", Some(2)),
                "proxy_proto.",
                "proxy_protocol_prefix=c proxy_protocol_version=2",
            ),
            (
                Scope::proxy_protocol("a.b", Some(2)),
                "proxy_proto.b.versions.v2.",
                "proxy_protocol_prefix=a",
            ),
            (Scope::admin_http(), "listener.admin.http.", "http_conn_manager_prefix=admin"),
        ] {
            let told =
                |tag: &Tag| format!("{}={}", tag.name.trim_start_matches("envoy."), tag.value);
            let told = scope.tags.iter().map(told).collect::<Vec<_>>().join(" ");
            assert_eq!(
                (scope.extracted.as_str(), told.as_str()),
                (extracted, tags),
                "{}",
                scope.prefix
            );
        }
    }

    #[test]
    fn parts_that_overlap_are_cut_out_once() {
        assert_eq!(cut_out("cluster.a.rq", vec![8..10, 0..9]), "rq");
        assert_eq!(cut_out("abc", vec![1..2, 1..2]), "ac");
        assert_eq!(cut_out("abc", vec![]), "abc");
    }
}
