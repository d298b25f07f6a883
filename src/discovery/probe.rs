//! Owns asking a host whether it is well: over HTTP by hyper, over TCP by bytes.

mod request;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{BodyExt, Empty};
use hyper::{
    Response,
    body::Incoming,
    client::conn::{http1, http2},
    header::HeaderName,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use understudy_actors::{
    plan::{ClusterPlan, HealthCheckKind, HealthCheckPlan},
    seams::{Probe, Probed},
    snapshot::Host,
};

/// Bytes of an answer that are read at most; a host that says more has said enough.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Connections are forgotten with their hosts whenever this many more have come.
const SWEEP_EVERY: usize = 256;

/// A host that asks for less traffic says so. Source: Envoy, "Health checking", degraded hosts.
const DEGRADED: HeaderName = HeaderName::from_static("x-envoy-degraded");

/// Asks hosts, and keeps a connection for each check of each host, as `reuse_connection` has it.
#[derive(Clone, Default)]
pub struct Prober {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    by_host: HashMap<usize, (Weak<Host>, Wires)>,
    sweep_at: usize,
}

/// A host's open connections, one for each check.
type Wires = Vec<(HealthCheckPlan, Wire)>;

/// An open connection.
enum Wire {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
    Tcp(TcpStream),
}

/// The host could not be reached, ended the connection before it answered, or said what is no answer.
///
/// Observed: Envoy 1.40 counts all of these as `network_failure`.
struct Trouble;

// === impl Prober ===

impl Probe for Prober {
    fn probe(
        &self,
        cluster: Arc<ClusterPlan>,
        check: HealthCheckPlan,
        host: Arc<Host>,
    ) -> BoxFuture<'static, Probed> {
        let prober = self.clone();
        Box::pin(async move {
            prober.ask(&cluster, &check, &host).await.unwrap_or(Probed::NetworkFailure)
        })
    }
}

impl Prober {
    async fn ask(
        &self,
        cluster: &ClusterPlan,
        check: &HealthCheckPlan,
        host: &Arc<Host>,
    ) -> Result<Probed, Trouble> {
        if let Some(mut wire) = self.take(check, host) {
            // A host may close an idle connection at any time; that says nothing about its health.
            if let Ok(probed) = converse(&mut wire, cluster, check, host).await {
                self.keep(check, host, wire);
                return Ok(probed);
            }
        }
        let mut wire = connect(check, address(host)).await.map_err(|_| Trouble)?;
        let probed = converse(&mut wire, cluster, check, host).await?;
        self.keep(check, host, wire);
        Ok(probed)
    }

    fn take(&self, check: &HealthCheckPlan, host: &Arc<Host>) -> Option<Wire> {
        let mut kept = self.kept.lock();
        let (_, wires) = kept.by_host.get_mut(&key(host))?;
        let at = wires.iter().position(|(plan, _)| plan == check)?;
        Some(wires.swap_remove(at).1)
    }

    fn keep(&self, check: &HealthCheckPlan, host: &Arc<Host>, wire: Wire) {
        // Where connecting is all that is asked, only a new connection says anything.
        let connecting =
            matches!(&check.kind, HealthCheckKind::Tcp { receive, .. } if receive.is_empty());
        if !check.reuse_connection || connecting || wire.is_closed() {
            return;
        }
        let mut kept = self.kept.lock();
        if kept.by_host.len() >= kept.sweep_at {
            kept.by_host.retain(|_, (host, _)| host.strong_count() > 0);
            kept.sweep_at = kept.by_host.len() + SWEEP_EVERY;
        }
        let (owner, wires) = kept.by_host.entry(key(host)).or_default();
        if owner.strong_count() == 0 {
            // Another host that lived at this place in memory.
            wires.clear();
            *owner = Arc::downgrade(host);
        }
        wires.push((check.clone(), wire));
    }
}

fn key(host: &Arc<Host>) -> usize {
    Arc::as_ptr(host) as usize
}

