//! HTTP/2 as a client and an origin see it.

mod support;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request, Response};
use support::{
    client,
    config::{front, front_to_http2},
    h2::{H2Client, H2Origin, exchange, get},
    origin::Origin,
    proxy::Proxy,
    wait_for,
};

/// Gauges that are zero when nothing is on its way.
const AT_REST: [&str; 3] = [
    "http.ingress_http.downstream_rq_active",
    "cluster.a.upstream_rq_active",
    "cluster.a.upstream_rq_pending_active",
];

fn wait_for_rest(proxy: &Proxy) {
    for name in AT_REST {
        wait_for(name, || (proxy.stat(name) == Some(0)).then_some(()));
    }
}

/// Answers with the request's body and trailers.
fn echo() -> H2Origin {
    H2Origin::answering(|request, mut respond| async move {
        let mut body = request.into_body();
        let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            let _ = out.send_data(data, false);
        }
        let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
        let _ = out.send_trailers(trailers);
    })
}

#[test]
fn bodies_and_trailers_go_both_ways_over_http2() {
    let origin = echo();
    let proxy = Proxy::start(&front_to_http2(&[("a", &[origin.address])]));
    let mut client = H2Client::connect(proxy.listener("main"));
    let body = Bytes::from((0..200_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    let trailers =
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))]);
    let request = Request::post("http://test/a").body(()).unwrap();
    let sent = Some((body.clone(), trailers));
    let answer = client.drive(|send| exchange(send, request, sent)).unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["server"], "envoy");
    assert!(answer.body == body, "{} bytes came back", answer.body.len());
    assert_eq!(answer.trailers.unwrap()["grpc-status"], "0");
    wait_for_rest(&proxy);
}

#[test]
fn requests_side_by_side_share_one_connection_to_the_host() {
    let origin = H2Origin::answering(|_, mut respond| async move {
        tokio::task::yield_now().await;
        let _ = respond.send_response(Response::new(()), true);
    });
    let config = front_to_http2(&[("a", &[origin.address])]);
    let proxy = Proxy::start_with(&config, &["--concurrency", "1"]);
    let mut client = H2Client::connect(proxy.listener("main"));
    let statuses = client.drive(|send| async move {
        let all = (0..50).map(|_| exchange(send.clone(), get("/a"), None));
        futures_util::future::join_all(all).await
    });
    assert!(statuses.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.status == 200)));
    assert_eq!(proxy.stat("cluster.a.upstream_cx_http2_total"), Some(1));
    assert_eq!(proxy.stat("cluster.a.upstream_rq_total"), Some(50));
    wait_for_rest(&proxy);
}

#[test]
fn a_host_that_resets_its_stream_is_answered_for_or_the_clients_stream_is_reset() {
    let origin = H2Origin::answering(|request, mut respond| async move {
        if request.uri().path().ends_with("late") {
            let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
            let _ = out.send_data(Bytes::from_static(b"half"), false);
            tokio::task::yield_now().await;
            return out.send_reset(Reason::INTERNAL_ERROR);
        }
        respond.send_reset(Reason::INTERNAL_ERROR);
    });
    let proxy = Proxy::start(&front_to_http2(&[("a", &[origin.address])]));
    let mut client = H2Client::connect(proxy.listener("main"));
    let (status, body) = client.get("/a/soon").unwrap();
    assert_eq!(status, 503);
    assert!(String::from_utf8_lossy(&body).ends_with("reset reason: remote reset"), "{body:?}");
    assert!(client.get("/a/late").is_err(), "half an answer is no answer");
    wait_for_rest(&proxy);
    assert_eq!(
        proxy.stat("http.ingress_http.downstream_cx_active"),
        Some(1),
        "the connection stays"
    );
}

#[test]
fn a_client_that_takes_its_requests_back_leaves_nothing_behind() {
    let origin = H2Origin::answering(|_, respond| async move {
        // Never answered: the stream ends when the proxy resets it.
        let mut respond = respond;
        let _ = futures_util::future::poll_fn(|cx| respond.poll_reset(cx)).await;
    });
    let proxy = Proxy::start(&front_to_http2(&[("a", &[origin.address])]));
    let mut client = H2Client::connect(proxy.listener("main"));
    client.drive(|mut send| async move {
        for _ in 0..100 {
            futures_util::future::poll_fn(|cx| send.poll_ready(cx)).await.unwrap();
            let (response, mut stream) = send.send_request(get("/a"), true).unwrap();
            stream.send_reset(Reason::CANCEL);
            assert!(response.await.is_err());
        }
    });
    drop(client);
    wait_for_rest(&proxy);
    let cx_active = "http.ingress_http.downstream_cx_active";
    wait_for(cx_active, || (proxy.stat(cx_active) == Some(0)).then_some(()));
}

