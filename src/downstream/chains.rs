//! Owns a listener's filter chains as one worker runs them.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
    time::Instant,
};

use futures_util::future::LocalBoxFuture;
use understudy_actors::{
    plan::{ListenerPlan, Payload},
    seams::Control,
    stats::{Group, Scope, SslContextStat, SslStat},
    view::View,
};

use super::{
    arrival::Arrival,
    connection_log::Unwelcome,
    exchange::Peer,
    http1, http2,
    logs::Log,
    manager::Manager,
    opened::{EndedBy, Opened},
    serve::Worker,
};
use crate::{
    access_log::Writer,
    config::model::{
        http::CodecType,
        listener::{FilterChain, FilterChainInfo, FilterChains, Terminal},
    },
    listener::Filters,
    network::{DirectResponse, Echo, Gate, TcpProxy},
    tls::ServerContext,
};

/// The chains of one listener.
pub(super) struct Chains {
    payload: Payload,
    /// What looks at connections first.
    pub(super) filters: Filters,
    /// In the order of the file, the default one last.
    all: Vec<Rc<Chain>>,
    /// The chain that takes every connection as it comes, where there is no other.
    pub(super) only: Option<Rc<Chain>>,
}

/// One chain.
pub(super) struct Chain {
    /// How its connections are encrypted.
    pub(super) tls: Option<Tls>,
    /// How long a handshake may take.
    pub(super) handshake_timeout: Option<Duration>,
    gate: Gate,
    runs: Runs,
}

/// A chain's TLS.
pub(super) struct Tls {
    /// How clients are greeted.
    pub(super) context: Arc<ServerContext>,
    /// `listener.ADDRESS.ssl.`
    pub(super) stats: Arc<Group<SslStat>>,
    secrets: Arc<Group<SslContextStat>>,
}

/// A terminal network filter, as this worker runs it.
enum Runs {
    Http(Rc<Manager>),
    Tcp(Rc<TcpProxy>),
    Echo(Rc<Echo>),
    DirectResponse(Rc<DirectResponse>),
}

// === impl Chains ===

impl Chains {
    /// A listener's chains on one worker; none for a payload that is no listener's.
    pub(super) fn new(
        plan: &ListenerPlan,
        worker: usize,
        view: &View,
        log: &Arc<Writer>,
    ) -> Option<Self> {
        let payload = plan.chains.clone();
        let config = payload.downcast_ref::<FilterChains>()?;
        let new = |chain| Rc::new(Chain::new(chain, plan, worker, view, log));
        let all = config.all().map(new).collect::<Vec<_>>();
        let only = config.only().and(all.first()).filter(|chain| chain.tls.is_none()).cloned();
        config.workers.fetch_add(1, Relaxed);
        let filters = Filters::new(&config.listener_filters, &view.registry);
        Some(Self { payload, filters, all, only })
    }

    /// What it was made of.
    pub(super) fn config(&self) -> Option<&FilterChains> {
        self.payload.downcast_ref()
    }

    /// Whether connections that are meant for other listeners go there.
    pub(super) fn hands_over(&self) -> bool {
        self.config().is_some_and(|config| config.use_original_dst)
    }

    /// Whether it runs this.
    pub(super) fn runs(&self, payload: &Payload) -> bool {
        Arc::ptr_eq(&self.payload, payload)
    }

    /// The chain of this place in the file.
    pub(super) fn at(&self, place: usize) -> Option<&Rc<Chain>> {
        self.all.get(place)
    }

    /// `default_filter_chain`
    pub(super) fn default(&self) -> Option<&Rc<Chain>> {
        self.all.last().filter(|_| self.config().is_some_and(|config| config.default.is_some()))
    }

    /// Writes of a connection that none of them has had: the listener's logs are those of each.
    pub(super) fn log_unserved(&self, worker: &Worker, unwelcome: &Unwelcome) {
        if let (Some(first), Some(config)) = (self.all.first(), self.config()) {
            unwelcome.log(worker, first.listener_logs().0, &config.unmatched);
        }
    }

    /// Whether a listener has it, or a connection.
    pub(super) fn is_used(&self) -> bool {
        let workers = self.config().map_or(1, |config| config.workers.load(Relaxed));
        Arc::strong_count(&self.payload) > workers || self.all.iter().any(|chain| chain.is_held())
    }
}

impl Drop for Chains {
    fn drop(&mut self) {
        if let Some(config) = self.config() {
            config.workers.fetch_sub(1, Relaxed);
        }
    }
}

// === impl Chain ===

