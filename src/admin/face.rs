//! Owns the HTTP side of the admin port: hyper, the way to an endpoint, and the headers of its answer.

mod manners;
mod patience;
mod present;
mod scribe;
mod told;

use std::{convert::Infallible, io, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response,
    body::Incoming,
    header::{self, HeaderName, HeaderValue},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use understudy_actors::{
    Commander,
    plan::{AdminPlan, AllowPath},
    seams::Face,
    stats::{Group, HttpStat, ListenerHttpStat, Scope},
    view::View,
};

use self::{
    patience::Patience,
    present::{Present, Spoken},
    scribe::Scribe,
    told::{Story, Told},
};
use super::{Action, Answer, Ask, Body, Desk, ENDPOINTS, Endpoint, Facts, help};
use crate::{
    access_log::{SinkId, Writer},
    config::model::access_log::AccessLogSink,
    worker::clock::Clock,
};

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a request's head, and then its body, may take to come.
const REQUEST_WAIT: Duration = Duration::from_secs(15);

/// How long a client may take to read what is there for it.
const READER_WAIT: Duration = Duration::from_secs(30);

/// Bytes of a request's head at most, and of an answer that wait for the client.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// What an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Answers on the admin port.
pub struct AdminFace {
    clerk: Arc<Clerk>,
}

/// What every client of the port shares.
struct Clerk {
    desk: Arc<Desk>,
    commander: Commander,
    allow_paths: Vec<AllowPath>,
    access_log: Option<(Arc<Writer>, SinkId)>,
    scribe: Scribe,
    http: Arc<Group<HttpStat>>,
    listener_http: Arc<Group<ListenerHttpStat>>,
}

// === impl AdminFace ===

impl AdminFace {
    /// A face that reads `view` and asks `commander`.
    pub fn new(
        view: View,
        commander: Commander,
        facts: Facts,
        plan: Option<Arc<AdminPlan>>,
        access_log: &Arc<Writer>,
    ) -> Self {
        let path = plan.as_ref().and_then(|plan| plan.access_log.clone());
        // It was opened at the start; a log that cannot be opened later is told, and the port works without.
        let sink = path.and_then(|path| match access_log.open(&AccessLogSink::File(path)) {
            Ok(sink) => Some((access_log.clone(), sink)),
            Err(error) => {
                tracing::warn!(target: "admin", "{error}");
                None
            }
        });
        let allow_paths = plan.map(|plan| plan.allow_paths.clone()).unwrap_or_default();
        let registry = view.registry.clone();
        let clerk = Clerk {
            desk: Arc::new(Desk { view, facts }),
            commander,
            allow_paths,
            access_log: sink,
            scribe: Scribe::new(),
            http: registry.group(Scope::http("admin")),
            listener_http: registry.group(Scope::admin_http()),
        };
        Self { clerk: Arc::new(clerk) }
    }
}

impl Face for AdminFace {
    fn serve(&self, stream: TcpStream, peer: SocketAddr) -> LocalBoxFuture<'static, ()> {
        let clerk = self.clerk.clone();
        Box::pin(async move {
            // It is served where it was accepted: on the port's own thread.
            manners::stand_back();
            let present = Rc::new(Present::arrive(clerk.http.clone()));
            // A client that breaks off, or takes too long, has had its answer.
            match tokio::time::timeout(REQUEST_WAIT, speaks_http2(&stream)).await {
                Ok(Ok(true)) => drop(serve_http2(clerk, present, stream, peer).await),
                Ok(Ok(false)) => drop(serve_http1(clerk, present, stream, peer).await),
                Ok(Err(_)) | Err(_) => {}
            }
        })
    }
}

/// Looks at the first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let length = stream.peek(&mut seen).await?;
        let seen = seen.get(..length).unwrap_or_default();
        match PREFACE.starts_with(seen) {
            true if length == PREFACE.len() => return Ok(true),
            true if length > 0 => tokio::time::sleep(Duration::from_millis(1)).await,
            _ => return Ok(false),
        }
    }
}

async fn serve_http1(
    clerk: Arc<Clerk>,
    present: Rc<Present>,
    stream: TcpStream,
    peer: SocketAddr,
) -> hyper::Result<()> {
    present.speaks(Spoken::Http1);
    let io = TokioIo::new(Patience::new(stream, READER_WAIT, present));
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_WAIT)
        .max_buf_size(BUFFER_BYTES_MAX)
        // `printf … | nc` has no more to say, and waits for its answer.
        .half_close(true)
        .serve_connection(io, service_fn(move |request| answer(clerk.clone(), peer, request)))
        .await
}

async fn serve_http2(
    clerk: Arc<Clerk>,
    present: Rc<Present>,
    stream: TcpStream,
    peer: SocketAddr,
) -> hyper::Result<()> {
    present.speaks(Spoken::Http2);
    let io = TokioIo::new(Patience::new(stream, READER_WAIT, present));
    hyper::server::conn::http2::Builder::new(Here)
        .timer(TokioTimer::new())
        .max_concurrent_streams(32)
        .serve_connection(io, service_fn(move |request| answer(clerk.clone(), peer, request)))
        .await
}

