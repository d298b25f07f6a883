//! Owns how a virtual host's route is found: which of its routes are tried for a request.

use std::ops::Range;

use understudy_actors::runtime::Share;

use super::{paths::Paths, table::Lots};
use crate::{
    codec::RequestHead,
    config::model::route::VirtualHost,
    matcher::tree::{Facts, Outcome, Shares},
};

/// Up to so many routes are tried one by one: that costs less than looking up.
const TRIED_ROUTES_MAX: usize = 6;

/// How the route of a virtual host is found.
#[derive(Debug)]
pub(super) enum Search {
    /// They are tried one by one.
    InTurn,
    /// Its index says which to try.
    Indexed(Paths),
    /// Its matcher says which to try.
    Matched,
}

/// What the lots of a request say to a matcher.
struct ByLots<'l, L>(&'l L);

// === impl Search ===

impl Search {
    /// How those of this virtual host are.
    pub(super) fn of(host: &VirtualHost) -> Self {
        if host.matcher.is_some() {
            return Search::Matched;
        }
        match host.routes.len() > TRIED_ROUTES_MAX {
            true => Search::Indexed(Paths::index(host.routes.iter().map(|route| &route.matcher))),
            false => Search::InTurn,
        }
    }
}

/// The places of the routes that are tried for a request.
pub(super) fn tried(host: &VirtualHost, request: &RequestHead, lots: &impl Lots) -> Range<usize> {
    let Some(matcher) = &host.matcher else { return 0..host.routes.len() };
    let shares = ByLots(lots);
    let facts = Facts {
        request: Some(request),
        filter_state: lots.filter_state(),
        shares: Some(&shares),
        ..Facts::default()
    };
    match matcher.find(&facts) {
        Outcome::Action(routes) => routes.clone(),
        Outcome::NoMatch | Outcome::Undecided => 0..0,
    }
}

// === impl ByLots ===

impl<L: Lots> Shares for ByLots<'_, L> {
    fn takes(&self, key: &str, default: Share, number: u64) -> bool {
        self.0.takes(key, default, number)
    }
}
