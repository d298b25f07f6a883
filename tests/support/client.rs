//! Owns a plain HTTP/1 client: it sends bytes as they are and reads answers as they come.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// One connection.
pub struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status line, without its end.
    pub status_line: String,
    /// The status in it.
    pub status: u16,
    /// Names and values in the order of the wire.
    pub headers: Vec<(String, String)>,
    /// The body, unchunked.
    pub body: Vec<u8>,
    /// Trailers of a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// Sends one GET on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address).request(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
}

/// Sends one POST without a body on a connection of its own.
pub fn post(address: SocketAddr, path: &str) -> Answer {
    Client::connect(address)
        .request(format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"))
}

// === impl Client ===

impl Client {
    /// Connects; reads give up after ten seconds.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the proxy should take the connection")
    }

    /// Connects, or says why not.
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Our end of the connection.
    pub fn local(&self) -> SocketAddr {
        self.stream.local_addr().expect("a bound socket")
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("the proxy should take the bytes");
    }

    /// Sends bytes, and does not mind when the other side has closed.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request and reads its answer.
    pub fn request(&mut self, bytes: impl AsRef<[u8]>) -> Answer {
        self.send(bytes);
        self.answer()
    }

    /// Reads one answer.
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer should come")
    }

    /// Reads one answer to a HEAD request.
    pub fn answer_to_head(&mut self) -> Answer {
        self.try_answer(true).expect("an answer should come")
    }

    /// Reads the head of an answer alone: what follows is no body.
    pub fn head(&mut self) -> io::Result<Answer> {
        self.try_answer(true)
    }

    /// Reads one answer, or says why none came.
    pub fn try_answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let head = self.until(b"\r\n\r\n")?;
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.trim_end().split("\r\n");
        let status_line = lines.next().unwrap_or_default().to_owned();
        let status = status_line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        let headers: Vec<_> = lines.map(split_header).collect();
        let mut answer =
            Answer { status_line, status, headers, body: Vec::new(), trailers: Vec::new() };
        let bodiless = to_head || status < 200 || status == 204 || status == 304;
        if bodiless {
            return Ok(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            loop {
                let size = self.until(b"\r\n")?;
                let size = String::from_utf8_lossy(&size);
                let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
                if size == 0 {
                    break;
                }
                let chunk = self.exactly(size + 2)?;
                answer.body.extend_from_slice(&chunk[..size]);
            }
            loop {
                let line = self.until(b"\r\n")?;
                if line == b"\r\n" {
                    break;
                }
                answer.trailers.push(split_header(String::from_utf8_lossy(&line).trim_end()));
            }
        } else if let Some(length) = answer.header("content-length") {
            let length = length.parse().map_err(io::Error::other)?;
            answer.body = self.exactly(length)?;
        } else {
            while self.fill()? > 0 {}
            answer.body = std::mem::take(&mut self.read);
        }
        Ok(answer)
    }

    /// Reads one chunked answer and throws it away; gives the length of its body and of its longest chunk.
    pub fn chunks(&mut self) -> io::Result<(usize, usize)> {
        self.until(b"\r\n\r\n")?;
        let (mut length, mut longest) = (0, 0);
        loop {
            let size = self.until(b"\r\n")?;
            let size = String::from_utf8_lossy(&size);
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            while self.read.len() < size + 2 {
                if self.fill()? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            self.read.drain(..size + 2);
            if size == 0 {
                return Ok((length, longest));
            }
            (length, longest) = (length + size, longest.max(size));
        }
    }

    /// Whether the other side closes, within ten seconds; what it sends until then is thrown away.
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.fill() {
                Ok(0) => return true,
                Ok(_) => self.read.clear(),
                Err(error) => return error.kind() == io::ErrorKind::ConnectionReset,
            }
        }
    }

    /// Closes our direction.
    pub fn half_close(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    fn until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            if let Some(at) = self.read.windows(end.len()).position(|window| window == end) {
                return Ok(self.read.drain(..at + end.len()).collect());
            }
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Reads so many bytes.
    pub fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.read.drain(..count).collect())
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        self.read.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

fn split_header(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_owned(), value.trim().to_owned())
}

// === impl Answer ===

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
