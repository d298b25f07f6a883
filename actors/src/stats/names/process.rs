//! Owns the names of what the process counts of itself.

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
    /// What the watchdog counts: `workers.` and `server.worker_N.`.
    pub enum WatchdogStat {
        MegaMiss = Counter "watchdog_mega_miss",
        Miss = Counter "watchdog_miss",
    }
}
