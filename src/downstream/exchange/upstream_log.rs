//! Owns the router's own log, with a line for each try, and lines that are written while things go on.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{super::timers::Passed, Exchange, beside::Beside, failure::Failure, record::Tally};
use crate::{
    access_log::{Record, ResponseFlag, ResponseFlags},
    codec::{Known, ResponseHead, Version},
    format::{AccessLogType, StreamInfo, UpstreamInfo},
    stream::{RequestSource, ResponseSink, WireBytes},
    worker::Deadline,
};

/// What is remembered of a try for its line.
pub(super) struct Trying {
    began: Instant,
    /// The host's answer as it came.
    response: ResponseHead,
    answered: Option<Instant>,
    flags: ResponseFlags,
    /// Bytes of the answer's body.
    received: u64,
    /// Bytes of the request's.
    sent: u64,
}

/// Lines that are written again and again.
#[derive(Default)]
pub(super) struct Lines {
    downstream: Option<(Duration, Deadline)>,
    upstream: Option<(Duration, Deadline)>,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Lines in between are due from now on, where there are to be any.
    #[inline]
    pub(super) fn begin_lines(&mut self) {
        let every = self.manager.config.logged.every;
        if every.is_some()
            && let Some(told) = &mut self.tally.told
        {
            told.lines.downstream = every.map(|every| (every, self.worker.deadlines.after(every)));
        }
    }

    /// A try begins.
    #[inline]
    pub(super) fn begin_upstream_log(&mut self) {
        if self.manager.upstream_logs().is_empty() {
            return;
        }
        if let Some(told) = &mut self.tally.told {
            told.connection = None;
            told.transport_failure.clear();
            told.trying = Some(Box::new(Trying::new()));
            let every = self.manager.router().upstream_log_interval;
            told.lines.upstream = every.map(|every| (every, self.worker.deadlines.after(every)));
        }
    }

    /// A try has its connection.
    #[inline]
    pub(super) fn log_pool_ready(&self) {
        if self.manager.router().logs_upstream_streams {
            self.log_upstream(AccessLogType::UpstreamPoolReady);
        }
    }

    /// A try is over.
    #[inline]
    pub(super) fn end_upstream_log(&mut self, done: &Result<(), Failure>) {
        let Some(told) = &mut self.tally.told else { return };
        let Some(trying) = &mut told.trying else { return };
        if let Err(failure) = done {
            if let Failure::Slow(_) = failure {
                // It goes on, beside others.
                return;
            }
            if let Failure::Reset(reset) = failure {
                told.transport_failure = reset.transport_failure().unwrap_or_default();
            }
            trying.flags = flags_of(failure, self.tally.flags);
        }
        self.log_upstream(AccessLogType::UpstreamEnd);
        if let Some(told) = &mut self.tally.told {
            told.trying = None;
            told.lines.upstream = None;
        }
    }

    /// A try beside others is over, and its answer nobody's.
    pub(super) fn log_beside(&mut self, beside: &mut Beside, wire: (WireBytes, WireBytes)) {
        let Some(mut trying) = beside.trying.take() else { return };
        (trying.received, trying.sent) = (wire.0.body, wire.1.body);
        if beside.told_slow {
            trying.flags.insert(ResponseFlag::UpstreamRequestTimeout);
        }
        let info = StreamInfo {
            upstream: Some(UpstreamInfo::of(beside.chosen.host(), beside.connection.as_ref())),
            ..self.info(AccessLogType::UpstreamEnd)
        };
        self.write_upstream(&trying, info);
    }

    fn log_upstream(&self, log_type: AccessLogType) {
        let trying = self.tally.told.as_ref().and_then(|told| told.trying.as_ref());
        if let Some(trying) = trying {
            self.write_upstream(trying, self.info(log_type));
        }
    }

    /// Writes of a try what `info` says of the exchange, but for what is the try's own.
    ///
    /// Observed: Envoy 1.40.
    fn write_upstream(&self, trying: &Trying, info: StreamInfo<'_>) {
        let connection = info.upstream.and_then(|upstream| upstream.connection);
        let protocol = connection.and_then(|connection| connection.protocol);
        let (began, elapsed) = (trying.began, trying.began.elapsed());
        let timing = info.timing.map(|timing| crate::format::Timing {
            request_received: None,
            response_begun: trying.answered,
            response_sending: None,
            response_sent: None,
            ..*timing
        });
        let last = info.attempted.len().saturating_sub(1);
        let info = StreamInfo {
            response: Some(&trying.response).filter(|response| response.status > 0),
            started: Some(began),
            elapsed,
            timing: timing.as_ref(),
            status: trying.response.status,
            flags: trying.flags,
            details: "",
            protocol,
            received: trying.received,
            sent: trying.sent,
            virtual_cluster: "",
            attempts: 0,
            attempted: match connection {
                Some(_) => info.attempted.get(last..).unwrap_or_default(),
                None => &[],
            },
            ..info
        };
        for log in self.manager.upstream_logs() {
            let default = |line: &mut Vec<u8>| record(&info).write_default(line);
            log.write(self.worker, &info, self.is_health_check(), default);
        }
    }

