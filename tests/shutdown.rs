//! How the process starts and ends.

mod support;

use std::{
    io::Write,
    net::TcpListener,
    time::{Duration, Instant},
};

use support::{
    client::Client,
    config::front,
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
fn a_flag_that_is_not_done_is_refused_by_name() {
    let output = binary().arg("--socket-path").arg("x").output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("--socket-path") && told.contains("not supported yet"), "{told}");
}
