//! Owns scaling as a user sees it: by DNS and by hand, under load and through falls, and no request fails.

mod support;

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::{Arc, mpsc},
};

use parking_lot::Mutex;
use serde_json::Value;
use support::{
    client::{Client, get, post},
    config::{cluster, front, routed},
    dns::{Dns, Said},
    load::Load,
    origin::{Origin, Request},
    proxy::Proxy,
    wait_for,
};

const DRILLS: &[&str] = &["--concurrency", "2", "--enable-drills"];

/// The address of the test's host of this number. Each test has a network of its own.
fn ip(network: u8, last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 9, network, last)
}

/// Hosts of one service: addresses of their own, one port.
struct Service {
    network: u8,
    port: u16,
    /// How many hosts there ever were: an address is not used again.
    ever: u8,
    hosts: Vec<Origin>,
}

// === impl Service ===

impl Service {
    fn new(network: u8) -> Self {
        let mut service = Self { network, port: 0, ever: 0, hosts: Vec::new() };
        service.grow(1);
        service
    }

    fn grow(&mut self, count: usize) {
        while self.hosts.len() < count {
            self.ever += 1;
            let address = SocketAddr::from((ip(self.network, self.ever), self.port));
            let host = Origin::on(address, say("hello"));
            self.port = host.address.port();
            self.hosts.push(host);
        }
    }

    fn addresses(&self) -> Vec<Ipv4Addr> {
        let v4 = |host: &Origin| match host.address.ip() {
            IpAddr::V4(ip) => ip,
            IpAddr::V6(_) => unreachable!("all hosts are on loopback"),
        };
        self.hosts.iter().map(v4).collect()
    }
}

fn say(text: &'static str) -> impl Fn(&mut TcpStream, &Request) + Send + Sync {
    move |stream, _| {
        let length = text.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}");
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// One cluster `a` whose hosts live at a name; `more` are lines of it.
fn named(dns: &Dns, port: u16, more: &str) -> String {
    let cluster = format!(
        "  - name: a
    type: STRICT_DNS
    connect_timeout: 1s
    dns_lookup_family: V4_ONLY
{more}{}    load_assignment:
      cluster_name: a
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: a.test, port_value: {port}}}}}}}}}]}}]
",
        dns.resolver()
    );
    routed("{match: {prefix: /}, route: {cluster: a}}", &cluster)
}

fn members(proxy: &Proxy) -> Option<u64> {
    proxy.stat("cluster.a.membership_total")
}

fn kill(proxy: &Proxy, name: &str) {
    let answer = post(proxy.admin, &format!("/actors/kill?name={name}"));
    assert_eq!(answer.status, 200, "{name}: {}", answer.text());
}

#[test]
fn no_request_fails_while_a_service_is_scaled_and_those_who_look_after_it_fall() {
    let (dns, mut service) = (Dns::start(), Service::new(1));
    dns.hosts("a.test", &service.addresses());
    let config = named(&dns, service.port, "    dns_refresh_rate: 0.2s\n");
    let proxy = Proxy::start_with(&config, DRILLS);
    let load = Load::on(proxy.listener("main"), &["/a", "/b"]);
    for count in [3, 5, 2, 1, 3] {
        service.grow(count);
        let gone: Vec<_> = service.hosts.drain(count..).collect();
        dns.hosts("a.test", &service.addresses());
        kill(&proxy, "cluster/a");
        kill(&proxy, "cluster/a/dns/a.test");
        wait_for("the hosts that DNS names", || {
            (members(&proxy) == Some(count as u64)).then_some(())
        });
        let before: Vec<_> = service.hosts.iter().map(|host| host.heads().len()).collect();
        wait_for("every host to carry traffic", || {
            let heads = service.hosts.iter().map(|host| host.heads().len());
            heads.zip(&before).all(|(now, before)| now > *before).then_some(())
        });
        // Whoever is not named any more gets no new connection, and may go once it is idle.
        let accepted: Vec<_> = gone.iter().map(Origin::accepted).collect();
        wait_for("those that left to be idle", || {
            let idle = |host: &Origin| {
                !get(proxy.admin, "/clusters").text().contains(&host.address.to_string())
            };
            gone.iter().all(idle).then_some(())
        });
        assert_eq!(gone.iter().map(Origin::accepted).collect::<Vec<_>>(), accepted);
        drop(gone);
        assert_eq!(load.failures(), [""; 0], "with {count} hosts");
    }
    assert!(load.end() > 0);
}

