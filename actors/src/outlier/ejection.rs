//! Owns the ways in which a host is found to be an outlier: what each counts, and what it is called.

use crate::stats::OutlierStat;

/// Why a host is found to be an outlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ejection {
    /// So many answers of 5xx in a row.
    Consecutive5xx,
    /// So many of 502, 503 and 504.
    ConsecutiveGatewayFailure,
    /// So many connections that failed or ended, and answers that did not come in time.
    ConsecutiveLocalOriginFailure,
    /// Fewer of its requests go well than those of other hosts.
    SuccessRate,
    /// The same of what happens on this side.
    LocalOriginSuccessRate,
    /// Too many of its requests fail.
    FailurePercentage,
    /// The same of what happens on this side.
    LocalOriginFailurePercentage,
}

// === impl Ejection ===

impl Ejection {
    /// `OutlierEjectionType`
    pub fn name(self) -> &'static str {
        match self {
            Ejection::Consecutive5xx => "CONSECUTIVE_5XX",
            Ejection::ConsecutiveGatewayFailure => "CONSECUTIVE_GATEWAY_FAILURE",
            Ejection::ConsecutiveLocalOriginFailure => "CONSECUTIVE_LOCAL_ORIGIN_FAILURE",
            Ejection::SuccessRate => "SUCCESS_RATE",
            Ejection::LocalOriginSuccessRate => "SUCCESS_RATE_LOCAL_ORIGIN",
            Ejection::FailurePercentage => "FAILURE_PERCENTAGE",
            Ejection::LocalOriginFailurePercentage => "FAILURE_PERCENTAGE_LOCAL_ORIGIN",
        }
    }

    /// Counted when it is found.
    pub(super) fn detected(self) -> OutlierStat {
        match self {
            Ejection::Consecutive5xx => OutlierStat::DetectedConsecutive5xx,
            Ejection::ConsecutiveGatewayFailure => OutlierStat::DetectedConsecutiveGatewayFailure,
            Ejection::ConsecutiveLocalOriginFailure => {
                OutlierStat::DetectedConsecutiveLocalOriginFailure
            }
            Ejection::SuccessRate => OutlierStat::DetectedSuccessRate,
            Ejection::LocalOriginSuccessRate => OutlierStat::DetectedLocalOriginSuccessRate,
            Ejection::FailurePercentage => OutlierStat::DetectedFailurePercentage,
            Ejection::LocalOriginFailurePercentage => {
                OutlierStat::DetectedLocalOriginFailurePercentage
            }
        }
    }

    /// Counted when the host is out for it.
    pub(super) fn enforced(self) -> OutlierStat {
        match self {
            Ejection::Consecutive5xx => OutlierStat::EnforcedConsecutive5xx,
            Ejection::ConsecutiveGatewayFailure => OutlierStat::EnforcedConsecutiveGatewayFailure,
            Ejection::ConsecutiveLocalOriginFailure => {
                OutlierStat::EnforcedConsecutiveLocalOriginFailure
            }
            Ejection::SuccessRate => OutlierStat::EnforcedSuccessRate,
            Ejection::LocalOriginSuccessRate => OutlierStat::EnforcedLocalOriginSuccessRate,
            Ejection::FailurePercentage => OutlierStat::EnforcedFailurePercentage,
            Ejection::LocalOriginFailurePercentage => {
                OutlierStat::EnforcedLocalOriginFailurePercentage
            }
        }
    }

    /// The older counters, which know two kinds.
    pub(super) fn is_of_the_first(self) -> bool {
        matches!(self, Ejection::Consecutive5xx | Ejection::SuccessRate)
    }
}
