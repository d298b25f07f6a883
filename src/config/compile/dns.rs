//! Owns compiling how a cluster asks DNS: how often, which addresses, and whom.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use understudy_actors::plan::{DnsPlan, LookupFamily, ResolverPlan};

use super::{
    Compiler,
    original_dst::{EXTENSION, ORIGINAL_DST},
};
use crate::config::{Message, message::Value};

/// Envoy's `dns_refresh_rate` default.
const REFRESH: Duration = Duration::from_secs(5);

/// The type of `cluster_type` that is DNS.
const DNS_CLUSTER: &str = "envoy.extensions.clusters.dns.v3.DnsCluster";

const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

/// Where a cluster's metadata say what Envoy's schema has no field for; Envoy passes over it.
const OURS: &str = "understudy.dns";

impl Compiler<'_> {
    /// `type` or `cluster_type`: how a cluster finds its hosts, in the words of `type`.
    pub(super) fn found_by(&mut self, cluster: &Message) -> Option<(&'static str, DnsPlan)> {
        let Some(custom) = cluster.message("cluster_type") else {
            return Some((cluster.choice("type").unwrap_or("STATIC"), self.dns(cluster)));
        };
        // Observed: Envoy 1.40 goes by the type of `typed_config`, and without one by the name.
        let name = custom.text("name").unwrap_or_default();
        match custom.any("typed_config").map(|config| &config.message) {
            Some(config) if config.name() == DNS_CLUSTER => {
                for name in LEGACY {
                    cluster.ignore(name, "`cluster_type` says it");
                }
                let single = config.boolean("all_addresses_in_single_endpoint").unwrap_or(false);
                let kind = if single { "LOGICAL_DNS" } else { "STRICT_DNS" };
                Some((kind, self.dns_of(cluster, config)))
            }
            Some(config) if config.name() == ORIGINAL_DST => {
                Some(("ORIGINAL_DST", self.dns(cluster)))
            }
            None if name == EXTENSION => Some(("ORIGINAL_DST", self.dns(cluster))),
            None if matches!(name, "envoy.cluster.dns" | "envoy.cluster.strict_dns") => {
                Some(("STRICT_DNS", self.dns(cluster)))
            }
            None if name == "envoy.cluster.logical_dns" => Some(("LOGICAL_DNS", self.dns(cluster))),
            _ => {
                let what = format!("`cluster_type` {name:?}");
                let path = cluster.path_of("cluster_type");
                self.unsupported(cluster.at_of("cluster_type"), &path, &what);
                None
            }
        }
    }

    fn dns(&mut self, cluster: &Message) -> DnsPlan {
        self.dns_of(cluster, cluster)
    }

    /// Reads the fields that a `Cluster` and a `DnsCluster` share.
    fn dns_of(&mut self, cluster: &Message, config: &Message) -> DnsPlan {
        let failure = config.message("dns_failure_refresh_rate").map(|rate| {
            let base = rate.duration("base_interval").unwrap_or(REFRESH);
            let max = rate.duration("max_interval").unwrap_or(base.saturating_mul(10));
            (rate, base, max)
        });
        if let Some((rate, base, max)) = failure
            && max < base
        {
            let text = "dns_failure_refresh_rate must have max_interval greater than or equal to the base_interval";
            let (at, path) = (rate.at_of("max_interval"), rate.path_of("max_interval"));
            self.error(at, &path, text, "the first wait is not longer than the longest");
        }
        // A field that a `Cluster` does not have.
        let own = (config.name() == DNS_CLUSTER).then_some(config);
        DnsPlan {
            refresh: config.duration("dns_refresh_rate").unwrap_or(REFRESH),
            failure_refresh: failure.map(|(_, base, max)| (base, max)),
            respect_ttl: config.boolean("respect_dns_ttl").unwrap_or(false),
            ttl_min: own.and_then(|own| own.duration("dns_min_refresh_rate")).unwrap_or_default(),
            jitter: config.duration("dns_jitter").unwrap_or_default(),
            family: match config.choice("dns_lookup_family") {
                Some("V4_ONLY") => LookupFamily::V4Only,
                Some("V6_ONLY") => LookupFamily::V6Only,
                Some("V4_PREFERRED") => LookupFamily::V4Preferred,
                Some("ALL") => LookupFamily::All,
                _ => LookupFamily::Auto,
            },
            resolver: self.resolver(config),
            hold_stale: self.hold_stale(cluster),
        }
    }

    /// `metadata.filter_metadata["understudy.dns"].hold_stale`.
    fn hold_stale(&mut self, cluster: &Message) -> Option<Duration> {
        let metadata = cluster.message("metadata")?;
        metadata.ignore("typed_filter_metadata", "nobody reads it");
        let ours = metadata.map("filter_metadata").iter().find(|(name, _)| name == OURS);
        let (_, item) = ours?;
        let Value::Json(fields) = &item.value else { return None };
        let path = format!("{}[{OURS:?}]", metadata.path_of("filter_metadata"));
        let mut hold = None;
        for (name, value) in fields.as_object().into_iter().flatten() {
            let time = value.as_str().and_then(seconds).filter(|_| name == "hold_stale");
            if time.is_none() {
                let text = format!("`{name}: {value}` is nothing that can be said of DNS");
                let hint =
                    "write `hold_stale: 60s`, the time for which hosts stay though DNS has none";
                self.error(item.at, &path, text, hint);
            }
            hold = hold.or(time);
        }
        hold
    }

    /// Whom to ask: what a cluster, a `DnsCluster` or the bootstrap says, or else the bootstrap.
    pub(super) fn resolver(&mut self, config: &Message) -> Arc<ResolverPlan> {
        let mut plan = ResolverPlan::default();
        // What a `DnsCluster` has no more, and of which the bootstrap lacks one.
        let untyped = match config.name() {
            DNS_CLUSTER => None,
            name => {
                plan.tcp_only = config.boolean("use_tcp_for_dns_lookups").unwrap_or(false);
                if name == CLUSTER {
                    for server in config.messages("dns_resolvers") {
                        plan.servers.extend(self.ip_address(server).map(with_dns_port));
                    }
                }
                config.message("dns_resolution_config")
            }
        };
        if let Some(config) = untyped {
            self.resolution(config, &mut plan);
        }
        let typed = config.message("typed_dns_resolver_config");
        let says_nothing = plan == ResolverPlan::default() && untyped.is_none() && typed.is_none();
        if says_nothing {
            return self.resolver.clone();
        }
        if let Some(typed) = typed {
            self.typed_resolver(typed, &mut plan);
        }
        Arc::new(plan)
    }

    fn typed_resolver(&mut self, typed: &Message, plan: &mut ResolverPlan) {
        typed.ignore("name", "free text; the type decides");
        let Some(config) = typed.any("typed_config") else { return };
        let config = &config.message;
        match config.name() {
            "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig" => {
                self.resolution(config, plan);
                plan.fallback = config.boolean("use_resolvers_as_fallback").unwrap_or(false);
                plan.query_timeout =
                    config.number("query_timeout_seconds").map(Duration::from_secs);
                plan.tries = config.number_u32("query_tries");
                plan.rotate = config.boolean("rotate_nameservers").unwrap_or(false);
                let why =
                    "each query has a socket of its own, and the system's files are always read";
                for name in
                    ["udp_max_queries", "max_udp_channel_duration", "reinit_channel_on_timeout"]
                {
                    config.ignore(name, why);
                }
                let why = "what does not fit is asked for again over TCP";
                config.ignore("edns0_max_payload_size", why);
                config.ignore("qcache_max_ttl", "every refresh asks, nothing is kept in between");
            }
            // The system's resolver, by another library.
            "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig" => {
                plan.tries = config.number_u32("num_retries").map(|more| more.saturating_add(1));
                config.ignore("num_resolver_threads", "a lookup takes no thread");
            }
            other => self.refuse_whole(config, other),
        }
    }

    fn resolution(&mut self, config: &Message, plan: &mut ResolverPlan) {
        for server in config.messages("resolvers") {
            plan.servers.extend(self.ip_address(server).map(with_dns_port));
        }
        if let Some(options) = config.message("dns_resolver_options") {
            plan.tcp_only |= options.boolean("use_tcp_for_dns_lookups").unwrap_or(false);
            plan.no_search |= options.boolean("no_default_search_domain").unwrap_or(false);
        }
    }
}

