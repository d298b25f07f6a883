//! Owns the tests of the conversation: bytes in, bytes out, and clients that do neither.

use std::{
    fs,
    sync::atomic::{AtomicUsize, Ordering},
};

use proptest::{prelude::*, test_runner::TestRunner};
use tokio::io::DuplexStream;

use super::{
    super::{
        AdminFace, READER_WAIT,
        tests::{face, options, told, undated},
    },
    *,
};
use crate::{admin::Answer, config::model::admin::AdminOptions};

#[tokio::test]
async fn what_is_no_request_is_refused_in_envoys_words() {
    let (face, _writer) = face(options());
    let bodies = [
        (400, "Bad Request"),
        (426, "Upgrade Required"),
        (431, "Request Header Fields Too Large"),
        (501, "Not Implemented"),
    ];
    let long = format!("GET /ready HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "a".repeat(61 << 10));
    let many = format!("GET /ready HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(100));
    for (request, status) in [
        ("GET /ready HTTP/1.0\r\nhost: a\r\n\r\n", 426),
        ("GET /ready HTTP/2.0\r\nhost: a\r\n\r\n", 426),
        ("GET /ready\r\n\r\n", 426),
        ("GET /ready HTTP/1.1\r\nhost: a b\r\n\r\n", 400),
        ("GET /ready HTTP/1.1\r\nhost: a\r\nfoo : bar\r\n\r\n", 400),
        ("GET ready HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("get /ready HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("FOO /ready HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("\x16\x03\x01\x02\r\n\r\n", 400),
        ("POST /ready HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
        ("POST /ready HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (
            "POST /ready HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            400,
        ),
        ("POST /ready HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (&long, 431),
        (&many, 431),
    ] {
        let body = bodies.iter().find(|(known, _)| *known == status).unwrap().1;
        let expected = format!(
            "HTTP/1.1 {status} {body}\r\ncontent-length: {}\r\ncontent-type: text/plain\r\n\
             server: envoy\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(undated(&told(&face, request.as_bytes()).await), expected, "{request:.80}");
    }
}

#[tokio::test]
async fn a_client_that_waits_is_told_to_go_on_and_chunks_are_read() {
    let (face, _writer) = face(options());
    let head = "POST /logging HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\n\
                content-type: application/x-www-form-urlencoded\r\n";
    for body in [
        "content-length: 10\r\n\r\nlevel=loud",
        "transfer-encoding: chunked\r\n\r\n6\r\nlevel=\r\n4\r\nloud\r\n0\r\n\r\n",
    ] {
        let next = "GET /hot_restart_version HTTP/1.1\r\nhost: a\r\n\r\n";
        let answer = told(&face, format!("{head}{body}{next}").as_bytes()).await;
        let (first, rest) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(first, "HTTP/1.1 100 Continue");
        assert!(rest.starts_with("HTTP/1.1 400 ") && rest.contains("unknown logger"), "{rest}");
        assert!(rest.ends_with("11.104\r\n0\r\n\r\n"), "{rest}");
    }
    let unfinished = format!("{head}content-length: 10\r\n\r\nlevel=");
    assert_eq!(told(&face, unfinished.as_bytes()).await, "HTTP/1.1 100 Continue\r\n\r\n");
}

#[tokio::test]
async fn the_log_tells_what_was_refused_and_what_was_read_of_it() {
    let path = std::env::temp_dir().join(format!("understudy-refused-{}", std::process::id()));
    let (face, writer) = face(AdminOptions { access_log: Some(path.clone()), ..options() });
    for request in [
        "GET /ready HTTP/1.0\r\nhost: a\r\n\r\n",
        "GET /ready HTTP/1.1\r\nhost: a\r\nnot a header\r\n\r\n",
        "GET http://a/ready HTTP/1.1\r\nhost: a\r\nuser-agent:\r\n\r\n",
        "GET /./x HTTP/1.1\r\nx-forwarded-for: b\r\n\r\n",
        "HEAD /./x HTTP/1.1\r\nhost:\r\n\r\n",
        "POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nz",
    ] {
        told(&face, request.as_bytes()).await;
    }
    writer.end();
    let log = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = log.lines().map(|line| line.split_once("] ").unwrap().1).collect();
    let without_ms = |line: &&str| {
        let words: Vec<_> = line.split(' ').collect();
        [&words[..7], &words[8..]].concat().join(" ")
    };
    let lines: Vec<_> = lines.iter().map(without_ms).collect();
    let expected = [
        r#""- - HTTP/1.1" 426 DPE 0 16 - "-" "-" "-" "-" "-""#,
        r#""- - HTTP/1.1" 400 DPE 0 11 - "-" "-" "-" "-" "-""#,
        r#""GET http://a/ready HTTP/1.1" 404 - 0 0 - "-" "" "-" "a" "-""#,
        r#""GET /./x HTTP/1.1" 400 - 0 0 - "b" "-" "-" "-" "-""#,
        r#""HEAD /x HTTP/1.1" 404 - 0 0 - "192.0.2.7" "-" "-" "" "-""#,
        r#""POST /x HTTP/1.1" 400 DPE 0 11 - "192.0.2.7" "-" "-" "a" "-""#,
        r#""POST /x HTTP/1.1" 0 DC 1 0 - "192.0.2.7" "-" "-" "a" "-""#,
    ];
    assert_eq!(lines, expected);
    fs::remove_file(&path).unwrap();
}

/// A connection whose other end is `client`.
fn conversation(face: &AdminFace, stream: DuplexStream) -> (Patience<DuplexStream>, Rc<Present>) {
    let present = Rc::new(Present::arrive(face.clerk.http.clone()));
    (Patience::new(stream, READER_WAIT, present.clone()), present)
}

const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 1);

#[tokio::test(start_paused = true)]
async fn a_reader_that_takes_nothing_holds_one_piece_for_a_while() {
    let (face, _writer) = face(options());
    let (client, stream) = tokio::io::duplex(1024);
    let (stream, present) = conversation(&face, stream);
    let made = Arc::new(AtomicUsize::new(0));
    let counted = made.clone();
    let pieces = std::iter::repeat_with(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        vec![b'x'; 64 << 10]
    });
    let story = Story::begin(&face.clerk, PEER.into(), &RequestHead::default());
    let response = Response::answering(Answer::pieces("text/plain", pieces));
    let (clerk, peer) = (face.clerk.clone(), PEER.into());
    let mut conversation = Conversation::new(clerk, present, stream, peer);
    let began = Instant::now();
    conversation.send(response, story, Left::Open).await;
    assert_eq!((made.load(Ordering::Relaxed), began.elapsed()), (1, READER_WAIT));
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_to_its_end_is_given_up() {
    let (face, _writer) = face(options());
    for (sent, status) in [
        ("", ""),
        ("GET /re", "HTTP/1.1 408 "),
        ("POST /ready HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n", "HTTP/1.1 408 "),
    ] {
        let (mut client, stream) = tokio::io::duplex(1024);
        let (stream, present) = conversation(&face, stream);
        client.write_all(sent.as_bytes()).await.unwrap();
        serve(face.clerk.clone(), present, stream, PEER.into()).await;
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(status) && status.is_empty() == answer.is_empty(), "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_has_had_an_answer_may_ask_again_minutes_later_and_not_slowly() {
    let (face, _writer) = face(options());
    let (mut client, stream) = tokio::io::duplex(64 << 10);
    let (stream, present) = conversation(&face, stream);
    let asking = async {
        let mut answers = String::new();
        for rest in ["", "connection: close\r\n"] {
            let request = format!("GET /hot_restart_version HTTP/1.1\r\nhost: a\r\n{rest}");
            client.write_all(request.as_bytes()).await.unwrap();
            client.write_all(b"\r\n").await.unwrap();
            tokio::time::sleep(IDLE_WAIT - Duration::from_secs(1)).await;
        }
        client.read_to_string(&mut answers).await.unwrap();
        answers
    };
    let serving = serve(face.clerk.clone(), present, stream, PEER.into());
    let (answers, ()) = tokio::join!(asking, serving);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");

    let (mut client, stream) = tokio::io::duplex(64 << 10);
    let (stream, present) = conversation(&face, stream);
    client.write_all(b"GET /ready HTTP/1.1\r\nhost: a\r\n\r\nGET /re").await.unwrap();
    let began = Instant::now();
    serve(face.clerk.clone(), present, stream, PEER.into()).await;
    assert!(began.elapsed() < REQUEST_WAIT + Duration::from_secs(2), "{:?}", began.elapsed());
}

/// Bytes that often come near to being requests.
fn request_like() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "GET ",
        "POST ",
        "HEAD ",
        "/",
        "*",
        "http://a",
        "/help",
        "/stats?",
        "%2e",
        "%00",
        "..",
        "?",
        "#",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\r\n\r\n",
        "host: a",
        "content-length: 3",
        "transfer-encoding: chunked",
        "expect: 100-continue",
        "connection: close",
        "3\r\nabc\r\n",
        "0\r\n\r\n",
        "GET /ready HTTP/1.1\r\nhost: a\r\n\r\n",
    ];
    let word = proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec());
    let piece = prop_oneof![9 => word, 1 => prop::collection::vec(any::<u8>(), 0..4)];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

#[test]
fn whatever_comes_is_answered_or_let_go() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.unwrap();
    let (face, _writer) = face(options());
    let talk = async |bytes: &[u8]| {
        let (mut client, stream) = tokio::io::duplex(1 << 20);
        let (stream, present) = conversation(&face, stream);
        client.write_all(bytes).await.unwrap();
        client.shutdown().await.unwrap();
        serve(face.clerk.clone(), present, stream, PEER.into()).await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let mut runner = TestRunner::new(ProptestConfig::with_cases(256));
    let outcome = runner.run(&request_like(), |bytes| {
        let answer = runtime.block_on(talk(&bytes));
        prop_assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "));
        Ok(())
    });
    outcome.unwrap();
    assert_eq!(face.clerk.http.sum(HttpStat::DownstreamRqActive), 0);
}
