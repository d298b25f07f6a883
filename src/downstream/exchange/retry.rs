//! Owns what follows a try that failed: another one, after a wait, or an answer of our own.

use std::time::Duration;

use understudy_actors::stats::{ClusterStat, VirtualStat};

use super::{
    super::{count, serve::Worker, timers::Passed},
    Exchange,
    attempt::Chosen,
    failure::Failure,
    outcome,
    record::Tally,
    retrying::Decision,
    tries::Tries,
};
use crate::{
    access_log::ResponseFlag,
    codec::{Known, ResponseHead},
    stream::{BodySize, Replay, RequestSource, Reset, ResponseSink},
};

// === impl Exchange ===

impl Exchange<'_> {
    /// How much of the body is to be kept, if any is.
    pub(super) fn keeps_body(&self) -> Option<usize> {
        let tries = self.tries.as_ref()?;
        let keeps = tries.retrying.is_some()
            || !tries.mirrors.is_empty()
            || tries.attempts().internal_redirect.is_some();
        (keeps && self.body != BodySize::None).then_some(tries.attempts().buffer_bytes_max)
    }

    /// The body is longer than may be kept: there will be no other try, and no copy.
    ///
    /// Observed: Envoy 1.40.
    #[cold]
    pub(super) fn abandon_body(&mut self, chosen: &Chosen) {
        let Some(tries) = &mut self.tries else { return };
        if tries.retrying.take().is_some() | !std::mem::take(&mut tries.mirrors).is_empty() {
            let stats = chosen.snapshot().shared.stats.lane(self.worker.index);
            stats.inc(ClusterStat::RetryOrShadowAbandoned);
        }
    }

    /// A try has its connection, and the request if that is complete: its timeouts begin.
    #[inline]
    pub(super) fn begin_try(&mut self, chosen: &Chosen) {
        let duration = chosen.target().upstream.max_stream_duration;
        if duration.is_some() || self.tries.is_some() {
            self.limit_try(duration);
        }
    }

    fn limit_try(&mut self, duration: Option<Duration>) {
        let Some(tries) = &mut self.tries else {
            if let Some(max) = duration {
                self.timers.limit_try_duration(max);
            }
            return;
        };
        if let Some(retrying) = &mut tries.retrying {
            retrying.started = true;
        }
        if let Some(max) = tries.duration_max.or(duration).filter(|max| !max.is_zero()) {
            self.timers.limit_try_duration(max);
        }
        if self.request_done && tries.limits != Default::default() {
            self.timers.begin_try(tries.limits);
        }
    }

    /// Whether the retry policy sees to connections that end: then it decides, and counts.
    pub(super) fn retries_lost_connections(&self) -> bool {
        let retrying = self.tries.as_ref().and_then(|tries| tries.retrying.as_ref());
        retrying.is_some_and(|retrying| retrying.asks_after(&Reset::Terminated))
    }

    /// What has happened cannot be undone: there will be no other try.
    pub(super) fn give_up_retries(&mut self) {
        if let Some(tries) = &mut self.tries {
            tries.retrying = None;
        }
    }

    /// Ready when another try may begin.
    ///
    /// # Errors
    ///
    /// The failure that stands.
    pub(super) async fn retry<Q: RequestSource, P: ResponseSink>(
        &mut self,
        failure: Failure,
        chosen: &Chosen,
        source: &mut Replay<'_, Q>,
        sink: &mut P,
    ) -> Result<(), Failure> {
        self.timers.end_try();
        self.note_try(chosen, &failure);
        let (timed_out, of_stream) = match &failure {
            Failure::TimedOut(passed) => (
                matches!(passed, Passed::Try | Passed::TryIdle),
                matches!(passed, Passed::Stream | Passed::Idle | Passed::Request),
            ),
            _ => (false, false),
        };
        let wait = match self.after(failure, chosen) {
            Ok(wait) => wait,
            // The connection manager's replies know nothing of tries. Observed: Envoy 1.40.
            Err(failure) if of_stream => return Err(failure),
            Err(failure) => return Err(self.tell_count(failure)),
        };
        source.rewind();
        if !wait.is_zero() {
            let waiting = Box::pin(tokio::time::sleep(wait));
            self.while_client_waits(waiting, source, sink).await?;
        }
        self.count_try(timed_out);
        Ok(())
    }

    /// The wait before another try, or the failure that stands.
    pub(super) fn after(&mut self, failure: Failure, chosen: &Chosen) -> Result<Duration, Failure> {
        let target = chosen.answers();
        match failure {
            Failure::Again(wait) => Ok(wait),
            Failure::Stale => self.after_reset(&Reset::Terminated, chosen),
            Failure::Reset(Reset::Refused) => Err(self.refused()),
            Failure::Reset(reset) => self.after_reset(&reset, chosen),
            Failure::TimedOut(passed) => {
                count::passed_upstream(target, passed);
                if self.tally.reached {
                    let quiet = self.tries.as_ref().is_some_and(|tries| tries.no_content);
                    outcome::timed_out(target, passed, quiet);
                }
                let own = matches!(passed, Passed::Try | Passed::TryIdle | Passed::TryDuration);
                let decision = match own {
                    true => self.decide(chosen, None),
                    false => Decision::No,
                };
                match decision {
                    Decision::Retry(wait) => Ok(wait),
                    _ => Err(self.upstream_timed_out(chosen, passed)),
                }
            }
            other => Err(other),
        }
    }

    fn after_reset(&mut self, reset: &Reset, chosen: &Chosen) -> Result<Duration, Failure> {
        count::upstream_reset(chosen.target(), reset, chosen.has_streams());
        outcome::reset(chosen.target(), reset);
        match self.decide(chosen, Some(reset)) {
            Decision::Retry(wait) => Ok(wait),
            _ => Err(self.upstream_reset(chosen, reset)),
        }
    }

    /// Decides about a try without an answer: one that was reset, or, without a reset, took too long.
    fn decide(&mut self, chosen: &Chosen, reset: Option<&Reset>) -> Decision {
        let Some(tries) = &mut self.tries else { return Decision::No };
        let priority = tries.priority();
        let Some(retrying) = &mut tries.retrying else { return Decision::No };
        let target = chosen.answers();
        let decision = self.worker.with_runtime(|runtime| match reset {
            Some(reset) => retrying.decide_on_reset(reset, target, priority, runtime),
            None => retrying.decide_on_timeout(target, priority, runtime),
        });
        if let Decision::Retry(_) = decision {
            count::retried_reset(target);
        }
        self.tally.decided(decision);
        decision
    }

    /// The same failure, whose reply says how many tries there were where that is told.
    pub(super) fn tell_count(&self, failure: Failure) -> Failure {
        let count = self.tries.as_ref().and_then(|tries| tries.told_count());
        match (failure, count) {
            (Failure::Reply(mut reply), Some(count)) => {
                reply.headers.push((Known::XEnvoyAttemptCount, count.to_string().into_bytes()));
                Failure::Reply(reply)
            }
            (failure, _) => failure,
        }
    }
}

