//! Owns what is counted and logged of one exchange.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use understudy_actors::{address::Address, stats::HttpStat};

use super::Clerk;
use crate::{
    access_log::{Record, ResponseFlag, ResponseFlags},
    codec::{Known, RequestHead, Version},
};

/// An exchange; its end is its drop: the line of the access log is written there.
pub(super) struct Story {
    clerk: Arc<Clerk>,
    started: SystemTime,
    clock: Instant,
    peer: Address,
    method: &'static str,
    target: Vec<u8>,
    version: Version,
    forwarded_for: Option<Vec<u8>>,
    agent: Option<Vec<u8>>,
    request_id: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    flags: ResponseFlags,
    status: u16,
    /// Bytes of the request's body.
    pub(super) received: u64,
    /// Bytes of the response's body.
    pub(super) sent: u64,
}

// === impl Story ===

impl Story {
    /// A request begins; its head is empty if it could not be read.
    pub(super) fn begin(clerk: &Arc<Clerk>, peer: Address, head: &RequestHead) -> Self {
        let total = match head.version {
            Version::Http2 => HttpStat::DownstreamRqHttp2Total,
            Version::Http10 | Version::Http11 => HttpStat::DownstreamRqHttp1Total,
        };
        clerk.http.add(total, 1);
        clerk.http.add(HttpStat::DownstreamRqTotal, 1);
        clerk.http.shift(HttpStat::DownstreamRqActive, 1);
        let header = |known| head.headers.get(known).map(<[u8]>::to_vec);
        Self {
            clerk: clerk.clone(),
            started: SystemTime::now(),
            clock: Instant::now(),
            peer,
            method: head.method.as_str(),
            target: head.path().to_vec(),
            version: head.version,
            forwarded_for: header(Known::XForwardedFor),
            agent: header(Known::UserAgent),
            request_id: header(Known::XRequestId),
            authority: head.has_authority().then(|| head.authority().to_vec()),
            flags: ResponseFlags::default(),
            status: 0,
            received: 0,
            sent: 0,
        }
    }

    /// The request goes on: its path is in its one form, and it is known who sends it. Observed: Envoy 1.40
    /// says neither of a request that it refuses before.
    pub(super) fn admit(&mut self, head: &RequestHead) {
        self.target = head.path().to_vec();
        let own = self.clerk.desk.facts.own_address;
        // Who comes by a path has no address.
        let Some(ip) = self.peer.ip() else { return };
        let client = if ip.is_loopback() { own } else { ip };
        let before = self.forwarded_for.take().unwrap_or_default();
        let comma = if before.is_empty() { "" } else { "," };
        let all = [&before, comma.as_bytes(), client.to_string().as_bytes()].concat();
        self.forwarded_for = Some(all);
    }

    /// An answer begins; an interim one (1xx) as well.
    pub(super) fn answer(&mut self, status: u16) {
        self.status = status;
        self.clerk.count(status);
    }

    /// Why the answer is not what was asked for, or why there is none.
    pub(super) fn flag(&mut self, flag: ResponseFlag) {
        self.flags.insert(flag);
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        let duration = self.clock.elapsed();
        let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.clerk.http.shift(HttpStat::DownstreamRqActive, -1);
        self.clerk.http.record(HttpStat::DownstreamRqTime, ms);
        let Some((writer, sink)) = &self.clerk.access_log else { return };
        let mut line = Vec::with_capacity(256);
        let record = Record {
            started: self.started,
            method: self.method.as_bytes(),
            path: &self.target,
            protocol: self.version.as_str(),
            status: self.status,
            flags: self.flags,
            received: self.received,
            sent: self.sent,
            duration,
            service_time: None,
            forwarded_for: self.forwarded_for.as_deref(),
            user_agent: self.agent.as_deref(),
            request_id: self.request_id.as_deref(),
            authority: self.authority.as_deref(),
            upstream: None,
        };
        record.write_default(&mut line);
        writer.write(sink, &line);
    }
}
