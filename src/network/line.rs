//! Owns what is written of a connection that neither HTTP nor a host had.

use std::time::{Instant, SystemTime};

use crate::{
    access_log::{Record, ResponseFlags},
    config::model::listener::FilterChainInfo,
    downstream::{Arrival, logs::Log, serve::Worker},
    format::StreamInfo,
    worker::next_connection_id,
};

/// A line of a log, at the end of a connection.
pub(super) struct Line<'a> {
    pub(super) started: Instant,
    pub(super) received: u64,
    pub(super) sent: u64,
    pub(super) flags: ResponseFlags,
    /// `%RESPONSE_CODE_DETAILS%`
    pub(super) details: &'a str,
    /// `%CONNECTION_TERMINATION_DETAILS%`
    pub(super) termination_details: &'a str,
}

// === impl Line ===

impl Line<'_> {
    /// One of a connection that begins.
    pub(super) fn begin() -> Self {
        Self {
            started: Instant::now(),
            received: 0,
            sent: 0,
            flags: ResponseFlags::default(),
            details: "",
            termination_details: "",
        }
    }

    pub(super) fn write(
        &self,
        worker: &Worker,
        arrival: &Arrival,
        filter_chain: &FilterChainInfo,
        logs: &[Log],
    ) {
        if logs.is_empty() {
            return;
        }
        let (elapsed, flags) = (self.started.elapsed(), self.flags);
        let (received, sent) = (self.received, self.sent);
        let info = StreamInfo {
            started: Some(self.started),
            elapsed,
            flags,
            details: self.details,
            termination_details: self.termination_details,
            received,
            sent,
            peer: Some(arrival.peer),
            local: Some(arrival.local),
            proxied: arrival.proxied.as_deref(),
            dynamic_metadata: arrival.proxied.as_ref().map(|proxied| &proxied.metadata),
            connection_id: next_connection_id(),
            tls: arrival.tls.as_deref(),
            requested_server_name: arrival.server_name.as_deref().unwrap_or_default(),
            fingerprints: arrival.fingerprints.as_deref(),
            filter_chain: Some(filter_chain),
            ..StreamInfo::default()
        };
        let record = Record {
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            flags,
            received,
            sent,
            duration: elapsed,
            ..Record::of_connection()
        };
        for log in logs {
            log.write(worker, &info, false, |line| record.write_default(line));
        }
    }
}
