//! Owns compiling matchers of texts and headers.

use super::Compiler;
use crate::{
    config::Message,
    matcher::{AnswerMatcher, HeaderMatcher, HeaderTest, StateMatcher, TextMatcher, TextTest},
    re2::{self, Extent, Re2Error, Substitution},
};

impl Compiler<'_> {
    /// `FilterStateMatcher`
    pub(super) fn state_matcher(&mut self, matcher: &Message) -> Option<StateMatcher> {
        let key = matcher.text("key").unwrap_or_default().into();
        matcher.ignore("address_match", "no address is ever left");
        let text = match matcher.message("string_match") {
            Some(text) => Some(self.text_matcher(text)?),
            None => None,
        };
        Some(StateMatcher { key, text })
    }

    /// `StringMatcher`, of `envoy.type.matcher.v3` or of `xds.type.matcher.v3`.
    pub(super) fn text_matcher(&mut self, matcher: &Message) -> Option<TextMatcher> {
        let ignore_case = matcher.boolean("ignore_case").unwrap_or(false);
        let plain = |name: &str| matcher.text(name).map(|text| text.as_bytes().into());
        let test = if let Some(text) = plain("exact") {
            TextTest::Exact(text)
        } else if let Some(text) = plain("prefix") {
            TextTest::Prefix(text)
        } else if let Some(text) = plain("suffix") {
            TextTest::Suffix(text)
        } else if let Some(text) = plain("contains") {
            TextTest::Contains(text)
        } else if let Some(regex) = matcher.message("safe_regex") {
            if ignore_case {
                // Observed: Envoy 1.40.
                let (at, path) = (matcher.at_of("ignore_case"), matcher.path_of("ignore_case"));
                let text = "ignore_case has no effect for safe_regex.";
                self.error(at, &path, text, "begin the expression with (?i)");
            }
            TextTest::Regex(self.expression(regex)?)
        } else {
            // `custom` is left unread, and so refused.
            return None;
        };
        Some(TextMatcher::new(test, ignore_case))
    }

    /// `envoy.type.matcher.v3.RegexMatcher`: the whole of a text.
    pub(super) fn expression(&mut self, matcher: &Message) -> Option<regex::bytes::Regex> {
        matcher.ignore("google_re2", "the only engine there is");
        let text = matcher.text("regex").unwrap_or_default();
        match re2::compile(text, Extent::Whole) {
            Ok(regex) => Some(regex),
            Err(why) => {
                let text = format!("`{text}` is not a regular expression of RE2: {why}");
                self.error(matcher.at_of("regex"), &matcher.path_of("regex"), text, "");
                None
            }
        }
    }

    /// `envoy.type.matcher.v3.RegexMatchAndSubstitute`
    pub(super) fn substitution(&mut self, rewrite: &Message) -> Option<Substitution> {
        let pattern = rewrite.message("pattern")?;
        pattern.ignore("google_re2", "the only engine there is");
        let text = pattern.text("regex").unwrap_or_default();
        let substitution = rewrite.text("substitution").unwrap_or_default();
        let (at, path, text) = match Substitution::new(text, substitution) {
            Ok(substitution) => return Some(substitution),
            Err(why @ (Re2Error::BadSubstitution(_) | Re2Error::NoSuchGroup(..))) => (
                rewrite.at_of("substitution"),
                rewrite.path_of("substitution"),
                format!("`{substitution}` is not a substitution of RE2: {why}"),
            ),
            Err(why) => (
                pattern.at_of("regex"),
                pattern.path_of("regex"),
                format!("`{text}` is not a regular expression of RE2: {why}"),
            ),
        };
        self.error(at, &path, text, "");
        None
    }

    /// `envoy.config.common.matcher.v3.MatchPredicate`, of an answer's headers; rules about anything else are
    /// left unread, and so refused.
    pub(super) fn answer_matcher(&mut self, predicate: &Message) -> Option<AnswerMatcher> {
        let mut rules = |set: &Message| -> Option<Vec<_>> {
            set.messages("rules").map(|rule| self.answer_matcher(rule)).collect()
        };
        if let Some(any) = predicate.message("or_match") {
            return rules(any).map(AnswerMatcher::Any);
        }
        if let Some(all) = predicate.message("and_match") {
            return rules(all).map(AnswerMatcher::All);
        }
        if let Some(not) = predicate.message("not_match") {
            return self.answer_matcher(not).map(Box::new).map(AnswerMatcher::Not);
        }
        if let Some(headers) = predicate.message("http_response_headers_match") {
            let headers = headers.messages("headers").map(|header| self.header_matcher(header));
            return headers.collect::<Option<_>>().map(AnswerMatcher::Headers);
        }
        predicate.boolean("any_match").map(|_| AnswerMatcher::Always)
    }

    /// `envoy.config.route.v3.HeaderMatcher`
    pub(super) fn header_matcher(&mut self, matcher: &Message) -> Option<HeaderMatcher> {
        let inverted = matcher.boolean("invert_match").unwrap_or(false);
        let missing_is_empty = matcher.boolean("treat_missing_header_as_empty").unwrap_or(false);
        let plain = |name: &str| matcher.text(name).map(|text| text.as_bytes().into());
        let text = |test| HeaderTest::Text(TextMatcher::new(test, false));
        let test = if let Some(string) = matcher.message("string_match") {
            HeaderTest::Text(self.text_matcher(string)?)
        } else if let Some(regex) = matcher.message("safe_regex_match") {
            text(TextTest::Regex(self.expression(regex)?))
        } else if let Some(exact) = plain("exact_match") {
            text(TextTest::Exact(exact))
        } else if let Some(prefix) = plain("prefix_match") {
            text(TextTest::Prefix(prefix))
        } else if let Some(suffix) = plain("suffix_match") {
            text(TextTest::Suffix(suffix))
        } else if let Some(part) = plain("contains_match") {
            text(TextTest::Contains(part))
        } else if let Some(range) = matcher.message("range_match") {
            HeaderTest::Range(
                range.integer("start").unwrap_or(0),
                range.integer("end").unwrap_or(0),
            )
        } else {
            HeaderTest::Present(matcher.boolean("present_match").unwrap_or(true))
        };
        let name = matcher.text("name").unwrap_or_default();
        Some(HeaderMatcher::new(name, test, inverted, missing_is_empty))
    }
}
