//! `envoy.filters.http.health_check`: answers a load balancer's health checks for the proxy.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use understudy_actors::{
    plan::{Payload, Slot},
    snapshot::ClusterSnapshot,
};

use super::{Build, Filter, Hooks, Kind, Seen, Sight, StreamFilter, Verdict};
use crate::{
    access_log::ResponseFlag,
    codec::{Known, RequestHead, ResponseHead},
    config::{Message, message::Value},
    local_reply::LocalReply,
    matcher::HeaderMatcher,
};

pub(super) static KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.health_check.v3.HealthCheck",
    build,
    per_route: None,
};

/// `HealthCheck`.
#[derive(Debug)]
struct HealthCheck {
    rules: Arc<Rules>,
}

#[derive(Debug)]
struct Rules {
    /// What a request must be like to be a health check.
    headers: Vec<HeaderMatcher>,
    mode: Mode,
    /// `node.cluster`, which every answer to a health check names.
    node_cluster: Box<[u8]>,
}

#[derive(Debug)]
enum Mode {
    /// `pass_through_mode: false`: healthy while all of these clusters are.
    Answer(Vec<Required>),
    /// `pass_through_mode: true`: the upstream answers, or what it has answered lately.
    PassThrough(Option<Cache>),
}

/// An entry of `cluster_min_healthy_percentages`.
#[derive(Debug)]
struct Required {
    cluster: Slot,
    /// Whole percents of its hosts. Observed: Envoy 1.40 cuts a fraction off.
    healthy_percent_min: u64,
}

/// The last answer to a health check, for all workers. It is kept to the end of the current period, not for
/// a period of its own: periods of `cache_time` follow each other from the start on, as in Envoy, where a
/// timer empties the cache.
#[derive(Debug)]
struct Cache {
    began: Instant,
    period: Duration,
    /// From the lowest bit: 15 of status, 1 of degraded, 48 of the period's number from 1. One word, so that
    /// no reader sees half an answer. 0 is none.
    kept: AtomicU64,
}

/// An answer as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    status: u16,
    degraded: bool,
}

struct Stream {
    rules: Arc<Rules>,
}

/// Takes a configuration. `cluster_min_healthy_percentages` is for answers of our own. Observed: Envoy 1.40.
fn build(config: &Message, builder: &mut dyn Build) -> Option<Arc<dyn Filter>> {
    let headers = config.messages("headers").map(|matcher| builder.header_matcher(matcher));
    let headers = headers.collect::<Option<Vec<_>>>()?;
    let passes = config.boolean("pass_through_mode").unwrap_or(false);
    // Envoy counts in milliseconds.
    let period = config.duration("cache_time").filter(|time| time.as_millis() > 0);
    if !passes && period.is_some() {
        let text = "cache_time_ms must not be set when path_through_mode is disabled";
        let hint = "set `pass_through_mode: true`, or leave `cache_time` out";
        builder.error(config, "cache_time", text, hint);
        return None;
    }
    let required = required(config, builder);
    let mode = match passes {
        true => Mode::PassThrough(period.map(Cache::new)),
        false => Mode::Answer(required),
    };
    let node_cluster = builder.node_cluster().as_bytes().into();
    Some(Arc::new(HealthCheck { rules: Arc::new(Rules { headers, mode, node_cluster }) }))
}

/// In the order of their names, as Envoy keeps them: the first that fails is told.
fn required(config: &Message, builder: &mut dyn Build) -> Vec<Required> {
    let mut percents = Vec::new();
    for (name, item) in config.map("cluster_min_healthy_percentages") {
        let Value::Message(percent) = &item.value else { continue };
        percents.push((name, percent.double("value").unwrap_or(0.0)));
    }
    percents.sort_by_key(|(name, _)| *name);
    let required = percents.into_iter().map(|(name, percent)| Required {
        cluster: builder.cluster(name),
        healthy_percent_min: percent as u64,
    });
    required.collect()
}

// === impl HealthCheck ===

impl Filter for HealthCheck {
    fn hooks(&self) -> Hooks {
        Hooks::REQUEST_HEAD.and(Hooks::RESPONSE_HEAD)
    }

