//! Owns carrying one request to a host and its response back, head by head and part by part.

use std::{
    future::poll_fn,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use understudy_actors::stats::ClusterStat;

use super::{
    super::{count, timers::Passed},
    Exchange, Failure, Heads,
    attempt::Chosen,
    outcome,
    retry::Judgement,
};
use crate::{
    codec::{Known, ResponseHead, Switch},
    config::model::route::Forward,
    downstream::headers,
    filter::FilteredResponse,
    stream::{
        BodyError, BodySize, Pump, PumpError, RequestSink, RequestSource, Reset, ResponseSink,
        ResponseSource, Source,
    },
};

/// Both sides of an exchange: the client's stream and the host's.
pub(super) struct Conversation<'a, 'c, Q, P, U, V> {
    pub(super) exchange: &'a mut Exchange<'c>,
    pub(super) route: &'a Forward,
    pub(super) chosen: &'a Chosen,
    pub(super) source: &'a mut Q,
    pub(super) sink: &'a mut P,
    pub(super) up_sink: U,
    pub(super) up_source: FilteredResponse<V>,
    /// Carries the request's body.
    pub(super) up: Pump,
    /// Nothing more is to be sent to the host.
    pub(super) sent: bool,
}

// === impl Conversation ===

impl<Q, P, U, V> Conversation<'_, '_, Q, P, U, V>
where
    Q: RequestSource,
    P: ResponseSink,
    U: RequestSink,
    V: ResponseSource,
{
    /// Sends the request and receives the response; ready when the response has been taken by the sink,
    /// sent or not. A try that was beside others has sent the request before, and `arrived` is a head of its
    /// answer, with the size of its body.
    ///
    /// # Errors
    ///
    /// [`Failure`]; after [`Failure::Stale`], on a connection that has carried a request before, this one may be
    /// sent again on another.
    pub(super) async fn hold(&mut self, arrived: Option<BodySize>) -> Result<(), Failure> {
        match arrived {
            // Boxed: it is rare.
            Some(size) => Box::pin(self.take_up(size)).await?,
            None => {
                self.begin()?;
                if self.exchange.heads.request.switch != Switch::Nothing {
                    // Boxed: few requests do.
                    return Box::pin(self.switch()).await;
                }
                self.exchange.mark(|timing, now| timing.request_sending = now);
                self.exchange.begin_try(self.chosen);
            }
        }
        let size = loop {
            let size = poll_fn(|cx| self.poll_head(cx)).await?;
            // 101 would need an upgrade, which was not asked for: the codec refuses it.
            if self.exchange.heads.response.status >= 200 {
                break size;
            }
            if self.pass_interim() {
                self.exchange.flush(self.sink).await?;
            }
        };
        self.respond(size);
        match size {
            BodySize::None => Ok(()),
            _ => poll_fn(|cx| self.poll_bodies(cx)).await,
        }
    }

    /// Hands the request's head to the host's side.
    #[inline]
    fn begin(&mut self) -> Result<(), Failure> {
        let Exchange { heads, body, .. } = &mut *self.exchange;
        self.up_sink.head(&mut heads.request, *body).map_err(|reset| match reset {
            Reset::Terminated => Failure::Stale,
            reset => Failure::Reset(reset),
        })
    }

    /// Sends the request until the response's head is here.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodySize, Failure>> {
        if !self.sent
            && let Err(failure) = self.poll_send(cx)
        {
            return Poll::Ready(Err(failure));
        }
        if let Poll::Ready(head) = self.poll_response(cx) {
            return Poll::Ready(head);
        }
        self.poll_lines(cx);
        let failure = ready!(self.exchange.poll_interrupted(cx, self.source, self.sink));
        Poll::Ready(Err(match failure {
            // The host has all of it: it may go on.
            Failure::TimedOut(Passed::Try | Passed::TryIdle)
                if self.sent && self.exchange.hedges() =>
            {
                Failure::Slow(None)
            }
            failure => failure,
        }))
    }

    /// Ready with the response's head, or with why there is none.
    #[inline]
    pub(super) fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<BodySize, Failure>> {
        loop {
            let Exchange { heads, tries, tally, worker, .. } = &mut *self.exchange;
            let Heads { request, response, .. } = &mut **heads;
            let mut judgement = None;
            let unwanted = |head: &mut ResponseHead| {
                outcome::answered(self.chosen.target(), request, head);
                tally.host_answered(head);
                match tries {
                    None => false,
                    Some(tries) => {
                        judgement = tries.judge(head, self.chosen, worker, tally);
                        judgement.is_some()
                    }
                }
            };
            let head = self.up_source.poll_head(cx, response, unwanted);
            return match ready!(head) {
                Ok(size) => Poll::Ready(Ok(size)),
                Err(Reset::Terminated) => Poll::Ready(Err(Failure::Stale)),
                Err(Reset::Unwanted) => match judgement {
                    Some(Judgement::Again(wait)) => Poll::Ready(Err(Failure::Again(wait))),
                    _ if self.is_redirected() => Poll::Ready(Err(Failure::Redirected(None))),
                    // It goes on as it is.
                    _ => continue,
                },
                Err(reset) => Poll::Ready(Err(Failure::Reset(reset))),
            };
        }
    }

    /// Whether the answer is a redirect that is followed.
    fn is_redirected(&mut self) -> bool {
        let kept = self.exchange.body == BodySize::None || self.source.whole().is_some();
        self.exchange.redirect(self.chosen, kept)
    }

    /// Carries both bodies until the response's end has been taken by the sink.
    pub(super) fn poll_bodies(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        if !self.sent
            && let Err(failure) = self.poll_send(cx)
        {
            // Whatever it is, it comes too late for an answer of our own.
            return Poll::Ready(Err(match failure {
                Failure::ClientGone => failure,
                _ => Failure::Cut,
            }));
        }
        let Exchange { timers, tally, worker, request_done, .. } = &mut *self.exchange;
        // A pump that waits is as good as a new one: what it has moved is the sink's.
        let mut down = Pump::new(false);
        match down.poll_transfer(cx, &mut self.up_source, self.sink, || timers.touch()) {
            Poll::Ready(Ok(())) => {
                self.exchange.mark(|timing, now| timing.response_received = now);
                let told = &mut self.exchange.tally.told;
                if told.is_some() || self.chosen.host().reported.is_some() {
                    let trailers = self.up_source.take_trailers();
                    if let Some(trailers) = &trailers {
                        outcome::ended(self.chosen.target(), trailers);
                    }
                    told.iter_mut().for_each(|told| told.trailers = trailers.clone());
                }
                return Poll::Ready(Ok(()));
            }
            Poll::Ready(Err(PumpError::Source(error))) => {
                // What came before the fault is the client's; a full socket ends it here.
                let _ = self.sink.poll_flush(cx);
                tally.cut_by_upstream(&error);
                outcome::lost(self.chosen.target());
                tally.tried(self.chosen, "ended its answer in the middle".to_owned());
                let stats = self.chosen.snapshot().shared.stats.lane(worker.index);
                match error {
                    BodyError::Protocol(_) => stats.inc(ClusterStat::UpstreamCxProtocolError),
                    BodyError::Reset => stats.inc(ClusterStat::UpstreamRqRxReset),
                    BodyError::Gone | BodyError::Refused => {}
                }
                return Poll::Ready(Err(Failure::Cut));
            }
            Poll::Ready(Err(PumpError::Sink(_))) => return Poll::Ready(Err(Failure::ClientGone)),
            Poll::Pending => {}
        }
        // A response that pauses would not find out by being written.
        let left = *request_done && self.source.poll_gone(cx).is_ready();
        if left || self.sink.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        self.poll_lines(cx);
        let Exchange { timers, tally, manager, request_done, .. } = &mut *self.exchange;
        tally.paused = true;
        timers.poll(cx).map(|passed| {
            count::passed(manager, passed);
            count::passed_upstream(self.chosen.answers(), passed);
            tally.cut_by_timeout(passed, *request_done);
            Err(Failure::Cut)
        })
    }

    /// Writes the lines that are due meanwhile.
    #[inline]
    pub(super) fn poll_lines(&mut self, cx: &mut Context<'_>) {
        let (up_source, up_sink) = (&self.up_source, &self.up_sink);
        let upstream = || (up_source.wire(), up_sink.wire());
        self.exchange.poll_lines(cx, (&*self.source, &*self.sink), upstream);
    }

    /// Sends what there is of the request.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        let Exchange { timers, .. } = &mut *self.exchange;
        let sent = self.up.poll(cx, self.source, &mut self.up_sink, || timers.touch());
        if self.source.is_lost() {
            self.exchange.abandon_body(self.chosen);
        }
        match sent {
            Poll::Pending => Ok(()),
            Poll::Ready(Ok(())) => {
                self.sent = true;
                self.exchange.mark(|timing, now| {
                    timing.request_received = timing.request_received.or(now);
                    timing.request_sent = now;
                });
                if !self.exchange.request_done {
                    self.exchange.request_done = true;
                    self.exchange.await_response(Instant::now(), self.route);
                    self.exchange.begin_try(self.chosen);
                    self.exchange.mirror(self.source.whole());
                }
                Ok(())
            }
            Poll::Ready(Err(PumpError::Source(error))) => Err(self.exchange.request_failed(&error)),
            // The upstream may have answered before it stopped listening.
            Poll::Ready(Err(PumpError::Sink(_))) => {
                self.sent = true;
                Ok(())
            }
        }
    }

    /// Counts an interim answer; says whether it goes on, and so is to be sent.
    pub(super) fn pass_interim(&mut self) -> bool {
        let exchange = &mut *self.exchange;
        count::upstream_interim(self.chosen.answers(), exchange.is_internal());
        if !exchange.manager.config.proxy_100_continue {
            return false;
        }
        count::downstream_interim(exchange.manager);
        // The client has heard of this host. Observed: Envoy 1.40.
        exchange.give_up_retries();
        self.sink.interim(&exchange.heads.response);
        true
    }

    /// Counts the response, and hands its head to the client's side.
    pub(super) fn respond(&mut self, size: BodySize) {
        let health_check = self.exchange.is_health_check();
        let Exchange { heads, started, request_done, tally, tries, timers, .. } =
            &mut *self.exchange;
        timers.answer_try();
        let Heads { request, response, .. } = &mut **heads;
        // How long the host took can be said where it had the whole request. Observed: Envoy 1.40.
        let asked = tries.as_ref().and_then(|tries| tries.redirects.at).unwrap_or(*started);
        let waited = request_done.then(|| asked.elapsed());
        if response.status >= 500 {
            tally.tried(self.chosen, format!("answered {}", response.status));
        }
        let internal = request.headers.has(Known::XEnvoyInternal);
        match health_check {
            false => {
                let canary = response.headers.get(Known::XEnvoyUpstreamCanary) == Some(b"true");
                count::upstream(self.chosen.answers(), response.status, internal, canary, waited);
            }
            true => count::upstream_health_check(self.chosen.target(), response.status),
        }
        if self.up_source.asks_out(response) {
            self.chosen.snapshot().ask_out(self.chosen.host());
        }
        self.pass_on(size, waited);
    }

    /// Hands the response's head to the client's side.
    pub(super) fn pass_on(&mut self, size: BodySize, waited: Option<Duration>) {
        let Exchange { heads, manager, tally, tries, request_done, .. } = &mut *self.exchange;
        let Heads { request, response, set_cookies, .. } = &mut **heads;
        tally.responded(response.status, waited);
        let attempts = tries.as_ref().and_then(|tries| tries.told_count());
        // The rest of the request is nobody's: what follows it cannot be told from it.
        response.close |= !*request_done && size != BodySize::Tunnel;
        headers::response(response, manager, waited, attempts, request.switch);
        for cookie in set_cookies.drain(..) {
            response.headers.append_name(b"set-cookie", &cookie);
        }
        self.exchange.mutate_response();
        self.exchange.tell_proxy_status();
        if self.exchange.tally.told.is_some() || self.chosen.host().reported.is_some() {
            self.up_source.keep_trailers();
        }
        let Exchange { heads, manager, worker, .. } = &mut *self.exchange;
        let Heads { request, response, .. } = &mut **heads;
        headers::finish_response(response, manager, worker, request);
        self.sink.head(response, size);
        if size == BodySize::None {
            self.exchange.mark(|timing, now| timing.response_received = now);
            self.sink.end(None);
        }
    }
}
