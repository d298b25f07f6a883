//! Owns the tests of probes: hosts on loopback that answer as they are told.

use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, body::Incoming, service::service_fn};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use understudy_actors::plan::{CheckedAt, Discovery, EndpointPlan, HealthCheckKind};

use super::*;
use crate::{
    config::model::health_check::{
        AppendAction, GrpcAsks, HeaderToAdd, HttpAsks, ProxyProtocol, TcpAsks,
    },
    matcher::{TextMatcher, TextTest},
};

fn prober() -> Prober {
    Prober::new(Arc::new(Registry::new(0)))
}

fn cluster() -> Arc<ClusterPlan> {
    Arc::new(ClusterPlan::new("a", 0, Discovery::Static(Vec::new())))
}

fn check(kind: HealthCheckKind, asks: Asks) -> Arc<HealthCheckPlan> {
    let second = Duration::from_secs(1);
    Arc::new(HealthCheckPlan {
        name: String::new(),
        timeout: second,
        interval: second,
        initial_jitter: Duration::ZERO,
        interval_jitter: Duration::ZERO,
        interval_jitter_percent: 0,
        no_traffic_interval: second,
        no_traffic_healthy_interval: None,
        unhealthy_interval: None,
        unhealthy_edge_interval: None,
        healthy_edge_interval: None,
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        reuse_connection: true,
        event_logs: Vec::new(),
        logs_failures: false,
        logs_successes: false,
        kind,
        asks: Arc::new(asks),
    })
}

fn http(asks: HttpAsks) -> Arc<HealthCheckPlan> {
    check(HealthCheckKind::Http { http2: asks.http2 }, Asks::Http(asks))
}

fn tcp(
    send: &str,
    receive: &[&str],
    proxy_protocol: Option<ProxyProtocol>,
) -> Arc<HealthCheckPlan> {
    let receive = receive.iter().map(|text| text.as_bytes().to_vec()).collect();
    let asks = TcpAsks { proxy_protocol, send: send.as_bytes().to_vec(), receive };
    check(HealthCheckKind::Tcp, Asks::Tcp(asks))
}

fn asks() -> HttpAsks {
    HttpAsks {
        host: String::new(),
        path: "/hc".to_owned(),
        method: "GET".to_owned(),
        http2: false,
        send: Vec::new(),
        receive: Vec::new(),
        receive_bytes_max: Some(1024),
        expected: vec![(200, 202)],
        retriable: vec![(500, 501)],
        remove: Vec::new(),
        add: vec![header("X-Probe", "yes", AppendAction::AppendOrAdd)],
        service: None,
    }
}

fn header(name: &str, value: &str, action: AppendAction) -> HeaderToAdd {
    HeaderToAdd { name: name.to_owned(), value: value.to_owned(), action }
}

fn host(at: SocketAddr) -> Arc<Host> {
    Arc::new(Host::new(at.into(), EndpointPlan::default(), 1))
}

/// A host that answers each read with what is given, and what it has read on which connection.
async fn speaker(answer: &'static [u8]) -> (SocketAddr, Arc<Mutex<Vec<(usize, String)>>>) {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, heard) = (socket.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let log = heard.clone();
    tokio::spawn(async move {
        for connection in 1.. {
            let (mut stream, _) = socket.accept().await.unwrap();
            let log = log.clone();
            tokio::spawn(async move {
                let mut buffer = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    log.lock().push((connection, text));
                    stream.write_all(answer).await.unwrap();
                    if answer.ends_with(b"close") {
                        return;
                    }
                }
            });
        }
    });
    (at, heard)
}

async fn probed(prober: &Prober, check: &Arc<HealthCheckPlan>, host: &Arc<Host>) -> (Probed, u16) {
    let report = prober.probe(cluster(), check.clone(), host.clone()).await;
    (report.probed, report.status)
}

