//! Owns what becomes of tries beside each other: which answer is the client's, and what ends them all.

use std::time::Duration;

use understudy_actors::stats::{ClusterStat, HostStat};

use super::{
    super::{count, timers::Passed},
    Exchange, Failure,
    beside::{Beside, Phase},
    hedge::{Hedge, Next, Winner},
    outcome,
    retrying::Decision,
};
use crate::{
    codec::Known,
    stream::{BodySize, RequestSource},
};

// === impl Exchange ===

impl Exchange<'_> {
    /// What the outcome of a try is for the request: its end, or nothing.
    pub(super) fn weigh<Q: RequestSource>(
        &mut self,
        outcome: Result<BodySize, Failure>,
        beside: Beside,
        hedge: &mut Hedge,
        source: &Q,
    ) -> Option<Result<Winner, Failure>> {
        let failure = match outcome {
            Ok(size) => return self.weigh_answer(size, beside, hedge, source),
            Err(failure) => failure,
        };
        self.note_try(&beside.chosen, &failure);
        // Too long is too long for all of them, unless it is tried again. Observed: Envoy 1.40.
        let ends_all = matches!(failure, Failure::TimedOut(Passed::TryDuration));
        let stands = self.stands(failure, &beside);
        self.let_go(beside, true);
        match stands {
            Ok(wait) => {
                hedge.next = Some(Next::after(wait, false));
                None
            }
            Err(_) if hedge.goes_on() && !ends_all => None,
            Err(failure) => Some(Err(failure)),
        }
    }

    /// The wait before another try, or the failure that stands: always for one that was retried already.
    fn stands(&mut self, failure: Failure, beside: &Beside) -> Result<Duration, Failure> {
        let mut aside = None;
        if beside.retried
            && let Some(tries) = &mut self.tries
        {
            aside = tries.retrying.take();
        }
        let stands = self.after(failure, &beside.chosen);
        if aside.is_some()
            && let Some(tries) = &mut self.tries
        {
            tries.retrying = aside;
        }
        stands
    }

    fn weigh_answer<Q: RequestSource>(
        &mut self,
        size: BodySize,
        mut beside: Beside,
        hedge: &mut Hedge,
        source: &Q,
    ) -> Option<Result<Winner, Failure>> {
        std::mem::swap(&mut self.heads.response, &mut beside.head);
        if self.heads.response.status < 200 {
            return Some(Ok((beside, size)));
        }
        outcome::answered(beside.chosen.target(), &self.heads.request, &self.heads.response);
        if let Some(trying) = &mut beside.trying {
            trying.answered(&self.heads.response);
        }
        let Some(tries) = &mut self.tries else { return Some(Ok((beside, size))) };
        let (answer, target) = (&self.heads.response, beside.chosen.answers());
        let (priority, mut bad) = (tries.priority(), false);
        if let Some(retrying) = &mut tries.retrying {
            let decision = match beside.retried {
                true => None,
                false => Some(self.worker.with_runtime(|runtime| {
                    retrying.decide_on_answer(answer, target, priority, runtime)
                })),
            };
            if let Some(decision) = decision {
                self.tally.decided(decision);
            }
            bad = match decision {
                Some(Decision::Retry(wait)) => {
                    count::retried_answer(target, answer.status);
                    self.spurn(beside, size, Failure::Again(wait));
                    hedge.next = Some(Next::after(wait, false));
                    return None;
                }
                Some(Decision::LimitExceeded | Decision::Overflow) => true,
                Some(Decision::No) => false,
                None => retrying.asks_again(answer),
            };
        }
        let redirects = tries.attempts().internal_redirect.as_ref();
        if redirects.is_some_and(|policy| policy.statuses.contains(&answer.status)) {
            let kept = self.body == BodySize::None || source.whole().is_some();
            if self.redirect(&beside.chosen, kept) {
                self.let_go(beside, size == BodySize::None);
                return Some(Err(Failure::Redirected(None)));
            }
        }
        if bad && hedge.goes_on() {
            let target = beside.chosen.answers();
            target.host.stats.lane(target.worker).inc(HostStat::RqError);
            self.spurn(beside, size, Failure::Again(Duration::ZERO));
            return None;
        }
        Some(Ok((beside, size)))
    }

    /// An answer is not for the client.
    fn spurn(&mut self, beside: Beside, size: BodySize, why: Failure) {
        if self.heads.response.headers.has(Known::XEnvoyImmediateHealthCheckFail) {
            beside.chosen.snapshot().ask_out(beside.chosen.host());
        }
        self.note_try(&beside.chosen, &why);
        self.let_go(beside, size == BodySize::None);
    }

    /// What ends the wait for an answer, if it does.
    pub(super) fn interrupt<Q: RequestSource>(
        &mut self,
        failure: Failure,
        hedge: &mut Hedge,
        source: &Q,
    ) -> Option<Result<Winner, Failure>> {
        match failure {
            Failure::TimedOut(passed @ Passed::Response) => {
                // Every host under way was too slow. Observed: Envoy 1.40.
                let mut last = None;
                for mut beside in hedge.tries.drain(..) {
                    self.tell_slow(&mut beside, passed);
                    self.note_try(&beside.chosen, &Failure::TimedOut(passed));
                    count::passed_upstream(beside.chosen.answers(), passed);
                    last = Some(self.upstream_timed_out(&beside.chosen, passed));
                    self.let_go(beside, true);
                }
                let none = || Failure::reply(self.timeout_reply(passed));
                Some(Err(last.unwrap_or_else(none)))
            }
            Failure::TimedOut(Passed::TryDuration) => {
                self.timers.end_try();
                let at = hedge.tries.iter().position(|beside| beside.first)?;
                let first = hedge.tries.remove(at);
                self.weigh(Err(failure), first, hedge, source)
            }
            other => Some(Err(other)),
        }
    }

    /// A try is over without its answer having been used; `lost`: it had come to nothing by itself.
    pub(super) fn let_go(&mut self, mut beside: Beside, lost: bool) {
        if beside.first {
            self.timers.end_try();
        }
        if let Phase::Waiting(connected) = &beside.phase {
            let wire = connected.stream.wire();
            self.add_wire(|| wire);
            self.log_beside(&mut beside, wire);
        }
        let Beside { chosen, phase, .. } = beside;
        let stats = chosen.snapshot().shared.stats.lane(self.worker.index);
        match phase {
            Phase::Connecting(_) if !lost => stats.inc(ClusterStat::UpstreamRqCancelled),
            Phase::Connecting(_) => {}
            Phase::Waiting(connected) => connected.stream.finish(),
        }
    }
}