#[test]
fn hosts_are_added_drained_and_removed_by_hand_and_that_stays_through_a_fall() {
    let (mut service, network) = (Service::new(2), 2);
    service.grow(4);
    // The drained one holds its answer back until it is told.
    let (tell, told) = mpsc::channel::<()>();
    let told = Arc::new(Mutex::new(told));
    let slow = Origin::on(SocketAddr::from((ip(network, 9), service.port)), move |stream, _| {
        let _ = told.lock().recv();
        say("slow")(stream, &Request { head: String::new(), body: Vec::new() });
    });
    let at = |last| SocketAddr::from((ip(network, last), service.port));
    let proxy = Proxy::start_with(&front(&[("a", &[at(1), at(2)])]), DRILLS);
    let (main, change) = (proxy.listener("main"), |query: &str| {
        let answer = post(proxy.admin, &format!("/clusters/endpoints?{query}"));
        (answer.status, answer.text())
    });

    let (status, text) =
        change(&format!("cluster=a&add={}&weight=2&remove={}&drain={}", at(3), at(1), at(2)));
    assert_eq!(status, 200, "{text}");
    assert!(text.starts_with("a: 1 hosts, 1 draining\n"), "{text}");
    assert!(text.contains(&format!("\n{} weight 2 healthy, added by hand\n", at(3))), "{text}");
    assert!(
        text.contains(&format!("\n{} weight 1 /draining, drained by hand with 0 requests", at(2))),
        "{text}"
    );
    assert!(text.contains(&format!("\n{} is removed by hand\n", at(1))), "{text}");
    kill(&proxy, "cluster/a");
    let (first, second) = (service.hosts[0].accepted(), service.hosts[1].accepted());
    for _ in 0..6 {
        assert_eq!(get(main, "/").text(), "hello");
    }
    assert_eq!(service.hosts[2].heads().len(), 6);
    assert_eq!((service.hosts[0].accepted(), service.hosts[1].accepted()), (first, second));
    let clusters = get(proxy.admin, "/clusters").text();
    for line in [
        format!("a::{}::weight::2\n", at(3)),
        format!("a::{}::by_hand::true\n", at(3)),
        format!("a::{}::health_flags::/draining\n", at(2)),
        format!("a::{}::removed_by_hand::true\n", at(1)),
    ] {
        assert!(clusters.contains(&line), "{line} in {clusters}");
    }

    // A request on a host that is drained is answered; the next one goes elsewhere.
    assert_eq!(change(&format!("cluster=a&remove={}&add={}", at(3), at(9))).0, 200);
    let mut client = Client::connect(main);
    client.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    wait_for("the request to arrive", || (slow.heads().len() == 1).then_some(()));
    let (_, text) = change(&format!("cluster=a&add={}&drain={}", at(4), at(9)));
    assert!(text.contains("drained by hand with 1 requests and 1 connections left"), "{text}");
    assert_eq!(get(main, "/").text(), "hello");
    tell.send(()).expect("the slow host waits");
    assert_eq!(client.answer().text(), "slow");
    wait_for("its connection to end", || {
        let clusters = get(proxy.admin, "/clusters").text();
        clusters.contains(&format!("a::{}::cx_active::0\n", at(9))).then_some(())
    });

    // What is set for a time ends by itself.
    assert_eq!(change(&format!("cluster=a&add={}&ttl=300ms", at(2))).0, 200);
    wait_for("the host to be drained again", || {
        let clusters = get(proxy.admin, "/clusters").text();
        clusters.contains(&format!("a::{}::health_flags::/draining\n", at(2))).then_some(())
    });

    for (query, status, told) in [
        ("cluster=nobody&add=10.0.0.1:80", 404, "no cluster is called \"nobody\""),
        ("cluster=a&add=host:80", 400, "add=host:80 is no address: write IP:PORT"),
        (
            "cluster=a&remove=10.0.0.9:80",
            400,
            "10.0.0.9:80 is not a host; add=10.0.0.9:80 makes it one",
        ),
        ("cluster=a&weight=2", 400, "weight= follows the add="),
        ("cluster=a&add=10.0.0.1:80&weight=0", 400, "weight=0 is no number from 1"),
        ("cluster=a&add=10.0.0.1:80&ttl=soon", 400, "ttl=soon is no time"),
        ("cluster=a&move=10.0.0.1:80", 400, "move= is nothing that can be changed"),
        ("cluster=a", 400, "nothing is to be changed"),
        ("add=10.0.0.1:80", 400, "cluster= is missing"),
    ] {
        let (answered, text) = change(query);
        assert!(answered == status && text.contains(told), "{query}: {answered} {text}");
    }
    assert_eq!(get(proxy.admin, "/clusters/endpoints").status, 405);
}

