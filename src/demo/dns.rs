//! Owns a small authoritative DNS server over UDP and TCP, for the demo's names.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};

/// Bytes of an answer over UDP (RFC 1035, 4.2.1); a longer one is cut, and asked for again over TCP.
const UDP_BYTES_MAX: usize = 512;

/// Seconds that an answer may be kept.
const TTL: u32 = 1;

/// How long a TCP client may take for a question.
const QUESTION_WAIT: Duration = Duration::from_secs(5);

/// What the names stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    by_name: Rc<RefCell<HashMap<String, Vec<Ipv4Addr>>>>,
}

/// The server.
pub(super) struct Server {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
    records: Records,
}

// === impl Records ===

impl Records {
    /// Lets a name stand for these addresses, in this order.
    pub(super) fn set(&self, name: &str, addresses: Vec<Ipv4Addr>) {
        self.by_name.borrow_mut().insert(name.to_owned(), addresses);
    }
}

/// Ports that are tried at most.
const PORT_TRIES_MAX: u32 = 32;

// === impl Server ===

impl Server {
    /// Binds the same port for UDP and TCP. Where the system chooses it, it may be free for one only:
    /// then another is asked for.
    pub(super) async fn bind(wanted: SocketAddr) -> io::Result<Self> {
        let mut tries = if wanted.port() == 0 { PORT_TRIES_MAX } else { 1 };
        loop {
            let udp = UdpSocket::bind(wanted).await?;
            let address = udp.local_addr()?;
            tries -= 1;
            match TcpListener::bind(address).await {
                Ok(tcp) => return Ok(Self { udp, tcp, address, records: Records::default() }),
                Err(error) if tries == 0 => return Err(error),
                Err(_) => {}
            }
        }
    }

    pub(super) fn records(&self) -> Records {
        self.records.clone()
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever.
    pub(super) async fn serve(self) {
        let mut question = [0; 1500];
        loop {
            tokio::select! {
                received = self.udp.recv_from(&mut question) => {
                    let Ok((length, peer)) = received else { continue };
                    let question = question.get(..length).unwrap_or_default();
                    if let Some(answer) = answer(question, &self.records, UDP_BYTES_MAX) {
                        // A client that has gone asks again.
                        let _ = self.udp.send_to(&answer, peer).await;
                    }
                }
                accepted = self.tcp.accept() => {
                    if let Ok((stream, _)) = accepted {
                        let asked = over_tcp(stream, self.records.clone());
                        tokio::task::spawn_local(tokio::time::timeout(QUESTION_WAIT, asked));
                    }
                }
            }
        }
    }
}

async fn over_tcp(mut stream: TcpStream, records: Records) -> io::Result<()> {
    loop {
        let mut question = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut question).await?;
        let Some(answer) = answer(&question, &records, usize::from(u16::MAX)) else {
            return Ok(());
        };
        stream.write_u16(u16::try_from(answer.len()).unwrap_or(u16::MAX)).await?;
        stream.write_all(&answer).await?;
    }
}

/// The answer to a question; `None` for what is none.
fn answer(question: &[u8], records: &Records, bytes_max: usize) -> Option<Vec<u8>> {
    let header = question.get(..12)?;
    let is_query = header[2] & 0x80 == 0 && header[2] & 0x78 == 0;
    if !is_query || header.get(4..6)? != [0, 1] {
        return None;
    }
    let (name, end) = name(question.get(12..)?)?;
    let kind = question.get(12 + end..14 + end)?;
    let records = records.by_name.borrow();
    let known = records.get(&name);
    // A name that nobody lives at does not exist.
    let addresses = known.filter(|addresses| !addresses.is_empty());
    let is_a = kind == [0, 1];
    let code = if addresses.is_some() { 0 } else { 3 };
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&header[..2]);
    // A response, authoritative; recursion is asked for and not had.
    out.extend_from_slice(&[0x84 | (header[2] & 1), code, 0, 1, 0, 0, 0, 0, 0, 0]);
    out.extend_from_slice(question.get(12..16 + end)?);
    let mut count = 0u16;
    for address in addresses.into_iter().flatten().filter(|_| is_a) {
        if out.len() + 16 > bytes_max {
            out[2] |= 0x02;
            break;
        }
        out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
        out.extend_from_slice(&TTL.to_be_bytes());
        out.extend_from_slice(&[0, 4]);
        out.extend_from_slice(&address.octets());
        count += 1;
    }
    out[6..8].copy_from_slice(&count.to_be_bytes());
    Some(out)
}

/// Reads a name, and where it ends. A question has no need of compression.
fn name(bytes: &[u8]) -> Option<(String, usize)> {
    let (mut out, mut at) = (String::new(), 0);
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        match length {
            0 => return Some((out, at)),
            1..=63 => {
                let label = bytes.get(at..at + length)?;
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
                at += length;
            }
            _ => return None,
        }
        if out.len() > 255 {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn question(kind: u8) -> Vec<u8> {
        let mut out = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend_from_slice(b"\x08Service1\x00\x00");
        out.extend_from_slice(&[kind, 0, 1]);
        out
    }

    #[test]
    fn names_are_answered_and_long_answers_cut() {
        let records = Records::default();
        let asked = |kind, max| answer(&question(kind), &records, max).unwrap();
        assert_eq!(asked(1, 512)[3] & 15, 3, "an unknown name does not exist");
        records.set("service1", vec![Ipv4Addr::new(127, 0, 1, 1), Ipv4Addr::new(127, 0, 1, 2)]);
        let two = asked(1, 512);
        assert_eq!((two[3] & 15, &two[6..8], two[2] & 2), (0, &[0, 2][..], 0));
        assert!(two.ends_with(&[0, 4, 127, 0, 1, 2]));
        assert_eq!(&asked(28, 512)[6..8], [0, 0], "there is no IPv6 address");
        let cut = asked(1, 50);
        assert_eq!((cut[2] & 2, &cut[6..8]), (2, &[0, 1][..]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(noise in prop::collection::vec(any::<u8>(), 0..80)) {
            let records = Records::default();
            let _ = answer(&noise, &records, 512);
            let _ = answer(&[&question(1)[..12], &noise[..]].concat(), &records, 512);
        }
    }
}
