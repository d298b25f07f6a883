//! Owns redirects that the proxy follows itself: an upstream's answer becomes the request's new address.

use std::{sync::Arc, time::Instant};

use understudy_actors::stats::{ClusterStat, HttpStat, RouterStat};

use super::{Exchange, Failure, attempt::Chosen, record::Tally};
use crate::{
    codec::{Known, Method, RequestHead, ResponseHead},
    config::model::route::{InternalRedirect, RedirectPredicate},
    format::AccessLogType,
    stream::{BodySize, Replay, RequestSource, ResponseSink},
};

/// What a request has been through, from redirect to redirect.
#[derive(Debug, Default)]
pub(super) struct Redirects {
    /// How many were followed.
    count: u32,
    /// When the last was.
    pub(super) at: Option<Instant>,
    /// From which route each led to the one of which name.
    seen: Vec<(usize, String)>,
}

/// An absolute URL, taken apart.
struct Url<'a> {
    https: bool,
    host: &'a [u8],
    path: &'a [u8],
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Carries on with a request that was redirected, until an answer goes to the client.
    pub(super) async fn redirected<Q: RequestSource, P: ResponseSink>(
        &mut self,
        mut failure: Failure,
        client: &mut Q,
        sink: &mut P,
    ) -> Result<(), Failure> {
        while let Failure::Redirected(kept) = failure {
            self.begin_again();
            let mut source = Replay::again(client, kept);
            match self.pass(true, &mut source, sink).await {
                Ok(()) => return Ok(()),
                Err(next) => failure = next,
            }
        }
        Err(failure)
    }

    /// The redirect ends one stream and begins another. Observed: Envoy 1.40, which counts and logs both.
    fn begin_again(&mut self) {
        let stats = self.manager.stats();
        let by_protocol = match self.heads.request.version {
            crate::codec::Version::Http2 => HttpStat::DownstreamRqHttp2Total,
            _ => HttpStat::DownstreamRqHttp1Total,
        };
        stats.inc(by_protocol);
        stats.inc(HttpStat::DownstreamRqTotal);
        self.tally.status = self.heads.response.status;
        if let Some(filters) = self.filters.take() {
            filters.end(self.tally.status);
        }
        if !self.manager.logs().is_empty() {
            self.log(AccessLogType::DownstreamEnd);
        }
        *self.tally = Tally::default();
        self.tally.begin(self.manager.tells(), self.request_done, self.started);
    }

    /// Makes the request one to the address that an answer redirects to, if its route follows redirects
    /// and this one may be followed. Says whether.
    pub(super) fn redirect(&mut self, chosen: &Chosen, body_is_kept: bool) -> bool {
        let followed = self.request_done && body_is_kept && self.follow();
        let stats = chosen.snapshot().shared.stats.lane(self.worker.index);
        stats.inc(match followed {
            true => ClusterStat::UpstreamInternalRedirectSucceededTotal,
            false => ClusterStat::UpstreamInternalRedirectFailedTotal,
        });
        followed
    }

    fn follow(&mut self) -> bool {
        let before = self.heads.request.clone();
        match self.try_to_follow(&before) {
            Ok(()) => true,
            Err(why) => {
                if let Some(stat) = why {
                    self.manager.router_stats().inc(stat);
                }
                self.heads.request = before;
                false
            }
        }
    }

    /// The stat says why it is not followed, where one does.
    fn try_to_follow(&mut self, before: &RequestHead) -> Result<(), Option<RouterStat>> {
        use RouterStat as S;
        let tries = self.tries.as_mut().ok_or(None)?;
        let route = tries.route.clone();
        let policy = route.attempts.internal_redirect.as_deref().ok_or(None)?;
        let response = &self.heads.response;
        let location = response.headers.get(Known::Location).ok_or(None)?;
        let url = Url::parse(location).ok_or(Some(S::PassthroughInternalRedirectBadLocation))?;
        if url.https && !policy.cross_scheme {
            return Err(Some(S::PassthroughInternalRedirectUnsafeScheme));
        }
        if tries.redirects.count >= policy.max {
            return Err(Some(S::PassthroughInternalRedirectTooManyRedirects));
        }
        copy_headers(policy, response, &mut self.heads.request);
        let (https, status) = (url.https, response.status);
        let request = &mut self.heads.request;
        request.set_authority(url.host);
        request.set_path(url.path);
        let table = self.manager.table();
        let found = table.as_deref().and_then(|table| self.route_of(table));
        let found = found.ok_or(Some(S::PassthroughInternalRedirectNoRoute))?;
        let (target, from) = (found.route.name.clone(), Arc::as_ptr(&route) as usize);
        let tries = self.tries.as_mut().ok_or(None)?;
        for predicate in &policy.predicates {
            let accepts = match predicate {
                RedirectPredicate::AllowListed(names) => names.contains(&target),
                RedirectPredicate::SafeCrossScheme => !https,
                RedirectPredicate::PreviousRoutes => tries.redirects.is_new(from, &target),
            };
            if !accepts {
                return Err(Some(S::PassthroughInternalRedirectPredicate));
            }
        }
        tries.redirects.count += 1;
        tries.redirects.at = Some(Instant::now());
        let request = &mut self.heads.request;
        if status == 303 && !matches!(request.method, Method::Get | Method::Head) {
            request.method = Method::Get;
            request.headers.remove(Known::ContentLength);
            self.body = BodySize::None;
        }
        let url = [b"http://", before.authority(), before.path()].concat();
        request.headers.remove_name(ORIGINAL_URL);
        request.headers.append_name(ORIGINAL_URL, &url);
        Ok(())
    }
}

