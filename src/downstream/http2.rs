//! Owns an HTTP/2 connection of a client: many requests at a time, each on a task of its own.

use std::{
    cell::Cell,
    future::poll_fn,
    io,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Connection, SendResponse},
};
use tokio::sync::Notify;
use understudy_actors::{
    seams::{Control, Drain},
    stats::{ClusterHttp2Stat, HttpStat},
};

use super::{
    exchange::{Ended, Exchange, Peer},
    http2_limits::{Limits, Reached},
    manager::Manager,
    opened::{EndedBy, Opened, Protocol},
    serve::Worker,
    underscores::{Refused, check_http2},
};
use crate::{
    access_log::ResponseFlag,
    codec::{HeaderBlock, Known, ResponseHead, Switch, Version, http2},
    config::model::paths::Underscores,
    format::counts_wire,
    local_reply::LocalReply,
    stream::{
        BodyError, BodySize, CountedStream, Data, Floods, Frame, RequestSource, ResponseSink, Sink,
        Source, WireBytes, Wires,
    },
    transport::Stream as Transport,
    upstream::{
        http2::{Incoming, Outgoing},
        pool::count_flood,
    },
    worker::{Meter, Metered, Outbox, keepalive::Signs},
};

/// How long the handshake (preface and SETTINGS) may take.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);

/// How long a line of the log waits for a client to take what the line is to count.
const WRITTEN_WAIT: Duration = Duration::from_secs(10);

/// What the streams of a connection share with it.
struct Streams {
    active: Cell<usize>,
    ended: Notify,
    goodbye: Cell<bool>,
}

/// Counts what a connection reads and writes.
struct DownstreamMeter {
    opened: Rc<Opened>,
    /// Told of what comes, where there is `connection_keepalive`.
    signs: Option<Rc<Signs>>,
    /// Told of all bytes, where those of streams are counted.
    wires: Option<Rc<Wires>>,
    /// Told of them, too, where frames are bounded.
    floods: Option<Box<Floods>>,
    worker: Rc<Worker>,
}

/// Serves a connection whose first bytes, already read, said HTTP/2.
pub(super) async fn serve(
    worker: Rc<Worker>,
    manager: Rc<Manager>,
    stream: Transport,
    peer: Peer,
    control: Rc<Control>,
    opened: Opened,
    first: Vec<u8>,
) {
    let opened = Rc::new(opened);
    opened.speaks(Protocol::Http2);
    opened.read(Some(Version::Http2));
    let config = &manager.config;
    let keepalive = config.http2.keepalive.as_ref();
    let signs = keepalive.map(|options| Signs::new(options, &worker.deadlines));
    let wires = counts_wire().then(Wires::of_client);
    if let Some(wires) = &wires {
        wires.received(&first);
    }
    let floods = config.http2.floods.map(|limits| Box::new(Floods::of_client(limits)));
    if let Some(flood) = floods.as_ref().and_then(|floods| floods.received(&first)) {
        return count_flood(worker.http2_stats(), flood);
    }
    let meter = DownstreamMeter {
        opened: opened.clone(),
        signs: signs.clone(),
        wires: wires.clone(),
        floods,
        worker: worker.clone(),
    };
    let (metered, outbox) = Metered::new(stream, first, meter, worker.buffers.clone());
    let builder = http2::server(&config.http2, config.request_headers_bytes_max);
    let handshake = outbox.sending(builder.handshake::<_, Bytes>(metered));
    let mut connection = match tokio::time::timeout(HANDSHAKE_WAIT, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => {
            manager.stats().inc(HttpStat::DownstreamCxProtocolError);
            return;
        }
        Err(_) => return,
    };
    worker.http2_stats().inc(ClusterHttp2Stat::Nghttp2DownstreamConnections);
    let pings = || connection.ping_pong();
    let limits = Limits::begin(&worker, &manager, &opened, signs, pings);
    accept(worker, manager, peer, control, opened, connection, outbox, limits, wires).await;
}

