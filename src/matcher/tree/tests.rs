//! Trees against a slow reading of the same configuration.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::{
    codec::RequestHead,
    matcher::{HeaderName, TextMatcher, TextTest},
};

/// A tree as a configuration has it.
#[derive(Clone, Debug)]
struct Plan {
    kind: Kind,
    otherwise: Option<Box<Then>>,
}

#[derive(Clone, Debug)]
enum Kind {
    None,
    List(Vec<(Rule, Then)>),
    Exact(Seen, Vec<(String, Then)>),
    Prefix(Seen, Vec<(String, Then)>),
    Ranges(Seen, Vec<(Vec<IpNet>, bool, Then)>),
    Names(Seen, Vec<(Vec<String>, Then)>),
}

#[derive(Clone, Debug)]
enum Then {
    Action(u8),
    Plan(Box<Plan>),
}

#[derive(Clone, Debug)]
enum Rule {
    Is(Seen, String),
    Any(Vec<Rule>),
    All(Vec<Rule>),
    Not(Box<Rule>),
}

/// A header, or what cannot be known without TLS.
#[derive(Clone, Copy, Debug)]
enum Seen {
    Header(&'static str),
    Unknown,
}

/// What a slow reading comes to; the outer one is none where it is undecided.
type Found = Option<Option<u8>>;

/// The headers of a request; each may be missing.
type Request = [Option<String>; 2];

// === impl Seen ===

impl Seen {
    fn of(self, request: &Request) -> Option<Option<&str>> {
        match self {
            Seen::Header("x") => Some(request[0].as_deref()),
            Seen::Header(_) => Some(request[1].as_deref()),
            Seen::Unknown => None,
        }
    }

    fn input(self) -> Input {
        match self {
            Seen::Header(name) => Input::Header(HeaderName::new(name)),
            Seen::Unknown => Input::UriSans,
        }
    }
}

// === impl Plan ===

impl Plan {
    fn read(&self, request: &Request) -> Found {
        match self.branch(request)? {
            None => self.otherwise.as_ref().map_or(Some(None), |then| then.read(request)),
            found => Some(found),
        }
    }

    fn branch(&self, request: &Request) -> Found {
        // All that fit, the one that goes first in front.
        let fitting: Vec<&Then> = match &self.kind {
            Kind::None => Vec::new(),
            Kind::List(list) => {
                for (rule, then) in list {
                    if rule.read(request)?
                        && let Some(found) = then.read(request)?
                    {
                        return Some(Some(found));
                    }
                }
                Vec::new()
            }
            Kind::Exact(seen, map) => {
                let Some(text) = seen.of(request)? else { return Some(None) };
                map.iter().filter(|(key, _)| key == text).map(|(_, then)| then).collect()
            }
            Kind::Prefix(seen, map) => {
                let Some(text) = seen.of(request)? else { return Some(None) };
                let mut fit = map
                    .iter()
                    .filter(|(key, _)| text.starts_with(key.as_str()))
                    .collect::<Vec<_>>();
                fit.sort_by_key(|(key, _)| std::cmp::Reverse(key.len()));
                fit.into_iter().map(|(_, then)| then).collect()
            }
            Kind::Ranges(seen, ranges) => {
                let text = seen.of(request)?;
                let Some(ip) = text.and_then(|text| text.parse::<IpAddr>().ok()) else {
                    return Some(None);
                };
                let all = ranges.iter().flat_map(|(nets, exclusive, then)| {
                    nets.iter().map(move |net| (net, *exclusive, then))
                });
                let mut fit = all.filter(|(net, ..)| net.contains(&ip)).collect::<Vec<_>>();
                fit.sort_by_key(|(net, ..)| std::cmp::Reverse(net.prefix_len()));
                let specific = fit.iter().enumerate().filter(|(at, one)| *at == 0 || !one.1);
                specific.map(|(_, (.., then))| *then).collect()
            }
            Kind::Names(seen, names) => {
                let Some(text) = seen.of(request)? else { return Some(None) };
                let fits = |domain: &str| match domain.strip_prefix('*') {
                    Some("") => !text.is_empty(),
                    Some(end) => text.ends_with(end),
                    None => domain == text,
                };
                let all =
                    names.iter().flat_map(|(all, then)| all.iter().map(move |one| (one, then)));
                let mut fit = all.filter(|(domain, _)| fits(domain)).collect::<Vec<_>>();
                fit.sort_by_key(|(domain, _)| {
                    (domain.starts_with('*'), std::cmp::Reverse(domain.len()))
                });
                fit.into_iter().map(|(_, then)| then).collect()
            }
        };
        for then in fitting {
            if let Some(found) = then.read(request)? {
                return Some(Some(found));
            }
        }
        Some(None)
    }

