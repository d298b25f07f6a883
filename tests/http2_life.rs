//! What ends HTTP/2 connections, on both sides: silence, age, requests; and what bounds their streams.

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::Response;
use parking_lot::Mutex;
use support::{
    client,
    config::{front_to_http2, front_to_http2_with},
    h2::{H2Client, H2Origin, exchange, get},
    proxy::Proxy,
    wait_for,
};
use tokio::sync::{Barrier, Notify};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;

/// A frame on stream 0, or on another.
fn frame(kind: u8, flags: u8, stream: [u8; 4], payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream);
    frame.extend(payload);
    frame
}

/// The next frame's kind, flags, stream and payload; none at the connection's end.
fn next(stream: &mut TcpStream) -> Option<(u8, u8, [u8; 4], Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).ok()?;
    Some((head[3], head[4], [head[5], head[6], head[7], head[8]], payload))
}

/// An origin that answers 200, or nothing; says which frames have come.
fn raw_origin(answers: bool) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<u8>>>::default());
    let kinds = seen.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            stream.read_exact(&mut [0; PREFACE.len()]).unwrap();
            stream.write_all(&frame(SETTINGS, 0, [0; 4], &[])).unwrap();
            while let Some((kind, flags, id, payload)) = next(&mut stream) {
                kinds.lock().push(kind);
                let answer = match kind {
                    PING if answers && flags & ACK == 0 => frame(PING, ACK, [0; 4], &payload),
                    // END_STREAM and END_HEADERS; `:status: 200` by its number.
                    HEADERS if answers => frame(HEADERS, 5, id, &[0x88]),
                    _ => continue,
                };
                if stream.write_all(&answer).is_err() {
                    break;
                }
            }
        }
    });
    (address, seen)
}

/// To one origin over HTTP/2, with options of `http2_protocol_options` and of
/// `common_http_protocol_options`.
fn with_upstream(origin: SocketAddr, http2: &str, common: &str) -> Proxy {
    let options = format!(
        "explicit_http_config: {{http2_protocol_options: {{{http2}}}}}\n        \
         common_http_protocol_options: {{{common}}}"
    );
    let plain = "explicit_http_config: {http2_protocol_options: {}}";
    let config = front_to_http2(&[("a", &[origin])]).replace(plain, &options);
    Proxy::start_with(&config, &["--concurrency", "1"])
}

fn with_manager(origin: SocketAddr, manager: &str) -> Proxy {
    Proxy::start(&front_to_http2_with(&[("a", &[origin])], &format!("          {manager}")))
}

fn wait_for_stat(proxy: &Proxy, name: &str, value: u64) {
    wait_for(name, || (proxy.stat(name) == Some(value)).then_some(()));
}

/// Waits until no stream may start any more.
async fn goaway(send: &mut SendRequest<Bytes>) {
    let gone = async {
        while std::future::poll_fn(|cx| send.poll_ready(cx)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.expect("a GOAWAY");
}

fn quick() -> H2Origin {
    H2Origin::answering(|_, mut respond| async move {
        let _ = respond.send_response(Response::new(()), true);
    })
}

/// Answers when it is told to.
fn held(release: Arc<Notify>) -> H2Origin {
    H2Origin::answering(move |_, mut respond| {
        let release = release.clone();
        async move {
            release.notified().await;
            let _ = respond.send_response(Response::new(()), true);
        }
    })
}

#[test]
fn a_client_that_answers_pings_stays_and_one_that_falls_silent_is_closed() {
    let origin = quick();
    let keepalive =
        "http2_protocol_options: {connection_keepalive: {interval: 0.05s, timeout: 1s}}";
    let proxy = with_manager(origin.address, keepalive);
    let mut stream = TcpStream::connect(proxy.listener("main")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, [0; 4], &[])].concat()).unwrap();
    let mut pings = 0;
    while let Some((kind, flags, _, payload)) = next(&mut stream) {
        if kind == PING && flags & ACK == 0 {
            pings += 1;
            if pings <= 3 {
                stream.write_all(&frame(PING, ACK, [0; 4], &payload)).unwrap();
            }
        }
    }
    assert_eq!(pings, 4, "no other ping while one waits for its answer");
    wait_for_stat(&proxy, "http2.keepalive_timeout", 1);
    wait_for_stat(&proxy, "http.ingress_http.downstream_cx_destroy_local", 1);
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_active"), Some(0));
}