    /// Writes the lines that are due while things go on.
    #[inline]
    pub(super) fn poll_lines<Q: RequestSource, P: ResponseSink>(
        &mut self,
        cx: &mut Context<'_>,
        (source, sink): (&Q, &P),
        upstream: impl FnOnce() -> (WireBytes, WireBytes),
    ) {
        let Some(told) = &mut self.tally.told else { return };
        if told.lines.downstream.is_none() && told.lines.upstream.is_none() {
            return;
        }
        let (down, up) = (due(&mut told.lines.downstream, cx), due(&mut told.lines.upstream, cx));
        if !down && !up {
            return;
        }
        let before = told.wire;
        let (received, sent) = upstream();
        told.wire.upstream_received += received;
        told.wire.upstream_sent += sent;
        (told.wire.received, told.wire.sent) = (source.wire(), sink.wire());
        (self.tally.received, self.tally.sent) = (source.received(), sink.sent());
        if let Some(trying) = &mut told.trying {
            (trying.received, trying.sent) = (received.body, sent.body);
        }
        if down {
            self.log(AccessLogType::DownstreamPeriodic);
        }
        if up {
            self.log_upstream(AccessLogType::UpstreamPeriodic);
        }
        if let Some(told) = &mut self.tally.told {
            told.wire = before;
        }
    }
}

/// Whether a line is due; the next is waited for then.
fn due(line: &mut Option<(Duration, Deadline)>, cx: &mut Context<'_>) -> bool {
    let Some((every, deadline)) = line else { return false };
    if deadline.poll_passed(cx).is_pending() {
        return false;
    }
    deadline.arm(*every);
    let _: Poll<()> = deadline.poll_passed(cx);
    true
}

/// Why a try came to nothing, as its line has it. Observed: Envoy 1.40.
fn flags_of(failure: &Failure, of_exchange: ResponseFlags) -> ResponseFlags {
    let mut flags = ResponseFlags::default();
    match failure {
        Failure::Stale => flags.insert(ResponseFlag::UpstreamConnectionTermination),
        Failure::Reset(reset) => flags.insert(reset.reason().1),
        Failure::TimedOut(Passed::Try | Passed::TryIdle) => {
            flags.insert(ResponseFlag::UpstreamRequestTimeout);
        }
        Failure::Cut => {
            let own = [
                ResponseFlag::UpstreamProtocolError,
                ResponseFlag::UpstreamConnectionTermination,
                ResponseFlag::UpstreamRemoteReset,
            ];
            let own = own.into_iter().filter(|flag| of_exchange.contains(*flag));
            own.for_each(|flag| flags.insert(flag));
        }
        _ => {}
    }
    flags
}

/// Envoy's default line of a try.
fn record<'a>(info: &StreamInfo<'a>) -> Record<'a> {
    let request = info.request;
    let header = |known| request.and_then(|request| request.headers.get(known));
    Record {
        started: info.start_time(),
        method: request.map_or(b"", |request| request.method.as_str().as_bytes()),
        path: header(Known::XEnvoyOriginalPath)
            .or(request.map(|request| request.path()))
            .unwrap_or_default(),
        protocol: info.protocol.map_or("-", Version::as_str),
        status: info.status,
        flags: info.flags,
        received: info.received,
        sent: info.sent,
        duration: info.elapsed,
        forwarded_for: header(Known::XForwardedFor),
        user_agent: header(Known::UserAgent),
        request_id: header(Known::XRequestId),
        authority: request.map(|request| request.authority()),
        upstream: info.upstream.map(|upstream| upstream.address),
        service_time: None,
    }
}

// === impl Trying ===

impl Trying {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            response: ResponseHead::default(),
            answered: None,
            flags: ResponseFlags::default(),
            received: 0,
            sent: 0,
        }
    }

    /// The host's answer is here.
    pub(super) fn answered(&mut self, head: &ResponseHead) {
        self.answered = Some(Instant::now());
        self.response = head.clone();
    }

    /// So much of the bodies there was.
    pub(super) fn carried(&mut self, received: u64, sent: u64) {
        (self.received, self.sent) = (received, sent);
    }
}

// === impl Tally ===

impl Tally {
    /// The host's answer is here.
    #[inline]
    pub(super) fn host_answered(&mut self, head: &ResponseHead) {
        if let Some(trying) = self.told.as_mut().and_then(|told| told.trying.as_mut()) {
            trying.answered(head);
        }
    }
}
