//! Owns the names of what clusters and their hosts count.

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
