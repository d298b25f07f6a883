//! Owns the index of one virtual host's routes by path: the first match in the order of the file,
//! without looking at every route.

use super::texts::Texts;
use crate::config::model::route::{PathMatch, RouteMatch};

/// Finds the first route that takes a path.
///
/// Exact paths and prefixes are looked up by hash, prefixes once for each length that occurs;
/// what cannot be looked up (regular expressions, routes that ignore case) is tried in order, and
/// only as far as it could still come first.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: Texts,
    prefixes: Texts,
    /// Lengths that occur among the prefixes, ascending, each with the first route of that length.
    lengths: Vec<(usize, usize)>,
    scanned: Vec<usize>,
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
                PathMatch::Exact(path) => {
                    paths.exact.entry(path.as_bytes().into()).or_insert(route);
                }
                PathMatch::Prefix(prefix) => {
                    paths.prefixes.entry(prefix.as_bytes().into()).or_insert(route);
                    if !paths.lengths.iter().any(|(length, _)| *length == prefix.len()) {
                        paths.lengths.push((prefix.len(), route));
                    }
                }
            }
        }
        paths.lengths.sort_unstable();
        paths
    }

    /// The first route that takes `path` (without query); `matches` decides for those that are tried.
    pub(super) fn find(&self, path: &[u8], matches: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = self.exact.get(path).copied().unwrap_or(usize::MAX);
        for (length, first) in &self.lengths {
            let Some(head) = path.get(..*length) else { break };
            if *first < best {
                best = best.min(self.prefixes.get(head).copied().unwrap_or(usize::MAX));
            }
        }
        let earlier = self.scanned.iter().copied().take_while(|route| *route < best);
        earlier.into_iter().find(|route| matches(*route)).or((best != usize::MAX).then_some(best))
    }
}
