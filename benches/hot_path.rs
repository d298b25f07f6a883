//! What a request pays for at each station of the hot path: `cargo bench`.
//!
//! Compare runs on one machine only; the figure to watch across machines is instructions per request.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use regex::bytes::Regex;
use understudy::{
    codec::{
        RequestHead, ResponseHead, Version,
        http1::{
            Limits,
            request::{self, Accepts},
            response,
            write::{self, BodyHeader, NameCase},
        },
    },
    config::model::{
        hash_policy::HashPolicy,
        route::{
            DirectResponse, PathMatch, RequireTls, Route, RouteAction, RouteConfig, RouteMatch,
            VirtualHost,
        },
    },
    route::{Lots, RouteTable},
    worker::Uuids,
};
use understudy_actors::runtime::Share;

const LIMITS: Limits = Limits::new(60 * 1024, 100);

const ACCEPTS: Accepts = Accepts { http_10: false, absolute_form: true };

const REQUEST: &[u8] = b"GET /service/1?page=2 HTTP/1.1\r\nHost: localhost:8000\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
    Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\nAccept-Encoding: gzip, br\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef\r\nCache-Control: max-age=0\r\n\r\n";

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 1024\r\nConnection: keep-alive\r\nETag: \"656083fd-400\"\r\n\
    Accept-Ranges: bytes\r\n\r\n";

fn heads(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("head");
    let (mut request, mut response) = (RequestHead::default(), ResponseHead::default());
    group.throughput(Throughput::Bytes(REQUEST.len() as u64));
    group.bench_function("read a request's", |b| {
        b.iter(|| request::parse(black_box(REQUEST), &LIMITS, ACCEPTS, &mut request).is_ok());
    });
    group.throughput(Throughput::Bytes(RESPONSE.len() as u64));
    group.bench_function("read a response's", |b| {
        b.iter(|| {
            response::parse(black_box(RESPONSE), &LIMITS, response::Asked::Plain, &mut response)
                .is_ok()
        });
    });
    let mut out = Vec::new();
    group.bench_function("write a response's", |b| {
        b.iter(|| {
            out.clear();
            write::response(
                &mut out,
                &response,
                Version::Http11,
                BodyHeader::AsIs,
                NameCase::Lower,
            );
            out.len()
        });
    });
    group.finish();
}

/// What no route here asks for.
struct NoLots;

impl Lots for NoLots {
    fn takes(&self, _: &str, _: Share, _: u64) -> bool {
        true
    }

    fn number(&self) -> u64 {
        0
    }

    fn certificate(&self) -> Option<bool> {
        None
    }

    fn filter_state(&self) -> Option<&understudy::filter_state::FilterState> {
        None
    }

    fn weight(&self, _: &str, default: u32) -> u32 {
        default
    }

    fn hash(&self, _: &[HashPolicy], _: &RequestHead) -> Option<u64> {
        None
    }
}

fn routes(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("route");
    for count in [10, 10_000] {
        let table = table(count);
        let mut last = RequestHead::default();
        last.set_authority(b"localhost");
        last.set_path(format!("/route/{:05}/x", count - 1).as_bytes());
        group.bench_function(format!("find the last of {count}"), |b| {
            b.iter(|| table.find(black_box(&last), &NoLots).is_some());
        });
    }
    group.finish();
}

fn ids(bench: &mut Criterion) {
    let uuids = Uuids::default();
    bench.bench_function("request id", |b| b.iter(|| uuids.next()));
}

/// A table with this many prefixes, and a regular expression that comes first and takes nothing.
fn table(count: usize) -> RouteTable {
    let expression = Regex::new("^(?:/never)$").expect("a regular expression");
    let prefixes = (0..count).map(|n| PathMatch::Prefix(format!("/route/{n:05}/")));
    let routes = std::iter::once(PathMatch::Regex { text: "/never".to_owned(), regex: expression })
        .chain(prefixes)
        .map(|path| {
            let direct = DirectResponse { status: 200, body: Vec::new(), format: None };
            Route {
                name: String::new(),
                matcher: RouteMatch { path, case_sensitive: true, conditions: Vec::new() },
                action: RouteAction::Direct(direct.into()),
                filter_configs: Vec::new(),
                mutations: None,
                metadata: None,
                stat_prefix: String::new(),
            }
        });
    let host = VirtualHost {
        name: "all".to_owned(),
        domains: vec!["*".to_owned()],
        routes: routes.collect(),
        matcher: None,
        require_tls: RequireTls::None,
        virtual_clusters: Vec::new(),
        metadata: None,
    };
    RouteTable::new(RouteConfig {
        name: "table".to_owned(),
        virtual_hosts: vec![host],
        ignore_port: false,
        vhost_header: None,
        ignore_path_parameters: false,
        internal_only_headers: Vec::new(),
    })
}

criterion_group!(stations, heads, routes, ids);
criterion_main!(stations);
