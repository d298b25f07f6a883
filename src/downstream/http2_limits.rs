//! Owns what ends a client's HTTP/2 connection besides the client: its age, its requests, its silence.

use std::{
    rc::Rc,
    task::{Context, Poll, ready},
};

use h2::PingPong;
use understudy_actors::stats::{ClusterHttp2Stat, HttpStat};

use super::{manager::Manager, opened::Opened, serve::Worker};
use crate::worker::{
    Deadline,
    keepalive::{Pinger, Signs},
};

/// The limits of one connection.
pub(super) struct Limits {
    age: Option<Deadline>,
    pinger: Option<Box<Pinger>>,
    requests: u32,
    requests_max: u32,
}

/// What a connection has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// `max_connection_duration`: it may finish what it has begun.
    Age,
    /// `connection_keepalive.timeout`: nobody is there.
    Silence,
}

// === impl Limits ===

impl Limits {
    /// `signs` is there where there is `connection_keepalive`, whose pings these are.
    pub(super) fn begin(
        worker: &Worker,
        manager: &Manager,
        opened: &Opened,
        signs: Option<Rc<Signs>>,
        pings: impl FnOnce() -> Option<PingPong>,
    ) -> Self {
        let config = &manager.config;
        let pinger = config.http2.keepalive.as_ref().zip(signs);
        let age = opened.left().map(|left| {
            let mut deadline = worker.deadlines.deadline();
            deadline.arm(left);
            deadline
        });
        Self {
            age,
            pinger: pinger
                .and_then(|(options, signs)| Pinger::begin(options, pings(), signs))
                .map(Box::new),
            requests: 0,
            requests_max: config.max_requests_per_connection,
        }
    }

    /// Counts a request; whether no more are wanted. Observed: Envoy 1.40 counts each that comes still.
    pub(super) fn count_request(&mut self, manager: &Manager) -> bool {
        self.requests = self.requests.saturating_add(1);
        let worn = self.requests_max > 0 && self.requests >= self.requests_max;
        if worn {
            manager.stats().inc(HttpStat::DownstreamCxMaxRequestsReached);
        }
        worn
    }

    /// Ready, and counted, when the connection has reached something. To be called after it was polled.
    pub(super) fn poll_reached(
        &mut self,
        cx: &mut Context<'_>,
        worker: &Worker,
        manager: &Manager,
    ) -> Poll<Reached> {
        if let Some(pinger) = &mut self.pinger
            && pinger.poll_dead(cx).is_ready()
        {
            worker.http2_stats().inc(ClusterHttp2Stat::KeepaliveTimeout);
            return Poll::Ready(Reached::Silence);
        }
        let Some(age) = &mut self.age else { return Poll::Pending };
        ready!(age.poll_passed(cx));
        self.age = None;
        manager.stats().inc(HttpStat::DownstreamCxMaxDurationReached);
        Poll::Ready(Reached::Age)
    }
}
