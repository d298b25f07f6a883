//! Owns `xds.type.matcher.v3.IPMatcher`: ranges of addresses, which may lie within each other.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

use super::OnMatch;

/// Ranges, and what is to be done about addresses within them.
#[derive(Clone, Debug)]
pub struct Ranges<A> {
    /// In the order of the file.
    all: Vec<Range<A>>,
    /// Places in `all` by a range of theirs.
    by_range: HashMap<IpNet, Vec<usize>>,
    /// The lengths of prefixes there are, of IPv4 and of IPv6, the longest first.
    lengths: [Vec<u8>; 2],
}

/// `IPRangeMatcher`
#[derive(Clone, Debug)]
pub struct Range<A> {
    /// `ranges`
    pub ranges: Vec<IpNet>,
    /// `exclusive`: it counts only where nothing is more specific.
    pub exclusive: bool,
    /// `on_match`
    pub on_match: OnMatch<A>,
}

// === impl Ranges ===

impl<A> Ranges<A> {
    /// Makes it of these.
    pub fn new(all: Vec<Range<A>>) -> Self {
        let mut by_range = HashMap::<IpNet, Vec<usize>>::new();
        for (at, range) in all.iter().enumerate() {
            for net in &range.ranges {
                by_range.entry(net.trunc()).or_default().push(at);
            }
        }
        let lengths = [true, false].map(|v4| {
            let own = by_range.keys().filter(|net| net.addr().is_ipv4() == v4);
            let mut lengths = own.map(IpNet::prefix_len).collect::<Vec<_>>();
            lengths.sort_unstable_by(|one, two| two.cmp(one));
            lengths.dedup();
            lengths
        });
        Self { all, by_range, lengths }
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &OnMatch<A>> {
        self.all.iter().map(|range| &range.on_match)
    }

    /// Those that the address is within, by the length of their prefixes and then in their order.
    pub(super) fn of(&self, ip: IpAddr) -> impl Iterator<Item = &OnMatch<A>> {
        let [v4, v6] = &self.lengths;
        let lengths = if ip.is_ipv4() { v4 } else { v6 };
        let nets = lengths.iter().filter_map(move |length| IpNet::new(ip, *length).ok());
        let places = nets.filter_map(|net| self.by_range.get(&net.trunc())).flatten();
        let fitting = places.filter_map(|at| self.all.get(*at)).enumerate();
        fitting.filter(|(at, range)| *at == 0 || !range.exclusive).map(|(_, range)| &range.on_match)
    }
}
