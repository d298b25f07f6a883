//! Owns composing a reply of our own: what the route, `local_reply_config` and filters make of it.

use std::borrow::Cow;

use super::{Exchange, Heads};
use crate::{
    access_log::{LogFilter, Seen},
    codec::Known,
    config::model::{local_reply::LocalReplies, route::DirectResponse},
    downstream::headers,
    format::AccessLogType,
    local_reply::LocalReply,
    stream::{BodySize, Data, ResponseSink},
};

/// What a reply has become.
struct Composed<'r> {
    status: u16,
    body: Cow<'r, [u8]>,
    /// What the body is, where somebody has said so.
    content_type: Option<String>,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Composes a reply and hands it to the client's side.
    pub(super) fn compose<P: ResponseSink>(&mut self, reply: &LocalReply, sink: &mut P) {
        self.tally.replied(reply);
        headers::begin_reply(&mut self.heads.response, reply);
        self.mutate_response();
        headers::add_to_reply(&mut self.heads.response, reply, self.manager);
        self.tally.status = reply.status;
        let body = Cow::Borrowed(reply.body.as_bytes());
        let mut composed = Composed { status: reply.status, body, content_type: None };
        if let Some(rules) = &self.manager.config.local_replies {
            self.apply(rules, &mut composed);
        }
        let Heads { request, response, .. } = &mut *self.heads;
        let made = headers::Local {
            grpc: headers::is_grpc(request),
            grpc_status: reply.grpc_status,
            to_head: request.is_head(),
            closes: !self.request_done || reply.close,
        };
        let Composed { status, body, content_type } = &composed;
        headers::local_reply(response, *status, body, content_type.as_deref(), made);
        self.tally.status = response.status;
        if !self.chain().is_empty() {
            // Refused before its route was known, it is shown all the same. Observed: Envoy 1.40.
            let begun = self.filters.clone();
            let filters = begun.unwrap_or_else(|| self.begin_filters(|_| None));
            filters.show_reply(&mut self.heads.response);
        }
        self.tell_proxy_status();
        let Heads { request, response, .. } = &mut *self.heads;
        headers::finish_reply(response, request, self.manager, self.worker);
        // A head says how long the body would have been, and gRPC has none.
        let size = match body.is_empty() || made.grpc || made.to_head {
            true => BodySize::None,
            false => BodySize::Known(body.len() as u64),
        };
        sink.head(response, size);
        self.mark(|timing, now| timing.response_sending = now);
        if let BodySize::Known(_) = size {
            sink.data(Data::Slice(body));
        }
        sink.end(None);
        self.settle();
    }

    /// Does to a reply what `local_reply_config` says. Its filters and headers see the reply's own status,
    /// its body format that which it gets. Observed: Envoy 1.40.
    #[cold]
    fn apply(&mut self, rules: &LocalReplies, reply: &mut Composed<'_>) {
        let before = self.heads.response.headers.get(Known::ContentType).map(<[u8]>::to_vec);
        let passes = |exchange: &Self, filter: &LogFilter| {
            let (info, health_check) =
                (exchange.info(AccessLogType::NotSet), exchange.is_health_check());
            exchange
                .worker
                .with_runtime(|runtime| filter.passes(Seen { info: &info, runtime, health_check }))
        };
        let mapper = rules.mappers.iter().find(|mapper| passes(self, &mapper.filter));
        if let Some(mapper) = mapper {
            if let Some(body) = &mapper.body {
                reply.body = Cow::Owned(body.clone());
            }
            let info = self.info(AccessLogType::NotSet);
            let made = mapper.headers.make(&self.heads.response.headers, &info);
            made.put_into(&mut self.heads.response.headers);
            reply.status = mapper.status.unwrap_or(reply.status);
            self.tally.status = reply.status;
            self.heads.response.status = reply.status;
        }
        let format = mapper.and_then(|mapper| mapper.body_format.as_ref());
        let Some(format) = format.or(rules.body_format.as_ref()) else { return };
        let mut body = Vec::new();
        let mut info = self.info(AccessLogType::NotSet);
        info.local_reply_body = &reply.body;
        format.write(&mut body, &info);
        let now = self.heads.response.headers.get(Known::ContentType);
        // A mapper's header says more of the body than the format it is written in.
        if now.is_none() || now == before.as_deref() {
            reply.content_type = Some(format.content_type().to_owned());
        }
        reply.body = Cow::Owned(body);
    }

    /// Writes the body of a direct response that has a format. Observed: Envoy 1.40: its status is not known
    /// yet.
    pub(super) fn format_direct(&self, direct: &DirectResponse, reply: &mut LocalReply) {
        let Some(format) = &direct.format else { return };
        let mut body = Vec::new();
        let mut info = self.info(AccessLogType::NotSet);
        info.local_reply_body = &direct.body;
        format.write(&mut body, &info);
        reply.body = String::from_utf8_lossy(&body).into_owned().into();
        if format.content_type() != "text/plain" {
            reply.headers.push((Known::ContentType, format.content_type().as_bytes().to_vec()));
        }
    }
}
