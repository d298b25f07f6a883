//! Owns the compiled way from a host's load report to what it is worth.

/// How a cluster makes a weight of a report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Worth {
    /// `error_utilization_penalty`: how much of a use failed requests count for.
    pub error_penalty: f64,
    /// `metric_names_for_computing_utilization`: of these the greatest, where the application itself says nothing.
    pub metrics: Vec<Metric>,
}

/// A metric, or all of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Metric {
    /// `cpu_utilization`.
    Cpu,
    /// `mem_utilization`.
    Memory,
    /// `application_utilization`.
    Application,
    /// `eps`.
    Errors,
    /// `rps_fractional`.
    Requests,
    /// `GROUP.NAME`; none for `GROUP.*`.
    Named(Group, Option<String>),
}

/// A group of metrics that hosts name themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `named_metrics`.
    Named,
    /// `request_cost`.
    Cost,
    /// `utilization`.
    Utilization,
}

// === impl Metric ===

impl Metric {
    /// Reads a name as it stands in a configuration; one that nobody reports is none.
    pub fn read(text: &str) -> Option<Self> {
        Some(match text {
            "cpu_utilization" => Self::Cpu,
            "mem_utilization" => Self::Memory,
            "application_utilization" => Self::Application,
            "eps" => Self::Errors,
            "rps_fractional" => Self::Requests,
            _ => {
                let (group, name) = text.split_once('.')?;
                let group = Group::read(group)?;
                Self::Named(group, (name != "*").then(|| name.to_owned()))
            }
        })
    }
}

impl Group {
    /// Reads a group's name.
    pub fn read(text: &str) -> Option<Self> {
        match text {
            "named_metrics" => Some(Self::Named),
            "request_cost" => Some(Self::Cost),
            "utilization" => Some(Self::Utilization),
            _ => None,
        }
    }
}