const ORIGINAL_URL: &[u8] = b"x-envoy-original-url";

/// Gives the request those headers of the answer that the route wants there; what the answer lacks the
/// request loses.
fn copy_headers(policy: &InternalRedirect, answer: &ResponseHead, request: &mut RequestHead) {
    for name in &policy.copied_headers {
        request.headers.remove_name(name.as_bytes());
        for value in answer.headers.get_all_named(name.as_bytes()) {
            request.headers.append_name(name.as_bytes(), value);
        }
    }
}

// === impl Redirects ===

impl Redirects {
    /// Whether this route has not led to that one yet; from now on it has.
    fn is_new(&mut self, from: usize, to: &str) -> bool {
        let pair = (from, to.to_owned());
        let new = !self.seen.contains(&pair);
        if new {
            self.seen.push(pair);
        }
        new
    }
}

// === impl Url ===

impl<'a> Url<'a> {
    /// Takes an absolute URL of `http` or `https` apart; its fragment is dropped.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let scheme_end = text.windows(3).position(|three| three == b"://")?;
        let (scheme, rest) = (text.get(..scheme_end)?, text.get(scheme_end + 3..)?);
        let https = scheme.eq_ignore_ascii_case(b"https");
        if !https && !scheme.eq_ignore_ascii_case(b"http") {
            return None;
        }
        let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
        let (host, path) = rest.split_at(end.unwrap_or(rest.len()));
        let plain = |byte: &u8| byte.is_ascii_graphic() && *byte != b'@';
        let path = path.split(|byte| *byte == b'#').next().unwrap_or_default();
        if host.is_empty() || !host.iter().all(plain) || !path.iter().all(u8::is_ascii_graphic) {
            return None;
        }
        let path = match path.first() {
            Some(b'/') => path,
            None => b"/",
            Some(_) => return None,
        };
        Some(Self { https, host, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_an_absolute_url_or_none() {
        for (text, expected) in [
            ("http://a.test/b?c=1#d", Some((false, "a.test", "/b?c=1"))),
            ("HTTPS://a.test:444", Some((true, "a.test:444", "/"))),
            ("http://[::1]:8/x", Some((false, "[::1]:8", "/x"))),
            ("/relative", None),
            ("ftp://a.test/", None),
            ("http:///x", None),
            ("http://a b/", None),
            ("", None),
        ] {
            let url = Url::parse(text.as_bytes());
            let url = url.map(|url| (url.https, url.host, url.path));
            let expected = expected.map(|(https, host, path): (bool, &str, &str)| {
                (https, host.as_bytes(), path.as_bytes())
            });
            assert_eq!(url, expected, "{text}");
        }
    }

    #[test]
    fn a_route_leads_to_another_once() {
        let mut redirects = Redirects::default();
        assert!(redirects.is_new(1, "b") && redirects.is_new(2, "b"));
        assert!(!redirects.is_new(1, "b"));
    }
}
