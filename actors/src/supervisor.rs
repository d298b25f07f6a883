//! Owns the company: applies plans and commands, and keeps the children's addresses.

mod apply;
mod ask;
mod changes;
mod drain;
mod draining;
mod hosts;
mod kill;
mod listeners;
mod quit;
mod ready;
mod sockets;
#[cfg(test)]
mod tests;
mod watchdog;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use actix::prelude::*;
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

pub(crate) use apply::{Apply, Begin, Begun, InForce, Preview};
pub(crate) use ask::Ask;
pub(crate) use kill::{fallen_itself, own_falls};
pub use sockets::BindError;
pub(crate) use watchdog::watch_control;

use crate::{
    address::Address,
    admin::Admin,
    cluster::{Cluster, Remake},
    configuration::{Configuration, ConfigurationSeed},
    configured::Configured,
    plan::{AdminPlan, Assignment, ClusterPlan, ListenerPlan, Plan, RoutesPlan},
    published::{Published, Publisher},
    roster::Roster,
    routes::Routes,
    settings::{Settings, SettingsSeed},
    shares::Shares,
    snapshot::{ClusterSnapshot, Clusters, Tables},
    socket::Listening,
    stage::Stage,
    stats::{ClusterManagerStat, Group, ListenerManagerStat, Registry, Scope},
    supervise::{ActorDown, Reports, falls},
    view::BoundListener,
    worker::Worker,
};

/// Lines of the journal that are logged when the process gives up.
const LAST_WORDS: usize = 32;

/// What the supervisor keeps through a fall.
pub(crate) struct SupervisorSeed {
    stage: Stage,
    publishers: Publishers,
    settings: Rc<SettingsSeed>,
    configuration: Rc<ConfigurationSeed>,
    children: RefCell<Children>,
    exit: Exits,
    cluster_manager: Arc<Group<ClusterManagerStat>>,
    listener_manager: Arc<Group<ListenerManagerStat>>,
    watchdog: watchdog::Watched,
    /// The plan that is to be in force. Whatever falls in between, reconciling leads there.
    wanted: RefCell<Arc<Plan>>,
    /// The plan whose settings are in force.
    told: RefCell<Option<Arc<Plan>>>,
    /// Sockets for listeners of `wanted` that were not handed over yet.
    bound: RefCell<HashMap<String, sockets::Bound>>,
    bound_admin: RefCell<Option<sockets::BoundAdmin>>,
    /// Who waits for `wanted` to be in force.
    appliers: RefCell<Vec<oneshot::Sender<()>>>,
    /// Until when clusters are waited for by `/ready`. None before the first plan.
    ready_by: Cell<Option<Instant>>,
    /// Until when clusters are waited for by what needs them, while a plan is not in force yet.
    warm_by: Cell<Option<Instant>>,
    live: Cell<bool>,
    /// How often a plan was put in force, be it the same one again.
    rounds: Cell<u64>,
    closing: RefCell<Vec<drain::Closing>>,
    draining: RefCell<draining::Draining>,
    ending: Cell<Option<quit::Ending>>,
}

/// What the supervisor publishes.
pub(crate) struct Publishers {
    pub(crate) clusters: Publisher<Clusters>,
    pub(crate) tables: Publisher<Tables>,
    pub(crate) listeners: Publisher<Vec<BoundListener>>,
    pub(crate) plan: Publisher<Plan>,
    pub(crate) admin: Publisher<Option<Address>>,
}

/// The children; they outlive a fall of their parent.
#[derive(Default)]
struct Children {
    settings: Option<Addr<Settings>>,
    configuration: Option<Addr<Configuration>>,
    workers: Vec<WorkerChild>,
    clusters: BTreeMap<String, ClusterChild>,
    /// Clusters that will take the place of those of the same name once they are warm.
    warming: BTreeMap<String, ClusterChild>,
    routes: BTreeMap<String, RoutesChild>,
    listeners: BTreeMap<String, ListenerChild>,
    admin: Option<AdminChild>,
}

struct WorkerChild {
    arbiter: ArbiterHandle,
    worker: Addr<Worker>,
}

#[derive(Clone)]
struct ClusterChild {
    plan: Arc<ClusterPlan>,
    cluster: Addr<Cluster>,
    published: Published<ClusterSnapshot>,
    /// What it was told of its hosts.
    assigned: Option<Arc<Assignment>>,
    /// It was waited for, whether it has answered since or not.
    waited: bool,
}

struct RoutesChild {
    plan: Arc<RoutesPlan>,
    routes: Addr<Routes>,
}

