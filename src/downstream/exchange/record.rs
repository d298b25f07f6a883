//! Owns what is remembered of an exchange for stats and access log, and writing its line.

use std::time::{Duration, Instant, SystemTime};

use super::{super::timers::Passed, Exchange, Heads, attempt::Chosen};
use crate::{
    access_log::{Record, ResponseFlag, ResponseFlags},
    codec::Known,
    local_reply::LocalReply,
    stream::BodyError,
};

/// What access log and stats want to know at the end.
#[derive(Default)]
pub(super) struct Tally {
    flags: ResponseFlags,
    /// The host that was tried last, for the access log if there is one.
    pub(super) chosen: Option<Chosen>,
    /// From the request's beginning to the head of the upstream's response.
    pub(super) service_time: Option<Duration>,
    /// It is counted as done.
    pub(super) settled: bool,
    /// Something was waited for after the response had begun.
    pub(super) paused: bool,
    /// The path before it was rewritten.
    pub(super) original_path: Option<Box<[u8]>>,
    /// 0 while there is no response.
    pub(super) status: u16,
    /// Bytes of the request's body.
    pub(super) received: u64,
    /// Bytes of the response's body.
    pub(super) sent: u64,
}

// === impl Tally ===

impl Tally {
    /// The upstream's response begins.
    pub(super) fn responded(&mut self, status: u16, waited: Duration) {
        self.status = status;
        self.service_time = Some(waited);
    }

    /// How long the exchange took. A response that went out as it came in took no longer than its head:
    /// the clock need not be read again.
    pub(super) fn duration(&self, started: Instant) -> Duration {
        self.service_time.filter(|_| !self.paused).unwrap_or_else(|| started.elapsed())
    }

    /// We answer ourselves.
    pub(super) fn replied(&mut self, reply: &LocalReply) {
        if let Some(flag) = reply.flag {
            self.flags.insert(flag);
        }
        self.status = reply.status;
        tracing::debug!(target: "http", "Sending local reply with details {}", reply.details);
    }

    /// The client went before it had its answer.
    pub(super) fn client_gone(&mut self) {
        self.end(ResponseFlag::DownstreamConnectionTermination, "downstream_remote_disconnect");
    }

    /// The upstream ended the response before its end.
    pub(super) fn cut_by_upstream(&mut self, error: &BodyError) {
        let (flag, details) = match error {
            BodyError::Protocol(_) => (
                ResponseFlag::UpstreamProtocolError,
                "upstream_reset_after_response_started{protocol_error}",
            ),
            BodyError::Gone => (
                ResponseFlag::UpstreamConnectionTermination,
                "upstream_reset_after_response_started{connection_termination}",
            ),
            BodyError::Reset | BodyError::Refused => (
                ResponseFlag::UpstreamRemoteReset,
                "upstream_reset_after_response_started{remote_reset}",
            ),
        };
        self.end(flag, details);
    }

    /// One more reason why the answer is what it is.
    pub(super) fn flag(&mut self, flag: ResponseFlag) {
        self.flags.insert(flag);
    }

    /// A timeout passed after the response had begun.
    pub(super) fn cut_by_timeout(&mut self, passed: Passed, request_done: bool) {
        let reply = LocalReply::timed_out(passed, request_done);
        if let Some(flag) = reply.flag {
            self.flags.insert(flag);
        }
        tracing::debug!(target: "http", "the exchange is cut short: {}", reply.details);
    }

    fn end(&mut self, flag: ResponseFlag, details: &'static str) {
        self.flags.insert(flag);
        tracing::debug!(target: "http", "the exchange is cut short: {details}");
    }
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Writes the access log.
    pub(super) fn log(&self, elapsed: Duration) {
        let Heads { request, .. } = &*self.heads;
        let tally = &self.tally;
        let record = Record {
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            method: request.method.as_str().as_bytes(),
            path: tally.original_path.as_deref().unwrap_or(request.path()),
            protocol: request.version.as_str(),
            status: tally.status,
            flags: tally.flags,
            received: tally.received,
            sent: tally.sent,
            duration: elapsed,
            service_time: tally.service_time,
            forwarded_for: request.headers.get(Known::XForwardedFor),
            user_agent: request.headers.get(Known::UserAgent),
            request_id: request.headers.get(Known::XRequestId),
            authority: Some(request.authority()).filter(|_| request.has_authority()),
            upstream: tally.chosen.as_ref().map(|chosen| chosen.host().address_text.as_str()),
        };
        self.worker.with_line(|line| {
            record.write_default(line);
            let sinks = self.manager.log_sinks().iter();
            sinks.for_each(|sink| self.worker.access_log.write(*sink, line));
        });
    }
}
