//! Owns the hand-written other side of the seams, for the tests of this crate.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Command, Commander, Company, Exit,
    address::Address,
    command::{Applied, LogLevel},
    configured::Base,
    event::{Event, What},
    log_levels::LogLevels,
    plan::{
        AdminPlan, Assignment, ClusterPlan, Discovery, DnsPlan, EndpointPlan, HealthCheckKind,
        HealthCheckPlan, HostPlan, ListenerPlan, LookupFamily, NamePlan, Payload, Plan, RdsPlan,
        RoutesPlan, SdsPlan, SocketPlan,
    },
    resources::{
        ConfigSource, Document, Found, Kind, Known, ResourcePlan, Response, ResponseError, Secret,
        Wrong, print_of,
    },
    seams::{
        Accepted, Answer, Balance, Control, Drain, Face, Load, Looked, LookupError, MakeServe,
        Membership, Probe, Probed, Query, Record, Report, Resolve, Serve, Understand,
    },
    secrets::Secrets,
    snapshot::Host,
    stage::{House, Options, Seams, Threads},
    view::View,
};

/// Answers of a name server, name by name, in order; the last one is said for ever.
#[derive(Default)]
pub(crate) struct Script {
    answers: Mutex<HashMap<String, VecDeque<Result<Answer, LookupError>>>>,
    pub(crate) asked: Mutex<Vec<(String, tokio::time::Instant)>>,
}

/// What hosts say of their health; the default is that they are well.
#[derive(Default)]
pub(crate) struct Health {
    pub(crate) says: Mutex<HashMap<Address, Probed>>,
    /// The same to the check of this name.
    pub(crate) says_of: Mutex<HashMap<(Address, String), Probed>>,
    pub(crate) asked: Mutex<Vec<(Address, tokio::time::Instant)>>,
}

/// What was written down: of which host what.
#[derive(Default)]
pub(crate) struct Events(pub(crate) Mutex<Vec<(String, What)>>);

/// What a balancer was told.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) hosts: usize,
    pub(crate) panic_percent: u64,
    /// Nothing had been published before.
    pub(crate) first: bool,
}

/// Everything a test may look at from the other side.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) dns: Arc<Script>,
    pub(crate) health: Arc<Health>,
    pub(crate) events: Arc<Events>,
    pub(crate) secrets: Arc<Secrets>,
    pub(crate) logs_reopened: Arc<Mutex<u32>>,
    /// What the file asks for, or what is wrong with it.
    pub(crate) file: Arc<Mutex<Option<Result<Plan, String>>>>,
    /// Plans that were in force, by what they named.
    pub(crate) in_force: Arc<Mutex<Vec<usize>>>,
    /// Threads that workers were made on.
    pub(crate) threads: Arc<Mutex<Vec<ArbiterHandle>>>,
}

/// Answers each line with the name of its listener, and says it of what is handed over; `panic` panics; `to` an address
/// hands over; ends by its control.
struct Echo;

struct MakeEcho(World);
struct CountHosts;
struct Hello;

// === impl Script ===

impl Script {
    pub(crate) fn say(&self, name: &str, answers: impl IntoIterator<Item = Said>) {
        let answers = answers.into_iter().map(|said| match said {
            Said::Hosts(ips) => {
                let addresses = ips.iter().map(|ip| ip.parse().unwrap()).collect();
                Ok(Answer { addresses, ttl: Some(Duration::from_secs(30)) })
            }
            Said::Failure => Err(LookupError::Failed("SERVFAIL".to_owned())),
        });
        self.answers.lock().insert(name.to_owned(), answers.collect());
    }
}

/// One answer.
pub(crate) enum Said {
    Hosts(&'static [&'static str]),
    Failure,
}

impl Resolve for Script {
    fn resolve(&self, query: Query) -> BoxFuture<'static, Looked> {
        self.asked.lock().push((query.name.clone(), tokio::time::Instant::now()));
        let mut answers = self.answers.lock();
        let Some(answers) = answers.get_mut(&query.name) else {
            return Box::pin(std::future::pending());
        };
        let answer = match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        Box::pin(async move { answer.unwrap_or_else(|| Ok(Answer::default())).into() })
    }
}

impl Probe for Health {
    fn probe(
        &self,
        _: Arc<ClusterPlan>,
        check: Arc<HealthCheckPlan>,
        host: Arc<Host>,
    ) -> BoxFuture<'static, Report> {
        self.asked.lock().push((host.address, tokio::time::Instant::now()));
        let own = self.says_of.lock().get(&(host.address, check.name.clone())).cloned();
        let says = own.or_else(|| self.says.lock().get(&host.address).cloned());
        match says.unwrap_or(Probed::Healthy) {
            Probed::TimedOut => Box::pin(std::future::pending()),
            says => Box::pin(async move { says.into() }),
        }
    }
}

