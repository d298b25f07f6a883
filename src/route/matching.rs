//! Owns holding a request against one route's match, said plainly; the index must agree with it.

use super::Lots;
use crate::{
    codec::{Method, RequestHead},
    config::model::route::{Condition, PathMatch, RouteMatch},
};

/// What of a match a request does not satisfy.
#[derive(Clone, Copy, Debug)]
pub enum Miss<'a> {
    /// Its path is another.
    Path,
    /// This is not so.
    Condition(&'a Condition),
}

// === impl RouteMatch ===

impl RouteMatch {
    /// Whether the request is one for the route, or the first thing that is not so; `path` is the request's
    /// without query.
    pub(super) fn check(
        &self,
        request: &RequestHead,
        path: &[u8],
        lots: &impl Lots,
    ) -> Result<(), Miss<'_>> {
        match self.takes(request, path) {
            true => self.check_conditions(request, lots),
            false => Err(Miss::Path),
        }
    }

    /// The same of all but the path.
    #[inline]
    pub(super) fn check_conditions(
        &self,
        request: &RequestHead,
        lots: &impl Lots,
    ) -> Result<(), Miss<'_>> {
        // Most routes ask for nothing else.
        for condition in &self.conditions {
            let so = match condition {
                Condition::Fraction(fraction) => lots.draws(fraction),
                Condition::Certificate { presented, validated } => {
                    let shown = lots.certificate();
                    presented.is_none_or(|wanted| wanted == shown.is_some())
                        && validated.is_none_or(|wanted| wanted == (shown == Some(true)))
                }
                Condition::FilterState(matcher) => matcher.matches(lots.filter_state()),
                other => other.is_so(request),
            };
            if !so {
                return Err(Miss::Condition(condition));
            }
        }
        Ok(())
    }

    /// Whether the path is one for the route. A request without a path is one only for `connect_matcher`.
    #[inline]
    pub(super) fn takes(&self, request: &RequestHead, path: &[u8]) -> bool {
        match &self.path {
            PathMatch::Prefix(prefix) => self.starts(path, prefix.as_bytes()) && !path.is_empty(),
            PathMatch::Exact(whole) => self.same(path, whole.as_bytes()),
            PathMatch::Separated(prefix) => {
                self.starts(path, prefix.as_bytes())
                    && matches!(path.get(prefix.len()), None | Some(b'/'))
            }
            PathMatch::Regex { regex, .. } => regex.is_match(path),
            PathMatch::Template(template) => template.is_match(path),
            PathMatch::Connect => request.method == Method::Connect,
        }
    }

    fn starts(&self, path: &[u8], text: &[u8]) -> bool {
        path.get(..text.len()).is_some_and(|head| self.same(head, text))
    }

    fn same(&self, path: &[u8], text: &[u8]) -> bool {
        match self.case_sensitive {
            true => path == text,
            false => path.eq_ignore_ascii_case(text),
        }
    }
}

// === impl Condition ===

impl Condition {
    /// Whether it is so; of a share and of what the connection says others decide.
    ///
    /// Observed: Envoy 1.40, metadata that nobody has set.
    fn is_so(&self, request: &RequestHead) -> bool {
        match self {
            Condition::Fraction(_) | Condition::Certificate { .. } | Condition::FilterState(_) => {
                true
            }
            Condition::Header(matcher) => matcher.matches(request),
            Condition::Query(matcher) => matcher.matches(request.path()),
            Condition::Cookie(matcher) => matcher.matches(&request.headers),
            Condition::Grpc => request.is_grpc(),
            Condition::Metadata { inverted, .. } => *inverted,
        }
    }
}
