//! Owns `xds.type.matcher.v3.ServerNameMatcher`: domains, of which a whole one goes before the one above it.

use std::collections::HashMap;

use super::OnMatch;

/// Domains, and what is to be done about names of them.
#[derive(Clone, Debug)]
pub struct Names<A> {
    /// `domain_matchers`
    all: Vec<OnMatch<A>>,
    /// Places in `all` by a whole name.
    whole: HashMap<Box<[u8]>, usize>,
    /// Places in `all` by what follows the dot of `*.example.com`.
    below: HashMap<Box<[u8]>, usize>,
    /// The place of `*`.
    any: Option<usize>,
}

// === impl Names ===

impl<A> Names<A> {
    /// No domain yet.
    pub fn new() -> Self {
        Self { all: Vec::new(), whole: HashMap::new(), below: HashMap::new(), any: None }
    }

    /// Adds domains that were checked; of two that are the same the former stays.
    pub fn add<'d>(&mut self, domains: impl Iterator<Item = &'d str>, on_match: OnMatch<A>) {
        let at = self.all.len();
        self.all.push(on_match);
        for domain in domains {
            let _ = match (domain, domain.strip_prefix("*.")) {
                ("*", _) => *self.any.get_or_insert(at),
                (_, Some(parent)) => *self.below.entry(parent.as_bytes().into()).or_insert(at),
                (whole, None) => *self.whole.entry(whole.as_bytes().into()).or_insert(at),
            };
        }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &OnMatch<A>> {
        self.all.iter()
    }

    /// Those that the name is of, the longest first. Case counts; an empty name is of none.
    pub(super) fn of<'t>(&'t self, name: &[u8]) -> impl Iterator<Item = &'t OnMatch<A>> {
        let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        let parents = dots.filter_map(|(at, _)| name.get(at + 1..));
        let below = parents.filter_map(|parent| self.below.get(parent));
        let any = self.any.as_ref().filter(|_| !name.is_empty());
        let places = self.whole.get(name).into_iter().chain(below).chain(any);
        places.filter_map(|at| self.all.get(*at))
    }
}

impl<A> Default for Names<A> {
    fn default() -> Self {
        Self::new()
    }
}
