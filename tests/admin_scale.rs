//! The admin port of a large proxy: a thousand clusters of two hosts. Answers come in pieces, scrapes wait for
//! each other and not `/ready` for them, and who does not read holds little.

mod support;

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::{Duration, Instant},
};

use support::{
    client::{Client, get},
    config::routed,
    proxy::Proxy,
};

const CLUSTERS: usize = 1000;

/// What is scraped, and bytes of the text at least.
const SCRAPES: [(&str, usize); 7] = [
    ("/stats", 4_000_000),
    ("/stats?format=json", 6_000_000),
    ("/stats/prometheus", 10_000_000),
    ("/stats/prometheus?usedonly", 100_000),
    ("/clusters", 1_000_000),
    ("/clusters?format=json", 1_000_000),
    ("/config_dump?include_eds", 1_000_000),
];

/// Bytes of a chunk at most: a piece of the scribe's, and what one part of it may be longer. The one that is
/// long here is a listener with a thousand routes.
const CHUNK_BYTES_MAX: usize = 400_000;

fn started() -> Proxy {
    let (mut routes, mut clusters) = (String::new(), String::new());
    for number in 0..CLUSTERS {
        let name = format!("service{number}");
        let _ = write!(routes, "{{match: {{prefix: /{name}/}}, route: {{cluster: {name}}}}}, ");
        let host = |last: u8| {
            format!(
                "{{endpoint: {{address: {{socket_address: \
                 {{address: 127.0.0.{last}, port_value: 9}}}}}}}}"
            )
        };
        let _ = writeln!(
            clusters,
            "  - {{name: {name}, load_assignment: {{cluster_name: {name}, \
             endpoints: [{{lb_endpoints: [{}, {}]}}]}}}}",
            host(1),
            host(2)
        );
    }
    Proxy::start_with(&routed(&routes, &clusters), &["--concurrency", "1"])
}

/// Reads an answer to its end; gives its length and its longest chunk.
fn read(admin: SocketAddr, path: &str) -> (usize, usize) {
    let mut client = Client::connect(admin);
    client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
    client.chunks().expect("a chunked answer")
}

#[test]
fn scrapes_of_a_thousand_clusters_delay_no_ready_and_fill_no_memory() {
    let proxy = started();
    for (path, least) in SCRAPES {
        let (length, longest) = read(proxy.admin, path);
        assert!(length >= least, "{path}: only {length} bytes");
        assert!(longest <= CHUNK_BYTES_MAX, "{path}: a chunk of {longest} bytes");
    }

    let before = proxy.resident_kib();
    let (stop, scrapes) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut waits = std::thread::scope(|scope| {
        for first in 0..8 {
            let (proxy, stop, scrapes) = (&proxy, &stop, &scrapes);
            scope.spawn(move || {
                for (path, _) in SCRAPES.iter().cycle().skip(first) {
                    if stop.load(SeqCst) {
                        return;
                    }
                    read(proxy.admin, path);
                    scrapes.fetch_add(1, SeqCst);
                }
            });
        }
        let patience = Instant::now() + Duration::from_secs(60);
        let mut waits = Vec::new();
        while waits.len() < 100 || scrapes.load(SeqCst) < 8 {
            let since = Instant::now();
            assert_eq!(get(proxy.admin, "/ready").status, 200);
            waits.push(since.elapsed());
            assert!(Instant::now() < patience, "{} scrapes in a minute", scrapes.load(SeqCst));
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, SeqCst);
        waits
    });
    waits.sort();
    let [median, most, longest] = [50, 95, 100].map(|share| waits[(waits.len() - 1) * share / 100]);
    let grown = proxy.resident_kib().saturating_sub(before);
    println!(
        "{} scrapes: /ready took {median:?}, {most:?}, {longest:?}; {before} KiB and {grown} more",
        scrapes.load(SeqCst)
    );
    assert!(median < Duration::from_millis(50), "/ready takes {median:?}");
    // A neighbour on the machine may take its turn; the scribe and its queue may not.
    assert!(most < Duration::from_millis(250), "/ready took {most:?}");
    assert!(longest < Duration::from_secs(2), "/ready took {longest:?}");
    assert!(grown < 24 * 1024, "{grown} KiB more after scrapes");

    // The scribe goes on with others, and what these hold is a piece and an index.
    let before = proxy.resident_kib();
    let silent: Vec<Client> = (0..28)
        .map(|number| {
            let mut client = Client::connect(proxy.admin);
            let path = SCRAPES[number % SCRAPES.len()].0;
            client.send(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"));
            client
        })
        .collect();
    for (path, least) in SCRAPES {
        assert!(read(proxy.admin, path).0 >= least, "{path}");
    }
    let each = proxy.resident_kib().saturating_sub(before) / silent.len() as u64;
    println!("a client that does not read holds {each} KiB");
    assert!(each < 1024, "{each} KiB for each client that does not read");
    let since = Instant::now();
    assert_eq!(get(proxy.admin, "/ready").status, 200);
    assert!(since.elapsed() < Duration::from_millis(250), "/ready took {:?}", since.elapsed());
    drop(silent);
    assert!(!proxy.log().contains("panicked"), "{}", proxy.log());
}