impl Record for Events {
    fn record(&self, _: &Path, event: &Event<'_>) {
        self.0.lock().push((event.host.address_text.clone(), event.what.clone()));
    }
}

impl Balance for CountHosts {
    fn tables(&self, membership: Membership<'_>) -> Payload {
        Arc::new(Told {
            hosts: membership.hosts.len(),
            panic_percent: membership.runtime.integer("upstream.healthy_panic_threshold", 50),
            first: membership.before.version == 0,
        })
    }
}

impl MakeServe for MakeEcho {
    fn make(&self, _: usize) -> Rc<dyn Serve> {
        self.0.threads.lock().push(Arbiter::current());
        Rc::new(Echo)
    }
}

impl Serve for Echo {
    fn prepare(&self, _: &ListenerPlan) {}

    fn serve(&self, accepted: Accepted, control: Rc<Control>) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let (mut accepted, mut busy) = (accepted, false);
            if accepted.findings.take().is_some() {
                let _ = accepted.stream.write_all(accepted.listener.name.as_bytes()).await;
            }
            loop {
                let mut line = [0; 64];
                let told = std::future::poll_fn(|cx| {
                    control.register(cx.waker());
                    match control.drain() >= Drain::WhenIdle && !busy {
                        true => std::task::Poll::Ready(()),
                        false => std::task::Poll::Pending,
                    }
                });
                let count = tokio::select! {
                    count = accepted.stream.read(&mut line) => count.unwrap_or(0),
                    () = told => return,
                };
                match &line[..count] {
                    b"" => return,
                    b"panic" => panic!("over a line"),
                    b"hold" => busy = true,
                    b"release" => busy = false,
                    line => {
                        if let Some(other) = meant(line).and_then(|to| accepted.meant_for(to)) {
                            return accepted.hand_over(&other, &control, Box::new(()));
                        }
                    }
                }
                let answer = match control.drain() {
                    Drain::Stay => accepted.listener.name.clone(),
                    drain => format!("{drain:?}"),
                };
                if accepted.stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
    }
}

/// `to` and an address: whereto a connection says that it was meant to go.
fn meant(line: &[u8]) -> Option<Address> {
    std::str::from_utf8(line).ok()?.strip_prefix("to ")?.parse().ok()
}

impl Face for Hello {
    fn serve(&self, mut stream: TcpStream, _: Address) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let mut line = [0; 64];
            let count = stream.read(&mut line).await.unwrap_or(0);
            assert_ne!(&line[..count], b"panic");
            let _ = stream.write_all(b"hello").await;
        })
    }
}

impl House for World {
    fn reopen_logs(&self) {
        *self.logs_reopened.lock() += 1;
    }

    fn profile_cpu(&self, _: bool) -> Result<(), String> {
        Err("no profiler in tests".to_owned())
    }

    fn plan_in_force(&self, plan: &Plan) {
        self.in_force.lock().push(plan.listeners.len());
    }
}

impl Understand for World {
    /// The first line is the version, each further one a kind, a name and words: of a cluster and of endpoints
    /// addresses, of others their fingerprint. `eds` is a cluster that subscribes to the file it names; `bad` is refused.
    fn understand(&self, kind: Kind, document: &Document) -> Result<Response, ResponseError> {
        let mut lines = document.text.lines();
        let version = lines.next().unwrap_or_default().to_owned();
        if version.starts_with('!') {
            return Err(ResponseError::Unreadable("half a file".to_owned()));
        }
        let folder = document.path.parent().unwrap().to_owned();
        let found = lines.map(|line| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let (name, folder) = (words[1].clone(), folder.clone());
            let mut hasher = DefaultHasher::new();
            line.hash(&mut hasher);
            let fingerprint = hasher.finish();
            let plan = move |known: &Known| planned(kind, &words, fingerprint, &folder, known);
            Found { name, message: Arc::new(()), fingerprint, plan: Box::new(plan) }
        });
        Ok(Response { version_hash: 7, resources: found.collect(), version })
    }
}

