//! Owns the names of what listeners count, with what looks at connections before their codec.

stat_set! {
    /// What a listener counts: `listener.ADDRESS.`.
    pub enum ListenerStat {
        DownstreamCxActive = Gauge "downstream_cx_active",
        DownstreamCxDestroy = Counter "downstream_cx_destroy",
        DownstreamCxOverflow = Counter "downstream_cx_overflow",
        DownstreamCxOverloadReject = Counter "downstream_cx_overload_reject",
        DownstreamCxTotal = Counter "downstream_cx_total",
        DownstreamCxTransportSocketConnectTimeout = Counter "downstream_cx_transport_socket_connect_timeout",
        DownstreamGlobalCxOverflow = Counter "downstream_global_cx_overflow",
        DownstreamListenerFilterError = Counter "downstream_listener_filter_error",
        DownstreamListenerFilterRemoteClose = Counter "downstream_listener_filter_remote_close",
        DownstreamPreCxActive = Gauge "downstream_pre_cx_active",
        DownstreamPreCxTimeout = Counter "downstream_pre_cx_timeout",
        NoFilterChainMatch = Counter "no_filter_chain_match",
        ConnectionsAcceptedPerSocketEvent = Histogram "connections_accepted_per_socket_event",
        DownstreamCxLengthMs = Histogram "downstream_cx_length_ms",
    }
}

stat_set! {
    /// What one worker counts of a listener: `listener.ADDRESS.worker_N.`.
    pub enum ListenerWorkerStat {
        DownstreamCxActive = Gauge "downstream_cx_active",
        DownstreamCxTotal = Counter "downstream_cx_total",
    }
}

stat_set! {
    /// What a listener counts of its HTTP answers: `listener.ADDRESS.http.PREFIX.`.
    pub enum ListenerHttpStat {
        DownstreamRq1xx = Counter "downstream_rq_1xx",
        DownstreamRq2xx = Counter "downstream_rq_2xx",
        DownstreamRq3xx = Counter "downstream_rq_3xx",
        DownstreamRq4xx = Counter "downstream_rq_4xx",
        DownstreamRq5xx = Counter "downstream_rq_5xx",
        DownstreamRqCompleted = Counter "downstream_rq_completed",
    }
}

stat_set! {
    /// What a TLS inspector counts: `tls_inspector.`.
    pub enum TlsInspectorStat {
        AlpnFound = Counter "alpn_found",
        AlpnNotFound = Counter "alpn_not_found",
        ClientHelloTooLarge = Counter "client_hello_too_large",
        SniFound = Counter "sni_found",
        SniNotFound = Counter "sni_not_found",
        TlsFound = Counter "tls_found",
        TlsNotFound = Counter "tls_not_found",
        BytesProcessed = Histogram "bytes_processed",
    }
}

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