    fn tree(&self) -> Tree<u8> {
        let map = |map: &[(String, Then)]| {
            map.iter().map(|(key, then)| (key.as_bytes().into(), then.on_match())).collect()
        };
        let branches = match &self.kind {
            Kind::None => Branches::None,
            Kind::List(list) => Branches::List(
                list.iter().map(|(rule, then)| (rule.predicate(), then.on_match())).collect(),
            ),
            Kind::Exact(seen, all) => Branches::Exact(seen.input(), map(all)),
            Kind::Prefix(seen, all) => Branches::Prefix(seen.input(), Prefixes::new(map(all))),
            Kind::Ranges(seen, all) => {
                let range = |(ranges, exclusive, then): &(Vec<IpNet>, bool, Then)| Range {
                    ranges: ranges.clone(),
                    exclusive: *exclusive,
                    on_match: then.on_match(),
                };
                Branches::Ranges(seen.input(), Ranges::new(all.iter().map(range).collect()))
            }
            Kind::Names(seen, all) => {
                let mut names = Names::new();
                for (domains, then) in all {
                    names.add(domains.iter().map(String::as_str), then.on_match());
                }
                Branches::Names(seen.input(), names)
            }
        };
        Tree { branches, otherwise: self.otherwise.as_ref().map(|then| then.on_match()) }
    }
}

impl Then {
    fn read(&self, request: &Request) -> Found {
        match self {
            Then::Action(action) => Some(Some(*action)),
            Then::Plan(plan) => plan.read(request),
        }
    }

