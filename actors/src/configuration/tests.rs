//! Owns the tests of reloads and of discovery from files.

use std::sync::Arc;

use crate::{
    Command,
    command::{Applied, Refusal, Reload},
    configured::Base,
    fakes::*,
    plan::{ClusterPlan, ListenerPlan, Plan},
    resources::{ConfigSource, Kind},
    server_state::Lifecycle,
    snapshot::Host,
    stats::{Scope, SdsStat, SubscriptionStat},
};

const RELOAD: Command = Command::Reload(Reload::Apply);
const DRY_RUN: Command = Command::Reload(Reload::DryRun);

fn with_hosts(addresses: &[&str], hosts_fingerprint: u64) -> Arc<ClusterPlan> {
    Arc::new(ClusterPlan { hosts_fingerprint, ..cluster("fixed", 0, fixed(addresses)) })
}

/// One listener, one cluster, one table.
fn small() -> Plan {
    Plan {
        listeners: vec![listener("a")],
        clusters: vec![with_hosts(&["10.0.0.1:80", "10.0.0.2:80"], 1)],
        routes: vec![routes("table", 0, 1)],
        ..Plan::default()
    }
}

async fn raise_small() -> Raised {
    let raised = raise(World::default());
    raised.commander.install(small()).await.unwrap();
    let view = raised.view.clone();
    until("live", || view.server.read().lifecycle() == Lifecycle::Live).await;
    raised
}

