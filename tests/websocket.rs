//! Streams that become another protocol's, as a client and an origin see it.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
};

use bytes::Bytes;
use h2::{client::SendRequest, ext::Protocol};
use http::{Method, Request, Response};
use support::{
    client::{Answer, Client},
    config::{front_to_http2_with, front_with},
    h2::{H2Client, H2Origin},
    origin::{self, Origin},
    proxy::Proxy,
    wait_for,
};

const WEBSOCKET: &str = "          upgrade_configs: [{upgrade_type: websocket}]
          http2_protocol_options: {allow_connect: true}";

const ASKED: &str = "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: keep-alive, Upgrade\r\n\
                     upgrade: WebSocket\r\nsec-websocket-key: k\r\n\r\n";

const AGREED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                      Connection: Upgrade\r\nSec-WebSocket-Accept: a\r\n\r\n";

const TOTAL: &str = "http.ingress_http.downstream_cx_upgrades_total";
const ACTIVE: &str = "http.ingress_http.downstream_cx_upgrades_active";

/// Agrees, and says all it hears again until it hears `bye`.
fn echoing() -> Origin {
    Origin::answering(|stream, _| {
        let _ = stream.write_all(AGREED.as_bytes());
        say_again(stream);
    })
}

fn say_again(stream: &mut TcpStream) {
    let mut heard = [0; 1024];
    while let Ok(count) = stream.read(&mut heard) {
        if count == 0 || heard[..count].ends_with(b"bye") {
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        let _ = stream.write_all(&heard[..count]);
    }
}

/// Answers every request with this.
fn answering(answer: &'static str) -> Origin {
    Origin::answering(move |stream, _| {
        let _ = stream.write_all(answer.as_bytes());
        // Nothing of what follows is a request.
        let _ = stream.read(&mut [0; 64]);
    })
}

fn ask(proxy: &Proxy, request: &str) -> (Client, Answer) {
    let mut client = Client::connect(proxy.listener("main"));
    let answer = client.request(request);
    (client, answer)
}

fn wait_for_rest(proxy: &Proxy) {
    for name in [ACTIVE, "http.ingress_http.downstream_rq_active", "cluster.a.upstream_rq_active"] {
        wait_for(name, || (proxy.stat(name) == Some(0)).then_some(()));
    }
}

#[test]
fn a_client_and_an_origin_agree_and_then_speak_freely_both_ways() {
    let origin = echoing();
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], WEBSOCKET));
    let (mut client, answer) = ask(&proxy, ASKED);
    assert_eq!(answer.status_line, "HTTP/1.1 101 Switching Protocols");
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("connection"), Some("Upgrade"));
    assert_eq!(answer.header("sec-websocket-accept"), Some("a"));
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
    let head = &origin.heads()[0];
    assert!(head.contains("connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("chunked"), "{head}");

    assert_eq!((proxy.stat(TOTAL), proxy.stat(ACTIVE)), (Some(1), Some(1)));
    for said in ["hello", "GET / HTTP/1.1\r\n\r\n", "0\r\n\r\n"] {
        client.send(said);
        assert_eq!(client.exactly(said.len()).unwrap(), said.as_bytes());
    }
    client.send("bye");
    assert!(client.is_closed(), "the origin has closed");
    wait_for_rest(&proxy);
    // What has carried another protocol carries no request again.
    assert_eq!(ask(&proxy, ASKED).1.status, 101);
    assert_eq!(origin.accepted(), 2);
}

#[test]
fn what_a_client_says_too_early_waits_for_the_agreement() {
    let origin = echoing();
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], WEBSOCKET));
    let (mut client, answer) = ask(&proxy, &format!("{ASKED}early"));
    assert_eq!(answer.status, 101);
    assert_eq!(client.exactly(5).unwrap(), b"early");
}

#[test]
fn what_a_client_says_too_early_is_nobodys_if_the_origin_refuses() {
    for (refusal, status, body) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", 403, "no"),
        ("HTTP/1.1 503 x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", 503, "no"),
        // Neither an agreement nor an error: the body is let go of.
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", 200, ""),
        ("HTTP/1.1 301 x\r\nlocation: /x\r\ncontent-length: 2\r\n\r\nno", 301, ""),
        // An agreement to nothing, and one with a body.
        ("HTTP/1.1 101 x\r\n\r\n", 101, ""),
        (
            "HTTP/1.1 101 x\r\nupgrade: x\r\nconnection: upgrade\r\ncontent-length: 2\r\n\r\nno",
            502,
            "upstream connect error or disconnect/reset before headers. reset reason: protocol error",
        ),
    ] {
        let origin = answering(refusal);
        let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], WEBSOCKET));
        let (mut client, answer) =
            ask(&proxy, &format!("{ASKED}GET /second HTTP/1.1\r\nhost: test\r\n\r\n"));
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{refusal:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{refusal:?}");
        assert!(client.is_closed(), "{refusal:?}");
        assert_eq!(origin.heads().len(), 1, "{refusal:?}");
        wait_for_rest(&proxy);
    }
}

