//! Owns compiling how hosts are weighed by what they report of their load.

use std::time::Duration;

use understudy_actors::reported::Weighing;

use super::Compiler;
use crate::config::{
    Message,
    model::load_report::{Metric, Worth},
};

/// Envoy's defaults, and the shortest `weight_update_period` it keeps to.
const BLACKOUT: Duration = Duration::from_secs(10);
const EXPIRATION: Duration = Duration::from_secs(180);
const EVERY: Duration = Duration::from_secs(1);
const EVERY_MIN: Duration = Duration::from_millis(100);

impl Compiler<'_> {
    /// `ClientSideWeightedRoundRobin`. Only reports that come with answers are heeded.
    pub(super) fn weighing(&mut self, config: &Message) -> (Option<Weighing>, Option<Worth>) {
        if config.boolean("enable_oob_load_report") == Some(true) {
            let field = "enable_oob_load_report";
            let (at, path) = (config.at_of(field), config.path_of(field));
            self.unsupported(at, &path, "asking hosts for reports beside their answers");
        }
        for field in ["oob_reporting_period", "oob_reporting_config"] {
            config.ignore(field, "of reports beside answers, which are off");
        }
        let every = config.duration("weight_update_period").unwrap_or(EVERY);
        let weighing = Weighing {
            blackout: config.duration("blackout_period").unwrap_or(BLACKOUT),
            expiration: config.duration("weight_expiration_period").unwrap_or(EXPIRATION),
            every: every.max(EVERY_MIN),
        };
        let metrics = config.texts("metric_names_for_computing_utilization");
        let worth = Worth {
            // Observed: Envoy 1.40, though its documents say 1.
            error_penalty: config.double("error_utilization_penalty").unwrap_or(0.0),
            metrics: metrics.filter_map(|(name, _)| Metric::read(name)).collect(),
        };
        (Some(weighing), Some(worth))
    }
}
