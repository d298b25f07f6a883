//! Owns counting a client connection from its opening to its end; the end is its drop.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use understudy_actors::stats::HttpStat;

use super::{connection_log::ConnectionLog, exchange::Peer, manager::Manager, serve::Worker};
use crate::codec::Version;

/// A client connection that is open.
pub(super) struct Opened {
    manager: Rc<Manager>,
    since: Instant,
    /// `max_connection_duration`, with the jitter of this connection.
    duration_max: Option<Duration>,
    protocol: Cell<Protocol>,
    ended_by: Cell<EndedBy>,
    /// What its listener writes of it.
    log: Option<Box<ConnectionLog>>,
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
    /// We, for what the client has sent, and it is known later whether it had requests on the way.
    UsForFlood,
    /// We, while a request was on the way.
    UsWithRequest,
    /// The client.
    Client,
    /// The client, while a request of its was on the way.
    ClientWithRequest,
}

// === impl Opened ===

impl Opened {
    /// A connection begins.
    pub(super) fn new(worker: &Rc<Worker>, manager: Rc<Manager>, peer: &Peer) -> Self {
        let log = ConnectionLog::begin(worker, &manager, peer);
        let opened = Self::begin(manager, Instant::now(), peer.is_tls(), log);
        let stats = opened.manager.stats();
        // What is read is handed on at once.
        stats.inc(HttpStat::DownstreamCxRxBytesBuffered);
        stats.dec(HttpStat::DownstreamCxRxBytesBuffered);
        opened
    }

    /// One whose handshake has come to nothing, or that a filter has turned away. Observed: Envoy 1.40 counts it as any other.
    pub(super) fn count_unwelcome(
        manager: Rc<Manager>,
        since: Instant,
        is_tls: bool,
        ended_by: EndedBy,
    ) {
        Self::begin(manager, since, is_tls, None).ended_by(ended_by);
    }

    fn begin(
        manager: Rc<Manager>,
        since: Instant,
        is_tls: bool,
        log: Option<Box<ConnectionLog>>,
    ) -> Self {
        let stats = manager.stats();
        stats.inc(HttpStat::DownstreamCxTotal);
        stats.inc(HttpStat::DownstreamCxActive);
        if is_tls {
            stats.inc(HttpStat::DownstreamCxSslTotal);
            stats.inc(HttpStat::DownstreamCxSslActive);
        }
        let duration_max = manager.config.max_connection_duration;
        let jitter = 1.0 + manager.config.max_connection_duration_jitter / 100.0 * fastrand::f64();
        Self {
            log,
            manager,
            since,
            duration_max: duration_max.map(|max| max.mul_f64(jitter)),
            protocol: Cell::new(Protocol::Undecided),
            ended_by: Cell::new(EndedBy::Us),
            is_tls,
        }
    }

    /// Whose connection it is.
    #[inline]
    pub(super) fn manager(&self) -> &Manager {
        &self.manager
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

    /// This many bytes came.
    #[inline]
    pub(super) fn received(&self, bytes: usize) {
        self.manager.stats().add(HttpStat::DownstreamCxRxBytesTotal, bytes as u64);
        if let Some(log) = &self.log {
            log.received.set(log.received.get() + bytes as u64);
        }
    }

    /// This many went.
    #[inline]
    pub(super) fn sent(&self, bytes: usize) {
        self.manager.stats().add(HttpStat::DownstreamCxTxBytesTotal, bytes as u64);
        if let Some(log) = &self.log {
            log.sent.set(log.sent.get() + bytes as u64);
        }
    }

    /// A request could be read, or what it should be could not.
    #[inline]
    pub(super) fn read(&self, version: Option<Version>) {
        if let Some(log) = &self.log {
            match version {
                Some(version) => log.protocol.set(Some(version)),
                None => log.malformed(),
            }
        }
    }

    /// Whether it ends for what the client has sent.
    pub(super) fn is_flooded(&self) -> bool {
        self.ended_by.get() == EndedBy::UsForFlood
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
            EndedBy::Us | EndedBy::UsForFlood => stats.inc(S::DownstreamCxDestroyLocal),
            EndedBy::UsWithRequest => {
                stats.inc(S::DownstreamCxDestroyLocal);
                stats.inc(S::DownstreamCxDestroyActiveRq);
                stats.inc(S::DownstreamCxDestroyLocalActiveRq);
            }
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
