//! Owns the names of what is counted between an accepted connection and its codec, as Envoy 1.40 prints them.

use super::{
    group::{Def, Kind, Listed, StatSet, offsets},
    names::{listed, stat_set},
};

stat_set! {
    /// What HTTP inspectors count: `http_inspector.`.
    pub enum HttpInspectorStat {
        Http10Found = Counter "http10_found",
        Http11Found = Counter "http11_found",
        Http2Found = Counter "http2_found",
        HttpNotFound = Counter "http_not_found",
        ReadError = Counter "read_error",
    }
}

stat_set! {
    /// What PROXY protocol filters count together.
    pub enum ProxyProtocolErrorStat {
        DownstreamCxProxyProtoError = Counter "downstream_cx_proxy_proto_error",
    }
}

stat_set! {
    /// What a PROXY protocol filter counts: `proxy_proto.PREFIX.`.
    pub enum ProxyProtocolStat {
        NotFoundAllowed = Counter "not_found_allowed",
        NotFoundDisallowed = Counter "not_found_disallowed",
    }
}

stat_set! {
    /// What it counts of a version: `proxy_proto.PREFIX.versions.vN.`.
    pub enum ProxyProtocolVersionStat {
        Disallowed = Counter "disallowed",
        Error = Counter "error",
        Found = Counter "found",
    }
}

stat_set! {
    /// What a listener's local rate limit counts: `listener_local_ratelimit.PREFIX.`.
    pub enum ListenerLocalRatelimitStat {
        RateLimited = Counter "rate_limited",
    }
}

stat_set! {
    /// What a connection limit counts: `connection_limit.PREFIX.`.
    pub enum ConnectionLimitStat {
        ActiveConnections = Gauge "active_connections",
        LimitedConnections = Counter "limited_connections",
    }
}

stat_set! {
    /// What a chain's local rate limit counts: `local_rate_limit.PREFIX.`.
    pub enum LocalRateLimitStat {
        RateLimited = Counter "rate_limited",
    }
}

stat_set! {
    /// What role-based access control counts: `PREFIX.rbac.`.
    pub enum RbacStat {
        Allowed = Counter "allowed",
        Denied = Counter "denied",
    }
}

stat_set! {
    /// What it counts of rules that are not in force: `PREFIX.rbac.SHADOW.`.
    pub enum ShadowRbacStat {
        ShadowAllowed = Counter "shadow_allowed",
        ShadowDenied = Counter "shadow_denied",
    }
}
