//! Listeners that get their connections from other listeners, by the address that each was meant for. Here a PROXY
//! header says it; `redirected.rs` has the kernel say it.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use support::{
    client,
    config::{FILTERS, chain},
    proxy::Proxy,
    wait_for,
};

const FRONT: &str = r#"name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    use_original_dst: true"#;

const ALL: &str = "name: all\n    bind_to_port: false\n    \
                   address: {socket_address: {address: 0.0.0.0, port_value: 80}}";

const EXACT: &str = "name: exact\n    bind_to_port: false\n    \
                     address: {socket_address: {address: 10.0.0.1, port_value: 80}}";

/// Listener filters of these types.
fn filters(types: &[&str]) -> String {
    let one = |filter: &&str| {
        format!("{{name: f, typed_config: {{\"@type\": {FILTERS}.listener.{filter}}}}}")
    };
    let all = types.iter().map(one).collect::<Vec<_>>().join(", ");
    format!("\n    listener_filters: [{all}]")
}

/// `FRONT`, which finds in a PROXY header what a connection was meant for, and these listeners; each answers with its name.
fn config(listeners: &[&str]) -> String {
    let front = FRONT.to_owned() + &filters(&["proxy_protocol.v3.ProxyProtocol"]);
    let listener = |lines: &str| {
        let name = lines.strip_prefix("name: ").and_then(|rest| rest.lines().next());
        let name = name.expect("it begins with its name");
        let chains = match lines.contains("filter_chains:") {
            true => String::new(),
            false => format!("    filter_chains:\n{}", chain("{}", name)),
        };
        format!("  - {lines}\n    stat_prefix: {name}\n{chains}")
    };
    let all = std::iter::once(&*front).chain(listeners.iter().copied()).map(listener);
    format!(
        "admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}\nstatic_resources:\n  listeners:\n{}",
        all.collect::<String>()
    )
}

/// A connection to the front that was meant for this address.
fn meant_for(proxy: &Proxy, address: &str) -> TcpStream {
    let stream = TcpStream::connect(proxy.listener("front")).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    let to: SocketAddr = address.parse().expect("an address");
    let family = if to.is_ipv4() { "TCP4 1.2.3.4" } else { "TCP6 fd00::7" };
    let header = format!("PROXY {family} {} 111 {}\r\n", to.ip(), to.port());
    (&stream).write_all(header.as_bytes()).expect("a header");
    stream
}

/// What comes of a request on it, up to the end of a short body.
fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").expect("a request");
    let (mut answer, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut some).unwrap_or(0);
        answer.extend_from_slice(&some[..count]);
        let text = String::from_utf8_lossy(&answer);
        let whole = text.split_once("\r\n\r\n").is_some_and(|(_, body)| !body.is_empty());
        if count == 0 || whole {
            return text.into_owned();
        }
    }
}

/// Who has a connection that was meant for this address; none where it is closed.
fn who_has(proxy: &Proxy, address: &str) -> String {
    let answer = ask(&mut meant_for(proxy, address));
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default()
}

fn stat(proxy: &Proxy, listener: &str, stat: &str) -> Option<u64> {
    proxy.stat(&format!("listener.{listener}.downstream_{stat}"))
}

#[test]
fn a_connection_goes_to_the_listener_of_the_address_that_it_was_meant_for() {
    let six = "name: six\n    bind_to_port: false\n    \
               address: {socket_address: {address: \"::\", port_value: 80}}";
    let old = "name: old\n    deprecated_v1: {bind_to_port: false}\n    \
               address: {socket_address: {address: 10.0.0.5, port_value: 81}}\n    \
               additional_addresses: [{address: {socket_address: {address: 10.0.0.6, port_value: 82}}}]";
    let bound = "name: bound\n    address: {socket_address: {address: 127.0.0.1, port_value: 0}}";
    let proxy = Proxy::start(&config(&[EXACT, ALL, six, old, bound]));
    let its_own = proxy.listener("bound").to_string();
    for (address, who) in [
        ("10.0.0.1:80", "exact"),
        ("10.0.0.2:80", "all"),
        ("[fd00::1]:80", "six"),
        ("10.0.0.5:81", "old"),
        ("10.0.0.6:82", "old"),
        (&its_own, "bound"),
        // Nobody has these.
        ("10.0.0.1:81", "front"),
        ("[fd00::1]:81", "front"),
    ] {
        let answer = ask(&mut meant_for(&proxy, address));
        assert!(answer.ends_with(&format!("\r\n\r\n{who}")), "{address}: {answer}");
        assert!(answer.contains(&format!(" {address}\r\n")), "{address}: {answer}");
    }
    for (listener, total) in
        [("front", 2), ("exact", 1), ("all", 1), ("six", 1), ("old", 2), ("bound", 1)]
    {
        assert_eq!(stat(&proxy, listener, "cx_total"), Some(total), "{listener}");
    }
    let listing = client::get(proxy.admin, "/listeners").text();
    for line in ["exact::10.0.0.1:80", "all::0.0.0.0:80", "six::[::]:80", "old::10.0.0.6:82"] {
        assert!(listing.lines().any(|listed| listed == line), "{line} in {listing}");
    }
}

