//! Owns the replies of routes that redirect.

use crate::{
    codec::{Known, RequestHead},
    config::model::route::{Redirect, RouteMatch},
    local_reply::LocalReply,
};

/// The reply of a `redirect` route.
pub(in crate::downstream) fn redirect(
    redirect: &Redirect,
    rule: &RouteMatch,
    request: &RequestHead,
) -> LocalReply {
    let location = redirect.location(rule, request);
    let reply = LocalReply::new(redirect.status, "", "direct_response");
    LocalReply { headers: vec![(Known::Location, location)], ..reply }
}
