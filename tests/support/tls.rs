//! Owns plain clients and hosts that speak TLS.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::Duration,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    pki_types::ServerName,
};

use super::certificates::{Greeting, TlsClient};

/// Shakes hands.
///
/// # Errors
///
/// What either side had against it.
pub fn connect(address: SocketAddr, greeting: &Greeting<'_>) -> io::Result<TlsClient> {
    connect_with(address, greeting.config(), greeting)
}

/// The same, where sessions may be remembered.
pub fn connect_with(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    greeting: &Greeting<'_>,
) -> io::Result<TlsClient> {
    shake(address, config, greeting.name())
}

fn shake(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> io::Result<TlsClient> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut client = StreamOwned::new(connection, socket);
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock)?;
    }
    Ok(client)
}

/// A client without anything to say but whom it asks for, that trusts these.
///
/// # Errors
///
/// What either side had against it.
pub fn connect_trusting(
    address: SocketAddr,
    server_name: &str,
    trusts: RootCertStore,
) -> io::Result<TlsClient> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(trusts)
        .with_no_client_auth();
    let name = server_name.to_owned().try_into().map_err(io::Error::other)?;
    shake(address, Arc::new(config), name)
}

/// Asks for a path, and gives the whole answer; the connection ends with it.
///
/// # Errors
///
/// Where there is none.
pub fn get(client: &mut TlsClient, path: &str) -> io::Result<String> {
    write!(client, "GET {path} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    match client.read_to_string(&mut answer) {
        Ok(_) => Ok(answer),
        // A peer that says no goodbye has said what it had to say all the same.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !answer.is_empty() => {
            Ok(answer)
        }
        Err(error) => Err(error),
    }
}

/// A host that answers each request over TLS with 200 and what it was asked for: the name and the path.
pub fn origin(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the bound address");
    thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || serve(socket, config));
        }
    });
    address
}

fn serve(socket: TcpStream, config: Arc<ServerConfig>) -> io::Result<()> {
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut chunk)?;
        if count == 0 {
            return Ok(());
        }
        seen.extend_from_slice(&chunk[..count]);
        if !seen.ends_with(b"\r\n\r\n") {
            continue;
        }
        let head = String::from_utf8_lossy(&seen).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default();
        let name = stream.conn.server_name().unwrap_or("-").to_owned();
        let shown = stream.conn.peer_certificates().map_or(0, <[_]>::len);
        let body = format!("{name} {path} {shown}");
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}")?;
        seen.clear();
    }
}