/// Accepts streams until the connection ends.
#[expect(clippy::too_many_arguments, reason = "all of it is the connection's")]
async fn accept(
    worker: Rc<Worker>,
    manager: Rc<Manager>,
    peer: Peer,
    control: Rc<Control>,
    opened: Rc<Opened>,
    mut connection: Connection<Metered<DownstreamMeter>, Bytes>,
    outbox: Outbox<DownstreamMeter>,
    mut limits: Limits,
    wires: Option<Rc<Wires>>,
) {
    let streams =
        Rc::new(Streams { active: Cell::new(0), ended: Notify::new(), goodbye: Cell::new(false) });
    let mut deadline = worker.deadlines.deadline();
    let mut said_goodbye = false;
    deadline.arm_or_disarm(manager.config.idle_timeout);
    loop {
        let mut ended = pin!(streams.ended.notified());
        let event = poll_fn(|cx| {
            control.register(cx.waker());
            let leave = streams.goodbye.get() || control.drain() >= Drain::WhenIdle;
            if leave && !said_goodbye {
                said_goodbye = true;
                streams.goodbye.set(true);
                connection.graceful_shutdown();
            }
            let accepted = connection.poll_accept(cx);
            // After a stream another may follow, and more to say.
            if !matches!(accepted, Poll::Ready(Some(Ok(_)))) {
                outbox.send(cx);
            }
            if let Poll::Ready(accepted) = accepted {
                return Poll::Ready(Event::Accepted(accepted));
            }
            if ended.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::StreamEnded);
            }
            if let Poll::Ready(reached) = limits.poll_reached(cx, &worker, &manager) {
                return Poll::Ready(Event::Reached(reached));
            }
            match streams.active.get() {
                0 => deadline.poll_passed(cx).map(|()| Event::Idle),
                _ => Poll::Pending,
            }
        })
        .await;
        match event {
            Event::Accepted(Some(Ok(stream))) => {
                manager.stats().inc(HttpStat::DownstreamRqHttp2Total);
                if limits.count_request(&manager) {
                    streams.goodbye.set(true);
                }
                let guard = StreamGuard::begin(&streams, &worker);
                let (worker, manager, peer) = (worker.clone(), manager.clone(), peer.clone());
                let (control, wires) = (control.clone(), wires.clone());
                let carried = carry(worker, manager, peer, control, stream, guard, wires);
                tokio::task::spawn_local(carried);
            }
            Event::Accepted(Some(Err(error))) => {
                if !error.is_io() {
                    manager.stats().inc(HttpStat::DownstreamCxProtocolError);
                }
                opened.ended_by(match opened.is_flooded() {
                    true if streams.active.get() > 0 => EndedBy::UsWithRequest,
                    true => EndedBy::Us,
                    false => EndedBy::Client,
                });
                return;
            }
            Event::Accepted(None) => {
                if !said_goodbye {
                    opened.ended_by(EndedBy::Client);
                }
                return;
            }
            Event::Reached(Reached::Age) => streams.goodbye.set(true),
            Event::Reached(Reached::Silence) => return,
            Event::StreamEnded => deadline.arm_or_disarm(manager.config.idle_timeout),
            Event::Idle => {
                manager.stats().inc(HttpStat::DownstreamCxIdleTimeout);
                connection.graceful_shutdown();
                said_goodbye = true;
                deadline.disarm();
            }
        }
    }
}

/// A stream that the client has opened: its head, the body to come, and the way back.
type Stream = (http::Request<RecvStream>, SendResponse<Bytes>);

/// What a connection's task wakes up for.
#[expect(clippy::large_enum_variant, reason = "lives for one turn of the loop, on the stack")]
enum Event {
    Accepted(Option<Result<Stream, h2::Error>>),
    StreamEnded,
    Reached(Reached),
    Idle,
}

/// Takes a stream off the count when its task ends, however it ends.
struct StreamGuard {
    streams: Rc<Streams>,
    worker: Rc<Worker>,
}

impl StreamGuard {
    fn begin(streams: &Rc<Streams>, worker: &Rc<Worker>) -> Self {
        streams.active.set(streams.active.get() + 1);
        worker.http2_stats().inc(ClusterHttp2Stat::StreamsActive);
        Self { streams: streams.clone(), worker: worker.clone() }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.worker.http2_stats().dec(ClusterHttp2Stat::StreamsActive);
        let left = self.streams.active.get().saturating_sub(1);
        self.streams.active.set(left);
        // Others hold the connection back from idling: it need not hear of this one.
        if left == 0 || self.streams.goodbye.get() {
            self.streams.ended.notify_one();
        }
    }
}