#[tokio::test]
async fn a_probe_looks_like_envoys_and_the_connection_is_kept() {
    let (at, heard) = speaker(b"HTTP/1.1 201 Fine\r\ncontent-length: 2\r\n\r\nok").await;
    let (prober, host) = (prober(), host(at));
    let posts = HttpAsks { method: "POST".to_owned(), send: b"ping".to_vec(), ..asks() };
    for check in [http(asks()), http(posts)] {
        for _ in 0..2 {
            assert_eq!(probed(&prober, &check, &host).await, (Probed::Healthy, 201));
        }
    }
    let head = "/hc HTTP/1.1\r\nhost: a\r\nuser-agent: Envoy/HC\r\nx-probe: yes\r\n";
    let (get, post) =
        (format!("GET {head}\r\n"), format!("POST {head}content-length: 4\r\n\r\nping"));
    let heard = heard.lock();
    assert_eq!(heard[..2], [(1, get.clone()), (1, get)]);
    assert_eq!(heard[2..], [(2, post.clone()), (2, post)]);
}

#[tokio::test]
async fn an_answer_says_how_the_host_is() {
    for (answer, expected) in [
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".as_slice(), (Probed::Unhealthy, 503)),
        (b"HTTP/1.1 202 No\r\ncontent-length: 0\r\n\r\n", (Probed::Unhealthy, 202)),
        (
            b"HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n",
            (Probed::Degraded, 200),
        ),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil I close", (Probed::Healthy, 200)),
        (b"HTTP/1.1 500 Later\r\ncontent-length: 0\r\n\r\n", (Probed::Retriable, 500)),
        (b"what do you want? close", (Probed::NetworkFailure, 0)),
    ] {
        let (at, _) = speaker(answer).await;
        let said = probed(&prober(), &http(asks()), &host(at)).await;
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn the_body_the_service_and_a_wish_to_be_left_out_are_heeded() {
    let service = TextMatcher::new(TextTest::Prefix(b"loc"[..].into()), false);
    let receive = vec![b"ok".to_vec(), b"go".to_vec()];
    let plain = asks();
    let of_service = HttpAsks { service: Some(service), ..asks() };
    let with_text = HttpAsks { receive, ..asks() };
    let with_little = HttpAsks { receive_bytes_max: Some(5), ..with_text.clone() };
    let (ok, ill) = ("HTTP/1.1 200 OK\r\n", "HTTP/1.1 503 No\r\n");
    let out = "x-envoy-immediate-health-check-fail: true\r\n";
    let its = "x-envoy-upstream-healthchecked-cluster: locations\r\n";
    use Probed::{Healthy as H, Unhealthy as U};
    for (asks, head, body, expected, asks_out, is_service) in [
        (&plain, format!("{ill}{out}"), "", U, true, None),
        (&plain, format!("{ok}{out}"), "", H, false, None),
        (&of_service, format!("{ok}{its}"), "", H, false, Some(true)),
        (&of_service, ok.to_owned(), "", H, false, Some(false)),
        (&of_service, format!("{ill}{its}"), "", U, false, None),
        (&with_text, ok.to_owned(), "xxokyygo", H, false, None),
        (&with_text, ok.to_owned(), "gook", U, false, None),
        (&with_text, format!("{ok}{out}"), "no", U, true, None),
        (&with_little, ok.to_owned(), "xxokyygo", U, false, None),
        (&with_little, ok.to_owned(), "xokgo", H, false, None),
    ] {
        let length = body.len();
        let answer = format!("{head}content-length: {length}\r\n\r\n{body}").into_bytes();
        let (at, _) = speaker(answer.leak()).await;
        let report = prober().probe(cluster(), http(asks.clone()), host(at)).await;
        let told = (report.probed, report.asks_out, report.is_service);
        assert_eq!(told, (expected, asks_out, is_service), "{head}{body}");
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_a_network_failure_and_a_stale_connection_is_not() {
    let (at, _) = speaker(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nclose").await;
    let (prober, host_at, check) = (prober(), host(at), http(asks()));
    for _ in 0..3 {
        assert_eq!(probed(&prober, &check, &host_at).await, (Probed::Healthy, 200));
    }
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(probed(&prober, &check, &host(gone)).await, (Probed::NetworkFailure, 0));
    // It is asked elsewhere.
    let address = Some(SocketAddr::new(at.ip(), 1));
    let checked_at = CheckedAt {
        address: address.map(Into::into),
        port: Some(at.port()),
        hostname: String::new(),
    };
    let checked_at = Some(Box::new(checked_at));
    let endpoint = EndpointPlan { checked_at, ..EndpointPlan::default() };
    let elsewhere = Arc::new(Host::new(gone.into(), endpoint, 1));
    assert_eq!(probed(&prober, &check, &elsewhere).await, (Probed::Healthy, 200));
}

#[tokio::test]
async fn texts_may_come_in_pieces_and_between_others_but_in_order() {
    let (at, heard) = speaker(b"xxPOzzNGyy").await;
    let (prober, host, check) = (prober(), host(at), tcp("PING", &["PO", "NG"], None));
    for _ in 0..2 {
        assert_eq!(probed(&prober, &check, &host).await, (Probed::Healthy, 0));
    }
    assert_eq!(*heard.lock(), [(1, "PING".to_owned()), (1, "PING".to_owned())]);
    assert!(!holds(b"NGPO", &[b"PO".to_vec(), b"NG".to_vec()]));
    assert!(holds(b"anything", &[]));
}

#[tokio::test]
async fn a_host_is_told_who_connects_where_it_wants_that() {
    for (version, expected) in [
        (ProxyProtocol::V1, "PROXY TCP4 127.0.0.1 127.0.0.1 "),
        (ProxyProtocol::V2, "\r\n\r\n\0\r\nQUIT\n \0\0\0PING"),
    ] {
        let (at, heard) = speaker(b"PONG").await;
        let check = tcp("PING", &["PONG"], Some(version));
        assert_eq!(probed(&prober(), &check, &host(at)).await, (Probed::Healthy, 0));
        let heard = &heard.lock()[0].1;
        assert!(heard.starts_with(expected) && heard.ends_with("PING"), "{heard:?}");
        let port = format!(" {}\r\nPING", at.port());
        assert!(version == ProxyProtocol::V2 || heard.ends_with(&port), "{heard:?}");
    }
}

#[tokio::test]
async fn a_check_that_only_connects_connects_each_time() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (prober, host) = (prober(), host(socket.local_addr().unwrap()));
    let connecting = tcp("", &[], None);
    assert_eq!(probed(&prober, &connecting, &host).await.0, Probed::Healthy);
    assert_eq!(probed(&prober, &connecting, &host).await.0, Probed::Healthy);
    drop(socket);
    assert_eq!(probed(&prober, &connecting, &host).await.0, Probed::NetworkFailure);
}

#[test]
fn headers_are_removed_then_added_as_told_and_the_hostname_of_the_endpoint_comes_first() {
    use AppendAction as A;
    for (remove, add, expected) in [
        (None, header("user-agent", "me", A::AppendOrAdd), "Envoy/HC,me"),
        (None, header("user-agent", "me", A::AddIfAbsent), "Envoy/HC"),
        (None, header("user-agent", "me", A::OverwriteOrAdd), "me"),
        (Some("User-Agent"), header("user-agent", "me", A::AddIfAbsent), "me"),
        (Some("user-agent"), header("user-agent", "me", A::OverwriteIfExists), ""),
    ] {
        let remove = remove.into_iter().map(str::to_owned).collect();
        let request = request::request("a", &HttpAsks { remove, add: vec![add], ..asks() });
        let agent = request.headers().get("user-agent").map_or("", |v| v.to_str().unwrap());
        assert_eq!(agent, expected);
    }
    let checked_at = CheckedAt { hostname: "own".to_owned(), ..CheckedAt::default() };
    let checked_at = Some(Box::new(checked_at));
    let endpoint = EndpointPlan { checked_at, ..EndpointPlan::default() };
    let host = Host::new(([127, 0, 0, 1], 1).into(), endpoint, 1);
    assert_eq!(request::authority(&cluster(), &String::new(), &host), "own");
}

/// A host that speaks HTTP/2 and answers with what `answer` makes of a request.
async fn speaks_http2<B>(answer: fn(Request<Incoming>) -> Response<B>) -> SocketAddr
where
    B: hyper::body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = socket.accept().await {
            let service = service_fn(move |request| async move {
                Ok::<_, std::convert::Infallible>(answer(request))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(stream), service));
        }
    });
    at
}

#[tokio::test]
async fn a_check_speaks_http2_where_it_is_told_to() {
    let at = speaks_http2(|request| {
        let named = *request.uri() == "http://a/hc";
        let status = if named { 200 } else { 400 };
        Response::builder().status(status).body(Full::new(Bytes::from("ok"))).unwrap()
    });
    let (prober, host) = (prober(), host(at.await));
    let check = http(HttpAsks { http2: true, ..asks() });
    for _ in 0..2 {
        assert_eq!(probed(&prober, &check, &host).await, (Probed::Healthy, 200));
    }
}

#[tokio::test]
async fn a_grpc_server_is_well_if_it_says_that_it_serves() {
    let at = speaks_http2(|request| {
        let asked = *request.uri() == "http://own.test/grpc.health.v1.Health/Check";
        let head = request.headers();
        let told = |name: &str| head.get(name).map_or("", |value| value.to_str().unwrap());
        let polite = told("te") == "trailers" && told("grpc-timeout") == "300m";
        let polite = polite && told("x-probe") == "yes" && told("user-agent") == "Envoy/HC";
        let polite = polite && told("content-length").is_empty();
        assert!(asked && polite, "{request:?}");
        let body = Full::new(Bytes::from_static(b"\0\0\0\0\x02\x08\x01"));
        let body = body.with_trailers(async {
            Some(Ok(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])))
        });
        Response::builder().header("content-type", "application/grpc").body(body).unwrap()
    });
    let asks = GrpcAsks {
        service: "svc".to_owned(),
        authority: "own.test".to_owned(),
        add: vec![header("X-Probe", "yes", AppendAction::AppendOrAdd)],
        timeout: "300m".to_owned(),
    };
    let check = check(HealthCheckKind::Grpc, Asks::Grpc(asks));
    let (prober, host) = (prober(), host(at.await));
    for _ in 0..2 {
        assert_eq!(probed(&prober, &check, &host).await, (Probed::Healthy, 0));
    }
}