    fn stream(&self, _: Option<&Payload>) -> Box<dyn StreamFilter> {
        Box::new(Stream { rules: self.rules.clone() })
    }
}

// === impl Stream ===

impl StreamFilter for Stream {
    fn on_request_head(&mut self, head: &mut RequestHead, seen: &Seen) -> Verdict {
        if !self.rules.headers.iter().all(|matcher| matcher.matches(head)) {
            return Verdict::Continue;
        }
        seen.take_for_health_check();
        if !self.rules.answers(&seen.now) {
            return Verdict::Continue;
        }
        match seen.ends {
            true => Verdict::Reply(self.rules.answer(&seen.now)),
            false => Verdict::Discard,
        }
    }

    fn on_request_held(&mut self, _: &mut RequestHead, _: &mut Vec<u8>, seen: &Seen) -> Verdict {
        Verdict::Reply(self.rules.answer(&seen.now))
    }

    /// While the server fails health checks every answer says so, to a health check or not.
    fn on_response_head(&mut self, head: &mut ResponseHead, seen: &Seen) -> Verdict {
        let headers = &mut head.headers;
        if seen.is_health_check() {
            if let Mode::PassThrough(Some(cache)) = &self.rules.mode {
                let degraded = headers.has(Known::XEnvoyDegraded);
                cache.keep(Kept { status: head.status, degraded });
            }
            headers.set(Known::XEnvoyUpstreamHealthcheckedCluster, &self.rules.node_cluster);
        }
        if seen.now.server.health_failed {
            headers.set(Known::XEnvoyImmediateHealthCheckFail, b"true");
        }
        Verdict::Continue
    }
}

// === impl Rules ===

impl Rules {
    /// Whether the upstream is not asked.
    fn answers(&self, now: &Sight) -> bool {
        let from_cache = match &self.mode {
            Mode::Answer(_) => true,
            Mode::PassThrough(cache) => cache.as_ref().is_some_and(|cache| cache.get().is_some()),
        };
        from_cache || now.server.health_failed
    }

    /// The answer to a health check.
    fn answer(&self, now: &Sight) -> LocalReply {
        let (status, details, degraded) = match &self.mode {
            _ if now.server.health_failed => (503, "health_check_failed", false),
            Mode::PassThrough(Some(cache)) => {
                let Kept { status, degraded } = cache.last();
                (status, "health_check_cached", degraded)
            }
            Mode::Answer(required) if !required.is_empty() => {
                match required.iter().find_map(|required| required.missed(now)) {
                    Some(details) => (503, details, false),
                    None => (200, "health_check_ok_cluster_healthy", false),
                }
            }
            _ => (200, "health_check_ok", false),
        };
        let mut reply = LocalReply::new(status, "", details);
        if !(200..300).contains(&status) {
            reply = reply.flagged(ResponseFlag::FailedLocalHealthCheck);
        }
        if degraded {
            reply.headers.push((Known::XEnvoyDegraded, Vec::new()));
        }
        reply
    }
}

// === impl Required ===

impl Required {
    /// In which way the cluster fails, if it does.
    fn missed(&self, now: &Sight) -> Option<&'static str> {
        match now.cluster(self.cluster) {
            None => Some("health_check_failed_no_cluster_found"),
            Some(cluster) => self.missed_by(&cluster),
        }
    }

    fn missed_by(&self, cluster: &ClusterSnapshot) -> Option<&'static str> {
        let total = cluster.hosts.len() as u64;
        let healthy = cluster.hosts.iter().filter(|host| host.healthy()).count() as u64;
        if total == 0 {
            return (self.healthy_percent_min > 0).then_some("health_check_failed_cluster_empty");
        }
        let enough = 100 * healthy >= total * self.healthy_percent_min;
        (!enough).then_some("health_check_failed_cluster_unhealthy")
    }
}

// === impl Cache ===

impl Cache {
    const NUMBER_BITS_BELOW: u32 = 16;

