//! Owns what a route asks of a request.

use regex::bytes::Regex;
use understudy_actors::runtime::Share;

/// `RouteMatch`.
#[derive(Debug)]
pub struct RouteMatch {
    /// The path, without its query.
    pub path: PathMatch,
    /// `case_sensitive`; Envoy's default is true.
    pub case_sensitive: bool,
    /// `runtime_fraction`: only so many of the requests.
    pub fraction: Option<RuntimeFraction>,
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
    /// `safe_regex`: the whole of it, anchored when compiled.
    Regex(Regex),
}
