//! Owns what is written down of hosts' health, where the configuration asks for it: what the control plane
//! found, when and of whom. How a line looks is the crate above's business.

use std::time::SystemTime;

use crate::{outlier::Ejection, plan::HealthCheckKind, snapshot::Host};

/// Something that happened to a host.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Its cluster.
    pub cluster: &'a str,
    /// The host.
    pub host: &'a Host,
    /// When.
    pub at: SystemTime,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A health check found something.
    HealthCheck(HealthCheckKind, Checked),
    /// Outlier detection did something.
    Outlier(Outlier),
}

/// What a health check found of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is out.
    Ejected {
        /// Why.
        failure: Failure,
        /// The HTTP status it answered with; 0 if with none.
        status: u16,
    },
    /// It is in.
    Added {
        /// It was not checked before.
        first: bool,
    },
    /// It passed.
    Passed,
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
        /// It was not checked before.
        first: bool,
        /// The HTTP status it answered with; 0 if with none.
        status: u16,
    },
    /// It is degraded.
    Degraded,
    /// It no longer is.
    NoLongerDegraded,
}

/// `HealthCheckFailureType`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It said so.
    Active,
    /// It asked to be left out, in an answer to a request.
    Passive,
    /// It could not be asked.
    Network,
    /// It did not answer in time.
    NetworkTimeout,
}

/// What outlier detection did.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlier {
    /// Whole seconds since the host was taken back, or since it was ejected.
    pub seconds_since_last: Option<u64>,
    /// How often it was ejected.
    pub ejections: u32,
    /// What was done.
    pub action: OutlierAction,
}

/// What was done with a host.
#[derive(Clone, Debug, PartialEq)]
pub enum OutlierAction {
    /// It was found to be an outlier; whether it is out depends on `enforced`.
    Ejected {
        /// Why.
        kind: Ejection,
        /// It is out.
        enforced: bool,
        /// Percent of its requests that went well.
        success_rate: f64,
        /// The mean of the cluster, and what is too far below it.
        cluster: Means,
    },
    /// It is taken for degraded.
    Degraded,
    /// It is back.
    Unejected,
}

/// How well the hosts of a cluster do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Means {
    /// `success_rate_average`, in percent; -1 where nothing can be said.
    pub average: f64,
    /// `success_rate_ejection_threshold`, likewise.
    pub threshold: f64,
}

// === impl Failure ===

impl Failure {
    /// Its name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Failure::Active => "ACTIVE",
            Failure::Passive => "PASSIVE",
            Failure::Network => "NETWORK",
            Failure::NetworkTimeout => "NETWORK_TIMEOUT",
        }
    }
}

// === impl Means ===

impl Means {
    /// There were too few hosts with too few requests.
    pub const UNKNOWN: Means = Means { average: -1.0, threshold: -1.0 };
}

impl Default for Means {
    fn default() -> Self {
        Self::UNKNOWN
    }
}
