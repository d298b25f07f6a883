//! The demo: one command brings up the tutorial, another scales it, and no request fails.

mod support;

use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Stdio},
};

use support::{client::get, proxy::binary, wait_for};

struct Demo {
    child: Child,
    proxy: SocketAddr,
    admin: SocketAddr,
    control: String,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its address").port()
}

fn demo(concurrency: &str) -> Demo {
    // Services and DNS take ports of the system's choice only where the proxy does.
    let mut child = binary()
        .args(["demo", "--port", "0", "--control-port", "0", "--concurrency", concurrency])
        .args(["--admin-port", "0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let log = BufReader::new(child.stderr.take().expect("its log"));
    let (tell, admin) = std::sync::mpsc::channel();
    // Read to its end: a pipe that nobody empties would stop the demo.
    std::thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            if let Some((_, address)) = line.split_once("admin address: ") {
                let _ = tell.send(address.parse::<SocketAddr>());
            }
        }
    });
    let told = BufReader::new(child.stdout.take().expect("its output"));
    let control = told.lines().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("(control port ")?;
        Some(port.trim_end_matches(')').to_owned())
    });
    let admin = admin.recv().expect("the demo runs").expect("the admin port is told");
    let proxy = wait_for("the demo", || {
        std::net::TcpStream::connect(admin).ok()?;
        if get(admin, "/ready").status != 200 {
            return None;
        }
        get(admin, "/listeners").text().trim().rsplit("::").next()?.parse().ok()
    });
    Demo { child, proxy, admin, control: control.expect("the control port is told") }
}

fn hostname(demo: &Demo) -> String {
    let answer = get(demo.proxy, "/service/1");
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = answer.text();
    text.split("hostname: ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next())
        .unwrap_or_default()
        .to_owned()
}

fn scale(demo: &Demo, wanted: &str, hosts: usize) {
    let output = binary().args(["demo", "scale", wanted, "--control-port", &demo.control]).output();
    let output = output.expect("the binary runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = format!("cluster.service1.membership_total: {hosts}\n");
    wait_for(&expected, || {
        hostname(demo);
        let stats = get(demo.admin, "/stats?filter=service1.membership_total").text();
        stats.contains(&expected).then_some(())
    });
}

#[test]
fn the_tutorial_runs_scales_up_and_down_and_no_request_fails() {
    for concurrency in ["1", "4"] {
        let demo = demo(concurrency);
        for service in [1, 2] {
            let answer = get(demo.proxy, &format!("/service/{service}"));
            assert_eq!(answer.status, 200);
            let hello = format!("Hello from behind Envoy (service {service})! hostname: ");
            assert!(answer.text().starts_with(&hello), "{}", answer.text());
            assert_eq!(answer.header("server"), Some("envoy"));
        }
        assert_eq!(get(demo.proxy, "/service/3").status, 404);
        scale(&demo, "service1=3", 3);
        let turns: Vec<String> = (0..9).map(|_| hostname(&demo)).collect();
        assert_eq!(turns.iter().collect::<HashSet<_>>().len(), 3, "{turns:?}");
        assert!(
            turns[..3] == turns[3..6] && turns[3..6] == turns[6..],
            "a strict rotation: {turns:?}"
        );
        scale(&demo, "service1=1", 1);
        let turns: HashSet<String> = (0..6).map(|_| hostname(&demo)).collect();
        assert_eq!(turns.len(), 1);
    }
}

#[test]
fn scaling_without_a_demo_or_to_nonsense_says_so() {
    let port = free_port().to_string();
    let output = binary().args(["demo", "scale", "service1=2", "--control-port", &port]).output();
    let output = output.expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no demo answers"), "{output:?}");
    let demo = demo("1");
    for wanted in ["service9=2", "service1=999", "service1=many"] {
        let output =
            binary().args(["demo", "scale", wanted, "--control-port", &demo.control]).output();
        assert_eq!(output.expect("the binary runs").status.code(), Some(1), "{wanted}");
    }
}
