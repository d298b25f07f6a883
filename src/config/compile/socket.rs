//! Owns compiling how sockets to hosts are made: where from, with what options, and what is said first.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use understudy_actors::plan::SocketState;

use super::{Compiler, address::numeric, listener_filter::kept_tlvs};
use crate::{
    config::{
        Message,
        message::Value,
        model::listener_filter::KeptTlvs,
        model::socket::{
            Greeting, ProxyProtocol, SocketOption, Sockets, SourceAddress, TcpKeepalive,
        },
        model::tcp_proxy::TlvValue,
    },
    tls::ClientContext,
};

const RAW: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";
const PROXY: &str =
    "envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport";

const TLS: &str = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

/// A transport socket to hosts.
#[derive(Debug, Default)]
pub(super) struct Transport {
    /// How they are greeted, if connections are encrypted.
    pub(super) tls: Option<Arc<ClientContext>>,
    /// What is said first.
    pub(super) greeting: Option<Greeting>,
}

impl Compiler<'_> {
    /// How sockets to this cluster's hosts are made.
    pub(super) fn sockets(&mut self, cluster: &Message) -> Sockets {
        let sources = match cluster.message("upstream_bind_config") {
            Some(binding) => self.source_addresses(binding),
            None => self.source_addresses.clone(),
        };
        let keepalive = cluster
            .message("upstream_connection_options")
            .and_then(|options| options.message("tcp_keepalive"));
        Sockets { sources, keepalive: keepalive.map(tcp_keepalive), greeting: None }
    }

    /// Source: `core.v3.BindConfig`.
    pub(super) fn source_addresses(&mut self, binding: &Message) -> Vec<SourceAddress> {
        let mut options = Vec::new();
        if binding.boolean("freebind") == Some(true) {
            options.push(SocketOption::Freebind(true));
        }
        let general = self.socket_options(binding);
        let mut sources = Vec::new();
        let extra = binding.messages("extra_source_addresses");
        let extra = extra.map(|extra| (extra.message("address"), extra.message("socket_options")));
        let additional = binding.messages("additional_source_addresses");
        let additional = additional.map(|address| (Some(address), None));
        let first = (binding.message("source_address"), None);
        for (address, own) in std::iter::once(first).chain(extra).chain(additional) {
            let Some(address) = address else { continue };
            let Some(ip) = numeric(address) else {
                let text = "malformed IP address in a source address";
                self.error(address.at, &address.path, text.to_owned(), "write an IP address");
                continue;
            };
            let own = own.map(|own| self.socket_options(own));
            let options = [&options[..], own.as_ref().unwrap_or(&general)].concat();
            sources.push(SourceAddress { address: Some(ip), options });
        }
        let own = [options, general].concat();
        if sources.is_empty() && !own.is_empty() {
            sources.push(SourceAddress { address: None, options: own });
        }
        let addresses = sources.iter().filter_map(|source| source.address);
        let (v4, v6): (Vec<_>, Vec<_>) = addresses.partition(SocketAddr::is_ipv4);
        if v4.len() > 1 || v6.len() > 1 {
            // Observed: Envoy 1.40 refuses it as well.
            let text = "two source addresses of the same IP version";
            let hint = "one for IPv4 and one for IPv6 is all that can be chosen from";
            self.error(binding.at, &binding.path, text.to_owned(), hint);
        }
        sources
    }

    /// `socket_options` of a binding. Those for sockets that listen have nothing to say here.
    pub(super) fn socket_options(&mut self, of: &Message) -> Vec<SocketOption> {
        let all = self.socket_options_by_state(of).into_iter();
        all.filter(|(state, _)| *state != SocketState::Listening)
            .map(|(_, option)| option)
            .collect()
    }

    /// `socket_options`, and when each is set.
    pub(super) fn socket_options_by_state(
        &mut self,
        of: &Message,
    ) -> Vec<(SocketState, SocketOption)> {
        let mut known = Vec::new();
        for option in of.messages("socket_options") {
            option.ignore("description", "a remark");
            let state = match option.choice("state") {
                Some("STATE_BOUND") => SocketState::Bound,
                Some("STATE_LISTENING") => SocketState::Listening,
                _ => SocketState::Prebind,
            };
            let kind = option.message("type");
            let datagrams = kind.is_some_and(|kind| {
                let stream = kind.message("stream").is_some();
                kind.message("datagram").is_some() && !stream
            });
            let number = |name| option.integer(name).unwrap_or(0);
            let bytes = option.get("buf_value").and_then(|set| match &set.value {
                Value::Bytes(bytes) => Some(&bytes[..]),
                _ => None,
            });
            let (level, name) = (number("level"), number("name"));
            match SocketOption::numbered(level, name, number("int_value"), bytes) {
                Some(_) if datagrams => {}
                Some(option) => known.push((state, option)),
                None => {
                    let what = format!("the socket option {name} of level {level}");
                    self.unsupported(option.at, &option.path, &what);
                }
            }
        }
        known
    }

    /// A plain socket, one with TLS, and what either begins with (PROXY protocol); anything else is refused.
    pub(super) fn upstream_transport_socket(&mut self, socket: &Message) -> Transport {
        socket.ignore("name", "free text; the type decides");
        let Some(config) = socket.any("typed_config") else {
            let text = "`typed_config` is missing";
            self.error(socket.at, &socket.path, text, "its `@type` says which transport it is");
            return Transport::default();
        };
        let config = &config.message;
        match config.name() {
            RAW => Transport::default(),
            TLS => {
                let tls = self.upstream_tls(config).map(Arc::new);
                Transport { tls, greeting: None }
            }
            PROXY => {
                let inner = config.message("transport_socket");
                let inner = inner.map(|inner| self.upstream_transport_socket(inner));
                let proxy = config.message("config");
                let version = match proxy.and_then(|proxy| proxy.choice("version")) {
                    Some("V2") => ProxyProtocol::V2,
                    _ => ProxyProtocol::V1,
                };
                let kept = proxy.and_then(|proxy| proxy.message("pass_through_tlvs"));
                let kept = kept.map_or(KeptTlvs::None, kept_tlvs);
                let added = proxy.map(|proxy| self.added_tlvs(proxy)).unwrap_or_default();
                let greeting = Some(Greeting { version, kept, added });
                Transport { greeting, ..inner.unwrap_or_default() }
            }
            other => {
                self.refuse_whole(config, other);
                Transport::default()
            }
        }
    }

    /// `ProxyProtocolConfig.added_tlvs`. A format is refused by name: a pool's connections are opened for nobody in
    /// particular.
    fn added_tlvs(&mut self, config: &Message) -> Vec<(u8, Box<[u8]>)> {
        let mut added = Vec::new();
        for tlv in self.tlvs(config, "added_tlvs") {
            match tlv.value {
                TlvValue::Fixed(value) => added.push((tlv.tlv_type, value)),
                TlvValue::Format(_) => {
                    let (at, path) = (config.at_of("added_tlvs"), config.path_of("added_tlvs"));
                    self.unsupported(at, &path, "`format_string` in `added_tlvs`");
                }
            }
        }
        added
    }
}

/// `core.v3.TcpKeepalive`.
pub(super) fn tcp_keepalive(keepalive: &Message) -> TcpKeepalive {
    let seconds =
        |name: &str| keepalive.number_u32(name).map(|number| Duration::from_secs(number.into()));
    TcpKeepalive {
        probes: keepalive.number_u32("keepalive_probes"),
        idle: seconds("keepalive_time"),
        interval: seconds("keepalive_interval"),
    }
}
