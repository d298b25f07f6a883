//! Owns the tests of probes: hosts on loopback that answer as they are told.

use std::time::Duration;

use http_body_util::Full;
use hyper::{Request, service::service_fn};
use tokio::net::TcpListener;
use understudy_actors::plan::{AppendAction, Discovery, EndpointPlan, HeaderToAdd};

use super::*;

fn cluster() -> Arc<ClusterPlan> {
    Arc::new(ClusterPlan::new("a", 0, Discovery::Static(Vec::new())))
}

fn check(kind: HealthCheckKind) -> HealthCheckPlan {
    let second = Duration::from_secs(1);
    HealthCheckPlan {
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
        kind,
    }
}

fn http(http2: bool) -> HealthCheckKind {
    HealthCheckKind::Http {
        host: String::new(),
        path: "/hc".to_owned(),
        method: "GET".to_owned(),
        http2,
        expected: vec![(200, 202)],
        retriable: vec![(500, 501)],
        remove: Vec::new(),
        add: vec![header("X-Probe", "yes", AppendAction::AppendOrAdd)],
    }
}

fn header(name: &str, value: &str, action: AppendAction) -> HeaderToAdd {
    HeaderToAdd { name: name.to_owned(), value: value.to_owned(), action }
}

fn host(at: SocketAddr) -> Arc<Host> {
    Arc::new(Host::new(at, EndpointPlan::default(), 1))
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

#[tokio::test]
async fn a_probe_looks_like_envoys_and_the_connection_is_kept() {
    let (at, heard) = speaker(b"HTTP/1.1 201 Fine\r\ncontent-length: 2\r\n\r\nok").await;
    let (prober, host) = (Prober::default(), host(at));
    for _ in 0..2 {
        let probed = prober.probe(cluster(), check(http(false)), host.clone()).await;
        assert_eq!(probed, Probed::Healthy);
    }
    let text = "GET /hc HTTP/1.1\r\nhost: a\r\nuser-agent: Envoy/HC\r\nx-probe: yes\r\n\r\n";
    assert_eq!(*heard.lock(), [(1, text.to_owned()), (1, text.to_owned())]);
}

#[tokio::test]
async fn an_answer_says_how_the_host_is() {
    for (answer, expected) in [
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n".as_slice(), Probed::Unhealthy),
        (b"HTTP/1.1 202 No\r\ncontent-length: 0\r\n\r\n", Probed::Unhealthy),
        (b"HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n", Probed::Degraded),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil I close", Probed::Healthy),
        (b"HTTP/1.1 500 Later\r\ncontent-length: 0\r\n\r\n", Probed::Retriable),
        (b"what do you want? close", Probed::NetworkFailure),
    ] {
        let (at, _) = speaker(answer).await;
        let probed = Prober::default().probe(cluster(), check(http(false)), host(at)).await;
        assert_eq!(probed, expected, "{}", String::from_utf8_lossy(answer));
    }
}

#[tokio::test]
async fn a_host_that_is_not_there_is_a_network_failure_and_a_stale_connection_is_not() {
    let (at, _) = speaker(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nclose").await;
    let (prober, host_at) = (Prober::default(), host(at));
    for _ in 0..3 {
        let probed = prober.probe(cluster(), check(http(false)), host_at.clone()).await;
        assert_eq!(probed, Probed::Healthy);
    }
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let probed = prober.probe(cluster(), check(http(false)), host(gone)).await;
    assert_eq!(probed, Probed::NetworkFailure);
}

#[tokio::test]
async fn texts_may_come_in_pieces_and_between_others_but_in_order() {
    let (at, heard) = speaker(b"xxPOzzNGyy").await;
    let receive = vec![b"PO".to_vec(), b"NG".to_vec()];
    let kind = HealthCheckKind::Tcp { send: b"PING".to_vec(), receive };
    let (prober, host) = (Prober::default(), host(at));
    for _ in 0..2 {
        assert_eq!(
            prober.probe(cluster(), check(kind.clone()), host.clone()).await,
            Probed::Healthy
        );
    }
    assert_eq!(*heard.lock(), [(1, "PING".to_owned()), (1, "PING".to_owned())]);
    assert!(!holds(b"NGPO", &[b"PO".to_vec(), b"NG".to_vec()]));
    assert!(holds(b"anything", &[]));
}

#[tokio::test]
async fn a_check_that_only_connects_connects_each_time() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (prober, host) = (Prober::default(), host(socket.local_addr().unwrap()));
    let connecting = HealthCheckKind::Tcp { send: Vec::new(), receive: Vec::new() };
    let ask = || prober.probe(cluster(), check(connecting.clone()), host.clone());
    assert_eq!(ask().await, Probed::Healthy);
    assert_eq!(ask().await, Probed::Healthy);
    drop(socket);
    assert_eq!(ask().await, Probed::NetworkFailure);
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
        let mut kind = http(false);
        if let HealthCheckKind::Http { remove: names, add: headers, .. } = &mut kind {
            *names = remove.into_iter().map(str::to_owned).collect();
            *headers = vec![add];
        }
        let request = request::request("a", &kind, false);
        let agent = request.headers().get("user-agent").map_or("", |v| v.to_str().unwrap());
        assert_eq!(agent, expected);
    }
    let endpoint =
        EndpointPlan { health_check_hostname: "own".to_owned(), ..EndpointPlan::default() };
    let host = Host::new(([127, 0, 0, 1], 1).into(), endpoint, 1);
    assert_eq!(request::authority(&cluster(), &http(false), &host), "own");
}

#[tokio::test]
async fn a_check_speaks_http2_where_it_is_told_to() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = socket.accept().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            let named = *request.uri() == "http://a/hc";
            let status = if named { 200 } else { 400 };
            Response::builder().status(status).body(Full::new(Bytes::from("ok")))
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), service).await.unwrap();
    });
    let (prober, host) = (Prober::default(), host(at));
    for _ in 0..2 {
        let probed = prober.probe(cluster(), check(http(true)), host.clone()).await;
        assert_eq!(probed, Probed::Healthy);
    }
}
