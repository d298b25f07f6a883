//! Owns one name of a cluster: asks for it again and again, and tells the cluster what DNS said.

use std::{sync::Arc, time::Duration};

use actix::prelude::*;

use crate::{
    plan::DnsPlan,
    seams::{Answer, Looked, LookupError, Query, Resolve},
    stats::{ClusterStat, DnsStat, Group},
    supervise::falls,
};

/// The shortest time between two lookups, whatever a time to live says.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

/// The longest time a lookup may take, whatever the resolver does.
const LOOKUP_MAX: Duration = Duration::from_secs(60);

/// What a name keeps through a fall.
#[derive(Clone)]
pub(crate) struct DnsRefreshSeed {
    /// Position of the name in the cluster's plan.
    pub(crate) at: usize,
    pub(crate) name: String,
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
    failures: u32,
}

/// What DNS said about a name.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Resolved {
    /// Position of the name in the cluster's plan.
    pub(crate) at: usize,
    pub(crate) answer: Result<Answer, LookupError>,
}

/// Time to ask again. Sent to itself.
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
        Self { seed, failures: 0 }
    }

    /// How long to wait after this answer.
    ///
    /// Source: `Cluster.dns_refresh_rate`, `respect_dns_ttl`, `dns_failure_refresh_rate`, `dns_jitter`.
    fn wait(&mut self, answer: &Result<Answer, LookupError>) -> Duration {
        let dns = &self.seed.dns;
        let answer = answer.as_ref().ok();
        let answer =
            answer.filter(|answer| !(self.seed.empty_fails && answer.addresses.is_empty()));
        let wait = match (answer, dns.failure_refresh) {
            (Some(answer), _) => {
                self.failures = 0;
                // A time to live of 0 says nothing about when to ask again.
                let heeded = |ttl: &Duration| dns.respect_ttl && !ttl.is_zero();
                let ttl = answer.ttl.filter(heeded).filter(|_| !answer.addresses.is_empty());
                ttl.unwrap_or(dns.refresh)
            }
            // Jitter over the whole of it, so that many proxies do not ask in step.
            (None, Some((first, longest))) => {
                let wait = first.saturating_mul(1 << self.failures.min(16)).min(longest);
                self.failures = self.failures.saturating_add(1);
                wait.mul_f64(fastrand::f64())
            }
            (None, None) => dns.refresh,
        };
        (wait + dns.jitter.mul_f64(fastrand::f64())).max(INTERVAL_MIN)
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
        ctx.notify(Refresh);
    }
}

impl Supervised for DnsRefresh {
    fn restarting(&mut self, _: &mut Context<Self>) {
        *self = Self::new(self.seed.clone());
    }
}

falls!(DnsRefresh);

impl Handler<Refresh> for DnsRefresh {
    type Result = ();

    /// A failed lookup keeps the last answer: losing DNS must not lose the upstream.
    fn handle(&mut self, _: Refresh, ctx: &mut Context<Self>) {
        let DnsRefreshSeed { name, dns, resolve, stats, cluster_stats, .. } = &self.seed;
        let (family, resolver) = (dns.family, dns.resolver.clone());
        cluster_stats.add(ClusterStat::UpdateAttempt, 1);
        let pending = Pending::count(stats.clone());
        let lookup = resolve.resolve(Query { name: name.clone(), family, resolver });
        let lookup = async move {
            let _pending = pending;
            let looked = tokio::time::timeout(LOOKUP_MAX, lookup).await;
            looked.unwrap_or_else(|_| {
                Err(LookupError::TimedOut { wait: LOOKUP_MAX, queries: 1 }).into()
            })
        };
        ctx.spawn(lookup.into_actor(self).map(|looked, this, ctx| {
            this.count(&looked);
            let answer = looked.answer;
            if let Err(error) = &answer {
                let name = &this.seed.name;
                tracing::warn!(target: "dns", "lookup of {name:?} failed: {error}; hosts stay as they are");
            }
            ctx.notify_later(Refresh, this.wait(&answer));
            this.seed.cluster.do_send(Resolved { at: this.seed.at, answer });
        }));
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
