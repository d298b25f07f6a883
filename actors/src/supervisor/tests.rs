//! Owns the tests of the company as a whole: plans, commands, falls, the end.

use std::{
    sync::{Arc, Barrier},
    time::Duration,
};

use actix::prelude::*;
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    Command,
    command::{Applied, DrainListeners, Quit, Refusal, Setting, Term},
    fakes::*,
    plan::{ListenerPlan, Plan},
    server_state::Lifecycle,
    stage::{Options, Threads},
    stats::{ListenerStat, Scope, ServerStat},
};

/// A plan with one of everything.
fn whole() -> Plan {
    let mut checked = cluster("checked", 1, fixed(&["10.0.0.2:80"]));
    checked.health_checks.push(Arc::new(check()));
    Plan {
        listeners: vec![listener("a"), listener("b")],
        clusters: vec![
            Arc::new(cluster("fixed", 0, fixed(&["10.0.0.1:80"]))),
            Arc::new(checked),
            Arc::new(cluster("named", 2, strict(&["one", "two"]))),
        ],
        routes: vec![routes("table", 0, 1)],
        admin: Some(admin()),
        ..Plan::default()
    }
}

async fn raise_whole() -> Raised {
    let world = World::default();
    world.dns.say("one", [Said::Hosts(&["10.0.1.1"])]);
    world.dns.say("two", [Said::Hosts(&["10.0.2.1"])]);
    let raised = raise(world);
    raised.commander.install(whole()).await.unwrap();
    let view = raised.view.clone();
    until("live", || view.server.read().lifecycle() == Lifecycle::Live).await;
    raised
}

const CAST: [&str; 17] = [
    "admin",
    "cluster/checked",
    "cluster/checked/health_check/10.0.0.2:80",
    "cluster/fixed",
    "cluster/named",
    "cluster/named/dns/one",
    "cluster/named/dns/two",
    "configuration",
    "routes/table",
    "settings",
    "supervisor",
    "worker/0",
    "worker/0/listener/a",
    "worker/0/listener/b",
    "worker/1",
    "worker/1/listener/a",
    "worker/1/listener/b",
];

#[actix::test]
async fn a_plan_brings_everybody_on_stage_and_ten_kills_of_each_leave_exactly_them() {
    let raised = raise_whole().await;
    let cast: Vec<_> = CAST.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(raised.cast(), cast);
    tokio::time::pause();
    for fall in 1..=10 {
        for name in &cast {
            raised.kill(name).await;
            assert_eq!(raised.restarts(name), fall, "{name}");
        }
        // Within their budget.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    tokio::time::resume();
    until("all are back", || raised.cast() == cast).await;
    let clusters = raised.view.clusters.read();
    for (name, hosts) in [("fixed", 1), ("checked", 1), ("named", 2)] {
        let snapshot = clusters.named(name).unwrap().read();
        assert_eq!((snapshot.hosts.len(), snapshot.ready), (hosts, true), "{name}");
    }
    assert_eq!(say(&mut raised.connect("a").await, "x").await, "a");
    assert_eq!(say(&mut raised.connect("b").await, "x").await, "b");
}

#[actix::test]
async fn connections_outlive_the_falls_of_all_actors_but_their_own() {
    let raised = raise_whole().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let mut stream = raised.connect("a").await;
        assert_eq!(say(&mut stream, "x").await, "a");
        open.push(stream);
    }
    for name in ["supervisor", "settings", "worker/0", "worker/1", "cluster/fixed"] {
        raised.kill(name).await;
    }
    for name in ["worker/0/listener/a", "worker/1/listener/a"] {
        raised.kill(name).await;
    }
    for stream in &mut open {
        assert_eq!(say(stream, "x").await, "a");
    }
    let before = raised.view.roster.connections.load(std::sync::atomic::Ordering::Relaxed);
    let mut killed = 0;
    for worker in 0..2 {
        let name = format!("worker/{worker}/listener/a/connection");
        if raised.command(Command::Kill(name)).await == Applied::Done {
            killed += 1;
        }
    }
    assert!(killed > 0);
    let connections = &raised.view.roster.connections;
    until("the killed are gone", || {
        connections.load(std::sync::atomic::Ordering::Relaxed) == before - killed
    })
    .await;
    let mut alive = 0;
    for stream in &mut open {
        alive += u64::from(say(stream, "x").await == "a");
    }
    assert_eq!(alive, 8 - killed);
}

