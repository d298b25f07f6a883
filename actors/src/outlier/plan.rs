//! Owns what a configuration asks of outlier detection, and what the runtime makes of it.

use std::{path::PathBuf, time::Duration};

use super::Ejection;
use crate::runtime::{Runtime, Share};

/// `Cluster.outlier_detection`.
#[derive(Clone, Debug, PartialEq)]
pub struct OutlierPlan {
    /// `interval`: how often hosts are judged and taken back; Envoy's default is 10 s.
    pub interval: Duration,
    /// `base_ejection_time`, times how often the host was ejected; Envoy's default is 30 s.
    pub base_ejection_time: Duration,
    /// `max_ejection_time`; Envoy's default is 300 s.
    pub max_ejection_time: Duration,
    /// `max_ejection_time_jitter`: up to this much is added.
    pub max_ejection_time_jitter: Duration,
    /// `max_ejection_percent`; Envoy's default is 10.
    pub max_ejection_percent: u32,
    /// `always_eject_one_host`: whatever the percentage is.
    pub always_eject_one_host: bool,
    /// How many failures in a row are too many.
    pub consecutive: Consecutive,
    /// `split_external_local_origin_errors`: what happened on this side is counted apart.
    pub splits_local_origin: bool,
    /// `success_rate_minimum_hosts`, `success_rate_request_volume` and `success_rate_stdev_factor`.
    pub success_rate: SuccessRatePlan,
    /// `failure_percentage_minimum_hosts`, `_request_volume` and `_threshold`.
    pub failure_percentage: FailurePercentagePlan,
    /// Of a hundred ejections so many are carried out.
    pub enforcing: Enforcing,
    /// `successful_active_health_check_uneject_host`; Envoy's default is true.
    pub unejected_by_health_check: bool,
    /// `detect_degraded_hosts`: an answer may say that its host is degraded.
    pub detects_degraded: bool,
    /// `cluster_manager.outlier_detection.event_log_path`.
    pub event_log: Option<PathBuf>,
}

/// Failures in a row after which a host is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consecutive {
    /// `consecutive_5xx`; Envoy's default is 5.
    pub server_errors: u32,
    /// `consecutive_gateway_failure`; Envoy's default is 5.
    pub gateway_failures: u32,
    /// `consecutive_local_origin_failure`; Envoy's default is 5.
    pub local_origin_failures: u32,
}

/// How hosts are compared by their success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SuccessRatePlan {
    /// So many hosts must have enough requests; Envoy's default is 5.
    pub minimum_hosts: u32,
    /// What is enough in one interval; Envoy's default is 100.
    pub request_volume: u32,
    /// In thousandths of the standard deviation; Envoy's default is 1900.
    pub stdev_factor: u32,
}

/// How hosts are judged by their failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePercentagePlan {
    /// So many hosts must have enough requests; Envoy's default is 5.
    pub minimum_hosts: u32,
    /// What is enough in one interval; Envoy's default is 50.
    pub request_volume: u32,
    /// Envoy's default is 85.
    pub threshold: u32,
}

/// The `enforcing_*` percentages, by what was detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enforcing {
    /// Envoy's default is 100.
    pub consecutive_5xx: u32,
    /// Envoy's default is 0.
    pub consecutive_gateway_failure: u32,
    /// Envoy's default is 100.
    pub consecutive_local_origin_failure: u32,
    /// Envoy's default is 100.
    pub success_rate: u32,
    /// Envoy's default is 100.
    pub local_origin_success_rate: u32,
    /// Envoy's default is 0.
    pub failure_percentage: u32,
    /// Envoy's default is 0.
    pub failure_percentage_local_origin: u32,
}

/// The parts of a plan that the control plane asks for, in force at one moment.
#[derive(Clone, Copy)]
pub(super) struct InForce<'a> {
    pub(super) plan: &'a OutlierPlan,
    pub(super) runtime: &'a Runtime,
}

// === impl OutlierPlan ===

impl Default for OutlierPlan {
    /// Envoy's defaults.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            base_ejection_time: Duration::from_secs(30),
            max_ejection_time: Duration::from_secs(300),
            max_ejection_time_jitter: Duration::ZERO,
            max_ejection_percent: 10,
            always_eject_one_host: false,
            consecutive: Consecutive::default(),
            splits_local_origin: false,
            success_rate: SuccessRatePlan {
                minimum_hosts: 5,
                request_volume: 100,
                stdev_factor: 1900,
            },
            failure_percentage: FailurePercentagePlan {
                minimum_hosts: 5,
                request_volume: 50,
                threshold: 85,
            },
            enforcing: Enforcing {
                consecutive_5xx: 100,
                consecutive_gateway_failure: 0,
                consecutive_local_origin_failure: 100,
                success_rate: 100,
                local_origin_success_rate: 100,
                failure_percentage: 0,
                failure_percentage_local_origin: 0,
            },
            unejected_by_health_check: true,
            detects_degraded: false,
            event_log: None,
        }
    }
}

