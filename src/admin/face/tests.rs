//! Owns the tests of the face: bytes in, bytes out.

use std::{ffi::OsString, fs};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::LocalSet,
};
use understudy_actors::{Company, Options};

use super::*;
use crate::{
    access_log::Flushing,
    cli::{Asked, Cli},
    config::compile::Node,
    logging,
    matcher::{TextMatcher, TextTest},
};

/// A face before the company is raised: everything can be read, and every change is refused.
pub(super) fn face(options: AdminOptions) -> (AdminFace, Arc<Writer>) {
    flagged(options, &[])
}

fn flagged(options: AdminOptions, flags: &[&str]) -> (AdminFace, Arc<Writer>) {
    let log_levels = logging::levels("info", "").unwrap();
    let company = Company::prepare(Options {
        concurrency: 1,
        drain_time: Duration::from_secs(1),
        drain_sequence: Duration::from_secs(1),
        drills: false,
        log_levels,
    });
    let (view, commander) = (company.view().clone(), company.commander().clone());
    let line = ["understudy"].iter().chain(flags).map(OsString::from);
    let Asked::Run(cli) = Cli::read(line) else { panic!() };
    let facts = Facts {
        node: Node::default(),
        stats: Arc::default(),
        flags: cli.flags,
        own_address: [192, 0, 2, 7].into(),
    };
    let stats = view.registry.group(Scope::plain("filesystem."));
    let writer = Writer::start(stats, Flushing::default()).unwrap();
    let face = AdminFace::new(view, commander, facts, &options, &writer);
    (face, writer)
}

pub(super) fn options() -> AdminOptions {
    AdminOptions::default()
}

fn text(test: TextTest) -> TextMatcher {
    TextMatcher::new(test, false)
}

