//! Owns which requests are refused for what their head says, before anything is done with them.

use understudy_actors::stats::HttpStat;

use crate::{
    codec::{Known, Method, RequestHead},
    local_reply::LocalReply,
};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inadmissible {
    /// `CONNECT`, where nothing serves it.
    Tunnel,
    /// Nobody knows for which host it is.
    NoHost,
    /// A `QUERY` without a type means nothing.
    UntypedQuery,
    /// Its target is not a path.
    NotAPath,
    /// Its path has no normal form.
    BadPath,
}

// === impl Inadmissible ===

impl Inadmissible {
    /// The answer. Observed: Envoy 1.40.
    pub fn reply(self) -> LocalReply {
        match self {
            Self::Tunnel => LocalReply::route_not_found().closing(),
            Self::NoHost => LocalReply::new(400, "", "missing_host_header").closing(),
            Self::UntypedQuery => LocalReply::new(400, "", "query_missing_content_type").closing(),
            Self::NotAPath => LocalReply::new(404, "", "absolute_path_rejected"),
            Self::BadPath => LocalReply::new(400, "", "path_normalization_failed").closing(),
        }
    }

    /// What counts it, besides its status.
    pub fn stat(self) -> Option<HttpStat> {
        match self {
            Self::NotAPath => Some(HttpStat::DownstreamRqNonRelativePath),
            Self::BadPath => Some(HttpStat::DownstreamRqFailedPathNormalization),
            Self::Tunnel | Self::NoHost | Self::UntypedQuery => None,
        }
    }
}

/// Refuses a CONNECT that says not whereto; a codec may have let it pass (HTTP/2).
///
/// # Errors
///
/// [`Inadmissible`]: why.
pub fn check_target(head: &RequestHead) -> Result<(), Inadmissible> {
    match head.authority().is_empty() {
        true => Err(Inadmissible::NoHost),
        false => Ok(()),
    }
}

/// Refuses what Envoy refuses after parsing.
///
/// # Errors
///
/// [`Inadmissible`]: why.
pub fn check(head: &RequestHead) -> Result<(), Inadmissible> {
    if head.method == Method::Connect {
        return Err(Inadmissible::Tunnel);
    }
    if !head.has_authority() {
        return Err(Inadmissible::NoHost);
    }
    let untyped = || head.headers.get(Known::ContentType).is_none_or(<[u8]>::is_empty);
    if head.method == Method::Query && untyped() {
        return Err(Inadmissible::UntypedQuery);
    }
    let path = head.path();
    if path.first() != Some(&b'/') {
        return Err(Inadmissible::NotAPath);
    }
    // Mostly short: a plain pass costs less than setting up a search.
    match path.iter().fold(false, |found, byte| found | (*byte == b'#')) {
        true => Err(Inadmissible::BadPath),
        false => Ok(()),
    }
}
