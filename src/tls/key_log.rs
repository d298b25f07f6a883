//! Owns `key_log`: the secrets of handshakes in a file, for those who look into captured connections (the form of NSS).

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    net::IpAddr,
    path::PathBuf,
    sync::OnceLock,
};

use ipnet::IpNet;
use rustls::KeyLog;

use super::certificate::hex;

/// A file that secrets are written to. It is opened by the first handshake: nobody who reads a configuration makes files.
#[derive(Debug)]
pub struct KeyLogFile {
    path: PathBuf,
    /// `local_address_range`; empty is any.
    local: Vec<IpNet>,
    /// `remote_address_range`
    remote: Vec<IpNet>,
    file: OnceLock<Option<File>>,
}

/// Both ends of a connection; none of what is no IP address.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ends {
    /// Ours.
    pub local: Option<IpAddr>,
    /// The peer's.
    pub remote: Option<IpAddr>,
}

// === impl KeyLogFile ===

impl KeyLogFile {
    /// At this path, of connections whose ends are both within these; what is there stays.
    pub fn at(path: PathBuf, local: Vec<IpNet>, remote: Vec<IpNet>) -> Self {
        Self { path, local, remote, file: OnceLock::new() }
    }

    /// Whether secrets of such a connection are written.
    pub(super) fn takes(&self, ends: Ends) -> bool {
        let within = |ranges: &[IpNet], end: Option<IpAddr>| {
            let known = |end: IpAddr| ranges.iter().any(|range| range.contains(&end));
            ranges.is_empty() || end.map(|end| end.to_canonical()).is_some_and(known)
        };
        within(&self.local, ends.local) && within(&self.remote, ends.remote)
    }

    fn open(&self) -> Option<File> {
        let opened = OpenOptions::new().create(true).append(true).open(&self.path);
        let told = |error| {
            let path = self.path.display();
            tracing::warn!(target: "connection", "key_log: cannot open {path}: {error}");
        };
        opened.map_err(told).ok()
    }
}

impl KeyLog for KeyLogFile {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let Some(file) = self.file.get_or_init(|| self.open()) else { return };
        let mut line = String::new();
        let _ = writeln!(line, "{label} {} {}", hex(client_random), hex(secret));
        // A line is appended at once, whoever else writes. Who debugs sees that one is missing; the connection does not need it.
        let _ = (&*file).write_all(line.as_bytes());
    }
}
