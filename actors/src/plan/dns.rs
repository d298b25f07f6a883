//! Owns how a cluster asks DNS.

use std::{net::SocketAddr, sync::Arc, time::Duration};

/// How a cluster asks DNS.
#[derive(Clone, Debug, PartialEq)]
pub struct DnsPlan {
    /// `dns_refresh_rate`; Envoy's default is 5 s.
    pub refresh: Duration,
    /// `dns_failure_refresh_rate`: first and longest wait after a failure; the refresh rate if unset.
    pub failure_refresh: Option<(Duration, Duration)>,
    /// `respect_dns_ttl`.
    pub respect_ttl: bool,
    /// `dns_min_refresh_rate`: the shortest wait that a time to live asks for.
    pub ttl_min: Duration,
    /// `hold_stale`, ours: for so long hosts stay though DNS says that there are none.
    pub hold_stale: Option<Duration>,
    /// `dns_jitter`: up to this much is added to each wait.
    pub jitter: Duration,
    /// `dns_lookup_family`.
    pub family: LookupFamily,
    /// Which servers, and how.
    pub resolver: Arc<ResolverPlan>,
}

/// `dns_lookup_family`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LookupFamily {
    /// IPv6, and IPv4 where there is none.
    #[default]
    Auto,
    /// IPv4 only.
    V4Only,
    /// IPv6 only.
    V6Only,
    /// IPv4, and IPv6 where there is none.
    V4Preferred,
    /// Both.
    All,
}

/// Which name servers to ask, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ResolverPlan {
    /// Empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// `use_tcp_for_dns_lookups`.
    pub tcp_only: bool,
    /// `no_default_search_domain`.
    pub no_search: bool,
    /// `use_resolvers_as_fallback`.
    pub fallback: bool,
    /// `rotate_nameservers`: any of the servers is asked first, not always the same.
    pub rotate: bool,
    /// Each query's timeout; `None` is the resolver's own default.
    pub query_timeout: Option<Duration>,
    /// Tries per query; `None` is the resolver's own default.
    pub tries: Option<u32>,
}
