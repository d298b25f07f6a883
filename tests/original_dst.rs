//! Clusters whose hosts are where requests were meant to go (`ORIGINAL_DST`): a header or a PROXY header says it here;
//! `redirected.rs` has the kernel say it.
//!
//! Observed: Envoy 1.40, of all that is not said to be ours.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use support::{
    certificates::Authority,
    client::{self, Answer, Client},
    config::{FILTERS, cluster},
    origin::Origin,
    proxy::{self, Proxy},
    tls, wait_for,
};

const BY_HEADER: &str = "original_dst_lb_config: {use_http_header: true}";

/// What a connection says of itself: nothing, where it is meant to go, and in addition what is noted as metadata.
const PROXY_HEADERS: &str = "{name: p, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol, \
    allow_requests_without_proxy_protocol: true, rules: [{tlv_type: 0xE0, on_tlv_present: {key: to}}]}}";

/// Such a cluster with these fields besides, as a line.
fn original_dst(name: &str, fields: &str) -> String {
    let fields = if fields.is_empty() { String::new() } else { format!(", {fields}") };
    format!(
        "  - {{name: {name}, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 1s{fields}}}\n"
    )
}

/// A listener `http` and a listener `tcp`, which take PROXY headers and send all to the cluster `o`; `route` stands in the
/// route.
fn config(route: &str, clusters: &str) -> String {
    let address = "address: {socket_address: {address: 127.0.0.1, port_value: 0}}";
    format!(
        r#"admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: http
    {address}
    listener_filters: [{PROXY_HEADERS}]
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {FILTERS}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: /}}
                route: {{cluster: o{route}}}
                response_headers_to_add:
                - header: {{key: x-told, value: "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_HOST%"}}
          http_filters: [{{name: router, typed_config: {{"@type": {FILTERS}.http.router.v3.Router}}}}]
  - name: tcp
    {address}
    listener_filters: [{PROXY_HEADERS}]
    filter_chains:
    - filters:
      - {{name: tcp, typed_config: {{"@type": {FILTERS}.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: o}}}}
  clusters:
{clusters}"#
    )
}

/// The same with one such cluster.
fn start(fields: &str) -> Proxy {
    Proxy::start(&config("", &original_dst("o", fields)))
}

/// A request that names its host.
fn to(host: impl std::fmt::Display) -> String {
    format!("GET / HTTP/1.1\r\nhost: a\r\nx-envoy-original-dst-host: {host}\r\n\r\n")
}

fn ask(proxy: &Proxy, request: impl AsRef<[u8]>) -> Answer {
    Client::connect(proxy.listener("http")).request(request)
}

/// The hosts that `/clusters` lists of a cluster, in order of their addresses.
fn hosts(proxy: &Proxy, cluster: &str) -> Vec<String> {
    let listing = client::get(proxy.admin, "/clusters").text();
    let lines = listing.lines().filter_map(|line| line.strip_prefix(&format!("{cluster}::")));
    let hosts = lines.filter_map(|line| line.split_once("::health_flags::"));
    let mut hosts: Vec<_> = hosts.map(|(host, _)| host.to_owned()).collect();
    hosts.sort();
    hosts
}

fn hosts_become(proxy: &Proxy, expected: &[SocketAddr]) {
    let mut expected: Vec<_> = expected.iter().map(ToString::to_string).collect();
    expected.sort();
    let are = || (hosts(proxy, "o") == expected).then_some(());
    wait_for(&format!("the hosts to be {expected:?}"), are);
}