/// Carries one request.
async fn carry(
    worker: Rc<Worker>,
    manager: Rc<Manager>,
    peer: Peer,
    control: Rc<Control>,
    (request, respond): Stream,
    guard: StreamGuard,
    wires: Option<Rc<Wires>>,
) {
    let (parts, body) = request.into_parts();
    let id = respond.stream_id().as_u32();
    let counted = wires.map(|wires| Rc::new(CountedStream::begin(wires, id)));
    let mut heads = worker.heads();
    let read = http2::read_request(&parts, &mut heads.request);
    if let Some(counted) = &counted {
        counted.fields_received(heads.request.bytes());
    }
    let config = &manager.config;
    let too_many = http2::field_count(&parts) > config.request_headers_max;
    let size = match body.is_end_stream() {
        _ if heads.request.switch != Switch::Nothing => BodySize::Tunnel,
        true => BodySize::None,
        false => match heads.request.headers.get(Known::ContentLength).and_then(length) {
            Some(length) => BodySize::Known(length),
            None => BodySize::Unknown,
        },
    };
    let expects_continue = heads
        .request
        .headers
        .get(Known::Expect)
        .is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let underscored = config.underscores != Underscores::Allow
        && check_http2(&mut heads.request.headers, config.underscores, &worker).is_err();
    let body = Incoming::new(body);
    let mut source = Http2Request {
        body,
        expects_continue,
        manager: &manager,
        worker: &worker,
        counted: counted.clone(),
    };
    let out = Outgoing::default();
    let mut sink = Http2Response { respond, out, begun: false, reset: false, counted };
    if too_many || underscored {
        manager.stats().inc(HttpStat::DownstreamRqTotal);
        // Observed: Envoy 1.40 resets such a stream without an answer.
        return sink.respond.send_reset(Reason::INTERNAL_ERROR);
    }
    let mut deadline = worker.deadlines.deadline();
    let mut exchange = Exchange::begin(&worker, &manager, &peer, &mut deadline, &mut heads, size);
    let refusal = match read {
        Ok(()) => None,
        Err(error) => Some(LocalReply::new(400, "", error.0)),
    };
    let ended = match refusal {
        None => {
            let outcome = exchange.carry(&mut source, &mut sink).await;
            let ended = exchange.conclude(outcome, &mut source, &mut sink).await;
            if sink.counted.is_some() && ended == Ended::Complete {
                exchange.settle();
                Box::pin(sink.written()).await;
                exchange.count_wire(&source, &sink);
            }
            ended
        }
        Some(reply) => {
            let reply = reply.flagged(ResponseFlag::DownstreamProtocolError);
            exchange.refuse(Box::new(reply), &mut sink).await
        }
    };
    drop(exchange);
    worker.keep(heads);
    count_reset(&worker, ended, source.was_reset() || sink.was_reset());
    match ended {
        // The h2 crate itself tells the client that the rest of a request is not needed (RFC 9113, 8.1).
        Ended::Complete | Ended::RequestUnfinished => {}
        Ended::Cut => sink.cut(Reason::INTERNAL_ERROR).await,
        // RFC 9113, 8.5: the connection behind a tunnel is lost. Observed: Envoy 1.40, for upgrades too.
        Ended::TunnelEnded => sink.cut(Reason::CONNECT_ERROR).await,
    }
    let drains = manager.config.drains_with_server && worker.draining();
    if drains || control.drain() >= Drain::Discourage {
        manager.stats().inc(HttpStat::DownstreamCxDrainClose);
        guard.streams.goodbye.set(true);
    }
}

/// Counts a stream that the client has taken back, or that we end before its request has ended.
fn count_reset(worker: &Worker, ended: Ended, by_client: bool) {
    let stats = worker.http2_stats();
    match ended {
        _ if by_client => stats.inc(ClusterHttp2Stat::RxReset),
        Ended::Complete => {}
        Ended::RequestUnfinished | Ended::Cut | Ended::TunnelEnded => {
            stats.inc(ClusterHttp2Stat::TxReset);
        }
    }
}

fn length(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The rest of a request.
struct Http2Request<'a> {
    body: Incoming,
    expects_continue: bool,
    manager: &'a Manager,
    worker: &'a Worker,
    /// Where bytes on the wire are counted.
    counted: Option<Rc<CountedStream>>,
}

/// The response on its way.
struct Http2Response {
    respond: SendResponse<Bytes>,
    out: Outgoing,
    begun: bool,
    /// The client has taken the stream back.
    reset: bool,
    /// Where bytes on the wire are counted.
    counted: Option<Rc<CountedStream>>,
}

// === impl Http2Request ===

impl Source for Http2Request<'_> {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame<'_>, BodyError>> {
        let action = self.manager.config.underscores;
        if action == Underscores::Allow && self.counted.is_none() {
            return self.body.poll_frame(cx);
        }
        match ready!(self.body.poll_frame(cx))? {
            Frame::Data(data) => {
                return Poll::Ready(Ok(Frame::Data(Data::Bytes(data.into_bytes()))));
            }
            Frame::End => return Poll::Ready(Ok(Frame::End)),
            Frame::Trailers(_) => {}
        }
        let trailers = self.body.trailers_mut();
        if let Some(counted) = &self.counted {
            counted.fields_received(trailers.bytes());
        }
        if action == Underscores::Allow {
            return Poll::Ready(Ok(Frame::Trailers(trailers)));
        }
        let checked = check_http2(trailers, action, self.worker);
        checked.map_err(|Refused| BodyError::Reset)?;
        Poll::Ready(Ok(Frame::Trailers(trailers)))
    }

    fn has_more(&self) -> bool {
        false
    }

    fn wire(&self) -> WireBytes {
        let counted = self.counted.as_ref();
        counted.map_or_else(WireBytes::default, |counted| counted.received(self.body.received()))
    }
}

