//! Owns `FilterChainMatch`: which of a listener's chains takes a connection.
//!
//! Source: `listener.proto`, whose order this is; what is more specific wins at each step, and no step is taken back.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::matcher::tree::is_same_ip_or_loopback;

/// What a chain takes. An empty list takes all that nobody else asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterChainMatch {
    /// The port that was connected to, before any redirection.
    pub destination_port: Option<u16>,
    /// The address that was connected to.
    pub prefix_ranges: Vec<IpNet>,
    /// Lower case; `*.example.com` is all below it.
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`; empty takes both.
    pub transport_protocol: String,
    /// What the client offers (ALPN), or what was found of it.
    pub application_protocols: Vec<String>,
    /// Who connected, without regard to what a PROXY header says.
    pub direct_source_prefix_ranges: Vec<IpNet>,
    /// From where.
    pub source_type: SourceType,
    /// Who connected.
    pub source_prefix_ranges: Vec<IpNet>,
    /// From which port.
    pub source_ports: Vec<u16>,
}

/// From where a connection comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SourceType {
    /// From wherever.
    #[default]
    Any,
    /// From this machine.
    SameIpOrLoopback,
    /// From another.
    External,
}

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Traits<'a> {
    /// Where it was meant to go.
    pub destination: (IpAddr, u16),
    /// Who it is from.
    pub source: (IpAddr, u16),
    /// Who it is from, without regard to what a PROXY header says.
    pub direct_source: IpAddr,
    /// Which host is asked for.
    pub server_name: &'a str,
    /// `tls` where that was found; `raw_buffer` otherwise.
    pub transport_protocol: &'a str,
    /// What the client offers, in its order.
    pub application_protocols: &'a [Vec<u8>],
}

/// How well a chain fits at one step; `None` not at all, 0 where it asks for nothing.
type Fit = Option<usize>;

// === impl FilterChainMatch ===

impl FilterChainMatch {
    /// Which of these takes a connection.
    pub fn choose(all: &[&FilterChainMatch], traits: &Traits<'_>) -> Option<usize> {
        let mut left = (0..all.len()).collect::<Vec<_>>();
        for step in STEPS {
            let fits = |at: &usize| all.get(*at).and_then(|chain| step(chain, traits));
            let best = left.iter().filter_map(fits).max()?;
            left.retain(|at| fits(at) == Some(best));
        }
        left.first().copied()
    }

    /// Whether some connection would fit two of them equally well.
    pub fn overlaps(&self, other: &FilterChainMatch) -> bool {
        fn share<T: PartialEq>(one: &[T], two: &[T]) -> bool {
            (one.is_empty() && two.is_empty()) || one.iter().any(|item| two.contains(item))
        }
        self.destination_port == other.destination_port
            && self.transport_protocol == other.transport_protocol
            && self.source_type == other.source_type
            && share(&self.server_names, &other.server_names)
            && share(&self.prefix_ranges, &other.prefix_ranges)
            && share(&self.application_protocols, &other.application_protocols)
            && share(&self.direct_source_prefix_ranges, &other.direct_source_prefix_ranges)
            && share(&self.source_prefix_ranges, &other.source_prefix_ranges)
            && share(&self.source_ports, &other.source_ports)
    }

    /// Whether its choice needs what a client says of TLS.
    pub fn asks_for_tls(&self) -> bool {
        !self.server_names.is_empty()
            || !self.application_protocols.is_empty()
            || self.transport_protocol == "tls"
    }
}

const STEPS: [fn(&FilterChainMatch, &Traits<'_>) -> Fit; 9] = [
    |chain, traits| match chain.destination_port {
        None => Some(0),
        Some(port) => (port == traits.destination.1).then_some(1),
    },
    |chain, traits| prefix(&chain.prefix_ranges, traits.destination.0),
    |chain, traits| server_name(&chain.server_names, traits.server_name),
    |chain, traits| match chain.transport_protocol.is_empty() {
        true => Some(0),
        false => (chain.transport_protocol == traits.transport_protocol).then_some(1),
    },
    |chain, traits| application(&chain.application_protocols, traits.application_protocols),
    |chain, traits| prefix(&chain.direct_source_prefix_ranges, traits.direct_source),
    |chain, traits| {
        let local = is_same_ip_or_loopback(traits.source.0, traits.destination.0);
        match chain.source_type {
            SourceType::Any => Some(0),
            SourceType::SameIpOrLoopback => local.then_some(1),
            SourceType::External => (!local).then_some(1),
        }
    },
    |chain, traits| prefix(&chain.source_prefix_ranges, traits.source.0),
    |chain, traits| match chain.source_ports.is_empty() {
        true => Some(0),
        false => chain.source_ports.contains(&traits.source.1).then_some(1),
    },
];

fn prefix(ranges: &[IpNet], ip: IpAddr) -> Fit {
    if ranges.is_empty() {
        return Some(0);
    }
    let within = ranges.iter().filter(|range| range.contains(&ip));
    within.map(|range| usize::from(range.prefix_len()) + 1).max()
}

fn server_name(names: &[String], asked: &str) -> Fit {
    if names.is_empty() {
        return Some(0);
    }
    let fits = names.iter().filter_map(|name| match name.strip_prefix('*') {
        Some(suffix) => {
            (asked.len() > suffix.len() && asked.ends_with(suffix)).then_some(suffix.len() + 1)
        }
        None => (name == asked).then_some(usize::MAX),
    });
    fits.max()
}

fn application(wanted: &[String], offered: &[Vec<u8>]) -> Fit {
    if wanted.is_empty() {
        return Some(0);
    }
    let at = offered.iter().position(|offer| wanted.iter().any(|name| name.as_bytes() == offer));
    at.map(|at| usize::MAX - at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> FilterChainMatch {
        let server_names = names.iter().map(|name| (*name).to_owned()).collect();
        FilterChainMatch { server_names, ..FilterChainMatch::default() }
    }

    fn traits<'a>(server_name: &'a str, offered: &'a [Vec<u8>]) -> Traits<'a> {
        Traits {
            destination: ("10.1.2.3".parse().unwrap(), 443),
            source: ("192.0.2.7".parse().unwrap(), 5000),
            direct_source: "192.0.2.7".parse().unwrap(),
            server_name,
            transport_protocol: "tls",
            application_protocols: offered,
        }
    }

    #[test]
    fn an_exact_name_wins_over_the_longest_suffix_and_that_over_none() {
        let all =
            [names(&[]), names(&["*.test"]), names(&["*.a.test", "b.test"]), names(&["x.a.test"])];
        let all = all.iter().collect::<Vec<_>>();
        let chosen = |name| FilterChainMatch::choose(&all, &traits(name, &[]));
        assert_eq!(chosen("x.a.test"), Some(3));
        assert_eq!(chosen("y.a.test"), Some(2));
        assert_eq!(chosen("b.test"), Some(2));
        assert_eq!(chosen("c.test"), Some(1));
        assert_eq!(chosen("test"), Some(0));
        assert_eq!(chosen(""), Some(0));
        assert_eq!(FilterChainMatch::choose(&all[1..], &traits("", &[])), None);
    }

    /// The name decides before the protocol, and is not taken back.
    #[test]
    fn an_earlier_step_is_not_taken_back() {
        let http2 =
            FilterChainMatch { application_protocols: vec!["h2".to_owned()], ..names(&["a.test"]) };
        let all = [http2, names(&[])];
        let all = all.iter().collect::<Vec<_>>();
        let offers = [b"h2".to_vec()];
        assert_eq!(FilterChainMatch::choose(&all, &traits("a.test", &offers)), Some(0));
        assert_eq!(FilterChainMatch::choose(&all, &traits("a.test", &[])), None);
        assert_eq!(FilterChainMatch::choose(&all, &traits("b.test", &[])), Some(1));
    }

    #[test]
    fn addresses_go_by_the_longest_prefix_and_ports_before_them() {
        let ranges = |prefixes: &[&str]| {
            let prefix_ranges = prefixes.iter().map(|text| text.parse().unwrap()).collect();
            FilterChainMatch { prefix_ranges, ..FilterChainMatch::default() }
        };
        let port = FilterChainMatch { destination_port: Some(80), ..ranges(&["10.1.2.3/32"]) };
        let all = [ranges(&["10.0.0.0/8"]), ranges(&["10.1.0.0/16"]), port, ranges(&[])];
        let all = all.iter().collect::<Vec<_>>();
        assert_eq!(FilterChainMatch::choose(&all, &traits("", &[])), Some(1));
    }

    #[test]
    fn sources_are_told_apart_by_kind_address_and_port() {
        let of = |source_type, range: Option<&str>, source_ports: &[u16]| FilterChainMatch {
            source_type,
            source_prefix_ranges: range.iter().map(|text| text.parse().unwrap()).collect(),
            source_ports: source_ports.to_vec(),
            ..FilterChainMatch::default()
        };
        let all = [
            of(SourceType::SameIpOrLoopback, None, &[]),
            of(SourceType::External, Some("192.0.2.0/24"), &[5000]),
            of(SourceType::External, Some("192.0.2.0/24"), &[]),
            of(SourceType::Any, None, &[]),
        ];
        let all = all.iter().collect::<Vec<_>>();
        assert_eq!(FilterChainMatch::choose(&all, &traits("", &[])), Some(1));
        let other_port = Traits { source: ("192.0.2.7".parse().unwrap(), 1), ..traits("", &[]) };
        assert_eq!(FilterChainMatch::choose(&all, &other_port), Some(2));
        let home = ("127.0.0.1".parse().unwrap(), 1);
        let local = Traits { source: home, direct_source: home.0, ..traits("", &[]) };
        assert_eq!(FilterChainMatch::choose(&all, &local), Some(0));
        let seventh = Traits { source: ("127.0.0.7".parse().unwrap(), 1), ..local };
        assert_eq!(FilterChainMatch::choose(&all, &seventh), None, "it comes from outside");
    }

    #[test]
    fn what_some_connection_would_fit_twice_overlaps() {
        assert!(names(&["a", "b"]).overlaps(&names(&["b"])));
        assert!(!names(&["a"]).overlaps(&names(&[])));
        assert!(names(&[]).overlaps(&names(&[])));
    }
}
