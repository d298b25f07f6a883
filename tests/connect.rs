//! CONNECT as a client and an origin see it: passed on to another proxy, or ended at the host.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
};

use bytes::Bytes;
use http::{Method, Request, Uri};
use support::{
    client::{Answer, Client},
    h2::H2Client,
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

const ASKED: &str = "CONNECT host.example:443 HTTP/1.1\r\nhost: host.example:443\r\nx-a: 1\r\n\r\n";

/// One route for CONNECT, with this in its `upgrade_configs`, and one for all else.
fn config(host: SocketAddr, upgrade: &str, manager: &str) -> String {
    let connect = format!(
        "{{match: {{connect_matcher: {{}}}}, route: {{cluster: a, upgrade_configs: [{upgrade}]}}}}"
    );
    let config = support::config::front_with(&[("a", &[host])], manager);
    config.replace("routes: [", &format!("routes: [{connect}, "))
}

fn ask(proxy: &Proxy, request: &str) -> (Client, Answer) {
    let mut client = Client::connect(proxy.listener("main"));
    client.send(request);
    let head = client.head().expect("an answer");
    (client, head)
}

/// Greets, says all it hears again in brackets, and `end` when the other side has ended.
fn host() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the bound address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut heard = [0; 1024];
                let _ = stream.write_all(b"hi!");
                while let Ok(count) = stream.read(&mut heard) {
                    let said = &heard[..count];
                    if count == 0 {
                        let _ = stream.write_all(b"end");
                        return;
                    }
                    if said == b"leave" {
                        return;
                    }
                    let _ = stream.write_all(&[b"<", said, b">"].concat());
                }
            });
        }
    });
    address
}

fn wait_for_rest(proxy: &Proxy) {
    for name in [
        "http.ingress_http.downstream_cx_upgrades_active",
        "http.ingress_http.downstream_rq_active",
        "cluster.a.upstream_rq_active",
    ] {
        wait_for(name, || (proxy.stat(name) == Some(0)).then_some(()));
    }
}

#[test]
fn a_connect_goes_on_to_the_next_proxy_which_decides() {
    let origin = Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 200 Connection Established\r\nx-own: 1\r\n\r\n");
        let mut heard = [0; 64];
        while let Ok(count) = stream.read(&mut heard)
            && count > 0
        {
            let _ = stream.write_all(&heard[..count]);
        }
        let _ = stream.shutdown(Shutdown::Both);
    });
    let proxy = Proxy::start(&config(origin.address, "{upgrade_type: CONNECT}", ""));
    let (mut client, answer) = ask(&proxy, &format!("{ASKED}early"));
    assert_eq!((answer.status, answer.header("x-own")), (200, Some("1")));
    assert_eq!(answer.header("connection"), None);
    assert_eq!(client.exactly(5).unwrap(), b"early");
    client.send("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(client.exactly(18).unwrap(), b"GET / HTTP/1.1\r\n\r\n");
    let head = &origin.heads()[0];
    assert!(
        head.starts_with("CONNECT host.example:443 HTTP/1.1\r\nhost: host.example:443\r\n"),
        "{head}"
    );
    assert!(!head.contains("content-length"), "{head}");
    drop(client);
    wait_for_rest(&proxy);
}

#[test]
fn what_the_next_proxy_refuses_is_refused() {
    let origin = Origin::answering(|stream, _| {
        let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
        let _ = stream.read(&mut [0; 64]);
    });
    let proxy = Proxy::start(&config(origin.address, "{upgrade_type: CONNECT}", ""));
    let mut client = Client::connect(proxy.listener("main"));
    let answer = client.request(format!("{ASKED}GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
    assert!(client.is_closed());
    assert_eq!(origin.heads().len(), 1, "what came early is nobody's");
    wait_for_rest(&proxy);
}

#[test]
fn a_connect_wants_a_route_of_its_own_and_leave() {
    let nothing = config(host(), "{upgrade_type: CONNECT, enabled: false}", "");
    let proxy = Proxy::start(&nothing);
    assert_eq!(ask(&proxy, ASKED).1.status, 403);
    let elsewhere = nothing.replace("connect_matcher: {}", "prefix: /");
    let proxy = Proxy::start(&elsewhere);
    let (mut client, answer) = ask(&proxy, ASKED);
    assert_eq!((answer.status, answer.header("connection")), (404, Some("close")));
    assert!(client.is_closed());
}

#[test]
fn a_tunnel_that_ends_here_gives_the_host_the_payload_alone() {
    let ends = "{upgrade_type: CONNECT, connect_config: {}}";
    let proxy = Proxy::start(&config(host(), ends, ""));
    let (mut client, answer) = ask(&proxy, &format!("{ASKED}early"));
    assert_eq!((answer.status, answer.header("server")), (200, Some("envoy")));
    assert_eq!(client.exactly(10).unwrap(), b"hi!<early>");
    client.send("more");
    assert_eq!(client.exactly(6).unwrap(), b"<more>");
    client.send("leave");
    assert!(client.is_closed());
    wait_for_rest(&proxy);
    assert_eq!(proxy.stat("cluster.a.upstream_rq_200"), Some(1));
    assert_eq!(proxy.stat("cluster.a.upstream_cx_http1_total"), Some(0));
}

#[test]
fn over_http2_either_side_may_end_first() {
    let ends = "{upgrade_type: CONNECT, connect_config: {}}";
    let proxy = Proxy::start(&config(host(), ends, ""));
    let mut client = H2Client::connect(proxy.listener("main"));
    for (said, expected) in [("", "hi!end"), ("leave", "hi!")] {
        let heard = client.drive(|mut send| async move {
            let mut request = Request::new(());
            *request.method_mut() = Method::CONNECT;
            *request.uri_mut() = Uri::from_static("host.example:443");
            let (response, mut out) = send.send_request(request, false).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            let mut body = response.into_body();
            let mut heard = body.data().await.unwrap().unwrap().to_vec();
            out.send_data(Bytes::from_static(said.as_bytes()), said.is_empty()).unwrap();
            while let Some(data) = body.data().await {
                let data = data.expect("a proper end");
                body.flow_control().release_capacity(data.len()).unwrap();
                heard.extend_from_slice(&data);
            }
            heard
        });
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }
    wait_for_rest(&proxy);
}

#[test]
fn a_post_is_taken_for_a_connect_where_that_is_allowed() {
    let ends = "{upgrade_type: CONNECT, connect_config: {allow_post: true}}";
    let config = config(host(), ends, "").replace("connect_matcher: {}", "prefix: /");
    let proxy = Proxy::start(&config);
    let mut client = Client::connect(proxy.listener("main"));
    let answer = client.request(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    );
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().starts_with("hi!") && answer.text().ends_with("end"),
        "{}",
        answer.text()
    );
    wait_for_rest(&proxy);
}

#[test]
fn a_host_that_is_not_there_is_told_as_any_other() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ends = "{upgrade_type: CONNECT, connect_config: {}}";
    let proxy = Proxy::start(&config(gone, ends, ""));
    let mut client = Client::connect(proxy.listener("main"));
    let answer = client.request(ASKED);
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("remote connection failure"), "{}", answer.text());
    assert!(client.is_closed());
}