fn planned(
    kind: Kind,
    words: &[String],
    fingerprint: u64,
    folder: &Path,
    known: &Known,
) -> Result<ResourcePlan, Wrong> {
    let (name, rest) = (words[1].as_str(), &words[2..]);
    let addresses: Vec<&str> = rest.iter().map(String::as_str).collect();
    let file = |name: &str| ConfigSource::File { path: folder.join(name), watched: None };
    // Names of these tests end in a digit, which is their slot.
    let slot = name.bytes().last().map_or(0, |last| usize::from(last % 16));
    let wrong = |line: String| Err(Wrong { told: line.clone(), line });
    Ok(match (kind, words[0].as_str()) {
        (_, "bad") => return wrong(format!("{name} is bad")),
        (Kind::Cluster, "eds") => {
            let discovery =
                Discovery::Eds { service_name: name.to_owned(), source: file(&words[2]) };
            let plan = ClusterPlan { fingerprint, ..cluster(name, slot, discovery) };
            ResourcePlan::Cluster(Arc::new(plan))
        }
        (Kind::Cluster, _) => {
            let plan = cluster(name, slot, fixed(&addresses));
            ResourcePlan::Cluster(Arc::new(ClusterPlan { fingerprint, ..plan }))
        }
        (Kind::Endpoints, _) => {
            let Discovery::Static(hosts) = fixed(&addresses) else { unreachable!() };
            ResourcePlan::Endpoints(Arc::new(Assignment { hosts, ..Assignment::default() }))
        }
        (Kind::Routes, _) => ResourcePlan::Routes(routes(name, slot, rest[0].parse().unwrap())),
        (Kind::Secret, _) => {
            let files = rest.iter().filter_map(|word| word.strip_prefix("file="));
            let files = files.map(|name| {
                let held = std::fs::read(folder.join(name)).unwrap_or_default();
                (file(name), print_of(&held))
            });
            let files: Vec<_> = files.collect();
            if files.iter().any(|(_, held)| *held == print_of(b"bad")) {
                return wrong(format!("a file of {name} is bad"));
            }
            let held = files.iter().map(|(_, held)| *held).sum::<u64>();
            let (value, fingerprint) = (Arc::new(rest[0].to_owned()), fingerprint ^ held);
            ResourcePlan::Secret(Arc::new(Secret { value, files, fingerprint }))
        }
        (Kind::Listener, _) => {
            let needs = rest.iter().find_map(|word| word.strip_prefix("needs="));
            if let Some(needs) = needs.filter(|needs| !known.clusters.contains(*needs)) {
                return wrong(format!("unknown cluster {needs}"));
            }
            let at = rest.iter().find_map(|word| word.strip_prefix("at="));
            let address = at.unwrap_or("127.0.0.1:0").parse().unwrap();
            let rds = rest.iter().find_map(|word| word.strip_prefix("rds="));
            let rds = rds.map(|name| RdsPlan {
                name: name.to_owned(),
                source: file("rds"),
                stat_prefix: "in".to_owned(),
            });
            let sds = rest.iter().find_map(|word| word.strip_prefix("sds="));
            let sds =
                sds.map(|name| SdsPlan { name: name.to_owned(), source: file("sds"), wants: "" });
            let plan = ListenerPlan {
                address,
                fingerprint,
                rds: rds.into_iter().collect(),
                sds: sds.into_iter().collect(),
                ..(*listener(name)).clone()
            };
            ResourcePlan::Listener(Arc::new(plan), Vec::new())
        }
    })
}

impl Load for World {
    fn load(&self, _: &Base) -> Result<Base, String> {
        self.file.lock().clone().expect("there is a file").map(Base::from)
    }
}

/// A company on stage.
pub(crate) struct Raised {
    pub(crate) view: View,
    pub(crate) commander: Commander,
    pub(crate) exit: Exit,
    pub(crate) world: World,
}

// === impl World ===

impl World {
    pub(crate) fn seams(&self) -> Seams {
        Seams {
            serve: Arc::new(MakeEcho(self.clone())),
            resolve: self.dns.clone(),
            probe: self.health.clone(),
            record: self.events.clone(),
            balance: Arc::new(CountHosts),
            face: Arc::new(Hello),
            load: Arc::new(self.clone()),
            understand: Arc::new(self.clone()),
            secrets: self.secrets.clone(),
            house: Arc::new(self.clone()),
        }
    }
}

pub(crate) fn options() -> Options {
    Options {
        concurrency: 2,
        drain_time: Duration::from_secs(6),
        drain_sequence: Duration::from_secs(6),
        drills: true,
        log_levels: LogLevels::all(&["admin", "upstream"], LogLevel::Info),
    }
}

/// Raises a company on this thread, workers and all.
pub(crate) fn raise(world: World) -> Raised {
    let company = Company::prepare(options());
    let (view, commander) = (company.view().clone(), company.commander().clone());
    let (exit, _) = company.raise_on(Threads::One(Arbiter::current()), world.seams());
    Raised { view, commander, exit, world }
}

impl Raised {
    pub(crate) async fn command(&self, command: Command) -> Applied {
        self.commander.apply("a test", command).await
    }

