//! Owns what is remembered of an exchange that goes wrong, for whoever asks `/failures` later.

use std::{borrow::Cow, time::SystemTime};

use understudy_actors::failures::{Failure as Kept, TRIES_TOLD_MAX, Try, told};

use super::{super::timers::Passed, Exchange, Failure, Heads, attempt::Chosen, record::Tally};
use crate::{
    codec::Known,
    config::model::route::{ClusterChoice, RouteAction},
    local_reply::LocalReply,
    stream::Reset,
};

/// Details of answers that the configuration itself asks for.
const ASKED_FOR: &str = "direct_response";

/// What went wrong. Made when something does: most exchanges never have one.
#[derive(Default)]
pub(super) struct Trouble {
    details: Cow<'static, str>,
    /// Of the last try.
    cluster: String,
    tries: Vec<Try>,
    /// The client was told an error of ours, or nothing.
    failed: bool,
}

// === impl Tally ===

impl Tally {
    /// A try has come to nothing, or to an error.
    #[cold]
    pub(super) fn tried(&mut self, chosen: &Chosen, outcome: String) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.cluster.clone_from(&chosen.snapshot().plan.name);
        if trouble.tries.len() < TRIES_TOLD_MAX {
            let host = chosen.host().address_text.clone();
            trouble.tries.push(Try { host, outcome });
        }
    }

    /// The exchange ends otherwise than with an upstream's answer.
    #[cold]
    pub(super) fn fails(&mut self, details: Cow<'static, str>) {
        let trouble = self.trouble.get_or_insert_default();
        trouble.details = details;
        trouble.failed = true;
    }

    /// The exchange is answered by us.
    pub(super) fn answered_by_us(&mut self, reply: &LocalReply) {
        if reply.status >= 400 && (reply.status >= 500 || reply.details != ASKED_FOR) {
            self.fails(reply.details.clone());
        }
    }
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Takes note of what a failure says of the host that was tried.
    pub(super) fn note_try(&mut self, chosen: &Chosen, failure: &Failure) {
        let outcome = match failure {
            Failure::Reset(Reset::HandshakeFailed(why)) if why.is_empty() => {
                "no connection: the host has ended it in the handshake".to_owned()
            }
            Failure::Reset(Reset::HandshakeFailed(why)) => format!("no connection: {why}"),
            Failure::Reset(Reset::ConnectFailed(failure)) => {
                format!("no connection: {}", failure.words)
            }
            Failure::Reset(reset) => reset.reason().0.to_owned(),
            Failure::Stale => "closed the connection before it answered".to_owned(),
            Failure::Again(_) => format!("answered {}", self.heads.response.status),
            Failure::TimedOut(passed) => match passed {
                Passed::Response => "no answer within the route's timeout".to_owned(),
                Passed::Try => "no answer within per_try_timeout".to_owned(),
                Passed::TryIdle => "nothing moved within per_try_idle_timeout".to_owned(),
                Passed::Idle => "nothing moved within the idle timeout".to_owned(),
                Passed::Request => "the request was not complete in time".to_owned(),
                Passed::TryDuration | Passed::Stream => {
                    "longer than max_stream_duration".to_owned()
                }
            },
            Failure::ClientGone => "the client went before it answered".to_owned(),
            Failure::Slow(_)
            | Failure::Reply(_)
            | Failure::Cut
            | Failure::Redirected(_)
            | Failure::TunnelEnded => {
                return;
            }
        };
        self.tally.tried(chosen, outcome);
    }

    /// Names of the virtual host, the route and the cluster on which it went wrong.
    fn whereabouts(&self) -> (String, String, String) {
        let Some(way) = &self.tally.way else {
            let table = self.manager.table();
            let host = table.as_ref().and_then(|table| table.virtual_host_of(&self.heads.request));
            let host = host.map(|host| host.name.clone()).unwrap_or_default();
            return (host, String::new(), String::new());
        };
        let host = way.virtual_host().map(|host| host.name.clone()).unwrap_or_default();
        let Some(route) = way.route() else { return (host, String::new(), String::new()) };
        let name = match route.name.is_empty() {
            true => route.matcher.path.to_string(),
            false => route.name.clone(),
        };
        let cluster = match &route.action {
            RouteAction::Forward(forward) => {
                match way.part().map_or(&forward.cluster, |part| &part.cluster) {
                    ClusterChoice::Named(cluster) => cluster.name.clone(),
                    ClusterChoice::Header(name) => {
                        self.heads.request.value(name).map(told).unwrap_or_default()
                    }
                    ClusterChoice::Weighted(_) => String::new(),
                }
            }
            _ => String::new(),
        };
        (host, name, cluster)
    }

    /// Keeps what went wrong, if in the end it did.
    pub(super) fn keep_trouble(&mut self) {
        let Some(trouble) = self.tally.trouble.take() else { return };
        let Trouble { details, cluster: tried, tries, failed } = *trouble;
        let status = self.tally.status;
        if !failed && status < 500 {
            return;
        }
        let (virtual_host, route, cluster) = self.whereabouts();
        let cluster = if tried.is_empty() { cluster } else { tried };
        let Heads { request, .. } = &*self.heads;
        let path = request.headers.get(Known::XEnvoyOriginalPath).unwrap_or(request.path());
        let flags: Vec<&str> = self.tally.flags.iter().map(|flag| flag.short()).collect();
        let details = if failed { details } else { "via_upstream".into() };
        let attempts = match (&self.tries, tries.is_empty()) {
            (Some(tries), _) => tries.count,
            (None, empty) => u32::from(!empty),
        };
        self.manager.failures().keep(
            self.worker.index,
            Kept {
                at: SystemTime::now(),
                client: self.peer.remote,
                stat_prefix: self.manager.config.stat_prefix.clone(),
                method: request.method.as_str().to_owned(),
                authority: told(request.authority()),
                path: told(path),
                request_id: request.headers.get(Known::XRequestId).map(told).unwrap_or_default(),
                virtual_host,
                route,
                cluster,
                tries,
                attempts,
                status,
                flags: flags.join(","),
                details: details.into_owned(),
                duration: self.tally.duration(self.started),
                waited: self.tally.service_time,
            },
        );
    }
}
