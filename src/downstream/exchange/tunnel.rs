//! Owns a stream that becomes another protocol's: asking the host, and carrying bytes both ways for as
//! long as both sides stay.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use super::{super::count, Failure, Heads, conversation::Conversation};
use crate::{
    codec::{Known, Switch, http2},
    format::AccessLogType,
    stream::{
        BodyError, BodySize, Pump, PumpError, RequestSink, RequestSource, ResponseSink,
        ResponseSource,
    },
};

impl<Q, P, U, V> Conversation<'_, '_, Q, P, U, V>
where
    Q: RequestSource,
    P: ResponseSink,
    U: RequestSink,
    V: ResponseSource,
{
    /// Waits for the answer to a request to become something else, whose head has been handed over, and
    /// does as it says. What the client sends before the answer waits: it is for the new protocol, and if
    /// the host refuses that, for nobody (a host that took it for a request would be tricked).
    ///
    /// Observed: Envoy 1.40. The route's timeout is for the answer alone.
    pub(super) async fn switch(&mut self) -> Result<(), Failure> {
        let started = self.exchange.started;
        self.exchange.await_response(started, self.route);
        self.exchange.begin_try(self.chosen);
        let size = loop {
            let size = poll_fn(|cx| self.poll_answer(cx)).await?;
            let status = self.exchange.heads.response.status;
            if status >= 200 || status == 101 {
                break size;
            }
            if self.pass_interim() {
                self.exchange.flush(self.sink).await?;
            }
        };
        self.exchange.timers.await_response(started, None);
        match size {
            BodySize::Tunnel => {
                self.agree();
                self.respond(BodySize::Tunnel);
                if self.exchange.manager.config.logged.tunnels {
                    self.exchange.log(AccessLogType::DownstreamTunnelSuccessfullyEstablished);
                }
                self.stand().await
            }
            size => self.refuse(size).await,
        }
    }

    /// Sends the request's head until the response's is here.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodySize, Failure>> {
        // A host that has stopped listening may have answered all the same.
        let _ = self.up_sink.poll_flush(cx);
        if let Poll::Ready(head) = self.poll_response(cx) {
            return Poll::Ready(head);
        }
        if self.source.poll_gone(cx).is_ready() || self.sink.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        self.exchange.timers.poll(cx).map(|passed| Err(Failure::TimedOut(passed)))
    }

    /// Says an agreement as HTTP/1 does, in whatever protocol it came.
    fn agree(&mut self) {
        let Heads { request, response, .. } = &mut *self.exchange.heads;
        if request.switch == Switch::Upgrade && response.status == 200 {
            let protocol = request.headers.get(Known::Upgrade).unwrap_or_default();
            http2::agree_to_upgrade(response, protocol);
        }
    }

    /// Passes on an answer that is no agreement. Nothing more of the client is carried.
    async fn refuse(&mut self, size: BodySize) -> Result<(), Failure> {
        self.sent = true;
        let upgrade = self.exchange.heads.request.switch == Switch::Upgrade;
        let response = &mut self.exchange.heads.response;
        let size = match response.status {
            // Observed: Envoy 1.40 lets the body go of what is neither an agreement nor an error, and
            // counts it as nobody's answer.
            200..400 if upgrade && !self.chosen.has_streams() => {
                response.headers.remove(Known::ContentLength);
                self.pass_on(BodySize::None, None);
                self.exchange.tally.handshake_failed();
                BodySize::None
            }
            _ => {
                self.respond(size);
                size
            }
        };
        match size {
            BodySize::None => Ok(()),
            _ => poll_fn(|cx| self.poll_bodies(cx)).await,
        }
    }

    /// Carries bytes both ways until either side ends. Where a side takes nothing, nothing is read for it
    /// from the other.
    async fn stand(&mut self) -> Result<(), Failure> {
        let ended = poll_fn(|cx| self.poll_tunnel(cx)).await;
        if let Err(Failure::TunnelEnded) = ended {
            // What came before the end is the client's.
            self.exchange.flush(self.sink).await?;
        }
        ended
    }

    fn poll_tunnel(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let exchange = &mut *self.exchange;
        let timers = &mut exchange.timers;
        if !self.sent {
            match self.up.poll(cx, self.source, &mut self.up_sink, || timers.touch()) {
                Poll::Pending => {}
                // The client's half is closed (HTTP/2). The host's may go on.
                Poll::Ready(Ok(())) => {
                    self.sent = true;
                    exchange.request_done = true;
                }
                Poll::Ready(Err(PumpError::Source(error))) => {
                    return Poll::Ready(Err(exchange.request_failed(&error)));
                }
                // What the host still says is heard.
                Poll::Ready(Err(PumpError::Sink(_))) => self.sent = true,
            }
        }
        // Whoever has ended its half can still go.
        if self.sent && self.sink.poll_gone(cx).is_ready() {
            return Poll::Ready(Err(Failure::ClientGone));
        }
        let timers = &mut exchange.timers;
        let mut down = Pump::new(false);
        match down.poll_transfer(cx, &mut self.up_source, self.sink, || timers.touch()) {
            Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
            Poll::Ready(Err(PumpError::Source(error))) => {
                exchange.tally.cut_by_upstream(&error);
                return Poll::Ready(Err(match error {
                    BodyError::Gone => Failure::TunnelEnded,
                    _ => Failure::Cut,
                }));
            }
            Poll::Ready(Err(PumpError::Sink(_))) => return Poll::Ready(Err(Failure::ClientGone)),
            Poll::Pending => {}
        }
        self.poll_lines(cx);
        let exchange = &mut *self.exchange;
        exchange.tally.paused = true;
        exchange.timers.poll(cx).map(|passed| {
            count::passed(exchange.manager, passed);
            count::passed_upstream(self.chosen.answers(), passed);
            exchange.tally.cut_by_timeout(passed, exchange.request_done);
            Err(Failure::Cut)
        })
    }
}
