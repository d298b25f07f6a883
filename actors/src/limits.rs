//! Owns what the runtime makes of limits: pure functions of a plan and the keys that are set.
//!
//! Whoever counts against a limit works it out again when the runtime is another, and not for each request.

use crate::{
    outlier::Consecutive,
    plan::{ClusterPlan, Thresholds},
    runtime::Runtime,
};

/// Connections of all listeners together. The admin port's are not counted.
pub const GLOBAL_CONNECTIONS: &str = "overload.global_downstream_max_connections";

/// A cluster's limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterLimits {
    /// `circuit_breakers`, default priority then high.
    pub thresholds: [Thresholds; 2],
    /// How many failures in a row are too many: `outlier_detection.consecutive_*`.
    pub consecutive: Consecutive,
    /// Of a hundred requests so many are turned away: `upstream.maintenance_mode.NAME`.
    pub maintenance_percent: u8,
}

/// What the runtime sets of connections from clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConnectionLimits {
    /// `envoy.resource_limits.listener.NAME.connection_limit`.
    pub(crate) listener: Option<u64>,
    /// [`GLOBAL_CONNECTIONS`].
    pub(crate) global: Option<u64>,
}

// === impl ClusterLimits ===

impl ClusterLimits {
    /// What is in force for a cluster. A value that is no number leaves what the configuration says.
    ///
    /// Source: Envoy, "Circuit breakers, runtime" and "Cluster manager, runtime".
    pub fn of(plan: &ClusterPlan, runtime: &Runtime) -> Self {
        let mut thresholds = plan.thresholds;
        for (priority, own) in ["default", "high"].iter().zip(&mut thresholds) {
            for (name, limit) in [
                ("max_connections", &mut own.connections),
                ("max_pending_requests", &mut own.pending_requests),
                ("max_requests", &mut own.requests),
                ("max_retries", &mut own.retries),
                ("max_connection_pools", &mut own.pools),
            ] {
                let key = format!("circuit_breakers.{}.{priority}.{name}", plan.name);
                let set = runtime.integer(&key, u64::from(*limit));
                *limit = u32::try_from(set).unwrap_or(u32::MAX);
            }
            if let Some(budget) = &mut own.retry_budget {
                let key = format!("circuit_breakers.{}.{priority}.retry_budget", plan.name);
                let percent = runtime.get(&format!("{key}.budget_percent"));
                if let Some(percent) = percent.and_then(|value| value.whole()) {
                    budget.millionths = u32::try_from(percent.min(100)).unwrap_or(100) * 10_000;
                }
                let least = u64::from(budget.at_least);
                let least = runtime.integer(&format!("{key}.min_retry_concurrency"), least);
                budget.at_least = u32::try_from(least).unwrap_or(u32::MAX);
            }
        }
        let percent = runtime.integer(&format!("upstream.maintenance_mode.{}", plan.name), 0);
        let maintenance_percent = u8::try_from(percent.min(100)).unwrap_or(100);
        let outlier = plan.outlier.as_ref();
        let consecutive = outlier.map(|plan| plan.consecutive.in_force(runtime));
        let consecutive = consecutive.unwrap_or_default();
        Self { thresholds, consecutive, maintenance_percent }
    }
}

// === impl ConnectionLimits ===

impl ConnectionLimits {
    /// What is in force for the listener of this name.
    pub(crate) fn of(listener: &str, runtime: &Runtime) -> Self {
        let set = |key: &str| runtime.get(key).and_then(|value| value.whole());
        let own = format!("envoy.resource_limits.listener.{listener}.connection_limit");
        Self { listener: set(&own), global: set(GLOBAL_CONNECTIONS) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        fakes,
        plan::Discovery,
        runtime::{RuntimeLayer, RuntimeValue},
    };

    fn runtime(key: &str, text: &str) -> Runtime {
        let entries = [(key.to_owned(), RuntimeValue::parse(text))].into();
        Runtime::new(vec![RuntimeLayer { name: "admin".to_owned(), admin: true, entries }])
    }

    #[test]
    fn a_threshold_is_what_the_runtime_says_and_what_is_no_number_changes_nothing() {
        let plan = fakes::cluster("a", 0, Discovery::Static(Vec::new()));
        let key = "circuit_breakers.a.default.max_requests";
        let configured = plan.thresholds[0].requests;
        for (text, requests) in [
            ("5", 5),
            ("7.9", 7),
            ("0.5", 0),
            ("010", 8),
            ("18446744073709551615", u32::MAX),
            ("-1", configured),
            ("hello", configured),
            ("true", configured),
            ("1e30", configured),
            ("{numerator: 5}", configured),
        ] {
            let limits = ClusterLimits::of(&plan, &runtime(key, text));
            let default = Thresholds { requests, ..plan.thresholds[0] };
            assert_eq!(limits.thresholds, [default, plan.thresholds[1]], "{text}");
            assert_eq!(limits.maintenance_percent, 0);
        }
        let high = ClusterLimits::of(&plan, &runtime("circuit_breakers.a.high.max_retries", "9"));
        assert_eq!(high.thresholds[1], Thresholds { retries: 9, ..plan.thresholds[1] });
    }

    #[test]
    fn maintenance_is_a_share_of_a_hundred() {
        let plan = fakes::cluster("a", 0, Discovery::Static(Vec::new()));
        for (key, text, percent) in [
            ("upstream.maintenance_mode.a", "50", 50),
            ("upstream.maintenance_mode.a", "200", 100),
            ("upstream.maintenance_mode.a", "0.5", 0),
            ("upstream.maintenance_mode.a", "true", 0),
            ("upstream.maintenance_mode.b", "50", 0),
        ] {
            let limits = ClusterLimits::of(&plan, &runtime(key, text));
            assert_eq!(limits.maintenance_percent, percent, "{key} {text}");
        }
    }

    #[test]
    fn connections_are_limited_by_the_listeners_name_and_over_all() {
        let own = "envoy.resource_limits.listener.main.connection_limit";
        for (key, listener, global) in
            [(own, Some(3), None), (GLOBAL_CONNECTIONS, None, Some(3)), ("other", None, None)]
        {
            let limits = ConnectionLimits::of("main", &runtime(key, "3"));
            assert_eq!(limits, ConnectionLimits { listener, global });
        }
    }
}
