//! Owns the decision to try again: what of an outcome asks for it, how often it may be, and how soon.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use understudy_actors::{
    runtime::{Runtime, Share},
    snapshot::ClusterShared,
    stats::ClusterStat,
};

use super::tries::whole_number;
use crate::{
    codec::{Known, RequestHead, ResponseHead},
    config::model::route::{ResetHeader, RetryOn, RetryPolicy},
    matcher::{HeaderMatcher, HeaderTest},
    stream::Reset,
    upstream::pool::Target,
};

/// Conditions and hosts of a policy that only headers bring.
static NO_RESET_HEADERS: [ResetHeader; 0] = [];

/// Retries of a request without a policy of its route's.
const RETRIES: u32 = 1;

/// Waits are at most so many times the first. Source: `retry_back_off.max_interval`.
const WAIT_GROWS_MAX: u32 = 10;

/// What one request may try again.
pub(super) struct Retrying {
    on: RetryOn,
    left: u32,
    status_codes: Vec<u16>,
    response_headers: Vec<HeaderMatcher>,
    reset_headers: Vec<ResetHeader>,
    reset_max: Duration,
    /// The next wait is shorter than this.
    wait: Duration,
    wait_max: Duration,
    /// The try under way is a retry: counted against the cluster's limit until its outcome is here.
    armed: Option<Armed>,
    /// Some try has sent something.
    pub(super) started: bool,
}

/// A retry under way.
struct Armed {
    shared: Arc<ClusterShared>,
    priority: usize,
}

/// Whether there is another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// After this wait.
    Retry(Duration),
    /// The outcome stands.
    No,
    /// It would be, but there have been as many as may be.
    LimitExceeded,
    /// It would be, but the cluster has as many under way as may be.
    Overflow,
}

// === impl Retrying ===

impl Retrying {
    /// What the policy says, and the client where its headers are still here; none if nothing is to be
    /// tried again.
    pub(super) fn new(
        policy: Option<&RetryPolicy>,
        request: &RequestHead,
        base_ms: u64,
    ) -> Option<Self> {
        let headers = &request.headers;
        let asked = |known| headers.get(known).map(|list| RetryOn::parse(list).0);
        let (http, grpc) = (asked(Known::XEnvoyRetryOn), asked(Known::XEnvoyRetryGrpcOn));
        let own = policy.map(|policy| policy.on).unwrap_or_default();
        let mut on = own | http.unwrap_or_default().of_http() | grpc.unwrap_or_default().of_grpc();
        let wanted = policy.map_or(&[][..], |policy| &policy.request_headers);
        if !wanted.is_empty() && !wanted.iter().any(|matcher| matcher.matches(request)) {
            on = RetryOn::default();
        }
        if on.is_empty() {
            return None;
        }
        let mut status_codes = policy.map(|policy| policy.status_codes.clone()).unwrap_or_default();
        let codes = list(headers.get(Known::XEnvoyRetriableStatusCodes));
        status_codes.extend(codes.filter_map(whole_number).filter_map(|n| u16::try_from(n).ok()));
        let mut response_headers =
            policy.map(|policy| policy.response_headers.clone()).unwrap_or_default();
        let names = list(headers.get(Known::XEnvoyRetriableHeaderNames));
        response_headers.extend(names.map(|name| {
            let name = String::from_utf8_lossy(name);
            HeaderMatcher::new(&name, HeaderTest::Present(true), false, false)
        }));
        let asked = headers.get(Known::XEnvoyMaxRetries).and_then(whole_number);
        let asked = asked.map(|retries| u32::try_from(retries).unwrap_or(u32::MAX));
        let back_off = policy.map(|policy| policy.back_off).unwrap_or_default();
        let wait = back_off.base.unwrap_or(Duration::from_millis(base_ms));
        Some(Self {
            on,
            left: asked.or(policy.map(|policy| policy.retries)).unwrap_or(RETRIES),
            status_codes,
            response_headers,
            reset_headers: policy
                .map_or(&NO_RESET_HEADERS[..], |policy| &policy.reset_headers)
                .to_vec(),
            reset_max: policy.map(|policy| policy.reset_max).unwrap_or_default(),
            wait,
            wait_max: back_off.max.unwrap_or(wait.saturating_mul(WAIT_GROWS_MAX)),
            armed: None,
            started: false,
        })
    }

    /// Decides about an answer.
    pub(super) fn decide_on_answer(
        &mut self,
        answer: &ResponseHead,
        target: &Target,
        priority: usize,
        runtime: &Runtime,
    ) -> Decision {
        let wanted = self.asks_again(answer);
        let reset = wanted.then(|| self.reset_wait(answer)).flatten();
        self.decide(wanted, reset, target, priority, runtime)
    }

    /// Decides about a try without an answer; one that never got a host is counted against none.
    pub(super) fn decide_on_reset(
        &mut self,
        reset: &Reset,
        target: &Target,
        priority: usize,
        runtime: &Runtime,
    ) -> Decision {
        self.decide(self.asks_after(reset), None, target, priority, runtime)
    }

    /// Decides about a try that took too long, which Envoy treats as one that it reset itself.
    pub(super) fn decide_on_timeout(
        &mut self,
        target: &Target,
        priority: usize,
        runtime: &Runtime,
    ) -> Decision {
        self.decide(self.asks_after(&Reset::Unwanted), None, target, priority, runtime)
    }

    /// Decides about a try that is slow and goes on. Nothing was reset, so no condition is asked.
    ///
    /// Observed: Envoy 1.40.
    pub(super) fn decide_on_slow(
        &mut self,
        target: &Target,
        priority: usize,
        runtime: &Runtime,
    ) -> Decision {
        self.decide(true, None, target, priority, runtime)
    }

