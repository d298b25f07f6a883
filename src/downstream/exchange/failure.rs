//! Owns the ways in which an exchange fails, and what is answered and counted for each.

use std::time::Duration;

use super::{
    super::{count, timers::Passed},
    Exchange,
    attempt::{Chosen, InFlight},
    beside::{Beside, Stream},
};
use crate::{
    filter::Filters,
    local_reply::LocalReply,
    stream::{BodyError, Kept, Reset},
    upstream::pool::PoolError,
};

use understudy_actors::stats::{ClusterStat, HttpStat, VirtualStat};

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
    /// The try is not answered within its timeout, and goes on all the same, beside others.
    Slow(Option<Box<Beside>>),
    /// The answer asks for another try, after this wait.
    Again(Duration),
    /// The answer leads elsewhere, and the request has become one for there; with what was kept of its body.
    Redirected(Option<Box<Kept>>),
}

// === impl Failure ===

impl Failure {
    /// We answer ourselves.
    pub(super) fn reply(reply: LocalReply) -> Self {
        Self::Reply(Box::new(reply))
    }

    /// The try goes on.
    pub(super) fn slow(in_flight: InFlight<Chosen>, stream: impl Into<Stream>) -> Self {
        Self::Slow(Some(Box::new(Beside::first(in_flight, stream.into()))))
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

    /// Why no connection could be had.
    pub(super) fn no_connection(&mut self, chosen: &Chosen, error: PoolError) -> Failure {
        match error {
            PoolError::Overflow => self.queue_full(chosen),
            error => Failure::Reset(error.into()),
        }
    }

    /// As many requests wait for a connection as may. No host is to blame, and none is logged.
    fn queue_full(&mut self, chosen: &Chosen) -> Failure {
        let stats = chosen.answers().shared.stats.lane(self.worker.index);
        count::upstream_status(stats, 503, self.is_internal());
        self.tally.chosen = None;
        Failure::reply(self.last_of_tries(LocalReply::upstream_reset(&Reset::Overflow)))
    }

    /// The cluster carries as many requests as it may: the connection that was found is not used.
    ///
    /// Observed: Envoy 1.40, `max_requests: 0`.
    #[cold]
    pub(super) fn too_many_requests(&mut self, chosen: &Chosen) -> Failure {
        let stats = chosen.snapshot().shared.stats.lane(self.worker.index);
        stats.inc(ClusterStat::UpstreamRqActiveOverflow);
        Failure::Reset(Reset::Overflow)
    }

    /// Counts a failure of the upstream's, and answers for it.
    pub(super) fn upstream_reset(&mut self, chosen: &Chosen, reset: &Reset) -> Failure {
        self.tally.lost(reset);
        let reply = self.last_of_tries(LocalReply::upstream_reset(reset));
        count::upstream_failure(chosen.answers(), reply.status, self.is_internal());
        Failure::reply(reply)
    }

    /// Answers for a timeout while the upstream had the request.
    pub(super) fn upstream_timed_out(&mut self, chosen: &Chosen, passed: Passed) -> Failure {
        let reply = self.timeout_reply(passed);
        if let (Passed::Response, Some(apart)) = (passed, &self.tally.apart) {
            apart.inc(VirtualStat::UpstreamRqTimeout);
        }
        if matches!(passed, Passed::Response | Passed::Try | Passed::TryIdle) {
            count::upstream_failure(chosen.answers(), reply.status, self.is_internal());
        }
        Failure::reply(reply)
    }

    /// The answer for a timeout.
    pub(super) fn timeout_reply(&self, passed: Passed) -> LocalReply {
        count::passed(self.manager, passed);
        let reply = LocalReply::timed_out(passed, self.request_done);
        let quiet = self.tries.as_ref().is_some_and(|tries| tries.no_content);
        match passed {
            Passed::Response | Passed::Try | Passed::TryIdle if quiet => reply.without_content(),
            _ => reply,
        }
    }

    /// The reply about the last of several tries, if there were several.
    fn last_of_tries(&self, reply: LocalReply) -> LocalReply {
        match self.tries.as_ref().is_some_and(|tries| tries.is_retry()) {
            true => reply.retried(),
            false => reply,
        }
    }
}

// === impl LocalReply ===

impl LocalReply {
    /// The reply for a timeout, and the flag it is logged with.
    pub(super) fn timed_out(passed: Passed, request_done: bool) -> Self {
        match passed {
            Passed::Response => Self::response_timeout(),
            Passed::Request => Self::request_timeout(),
            Passed::Idle => Self::stream_idle_timeout(request_done),
            Passed::Try => Self::try_timeout("upstream_per_try_timeout"),
            Passed::TryIdle => Self::try_timeout("upstream_per_try_idle_timeout"),
            Passed::TryDuration => Self::try_duration(request_done),
            Passed::Stream => Self::stream_duration(request_done),
        }
    }
}
