use std::sync::Arc;

use crate::{
    Command,
    command::{Applied, Refusal, Reload},
    fakes::*,
    plan::{ClusterPlan, ListenerPlan, Plan},
    server_state::Lifecycle,
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
    next.listeners.push(Arc::new(ListenerPlan { address, ..(*listener("b")).clone() }));
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