    /// Lets an actor fall, and waits until it is up again.
    pub(crate) async fn kill(&self, name: &str) {
        assert_eq!(self.command(Command::Kill(name.to_owned())).await, Applied::Done, "{name}");
        if name == "supervisor" {
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    pub(crate) fn restarts(&self, name: &str) -> u64 {
        let member = self.view.roster.member(name).unwrap_or_else(|| panic!("no {name}"));
        member.restarts.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Names of all actors.
    pub(crate) fn cast(&self) -> Vec<String> {
        self.view.roster.members().iter().map(|member| member.name.clone()).collect()
    }

    pub(crate) fn address(&self, listener: &str) -> SocketAddr {
        let listeners = self.view.listeners.read();
        let bound = listeners.iter().find(|bound| bound.plan.name == listener);
        bound
            .and_then(|bound| bound.local.socket())
            .unwrap_or_else(|| panic!("no listener {listener}"))
    }

    pub(crate) async fn connect(&self, listener: &str) -> TcpStream {
        TcpStream::connect(self.address(listener)).await.unwrap()
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{what}: not so after a long time");
}

/// Sends a line, reads the answer; empty when the connection has ended.
pub(crate) async fn say(stream: &mut TcpStream, line: &str) -> String {
    let mut answer = [0; 64];
    let _ = stream.write_all(line.as_bytes()).await;
    let count = stream.read(&mut answer).await.unwrap_or(0);
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

// Plans.

pub(crate) fn listener(name: &str) -> Arc<ListenerPlan> {
    Arc::new(ListenerPlan {
        name: name.to_owned(),
        bind_to_port: true,
        address: "127.0.0.1:0".parse().unwrap(),
        stat_prefix: name.to_owned(),
        backlog: 128,
        inbound: false,
        socket: SocketPlan::default(),
        additional: Vec::new(),
        connections_max: 100,
        ignores_global_limit: false,
        exact_balance: false,
        accepts_max: None,
        chains: Arc::new(()),
        rds: Vec::new(),
        sds: Vec::new(),
        chains_fingerprint: 1,
        fingerprint: 1,
    })
}

pub(crate) fn cluster(name: &str, slot: usize, discovery: Discovery) -> ClusterPlan {
    let connect_timeout = Duration::from_secs(1);
    ClusterPlan { connect_timeout, ..ClusterPlan::new(name, slot, discovery) }
}

pub(crate) fn fixed(addresses: &[&str]) -> Discovery {
    let host = |address: &&str| HostPlan {
        address: address.parse().unwrap(),
        more: Vec::new(),
        endpoint: EndpointPlan::default(),
    };
    Discovery::Static(addresses.iter().map(host).collect())
}

pub(crate) fn dns() -> DnsPlan {
    DnsPlan {
        refresh: Duration::from_secs(5),
        failure_refresh: None,
        respect_ttl: false,
        ttl_min: Duration::ZERO,
        hold_stale: None,
        jitter: Duration::ZERO,
        family: LookupFamily::V4Only,
        resolver: Arc::default(),
    }
}

pub(crate) fn name(name: &str) -> NamePlan {
    NamePlan { name: name.to_owned(), port: 80, endpoint: EndpointPlan::default() }
}

pub(crate) fn strict(names: &[&str]) -> Discovery {
    Discovery::StrictDns { names: names.iter().map(|n| name(n)).collect(), dns: dns() }
}

pub(crate) fn check() -> HealthCheckPlan {
    HealthCheckPlan {
        name: String::new(),
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(2),
        initial_jitter: Duration::ZERO,
        interval_jitter: Duration::ZERO,
        no_traffic_interval: Duration::from_secs(60),
        no_traffic_healthy_interval: None,
        interval_jitter_percent: 0,
        unhealthy_interval: None,
        unhealthy_edge_interval: None,
        healthy_edge_interval: None,
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        reuse_connection: true,
        event_logs: vec!["/events".into()],
        logs_failures: false,
        logs_successes: false,
        kind: HealthCheckKind::Http { http2: false },
        asks: Arc::new(()),
    }
}

pub(crate) fn routes(name: &str, slot: usize, fingerprint: u64) -> Arc<RoutesPlan> {
    let table = Arc::new(fingerprint);
    Arc::new(RoutesPlan { name: name.to_owned(), slot, table, fingerprint })
}

pub(crate) fn admin() -> Arc<AdminPlan> {
    Arc::new(AdminPlan {
        address: "127.0.0.1:0".parse().unwrap(),
        socket: SocketPlan::default(),
        options: Arc::new(()),
    })
}

/// A plan with these clusters.
pub(crate) fn plan(clusters: Vec<ClusterPlan>) -> Plan {
    Plan { clusters: clusters.into_iter().map(Arc::new).collect(), ..Plan::default() }
}
