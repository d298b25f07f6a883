//! Owns what a request's tries share: what its route says of them, as far as its client may not say
//! otherwise, and how many there were.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use understudy_actors::{plan::LbMetadata, snapshot::Host};

use super::{Exchange, Failure, redirect::Redirects, retrying::Retrying};
use crate::{
    codec::{Known, KnownSet, RequestHead},
    config::model::route::{Attempts, Forward, GrpcTimeout, Mirror, RetryOn},
    downstream::{headers, timers::TryLimits},
    local_reply::LocalReply,
    upstream::balancer::{Availability, Load, Tables, has_metadata},
};

/// Priorities that were tried, and in vain.
#[derive(Default)]
struct LeftOut {
    priorities: Vec<usize>,
    /// How many hosts had been tried when this began anew.
    begun: usize,
}

/// What a trusted client says about tries. None of them goes on.
const CONTROLS: KnownSet = KnownSet::of(&[
    Known::XEnvoyRetryOn,
    Known::XEnvoyRetryGrpcOn,
    Known::XEnvoyMaxRetries,
    Known::XEnvoyRetriableStatusCodes,
    Known::XEnvoyRetriableHeaderNames,
    Known::XEnvoyUpstreamRqTimeoutMs,
    Known::XEnvoyUpstreamRqPerTryTimeoutMs,
    Known::XEnvoyUpstreamRqTimeoutAltResponse,
    Known::XEnvoyHedgeOnPerTryTimeout,
    Known::XEnvoyUpstreamStreamDurationMs,
]);

/// The tries of one request. Boxed where it is: most routes say nothing of the kind.
pub(super) struct Tries {
    pub(super) route: Arc<Forward>,
    /// Copies to be made once the request is complete.
    pub(super) mirrors: Vec<Mirror>,
    /// Redirects that were followed before.
    pub(super) redirects: Redirects,
    /// The timeout over all tries.
    pub(super) whole: Option<Duration>,
    /// The timeouts of each.
    pub(super) limits: TryLimits,
    /// `x-envoy-upstream-stream-duration-ms`.
    pub(super) duration_max: Option<Duration>,
    /// A timeout is answered with 204.
    pub(super) no_content: bool,
    /// What is tried again; none once that is out of the question.
    pub(super) retrying: Option<Retrying>,
    /// How many there have been, with the one under way.
    pub(super) count: u32,
    /// Hosts that were tried.
    pub(super) tried: Vec<Arc<Host>>,
    /// Priorities that a retry leaves out.
    left_out: LeftOut,
    /// When the request was complete.
    pub(super) completed: Option<Instant>,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Refuses a request whose control headers say nothing that can be done, where that is asked for.
    ///
    /// Source: `Router.strict_check_headers`; observed: Envoy 1.40.
    pub(super) fn check_controls(&self) -> Result<(), Failure> {
        let headers = &self.heads.request.headers;
        for known in &self.manager.router().strict_headers {
            let Some(value) = headers.get(*known) else { continue };
            let means = match known {
                Known::XEnvoyRetryOn => {
                    let (on, unknown) = RetryOn::parse(value);
                    on == on.of_http() && unknown.is_empty()
                }
                Known::XEnvoyRetryGrpcOn => {
                    let (on, unknown) = RetryOn::parse(value);
                    on == on.of_grpc() && unknown.is_empty()
                }
                _ => whole_number(value).is_some(),
            };
            if !means {
                return Err(Failure::reply(LocalReply::invalid_control(known.name(), value)));
            }
        }
        Ok(())
    }

