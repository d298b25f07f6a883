//! Owns the tests of the resolver: a small DNS server on loopback that answers as it is told.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use hickory_resolver::proto::{
    op::{Message, ResponseCode},
    rr::{RData, Record, rdata::CNAME},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::*;

/// What the server says about a name and a kind.
enum Said {
    Records(Vec<(u32, RData)>),
    Code(ResponseCode),
    Nothing,
    /// These bytes, be they an answer or not.
    Bytes(fn(&[u8]) -> Vec<u8>),
}

struct Server {
    at: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// Whence each question over UDP came.
    ports: Arc<Mutex<Vec<u16>>>,
    over_tcp: Arc<AtomicUsize>,
}

fn v4(last: u8) -> (u32, RData) {
    (60 + u32::from(last), RData::A(Ipv4Addr::new(10, 0, 0, last).into()))
}

fn v6(last: u16) -> (u32, RData) {
    (9, RData::AAAA(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last).into()))
}

fn say(name: &str, kind: RecordType) -> Said {
    use RecordType::{A, AAAA};
    match (name, kind) {
        ("both.test.", A) => Said::Records(vec![v4(3), v4(1), v4(2)]),
        ("both.test.", AAAA) => Said::Records(vec![v6(1)]),
        ("four.test." | "short.search.test.", A) => Said::Records(vec![v4(4)]),
        ("six.test.", AAAA) => Said::Records(vec![v6(6)]),
        ("alias.test.", A) => {
            let to = Name::from_str("four.test.").unwrap();
            Said::Records(vec![(2, RData::CNAME(CNAME(to))), v4(4)])
        }
        ("many.test.", A) => Said::Records((0..200).map(v4).collect()),
        ("old.test.", A) => Said::Records(vec![v4(7)]),
        ("chopped.test.", A) => Said::Bytes(|question| {
            // Truncated in the middle of a record.
            let mut out = question.to_vec();
            out[2] |= 0x82;
            out[7] = 3;
            out.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0]);
            out
        }),
        ("broken.test.", _) => Said::Code(ResponseCode::ServFail),
        ("half.test.", AAAA) => Said::Code(ResponseCode::ServFail),
        ("half.test.", A) => Said::Records(vec![v4(5)]),
        ("silent.test.", _) => Said::Nothing,
        ("noise.test.", _) => Said::Bytes(|_| (0..200).collect()),
        ("cut.test.", _) => Said::Bytes(|question| question[..question.len() - 3].to_vec()),
        ("forged.test.", _) => Said::Bytes(|question| {
            // An answer to a question that nobody asked.
            let mut out = question.to_vec();
            out[1] ^= 1;
            out[2] |= 0x80;
            out
        }),
        ("echo.test.", _) => Said::Bytes(<[u8]>::to_vec),
        ("four.test." | "six.test." | "nodata.test.", _) => Said::Records(Vec::new()),
        _ => Said::Code(ResponseCode::NXDomain),
    }
}

fn reply(bytes: &[u8], asked: &Mutex<Vec<String>>, tcp: bool) -> Option<Vec<u8>> {
    let request = Message::from_vec(bytes).unwrap();
    let query = request.queries[0].clone();
    asked.lock().push(format!("{} {}", query.name(), query.query_type()));
    let mut answer = Message::response(request.metadata.id, request.metadata.op_code);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let name = query.name().to_string();
    if name == "old.test." && request.edns.is_some() {
        answer.metadata.response_code = ResponseCode::FormErr;
        answer.queries.clear();
        return Some(answer.to_vec().unwrap());
    }
    match say(&name, query.query_type()) {
        Said::Nothing => return None,
        Said::Bytes(make) => return Some(make(bytes)),
        Said::Code(code) => answer.metadata.response_code = code,
        Said::Records(records) if records.len() > 20 && !tcp => {
            answer.metadata.truncation = true;
        }
        Said::Records(records) => {
            for (ttl, data) in records {
                let owner = match &data {
                    RData::A(_) if query.name().to_string() == "alias.test." => {
                        Name::from_str("four.test.").unwrap()
                    }
                    _ => query.name().clone(),
                };
                answer.add_answer(Record::from_rdata(owner, ttl, data));
            }
        }
    }
    Some(answer.to_vec().unwrap())
}