/// Where to ask. Source: `Endpoint.HealthCheckConfig.port_value`.
fn address(host: &Host) -> SocketAddr {
    let port = host.endpoint.health_check_port;
    SocketAddr::new(host.address.ip(), port.unwrap_or(host.address.port()))
}

async fn connect(check: &HealthCheckPlan, to: SocketAddr) -> io::Result<Wire> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    let io = |stream| TokioIo::new(stream);
    match &check.kind {
        HealthCheckKind::Tcp { .. } => Ok(Wire::Tcp(stream)),
        HealthCheckKind::Http { http2: true, .. } => {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io(stream))
                .await
                .map_err(io::Error::other)?;
            // It ends with the sender, or with the host; either way the sender knows.
            tokio::spawn(connection);
            Ok(Wire::Http2(sender))
        }
        HealthCheckKind::Http { http2: false, .. } => {
            let (sender, connection) =
                http1::handshake(io(stream)).await.map_err(io::Error::other)?;
            tokio::spawn(connection);
            Ok(Wire::Http1(sender))
        }
    }
}

async fn converse(
    wire: &mut Wire,
    cluster: &ClusterPlan,
    check: &HealthCheckPlan,
    host: &Host,
) -> Result<Probed, Trouble> {
    match (&check.kind, wire) {
        (HealthCheckKind::Tcp { send, receive }, Wire::Tcp(stream)) => {
            exchange(stream, send, receive).await
        }
        (HealthCheckKind::Http { expected, retriable, .. }, wire) => {
            let authority = request::authority(cluster, &check.kind, host);
            let request = request::request(authority, &check.kind, matches!(wire, Wire::Http2(_)));
            let answer = match wire {
                Wire::Http1(sender) => sender.send_request(request).await,
                Wire::Http2(sender) => sender.send_request(request).await,
                Wire::Tcp(_) => return Err(Trouble),
            };
            judge(answer.map_err(|_| Trouble)?, expected, retriable).await
        }
        _ => Err(Trouble),
    }
}

async fn judge(
    answer: Response<Incoming>,
    expected: &[(u16, u16)],
    retriable: &[(u16, u16)],
) -> Result<Probed, Trouble> {
    let (head, mut body) = answer.into_parts();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Trouble)?;
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_BYTES_MAX {
            break;
        }
    }
    let status = head.status.as_u16();
    let among =
        |ranges: &[(u16, u16)]| ranges.iter().any(|(from, to)| (*from..*to).contains(&status));
    Ok(match among(expected) {
        true if head.headers.contains_key(DEGRADED) => Probed::Degraded,
        true => Probed::Healthy,
        false if among(retriable) => Probed::Retriable,
        false => Probed::Unhealthy,
    })
}

/// Sends, and reads until every text has come, in order and wherever it stands. Observed: Envoy 1.40
/// takes `xxPOzzNGyy` for `PO` and `NG`.
async fn exchange(
    stream: &mut TcpStream,
    send: &[u8],
    receive: &[Vec<u8>],
) -> Result<Probed, Trouble> {
    stream.write_all(send).await.map_err(|_| Trouble)?;
    let mut seen = Vec::new();
    while !holds(&seen, receive) {
        if seen.len() > ANSWER_BYTES_MAX {
            return Err(Trouble);
        }
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return Err(Trouble),
            Ok(_) => {}
        }
    }
    Ok(Probed::Healthy)
}

fn holds(seen: &[u8], receive: &[Vec<u8>]) -> bool {
    let mut rest = seen;
    receive.iter().filter(|text| !text.is_empty()).all(|text| {
        let at = rest.windows(text.len()).position(|window| window == text);
        at.and_then(|at| rest.get(at + text.len()..)).map(|after| rest = after).is_some()
    })
}

// === impl Wire ===

impl Wire {
    fn is_closed(&self) -> bool {
        match self {
            Wire::Http1(sender) => sender.is_closed(),
            Wire::Http2(sender) => sender.is_closed(),
            Wire::Tcp(_) => false,
        }
    }
}

#[cfg(test)]
mod tests;
