//! Owns copies of a request for other clusters: sent and forgotten, whatever becomes of them.

use std::{future::poll_fn, rc::Rc, task::Poll, time::Duration};

use understudy_actors::stats::ClusterStat;

use super::{
    super::{count, timers::Passed},
    Exchange,
    attempt::{Chosen, InFlight},
    outcome,
    overriding::Named,
};
use crate::{
    codec::{HeaderBlock, Known, Method, RequestHead, ResponseHead, http1::response::Asked},
    config::model::route::{Forward, Mirror, MirrorTarget},
    format::AccessLogType,
    stream::{BodySize, Data, Frame, RequestSink, Reset, ResponseSource, Source},
    upstream::{
        Aggregate, Current,
        balancer::Choice,
        http1::Http1Stream,
        http2::Http2Stream,
        pool::{HostPool, Target},
    },
    worker::Buffers,
};

/// A copy on its way. It owns all it needs: the request it was made of may be over before.
struct Copied {
    chosen: Chosen,
    buffers: Buffers,
    head: RequestHead,
    size: BodySize,
    body: Vec<u8>,
    trailers: Option<HeaderBlock>,
    timeout: Option<Duration>,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Which copies are to be made of the request.
    pub(super) fn draw_mirrors(&mut self) {
        let Some(tries) = &self.tries else { return };
        // Observed: Envoy 1.40 copies no tunnels.
        if tries.attempts().mirrors.is_empty() || self.heads.request.method == Method::Connect {
            return;
        }
        let random = fastrand::u64(..);
        let drawn = |mirror: &&Mirror| match &mirror.fraction {
            None => true,
            Some(fraction) => self
                .worker
                .with_runtime(|runtime| runtime.enabled(&fraction.key, fraction.default, random)),
        };
        let drawn: Vec<Mirror> = tries.attempts().mirrors.iter().filter(drawn).cloned().collect();
        if let Some(tries) = &mut self.tries {
            tries.mirrors = drawn;
        }
    }

    /// The request is complete: its copies go out. Each is a task of its own, bounded by the limits of its
    /// cluster, and nobody waits for it.
    #[inline]
    pub(super) fn mirror(&mut self, body: Option<(&[u8], Option<&HeaderBlock>)>) {
        if self.tries.is_some() {
            self.send_copies(body);
        }
    }

    fn send_copies(&mut self, body: Option<(&[u8], Option<&HeaderBlock>)>) {
        let Some(tries) = &mut self.tries else { return };
        if tries.mirrors.is_empty() {
            return;
        }
        let (mirrors, timeout) = (std::mem::take(&mut tries.mirrors), tries.whole);
        let route = tries.route.clone();
        if body.is_none() && self.body != BodySize::None {
            return;
        }
        for mirror in &mirrors {
            let head = &self.heads.request;
            let cluster = match &mirror.target {
                MirrorTarget::Cluster(slot) => self.worker.clusters.get(*slot),
                MirrorTarget::Header(name) => {
                    let name = head.headers.get_name(name.as_bytes()).unwrap_or_default();
                    self.worker.clusters.named(name)
                }
            };
            // A cluster that is gone gets no copies, and nobody hears of it. Observed: Envoy 1.40.
            let Some(cluster) = cluster else { continue };
            let (bytes, trailers) = body.unwrap_or_default();
            let current = cluster.current();
            let Some(chosen) = self.choose_for_copy(&current, &route) else {
                let stats = current.snapshot.shared.stats.lane(self.worker.index);
                stats.inc(ClusterStat::UpstreamCxNoneHealthy);
                count::upstream_status(stats, 503, true);
                continue;
            };
            let copy = Copied {
                chosen,
                buffers: self.worker.buffers.clone(),
                head: self.copied_head(mirror),
                size: self.body,
                body: bytes.to_vec(),
                trailers: trailers.cloned(),
                timeout,
            };
            tokio::task::spawn_local(copy.send());
        }
    }

    /// The host of a copy: it is chosen as for the request, but that no hash counts.
    ///
    /// Observed: Envoy 1.40 (tests/mirroring.rs).
    fn choose_for_copy(&self, current: &Rc<Current>, route: &Forward) -> Option<Chosen> {
        let (worker, version) = (self.worker.index, self.heads.request.version);
        let choice = Choice { metadata: route.wanted(self.heads.part), ..Choice::default() };
        let Some(aggregate) = Aggregate::of(current, &self.worker.clusters) else {
            let sharing = self.sharing(&current.upstream, false);
            let headers = &current.upstream.balancing.override_headers;
            let pools = match self.named_by_headers(current, headers) {
                _ if current.upstream.balancing.policy.is_provided() => self.copy_meant(current),
                Named::Host(host) => current.pools_at(host).cloned(),
                Named::Nobody | Named::Gone => current.pick(worker, choice).cloned(),
            };
            let pool = pools?.pool(version, sharing.as_ref())?;
            return Some(Chosen::of(current.clone(), pool, None));
        };
        let drawn = aggregate.draw(&aggregate.load(), fastrand::u64(..))?;
        let sharing = self.sharing(&drawn.cluster.upstream, false);
        let choice = Choice { load: Some(&drawn.load), ..choice };
        let pools = match drawn.cluster.upstream.balancing.policy.original_dst() {
            Some(_) => self.copy_meant(drawn.cluster),
            None => drawn.cluster.pick(worker, choice).cloned(),
        };
        let pool = pools?.pool(version, sharing.as_ref())?;
        let shared = current.snapshot.shared.clone();
        let answers = Target { shared, zone_stats: None, ..pool.target().clone() };
        Some(Chosen::of(drawn.cluster.clone(), pool, Some(Rc::new(answers))))
    }