async fn server() -> Server {
    // One number free for both protocols: the kernel picks it for TCP.
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(at).await.unwrap();
    let (asked, over_tcp) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let (log, ports) = (asked.clone(), Arc::new(Mutex::new(Vec::new())));
    let seen = ports.clone();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, peer)) = udp.recv_from(&mut buffer).await {
            seen.lock().push(peer.port());
            if let Some(answer) = reply(&buffer[..length], &log, false) {
                udp.send_to(&answer, peer).await.unwrap();
            }
        }
    });
    let (log, count) = (asked.clone(), over_tcp.clone());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let (log, count) = (log.clone(), count.clone());
            tokio::spawn(async move {
                while let Ok(length) = stream.read_u16().await {
                    let mut request = vec![0; length.into()];
                    stream.read_exact(&mut request).await.unwrap();
                    count.fetch_add(1, Relaxed);
                    if let Some(answer) = reply(&request, &log, true) {
                        stream.write_u16(answer.len() as u16).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                }
            });
        }
    });
    Server { at, asked, ports, over_tcp }
}

fn plan(server: &Server) -> ResolverPlan {
    ResolverPlan {
        servers: vec![server.at],
        no_search: true,
        query_timeout: Some(Duration::from_millis(100)),
        tries: Some(1),
        ..ResolverPlan::default()
    }
}

async fn ask(plan: &ResolverPlan, name: &str, family: LookupFamily) -> Result<Answer, LookupError> {
    let resolver = Arc::new(plan.clone());
    Resolver::default().resolve(Query { name: name.to_owned(), family, resolver }).await.answer
}