    fn on_match(&self) -> OnMatch<u8> {
        match self {
            Then::Action(action) => OnMatch::Action(*action),
            Then::Plan(plan) => OnMatch::Tree(Box::new(plan.tree())),
        }
    }
}

impl Rule {
    fn read(&self, request: &Request) -> Option<bool> {
        match self {
            Rule::Is(seen, text) => Some(seen.of(request)? == Some(text)),
            Rule::Not(rule) => rule.read(request).map(|holds| !holds),
            Rule::Any(rules) => {
                let all = rules.iter().map(|rule| rule.read(request)).collect::<Vec<_>>();
                match all.contains(&Some(true)) {
                    true => Some(true),
                    false if all.contains(&None) => None,
                    false => Some(false),
                }
            }
            Rule::All(rules) => {
                for rule in rules {
                    if !rule.read(request)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
        }
    }

    fn predicate(&self) -> Predicate {
        let all = |rules: &[Rule]| rules.iter().map(Rule::predicate).collect();
        match self {
            Rule::Is(seen, text) => Predicate::Single(seen.input(), exact(text)),
            Rule::Any(rules) => Predicate::Any(all(rules)),
            Rule::All(rules) => Predicate::All(all(rules)),
            Rule::Not(rule) => Predicate::Not(Box::new(rule.predicate())),
        }
    }
}

fn exact(text: &str) -> Test {
    Test::Text(TextMatcher::new(TextTest::Exact(text.as_bytes().into()), false))
}

fn head(request: &Request) -> RequestHead {
    let mut head = RequestHead::default();
    for (name, value) in [b"x", b"y"].into_iter().zip(request) {
        value.iter().for_each(|value| head.headers.append_name(name, value.as_bytes()));
    }
    head
}

fn texts() -> impl Strategy<Value = String> {
    let texts = ["", "a", "ab", "abc", "10.0.0.1", "10.1.0.1", "::1", "b.a", "c.b.a", ".a"];
    prop::sample::select(texts.to_vec()).prop_map(str::to_owned)
}

fn seen() -> impl Strategy<Value = Seen> {
    prop_oneof![4 => Just(Seen::Header("x")), 4 => Just(Seen::Header("y")), 1 => Just(Seen::Unknown)]
}

fn rules() -> impl Strategy<Value = Rule> {
    let is = (seen(), texts()).prop_map(|(seen, text)| Rule::Is(seen, text));
    is.prop_recursive(2, 6, 3, |inner| {
        let some = prop::collection::vec(inner.clone(), 2..4);
        prop_oneof![
            some.clone().prop_map(Rule::Any),
            some.prop_map(Rule::All),
            inner.prop_map(|rule| Rule::Not(Box::new(rule))),
        ]
    })
}

fn nets() -> impl Strategy<Value = IpNet> {
    let nets = ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.1/32", "0.0.0.0/0", "::/0", "::1/128"];
    prop::sample::select(nets.map(|net| net.parse::<IpNet>().unwrap()).to_vec())
}

fn domains() -> impl Strategy<Value = Vec<String>> {
    let all = ["a", "b.a", "*.a", "*.b.a", "*", "c.b.a"].map(str::to_owned).to_vec();
    prop::sample::subsequence(all, 0..5).prop_shuffle()
}

fn plans() -> impl Strategy<Value = Plan> {
    let plan = move |then: BoxedStrategy<Then>| {
        let list = prop::collection::vec((rules(), then.clone()), 0..4);
        let map = || prop::collection::hash_map(texts(), then.clone(), 0..5);
        let map = || map().prop_map(|map| map.into_iter().collect::<Vec<_>>());
        let range = (prop::collection::vec(nets(), 1..3), any::<bool>(), then.clone());
        let named = (domains(), prop::collection::vec(then.clone(), 5));
        let named = named.prop_map(|(domains, thens)| {
            domains.into_iter().map(|one| vec![one]).zip(thens).collect::<Vec<_>>()
        });
        let kind = prop_oneof![
            1 => Just(Kind::None),
            4 => list.prop_map(Kind::List),
            2 => (seen(), map()).prop_map(|(seen, map)| Kind::Exact(seen, map)),
            3 => (seen(), map()).prop_map(|(seen, map)| Kind::Prefix(seen, map)),
            3 => (seen(), prop::collection::vec(range, 0..4)).prop_map(|(s, all)| Kind::Ranges(s, all)),
            3 => (seen(), named).prop_map(|(seen, all)| Kind::Names(seen, all)),
        ];
        let otherwise = prop::option::of(then.prop_map(Box::new));
        (kind, otherwise).prop_map(|(kind, otherwise)| Plan { kind, otherwise }).boxed()
    };
    let leaf = any::<u8>().prop_map(Then::Action).boxed();
    let then = leaf.prop_recursive(3, 24, 4, move |inner| {
        plan(inner.boxed()).prop_map(|plan| Then::Plan(Box::new(plan)))
    });
    then.prop_map(|then| match then {
        Then::Plan(plan) => *plan,
        action => Plan { kind: Kind::None, otherwise: Some(Box::new(action)) },
    })
}

proptest! {
    #[test]
    fn a_tree_comes_to_what_a_slow_reading_comes_to(
        plan in plans(),
        requests in prop::collection::vec([prop::option::of(texts()), prop::option::of(texts())], 8),
    ) {
        let tree = plan.tree();
        for request in requests {
            let head = head(&request);
            let facts = Facts { request: Some(&head), ..Facts::default() };
            let found = match tree.find(&facts) {
                Outcome::Action(action) => Some(Some(*action)),
                Outcome::NoMatch => Some(None),
                Outcome::Undecided => None,
            };
            prop_assert_eq!(found, plan.read(&request), "{:?}", request);
        }
    }
}
