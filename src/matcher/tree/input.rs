//! Owns the inputs of matchers: what of a connection or a request is looked at, and as which text.

use std::{
    borrow::Cow,
    io::Write as _,
    net::{IpAddr, SocketAddr},
};

use understudy_actors::runtime::{Runtime, Share};

use crate::{
    codec::RequestHead,
    filter_state::{FilterState, Object},
    matcher::HeaderName,
    tls::{CertificateInfo, Session, SubjectAltName},
};

/// `MatcherTree.input`, `SinglePredicate.input`
#[derive(Clone, Debug)]
pub enum Input {
    /// `DestinationIPInput`
    DestinationIp,
    /// `DestinationPortInput`
    DestinationPort,
    /// `SourceIPInput`: of a request, whom it is from.
    SourceIp,
    /// `SourcePortInput`; 0 where only an address was told.
    SourcePort,
    /// `DirectSourceIPInput`: whose socket it is.
    DirectSourceIp,
    /// `SourceTypeInput`: `local`, or missing.
    SourceType,
    /// `ServerNameInput`, where the TLS inspector saw one.
    ServerName,
    /// `TransportProtocolInput`: `tls` or `raw_buffer`.
    TransportProtocol,
    /// `ApplicationProtocolInput`: what is offered, as `'h2','http/1.1'`.
    ApplicationProtocols,
    /// `UriSanInput`: all of them, with commas between.
    UriSans,
    /// `DnsSanInput`: all of them, with commas between.
    DnsSans,
    /// `SubjectInput`
    Subject,
    /// `FilterStateInput`: what was left under a key, or one field of it.
    FilterState(Box<str>, Option<Box<str>>),
    /// `HttpRequestHeaderMatchInput`: all values, with commas between.
    Header(HeaderName),
}

/// What is seen of a connection, or of a request on one.
#[derive(Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Where it was meant to go; none where that is a path.
    pub destination: Option<SocketAddr>,
    /// Who it is from; none for who comes by a path.
    pub source: Option<SocketAddr>,
    /// Whose socket it is, without regard to what a PROXY header says.
    pub direct_source: Option<IpAddr>,
    /// Which host is asked for (SNI).
    pub server_name: &'a str,
    /// `tls` where that was found; `raw_buffer` otherwise.
    pub transport_protocol: &'a str,
    /// What the client offers, in its order.
    pub application_protocols: &'a [Vec<u8>],
    /// What its handshake came to; none without TLS, and before it.
    pub tls: Option<&'a Session>,
    /// What was left of the connection.
    pub filter_state: Option<&'a FilterState>,
    /// The request; none for a connection.
    pub request: Option<&'a RequestHead>,
    /// What the runtime says of shares; none where there is no runtime.
    pub shares: Option<&'a dyn Shares>,
}

/// Who knows what the runtime says of a share.
pub trait Shares {
    /// Whether `number` falls into the share that `key` sets, or into `default`.
    fn takes(&self, key: &str, default: Share, number: u64) -> bool;
}

/// What an input is.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// This text.
    Text(Cow<'a, [u8]>),
    /// The text of this address.
    Ip(IpAddr),
    /// The text of this port.
    Port(u16),
    /// It is not there.
    Missing,
    /// Whether it is there cannot be known.
    Unknown,
}

// === impl Input ===

impl Input {
    /// What it is.
    pub fn of<'a>(&self, facts: &Facts<'a>) -> Value<'a> {
        let ip = |address: Option<IpAddr>| address.map_or(Value::Missing, Value::Ip);
        let port = |address: Option<SocketAddr>| {
            address.map_or(Value::Missing, |address| Value::Port(address.port()))
        };
        match self {
            Input::DestinationIp => ip(facts.destination.map(|address| address.ip())),
            Input::DestinationPort => port(facts.destination),
            Input::SourceIp => ip(facts.source.map(|address| address.ip())),
            Input::SourcePort => port(facts.source),
            Input::DirectSourceIp => ip(facts.direct_source),
            Input::SourceType => match facts.is_from_here() {
                true => Value::Text(Cow::Borrowed(b"local")),
                false => Value::Missing,
            },
            Input::ServerName => unless_empty(facts.server_name.as_bytes()),
            Input::TransportProtocol => unless_empty(facts.transport_protocol.as_bytes()),
            Input::ApplicationProtocols => quoted(facts.application_protocols),
            Input::UriSans => of_peer(facts.tls, |info| {
                joined(info.names.iter().filter(|name| matches!(name, SubjectAltName::Uri(_))))
            }),
            Input::DnsSans => of_peer(facts.tls, |info| {
                joined(info.names.iter().filter(|name| matches!(name, SubjectAltName::Dns(_))))
            }),
            Input::Subject => of_peer(facts.tls, |info| unless_empty(info.subject.as_bytes())),
            Input::FilterState(key, field) => {
                let object = facts.filter_state.and_then(|state| state.get(key));
                object.map_or(Value::Missing, |object| left(object, field.as_deref()))
            }
            Input::Header(name) => facts.request.map_or(Value::Missing, |head| header(name, head)),
        }
    }
}

// === impl Shares ===

impl Shares for Runtime {
    fn takes(&self, key: &str, default: Share, number: u64) -> bool {
        self.enabled(key, default, number)
    }
}

// === impl Facts ===

impl Facts<'_> {
    /// Whether it is a connection of this machine. Who comes by a path is here. Observed: Envoy 1.40.
    fn is_from_here(&self) -> bool {
        let Some(source) = self.source else { return true };
        let same = |destination: SocketAddr| is_same_ip_or_loopback(source.ip(), destination.ip());
        self.destination.is_some_and(same)
    }
}