#[test]
fn a_host_that_falls_silent_is_left_and_its_request_answered_for() {
    let (origin, _) = raw_origin(false);
    let keepalive = "connection_keepalive: {interval: 0.05s, timeout: 0.1s}";
    let proxy = with_upstream(origin, keepalive, "");
    let answer = client::get(proxy.listener("main"), "/a");
    assert_eq!(answer.status, 503);
    assert!(answer.text().ends_with("reset reason: connection termination"), "{}", answer.text());
    wait_for_stat(&proxy, "cluster.a.upstream_cx_active", 0);
    // A GET is sent again, on other connections: each has been left.
    let connections = proxy.stat("cluster.a.upstream_cx_http2_total");
    assert_eq!(proxy.stat("cluster.a.http2.keepalive_timeout"), connections);
    let cut = proxy.stat("cluster.a.upstream_cx_destroy_local_with_active_rq");
    assert_eq!(cut, connections);
}

#[test]
fn a_request_after_a_long_silence_is_preceded_by_a_ping() {
    let (origin, seen) = raw_origin(true);
    let keepalive = "connection_keepalive: {timeout: 5s, connection_idle_interval: 0.1s}";
    let proxy = with_upstream(origin, keepalive, "");
    assert_eq!(client::get(proxy.listener("main"), "/a").status, 200);
    // The silence is the condition.
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(client::get(proxy.listener("main"), "/a").status, 200);
    let seen = seen.lock().clone();
    let asked: Vec<u8> = seen.into_iter().filter(|kind| [HEADERS, PING].contains(kind)).collect();
    assert_eq!(asked, [HEADERS, PING, HEADERS]);
    assert_eq!(proxy.stat("cluster.a.http2.keepalive_timeout"), Some(0));
}

#[test]
fn an_old_connection_is_told_to_go_and_finishes_what_it_carries() {
    let release = Arc::new(Notify::new());
    let origin = held(release.clone());
    let age = "common_http_protocol_options: {max_connection_duration: 0.3s}";
    let proxy = with_manager(origin.address, age);
    let mut client = H2Client::connect(proxy.listener("main"));
    let answer = client.drive(|mut send| async move {
        let request = tokio::spawn(exchange(send.clone(), get("/a"), None));
        goaway(&mut send).await;
        release.notify_one();
        request.await.unwrap()
    });
    assert_eq!(answer.unwrap().status, 200);
    wait_for_stat(&proxy, "http.ingress_http.downstream_cx_max_duration_reached", 1);
    client.drive(|_| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
    wait_for_stat(&proxy, "http.ingress_http.downstream_cx_active", 0);
}

#[test]
fn a_connection_ends_after_its_last_request() {
    let origin = quick();
    let max = "common_http_protocol_options: {max_requests_per_connection: 2}";
    let proxy = with_manager(origin.address, max);
    let mut client = H2Client::connect(proxy.listener("main"));
    for _ in 0..2 {
        assert_eq!(client.get("/a").unwrap().0, 200);
    }
    client.drive(|mut send| async move { goaway(&mut send).await });
    assert!(client.get("/a").is_err());
    wait_for_stat(&proxy, "http.ingress_http.downstream_cx_max_requests_reached", 1);
    wait_for_stat(&proxy, "http.ingress_http.downstream_cx_active", 0);
}

#[test]
fn streams_to_a_host_are_bounded_for_each_connection() {
    let origin = H2Origin::answering({
        let all = Arc::new(Barrier::new(3));
        move |_, mut respond| {
            let all = all.clone();
            async move {
                all.wait().await;
                let _ = respond.send_response(Response::new(()), true);
            }
        }
    });
    let proxy = with_upstream(origin.address, "max_concurrent_streams: 1", "");
    let mut client = H2Client::connect(proxy.listener("main"));
    let answers = client.drive(|send| async move {
        let all = (0..3).map(|_| exchange(send.clone(), get("/a"), None));
        futures_util::future::join_all(all).await
    });
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)));
    assert_eq!(proxy.stat("cluster.a.upstream_cx_http2_total"), Some(3));
}

#[test]
fn no_stream_starts_on_an_old_connection_to_a_host() {
    let origin = quick();
    let proxy = with_upstream(origin.address, "", "max_connection_duration: 0.2s");
    for connections in 1..=2 {
        assert_eq!(client::get(proxy.listener("main"), "/a").status, 200);
        wait_for_stat(&proxy, "cluster.a.upstream_cx_max_duration_reached", connections);
        wait_for_stat(&proxy, "cluster.a.upstream_cx_active", 0);
        assert_eq!(proxy.stat("cluster.a.upstream_cx_http2_total"), Some(connections));
    }
}
