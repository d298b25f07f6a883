//! Owns a question to one name server and its answer: over UDP, and over TCP where that is too short.
//!
//! What nobody asked for is no answer: it has to come from the server's address, with the question's number and
//! the question itself (RFC 5452, section 9). What is not, over UDP, is as if nothing had come.

use std::{
    hash::{BuildHasher, RandomState},
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use hickory_resolver::proto::{
    ProtoError,
    op::{Edns, Message, Query, ResponseCode},
    rr::{Name, RecordType},
};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

/// Bytes of an answer over UDP at most; none comes longer than was agreed upon.
const UDP_BYTES_MAX: usize = 4096;

/// What a server is told that it may send over UDP, where it is told anything: what no path cuts up.
///
/// Source: DNS flag day 2020.
const UDP_BYTES_OFFERED: u16 = 1232;

/// Questions that are asked from one port; so nobody has long to guess it.
const QUESTIONS_MAX: u32 = 64;

/// Sockets that wait for another question.
const IDLE_MAX: usize = 16;

/// Bytes before the question (RFC 1035, 4.1.1).
const HEAD_BYTES: usize = 12;

/// Response codes (RFC 1035, 4.1.1).
const FORM_ERR: u8 = 1;
const NOT_IMP: u8 = 4;

/// The way to one name server.
pub(super) struct Line {
    server: SocketAddr,
    tcp_only: bool,
    edns: bool,
    /// No question is under way on them.
    idle: Mutex<Vec<Socket>>,
    /// Makes numbers of questions that nobody can foresee.
    secret: RandomState,
    asked: AtomicU64,
}

/// A socket that hears nobody but the server.
struct Socket {
    udp: UdpSocket,
    questions_left: u32,
}

/// A question as it is sent.
struct Question {
    bytes: Vec<u8>,
    /// Where in them the question itself is.
    asks: Range<usize>,
}

/// What came of a question.
enum Heard {
    Answer(Message),
    Truncated,
}

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("nothing in time")]
    TimedOut,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("what is no answer to the question")]
    NoAnswer,
    #[error("{0}")]
    Code(ResponseCode),
    #[error("the question cannot be asked: {0}")]
    Question(#[from] ProtoError),
}

// === impl Line ===

impl Line {
    pub(super) fn new(server: SocketAddr, tcp_only: bool, edns: bool) -> Self {
        let (secret, asked) = (RandomState::new(), AtomicU64::new(0));
        Self { server, tcp_only, edns, idle: Mutex::default(), secret, asked }
    }

    /// Asks once. The caller bounds the time, and calls [`Line::forget`] where that is over.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, AskError> {
        let answer = self.ask_with(name, kind, self.edns).await?;
        match answer.metadata.response_code {
            // A server that does not know what was offered (RFC 6891, section 7).
            ResponseCode::FormErr | ResponseCode::NotImp if self.edns => {
                self.ask_with(name, kind, false).await
            }
            _ => Ok(answer),
        }
    }

    /// Lets go of all sockets: where one hears nothing, the others may not either, since our own address may be
    /// another now.
    pub(super) fn forget(&self) {
        self.idle.lock().clear();
    }

    async fn ask_with(
        &self,
        name: &Name,
        kind: RecordType,
        edns: bool,
    ) -> Result<Message, AskError> {
        let number = self.secret.hash_one(self.asked.fetch_add(1, Relaxed));
        let question = Question::new(number as u16, name, kind, edns)?;
        if !self.tcp_only {
            match self.over_udp(&question).await? {
                Heard::Answer(answer) => return Ok(answer),
                Heard::Truncated => {}
            }
        }
        self.over_tcp(&question).await
    }

    async fn over_udp(&self, question: &Question) -> Result<Heard, AskError> {
        let kept = self.idle.lock().pop();
        let mut socket = match kept {
            Some(socket) => socket,
            None => Socket::to(self.server).await?,
        };
        socket.udp.send(&question.bytes).await?;
        let answer = loop {
            socket.udp.readable().await?;
            if let Some(answer) = socket.take_answer(question)? {
                break answer;
            }
        };
        socket.questions_left -= 1;
        let mut idle = self.idle.lock();
        if socket.questions_left > 0 && idle.len() < IDLE_MAX {
            idle.push(socket);
        }
        Ok(answer)
    }

    async fn over_tcp(&self, question: &Question) -> Result<Message, AskError> {
        let mut stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let length = question.bytes.len() as u16;
        let sent = [&length.to_be_bytes(), &question.bytes[..]].concat();
        stream.write_all(&sent).await?;
        let mut answer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut answer).await?;
        match question.answered_by(&answer) {
            Some(Heard::Answer(answer)) => Ok(answer),
            Some(Heard::Truncated) | None => Err(AskError::NoAnswer),
        }
    }
}

// === impl Socket ===

impl Socket {
    /// From a port that the system chooses.
    async fn to(server: SocketAddr) -> io::Result<Self> {
        let here: SocketAddr = match server {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let udp = UdpSocket::bind(here).await?;
        udp.connect(server).await?;
        Ok(Self { udp, questions_left: QUESTIONS_MAX })
    }

    /// The answer, if it is among what has come; the rest is dropped.
    fn take_answer(&self, question: &Question) -> io::Result<Option<Heard>> {
        let mut bytes = [0; UDP_BYTES_MAX];
        loop {
            match self.udp.try_recv(&mut bytes) {
                Ok(length) => {
                    let answer = bytes.get(..length).and_then(|bytes| question.answered_by(bytes));
                    if answer.is_some() {
                        return Ok(answer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}

// === impl Question ===

impl Question {
    fn new(id: u16, name: &Name, kind: RecordType, edns: bool) -> Result<Self, ProtoError> {
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name.clone(), kind));
        let length = message.to_vec()?.len();
        if edns {
            let mut offer = Edns::new();
            offer.set_max_payload(UDP_BYTES_OFFERED);
            message.set_edns(offer);
        }
        Ok(Self { bytes: message.to_vec()?, asks: HEAD_BYTES..length })
    }

    /// What these bytes answer to it, if that is what they are.
    fn answered_by(&self, bytes: &[u8]) -> Option<Heard> {
        let flags = bytes.get(2..4)?;
        let (is_answer, truncated) = (flags[0] & 0x80 != 0, flags[0] & 0x02 != 0);
        // Who could not read a question need not repeat it.
        let unread = matches!(flags[1] & 0x0f, FORM_ERR | NOT_IMP);
        let repeated = match bytes.get(4..6)? {
            [0, 0] => unread,
            [0, 1] => {
                let asks =
                    |bytes: &[u8]| bytes.get(self.asks.clone()).map(<[u8]>::to_ascii_lowercase);
                asks(bytes)? == asks(&self.bytes)?
            }
            _ => false,
        };
        if !is_answer || !repeated || bytes.get(..2)? != self.bytes.get(..2)? {
            return None;
        }
        if truncated {
            // Wherever it was cut: it is not read.
            return Some(Heard::Truncated);
        }
        Message::from_vec(bytes).ok().map(Heard::Answer)
    }
}
