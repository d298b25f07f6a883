//! Owns `prefix_match_map`: the longest prefix of a text goes first, then the shorter ones.

use super::{MatchMap, OnMatch};

/// Prefixes, and what is to be done about texts that begin with them.
#[derive(Clone, Debug)]
pub struct Prefixes<A> {
    map: MatchMap<A>,
    /// The lengths there are, the longest first: a look-up for each and no more.
    lengths: Vec<usize>,
}

// === impl Prefixes ===

impl<A> Prefixes<A> {
    /// Makes it of pairs.
    pub fn new(map: MatchMap<A>) -> Self {
        let mut lengths = map.keys().map(|prefix| prefix.len()).collect::<Vec<_>>();
        lengths.sort_unstable_by(|one, two| two.cmp(one));
        lengths.dedup();
        Self { map, lengths }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &OnMatch<A>> {
        self.map.values()
    }

    /// Those that the text begins with, the longest first.
    pub(super) fn of<'t>(&'t self, text: &[u8]) -> impl Iterator<Item = &'t OnMatch<A>> {
        self.lengths.iter().filter_map(|length| self.map.get(text.get(..*length)?))
    }
}
