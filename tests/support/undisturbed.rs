//! Owns what a change must not disturb: a websocket at `/chat` and a download at `/pour`, and traffic beside them.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use super::{client::Client, load::Load};

/// MiB of the download: more than sockets hold, so that it is under way to the end.
pub const POURED_MIB: usize = 64;

/// Traffic, a websocket and a download that are open.
pub struct Undisturbed {
    load: Load,
    socket: Client,
    download: TcpStream,
}

// === impl Undisturbed ===

impl Undisturbed {
    /// Opens them; the host behind `/chat` sends back what it is sent, that behind `/pour` pours [`POURED_MIB`].
    pub fn open(main: SocketAddr) -> Self {
        let mut socket = Client::connect(main);
        let agreed = socket.request(
            "GET /chat HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        );
        assert_eq!(agreed.status, 101);
        let mut download = TcpStream::connect(main).expect("the proxy listens");
        download.write_all(b"GET /pour HTTP/1.1\r\nhost: test\r\n\r\n").expect("and reads");
        Self { load: Load::on(main, &["/"]), socket, download }
    }

    /// The websocket still carries bytes both ways.
    pub fn chat(&mut self) {
        self.socket.send("ping");
        assert_eq!(self.socket.exactly(4).expect("the websocket stays"), b"ping");
    }

    /// No request has failed, and the download comes to its end.
    pub fn end(mut self) {
        assert_eq!(self.load.failures(), Vec::<String>::new());
        self.load.end();
        let (mut read, mut buffer) = (0, vec![0; 1 << 16]);
        while read < POURED_MIB << 20 {
            let count = self.download.read(&mut buffer).expect("the download goes on");
            assert!(count > 0, "cut after {read} bytes");
            read += count;
        }
    }
}