    /// Works out what the tries of this request will be like, and tells the upstream of it.
    pub(super) fn plan_tries(&mut self, route: &Arc<Forward>) {
        let tells = !self.manager.router().suppress_envoy_headers;
        let internal = self.is_internal();
        let request = &mut self.heads.request;
        let before = self.tries.take().map(|tries| tries.redirects);
        if route.attempts.plain && !internal && before.is_none() {
            if tells {
                headers::expected_timeout(request, &route.timeout_ms);
            }
            return;
        }
        self.limit_stream(&route.attempts);
        let request = &mut self.heads.request;
        let respects = self.manager.router().respect_expected_rq_timeout;
        let base = self.worker.with_runtime(|runtime| {
            runtime.integer("upstream.base_retry_backoff_ms", 25).clamp(1, u64::from(u32::MAX))
        });
        let mut tries = Tries::new(route.clone(), request, respects);
        let retrying = Retrying::new(route.attempts.retry.as_deref(), request, base);
        tries.retrying = retrying;
        tries.redirects = before.unwrap_or_default();
        request.headers.remove_all(CONTROLS);
        tries.tell_expected(request, Duration::ZERO, tells);
        if tries.tells().count_upstream {
            request.headers.set(Known::XEnvoyAttemptCount, b"1");
        }
        self.tries = Some(Box::new(tries));
        self.draw_mirrors();
    }

    /// Whose circuit breakers count: 0 for the default priority, 1 for the high one.
    pub(super) fn priority(&self) -> usize {
        self.tries.as_ref().map_or(0, |tries| tries.priority())
    }

    /// The route may set another end for the stream than the connection manager.
    ///
    /// Source: `RouteAction.MaxStreamDuration`.
    fn limit_stream(&mut self, attempts: &Attempts) {
        let Some(own) = attempts.stream_duration else { return };
        let asked = self.heads.request.headers.get(Known::GrpcTimeout);
        let asked = asked.and_then(headers::grpc_timeout);
        let (started, general) = (self.started, self.manager.config.max_stream_duration);
        match (asked, own.grpc_header_max) {
            (Some(asked), Some(max)) => {
                let mut timeout = if max.is_zero() { asked } else { asked.min(max) };
                if let Some(offset) = own.grpc_header_offset {
                    timeout = timeout.saturating_sub(offset);
                }
                self.timers.limit_stream(started, Some(timeout));
            }
            _ => match own.max {
                Some(max) => {
                    self.timers.limit_stream(started, Some(max).filter(|max| !max.is_zero()));
                }
                None => self.timers.limit_stream(started, general),
            },
        }
    }

    /// The timeout over all tries.
    pub(super) fn response_timeout(&self, route: &Forward) -> Option<Duration> {
        self.tries.as_ref().map_or(route.timeout, |tries| tries.whole)
    }

    /// The request is complete since `now`: the timeouts of the tries begin.
    pub(super) fn await_response(&mut self, now: Instant, route: &Forward) {
        let timeout = self.response_timeout(route);
        self.timers.await_response(now, timeout);
        if let Some(tries) = &mut self.tries {
            tries.completed.get_or_insert(now);
        }
    }

    /// The next try begins: the upstream is told how many there have been and how long this may take.
    pub(super) fn count_try(&mut self, after_timeout: bool) {
        let tells = !self.manager.router().suppress_envoy_headers;
        let request = &mut self.heads.request;
        let Some(tries) = &mut self.tries else { return };
        tries.count = tries.count.saturating_add(1);
        if tries.tells().count_upstream {
            let mut text = itoa::Buffer::new();
            request.headers.set(Known::XEnvoyAttemptCount, text.format(tries.count).as_bytes());
        }
        if tries.tells().timeout_retry {
            let told: &[u8] = if after_timeout { b"true" } else { b"false" };
            request.headers.remove_name(IS_TIMEOUT_RETRY);
            request.headers.append_name(IS_TIMEOUT_RETRY, told);
        }
        let elapsed = tries.completed.map_or(Duration::ZERO, |completed| completed.elapsed());
        tries.tell_expected(request, elapsed, tells);
    }
}

const IS_TIMEOUT_RETRY: &[u8] = b"x-envoy-is-timeout-retry";

// === impl Tries ===

