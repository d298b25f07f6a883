//! Owns `envoy.filters.network.tcp_proxy`: a connection that is carried to a host as it is.
//!
//! What is seen of it, close codes, flags and counters, was observed in Envoy 1.40.

use std::{
    future::poll_fn,
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use understudy_actors::{
    address::Address,
    outlier::Outcome,
    plan::LbMetadata,
    seams::{Control, Drain},
    stats::{ClusterStat, Group, Lane, Scope, TcpStat},
    view::View,
};

use super::{
    in_use::InUse,
    splice::{Broken, Flow, Moved},
    times::Times,
    tunnel::NoTunnel,
};
use crate::{
    access_log::{Record, ResponseFlag, ResponseFlags, Writer},
    codec::Version,
    config::model::{
        listener::FilterChainInfo,
        tcp_proxy::{self, ClusterShare},
    },
    downstream::{Arrival, logs::Log, serve::Worker},
    filter_state::FilterState,
    format::{AccessLogType, StreamInfo, UpstreamConnection, UpstreamInfo},
    listener::Proxied,
    stream::{Reset, Wire, WireBytes},
    tls::{Fingerprints, Session},
    transport::Stream,
    upstream::{
        Aggregate, Current,
        balancer::Choice,
        connect::ConnectError,
        original_dst::Asks,
        pool::{HostPool, PoolError, Target},
    },
    worker::{AddressText, UUID_BYTES, next_connection_id},
    xxhash::xxh64,
};

/// The filter on one worker.
pub struct TcpProxy {
    pub(super) config: Arc<tcp_proxy::TcpProxy>,
    worker: usize,
    stats: Arc<Group<TcpStat>>,
    logs: Vec<Log>,
    /// The listener's own.
    listener_logs: Vec<Log>,
}

/// One connection that is carried.
pub(super) struct Carried {
    pub(super) proxy: Rc<TcpProxy>,
    pub(super) worker: Rc<Worker>,
    pub(super) control: Rc<Control>,
    pub(super) client: Stream,
    pub(super) peer: Address,
    pub(super) local: Address,
    pub(super) proxied: Option<Rc<Proxied>>,
    /// The cluster that a filter has named.
    named: Option<Rc<str>>,
    tls: Option<Rc<Session>>,
    server_name: Option<Rc<str>>,
    fingerprints: Option<Arc<Fingerprints>>,
    id: u64,
    /// The id that logs know it by.
    stream_id: [u8; UUID_BYTES],
    /// What filters have noted of it, where a tunnel has noted something.
    pub(super) metadata: Option<serde_json::Value>,
    pub(super) filter_state: FilterState,
    pub(super) started: Instant,
    pub(super) up: Flow,
    pub(super) down: Flow,
    attempts: u32,
    flags: ResponseFlags,
    pub(super) transport_failure: String,
    cluster: Option<Rc<Current>>,
    pool: Option<Rc<HostPool>>,
    pub(super) connection: Option<UpstreamConnection>,
    /// Those that have begun before there was a host.
    pub(super) times: Option<Times>,
}

/// How carrying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both sides have said all.
    Done,
    /// The client has gone without an end.
    ClientReset,
    /// The host has.
    HostReset,
    /// Nothing came for too long.
    Idle,
    /// It has lasted for as long as it may.
    Old,
    /// We were told to end.
    Drained,
    /// The server drains, and connections that say something are to end then.
    Drains,
    /// The host is not well any more, and connections to it are to end then.
    HostIll,
}

// === impl TcpProxy ===

impl TcpProxy {
    /// The worker's side of `config`.
    pub fn new(
        config: Arc<tcp_proxy::TcpProxy>,
        worker: usize,
        view: &View,
        writer: &Writer,
    ) -> Self {
        Self {
            stats: view.registry.group(Scope::tcp(&config.stat_prefix)),
            logs: Log::open(&config.access_logs, writer),
            listener_logs: Log::open(&config.listener_logs, writer),
            config,
            worker,
        }
    }

    pub(super) fn stats(&self) -> &Lane<TcpStat> {
        self.stats.lane(self.worker)
    }

    /// Its listener's logs.
    pub fn listener_logs(&self) -> &[Log] {
        &self.listener_logs
    }

    /// The chain that it ends.
    pub fn filter_chain(&self) -> &FilterChainInfo {
        &self.config.filter_chain
    }

    /// Counts a connection that was turned away before.
    pub fn count_unwelcome(&self) {
        self.stats().inc(TcpStat::DownstreamCxTotal);
    }

