//! Owns what an exchange remembers for formats, and what it tells them at any moment.

use std::{
    borrow::Cow,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    super::manager::InForce,
    Exchange, Heads,
    upstream_log::{Lines, Trying},
};
use crate::{
    codec::HeaderBlock,
    config::model::route::{
        ClusterChoice, ClusterWeight, HeaderEdits, Mutations, Route, RouteAction, VirtualHost,
    },
    format::{AccessLogType, Attempted, StreamInfo, Timing, UpstreamConnection, UpstreamInfo},
    route::Found,
    stream::{Wire, WireBytes},
    upstream::Current,
};

/// What is remembered where somebody may ask for it: a format in the access log, in a reply of our own, or
/// in the route's headers.
#[derive(Default)]
pub(super) struct Told {
    /// The virtual cluster that counts the request; empty for none.
    pub(super) virtual_cluster: String,
    /// The cluster that was chosen.
    pub(super) cluster: Option<Rc<Current>>,
    /// The request has come to the router, which tries its cluster.
    pub(super) tried: bool,
    /// Where the answer comes from.
    pub(super) details: Cow<'static, str>,
    /// Why no connection could be had.
    pub(super) transport_failure: String,
    /// The connection to the host.
    pub(super) connection: Option<UpstreamConnection>,
    /// The response's trailers.
    pub(super) trailers: Option<Box<HeaderBlock>>,
    /// How long it took, once it is over.
    pub(super) elapsed: Option<Duration>,
    /// Moments on the way.
    pub(super) timing: Timing,
    /// Bytes on the wire.
    pub(super) wire: Wire,
    /// The try under way, where the router has a log of its own.
    pub(super) trying: Option<Box<Trying>>,
    /// Lines that are written while things go on.
    pub(super) lines: Lines,
    /// The hosts to which there was a connection.
    pub(super) attempted: Vec<Attempted>,
}

/// A route, by its place in the table that was in force.
#[derive(Clone)]
pub(super) struct Way {
    table: Rc<InForce>,
    host: usize,
    route: usize,
    /// Its share of a weighted cluster, by its place among them.
    part: Option<usize>,
}

// === impl Way ===

impl Way {
    /// The way to what was found in this table.
    fn to(table: &Rc<InForce>, found: Found<'_>) -> Self {
        Self {
            table: table.clone(),
            host: index_of(&table.config().virtual_hosts, found.virtual_host),
            route: index_of(&found.virtual_host.routes, found.route),
            part: found.part.map(|part| index_of(parts(found.route), part)),
        }
    }

    pub(super) fn virtual_host(&self) -> Option<&VirtualHost> {
        self.table.config().virtual_hosts.get(self.host)
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.virtual_host()?.routes.get(self.route)
    }

    pub(super) fn part(&self) -> Option<&ClusterWeight> {
        parts(self.route()?).get(self.part?)
    }

    /// What is done to headers: the share's word is more than the route's.
    fn mutations(&self) -> Option<&Mutations> {
        let own = self.part().and_then(|part| part.mutations.as_deref());
        own.or(self.route()?.mutations.as_deref())
    }
}

// === impl Exchange ===