impl Tries {
    /// What the route says, and the client where it is trusted: whose headers are still here is.
    ///
    /// Source: Envoy, "Router, HTTP request headers"; observed: Envoy 1.40.
    fn new(route: Arc<Forward>, request: &RequestHead, respects_expected: bool) -> Self {
        let attempts = &route.attempts;
        let number = |known| whole_number(request.headers.get(known)?);
        let ms = |known| number(known).map(Duration::from_millis);
        let grpc = attempts.grpc_timeout.filter(|_| headers::is_grpc(request));
        let own = match (attempts.stream_duration, grpc) {
            (None, Some(grpc)) => grpc_timeout(grpc, request),
            _ => route.timeout,
        };
        let expected = respects_expected
            .then(|| request.headers.get(Known::XEnvoyExpectedRqTimeoutMs))
            .flatten();
        let asked = match expected {
            Some(_) => ms(Known::XEnvoyExpectedRqTimeoutMs),
            None => ms(Known::XEnvoyUpstreamRqTimeoutMs),
        };
        let whole = asked.or(own).filter(|whole| !whole.is_zero());
        let retry = attempts.retry.as_deref();
        let per_try = ms(Known::XEnvoyUpstreamRqPerTryTimeoutMs)
            .or_else(|| retry.and_then(|retry| retry.per_try_timeout))
            .filter(|per_try| !per_try.is_zero() && whole.is_none_or(|whole| *per_try < whole));
        let idle = retry.and_then(|retry| retry.per_try_idle_timeout);
        let hedges = match request.headers.get(Known::XEnvoyHedgeOnPerTryTimeout) {
            Some(b"true") => true,
            Some(b"false") => false,
            _ => attempts.hedges,
        };
        Self {
            whole,
            limits: TryLimits {
                whole: per_try,
                idle,
                soft: hedges && (per_try.or(idle)).is_some(),
            },
            duration_max: ms(Known::XEnvoyUpstreamStreamDurationMs),
            no_content: request.headers.has(Known::XEnvoyUpstreamRqTimeoutAltResponse),
            mirrors: Vec::new(),
            redirects: Redirects::default(),
            retrying: None,
            count: 1,
            tried: Vec::new(),
            left_out: LeftOut::default(),
            completed: None,
            route,
        }
    }

    /// What the route says.
    pub(super) fn attempts(&self) -> &Attempts {
        &self.route.attempts
    }

    fn tells(&self) -> crate::config::model::route::Tells {
        self.route.attempts.tells
    }

    /// How many tries there were, where the client is told.
    pub(super) fn told_count(&self) -> Option<u32> {
        self.tells().count_downstream.then_some(self.count)
    }

    /// Whose circuit breakers count: 0 for the default priority, 1 for the high one.
    pub(super) fn priority(&self) -> usize {
        usize::from(self.route.attempts.high_priority)
    }

    /// How often a retry may look for another host.
    pub(super) fn other_hosts_max(&self) -> u32 {
        let policy = self.route.attempts.retry.as_ref().filter(|_| self.is_retry());
        policy.map_or(0, |policy| policy.other_hosts_max)
    }

    /// How a retry is shared among priorities, where its policy leaves those of before out.
    pub(super) fn other_priorities(
        &mut self,
        available: Vec<Availability>,
        priority_of: impl Fn(&Arc<Host>) -> Option<usize>,
    ) -> Option<Load> {
        let every = self.leaves_priorities_every()?;
        self.left_out.next(every, &self.tried, available, priority_of)
    }

    /// The same among the priorities of one cluster.
    pub(super) fn other_priorities_of(&mut self, tables: &Tables) -> Option<Load> {
        let every = self.leaves_priorities_every()?;
        let available = tables.priorities().map(|priority| priority.available).collect();
        let own = |host: &Arc<Host>| Some(host.endpoint.priority as usize);
        self.left_out.next(every, &self.tried, available, own)
    }

    fn leaves_priorities_every(&self) -> Option<u32> {
        let policy = self.route.attempts.retry.as_ref().filter(|_| self.is_retry())?;
        policy.leaves_priorities_every
    }

