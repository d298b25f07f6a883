//! Owns how a request becomes what is asked, whatever protocol brought it, and what answers it.

mod guard;
mod http1;
mod http2;
mod manners;
mod patience;
mod present;
mod response;
mod rest;
mod scribe;
mod story;

use std::{io, rc::Rc, sync::Arc, time::Duration};

use futures_util::future::LocalBoxFuture;
use tokio::{net::TcpStream, time::timeout};
use understudy_actors::{
    Commander,
    address::Address,
    seams::Face,
    stats::{Group, HttpStat, ListenerHttpStat, Scope},
    view::View,
};

use self::{
    guard::Guard,
    patience::Patience,
    present::{Present, Spoken},
    response::Response,
    rest::Rest,
    scribe::Scribe,
    story::Story,
};
use super::{Action, Answer, Ask, Body, Desk, ENDPOINTS, Endpoint, Facts, help};
use crate::{
    access_log::{SinkId, Writer},
    admission::{self, Inadmissible},
    codec::{
        Known, Method, RequestHead,
        http2::{Preface, preface},
    },
    config::model::{access_log::AccessLogSink, admin::AdminOptions},
    path::{self, Outcome},
};

/// Bytes of a request's body at most.
const BODY_BYTES_MAX: usize = 1 << 20;

/// How long a request's head, and then its body, may take to come.
const REQUEST_WAIT: Duration = Duration::from_secs(15);

/// How long a client may take to ask, for the first time or again: longer than scrapes are apart. Envoy waits an hour, and
/// has no bound of its clients' number.
const IDLE_WAIT: Duration = Duration::from_mins(5);

/// How long a client may take to read what is there for it.
const READER_WAIT: Duration = Duration::from_secs(30);

/// Bytes of what an HTTP/2 client says first (RFC 9113, 3.4).
const PREFACE_BYTES: usize = 24;

/// The paths that Envoy's admin port makes one of.
const PATHS: path::Rules = path::Rules {
    escaped_slashes: path::EscapedSlashes::Keep,
    normalize: true,
    merge_slashes: true,
};

/// The only kind of body that is read.
const FORM: &[u8] = b"application/x-www-form-urlencoded";

/// Answers on the admin port.
pub struct AdminFace {
    clerk: Arc<Clerk>,
}

/// What every client of the port shares.
struct Clerk {
    desk: Arc<Desk>,
    commander: Commander,
    guard: Guard,
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
        options: &AdminOptions,
        access_log: &Arc<Writer>,
    ) -> Self {
        let path = options.access_log.clone();
        // It was opened at the start; a log that cannot be opened later is told, and the port works without.
        let sink = path.and_then(|path| match access_log.open(&AccessLogSink::File(path)) {
            Ok(sink) => Some((access_log.clone(), sink)),
            Err(error) => {
                tracing::warn!(target: "admin", "{error}");
                None
            }
        });
        let flags = &facts.flags;
        let allow_paths = options.allow_paths.clone();
        let guard = Guard::new(&flags.admin_allowed_host, flags.admin_read_only, allow_paths);
        let registry = view.registry.clone();
        let clerk = Clerk {
            desk: Arc::new(Desk { view, facts }),
            commander,
            guard,
            access_log: sink,
            scribe: Scribe::new(),
            http: registry.group(Scope::http("admin")),
            listener_http: registry.group(Scope::admin_http()),
        };
        Self { clerk: Arc::new(clerk) }
    }
}

impl Face for AdminFace {
    fn serve(&self, stream: TcpStream, peer: Address) -> LocalBoxFuture<'static, ()> {
        let clerk = self.clerk.clone();
        Box::pin(async move {
            // It is served where it was accepted: on the port's own thread.
            manners::stand_back();
            let present = Rc::new(Present::arrive(clerk.http.clone()));
            // A client that takes too long has said nothing.
            let Ok(Ok(())) = timeout(IDLE_WAIT, stream.readable()).await else { return };
            let speaks_http2 = timeout(REQUEST_WAIT, speaks_http2(&stream)).await;
            let Ok(Ok(speaks_http2)) = speaks_http2 else { return };
            let stream = Patience::new(stream, READER_WAIT, present.clone());
            match speaks_http2 {
                true => {
                    present.speaks(Spoken::Http2);
                    http2::serve(clerk, stream, peer).await;
                }
                false => {
                    present.speaks(Spoken::Http1);
                    http1::serve(clerk, present, stream, peer).await;
                }
            }
        })
    }
}