#[test]
fn an_upgrade_is_for_those_who_enable_it() {
    let origin = echoing();
    let address = origin.address;
    let route = |prefix: &str, upgrades: &str| {
        format!(
            "{{match: {{prefix: {prefix}}}, route: {{cluster: a, upgrade_configs: [{upgrades}]}}}}"
        )
    };
    let routes = [
        route("/off", "{upgrade_type: websocket, enabled: false}"),
        route("/other", "{upgrade_type: Other}"),
        "{match: {prefix: /direct}, direct_response: {status: 200}}".to_owned(),
        route("/chat", ""),
    ];
    let config = front_with(&[("a", &[address])], WEBSOCKET);
    let own = config.find("routes: [").unwrap()..config.find("]}\n          http_filters").unwrap();
    let config =
        format!("{}routes: [{}{}", &config[..own.start], routes.join(", "), &config[own.end..]);
    let proxy = Proxy::start(&config);
    for (path, upgrade, status) in [
        ("/chat", "websocket", 101),
        ("/chat", "WEBSOCKET", 101),
        ("/chat", "other", 403),
        ("/chat", "websocket, other", 403),
        ("/off", "websocket", 403),
        ("/other", "other", 101),
        ("/other", "websocket", 101),
        ("/direct", "websocket", 200),
        ("/direct", "other", 403),
        ("/nowhere", "websocket", 404),
        ("/nowhere", "other", 404),
    ] {
        let asked = ASKED.replace("/chat", path).replace("WebSocket", upgrade);
        let (_, answer) = ask(&proxy, &asked);
        assert_eq!(answer.status, status, "{path} {upgrade}");
        assert_eq!(answer.header("connection") == Some("close"), status != 101, "{path} {upgrade}");
    }
    wait_for_rest(&proxy);
}

#[test]
fn a_tunnel_outlives_the_routes_timeout_and_ends_when_nothing_moves() {
    let origin = echoing();
    let idle = front_with(&[("a", &[origin.address])], WEBSOCKET)
        .replace("route: {cluster: a}", "route: {cluster: a, timeout: 0.2s, idle_timeout: 1s}");
    let proxy = Proxy::start(&idle);
    let (mut client, answer) = ask(&proxy, ASKED);
    assert_eq!(answer.status, 101);
    for _ in 0..4 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        client.send("still here");
        assert_eq!(client.exactly(10).unwrap(), b"still here");
    }
    assert!(client.is_closed(), "nothing moved");
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_idle_timeout"), Some(1));
    wait_for_rest(&proxy);
}

#[test]
fn an_origin_that_does_not_answer_is_waited_for_as_the_route_says() {
    let origin = Origin::answering(|stream, _| {
        let _ = stream.read(&mut [0; 64]);
    });
    let config = front_with(&[("a", &[origin.address])], WEBSOCKET)
        .replace("route: {cluster: a}", "route: {cluster: a, timeout: 0.2s}");
    let proxy = Proxy::start(&config);
    let (mut client, answer) = ask(&proxy, &format!("{ASKED}early"));
    assert_eq!((answer.status, answer.text().as_str()), (504, "upstream request timeout"));
    assert!(client.is_closed());
    wait_for_rest(&proxy);
}

#[test]
fn a_tunnel_goes_on_while_the_proxy_drains() {
    let origin = echoing();
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], WEBSOCKET));
    let (mut client, _) = ask(&proxy, ASKED);
    for path in ["/healthcheck/fail", "/drain_listeners?graceful", "/drain_listeners"] {
        assert_eq!(support::client::post(proxy.admin, path).status, 200);
        client.send("still here");
        assert_eq!(client.exactly(10).unwrap(), b"still here", "{path}");
    }
}

/// An extended CONNECT (RFC 8441).
fn extended(path: &str) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://test{path}"))
        .body(())
        .expect("a request");
    request.extensions_mut().insert(Protocol::from("websocket"));
    request
}

/// Asks over HTTP/2; gives the status, what came back for `said`, and how the stream ended after `bye`.
async fn speak(
    mut send: SendRequest<Bytes>,
    said: &'static str,
) -> (u16, Vec<u8>, Result<(), h2::Error>) {
    let (response, mut out) = send.send_request(extended("/chat"), false).unwrap();
    out.send_data(Bytes::from_static(said.as_bytes()), false).unwrap();
    let response = response.await.unwrap();
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    let mut heard = Vec::new();
    while heard.len() < said.len() {
        let data = body.data().await.expect("more of it").unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        heard.extend_from_slice(&data);
    }
    out.send_data(Bytes::from_static(b"bye"), false).unwrap();
    let end = match body.data().await {
        Some(Err(error)) => Err(error),
        _ => Ok(()),
    };
    (status, heard, end)
}

