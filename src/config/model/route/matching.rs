//! Owns what a route asks of a request.

use std::fmt;

use regex::bytes::Regex;
use understudy_actors::runtime::Share;

use crate::{
    matcher::{CookieMatcher, HeaderMatcher, QueryMatcher, StateMatcher},
    uri_template::PathTemplate,
};

/// `RouteMatch`.
#[derive(Debug)]
pub struct RouteMatch {
    /// The path, without its query.
    pub path: PathMatch,
    /// `case_sensitive`; Envoy's default is true.
    pub case_sensitive: bool,
    /// What it asks besides; all of it must be so. Mostly nothing.
    pub conditions: Vec<Condition>,
}

/// What a route asks of a request besides its path.
#[derive(Debug)]
pub enum Condition {
    /// `runtime_fraction`: only so many of the requests.
    Fraction(RuntimeFraction),
    /// One of `headers`.
    Header(HeaderMatcher),
    /// One of `query_parameters`.
    Query(QueryMatcher),
    /// One of `cookies`.
    Cookie(CookieMatcher),
    /// `grpc`: the request says it is.
    Grpc,
    /// `tls_context`: what is to be known of the client's certificate.
    Certificate {
        /// `presented`
        presented: Option<bool>,
        /// `validated`
        validated: Option<bool>,
    },
    /// One of `dynamic_metadata`, of which a request has none when its route is looked for.
    Metadata {
        /// `filter`
        filter: String,
        /// `invert`
        inverted: bool,
    },
    /// One of `filter_state`, which is what its connection has.
    FilterState(StateMatcher),
}

/// `RuntimeFractionalPercent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeFraction {
    /// `default_value`.
    pub default: Share,
    /// `runtime_key`; empty for none.
    pub key: String,
}

/// `RouteMatch.path_specifier`.
#[derive(Debug)]
pub enum PathMatch {
    /// `prefix`: plain text.
    Prefix(String),
    /// `path`: the whole of it.
    Exact(String),
    /// `path_separated_prefix`: the whole of it, or all before a slash.
    Separated(String),
    /// `safe_regex`: the whole of it.
    Regex {
        /// As it is written.
        text: String,
        /// Compiled, and anchored.
        regex: Regex,
    },
    /// `path_match_policy`: a URI template.
    Template(PathTemplate),
    /// `connect_matcher`: no path, but the method `CONNECT`.
    Connect,
}

// === impl PathMatch ===

impl fmt::Display for PathMatch {
    /// The field's name and its value, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathMatch::Prefix(prefix) => write!(f, "prefix {prefix}"),
            PathMatch::Exact(path) => write!(f, "path {path}"),
            PathMatch::Separated(prefix) => write!(f, "path_separated_prefix {prefix}"),
            PathMatch::Regex { text, .. } => write!(f, "safe_regex {text}"),
            PathMatch::Template(template) => write!(f, "path_template {}", template.as_str()),
            PathMatch::Connect => f.write_str("connect_matcher"),
        }
    }
}
