//! Owns predicates: a test of one input, and how tests are joined.

use std::net::IpAddr;

use ipnet::IpNet;
use understudy_actors::runtime::Share;

use super::{Facts, Input, Value};
use crate::{matcher::TextMatcher, xxhash::xxh64};

/// `MatcherList.Predicate`
#[derive(Clone, Debug)]
pub enum Predicate {
    /// `single_predicate`: what an input must be like. One that is missing is like nothing.
    Single(Input, Test),
    /// `or_matcher`
    Any(Vec<Predicate>),
    /// `and_matcher`
    All(Vec<Predicate>),
    /// `not_matcher`
    Not(Box<Predicate>),
}

/// What an input must be like.
#[derive(Clone, Debug)]
pub enum Test {
    /// `value_match`
    Text(TextMatcher),
    /// `envoy.matching.matchers.ip`: an address within one of these.
    Ip(Vec<IpNet>),
    /// `envoy.matching.matchers.consistent_hashing`
    Hash {
        /// `threshold`: the remainder is no less.
        threshold: u64,
        /// `modulo`
        modulo: u64,
        /// `seed`
        seed: u64,
    },
    /// `envoy.matching.matchers.runtime_fraction`: so many of the values, always the same ones.
    Fraction {
        /// `runtime_fraction.default_value`
        share: Share,
        /// `runtime_fraction.runtime_key`; empty for none.
        key: String,
        /// `seed`
        seed: u64,
    },
}

// === impl Predicate ===

impl Predicate {
    /// Whether it is so; none where that cannot be known.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> Option<bool> {
        match self {
            Predicate::Single(input, test) => match input.of(facts) {
                Value::Unknown => None,
                Value::Missing => Some(false),
                value => Some(test.passes(&value, facts)),
            },
            Predicate::Not(predicate) => predicate.holds(facts).map(|holds| !holds),
            // The first that does not hold decides, be it that it is not known.
            Predicate::All(all) => {
                let others = all.iter().map(|one| one.holds(facts));
                others.into_iter().find(|holds| *holds != Some(true)).unwrap_or(Some(true))
            }
            // One that holds decides, whatever is not known of those before it.
            Predicate::Any(any) => {
                let mut known = Some(false);
                for holds in any.iter().map(|one| one.holds(facts)) {
                    match holds {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => known = None,
                    }
                }
                known
            }
        }
    }

    pub(super) fn asks(&self, like: fn(&Input) -> bool) -> bool {
        match self {
            Predicate::Single(input, _) => like(input),
            Predicate::Any(all) | Predicate::All(all) => all.iter().any(|one| one.asks(like)),
            Predicate::Not(predicate) => predicate.asks(like),
        }
    }
}

// === impl Test ===

impl Test {
    fn passes(&self, value: &Value<'_>, facts: &Facts<'_>) -> bool {
        let hash = |seed: u64| value.with_text(|text| xxh64(text, seed));
        match self {
            Test::Text(matcher) => value.with_text(|text| matcher.matches(text)),
            Test::Ip(ranges) => {
                let within = |ip: IpAddr| ranges.iter().any(|range| range.contains(&ip));
                value.ip().is_some_and(within)
            }
            Test::Hash { threshold, modulo, seed } => {
                hash(*seed).checked_rem(*modulo).is_some_and(|rest| rest >= *threshold)
            }
            Test::Fraction { share, key, seed } => match facts.shares {
                Some(shares) => shares.takes(key, *share, hash(*seed)),
                None => share.takes(hash(*seed)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use understudy_actors::runtime::Runtime;

    use super::*;
    use crate::{codec::RequestHead, matcher::HeaderName};

    /// Observed: Envoy 1.40, fifteen values of a header for each.
    #[test]
    fn values_are_spread_as_envoy_spreads_them() {
        let values =
            ["", "a", "b", "c", "hello", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"];
        let runtime = Runtime::default();
        let fraction = |numerator, denominator, seed| Test::Fraction {
            share: Share { numerator, denominator },
            key: "k".to_owned(),
            seed,
        };
        for (test, expected) in [
            (Test::Hash { threshold: 5, modulo: 10, seed: 0 }, "NYYYYNNYYYNYNNY"),
            (Test::Hash { threshold: 1, modulo: 3, seed: 7 }, "YYYYYNNYNYNNYYN"),
            (fraction(50, 100, 0), "YNNYNYNNNNYNNNY"),
            (fraction(5000, 10_000, 3), "NNNYNNYNNYYYYNY"),
            (fraction(500_000, 1_000_000, 0), "YYNNYYYYNYYNYYN"),
        ] {
            let predicate = Predicate::Single(Input::Header(HeaderName::new("x")), test);
            let holds = |value: &str| {
                let mut head = RequestHead::default();
                head.headers.append_name(b"x", value.as_bytes());
                let facts =
                    Facts { request: Some(&head), shares: Some(&runtime), ..Facts::default() };
                predicate.holds(&facts)
            };
            let letter = |value: &&str| if holds(value) == Some(true) { 'Y' } else { 'N' };
            assert_eq!(values.iter().map(letter).collect::<String>(), expected, "{predicate:?}");
        }
    }

    #[test]
    fn an_address_is_one_however_it_is_spelt() {
        let ranges = ["127.0.0.0/30", "10.0.0.0/8", "::1/128", "fd00::/8"];
        let test = Test::Ip(ranges.iter().map(|range| range.parse().unwrap()).collect());
        let facts = Facts::default();
        for (text, expected) in [
            ("127.0.0.1", true),
            ("0:0::1", true),
            ("fd12::3", true),
            ("1.2.3.4", false),
            ("::ffff:10.0.0.1", false),
            ("10.2.3.4:80", false),
            ("010.1.1.1", false),
            ("10.1", false),
            ("", false),
        ] {
            assert_eq!(
                test.passes(&Value::Text(text.as_bytes().into()), &facts),
                expected,
                "{text}"
            );
        }
        assert!(test.passes(&Value::Ip("10.0.0.1".parse().unwrap()), &facts));
        assert!(!test.passes(&Value::Port(10), &facts));
    }
}