impl RequestSource for Http2Request<'_> {
    fn received(&self) -> u64 {
        self.body.received()
    }

    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        // The response's half is told of a reset.
        Poll::Pending
    }

    fn expects_continue(&self) -> bool {
        self.expects_continue
    }

    fn was_reset(&self) -> bool {
        self.body.was_reset()
    }
}

// === impl Http2Response ===

impl Http2Response {
    #[inline]
    fn count_fields(&self, bytes: u64) {
        if let Some(counted) = &self.counted {
            counted.fields_sent(bytes);
        }
    }

    /// Ready when what was said is on the wire, where that is counted: the connection's task writes it.
    async fn written(&self) {
        let Some(counted) = &self.counted else { return };
        let ended = poll_fn(|cx| counted.poll_ended(cx));
        // A client that does not read is not waited for.
        let _ = tokio::time::timeout(WRITTEN_WAIT, ended).await;
    }

    /// Tells the client that the response ends here, unfinished.
    async fn cut(&mut self, reason: Reason) {
        // A reset takes back what waits to be sent: the connection's task goes first.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        match self.begun {
            true => self.out.reset(reason),
            false => self.respond.send_reset(reason),
        }
    }
}

impl ResponseSink for Http2Response {
    fn head(&mut self, head: &mut ResponseHead, body: BodySize) {
        let end = body == BodySize::None;
        // What HTTP/2 cannot say is the upstream's fault, and the stream's end.
        let Ok(response) = http2::write_response(head) else {
            return self.respond.send_reset(Reason::INTERNAL_ERROR);
        };
        self.count_fields(head.bytes());
        if let Ok(stream) = self.respond.send_response(response, end) {
            self.begun = true;
            self.out = Outgoing::new(stream);
            if end {
                self.out.close();
            }
        }
    }

    fn interim(&mut self, head: &ResponseHead) {
        if let Ok(response) = http2::write_response(head) {
            self.count_fields(head.bytes());
            // A client that has gone needs no interim answer.
            let _ = self.respond.send_informational(response);
        }
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.begun {
            true => self.out.poll_reset(cx).map(|reset| self.reset = reset),
            false => self.respond.poll_reset(cx).map(|reset| self.reset = reset.is_ok()),
        }
    }

    fn was_reset(&self) -> bool {
        self.reset
    }

    fn sent(&self) -> u64 {
        self.out.sent()
    }
}

impl Sink for Http2Response {
    fn data(&mut self, data: Data<'_>) {
        self.out.push(data.into_bytes());
    }

    fn end(&mut self, trailers: Option<&HeaderBlock>) {
        self.count_fields(trailers.map_or(0, HeaderBlock::bytes));
        self.out.finish(trailers);
    }

    fn pending(&self) -> usize {
        self.out.pending()
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        self.out.poll_flush(cx)
    }

    fn wire(&self) -> WireBytes {
        let counted = self.counted.as_ref();
        counted.map_or_else(WireBytes::default, |counted| counted.sent(self.out.sent()))
    }
}

// === impl DownstreamMeter ===

impl Meter for DownstreamMeter {
    fn received(&self, bytes: &[u8]) -> io::Result<()> {
        self.opened.received(bytes.len());
        if let Some(wires) = &self.wires {
            wires.received(bytes);
        }
        if let Some(signs) = &self.signs {
            signs.hear();
        }
        match self.floods.as_ref().and_then(|floods| floods.received(bytes)) {
            None => Ok(()),
            Some(flood) => {
                self.opened.ended_by(EndedBy::UsForFlood);
                count_flood(self.worker.http2_stats(), flood);
                Err(io::Error::from(io::ErrorKind::InvalidData))
            }
        }
    }

    fn sent(&self, bytes: &[u8]) {
        self.opened.sent(bytes.len());
        if let Some(floods) = &self.floods {
            floods.sent(bytes);
        }
        if let Some(wires) = &self.wires {
            wires.sent(bytes);
        }
    }
}

impl Drop for DownstreamMeter {
    fn drop(&mut self) {
        if let Some(wires) = &self.wires {
            wires.end();
        }
    }
}
