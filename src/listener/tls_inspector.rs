//! `envoy.filters.listener.tls_inspector`: what a client says of TLS before its handshake.

use std::sync::Arc;

use tokio::net::TcpStream;
use understudy_actors::stats::{Group, Registry, Scope, TlsInspectorStat as S};

use super::{Found, Verdict};
use crate::{
    config::model::listener_filter::TlsInspector as Config,
    transport::{Peeked, Takes, Told, peek},
};

pub(super) struct TlsInspector {
    config: Config,
    /// `tls_inspector.`
    stats: Arc<Group<S>>,
}

// === impl TlsInspector ===

impl TlsInspector {
    pub(super) fn new(config: Config, registry: &Registry) -> Self {
        Self { config, stats: registry.group(Scope::plain("tls_inspector.")) }
    }

    pub(super) async fn look(
        &self,
        worker: usize,
        socket: &TcpStream,
        found: &mut Found,
    ) -> Verdict {
        let stats = self.stats.lane(worker);
        let Config { hello_bytes_max, wants_hello, takes } = self.config;
        let hello = match peek(socket, hello_bytes_max, |bytes| Told::look(bytes, takes)).await {
            Err(_) | Ok(Peeked::Closed) => return Verdict::Gone,
            Ok(Peeked::TooMuch) => {
                stats.inc(S::ClientHelloTooLarge);
                return Verdict::Refuse;
            }
            Ok(Peeked::Seen(Told::Else(begins))) => {
                found.not_tls = Some(begins);
                stats.inc(S::TlsNotFound);
                return if wants_hello { Verdict::Refuse } else { Verdict::Continue };
            }
            Ok(Peeked::Seen(Told::Tls(hello))) => hello,
        };
        stats.inc(S::TlsFound);
        stats.inc(if hello.server_name.is_some() { S::SniFound } else { S::SniNotFound });
        stats.inc(if hello.alpn.is_empty() { S::AlpnNotFound } else { S::AlpnFound });
        stats.record(S::BytesProcessed, hello.bytes as u64);
        found.is_tls = true;
        found.server_name = hello.server_name;
        found.application_protocols = hello.alpn;
        if takes != Takes::default() {
            found.fingerprints = Some(Arc::new(hello.fingerprints));
        }
        Verdict::Continue
    }
}
