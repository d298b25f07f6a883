//! Owns compiling what a route asks of a request.

use understudy_actors::runtime::Share;

use super::super::Compiler;
use crate::config::{
    Message,
    model::route::{PathMatch, RouteMatch, RuntimeFraction},
};

impl Compiler<'_> {
    pub(super) fn route_match(&mut self, rule: &Message) -> Option<RouteMatch> {
        let case_sensitive = rule.boolean("case_sensitive").unwrap_or(true);
        let path = if let Some(prefix) = rule.text("prefix") {
            PathMatch::Prefix(prefix.to_owned())
        } else if let Some(path) = rule.text("path") {
            PathMatch::Exact(path.to_owned())
        } else {
            PathMatch::Regex(self.expression(rule.message("safe_regex")?)?)
        };
        let fraction = rule.message("runtime_fraction").map(runtime_fraction);
        Some(RouteMatch { path, case_sensitive, fraction })
    }
}

/// `RuntimeFractionalPercent`
pub(super) fn runtime_fraction(fraction: &Message) -> RuntimeFraction {
    let default = fraction.message("default_value");
    let number = |name: &str| default.and_then(|value| value.number_u32(name));
    let denominator = default.and_then(|value| value.choice("denominator"));
    RuntimeFraction {
        default: Share {
            numerator: number("numerator").unwrap_or(0),
            denominator: denominator.and_then(Share::denominator).unwrap_or(100),
        },
        key: fraction.text("runtime_key").unwrap_or_default().to_owned(),
    }
}
