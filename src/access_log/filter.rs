//! Owns access log filters: which exchanges are written down.

use understudy_actors::runtime::{Runtime, Share};

use super::ResponseFlag;
use crate::{
    codec::Known,
    format::{AccessLogType, StreamInfo, named_grpc_status},
    matcher::HeaderMatcher,
};

/// `AccessLogFilter`
#[derive(Clone, Debug)]
pub enum LogFilter {
    /// `status_code_filter`
    StatusCode(Comparison),
    /// `duration_filter`, in milliseconds.
    Duration(Comparison),
    /// `not_health_check_filter`
    NotHealthCheck,
    /// `traceable_filter`: nothing is traced.
    Traceable,
    /// `runtime_filter`
    Runtime {
        /// `runtime_key`
        key: String,
        /// `percent_sampled`
        share: Share,
        /// `use_independent_randomness`: whatever the request's id is.
        independent: bool,
    },
    /// `and_filter`
    All(Vec<LogFilter>),
    /// `or_filter`
    Any(Vec<LogFilter>),
    /// `header_filter`
    Header(HeaderMatcher),
    /// `response_flag_filter`; none for any flag.
    ResponseFlags(Option<Vec<ResponseFlag>>),
    /// `grpc_status_filter`
    GrpcStatus {
        /// `statuses`
        statuses: Vec<u64>,
        /// `exclude`: all but these.
        exclude: bool,
    },
    /// `metadata_filter`: no filter notes anything, so `match_if_key_not_found` decides.
    Metadata(bool),
    /// `log_type_filter`
    LogType {
        /// `types`
        types: Vec<AccessLogType>,
        /// `exclude`: all but these.
        exclude: bool,
    },
}

/// `ComparisonFilter`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// `op`
    pub op: Op,
    /// `value.default_value`
    pub default: u32,
    /// `value.runtime_key`
    pub runtime_key: String,
}

/// `ComparisonFilter.Op`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `EQ`
    Equal,
    /// `GE`
    AtLeast,
    /// `LE`
    AtMost,
    /// `NE`
    Other,
}

/// What a filter looks at.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The exchange.
    pub info: &'a StreamInfo<'a>,
    /// Runtime values in force.
    pub runtime: &'a Runtime,
    /// A filter has taken the request for a health check.
    pub health_check: bool,
}

// === impl LogFilter ===

impl LogFilter {
    /// Whether the exchange passes.
    pub fn passes(&self, seen: Seen<'_>) -> bool {
        let Seen { info, runtime, health_check } = seen;
        match self {
            Self::StatusCode(comparison) => comparison.holds(u64::from(info.status), runtime),
            Self::Duration(comparison) => {
                let ms = u64::try_from(info.elapsed.as_millis()).unwrap_or(u64::MAX);
                comparison.holds(ms, runtime)
            }
            Self::NotHealthCheck => !health_check,
            Self::Traceable => false,
            Self::Runtime { key, share, independent } => {
                let own = info
                    .request
                    .and_then(|request| random_of(request.headers.get(Known::XRequestId)));
                let random = own.filter(|_| !independent).unwrap_or_else(|| fastrand::u64(..));
                runtime.enabled(key, *share, random)
            }
            Self::All(filters) => filters.iter().all(|filter| filter.passes(seen)),
            Self::Any(filters) => filters.iter().any(|filter| filter.passes(seen)),
            Self::Header(matcher) => info.request.is_some_and(|request| matcher.matches(request)),
            Self::ResponseFlags(None) => !info.flags.is_empty(),
            Self::ResponseFlags(Some(wanted)) => {
                wanted.iter().any(|flag| info.flags.contains(*flag))
            }
            Self::GrpcStatus { statuses, exclude } => {
                statuses.contains(&named_grpc_status(info)) != *exclude
            }
            Self::Metadata(passes) => *passes,
            Self::LogType { types, exclude } => types.contains(&info.log_type) != *exclude,
        }
    }
}

/// The number that a request's id stands for, so that all proxies on its way decide alike.
fn random_of(id: Option<&[u8]>) -> Option<u64> {
    let digits = std::str::from_utf8(id?.get(..8)?).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

// === impl Comparison ===

impl Comparison {
    fn holds(&self, value: u64, runtime: &Runtime) -> bool {
        let with = match self.runtime_key.is_empty() {
            true => u64::from(self.default),
            false => runtime.integer(&self.runtime_key, u64::from(self.default)),
        };
        match self.op {
            Op::Equal => value == with,
            Op::AtLeast => value >= with,
            Op::AtMost => value <= with,
            Op::Other => value != with,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{access_log::ResponseFlags, codec::RequestHead};

    #[test]
    fn each_filter_passes_what_it_is_for() {
        let mut flags = ResponseFlags::default();
        flags.insert(ResponseFlag::NoRouteFound);
        let mut request = RequestHead::default();
        request.headers.append(Known::XRequestId, b"00000032-0000-0000-0000-000000000000");
        let info = StreamInfo {
            request: Some(&request),
            status: 404,
            flags,
            elapsed: Duration::from_millis(7),
            log_type: AccessLogType::DownstreamEnd,
            ..StreamInfo::default()
        };
        let runtime = Runtime::default();
        let seen = Seen { info: &info, runtime: &runtime, health_check: true };
        let compared = |op, default| Comparison { op, default, runtime_key: String::new() };
        let share = |numerator| LogFilter::Runtime {
            key: "key".to_owned(),
            share: Share { numerator, denominator: 100 },
            independent: false,
        };
        let flagged =
            |name| LogFilter::ResponseFlags(Some(ResponseFlag::named(name).into_iter().collect()));
        let ended = vec![AccessLogType::DownstreamEnd];
        for (filter, passes) in [
            (LogFilter::StatusCode(compared(Op::AtLeast, 400)), true),
            (LogFilter::StatusCode(compared(Op::AtMost, 400)), false),
            (LogFilter::StatusCode(compared(Op::Other, 404)), false),
            (LogFilter::Duration(compared(Op::Equal, 7)), true),
            (LogFilter::NotHealthCheck, false),
            (LogFilter::Traceable, false),
            (share(51), true),
            (share(50), false),
            (LogFilter::All(vec![share(51), LogFilter::Traceable]), false),
            (LogFilter::Any(vec![share(51), LogFilter::Traceable]), true),
            (LogFilter::ResponseFlags(None), true),
            (flagged("NR"), true),
            (flagged("UH"), false),
            (LogFilter::GrpcStatus { statuses: vec![12], exclude: false }, true),
            (LogFilter::GrpcStatus { statuses: vec![12], exclude: true }, false),
            (LogFilter::Metadata(true), true),
            (LogFilter::LogType { types: ended.clone(), exclude: false }, true),
            (LogFilter::LogType { types: ended, exclude: true }, false),
        ] {
            assert_eq!(filter.passes(seen), passes, "{filter:?}");
        }
    }
}