/// Fields of a `Cluster` that a `DnsCluster` has in their place. Observed: Envoy 1.40 takes both.
const LEGACY: [&str; 9] = [
    "dns_refresh_rate",
    "dns_failure_refresh_rate",
    "respect_dns_ttl",
    "dns_jitter",
    "dns_lookup_family",
    "dns_resolvers",
    "use_tcp_for_dns_lookups",
    "dns_resolution_config",
    "typed_dns_resolver_config",
];

/// Reads `60s` and `1.5s`.
fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let plain = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    Duration::try_from_secs_f64(number.parse().ok()?).ok().filter(|time| plain && !time.is_zero())
}

/// A name server without a port is asked on DNS's own.
fn with_dns_port(address: SocketAddr) -> SocketAddr {
    match address.port() {
        0 => SocketAddr::new(address.ip(), 53),
        _ => address,
    }
}

#[cfg(test)]
mod tests {
    use understudy_actors::plan::Discovery;

    use super::*;
    use crate::config::{
        Source,
        compile::{AllSlots, Options, load},
    };

    const ENDPOINT: &str = "load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: \
        {address: {socket_address: {address: a.test, port_value: 80}}}}]}]}";

    /// What becomes of a cluster with these fields: whether it is logical, and how it asks.
    fn compiled(fields: &str, bootstrap: &str) -> Result<(bool, DnsPlan), String> {
        let text = format!(
            "{bootstrap}static_resources: {{clusters: [{{name: a, {fields}, {ENDPOINT}}}]}}\n"
        );
        let source = Source::yaml("t.yaml", &text);
        let loaded = load(&source, &Options::default(), &AllSlots::default());
        match loaded.map_err(|errors| errors.render(&source))?.plan.clusters[0].discovery.clone() {
            Discovery::StrictDns { dns, .. } => Ok((false, dns)),
            Discovery::LogicalDns { dns, .. } => Ok((true, dns)),
            _ => Err("it asks no DNS".to_owned()),
        }
    }