#[actix::test]
async fn a_listener_that_falls_loses_no_connection_of_its_backlog() {
    let raised = raise_whole().await;
    // All on one thread: nobody accepts while this one connects.
    let address = raised.address("a");
    for worker in 0..2 {
        let member = raised.view.roster.member(&format!("worker/{worker}/listener/a")).unwrap();
        member.drill();
    }
    let streams: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    for stream in streams {
        stream.set_nonblocking(true).unwrap();
        let mut stream = TcpStream::from_std(stream).unwrap();
        assert_eq!(say(&mut stream, "x").await, "a");
    }
    assert_eq!(raised.restarts("worker/0/listener/a"), 1);
}

#[actix::test]
async fn a_connection_whose_task_panics_ends_alone_and_stands_in_the_journal() {
    let raised = raise_whole().await;
    let (mut one, mut two) = (raised.connect("a").await, raised.connect("a").await);
    assert_eq!(say(&mut two, "x").await, "a");
    assert_eq!(say(&mut one, "panic").await, "");
    assert_eq!(say(&mut two, "x").await, "a");
    let journal = raised.view.roster.journal();
    assert!(journal.iter().any(|entry| entry.detail.starts_with("over a line")), "{journal:?}");
}

#[actix::test]
async fn a_plan_that_cannot_be_bound_changes_nothing_and_says_the_way_out() {
    let raised = raise_whole().await;
    let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stranger.local_addr().unwrap();
    let mut plan = whole();
    plan.clusters.clear();
    plan.listeners.push(Arc::new(ListenerPlan {
        address: address.into(),
        ..ListenerPlan::clone(&listener("c"))
    }));
    let error = raised.commander.install(plan).await.unwrap_err().to_string();
    assert!(error.contains(&address.to_string()) && error.contains("another port"), "{error}");
    assert!(raised.cast().contains(&"cluster/fixed".to_owned()));
    assert_eq!(raised.view.listeners.read().len(), 2);
}

#[actix::test]
async fn an_update_touches_only_what_differs() {
    let raised = raise_whole().await;
    let before = raised.view.clusters.read();
    let host = |name: &str| before.named(name).unwrap().read().hosts[0].clone();
    let (fixed_before, named_before) = (host("fixed"), host("named"));
    let mut b = raised.connect("b").await;
    assert_eq!(say(&mut b, "x").await, "b");

    let mut plan = whole();
    plan.clusters[0] = Arc::new(crate::plan::ClusterPlan {
        fingerprint: 2,
        ..cluster("fixed", 0, fixed(&["10.0.0.9:80"]))
    });
    plan.clusters.remove(1);
    plan.listeners.remove(0);
    plan.listeners.push(listener("c"));
    plan.routes = vec![routes("table", 0, 2)];
    raised.commander.install(plan).await.unwrap();

    let after = raised.view.clusters.read();
    let hosts = after.named("fixed").unwrap().read().hosts.clone();
    assert_eq!(hosts[0].address_text, "10.0.0.9:80");
    assert!(!Arc::ptr_eq(&hosts[0], &fixed_before));
    assert!(Arc::ptr_eq(&after.named("named").unwrap().read().hosts[0], &named_before));
    assert!(after.named("checked").is_none());
    let table = raised.view.tables.read().named("table").unwrap().read();
    assert_eq!(*table.downcast_ref::<u64>().unwrap(), 2);
    assert_eq!(say(&mut b, "x").await, "b");
    assert_eq!(say(&mut raised.connect("c").await, "x").await, "c");
    until("those that left are gone", || {
        let cast = raised.cast();
        !cast.iter().any(|name| name.contains("checked") || name.ends_with("/listener/a"))
    })
    .await;
    assert!(raised.view.listeners.read().iter().all(|bound| bound.plan.name != "a"));
}

#[actix::test]
async fn a_listener_whose_chains_change_keeps_its_socket_and_says_goodbye_to_old_connections() {
    let raised = raise_whole().await;
    let (address, mut old) = (raised.address("a"), raised.connect("a").await);
    assert_eq!(say(&mut old, "x").await, "a");
    let mut plan = whole();
    let (other, chains) = (ListenerPlan::clone(&listener("a")), Arc::new(()));
    plan.listeners[0] =
        Arc::new(ListenerPlan { fingerprint: 2, chains_fingerprint: 2, chains, ..other });
    raised.commander.install(plan).await.unwrap();
    assert_eq!(raised.address("a"), address);
    until_async("goodbye", &mut old, "Discourage").await;
    assert_eq!(say(&mut raised.connect("a").await, "x").await, "a");
}