    /// Whether an answer asks for another try.
    pub(super) fn asks_again(&self, answer: &ResponseHead) -> bool {
        // It comes from an Envoy, and is a matter of this one condition alone.
        if answer.headers.get_name(b"x-envoy-ratelimited").is_some() {
            return self.on.has(RetryOn::ENVOY_RATELIMITED);
        }
        let status = answer.status;
        (self.on.has(RetryOn::FIVE_XX) && (500..600).contains(&status))
            || (self.on.has(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status))
            || (self.on.has(RetryOn::RETRIABLE_4XX) && status == 409)
            || (self.on.has(RetryOn::RETRIABLE_STATUS_CODES) && self.status_codes.contains(&status))
            || (self.on.has(RetryOn::RETRIABLE_HEADERS)
                && self.response_headers.iter().any(|matcher| matcher.matches_response(answer)))
            || self.asks_again_in_grpc(answer)
    }

    fn asks_again_in_grpc(&self, answer: &ResponseHead) -> bool {
        let status = answer.headers.get(Known::GrpcStatus).and_then(whole_number);
        match status {
            Some(1) => self.on.has(RetryOn::CANCELLED),
            Some(4) => self.on.has(RetryOn::DEADLINE_EXCEEDED),
            Some(8) => self.on.has(RetryOn::RESOURCE_EXHAUSTED),
            Some(13) => self.on.has(RetryOn::INTERNAL),
            Some(14) => self.on.has(RetryOn::UNAVAILABLE),
            _ => false,
        }
    }

    /// Whether a try that ended like this asks for another.
    pub(super) fn asks_after(&self, reset: &Reset) -> bool {
        let always = RetryOn::RESET | RetryOn::FIVE_XX | RetryOn::GATEWAY_ERROR;
        match reset {
            Reset::Overflow | Reset::Refused => false,
            Reset::ConnectFailed(_) | Reset::HandshakeFailed(_) | Reset::ConnectTimeout
                if self.on.has(RetryOn::CONNECT_FAILURE) =>
            {
                true
            }
            Reset::RemoteRefused if self.on.has(RetryOn::REFUSED_STREAM) => true,
            _ if !self.started && self.on.has(RetryOn::RESET_BEFORE_REQUEST) => true,
            _ => self.on.has(always),
        }
    }

    /// The wait that the answer asks for.
    fn reset_wait(&self, answer: &ResponseHead) -> Option<Duration> {
        let wait = self.reset_headers.iter().find_map(|header| {
            let seconds = whole_number(answer.headers.get_name(header.name.as_bytes())?)?;
            let seconds = match header.is_timestamp {
                true => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    seconds.checked_sub(now.as_secs())?
                }
                false => seconds,
            };
            Some(Duration::from_secs(seconds)).filter(|wait| *wait <= self.reset_max)
        });
        wait.filter(|wait| *wait > Duration::from_millis(1))
    }

    fn decide(
        &mut self,
        wanted: bool,
        reset: Option<Duration>,
        target: &Target,
        priority: usize,
        runtime: &Runtime,
    ) -> Decision {
        let stats = target.shared.stats.lane(target.worker);
        if wanted && self.left == 0 {
            // The last retry goes on where it is only slow, and may succeed yet. Observed: Envoy 1.40.
            stats.inc(ClusterStat::UpstreamRqRetryLimitExceeded);
            return Decision::LimitExceeded;
        }
        if self.armed.take().is_some() && !wanted {
            stats.inc(ClusterStat::UpstreamRqRetrySuccess);
        }
        if !wanted {
            return Decision::No;
        }
        self.left -= 1;
        let Some(armed) = Armed::new(target, priority) else {
            stats.inc(ClusterStat::UpstreamRqRetryOverflow);
            return Decision::Overflow;
        };
        let all = Share { numerator: 100, denominator: 100 };
        if !runtime.enabled("upstream.use_retry", all, fastrand::u64(..)) {
            return Decision::No;
        }
        self.armed = Some(armed);
        stats.inc(ClusterStat::UpstreamRqRetry);
        match reset {
            Some(wait) => {
                stats.inc(ClusterStat::UpstreamRqRetryBackoffRatelimited);
                Decision::Retry(wait + up_to(wait / 2))
            }
            None => {
                stats.inc(ClusterStat::UpstreamRqRetryBackoffExponential);
                Decision::Retry(self.next_wait())
            }
        }
    }

    /// Full jitter: anything below a bound that doubles with each retry.
    fn next_wait(&mut self) -> Duration {
        let wait = up_to(self.wait);
        self.wait = self.wait.saturating_mul(2).min(self.wait_max);
        wait
    }
}

/// Whole milliseconds below this.
fn up_to(bound: Duration) -> Duration {
    let ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(fastrand::u64(..ms))
}

/// The elements of a comma-separated list.
fn list(text: Option<&[u8]>) -> impl Iterator<Item = &[u8]> {
    let elements = text.unwrap_or_default().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    elements.filter(|element| !element.is_empty())
}

// === impl Armed ===

impl Armed {
    /// Counts a retry; none when the cluster has as many as may be.
    fn new(target: &Target, priority: usize) -> Option<Self> {
        let breakers = target.shared.breakers.get(priority)?;
        if breakers.retries.fetch_add(1, Relaxed) >= target.retries_max(priority) {
            breakers.retries.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Self { shared: target.shared.clone(), priority })
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if let Some(breakers) = self.shared.breakers.get(self.priority) {
            breakers.retries.fetch_sub(1, Relaxed);
        }
    }
}
