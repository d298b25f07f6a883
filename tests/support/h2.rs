//! Owns HTTP/2 with prior knowledge on both ends: a plain client, and an origin whose answers a test
//! writes itself.

use std::{future::Future, net::SocketAddr, rc::Rc};

use bytes::Bytes;
use h2::{RecvStream, client::SendRequest, server::SendResponse};
use http::{HeaderMap, Request};
use tokio::{
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    task::LocalSet,
};

/// One connection, with a runtime of its own that runs while a request does.
pub struct H2Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

/// One answer.
#[derive(Debug)]
pub struct H2Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Trailers, where there were any.
    pub trailers: Option<HeaderMap>,
}

/// An origin that speaks HTTP/2; ends with the test's process.
pub struct H2Origin {
    /// Where it listens.
    pub address: SocketAddr,
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

    /// Runs what a test does with the connection itself.
    pub fn drive<F: Future>(&mut self, work: impl FnOnce(SendRequest<Bytes>) -> F) -> F::Output {
        self.runtime.block_on(work(self.send.clone()))
    }

    /// Sends a GET; gives status and body.
    pub fn get(&mut self, path: &str) -> Result<(u16, Vec<u8>), String> {
        let request = get(path);
        let answer = self.drive(|send| exchange(send, request, None));
        answer.map(|answer| (answer.status, answer.body)).map_err(|error| error.to_string())
    }
}

/// A GET without a body.
pub fn get(path: &str) -> Request<()> {
    Request::get(format!("http://test{path}")).body(()).expect("a request")
}

/// Sends a request, with a body and trailers where there are some, and reads the answer to its end.
pub async fn exchange(
    mut send: SendRequest<Bytes>,
    request: Request<()>,
    body: Option<(Bytes, HeaderMap)>,
) -> Result<H2Answer, h2::Error> {
    futures_util::future::poll_fn(|cx| send.poll_ready(cx)).await?;
    let (response, mut stream) = send.send_request(request, body.is_none())?;
    if let Some((data, trailers)) = body {
        stream.send_data(data, false)?;
        stream.send_trailers(trailers)?;
    }
    let response = response.await?;
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        body.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?;
    Ok(H2Answer { status: parts.status.as_u16(), headers: parts.headers, body, trailers })
}

// === impl H2Origin ===

impl H2Origin {
    /// Answers every request by `answer`, each on a task of its own.
    pub fn answering<F>(
        answer: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("the bound address");
        listener.set_nonblocking(true).expect("a socket for tokio");
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            LocalSet::new().block_on(&runtime, accept(listener, Rc::new(answer)));
        });
        Self { address }
    }
}

async fn accept<F, A>(listener: std::net::TcpListener, answer: Rc<A>)
where
    F: Future<Output = ()> + 'static,
    A: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F + 'static,
{
    let listener = TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let answer = answer.clone();
        tokio::task::spawn_local(async move {
            let mut builder = h2::server::Builder::new();
            builder.enable_connect_protocol();
            let Ok(mut connection) = builder.handshake(stream).await else { return };
            while let Some(Ok((request, respond))) = connection.accept().await {
                tokio::task::spawn_local(answer(request, respond));
            }
        });
    }
}
