//! How the process starts and ends.

mod support;

use std::{
    io::Write,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use support::{
    client::{self, Client},
    config::{front, front_with},
    h2::H2Client,
    origin::Origin,
    proxy::{Proxy, binary, folder},
    wait_for,
};

#[test]
fn an_answer_in_flight_is_finished_and_idle_connections_close_at_once() {
    let origin = Origin::answering(|stream, _| {
        std::thread::sleep(Duration::from_millis(700));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
    });
    let mut proxy = Proxy::start(&front(&[("a", &[origin.address])]));
    let address = proxy.listener("main");
    let (mut idle, mut busy) = (Client::connect(address), Client::connect(address));
    busy.send("GET /a HTTP/1.1\r\nhost: t\r\n\r\n");
    wait_for("the request upstream", || {
        (proxy.stat("cluster.a.upstream_rq_active")? == 1).then_some(())
    });
    proxy.signal("TERM");
    assert!(idle.is_closed());
    let answer = busy.answer();
    assert_eq!((answer.text().as_str(), answer.header("connection")), ("done", Some("close")));
    assert!(proxy.exit_status().success());
}

#[test]
fn an_answer_that_does_not_end_is_cut_when_its_time_is_up_and_a_second_signal_cuts_at_once() {
    let origin = Origin::answering(|_, _| std::thread::sleep(Duration::from_secs(20)));
    let config = front(&[("a", &[origin.address])]);
    for (flags, signals) in [(["--shutdown-time-s", "1"], 1), (["--shutdown-time-s", "60"], 2)] {
        let mut proxy = Proxy::start_with(&config, &flags);
        let mut busy = Client::connect(proxy.listener("main"));
        busy.send("GET /a HTTP/1.1\r\nhost: t\r\n\r\n");
        wait_for("the request upstream", || {
            (proxy.stat("cluster.a.upstream_rq_active")? == 1).then_some(())
        });
        let begun = Instant::now();
        for _ in 0..signals {
            proxy.signal("INT");
            wait_for("the signal to be caught", || proxy.log().contains("SIGINT").then_some(()));
        }
        assert!(proxy.exit_status().success());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let file = folder().join("config.yaml");
    let config = front(&[]).replacen(
        "name: main\n    address: {socket_address: {address: 127.0.0.1, port_value: 0",
        &format!(
            "name: main\n    address: {{socket_address: {{address: 127.0.0.1, port_value: {port}"
        ),
        1,
    );
    std::fs::write(&file, config).expect("the file can be written");
    let output = binary().arg("-c").arg(&file).output().expect("the binary runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains(&format!("127.0.0.1:{port}")) && told.contains("another process has it"),
        "{told}"
    );
}

#[test]
fn what_cannot_be_read_opened_or_bound_is_a_clear_error() {
    let folder = folder();
    let file = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).expect("the file can be written");
        path.display().to_string()
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("its address").port();
    let good = file("good.yaml", front(&[]));
    let admin = front(&[]).replacen("port_value: 0", &format!("port_value: {port}"), 1);
    let admin = file("admin.yaml", admin);
    let admin_log = front(&[]).replacen("admin:\n", "admin:\n  access_log_path: /none/log\n", 1);
    let admin_log = file("admin_log.yaml", admin_log);
    let log = "          access_log: [{name: f, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /none/log}}]";
    let log = file("log.yaml", front_with(&[], log));
    let nowhere = front(&[]).replace(
        "name: main\n    address: {socket_address: {address: 127.0.0.1",
        "name: main\n    address: {socket_address: {address: 203.0.113.7",
    );
    let nowhere = file("nowhere.yaml", nowhere);
    for (arguments, told) in [
        (&["-c", "/none.yaml"][..], "cannot read /none.yaml: No such file"),
        (&["-c", "/"], "cannot read /: Is a directory"),
        (&[], "a configuration is wanted"),
        (&["-c", &admin], "for the admin port"),
        (&["-c", &admin_log], "access log \"/none/log\" cannot be opened"),
        (&["-c", &log], "access log \"/none/log\" cannot be opened"),
        (&["-c", &nowhere], "no interface of this machine has that address"),
        (&["-c", &good, "--log-path", "/none/log"], "--log-path \"/none/log\" cannot be opened"),
        (&["-c", &good, "--admin-address-path", "/none/a"], "--admin-address-path"),
        (&["-c", &good, "-l", "loud"], "invalid log level specified 'loud'"),
        (&["-c", &good, "--component-log-level", "no:info"], "invalid component specified 'no'"),
        (&["-c", &good, "--restart-epoch", "1"], "there is no hot restart yet"),
        (&["-c", &good, "--concurrency", "x"], "--concurrency"),
    ] {
        let output = binary().args(arguments).output().expect("the binary runs");
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}\n{text}");
        assert!(text.contains(told), "{arguments:?}\n{text}");
    }
}

#[test]
fn under_load_every_request_that_reached_a_host_is_answered_at_the_end() {
    for end in ["TERM", "INT", "/quitquitquit"] {
        let reached = Arc::new(AtomicU64::new(0));
        let count = reached.clone();
        let origin = Origin::answering(move |stream, _| {
            count.fetch_add(1, SeqCst);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone");
        });
        let mut proxy = Proxy::start(&front(&[("a", &[origin.address])]));
        let address = proxy.listener("main");
        let one = std::iter::repeat_with(|| {
            let mut client = Client::connect(address);
            std::thread::spawn(move || {
                let mut answers = 0;
                while client.try_send("GET /a HTTP/1.1\r\nhost: t\r\n\r\n").is_ok() {
                    let Ok(answer) = client.try_answer(false) else { break };
                    assert_eq!(answer.status, 200);
                    answers += 1;
                }
                answers
            })
        });
        let two = std::iter::repeat_with(|| {
            let mut client = H2Client::connect(address);
            std::thread::spawn(move || {
                std::iter::from_fn(|| client.get("/a").ok())
                    .map(|(status, _)| u64::from(status == 200))
                    .sum()
            })
        });
        let clients: Vec<_> = one.take(6).chain(two.take(3)).collect();
        wait_for("some load", || (reached.load(SeqCst) > 200).then_some(()));
        match end.starts_with('/') {
            true => drop(client::post(proxy.admin, end)),
            false => proxy.signal(end),
        }
        assert!(proxy.exit_status().success());
        let answered: u64 =
            clients.into_iter().map(|client| client.join().expect("no panic")).sum();
        assert_eq!(answered, reached.load(SeqCst), "{end}");
    }
}

#[test]
fn an_immediate_drain_says_goodbye_with_the_next_answer_and_closes_when_its_time_is_over() {
    let origin = Origin::saying("done");
    let flags = ["--drain-strategy", "immediate", "--drain-time-s", "1"];
    let proxy = Proxy::start_with(&front(&[("a", &[origin.address])]), &flags);
    let address = proxy.listener("main");
    let mut client = Client::connect(address);
    let get = "GET /a HTTP/1.1\r\nhost: t\r\n\r\n";
    assert_eq!(client.request(get).header("connection"), None);
    assert_eq!(client::post(proxy.admin, "/drain_listeners?graceful").status, 200);
    assert_eq!(client.request(get).header("connection"), Some("close"));
    wait_for("the listener to close", || Client::try_connect(address).is_err().then_some(()));
    let told = client::get(proxy.admin, "/server_info").text();
    assert!(told.contains("\"drain_strategy\": \"Immediate\""), "{told}");
}

#[test]
fn a_flag_that_is_not_done_is_refused_by_name() {
    let output = binary().arg("--socket-path").arg("x").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--socket-path") && told.contains("not supported yet"), "{told}");
}
