//! Owns trees of matchers (`xds.type.matcher.v3.Matcher`): from what is seen of a connection or a request to an action.
//!
//! What an action is, whoever has the tree says. An input that cannot be known where the tree stands, such as a name of
//! a certificate without TLS, leaves the whole of it undecided: nothing after it counts, and no `on_no_match` either.
//!
//! Observed: Envoy 1.40, by `envoy.filters.http.rbac`: trees of each kind, nested in each other, and requests that meet
//! all of a tree, a part and none.

mod input;
mod names;
mod predicate;
mod prefixes;
mod ranges;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use input::{Facts, Input, Shares, Value, is_same_ip_or_loopback};
pub use names::Names;
pub use predicate::{Predicate, Test};
pub use prefixes::Prefixes;
pub use ranges::{Range, Ranges};

/// `Matcher`
#[derive(Clone, Debug)]
pub struct Tree<A> {
    /// How it branches.
    pub branches: Branches<A>,
    /// `on_no_match`
    pub otherwise: Option<OnMatch<A>>,
}

/// `Matcher.matcher_type`
#[derive(Clone, Debug)]
pub enum Branches<A> {
    /// It is not set: nothing ever matches.
    None,
    /// `matcher_list`, in its order.
    List(Vec<(Predicate, OnMatch<A>)>),
    /// `matcher_tree.exact_match_map`
    Exact(Input, MatchMap<A>),
    /// `matcher_tree.prefix_match_map`
    Prefix(Input, Prefixes<A>),
    /// `matcher_tree.custom_match`: `IPMatcher`
    Ranges(Input, Ranges<A>),
    /// `matcher_tree.custom_match`: `ServerNameMatcher`
    Names(Input, Names<A>),
}

/// `Matcher.OnMatch`
#[derive(Clone, Debug)]
pub enum OnMatch<A> {
    /// `action`
    Action(A),
    /// `matcher`: where it matches nothing, what led to it has not matched either.
    Tree(Box<Tree<A>>),
}

/// `MatcherTree.MatchMap`
pub type MatchMap<A> = HashMap<Box<[u8]>, OnMatch<A>>;

/// What a tree comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'t, A> {
    /// This is to be done.
    Action(&'t A),
    /// Nothing matches.
    NoMatch,
    /// What would decide cannot be known here.
    Undecided,
}

// === impl Tree ===

impl<A> Tree<A> {
    /// What is to be done about a connection or a request.
    pub fn find(&self, facts: &Facts<'_>) -> Outcome<'_, A> {
        match self.branch(facts) {
            Outcome::NoMatch => match &self.otherwise {
                Some(otherwise) => otherwise.follow(facts),
                None => Outcome::NoMatch,
            },
            decided => decided,
        }
    }

    fn branch(&self, facts: &Facts<'_>) -> Outcome<'_, A> {
        let input = match &self.branches {
            Branches::None => return Outcome::NoMatch,
            Branches::List(list) => return follow_list(list, facts),
            Branches::Exact(input, _)
            | Branches::Prefix(input, _)
            | Branches::Ranges(input, _)
            | Branches::Names(input, _) => input,
        };
        let value = match input.of(facts) {
            Value::Unknown => return Outcome::Undecided,
            Value::Missing => return Outcome::NoMatch,
            value => value,
        };
        match &self.branches {
            Branches::None | Branches::List(_) => Outcome::NoMatch,
            Branches::Exact(_, map) => {
                let found = value.with_text(|text| map.get(text));
                found.map_or(Outcome::NoMatch, |found| found.follow(facts))
            }
            Branches::Prefix(_, prefixes) => {
                value.with_text(|text| first(prefixes.of(text), facts))
            }
            Branches::Ranges(_, ranges) => match value.ip() {
                Some(ip) => first(ranges.of(ip), facts),
                None => Outcome::NoMatch,
            },
            Branches::Names(_, names) => value.with_text(|text| first(names.of(text), facts)),
        }
    }

    /// Whether a test of it, or a branch, looks at an input like that.
    pub fn asks(&self, like: fn(&Input) -> bool) -> bool {
        let below = |on: &OnMatch<A>| matches!(on, OnMatch::Tree(tree) if tree.asks(like));
        let here = match &self.branches {
            Branches::None => false,
            Branches::List(list) => list.iter().any(|(test, on)| test.asks(like) || below(on)),
            Branches::Exact(input, map) => like(input) || map.values().any(below),
            Branches::Prefix(input, map) => like(input) || map.all().any(below),
            Branches::Ranges(input, ranges) => like(input) || ranges.all().any(below),
            Branches::Names(input, names) => like(input) || names.all().any(below),
        };
        here || self.otherwise.as_ref().is_some_and(below)
    }
}

/// The first that matches, and whose tree comes to something.
fn follow_list<'t, A>(list: &'t [(Predicate, OnMatch<A>)], facts: &Facts<'_>) -> Outcome<'t, A> {
    for (predicate, on_match) in list {
        match predicate.holds(facts) {
            Some(true) => match on_match.follow(facts) {
                Outcome::NoMatch => {}
                decided => return decided,
            },
            Some(false) => {}
            None => return Outcome::Undecided,
        }
    }
    Outcome::NoMatch
}

/// The first of those that fit, the most specific one in front, that comes to something.
fn first<'t, A: 't>(
    mut fitting: impl Iterator<Item = &'t OnMatch<A>>,
    facts: &Facts<'_>,
) -> Outcome<'t, A> {
    let decided = fitting.find_map(|one| match one.follow(facts) {
        Outcome::NoMatch => None,
        decided => Some(decided),
    });
    decided.unwrap_or(Outcome::NoMatch)
}

// === impl OnMatch ===

impl<A> OnMatch<A> {
    fn follow(&self, facts: &Facts<'_>) -> Outcome<'_, A> {
        match self {
            OnMatch::Action(action) => Outcome::Action(action),
            OnMatch::Tree(tree) => tree.find(facts),
        }
    }
}
