//! `envoy.filters.listener.proxy_protocol`: takes the PROXY header of a connection, and what it says for true.

pub mod header;

use std::{io, sync::Arc};

use serde_json::{Map, Value};
use tokio::net::TcpStream;
use understudy_actors::stats::{
    Group, ProxyProtocolErrorStat as E, ProxyProtocolStat as S, ProxyProtocolVersionStat as V,
    Registry, Scope,
};

use self::header::{BYTES_MAX, Header, Read, Version, Wanted, look};
use super::{Found, Verdict};
use crate::{
    base64,
    config::model::listener_filter::{self, TlvLocation, TlvRule},
    filter_state::{FilterState, Object, PROXY_PROTOCOL_TLVS},
    transport::{Peeked, peek},
};

/// What each byte becomes that is no UTF-8, where a value is noted. Observed: Envoy 1.40.
const NOT_UTF8: char = '!';

pub(super) struct ProxyProtocol {
    config: Arc<listener_filter::ProxyProtocol>,
    stats: Stats,
}

struct Stats {
    errors: Arc<Group<E>>,
    own: Arc<Group<S>>,
    v1: Arc<Group<V>>,
    v2: Arc<Group<V>>,
}

// === impl ProxyProtocol ===

impl ProxyProtocol {
    pub(super) fn new(config: Arc<listener_filter::ProxyProtocol>, registry: &Registry) -> Self {
        Self { stats: Stats::new(&config, registry), config }
    }

    pub(super) async fn look(
        &self,
        worker: usize,
        socket: &TcpStream,
        found: &mut Found,
    ) -> Verdict {
        let config = &self.config;
        let wanted = Wanted {
            v1: !(config.optional && config.refuses_v1),
            v2: !(config.optional && config.refuses_v2),
            optional: config.optional,
        };
        let own = self.stats.own.lane(worker);
        let header = match peek(socket, BYTES_MAX, |bytes| look(bytes, wanted)).await {
            Ok(Peeked::Seen(Read::Header(header))) => header,
            Ok(Peeked::Seen(Read::Malformed(version))) if self.refuses(version) => {
                return self.disallow(worker, version);
            }
            Ok(Peeked::Seen(Read::Malformed(version))) => {
                self.stats.of(version).lane(worker).inc(V::Error);
                return self.refuse(worker);
            }
            Ok(Peeked::Seen(Read::Else)) if config.optional => {
                own.inc(S::NotFoundAllowed);
                return Verdict::Continue;
            }
            Ok(Peeked::Seen(Read::Else) | Peeked::TooMuch) => {
                own.inc(S::NotFoundDisallowed);
                return self.refuse(worker);
            }
            Ok(Peeked::Closed) | Err(_) => return Verdict::Gone,
        };
        if self.refuses(header.version) {
            return self.disallow(worker, header.version);
        }
        self.stats.of(header.version).lane(worker).inc(V::Found);
        if take(socket, header.length).is_err() {
            return Verdict::Gone;
        }
        self.believe(header, found);
        Verdict::Continue
    }

    /// `disallowed_versions`
    fn refuses(&self, version: Version) -> bool {
        match version {
            Version::V1 => self.config.refuses_v1,
            Version::V2 => self.config.refuses_v2,
        }
    }

    /// Observed: Envoy 1.40 reads no further, and counts no error.
    fn disallow(&self, worker: usize, version: Version) -> Verdict {
        let stats = self.stats.of(version).lane(worker);
        stats.inc(V::Found);
        stats.inc(V::Disallowed);
        Verdict::Refuse
    }

    fn refuse(&self, worker: usize) -> Verdict {
        self.stats.errors.lane(worker).inc(E::DownstreamCxProxyProtoError);
        Verdict::Refuse
    }

    /// From here on the connection is the one of the header.
    fn believe(&self, header: Header, found: &mut Found) {
        let Some((source, destination)) = header.addresses else { return };
        let (metadata, filter_state) = match self.config.tlv_location {
            TlvLocation::DynamicMetadata => (self.noted(&header), FilterState::default()),
            TlvLocation::FilterState => (Value::Null, self.left(&header)),
        };
        let kept =
            header.tlvs.into_iter().filter(|(tlv_type, _)| self.config.kept.keeps(*tlv_type));
        let proxied = found.proxied();
        (proxied.tlvs, proxied.by_header) = (kept.collect(), true);
        (proxied.metadata, proxied.filter_state) = (metadata, filter_state);
        (found.peer, found.local) = (source.into(), destination.into());
    }

    /// What the rules leave for others, by their keys alone: of each the last. Observed: Envoy 1.40.
    fn left(&self, header: &Header) -> FilterState {
        let (mut texts, mut state) = (Map::new(), FilterState::default());
        for (tlv_type, value) in &header.tlvs {
            let mut rules = self.config.rules.iter();
            if let Some(rule) = rules.find(|rule| rule.tlv_type == *tlv_type) {
                texts.insert(rule.key.clone(), Value::String(written(value, rule)));
            }
        }
        if !texts.is_empty() {
            state.leave(PROXY_PROTOCOL_TLVS, Object::Texts(Value::Object(texts)));
        }
        state
    }

    /// What the rules have noted: of each TLV the first.
    fn noted(&self, header: &Header) -> Value {
        let mut noted = Map::new();
        for rule in &self.config.rules {
            let tlv = header.tlvs.iter().find(|(tlv_type, _)| *tlv_type == rule.tlv_type);
            let Some((_, value)) = tlv else { continue };
            let space = noted.entry(&rule.namespace).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(space) = space {
                space.entry(&rule.key).or_insert_with(|| Value::String(written(value, rule)));
            }
        }
        Value::Object(noted)
    }
}

/// Takes bytes that were seen, so that they are here.
fn take(socket: &TcpStream, length: usize) -> io::Result<()> {
    let mut taken = vec![0; length];
    let mut left = &mut taken[..];
    while !left.is_empty() {
        match socket.try_read(left)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => left = left.get_mut(count..).unwrap_or_default(),
        }
    }
    Ok(())
}

fn written(value: &[u8], rule: &TlvRule) -> String {
    if rule.in_base64 { base64::write(value) } else { readable(value) }
}

fn readable(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        out.extend(chunk.invalid().iter().map(|_| NOT_UTF8));
    }
    out
}

// === impl Stats ===

impl Stats {
    fn new(config: &listener_filter::ProxyProtocol, registry: &Registry) -> Self {
        let scope = |version| Scope::proxy_protocol(&config.stat_prefix, version);
        Self {
            errors: registry.group(Scope::plain("")),
            own: registry.group(scope(None)),
            v1: registry.group(scope(Some(1))),
            v2: registry.group(scope(Some(2))),
        }
    }

    fn of(&self, version: Version) -> &Group<V> {
        match version {
            Version::V1 => &self.v1,
            Version::V2 => &self.v2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_are_marked() {
        assert_eq!(readable(b"h\xffllo\xc3"), "h!llo!");
        assert_eq!(readable("é".as_bytes()), "é");
    }
}