/// A PROXY header of version 2 of a connection to this address, and what it notes besides.
fn proxy_header(to: SocketAddr, noted: &[u8]) -> Vec<u8> {
    let SocketAddr::V4(to) = to else { panic!("of IPv4") };
    let mut body = [1, 2, 3, 4].to_vec();
    body.extend(to.ip().octets());
    body.extend(111_u16.to_be_bytes());
    body.extend(to.port().to_be_bytes());
    if !noted.is_empty() {
        body.push(0xE0);
        body.extend((noted.len() as u16).to_be_bytes());
        body.extend(noted);
    }
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11".to_vec();
    header.extend((body.len() as u16).to_be_bytes());
    header.extend(body);
    header
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[test]
fn each_request_of_a_connection_goes_where_its_header_says() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let six = Origin::on("[::1]:0".parse().expect("an address"), |stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nsix");
    });
    let proxy = start(BY_HEADER);
    assert_eq!(hosts(&proxy, "o"), Vec::<String>::new());
    let explained = client::get(proxy.admin, "/explain?host=a&path=/").text();
    let meant = "goes to cluster o: where header x-envoy-original-dst-host says";
    assert!(explained.contains(meant), "{explained}");
    let mut client = Client::connect(proxy.listener("http"));
    for origin in [&one, &two, &six, &one] {
        let answer = client.request(to(origin.address));
        let said = [(one.address, "one"), (two.address, "two"), (six.address, "six")];
        let said =
            said.iter().find(|(address, _)| *address == origin.address).expect("one of them");
        assert_eq!(answer.text(), said.1);
        let told = format!("- via_upstream {}", origin.address);
        assert_eq!(answer.header("x-told"), Some(&*told));
        // It is passed on.
        let heads = origin.heads();
        let passed_on = format!("x-envoy-original-dst-host: {}", origin.address);
        assert!(heads.last().is_some_and(|head| head.contains(&passed_on)), "{heads:?}");
    }
    hosts_become(&proxy, &[one.address, two.address, six.address]);
    assert_eq!(proxy.stat("cluster.o.membership_total"), Some(3));
    assert_eq!(proxy.stat("cluster.o.membership_healthy"), Some(3));
    assert_eq!(proxy.stat("cluster.o.default.total_match_count"), Some(3));
    let listing = client::get(proxy.admin, "/clusters").text();
    let line = format!("o::{0}::hostname::o{0}", one.address);
    assert!(listing.lines().any(|listed| listed == line), "{listing}");
    let dump = client::get(proxy.admin, "/config_dump?include_eds").text();
    let shown = format!("\"hostname\": \"o{}\"", one.address);
    assert!(dump.contains(&shown) && dump.contains("\"type\": \"ORIGINAL_DST\""), "{dump}");
}

#[test]
fn what_is_no_address_is_counted_and_leads_nowhere_unless_the_connection_says_more() {
    let origin = Origin::saying("here");
    let proxy = start(BY_HEADER);
    for bad in ["", "a", "127.0.0.1", "127.0.0.1:70000", "localhost:80", "[::1]", "/tmp/x"] {
        let answer = ask(&proxy, to(bad));
        assert_eq!(
            (answer.status, answer.text()),
            (503, "no healthy upstream".to_owned()),
            "{bad:?}"
        );
        assert_eq!(answer.header("x-told"), Some("UH no_healthy_upstream"), "{bad:?}");
    }
    // The first of two headers counts.
    let two = to("x")
        .replace("host: a", &format!("host: a\r\nx-envoy-original-dst-host: {}", origin.address));
    assert_eq!(ask(&proxy, two).text(), "here");
    let stat = |name: &str| proxy.stat(&format!("cluster.o.{name}"));
    assert_eq!(stat("original_dst_host_invalid"), Some(7));
    assert_eq!(stat("upstream_cx_none_healthy"), Some(7));
    assert_eq!(stat("upstream_rq_503"), Some(7));
    // Without a header there is nothing that could be wrong.
    assert_eq!(ask(&proxy, REQUEST).status, 503);
    assert_eq!(stat("upstream_cx_none_healthy"), Some(8));
    // A PROXY header says where to, where the other does not.
    for request in [REQUEST.to_vec(), to("x").into_bytes()] {
        let sent = [proxy_header(origin.address, b""), request].concat();
        assert_eq!(ask(&proxy, sent).text(), "here");
    }
    assert_eq!(stat("original_dst_host_invalid"), Some(8));
    assert_eq!(ask(&proxy, to("127.0.0.1:0")).header("x-told").map(|told| &told[..3]), Some("UF "));
}

