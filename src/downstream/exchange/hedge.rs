//! Owns tries beside each other: one that is slow goes on while another begins, and the first answer that
//! is not to be asked for again is the client's.
//!
//! Each try gives rise to one other at most, so among those under way at most the newest has not yet. All
//! that happens to one of them is decided as `retry` decides it for one alone; only where that ends
//! the request, it may be that another try still has an answer.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::{
    super::{count, timers::Passed},
    Exchange, Failure,
    beside::{Beside, Connected, Phase, Stream, Unconnected, connect, passed},
    conversation::Conversation,
    forward::STALE_TRIES_MAX,
    outcome,
    retrying::Decision,
    upstream_log::Trying,
};
use crate::{
    codec::{Switch, http1::response::Asked},
    config::model::route::{Forward, HostChange},
    downstream::headers,
    local_reply::LocalReply,
    stream::{BodySize, Pump, RequestSink, RequestSource, Reset, ResponseSink, ResponseSource},
    upstream::Cluster,
};

/// The tries of a request that are under way.
pub(super) struct Hedge {
    pub(super) tries: Vec<Beside>,
    /// Another begins after this.
    pub(super) next: Option<Next>,
    /// Gone where the configuration has forgotten it meanwhile.
    cluster: Option<Rc<Cluster>>,
}

/// A try that is to begin.
pub(super) struct Next {
    wait: Pin<Box<Sleep>>,
    after_timeout: bool,
}

/// The try whose answer is the client's, and the size of the answer's body.
pub(super) type Winner = (Beside, BodySize);

// === impl Exchange ===