struct ListenerChild {
    plan: Arc<ListenerPlan>,
    locals: Vec<Address>,
    /// Those of each worker; none once it is closed.
    sockets: Vec<Arc<[Listening]>>,
    /// Connections on all workers.
    shares: Arc<Shares>,
    closed: bool,
}

struct AdminChild {
    plan: Arc<AdminPlan>,
    admin: Addr<Admin>,
}

/// The way the process ends.
#[derive(Clone)]
pub(crate) struct Exits {
    pub(crate) code: Arc<watch::Sender<Option<i32>>>,
    pub(crate) roster: Arc<Roster>,
}

/// The supervisor.
pub(crate) struct Supervisor {
    seed: Rc<SupervisorSeed>,
    /// What drains is counted again when the next of it is over.
    counts_again: Cell<Option<SpawnHandle>>,
}

// === impl SupervisorSeed ===

impl SupervisorSeed {
    pub(crate) fn new(
        stage: Stage,
        publishers: Publishers,
        settings: SettingsSeed,
        configured: Publisher<Configured>,
        exit: Exits,
    ) -> Self {
        let registry: &Registry = &stage.view.registry;
        Self {
            cluster_manager: registry.group(Scope::plain("cluster_manager.")),
            listener_manager: registry.group(Scope::plain("listener_manager.")),
            watchdog: watchdog::Watched::new(registry),
            publishers,
            settings: Rc::new(settings),
            configuration: Rc::new(ConfigurationSeed::new(stage.clone(), configured)),
            children: RefCell::default(),
            exit,
            wanted: RefCell::default(),
            told: RefCell::default(),
            bound: RefCell::default(),
            bound_admin: RefCell::default(),
            appliers: RefCell::default(),
            ready_by: Cell::default(),
            warm_by: Cell::default(),
            live: Cell::default(),
            rounds: Cell::default(),
            closing: RefCell::default(),
            draining: RefCell::default(),
            ending: Cell::default(),
            stage,
        }
    }

    fn note(&self, what: &'static str, detail: impl Into<String>) {
        self.stage.roster().note("supervisor", what, detail);
    }
}

// === impl Exits ===

impl Exits {
    /// Reports on an actor without whom nothing goes on: beyond its budget, the process ends.
    pub(crate) fn reports(self) -> Reports {
        Arc::new(move |ActorDown { name, why, beyond_budget }| {
            if beyond_budget {
                self.give_up(&format!("{name} falls again and again: {why}"));
            }
        })
    }

    /// Ends the process as failed; whoever started it is to start it again.
    fn give_up(&self, why: &str) {
        tracing::error!(target: "main", "giving up: {why}; the journal's last lines:");
        let journal = self.roster.journal();
        for entry in journal.iter().skip(journal.len().saturating_sub(LAST_WORDS)) {
            tracing::error!(target: "main", "{}: {} {}", entry.who, entry.what, entry.detail);
        }
        self.end(1);
    }

    fn end(&self, code: i32) {
        self.code.send_if_modified(|slot| slot.is_none() && slot.replace(code).is_none());
    }
}

// === impl Supervisor ===

impl Supervisor {
    pub(crate) fn new(seed: Rc<SupervisorSeed>) -> Self {
        Self { seed, counts_again: Cell::default() }
    }

    fn workers(&self) -> Vec<Addr<Worker>> {
        self.seed.children.borrow().workers.iter().map(|child| child.worker.clone()).collect()
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    /// Begins, or goes on from the plan that was wanted last, with the children there are.
    fn started(&mut self, ctx: &mut Context<Self>) {
        self.watch_each_second(ctx);
        self.reconcile(ctx);
        self.reconcile_when_waited(ctx);
        self.close_when_due(ctx);
        self.count_draining(ctx);
        self.wait_for_the_end(ctx);
    }
}

impl Supervised for Supervisor {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(Supervisor);

impl Handler<ActorDown> for Supervisor {
    type Result = ();

    /// Children are revived in their place; this is about those that cannot stay up.
    fn handle(&mut self, ActorDown { name, why, beyond_budget }: ActorDown, _: &mut Context<Self>) {
        if !beyond_budget {
            return;
        }
        if name == "settings" {
            return self.seed.exit.give_up(&format!("{name} falls again and again: {why}"));
        }
        tracing::error!(target: "main", "{name} falls again and again, and pauses: {why}");
        let children = self.seed.children.borrow();
        let cluster = name.strip_prefix("cluster/").and_then(|name| children.clusters.get(name));
        if let Some(child) = cluster {
            child.cluster.do_send(Remake);
        }
    }
}
