//! Owns what is counted of one connection to the admin port.

use std::{cell::Cell, sync::Arc, time::Instant};

use understudy_actors::stats::{Group, HttpStat};

/// A connection; counted as active until it is dropped.
pub(super) struct Present {
    http: Arc<Group<HttpStat>>,
    since: Instant,
    spoken: Cell<Option<Spoken>>,
    peer_left: Cell<bool>,
    we_left: Cell<bool>,
    with_request: Cell<bool>,
}

/// What a connection speaks.
#[derive(Clone, Copy)]
pub(super) enum Spoken {
    Http1,
    Http2,
}

// === impl Present ===

impl Present {
    pub(super) fn arrive(http: Arc<Group<HttpStat>>) -> Self {
        http.add(HttpStat::DownstreamCxTotal, 1);
        http.shift(HttpStat::DownstreamCxActive, 1);
        http.set(HttpStat::DownstreamCxRxBytesBuffered, 0);
        let [peer_left, we_left, with_request] = [(); 3].map(|()| Cell::new(false));
        let (since, spoken) = (Instant::now(), Cell::new(None));
        Self { http, since, spoken, peer_left, we_left, with_request }
    }

    pub(super) fn speaks(&self, spoken: Spoken) {
        let (total, active) = spoken.stats();
        self.http.add(total, 1);
        self.http.shift(active, 1);
        self.spoken.set(Some(spoken));
    }

    /// Bytes came; none are the client's end.
    pub(super) fn heard(&self, bytes: usize) {
        self.http.add(HttpStat::DownstreamCxRxBytesTotal, bytes as u64);
        self.peer_left.set(bytes == 0 && !self.we_left.get());
    }

    /// We end it; that the client does so too comes later.
    pub(super) fn leave(&self) {
        self.we_left.set(true);
    }

    /// It ends while a request is on its way.
    pub(super) fn cut(&self) {
        self.with_request.set(true);
    }

    pub(super) fn said(&self, bytes: usize) {
        self.http.add(HttpStat::DownstreamCxTxBytesTotal, bytes as u64);
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        use HttpStat as S;
        let (end, with_request) = match self.peer_left.get() {
            true => (S::DownstreamCxDestroyRemote, S::DownstreamCxDestroyRemoteActiveRq),
            false => (S::DownstreamCxDestroyLocal, S::DownstreamCxDestroyLocalActiveRq),
        };
        self.http.add(end, 1);
        if self.with_request.get() {
            self.http.add(with_request, 1);
            self.http.add(S::DownstreamCxDestroyActiveRq, 1);
        }
        self.http.add(HttpStat::DownstreamCxDestroy, 1);
        self.http.shift(HttpStat::DownstreamCxActive, -1);
        if let Some(spoken) = self.spoken.get() {
            self.http.shift(spoken.stats().1, -1);
        }
        let ms = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.http.record(HttpStat::DownstreamCxLengthMs, ms);
    }
}

// === impl Spoken ===

impl Spoken {
    /// Its counter, and its gauge.
    fn stats(self) -> (HttpStat, HttpStat) {
        use HttpStat as S;
        match self {
            Spoken::Http1 => (S::DownstreamCxHttp1Total, S::DownstreamCxHttp1Active),
            Spoken::Http2 => (S::DownstreamCxHttp2Total, S::DownstreamCxHttp2Active),
        }
    }
}
