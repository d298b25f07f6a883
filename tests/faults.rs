//! Owns the proof of supervision: under load over HTTP/1 and HTTP/2 each kind of actor is let fall, no
//! request fails, and each actor does afterwards what only a revived one can.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use support::{
    client::{self, Client},
    config::routed,
    load::Load,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

const ROUTES: &str = "{match: {prefix: /named}, route: {cluster: named}}, \
                      {match: {prefix: /checked}, route: {cluster: checked}}, \
                      {match: {prefix: /}, route: {cluster: fixed}}";

const CLUSTERS: &str = r#"
  - name: fixed
    load_assignment: {cluster_name: fixed, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ORIGIN}}}}]}]}
  - name: named
    type: STRICT_DNS
    dns_refresh_rate: 0.1s
    load_assignment: {cluster_name: named, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ORIGIN}}}}]}]}
  - name: checked
    common_lb_config: {healthy_panic_threshold: {value: 0}}
    health_checks:
    - {timeout: 1s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /health}}
    load_assignment: {cluster_name: checked, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ORIGIN}}}}]}]}
"#;

fn restarts(proxy: &Proxy, name: &str) -> u64 {
    let actors = client::get(proxy.admin, "/actors?format=json").text();
    let actors: serde_json::Value = serde_json::from_str(&actors).expect("/actors is JSON");
    let all = actors["actors"].as_array().expect("a list of actors");
    let found = all.iter().find(|actor| actor["name"] == name);
    found.and_then(|actor| actor["restarts"].as_u64()).unwrap_or_else(|| panic!("no actor {name}"))
}

/// Lets an actor fall, and sees that it was revived.
fn kill(proxy: &Proxy, name: &str) {
    let before = restarts(proxy, name);
    let answer = client::post(proxy.admin, &format!("/actors/kill?name={name}"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "OK\n"), "{name}");
    wait_for(name, || (restarts(proxy, name) == before + 1).then_some(()));
}

fn ready(proxy: &Proxy) -> u16 {
    client::get(proxy.admin, "/ready").status
}

/// A counter that goes up: somebody works again.
fn goes_up(proxy: &Proxy, stat: &str) {
    let before = proxy.stat(stat);
    wait_for(stat, || (proxy.stat(stat) > before).then_some(()));
}

#[test]
fn every_actor_may_fall_under_load_and_no_request_does() {
    let well = Arc::new(AtomicBool::new(true));
    let health = well.clone();
    let origin = Origin::answering(move |stream, request| {
        let ill = request.head.starts_with("GET /health") && !health.load(SeqCst);
        let status = if ill { "503 Service Unavailable" } else { "200 OK" };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 5\r\n\r\nhello");
        let _ = std::io::Write::write_all(stream, answer.as_bytes());
    });
    let config = routed(ROUTES, &CLUSTERS.replace("ORIGIN", &origin.address.port().to_string()));
    let proxy = Proxy::start_with(&config, &["--concurrency", "2", "--enable-drills"]);
    let address = proxy.listener("main");
    let load = Load::on(address, &["/", "/named", "/", "/named"]);
    let checked = || client::get(address, "/checked").status;
    let is = |what: &str, wanted: u16| wait_for(what, || (checked() == wanted).then_some(()));

    kill(&proxy, "settings");
    let changed = client::post(proxy.admin, "/logging?admin=debug").text();
    assert!(changed.contains("  admin: debug"), "{changed}");
    kill(&proxy, "supervisor");
    let changed = client::post(proxy.admin, "/logging?admin=info").text();
    assert!(changed.contains("  admin: info"), "{changed}");
    kill(&proxy, "admin");
    assert_eq!(ready(&proxy), 200);

    kill(&proxy, "cluster/checked");
    well.store(false, SeqCst);
    is("the revived cluster to take the host out", 503);
    kill(&proxy, &format!("cluster/checked/health_check/{}", origin.address));
    well.store(true, SeqCst);
    is("the revived health check to see it well", 200);
    kill(&proxy, "cluster/fixed");
    kill(&proxy, "routes/main/0/local_route");
    kill(&proxy, "cluster/named");
    goes_up(&proxy, "cluster.named.update_success");
    kill(&proxy, "cluster/named/dns/127.0.0.1");
    goes_up(&proxy, "cluster.named.update_success");

    for worker in 0..2 {
        kill(&proxy, &format!("worker/{worker}/listener/main"));
        goes_up(&proxy, &format!("listener.127.0.0.1_0.worker_{worker}.downstream_cx_total"));
        kill(&proxy, &format!("worker/{worker}"));
    }
    // Only a revived worker can pass this on. One of them has this idle connection.
    let mut idle: Vec<_> = (0..16).map(|_| Client::connect(address)).collect();
    for client in &mut idle {
        assert_eq!(client.request("GET / HTTP/1.1\r\nhost: test\r\n\r\n").status, 200);
    }
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(load.failures(), Vec::<String>::new());
    let rate = load.end();
    println!(
        "{rate} requests per second over HTTP/1 and HTTP/2 while each kind of actor fell; none failed"
    );
    assert!(rate >= 1000, "only {rate} requests per second");

    let path = "/actors/kill?name=worker/0/listener/main/connection";
    assert_eq!(client::post(proxy.admin, path).status, 200);
    let ask = |client: &mut Client| {
        let sent = client.try_send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
        sent.and_then(|()| client.try_answer(false)).is_ok_and(|answer| answer.status == 200)
    };
    let alive = idle.iter_mut().filter_map(|client| ask(client).then_some(())).count();
    assert_eq!(alive, idle.len() - 1, "one connection fell, and it alone");
}
