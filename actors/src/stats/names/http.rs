//! Owns the names of what connection managers, routers, codecs and the TCP proxy count.

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
    /// `http1.`.
    pub enum Http1Stat {
        DroppedHeadersWithUnderscores = Counter "dropped_headers_with_underscores",
        MetadataNotSupportedError = Counter "metadata_not_supported_error",
        RequestsRejectedWithUnderscoresInHeaders = Counter "requests_rejected_with_underscores_in_headers",
        ResponseFlood = Counter "response_flood",
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