#[test]
fn what_one_listener_has_found_out_another_knows_and_looks_no_further() {
    let back = format!(
        "name: back\n    bind_to_port: false\n    use_original_dst: true\n    \
         address: {{socket_address: {{address: 10.0.0.1, port_value: 80}}}}{}\n    filter_chains:\n{}{}",
        filters(&["proxy_protocol.v3.ProxyProtocol, allow_requests_without_proxy_protocol: true"]),
        chain("{source_prefix_ranges: [{address_prefix: 1.2.3.4, prefix_len: 32}]}", "known"),
        chain("{}", "unknown")
    );
    let more = "name: more\n    bind_to_port: false\n    \
                address: {socket_address: {address: 10.0.0.9, port_value: 80}}";
    let proxy = Proxy::start(&config(&[&back, more]));
    let answer = ask(&mut meant_for(&proxy, "10.0.0.1:80"));
    assert!(answer.ends_with("\r\n\r\nknown"), "{answer}");
    assert!(answer.contains("x-seen: 1.2.3.4 1.2.3.4:111 127.0.0.1 10.0.0.1:80\r\n"), "{answer}");
    // What its own filters find, the listener sees; but from there no connection goes on.
    let mut twice = meant_for(&proxy, "10.0.0.1:80");
    twice.write_all(b"PROXY TCP4 5.6.7.8 10.0.0.9 222 80\r\n").expect("a header");
    let answer = ask(&mut twice);
    assert!(answer.ends_with("\r\n\r\nunknown"), "{answer}");
    assert!(answer.contains(" 10.0.0.9:80\r\n"), "{answer}");
    assert_eq!(stat(&proxy, "more", "cx_total"), Some(0));
}

#[test]
fn a_connection_is_counted_and_bounded_where_it_is() {
    let slow = format!(
        "{EXACT}\n    listener_filters_timeout: 0.2s{}",
        filters(&["http_inspector.v3.HttpInspector"])
    );
    let few = "layered_runtime: {layers: [{name: static, static_layer: {envoy.resource_limits.listener.front.connection_limit: 1}}]}\n";
    let proxy = Proxy::start(&(few.to_owned() + &config(&[&slow])));
    // Those that wait for more bytes wait there, and do not fill the front.
    let mut waiting = Vec::new();
    for count in 1..=3 {
        waiting.push(meant_for(&proxy, "10.0.0.1:80"));
        wait_for("it to be let in", || {
            let there = stat(&proxy, "exact", "pre_cx_active")?;
            (there + stat(&proxy, "exact", "pre_cx_timeout")? == count).then_some(())
        });
    }
    wait_for("all of them to be let go", || {
        (stat(&proxy, "exact", "pre_cx_timeout") == Some(3)).then_some(())
    });
    drop(waiting);
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = meant_for(&proxy, "10.0.0.1:80");
        let answer = ask(&mut stream);
        assert!(answer.ends_with("exact"), "{answer}");
        open.push(stream);
    }
    assert_eq!(stat(&proxy, "front", "cx_overflow"), Some(0));
    assert_eq!(stat(&proxy, "front", "cx_total"), Some(0));
    assert_eq!(stat(&proxy, "front", "pre_cx_timeout"), Some(0));
    assert_eq!(stat(&proxy, "exact", "cx_active"), Some(3));
    assert_eq!(stat(&proxy, "exact", "pre_cx_active"), Some(0));
    drop(open);
    wait_for("their end", || (stat(&proxy, "exact", "cx_active") == Some(0)).then_some(()));
    assert_eq!(stat(&proxy, "exact", "cx_destroy"), Some(3));
}

#[test]
fn listeners_come_and_go_while_another_hands_over() {
    let proxy = Proxy::start(&config(&[EXACT, ALL]));
    let reload = |listeners: &[&str]| {
        std::fs::write(proxy.folder.join("config.yaml"), config(listeners)).expect("written");
        let answer = client::post(proxy.admin, "/reload");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    let (mut exact, mut all) = (meant_for(&proxy, "10.0.0.1:80"), meant_for(&proxy, "10.0.0.2:80"));
    assert!(ask(&mut exact).ends_with("exact"));
    assert!(ask(&mut all).ends_with("all"));

    reload(&[ALL]);
    assert_eq!(who_has(&proxy, "10.0.0.1:80"), "all");
    let last = ask(&mut exact);
    assert!(last.contains("\r\nconnection: close\r\n") && last.ends_with("exact"), "{last}");
    assert!(!ask(&mut all).contains("connection: close"));

    reload(&[&EXACT.replace("10.0.0.1", "10.0.0.3"), ALL]);
    assert_eq!(who_has(&proxy, "10.0.0.1:80"), "all");
    assert_eq!(who_has(&proxy, "10.0.0.3:80"), "exact");

    // A socket is made where one is wanted, and given up where none is.
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it");
    let at = |bind| {
        let address = format!("address: 127.0.0.1, port_value: {}", free.port());
        let lines = EXACT.replace("address: 10.0.0.1, port_value: 80", &address);
        lines.replace("bind_to_port: false", &format!("bind_to_port: {bind}"))
    };
    for (bind, open) in [(false, false), (true, true), (false, false)] {
        reload(&[&at(bind), ALL]);
        assert_eq!(who_has(&proxy, &free.to_string()), "exact");
        wait_for("its socket to be as it is wanted", || {
            (TcpStream::connect(free).is_ok() == open).then_some(())
        });
    }
}

/// Observed: Envoy 1.40 passes over a listener that has stopped.
#[test]
fn a_listener_that_has_drained_gets_no_more_connections() {
    let inbound = format!("{EXACT}\n    traffic_direction: INBOUND");
    let proxy = Proxy::start(&config(&[&inbound, ALL]));
    let mut open = meant_for(&proxy, "10.0.0.1:80");
    assert!(ask(&mut open).ends_with("exact"));
    client::post(proxy.admin, "/drain_listeners?inboundonly");
    assert_eq!(who_has(&proxy, "10.0.0.1:80"), "all");
    assert!(ask(&mut open).ends_with("exact"));
    let listing = client::get(proxy.admin, "/listeners").text();
    assert!(listing.contains("exact::10.0.0.1:80"), "{listing}");
}
