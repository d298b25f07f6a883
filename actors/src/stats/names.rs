//! Owns the names: which stats each kind of scope has, as Envoy 1.40 prints them in `/stats`.

use super::group::{Def, Kind, Listed, StatSet, offsets};

/// `once_written`: not listed before its first value, as Envoy makes these when they are needed.
macro_rules! listed {
    () => {
        Listed::Always
    };
    (once_written) => {
        Listed::OnceWritten
    };
}

/// Writes a set of stats once: the enum that code counts with, and the table that readers walk.
macro_rules! stat_set {
    (#[doc = $doc:literal] pub enum $Set:ident { $($Stat:ident = $kind:ident $name:literal $($listed:ident)?,)* }) => {
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum $Set {
            $(#[doc = concat!("`", $name, "`")] $Stat,)*
        }

        impl StatSet for $Set {
            const DEFS: &'static [Def] =
                &[$(Def { name: $name, kind: Kind::$kind, listed: listed!($($listed)?) },)*];
            const OFFSETS: &'static [u16] =
                &offsets(&[$(Def { name: $name, kind: Kind::$kind, listed: listed!($($listed)?) },)*]);

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

pub(super) use listed;
pub(super) use stat_set;

stat_set! {
    /// What a cluster counts: `cluster.NAME.`.
    pub enum ClusterStat {
        AssignmentStale = Counter "assignment_stale",
        AssignmentTimeoutReceived = Counter "assignment_timeout_received",
        AssignmentUseCached = Counter "assignment_use_cached",
        BindErrors = Counter "bind_errors",
        CircuitBreakersDefaultCxOpen = Gauge "circuit_breakers.default.cx_open",
        CircuitBreakersDefaultCxPoolOpen = Gauge "circuit_breakers.default.cx_pool_open",
        CircuitBreakersDefaultRemainingCx = Gauge "circuit_breakers.default.remaining_cx" once_written,
        CircuitBreakersDefaultRemainingCxPools = Gauge "circuit_breakers.default.remaining_cx_pools" once_written,
        CircuitBreakersDefaultRemainingPending = Gauge "circuit_breakers.default.remaining_pending" once_written,
        CircuitBreakersDefaultRemainingRetries = Gauge "circuit_breakers.default.remaining_retries" once_written,
        CircuitBreakersDefaultRemainingRq = Gauge "circuit_breakers.default.remaining_rq" once_written,
        CircuitBreakersDefaultRqOpen = Gauge "circuit_breakers.default.rq_open",
        CircuitBreakersDefaultRqPendingOpen = Gauge "circuit_breakers.default.rq_pending_open",
        CircuitBreakersDefaultRqRetryOpen = Gauge "circuit_breakers.default.rq_retry_open",
        CircuitBreakersHighCxOpen = Gauge "circuit_breakers.high.cx_open",
        CircuitBreakersHighCxPoolOpen = Gauge "circuit_breakers.high.cx_pool_open",
        CircuitBreakersHighRemainingCx = Gauge "circuit_breakers.high.remaining_cx" once_written,
        CircuitBreakersHighRemainingCxPools = Gauge "circuit_breakers.high.remaining_cx_pools" once_written,
        CircuitBreakersHighRemainingPending = Gauge "circuit_breakers.high.remaining_pending" once_written,
        CircuitBreakersHighRemainingRetries = Gauge "circuit_breakers.high.remaining_retries" once_written,
        CircuitBreakersHighRemainingRq = Gauge "circuit_breakers.high.remaining_rq" once_written,
        CircuitBreakersHighRqOpen = Gauge "circuit_breakers.high.rq_open",
        CircuitBreakersHighRqPendingOpen = Gauge "circuit_breakers.high.rq_pending_open",
        CircuitBreakersHighRqRetryOpen = Gauge "circuit_breakers.high.rq_retry_open",
        DefaultTotalMatchCount = Counter "default.total_match_count",
        LbHealthyPanic = Counter "lb_healthy_panic",
        LbLocalClusterNotOk = Counter "lb_local_cluster_not_ok",
        LbRecalculateZoneStructures = Counter "lb_recalculate_zone_structures",
        LbSubsetsActive = Gauge "lb_subsets_active",
        LbSubsetsCreated = Counter "lb_subsets_created",
        LbSubsetsFallback = Counter "lb_subsets_fallback",
        LbSubsetsFallbackPanic = Counter "lb_subsets_fallback_panic",
        LbSubsetsRemoved = Counter "lb_subsets_removed",
        LbSubsetsSelected = Counter "lb_subsets_selected",
        LbSubsetsSingleHostPerSubsetDuplicate = Gauge "lb_subsets_single_host_per_subset_duplicate" once_written,
        LbZoneClusterTooSmall = Counter "lb_zone_cluster_too_small",
        LbZoneNoCapacityLeft = Counter "lb_zone_no_capacity_left",
        LbZoneRoutingAllDirectly = Counter "lb_zone_routing_all_directly",
        LbZoneRoutingCrossZone = Counter "lb_zone_routing_cross_zone",
        LbZoneRoutingSampled = Counter "lb_zone_routing_sampled",
        MaxHostWeight = Gauge "max_host_weight",
        MembershipChange = Counter "membership_change",
        MembershipDegraded = Gauge "membership_degraded",
        MembershipExcluded = Gauge "membership_excluded",
        MembershipHealthy = Gauge "membership_healthy",
        MembershipTotal = Gauge "membership_total",
        OriginalDstHostInvalid = Counter "original_dst_host_invalid",
        RetryOrShadowAbandoned = Counter "retry_or_shadow_abandoned",
        UpdateAttempt = Counter "update_attempt",
        UpdateEmpty = Counter "update_empty",
        UpdateFailure = Counter "update_failure",
        UpdateNoRebuild = Counter "update_no_rebuild",
        UpdateSuccess = Counter "update_success",
        UpstreamCxActive = Gauge "upstream_cx_active",
        UpstreamCxCloseNotify = Counter "upstream_cx_close_notify",
        UpstreamCxConnectAttemptsExceeded = Counter "upstream_cx_connect_attempts_exceeded",
        UpstreamCxConnectFail = Counter "upstream_cx_connect_fail",
        UpstreamCxConnectTimeout = Counter "upstream_cx_connect_timeout",
        UpstreamCxConnectWith0Rtt = Counter "upstream_cx_connect_with_0_rtt",
        UpstreamCxDestroy = Counter "upstream_cx_destroy",
        UpstreamCxDestroyLocal = Counter "upstream_cx_destroy_local",
        UpstreamCxDestroyLocalWithActiveRq = Counter "upstream_cx_destroy_local_with_active_rq",
        UpstreamCxDestroyRemote = Counter "upstream_cx_destroy_remote",
        UpstreamCxDestroyRemoteWithActiveRq = Counter "upstream_cx_destroy_remote_with_active_rq",
        UpstreamCxDestroyWithActiveRq = Counter "upstream_cx_destroy_with_active_rq",
        UpstreamCxHttp1Total = Counter "upstream_cx_http1_total",
        UpstreamCxHttp2Total = Counter "upstream_cx_http2_total",
        UpstreamCxHttp3Total = Counter "upstream_cx_http3_total",
        UpstreamCxIdleTimeout = Counter "upstream_cx_idle_timeout",
        UpstreamCxMaxDurationReached = Counter "upstream_cx_max_duration_reached",
        UpstreamCxMaxRequests = Counter "upstream_cx_max_requests",
        UpstreamCxNoneHealthy = Counter "upstream_cx_none_healthy",
        UpstreamCxOverflow = Counter "upstream_cx_overflow",
        UpstreamCxPoolOverflow = Counter "upstream_cx_pool_overflow",
        UpstreamCxPreconnectSkipped = Counter "upstream_cx_preconnect_skipped",
        UpstreamCxProtocolError = Counter "upstream_cx_protocol_error",
        UpstreamCxRxBytesBuffered = Gauge "upstream_cx_rx_bytes_buffered",
        UpstreamCxRxBytesTotal = Counter "upstream_cx_rx_bytes_total",
        UpstreamCxTotal = Counter "upstream_cx_total",
        UpstreamCxTxBytesBuffered = Gauge "upstream_cx_tx_bytes_buffered",
        UpstreamCxTxBytesTotal = Counter "upstream_cx_tx_bytes_total",
        UpstreamFlowControlBackedUpTotal = Counter "upstream_flow_control_backed_up_total",
        UpstreamFlowControlDrainedTotal = Counter "upstream_flow_control_drained_total",
        UpstreamFlowControlPausedReadingTotal = Counter "upstream_flow_control_paused_reading_total",
        UpstreamFlowControlResumedReadingTotal = Counter "upstream_flow_control_resumed_reading_total",
        UpstreamHttp3Broken = Counter "upstream_http3_broken",
        UpstreamInternalRedirectFailedTotal = Counter "upstream_internal_redirect_failed_total",
        UpstreamInternalRedirectSucceededTotal = Counter "upstream_internal_redirect_succeeded_total",
        UpstreamQueueOverloaded = Gauge "upstream_queue_overloaded",
        UpstreamRq0rtt = Counter "upstream_rq_0rtt",
        UpstreamRqActive = Gauge "upstream_rq_active",
        UpstreamRqActiveOverflow = Counter "upstream_rq_active_overflow",
        UpstreamRqCancelled = Counter "upstream_rq_cancelled",
        UpstreamRqMaintenanceMode = Counter "upstream_rq_maintenance_mode",
        UpstreamRqMaxDurationReached = Counter "upstream_rq_max_duration_reached",
        UpstreamRqPendingActive = Gauge "upstream_rq_pending_active",
        UpstreamRqPendingFailureEject = Counter "upstream_rq_pending_failure_eject",
        UpstreamRqPendingOverflow = Counter "upstream_rq_pending_overflow",
        UpstreamRqPendingTotal = Counter "upstream_rq_pending_total",
        UpstreamRqPerTryIdleTimeout = Counter "upstream_rq_per_try_idle_timeout",
        UpstreamRqPerTryTimeout = Counter "upstream_rq_per_try_timeout",
        UpstreamRqRetry = Counter "upstream_rq_retry",
        UpstreamRqRetryBackoffExponential = Counter "upstream_rq_retry_backoff_exponential",
        UpstreamRqRetryBackoffRatelimited = Counter "upstream_rq_retry_backoff_ratelimited",
        UpstreamRqRetryLimitExceeded = Counter "upstream_rq_retry_limit_exceeded",
        UpstreamRqRetryOverflow = Counter "upstream_rq_retry_overflow",
        UpstreamRqRetrySuccess = Counter "upstream_rq_retry_success",
        UpstreamRqRxReset = Counter "upstream_rq_rx_reset",
        UpstreamRqRxResetNoError = Counter "upstream_rq_rx_reset_no_error",
        UpstreamRqTimeout = Counter "upstream_rq_timeout",
        UpstreamRqTotal = Counter "upstream_rq_total",
        UpstreamRqTxReset = Counter "upstream_rq_tx_reset",
        Version = Gauge "version",
        WarmingState = Gauge "warming_state",
        UpstreamCxConnectMs = Histogram "upstream_cx_connect_ms",
        UpstreamCxLengthMs = Histogram "upstream_cx_length_ms",
        UpstreamRqPerCx = Histogram "upstream_rq_per_cx",
        UpstreamRqTime = Histogram "upstream_rq_time" once_written,
        ExternalUpstreamRqTime = Histogram "external.upstream_rq_time" once_written,
        InternalUpstreamRqTime = Histogram "internal.upstream_rq_time" once_written,
        UpstreamRqCompleted = Counter "upstream_rq_completed",
        UpstreamRq1xx = Counter "upstream_rq_1xx" once_written,
        UpstreamRq2xx = Counter "upstream_rq_2xx" once_written,
        UpstreamRq3xx = Counter "upstream_rq_3xx" once_written,
        UpstreamRq4xx = Counter "upstream_rq_4xx" once_written,
        UpstreamRq5xx = Counter "upstream_rq_5xx" once_written,
        UpstreamRqCode = Codes "upstream_rq_{}",
        ExternalUpstreamRqCompleted = Counter "external.upstream_rq_completed" once_written,
        ExternalUpstreamRq1xx = Counter "external.upstream_rq_1xx" once_written,
        ExternalUpstreamRq2xx = Counter "external.upstream_rq_2xx" once_written,
        ExternalUpstreamRq3xx = Counter "external.upstream_rq_3xx" once_written,
        ExternalUpstreamRq4xx = Counter "external.upstream_rq_4xx" once_written,
        ExternalUpstreamRq5xx = Counter "external.upstream_rq_5xx" once_written,
        ExternalUpstreamRqCode = Codes "external.upstream_rq_{}",
        InternalUpstreamRqCompleted = Counter "internal.upstream_rq_completed" once_written,
        InternalUpstreamRq1xx = Counter "internal.upstream_rq_1xx" once_written,
        InternalUpstreamRq2xx = Counter "internal.upstream_rq_2xx" once_written,
        InternalUpstreamRq3xx = Counter "internal.upstream_rq_3xx" once_written,
        InternalUpstreamRq4xx = Counter "internal.upstream_rq_4xx" once_written,
        InternalUpstreamRq5xx = Counter "internal.upstream_rq_5xx" once_written,
        InternalUpstreamRqCode = Codes "internal.upstream_rq_{}",
    }
}

stat_set! {
    /// The shape of a cluster's ring: `cluster.NAME.ring_hash_lb.`.
    pub enum RingHashStat {
        MaxHashesPerHost = Gauge "max_hashes_per_host",
        MinHashesPerHost = Gauge "min_hashes_per_host",
        Size = Gauge "size",
    }
}

stat_set! {
    /// The shape of a cluster's table: `cluster.NAME.maglev_lb.`.
    pub enum MaglevStat {
        MaxEntriesPerHost = Gauge "max_entries_per_host",
        MinEntriesPerHost = Gauge "min_entries_per_host",
    }
}

stat_set! {
    /// What a virtual cluster, or a route with a `stat_prefix`, counts besides answers.
    pub enum VirtualStat {
        UpstreamRqRetry = Counter "upstream_rq_retry",
        UpstreamRqRetryLimitExceeded = Counter "upstream_rq_retry_limit_exceeded",
        UpstreamRqRetryOverflow = Counter "upstream_rq_retry_overflow",
        UpstreamRqRetrySuccess = Counter "upstream_rq_retry_success",
        UpstreamRqTimeout = Counter "upstream_rq_timeout",
        UpstreamRqTotal = Counter "upstream_rq_total",
    }
}

stat_set! {
    /// What a cluster counts of some of its answers besides: `cluster.NAME.canary.` and `cluster.NAME.zone.FROM.TO.`.
    pub enum AnswerStat {
        UpstreamRqTime = Histogram "upstream_rq_time" once_written,
        UpstreamRqCompleted = Counter "upstream_rq_completed" once_written,
        UpstreamRq1xx = Counter "upstream_rq_1xx" once_written,
        UpstreamRq2xx = Counter "upstream_rq_2xx" once_written,
        UpstreamRq3xx = Counter "upstream_rq_3xx" once_written,
        UpstreamRq4xx = Counter "upstream_rq_4xx" once_written,
        UpstreamRq5xx = Counter "upstream_rq_5xx" once_written,
        UpstreamRqCode = Codes "upstream_rq_{}",
    }
}

stat_set! {
    /// What an HTTP/2 cluster counts besides: `cluster.NAME.http2.`; the downstream side has the same as `http2.`.
    pub enum ClusterHttp2Stat {
        CookiesTotalBytesTooLarge = Counter "cookies_total_bytes_too_large",
        DeferredStreamClose = Gauge "deferred_stream_close",
        DroppedHeadersWithUnderscores = Counter "dropped_headers_with_underscores",
        GoawaySent = Counter "goaway_sent",
        HeaderListSizeTooLarge = Counter "header_list_size_too_large",
        HeaderOverflow = Counter "header_overflow",
        HeadersCbNoStream = Counter "headers_cb_no_stream",
        InboundEmptyFramesFlood = Counter "inbound_empty_frames_flood",
        InboundPriorityFramesFlood = Counter "inbound_priority_frames_flood",
        InboundWindowUpdateFramesFlood = Counter "inbound_window_update_frames_flood",
        KeepaliveTimeout = Counter "keepalive_timeout",
        MetadataEmptyFrames = Counter "metadata_empty_frames",
        Nghttp2DownstreamConnections = Counter "nghttp2_downstream_connections",
        Nghttp2UpstreamConnections = Counter "nghttp2_upstream_connections",
        Oghttp2DownstreamConnections = Counter "oghttp2_downstream_connections",
        Oghttp2UpstreamConnections = Counter "oghttp2_upstream_connections",
        OutboundControlFlood = Counter "outbound_control_flood",
        OutboundControlFramesActive = Gauge "outbound_control_frames_active",
        OutboundFlood = Counter "outbound_flood",
        OutboundFramesActive = Gauge "outbound_frames_active",
        PendingSendBytes = Gauge "pending_send_bytes",
        RequestsRejectedWithUnderscoresInHeaders = Counter "requests_rejected_with_underscores_in_headers",
        RxMessagingError = Counter "rx_messaging_error",
        RxReset = Counter "rx_reset",
        StreamRefusedErrors = Counter "stream_refused_errors",
        StreamsActive = Gauge "streams_active",
        Trailers = Counter "trailers",
        TxFlushTimeout = Counter "tx_flush_timeout",
        TxReset = Counter "tx_reset",
        CookieCount = Histogram "cookie_count",
        CookieSize = Histogram "cookie_size",
        HeaderCount = Histogram "header_count",
        HeaderListSize = Histogram "header_list_size",
    }
}

stat_set! {
    /// What an HTTP connection manager counts: `http.PREFIX.`.
    pub enum HttpStat {
        DownstreamCxActive = Gauge "downstream_cx_active",
        DownstreamCxDelayedCloseTimeout = Counter "downstream_cx_delayed_close_timeout",
        DownstreamCxDestroy = Counter "downstream_cx_destroy",
        DownstreamCxDestroyActiveRq = Counter "downstream_cx_destroy_active_rq",
        DownstreamCxDestroyLocal = Counter "downstream_cx_destroy_local",
        DownstreamCxDestroyLocalActiveRq = Counter "downstream_cx_destroy_local_active_rq",
        DownstreamCxDestroyRemote = Counter "downstream_cx_destroy_remote",
        DownstreamCxDestroyRemoteActiveRq = Counter "downstream_cx_destroy_remote_active_rq",
        DownstreamCxDrainClose = Counter "downstream_cx_drain_close",
        DownstreamCxHttp1Active = Gauge "downstream_cx_http1_active",
        DownstreamCxHttp1SoftDrain = Gauge "downstream_cx_http1_soft_drain",
        DownstreamCxHttp1Total = Counter "downstream_cx_http1_total",
        DownstreamCxHttp2Active = Gauge "downstream_cx_http2_active",
        DownstreamCxHttp2Total = Counter "downstream_cx_http2_total",
        DownstreamCxHttp3Active = Gauge "downstream_cx_http3_active",
        DownstreamCxHttp3Total = Counter "downstream_cx_http3_total",
        DownstreamCxIdleTimeout = Counter "downstream_cx_idle_timeout",
        DownstreamCxMaxDurationReached = Counter "downstream_cx_max_duration_reached",
        DownstreamCxMaxRequestsReached = Counter "downstream_cx_max_requests_reached",
        DownstreamCxOverloadDisableKeepalive = Counter "downstream_cx_overload_disable_keepalive",
        DownstreamCxProtocolError = Counter "downstream_cx_protocol_error",
        DownstreamCxRxBytesBuffered = Gauge "downstream_cx_rx_bytes_buffered",
        DownstreamCxRxBytesTotal = Counter "downstream_cx_rx_bytes_total",
        DownstreamCxSslActive = Gauge "downstream_cx_ssl_active",
        DownstreamCxSslTotal = Counter "downstream_cx_ssl_total",
        DownstreamCxTotal = Counter "downstream_cx_total",
        DownstreamCxTxBytesBuffered = Gauge "downstream_cx_tx_bytes_buffered",
        DownstreamCxTxBytesTotal = Counter "downstream_cx_tx_bytes_total",
        DownstreamCxUpgradesActive = Gauge "downstream_cx_upgrades_active",
        DownstreamCxUpgradesTotal = Counter "downstream_cx_upgrades_total",
        DownstreamFlowControlPausedReadingTotal = Counter "downstream_flow_control_paused_reading_total",
        DownstreamFlowControlResumedReadingTotal = Counter "downstream_flow_control_resumed_reading_total",
        DownstreamRq1xx = Counter "downstream_rq_1xx",
        DownstreamRq2xx = Counter "downstream_rq_2xx",
        DownstreamRq3xx = Counter "downstream_rq_3xx",
        DownstreamRq4xx = Counter "downstream_rq_4xx",
        DownstreamRq5xx = Counter "downstream_rq_5xx",
        DownstreamRqActive = Gauge "downstream_rq_active",
        DownstreamRqCompleted = Counter "downstream_rq_completed",
        DownstreamRqFailedPathNormalization = Counter "downstream_rq_failed_path_normalization",
        DownstreamRqHeaderTimeout = Counter "downstream_rq_header_timeout",
        DownstreamRqHttp1Total = Counter "downstream_rq_http1_total",
        DownstreamRqHttp2Total = Counter "downstream_rq_http2_total",
        DownstreamRqHttp3Total = Counter "downstream_rq_http3_total",
        DownstreamRqIdleTimeout = Counter "downstream_rq_idle_timeout",
        DownstreamRqMaxDurationReached = Counter "downstream_rq_max_duration_reached",
        DownstreamRqNonRelativePath = Counter "downstream_rq_non_relative_path",
        DownstreamRqOverloadClose = Counter "downstream_rq_overload_close",
        DownstreamRqRedirectedWithNormalizedPath = Counter "downstream_rq_redirected_with_normalized_path",
        DownstreamRqRejectedViaIpDetection = Counter "downstream_rq_rejected_via_ip_detection",
        DownstreamRqResponseBeforeRqComplete = Counter "downstream_rq_response_before_rq_complete",
        DownstreamRqRxReset = Counter "downstream_rq_rx_reset",
        DownstreamRqTimeout = Counter "downstream_rq_timeout",
        DownstreamRqTooLarge = Counter "downstream_rq_too_large",
        DownstreamRqTooManyPrematureResets = Counter "downstream_rq_too_many_premature_resets",
        DownstreamRqTotal = Counter "downstream_rq_total",
        DownstreamRqTxReset = Counter "downstream_rq_tx_reset",
        DownstreamRqWsOnNonWsRoute = Counter "downstream_rq_ws_on_non_ws_route",
        RsTooLarge = Counter "rs_too_large",
        DownstreamCxLengthMs = Histogram "downstream_cx_length_ms",
        DownstreamRqTime = Histogram "downstream_rq_time",
    }
}

stat_set! {
    /// What the router filter of an HTTP connection manager counts: `http.PREFIX.`.
    pub enum RouterStat {
        NoCluster = Counter "no_cluster",
        NoRoute = Counter "no_route",
        PassthroughInternalRedirectBadLocation = Counter "passthrough_internal_redirect_bad_location",
        PassthroughInternalRedirectNoRoute = Counter "passthrough_internal_redirect_no_route",
        PassthroughInternalRedirectPredicate = Counter "passthrough_internal_redirect_predicate",
        PassthroughInternalRedirectTooManyRedirects = Counter "passthrough_internal_redirect_too_many_redirects",
        PassthroughInternalRedirectUnsafeScheme = Counter "passthrough_internal_redirect_unsafe_scheme",
        RqDirectResponse = Counter "rq_direct_response",
        RqOverloadLocalReply = Counter "rq_overload_local_reply",
        RqRedirect = Counter "rq_redirect",
        RqResetAfterDownstreamResponseStarted = Counter "rq_reset_after_downstream_response_started",
        RqTotal = Counter "rq_total",
    }
}

stat_set! {
    /// What tracing of an HTTP connection manager counts: `http.PREFIX.tracing.`.
    pub enum TracingStat {
        ClientEnabled = Counter "client_enabled",
        HealthCheck = Counter "health_check",
        NotTraceable = Counter "not_traceable",
        RandomSampling = Counter "random_sampling",
        ServiceForced = Counter "service_forced",
    }
}

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
    /// What a listener or a cluster counts of its TLS: `listener.ADDRESS.ssl.`, `cluster.NAME.ssl.`.
    pub enum SslStat {
        ConnectionError = Counter "connection_error",
        FailVerifyCertHash = Counter "fail_verify_cert_hash",
        FailVerifyError = Counter "fail_verify_error",
        FailVerifyNoCert = Counter "fail_verify_no_cert",
        FailVerifySan = Counter "fail_verify_san",
        Handshake = Counter "handshake",
        NoCertificate = Counter "no_certificate",
        OcspStapleFailed = Counter "ocsp_staple_failed",
        OcspStapleOmitted = Counter "ocsp_staple_omitted",
        OcspStapleRequests = Counter "ocsp_staple_requests",
        OcspStapleResponses = Counter "ocsp_staple_responses",
        SessionReused = Counter "session_reused",
        CipherTls13Aes128 = Counter "ciphers.TLS_AES_128_GCM_SHA256" once_written,
        CipherTls13Aes256 = Counter "ciphers.TLS_AES_256_GCM_SHA384" once_written,
        CipherTls13ChaCha20 = Counter "ciphers.TLS_CHACHA20_POLY1305_SHA256" once_written,
        CipherEcdsaAes128 = Counter "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256" once_written,
        CipherEcdsaAes256 = Counter "ciphers.ECDHE-ECDSA-AES256-GCM-SHA384" once_written,
        CipherEcdsaChaCha20 = Counter "ciphers.ECDHE-ECDSA-CHACHA20-POLY1305" once_written,
        CipherRsaAes128 = Counter "ciphers.ECDHE-RSA-AES128-GCM-SHA256" once_written,
        CipherRsaAes256 = Counter "ciphers.ECDHE-RSA-AES256-GCM-SHA384" once_written,
        CipherRsaChaCha20 = Counter "ciphers.ECDHE-RSA-CHACHA20-POLY1305" once_written,
        CurveX25519 = Counter "curves.X25519" once_written,
        CurveX25519MlKem768 = Counter "curves.X25519MLKEM768" once_written,
        CurveP256 = Counter "curves.P-256" once_written,
        CurveP384 = Counter "curves.P-384" once_written,
        SigalgEcdsaP256 = Counter "sigalgs.ecdsa_secp256r1_sha256" once_written,
        SigalgEcdsaP384 = Counter "sigalgs.ecdsa_secp384r1_sha384" once_written,
        SigalgEd25519 = Counter "sigalgs.ed25519" once_written,
        SigalgRsaPkcs1Sha256 = Counter "sigalgs.rsa_pkcs1_sha256" once_written,
        SigalgRsaPkcs1Sha384 = Counter "sigalgs.rsa_pkcs1_sha384" once_written,
        SigalgRsaPkcs1Sha512 = Counter "sigalgs.rsa_pkcs1_sha512" once_written,
        SigalgRsaPssSha256 = Counter "sigalgs.rsa_pss_rsae_sha256" once_written,
        SigalgRsaPssSha384 = Counter "sigalgs.rsa_pss_rsae_sha384" once_written,
        SigalgRsaPssSha512 = Counter "sigalgs.rsa_pss_rsae_sha512" once_written,
        Version12 = Counter "versions.TLSv1.2" once_written,
        Version13 = Counter "versions.TLSv1.3" once_written,
    }
}

stat_set! {
    /// What is known of a certificate of a TLS context: `listener.ADDRESS.ssl.certificate.NAME.` and the like of clusters.
    pub enum CertificateStat {
        ExpirationUnixTimeSeconds = Gauge "expiration_unix_time_seconds",
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
    /// What a TLS context counts of its secrets: `listener.ADDRESS.server_ssl_socket_factory.` and the like of clusters.
    pub enum SslContextStat {
        DownstreamContextSecretsNotReady = Counter "downstream_context_secrets_not_ready",
        SslContextUpdateBySds = Counter "ssl_context_update_by_sds",
        UpstreamContextSecretsNotReady = Counter "upstream_context_secrets_not_ready",
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
    /// What one worker counts of a listener: `listener.ADDRESS.worker_N.`.
    pub enum ListenerWorkerStat {
        DownstreamCxActive = Gauge "downstream_cx_active",
        DownstreamCxTotal = Counter "downstream_cx_total",
    }
}

stat_set! {
    /// What the process counts: `server.`.
    pub enum ServerStat {
        CompilationSettingsFipsMode = Gauge "compilation_settings.fips_mode",
        Concurrency = Gauge "concurrency",
        DaysUntilFirstCertExpiring = Gauge "days_until_first_cert_expiring",
        DebugAssertionFailures = Counter "debug_assertion_failures",
        DroppedStatFlushes = Counter "dropped_stat_flushes",
        DynamicUnknownFields = Counter "dynamic_unknown_fields",
        EnvoyBugFailures = Counter "envoy_bug_failures",
        EnvoyNotifications = Counter "envoy_notifications",
        HotRestartEpoch = Gauge "hot_restart_epoch",
        Live = Gauge "live",
        MemoryAllocated = Gauge "memory_allocated",
        MemoryHeapSize = Gauge "memory_heap_size",
        MemoryPhysicalSize = Gauge "memory_physical_size",
        ParentConnections = Gauge "parent_connections",
        SecondsUntilFirstOcspResponseExpiring = Gauge "seconds_until_first_ocsp_response_expiring",
        State = Gauge "state",
        StaticUnknownFields = Counter "static_unknown_fields",
        StatsRecentLookups = Gauge "stats_recent_lookups",
        TotalConnections = Gauge "total_connections",
        Uptime = Gauge "uptime",
        Version = Gauge "version",
        WipProtos = Counter "wip_protos",
        InitializationTimeMs = Histogram "initialization_time_ms",
    }
}

stat_set! {
    /// `cluster_manager.`.
    pub enum ClusterManagerStat {
        ActiveClusters = Gauge "active_clusters",
        ClusterAdded = Counter "cluster_added",
        ClusterModified = Counter "cluster_modified",
        ClusterRemoved = Counter "cluster_removed",
        ClusterUpdated = Counter "cluster_updated",
        ClusterUpdatedViaMerge = Counter "cluster_updated_via_merge",
        UpdateMergeCancelled = Counter "update_merge_cancelled",
        UpdateOutOfMergeWindow = Counter "update_out_of_merge_window",
        WarmingClusters = Gauge "warming_clusters",
    }
}

stat_set! {
    /// `listener_manager.`.
    pub enum ListenerManagerStat {
        ListenerAdded = Counter "listener_added",
        ListenerCreateFailure = Counter "listener_create_failure",
        ListenerCreateSuccess = Counter "listener_create_success",
        ListenerInPlaceUpdated = Counter "listener_in_place_updated",
        ListenerModified = Counter "listener_modified",
        ListenerRemoved = Counter "listener_removed",
        ListenerStopped = Counter "listener_stopped",
        TotalFilterChainsDraining = Gauge "total_filter_chains_draining",
        TotalListenersActive = Gauge "total_listeners_active",
        TotalListenersDraining = Gauge "total_listeners_draining",
        TotalListenersWarming = Gauge "total_listeners_warming",
        WorkersPinned = Gauge "workers_pinned",
        WorkersStarted = Gauge "workers_started",
    }
}

stat_set! {
    /// `runtime.`.
    pub enum RuntimeStat {
        AdminOverridesActive = Gauge "admin_overrides_active",
        DeprecatedFeatureSeenSinceProcessStart = Gauge "deprecated_feature_seen_since_process_start",
        DeprecatedFeatureUse = Counter "deprecated_feature_use",
        LoadError = Counter "load_error",
        LoadSuccess = Counter "load_success",
        NumKeys = Gauge "num_keys",
        NumLayers = Gauge "num_layers",
        OverrideDirExists = Counter "override_dir_exists",
        OverrideDirNotExists = Counter "override_dir_not_exists",
    }
}

stat_set! {
    /// `dns.cares.`: the resolver is another, the names are those people graph.
    pub enum DnsStat {
        GetAddrFailure = Counter "get_addr_failure",
        NotFound = Counter "not_found",
        PendingResolutions = Gauge "pending_resolutions",
        Reinits = Counter "reinits",
        ResolveTotal = Counter "resolve_total",
        Timeouts = Counter "timeouts",
    }
}

stat_set! {
    /// `filesystem.`: what the log writer did.
    pub enum FilesystemStat {
        FlushedByTimer = Counter "flushed_by_timer",
        ReopenFailed = Counter "reopen_failed",
        WriteBuffered = Counter "write_buffered",
        WriteCompleted = Counter "write_completed",
        WriteFailed = Counter "write_failed",
        WriteTotalBuffered = Gauge "write_total_buffered",
    }
}

stat_set! {
    /// `http1.`.
    pub enum Http1Stat {
        DroppedHeadersWithUnderscores = Counter "dropped_headers_with_underscores",
        MetadataNotSupportedError = Counter "metadata_not_supported_error",
        RequestsRejectedWithUnderscoresInHeaders = Counter "requests_rejected_with_underscores_in_headers",
        ResponseFlood = Counter "response_flood",
    }
}

stat_set! {
    /// What is counted of one host; `/clusters` prints it.
    pub enum HostStat {
        CxActive = Gauge "cx_active",
        CxConnectFail = Counter "cx_connect_fail",
        CxTotal = Counter "cx_total",
        RqActive = Gauge "rq_active",
        RqError = Counter "rq_error",
        RqPendingActive = Gauge "rq_pending_active",
        RqSuccess = Counter "rq_success",
        RqTimeout = Counter "rq_timeout",
        RqTotal = Counter "rq_total",
    }
}

stat_set! {
    /// What health checks of a cluster count: `cluster.NAME.health_check.`.
    pub enum HealthCheckStat {
        Attempt = Counter "attempt",
        Degraded = Gauge "degraded",
        Failure = Counter "failure",
        Healthy = Gauge "healthy",
        NetworkFailure = Counter "network_failure",
        PassiveFailure = Counter "passive_failure",
        Success = Counter "success",
        VerifyCluster = Counter "verify_cluster",
    }
}

stat_set! {
    /// What all health checks of a cluster say together, where it has several: `cluster.NAME.health_check.`.
    pub enum AllHealthChecksStat {
        Degraded = Gauge "degraded",
        Healthy = Gauge "healthy",
    }
}

stat_set! {
    /// What outlier detection of a cluster counts: `cluster.NAME.outlier_detection.`.
    pub enum OutlierStat {
        Active = Gauge "ejections_active",
        Consecutive5xx = Counter "ejections_consecutive_5xx",
        DetectedConsecutive5xx = Counter "ejections_detected_consecutive_5xx",
        DetectedConsecutiveGatewayFailure = Counter "ejections_detected_consecutive_gateway_failure",
        DetectedConsecutiveLocalOriginFailure = Counter "ejections_detected_consecutive_local_origin_failure",
        DetectedDegradation = Counter "ejections_detected_degradation",
        DetectedFailurePercentage = Counter "ejections_detected_failure_percentage",
        DetectedLocalOriginFailurePercentage = Counter "ejections_detected_local_origin_failure_percentage",
        DetectedLocalOriginSuccessRate = Counter "ejections_detected_local_origin_success_rate",
        DetectedSuccessRate = Counter "ejections_detected_success_rate",
        EnforcedConsecutive5xx = Counter "ejections_enforced_consecutive_5xx",
        EnforcedConsecutiveGatewayFailure = Counter "ejections_enforced_consecutive_gateway_failure",
        EnforcedConsecutiveLocalOriginFailure = Counter "ejections_enforced_consecutive_local_origin_failure",
        EnforcedFailurePercentage = Counter "ejections_enforced_failure_percentage",
        EnforcedLocalOriginFailurePercentage = Counter "ejections_enforced_local_origin_failure_percentage",
        EnforcedLocalOriginSuccessRate = Counter "ejections_enforced_local_origin_success_rate",
        EnforcedSuccessRate = Counter "ejections_enforced_success_rate",
        EnforcedTotal = Counter "ejections_enforced_total",
        Overflow = Counter "ejections_overflow",
        SuccessRate = Counter "ejections_success_rate",
        Total = Counter "ejections_total",
    }
}

stat_set! {
    /// What a TCP proxy counts: `tcp.PREFIX.`.
    pub enum TcpStat {
        DownstreamCxDrainClose = Counter "downstream_cx_drain_close",
        DownstreamCxNoRoute = Counter "downstream_cx_no_route",
        DownstreamCxOverloadClose = Counter "downstream_cx_overload_close",
        DownstreamCxRxBytesBuffered = Gauge "downstream_cx_rx_bytes_buffered",
        DownstreamCxRxBytesTotal = Counter "downstream_cx_rx_bytes_total",
        DownstreamCxTotal = Counter "downstream_cx_total",
        DownstreamCxTxBytesBuffered = Gauge "downstream_cx_tx_bytes_buffered",
        DownstreamCxTxBytesTotal = Counter "downstream_cx_tx_bytes_total",
        DownstreamFlowControlPausedReadingTotal = Counter "downstream_flow_control_paused_reading_total",
        DownstreamFlowControlResumedReadingTotal = Counter "downstream_flow_control_resumed_reading_total",
        EarlyDataReceivedCountTotal = Counter "early_data_received_count_total",
        IdleTimeout = Counter "idle_timeout",
        MaxDownstreamConnectionDuration = Counter "max_downstream_connection_duration",
        RouteDelayedTotal = Counter "route_delayed_total",
        UpstreamFlushActive = Gauge "upstream_flush_active",
        UpstreamFlushTotal = Counter "upstream_flush_total",
    }
}

stat_set! {
    /// What the watchdog counts: `workers.` and `server.worker_N.`.
    pub enum WatchdogStat {
        MegaMiss = Counter "watchdog_mega_miss",
        Miss = Counter "watchdog_miss",
    }
}

stat_set! {
    /// What a listener counts of configuration that comes by itself; the admin port has none.
    pub enum ListenerDiscoveryStat {
        ExtensionConfigMissing = Counter "extension_config_missing",
        NetworkExtensionConfigMissing = Counter "network_extension_config_missing",
    }
}

stat_set! {
    /// What a subscription counts: `cluster_manager.cds.`, `listener_manager.lds.`, `http.PREFIX.rds.NAME.`.
    pub enum SubscriptionStat {
        InitFetchTimeout = Counter "init_fetch_timeout",
        UpdateAttempt = Counter "update_attempt",
        UpdateFailure = Counter "update_failure",
        UpdateRejected = Counter "update_rejected",
        UpdateSuccess = Counter "update_success",
        UpdateTime = Gauge "update_time",
        Version = Gauge "version",
        VersionText = Text "version_text",
        UpdateDuration = Histogram "update_duration",
    }
}

stat_set! {
    /// What the subscriptions to clusters and to a route table count besides.
    pub enum ReloadStat {
        ConfigReload = Counter "config_reload",
        ConfigReloadTimeMs = Gauge "config_reload_time_ms",
    }
}

stat_set! {
    /// What the subscription to a route table counts besides: `http.PREFIX.rds.NAME.`.
    pub enum RdsStat {
        UpdateEmpty = Counter "update_empty",
    }
}

stat_set! {
    /// What the subscription to a secret counts besides: `sds.NAME.`.
    pub enum SdsStat {
        KeyRotationFailed = Counter "key_rotation_failed",
    }
}

stat_set! {
    /// What a cluster that subscribes to its hosts counts besides: `cluster.NAME.`.
    pub enum EdsStat {
        InitFetchTimeout = Counter "init_fetch_timeout",
        UpdateRejected = Counter "update_rejected",
        UpdateTime = Gauge "update_time",
        VersionText = Text "version_text",
        UpdateDuration = Histogram "update_duration",
    }
}