    /// Carries a connection to its end.
    pub async fn serve(self: Rc<Self>, worker: Rc<Worker>, arrival: Arrival, control: Rc<Control>) {
        self.stats().inc(TcpStat::DownstreamCxTotal);
        let mut carried = Carried {
            stream_id: worker.uuids.next(),
            proxy: self,
            worker,
            control,
            client: arrival.stream,
            peer: arrival.peer,
            local: arrival.local,
            proxied: arrival.proxied,
            named: arrival.cluster,
            tls: arrival.tls,
            server_name: arrival.server_name,
            fingerprints: arrival.fingerprints,
            id: next_connection_id(),
            metadata: None,
            filter_state: FilterState::default(),
            started: Instant::now(),
            up: Flow::default(),
            down: Flow::default(),
            attempts: 0,
            flags: ResponseFlags::default(),
            transport_failure: String::new(),
            cluster: None,
            pool: None,
            connection: None,
            times: None,
        };
        if carried.proxy.config.logged.at_start {
            carried.log(AccessLogType::TcpStart);
        }
        carried.run().await;
        carried.log(AccessLogType::TcpConnectionEnd);
        carried.write(AccessLogType::NotSet, &carried.proxy.listener_logs);
    }

    /// `check_drain_close`: whether connections on which something moves end now. Observed: Envoy 1.40 cuts the host off,
    /// and gives the client what it has for it.
    pub(super) fn drains(&self, worker: &Worker) -> bool {
        self.config.drains_with_server && worker.draining()
    }

    /// The cluster that takes this connection.
    fn draw(&self) -> Option<&ClusterShare> {
        let clusters = &self.config.clusters;
        if let [only] = &clusters[..] {
            return Some(only);
        }
        let mut left = fastrand::u32(..self.config.weights.max(1));
        clusters.iter().find(|share| {
            let here = left < share.weight;
            left = left.saturating_sub(share.weight);
            here
        })
    }
}

// === impl Carried ===

impl Carried {
    async fn run(&mut self) {
        if self.proxy.config.waits_for_data
            && let Some(end) = Box::pin(self.first_bytes()).await
        {
            return self.ended(end);
        }
        let (proxy, clusters) = (self.proxy.clone(), &self.worker.clusters);
        let (cluster, metadata) = match &self.named {
            Some(name) => (clusters.named(name.as_bytes()), &proxy.config.metadata_match),
            None => match proxy.draw() {
                Some(share) => (clusters.get(share.slot), &share.metadata_match),
                None => (None, &proxy.config.metadata_match),
            },
        };
        let metadata = Some(metadata).filter(|metadata| !metadata.is_empty());
        let Some(cluster) = cluster else {
            self.proxy.stats().inc(TcpStat::DownstreamCxNoRoute);
            return self.flag(ResponseFlag::NoClusterFound);
        };
        if !cluster.current().snapshot.ready {
            cluster.first_answer(None).await;
        }
        let attempts_max = proxy.config.connect_attempts_max;
        loop {
            let current = cluster.current();
            self.cluster = Some(current.clone());
            let Some(pool) = self.choose(&current, metadata) else {
                return self.flag(ResponseFlag::NoHealthyUpstream);
            };
            self.pool = Some(pool.clone());
            self.attempts += 1;
            let failed = match &proxy.config.tunnelling {
                Some(tunnelling) => match Box::pin(self.tunnel(&pool, tunnelling)).await {
                    Ok(end) | Err(NoTunnel::Over(end)) => return self.ended(end),
                    Err(NoTunnel::Pool(error)) => Some(error),
                    Err(NoTunnel::Refused(reason)) => {
                        self.no_tunnel(reason);
                        None
                    }
                },
                None => match pool.connect().await {
                    Ok((host, life)) => {
                        pool.target().report(Outcome::Reached);
                        return self.carry(host, InUse::begin(pool, life)).await;
                    }
                    Err(error) => Some(error),
                },
            };
            match failed {
                Some(PoolError::Overflow) => return self.flag(ResponseFlag::UpstreamOverflow),
                Some(error) => self.cannot_connect(error, pool.target()),
                None => {}
            }
            if self.attempts >= attempts_max {
                let stats = current.snapshot.shared.stats.lane(self.worker.index);
                stats.inc(ClusterStat::UpstreamCxConnectAttemptsExceeded);
                return self.flag(ResponseFlag::UpstreamRetryLimitExceeded);
            }
            self.back_off().await;
        }
    }