fn texts(answer: &Answer) -> Vec<String> {
    answer.addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn the_family_decides_which_addresses_come_and_in_which_order() {
    let server = server().await;
    let plan = plan(&server);
    use LookupFamily::{All, Auto, V4Only, V4Preferred, V6Only};
    let four = ["10.0.0.3", "10.0.0.1", "10.0.0.2"].as_slice();
    for (family, name, expected) in [
        (V4Only, "both.test", four),
        (V6Only, "both.test", &["fd00::1"]),
        (Auto, "both.test", &["fd00::1"]),
        (V4Preferred, "both.test", four),
        (Auto, "four.test", &["10.0.0.4"]),
        (V4Preferred, "six.test", &["fd00::6"]),
        (V4Only, "six.test", &[]),
        (Auto, "half.test", &["10.0.0.5"]),
        (V4Only, "10.9.8.7", &["10.9.8.7"]),
        (Auto, "::1", &["::1"]),
        (V6Only, "10.9.8.7", &["10.9.8.7"]),
        (V4Only, "::1", &[]),
    ] {
        let answer = ask(&plan, name, family).await.unwrap();
        assert_eq!(texts(&answer), expected, "{name} {family:?}");
    }
    let all = ask(&plan, "both.test", All).await.unwrap();
    assert_eq!(texts(&all), ["10.0.0.3", "10.0.0.1", "10.0.0.2", "fd00::1"]);
}

#[tokio::test]
async fn a_name_that_is_not_there_is_empty_and_a_failure_is_an_error() {
    let server = server().await;
    let plan = plan(&server);
    for name in ["no.test", "nodata.test"] {
        let answer = ask(&plan, name, LookupFamily::Auto).await;
        assert_eq!(answer, Ok(Answer::default()), "{name}");
    }
    let failed = ask(&plan, "broken.test", LookupFamily::V4Only).await;
    assert!(matches!(failed, Err(LookupError::Failed(_))), "{failed:?}");
    let silent = ask(&plan, "silent.test", LookupFamily::V4Only).await;
    let timed_out = LookupError::TimedOut { wait: Duration::from_millis(100), queries: 1 };
    assert_eq!(silent, Err(timed_out));
    // One try is one query, and no search domain hears of it.
    let asked = server.asked.lock().iter().filter(|name| name.starts_with("silent")).count();
    assert_eq!(asked, 1);
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_never_says_that_a_name_has_no_address() {
    let server = server().await;
    for tcp_only in [false, true] {
        let plan = ResolverPlan { tcp_only, ..plan(&server) };
        for name in ["noise.test", "cut.test", "forged.test", "echo.test"] {
            let answer = ask(&plan, name, LookupFamily::V4Only).await;
            assert!(answer.is_err(), "{name}, over TCP: {tcp_only}: {answer:?}");
        }
        assert!(ask(&plan, "four.test", LookupFamily::V4Only).await.is_ok());
    }
}

#[tokio::test]
async fn the_time_to_live_is_the_shortest_of_the_chain() {
    let server = server().await;
    let plan = plan(&server);
    for (name, seconds) in [("alias.test", 2), ("both.test", 61), ("four.test", 64)] {
        let answer = ask(&plan, name, LookupFamily::V4Only).await.unwrap();
        assert_eq!(answer.ttl, Some(Duration::from_secs(seconds)), "{name}");
    }
}

#[tokio::test]
async fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let server = server().await;
    let answer = ask(&plan(&server), "many.test", LookupFamily::V4Only).await.unwrap();
    assert_eq!((answer.addresses.len(), server.over_tcp.load(Relaxed)), (200, 1));
    let tcp = ResolverPlan { tcp_only: true, ..plan(&server) };
    ask(&tcp, "four.test", LookupFamily::V4Only).await.unwrap();
    assert_eq!(server.over_tcp.load(Relaxed), 2);
}

#[tokio::test]
async fn what_is_truncated_is_not_read_wherever_it_was_cut() {
    let server = server().await;
    // What comes over TCP is the same nonsense, and no answer there.
    assert!(ask(&plan(&server), "chopped.test", LookupFamily::V4Only).await.is_err());
    assert_eq!(server.over_tcp.load(Relaxed), 1);
}

#[tokio::test]
async fn a_server_that_knows_no_edns_is_asked_without() {
    let server = server().await;
    let mut options = ResolverOpts::default();
    options.edns0 = true;
    let asker = Asker::with(&plan(&server), vec![server.at], Vec::new(), &options);
    let answer = asker.resolve("old.test", LookupFamily::V4Only).await.answer.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.7"]);
    assert_eq!(server.asked.lock().len(), 2);
}

#[tokio::test]
async fn a_socket_asks_a_few_questions_and_none_after_a_silence() {
    let server = server().await;
    let asker = Asker::new(&plan(&server));
    for _ in 0..100 {
        asker.resolve("four.test", LookupFamily::V4Only).await.answer.unwrap();
    }
    let ports = server.ports.lock().clone();
    let questions = |port: u16| ports.iter().filter(|other| **other == port).count();
    assert_eq!((questions(ports[0]), questions(ports[99])), (64, 36));
    asker.resolve("silent.test", LookupFamily::V4Only).await.answer.unwrap_err();
    asker.resolve("four.test", LookupFamily::V4Only).await.answer.unwrap();
    assert_ne!(server.ports.lock()[101], ports[99]);
}

#[tokio::test]
async fn search_domains_are_tried_as_ndots_says_and_never_for_a_name_with_its_dot() {
    let server = server().await;
    let plan = plan(&server);
    let with_ndots = |ndots| {
        let mut options = ResolverOpts::default();
        options.ndots = ndots;
        let servers = vec![server.at];
        let search = vec![Name::from_str("search.test.").unwrap()];
        Asker::with(&plan, servers, search, &options)
    };
    for (ndots, name, asked) in [
        (1, "short", ["short.search.test."].as_slice()),
        (0, "short", &["short.", "short.search.test."]),
        (2, "four.test", &["four.test.search.test.", "four.test."]),
        (1, "four.test", &["four.test."]),
        (9, "four.test.", &["four.test."]),
    ] {
        server.asked.lock().clear();
        let answer = with_ndots(ndots).resolve(name, LookupFamily::V4Only).await;
        let answer = answer.answer.unwrap();
        assert_eq!(answer.addresses.len(), 1, "{name}");
        let expected: Vec<_> = asked.iter().map(|name| format!("{name} A")).collect();
        assert_eq!(*server.asked.lock(), expected, "ndots {ndots}, {name}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_and_the_next_one_is_asked() {
    let server = server().await;
    // Bound and never listened on: nobody answers there, and nobody else can take it.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let alone = ResolverPlan { servers: vec![gone], ..plan(&server) };
    assert!(ask(&alone, "four.test", LookupFamily::V4Only).await.is_err());
    let both = ResolverPlan { servers: vec![gone, server.at], ..plan(&server) };
    let answer = ask(&both, "four.test", LookupFamily::V4Only).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.4"]);
    let twice = ResolverPlan { tries: Some(2), ..plan(&server) };
    assert!(ask(&twice, "broken.test", LookupFamily::V4Only).await.is_err());
    let asked = server.asked.lock().iter().filter(|name| name.starts_with("broken")).count();
    assert_eq!(asked, 2);
}

#[tokio::test]
async fn one_plan_has_one_resolver_and_localhost_needs_no_server() {
    let resolver = Resolver::default();
    let plan = ResolverPlan::default();
    let (one, two) = (resolver.asker(&plan), resolver.asker(&plan));
    assert!(Arc::ptr_eq(&one, &two));
    let answer = one.resolve("localhost", LookupFamily::V4Only).await.answer.unwrap();
    assert_eq!(texts(&answer), ["127.0.0.1"]);
}

#[tokio::test]
async fn a_server_that_failed_is_asked_last_and_no_lookup_waits_for_it_again() {
    let server = server().await;
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let plan =
        ResolverPlan { servers: vec![silent.local_addr().unwrap(), server.at], ..plan(&server) };
    let asker = Asker::new(&plan);
    let lookup = || asker.resolve("four.test", LookupFamily::V4Only);
    assert_eq!(texts(&lookup().await.answer.unwrap()), ["10.0.0.4"]);
    let begun = tokio::time::Instant::now();
    assert_eq!(texts(&lookup().await.answer.unwrap()), ["10.0.0.4"]);
    assert!(begun.elapsed() < Duration::from_millis(90), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_preferred_family_is_told_of_too_where_it_had_nothing() {
    let server = server().await;
    let resolver = Arc::new(plan(&server));
    for (name, expected) in [
        ("both.test", None),
        ("four.test", Some(Ok(Answer::default()))),
        ("no.test", Some(Ok(Answer::default()))),
    ] {
        let query =
            Query { name: name.to_owned(), family: LookupFamily::Auto, resolver: resolver.clone() };
        assert_eq!(Resolver::default().resolve(query).await.preferred, expected, "{name}");
    }
}

#[tokio::test]
async fn servers_are_rotated_where_that_is_asked_for() {
    let (one, two) = (server().await, server().await);
    let plan = ResolverPlan { servers: vec![one.at, two.at], rotate: true, ..plan(&one) };
    let asker = Asker::new(&plan);
    for _ in 0..64 {
        assert!(asker.resolve("four.test", LookupFamily::V4Only).await.answer.is_ok());
    }
    let asked = [&one, &two].map(|server| server.asked.lock().len());
    assert!(asked[0] > 0 && asked[1] > 0 && asked[0] + asked[1] == 64, "{asked:?}");
}
