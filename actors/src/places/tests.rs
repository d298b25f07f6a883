use std::sync::{Arc, atomic::Ordering::Relaxed};

use crate::{
    fakes::*,
    plan::{ListenerPlan, Plan, SocketPlan},
    stats::{ListenerStat, Scope},
};

/// A listener without a socket.
fn unbound(name: &str, addresses: &[&str]) -> Arc<ListenerPlan> {
    let mut plan = ListenerPlan { bind_to_port: false, ..ListenerPlan::clone(&listener(name)) };
    let mut addresses = addresses.iter().map(|address| match address.strip_suffix(" compat") {
        Some(address) => {
            (address.parse().unwrap(), SocketPlan { ipv4_compat: true, ..SocketPlan::default() })
        }
        None => (address.parse().unwrap(), SocketPlan::default()),
    });
    (plan.address, plan.socket) = addresses.next().unwrap();
    plan.additional = addresses.collect();
    Arc::new(plan)
}

fn plan_of(listeners: &[Arc<ListenerPlan>]) -> Plan {
    Plan { listeners: listeners.to_vec(), ..plan(Vec::new()) }
}

async fn raised(listeners: &[Arc<ListenerPlan>]) -> Raised {
    let raised = raise(World::default());
    raised.commander.install(plan_of(listeners)).await.unwrap();
    raised
}

impl Raised {
    /// Who has a connection to `front` that was meant for this address.
    async fn who_has(&self, address: &str) -> String {
        say(&mut self.connect("front").await, &format!("to {address}")).await
    }
}

#[actix::test]
async fn the_very_address_comes_first_then_all_of_its_family_then_those_that_take_both() {
    let raised = raised(&[
        listener("front"),
        unbound("exact", &["10.0.0.1:80", "10.0.0.2:80", "[fd00::1]:80"]),
        unbound("both", &["[::]:80 compat", "[::]:81 compat"]),
        unbound("four", &["0.0.0.0:80"]),
        unbound("six", &["[::]:82"]),
    ])
    .await;
    for (address, who) in [
        ("10.0.0.1:80", "exact"),
        ("10.0.0.2:80", "exact"),
        ("10.0.0.3:80", "four"),
        ("10.0.0.1:81", "both"),
        ("10.0.0.1:82", "front"),
        ("10.0.0.1:83", "front"),
        ("[fd00::1]:80", "exact"),
        ("[fd00::2]:80", "both"),
        ("[fd00::2]:82", "six"),
        ("[fd00::2]:83", "front"),
    ] {
        assert_eq!(raised.who_has(address).await, who, "{address}");
    }
    // A port that the kernel has chosen is one, too.
    let bound = raised.address("front").to_string();
    assert_eq!(raised.who_has(&bound).await, "front");
}

#[actix::test]
async fn a_connection_counts_where_it_is_and_nowhere_else() {
    let few = ListenerPlan { connections_max: 1, ..ListenerPlan::clone(&listener("front")) };
    let raised = raised(&[Arc::new(few), unbound("exact", &["10.0.0.1:80"])]).await;
    let stats = |name| raised.view.registry.group::<ListenerStat>(Scope::listener(name));
    let mut open = Vec::new();
    for expected in 1..=3 {
        let mut stream = raised.connect("front").await;
        assert_eq!(say(&mut stream, "to 10.0.0.1:80").await, "exact");
        open.push(stream);
        assert_eq!(raised.view.roster.connections.load(Relaxed), expected);
    }
    let mut stays = raised.connect("front").await;
    assert_eq!(say(&mut stays, "x").await, "front");
    assert_eq!(say(&mut raised.connect("front").await, "x").await, "", "one may be there");
    assert_eq!(stats("front").sum(ListenerStat::DownstreamCxOverflow), 1);
    drop((open, stays));
    until("all have ended", || raised.view.roster.connections.load(Relaxed) == 0).await;
    assert_eq!(say(&mut raised.connect("front").await, "x").await, "front");
}

#[actix::test]
async fn whatever_falls_connections_are_handed_over() {
    let raised = raised(&[listener("front"), unbound("exact", &["10.0.0.1:80"])]).await;
    let mut before = raised.connect("front").await;
    assert_eq!(say(&mut before, "to 10.0.0.1:80").await, "exact");
    for name in ["supervisor", "worker/0", "worker/1"] {
        raised.kill(name).await;
    }
    for worker in 0..2 {
        for listener in ["front", "exact"] {
            raised.kill(&format!("worker/{worker}/listener/{listener}")).await;
        }
    }
    for _ in 0..8 {
        assert_eq!(raised.who_has("10.0.0.1:80").await, "exact");
    }
    assert_eq!(say(&mut before, "x").await, "exact");
}

#[actix::test]
async fn a_listener_that_leaves_has_no_address_and_one_that_moves_has_another() {
    let (front, wild) = (listener("front"), unbound("wild", &["0.0.0.0:80"]));
    let exact = unbound("exact", &["10.0.0.1:80"]);
    let raised = raised(&[front.clone(), exact.clone(), wild.clone()]).await;
    let mut old = raised.connect("front").await;
    assert_eq!(say(&mut old, "to 10.0.0.1:80").await, "exact");
    assert_eq!(raised.who_has("10.0.0.1:80").await, "exact");

    raised.commander.install(plan_of(&[front.clone(), wild.clone()])).await.unwrap();
    assert_eq!(raised.who_has("10.0.0.1:80").await, "wild");
    assert_eq!(say(&mut old, "x").await, "Discourage");

    // Another has taken the address that one gives up.
    let exact = ListenerPlan { fingerprint: 2, ..ListenerPlan::clone(&exact) };
    let moved = ListenerPlan { fingerprint: 2, ..(*unbound("wild", &["10.0.0.2:80"])).clone() };
    let all = [front.clone(), Arc::new(exact), Arc::new(moved)];
    raised.commander.install(plan_of(&all)).await.unwrap();
    for (address, who) in
        [("10.0.0.1:80", "exact"), ("10.0.0.2:80", "wild"), ("10.0.0.3:80", "front")]
    {
        assert_eq!(raised.who_has(address).await, who, "{address}");
    }
    let swapped = [
        front,
        Arc::new(ListenerPlan { fingerprint: 3, ..(*unbound("exact", &["10.0.0.2:80"])).clone() }),
        Arc::new(ListenerPlan { fingerprint: 3, ..(*unbound("wild", &["10.0.0.1:80"])).clone() }),
    ];
    raised.commander.install(plan_of(&swapped)).await.unwrap();
    for (address, who) in [("10.0.0.1:80", "wild"), ("10.0.0.2:80", "exact")] {
        assert_eq!(raised.who_has(address).await, who, "{address}");
    }
}

#[actix::test]
async fn whoever_takes_a_connection_over_shares_it_out_as_its_own() {
    let even =
        ListenerPlan { exact_balance: true, ..(*unbound("exact", &["10.0.0.1:80"])).clone() };
    let raised = raised(&[listener("front"), Arc::new(even)]).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        let mut stream = raised.connect("front").await;
        assert_eq!(say(&mut stream, "to 10.0.0.1:80").await, "exact");
        open.push(stream);
    }
    let of = |worker: usize| {
        let prefix = format!("worker/{worker}/listener/exact/connection/");
        let journal = raised.view.roster.journal();
        journal.iter().filter(|entry| entry.who.starts_with(&prefix)).count()
    };
    for stream in &mut open {
        assert_eq!(say(stream, "panic").await, "");
    }
    assert_eq!((of(0), of(1)), (5, 5));
}