// === impl Tries ===

impl Tries {
    /// What is to be done with an answer, if it does not simply go on.
    pub(super) fn judge(
        &mut self,
        answer: &ResponseHead,
        chosen: &Chosen,
        worker: &Worker,
        tally: &mut Tally,
    ) -> Option<Judgement> {
        let priority = self.priority();
        let target = chosen.answers();
        if let Some(retrying) = &mut self.retrying {
            let decision = worker.with_runtime(|runtime| {
                retrying.decide_on_answer(answer, target, priority, runtime)
            });
            tally.decided(decision);
            if let Decision::Retry(wait) = decision {
                count::retried_answer(target, answer.status);
                if answer.headers.has(Known::XEnvoyImmediateHealthCheckFail) {
                    chosen.snapshot().ask_out(chosen.host());
                }
                return Some(Judgement::Again(wait));
            }
            // The answer is the one: there will be no other try.
            self.retrying = None;
        }
        let redirects = self.attempts().internal_redirect.as_ref();
        let leads = redirects.is_some_and(|policy| policy.statuses.contains(&answer.status));
        leads.then_some(Judgement::LeadsElsewhere)
    }
}

/// What is to be done with an answer.
pub(super) enum Judgement {
    /// It is asked for again, after this wait.
    Again(Duration),
    /// It may be a redirect that is followed.
    LeadsElsewhere,
}

// === impl Tally ===

impl Tally {
    /// It was decided whether there is another try.
    pub(super) fn decided(&mut self, decision: Decision) {
        match decision {
            Decision::LimitExceeded => self.flag(ResponseFlag::UpstreamRetryLimitExceeded),
            Decision::Overflow => self.flag(ResponseFlag::UpstreamOverflow),
            Decision::Retry(_) | Decision::No => {}
        }
        let Some(apart) = &mut self.apart else { return };
        match decision {
            Decision::LimitExceeded => apart.inc(VirtualStat::UpstreamRqRetryLimitExceeded),
            Decision::Overflow => apart.inc(VirtualStat::UpstreamRqRetryOverflow),
            Decision::Retry(_) => apart.retry(),
            Decision::No => apart.satisfied(),
        }
    }
}