/// Looks at the first bytes without taking them.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut seen = [0; PREFACE_BYTES];
    loop {
        let length = stream.peek(&mut seen).await?;
        match preface(seen.get(..length).unwrap_or_default()) {
            Preface::Yes => return Ok(true),
            Preface::Perhaps if length > 0 => tokio::time::sleep(Duration::from_millis(1)).await,
            Preface::Perhaps | Preface::No => return Ok(false),
        }
    }
}

// === impl Clerk ===

impl Clerk {
    /// Whether a request gets any further than its head; its path is in its one form then.
    ///
    /// # Errors
    ///
    /// The response that says why not.
    fn admit(&self, head: &mut RequestHead, story: &mut Story) -> Result<(), Box<Response>> {
        let fit = admission::check(head).and_then(|()| straighten(head));
        fit.map_err(|why| {
            why.stat().into_iter().for_each(|stat| self.http.add(stat, 1));
            Box::new(Response::local(&why.reply()))
        })?;
        story.admit(head);
        self.guard.admit(head).map_err(|refused| Box::new(Response::answering(refused)))
    }

    /// Does what is asked.
    async fn respond(&self, head: &RequestHead, body: &[u8], peer: Address) -> Response {
        let form = (head.headers.get(Known::ContentType) == Some(FORM)).then_some(body);
        let target = String::from_utf8_lossy(head.path());
        let mut ask = Ask::new(head.method.as_str(), &target, form, peer);
        let accepted = head.headers.get_all(Known::Accept);
        ask.reads_html = accepted.map(String::from_utf8_lossy).any(|k| k.contains("text/html"));
        Response::answering(self.answer(ask).await)
    }

    async fn answer(&self, ask: Ask) -> Answer {
        if let Err(refused) = self.guard.admit_path(&ask) {
            return refused;
        }
        let Some(endpoint) = ENDPOINTS.iter().find(|endpoint| endpoint.path == ask.path) else {
            return Answer::status(404, format!("invalid path. {}", help::envoys()));
        };
        if endpoint.action.wants_post() && ask.method != Method::Post.as_str() {
            let text = format!("Method {} not allowed, POST required.", ask.method);
            return Answer::status(405, text);
        }
        self.act(endpoint, ask).await
    }

    async fn act(&self, endpoint: &Endpoint, ask: Ask) -> Answer {
        let looked = self.desk.facts.stats.flush_on_admin && endpoint.path.starts_with("/stats");
        let answer = self.answer_of(endpoint, ask).await;
        if looked {
            // After the answer was begun, as in Envoy.
            self.commander.flush_stats();
        }
        answer
    }

    async fn answer_of(&self, endpoint: &Endpoint, ask: Ask) -> Answer {
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
                Ok(_) if self.guard.is_read_only() => Guard::read_only(endpoint),
                Ok(command) => {
                    let applied = self.commander.apply(ask.who(), command).await;
                    told(&self.desk, &ask, applied)
                }
                Err(answer) => answer,
            },
        }
    }

    fn count(&self, status: u16) {
        use {HttpStat as H, ListenerHttpStat as L};
        let (http, listener) = match status / 100 {
            1 => (H::DownstreamRq1xx, L::DownstreamRq1xx),
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

/// Gives the path its one form.
fn straighten(head: &mut RequestHead) -> Result<(), Inadmissible> {
    let straight = match path::apply(head.path(), &PATHS) {
        Outcome::Target(target) => target.into_owned(),
        Outcome::Redirect(_) | Outcome::Refused => return Err(Inadmissible::BadPath),
    };
    head.set_path(&straight);
    Ok(())
}

#[cfg(test)]
mod tests;
