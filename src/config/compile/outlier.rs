//! Owns compiling outlier detection: what is an outlier, and how long it is left out.

use std::{path::PathBuf, sync::Arc};

use understudy_actors::plan::{
    Consecutive, Enforcing, FailurePercentagePlan, OutlierPlan, SuccessRatePlan,
};

use super::Compiler;
use crate::config::Message;

impl Compiler<'_> {
    /// `cluster_manager.outlier_detection`: where ejections of all clusters are written down.
    pub(super) fn outlier_log(&self, bootstrap: &Message) -> Option<PathBuf> {
        let manager = bootstrap.message("cluster_manager")?;
        let path = manager.message("outlier_detection")?.text("event_log_path")?;
        (!path.is_empty()).then(|| PathBuf::from(path))
    }

    /// `Cluster.outlier_detection`
    pub(super) fn outlier(&mut self, cluster: &Message) -> Option<Arc<OutlierPlan>> {
        let detection = cluster.message("outlier_detection")?;
        let default = OutlierPlan::default();
        let number = |name: &str, default| detection.number_u32(name).unwrap_or(default);
        let flag = |name: &str, default| detection.boolean(name).unwrap_or(default);
        let base = detection.duration("base_ejection_time").unwrap_or(default.base_ejection_time);
        let max = detection.duration("max_ejection_time");
        if max.is_some_and(|max| max < base) {
            let name = "max_ejection_time";
            let text =
                "outlier detector's max_ejection_time cannot be smaller than base_ejection_time";
            let hint = "base_ejection_time is 30s where it is not set";
            self.error(detection.at_of(name), &detection.path_of(name), text, hint);
        }
        let consecutive = default.consecutive;
        let consecutive = Consecutive {
            server_errors: number("consecutive_5xx", consecutive.server_errors),
            gateway_failures: number("consecutive_gateway_failure", consecutive.gateway_failures),
            local_origin_failures: number(
                "consecutive_local_origin_failure",
                consecutive.local_origin_failures,
            ),
        };
        let rate = default.success_rate;
        let success_rate = SuccessRatePlan {
            minimum_hosts: number("success_rate_minimum_hosts", rate.minimum_hosts),
            request_volume: number("success_rate_request_volume", rate.request_volume),
            stdev_factor: number("success_rate_stdev_factor", rate.stdev_factor),
        };
        let failure = default.failure_percentage;
        let failure_percentage = FailurePercentagePlan {
            minimum_hosts: number("failure_percentage_minimum_hosts", failure.minimum_hosts),
            request_volume: number("failure_percentage_request_volume", failure.request_volume),
            threshold: number("failure_percentage_threshold", failure.threshold),
        };
        let own = default.enforcing;
        let percent = |name: &str, default| number(&format!("enforcing_{name}"), default);
        let enforcing = Enforcing {
            consecutive_5xx: percent("consecutive_5xx", own.consecutive_5xx),
            consecutive_gateway_failure: percent(
                "consecutive_gateway_failure",
                own.consecutive_gateway_failure,
            ),
            consecutive_local_origin_failure: percent(
                "consecutive_local_origin_failure",
                own.consecutive_local_origin_failure,
            ),
            success_rate: percent("success_rate", own.success_rate),
            local_origin_success_rate: percent(
                "local_origin_success_rate",
                own.local_origin_success_rate,
            ),
            failure_percentage: percent("failure_percentage", own.failure_percentage),
            failure_percentage_local_origin: percent(
                "failure_percentage_local_origin",
                own.failure_percentage_local_origin,
            ),
        };
        Some(Arc::new(OutlierPlan {
            interval: detection.duration("interval").unwrap_or(default.interval),
            base_ejection_time: base,
            max_ejection_time: max.unwrap_or(default.max_ejection_time.max(base)),
            max_ejection_time_jitter: detection
                .duration("max_ejection_time_jitter")
                .unwrap_or_default(),
            max_ejection_percent: number("max_ejection_percent", default.max_ejection_percent),
            always_eject_one_host: flag("always_eject_one_host", false),
            consecutive,
            splits_local_origin: flag("split_external_local_origin_errors", false),
            success_rate,
            failure_percentage,
            enforcing,
            unejected_by_health_check: flag("successful_active_health_check_uneject_host", true),
            detects_degraded: flag("detect_degraded_hosts", false),
            event_log: self.outlier_log.clone(),
        }))
    }
}
