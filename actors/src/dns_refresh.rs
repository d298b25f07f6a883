//! Owns one name of a cluster: asks for it again and again, and tells the cluster what DNS said.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix::prelude::*;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    names::{Name, NameStatus},
    plan::DnsPlan,
    published::Publisher,
    seams::{Answer, Looked, LookupError, Query, Resolve},
    stats::{ClusterStat, DnsStat, Group},
    supervise::falls,
};

/// The shortest time between two lookups, whatever a time to live says.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// The shortest time between two lookups where hosts cannot be reached.
const DOUBT_INTERVAL: Duration = Duration::from_secs(1);

/// The longest time a lookup may take, whatever the resolver does.
const LOOKUP_MAX: Duration = Duration::from_secs(60);

/// What a name keeps through a fall. What was answered is published, and is the memory.
#[derive(Clone)]
pub(crate) struct DnsRefreshSeed {
    /// Position of the name in the cluster's plan.
    pub(crate) at: usize,
    pub(crate) name: Arc<Name>,
    pub(crate) status: Rc<Publisher<NameStatus>>,
    pub(crate) dns: DnsPlan,
    pub(crate) resolve: Arc<dyn Resolve>,
    pub(crate) cluster: Recipient<Resolved>,
    pub(crate) stats: Arc<Group<DnsStat>>,
    pub(crate) cluster_stats: Arc<Group<ClusterStat>>,
    /// An empty answer is a failure, as in a `LOGICAL_DNS` cluster.
    pub(crate) empty_fails: bool,
}

/// Keeps one name resolved.
pub(crate) struct DnsRefresh {
    seed: DnsRefreshSeed,
    /// The wait for the next lookup.
    timer: Option<SpawnHandle>,
    asking: bool,
    /// Who waits for the lookup that is under way.
    waiting: Vec<oneshot::Sender<()>>,
}

/// What DNS said about a name.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Resolved {
    /// Position of the name in the cluster's plan.
    pub(crate) at: usize,
    /// None where the hosts stay as they are.
    pub(crate) answer: Option<Answer>,
}

/// Ask now. Answered when DNS has.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Refresh;

/// The cluster has no use for the name any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Forget;

/// A lookup that is under way: counted until it is dropped, be it by a fall.
struct Pending(Arc<Group<DnsStat>>);

// === impl DnsRefresh ===

impl DnsRefresh {
    pub(crate) fn new(seed: DnsRefreshSeed) -> Self {
        Self { seed, timer: None, asking: false, waiting: Vec::new() }
    }

    fn change_status(&self, change: impl FnOnce(&mut NameStatus)) {
        let mut status = (*self.seed.status.read()).clone();
        change(&mut status);
        self.seed.status.publish(status);
    }

