//! Owns what hosts report of their load with their answers (ORCA), and what they are worth by that.
//!
//! Source: `xds.data.orca.v3.OrcaLoadReport`, and Envoy's `ClientSideWeightedRoundRobin`.

mod read;

pub use read::report;

use crate::{
    codec::HeaderBlock,
    config::model::load_report::{Group, Metric, Worth},
    upstream::pool::Target,
};

/// `OrcaLoadReport`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    cpu: f64,
    memory: f64,
    application: f64,
    errors: f64,
    requests: f64,
    named: Vec<(Group, String, f64)>,
}

/// Heeds what an answer's headers or trailers say of the host's load.
#[inline]
pub fn heed(target: &Target, headers: &HeaderBlock) {
    if let (Some(reported), Some(worth)) = (&target.host.reported, &target.upstream.balancing.worth)
        && let Some(report) = report(headers)
        && let Some(weight) = worth.weight(&report)
    {
        reported.report(weight);
    }
}

// === impl Worth ===

impl Worth {
    /// The more requests at the less use, the more it is worth; none where that cannot be said.
    ///
    /// Observed: Envoy 1.40, `/clusters`.
    fn weight(&self, report: &Report) -> Option<u32> {
        if report.requests <= 0.0 {
            return None;
        }
        let usage = self.usage(report) + self.error_penalty * report.errors / report.requests;
        let weight = report.requests / usage;
        // What is more than a weight can be is the most it can be.
        (usage > 0.0).then_some(weight as u32)
    }

    fn usage(&self, report: &Report) -> f64 {
        if report.application > 0.0 {
            return report.application;
        }
        let metrics = self.metrics.iter().filter_map(|metric| report.greatest(metric));
        let greatest = metrics.fold(0.0, f64::max);
        if greatest > 0.0 { greatest } else { report.cpu }
    }
}

// === impl Report ===

impl Report {
    fn greatest(&self, metric: &Metric) -> Option<f64> {
        Some(match metric {
            Metric::Cpu => self.cpu,
            Metric::Memory => self.memory,
            Metric::Application => self.application,
            Metric::Errors => self.errors,
            Metric::Requests => self.requests,
            Metric::Named(group, wanted) => {
                let is_meant = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
                let of_group =
                    self.named.iter().filter(|(of, name, _)| of == group && is_meant(name));
                return of_group.map(|(_, _, value)| *value).reduce(f64::max);
            }
        })
    }
}

#[cfg(test)]
mod tests;
