//! Owns a running proxy: the built binary with a configuration, ended with its drop.

use std::{
    fs,
    io::Read,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::{client, wait_for};

static RUNS: AtomicU32 = AtomicU32::new(0);

/// A proxy with an admin port.
pub struct Proxy {
    child: Child,
    /// The admin port.
    pub admin: SocketAddr,
    /// A folder of this run's own.
    pub folder: PathBuf,
}

/// A folder that no other test uses.
pub fn folder() -> PathBuf {
    let run = RUNS.fetch_add(1, Relaxed);
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{run}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the test");
    folder
}

/// The built binary.
pub fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_understudy"))
}

// === impl Proxy ===

impl Proxy {
    /// Starts with a configuration and waits until it is ready.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &["--concurrency", "2"])
    }

    /// The same with flags of the test's choice.
    pub fn start_with(config: &str, flags: &[&str]) -> Self {
        let proxy = Self::spawn(config, flags);
        wait_for("the proxy to be ready", || {
            let ready = client::Client::try_connect(proxy.admin).ok()?;
            drop(ready);
            (client::get(proxy.admin, "/ready").status == 200).then_some(())
        });
        proxy
    }

    /// Starts and waits only for the admin port.
    pub fn spawn(config: &str, flags: &[&str]) -> Self {
        let folder = folder();
        let (file, address) = (folder.join("config.yaml"), folder.join("admin"));
        fs::write(&file, config).expect("the configuration can be written");
        let log = fs::File::create(folder.join("log")).expect("the log can be written");
        let mut child = binary()
            .arg("-c")
            .arg(&file)
            .arg("--admin-address-path")
            .arg(&address)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        let admin = wait_for("the admin address", || {
            if let Ok(Some(status)) = child.try_wait() {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                panic!("the proxy ended with {status}:\n{log}");
            }
            fs::read_to_string(&address).ok()?.trim().parse().ok()
        });
        Self { child, admin, folder }
    }

    /// Where a listener is bound, by its name.
    pub fn listener(&self, name: &str) -> SocketAddr {
        let listing = client::get(self.admin, "/listeners").text();
        let line = listing.lines().find_map(|line| line.strip_prefix(&format!("{name}::")));
        line.and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("no listener {name:?} in:\n{listing}"))
    }

    /// The value of one stat.
    pub fn stat(&self, name: &str) -> Option<u64> {
        let stats = client::get(self.admin, "/stats").text();
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.and_then(|value| value.parse().ok())
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -{name} failed");
    }

    /// Waits for the end of the process.
    pub fn exit_status(&mut self) -> ExitStatus {
        wait_for("the proxy to end", || self.child.try_wait().ok().flatten())
    }

    /// Whether the process still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let mut log = String::new();
        if let Ok(mut file) = fs::File::open(self.folder.join("log")) {
            let _ = file.read_to_string(&mut log);
        }
        log
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|v| v.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
