//! Owns `key_log`: the secrets of handshakes in a file, for those who look into captured connections (the form of NSS).

use std::{
    fmt::Write as _,
    fs::{File, OpenOptions},
    io::Write as _,
    path::PathBuf,
    sync::OnceLock,
};

use rustls::KeyLog;

use super::certificate::hex;

/// A file that secrets are written to. It is opened by the first handshake: nobody who reads a configuration makes files.
#[derive(Debug)]
pub struct KeyLogFile {
    path: PathBuf,
    file: OnceLock<Option<File>>,
}

// === impl KeyLogFile ===

impl KeyLogFile {
    /// At this path; what is there stays.
    pub fn at(path: PathBuf) -> Self {
        Self { path, file: OnceLock::new() }
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