fn told(applied: Applied) -> String {
    match applied {
        Applied::Told(text) => text,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_dry_run_says_what_a_reload_would_change_and_changes_nothing() {
    let raised = raise_small().await;
    let mut open = raised.connect("a").await;
    assert_eq!(say(&mut open, "x").await, "a");
    let mut next = small();
    next.clusters.push(Arc::new(cluster("new", 1, fixed(&["10.0.0.3:80"]))));
    let changed =
        ListenerPlan { fingerprint: 2, chains_fingerprint: 2, ..(*listener("a")).clone() };
    next.listeners = vec![Arc::new(ListenerPlan { chains: Arc::new(()), ..changed })];
    next.routes.clear();
    *raised.world.file.lock() = Some(Ok(next));
    for command in [DRY_RUN, RELOAD] {
        let text = told(raised.command(command.clone()).await);
        for line in [
            "clusters: 1 added (new), 1 stay",
            "route tables: 1 removed (table), 0 stay",
            "listeners: 1 changed (a), 0 stay",
            "listener a changes: its 1 connections end with their next answer",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
        let there = raised.view.clusters.read().named("new").is_some();
        assert_eq!(there, command == RELOAD);
        let expected = if command == RELOAD { "Discourage" } else { "a" };
        until_said(&mut open, expected).await;
    }
    let last = raised.view.configured.read().last_reload.clone().unwrap();
    assert!(last.outcome.is_ok() && last.who == "a test");
    assert_eq!(told(raised.command(RELOAD).await).lines().last(), Some("no connection is touched"));
}

async fn until_said(stream: &mut tokio::net::TcpStream, answer: &str) {
    for _ in 0..500 {
        if say(stream, "x").await == answer {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("never {answer}");
}

#[actix::test]
async fn a_file_that_is_refused_or_cannot_be_bound_changes_nothing_and_is_remembered() {
    let raised = raise_small().await;
    let before = raised.view.plan.read();
    *raised.world.file.lock() = Some(Err("line 3 is wrong".to_owned()));
    let refused = raised.command(RELOAD).await;
    assert_eq!(refused, Applied::Refused(Refusal::Configuration("line 3 is wrong".to_owned())));
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let mut next = small();
    next.listeners
        .push(Arc::new(ListenerPlan { address: address.into(), ..(*listener("b")).clone() }));
    next.clusters.clear();
    *raised.world.file.lock() = Some(Ok(next));
    for command in [DRY_RUN, RELOAD] {
        let Applied::Refused(why) = raised.command(command).await else { panic!() };
        assert!(why.to_string().contains("another process has it"), "{why}");
    }
    assert!(Arc::ptr_eq(&before, &raised.view.plan.read()));
    let last = raised.view.configured.read().last_reload.clone().unwrap();
    assert!(last.outcome.as_ref().is_err_and(|why| why.contains("another process")));
    // The next good one is compared with what is in force.
    *raised.world.file.lock() = Some(Ok(small()));
    assert!(told(raised.command(RELOAD).await).contains("clusters: 1 stay"));
}

#[actix::test]
async fn hosts_that_stay_are_the_same_and_a_table_that_changes_touches_no_connection() {
    let raised = raise_small().await;
    let hosts = |raised: &Raised| {
        let clusters = raised.view.clusters.read();
        clusters.named("fixed").unwrap().read().hosts.clone()
    };
    let (before, mut open) = (hosts(&raised), raised.connect("a").await);
    let mut next = small();
    next.clusters = vec![with_hosts(&["10.0.0.2:80", "10.0.0.3:80"], 2)];
    next.listeners = vec![Arc::new(ListenerPlan {
        fingerprint: 2,
        chains: Arc::new(()),
        ..(*listener("a")).clone()
    })];
    next.routes = vec![routes("table", 0, 2)];
    *raised.world.file.lock() = Some(Ok(next));
    let text = told(raised.command(RELOAD).await);
    assert!(
        text.contains("cluster fixed has other hosts") && !text.contains("listener a"),
        "{text}"
    );
    let after = hosts(&raised);
    let addresses: Vec<_> = after.iter().map(|host| host.address_text.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.2:80", "10.0.0.3:80"]);
    assert!(Arc::ptr_eq(&before[1], &after[0]));
    let table = raised.view.tables.read().named("table").unwrap().read();
    assert_eq!(*table.downcast_ref::<u64>().unwrap(), 2);
    assert_eq!(say(&mut open, "x").await, "a");
    // A cluster that falls keeps the hosts it has now.
    raised.kill("cluster/fixed").await;
    assert_eq!(hosts(&raised).len(), 2);
    // The other way round, with hosts alone.
    *raised.world.file.lock() = Some(Ok(small()));
    raised.command(RELOAD).await;
    assert!(Arc::ptr_eq(&after[0], &hosts(&raised)[0]));
}

#[actix::test]
async fn a_configuration_that_falls_goes_on_with_what_was_in_force() {
    let raised = raise_small().await;
    raised.kill("configuration").await;
    assert_eq!(raised.restarts("configuration"), 1);
    let mut next = small();
    next.clusters.clear();
    *raised.world.file.lock() = Some(Ok(next));
    assert!(told(raised.command(RELOAD).await).contains("1 removed (fixed)"));
    assert!(raised.view.clusters.read().named("fixed").is_none());
}

/// A folder for files of discovery; a file is put there by a move.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("understudy-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, lines: &[&str]) {
        std::fs::write(self.0.join("next"), lines.join("\n")).unwrap();
        std::fs::rename(self.0.join("next"), self.0.join(name)).unwrap();
    }

    fn source(&self, name: &str) -> Option<ConfigSource> {
        Some(ConfigSource::File { path: self.0.join(name), watched: None })
    }

    async fn raise(&self) -> Raised {
        self.raise_in(World::default()).await
    }

    async fn raise_in(&self, world: World) -> Raised {
        let raised = raise(world);
        let base = Base {
            clusters_from: self.source("cds"),
            listeners_from: self.source("lds"),
            ..Base::from(Plan::default())
        };
        raised.commander.install(base).await.unwrap();
        raised
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn hosts(raised: &Raised, cluster: &str) -> Vec<Arc<Host>> {
    let clusters = raised.view.clusters.read();
    clusters.named(cluster).map_or_else(Vec::new, |found| found.read().hosts.to_vec())
}

fn addresses(raised: &Raised, cluster: &str) -> Vec<String> {
    hosts(raised, cluster).iter().map(|host| host.address_text.clone()).collect()
}

fn count(raised: &Raised, scope: &str, stat: SubscriptionStat) -> u64 {
    raised.view.registry.group::<SubscriptionStat>(Scope::plain(scope)).sum(stat)
}

#[actix::test]
async fn what_files_bring_is_in_force_and_what_they_no_longer_name_goes() {
    let folder = Folder::new("brings");
    folder.put("cds", &["1", "static a1 10.0.0.1:80", "eds b2 eds"]);
    folder.put("eds", &["1", "of b2 10.0.0.2:80 10.0.0.3:80"]);
    folder.put("lds", &["1", "listener x needs=b2 rds=t3"]);
    folder.put("rds", &["1", "table t3 7"]);
    let raised = folder.raise().await;
    assert_eq!(addresses(&raised, "a1"), ["10.0.0.1:80"]);
    assert_eq!(addresses(&raised, "b2"), ["10.0.0.2:80", "10.0.0.3:80"]);
    assert_eq!(say(&mut raised.connect("x").await, "x").await, "x");
    let table = || raised.view.tables.read().named("t3").map(|table| table.read());
    assert_eq!(*table().unwrap().downcast_ref::<u64>().unwrap(), 7);

    let before = hosts(&raised, "b2");
    folder.put("eds", &["2", "of b2 10.0.0.3:80 10.0.0.4:80"]);
    until("the hosts", || addresses(&raised, "b2") == ["10.0.0.3:80", "10.0.0.4:80"]).await;
    assert!(Arc::ptr_eq(&before[1], &hosts(&raised, "b2")[0]));
    folder.put("rds", &["2", "table t3 8"]);
    until("the table", || table().is_some_and(|table| *table.downcast_ref::<u64>().unwrap() == 8))
        .await;
    // In place, too.
    std::fs::write(folder.0.join("cds"), "2\neds b2 eds").unwrap();
    until("a1 to go", || raised.view.clusters.read().named("a1").is_none()).await;
    assert!(Arc::ptr_eq(&before[1], &hosts(&raised, "b2")[0]));
    folder.put("lds", &["2"]);
    until("x to go", || raised.view.listeners.read().is_empty()).await;
    assert!(table().is_none());
    let all: Vec<_> = raised.view.configured.read().resources.keys().map(|t| t.kind).collect();
    assert_eq!(all, [Kind::Cluster, Kind::Endpoints, Kind::Listener]);
}

#[actix::test]
async fn what_is_refused_stays_as_it_was_and_the_rest_goes_on() {
    let folder = Folder::new("refused");
    folder.put("cds", &["1", "static a1 10.0.0.1:80"]);
    folder.put("lds", &["1", "listener x"]);
    let raised = folder.raise().await;
    let lds = "listener_manager.lds.";
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("listener y at={}", stranger.local_addr().unwrap());
    folder.put("lds", &["2", "bad x", &taken, "listener z needs=a1", "listener v needs=nobody"]);
    until("z", || raised.view.listeners.read().len() == 2).await;
    until("it to be counted", || count(&raised, lds, SubscriptionStat::UpdateRejected) == 1).await;
    let configured = raised.view.configured.read();
    let listeners = configured.all_of(Kind::Listener).unwrap();
    let in_force: Vec<_> = listeners
        .resources
        .iter()
        .map(|(name, one)| (name.as_str(), one.version.as_str()))
        .collect();
    assert_eq!(in_force, [("x", "1"), ("z", "2")]);
    let refused: Vec<_> = listeners.refused.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(refused, ["x", "v", "y"]);
    assert!(listeners.refused[2].why.contains("another process has it"));

    folder.put("cds", &["!"]);
    let cds = "cluster_manager.cds.";
    until("a failure", || count(&raised, cds, SubscriptionStat::UpdateFailure) == 1).await;
    assert_eq!(addresses(&raised, "a1"), ["10.0.0.1:80"]);
    drop(stranger);
    folder.put("lds", &["3", "listener x", &taken]);
    until("y", || raised.view.listeners.read().iter().any(|bound| bound.plan.name == "y")).await;
    assert!(raised.view.configured.read().all_of(Kind::Listener).unwrap().refused.is_empty());
}

#[actix::test]
async fn after_falls_files_are_noticed_and_what_was_missed_is_looked_for() {
    let folder = Folder::new("falls");
    folder.put("cds", &["1", "eds b2 eds"]);
    folder.put("eds", &["1", "of b2 10.0.0.2:80"]);
    folder.put("lds", &["1"]);
    let raised = folder.raise().await;
    until("the watch", || raised.cast().contains(&"configuration/files".to_owned())).await;
    let before = hosts(&raised, "b2");
    for (round, name) in
        ["configuration/files", "configuration", "supervisor", "cluster/b2"].iter().enumerate()
    {
        // Both at once: the fall may swallow the notice.
        let ports = [format!("10.0.0.2:80 10.0.1.{round}:80")];
        folder.put("eds", &["2", &format!("of b2 {}", ports[0])]);
        raised.kill(name).await;
        until(name, || addresses(&raised, "b2").contains(&format!("10.0.1.{round}:80"))).await;
        assert!(Arc::ptr_eq(&before[0], &hosts(&raised, "b2")[0]), "{name}");
    }
    assert_eq!(raised.restarts("configuration"), 1);
}

#[actix::test]
async fn a_cluster_is_told_of_its_hosts_once_and_other_updates_touch_it_not() {
    let folder = Folder::new("once");
    folder.put("cds", &["1", "eds b2 eds", "eds c3 other"]);
    folder.put("eds", &["1", "of b2 10.0.0.2:80"]);
    folder.put("other", &["!"]);
    folder.put("lds", &["1"]);
    let raised = folder.raise().await;
    let ready = |name: &str| raised.view.clusters.read().named(name).unwrap().read().ready;
    // A subscription that fails is an answer: nobody needs to wait for a better one.
    until("both", || ready("b2") && ready("c3")).await;
    let version = |name: &str| raised.view.clusters.read().named(name).unwrap().read().version;
    let (b2, c3) = (version("b2"), version("c3"));
    folder.put("lds", &["2", "listener x"]);
    until("x", || raised.view.listeners.read().len() == 1).await;
    assert_eq!((version("b2"), version("c3")), (b2, c3));
    folder.put("other", &["1", "of c3 10.0.0.3:80"]);
    until("hosts", || addresses(&raised, "c3") == ["10.0.0.3:80"]).await;
    assert_eq!(version("b2"), b2);
}

fn secret(raised: &Raised, folder: &Folder, name: &str) -> Option<String> {
    let place = raised.world.secrets.of(&folder.source("sds").unwrap(), name).read();
    place.as_ref().as_ref()?.downcast_ref::<String>().cloned()
}

#[actix::test]
async fn a_secret_is_published_stays_what_it_was_when_another_is_refused_and_survives_falls() {
    let folder = Folder::new("secrets");
    folder.put("cds", &["1"]);
    folder.put("lds", &["1", "listener x sds=s1"]);
    folder.put("sds", &["1", "secret s1 first"]);
    let world = World::default();
    // Who compiles a context has asked for its place before.
    let _place = world.secrets.of(&folder.source("sds").unwrap(), "s1");
    let raised = folder.raise_in(world).await;
    assert_eq!(secret(&raised, &folder, "s1").as_deref(), Some("first"));
    let stats = "sds.s1.";
    for (refused, lines) in [
        &["2", "bad s1"][..],
        &["2", "secret other 2"],
        &["2"],
        &["2", "secret s1 a", "secret s2 b"],
    ]
    .iter()
    .enumerate()
    {
        folder.put("sds", lines);
        let rejected = || count(&raised, stats, SubscriptionStat::UpdateRejected);
        until("a refusal", || rejected() == refused as u64 + 1).await;
        assert_eq!(secret(&raised, &folder, "s1").as_deref(), Some("first"));
    }
    for (round, name) in ["configuration/files", "configuration"].iter().enumerate() {
        let value = format!("next{round}");
        folder.put("sds", &["3", &format!("secret s1 {value}")]);
        raised.kill(name).await;
        until(name, || secret(&raised, &folder, "s1").as_ref() == Some(&value)).await;
    }
}

#[actix::test]
async fn a_secret_is_another_when_a_file_that_it_names_is_and_one_that_is_bad_changes_nothing() {
    let folder = Folder::new("secret-files");
    folder.put("cds", &["1"]);
    folder.put("lds", &["1", "listener x sds=s1"]);
    folder.put("key", &["one"]);
    folder.put("sds", &["1", "secret s1 value file=key"]);
    let world = World::default();
    let place = world.secrets.of(&folder.source("sds").unwrap(), "s1");
    let raised = folder.raise_in(world).await;
    let first = place.read().as_ref().clone().expect("it is there");
    until("the watch", || raised.cast().contains(&"configuration/files".to_owned())).await;
    let failed = || {
        let group = raised.view.registry.group::<SdsStat>(Scope::plain("sds.s1."));
        group.sum(SdsStat::KeyRotationFailed)
    };
    folder.put("key", &["bad"]);
    until("a failure", || failed() > 0).await;
    assert!(Arc::ptr_eq(&first, &place.read().as_ref().clone().expect("it is there still")));
    folder.put("key", &["two"]);
    let is_another = || place.read().as_ref().as_ref().is_some_and(|now| !Arc::ptr_eq(&first, now));
    until("another", is_another).await;
    // The document is the same: that was no update.
    assert_eq!(count(&raised, "sds.s1.", SubscriptionStat::UpdateSuccess), 1);
}