#[test]
fn a_flood_of_resets_is_stopped_and_the_proxy_goes_on() {
    let origin = Origin::saying("fine");
    let mut proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let address = proxy.listener("main");
    let before = proxy.resident_kib();
    let mut client = H2Client::connect(address);
    let stopped = client.drive(|mut send| async move {
        for _ in 0..100_000 {
            if futures_util::future::poll_fn(|cx| send.poll_ready(cx)).await.is_err() {
                return true;
            }
            match send.send_request(get("/a"), true) {
                Ok((_, mut stream)) => stream.send_reset(Reason::CANCEL),
                Err(_) => return true,
            }
            tokio::task::yield_now().await;
        }
        false
    });
    assert!(stopped, "the connection is ended (CVE-2023-44487)");
    assert!(proxy.resident_kib() < before + 16 * 1024, "{before} -> {}", proxy.resident_kib());
    assert!(proxy.is_running());
    assert_eq!(client::get(address, "/a").text(), "fine");
    wait_for_rest(&proxy);
}

#[test]
fn a_slow_reader_over_http2_does_not_grow_memory() {
    const MIB: usize = 1024 * 1024;
    let origin = Origin::pouring(200);
    let proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let before = proxy.resident_kib();
    let mut client = H2Client::connect(proxy.listener("main"));
    let body = client.drive(|mut send| async move {
        let (response, _) = send.send_request(get("/a"), true).unwrap();
        response.await.unwrap().into_body()
    });
    // Nothing is read: what the proxy takes from the origin comes to a stop.
    let received = || proxy.stat("cluster.a.upstream_cx_rx_bytes_total").unwrap_or(0);
    let mut last = 0;
    wait_for("the origin to be held back", || {
        let now = received();
        let still = now > 0 && now == last;
        last = now;
        still.then_some(())
    });
    assert!(received() < 16 * MIB as u64, "{} bytes were taken", received());
    assert!(proxy.resident_kib() < before + 8 * 1024, "{before} -> {}", proxy.resident_kib());
    drop(body);
}

#[test]
fn garbage_after_the_preface_ends_the_connection_and_nothing_else() {
    let origin = Origin::saying("fine");
    let mut proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let address = proxy.listener("main");
    let mut client = client::Client::connect(address);
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let noise: Vec<u8> =
        (0..1_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let _ = client.try_send(&noise);
    assert!(client.is_closed());
    assert_eq!(client::get(address, "/a").text(), "fine");
    assert!(proxy.is_running());
    assert!(!proxy.log().contains("panic"), "{}", proxy.log());
    let errors = "http.ingress_http.downstream_cx_protocol_error";
    wait_for(errors, || (proxy.stat(errors) == Some(1)).then_some(()));
}

#[test]
fn an_answer_that_may_have_no_body_brings_none_to_whoever_reads_http1() {
    for status in [204, 304] {
        let origin = H2Origin::answering(move |_, mut respond| async move {
            let answer = Response::builder().status(status).body(()).unwrap();
            let Ok(mut out) = respond.send_response(answer, false) else { return };
            let _ = out.send_data(Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\n"), true);
        });
        let proxy = Proxy::start(&front_to_http2(&[("a", &[origin.address])]));
        let mut client = client::Client::connect(proxy.listener("main"));
        for _ in 0..2 {
            let answer = client.request("GET /a HTTP/1.1\r\nhost: test\r\n\r\n");
            assert_eq!(answer.status, status);
        }
        wait_for_rest(&proxy);
    }
}

#[test]
fn a_stream_that_a_client_takes_back_is_taken_back_from_the_host_and_an_answer_may_come_first() {
    let (told, heard) = std::sync::mpsc::channel();
    let origin = H2Origin::answering(move |request, mut respond| {
        let told = told.clone();
        async move {
            // The answer's head comes before the request's end, and both go on at once.
            let Ok(mut out) = respond.send_response(Response::new(()), false) else { return };
            let mut body = request.into_body();
            loop {
                match body.data().await {
                    Some(Ok(data)) => {
                        let _ = body.flow_control().release_capacity(data.len());
                        let _ = out.send_data(data, false);
                    }
                    Some(Err(error)) => {
                        let _ = told.send(error.reason());
                        return;
                    }
                    None => return,
                }
            }
        }
    });
    let proxy = Proxy::start(&front_to_http2(&[("a", &[origin.address])]));
    let mut client = H2Client::connect(proxy.listener("main"));
    client.drive(|mut send| async move {
        let request = Request::post("http://test/a").body(()).unwrap();
        let (response, mut out) = send.send_request(request, false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for said in ["one", "two", "three"] {
            out.send_data(Bytes::from_static(said.as_bytes()), false).unwrap();
            let heard = body.data().await.unwrap().unwrap();
            assert_eq!(heard, said);
        }
        out.send_reset(Reason::CANCEL);
        drop(body);
        // The connection's task sends it.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    });
    let reason = heard.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
    assert_eq!(reason, Some(Reason::INTERNAL_ERROR));
    wait_for_rest(&proxy);
    assert_eq!(proxy.stat("cluster.a.upstream_rq_tx_reset"), Some(1));
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), Some(1));
}
