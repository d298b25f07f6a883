//! Owns the life of the connection: waiting idle without a buffer, reading heads, ending well.

use std::{
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use understudy_actors::{
    seams::{Control, Drain},
    stats::HttpStat,
};

use super::{request::Http1Request, response::Http1Response};
use crate::{
    codec::{
        KeptNames, Known, RequestHead, Scheme, Switch, Version,
        http1::{
            Framing, Limits,
            request::{Accepts, Parsed, RequestError, parse, too_large},
            wire::fields_read,
        },
        http2::{Preface, preface},
    },
    config::model::{http::CodecType, paths::Underscores},
    downstream::{
        arrival::Arrival,
        exchange::{Ended, Exchange, Heads, Loan, Peer},
        http2,
        manager::Manager,
        opened::{EndedBy, Opened, Protocol},
        serve::Worker,
        underscores,
    },
    format::counts_wire,
    local_reply::LocalReply,
    matcher::TextMatcher,
    stream::{BodySize, WireBytes},
    transport::Stream,
    worker::{Buffer, Deadline, Tick, deadline::FINE},
};

/// Bytes of a client's that are thrown away while we wait for it to read our last answer.
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// `https` on a connection that is not encrypted.
const FORBIDDEN_SCHEME: RequestError =
    RequestError { status: 403, body: "Forbidden", details: "http1.invalid_scheme" };

/// Takes protocols out of `upgrade` that the client is not to have. Source: `ignore_http_11_upgrade`.
#[cold]
fn ignore_upgrades(head: &mut RequestHead, ignored: &[TextMatcher]) {
    let Some(upgrade) = head.headers.get(Known::Upgrade) else { return };
    let protocols = upgrade.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let wanted = |protocol: &&[u8]| !ignored.iter().any(|matcher| matcher.matches(protocol));
    let left = protocols.filter(wanted).collect::<Vec<_>>().join(&b", "[..]);
    match left.is_empty() {
        true => head.headers.remove(Known::Upgrade),
        false => head.headers.set(Known::Upgrade, &left),
    }
    head.switch = Switch::of(head);
}

/// How long a connection keeps the room for an exchange when no request follows: the shortest wait that
/// costs no timer.
const WARM_WAIT: Duration = FINE;

/// One client connection.
struct Connection {
    worker: Rc<Worker>,
    manager: Rc<Manager>,
    stream: Stream,
    peer: Peer,
    control: Rc<Control>,
    input: Option<Buffer>,
    deadline: Deadline,
    /// When the last request ended.
    idle_since: Tick,
    /// A head has begun to come.
    begun: bool,
    requests: u32,
    opened: Opened,
    /// HTTP/2 may still be what the first bytes say.
    undecided: bool,
}

/// What comes after waiting.
enum Next {
    Request(Loan, Parsed),
    /// Nothing has come for a while.
    Nothing,
    /// Boxed: what comes next is moved with every request.
    Refuse(Loan, Box<LocalReply>),
    Http2,
    Close,
}

/// Serves a connection to its end; hands it on if it turns out to be HTTP/2.
pub(in crate::downstream) async fn serve(
    worker: Rc<Worker>,
    manager: Rc<Manager>,
    arrival: Arrival,
    control: Rc<Control>,
) {
    let peer = Peer::of(&arrival);
    // What was agreed on in a handshake needs no guessing.
    let agreed = arrival.tls.as_ref().is_some_and(|tls| tls.alpn.is_some());
    let (deadline, idle_since) = (worker.deadlines.deadline(), worker.deadlines.coarse_now());
    let mut connection = Connection {
        deadline,
        opened: Opened::new(&worker, manager.clone(), &peer),
        undecided: manager.config.codec == CodecType::Auto && !agreed,
        worker,
        manager,
        stream: arrival.stream,
        peer,
        control,
        input: None,
        idle_since,
        begun: false,
        requests: 0,
    };
    if !connection.undecided {
        connection.opened.speaks(Protocol::Http1);
    }
    let mut next = connection.next().await;
    loop {
        // Boxed, so that a connection that waits is no larger than its waiting.
        next = match next {
            Next::Request(heads, parsed) => Box::pin(connection.busy(heads, parsed)).await,
            Next::Nothing => connection.next().await,
            Next::Refuse(heads, reply) => return Box::pin(connection.refuse(heads, reply)).await,
            Next::Http2 => return Box::pin(connection.turn_into_http2()).await,
            Next::Close => return,
        };
    }
}

// === impl Connection ===

impl Connection {
    /// Carries requests for as long as they follow one another. A few connections keep the room for an
    /// exchange for a while when none follows: making it anew for each request costs more than the rest
    /// of the waiting.
    async fn busy(&mut self, heads: Loan, parsed: Parsed) -> Next {
        let worker = self.worker.clone();
        let warm = worker.warm();
        let (mut heads, mut parsed) = (heads, parsed);
        loop {
            if !self.exchange(heads, parsed).await {
                return Next::Close;
            }
            if warm.is_none() {
                return Next::Nothing;
            }
            match self.next_soon().await {
                Next::Request(next_heads, next) => (heads, parsed) = (next_heads, next),
                other => return other,
            }
        }
    }

    /// Waits for the next request's head.
    async fn next(&mut self) -> Next {
        let mut heads: Option<Loan> = None;
        self.begun = self.input.is_some();
        self.arm();
        poll_fn(|cx| self.poll_next(cx, &mut heads)).await
    }

    /// The same, but gives up after [`WARM_WAIT`] without its first byte.
    async fn next_soon(&mut self) -> Next {
        let config = &self.manager.config;
        let sooner = config.idle_timeout.is_some_and(|idle| idle <= WARM_WAIT);
        if sooner || self.input.is_some() || self.opened.left().is_some() {
            return self.next().await;
        }
        let mut heads: Option<Loan> = None;
        self.begun = false;
        self.deadline.arm(WARM_WAIT);
        poll_fn(|cx| self.poll_next(cx, &mut heads)).await
    }

    /// Arms the deadline for what is awaited: another request, or the rest of a head.
    fn arm(&mut self) {
        let config = &self.manager.config;
        let left = self.opened.left();
        let idle = match self.begun {
            true => config.request_headers_timeout,
            false => config.idle_timeout.map(|idle| idle.saturating_sub(self.waited())),
        };
        self.deadline.arm_or_disarm([idle, left].into_iter().flatten().min());
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, heads: &mut Option<Loan>) -> Poll<Next> {
        loop {
            if let Some(input) = &mut self.input {
                if self.undecided {
                    match preface(input) {
                        Preface::Yes => return Poll::Ready(Next::Http2),
                        Preface::No => {
                            self.undecided = false;
                            self.opened.speaks(Protocol::Http1);
                        }
                        Preface::Perhaps => {}
                    }
                }
                if !self.undecided {
                    let (worker, config) = (&self.worker, &self.manager.config);
                    let head = heads.get_or_insert_with(|| worker.heads());
                    let limits = Limits {
                        head_bytes_max: config.request_headers_bytes_max,
                        // What is left out does not count. The bytes bound them all.
                        headers_max: match config.underscores {
                            Underscores::Allow => config.request_headers_max,
                            Underscores::Drop | Underscores::Reject => usize::MAX,
                        },
                        chunked_length: config.http1.allow_chunked_length,
                    };
                    let accepts = Accepts {
                        http_10: config.http1.accept_http_10,
                        absolute_form: config.http1.allow_absolute_url,
                    };
                    match parse(input, &limits, accepts, &mut head.request) {
                        Ok(Some(parsed)) => {
                            if let Some(keeping) = config.http1.header_case.keeping() {
                                let read = input.get(..parsed.consumed).unwrap_or_default();
                                head.request.kept = Some(Box::new(KeptNames::read(read, keeping)));
                            }
                            if counts_wire() {
                                let read = input.get(..parsed.consumed).unwrap_or_default();
                                let mut wire = WireBytes::default();
                                wire.head_received(parsed.consumed, fields_read(read));
                                head.wire = Some(Box::new(wire));
                            }
                            input.consume(parsed.consumed);
                            if input.is_empty() {
                                self.input = None;
                            }
                            let mut heads = heads.take().unwrap_or_default();
                            return Poll::Ready(match self.objection(&mut heads) {
                                None => Next::Request(heads, parsed),
                                Some(error) => Next::Refuse(heads, self.refusal(error)),
                            });
                        }
                        Ok(None) => {}
                        Err(error) => {
                            let heads = heads.take().unwrap_or_default();
                            return Poll::Ready(Next::Refuse(heads, self.refusal(error)));
                        }
                    }
                }
            } else if self.control.drain() >= Drain::WhenIdle {
                return Poll::Ready(Next::Close);
            }
            // What has come is less than a head.
            if self.input.is_some() && !self.begun {
                if !self.undecided {
                    self.opened.read(Some(Version::Http11));
                }
                self.begun = true;
                self.arm();
            }
            match self.worker.buffers.poll_read(cx, Pin::new(&mut self.stream), &mut self.input) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.opened.received(count);
                }
                Poll::Ready(_) => {
                    self.opened.ended_by(EndedBy::Client);
                    self.stream.take_leave();
                    return Poll::Ready(Next::Close);
                }
                Poll::Pending => {
                    self.control.register(cx.waker());
                    return self.deadline.poll_passed(cx).map(|()| self.waited_too_long(heads));
                }
            }
        }
    }

    /// What this connection has against a head that could be read.
    #[inline]
    fn objection(&self, heads: &mut Heads) -> Option<RequestError> {
        let config = &self.manager.config;
        if config.underscores != Underscores::Allow {
            let headers = &mut heads.request.headers;
            let checked = underscores::check_http1(headers, config.underscores, &self.worker);
            // The host has been taken out of them.
            let count = headers.len() + usize::from(heads.request.has_authority());
            if checked.is_err() || count > config.request_headers_max {
                return checked.err().or(Some(too_large("http1.too_many_headers")));
            }
        }
        if !config.http1.ignored_upgrades.is_empty() {
            ignore_upgrades(&mut heads.request, &config.http1.ignored_upgrades);
        }
        // Observed: Envoy 1.40 checks the scheme only where it is the edge.
        let edge = config.use_remote_address && config.xff_trusted_hops == 0;
        let forbidden = edge && heads.request.scheme == Scheme::Https && !self.peer.is_tls();
        forbidden.then_some(FORBIDDEN_SCHEME)
    }

    fn refusal(&self, error: RequestError) -> Box<LocalReply> {
        let stats = self.manager.stats();
        stats.inc(HttpStat::DownstreamCxProtocolError);
        Box::new(LocalReply::malformed(error))
    }

    /// For how long there has been no request.
    fn waited(&self) -> Duration {
        self.deadline.coarse_now().since(self.idle_since)
    }

    fn waited_too_long(&mut self, heads: &mut Option<Loan>) -> Next {
        let (stats, config) = (self.manager.stats(), &self.manager.config);
        if self.opened.left().is_some_and(|left| left.is_zero()) {
            stats.inc(HttpStat::DownstreamCxMaxDurationReached);
        } else if self.input.is_none() {
            if config.idle_timeout.is_none_or(|idle| self.waited() < idle) {
                return Next::Nothing;
            }
            stats.inc(HttpStat::DownstreamCxIdleTimeout);
        } else {
            stats.inc(HttpStat::DownstreamRqHeaderTimeout);
            let heads = heads.take().unwrap_or_default();
            return Next::Refuse(heads, Box::new(LocalReply::request_headers_timeout()));
        }
        Next::Close
    }

    /// Carries one request; says whether another may follow.
    async fn exchange(&mut self, mut heads: Loan, mut parsed: Parsed) -> bool {
        self.requests = self.requests.saturating_add(1);
        let close = self.closes_after(parsed);
        let Self { worker, manager, stream, peer, control, input, deadline, opened, .. } = self;
        manager.stats().inc(HttpStat::DownstreamRqHttp1Total);
        opened.read(Some(heads.request.version));
        let request = &mut heads.request;
        if request.version == Version::Http10 && !request.has_authority() {
            let default = &manager.config.http1.default_host_for_http_10;
            if !default.is_empty() {
                request.set_authority(default.as_bytes());
            }
        }
        let (version, to_head) = (request.version, request.is_head());
        if request.switch != Switch::Nothing {
            parsed.framing = Framing::Tunnel;
        }
        let body = match parsed.framing {
            Framing::None | Framing::Length(0) => BodySize::None,
            Framing::Length(length) => BodySize::Known(length),
            Framing::Chunked | Framing::UntilClose => BodySize::Unknown,
            Framing::Tunnel => BodySize::Tunnel,
        };
        let (read, write) = stream.split();
        let wire = heads.wire.take();
        let mut source = Http1Request::new(read, input, worker, opened, parsed, wire);
        let mut sink = Http1Response::new(write, worker, opened, version, to_head, control, close);
        let ended = {
            let mut exchange = Exchange::begin(worker, manager, peer, deadline, &mut heads, body);
            let outcome = exchange.carry(&mut source, &mut sink).await;
            exchange.conclude(outcome, &mut source, &mut sink).await
        };
        let (closed, gone) = (sink.closes(), source.is_gone());
        worker.keep(heads);
        self.idle_since = deadline.coarse_now();
        let linger = manager.config.delayed_close_timeout;
        match ended {
            Ended::Complete if !closed => return true,
            Ended::Complete => self.end(None).await,
            Ended::RequestUnfinished => self.end(linger).await,
            Ended::Cut if gone => self.opened.ended_by(EndedBy::ClientWithRequest),
            // What was sent before is the client's: a reset might lose it.
            Ended::Cut | Ended::TunnelEnded => self.end(linger).await,
        }
        false
    }

    /// Answers a request that could not be read, and ends the connection.
    async fn refuse(&mut self, mut heads: Loan, reply: Box<LocalReply>) {
        let Self { worker, manager, stream, peer, control, deadline, input, opened, .. } = self;
        manager.stats().inc(HttpStat::DownstreamRqHttp1Total);
        opened.read(None);
        let (_, write) = stream.split();
        let version = Version::Http11;
        let mut sink = Http1Response::new(write, worker, opened, version, false, control, true);
        // What was read of it says nothing of the request. Observed: Envoy 1.40, whose log has no path.
        heads.request.clear();
        let read = input.as_ref().map_or(0, |input| input.len()) as u64;
        let wire = || Box::new(WireBytes { all: read, ..WireBytes::default() });
        heads.wire = heads.wire.take().or_else(|| counts_wire().then(wire));
        let unread = BodySize::Unknown;
        let mut exchange = Exchange::begin(worker, manager, peer, deadline, &mut heads, unread);
        exchange.refuse(reply, &mut sink).await;
        drop(exchange);
        worker.keep(heads);
        self.end(self.manager.config.delayed_close_timeout).await;
    }

    /// Whether this answer is the connection's last, as far as can be said before it.
    fn closes_after(&self, parsed: Parsed) -> bool {
        let (stats, config) = (self.manager.stats(), &self.manager.config);
        let max = config.max_requests_per_connection;
        let worn = max > 0 && self.requests >= max;
        if worn {
            stats.inc(HttpStat::DownstreamCxMaxRequestsReached);
        }
        !parsed.keep_alive || worn
    }

    /// Ends our direction, and waits until the client has read what we said: closing a socket with
    /// unread input would reset it, and the answer might be lost (RFC 9112, 9.6).
    async fn end(&mut self, linger: Option<Duration>) {
        self.input = None;
        // The client may have gone first; there is nothing to do about it then.
        let _ = self.stream.shutdown().await;
        let Some(linger) = linger else { return };
        self.deadline.arm(linger);
        let mut thrown_away = 0;
        poll_fn(|cx| {
            let mut waste = [0; 4096];
            loop {
                let mut into = ReadBuf::new(&mut waste);
                match Pin::new(&mut self.stream).poll_read(cx, &mut into) {
                    Poll::Ready(Ok(())) if !into.filled().is_empty() => {
                        thrown_away += into.filled().len();
                        if thrown_away > LINGER_BYTES_MAX {
                            return Poll::Ready(());
                        }
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            self.deadline.poll_passed(cx).map(|()| {
                self.manager.stats().inc(HttpStat::DownstreamCxDelayedCloseTimeout);
            })
        })
        .await;
    }

    async fn turn_into_http2(mut self) {
        let first = self.input.take().map(|input| input.to_vec()).unwrap_or_default();
        let Self { worker, manager, stream, peer, control, opened, .. } = self;
        http2::serve(worker, manager, stream, peer, control, opened, first).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the future that `begin` would make.
    fn room<A, B, C, F>(_begin: impl FnOnce(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_waiting_connection_is_small_and_a_request_on_its_way_little_more() {
        let waits = size_of::<Connection>()
            + room(|connection: &'static mut Connection, (), ()| connection.next());
        let carries = room(|connection: &'static mut Connection, heads, parsed| {
            connection.busy(heads, parsed)
        });
        assert!(waits <= 400, "{waits} bytes");
        assert!(carries <= 1280, "{carries} bytes");
    }
}
