//! Owns what is remembered of an exchange for stats and access log, and writing its line.

use std::time::{Duration, Instant, SystemTime};

use understudy_actors::{snapshot::Host, stats::VirtualStat};

use super::{
    super::{apart::CountedApart, timers::Passed},
    Exchange, Heads,
    attempt::Chosen,
    told::{Told, Way},
    trouble::Trouble,
};
use crate::{
    access_log::{Record, ResponseFlag, ResponseFlags},
    codec::{Known, Version},
    format::{AccessLogType, Attempted, UpstreamConnection},
    local_reply::LocalReply,
    stream::{BodyError, Reset},
    upstream::{Cluster, connect::Life},
};

/// What access log and stats want to know at the end.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) flags: ResponseFlags,
    /// The route.
    pub(super) way: Option<Way>,
    /// What formats may ask for, where there are any.
    pub(super) told: Option<Box<Told>>,
    /// What went wrong, once something does.
    pub(super) trouble: Option<Box<Trouble>>,
    /// The host that was tried last, for the access log if there is one.
    pub(super) chosen: Option<Chosen>,
    /// From the request's beginning to the head of the upstream's response.
    pub(super) service_time: Option<Duration>,
    /// What counts it besides its cluster.
    pub(super) apart: Option<Box<CountedApart>>,
    /// It is counted as done.
    pub(super) settled: bool,
    /// The host that was tried last has a connection for the request.
    pub(super) reached: bool,
    /// Something was waited for after the response had begun.
    pub(super) paused: bool,
    /// 0 while there is no response.
    pub(super) status: u16,
    /// Bytes of the request's body.
    pub(super) received: u64,
    /// Bytes of the response's body.
    pub(super) sent: u64,
}

// === impl Tally ===

impl Tally {
    /// An exchange begins; there is nothing of another here. What formats may ask for is remembered if
    /// `tells`.
    #[inline]
    pub(super) fn begin(&mut self, tells: bool, request_done: bool, started: Instant) {
        if tells {
            let mut told = Box::new(Told::default());
            told.timing.request_received = request_done.then_some(started);
            self.told = Some(told);
        }
    }

    /// The request goes to this cluster.
    #[inline]
    pub(super) fn goes_to(&mut self, cluster: &Cluster) {
        if let Some(told) = &mut self.told {
            told.cluster = Some(cluster.current());
            told.tried = true;
        }
    }

    /// A host is tried.
    #[inline]
    pub(super) fn tries(&mut self, chosen: &Chosen, logged: bool) {
        self.reached = false;
        if let Some(told) = &mut self.told {
            told.timing.pool_asked = Some(Instant::now());
        }
        if logged || self.told.is_some() {
            self.chosen = Some(chosen.clone());
        }
    }

    /// A connection is at hand.
    #[inline]
    pub(super) fn connected(&mut self, host: &Host, life: &Life, protocol: Version) {
        self.reached = true;
        if let Some(told) = &mut self.told {
            told.attempted.push(Attempted {
                address: host.address_text.clone(),
                hostname: host.endpoint.hostname.clone(),
                connection_id: life.id(),
            });
            let (local, remote, id) = (life.local(), life.remote(), life.id());
            let (protocol, tls) = (Some(protocol), life.tls().cloned());
            told.connection = Some(UpstreamConnection { local, remote, id, protocol, tls });
            told.timing.pool_ready = Some(Instant::now());
        }
    }

    /// The host was lost before it answered.
    pub(super) fn lost(&mut self, reset: &Reset) {
        if let Some(told) = &mut self.told {
            told.transport_failure = reset.transport_failure().unwrap_or_default();
        }
    }

    /// The upstream's response begins.
    pub(super) fn responded(&mut self, status: u16, waited: Option<Duration>) {
        self.status = status;
        self.service_time = waited;
        if let Some(told) = &mut self.told {
            let now = Some(Instant::now());
            told.details = "via_upstream".into();
            told.timing.response_begun = now;
            told.timing.response_sending = now;
        }
    }

    /// How long the exchange took. A response that went out as it came in took no longer than its head:
    /// the clock need not be read again.
    pub(super) fn duration(&self, started: Instant) -> Duration {
        self.service_time.filter(|_| !self.paused).unwrap_or_else(|| started.elapsed())
    }

    /// A host has the request.
    #[inline]
    pub(super) fn begins_try(&self) {
        if let Some(apart) = &self.apart {
            apart.inc(VirtualStat::UpstreamRqTotal);
        }
    }

    /// We answer ourselves.
    pub(super) fn replied(&mut self, reply: &LocalReply) {
        if let Some(flag) = reply.flag {
            self.flags.insert(flag);
        }
        // Who asks for the status while the reply is made finds none. Observed: Envoy 1.40.
        self.status = 0;
        if let Some(told) = &mut self.told {
            told.details = reply.details.clone();
        }
        self.answered_by_us(reply);
        tracing::debug!(target: "http", "Sending local reply with details {}", reply.details);
    }

    /// The host answered neither with what was asked for nor with an error.
    pub(super) fn handshake_failed(&mut self) {
        const DETAILS: &str = "websocket_handshake_unsuccessful";
        if let Some(told) = &mut self.told {
            told.details = DETAILS.into();
        }
        tracing::debug!(target: "http", "{DETAILS}");
    }

    /// The client went before it had its answer.
    /// It has taken its stream back, or its whole connection.
    pub(super) fn client_gone(&mut self, reset: bool) {
        match reset {
            true => self.end(ResponseFlag::DownstreamRemoteReset, "http2.remote_reset"),
            false => self
                .end(ResponseFlag::DownstreamConnectionTermination, "downstream_remote_disconnect"),
        }
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
        self.fails(reply.details.clone());
        if let Some(told) = &mut self.told {
            told.details = reply.details;
        }
    }

    fn end(&mut self, flag: ResponseFlag, details: &'static str) {
        self.flags.insert(flag);
        if let Some(told) = &mut self.told {
            told.details = details.into();
        }
        self.fails(details.into());
        tracing::debug!(target: "http", "the exchange is cut short: {details}");
    }
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Writes the access log.
    pub(super) fn log(&mut self, log_type: AccessLogType) {
        let elapsed = self.tally.duration(self.started);
        if let Some(told) = &mut self.tally.told {
            told.elapsed = Some(elapsed);
            if self.tally.status > 0 {
                told.timing.response_sent = Some(self.started + elapsed);
            }
        }
        let (info, health_check) = (self.info(log_type), self.is_health_check());
        for log in self.manager.logs() {
            let default = |line: &mut Vec<u8>| self.record(elapsed).write_default(line);
            log.write(self.worker, &info, health_check, default);
        }
    }

    /// What Envoy's default line tells.
    fn record(&self, elapsed: Duration) -> Record<'_> {
        let Heads { request, response, .. } = &*self.heads;
        let tally = &self.tally;
        Record {
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            method: request.method.as_str().as_bytes(),
            path: request.headers.get(Known::XEnvoyOriginalPath).unwrap_or(request.path()),
            protocol: request.version.as_str(),
            status: tally.status,
            flags: tally.flags,
            received: tally.received,
            sent: tally.sent,
            duration: elapsed,
            service_time: response.headers.get(Known::XEnvoyUpstreamServiceTime),
            forwarded_for: request.headers.get(Known::XForwardedFor),
            user_agent: request.headers.get(Known::UserAgent),
            request_id: request.headers.get(Known::XRequestId),
            authority: Some(request.authority()).filter(|_| request.has_authority()),
            upstream: tally.chosen.as_ref().map(|chosen| chosen.host().address_text.as_str()),
        }
    }
}
