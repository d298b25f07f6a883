//! Owns hosts that workers make (`ORIGINAL_DST`): that they are published, and that they leave when nobody uses them.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use actix::prelude::*;

use super::Cluster;
use crate::{
    on_demand::HOSTS_MAX,
    plan::Discovery,
    snapshot::Host,
    stats::{ClusterStat, HostStat},
};

/// Between one snapshot for new hosts and the next: those that come meanwhile come together, since whoever sends
/// requests may say where they go, and each snapshot costs as much as there are hosts.
const PAUSE: Duration = Duration::from_millis(50);

/// The shortest time between two looks at who is used.
const CLEANUP_MIN: Duration = Duration::from_millis(1);

/// What was seen at the last look at who is used. Lost with a fall, after which each host is looked at anew.
#[derive(Default)]
pub(super) struct Uses {
    /// What was counted of each host.
    counts: HashMap<*const Host, u64>,
    /// That there are as many hosts as there may be was said since.
    was_full: bool,
}

// === impl Cluster ===

impl Cluster {
    /// Begins to hear of hosts, and to let go of them; after a fall, anew.
    pub(super) fn begin_on_demand(&mut self, ctx: &mut Context<Self>) {
        let Discovery::OriginalDst { cleanup } = self.seed.plan.discovery else { return };
        ctx.run_interval(cleanup.max(CLEANUP_MIN), |this, ctx| this.let_go(ctx));
        self.take_made();
        self.hear_of_made(ctx);
    }

    fn hear_of_made(&self, ctx: &mut Context<Self>) {
        let shared = self.seed.publisher.read().shared.clone();
        let told = async move {
            match &shared.on_demand {
                Some(on_demand) => on_demand.told.notified().await,
                None => std::future::pending().await,
            }
        };
        ctx.spawn(told.into_actor(self).map(|(), this, ctx| {
            if this.take_made() {
                this.discover(ctx);
            }
            ctx.run_later(PAUSE, |this, ctx| this.hear_of_made(ctx));
        }));
    }

    /// Takes the hosts that workers have made, the first of each address; says whether there are any.
    fn take_made(&mut self) -> bool {
        let shared = self.seed.publisher.read().shared.clone();
        let Some(on_demand) = &shared.on_demand else { return false };
        let mut made = self.seed.made.borrow_mut();
        let before = made.len();
        let mut known: HashSet<_> = made.iter().map(|host| host.address).collect();
        made.extend(on_demand.made().into_iter().filter(|host| known.insert(host.address)));
        let new = made.len() - before;
        // Observed: Envoy 1.40 looks for a transport socket for each of them.
        shared.stats.add(ClusterStat::DefaultTotalMatchCount, new as u64);
        if on_demand.is_full() && !std::mem::replace(&mut self.uses.was_full, true) {
            let name = &self.seed.plan.name;
            tracing::warn!(
                target: "upstream",
                "cluster {name:?} has as many hosts as it may ({HOSTS_MAX}): requests to others are answered with 503"
            );
        }
        new > 0
    }

    /// Lets go of hosts that nobody has used since the last look.
    ///
    /// Observed: Envoy 1.40, which keeps a host as long as it has a connection, be it an idle one.
    fn let_go(&mut self, ctx: &mut Context<Self>) {
        let shared = self.seed.publisher.read().shared.clone();
        let waiting = shared.on_demand.iter().flat_map(|on_demand| on_demand.made());
        // Whoever has made it does not know yet that it was published.
        let waiting: HashSet<_> = waiting.map(|host| Arc::as_ptr(&host)).collect();
        let before = std::mem::take(&mut self.uses).counts;
        let uses = &mut self.uses.counts;
        let mut made = self.seed.made.borrow_mut();
        let all = made.len();
        made.retain(|host| {
            let (key, count) = (Arc::as_ptr(host), count(host));
            let used = is_busy(host) || waiting.contains(&key) || before.get(&key) != Some(&count);
            if used {
                uses.insert(key, count);
            }
            used
        });
        let some_left = made.len() < all;
        drop(made);
        if some_left {
            self.discover(ctx);
        }
    }
}

/// What goes up when a host is used.
fn count(host: &Host) -> u64 {
    let counters = [HostStat::CxTotal, HostStat::CxConnectFail, HostStat::RqTotal];
    counters.into_iter().map(|stat| host.stats.sum(stat)).sum()
}