#[test]
fn dns_can_be_seen_and_asked_and_is_asked_when_a_host_cannot_be_reached() {
    let (dns, mut service) = (Dns::start(), Service::new(3));
    service.grow(2);
    let (one, two) = (ip(3, 1), ip(3, 2));
    dns.hosts("a.test", &[one]);
    let more = "    dns_refresh_rate: 600s\n    metadata: {filter_metadata: {understudy.dns: {hold_stale: 0.5s}}}\n";
    let proxy = Proxy::start(&named(&dns, service.port, more));
    let main = proxy.listener("main");
    let name = || -> Value {
        let text = get(proxy.admin, "/dns?format=json").text();
        serde_json::from_str::<Value>(&text).expect("/dns is JSON")["names"][0].clone()
    };
    wait_for("the first answer", || (name()["addresses"][0] == one.to_string()).then_some(()));
    assert_eq!((&name()["ttl_s"], &name()["failures"]), (&1.0.into(), &0.into()));
    assert!(name()["next_s"].as_f64().is_some_and(|wait| wait > 500.0), "{}", name());

    dns.say("a.test", Said::Failure);
    assert_eq!(post(proxy.admin, "/dns/refresh?name=a.test").status, 200);
    let text = get(proxy.admin, "/dns").text();
    assert!(text.starts_with(&format!("cluster a, a.test:{}\n  {one}\n", service.port)), "{text}");
    assert!(text.contains("1 since the last answer: the server answered"), "{text}");
    assert_eq!(get(main, "/").status, 200);

    dns.hosts("a.test", &[two]);
    let text = post(proxy.admin, "/dns/refresh").text();
    assert!(text.contains(&format!("\n  {two}\n")), "{text}");
    wait_for("the other host", || {
        get(main, "/");
        (!service.hosts[1].heads().is_empty()).then_some(())
    });
    assert_eq!(post(proxy.admin, "/dns/refresh?name=b.test").status, 404);

    // The host is gone, and DNS knows where it is now: the first that cannot reach it lets DNS be asked.
    drop(service.hosts.pop());
    dns.hosts("a.test", &[one]);
    wait_for("DNS to be asked", || {
        get(main, "/");
        (name()["addresses"][0] == one.to_string()).then_some(())
    });
    wait_for("the host that is there", || (get(main, "/").status == 200).then_some(()));

    // A name that is gone takes its hosts along, though not at once where they are held.
    dns.say("a.test", Said::NoSuchName);
    let text = post(proxy.admin, "/dns/refresh").text();
    assert!(text.contains("DNS has no address; hosts are held for 0."), "{text}");
    wait_for("the hosts to go", || (get(main, "/").status == 503).then_some(()));
    assert_eq!(name()["addresses"], Value::Array(Vec::new()));
}

#[test]
fn a_host_is_reached_by_whichever_of_its_addresses_answers() {
    let service = Service::new(4);
    let nobody = |last| SocketAddr::from((ip(4, last), service.port));
    let additional = |last| {
        let at = if last == 0 { service.hosts[0].address } else { nobody(last) };
        let (ip, port) = (at.ip(), at.port());
        format!("{{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}")
    };
    let endpoint = |others: &[u8]| {
        let others: Vec<_> = others.iter().map(|last| additional(*last)).collect();
        cluster("a", &[nobody(8)])
            .replace("}}}\n", &format!("}}}}, additional_addresses: [{}]}}\n", others.join(", ")))
    };
    for (others, status) in [(&[7, 0][..], 200), (&[7, 6], 503)] {
        let config = routed("{match: {prefix: /}, route: {cluster: a}}", &endpoint(others));
        let proxy = Proxy::start(&config);
        assert_eq!(get(proxy.listener("main"), "/").status, status, "{others:?}");
        // Each address that is tried counts, as in Envoy; the connection succeeds or fails once.
        assert_eq!(proxy.stat("cluster.a.upstream_cx_total"), Some(3));
        let failed = u64::from(status != 200);
        assert_eq!(proxy.stat("cluster.a.upstream_cx_connect_fail"), Some(failed));
    }
}
