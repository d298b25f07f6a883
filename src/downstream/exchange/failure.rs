//! Owns the ways in which an exchange fails, and what is answered and counted for each.

use super::{
    super::{count, timers::Passed},
    Exchange,
    forward::Chosen,
};
use crate::{
    filter::Filters,
    local_reply::LocalReply,
    stream::{BodyError, Reset},
    upstream::{connect::ConnectError, pool::PoolError},
};

use understudy_actors::stats::{ClusterStat, HttpStat};

/// Why the way upstream gave no response.
pub enum Failure {
    /// We answer ourselves. Boxed: every future on the way has room for a failure.
    Reply(Box<LocalReply>),
    /// The upstream failed.
    Reset(Reset),
    /// A timeout has passed.
    TimedOut(Passed),
    /// The client has gone.
    ClientGone,
    /// The response began and cannot be finished.
    Cut,
    /// The host has ended a tunnel.
    TunnelEnded,
    /// The connection had been closed while it was idle, before it took the request.
    Stale,
}

// === impl Failure ===

impl Failure {
    /// We answer ourselves.
    pub(super) fn reply(reply: LocalReply) -> Self {
        Self::Reply(Box::new(reply))
    }
}

// === impl Exchange ===

impl Exchange<'_> {
    /// The client's request broke off, broke the protocol, or was refused by a filter.
    pub(super) fn request_failed(&self, error: &BodyError) -> Failure {
        match error {
            BodyError::Gone | BodyError::Reset => Failure::ClientGone,
            BodyError::Refused => self.refused(),
            BodyError::Protocol(error) => {
                self.manager.stats().inc(HttpStat::DownstreamCxProtocolError);
                Failure::reply(LocalReply::malformed(error.refusal()))
            }
        }
    }

    /// A filter has left a reply.
    pub(super) fn refused(&self) -> Failure {
        let reply = self.filters.as_ref().and_then(Filters::take_reply);
        reply.map_or(Failure::Cut, Failure::reply)
    }

    /// Counts that no connection could be had, and answers for it.
    pub(super) fn no_connection(&mut self, chosen: &Chosen, error: PoolError) -> Failure {
        let reset = match error {
            PoolError::Connect(ConnectError::Failed(why)) => {
                Reset::ConnectFailed(system_text(&why))
            }
            PoolError::Connect(ConnectError::TimedOut(_)) => Reset::ConnectTimeout,
            PoolError::Overflow => return self.queue_full(chosen),
            PoolError::Terminated => Reset::Terminated,
        };
        self.upstream_reset(chosen, reset)
    }

    /// As many requests wait for a connection as may. No host is to blame, and none is logged.
    fn queue_full(&mut self, chosen: &Chosen) -> Failure {
        let stats = chosen.snapshot().shared.stats.lane(self.worker.index);
        count::upstream_status(stats, 503, self.is_internal());
        self.tally.chosen = None;
        Failure::reply(LocalReply::upstream_reset(&Reset::Overflow))
    }

    /// The cluster carries as many requests as it may: the connection that was found is not used.
    ///
    /// Observed: Envoy 1.40, `max_requests: 0`.
    #[cold]
    pub(super) fn too_many_requests(&mut self, chosen: &Chosen) -> Failure {
        let stats = chosen.snapshot().shared.stats.lane(self.worker.index);
        stats.inc(ClusterStat::UpstreamRqActiveOverflow);
        self.upstream_reset(chosen, Reset::Overflow)
    }

    /// Counts a failure of the upstream's, and answers for it.
    pub(super) fn upstream_reset(&mut self, chosen: &Chosen, reset: Reset) -> Failure {
        let reply = LocalReply::upstream_reset(&reset);
        count::upstream_reset(chosen.target(), &reset, chosen.has_streams());
        count::upstream_failure(chosen.target(), reply.status, self.is_internal());
        Failure::reply(reply)
    }

    /// Counts a timeout while the upstream had the request, and answers for it.
    pub(super) fn upstream_timed_out(&mut self, chosen: &Chosen, passed: Passed) -> Failure {
        if passed == Passed::Response {
            count::upstream_timeout(chosen.target(), chosen.has_streams());
            count::upstream_failure(chosen.target(), 504, self.is_internal());
        }
        Failure::reply(self.timeout_reply(passed))
    }

    /// The answer for a timeout.
    pub(super) fn timeout_reply(&self, passed: Passed) -> LocalReply {
        let stats = self.manager.stats();
        match passed {
            Passed::Response => LocalReply::response_timeout(),
            Passed::Request => {
                stats.inc(HttpStat::DownstreamRqTimeout);
                LocalReply::request_timeout()
            }
            Passed::Idle => {
                stats.inc(HttpStat::DownstreamRqIdleTimeout);
                LocalReply::stream_idle_timeout(self.request_done)
            }
        }
    }
}

/// The system's words for an error, without its number.
fn system_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
