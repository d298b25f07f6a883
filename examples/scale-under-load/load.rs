//! Owns the load: so many requests a second, each at its time, whether or not those before it were answered in theirs.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

/// Clients beside each other, each with a connection of its own.
const CLIENTS: u64 = 32;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// One request.
pub(crate) struct Asked {
    /// When it was due.
    pub(crate) at: Duration,
    /// How long after that the answer was there.
    pub(crate) took: Duration,
    /// Which host answered, or what went wrong.
    pub(crate) answer: Result<String, String>,
}

/// Clients that go on until they are told to end.
pub(crate) struct Load {
    since: Instant,
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Asked>>>,
}

// === impl Load ===

impl Load {
    pub(crate) fn begin(proxy: SocketAddr, rate: u64) -> Self {
        let (since, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let client = |number: u64| {
            let stopped = stop.clone();
            thread::spawn(move || client(proxy, rate, number, since, &stopped))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { since, stop, clients }
    }

    pub(crate) fn now(&self) -> Duration {
        self.since.elapsed()
    }

    /// Ends; gives every request, in the order in which they were due.
    pub(crate) fn end(self) -> Vec<Asked> {
        self.stop.store(true, SeqCst);
        let mut all: Vec<_> =
            self.clients.into_iter().flat_map(|client| client.join().unwrap_or_default()).collect();
        all.sort_by_key(|asked| asked.at);
        all
    }
}

fn client(
    proxy: SocketAddr,
    rate: u64,
    number: u64,
    since: Instant,
    stopped: &AtomicBool,
) -> Vec<Asked> {
    let (mut all, mut connection) = (Vec::new(), None);
    for turn in 0.. {
        let at = Duration::from_secs_f64((turn * CLIENTS + number) as f64 / rate as f64);
        sleep(at.saturating_sub(since.elapsed()));
        if stopped.load(SeqCst) {
            break;
        }
        let answer = ask(&mut connection, proxy);
        if answer.is_err() {
            connection = None;
        }
        all.push(Asked { at, took: since.elapsed().saturating_sub(at), answer });
    }
    all
}

fn ask(connection: &mut Option<TcpStream>, proxy: SocketAddr) -> Result<String, String> {
    let text = exchange(connection, proxy).map_err(|error| error.to_string())?;
    match text.split_once("hostname: ") {
        Some((head, rest)) if head.starts_with("HTTP/1.1 200") => {
            Ok(rest.split(' ').next().unwrap_or_default().to_owned())
        }
        _ => Err(text.replace("\r\n", " | ")),
    }
}

/// One answer, head and body.
fn exchange(connection: &mut Option<TcpStream>, proxy: SocketAddr) -> io::Result<String> {
    let stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(proxy)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            connection.insert(stream)
        }
    };
    stream.write_all(b"GET /service/1 HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse::<usize>().ok());
        if length.is_none_or(|length| body.len() >= length) {
            return Ok(text.into_owned());
        }
    }
}