#[test]
fn a_connection_goes_where_its_proxy_header_says_or_where_its_metadata_does() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let metadata = "metadata_key: {key: envoy.filters.listener.proxy_protocol, path: [{key: to}]}";
    let proxy = start(&format!("original_dst_lb_config: {{{metadata}}}"));
    let noted = two.address.to_string();
    let carried = |header: &[u8]| {
        let mut stream = TcpStream::connect(proxy.listener("tcp")).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(&[header, request].concat()).expect("a request");
        let mut answer = [0; 512];
        let mut all = Vec::new();
        while !all.ends_with(b"one") && !all.ends_with(b"two") {
            match stream.read(&mut answer) {
                Ok(0) | Err(_) => break,
                Ok(count) => all.extend(&answer[..count]),
            }
        }
        let from = all.len().saturating_sub(3);
        String::from_utf8_lossy(&all[from..]).into_owned()
    };
    for (noted, said) in [(&b""[..], "one"), (b"nowhere", "one"), (noted.as_bytes(), "two")] {
        let header = proxy_header(one.address, noted);
        let answer = ask(&proxy, [&*header, REQUEST].concat());
        assert_eq!(answer.text(), said, "{noted:?}");
        assert_eq!(carried(&header), said, "{noted:?}");
    }
    assert_eq!(proxy.stat("cluster.o.original_dst_host_invalid"), Some(2));
    // What came where it was meant to go is meant for nobody else.
    let answer = ask(&proxy, [&*proxy_header(proxy.listener("http"), b""), REQUEST].concat());
    assert_eq!(answer.header("x-told"), Some("UH no_healthy_upstream"));
    assert_eq!(carried(b""), "");
    assert_eq!(proxy.stat("cluster.o.upstream_cx_none_healthy"), Some(2));
    hosts_become(&proxy, &[one.address, two.address]);
}

#[test]
fn the_port_may_be_another_whatever_says_the_address() {
    let origin = Origin::saying("here");
    let port = origin.address.port();
    let proxy = start(&format!(
        "original_dst_lb_config: {{use_http_header: true, http_header_name: X-To, upstream_port_override: {port}}}"
    ));
    let request = "GET / HTTP/1.1\r\nhost: a\r\nx-to: 127.0.0.1:1\r\n\r\n";
    assert_eq!(ask(&proxy, request).text(), "here");
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
    assert_eq!(ask(&proxy, [&*proxy_header(elsewhere, b""), REQUEST].concat()).text(), "here");
    // Another name is no header that counts.
    assert_eq!(ask(&proxy, to(origin.address)).status, 503);
    hosts_become(&proxy, &[origin.address]);
}

#[test]
fn a_host_keeps_its_connections_when_it_is_published_and_is_one_for_all_workers() {
    let origin = Origin::saying("here");
    let config = config("", &original_dst("o", BY_HEADER));
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let mut client = Client::connect(proxy.listener("http"));
    assert_eq!(client.request(to(origin.address)).text(), "here");
    hosts_become(&proxy, &[origin.address]);
    assert_eq!(client.request(to(origin.address)).text(), "here");
    assert_eq!(origin.accepted(), 1);
    let listing = client::get(proxy.admin, "/clusters").text();
    assert!(listing.contains(&format!("o::{}::rq_total::2\n", origin.address)), "{listing}");

    let proxy = Proxy::start_with(&config, &["--concurrency", "4"]);
    let address = proxy.listener("http");
    let asking = (0..40).map(|_| {
        let request = to(origin.address);
        std::thread::spawn(move || Client::connect(address).request(request).status)
    });
    let asking: Vec<_> = asking.collect();
    assert!(asking.into_iter().all(|asked| asked.join().expect("an answer") == 200));
    hosts_become(&proxy, &[origin.address]);
    assert_eq!(proxy.stat("cluster.o.membership_total"), Some(1));
    assert_eq!(proxy.stat("cluster.o.upstream_rq_200"), Some(40));
}

#[test]
fn a_host_without_connections_leaves_when_nobody_uses_it() {
    let kept = Origin::saying("kept");
    let left = Origin::answering(|stream, _| {
        let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 4\r\n\r\nleft";
        let _ = stream.write_all(answer);
        let _ = stream.shutdown(std::net::Shutdown::Both);
    });
    let config = config("", &original_dst("o", &format!("cleanup_interval: 1s, {BY_HEADER}")));
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    assert_eq!(ask(&proxy, to(kept.address)).text(), "kept");
    assert_eq!(ask(&proxy, to(left.address)).text(), "left");
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    assert_eq!(ask(&proxy, to(nobody)).status, 503);
    hosts_become(&proxy, &[kept.address, left.address, nobody]);
    hosts_become(&proxy, &[kept.address]);
    assert_eq!(proxy.stat("cluster.o.membership_total"), Some(1));
    // It may come again.
    assert_eq!(ask(&proxy, to(left.address)).text(), "left");
    assert_eq!(ask(&proxy, to(kept.address)).text(), "kept");
    assert_eq!(kept.accepted(), 1);
}

