//! Owns matching an answer's head against a predicate of several matchers.

use super::HeaderMatcher;
use crate::codec::ResponseHead;

/// `envoy.config.common.matcher.v3.MatchPredicate`, of an answer's headers.
#[derive(Clone, Debug)]
pub enum AnswerMatcher {
    /// `any_match`
    Always,
    /// `http_response_headers_match`: all of them.
    Headers(Vec<HeaderMatcher>),
    /// `or_match`
    Any(Vec<AnswerMatcher>),
    /// `and_match`
    All(Vec<AnswerMatcher>),
    /// `not_match`
    Not(Box<AnswerMatcher>),
}

// === impl AnswerMatcher ===

impl AnswerMatcher {
    /// Whether it is so.
    pub fn matches(&self, answer: &ResponseHead) -> bool {
        match self {
            AnswerMatcher::Always => true,
            AnswerMatcher::Headers(headers) => {
                headers.iter().all(|header| header.matches_response(answer))
            }
            AnswerMatcher::Any(rules) => rules.iter().any(|rule| rule.matches(answer)),
            AnswerMatcher::All(rules) => rules.iter().all(|rule| rule.matches(answer)),
            AnswerMatcher::Not(rule) => !rule.matches(answer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matcher::{HeaderTest, TextMatcher, TextTest};

    #[test]
    fn predicates_are_joined_as_they_are_called() {
        use AnswerMatcher as A;
        let status = |status: &str| {
            let text = TextMatcher::new(TextTest::Exact(status.as_bytes().into()), false);
            A::Headers(vec![HeaderMatcher::new(":status", HeaderTest::Text(text), false, false)])
        };
        let answer = ResponseHead { status: 404, ..ResponseHead::default() };
        for (matcher, expected) in [
            (A::Always, true),
            (status("404"), true),
            (status("500"), false),
            (A::Not(Box::new(status("404"))), false),
            (A::Any(vec![status("500"), status("404")]), true),
            (A::All(vec![status("500"), status("404")]), false),
        ] {
            assert_eq!(matcher.matches(&answer), expected, "{matcher:?}");
        }
    }
}