async fn answer(
    clerk: Arc<Clerk>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Response<Told>, Infallible> {
    let mut story = Story::begin(&clerk, peer, &request);
    let answer = match read(request, peer).await {
        Ok((ask, received)) => {
            story.received = received;
            clerk.answer(ask).await
        }
        Err(refused) => refused,
    };
    story.status = answer.status;
    Ok(response(&clerk, answer, story))
}

/// Reads the request's body, which only a form needs.
async fn read(request: Request<Incoming>, peer: SocketAddr) -> Result<(Ask, u64), Answer> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    let body = match tokio::time::timeout(REQUEST_WAIT, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Answer::status(413, "Payload Too Large"));
        }
        Ok(Err(_)) => return Err(Answer::status(400, "Bad Request")),
        Err(_) => return Err(Answer::status(408, "Request Timeout")),
    };
    let kind = head.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let form = kind.starts_with(b"application/x-www-form-urlencoded").then_some(&body[..]);
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    Ok((Ask::new(head.method.as_str(), target, form, peer), body.len() as u64))
}

fn response(clerk: &Clerk, answer: Answer, story: Story) -> Response<Told> {
    thread_local! {
        static CLOCK: Clock = Clock::default();
    }
    let date = CLOCK.with(|clock| clock.with_date(HeaderValue::from_bytes));
    let headers: [(HeaderName, Option<HeaderValue>); 5] = [
        (header::CONTENT_TYPE, Some(HeaderValue::from_static(answer.content_type))),
        (header::CACHE_CONTROL, Some(HeaderValue::from_static("no-cache, max-age=0"))),
        (header::X_CONTENT_TYPE_OPTIONS, Some(HeaderValue::from_static("nosniff"))),
        (header::DATE, date.ok()),
        (header::SERVER, Some(HeaderValue::from_static("envoy"))),
    ];
    let status = answer.status;
    let mut response = Response::new(Told::new(answer.body, clerk.scribe.clone(), story));
    // Every status here is a constant of ours.
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    for (name, value) in headers {
        if let Some(value) = value {
            response.headers_mut().insert(name, value);
        }
    }
    clerk.count(status);
    response
}

// === impl Clerk ===

impl Clerk {
    async fn answer(&self, ask: Ask) -> Answer {
        if !self.allows(&ask.target) {
            return Answer::status(403, format!("request to path {} not allowed", ask.target));
        }
        let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == ask.path) else {
            return Answer::status(404, format!("invalid path. {}", help::envoys()));
        };
        if endpoint.action.wants_post() && ask.method != Method::POST.as_str() {
            let text = format!("Method {} not allowed, POST required.", ask.method);
            return Answer::status(405, text);
        }
        self.act(endpoint, ask).await
    }

    async fn act(&self, endpoint: &Endpoint, ask: Ask) -> Answer {
        match endpoint.action {
            Action::Read(read) | Action::ReadByPost(read) => read(&self.desk, &ask),
            Action::ReadMuch(read) => {
                let desk = self.desk.clone();
                let reading = self.scribe.clone().make(move || begun(read(&desk, &ask)));
                let failed =
                    |_| Answer::status(500, "the answer could not be made; the log has why");
                reading.await.unwrap_or_else(failed)
            }
            Action::Change(command, told) => match command(&self.desk, &ask) {
                Ok(command) => {
                    let applied = self.commander.apply(ask.who(), command).await;
                    told(&self.desk, applied)
                }
                Err(answer) => answer,
            },
        }
    }

    /// `Admin.allow_paths`, matched against path and query. Observed: Envoy 1.40.
    fn allows(&self, target: &str) -> bool {
        let matches = |path: &AllowPath| match path {
            AllowPath::Exact(exact) => target == exact,
            AllowPath::Prefix(prefix) => target.starts_with(prefix),
        };
        self.allow_paths.is_empty() || self.allow_paths.iter().any(matches)
    }

    fn count(&self, status: u16) {
        use {HttpStat as H, ListenerHttpStat as L};
        let (http, listener) = match status / 100 {
            2 => (H::DownstreamRq2xx, L::DownstreamRq2xx),
            3 => (H::DownstreamRq3xx, L::DownstreamRq3xx),
            4 => (H::DownstreamRq4xx, L::DownstreamRq4xx),
            _ => (H::DownstreamRq5xx, L::DownstreamRq5xx),
        };
        self.http.add(http, 1);
        self.http.add(H::DownstreamRqCompleted, 1);
        self.listener_http.add(listener, 1);
        self.listener_http.add(L::DownstreamRqCompleted, 1);
    }
}

/// The same answer with its first piece made, which is all of most.
fn begun(answer: Answer) -> Answer {
    let Body::Pieces(pieces) = answer.body else { return answer };
    let body = match scribe::next(pieces) {
        (whole, None) => Body::Whole(whole),
        (first, Some(rest)) => Body::Pieces(Box::new(std::iter::once(first).chain(rest))),
    };
    Answer { body, ..answer }
}

/// Runs HTTP/2 streams on the thread they came by.
#[derive(Clone, Copy)]
struct Here;

impl<F: Future + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

#[cfg(test)]
mod tests;