/// Whether there is a connection to a host, or somebody waits for one.
fn is_busy(host: &Host) -> bool {
    let gauges = [HostStat::CxActive, HostStat::RqActive, HostStat::RqPendingActive];
    gauges.into_iter().any(|stat| host.stats.sum(stat) > 0)
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep, sleep_until};

    use super::*;
    use crate::{
        Command,
        command::{EndpointChange, Term},
        fakes::*,
        published::Published,
        snapshot::ClusterSnapshot,
    };

    /// A cluster `a` whose hosts leave after five seconds, as one of two workers sees it.
    struct Watched {
        raised: Raised,
        cluster: Published<ClusterSnapshot>,
    }

    async fn watch() -> Watched {
        let raised = raise(World::default());
        let discovery = Discovery::OriginalDst { cleanup: Duration::from_secs(5) };
        raised.commander.install(plan(vec![cluster("a", 0, discovery)])).await.unwrap();
        let cluster = raised.view.clusters.read().named("a").unwrap().clone();
        until("it is ready without hosts", || cluster.read().ready).await;
        Watched { raised, cluster }
    }

    impl Watched {
        /// A host that a worker makes for `10.0.0.LAST:80`.
        fn make(&self, last: u8) -> Arc<Host> {
            let snapshot = self.cluster.read();
            let on_demand = snapshot.shared.on_demand.as_ref().unwrap();
            on_demand.make(&snapshot.plan, ([10, 0, 0, last], 80).into()).unwrap()
        }

        fn tell(&self, worker: usize, made: &[&Arc<Host>]) {
            let shared = &self.cluster.read().shared;
            shared
                .on_demand
                .as_ref()
                .unwrap()
                .tell(worker, made.iter().map(|host| Arc::clone(host)).collect());
        }

        fn hosts(&self) -> Vec<Arc<Host>> {
            self.cluster.read().hosts.to_vec()
        }

        async fn hosts_are(&self, hosts: &[&Arc<Host>]) {
            let are = |so: Vec<Arc<Host>>| {
                so.len() == hosts.len() && so.iter().zip(hosts).all(|(a, b)| Arc::ptr_eq(a, b))
            };
            until("the hosts are these", || are(self.hosts())).await;
        }

        fn sum(&self, stat: ClusterStat) -> u64 {
            self.cluster.read().shared.stats.sum(stat)
        }
    }

    #[actix::test]
    async fn what_workers_have_made_is_published_once_for_each_address() {
        tokio::time::pause();
        let watched = watch().await;
        let [one, two, again, three] = [1, 2, 1, 3].map(|last| watched.make(last));
        watched.tell(0, &[&one]);
        watched.hosts_are(&[&one]).await;
        // The other worker did not know of it.
        watched.tell(1, &[&again, &two]);
        watched.hosts_are(&[&one, &two]).await;
        watched.tell(0, &[&one, &three]);
        watched.hosts_are(&[&one, &two, &three]).await;
        use ClusterStat as S;
        let stats = [S::MembershipTotal, S::MembershipChange, S::DefaultTotalMatchCount];
        assert_eq!(stats.map(|stat| watched.sum(stat)), [3, 3, 3]);
    }

    #[actix::test]
    async fn a_host_leaves_that_nobody_has_used_for_a_while() {
        tokio::time::pause();
        let start = Instant::now();
        let watched = watch().await;
        let [idle, asked, connected, unseen] = [1, 2, 3, 4].map(|last| watched.make(last));
        let all = [&idle, &asked, &connected, &unseen];
        watched.tell(0, &all);
        watched.hosts_are(&all).await;
        // The worker has seen all but one in a snapshot.
        watched.tell(0, &[&unseen]);
        connected.stats.lane(0).inc(HostStat::CxActive);
        for (second, hosts) in [
            (6, &all[..]),
            (11, &[&asked, &connected, &unseen]),
            (21, &[&asked, &connected, &unseen]),
        ] {
            asked.stats.lane(1).inc(HostStat::RqTotal);
            sleep_until(start + Duration::from_secs(second - 2)).await;
            asked.stats.lane(1).inc(HostStat::RqTotal);
            sleep_until(start + Duration::from_secs(second)).await;
            watched.hosts_are(hosts).await;
        }
        watched.tell(0, &[]);
        connected.stats.lane(0).dec(HostStat::CxActive);
        sleep(Duration::from_secs(11)).await;
        watched.hosts_are(&[]).await;
        assert_eq!(watched.sum(ClusterStat::MembershipTotal), 0);
        watched.tell(1, &[&idle]);
        watched.hosts_are(&[&idle]).await;
    }

    #[actix::test]
    async fn a_fall_loses_no_host_and_none_that_comes_after_it() {
        tokio::time::pause();
        let watched = watch().await;
        let [one, two, three] = [1, 2, 3].map(|last| watched.make(last));
        watched.tell(0, &[&one]);
        watched.hosts_are(&[&one]).await;
        watched.raised.kill("cluster/a").await;
        watched.tell(1, &[&two]);
        watched.hosts_are(&[&one, &two]).await;
        watched.tell(0, &[&one, &three]);
        watched.hosts_are(&[&one, &two, &three]).await;
        sleep(Duration::from_secs(11)).await;
        watched.tell(0, &[]);
        watched.tell(1, &[]);
        sleep(Duration::from_secs(11)).await;
        watched.hosts_are(&[]).await;
    }

    #[actix::test]
    async fn what_is_changed_by_hand_wins() {
        tokio::time::pause();
        let watched = watch().await;
        let [one, two] = [1, 2].map(|last| watched.make(last));
        watched.tell(0, &[&one, &two]);
        watched.hosts_are(&[&one, &two]).await;
        let away = EndpointChange::Remove(one.address);
        let change = Command::ChangeEndpoints {
            cluster: "a".to_owned(),
            changes: vec![away],
            term: Term::default(),
        };
        watched.raised.command(change).await;
        watched.hosts_are(&[&two]).await;
        watched.tell(1, &[&watched.make(1)]);
        sleep(Duration::from_secs(1)).await;
        watched.hosts_are(&[&two]).await;
    }
}
