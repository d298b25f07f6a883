//! Owns the demo's control port: `POST /scale?service1=3`, and the client of it.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::town::Town;

/// Bytes of a request at most.
const REQUEST_BYTES_MAX: usize = 4096;

/// How long either side waits for the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a running demo was not scaled.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// Nothing answers.
    #[error("no demo answers on {address} ({error}); start one with `understudy demo`")]
    NotRunning {
        /// The control port.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// It answers that it will not.
    #[error("{0}")]
    Refused(String),
}

/// Answers for ever.
pub(super) async fn serve(listener: TcpListener, town: Town) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let town = town.clone();
        tokio::task::spawn_local(tokio::time::timeout(PATIENCE, converse(stream, town)));
    }
}

async fn converse(mut stream: TcpStream, town: Town) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > REQUEST_BYTES_MAX || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&request);
    let line = text.lines().next().unwrap_or_default();
    let (status, body) = match obey(line, &town).await {
        Ok(body) => ("200 OK", body),
        Err(body) => ("400 Bad Request", body),
    };
    let length = body.len();
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).await
}

async fn obey(line: &str, town: &Town) -> Result<String, String> {
    let usage = "ask by POST /scale?service1=3\n".to_owned();
    let rest = line.strip_prefix("POST /scale?").ok_or_else(|| usage.clone())?;
    let query = rest.split(' ').next().unwrap_or_default();
    let mut done = String::new();
    for pair in query.split('&') {
        let (name, count) = pair.split_once('=').ok_or_else(|| usage.clone())?;
        let count =
            count.parse().map_err(|_| format!("{count:?} is not a number of instances\n"))?;
        town.scale(name, count).await.map_err(|error| format!("{error}\n"))?;
        done += &format!("{name} has {count} instances\n");
    }
    Ok(done)
}

/// Asks a running demo to scale: each of `wanted` is `service1=3`. Gives back what it said.
///
/// # Errors
///
/// [`ScaleError`]
pub fn scale(address: SocketAddr, wanted: &[String]) -> Result<String, ScaleError> {
    let not_running = |error| ScaleError::NotRunning { address, error };
    let mut stream =
        std::net::TcpStream::connect_timeout(&address, PATIENCE).map_err(not_running)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(not_running)?;
    let query = wanted.join("&");
    let request = format!("POST /scale?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(not_running)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(not_running)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.starts_with("HTTP/1.1 200") {
        true => Ok(body.to_owned()),
        false => Err(ScaleError::Refused(body.trim_end().to_owned())),
    }
}
