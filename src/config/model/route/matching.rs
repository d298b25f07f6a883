//! Owns what a route asks of a request.

use regex::bytes::Regex;
use understudy_actors::runtime::Share;

use crate::{
    matcher::{CookieMatcher, HeaderMatcher, QueryMatcher},
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
    /// One of `filter_state`, of which a request has none when its route is looked for.
    FilterState {
        /// `key`
        key: String,
    },
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
    /// `safe_regex`: the whole of it, anchored when compiled.
    Regex(Regex),
    /// `path_match_policy`: a URI template.
    Template(PathTemplate),
    /// `connect_matcher`: no path, but the method `CONNECT`.
    Connect,
}