    fn choose(&self, current: &Current, metadata: Option<&LbMetadata>) -> Option<Rc<HostPool>> {
        let sharing = self.sharing(current);
        let aggregate = Aggregate::of(current, &self.worker.clusters);
        let hashed = self.peer.ip().filter(|_| self.proxy.config.hashes_source);
        let hash = hashed.map(|ip| xxh64(AddressText::new(ip).as_bytes(), 0));
        let drawn = match &aggregate {
            Some(aggregate) => {
                let number = hash.unwrap_or_else(|| fastrand::u64(..));
                aggregate.draw(&aggregate.load(), number)
            }
            None => None,
        };
        let (current, load) = match &drawn {
            Some(drawn) => (&**drawn.cluster, Some(&drawn.load)),
            None => (current, None),
        };
        let policy = &current.upstream.balancing.policy;
        let pools = match policy.original_dst() {
            Some(says) => {
                let stats = current.snapshot.shared.stats.lane(self.worker.index);
                let (proxied, local) = (self.proxied.as_deref(), Some(self.local));
                let meant = Asks { header: None, proxied, local }.destination(says, stats);
                meant.and_then(|to| current.pools_to(to))
            }
            None => {
                let hash = hash.filter(|_| policy.hashing().is_some());
                let choice = Choice { hash, load, metadata, ..Choice::default() };
                current.pick(self.worker.index, choice).cloned()
            }
        };
        let Some(pools) = pools else {
            let stats = current.snapshot.shared.stats.lane(self.worker.index);
            stats.inc(ClusterStat::UpstreamCxNoneHealthy);
            return None;
        };
        pools.pool(Version::Http11, sharing.as_ref())
    }

    fn cannot_connect(&mut self, error: PoolError, target: &Target) {
        target.report(match error {
            PoolError::Connect(ConnectError::TimedOut(_)) => Outcome::TimedOut(504),
            _ => Outcome::Lost,
        });
        let reset = Reset::from(error);
        self.flag(ResponseFlag::UpstreamConnectionFailure);
        self.transport_failure = reset.transport_failure().unwrap_or_default();
        let stats = target.shared.stats.lane(target.worker);
        stats.inc(ClusterStat::UpstreamRqPendingFailureEject);
    }

    /// Waits before the next attempt, where that was asked for: longer each time, at random.
    async fn back_off(&self) {
        let Some((first, longest)) = self.proxy.config.backoff else { return };
        let wait = first.saturating_mul(1 << self.attempts.saturating_sub(1).min(16)).min(longest);
        tokio::time::sleep(wait.mul_f64(fastrand::f64())).await;
    }

    /// Carries bytes both ways until both sides have said all, or one of them cannot go on.
    async fn carry(&mut self, mut host: Stream, mut in_use: InUse) {
        let (local, remote, id) =
            (in_use.life.local(), in_use.target().host.address, in_use.life.id());
        let tls = in_use.life.tls().cloned();
        self.connection = Some(UpstreamConnection { local, remote, id, protocol: None, tls });
        if self.proxy.config.logged.when_connected {
            self.log(AccessLogType::TcpUpstreamConnected);
        }
        let mut times = self.times();
        if in_use.target().upstream.closes_to_ill_hosts {
            times.watch_health(&self.worker);
        }
        let end = poll_fn(|cx| self.poll_carry(cx, &mut host, &in_use, &mut times)).await;
        match end {
            End::Done => in_use.ended_by_host = true,
            End::HostReset => {
                in_use.ended_by_host = true;
                self.client.reset_when_dropped();
            }
            End::ClientReset => host.reset_when_dropped(),
            End::Idle | End::Old | End::Drained | End::Drains | End::HostIll => {}
        }
        self.ended(end);
    }

    /// The times of carrying.
    pub(super) fn times(&mut self) -> Times {
        self.times.take().unwrap_or_else(|| Times::new(&self.proxy.config, &self.worker))
    }

    /// Notes how carrying ended.
    fn ended(&mut self, end: End) {
        let stats = self.proxy.stats();
        match end {
            End::HostReset => self.flag(ResponseFlag::UpstreamRemoteReset),
            End::ClientReset => self.flag(ResponseFlag::DownstreamRemoteReset),
            End::Idle => stats.inc(TcpStat::IdleTimeout),
            End::Old => {
                stats.inc(TcpStat::MaxDownstreamConnectionDuration);
                self.flag(ResponseFlag::DurationTimeout);
            }
            End::Drains => stats.inc(TcpStat::DownstreamCxDrainClose),
            End::Done | End::Drained | End::HostIll => {}
        }
    }

