//! Owns a listener's access log: a line for each connection, when it is over.

use std::{
    cell::Cell,
    rc::Rc,
    sync::Arc,
    time::{Instant, SystemTime},
};

use understudy_actors::address::Address;

use super::{exchange::Peer, logs::Log, manager::Manager, serve::Worker};
use crate::{
    access_log::{Record, ResponseFlag, ResponseFlags},
    codec::Version,
    config::model::listener::FilterChainInfo,
    format::StreamInfo,
    listener::{Found, Proxied},
    tls::{Fingerprints, Session},
    worker::next_connection_id,
};

/// What is written of a connection at its end, which is its drop.
pub(super) struct ConnectionLog {
    worker: Rc<Worker>,
    manager: Rc<Manager>,
    peer: Peer,
    started: Instant,
    pub(super) received: Cell<u64>,
    pub(super) sent: Cell<u64>,
    pub(super) protocol: Cell<Option<Version>>,
    pub(super) flags: Cell<ResponseFlags>,
}

/// A connection that a listener filter has ended, that no filter chain takes, or whose handshake came to nothing.
pub(super) struct Unwelcome {
    pub(super) started: Instant,
    pub(super) peer: Address,
    pub(super) local: Address,
    pub(super) proxied: Option<Rc<Proxied>>,
    pub(super) server_name: Option<Rc<str>>,
    pub(super) fingerprints: Option<Arc<Fingerprints>>,
    /// What is known of its handshake.
    pub(super) session: Option<Box<Session>>,
    /// Why; empty where the client has gone, or has taken too long.
    pub(super) reason: String,
    /// No filter chain takes it.
    pub(super) unmatched: bool,
}

// === impl Unwelcome ===

impl Unwelcome {
    /// One that no filter chain has had. Observed: Envoy 1.40 tells what listener filters have found out of it.
    pub(super) fn of(found: Found, started: Instant, unmatched: bool) -> Self {
        let Found { peer, local, proxied, server_name, fingerprints, not_tls, .. } = found;
        let (proxied, server_name) = (proxied.map(Rc::new), server_name.map(Rc::from));
        let reason = not_tls.map(|begins| begins.to_string()).unwrap_or_default();
        let session = None;
        Self {
            started,
            peer,
            local,
            proxied,
            server_name,
            fingerprints,
            session,
            reason,
            unmatched,
        }
    }

    /// Writes of it.
    pub(super) fn log(&self, worker: &Worker, logs: &[Log], filter_chain: &FilterChainInfo) {
        if logs.is_empty() {
            return;
        }
        let elapsed = self.started.elapsed();
        let mut flags = ResponseFlags::default();
        if self.unmatched {
            flags.insert(ResponseFlag::NoRouteFound);
        }
        let info = StreamInfo {
            started: Some(self.started),
            elapsed,
            flags,
            details: if self.unmatched { "filter_chain_not_found" } else { "" },
            peer: Some(self.peer),
            local: Some(self.local),
            proxied: self.proxied.as_deref(),
            connection_id: next_connection_id(),
            requested_server_name: self.server_name.as_deref().unwrap_or_default(),
            fingerprints: self.fingerprints.as_deref(),
            tls: self.session.as_deref(),
            downstream_failure: &self.reason,
            filter_chain: Some(filter_chain),
            ..StreamInfo::default()
        };
        let record = Record {
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            duration: elapsed,
            flags,
            ..Record::of_connection()
        };
        for log in logs {
            log.write(worker, &info, false, |line| record.write_default(line));
        }
    }
}

// === impl ConnectionLog ===

impl ConnectionLog {
    /// A connection begins; none where nobody writes of it. Boxed: mostly nobody does.
    pub(super) fn begin(
        worker: &Rc<Worker>,
        manager: &Rc<Manager>,
        peer: &Peer,
    ) -> Option<Box<Self>> {
        let logged = !manager.listener_logs().is_empty();
        logged.then(|| {
            Box::new(Self {
                worker: worker.clone(),
                manager: manager.clone(),
                peer: peer.clone(),
                started: Instant::now(),
                received: Cell::new(0),
                sent: Cell::new(0),
                protocol: Cell::new(None),
                flags: Cell::default(),
            })
        })
    }

    /// What came could not be read. Observed: Envoy 1.40 flags the connection, too.
    pub(super) fn malformed(&self) {
        let mut flags = self.flags.get();
        flags.insert(ResponseFlag::DownstreamProtocolError);
        self.flags.set(flags);
    }
}

impl Drop for ConnectionLog {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let (received, sent) = (self.received.get(), self.sent.get());
        let not_tls = self.peer.not_tls.map(|begins| begins.to_string()).unwrap_or_default();
        let info = StreamInfo {
            started: Some(self.started),
            elapsed,
            flags: self.flags.get(),
            protocol: self.protocol.get(),
            received,
            sent,
            peer: Some(self.peer.remote),
            local: Some(self.peer.local),
            proxied: self.peer.proxied.as_deref(),
            connection_id: self.peer.id,
            tls: self.peer.tls.as_deref(),
            requested_server_name: self.peer.server_name.as_deref().unwrap_or_default(),
            fingerprints: self.peer.fingerprints(),
            downstream_failure: &not_tls,
            filter_chain: Some(&self.manager.config.filter_chain),
            ..StreamInfo::default()
        };
        let record = Record {
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            protocol: info.protocol.map_or("-", Version::as_str),
            flags: info.flags,
            received,
            sent,
            duration: elapsed,
            ..Record::of_connection()
        };
        for log in self.manager.listener_logs() {
            log.write(&self.worker, &info, false, |line| record.write_default(line));
        }
    }
}
