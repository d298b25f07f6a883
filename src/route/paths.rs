//! Owns the index of one virtual host's routes by path: the first match in the order of the file, without
//! looking at every route.

use std::{collections::HashMap, hash::BuildHasherDefault};

use super::texts::TextHasher;
use crate::config::model::route::{PathMatch, RouteMatch};

/// Finds the first route that takes a request.
///
/// Exact paths and prefixes are looked up by hash, prefixes once for each length that occurs; what cannot be
/// looked up (regular expressions, templates) is tried in order, and only as far as it could still come
/// first.
#[derive(Debug, Default)]
pub(super) struct Paths {
    plain: Written,
    /// Routes that ignore case, in lower case.
    lower: Option<Box<Written>>,
    scanned: Vec<usize>,
}

/// Routes whose path is a text.
#[derive(Debug, Default)]
struct Written {
    exact: Groups,
    prefixes: Prefixes,
    /// Prefixes that a slash or nothing follows.
    separated: Prefixes,
}

/// Routes by the beginning of a path.
#[derive(Debug, Default)]
struct Prefixes {
    groups: Groups,
    /// Lengths that occur, ascending, each with the first route of that length.
    lengths: Vec<(usize, usize)>,
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
            paths.add(rule, route);
        }
        paths
    }

    fn add(&mut self, rule: &RouteMatch, route: usize) {
        let fold = |text: &str| match rule.case_sensitive {
            true => text.as_bytes().to_vec(),
            false => text.as_bytes().to_ascii_lowercase(),
        };
        let written = match rule.case_sensitive {
            true => &mut self.plain,
            false => &mut **self.lower.get_or_insert_default(),
        };
        match &rule.path {
            PathMatch::Exact(path) => written.exact.add(&fold(path), route),
            PathMatch::Prefix(prefix) => written.prefixes.add(&fold(prefix), route),
            PathMatch::Separated(prefix) => written.separated.add(&fold(prefix), route),
            PathMatch::Regex { .. } | PathMatch::Template(_) | PathMatch::Connect => {
                self.scanned.push(route);
            }
        }
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
        let lower = self.lower.as_ref().map(|written| (written, path.to_ascii_lowercase()));
        let first_from = |from: usize| {
            let plain = self.plain.first_from(from, path);
            let lower = lower.as_ref().and_then(|(written, path)| written.first_from(from, path));
            plain.into_iter().chain(lower).min()
        };
        let mut looked_up = first_from(0);
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
            looked_up = first_from(route + 1);
        }
    }
}

// === impl Written ===

impl Written {
    /// The first route from `from` on that takes the path.
    fn first_from(&self, from: usize, path: &[u8]) -> Option<usize> {
        let mut best = self.exact.first_from(from, path).unwrap_or(usize::MAX);
        if !path.is_empty() {
            best = self.prefixes.first_from(from, path, best, |_| true);
        }
        let ends = |next: Option<&u8>| matches!(next, None | Some(b'/'));
        best = self.separated.first_from(from, path, best, ends);
        (best != usize::MAX).then_some(best)
    }
}

// === impl Prefixes ===

impl Prefixes {
    fn add(&mut self, text: &[u8], route: usize) {
        self.groups.add(text, route);
        let at = self.lengths.partition_point(|(length, _)| *length < text.len());
        if self.lengths.get(at).is_none_or(|(length, _)| *length != text.len()) {
            self.lengths.insert(at, (text.len(), route));
        }
    }

    /// The first route from `from` on that comes before `best`, or `best`. What follows the prefix must be
    /// as `ends` has it.
    fn first_from(
        &self,
        from: usize,
        path: &[u8],
        mut best: usize,
        ends: impl Fn(Option<&u8>) -> bool,
    ) -> usize {
        for (length, first) in &self.lengths {
            let Some(head) = path.get(..*length) else { break };
            if *first < best && ends(path.get(*length)) {
                best = best.min(self.groups.first_from(from, head).unwrap_or(usize::MAX));
            }
        }
        best
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
