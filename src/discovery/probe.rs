//! Owns asking a host whether it is well: its connections, and over them HTTP and gRPC by hyper, TCP by bytes.

mod grpc;
mod http;
mod request;
mod tcp;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::{Either, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use understudy_actors::{
    address::Address,
    plan::{ClusterPlan, HealthCheckPlan},
    seams::{Probe, Probed, Report},
    snapshot::Host,
    stats::{Registry, Scope},
};

use crate::{
    config::model::{cluster::Upstream, health_check::Asks},
    tls::Speaks,
    transport::Stream,
    upstream::{connect::secure, proxy_protocol::own_header, socket},
};

/// Bytes of an answer that are read at most; a host that says more has said enough.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Connections are forgotten with their hosts whenever this many more have come.
const SWEEP_EVERY: usize = 256;

/// Asks hosts, and keeps a connection for each check of each host, as `reuse_connection` has it.
#[derive(Clone)]
pub struct Prober {
    registry: Arc<Registry>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    by_host: HashMap<usize, (Weak<Host>, Wires)>,
    sweep_at: usize,
}

/// A host's open connections, one for each check.
type Wires = Vec<(Weak<HealthCheckPlan>, Wire)>;

/// What is sent over HTTP, its length with it or, in gRPC, without.
type Body = Either<Full<Bytes>, grpc::Message>;

/// An open connection.
enum Wire {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
    Tcp(Stream),
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
        check: Arc<HealthCheckPlan>,
        host: Arc<Host>,
    ) -> BoxFuture<'static, Report> {
        let prober = self.clone();
        Box::pin(async move {
            let report = prober.ask(&cluster, &check, &host).await;
            report.unwrap_or_else(|Trouble| Probed::NetworkFailure.into())
        })
    }
}

impl Prober {
    /// Asks, and counts what TLS comes to with its cluster.
    pub fn new(registry: Arc<Registry>) -> Self {
        Self { registry, kept: Arc::default() }
    }

    async fn ask(
        &self,
        cluster: &ClusterPlan,
        check: &Arc<HealthCheckPlan>,
        host: &Arc<Host>,
    ) -> Result<Report, Trouble> {
        // A plan of ours always has questions of ours.
        let asks = check.asks.downcast_ref::<Asks>().ok_or(Trouble)?;
        if let Some(mut wire) = self.take(check, host) {
            // A host may close an idle connection at any time; that says nothing about its health.
            if let Ok(report) = converse(&mut wire, cluster, asks, host).await {
                self.keep(check, asks, host, wire);
                return Ok(report);
            }
        }
        let mut wire = self.connect(asks, cluster, host).await.map_err(|_| Trouble)?;
        let report = converse(&mut wire, cluster, asks, host).await?;
        self.keep(check, asks, host, wire);
        Ok(report)
    }

    fn take(&self, check: &Arc<HealthCheckPlan>, host: &Arc<Host>) -> Option<Wire> {
        let mut kept = self.kept.lock();
        let (_, wires) = kept.by_host.get_mut(&key(host))?;
        let own = |(plan, _): &(Weak<HealthCheckPlan>, Wire)| plan.as_ptr() == Arc::as_ptr(check);
        let at = wires.iter().position(own)?;
        Some(wires.swap_remove(at).1)
    }

    fn keep(&self, check: &Arc<HealthCheckPlan>, asks: &Asks, host: &Arc<Host>, wire: Wire) {
        // Where connecting is all that is asked, only a new connection says anything.
        let connecting = matches!(asks, Asks::Tcp(tcp) if tcp.receive.is_empty());
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
        wires.push((Arc::downgrade(check), wire));
    }

    async fn connect(&self, asks: &Asks, cluster: &ClusterPlan, host: &Host) -> io::Result<Wire> {
        let (http2, speaks) = match asks {
            Asks::Tcp(_) => (false, Speaks::Anything),
            Asks::Http(http) if !http.http2 => (false, Speaks::Http1),
            Asks::Http(_) | Asks::Grpc(_) => (true, Speaks::Http2),
        };
        let stream = self.open(cluster, host, speaks).await?;
        if matches!(asks, Asks::Tcp(_)) {
            return Ok(Wire::Tcp(stream));
        }
        let io = TokioIo::new(stream);
        if http2 {
            let handshake = http2::handshake(TokioExecutor::new(), io).await;
            let (sender, connection) = handshake.map_err(io::Error::other)?;
            // It ends with the sender, or with the host; either way the sender knows.
            tokio::spawn(connection);
            return Ok(Wire::Http2(sender));
        }
        let (sender, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Wire::Http1(sender))
    }

    /// A connection made as those for requests are, which tells of no client.
    async fn open(&self, cluster: &ClusterPlan, host: &Host, speaks: Speaks) -> io::Result<Stream> {
        let (default, to) = (Upstream::default(), address(host));
        let upstream = cluster.upstream.downcast_ref::<Upstream>().unwrap_or(&default);
        let mut socket = socket::connect(to, &upstream.sockets, None).await?;
        if let Some(greeting) = &upstream.sockets.greeting {
            let header = own_header(greeting.version, socket.local_addr().ok().zip(to.socket()));
            socket.write_all(&header).await?;
        }
        let Some(context) = upstream.tls_to(&host.endpoint) else {
            return Ok(socket.into());
        };
        let stats = self.registry.group(Scope::cluster(&cluster.stat_name).within("ssl"));
        let secured = secure(socket, context, host, None, speaks, |stat| stats.add(stat, 1));
        secured.await.map(|(stream, _)| stream).map_err(io::Error::other)
    }
}

fn key(host: &Arc<Host>) -> usize {
    Arc::as_ptr(host) as usize
}

/// Where to ask. Source: `Endpoint.HealthCheckConfig`, `address` and `port_value`.
fn address(host: &Host) -> Address {
    let Some(at) = &host.endpoint.checked_at else { return host.address };
    match (at.address.unwrap_or(host.address), at.port) {
        (Address::Ip(ip), Some(port)) => SocketAddr::new(ip.ip(), port).into(),
        (address, _) => address,
    }
}

async fn converse(
    wire: &mut Wire,
    cluster: &ClusterPlan,
    asks: &Asks,
    host: &Host,
) -> Result<Report, Trouble> {
    match (asks, wire) {
        (Asks::Tcp(tcp), Wire::Tcp(stream)) => tcp::exchange(stream, tcp).await,
        (Asks::Grpc(grpc), Wire::Http2(sender)) => {
            let authority = request::authority(cluster, &grpc.authority, host);
            let answer = sender.send_request(grpc::request(authority, grpc)).await;
            grpc::judge(answer.map_err(|_| Trouble)?).await
        }
        (Asks::Http(http), wire) => {
            let authority = request::authority(cluster, &http.host, host);
            let request = request::request(authority, http);
            let answer = match wire {
                Wire::Http1(sender) => sender.send_request(request).await,
                Wire::Http2(sender) => sender.send_request(request).await,
                Wire::Tcp(_) => return Err(Trouble),
            };
            http::judge(answer.map_err(|_| Trouble)?, http).await
        }
        _ => Err(Trouble),
    }
}

/// Whether the texts stand in what was seen, in order and wherever they are. Observed: Envoy 1.40 takes
/// `xxPOzzNGyy` for `PO` and `NG`.
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
