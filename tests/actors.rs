//! Owns `/actors` and the drill as a user sees them.

mod support;

use serde_json::Value;
use support::{
    client::{get, post},
    config::front,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

fn actors(proxy: &Proxy) -> Vec<Value> {
    let all = get(proxy.admin, "/actors?format=json").text();
    let all: Value = serde_json::from_str(&all).expect("/actors is JSON");
    all["actors"].as_array().expect("a list of actors").clone()
}

fn names(proxy: &Proxy) -> Vec<String> {
    actors(proxy).iter().filter_map(|actor| Some(actor["name"].as_str()?.to_owned())).collect()
}

fn kill(proxy: &Proxy, name: &str) -> (u16, String) {
    let answer = post(proxy.admin, &format!("/actors/kill?name={name}"));
    (answer.status, answer.text())
}

#[test]
fn each_parent_has_exactly_its_children_after_ten_falls_of_each() {
    let origin = Origin::saying("hello");
    let config = front(&[("a", &[origin.address]), ("b", &[origin.address])]);
    let config = config.replace(
        "    connect_timeout: 1s\n",
        "    connect_timeout: 1s\n    health_checks: [{timeout: 1s, interval: 1s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]\n    outlier_detection: {}\n",
    );
    let proxy = Proxy::start_with(&config, &["--concurrency", "2", "--enable-drills"]);
    let before = names(&proxy);
    assert_eq!(before.len(), 5 + 2 + 1 + 2 + 2 + 2 + 1, "{before:?}");
    for fall in 0..10 {
        // These two end the process when they fall more often than their budget allows.
        let spared =
            |name: &&String| fall < 4 || !["supervisor", "settings"].contains(&name.as_str());
        for name in before.iter().filter(spared) {
            assert_eq!(kill(&proxy, name), (200, "OK\n".to_owned()), "{name}");
        }
    }
    wait_for("everybody to be back", || (names(&proxy) == before).then_some(()));
    for actor in actors(&proxy) {
        let name = actor["name"].as_str().expect("a name");
        // Beyond its budget, a cluster is made anew with its children.
        let falls = match name {
            "supervisor" | "settings" => 4,
            name if name.contains("/health_check/") || name.contains("/outlier") => continue,
            _ => 10,
        };
        assert_eq!(actor["restarts"], falls, "{name}");
        let why = actor["last_fall"]["why"].as_str().expect("why it fell");
        assert!(why.starts_with("asked to fall"), "{why}");
    }
    assert_eq!(get(proxy.listener("main"), "/a").text(), "hello");
}

#[test]
fn the_tree_tells_of_each_actor_in_text_and_json() {
    let origin = Origin::saying("hello");
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let text = get(proxy.admin, "/actors").text();
    assert!(text.starts_with("Supervisor supervisor acting, mailbox open, 0 restarts, "), "{text}");
    assert!(text.contains("\n  Cluster cluster/a acting, mailbox open, 0 restarts, "), "{text}");
    assert!(text.contains("\n    Listener worker/1/listener/main acting"), "{text}");
    assert!(text.contains("\njournal:\n"), "{text}");
    for actor in actors(&proxy) {
        for field in ["role", "name", "parent", "depth", "state", "restarts", "mailbox", "age_s"] {
            assert!(!actor[field].is_null(), "{field} of {actor}");
        }
        assert!(actor["last_fall"].is_null());
    }
}

#[test]
fn a_drill_is_refused_where_it_is_not_allowed_and_for_nobody() {
    let config = front(&[]);
    let (allowed, not) =
        (Proxy::start_with(&config, &["--enable-drills"]), Proxy::start_with(&config, &[]));
    for (proxy, name, status, told) in [
        (&not, "settings", 403, "--enable-drills"),
        (&not, "nobody", 403, "--enable-drills"),
        (&allowed, "nobody", 404, "no actor is called \"nobody\""),
        (&allowed, "worker/0/listener/main/connection/9", 404, "no actor is called"),
        (&allowed, "worker/99/listener/main/connection", 404, "no actor is called"),
        (&allowed, "", 400, "usage:"),
    ] {
        let (answered, text) = kill(proxy, name);
        assert!(answered == status && text.contains(told), "{name}: {answered} {text}");
    }
}

#[test]
fn our_endpoints_stand_apart_from_envoys() {
    let proxy = Proxy::start(&front(&[]));
    let text = |path: &str| get(proxy.admin, path).text();
    assert!(text("/help?ours").contains("/actors/kill (POST): "));
    assert!(!text("/help").contains("/actors") && !text("/nosuch").contains("/actors"));
    let home = text("/");
    let (ours, table) = home.split_once("<table class='home-table'").expect("a table");
    assert!(ours.contains("actors/kill (POST)") && ours.contains("href='actors'"), "{ours}");
    assert!(!table.contains("actors"), "{table}");
}