    fn poll_carry(
        &mut self,
        cx: &mut Context<'_>,
        host: &mut Stream,
        in_use: &InUse,
        times: &mut Times,
    ) -> Poll<End> {
        let Self { proxy, worker, client, up, down, control, .. } = self;
        let (stats, target) = (proxy.stats(), in_use.target());
        let cluster = target.shared.stats.lane(target.worker);
        let (mut from_client, mut to_client) = client.split();
        let (mut from_host, mut to_host) = host.split();
        let mut any = false;
        let upward = up.poll(cx, &mut from_client, &mut to_host, &worker.buffers, |moved| {
            any = true;
            match moved {
                Moved::Read(count) => stats.add(TcpStat::DownstreamCxRxBytesTotal, count as u64),
                Moved::Written(count) => {
                    cluster.add(ClusterStat::UpstreamCxTxBytesTotal, count as u64);
                }
            }
        });
        let downward = down.poll(cx, &mut from_host, &mut to_client, &worker.buffers, |moved| {
            any = true;
            match moved {
                Moved::Read(count) => {
                    cluster.add(ClusterStat::UpstreamCxRxBytesTotal, count as u64);
                }
                Moved::Written(count) => stats.add(TcpStat::DownstreamCxTxBytesTotal, count as u64),
            }
        });
        match (upward, downward) {
            (_, Poll::Ready(Err(Broken::Source))) => return Poll::Ready(End::HostReset),
            (Poll::Ready(Err(Broken::Source)), _) => return Poll::Ready(End::ClientReset),
            (_, Poll::Ready(Err(Broken::Sink))) => return Poll::Ready(End::ClientReset),
            (Poll::Ready(Err(Broken::Sink)), _) => return Poll::Ready(End::HostReset),
            _ if up.is_over() && down.is_over() => return Poll::Ready(End::Done),
            _ => {}
        }
        if control.drain() == Drain::Now {
            return Poll::Ready(End::Drained);
        }
        control.register(cx.waker());
        if times.poll_health(cx).is_ready() {
            if !target.host.healthy() {
                return Poll::Ready(End::HostIll);
            }
            times.look_again(cx);
        }
        if any {
            times.moved = worker.deadlines.coarse_now();
        }
        if any && down.is_written() && proxy.drains(worker) {
            return Poll::Ready(End::Drains);
        }
        if times.poll_line(cx).is_ready() {
            self.log(AccessLogType::TcpPeriodic);
        }
        times.poll_end(cx)
    }

    pub(super) fn flag(&mut self, flag: ResponseFlag) {
        self.flags.insert(flag);
    }

    pub(super) fn log(&self, log_type: AccessLogType) {
        self.write(log_type, &self.proxy.logs);
    }

    fn write(&self, log_type: AccessLogType, logs: &[Log]) {
        let elapsed = self.started.elapsed();
        let info = self.info(log_type, elapsed);
        for log in logs {
            log.write(&self.worker, &info, false, |line| self.record(elapsed).write_default(line));
        }
    }

    /// What is known of the connection.
    pub(super) fn info(&self, log_type: AccessLogType, elapsed: Duration) -> StreamInfo<'_> {
        let target = self.pool.as_ref().map(|pool| pool.target());
        let plan = self.cluster.as_ref().map(|current| &current.snapshot.plan);
        StreamInfo {
            started: Some(self.started),
            elapsed,
            flags: self.flags,
            wire: self.wire(),
            received: self.up.bytes,
            sent: self.down.bytes,
            peer: Some(self.peer),
            local: Some(self.local),
            proxied: self.proxied.as_deref(),
            dynamic_metadata: self.metadata.as_ref().or(self.noted()),
            filter_state: Some(&self.filter_state),
            connection_id: self.id,
            stream_id: &self.stream_id,
            tls: self.tls.as_deref(),
            requested_server_name: self.server_name.as_deref().unwrap_or_default(),
            fingerprints: self.fingerprints.as_deref(),
            filter_chain: Some(&self.proxy.config.filter_chain),
            cluster: plan.map_or("", |plan| &plan.name),
            cluster_metadata: self
                .cluster
                .as_ref()
                .and_then(|current| current.upstream.metadata.as_ref()),
            cluster_stat_name: plan.map_or("", |plan| &plan.stat_name),
            upstream: target.map(|target| UpstreamInfo::of(&target.host, self.connection.as_ref())),
            attempts: self.attempts,
            transport_failure: &self.transport_failure,
            log_type,
            ..StreamInfo::default()
        }
    }

    /// What listener filters have noted of it.
    pub(super) fn noted(&self) -> Option<&serde_json::Value> {
        self.proxied.as_ref().map(|proxied| &proxied.metadata)
    }

    /// Each byte of the one side is one of the other. Observed: Envoy 1.40.
    fn wire(&self) -> Wire {
        let of = |bytes| WireBytes { all: bytes, body: bytes, ..WireBytes::default() };
        let (up, down) = (of(self.up.bytes), of(self.down.bytes));
        Wire { received: up, sent: down, upstream_received: down, upstream_sent: up }
    }

    /// What Envoy's default line tells of a connection without HTTP.
    fn record(&self, elapsed: Duration) -> Record<'_> {
        Record {
            started: SystemTime::now().checked_sub(elapsed).unwrap_or(SystemTime::UNIX_EPOCH),
            flags: self.flags,
            received: self.up.bytes,
            sent: self.down.bytes,
            duration: elapsed,
            upstream: self.pool.as_ref().map(|pool| pool.target().host.address_text.as_str()),
            ..Record::of_connection()
        }
    }
}