#[test]
fn over_http2_an_upgrade_is_an_extended_connect() {
    let origin = echoing();
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], WEBSOCKET));
    let mut client = H2Client::connect(proxy.listener("main"));
    let (status, heard, end) = client.drive(|send| speak(send, "hello"));
    assert_eq!((status, heard.as_slice()), (200, &b"hello"[..]));
    // An origin without streams can say its end only by closing.
    assert_eq!(end.unwrap_err().reason(), Some(h2::Reason::CONNECT_ERROR));
    let head = &origin.heads()[0];
    assert!(head.starts_with("GET /chat HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\nconnection: upgrade\r\n"), "{head}");
    assert_eq!(proxy.stat(TOTAL), Some(1));
    wait_for_rest(&proxy);
}

/// Takes extended CONNECTs and says all again until `bye`.
fn http2_echo() -> H2Origin {
    H2Origin::answering(|request, mut respond| async move {
        let asked = request.extensions().get::<Protocol>().map(|p| p.as_str().to_owned());
        assert!(asked.is_some_and(|asked| asked.eq_ignore_ascii_case("websocket")));
        assert_eq!(request.uri().path(), "/chat");
        let mut body = request.into_body();
        let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            if data.ends_with(b"bye") {
                break;
            }
            let _ = out.send_data(data, false);
        }
        let _ = out.send_data(Bytes::new(), true);
    })
}

#[test]
fn an_http2_origin_is_asked_by_an_extended_connect_too() {
    let origin = http2_echo();
    let proxy = Proxy::start(&front_to_http2_with(&[("a", &[origin.address])], WEBSOCKET));
    let mut client = H2Client::connect(proxy.listener("main"));
    let (status, heard, end) = client.drive(|send| speak(send, "hello"));
    assert_eq!((status, heard.as_slice()), (200, &b"hello"[..]));
    assert!(end.is_ok(), "an origin with streams says its end: {end:?}");

    let (mut client, answer) = ask(&proxy, ASKED);
    assert_eq!(answer.status, 101);
    assert_eq!(answer.header("upgrade"), Some("WebSocket"));
    assert_eq!(answer.header("connection"), Some("upgrade"));
    client.send("hello");
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    client.send("bye");
    assert!(client.is_closed());
    wait_for_rest(&proxy);
}

#[test]
fn without_allow_connect_no_http2_client_may_ask() {
    let origin = origin::Origin::saying("never");
    let manager = "          upgrade_configs: [{upgrade_type: websocket}]";
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], manager));
    let mut client = H2Client::connect(proxy.listener("main"));
    let refused = client.drive(|mut send| async move {
        let (response, _out) = send.send_request(extended("/chat"), false).unwrap();
        response.await.is_err()
    });
    assert!(refused);
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn an_upgrade_may_have_filters_of_its_own() {
    let origin = echoing();
    let buffer = |bytes: u32| {
        format!(
            "{{name: buffer, typed_config: {{\"@type\": type.googleapis.com/envoy.extensions.filters.\
             http.buffer.v3.Buffer, max_request_bytes: {bytes}}}}}"
        )
    };
    let router = "{name: router, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.\
                  filters.http.router.v3.Router}}";
    // A chain that would wait for the end of a request waits for ever for that of an upgrade.
    let manager =
        format!("          upgrade_configs: [{{upgrade_type: websocket, filters: [{router}]}}]");
    let config = front_with(&[("a", &[origin.address])], &manager)
        .replace("http_filters:\n", &format!("http_filters:\n          - {}\n", buffer(8)));
    let proxy = Proxy::start(&config);
    let (mut client, answer) = ask(&proxy, &format!("{ASKED}much more than eight bytes"));
    assert_eq!(answer.status, 101);
    assert_eq!(client.exactly(26).unwrap(), b"much more than eight bytes");
    let large = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nnine byte";
    assert_eq!(ask(&proxy, large).1.status, 413);
}

#[test]
fn a_client_that_has_ended_its_half_and_goes_leaves_nothing_behind() {
    let origin = echoing();
    let proxy = Proxy::start(&front_with(&[("a", &[origin.address])], WEBSOCKET));
    let mut client = H2Client::connect(proxy.listener("main"));
    client.drive(|mut send| async move {
        let (response, mut out) = send.send_request(extended("/chat"), false).unwrap();
        let response = response.await.unwrap();
        out.send_data(Bytes::from_static(b"hello"), true).unwrap();
        assert_eq!(response.into_body().data().await.unwrap().unwrap(), "hello");
    });
    assert_eq!(proxy.stat(ACTIVE), Some(1), "the origin may still speak");
    drop(client);
    wait_for_rest(&proxy);
}
