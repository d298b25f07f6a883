//! Owns a plain HTTP/2 client with prior knowledge: requests one after the other on one connection.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
};

/// One connection, with a runtime of its own that runs while a request does.
pub struct H2Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

// === impl H2Client ===

impl H2Client {
    /// Connects and shakes hands.
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the proxy should speak HTTP/2")
    }

    /// The same, or says why not.
    pub fn try_connect(address: SocketAddr) -> Result<Self, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let send = runtime.block_on(async {
            let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
            let shaken = h2::client::handshake(stream).await;
            let (send, connection) = shaken.map_err(|error| error.to_string())?;
            tokio::spawn(connection);
            Ok::<_, String>(send)
        })?;
        Ok(Self { runtime, send })
    }

    /// Sends a GET; gives status and body.
    pub fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>), String> {
        let request = http::Request::get(format!("http://test{path}")).body(());
        let request = request.map_err(|error| error.to_string())?;
        let send = &mut self.send;
        let answer = self.runtime.block_on(async {
            futures_util::future::poll_fn(|cx| send.poll_ready(cx)).await?;
            let (response, _) = send.send_request(request, true)?;
            let response = response.await?;
            let (status, mut stream) = (response.status().as_u16(), response.into_body());
            let mut body = Vec::new();
            while let Some(chunk) = stream.data().await {
                let chunk = chunk?;
                stream.flow_control().release_capacity(chunk.len())?;
                body.extend_from_slice(&chunk);
            }
            Ok::<_, h2::Error>((status, body))
        });
        answer.map_err(|error| error.to_string())
    }
}