/// What the face says to these bytes on one connection. The client closes its side after them.
pub(super) async fn told(face: &AdminFace, bytes: &[u8]) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let asking = async {
        let mut client = TcpStream::connect(at).await.unwrap();
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // A refusal may cut the rest off.
        let _ = client.read_to_end(&mut answer).await;
        answer
    };
    let serving = async {
        let (stream, peer) = socket.accept().await.unwrap();
        face.serve(stream, peer.into()).await;
    };
    let (answer, ()) = LocalSet::new().run_until(async { tokio::join!(asking, serving) }).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_client_may_come_minutes_before_it_asks() {
    let (face, _writer) = face(options());
    let door = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(door.local_addr().unwrap()).await.unwrap();
    let (stream, peer) = door.accept().await.unwrap();
    let asking = async {
        tokio::time::sleep(IDLE_WAIT - Duration::from_secs(1)).await;
        client
            .write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let serving = face.serve(stream, peer.into());
    let (answer, ()) = LocalSet::new().run_until(async { tokio::join!(asking, serving) }).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
}

/// Without its date.
pub(super) fn undated(answer: &str) -> String {
    let lines = answer.split_inclusive("\r\n").filter(|line| !line.starts_with("date: "));
    lines.collect()
}

#[tokio::test]
async fn headers_stand_as_envoy_writes_them() {
    let (face, _writer) = face(options());
    let answer = told(&face, b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert_eq!(
        undated(&answer),
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=UTF-8\r\n\
         cache-control: no-cache, max-age=0\r\nx-content-type-options: nosniff\r\n\
         server: envoy\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
         11\r\nPRE_INITIALIZING\n\r\n0\r\n\r\n"
    );
    let head = told(&face, b"HEAD /ready HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 503 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(!head.contains("PRE_INITIALIZING"), "{head}");
}

#[tokio::test]
async fn paths_and_methods_are_refused_as_envoy_refuses_them() {
    let allow_paths = vec![
        text(TextTest::Exact(b"/quitquitquit".as_slice().into())),
        text(TextTest::Prefix(b"/no".as_slice().into())),
        text(TextTest::Suffix(b"logging".as_slice().into())),
        text(TextTest::Contains(b"time_modify".as_slice().into())),
    ];
    let (face, _writer) = face(AdminOptions { allow_paths, ..options() });
    for (request, status, text) in [
        ("GET /quitquitquit", 405, "Method GET not allowed, POST required."),
        ("DELETE /quitquitquit", 405, "Method DELETE not allowed, POST required."),
        ("GET /nosuch", 404, "invalid path. admin commands are:\n  /: Admin home page\n"),
        ("GET /ready", 403, "request to path /ready not allowed"),
        ("POST /quitquitquit?x", 403, "request to path /quitquitquit?x not allowed"),
        ("POST /logging", 200, "active loggers:\n  a2a: info\n  admin: info\n"),
        ("POST /quitquitquit", 503, "the supervisor did not answer: it is not there yet"),
        ("POST /runtime_modify", 400, "usage: /runtime_modify?key1=value1&key2=value2"),
    ] {
        let answer = told(&face, format!("{request} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await;
        let is_status = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(is_status && answer.contains(text), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_port_that_is_read_only_reads_and_a_stranger_does_not_get_in() {
    let flags = ["--admin-read-only", "--admin-allowed-host", "a.example"];
    let (face, _writer) = flagged(options(), &flags);
    for (request, status, told_so) in [
        ("GET /runtime HTTP/1.1\r\nhost: a.example", 200, "entries"),
        ("POST /logging HTTP/1.1\r\nhost: a", 200, "active loggers"),
        ("POST /logging?level=debug HTTP/1.1\r\nhost: a", 403, "/logging changes something"),
        ("POST /quitquitquit HTTP/1.1\r\nhost: a", 403, "--admin-read-only"),
        ("POST /logging?level=loud HTTP/1.1\r\nhost: a", 400, "unknown logger level"),
        ("GET /ready HTTP/1.1\r\nhost: b.example", 403, "--admin-allowed-host b.example"),
    ] {
        let answer = told(&face, format!("{request}\r\n\r\n").as_bytes()).await;
        let is_status = answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(is_status && answer.contains(told_so), "{request}: {answer}");
    }
}

#[tokio::test]
async fn a_path_is_found_however_it_is_written_and_what_is_no_path_is_refused() {
    let (face, _writer) = face(options());
    let version = "/hot_restart_version";
    for target in [
        format!("/{version}"),
        format!("/x/..{version}?\"<>"),
        format!("/.{version}"),
        version.replace("/h", "/%68"),
        version.replace('/', "/\\"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = told(&face, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {answer}");
    }
    let (kept, last) = ("server: envoy\r\n", "server: envoy\r\nconnection: close\r\n");
    for (request, status, after) in [
        ("GET http://a/ready HTTP/1.1\r\nhost: a", "404 Not Found", kept),
        ("GET ftp://a/ready HTTP/1.1\r\nhost: a", "404 Not Found", kept),
        ("GET * HTTP/1.1\r\nhost: a", "404 Not Found", kept),
        ("OPTIONS * HTTP/1.1\r\nhost: a", "404 Not Found", kept),
        ("CONNECT a:80 HTTP/1.1\r\nhost: a", "404 Not Found", last),
        ("GET /help#a HTTP/1.1\r\nhost: a", "400 Bad Request", last),
        ("GET /help?a#a HTTP/1.1\r\nhost: a", "400 Bad Request", last),
        ("GET /ready%00 HTTP/1.1\r\nhost: a", "400 Bad Request", last),
        ("GET /ready HTTP/1.1\r\nuser-agent: a", "400 Bad Request", last),
    ] {
        let answer = told(&face, format!("{request}\r\n\r\n").as_bytes()).await;
        let expected = format!("HTTP/1.1 {status}\r\n{after}content-length: 0\r\n\r\n");
        assert_eq!(undated(&answer), expected, "{request}");
    }
}

#[tokio::test]
async fn a_path_that_is_allowed_is_so_in_any_form() {
    let allow_paths = vec![text(TextTest::Exact(b"/help?x=//".as_slice().into()))];
    let (face, _writer) = face(AdminOptions { allow_paths, ..options() });
    for (target, status) in [("/help?x=//", 200), ("//%68elp?x=//", 200), ("/help?x=/", 403)] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = told(&face, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
    }
}

#[tokio::test]
async fn a_dump_that_fails_says_twice_that_nobody_shall_guess() {
    let (face, _writer) = face(options());
    for (query, twice) in
        [("resource=nosuch", true), ("mask=nosuch", true), ("name_regex=(", false)]
    {
        let request = format!("GET /config_dump?{query} HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = told(&face, request.as_bytes()).await;
        let (_, headers) = answer.split_once("\r\n").unwrap();
        assert_eq!(headers.starts_with("x-content-type-options: nosniff\r\n"), twice, "{answer}");
        let times = headers.matches("nosniff").count();
        assert_eq!(times, if twice { 2 } else { 1 }, "{answer}");
    }
}

#[tokio::test]
async fn a_form_is_read_where_there_is_no_query_and_a_large_one_is_refused() {
    let (face, _writer) = face(options());
    let post = |target: &str, kind: &str, body: &str| {
        let length = body.len();
        format!(
            "POST {target} HTTP/1.1\r\nhost: a\r\ncontent-type: {kind}\r\n\
             content-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
    };
    let form = "application/x-www-form-urlencoded";
    for (target, kind, body, status) in [
        ("/logging", form, "level=loud", 400),
        ("/logging", "text/plain", "level=loud", 200),
        ("/logging", &format!("{form}; charset=utf-8"), "level=loud", 200),
        ("/stats", form, "type=loud", 200),
        ("/logging?paths=", form, "level=loud", 200),
        ("/logging", form, &"x".repeat(BODY_BYTES_MAX + 1), 413),
    ] {
        let answer = told(&face, post(target, kind, body).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target} {kind}: {answer}");
    }
}

#[tokio::test]
async fn large_reads_come_in_chunks_and_the_next_request_waits_its_turn() {
    let (face, _writer) = face(options());
    let two = b"GET /stats?type=Gauges HTTP/1.1\r\nhost: a\r\n\r\n\
                GET /hot_restart_version HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = told(&face, two).await;
    assert!(
        answer.contains("rq_active: 1\n\r\n0\r\n\r\n") && answer.ends_with("11.104\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_log_tells_what_was_sent_and_to_whom() {
    let path = std::env::temp_dir().join(format!("understudy-admin-{}", std::process::id()));
    let (face, writer) = face(AdminOptions { access_log: Some(path.clone()), ..options() });
    let request = b"GET /stats?type=x HTTP/1.1\r\nhost: b\r\nuser-agent: u\r\n\
                    x-forwarded-for: 1.2.3.4\r\nx-request-id: r\r\n\r\n";
    told(&face, request).await;
    writer.end();
    let line = fs::read_to_string(&path).unwrap();
    let (_, line) = line.split_once("] ").unwrap();
    let (before, rest) = line.split_once(" 400 - 0 20 ").unwrap();
    let (_, after) = rest.split_once(' ').unwrap();
    assert_eq!(before, "\"GET /stats?type=x HTTP/1.1\"");
    assert_eq!(after, "- \"1.2.3.4,192.0.2.7\" \"u\" \"r\" \"b\" \"-\"\n");
    fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn http2_is_spoken_to_those_who_begin_with_its_preface() {
    let (face, _writer) = face(options());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    let serving = async {
        let (stream, peer) = socket.accept().await.unwrap();
        face.serve(stream, peer.into()).await;
    };
    let asking = async {
        let stream = TcpStream::connect(at).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::task::spawn_local(connection);
        let request = http::Request::get(format!("http://{at}/ready")).body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let status = answer.await.unwrap().status();
        drop(sender);
        driving.await.unwrap().unwrap();
        status
    };
    let (status, ()) = LocalSet::new().run_until(async { tokio::join!(asking, serving) }).await;
    assert_eq!(status, 503);
}