#[test]
fn a_host_that_is_ill_is_asked_all_the_same() {
    let origin = Origin::answering(|stream, request| {
        let status = if request.head.contains("/bad") { "500 Bad" } else { "200 OK" };
        let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    });
    let bad = to(origin.address).replace("GET /", "GET /bad");
    for (fields, flag) in [
        (
            "outlier_detection: {consecutive_5xx: 2, base_ejection_time: 600s, max_ejection_percent: 100}",
            "/failed_outlier_check",
        ),
        (
            "health_checks: [{timeout: 1s, interval: 600s, unhealthy_threshold: 1, healthy_threshold: 1, \
             http_health_check: {path: /bad}}]",
            "/failed_active_hc",
        ),
    ] {
        let proxy = start(&format!("{fields}, {BY_HEADER}"));
        assert_eq!([500, 500], [(); 2].map(|()| ask(&proxy, &bad).status));
        let line = format!("o::{}::health_flags::{flag}\n", origin.address);
        let is_ill = || client::get(proxy.admin, "/clusters").text().contains(&line).then_some(());
        wait_for(flag, is_ill);
        assert_eq!(ask(&proxy, to(origin.address)).status, 200, "{flag}");
        assert_eq!(proxy.stat("cluster.o.membership_healthy"), Some(0), "{flag}");
    }
}

#[test]
fn circuit_breakers_count_pools_of_hosts_and_their_connections() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    let proxy = Proxy::start_with(
        &config(
            "",
            &original_dst(
                "o",
                &format!(
                    "circuit_breakers: {{thresholds: [{{max_connection_pools: 1}}]}}, {BY_HEADER}"
                ),
            ),
        ),
        &["--concurrency", "1"],
    );
    assert_eq!(ask(&proxy, to(one.address)).text(), "one");
    let refused = ask(&proxy, to(two.address));
    assert_eq!(refused.header("x-told"), Some("UH no_healthy_upstream"));
    assert_eq!(proxy.stat("cluster.o.upstream_cx_pool_overflow"), Some(1));
    assert_eq!(proxy.stat("cluster.o.upstream_cx_none_healthy"), Some(0));
    assert_eq!(ask(&proxy, to(one.address)).text(), "one");
}

#[test]
fn such_hosts_are_greeted_by_tls() {
    let authority = Authority::new("us");
    let origin = tls::origin(authority.issue(&["127.0.0.1"]).server(None, &[]));
    let folder = proxy::folder();
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("ca.pem"), authority.pem()).expect("a file");
    let ca = folder.join("ca.pem");
    let proxy = start(&format!(
        "{BY_HEADER}, transport_socket: {{name: tls, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, \
         common_tls_context: {{validation_context: {{trusted_ca: {{filename: {}}}}}}}}}}}",
        ca.display()
    ));
    let answer = ask(&proxy, to(origin));
    assert_eq!((answer.status, answer.text()), (200, "- / 0".to_owned()));
    assert_eq!(proxy.stat("cluster.o.ssl.handshake"), Some(1));
}