impl Exchange<'_> {
    /// Remembers the route, and more of it if anybody may ask.
    #[inline]
    pub(super) fn remember(&mut self, table: Option<&Rc<InForce>>, found: Option<Found<'_>>) {
        let (Some(table), Some(found)) = (table, found) else { return };
        self.tally.way = Some(Way::to(table, found));
        let part_mutates = found.part.is_some_and(|part| part.mutations.is_some());
        let forward = match &found.route.action {
            RouteAction::Forward(forward) => Some(forward),
            _ => None,
        };
        let asks = found.route.mutations.is_some()
            || part_mutates
            || forward.is_some_and(|forward| forward.has_formats());
        if self.tally.told.is_none() && !asks {
            return;
        }
        let cluster = forward.and_then(|forward| self.cluster_of(forward, found.part));
        let told = self.tally.told.get_or_insert_default();
        told.cluster = cluster.map(|cluster| cluster.current());
    }

    /// Does to the request's headers what the route says.
    pub(super) fn mutate_request(&mut self, mutations: &Mutations) {
        mutations.request.iter().for_each(|edits| self.edit_request(edits));
    }

    /// Edits the request's headers.
    pub(super) fn edit_request(&mut self, edits: &HeaderEdits) {
        edits.remove_from(&mut self.heads.request.headers);
        let info = self.info(AccessLogType::NotSet);
        let made = edits.make(&self.heads.request.headers, &info);
        made.put_into(&mut self.heads.request.headers);
    }

    /// Does to the response's headers what the route says.
    #[inline]
    pub(super) fn mutate_response(&mut self) {
        if self.tally.told.is_some()
            && let Some(way) = self.tally.way.clone()
            && let Some(mutations) = way.mutations()
        {
            for edits in &mutations.response {
                edits.remove_from(&mut self.heads.response.headers);
                let info = self.info(AccessLogType::NotSet);
                let made = edits.make(&self.heads.response.headers, &info);
                made.put_into(&mut self.heads.response.headers);
            }
        }
    }

    /// What is known of the exchange at this moment.
    pub(super) fn info(&self, log_type: AccessLogType) -> StreamInfo<'_> {
        let Heads { request, response, client, .. } = &*self.heads;
        let tally = &self.tally;
        let told = tally.told.as_deref();
        let route = tally.way.as_ref().and_then(Way::route);
        let host = tally.way.as_ref().and_then(Way::virtual_host);
        let connection = told.and_then(|told| told.connection.as_ref());
        let upstream =
            tally.chosen.as_ref().map(|chosen| UpstreamInfo::of(chosen.host(), connection));
        let cluster = told.and_then(|told| told.cluster.as_ref());
        let plan = cluster.map(|current| &*current.snapshot.plan);
        StreamInfo {
            request: Some(request),
            response: Some(response).filter(|response| response.status > 0),
            trailers: told.and_then(|told| told.trailers.as_deref()),
            started: Some(self.started),
            elapsed: told.and_then(|told| told.elapsed).unwrap_or_else(|| self.started.elapsed()),
            timing: told.map(|told| &told.timing),
            status: tally.status,
            flags: tally.flags,
            details: told.map_or("", |told| &told.details),
            termination_details: "",
            protocol: Some(request.version),
            wire: told.map_or_else(Wire::default, |told| told.wire),
            received: tally.received,
            sent: tally.sent,
            remote: *client,
            peer: Some(self.peer.remote),
            local: Some(self.peer.local),
            proxied: self.peer.proxied.as_deref(),
            // What is noted of a connection is none of its streams'. Observed: Envoy 1.40.
            dynamic_metadata: None,
            filter_state: None,
            stream_id: b"",
            connection_id: self.peer.id,
            tls: self.peer.tls.as_deref(),
            requested_server_name: self.peer.server_name.as_deref().unwrap_or_default(),
            fingerprints: self.peer.fingerprints(),
            downstream_failure: "",
            filter_chain: Some(&self.manager.config.filter_chain),
            route_name: route.map_or("", |route| &route.name),
            route_metadata: route.and_then(|route| route.metadata.as_ref()),
            virtual_host_metadata: host.and_then(|host| host.metadata.as_ref()),
            virtual_cluster: told.map_or("", |told| &told.virtual_cluster),
            cluster: plan.map_or("", |plan| &plan.name),
            cluster_metadata: cluster.and_then(|current| current.upstream.metadata.as_ref()),
            cluster_stat_name: plan.map_or("", |plan| &plan.stat_name),
            upstream,
            // A request that finds no host has been tried once. Observed: Envoy 1.40.
            attempts: match told.is_some_and(|told| told.tried) {
                true => self.tries.as_ref().map_or(1, |tries| tries.count),
                false => 0,
            },
            attempted: told.map_or(&[], |told| &told.attempted),
            transport_failure: told.map_or("", |told| &told.transport_failure),
            local_reply_body: b"",
            log_type,
        }
    }

    /// A try has come to its end, after so many bytes.
    #[inline]
    pub(super) fn add_wire(&mut self, wire: impl FnOnce() -> (WireBytes, WireBytes)) {
        if let Some(told) = &mut self.tally.told {
            let (received, sent) = wire();
            told.wire.upstream_received += received;
            told.wire.upstream_sent += sent;
            if let Some(trying) = &mut told.trying {
                trying.carried(received.body, sent.body);
            }
        }
    }

    /// Takes note of a moment, if anybody may ask.
    #[inline]
    pub(super) fn mark(&mut self, note: impl FnOnce(&mut Timing, Option<Instant>)) {
        if let Some(told) = &mut self.tally.told {
            note(&mut told.timing, Some(Instant::now()));
        }
    }
}

/// The shares of a route's weighted clusters.
fn parts(route: &Route) -> &[ClusterWeight] {
    match &route.action {
        RouteAction::Forward(forward) => match &forward.cluster {
            ClusterChoice::Weighted(weighted) => &weighted.clusters,
            _ => &[],
        },
        _ => &[],
    }
}

/// The index of an item that is in a list, told by where it is.
fn index_of<T>(list: &[T], item: &T) -> usize {
    let from = std::ptr::from_ref(item).addr().wrapping_sub(list.as_ptr().addr());
    from / size_of::<T>().max(1)
}
