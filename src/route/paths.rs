//! Owns the index of one virtual host's routes by path: the first match in the order of the file, without
//! looking at every route.

use std::{collections::HashMap, hash::BuildHasherDefault};

use super::texts::TextHasher;
use crate::config::model::route::{PathMatch, RouteMatch};

/// Finds the first route that takes a request.
///
/// Exact paths and prefixes are looked up by hash, prefixes once for each length that occurs; what cannot be
/// looked up (regular expressions, routes that ignore case) is tried in order, and only as far as it could
/// still come first.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: Groups,
    prefixes: Groups,
    /// Lengths that occur among the prefixes, ascending, each with the first route of that length.
    lengths: Vec<(usize, usize)>,
    scanned: Vec<usize>,
}

/// Routes that say the same text, in order.
#[derive(Debug, Default)]
struct Groups {
    by_text: HashMap<Box<[u8]>, Group, BuildHasherDefault<TextHasher>>,
}

/// Mostly it is one route.
#[derive(Debug)]
struct Group {
    first: usize,
    more: Vec<usize>,
}

// === impl Paths ===

impl Paths {
    /// Indexes routes in the order of the file.
    pub(super) fn index<'a>(matches: impl Iterator<Item = &'a RouteMatch>) -> Self {
        let mut paths = Paths::default();
        for (route, rule) in matches.enumerate() {
            match &rule.path {
                _ if !rule.case_sensitive => paths.scanned.push(route),
                PathMatch::Regex(_) => paths.scanned.push(route),
                PathMatch::Exact(path) => paths.exact.add(path.as_bytes(), route),
                PathMatch::Prefix(prefix) => {
                    paths.prefixes.add(prefix.as_bytes(), route);
                    if !paths.lengths.iter().any(|(length, _)| *length == prefix.len()) {
                        paths.lengths.push((prefix.len(), route));
                    }
                }
            }
        }
        paths.lengths.sort_unstable();
        paths
    }

    /// The first route that takes `path` (without query) and fits. `takes` decides of a path that could not
    /// be looked up, `fits` of all else that a route asks for.
    pub(super) fn find(
        &self,
        path: &[u8],
        takes: impl Fn(usize) -> bool,
        mut fits: impl FnMut(usize) -> bool,
    ) -> Option<usize> {
        let mut scanned = self.scanned.iter().copied().peekable();
        let mut looked_up = self.first_from(0, path);
        loop {
            // Whichever comes first in the file is asked first.
            while let Some(route) =
                scanned.next_if(|route| looked_up.is_none_or(|best| *route < best))
            {
                if takes(route) && fits(route) {
                    return Some(route);
                }
            }
            let route = looked_up?;
            if fits(route) {
                return Some(route);
            }
            looked_up = self.first_from(route + 1, path);
        }
    }

    /// The first route from `from` on whose path was looked up.
    fn first_from(&self, from: usize, path: &[u8]) -> Option<usize> {
        let mut best = self.exact.first_from(from, path).unwrap_or(usize::MAX);
        for (length, first) in &self.lengths {
            let Some(head) = path.get(..*length) else { break };
            if *first < best {
                best = best.min(self.prefixes.first_from(from, head).unwrap_or(usize::MAX));
            }
        }
        (best != usize::MAX).then_some(best)
    }
}

// === impl Groups ===

impl Groups {
    fn add(&mut self, text: &[u8], route: usize) {
        match self.by_text.get_mut(text) {
            Some(group) => group.more.push(route),
            None => {
                drop(self.by_text.insert(text.into(), Group { first: route, more: Vec::new() }))
            }
        }
    }

    fn first_from(&self, from: usize, text: &[u8]) -> Option<usize> {
        let group = self.by_text.get(text)?;
        if group.first >= from {
            return Some(group.first);
        }
        group.more.get(group.more.partition_point(|route| *route < from)).copied()
    }
}
