//! What people set on the admin port: for how long, by whom, and what a fall leaves of it.

mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use support::{
    client::{Client, get, post},
    config::routed,
    proxy::{Proxy, folder},
    wait_for,
};

/// `/switch` says `on` to as many percent of the requests as `routing.switch` asks for, and else `off`.
const SWITCHED: &str = "{match: {prefix: /switch, runtime_fraction: {default_value: {numerator: 0}, \
     runtime_key: routing.switch}}, direct_response: {status: 200, body: {inline_string: \"on\"}}}, \
     {match: {prefix: /}, direct_response: {status: 200, body: {inline_string: \"off\"}}}";

/// The configuration of other tests has an admin layer; this one has these layers below it.
fn layered(below: &str) -> String {
    let admin = "{name: admin, admin_layer: {}}";
    routed(SWITCHED, "").replace(admin, &format!("{below}{admin}")).replace("  clusters:\n", "")
}

fn switch(proxy: &Proxy) -> String {
    get(proxy.listener("main"), "/switch").text()
}

fn version(folder: &Path, name: &str, percent: &str) {
    fs::create_dir_all(folder.join(name).join("routing")).unwrap();
    fs::write(folder.join(name).join("routing/switch"), percent).unwrap();
}

#[test]
fn a_swapped_folder_steers_routes_and_an_override_steers_more() {
    let folder = folder();
    version(&folder, "v1", "0\n");
    version(&folder, "v2", "# all of them\n100\n");
    let current = folder.join("current");
    symlink("v1", &current).unwrap();
    let layer = format!("{{name: disk, disk_layer: {{symlink_root: {}}}}}, ", current.display());
    let proxy = Proxy::start(&layered(&layer));
    assert_eq!(switch(&proxy), "off");
    symlink("v2", folder.join("next")).unwrap();
    fs::rename(folder.join("next"), &current).unwrap();
    wait_for("the swap to be seen", || (switch(&proxy) == "on").then_some(()));
    post(proxy.admin, "/runtime_modify?routing.switch=0");
    assert_eq!(switch(&proxy), "off");
    post(proxy.admin, "/runtime_modify?routing.switch=");
    assert_eq!(switch(&proxy), "on");
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_set_for_a_time_gives_way_by_itself() {
    let proxy = Proxy::start(&layered(""));
    let level = || {
        let listing = post(proxy.admin, "/logging").text();
        listing.lines().find_map(|line| line.strip_prefix("  upstream: ").map(str::to_owned))
    };
    for (change, status) in [
        ("/runtime_modify?routing.switch=100&ttl=3s", 200),
        ("/logging?upstream=debug&ttl=3s", 200),
        ("/healthcheck/fail?ttl=3s", 200),
        ("/healthcheck/fail?ttl=soon", 400),
    ] {
        assert_eq!(post(proxy.admin, change).status, status, "{change}");
    }
    assert_eq!((switch(&proxy), level()), ("on".to_owned(), Some("debug".to_owned())));
    assert_eq!(get(proxy.admin, "/ready").status, 503);
    assert!(get(proxy.admin, "/actors").text().contains(" s more: runtime routing.switch"));
    wait_for("all of it to give way", || {
        let again = switch(&proxy) == "off" && level().as_deref() == Some("info");
        (again && get(proxy.admin, "/ready").status == 200).then_some(())
    });
    assert!(get(proxy.admin, "/actors").text().contains("settings time over"));
}

#[test]
fn killed_settings_lose_nothing_that_was_set_and_a_killed_admin_port_is_back_at_once() {
    let flags = ["--concurrency", "1", "--enable-drills"];
    let proxy = Proxy::start_with(&layered(""), &flags);
    for change in [
        "/runtime_modify?routing.switch=100",
        "/logging?upstream=debug",
        "/healthcheck/fail",
        "/runtime_modify?short.lived=1&ttl=1s",
    ] {
        assert_eq!(post(proxy.admin, change).status, 200, "{change}");
    }
    for name in ["settings", "admin"] {
        let before = restarts(&proxy, name);
        assert_eq!(post(proxy.admin, &format!("/actors/kill?name={name}")).status, 200);
        let fallen = Instant::now();
        assert_eq!(get(proxy.admin, "/ready").status, 503, "{name} forgot the state of health");
        assert!(fallen.elapsed() < Duration::from_millis(100), "{name}: {:?}", fallen.elapsed());
        assert_eq!(restarts(&proxy, name), before + 1);
        assert_eq!(switch(&proxy), "on", "{name} forgot an override");
        assert!(post(proxy.admin, "/logging").text().contains("  upstream: debug\n"));
    }
    wait_for("the fallen settings to keep to the time", || {
        (!get(proxy.admin, "/runtime").text().contains("short.lived")).then_some(())
    });
}

fn restarts(proxy: &Proxy, name: &str) -> u64 {
    let actors = get(proxy.admin, "/actors").text();
    let line = actors.lines().find(|line| line.contains(&format!(" {name} acting")));
    let line = line.unwrap_or_else(|| panic!("no {name} in:\n{actors}"));
    let count = line.split(", ").find_map(|part| part.strip_suffix(" restarts"));
    count.and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

#[test]
fn a_web_page_from_elsewhere_changes_nothing_and_is_told_the_way_out() {
    let proxy = Proxy::start(&layered(""));
    let asked = |head: &str| {
        let request = format!("{head}\r\ncontent-length: 0\r\n\r\n");
        let answer = Client::connect(proxy.admin).request(&request);
        (answer.status, answer.text())
    };
    let modify = "POST /runtime_modify?routing.switch=100 HTTP/1.1\r\nhost: localhost";
    for (headers, status) in [
        ("origin: http://evil.example", 403),
        ("origin: null", 403),
        ("sec-fetch-site: cross-site", 403),
        ("origin: http://localhost", 200),
        ("sec-fetch-site: same-origin", 200),
    ] {
        let (got, text) = asked(&format!("{modify}\r\n{headers}"));
        assert_eq!(got, status, "{headers}: {text}");
        assert!(status == 200 || text.contains("--admin-allowed-host"), "{text}");
    }
    let (status, text) = asked("GET /ready HTTP/1.1\r\nhost: rebound.example:9901");
    assert!(status == 403 && text.contains("--admin-allowed-host rebound.example"), "{text}");
}

#[test]
fn a_port_that_is_read_only_shows_everything_and_changes_nothing() {
    let proxy = Proxy::start_with(&layered(""), &["--admin-read-only"]);
    for path in ["/healthcheck/fail", "/runtime_modify?a=1", "/reset_counters", "/quitquitquit"] {
        let answer = post(proxy.admin, path);
        assert!(answer.status == 403 && answer.text().contains("--admin-read-only"), "{path}");
    }
    assert_eq!(get(proxy.admin, "/ready").status, 200);
    assert!(post(proxy.admin, "/logging").text().starts_with("active loggers:"));
}