    fn typed(fields: &str) -> String {
        format!(
            "cluster_type: {{name: x, typed_config: {{\"@type\": type.googleapis.com/{DNS_CLUSTER}{fields}}}}}"
        )
    }

    #[test]
    fn a_cluster_says_by_type_or_by_cluster_type_that_dns_has_its_hosts() {
        for (fields, logical) in [
            ("type: STRICT_DNS".to_owned(), false),
            ("type: LOGICAL_DNS".to_owned(), true),
            ("cluster_type: {name: envoy.cluster.dns}".to_owned(), false),
            ("cluster_type: {name: envoy.cluster.strict_dns}".to_owned(), false),
            ("cluster_type: {name: envoy.cluster.logical_dns}".to_owned(), true),
            (typed(""), false),
            (typed(", all_addresses_in_single_endpoint: true"), true),
        ] {
            assert_eq!(compiled(&fields, "").unwrap().0, logical, "{fields}");
        }
        let (_, dns) = compiled(
            &typed(
                ", dns_refresh_rate: 3s, respect_dns_ttl: true, dns_min_refresh_rate: 2s, dns_jitter: 1s, \
                 dns_lookup_family: V6_ONLY, dns_failure_refresh_rate: {base_interval: 1s}",
            ),
            "",
        )
        .unwrap();
        let second = Duration::from_secs;
        assert_eq!((dns.refresh, dns.ttl_min, dns.jitter), (second(3), second(2), second(1)));
        assert_eq!(dns.failure_refresh, Some((second(1), second(10))));
        assert_eq!((dns.family, dns.respect_ttl), (LookupFamily::V6Only, true));
        for (fields, told) in [
            ("cluster_type: {name: envoy.clusters.dns}", "`cluster_type` \"envoy.clusters.dns\""),
            (
                "type: STRICT_DNS, dns_failure_refresh_rate: {base_interval: 4s, max_interval: 1s}",
                "max_interval greater than or equal to the base_interval",
            ),
        ] {
            let error = compiled(fields, "").unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn the_bootstraps_resolver_is_asked_where_a_cluster_has_none_of_its_own() {
        let resolver = |port| {
            format!(
                "typed_dns_resolver_config: {{name: x, typed_config: {{\"@type\": type.googleapis.com/\
                 envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig, resolvers: \
                 [{{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}]}}}}"
            )
        };
        let own = format!("type: STRICT_DNS, {}", resolver(54));
        for (fields, port) in [("type: STRICT_DNS", 53), (&own, 54)] {
            let (_, dns) = compiled(fields, &format!("{}\n", resolver(53))).unwrap();
            let ports: Vec<_> = dns.resolver.servers.iter().map(SocketAddr::port).collect();
            assert_eq!(ports, [port], "{fields}");
        }
    }

    #[test]
    fn hosts_are_held_for_the_time_that_the_metadata_say() {
        let metadata = |of: &str| format!("type: STRICT_DNS, metadata: {{filter_metadata: {of}}}");
        for (of, hold) in [
            ("{understudy.dns: {hold_stale: 60s}}", Some(60_000)),
            ("{understudy.dns: {hold_stale: 1.5s}, other: {a: b}}", Some(1_500)),
            ("{other: {hold_stale: 1s}}", None),
        ] {
            let (_, dns) = compiled(&metadata(of), "").unwrap();
            assert_eq!(dns.hold_stale, hold.map(Duration::from_millis), "{of}");
        }
        for wrong in ["hold_stale: 60", "hold_stale: 1m", "hold_stael: 60s", "hold_stale: infs"] {
            let error = compiled(&metadata(&format!("{{understudy.dns: {{{wrong}}}}}")), "");
            assert!(error.unwrap_err().contains("write `hold_stale: 60s`"), "{wrong}");
        }
    }
}