    fn new(period: Duration) -> Self {
        Self { began: Instant::now(), period, kept: AtomicU64::new(0) }
    }

    /// The answer of the current period, if there was one.
    fn get(&self) -> Option<Kept> {
        let word = self.kept.load(Relaxed);
        (word >> Self::NUMBER_BITS_BELOW == self.number()).then(|| Kept::of_word(word))
    }

    /// The last answer there was, or that all is well.
    fn last(&self) -> Kept {
        match self.kept.load(Relaxed) {
            0 => Kept { status: 200, degraded: false },
            word => Kept::of_word(word),
        }
    }

    fn keep(&self, kept: Kept) {
        let number = self.number() << Self::NUMBER_BITS_BELOW;
        self.kept.store(number | kept.word(), Relaxed);
    }

    /// Of the current period, from 1.
    fn number(&self) -> u64 {
        let passed = self.began.elapsed().as_nanos() / self.period.as_nanos().max(1);
        // 48 bits of milliseconds last for 8,000 years.
        u64::try_from(passed).unwrap_or(0) + 1
    }
}

// === impl Kept ===

impl Kept {
    const DEGRADED: u64 = 1 << 15;

    fn word(self) -> u64 {
        u64::from(self.status) | if self.degraded { Self::DEGRADED } else { 0 }
    }

