//! Owns waiting for a client's first bytes, where a host is looked for only then.
//!
//! Source: `TcpProxy.upstream_connect_mode`. What is read waits in one buffer, whatever `max_early_data_bytes` says: more
//! stays in the socket.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use understudy_actors::{seams::Drain, stats::TcpStat};

use super::{
    splice::Moved,
    tcp_proxy::{Carried, End},
    times::Times,
};
use crate::format::AccessLogType;

impl Carried {
    /// Reads the first bytes, for a host that is not there yet; how it ends, where that comes first. A client that says
    /// nothing but its end has asked for no host: Envoy 1.40 keeps its connection until it is idle for too long.
    pub(super) async fn first_bytes(&mut self) -> Option<End> {
        let mut times = Times::new(&self.proxy.config, &self.worker);
        let end = poll_fn(|cx| self.poll_first_bytes(cx, &mut times)).await;
        // Observed: Envoy 1.40 counts an end, too.
        if matches!(end, None | Some(End::Done)) {
            self.proxy.stats().inc(TcpStat::EarlyDataReceivedCountTotal);
        }
        times.moved = self.worker.deadlines.coarse_now();
        self.times = Some(times);
        end
    }

    fn poll_first_bytes(&mut self, cx: &mut Context<'_>, times: &mut Times) -> Poll<Option<End>> {
        let Self { proxy, worker, client, up, .. } = self;
        let (mut from_client, _) = client.split();
        let first = up.poll_first(cx, &mut from_client, &worker.buffers, |moved| {
            if let Moved::Read(count) = moved {
                proxy.stats().add(TcpStat::DownstreamCxRxBytesTotal, count as u64);
            }
        });
        match first {
            Poll::Ready(Ok(true)) => return Poll::Ready(None),
            Poll::Ready(Ok(false)) => return Poll::Ready(Some(End::Done)),
            Poll::Ready(Err(_)) => return Poll::Ready(Some(End::ClientReset)),
            Poll::Pending => {}
        }
        if self.control.drain() == Drain::Now {
            return Poll::Ready(Some(End::Drained));
        }
        self.control.register(cx.waker());
        if times.poll_line(cx).is_ready() {
            self.log(AccessLogType::TcpPeriodic);
        }
        times.poll_end(cx).map(Some)
    }
}
