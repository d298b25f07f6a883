//! Owns passing a request by the filters before it goes on.

use std::{future::poll_fn, task::Poll};

use understudy_actors::stats::HttpStat;

use super::{Exchange, failure::Failure};
use crate::{
    filter::{Client, FilteredRequest, Filters, OfRoute, Verdict},
    local_reply::LocalReply,
    route::Found,
    stream::{BodySize, RequestSource, ResponseSink},
};

impl Exchange<'_> {
    /// Shows the request to the filters, one after the other; what they decide is done before the next
    /// sees it. The body passes by them later, on its way, unless one has asked for it.
    pub(super) async fn filter<Q: RequestSource, P: ResponseSink>(
        &mut self,
        found: Option<Found<'_>>,
        source: &mut FilteredRequest<'_, Q>,
        sink: &mut P,
    ) -> Result<(), Failure> {
        let own = |name: &str| found.as_ref().and_then(|found| found.filter_config(name));
        let filters = self.begin_filters(own);
        source.pass_by(filters.clone(), self.body == BodySize::None);
        for at in 0..filters.count() {
            let mut verdict = filters.request_head(at, &mut self.heads.request);
            loop {
                verdict = match verdict {
                    Verdict::Continue => break,
                    Verdict::Reply(reply) => return Err(Failure::reply(reply)),
                    Verdict::Wait(waiting) => {
                        self.while_client_waits(waiting, source, sink).await?
                    }
                    Verdict::Hold { bytes_max } => {
                        self.hold(bytes_max, source).await?;
                        source.show_held(at, &mut self.heads.request)
                    }
                    Verdict::Discard => {
                        self.discard(source).await?;
                        source.show_held(at, &mut self.heads.request)
                    }
                };
            }
        }
        self.body = source.held().unwrap_or(self.body);
        Ok(())
    }

    /// Begins the filters' states.
    pub(super) fn begin_filters<'r>(
        &mut self,
        own: impl Fn(&str) -> Option<&'r OfRoute>,
    ) -> Filters {
        let (chain, ends) = (self.chain(), self.body == BodySize::None);
        let peer = self.peer;
        let client = Client {
            remote: self.heads.client.or_else(|| peer.remote.ip()),
            named: self.heads.client.is_some(),
            peer: peer.remote,
            direct: peer.proxied.as_ref().map_or(peer.remote, |proxied| proxied.peer),
            local: peer.local,
            server_name: peer.server_name.clone(),
            tls: peer.tls.clone(),
            proxied: peer.proxied.clone(),
        };
        let filters = Filters::begin(chain, own, &self.worker.lookout, client, ends);
        self.filters.insert(filters).clone()
    }

    /// Reads the body to its end.
    async fn discard<Q: RequestSource>(
        &mut self,
        source: &mut FilteredRequest<'_, Q>,
    ) -> Result<(), Failure> {
        let read = poll_fn(|cx| match source.poll_discard(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.request_failed(&error))),
            Poll::Pending => self.timers.poll(cx).map(|passed| Err(Failure::TimedOut(passed))),
        });
        read.await?;
        self.request_done = true;
        Ok(())
    }

    /// Waits until the whole body is held.
    async fn hold<Q: RequestSource>(
        &mut self,
        bytes_max: usize,
        source: &mut FilteredRequest<'_, Q>,
    ) -> Result<(), Failure> {
        let fits = poll_fn(|cx| match source.poll_hold(cx, bytes_max) {
            Poll::Ready(Ok(fits)) => Poll::Ready(Ok(fits)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.request_failed(&error))),
            Poll::Pending => self.timers.poll(cx).map(|passed| Err(Failure::TimedOut(passed))),
        });
        if !fits.await? {
            self.manager.stats().inc(HttpStat::DownstreamRqTooLarge);
            return Err(Failure::reply(LocalReply::payload_too_large()));
        }
        Ok(())
    }
}