// === impl Consecutive ===

impl Default for Consecutive {
    /// Envoy's defaults.
    fn default() -> Self {
        Self { server_errors: 5, gateway_failures: 5, local_origin_failures: 5 }
    }
}

impl Consecutive {
    /// What is in force. Source: Envoy, "Cluster manager, runtime, outlier detection".
    pub(crate) fn in_force(self, runtime: &Runtime) -> Self {
        let number = |key: &str, plan: u32| {
            let set = runtime.integer(&format!("outlier_detection.{key}"), u64::from(plan));
            u32::try_from(set).unwrap_or(u32::MAX)
        };
        Self {
            server_errors: number("consecutive_5xx", self.server_errors),
            gateway_failures: number("consecutive_gateway_failure", self.gateway_failures),
            local_origin_failures: number(
                "consecutive_local_origin_failure",
                self.local_origin_failures,
            ),
        }
    }
}

// === impl InForce ===

impl InForce<'_> {
    fn number(self, key: &str, plan: u32) -> u64 {
        self.runtime.integer(&format!("outlier_detection.{key}"), u64::from(plan))
    }

    fn duration(self, key: &str, plan: Duration) -> Duration {
        let plan = u64::try_from(plan.as_millis()).unwrap_or(u64::MAX);
        let ms = self.runtime.integer(&format!("outlier_detection.{key}"), plan);
        Duration::from_millis(ms)
    }

    pub(super) fn interval(self) -> Duration {
        self.duration("interval_ms", self.plan.interval)
    }

    pub(super) fn base_ejection_time(self) -> Duration {
        self.duration("base_ejection_time_ms", self.plan.base_ejection_time)
    }

    pub(super) fn max_ejection_time(self) -> Duration {
        self.duration("max_ejection_time_ms", self.plan.max_ejection_time)
    }

    /// How much longer than it must a host stays out this time.
    pub(super) fn jitter(self) -> Duration {
        let key = "max_ejection_time_jitter_ms";
        let max = self.duration(key, self.plan.max_ejection_time_jitter).as_millis();
        let max = u64::try_from(max).unwrap_or(u64::MAX);
        Duration::from_millis(fastrand::u64(..=max))
    }

    /// Whether one more of so many hosts may be ejected.
    pub(super) fn may_eject(self, ejected: usize, hosts: usize) -> bool {
        let max = self.number("max_ejection_percent", self.plan.max_ejection_percent).min(100);
        let percent = 100.0 * (ejected + 1) as f64 / hosts.max(1) as f64;
        percent <= max as f64 || (self.plan.always_eject_one_host && ejected == 0)
    }

    pub(super) fn success_rate(self) -> (u64, u64, f64) {
        let plan = self.plan.success_rate;
        let factor = self.number("success_rate_stdev_factor", plan.stdev_factor);
        (
            self.number("success_rate_minimum_hosts", plan.minimum_hosts),
            self.number("success_rate_request_volume", plan.request_volume),
            factor as f64 / 1000.0,
        )
    }

    pub(super) fn failure_percentage(self) -> (u64, u64, f64) {
        let plan = self.plan.failure_percentage;
        (
            self.number("failure_percentage_minimum_hosts", plan.minimum_hosts),
            self.number("failure_percentage_request_volume", plan.request_volume),
            self.number("failure_percentage_threshold", plan.threshold) as f64,
        )
    }

    /// Whether an ejection of this kind is carried out.
    pub(super) fn enforces(self, kind: Ejection) -> bool {
        let plan = self.plan.enforcing;
        let (name, percent) = match kind {
            Ejection::Consecutive5xx => ("consecutive_5xx", plan.consecutive_5xx),
            Ejection::ConsecutiveGatewayFailure => {
                ("consecutive_gateway_failure", plan.consecutive_gateway_failure)
            }
            Ejection::ConsecutiveLocalOriginFailure => {
                ("consecutive_local_origin_failure", plan.consecutive_local_origin_failure)
            }
            Ejection::SuccessRate => ("success_rate", plan.success_rate),
            Ejection::LocalOriginSuccessRate => {
                ("local_origin_success_rate", plan.local_origin_success_rate)
            }
            Ejection::FailurePercentage => ("failure_percentage", plan.failure_percentage),
            Ejection::LocalOriginFailurePercentage => {
                ("failure_percentage_local_origin", plan.failure_percentage_local_origin)
            }
        };
        let key = format!("outlier_detection.enforcing_{name}");
        let default = Share { numerator: percent, denominator: 100 };
        self.runtime.enabled(&key, default, fastrand::u64(..))
    }
}