impl Chain {
    fn new(
        config: &FilterChain,
        plan: &ListenerPlan,
        worker: usize,
        view: &View,
        log: &Arc<Writer>,
    ) -> Self {
        let tls = config.tls.as_ref().map(|context| {
            let listener = Scope::listener(&plan.stat_prefix);
            Tls {
                context: context.clone(),
                stats: view.registry.group(listener.within("ssl")),
                secrets: view.registry.group(listener.within("server_ssl_socket_factory")),
            }
        });
        let runs = match &config.terminal {
            Terminal::Http(config) => {
                Runs::Http(Rc::new(Manager::new(config.clone(), worker, view.clone(), log)))
            }
            Terminal::Tcp(config) => {
                Runs::Tcp(Rc::new(TcpProxy::new(config.clone(), worker, view, log)))
            }
            Terminal::Echo(config) => Runs::Echo(Rc::new(Echo::new(config.clone(), log))),
            Terminal::DirectResponse(config, response) => {
                let made = DirectResponse::new(config.clone(), response.clone(), log);
                Runs::DirectResponse(Rc::new(made))
            }
        };
        let logs = config.terminal.connection_logs().cloned().collect::<Vec<_>>();
        let logs = Log::open(&logs, log);
        let gate = Gate::new(&config.filters, &view.registry, config.info.clone(), logs);
        let handshake_timeout = config.handshake_timeout;
        Self { tls, handshake_timeout, gate, runs }
    }

    /// Serves a connection to its end, where its filters let it in.
    pub(super) fn serve(
        self: &Rc<Self>,
        worker: Rc<Worker>,
        mut arrival: Arrival,
        control: Rc<Control>,
    ) -> LocalBoxFuture<'static, ()> {
        if self.gate.is_open() {
            return self.let_in(worker, arrival, control);
        }
        let chain = self.clone();
        Box::pin(async move {
            let started = Instant::now();
            let Some(held) = chain.gate.pass(&worker, &mut arrival).await else {
                return chain.count_unwelcome(started, EndedBy::Us);
            };
            chain.let_in(worker, arrival, control).await;
            drop(held);
        })
    }

    fn let_in(
        &self,
        worker: Rc<Worker>,
        arrival: Arrival,
        control: Rc<Control>,
    ) -> LocalBoxFuture<'static, ()> {
        let manager = match &self.runs {
            Runs::Http(manager) => manager.clone(),
            Runs::Tcp(proxy) => return Box::pin(proxy.clone().serve(worker, arrival, control)),
            Runs::Echo(echo) => return Box::pin(echo.clone().serve(worker, arrival, control)),
            Runs::DirectResponse(filter) => {
                return Box::pin(filter.clone().serve(worker, arrival));
            }
        };
        let agreed = arrival.tls.as_ref().and_then(|session| session.alpn.as_deref());
        let http2 = match manager.config.codec {
            CodecType::Http2 => true,
            CodecType::Http1 => false,
            CodecType::Auto => agreed == Some(b"h2"),
        };
        if http2 {
            let peer = Peer::of(&arrival);
            let (stream, opened) = (arrival.stream, Opened::new(&worker, manager.clone(), &peer));
            return Box::pin(http2::serve(
                worker,
                manager,
                stream,
                peer,
                control,
                opened,
                Vec::new(),
            ));
        }
        Box::pin(http1::serve(worker, manager, arrival, control))
    }

    /// Counts and writes of a connection whose handshake came to nothing.
    pub(super) fn turn_away(&self, worker: &Worker, unwelcome: &Unwelcome, ended_by: EndedBy) {
        self.count_unwelcome(unwelcome.started, ended_by);
        let (logs, chain) = self.listener_logs();
        unwelcome.log(worker, logs, chain);
    }

    /// Counts a connection that was not let in. Observed: Envoy 1.40 has it go through the chain all the same.
    fn count_unwelcome(&self, started: Instant, ended_by: EndedBy) {
        match &self.runs {
            Runs::Http(manager) => {
                Opened::count_unwelcome(manager.clone(), started, self.tls.is_some(), ended_by);
            }
            Runs::Tcp(proxy) => proxy.count_unwelcome(),
            Runs::Echo(_) | Runs::DirectResponse(_) => {}
        }
    }

    /// The listener's logs, and what is told of the chain.
    fn listener_logs(&self) -> (&[Log], &FilterChainInfo) {
        match &self.runs {
            Runs::Http(manager) => (manager.listener_logs(), &*manager.config.filter_chain),
            Runs::Tcp(proxy) => (proxy.listener_logs(), proxy.filter_chain()),
            Runs::Echo(echo) => (echo.logs(), echo.filter_chain()),
            Runs::DirectResponse(filter) => (filter.logs(), filter.filter_chain()),
        }
    }

    /// Whether a connection has it.
    fn is_held(&self) -> bool {
        match &self.runs {
            Runs::Http(manager) => Rc::strong_count(manager) > 1,
            Runs::Tcp(proxy) => Rc::strong_count(proxy) > 1,
            Runs::Echo(echo) => Rc::strong_count(echo) > 1,
            Runs::DirectResponse(filter) => Rc::strong_count(filter) > 1,
        }
    }
}

// === impl Tls ===

impl Tls {
    /// A client came before a secret did.
    pub(super) fn not_ready(&self, worker: &Worker) {
        let stats = self.secrets.lane(worker.index);
        stats.inc(SslContextStat::DownstreamContextSecretsNotReady);
    }
}
