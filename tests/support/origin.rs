//! Owns origins: small HTTP/1 servers on threads, whose answers a test writes itself.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

use parking_lot::Mutex;

/// An origin; ends with its drop.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    stop: Arc<AtomicBool>,
    heads: Arc<Mutex<Vec<String>>>,
    accepted: Arc<AtomicUsize>,
}

/// What an origin does with a connection: it is given the stream and each request's head.
pub type Answering = Arc<dyn Fn(&mut TcpStream, &Request) + Send + Sync>;

/// A request as the origin saw it.
pub struct Request {
    /// Request line and headers.
    pub head: String,
    /// The body, unchunked.
    pub body: Vec<u8>,
}

// === impl Origin ===

impl Origin {
    /// Answers every request with 200 and this text.
    pub fn saying(text: &str) -> Self {
        let text = text.to_owned();
        Self::answering(move |stream, _| {
            let length = text.len();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}");
            let _ = stream.write_all(answer.as_bytes());
        })
    }

    /// Answers every request with so many MiB, as fast as they are taken.
    pub fn pouring(mib: usize) -> Self {
        Self::answering(move |stream, _| {
            let piece = vec![b'x'; 1024 * 1024];
            let length = mib * piece.len();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
            let mut taken = stream.write_all(head.as_bytes()).is_ok();
            for _ in 0..mib {
                taken = taken && stream.write_all(&piece).is_ok();
            }
        })
    }

    /// Agrees to become another protocol, and says all it hears again.
    pub fn echoing() -> Self {
        Self::answering(|stream, _| {
            let _ = stream.write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            );
            let mut heard = [0; 1024];
            while let Ok(count) = stream.read(&mut heard) {
                if count == 0 || stream.write_all(&heard[..count]).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers every request by `answer`.
    pub fn answering(answer: impl Fn(&mut TcpStream, &Request) + Send + Sync + 'static) -> Self {
        Self::on("127.0.0.1:0".parse().expect("an address"), answer)
    }

    /// The same on an address of the test's choice.
    pub fn on(
        address: SocketAddr,
        answer: impl Fn(&mut TcpStream, &Request) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("the bound address");
        let (stop, answer): (Arc<AtomicBool>, Answering) = (Arc::default(), Arc::new(answer));
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let accepted: Arc<AtomicUsize> = Arc::default();
        let (stopped, seen, count) = (stop.clone(), heads.clone(), accepted.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(SeqCst) {
                    return;
                }
                count.fetch_add(1, SeqCst);
                let (answer, seen, stopped) = (answer.clone(), seen.clone(), stopped.clone());
                std::thread::spawn(move || converse(stream, &answer, &seen, &stopped));
            }
        });
        Self { address, stop, heads, accepted }
    }

    /// Heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }

    /// How many connections were accepted.
    pub fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn converse(
    mut stream: TcpStream,
    answer: &Answering,
    heads: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) {
    let _ = stream.set_nodelay(true);
    let mut read = Vec::new();
    while let Some(request) = next_request(&mut stream, &mut read) {
        heads.lock().push(request.head.clone());
        answer(&mut stream, &request);
        if stop.load(SeqCst) {
            break;
        }
    }
    let _ = stream.shutdown(Shutdown::Both);
}

fn next_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Request> {
    let head = take_until(stream, read, b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let value = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_owned()).next()
    };
    let mut body = Vec::new();
    if value("transfer-encoding").is_some() {
        loop {
            let size = take_until(stream, read, b"\r\n")?;
            let size = usize::from_str_radix(String::from_utf8_lossy(&size).trim(), 16).ok()?;
            let chunk = take(stream, read, size + 2)?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = value("content-length").and_then(|length| length.parse().ok()) {
        body = take(stream, read, length)?;
    }
    Some(Request { head, body })
}

fn take_until(stream: &mut TcpStream, read: &mut Vec<u8>, end: &[u8]) -> Option<Vec<u8>> {
    loop {
        if let Some(at) = read.windows(end.len()).position(|window| window == end) {
            return Some(read.drain(..at + end.len()).collect());
        }
        fill(stream, read)?;
    }
}

fn take(stream: &mut TcpStream, read: &mut Vec<u8>, count: usize) -> Option<Vec<u8>> {
    while read.len() < count {
        fill(stream, read)?;
    }
    Some(read.drain(..count).collect())
}

fn fill(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<()> {
    let mut buffer = [0; 16 * 1024];
    match stream.read(&mut buffer) {
        Ok(count) if count > 0 => {
            read.extend_from_slice(&buffer[..count]);
            Some(())
        }
        _ => None,
    }
}