    /// Asks, unless that is under way.
    fn ask(&mut self, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.asking, true) {
            return;
        }
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        self.change_status(|status| {
            (status.asked_at, status.next_at) = (Some(Instant::now()), None);
        });
        self.seed.name.begin_to_ask();
        let DnsRefreshSeed { name, dns, resolve, stats, cluster_stats, .. } = &self.seed;
        let (family, resolver) = (dns.family, dns.resolver.clone());
        cluster_stats.add(ClusterStat::UpdateAttempt, 1);
        let pending = Pending::count(stats.clone());
        let lookup = resolve.resolve(Query { name: name.name.clone(), family, resolver });
        let lookup = async move {
            let _pending = pending;
            let looked = tokio::time::timeout(LOOKUP_MAX, lookup).await;
            looked.unwrap_or_else(|_| {
                Err(LookupError::TimedOut { wait: LOOKUP_MAX, queries: 1 }).into()
            })
        };
        ctx.spawn(lookup.into_actor(self).map(|looked, this, ctx| this.answered(&looked, ctx)));
    }

    fn answered(&mut self, looked: &Looked, ctx: &mut Context<Self>) {
        self.asking = false;
        self.count(looked);
        let answer = self.heed(&looked.answer);
        let wait = self.wait(answer.as_ref());
        let doubted = self.seed.name.is_doubted().then(|| self.patience());
        self.ask_after(doubted.map_or(wait, |patience| patience.min(wait)), ctx);
        self.seed.cluster.do_send(Resolved { at: self.seed.at, answer });
        for waiting in self.waiting.drain(..) {
            // Who asked may have gone.
            let _ = waiting.send(());
        }
    }

    fn ask_after(&mut self, wait: Duration, ctx: &mut Context<Self>) {
        if let Some(before) = self.timer.take() {
            ctx.cancel_future(before);
        }
        self.change_status(|status| status.next_at = Some(Instant::now() + wait));
        self.timer = Some(ctx.run_later(wait, |this, ctx| {
            this.timer = None;
            this.ask(ctx);
        }));
    }

    /// What counts of an answer: a failure keeps the hosts, losing DNS must not lose the upstream; so does an
    /// empty answer where it is a failure or hosts are held.
    fn heed(&self, answer: &Result<Answer, LookupError>) -> Option<Answer> {
        let (seed, now) = (&self.seed, Instant::now());
        let before = seed.status.read();
        let held_since = before.held_since.unwrap_or(now);
        let holds = !before.addresses.is_empty()
            && seed.dns.hold_stale.is_some_and(|hold| now.duration_since(held_since) < hold);
        let (why, held_since) = match answer {
            Ok(answer) if !answer.addresses.is_empty() || !(seed.empty_fails || holds) => {
                let Answer { addresses, ttl } = answer.clone();
                self.change_status(|status| {
                    (status.addresses, status.ttl) = (addresses, ttl);
                    (status.answered_at, status.failures) = (Some(now), 0);
                    status.held_since = None;
                });
                return Some(answer.clone());
            }
            Ok(_) => ("there is no address".to_owned(), holds.then_some(held_since)),
            Err(error) => (error.to_string(), before.held_since),
        };
        let name = &seed.name.name;
        tracing::warn!(target: "dns", "lookup of {name:?} failed: {why}; hosts stay as they are");
        self.change_status(|status| {
            status.failures = status.failures.saturating_add(1);
            status.last_error = Some((now, why));
            status.held_since = held_since;
        });
        None
    }

    /// How long to wait after this answer.
    ///
    /// Source: `Cluster.dns_refresh_rate`, `respect_dns_ttl`, `dns_failure_refresh_rate`, `dns_jitter`, and
    /// `DnsCluster.dns_min_refresh_rate`.
    fn wait(&self, answer: Option<&Answer>) -> Duration {
        let (dns, status) = (&self.seed.dns, self.seed.status.read());
        let wait = match (answer, dns.failure_refresh) {
            (Some(answer), _) => {
                // A time to live of 0 says nothing about when to ask again.
                let heeded = |ttl: &Duration| dns.respect_ttl && !ttl.is_zero();
                let ttl = answer.ttl.filter(heeded).filter(|_| !answer.addresses.is_empty());
                let wait = ttl.map_or(dns.refresh, |ttl| ttl.max(dns.ttl_min));
                wait + dns.jitter.mul_f64(fastrand::f64())
            }
            // Jitter over the whole of it, so that many proxies do not ask in step.
            (None, Some((first, longest))) => {
                let doublings = status.failures.saturating_sub(1).min(16);
                first.saturating_mul(1 << doublings).min(longest).mul_f64(fastrand::f64())
            }
            (None, None) => dns.refresh,
        };
        // Hosts that are held go when their time is over, not at some refresh after it.
        let held = status.held_since.zip(dns.hold_stale);
        let left = held.map(|(since, hold)| hold.saturating_sub(since.elapsed()));
        left.map_or(wait, |left| wait.min(left)).max(INTERVAL_MIN)
    }

    /// Asks soon where a host could not be reached: it may be gone, and DNS may know.
    fn hear_doubts(&self, ctx: &mut Context<Self>) {
        let name = self.seed.name.clone();
        let doubted = async move { name.doubted().await };
        ctx.spawn(doubted.into_actor(self).map(|(), this, ctx| {
            let (wait, next) = (this.patience(), this.seed.status.read().next_at);
            let later = next.is_none_or(|next| next > Instant::now() + wait);
            match this.asking {
                false if wait.is_zero() => this.ask(ctx),
                false if later => this.ask_after(wait, ctx),
                _ => {}
            }
            this.hear_doubts(ctx);
        }));
    }

    /// How long to wait for another lookup where hosts cannot be reached.
    fn patience(&self) -> Duration {
        let since = self.seed.status.read().asked_at.map_or(DOUBT_INTERVAL, |at| at.elapsed());
        DOUBT_INTERVAL.saturating_sub(since)
    }

    /// Each family that was asked for counts. Observed: Envoy 1.40, `dns.cares.` for each
    /// `dns_lookup_family`.
    fn count(&self, looked: &Looked) {
        let stats = &self.seed.stats;
        for answer in looked.preferred.iter().chain([&looked.answer]) {
            stats.add(DnsStat::ResolveTotal, 1);
            match answer {
                Ok(answer) if answer.addresses.is_empty() => stats.add(DnsStat::NotFound, 1),
                Ok(_) => {}
                Err(LookupError::TimedOut { queries, .. }) => {
                    stats.add(DnsStat::Timeouts, u64::from(*queries));
                }
                Err(_) => stats.add(DnsStat::GetAddrFailure, 1),
            }
        }
        if let Err(LookupError::Failed(_) | LookupError::Unreachable(_)) = &looked.answer {
            // Envoy reads the system's files anew then; our resolver looks at them before every lookup.
            stats.add(DnsStat::Reinits, 1);
        }
    }
}

impl Actor for DnsRefresh {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.hear_doubts(ctx);
        self.ask(ctx);
    }
}

impl Supervised for DnsRefresh {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(DnsRefresh);

impl Handler<Refresh> for DnsRefresh {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Refresh, ctx: &mut Context<Self>) -> Self::Result {
        let (tell, told) = oneshot::channel();
        self.waiting.push(tell);
        self.ask(ctx);
        Box::pin(async move {
            // A fall drops the sender: whoever waits has waited long enough.
            let _ = told.await;
        })
    }
}

impl Handler<Forget> for DnsRefresh {
    type Result = ();

    fn handle(&mut self, _: Forget, ctx: &mut Context<Self>) {
        ctx.stop();
    }
}

// === impl Pending ===

impl Pending {
    fn count(stats: Arc<Group<DnsStat>>) -> Self {
        stats.shift(DnsStat::PendingResolutions, 1);
        Self(stats)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.shift(DnsStat::PendingResolutions, -1);
    }
}