    /// The head of a copy: it says that it is one. Observed: Envoy 1.40.
    fn copied_head(&self, mirror: &Mirror) -> RequestHead {
        let mut head = self.heads.request.clone();
        for edits in &mirror.edits {
            edits.remove_from(&mut head.headers);
            let made = edits.make(&head.headers, &self.info(AccessLogType::NotSet));
            made.put_into(&mut head.headers);
        }
        if !mirror.host.is_empty() {
            head.set_authority(mirror.host.as_bytes());
        } else if mirror.suffix {
            let host = shadow_host(head.authority());
            head.set_authority(&host);
        }
        head.headers.set(Known::XEnvoyInternal, b"true");
        let own = self.worker.own_address.as_bytes();
        head.headers.append_to_value(Known::XForwardedFor, b",", own);
        head
    }
}

/// The host with `-shadow` behind its name, before its port.
fn shadow_host(host: &[u8]) -> Vec<u8> {
    let port = host.iter().rposition(|byte| matches!(byte, b':' | b']'));
    let port = port.filter(|at| host.get(*at) == Some(&b':')).unwrap_or(host.len());
    let (name, port) = host.split_at(port);
    [name, b"-shadow", port].concat()
}

// === impl Copied ===

impl Copied {
    /// Sends the copy and reads what comes back, to count it and throw it away.
    async fn send(mut self) {
        let chosen = self.chosen.clone();
        let (target, has_streams) = (chosen.answers(), chosen.has_streams());
        let started = std::time::Instant::now();
        let answer = match self.timeout {
            None => Some(self.exchange(&chosen).await),
            Some(limit) => tokio::time::timeout(limit, self.exchange(&chosen)).await.ok(),
        };
        match answer {
            Some(Ok((status, canary))) => {
                count::upstream(target, status, true, canary, Some(started.elapsed()));
            }
            Some(Err(reset)) => {
                count::upstream_reset(target, &reset, has_streams);
                outcome::reset(chosen.target(), &reset);
                let status = if reset == Reset::Protocol { 502 } else { 503 };
                count::upstream_failure(target, status, true);
            }
            None => {
                count::upstream_timeout(target);
                outcome::timed_out(chosen.target(), Passed::Response, false);
                count::upstream_failure(target, 504, true);
            }
        }
    }

    /// The status of the answer, and whether it comes from a canary.
    async fn exchange(&mut self, chosen: &Chosen) -> Result<(u16, bool), Reset> {
        let chosen = &chosen.clone().settled().await?;
        match chosen.pool() {
            // Settled pools are of one protocol.
            HostPool::Auto(_) => Err(Reset::Terminated),
            HostPool::Http1(pool) => {
                let connection = match pool.checkout() {
                    Some(connection) => connection,
                    None => pool.acquire().await?,
                };
                let Some(_in_flight) = InFlight::begin(chosen, 0) else {
                    connection.give_back();
                    return Err(Reset::Overflow);
                };
                let asked = Asked::by(&self.head);
                let mut stream = Http1Stream::new(connection, pool.options(), asked);
                let buffers = self.buffers.clone();
                let (sink, source) = stream.split(&buffers);
                let answer = self.talk(chosen, sink, source).await;
                stream.finish();
                answer
            }
            HostPool::Http2(pool) => {
                let lease = match pool.lease() {
                    Some(lease) => lease,
                    None => pool.acquire().await?,
                };
                let Some(_in_flight) = InFlight::begin(chosen, 0) else {
                    return Err(Reset::Overflow);
                };
                let mut stream = Http2Stream::new(lease, Asked::by(&self.head));
                let (sink, source) = stream.split();
                self.talk(chosen, sink, source).await
            }
        }
    }

    async fn talk(
        &mut self,
        chosen: &Chosen,
        mut sink: impl RequestSink,
        mut source: impl ResponseSource,
    ) -> Result<(u16, bool), Reset> {
        sink.head(&mut self.head, self.size)?;
        if self.size != BodySize::None {
            sink.data(Data::Slice(&self.body));
            sink.end(self.trailers.as_ref());
        }
        let (mut answer, mut sent) = (ResponseHead::default(), false);
        loop {
            let head = poll_fn(|cx| {
                // A host may answer before it has read everything, or instead of it.
                sent = sent || sink.poll_flush(cx).is_ready();
                source.poll_head(cx, &mut answer)
            });
            let size = head.await?;
            if answer.status >= 200 {
                outcome::answered(chosen.target(), &self.head, &answer);
                if size != BodySize::None {
                    discard(&mut source).await;
                }
                break;
            }
        }
        let canary = answer.headers.get(Known::XEnvoyUpstreamCanary) == Some(b"true");
        Ok((answer.status, canary))
    }
}

/// Reads a body to its end, wherever that is.
async fn discard(source: &mut impl Source) {
    poll_fn(|cx| {
        loop {
            match source.poll_frame(cx) {
                Poll::Ready(Ok(Frame::Data(_))) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copys_host_is_called_a_shadow_before_its_port() {
        for (host, expected) in [
            ("a.test", "a.test-shadow"),
            ("a.test:8080", "a.test-shadow:8080"),
            ("[::1]", "[::1]-shadow"),
            ("[::1]:80", "[::1]-shadow:80"),
            ("", "-shadow"),
        ] {
            assert_eq!(shadow_host(host.as_bytes()), expected.as_bytes(), "{host}");
        }
    }
}
