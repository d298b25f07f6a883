//! Owns counting a client connection from its opening to its end; the end is its drop.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use understudy_actors::stats::HttpStat;

use super::manager::Manager;

/// A client connection that is open.
pub(super) struct Opened {
    manager: Rc<Manager>,
    since: Instant,
    /// `max_connection_duration`, with the jitter of this connection.
    duration_max: Option<Duration>,
    protocol: Cell<Protocol>,
    ended_by: Cell<EndedBy>,
    is_tls: bool,
}

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Not known yet.
    Undecided,
    /// HTTP/1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Who ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EndedBy {
    /// We.
    Us,
    /// The client.
    Client,
    /// The client, while a request of its was on the way.
    ClientWithRequest,
}

// === impl Opened ===

impl Opened {
    /// A connection begins.
    pub(super) fn new(manager: Rc<Manager>, is_tls: bool) -> Self {
        let stats = manager.stats();
        stats.inc(HttpStat::DownstreamCxTotal);
        stats.inc(HttpStat::DownstreamCxActive);
        if is_tls {
            stats.inc(HttpStat::DownstreamCxSslTotal);
            stats.inc(HttpStat::DownstreamCxSslActive);
        }
        // What is read is handed on at once.
        stats.inc(HttpStat::DownstreamCxRxBytesBuffered);
        stats.dec(HttpStat::DownstreamCxRxBytesBuffered);
        let duration_max = manager.config.max_connection_duration;
        let jitter = 1.0 + manager.config.max_connection_duration_jitter / 100.0 * fastrand::f64();
        Self {
            manager,
            since: Instant::now(),
            duration_max: duration_max.map(|max| max.mul_f64(jitter)),
            protocol: Cell::new(Protocol::Undecided),
            ended_by: Cell::new(EndedBy::Us),
            is_tls,
        }
    }

    /// How much longer it may last; `None` is for ever.
    pub(super) fn left(&self) -> Option<Duration> {
        self.duration_max.map(|max| max.saturating_sub(self.since.elapsed()))
    }

    /// It has shown what it speaks.
    pub(super) fn speaks(&self, protocol: Protocol) {
        if self.protocol.replace(protocol) == protocol {
            return;
        }
        let stats = self.manager.stats();
        match protocol {
            Protocol::Http1 => {
                stats.inc(HttpStat::DownstreamCxHttp1Total);
                stats.inc(HttpStat::DownstreamCxHttp1Active);
            }
            Protocol::Http2 => {
                stats.inc(HttpStat::DownstreamCxHttp2Total);
                stats.inc(HttpStat::DownstreamCxHttp2Active);
            }
            Protocol::Undecided => {}
        }
    }

    /// Who ends it.
    pub(super) fn ended_by(&self, who: EndedBy) {
        self.ended_by.set(who);
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        use HttpStat as S;
        let stats = self.manager.stats();
        stats.dec(S::DownstreamCxActive);
        if self.is_tls {
            stats.dec(S::DownstreamCxSslActive);
        }
        match self.protocol.get() {
            Protocol::Http1 => stats.dec(S::DownstreamCxHttp1Active),
            Protocol::Http2 => stats.dec(S::DownstreamCxHttp2Active),
            Protocol::Undecided => {}
        }
        stats.inc(S::DownstreamCxDestroy);
        match self.ended_by.get() {
            EndedBy::Us => stats.inc(S::DownstreamCxDestroyLocal),
            EndedBy::Client => stats.inc(S::DownstreamCxDestroyRemote),
            EndedBy::ClientWithRequest => {
                stats.inc(S::DownstreamCxDestroyRemote);
                stats.inc(S::DownstreamCxDestroyActiveRq);
                stats.inc(S::DownstreamCxDestroyRemoteActiveRq);
            }
        }
        stats.record(S::DownstreamCxLengthMs, self.since.elapsed().as_millis() as u64);
    }
}
