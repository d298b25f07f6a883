//! Owns a request's hash: what of it is hashed, for balancers that choose by that, and the cookie that a client is
//! given who has none to be hashed.

use std::net::{IpAddr, SocketAddr};

use super::{Exchange, Heads, Peer};
use crate::{
    codec::RequestHead,
    config::model::{
        cookie::Cookie,
        hash_policy::{HashBy, HashPolicy},
        route::Forward,
    },
    matcher::{cookie, query_parameter},
    re2::Substitution,
    upstream::Current,
    worker::AddressText,
    xxhash::xxh64,
};

/// Who asks.
pub(super) struct Asks<'a> {
    pub(super) peer: &'a Peer,
    /// Whom the request is from, where that is not the peer.
    pub(super) client: Option<IpAddr>,
}

// === impl Exchange ===

impl Exchange<'_> {
    /// The request's hash, where the cluster asks for one and there is something to hash.
    #[inline]
    pub(super) fn hash_for(&mut self, current: &Current, route: &Forward) -> Option<u64> {
        let hashing = current.upstream.balancing.policy.hashing()?;
        let policies = if hashing.policies.is_empty() { &*route.hash } else { &*hashing.policies };
        self.hash(policies)
    }

    /// The request's hash by these policies. A client without the cookie that one of them asks for is given it.
    pub(super) fn hash(&mut self, policies: &[HashPolicy]) -> Option<u64> {
        let Heads { request, client, set_cookies, .. } = &mut *self.heads;
        set_cookies.clear();
        let asks = Asks { peer: self.peer, client: *client };
        asks.hash(policies, request, |own, asks| {
            own.ttl?;
            let value = asks.cookie();
            set_cookies.push(own.line(&value));
            Some(xxh64(value.as_bytes(), 0))
        })
    }
}

// === impl Asks ===

impl Asks<'_> {
    /// Each policy that finds something turns the hash of those before it. `give` says what becomes of a client
    /// without a cookie.
    ///
    /// Source: `RouteAction.hash_policy`; observed: Envoy 1.40 (tests/balancing.rs).
    pub(super) fn hash(
        &self,
        policies: &[HashPolicy],
        request: &RequestHead,
        mut give: impl FnMut(&Cookie, &Self) -> Option<u64>,
    ) -> Option<u64> {
        let mut hash: Option<u64> = None;
        for policy in policies {
            let found = match &policy.by {
                HashBy::Header { name, rewrite } => header(request, name, rewrite.as_ref()),
                HashBy::Cookie(own) => {
                    let value = cookie(&request.headers, own.name.as_bytes());
                    match value.filter(|value| !value.is_empty()) {
                        Some(value) => Some(xxh64(value, 0)),
                        None => give(own, self),
                    }
                }
                HashBy::SourceIp => self.source_ip(),
                HashBy::QueryParameter(name) => {
                    query_parameter(request.path(), name).map(|value| xxh64(value, 0))
                }
            };
            if let Some(found) = found {
                hash = Some(hash.unwrap_or(0).rotate_left(1) ^ found);
            }
            if policy.terminal && hash.is_some() {
                break;
            }
        }
        hash
    }

    /// A cookie's value: the same for all requests of a connection, which may be on their way before the first
    /// answer is here.
    fn cookie(&self) -> String {
        let remote = match self.client {
            Some(client) => SocketAddr::new(client, 0).into(),
            None => self.peer.remote,
        };
        let addresses = format!("{remote}{}", self.peer.local);
        format!("{:016x}", xxh64(addresses.as_bytes(), 0))
    }

    /// Who comes by a path has no address.
    fn source_ip(&self) -> Option<u64> {
        match self.client {
            Some(client) => Some(xxh64(AddressText::new(client).as_bytes(), 0)),
            None => self.peer.text.as_ref().map(|text| xxh64(text.as_bytes(), 0)),
        }
    }
}

/// Of all values of a header, in whichever order they come.
fn header(head: &RequestHead, name: &[u8], rewrite: Option<&Substitution>) -> Option<u64> {
    let rewritten = |value: &[u8]| match rewrite {
        Some(rewrite) => xxh64(&rewrite.apply(value), 0),
        None => xxh64(value, 0),
    };
    let mut values = head.headers.get_all_named(name);
    let first = match name {
        b":path" | b":method" | b":scheme" | b":authority" | b"host" => head.value(name)?,
        _ => values.next()?,
    };
    let Some(second) = values.next() else { return Some(rewritten(first)) };
    let all = [first, second].into_iter().chain(values);
    let mut all: Vec<Vec<u8>> = all
        .map(|value| rewrite.map_or_else(|| value.to_vec(), |rewrite| rewrite.apply(value)))
        .collect();
    all.sort_unstable();
    Some(all.iter().fold(0, |seed, value| xxh64(value, seed)))
}
