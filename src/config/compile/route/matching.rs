//! Owns compiling what a route asks of a request.

use understudy_actors::runtime::Share;

use super::super::Compiler;
use crate::{
    config::{
        Message,
        model::route::{Condition, PathMatch, RouteMatch, RuntimeFraction},
    },
    matcher::{CookieMatcher, QueryMatcher, QueryTest},
    uri_template::PathTemplate,
};

const URI_TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

impl Compiler<'_> {
    pub(super) fn route_match(&mut self, rule: &Message) -> Option<RouteMatch> {
        let case_sensitive = rule.boolean("case_sensitive").unwrap_or(true);
        let conditions = self.conditions(rule);
        let path = self.path_match(rule)?;
        Some(RouteMatch { path, case_sensitive, conditions: conditions? })
    }

    fn path_match(&mut self, rule: &Message) -> Option<PathMatch> {
        let text = |name: &str| rule.text(name).map(str::to_owned);
        if let Some(prefix) = text("prefix") {
            return Some(PathMatch::Prefix(prefix));
        }
        if let Some(path) = text("path") {
            return Some(PathMatch::Exact(path));
        }
        if let Some(prefix) = text("path_separated_prefix") {
            return Some(PathMatch::Separated(prefix));
        }
        if let Some(regex) = rule.message("safe_regex") {
            let text = regex.text("regex").unwrap_or_default().to_owned();
            return self.expression(regex).map(|regex| PathMatch::Regex { text, regex });
        }
        if rule.message("connect_matcher").is_some() {
            return Some(PathMatch::Connect);
        }
        let policy = rule.message("path_match_policy")?;
        policy.ignore("name", "free text; the type decides");
        let config = &policy.any("typed_config")?.message;
        if config.name() != URI_TEMPLATE {
            self.refuse_whole(config, config.name());
            return None;
        }
        let text = config.text("path_template").unwrap_or_default();
        let template = PathTemplate::new(text).map_err(|why| {
            let text = format!("path_match_policy.path_template {text} is invalid: {why}");
            self.error(config.at_of("path_template"), &config.path_of("path_template"), text, "");
        });
        template.ok().map(PathMatch::Template)
    }

    /// All that is asked for besides the path, in Envoy's order.
    fn conditions(&mut self, rule: &Message) -> Option<Vec<Condition>> {
        let mut conditions = Vec::new();
        let mut whole = true;
        if let Some(fraction) = rule.message("runtime_fraction") {
            conditions.push(Condition::Fraction(runtime_fraction(fraction)));
        }
        if rule.message("grpc").is_some() {
            conditions.push(Condition::Grpc);
        }
        for header in rule.messages("headers") {
            let matcher = self.header_matcher(header);
            whole &= matcher.is_some();
            conditions.extend(matcher.map(Condition::Header));
        }
        for parameter in rule.messages("query_parameters") {
            let matcher = self.query_matcher(parameter);
            whole &= matcher.is_some();
            conditions.extend(matcher.map(Condition::Query));
        }
        for cookie in rule.messages("cookies") {
            let matcher = self.cookie_matcher(cookie);
            whole &= matcher.is_some();
            conditions.extend(matcher.map(Condition::Cookie));
        }
        if let Some(tls) = rule.message("tls_context") {
            let (presented, validated) = (tls.boolean("presented"), tls.boolean("validated"));
            conditions.push(Condition::Certificate { presented, validated });
        }
        for metadata in rule.messages("dynamic_metadata") {
            metadata.ignore("path", "whatever stands there, a request has none");
            metadata.ignore("value", "whatever it must be, a request has none");
            conditions.push(Condition::Metadata {
                filter: metadata.text("filter").unwrap_or_default().to_owned(),
                inverted: metadata.boolean("invert").unwrap_or(false),
            });
        }
        for state in rule.messages("filter_state") {
            let matcher = self.state_matcher(state);
            whole &= matcher.is_some();
            conditions.extend(matcher.map(Condition::FilterState));
        }
        whole.then_some(conditions)
    }

    /// `QueryParameterMatcher`
    fn query_matcher(&mut self, matcher: &Message) -> Option<QueryMatcher> {
        let test = match matcher.message("string_match") {
            Some(text) => QueryTest::Text(self.text_matcher(text)?),
            None => QueryTest::Present(matcher.boolean("present_match").unwrap_or(true)),
        };
        Some(QueryMatcher::new(matcher.text("name").unwrap_or_default(), test))
    }

    /// `CookieMatcher`
    fn cookie_matcher(&mut self, matcher: &Message) -> Option<CookieMatcher> {
        let test = self.text_matcher(matcher.message("string_match")?)?;
        let inverted = matcher.boolean("invert_match").unwrap_or(false);
        Some(CookieMatcher::new(matcher.text("name").unwrap_or_default(), test, inverted))
    }
}

/// `RuntimeFractionalPercent`
pub(super) fn runtime_fraction(fraction: &Message) -> RuntimeFraction {
    RuntimeFraction {
        default: runtime_share(fraction.message("default_value")),
        key: fraction.text("runtime_key").unwrap_or_default().to_owned(),
    }
}

/// `FractionalPercent`; none of all where there is none.
pub(in crate::config::compile) fn runtime_share(percent: Option<&Message>) -> Share {
    let number = |name: &str| percent.and_then(|value| value.number_u32(name));
    let denominator = percent.and_then(|value| value.choice("denominator"));
    Share {
        numerator: number("numerator").unwrap_or(0),
        denominator: denominator.and_then(Share::denominator).unwrap_or(100),
    }
}
