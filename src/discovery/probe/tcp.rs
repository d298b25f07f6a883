//! Owns what is said and heard in a `tcp_health_check`.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use understudy_actors::seams::{Probed, Report};

use super::{ANSWER_BYTES_MAX, Trouble, holds};
use crate::{
    config::model::health_check::{ProxyProtocol, TcpAsks},
    transport::Stream,
};

/// The PROXY protocol's second version: its signature, a command about nobody (`LOCAL`), no addresses.
const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

/// Sends, and reads until every text has come. Where none is to come, connecting was enough, and nothing is
/// sent. Observed: Envoy 1.40, which says who connects each time it asks.
pub(super) async fn exchange(stream: &mut Stream, asks: &TcpAsks) -> Result<Report, Trouble> {
    if asks.receive.is_empty() {
        return Ok(Probed::Healthy.into());
    }
    let mut said = match asks.proxy_protocol {
        None => Vec::new(),
        Some(ProxyProtocol::V2) => LOCAL.to_vec(),
        Some(ProxyProtocol::V1) => {
            let from = stream.local_addr().map_err(|_| Trouble)?;
            line(from, stream.peer_addr().map_err(|_| Trouble)?)
        }
    };
    said.extend_from_slice(&asks.send);
    stream.write_all(&said).await.map_err(|_| Trouble)?;
    let mut seen = Vec::new();
    while !holds(&seen, &asks.receive) {
        if seen.len() > ANSWER_BYTES_MAX {
            return Err(Trouble);
        }
        match stream.read_buf(&mut seen).await {
            Ok(0) | Err(_) => return Err(Trouble),
            Ok(_) => {}
        }
    }
    Ok(Probed::Healthy.into())
}

/// Source: the PROXY protocol, 2.1.
fn line(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let text =
        format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
    text.into_bytes()
}
