//! Owns a network of a test's own, in which the kernel redirects its connections.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Command, Output, Stdio},
};

/// Says that a test runs in a network of its own already.
const INSIDE: &str = "UNDERSTUDY_TEST_NAMESPACE";

/// What must be there, and where it is to be had.
const TOOLS: [(&str, &str, &str); 3] = [
    ("unshare", "--version", "util-linux"),
    ("ip", "-Version", "iproute2"),
    ("nft", "--version", "nftables"),
];

/// A network in which all of 10.9.0.0/16 and fd00:9::/32 is this machine.
const NETWORK: &str = "ip link set lo up && ip route add local 10.9.0.0/16 dev lo && \
                       ip -6 route add local fd00:9::/32 dev lo";

/// Runs the test of this name in a network of its own: another process of the same test does it. Where the machine
/// does not let it, it is not run, which is said; on CI the tools have to be there.
///
/// # Panics
///
/// When the test fails there.
pub fn in_its_own_network(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        run("sh", &["-c", NETWORK]);
        return body();
    }
    let not_run = |why: &str| {
        // Past the capture of `println!`, which shows nothing of a test that passes.
        let _ = writeln!(std::io::stderr(), "NOT RUN, {test}: {why}");
    };
    for (tool, flag, package) in TOOLS {
        if Command::new(tool).arg(flag).output().is_err() {
            let why = format!("{tool} is not on the PATH (Debian: apt-get install {package})");
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {why}");
            return not_run(&why);
        }
    }
    // Root of the machine, or of a namespace of its own.
    let ways: [&[&str]; 2] = [&["--net"], &["--map-root-user", "--net"]];
    let try_it = format!("{NETWORK} && echo '{}' | nft -f -", rules(1));
    let tries = ways.map(|way| (way, unshared(way, &["sh", "-c", &try_it])));
    let Some((way, _)) = tries.iter().find(|(_, output)| output.status.success()) else {
        let [_, (_, output)] = &tries;
        let said = String::from_utf8_lossy(&output.stderr);
        return not_run(&format!("no network namespace with redirects: {}", said.trim()));
    };
    let own = std::env::current_exe().expect("the test is a file");
    let own = own.to_str().expect("its path is text");
    let output = unshared(way, &[own, "--exact", test, "--nocapture"]);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Whatever goes to 10.9.0.0/16 or fd00:9::/32 from here on comes to this port (REDIRECT), but for what is marked
/// (`SO_MARK`), as by a proxy that sends it there.
pub fn redirect_to(port: u16) {
    assert!(load(&rules(port)), "nft has set no rules");
}

/// What goes to port 80 or 81 of 10.9.0.0/16 from here on comes to this place as it is (TPROXY); false where the kernel
/// has no such thing, which is said.
pub fn steer_to(place: SocketAddr) -> bool {
    let rules = format!(
        "table ip test; delete table ip test; table ip test {{ chain in {{ type filter hook prerouting priority -150; \
         iif lo ip daddr 10.9.0.0/16 tcp dport {{ 80, 81 }} tproxy to {place} accept; }}; }};"
    );
    let loaded = load(&rules);
    if !loaded {
        let _ = writeln!(std::io::stderr(), "NOT RUN, what TPROXY steers: nft has set no rules");
    }
    loaded
}

fn load(rules: &str) -> bool {
    let nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn();
    let mut nft = nft.expect("nft runs");
    let mut stdin = nft.stdin.take().expect("a pipe");
    stdin.write_all(rules.as_bytes()).expect("nft reads");
    drop(stdin);
    nft.wait().expect("nft ends").success()
}

fn rules(port: u16) -> String {
    let table = |family: &str, to: &str| {
        format!(
            "table {family} test; delete table {family} test; \
             table {family} test {{ chain out {{ type nat hook output priority -100; \
             {family} daddr {to} meta mark 0 meta l4proto tcp redirect to :{port}; }}; }};"
        )
    };
    table("ip", "10.9.0.0/16") + &table("ip6", "fd00:9::/32")
}

fn unshared(way: &[&str], command: &[&str]) -> Output {
    let output = Command::new("unshare").args(way).args(command).env(INSIDE, "yes").output();
    output.expect("unshare runs")
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?} failed");
}