#[test]
fn a_route_an_aggregate_and_a_mirror_may_lead_to_such_a_cluster() {
    let (one, two) = (Origin::saying("one"), Origin::saying("two"));
    // What the route sets counts, and the host has a name.
    let set = format!(
        "                request_headers_to_add: [{{header: {{key: x-envoy-original-dst-host, value: \"{}\"}}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]\n                response_headers_to_add",
        two.address
    );
    let config_of = config(", auto_host_rewrite: true", &original_dst("o", BY_HEADER));
    let proxy =
        Proxy::start(&config_of.replacen("                response_headers_to_add", &set, 1));
    assert_eq!(ask(&proxy, to(one.address)).text(), "two");
    let host = format!("\r\nhost: o{}\r\n", two.address);
    assert!(two.heads().last().is_some_and(|head| head.contains(&host)), "{:?}", two.heads());

    let aggregate = "  - {name: o, connect_timeout: 1s, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: x, typed_config: \
        {\"@type\": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [inner]}}}\n";
    let inner = original_dst("inner", BY_HEADER);
    let route = "              - {match: {prefix: /inner}, route: {cluster: inner}}\n              - match: {prefix: /}";
    let both = config("", &format!("{aggregate}{inner}"));
    let proxy = Proxy::start(&both.replacen("              - match: {prefix: /}", route, 1));
    // It has no priority before there is a host.
    assert_eq!(ask(&proxy, to(one.address)).status, 503);
    assert_eq!(ask(&proxy, to(one.address).replace("GET /", "GET /inner")).text(), "one");
    wait_for("the host", || (hosts(&proxy, "inner").len() == 1).then_some(()));
    assert_eq!(ask(&proxy, to(two.address)).text(), "two");
    assert_eq!(ask(&proxy, REQUEST).status, 503);

    let static_one = cluster("o", &[one.address]);
    let mirrored = config(
        ", request_mirror_policies: [{cluster: copies}]",
        &format!("{static_one}{}", original_dst("copies", BY_HEADER)),
    );
    let proxy = Proxy::start(&mirrored);
    let before = two.heads().len();
    assert_eq!(ask(&proxy, to(two.address)).text(), "one");
    wait_for("the copy", || (two.heads().len() > before).then_some(()));
    // A copy has no connection that would say where it goes.
    let sent = [&*proxy_header(two.address, b""), REQUEST].concat();
    assert_eq!(ask(&proxy, sent).text(), "one");
    wait_for("the copy that leads nowhere", || {
        (proxy.stat("cluster.copies.upstream_cx_none_healthy") == Some(1)).then_some(())
    });
}

#[test]
fn a_reload_keeps_the_hosts_of_a_cluster_that_stays() {
    let origin = Origin::saying("here");
    let before = config("", &original_dst("o", BY_HEADER));
    let proxy = Proxy::start_with(&before, &["--concurrency", "1"]);
    assert_eq!(ask(&proxy, to(origin.address)).text(), "here");
    hosts_become(&proxy, &[origin.address]);
    let reload = |config: &str| {
        fs::write(proxy.folder.join("config.yaml"), config).expect("a file can be written");
        let answer = client::post(proxy.admin, "/reload");
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    reload(&(before + &original_dst("another", "")));
    hosts_become(&proxy, &[origin.address]);
    assert_eq!(ask(&proxy, to(origin.address)).text(), "here");
    assert_eq!(origin.accepted(), 1);
    // Another one has none yet.
    reload(&config("", &original_dst("o", &format!("cleanup_interval: 60s, {BY_HEADER}"))));
    hosts_become(&proxy, &[]);
    assert_eq!(ask(&proxy, to(origin.address)).text(), "here");
    hosts_become(&proxy, &[origin.address]);
}

/// Ours: Envoy has no such limit.
#[test]
fn there_are_only_so_many_hosts() {
    let origin = Origin::saying("here");
    let proxy = start(&format!("cleanup_interval: 600s, {BY_HEADER}"));
    let mut client = Client::connect(proxy.listener("http"));
    // Nothing listens on so low a port of these.
    for host in 0..4096_u32 {
        let [_, _, high, low] = host.to_be_bytes();
        assert_eq!(
            client
                .request(to(format!("127.7.{high}.{low}:1")))
                .header("x-told")
                .map(|told| &told[..3]),
            Some("UF "),
            "{host}"
        );
    }
    assert_eq!(client.request(to(origin.address)).header("x-told"), Some("UH no_healthy_upstream"));
    assert_eq!(
        client.request(to("127.7.0.0:1")).header("x-told").map(|told| &told[..3]),
        Some("UF ")
    );
    wait_for("all to be listed", || {
        (proxy.stat("cluster.o.membership_total") == Some(4096)).then_some(())
    });
    let said = "cluster \"o\" has as many hosts as it may (4096)";
    assert_eq!(proxy.log().matches(said).count(), 1, "{}", proxy.log());
}