    fn of_word(word: u64) -> Self {
        let status = u16::try_from(word & (Self::DEGRADED - 1)).unwrap_or(0);
        Self { status, degraded: word & Self::DEGRADED != 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use understudy_actors::{published::Publisher, server_state::ServerState, snapshot::Clusters};

    use super::*;
    use crate::{
        filter::{Filters, Placed, seen::fake},
        matcher::{HeaderTest, TextMatcher, TextTest},
    };

    /// A filter for `/healthz`, and who says whether the server fails.
    fn filter(mode: Mode) -> (Placed, Publisher<ServerState>) {
        let path = TextMatcher::new(TextTest::Exact(b"/healthz".as_slice().into()), false);
        let headers = vec![HeaderMatcher::new(":path", HeaderTest::Text(path), false, false)];
        let rules = Rules { headers, mode, node_cluster: b"edge".as_slice().into() };
        let filter = Arc::new(HealthCheck { rules: Arc::new(rules) });
        let server = Publisher::new(ServerState::starting(SystemTime::UNIX_EPOCH));
        (Placed { name: Arc::from("hc"), filter, disabled: false }, server)
    }

    fn fail(server: &Publisher<ServerState>, health_failed: bool) {
        let state = ServerState { health_failed, ..(*server.read()).clone() };
        server.publish(state);
    }

    fn begin(placed: &Placed, server: &Publisher<ServerState>, ends: bool) -> Filters {
        let lookout = fake::lookout(&server.subscribe(), Clusters::default());
        let client = fake::client();
        Filters::begin(std::slice::from_ref(placed), |_| None, &lookout, client, ends)
    }

    /// What a request for a path gets: status, details and the flag, or nothing from us.
    fn answer(
        placed: &Placed,
        server: &Publisher<ServerState>,
        path: &str,
    ) -> Option<(u16, String, bool)> {
        let mut head = RequestHead::default();
        head.set_path(path.as_bytes());
        match begin(placed, server, true).request_head(0, &mut head) {
            Verdict::Reply(reply) => {
                Some((reply.status, reply.details.into_owned(), reply.flag.is_some()))
            }
            _ => None,
        }
    }

    fn said(status: u16, details: &str, flagged: bool) -> Option<(u16, String, bool)> {
        Some((status, details.to_owned(), flagged))
    }

    /// The names that a filter gives to the head of a response.
    fn respond(filters: &Filters, status: u16, degraded: bool) -> Vec<String> {
        let mut head = ResponseHead { status, ..ResponseHead::default() };
        if degraded {
            head.headers.append(Known::XEnvoyDegraded, b"");
        }
        let _ = filters.response_head(0, &mut head);
        head.headers.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
    }

    #[test]
    fn a_health_check_is_answered_for_the_server_and_others_pass() {
        let (placed, server) = filter(Mode::Answer(Vec::new()));
        assert_eq!(answer(&placed, &server, "/healthz"), said(200, "health_check_ok", false));
        assert_eq!(answer(&placed, &server, "/healthz/x"), None);
        fail(&server, true);
        assert_eq!(answer(&placed, &server, "/healthz"), said(503, "health_check_failed", true));
        assert_eq!(answer(&placed, &server, "/x"), None);
    }

    #[test]
    fn the_upstream_is_asked_unless_the_server_fails() {
        let (placed, server) = filter(Mode::PassThrough(None));
        assert_eq!(answer(&placed, &server, "/healthz"), None);
        fail(&server, true);
        assert_eq!(answer(&placed, &server, "/healthz"), said(503, "health_check_failed", true));
    }

    #[test]
    fn a_cluster_that_is_not_there_is_not_healthy_whatever_is_asked_of_it() {
        let required = vec![Required { cluster: 7, healthy_percent_min: 0 }];
        let (placed, server) = filter(Mode::Answer(required));
        let told = said(503, "health_check_failed_no_cluster_found", true);
        assert_eq!(answer(&placed, &server, "/healthz"), told);
    }

    #[test]
    fn a_body_is_read_away_before_the_answer() {
        let (placed, server) = filter(Mode::Answer(Vec::new()));
        let filters = begin(&placed, &server, false);
        let mut head = RequestHead::default();
        head.set_path(b"/healthz");
        assert!(matches!(filters.request_head(0, &mut head), Verdict::Discard));
        fail(&server, true);
        let answer = filters.request_held(0, &mut head, &mut Vec::new());
        assert!(matches!(answer, Verdict::Reply(LocalReply { status: 503, .. })));
        assert!(filters.is_health_check());
    }

    #[test]
    fn an_answer_names_the_cluster_of_the_node_and_says_while_the_server_fails() {
        let (placed, server) = filter(Mode::PassThrough(None));
        let (checked, other) = (begin(&placed, &server, true), begin(&placed, &server, true));
        let mut head = RequestHead::default();
        head.set_path(b"/healthz");
        let _ = checked.request_head(0, &mut head);
        let (named, failed) =
            ("x-envoy-upstream-healthchecked-cluster", "x-envoy-immediate-health-check-fail");
        assert_eq!(respond(&checked, 200, false), [named]);
        assert_eq!(respond(&other, 200, false), [""; 0]);
        // A stream that has begun before sees it too.
        fail(&server, true);
        assert_eq!(respond(&checked, 200, false), [named, failed]);
        assert_eq!(respond(&other, 200, false), [failed]);
    }

    #[test]
    fn an_answer_is_kept_for_a_period_and_all_streams() {
        let (placed, server) = filter(Mode::PassThrough(Some(Cache::new(Duration::from_secs(60)))));
        let first = begin(&placed, &server, true);
        let mut head = RequestHead::default();
        head.set_path(b"/healthz");
        assert!(matches!(first.request_head(0, &mut head), Verdict::Continue));
        respond(&first, 404, true);
        assert_eq!(answer(&placed, &server, "/healthz"), said(404, "health_check_cached", true));
        assert_eq!(answer(&placed, &server, "/x"), None);
        match begin(&placed, &server, true).request_head(0, &mut head) {
            Verdict::Reply(reply) => {
                assert_eq!(reply.headers, [(Known::XEnvoyDegraded, Vec::new())]);
            }
            _ => panic!("the answer is kept"),
        }
    }

    #[test]
    fn what_is_kept_ends_with_its_period_and_not_later() {
        let mut cache = Cache::new(Duration::from_secs(60));
        assert_eq!((cache.get(), cache.last()), (None, Kept { status: 200, degraded: false }));
        for kept in [Kept { status: 999, degraded: true }, Kept { status: 200, degraded: false }] {
            cache.keep(kept);
            assert_eq!((cache.get(), cache.last()), (Some(kept), kept));
        }
        cache.period = Duration::from_nanos(1);
        assert_eq!((cache.get(), cache.last().status), (None, 200));
    }
}