impl Exchange<'_> {
    /// Whether a try that is slow goes on. What changes protocols is never sent twice.
    pub(super) fn hedges(&self) -> bool {
        let soft = self.tries.as_ref().is_some_and(|tries| tries.limits.soft);
        soft && self.heads.request.switch == Switch::Nothing
    }

    /// Goes on with a try that is slow, and with others beside it; done when the sink has taken the whole
    /// response, sent or not.
    ///
    /// # Errors
    ///
    /// [`Failure`], already counted where it is a reply.
    pub(super) async fn hedge<Q: RequestSource, P: ResponseSink>(
        &mut self,
        route: &Forward,
        mut first: Box<Beside>,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        self.timers.answer_try();
        if let Some(told) = &mut self.tally.told {
            first.connection = told.connection.clone();
            first.trying = told.trying.take();
        }
        let cluster = self.worker.clusters.named(first.chosen.snapshot().plan.name.as_bytes());
        let mut hedge = Hedge { tries: Vec::new(), next: None, cluster };
        self.begin_beside(&mut hedge, *first, source);
        let won = poll_fn(|cx| self.poll_hedge(cx, route, &mut hedge, source, sink)).await;
        hedge.tries.drain(..).for_each(|other| self.let_go(other, false));
        let (winner, size) = won?;
        self.follow_winner(route, winner, size, source, sink).await
    }

    /// Ready with the winner, whose head is the exchange's.
    fn poll_hedge<Q: RequestSource, P: ResponseSink>(
        &mut self,
        cx: &mut Context<'_>,
        route: &Forward,
        hedge: &mut Hedge,
        source: &mut Q,
        sink: &mut P,
    ) -> Poll<Result<Winner, Failure>> {
        loop {
            let mut at = 0;
            while let Some(beside) = hedge.tries.get_mut(at) {
                let Poll::Ready(outcome) = self.poll_beside(cx, beside, source) else {
                    at += 1;
                    continue;
                };
                let beside = hedge.tries.remove(at);
                if let Some(end) = self.weigh(outcome, beside, hedge, source) {
                    return Poll::Ready(end);
                }
            }
            for at in 0..hedge.tries.len() {
                self.poll_slow(cx, hedge, at, source);
            }
            let Some(next) = &mut hedge.next else { break };
            if next.wait.as_mut().poll(cx).is_pending() {
                break;
            }
            let after_timeout = next.after_timeout;
            hedge.next = None;
            self.count_try(after_timeout);
            match self.another(route, hedge.cluster.as_ref()) {
                Ok(beside) => hedge.tries.push(beside),
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
        loop {
            let failure = ready!(self.poll_interrupted(cx, source, sink));
            if let Some(end) = self.interrupt(failure, hedge, source) {
                return Poll::Ready(end);
            }
        }
    }

    /// The host that another try goes to.
    fn another(
        &mut self,
        route: &Forward,
        cluster: Option<&Rc<Cluster>>,
    ) -> Result<Beside, Failure> {
        let Some(cluster) = cluster else {
            return Err(Failure::reply(LocalReply::no_healthy_upstream()));
        };
        let chosen = self.choose(cluster.current(), route)?;
        if let HostChange::Upstream = route.host_rewrite {
            let (head, name) = (&mut self.heads.request, &chosen.host().endpoint.hostname);
            headers::rewrite_to_upstream(head, route, name, self.manager);
        }
        let asked = Asked::by(&self.heads.request);
        let connecting = Box::pin(connect(chosen.clone(), asked, self.priority()));
        Ok(Beside::new(chosen, Phase::Connecting(connecting)))
    }

    /// Ready with the head of a try's answer, which is the try's own, or with why there is none.
    fn poll_beside<Q: RequestSource>(
        &mut self,
        cx: &mut Context<'_>,
        beside: &mut Beside,
        source: &Q,
    ) -> Poll<Result<BodySize, Failure>> {
        loop {
            let lost = match &mut beside.phase {
                Phase::Connecting(connecting) => match ready!(connecting.as_mut().poll(cx)) {
                    Ok(connected) => self.send_beside(beside, connected, source),
                    Err(Unconnected::Pool(error)) => {
                        return Poll::Ready(Err(self.no_connection(&beside.chosen, error)));
                    }
                    Err(Unconnected::TooManyRequests) => {
                        return Poll::Ready(Err(self.too_many_requests(&beside.chosen)));
                    }
                },
                Phase::Waiting(connected) => {
                    if passed(&mut beside.over, cx) {
                        return Poll::Ready(Err(Failure::TimedOut(Passed::TryDuration)));
                    }
                    let buffers = &self.worker.buffers;
                    match ready!(connected.stream.poll_head(cx, &mut beside.head, buffers)) {
                        Ok(_) if beside.head.status < 200 && !self.passes_interim() => {
                            count::upstream_interim(beside.chosen.answers(), self.is_internal());
                            continue;
                        }
                        Ok(size) => return Poll::Ready(Ok(size)),
                        Err(reset) => Err(reset),
                    }
                }
            };
            let Err(reset) = lost else { continue };
            if !self.lost_unused(beside, &reset, source) {
                return Poll::Ready(Err(Failure::Reset(reset)));
            }
            let asked = Asked::by(&self.heads.request);
            let connecting = connect(beside.chosen.clone(), asked, self.priority());
            let before =
                std::mem::replace(&mut beside.phase, Phase::Connecting(Box::pin(connecting)));
            if let Phase::Waiting(connected) = before {
                connected.stream.finish();
            }
        }
    }

    /// Whether a try was lost with a connection that the host had closed while it was idle.
    fn lost_unused<Q: RequestSource>(
        &self,
        beside: &mut Beside,
        reset: &Reset,
        source: &Q,
    ) -> bool {
        let reused = matches!(&beside.phase, Phase::Waiting(connected) if connected.reused);
        let unused = *reset == Reset::Terminated && reused && !beside.first;
        let again = unused
            && source.received() == 0
            && self.heads.request.method.is_idempotent()
            && !self.retries_lost_connections();
        beside.stale += u32::from(again);
        again && beside.stale <= STALE_TRIES_MAX
    }

    /// Sends the request of a try that has its stream now; its timeouts begin.
    fn send_beside<Q: RequestSource>(
        &mut self,
        beside: &mut Beside,
        mut connected: Connected,
        source: &Q,
    ) -> Result<(), Reset> {
        let stream = &mut connected.stream;
        self.tally.begins_try();
        self.tally.connected(beside.chosen.host(), stream.life(), stream.version());
        beside.connection = self.tally.told.as_ref().and_then(|told| told.connection.clone());
        if !self.manager.upstream_logs().is_empty() {
            beside.trying.get_or_insert_with(|| Box::new(Trying::new()));
        }
        let sent = stream.send(&mut self.heads.request, self.body, source, &self.worker.buffers);
        beside.phase = Phase::Waiting(connected);
        if let Some(tries) = &self.tries {
            let limits = tries.limits;
            let soon = limits.whole.into_iter().chain(limits.idle).min();
            beside.slow = soon.map(|soon| Box::pin(sleep(soon)));
            let duration = beside.chosen.target().upstream.max_stream_duration;
            let over = tries.duration_max.or(duration).filter(|max| !max.is_zero());
            beside.over = over.map(|over| Box::pin(sleep(over)));
        }
        sent
    }

    /// Whether interim answers go on to the client, who has heard of their host then.
    fn passes_interim(&self) -> bool {
        self.manager.config.proxy_100_continue
    }

    /// Looks whether a try has become slow; then another begins, if there may be one.
    fn poll_slow<Q: RequestSource>(
        &mut self,
        cx: &mut Context<'_>,
        hedge: &mut Hedge,
        at: usize,
        source: &Q,
    ) {
        let Some(beside) = hedge.tries.get_mut(at) else { return };
        if passed(&mut beside.slow, cx) {
            beside.slow = None;
            let beside = hedge.tries.remove(at);
            self.begin_beside(hedge, beside, source);
        }
    }

    /// A try is slow: another is to begin beside it, if there may be one.
    fn begin_beside<Q: RequestSource>(&mut self, hedge: &mut Hedge, mut slow: Beside, source: &Q) {
        self.tell_slow(&mut slow, Passed::Try);
        let kept = self.body == BodySize::None || source.whole().is_some();
        if kept
            && !slow.retried
            && let Some(tries) = &mut self.tries
        {
            let priority = tries.priority();
            if let Some(retrying) = &mut tries.retrying {
                let target = slow.chosen.answers();
                let decision = self
                    .worker
                    .with_runtime(|runtime| retrying.decide_on_slow(target, priority, runtime));
                self.tally.decided(decision);
                if let Decision::Retry(wait) = decision {
                    slow.retried = true;
                    hedge.next = Some(Next::after(wait, true));
                }
            }
        }
        hedge.tries.push(slow);
    }

    /// Tells outlier detection that a host is slow, once.
    pub(super) fn tell_slow(&self, beside: &mut Beside, passed: Passed) {
        if let (Phase::Waiting(_), false) = (&beside.phase, beside.told_slow) {
            beside.told_slow = true;
            let quiet = self.tries.as_ref().is_some_and(|tries| tries.no_content);
            outcome::timed_out(beside.chosen.target(), passed, quiet);
        }
    }

    /// Carries the winner's answer to the client.
    async fn follow_winner<Q: RequestSource, P: ResponseSink>(
        &mut self,
        route: &Forward,
        winner: Beside,
        size: BodySize,
        source: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        if !winner.first {
            self.timers.end_try();
            if let Some(over) = &winner.over {
                let left = over.deadline().saturating_duration_since(Instant::now());
                self.timers.limit_try_duration(left);
            }
        }
        if let Some(told) = &mut self.tally.told {
            told.connection = winner.connection;
            told.trying = winner.trying;
        }
        if self.tally.chosen.is_some() {
            self.tally.chosen = Some(winner.chosen.clone());
        }
        let Beside { chosen, phase: Phase::Waiting(connected), .. } = winner else {
            return Err(Failure::Cut);
        };
        let Connected { stream, _in_flight, .. } = connected;
        let buffers = &self.worker.buffers;
        let done = match stream {
            Stream::Http1(mut stream) => {
                let up = stream.split(buffers);
                let mut both = self.converse(route, &chosen, source, sink, up);
                let done = both.hold(Some(size)).await;
                self.add_wire(|| stream.wire());
                stream.finish();
                done
            }
            Stream::Http2(mut stream) => {
                let up = stream.split();
                let mut both = self.converse(route, &chosen, source, sink, up);
                let done = both.hold(Some(size)).await;
                self.add_wire(|| stream.wire());
                done
            }
        };
        let failure = match done {
            Err(Failure::Stale) => Failure::Reset(Reset::Terminated),
            Err(failure @ (Failure::Reset(_) | Failure::TimedOut(_))) => failure,
            done => return done,
        };
        // It is this host's, not that of the first try.
        self.note_try(&chosen, &failure);
        Err(self.after(failure, &chosen).map_or_else(|failure| failure, |_| Failure::Cut))
    }
}

// === impl Conversation ===

impl<Q, P, U, V> Conversation<'_, '_, Q, P, U, V>
where
    Q: RequestSource,
    P: ResponseSink,
    U: RequestSink,
    V: ResponseSource,
{
    /// Goes on where a head of the answer is here, with a body of this size.
    pub(super) async fn take_up(&mut self, size: BodySize) -> Result<(), Failure> {
        // Its part of the request was handed over as a whole.
        self.up = Pump::new(true);
        if self.exchange.heads.response.status >= 200 {
            self.exchange.give_up_retries();
            self.up_source.arrive(&self.exchange.heads.response, size);
        } else if self.pass_interim() {
            self.exchange.flush(self.sink).await?;
        }
        Ok(())
    }
}

// === impl Hedge ===

impl Hedge {
    /// Whether there may be another answer.
    pub(super) fn goes_on(&self) -> bool {
        !self.tries.is_empty() || self.next.is_some()
    }
}

// === impl Next ===

impl Next {
    pub(super) fn after(wait: Duration, after_timeout: bool) -> Self {
        Self { wait: Box::pin(sleep(wait)), after_timeout }
    }
}
