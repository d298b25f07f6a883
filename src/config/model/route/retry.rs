//! Owns what a route says about trying again: when, how often, where, and how soon.

use std::{ops::BitOr, time::Duration};

use understudy_actors::plan::LbMetadata;

use crate::matcher::HeaderMatcher;

/// `RetryPolicy`.
#[derive(Debug)]
pub struct RetryPolicy {
    /// `retry_on`.
    pub on: RetryOn,
    /// `num_retries`; Envoy's default is 1.
    pub retries: u32,
    /// `per_try_timeout`; `None` is off.
    pub per_try_timeout: Option<Duration>,
    /// `per_try_idle_timeout`; `None` is off.
    pub per_try_idle_timeout: Option<Duration>,
    /// `retriable_status_codes`.
    pub status_codes: Vec<u16>,
    /// `retriable_headers`, of a response.
    pub response_headers: Vec<HeaderMatcher>,
    /// `retriable_request_headers`: only such requests; all where there are none.
    pub request_headers: Vec<HeaderMatcher>,
    /// `retry_back_off`.
    pub back_off: BackOff,
    /// `rate_limited_retry_back_off.reset_headers`.
    pub reset_headers: Vec<ResetHeader>,
    /// `rate_limited_retry_back_off.max_interval`; Envoy's default is 5 min.
    pub reset_max: Duration,
    /// `envoy.retry_host_predicates.previous_hosts`.
    pub avoids_tried_hosts: bool,
    /// `envoy.retry_host_predicates.omit_canary_hosts`.
    pub avoids_canaries: bool,
    /// `envoy.retry_host_predicates.omit_host_metadata`.
    pub avoided_metadata: Vec<LbMetadata>,
    /// `envoy.retry_priorities.previous_priorities`: after how many hosts each time their priorities are left
    /// out.
    pub leaves_priorities_every: Option<u32>,
    /// `host_selection_retry_max_attempts`: hosts that are looked at again at most.
    pub other_hosts_max: u32,
}

/// `retry_back_off`, where it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackOff {
    /// `base_interval`; without one the runtime's `upstream.base_retry_backoff_ms`, or 25 ms.
    pub base: Option<Duration>,
    /// `max_interval`; without one ten times the base.
    pub max: Option<Duration>,
}

/// A header by which a host says when it can be asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResetHeader {
    /// `name`, in lower case.
    pub name: String,
    /// Its value is a moment, in seconds since 1970; else a wait, in seconds.
    pub is_timestamp: bool,
}

/// Conditions for a retry, as a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(u32);

/// Writes the list once.
macro_rules! conditions {
    ($($NAME:ident = $bit:literal $text:literal,)*) => {
        impl RetryOn {
            $(#[doc = concat!("`", $text, "`")] pub const $NAME: Self = Self(1 << $bit);)*

            /// The names of those that are in the set.
            pub fn names(self) -> Vec<&'static str> {
                [$((Self::$NAME, $text)),*]
                    .into_iter()
                    .filter(|(one, _)| self.has(*one))
                    .map(|(_, name)| name)
                    .collect()
            }

            fn named(name: &[u8]) -> Option<Self> {
                match name {
                    $(name if name == $text.as_bytes() => Some(Self::$NAME),)*
                    _ => None,
                }
            }
        }
    };
}

conditions! {
    FIVE_XX = 0 "5xx",
    GATEWAY_ERROR = 1 "gateway-error",
    RESET = 2 "reset",
    RESET_BEFORE_REQUEST = 3 "reset-before-request",
    CONNECT_FAILURE = 4 "connect-failure",
    ENVOY_RATELIMITED = 5 "envoy-ratelimited",
    RETRIABLE_4XX = 6 "retriable-4xx",
    REFUSED_STREAM = 7 "refused-stream",
    RETRIABLE_STATUS_CODES = 8 "retriable-status-codes",
    RETRIABLE_HEADERS = 9 "retriable-headers",
    HTTP3_POST_CONNECT_FAILURE = 10 "http3-post-connect-failure",
    CANCELLED = 16 "cancelled",
    DEADLINE_EXCEEDED = 17 "deadline-exceeded",
    INTERNAL = 18 "internal",
    RESOURCE_EXHAUSTED = 19 "resource-exhausted",
    UNAVAILABLE = 20 "unavailable",
}

/// The conditions that a gRPC status fulfils.
const GRPC: u32 = 0b11111 << 16;

// === impl RetryOn ===

impl RetryOn {
    /// Reads a comma-separated list; gives also the names that mean nothing, which are passed over.
    ///
    /// Observed: Envoy 1.40 takes any text, in its configuration and in headers.
    pub fn parse(list: &[u8]) -> (Self, Vec<&[u8]>) {
        let names = list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        let (mut all, mut unknown) = (Self::default(), Vec::new());
        for name in names.filter(|name| !name.is_empty()) {
            match Self::named(name) {
                Some(one) => all = all | one,
                None => unknown.push(name),
            }
        }
        (all, unknown)
    }

    /// Those of the set that a gRPC status fulfils.
    pub fn of_grpc(self) -> Self {
        Self(self.0 & GRPC)
    }

    /// Those of the set that a gRPC status does not fulfil.
    pub fn of_http(self) -> Self {
        Self(self.0 & !GRPC)
    }

    /// Whether one of these is in the set.
    pub fn has(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }

    /// Whether nothing is.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for RetryOn {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read_from_a_list_and_what_is_none_is_told() {
        for (text, expected, unknown) in [
            ("", RetryOn::default(), &[][..]),
            ("5xx", RetryOn::FIVE_XX, &[]),
            (" reset , unavailable,", RetryOn::RESET | RetryOn::UNAVAILABLE, &[]),
            ("5XX", RetryOn::default(), &["5XX"]),
            ("never,gateway-error,503", RetryOn::GATEWAY_ERROR, &["never", "503"]),
        ] {
            let unknown: Vec<&[u8]> = unknown.iter().map(|name| name.as_bytes()).collect();
            assert_eq!(RetryOn::parse(text.as_bytes()), (expected, unknown), "{text:?}");
        }
        let both = RetryOn::RESET | RetryOn::INTERNAL;
        assert_eq!((both.of_http(), both.of_grpc()), (RetryOn::RESET, RetryOn::INTERNAL));
    }
}