async fn until_async(what: &str, stream: &mut TcpStream, answer: &str) {
    for _ in 0..500 {
        if say(stream, "x").await == answer {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{what}: never");
}

#[actix::test]
async fn clusters_that_do_not_answer_are_waited_for_five_seconds_and_named() {
    tokio::time::pause();
    let world = World::default();
    let raised = raise(world);
    let silent = cluster("silent", 0, strict(&["nobody"]));
    raised.commander.install(plan(vec![silent])).await.unwrap();
    tokio::time::sleep(Duration::from_millis(4900)).await;
    let state = raised.view.server.read();
    assert_eq!(state.lifecycle(), Lifecycle::PreInitializing);
    assert_eq!(state.unready, ["silent"]);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let state = raised.view.server.read();
    assert_eq!((state.lifecycle(), state.unready.len()), (Lifecycle::Live, 1));
    // Whoever answers late is taken off the list.
    raised.world.dns.say("nobody", [Said::Hosts(&[])]);
    raised.kill("cluster/silent/dns/nobody").await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(raised.view.server.read().unready.is_empty());
}

#[actix::test]
async fn a_supervisor_that_falls_before_it_is_live_is_live_in_time_all_the_same() {
    tokio::time::pause();
    let raised = raise(World::default());
    let silent = cluster("silent", 0, strict(&["nobody"]));
    raised.commander.install(plan(vec![silent])).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    raised.kill("supervisor").await;
    assert_eq!(raised.view.server.read().lifecycle(), Lifecycle::PreInitializing);
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(raised.view.server.read().lifecycle(), Lifecycle::Live);
}

#[actix::test]
async fn routes_wait_until_the_cluster_that_an_update_brings_is_warm() {
    tokio::time::pause();
    let raised = raise(World::default());
    raised.commander.install(plan(Vec::new())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(raised.view.server.read().lifecycle(), Lifecycle::Live);
    let mut next = plan(vec![cluster("late", 0, strict(&["late"]))]);
    next.routes.push(routes("table", 0, 1));
    let world = raised.world.clone();
    let begun = tokio::time::Instant::now();
    raised.commander.install(next).await.unwrap();
    // It never answers: the bound is what lets the routes through.
    assert_eq!(begun.elapsed().as_secs(), 5);
    assert!(raised.view.tables.read().named("table").is_some());

    world.dns.say("soon", [Said::Hosts(&["10.0.0.1"])]);
    let begun = tokio::time::Instant::now();
    let next = plan(vec![cluster("soon", 1, strict(&["soon"]))]);
    raised.commander.install(next).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1));
    assert!(raised.view.tables.read().named("table").is_none());
}

#[actix::test]
async fn what_a_plan_no_longer_wants_stays_until_every_worker_has_heard_of_it() {
    let company = crate::Company::prepare(options());
    let (view, commander) = (company.view().clone(), company.commander().clone());
    let world = World::default();
    let _exit = company.raise(world.seams());
    commander.install(whole()).await.unwrap();
    let is_there = || {
        let (tables, clusters) = (view.tables.read(), view.clusters.read());
        (tables.named("table").is_some(), clusters.named("fixed").is_some())
    };
    let busy = Arc::new(Barrier::new(2));
    let its = busy.clone();
    world.threads.lock()[0].spawn_fn(move || {
        its.wait();
        its.wait();
    });
    busy.wait();
    let installing = actix_rt::spawn(async move { commander.install(Plan::default()).await });
    until("the plan is in force", || view.plan.read().routes.is_empty()).await;
    assert_eq!(is_there(), (true, true));
    busy.wait();
    installing.await.unwrap().unwrap();
    assert_eq!(is_there(), (false, false));
}

#[actix::test]
async fn a_supervisor_that_falls_while_a_plan_is_applied_goes_on_with_it() {
    tokio::time::pause();
    let raised = raise(World::default());
    raised.commander.install(plan(Vec::new())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut next = plan(vec![cluster("late", 0, strict(&["late"]))]);
    next.listeners.push(listener("a"));
    let (begun, commander) = (tokio::time::Instant::now(), raised.commander.clone());
    let installing = actix_rt::spawn(async move { commander.install(next).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    raised.kill("supervisor").await;
    assert_eq!(raised.restarts("supervisor"), 1);
    installing.await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
    until("the plan is in force", || raised.view.listeners.read().len() == 1).await;
    assert_eq!(raised.view.plan.read().listeners.len(), 1);
}

#[actix::test]
async fn each_listener_that_goes_has_the_drain_time_for_itself() {
    let drain_time = Duration::from_secs(2);
    let company = crate::Company::prepare(Options { drain_time, ..options() });
    let (view, commander, world) =
        (company.view().clone(), company.commander().clone(), World::default());
    let (exit, _) = company.raise_on(Threads::One(Arbiter::current()), world.seams());
    let raised = Raised { view, commander, exit, world };
    let with = |listeners| Plan { listeners, ..Plan::default() };
    raised.commander.install(with(vec![listener("a"), listener("b")])).await.unwrap();
    let (mut first, mut second) = (raised.connect("a").await, raised.connect("b").await);
    assert_eq!((&*say(&mut first, "x").await, &*say(&mut second, "x").await), ("a", "b"));
    raised.commander.install(with(vec![listener("b")])).await.unwrap();
    tokio::time::sleep(drain_time / 2).await;
    raised.commander.install(with(Vec::new())).await.unwrap();
    assert_eq!(first.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(say(&mut second, "x").await, "Discourage");
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
}

/// A plan that brings a cluster which does not answer, and is not in force for that.
async fn begin_cold(raised: &Raised, mut plan: Plan) {
    let plans = raised.world.clone();
    let before = raised.view.plan.read();
    plan.clusters.push(Arc::new(cluster("silent", 9, strict(&["nobody"]))));
    let (commander, dns) = (raised.commander.clone(), plans.dns.clone());
    actix_rt::spawn(async move { commander.install(plan).await });
    until("it to be begun", || dns.asked.lock().iter().any(|(name, _)| name == "nobody")).await;
    assert!(Arc::ptr_eq(&before, &raised.view.plan.read()), "it is in force already");
}

#[actix::test]
async fn a_plan_that_is_taken_back_before_it_is_in_force_moves_no_listener() {
    let raised = raise_whole().await;
    let here = raised.address("a");
    let elsewhere: std::net::SocketAddr = "127.0.0.2:0".parse().unwrap();
    let moved = ListenerPlan { address: elsewhere.into(), ..ListenerPlan::clone(&listener("a")) };
    begin_cold(&raised, Plan { listeners: vec![Arc::new(moved), listener("b")], ..whole() }).await;
    raised.commander.install(whole()).await.unwrap();
    assert_eq!(raised.address("a"), here);
    assert_eq!(say(&mut raised.connect("a").await, "x").await, "a");
}

#[actix::test]
async fn what_a_plan_has_bound_and_not_begun_is_no_strangers_to_the_next() {
    let raised = raise_whole().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let new = ListenerPlan { address: free.into(), ..ListenerPlan::clone(&listener("new")) };
    let new = Arc::new(new);
    begin_cold(&raised, Plan { listeners: vec![listener("a"), new.clone()], ..whole() }).await;
    let other = Arc::new(ListenerPlan { name: "other".to_owned(), ..ListenerPlan::clone(&new) });
    for (name, kept) in [("new", new), ("other", other)] {
        let next = Plan { listeners: vec![listener("a"), kept], ..whole() };
        raised.commander.install(next).await.unwrap();
        assert_eq!(raised.address(name), free);
        say(&mut raised.connect(name).await, "x").await;
    }
}

#[actix::test]
async fn listeners_that_have_drained_stay_closed_whatever_plan_comes() {
    let raised = raise_whole().await;
    let (address, mut open) = (raised.address("a"), raised.connect("a").await);
    raised.command(Command::DrainListeners(DrainListeners::default())).await;
    let more = Arc::new(cluster("more", 7, fixed(&["10.0.0.9:80"])));
    let mut next = whole();
    next.clusters.push(more);
    raised.commander.install(next).await.unwrap();
    assert!(std::net::TcpStream::connect(address).is_err());
    assert!(raised.view.listeners.read().iter().all(|bound| bound.closed));
    assert_eq!(say(&mut open, "x").await, "a");
}

#[actix::test]
async fn a_listener_that_is_gone_holds_nothing_once_its_connections_have_ended() {
    let raised = raise_whole().await;
    let chains = raised.view.listeners.read()[0].plan.chains.clone();
    let mut open = raised.connect("a").await;
    assert_eq!(say(&mut open, "x").await, "a");
    raised.commander.install(Plan { listeners: vec![listener("b")], ..whole() }).await.unwrap();
    drop(open);
    until("its chains to be let go of", || Arc::strong_count(&chains) == 1).await;
}

#[actix::test]
async fn listeners_that_close_at_once_discourage_their_connections_step_by_step() {
    let company = crate::Company::prepare(Options {
        drain_sequence: Duration::from_millis(300),
        ..options()
    });
    let (view, commander, world) =
        (company.view().clone(), company.commander().clone(), World::default());
    let (exit, _) = company.raise_on(Threads::One(Arbiter::current()), world.seams());
    let raised = Raised { view, commander, exit, world };
    let listeners = vec![listener("a")];
    raised.commander.install(Plan { listeners, ..Plan::default() }).await.unwrap();
    let mut open = raised.connect("a").await;
    assert_eq!(say(&mut open, "x").await, "a");
    raised.command(Command::DrainListeners(DrainListeners::default())).await;
    until_async("it to be discouraged", &mut open, "Discourage").await;
}

#[actix::test]
async fn draining_listeners_at_once_refuses_clients_and_keeps_connections() {
    let raised = raise_whole().await;
    let (address, mut open) = (raised.address("a"), raised.connect("a").await);
    assert_eq!(say(&mut open, "x").await, "a");
    let drained = raised.command(Command::DrainListeners(DrainListeners::default())).await;
    assert_eq!(drained, Applied::Done);
    until("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    assert_eq!(say(&mut open, "x").await, "a");
    assert!(raised.view.listeners.read().iter().all(|bound| bound.closed));
    assert_eq!(raised.view.server.read().lifecycle(), Lifecycle::Live);
    // A fall of the supervisor does not open them again.
    raised.kill("supervisor").await;
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[actix::test]
async fn draining_gracefully_discourages_more_and_more_connections_and_closes_at_the_end() {
    let raised = raise_whole().await;
    let address = raised.address("a");
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut stream = raised.connect("a").await;
        assert_eq!(say(&mut stream, "x").await, "a");
        open.push(stream);
    }
    let how = DrainListeners { graceful: true, skip_exit: false, inbound_only: false };
    tokio::time::pause();
    assert_eq!(raised.command(Command::DrainListeners(how)).await, Applied::Done);
    tokio::time::sleep(Duration::from_secs(3)).await;
    tokio::time::resume();
    let mut told = 0;
    for stream in &mut open {
        told += u32::from(say(stream, "x").await == "Discourage");
    }
    assert!((5..=35).contains(&told), "{told} of 40 after half of the time");
    assert!(std::net::TcpStream::connect(address).is_ok());
    tokio::time::pause();
    tokio::time::sleep(Duration::from_millis(3500)).await;
    tokio::time::resume();
    for stream in &mut open {
        assert_eq!(say(stream, "x").await, "Discourage");
    }
    until("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
}

#[actix::test]
async fn a_graceful_end_closes_what_is_idle_at_once_and_waits_for_what_is_not() {
    let mut raised = raise_whole().await;
    let (address, mut idle) = (raised.address("a"), raised.connect("a").await);
    let mut busy = raised.connect("a").await;
    assert_eq!(say(&mut idle, "x").await, "a");
    assert_eq!(say(&mut busy, "hold").await, "a");
    let quit = Command::Quit(Quit::Graceful(Duration::from_secs(30)));
    assert_eq!(raised.command(quit).await, Applied::Done);
    assert_eq!(say(&mut idle, "x").await, "");
    until("nobody listens", || std::net::TcpStream::connect(address).is_err()).await;
    assert!(raised.view.server.read().draining());
    let late = raised.commander.install(whole()).await.unwrap_err().to_string();
    assert!(late.contains("shutting down"), "{late}");
    let ended = tokio::time::timeout(Duration::from_millis(100), raised.exit.wait()).await;
    assert!(ended.is_err());
    assert_eq!(say(&mut busy, "release").await, "WhenIdle");
    assert_eq!(raised.exit.wait().await, 0);
}

#[actix::test]
async fn the_end_comes_when_its_time_is_over_and_at_once_when_asked_again() {
    let mut raised = raise_whole().await;
    let mut busy = raised.connect("a").await;
    assert_eq!(say(&mut busy, "hold").await, "a");
    let begun = std::time::Instant::now();
    raised.command(Command::Quit(Quit::Graceful(Duration::from_millis(200)))).await;
    raised.kill("supervisor").await;
    assert_eq!(raised.exit.wait().await, 0);
    assert!(begun.elapsed() >= Duration::from_millis(200));

    let mut raised = raise_whole().await;
    let mut busy = raised.connect("a").await;
    assert_eq!(say(&mut busy, "hold").await, "a");
    let begun = std::time::Instant::now();
    let quit = Command::Quit(Quit::Graceful(Duration::from_secs(30)));
    raised.command(quit.clone()).await;
    raised.command(quit).await;
    assert_eq!(raised.exit.wait().await, 0);
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[actix::test]
async fn commands_stand_in_the_journal_with_who_asked_what_was_and_what_is() {
    let raised = raise_whole().await;
    let fail = Command::Set(Setting::HealthFailed(true), Term::Lasting);
    assert_eq!(raised.command(fail).await, Applied::Done);
    assert_eq!(raised.command(Command::ReopenLogs).await, Applied::Done);
    assert_eq!(*raised.world.logs_reopened.lock(), 1);
    let journal = raised.view.roster.journal();
    let entry = journal.iter().find(|entry| entry.detail.contains("health checks fail")).unwrap();
    assert_eq!((entry.who.as_str(), entry.what), ("a test", "command"));
    assert_eq!(entry.detail, "health checks fail: done; was LIVE, is DRAINING");
    let nobody = raised.command(Command::Kill("nobody".to_owned())).await;
    assert!(matches!(nobody, Applied::Refused(Refusal::NoActor(_))));
}

#[actix::test]
async fn settings_that_cannot_stay_up_end_the_process_as_failed() {
    let mut raised = raise_whole().await;
    for _ in 0..6 {
        raised.view.roster.member("settings").unwrap().drill();
    }
    assert_eq!(raised.exit.wait().await, 1);
}

#[actix::test]
async fn the_admin_port_survives_its_own_falls_and_those_of_its_clients() {
    let raised = raise_whole().await;
    let address = raised.view.admin.read().unwrap().socket().unwrap();
    let mut waiting = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    raised.kill("admin").await;
    assert_eq!(say(&mut waiting, "x").await, "hello");
    let mut bad = TcpStream::connect(address).await.unwrap();
    assert_eq!(say(&mut bad, "panic").await, "");
    let mut good = TcpStream::connect(address).await.unwrap();
    assert_eq!(say(&mut good, "x").await, "hello");
}

#[actix::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_counted() {
    let raised = raise(World::default());
    let few =
        Arc::new(ListenerPlan { connections_max: 2, ..ListenerPlan::clone(&listener("few")) });
    let mut plan = plan(Vec::new());
    plan.listeners.push(few);
    raised.commander.install(plan).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = raised.connect("few").await;
        assert_eq!(say(&mut stream, "x").await, "few");
        open.push(stream);
    }
    assert_eq!(say(&mut raised.connect("few").await, "x").await, "");
    let stats = raised.view.registry.group::<ListenerStat>(Scope::listener("few"));
    assert_eq!(stats.sum(ListenerStat::DownstreamCxOverflow), 1);
    drop(open);
    until("those have ended", || stats.sum(ListenerStat::DownstreamCxActive) == 0).await;
    assert_eq!(say(&mut raised.connect("few").await, "x").await, "few");
}

#[actix::test]
async fn a_company_on_threads_of_its_own_serves_and_ends() {
    let company = crate::Company::prepare(options());
    let (view, commander) = (company.view().clone(), company.commander().clone());
    let mut exit = company.raise(World::default().seams());
    let mut plan = plan(Vec::new());
    plan.listeners.push(listener("a"));
    commander.install(plan).await.unwrap();
    let address = view.listeners.read()[0].local.socket().unwrap();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(say(&mut stream, "x").await, "a");
    }
    let server = view.registry.group::<ServerStat>(Scope::plain("server."));
    assert_eq!(server.sum(ServerStat::Concurrency), 2);
    commander.apply("a test", Command::Quit(Quit::Now)).await;
    assert_eq!(exit.wait().await, 0);
}

#[actix::test]
async fn a_worker_whose_thread_is_gone_is_made_anew_with_its_sockets() {
    let company = crate::Company::prepare(options());
    let (view, commander) = (company.view().clone(), company.commander().clone());
    let world = World::default();
    let _exit = company.raise(world.seams());
    let mut plan = plan(Vec::new());
    plan.listeners.push(listener("a"));
    commander.install(plan).await.unwrap();
    assert_eq!(world.threads.lock().len(), 2);
    for thread in world.threads.lock().drain(..) {
        thread.stop();
    }
    until("both workers are back", || world.threads.lock().len() == 2).await;
    let address = view.listeners.read()[0].local.socket().unwrap();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(say(&mut stream, "x").await, "a");
    }
    assert!(view.roster.journal().iter().any(|entry| entry.what == "worker lost"));
}
