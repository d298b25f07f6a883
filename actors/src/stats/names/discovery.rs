//! Owns the names of what subscriptions count.

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