/// Whether a connection is one of this machine to itself. Of the loopback addresses only the usual one counts.
///
/// Observed: Envoy 1.40, to which 127.0.0.7 comes from outside.
pub fn is_same_ip_or_loopback(source: IpAddr, destination: IpAddr) -> bool {
    let usual = [IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()];
    source == destination || usual.contains(&source)
}

// === impl Value ===

impl Value<'_> {
    /// Shows it as a text; empty where there is none.
    pub(super) fn with_text<T>(&self, show: impl FnOnce(&[u8]) -> T) -> T {
        // An address of IPv6 has 45 bytes at most, a port 5.
        let mut room = [0_u8; 64];
        let mut rest = &mut room[..];
        let written = match self {
            Value::Text(text) => return show(text),
            Value::Missing | Value::Unknown => return show(b""),
            Value::Ip(ip) => write!(rest, "{ip}"),
            Value::Port(port) => write!(rest, "{port}"),
        };
        let left = rest.len();
        let length = written.map_or(0, |()| room.len() - left);
        show(room.get(..length).unwrap_or_default())
    }

    /// The address that it is, or that it spells.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Value::Ip(ip) => Some(*ip),
            Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
            Value::Port(_) | Value::Missing | Value::Unknown => None,
        }
    }
}

fn unless_empty(text: &[u8]) -> Value<'_> {
    match text {
        [] => Value::Missing,
        text => Value::Text(Cow::Borrowed(text)),
    }
}

/// Without TLS nothing can be known of who is at the other end.
fn of_peer<'a>(
    tls: Option<&'a Session>,
    read: impl FnOnce(&'a CertificateInfo) -> Value<'a>,
) -> Value<'a> {
    let Some(session) = tls else { return Value::Unknown };
    session.peer.as_ref().and_then(|peer| peer.info()).map_or(Value::Missing, read)
}

fn joined<'a>(names: impl Iterator<Item = &'a SubjectAltName>) -> Value<'a> {
    let texts = names.map(SubjectAltName::text).collect::<Vec<_>>();
    match texts.is_empty() {
        true => Value::Missing,
        false => Value::Text(Cow::Owned(texts.join(",").into_bytes())),
    }
}

fn left<'a>(object: &'a Object, field: Option<&str>) -> Value<'a> {
    let text = match field {
        Some(name) => object.field(name).map(|text| Cow::Borrowed(text.as_bytes())),
        None => object.plain().map(|text| Cow::Owned(text.into_bytes())),
    };
    text.map_or(Value::Missing, Value::Text)
}

fn quoted(protocols: &[Vec<u8>]) -> Value<'_> {
    let mut text = Vec::new();
    for protocol in protocols {
        text.extend_from_slice(if text.is_empty() { b"'" } else { b",'" });
        text.extend_from_slice(protocol);
        text.push(b'\'');
    }
    match text.is_empty() {
        true => Value::Missing,
        false => Value::Text(Cow::Owned(text)),
    }
}

/// Several values of a header are one, as lists are written.
fn header<'a>(name: &HeaderName, head: &'a RequestHead) -> Value<'a> {
    let mut values = name.values(head);
    let Some(first) = values.next() else { return Value::Missing };
    let Some(second) = values.next() else { return Value::Text(Cow::Borrowed(first)) };
    let mut text = [first, second].join(&b',');
    for value in values {
        text.push(b',');
        text.extend_from_slice(value);
    }
    Value::Text(Cow::Owned(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observed: Envoy 1.40.
    #[test]
    fn an_input_is_the_text_that_envoy_makes_of_it() {
        let mut head = RequestHead::default();
        head.headers.append_name(b"x", b"1");
        head.headers.append_name(b"x", b"2");
        head.headers.append_name(b"empty", b"");
        head.set_path(b"/a?b=c");
        let offered = [b"h2".to_vec(), b"http/1.1".to_vec()];
        let facts = Facts {
            destination: "[fd00::2]:443".parse().ok(),
            source: "[::ffff:1.2.3.4]:5".parse().ok(),
            direct_source: "127.0.0.1".parse().ok(),
            server_name: "a.test",
            transport_protocol: "tls",
            application_protocols: &offered,
            request: Some(&head),
            ..Facts::default()
        };
        let header = |name: &str| Input::Header(HeaderName::new(name));
        for (input, expected) in [
            (Input::DestinationIp, "fd00::2"),
            (Input::DestinationPort, "443"),
            (Input::SourceIp, "::ffff:1.2.3.4"),
            (Input::SourcePort, "5"),
            (Input::DirectSourceIp, "127.0.0.1"),
            (Input::ServerName, "a.test"),
            (Input::TransportProtocol, "tls"),
            (Input::ApplicationProtocols, "'h2','http/1.1'"),
            (header("X"), "1,2"),
            (header("empty"), ""),
            (header(":path"), "/a?b=c"),
        ] {
            let text = input.of(&facts).with_text(<[u8]>::to_vec);
            assert_eq!(String::from_utf8_lossy(&text), expected, "{input:?}");
        }
        assert_eq!(Input::SourceType.of(&facts), Value::Missing);
        assert_eq!(header("none").of(&facts), Value::Missing);
        assert_eq!(Input::ServerName.of(&Facts::default()), Value::Missing);
        assert_eq!(Input::Subject.of(&facts), Value::Unknown);
        let here = Facts { source: "127.0.0.1:1".parse().ok(), ..facts };
        assert_eq!(Input::SourceType.of(&here), Value::Text(b"local".as_slice().into()));
        let by_path = Facts { source: None, ..facts };
        assert_eq!(Input::SourceType.of(&by_path), Value::Text(b"local".as_slice().into()));
        assert_eq!(Input::SourceIp.of(&by_path), Value::Missing);
    }
}
