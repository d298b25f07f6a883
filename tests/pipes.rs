//! Unix sockets: listeners, hosts and the admin port at paths.

mod support;

use std::{
    fs,
    io::{Read, Write},
    os::{
        linux::net::SocketAddrExt,
        unix::{
            fs::PermissionsExt,
            net::{SocketAddr, UnixListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Duration,
};

use support::{
    client,
    proxy::{Proxy, binary},
    wait_for,
};

const TYPES: &str = "type.googleapis.com/envoy.extensions.filters";

const ADMIN: &str = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}";

/// A folder with a path short enough for sockets, gone with its drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("us-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).expect("a folder for sockets");
        Self(folder)
    }

    fn at(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with its drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A listener that passes `/on` to the cluster `on` and answers the rest, and tells whom it sees.
fn listener(name: &str, address: &str) -> String {
    format!(
        r#"  - name: {name}
    address: {address}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": {TYPES}.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: {name}
          use_remote_address: true
          internal_address_config: {{unix_sockets: true}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              response_headers_to_add:
              - header: {{key: x-{name}, value: "%DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% [%DOWNSTREAM_REMOTE_PORT%] %UPSTREAM_HOST% %REQ(X-FORWARDED-FOR)% %REQ(X-ENVOY-INTERNAL)%"}}
              routes:
              - match: {{prefix: /on}}
                route: {{cluster: "on", prefix_rewrite: /}}
              - match: {{prefix: /}}
                direct_response: {{status: 200, body: {{inline_string: "{name}"}}}}
          http_filters: [{{name: router, typed_config: {{"@type": {TYPES}.http.router.v3.Router}}}}]
"#
    )
}

fn pipe(path: &str) -> String {
    format!("{{pipe: {{path: \"{path}\"}}}}")
}

/// The cluster `on` with a host at a path, and more lines of its own.
fn cluster(path: &str, more: &str) -> String {
    format!(
        "  clusters:\n  - name: \"on\"\n    connect_timeout: 1s\n{more}    load_assignment: {{cluster_name: \"on\", endpoints: [{{lb_endpoints: [{{endpoint: {{address: {}}}}}]}}]}}\n",
        pipe(path)
    )
}

fn config(listeners: &[String], clusters: &str) -> String {
    format!("{ADMIN}\nstatic_resources:\n  listeners:\n{}{clusters}", listeners.concat())
}

/// What is answered to a request by a socket, head and body.
fn ask(mut stream: UnixStream, path: &str) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

fn get(path: impl AsRef<Path>, target: &str) -> String {
    ask(UnixStream::connect(path).expect("somebody listens"), target)
}

fn mode(path: &str) -> u32 {
    fs::metadata(path).expect("a socket").permissions().mode() & 0o777
}

/// Source: what Envoy 1.40 tells of such connections.
#[test]
fn requests_come_by_a_path_and_go_to_one() {
    let folder = Folder::new();
    let (front, back) = (folder.at("front"), folder.at("back"));
    let address = format!("{{pipe: {{path: \"{front}\", mode: {}}}}}", 0o600);
    let listeners = [listener("front", &address), listener("back", &pipe(&back))];
    let proxy = Proxy::start(&config(&listeners, &cluster(&back, "")));
    assert_eq!(mode(&front), 0o600);
    let answer = get(&front, "/on");
    assert!(answer.ends_with("\r\n\r\nback"), "{answer}");
    let seen = format!("x-front: {front} {front} [] {back}  true\r\n");
    assert!(answer.contains(&seen), "{answer}");
    assert!(answer.contains(&format!("x-back: {back} {back} []   true\r\n")), "{answer}");
    let listing = client::get(proxy.admin, "/listeners").text();
    assert_eq!(listing, format!("front::{front}\nback::{back}\n"));
    let json = client::get(proxy.admin, "/listeners?format=json").text();
    assert!(json.contains(&format!("\"path\": \"{back}\"")), "{json}");
    let clusters = client::get(proxy.admin, "/clusters").text();
    assert!(clusters.contains(&format!("on::{back}::rq_success::1\n")), "{clusters}");
    assert_eq!(proxy.stat(&format!("listener.{front}.downstream_cx_total")), Some(1));
}

#[test]
fn names_that_are_no_files_do_as_well_beside_a_port() {
    let name = format!("us-test-{}", std::process::id());
    let also = format!(
        "{{socket_address: {{address: 127.0.0.1, port_value: 0}}}}\n    additional_addresses: [{{address: {{pipe: {{path: \"@{name}\"}}}}}}]"
    );
    let clusters = cluster(&format!("@{name}"), "");
    let proxy = Proxy::start(&config(&[listener("both", &also)], &clusters));
    let at = SocketAddr::from_abstract_name(&name).expect("a name");
    let answer = ask(UnixStream::connect_addr(&at).expect("somebody listens"), "/");
    assert!(answer.contains(&format!("x-both: @{name} @{name} []   true\r\n")), "{answer}");
    let through = client::get(proxy.listener("both"), "/on");
    assert_eq!((through.status, through.text()), (200, "both".to_owned()));
}

/// A path that nobody listens at any more is free; one that somebody has is not, nor is what is no socket.
#[test]
fn what_was_left_at_a_path_gives_way_and_what_is_used_does_not() {
    let folder = Folder::new();
    let path = folder.at("a");
    drop(UnixListener::bind(&path).expect("a socket"));
    let config = config(&[listener("a", &pipe(&path))], &cluster("/nobody", ""));
    let proxy = Proxy::start(&config);
    assert!(get(&path, "/").ends_with("a"));
    let file = folder.at("config.yaml");
    fs::write(&file, &config).expect("a configuration");
    let refused = || {
        let run = binary().args(["-c", &file]).output().expect("the binary runs");
        assert!(!run.status.success());
        String::from_utf8_lossy(&run.stderr).into_owned()
    };
    let told = refused();
    assert!(told.contains(&path) && told.contains("another process has it"), "{told}");
    assert!(get(&path, "/").ends_with("a"));
    drop(proxy);
    fs::remove_file(&path).expect("it leaves its socket, as Envoy does");
    fs::write(&path, "a letter").expect("a file");
    let told = refused();
    assert!(told.contains(&path) && told.contains("is no socket"), "{told}");
    assert_eq!(fs::read_to_string(&path).expect("the file"), "a letter");
}

/// A listener of another name takes the path over with its backlog: whoever connects finds somebody at any time.
#[test]
fn a_reload_hands_a_path_on_without_a_gap() {
    let folder = Folder::new();
    let path = folder.at("a");
    let of = |name: &str| config(&[listener(name, &pipe(&path))], &cluster("/nobody", ""));
    let proxy = Proxy::start(&of("one"));
    let asking = std::thread::scope(|threads| {
        let asked = threads.spawn(|| {
            let mut names = Vec::new();
            while names.last().is_none_or(|name| name != "three") && names.len() < 100_000 {
                let answer = get(&path, "/");
                let name = answer.rsplit("\r\n").next().unwrap_or_default().to_owned();
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                names.push(name);
            }
            names
        });
        for name in ["two", "three"] {
            fs::write(proxy.folder.join("config.yaml"), of(name)).expect("it can be written");
            let reload = client::post(proxy.admin, "/reload");
            assert_eq!(reload.status, 200, "{}", reload.text());
        }
        asked.join().expect("nothing failed")
    });
    assert!(asking.iter().any(|name| name == "three"), "{} answers", asking.len());
}

/// What a dry run would change it does not, nor does a plan that is refused; what comes in force does.
#[test]
fn only_what_is_in_force_changes_a_path() {
    let folder = Folder::new();
    let (path, new) = (folder.at("a"), folder.at("new"));
    let of = |mode: u32| {
        let address = format!("{{pipe: {{path: \"{path}\", mode: {mode}}}}}");
        listener("a", &address)
    };
    let clusters = cluster("/nobody", "");
    let proxy = Proxy::start(&config(&[of(0o600)], &clusters));
    let write = |listeners: &[String]| {
        let text = config(listeners, &clusters);
        fs::write(proxy.folder.join("config.yaml"), text).expect("it can be written");
    };
    write(&[of(0o666), listener("new", &pipe(&new))]);
    assert_eq!(client::post(proxy.admin, "/reload?dry_run").status, 200);
    assert_eq!((mode(&path), fs::metadata(&new).is_ok()), (0o600, false));
    let nowhere = listener("nowhere", &pipe(&folder.at("none/b")));
    write(&[of(0o666), listener("new", &pipe(&new)), nowhere]);
    assert_ne!(client::post(proxy.admin, "/reload").status, 200);
    assert_eq!((mode(&path), fs::metadata(&new).is_ok()), (0o600, false));
    write(&[of(0o666), listener("new", &pipe(&new))]);
    assert_eq!(client::post(proxy.admin, "/reload").status, 200);
    assert_eq!(mode(&path), 0o666);
    assert!(get(&path, "/").ends_with("a") && get(&new, "/").ends_with("new"));
}

#[test]
fn a_host_at_a_path_is_checked_and_may_be_added_by_hand() {
    let folder = Folder::new();
    let (one, two) = (folder.at("one"), folder.at("two"));
    let check = "    health_checks: [{timeout: 1s, interval: 0.05s, no_traffic_interval: 0.05s, unhealthy_threshold: 1, healthy_threshold: 1, http_health_check: {path: /}}]\n";
    let port = "{socket_address: {address: 127.0.0.1, port_value: 0}}";
    let listeners = [listener("front", port), listener("two", &pipe(&two))];
    let proxy = Proxy::start(&config(&listeners, &cluster(&one, check)));
    let status = || client::get(proxy.listener("front"), "/on").status;
    let clusters = || client::get(proxy.admin, "/clusters").text();
    let failed = format!("on::{one}::health_flags::/failed_active_hc\n");
    wait_for("the check to fail", || clusters().contains(&failed).then_some(()));
    let add = format!("/clusters/endpoints?cluster=on&add={two}");
    assert_eq!(client::post(proxy.admin, &add).status, 200);
    let well = format!("on::{two}::health_flags::healthy\n");
    wait_for("the other to be well", || clusters().contains(&well).then_some(()));
    assert_eq!(status(), 200);
}

/// What is not there is told as in Envoy 1.40.
#[test]
fn nobody_at_a_path_is_a_failed_connection() {
    let folder = Folder::new();
    let port = "{socket_address: {address: 127.0.0.1, port_value: 0}}";
    let proxy = Proxy::start(&config(&[listener("front", port)], &cluster(&folder.at("gone"), "")));
    let answer = client::get(proxy.listener("front"), "/on");
    assert_eq!(answer.status, 503);
    assert!(
        answer.text().ends_with("reset reason: remote connection failure"),
        "{}",
        answer.text()
    );
    assert_eq!(proxy.stat("cluster.on.upstream_cx_connect_fail"), Some(1));
    let failures = client::get(proxy.admin, "/failures").text();
    let told = "immediate_connect_error:_No_such_file_or_directory|remote_address:";
    assert!(failures.contains(told), "{failures}");
    assert!(failures.contains("(No such file or directory)"), "{failures}");
}

#[test]
fn much_goes_through_a_tcp_proxy_from_path_to_path() {
    const BYTES: usize = 8 << 20;
    let folder = Folder::new();
    let (front, back) = (folder.at("front"), folder.at("back"));
    let chain = |name: &str, path: &str, filter: &str| {
        format!(
            "  - name: {name}\n    address: {}\n    filter_chains: [{{filters: [{{name: f, typed_config: {{\"@type\": {TYPES}.network.{filter}}}}}]}}]\n",
            pipe(path)
        )
    };
    let listeners = [
        chain("front", &front, "tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: \"on\""),
        chain("back", &back, "echo.v3.Echo"),
    ];
    let _proxy = Proxy::start(&config(&listeners, &cluster(&back, "")));
    let stream = UnixStream::connect(&front).expect("somebody listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let sent: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let mut got = vec![0; BYTES];
    std::thread::scope(|threads| {
        threads.spawn(|| (&stream).write_all(&sent).expect("it takes all"));
        (&stream).read_exact(&mut got).expect("all comes back");
    });
    assert!(got == sent);
    stream.shutdown(std::net::Shutdown::Write).expect("an end");
    assert_eq!((&stream).read(&mut got).expect("the other end"), 0);
}

#[test]
fn the_admin_port_may_be_a_path_for_its_owner_alone() {
    let folder = Folder::new();
    let (admin, path) = (folder.at("admin"), folder.at("path"));
    let file = folder.at("config.yaml");
    fs::write(&file, format!("admin: {{address: {{pipe: {{path: \"{admin}\", mode: 384}}}}}}\n"))
        .expect("a configuration");
    let running = binary()
        .args(["-c", &file, "--admin-address-path", &path])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let _running = Running(running.expect("the binary runs"));
    wait_for("the admin port", || UnixStream::connect(&admin).ok());
    assert_eq!(mode(&admin), 0o600);
    wait_for("it to be ready", || get(&admin, "/ready").contains("LIVE").then_some(()));
    let told = || fs::read_to_string(&path).is_ok_and(|told| told.trim() == admin);
    wait_for("its address to be written", || told().then_some(()));
}

#[test]
fn paths_that_cannot_be_are_refused_with_their_place() {
    let folder = Folder::new();
    let file = folder.at("config.yaml");
    for (address, told) in [
        (pipe(&format!("/{}", "x".repeat(107))), "longer than the path of a unix socket may be"),
        ("{pipe: {path: \"@name\", mode: 384}}".to_owned(), "an abstract name has no file"),
        ("{pipe: {path: \"/a\", mode: 512}}".to_owned(), "mode"),
        ("{pipe: {path: \"\"}}".to_owned(), "path"),
    ] {
        fs::write(&file, config(&[listener("a", &address)], &cluster("/nobody", "")))
            .expect("a configuration");
        let run = binary().args(["--mode", "validate", "-c", &file]).output().expect("it runs");
        let text = String::from_utf8_lossy(&run.stderr);
        assert!(!run.status.success() && text.contains(told), "{address}: {text}");
        assert!(text.contains("listeners[0].address"), "{text}");
    }
    let dns = cluster("/a", "    type: STRICT_DNS\n");
    fs::write(&file, config(&[], &dns)).expect("a configuration");
    let run = binary().args(["--mode", "validate", "-c", &file]).output().expect("it runs");
    let text = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && text.contains("a pipe is no name"), "{text}");
}
