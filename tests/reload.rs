//! Owns reading the configuration again: what does not change is not touched, a bad file changes nothing.

mod support;

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use support::{
    client,
    config::{around, cluster},
    origin::Origin,
    proxy::{self, Proxy},
    undisturbed::{POURED_MIB, Undisturbed},
    wait_for,
};

/// A front of routes `/a`, `/chat` and `/pour`; `manager` and `more` are what changes.
fn config(origins: &[&Origin; 3], hosts: &[SocketAddr], manager: &str, more: &str) -> String {
    let [_, chat, pour] = origins;
    let clusters = [("a", hosts), ("chat", &[chat.address][..]), ("pour", &[pour.address][..])];
    let clusters: String = clusters.iter().map(|(name, hosts)| cluster(name, hosts)).collect();
    let host = format!(
        "            - name: all
              domains: [\"*\"]
              routes:
              - {{match: {{prefix: /chat}}, route: {{cluster: chat, timeout: 0s, upgrade_configs: [{{upgrade_type: websocket}}]}}}}
              - {{match: {{prefix: /pour}}, route: {{cluster: pour, timeout: 0s}}}}
{more}
              - {{match: {{prefix: /}}, route: {{cluster: a}}}}"
    );
    around(manager, "", &host, &clusters)
}

const MORE: &str = "              - {match: {prefix: /more}, direct_response: {status: 200, body: {inline_string: more}}}";

fn put(proxy: &Proxy, config: &str) {
    fs::write(proxy.folder.join("next"), config).expect("a file can be written");
    fs::rename(proxy.folder.join("next"), proxy.folder.join("config.yaml")).expect("and moved");
}

fn reload(proxy: &Proxy, config: &str) -> String {
    put(proxy, config);
    let answer = client::post(proxy.admin, "/reload");
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text()
}

#[test]
fn a_signal_or_a_post_reads_the_file_again_and_a_bad_file_changes_nothing_and_stays_visible() {
    let origins = [Origin::saying("a"), Origin::echoing(), Origin::pouring(1)];
    let [a, chat, pour] = &origins;
    let all = [a, chat, pour];
    let before = config(&all, &[a.address], "", "");
    let after = config(&all, &[a.address], "", MORE);
    let proxy = Proxy::start(&before);
    let (main, get) = (proxy.listener("main"), client::get);
    assert_eq!(
        get(proxy.admin, "/reload/last").text().lines().last(),
        Some("nobody has reloaded yet")
    );

    put(&proxy, &after);
    let dry = client::post(proxy.admin, "/reload?dry_run").text();
    assert!(dry.contains("route tables: 1 changed") && dry.contains("no connection"), "{dry}");
    assert_eq!(get(main, "/more").text(), "a");
    assert_eq!(client::post(proxy.admin, "/reload").text(), dry);
    assert_eq!(get(main, "/more").text(), "more");

    put(&proxy, &before);
    proxy.signal("HUP");
    wait_for("the signal's reload", || (get(main, "/more").text() == "a").then_some(()));

    for (bad, what) in [
        (after.replace("connect_timeout", "conect_timeout"), "did you mean `connect_timeout`?"),
        (after.replace("admin:\n", "node: {id: other}\nadmin:\n"), "only a restart changes it"),
        (after.replace("{cluster: a}", "{cluster: nosuch}"), "nosuch"),
        (
            after.replacen("port_value: 0", &format!("port_value: {}", a.address.port()), 2),
            "another process",
        ),
        ("admin: [".to_owned(), "not YAML"),
    ] {
        put(&proxy, &bad);
        for path in ["/reload?dry_run", "/reload"] {
            let answer = client::post(proxy.admin, path);
            assert_eq!(answer.status, 400);
            assert!(answer.text().contains(what), "{what} in {}", answer.text());
        }
        assert_eq!(get(main, "/more").text(), "a", "{what}");
        let last = get(proxy.admin, "/reload/last").text();
        let home = get(proxy.admin, "/overview").text();
        assert!(home.contains("\"refused\": true") || home.contains("\"refused\":true"), "{home}");
        assert!(last.contains("refused at") && last.contains(what), "{last}");
        assert!(proxy.log().contains(what), "{what}");
    }
    fs::remove_file(proxy.folder.join("config.yaml")).expect("it is there");
    let gone = client::post(proxy.admin, "/reload");
    assert!(gone.status == 400 && gone.text().contains("cannot read"), "{}", gone.text());
    assert!(reload(&proxy, &after).contains("route tables: 1 changed"));
    let dump = get(proxy.admin, "/config_dump").text();
    assert!(dump.contains("\"prefix\": \"/more\""), "{dump}");
}

#[test]
fn reloads_under_load_fail_no_request_and_cut_neither_a_websocket_nor_a_download() {
    let origins = [Origin::saying("a"), Origin::echoing(), Origin::pouring(POURED_MIB)];
    let [a, chat, pour] = &origins;
    let (all, second) = ([a, chat, pour], Origin::saying("a"));
    let (one, two) = ([a.address], [a.address, second.address]);
    let via = "          via: elsewhere";
    let steps = [
        config(&all, &two, "", ""),
        config(&all, &two, "", MORE),
        config(&all, &two, via, MORE),
        config(&all, &one, via, ""),
        config(&all, &one, "", "").replace("connect_timeout: 1s", "connect_timeout: 2s"),
        config(&all, &one, "", ""),
    ];
    let proxy = Proxy::start(&steps[5]);
    let main = proxy.listener("main");
    let mut others = Undisturbed::open(main);
    for step in steps.iter().cycle().take(24) {
        reload(&proxy, step);
        others.chat();
    }
    others.end();
}

/// A client that has connected and not asked yet when its listener goes is served by what it has come to.
#[test]
fn who_has_come_to_a_listener_that_a_reload_takes_away_is_served_by_it() {
    let origins = [Origin::saying("a"), Origin::echoing(), Origin::pouring(1)];
    let [a, chat, pour] = &origins;
    let config = config(&[a, chat, pour], &[a.address], "", MORE);
    let renamed = config.replace("name: main", "name: other");
    let proxy = Proxy::start(&config);
    let main = proxy.listener("main");
    let mut came = client::Client::connect(main);
    let open = "http.ingress_http.downstream_cx_active";
    wait_for("the connection", || (proxy.stat(open) == Some(1)).then_some(()));
    let changes = reload(&proxy, &renamed);
    assert!(changes.contains("listeners: 1 added"), "{changes}");
    let answer = came.request("GET /more HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((answer.status, answer.text()), (200, "more".to_owned()));
    assert_eq!(answer.header("connection"), Some("close"));
}

/// A listener of another name takes an address over with its backlog: whoever connects finds somebody at any time.
#[test]
fn a_port_changes_hands_without_a_connection_lost() {
    let origins = [Origin::saying("a"), Origin::echoing(), Origin::pouring(1)];
    let [a, chat, pour] = &origins;
    let config = config(&[a, chat, pour], &[a.address], "", MORE);
    let proxy = Proxy::start(&config);
    let main = proxy.listener("main");
    let (before, after) = config.split_once("name: main").expect("its listener");
    let after = after.replacen("port_value: 0", &format!("port_value: {}", main.port()), 1);
    let over = AtomicBool::new(false);
    let asked = std::thread::scope(|threads| {
        let ask = || {
            let mut count = 0;
            while !over.load(Relaxed) {
                let close = "GET /more HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
                assert_eq!(client::Client::connect(main).request(close).text(), "more");
                count += 1;
            }
            count
        };
        let asking = [threads.spawn(ask), threads.spawn(ask)];
        for round in 0..30 {
            reload(&proxy, &format!("{before}name: main-{round}{after}"));
        }
        over.store(true, Relaxed);
        asking.map(|thread| thread.join().expect("no request failed"))
    });
    assert!(asked.iter().sum::<usize>() > 100, "{asked:?}");
}

/// A file that the configuration names may hold something else, though the configuration is the same.
#[test]
fn a_file_that_a_route_or_a_listener_names_is_read_again() {
    let origins = [Origin::saying("a"), Origin::echoing(), Origin::pouring(1)];
    let [a, chat, pour] = &origins;
    let folder = proxy::folder();
    let (body, page) = (folder.join("body.txt"), folder.join("page.txt"));
    let route = MORE.replace("inline_string: more", &format!("filename: {}", body.display()));
    let mapper = format!(
        "          local_reply_config: {{mappers: [{{filter: {{status_code_filter: {{comparison: {{op: EQ, value: \
         {{default_value: 404, runtime_key: none}}}}}}}}, body: {{filename: {}}}}}]}}",
        page.display()
    );
    let config = config(&[a, chat, pour], &[a.address], &mapper, &route)
        .replace("match: {prefix: /}", "match: {prefix: /a}");
    let put = |body_says: &str, page_says: &str| {
        fs::write(&body, body_says).expect("a body");
        fs::write(&page, page_says).expect("a page");
    };
    put("one", "no such thing");
    let proxy = Proxy::start(&config);
    let main = proxy.listener("main");
    let says = |path| client::get(main, path).text();
    assert_eq!((says("/more"), says("/b")), ("one".to_owned(), "no such thing".to_owned()));
    put("two", "no such thing");
    let changes = client::post(proxy.admin, "/reload").text();
    assert!(changes.contains("route tables: 1 changed"), "{changes}");
    assert!(changes.contains("listeners: 1 stay"), "{changes}");
    assert_eq!((says("/more"), says("/b")), ("two".to_owned(), "no such thing".to_owned()));
    put("two", "nothing here");
    let changes = client::post(proxy.admin, "/reload").text();
    assert!(changes.contains("listeners: 1 changed"), "{changes}");
    assert_eq!((says("/more"), says("/b")), ("two".to_owned(), "nothing here".to_owned()));
}

/// A connection manager's access log, with `format` for its lines.
fn logging(path: &Path) -> String {
    format!(
        "          access_log:\n          - name: file\n            typed_config:\n              '@type': \
         type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog\n              path: {}\n",
        path.display()
    )
}

#[test]
fn an_access_log_that_a_reload_takes_away_is_written_out_and_its_file_closed() {
    let origins = [Origin::saying("a"), Origin::echoing(), Origin::pouring(1)];
    let [a, chat, pour] = &origins;
    let log = proxy::folder().join("taken-away.log");
    let with = |manager: &str| config(&[a, chat, pour], &[a.address], manager, "");
    let flags = ["--drain-time-s", "1", "--file-flush-interval-msec", "1000"];
    let proxy = Proxy::start_with(&with(&logging(&log)), &flags);
    let main = proxy.listener("main");
    for path in ["/one", "/two"] {
        assert_eq!(client::get(main, path).text(), "a");
    }
    let is_open = || {
        let files = fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("its files").flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|file| file == log)
    };
    assert!(is_open());
    reload(&proxy, &with(""));
    wait_for("the file to be closed", || (!is_open()).then_some(()));
    let lines = fs::read_to_string(&log).expect("the log");
    assert!(lines.contains("/one") && lines.contains("/two"), "{lines}");
    assert_eq!(client::get(main, "/three").text(), "a");
}
