//! Owns what of a request makes its hash, by which some balancers choose the host.

use super::cookie::Cookie;
use crate::re2::Substitution;

/// `RouteAction.HashPolicy`.
#[derive(Debug)]
pub struct HashPolicy {
    /// What is hashed.
    pub by: HashBy,
    /// `terminal`: where there is a hash by now, those that follow say nothing.
    pub terminal: bool,
}

/// What of a request is hashed.
#[derive(Debug)]
pub enum HashBy {
    /// `header`: all its values, whatever their order.
    Header {
        /// In lower case.
        name: Vec<u8>,
        /// `regex_rewrite`: what is made of each before.
        rewrite: Option<Substitution>,
    },
    /// `cookie`; a client without it is given one, if it has a `ttl`.
    Cookie(Cookie),
    /// `connection_properties.source_ip`.
    SourceIp,
    /// `query_parameter`: its first value.
    QueryParameter(Vec<u8>),
}
