//! Owns how a command line is told to others: `command_line_options` of `/server_info`.

use serde_json::{Value, json};

use super::{DrainStrategy, Flags, Mode};

// === impl Flags ===

impl Flags {
    /// The flags as `envoy.admin.v3.CommandLineOptions` in JSON, defaults included.
    /// Observed: Envoy 1.40 `/server_info`.
    pub fn told(&self) -> Value {
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_deref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let interval_ms = self.file_flush_interval_msec;
        let interval = match interval_ms % 1_000 {
            0 => format!("{}s", interval_ms / 1_000),
            rest => format!("{}.{rest:03}s", interval_ms / 1_000),
        };
        let mode = match self.mode {
            Mode::Serve => "Serve",
            Mode::Validate => "Validate",
            Mode::InitOnly => "InitOnly",
        };
        let tags = self.stats_tag.iter().map(|(name, value)| format!("{name}:{value}"));
        json!({
            "base_id": self.base_id.to_string(),
            "concurrency": self.workers(),
            "config_path": path(&self.config_path),
            "config_yaml": self.config_yaml.as_deref().unwrap_or_default(),
            "allow_unknown_static_fields": false,
            "admin_address_path": path(&self.admin_address_path),
            "local_address_ip_version": "v4",
            "log_level": self.log_level,
            "component_log_level": self.component_log_level,
            "log_format": self.log_format,
            "log_path": path(&self.log_path),
            "service_cluster": self.service_cluster,
            "service_node": self.service_node,
            "service_zone": self.service_zone,
            "file_flush_interval": interval,
            "drain_time": format!("{}s", self.drain_time_s),
            "parent_shutdown_time": format!("{}s", self.parent_shutdown_time_s),
            "mode": mode,
            "disable_hot_restart": self.disable_hot_restart,
            "enable_mutex_tracing": false,
            "restart_epoch": self.restart_epoch,
            "cpuset_threads": self.cpuset_threads,
            "reject_unknown_dynamic_fields": false,
            "log_format_escaped": self.log_format_escaped,
            "disabled_extensions": [],
            "ignore_unknown_dynamic_fields": false,
            "use_dynamic_base_id": false,
            "base_id_path": "",
            "drain_strategy": match self.drain_strategy {
                DrainStrategy::Gradual => "Gradual",
                DrainStrategy::Immediate => "Immediate",
            },
            "enable_fine_grain_logging": false,
            "socket_path": "@envoy_domain_socket",
            "socket_mode": 0,
            "enable_core_dump": false,
            "stats_tag": tags.collect::<Vec<_>>(),
            "skip_hot_restart_on_no_parent": false,
            "skip_hot_restart_parent_stats": false,
            "skip_deprecated_logs": false,
            "file_flush_min_size": self.file_flush_min_size_kb.unwrap_or_default(),
            "log_stacktrace_single_entry": false,
        })
    }
}