#[tokio::test]
async fn whatever_else_a_grpc_server_answers_it_is_not_well() {
    // Status, type, message, grpc-status.
    type Said = (u16, &'static str, &'static [u8], &'static str);
    const SAID: [Said; 6] = [
        (200, "application/grpc", b"\0\0\0\0\x02\x08\x02", "0"),
        (200, "application/grpc", b"\0\0\0\0\x02\x08\x01", "13"),
        (200, "application/grpc", b"", "12"),
        (200, "text/plain", b"\0\0\0\0\x02\x08\x01", "0"),
        (503, "application/grpc", b"\0\0\0\0\x02\x08\x01", "0"),
        (200, "application/grpc+proto", b"\0\0\0\0\x02\x08\x01", "0"),
    ];
    let at = speaks_http2(|request| {
        let at: usize = request.headers()["x-case"].to_str().unwrap().parse().unwrap();
        let (status, kind, body, grpc_status) = SAID[at];
        let body = Full::new(Bytes::from_static(body)).with_trailers(async move {
            let status = ("grpc-status".parse().unwrap(), grpc_status.parse().unwrap());
            Some(Ok(HeaderMap::from_iter([status])))
        });
        Response::builder().status(status).header("content-type", kind).body(body).unwrap()
    });
    let (prober, host) = (prober(), host(at.await));
    for (at, said) in SAID.iter().enumerate() {
        let add = vec![header("x-case", &at.to_string(), AppendAction::AppendOrAdd)];
        let asks = GrpcAsks {
            service: String::new(),
            authority: String::new(),
            add,
            timeout: "1S".to_owned(),
        };
        let check = check(HealthCheckKind::Grpc, Asks::Grpc(asks));
        let expected = if at == 5 { Probed::Healthy } else { Probed::Unhealthy };
        assert_eq!(probed(&prober, &check, &host).await, (expected, 0), "{said:?}");
    }
}
