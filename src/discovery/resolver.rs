//! Owns asking DNS. When to ask again is the control plane's business: nothing is cached here.
//!
//! hickory reads the system's files and the servers' messages. The exchange is ours (`exchange`): hickory's own makes a
//! socket and a task for each question, and a thousand names that are kept resolved ask hundreds a second.

mod exchange;
mod server;

use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use futures_util::future::BoxFuture;
use hickory_resolver::{
    Hosts,
    config::{ConnectionConfig, ResolverOpts},
    proto::{
        op::{Message, Query as DnsQuery},
        rr::{Name, RecordType},
    },
    system_conf::read_system_conf,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use understudy_actors::{
    plan::{LookupFamily, ResolverPlan},
    seams::{Answer, Looked, LookupError, Query, Resolve},
};

use exchange::AskError;
use server::Server;

/// How often each server is asked. Observed: Envoy 1.40 with servers that answer SERVFAIL.
const TRIES: u32 = 4;

/// Resolvers that are kept alive; plans beyond it (many reloads) begin anew.
const RESOLVERS_MAX: usize = 64;

/// Queries in flight at a time for one resolver; others wait their turn.
const QUERIES_MAX: usize = 256;

/// What the answer to a query depends on besides the servers; a change makes a new resolver.
const FILES: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// How often they are looked at, at most.
const FILES_EVERY: Duration = Duration::from_secs(1);

/// What glibc asks where `/etc/resolv.conf` names nobody.
const LAST_RESORT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

const DNS_PORT: u16 = 53;

/// Asks DNS: one shared resolver for each plan, kept alive.
#[derive(Default)]
pub struct Resolver {
    kept: Mutex<HashMap<ResolverPlan, Arc<Asker>>>,
    files: Mutex<Files>,
}

/// When the files were changed last, as they were looked at last.
#[derive(Default)]
struct Files {
    looked_at: Option<Instant>,
    stamps: Stamps,
}

type Stamps = [Option<SystemTime>; 2];

/// One plan's resolver.
struct Asker {
    /// In the order of the configuration.
    servers: Vec<Arc<Server>>,
    rotate: bool,
    hosts: Hosts,
    search: Vec<Name>,
    ndots: usize,
    timeout: Duration,
    /// How often each server is asked.
    tries: usize,
    turns: Semaphore,
    files: Stamps,
}

// === impl Resolver ===

impl Resolve for Resolver {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Looked> {
        let asker = self.asker(&query.resolver);
        Box::pin(async move { asker.resolve(&query.name, query.family).await })
    }
}

impl Resolver {
    fn asker(&self, plan: &ResolverPlan) -> Arc<Asker> {
        let files = self.files.lock().stamps();
        let mut kept = self.kept.lock();
        if let Some(asker) = kept.get(plan).filter(|asker| asker.files == files) {
            return asker.clone();
        }
        if kept.len() >= RESOLVERS_MAX {
            kept.clear();
        }
        let asker = Arc::new(Asker::new(plan));
        kept.insert(plan.clone(), asker.clone());
        asker
    }
}

// === impl Files ===

impl Files {
    fn stamps(&mut self) -> Stamps {
        if self.looked_at.is_none_or(|at| at.elapsed() >= FILES_EVERY) {
            (self.looked_at, self.stamps) = (Some(Instant::now()), stamps());
        }
        self.stamps
    }
}

/// When the files were changed last.
fn stamps() -> Stamps {
    FILES.map(|path| fs::metadata(path).and_then(|file| file.modified()).ok())
}

// === impl Asker ===

impl Asker {
    fn new(plan: &ResolverPlan) -> Self {
        let files = stamps();
        let system = read_system_conf();
        let (config, options) = match system {
            Ok((config, options)) => (Some(config), options),
            Err(_) => (None, ResolverOpts::default()),
        };
        let (domain, search, servers) = match config {
            Some(config) => config.into_parts(),
            None => (None, Vec::new(), Vec::new()),
        };
        let servers: Vec<SocketAddr> = match () {
            () if !plan.servers.is_empty() && (!plan.fallback || servers.is_empty()) => {
                plan.servers.clone()
            }
            () if servers.is_empty() => vec![SocketAddr::new(LAST_RESORT, DNS_PORT)],
            () => {
                let port =
                    |ways: &[ConnectionConfig]| ways.first().map_or(DNS_PORT, |way| way.port);
                let servers = servers.iter();
                servers.map(|one| SocketAddr::new(one.ip, port(&one.connections))).collect()
            }
        };
        let search = match plan.no_search {
            true => Vec::new(),
            false if search.is_empty() => domain.into_iter().collect(),
            false => search,
        };
        let asker = Self::with(plan, servers, search, &options);
        Self { files, hosts: Hosts::from_system().unwrap_or_default(), ..asker }
    }

    fn with(
        plan: &ResolverPlan,
        servers: Vec<SocketAddr>,
        search: Vec<Name>,
        options: &ResolverOpts,
    ) -> Self {
        let server = |at| Arc::new(Server::new(at, plan.tcp_only, options.edns0));
        Self {
            servers: servers.into_iter().map(server).collect(),
            rotate: plan.rotate,
            hosts: Hosts::default(),
            search,
            ndots: options.ndots,
            timeout: plan.query_timeout.unwrap_or(options.timeout),
            tries: plan.tries.unwrap_or(TRIES).max(1) as usize,
            turns: Semaphore::new(QUERIES_MAX),
            files: stamps(),
        }
    }

    async fn resolve(&self, name: &str, family: LookupFamily) -> Looked {
        if let Ok(literal) = name.parse::<IpAddr>() {
            // Observed: Envoy 1.40 takes an IPv4 address whatever the family is.
            let wanted = literal.is_ipv4() || family != LookupFamily::V4Only;
            let addresses = wanted.then_some(literal).into_iter().collect();
            return Ok(Answer { addresses, ttl: None }).into();
        }
        let name = match Name::from_str_relaxed(name) {
            Ok(name) => name,
            Err(error) => {
                return Err(LookupError::Failed(format!("{name:?} is no name: {error}"))).into();
            }
        };
        use RecordType::{A, AAAA};
        match family {
            LookupFamily::V4Only => self.find(&name, A).await.into(),
            LookupFamily::V6Only => self.find(&name, AAAA).await.into(),
            LookupFamily::Auto => self.prefer(&name, AAAA, A).await,
            LookupFamily::V4Preferred => self.prefer(&name, A, AAAA).await,
            LookupFamily::All => self.both(&name).await.into(),
        }
    }

    /// The second kind only where there is none of the first.
    async fn prefer(&self, name: &Name, first: RecordType, second: RecordType) -> Looked {
        let preferred = self.find(name, first).await;
        if matches!(&preferred, Ok(found) if !found.addresses.is_empty()) {
            return preferred.into();
        }
        match (self.find(name, second).await, preferred) {
            // A server that fails for one kind has not said that there is none.
            (Ok(found), Err(error)) if found.addresses.is_empty() => {
                Looked { answer: Err(error), preferred: Some(Ok(found)) }
            }
            (answer, preferred) => Looked { answer, preferred: Some(preferred) },
        }
    }

    /// Both kinds, those of IPv4 first. Observed: Envoy 1.40, `dns_lookup_family: ALL`.
    async fn both(&self, name: &Name) -> Result<Answer, LookupError> {
        let (v4, v6) = futures_util::future::join(
            self.find(name, RecordType::A),
            self.find(name, RecordType::AAAA),
        )
        .await;
        let (mut answer, other) = match (v4, v6) {
            (Ok(v4), Ok(v6)) => (v4, v6),
            (Ok(one), Err(_)) | (Err(_), Ok(one)) if !one.addresses.is_empty() => {
                (one, Answer::default())
            }
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        answer.ttl = answer.ttl.into_iter().chain(other.ttl).min();
        answer.addresses.extend(other.addresses);
        Ok(answer)
    }

    /// All addresses of one kind. `/etc/hosts` comes before DNS.
    async fn find(&self, name: &Name, kind: RecordType) -> Result<Answer, LookupError> {
        let listed = |kind| self.hosts.lookup_static_host(&DnsQuery::query(name.clone(), kind));
        let (here, other) = match kind {
            RecordType::A => (listed(kind), listed(RecordType::AAAA)),
            _ => (listed(kind), listed(RecordType::A)),
        };
        if here.is_some() || other.is_some() {
            let records = here.iter().flat_map(|lookup| lookup.answers());
            let addresses = records.filter_map(|record| record.data.ip_addr()).collect();
            return Ok(Answer { addresses, ttl: None });
        }
        let mut failed = None;
        for candidate in self.candidates(name) {
            match self.ask(candidate, kind).await {
                Ok(found) if !found.addresses.is_empty() => return Ok(found),
                Ok(_) => {}
                // No server answers: the other candidates would only wait as long again.
                Err(error @ LookupError::TimedOut { .. }) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or_else(|| Ok(Answer::default()), Err)
    }

    /// The full names to ask for, in order. Source: resolv.conf(5), `ndots` and `search`.
    fn candidates(&self, name: &Name) -> Vec<Name> {
        let mut absolute = name.clone();
        absolute.set_fqdn(true);
        if name.is_fqdn() || self.search.is_empty() {
            return vec![absolute];
        }
        let dots = usize::from(name.num_labels()).saturating_sub(1);
        let searched = self.search.iter().filter_map(|domain| {
            let mut full = name.clone().append_domain(domain).ok()?;
            full.set_fqdn(true);
            Some(full)
        });
        match dots >= self.ndots {
            true => std::iter::once(absolute.clone()).chain(searched).collect(),
            false => searched.chain(std::iter::once(absolute.clone())).collect(),
        }
    }

    /// Asks one server after the other, as c-ares does: a failure is not an answer, "there is none" is.
    /// Servers that failed last time are asked last.
    async fn ask(&self, name: Name, kind: RecordType) -> Result<Answer, LookupError> {
        let _turn = self.turns.acquire().await;
        let mut servers = self.servers.clone();
        if self.rotate && !servers.is_empty() {
            servers.rotate_left(fastrand::usize(..self.servers.len()));
        }
        servers.sort_by_key(|server| server.failures());
        self.look_after_failed(&name, kind);
        let mut failed = LookupError::Unreachable("no name server is known".to_owned());
        for (queries, server) in (1..).zip(std::iter::repeat_n(&servers, self.tries).flatten()) {
            match server.ask(&name, kind, self.timeout).await {
                Ok(answer) => return Ok(found(&answer, kind)),
                Err(AskError::TimedOut) => {
                    failed = LookupError::TimedOut { wait: self.timeout, queries };
                }
                Err(AskError::Io(error)) => failed = LookupError::Unreachable(error.to_string()),
                Err(error) => failed = LookupError::Failed(error.to_string()),
            }
        }
        Err(failed)
    }

    /// Servers that failed a while ago are asked beside the others, so that a first choice which is back
    /// becomes the first choice again, and nobody waits for one which is not.
    fn look_after_failed(&self, name: &Name, kind: RecordType) {
        let well = self.servers.iter().any(|server| server.failures() == 0);
        for server in self.servers.iter().filter(|server| well && server.is_to_be_tried_again()) {
            let (server, name, timeout) = (server.clone(), name.clone(), self.timeout);
            tokio::spawn(async move { drop(server.ask(&name, kind, timeout).await) });
        }
    }
}

fn found(answer: &Message, kind: RecordType) -> Answer {
    let records = answer.answers.iter();
    // A name that points to another holds as long as the shortest link of the chain.
    let ttl = records.clone().map(|record| record.ttl).min();
    let addresses = records
        .filter(|record| record.record_type() == kind)
        .filter_map(|record| record.data.ip_addr())
        .collect();
    Answer { addresses, ttl: ttl.map(|ttl| Duration::from_secs(ttl.into())) }
}

#[cfg(test)]
mod tests;
