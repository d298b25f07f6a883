//! Owns the tutorial's web service: it says who it is, over HTTP/1 and HTTP/2 on one port.

use std::{convert::Infallible, io, net::SocketAddr, pin::pin, rc::Rc, time::Duration};

use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// How long answers in flight have when a service ends.
const GOODBYE: Duration = Duration::from_secs(5);

/// One instance of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, as in `/service/NAME`.
    pub name: String,
    /// Its host's name.
    pub hostname: String,
    /// Its host's address.
    pub address: String,
}

// === impl Service ===

impl Service {
    /// Who a container is: named by its environment and its system.
    pub fn of_this_host() -> Self {
        let name = std::env::var("SERVICE_NAME").unwrap_or_else(|_| "0".to_owned());
        let uname = rustix::system::uname();
        let hostname = uname.nodename().to_string_lossy().into_owned();
        Self { name, hostname, address: own_address() }
    }

    /// Answers until told to end; connections end after their last answer.
    ///
    /// # Errors
    ///
    /// The system's, when the address cannot be listened on.
    pub async fn serve(self, address: SocketAddr, end: watch::Receiver<bool>) -> io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        Rc::new(self).accept(listener, end).await;
        Ok(())
    }

    /// Answers on a socket that listens already.
    pub async fn accept(self: Rc<Self>, listener: TcpListener, mut end: watch::Receiver<bool>) {
        let for_each = end.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, _)) = accepted {
                        tokio::task::spawn_local(self.clone().converse(stream, for_each.clone()));
                    }
                }
                _ = end.wait_for(|end| *end) => return,
            }
        }
    }

    async fn converse(self: Rc<Self>, stream: TcpStream, mut end: watch::Receiver<bool>) {
        // Small answers should not wait for more.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let answer = self.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        });
        let builder = Builder::new(TokioExecutor::new());
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = end.wait_for(|end| *end) => connection.as_mut().graceful_shutdown(),
        }
        let _ = tokio::time::timeout(GOODBYE, connection).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let own = format!("/service/{}", self.name);
        let rest = request.uri().path().strip_prefix(&own);
        let (status, text) = match rest {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => (
                StatusCode::OK,
                format!(
                    "Hello from behind Envoy (service {})! hostname: {} resolvedhostname: {}\n",
                    self.name, self.hostname, self.address
                ),
            ),
            _ => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        let kind = http::HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}

/// The address this host has towards others. No packet is sent.
fn own_address() -> String {
    let asked = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    asked.map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string())
}
