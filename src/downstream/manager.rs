//! Owns a worker's side of an HTTP connection manager: its configuration, its table, its stats.

use std::{cell::RefCell, ops::Deref, rc::Rc, sync::Arc};

use understudy_actors::{
    failures::Failures,
    plan::Payload,
    published::{Cached, Published},
    stats::{Group, HttpStat, Lane, ListenerHttpStat, RouterStat, Scope, TracingStat},
    view::View,
};

use super::{
    apart::{Aparts, CountedApart},
    headers::path_rules,
    logs::Log,
};
use crate::{
    access_log::Writer,
    codec::{Known, RequestHead},
    config::model::http::{HttpConnectionManager, RouterConfig},
    path,
    route::{Found, RouteTable},
};

/// One connection manager on one worker.
pub struct Manager {
    /// Its configuration.
    pub config: Arc<HttpConnectionManager>,
    /// What is done to paths; `None` for nothing.
    pub paths: Option<path::Rules>,
    worker: usize,
    stats: Arc<Group<HttpStat>>,
    router_stats: Arc<Group<RouterStat>>,
    listener_stats: Arc<Group<ListenerHttpStat>>,
    tracing_stats: Arc<Group<TracingStat>>,
    table: RefCell<Table>,
    view: View,
    aparts: Aparts,
    server_line: Box<[u8]>,
    logs: Vec<Log>,
    listener_logs: Vec<Log>,
    upstream_logs: Vec<Log>,
    tells: bool,
}

/// The route table in force, as this worker saw it last. A manager keeps its table: connections of a listener that is gone
/// are served by it until they end.
struct Table {
    published: Option<Cached<Payload>>,
    payload: Option<Payload>,
    in_force: Option<Rc<InForce>>,
}

/// The table that a worker's requests hold while they are on their way: an [`Rc`] on top of the
/// shared one, so that a request writes no counter that other workers write too.
pub struct InForce {
    table: Arc<RouteTable>,
}

// === impl Manager ===

impl Manager {
    /// The worker's side of `config`.
    pub fn new(
        config: Arc<HttpConnectionManager>,
        worker: usize,
        view: View,
        access_log: &Writer,
    ) -> Self {
        let logs = Log::open(&config.access_logs, access_log);
        let upstream_logs = Log::open(&config.router.upstream_logs, access_log);
        let tells = logs.iter().any(Log::asks)
            || config.local_replies.is_some()
            || config.proxy_status.is_some()
            || !upstream_logs.is_empty();
        let registry = &view.registry;
        for placed in &config.filters {
            placed.filter.count_in(registry, &config.stat_prefix);
        }
        let published = view.tables.read().get(config.routes).map(Published::cached);
        let listener_scope =
            Scope::listener_http(&config.listener_stat_prefix, &config.stat_prefix);
        Self {
            stats: registry.group(Scope::http(&config.stat_prefix)),
            router_stats: registry.group(Scope::http(&config.stat_prefix)),
            listener_stats: registry.group(listener_scope),
            tracing_stats: registry.group(Scope::http_tracing(&config.stat_prefix)),
            server_line: Known::Server.line(config.server_name.as_bytes()),
            table: RefCell::new(Table { published, payload: None, in_force: None }),
            listener_logs: Log::open(&config.listener_logs, access_log),
            upstream_logs,
            paths: path_rules(config.paths, &view.runtime.read()),
            config,
            worker,
            view,
            aparts: Aparts::default(),
            logs,
            tells,
        }
    }

    /// `http.PREFIX.`.
    pub fn stats(&self) -> &Lane<HttpStat> {
        self.stats.lane(self.worker)
    }

    /// What the router counts in `http.PREFIX.`.
    pub fn router_stats(&self) -> &Lane<RouterStat> {
        self.router_stats.lane(self.worker)
    }

    /// `listener.ADDRESS.http.PREFIX.`.
    pub fn listener_stats(&self) -> &Lane<ListenerHttpStat> {
        self.listener_stats.lane(self.worker)
    }

    /// `http.PREFIX.tracing.`.
    pub fn tracing_stats(&self) -> &Lane<TracingStat> {
        self.tracing_stats.lane(self.worker)
    }

    /// What counts a request apart.
    #[cold]
    pub(super) fn count_apart(&self, found: Found<'_>, request: &RequestHead) -> Box<CountedApart> {
        Box::new(self.aparts.of(found, request, &self.view.registry, self.worker))
    }

    /// What the router was told.
    pub fn router(&self) -> &RouterConfig {
        &self.config.router
    }

    /// The line of the `server` header that names us.
    pub fn server_line(&self) -> &[u8] {
        &self.server_line
    }

    /// Its access logs.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// Those of its listener, which are for connections.
    pub fn listener_logs(&self) -> &[Log] {
        &self.listener_logs
    }

    /// Those of its router, which are for tries.
    pub fn upstream_logs(&self) -> &[Log] {
        &self.upstream_logs
    }

    /// The last requests that failed.
    pub fn failures(&self) -> &Failures {
        &self.view.failures
    }

    /// Whether exchanges remember what formats and filters may ask for.
    pub fn tells(&self) -> bool {
        self.tells
    }

    /// The route table in force; `None` while none was published.
    pub fn table(&self) -> Option<Rc<InForce>> {
        let mut slot = self.table.borrow_mut();
        let Table { published, payload, in_force } = &mut *slot;
        if published.is_none() {
            *published = self.view.tables.read().get(self.config.routes).map(Published::cached);
        }
        let now = published.as_mut()?.load();
        let known = payload.as_ref().is_some_and(|payload| Arc::ptr_eq(payload, now));
        if !known {
            *payload = Some(Payload::clone(now));
            let table = Payload::clone(now).downcast::<RouteTable>().ok();
            *in_force = table.map(|table| Rc::new(InForce { table }));
        }
        in_force.clone()
    }
}

// === impl InForce ===

impl Deref for InForce {
    type Target = RouteTable;

    fn deref(&self) -> &RouteTable {
        &self.table
    }
}