    /// Whether the policy rules a host out for a retry.
    pub(super) fn avoids(&self, host: &Arc<Host>) -> bool {
        let Some(policy) = &self.route.attempts.retry else { return false };
        // Observed: Envoy 1.40: no metadata avoids nobody, and a list stands for any of its elements.
        let avoids = |host: &Host, of: &LbMetadata| !of.is_empty() && has_metadata(host, of, true);
        let tried = || self.tried.iter().any(|tried| Arc::ptr_eq(tried, host));
        (policy.avoids_canaries && host.endpoint.canary)
            || (policy.avoids_tried_hosts && tried())
            || policy.avoided_metadata.iter().any(|avoided| avoids(host, avoided))
    }

    /// Whether this is not the first.
    pub(super) fn is_retry(&self) -> bool {
        self.count > 1
    }

    /// Tells the upstream how long this try may take. Once the time is up there is a millisecond left, since
    /// nothing would be for ever.
    fn tell_expected(&self, request: &mut RequestHead, elapsed: Duration, in_own_header: bool) {
        let left = self.whole.map(|whole| {
            whole
                .checked_sub(elapsed)
                .filter(|left| !left.is_zero())
                .unwrap_or(Duration::from_millis(1))
        });
        // A try that may be slow is not told of its own timeout. Observed: Envoy 1.40.
        let own = self.limits.whole.filter(|_| !self.limits.soft);
        let Some(expected) = [own, left].into_iter().flatten().min() else { return };
        let ms = u64::try_from(expected.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut text = itoa::Buffer::new();
        if in_own_header {
            headers::expected_timeout(request, text.format(ms));
        }
        // A gRPC server hears of it in its own terms. Observed: Envoy 1.40.
        let attempts = self.attempts();
        let tells_grpc = attempts.grpc_timeout.is_some() && attempts.stream_duration.is_none();
        if tells_grpc && headers::is_grpc(request) {
            let told = [text.format(ms).as_bytes(), b"m"].concat();
            request.headers.set(Known::GrpcTimeout, &told);
        }
    }
}

// === impl LeftOut ===

impl LeftOut {
    /// The shares of priorities after these hosts were tried. After so many more each time, their priorities
    /// are left out; when that leaves nobody, it begins anew.
    ///
    /// Source: `PreviousPrioritiesConfig.update_frequency`.
    fn next(
        &mut self,
        every: u32,
        tried: &[Arc<Host>],
        mut left: Vec<Availability>,
        priority_of: impl Fn(&Arc<Host>) -> Option<usize>,
    ) -> Option<Load> {
        let since = tried.get(self.begun..).unwrap_or_default();
        let every = every as usize;
        if since.len() < every {
            return None;
        }
        if since.len().is_multiple_of(every) {
            self.priorities.extend(since.iter().filter_map(priority_of));
        }
        for priority in &self.priorities {
            if let Some(left) = left.get_mut(*priority) {
                *left = Availability::default();
            }
        }
        Load::by_availability(&left).or_else(|| {
            self.priorities.clear();
            self.begun = tried.len();
            None
        })
    }
}

/// A header's whole number, as Envoy reads it: decimal, blanks around it allowed.
pub(super) fn whole_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text.trim_ascii()).ok()?.parse().ok()
}

/// The timeout that a gRPC client asks for, within what the route allows; `None` is for ever.
fn grpc_timeout(route: GrpcTimeout, request: &RequestHead) -> Option<Duration> {
    let asked = request.headers.get(Known::GrpcTimeout).and_then(headers::grpc_timeout);
    let mut timeout = asked.unwrap_or_default();
    if let Some(offset) = route.offset.filter(|offset| *offset < timeout) {
        timeout -= offset;
    }
    if !route.max.is_zero() && (timeout.is_zero() || timeout > route.max) {
        timeout = route.max;
    }
    Some(timeout)
}
