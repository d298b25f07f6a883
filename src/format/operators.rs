//! Owns the operators there are: one line each says what it is called, what it takes, and what it says.

mod args;
mod tls;

use std::{
    borrow::Cow,
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::SystemTime,
};

use understudy_actors::address::Address;

use super::{Attempted, FormatError, StreamInfo, grpc, value::Value};
use args::{Args, PathSource};

use crate::tls::{NameKind, Peer};

/// One kind of operator.
pub struct Kind {
    /// What it is called.
    pub name: &'static str,
    /// Whether it has parameters.
    pub params: Params,
    /// Whether it can be cut to a length.
    pub length: bool,
    read: fn(&str) -> Result<Args, FormatError>,
    value: for<'a> fn(&'a Args, &StreamInfo<'a>) -> Value<'a>,
}

/// Whether an operator has parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Params {
    /// It takes none.
    None,
    /// It may have some.
    Optional,
    /// It cannot do without.
    Required,
}

/// An operator of a format.
#[derive(Clone)]
pub(crate) struct Operator {
    kind: &'static Kind,
    params: Box<str>,
    args: Args,
    bytes_max: Option<usize>,
}

/// Whether anything has asked for bytes on the wire yet.
static COUNTS_WIRE: AtomicBool = AtomicBool::new(false);

/// Bytes on the wire are counted from here on: somebody will ask for them.
pub fn count_wire() {
    COUNTS_WIRE.store(true, Relaxed);
}

/// Whether bytes on the wire are counted. Nothing is while no format has ever asked.
#[inline]
pub fn counts_wire() -> bool {
    COUNTS_WIRE.load(Relaxed)
}

// === impl Operator ===

impl Operator {
    pub(super) fn new(
        kind: &'static Kind,
        params: &str,
        bytes_max: Option<usize>,
    ) -> Result<Self, FormatError> {
        let args = (kind.read)(params)?;
        if kind.name.contains("_WIRE_BYTES_") || kind.name.contains("_HEADER_BYTES_") {
            count_wire();
        }
        Ok(Self { kind, params: params.into(), args, bytes_max })
    }

    /// What it says of a stream.
    pub(super) fn value<'a>(&'a self, info: &StreamInfo<'a>) -> Value<'a> {
        (self.kind.value)(&self.args, info).at_most(self.bytes_max)
    }

    /// Its name, and those of the operators in it.
    pub(super) fn names(&self) -> Vec<&'static str> {
        let inner = self.args.operators().iter().flat_map(Operator::names);
        std::iter::once(self.kind.name).chain(inner).collect()
    }
}

impl fmt::Debug for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{self}%")
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name)?;
        if !self.params.is_empty() {
            write!(f, "({})", self.params)?;
        }
        self.bytes_max.map_or(Ok(()), |max| write!(f, ":{max}"))
    }
}

impl PartialEq for Operator {
    fn eq(&self, other: &Self) -> bool {
        let own = (self.kind.name, &self.params, self.bytes_max);
        own == (other.kind.name, &other.params, other.bytes_max)
    }
}

/// One that takes nothing.
const fn plain(
    name: &'static str,
    value: for<'a> fn(&'a Args, &StreamInfo<'a>) -> Value<'a>,
) -> Kind {
    Kind { name, params: Params::None, length: false, read: args::none, value }
}

/// One that has nothing to say here: what it speaks of is not there.
const fn absent(name: &'static str) -> Kind {
    plain(name, |_, _| Value::Nothing)
}

/// One that takes parameters.
const fn with(
    name: &'static str,
    params: Params,
    length: bool,
    read: fn(&str) -> Result<Args, FormatError>,
    value: for<'a> fn(&'a Args, &StreamInfo<'a>) -> Value<'a>,
) -> Kind {
    Kind { name, params, length, read, value }
}

/// The operators there are.
pub static OPERATORS: &[Kind] = &[
    // What the messages say.
    with("REQ", Params::Required, true, args::header, |args, info| {
        args.header(|name| name.of_request(info.request?))
    }),
    with("REQ_WITHOUT_QUERY", Params::Required, true, args::header, |args, info| {
        args.header(|name| name.of_request(info.request?).map(args::without_query))
    }),
    with("RESP", Params::Required, true, args::header, |args, info| {
        args.header(|name| name.of_response(info.response?))
    }),
    with("TRAILER", Params::Required, true, args::header, |args, info| {
        args.header(|name| name.of_trailers(info.trailers?))
    }),
    with("PATH", Params::Optional, true, args::path, path),
    with("QUERY_PARAM", Params::Required, true, args::text, |args, info| {
        args.query_param(info.request.map_or(b"", |request| request.path()))
    }),
    with("QUERY_PARAMS", Params::Optional, true, args::query_params, |args, info| {
        args.query_params(info.request.map_or(b"", |request| request.path()))
    }),
    plain("REQUEST_HEADERS_BYTES", |_, info| {
        Value::Number(info.request.map_or(0, |request| request.bytes()))
    }),
    plain("RESPONSE_HEADERS_BYTES", |_, info| Value::Number(response_bytes(info))),
    plain("RESPONSE_TRAILERS_BYTES", |_, info| {
        Value::Number(info.trailers.map_or(0, |trailers| trailers.bytes()))
    }),
    plain("BYTES_RECEIVED", |_, info| Value::Number(info.received)),
    plain("BYTES_SENT", |_, info| Value::Number(info.sent)),
    plain("DOWNSTREAM_WIRE_BYTES_RECEIVED", |_, info| Value::Number(info.wire.received.all)),
    plain("DOWNSTREAM_WIRE_BYTES_SENT", |_, info| Value::Number(info.wire.sent.all)),
    plain("DOWNSTREAM_HEADER_BYTES_RECEIVED", |_, info| Value::Number(info.wire.received.headers)),
    plain("DOWNSTREAM_HEADER_BYTES_SENT", |_, info| Value::Number(info.wire.sent.headers)),
    plain("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", |_, info| {
        Value::Number(info.wire.received.decompressed)
    }),
    plain("DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", |_, info| {
        Value::Number(info.wire.sent.decompressed)
    }),
    plain("UPSTREAM_WIRE_BYTES_RECEIVED", |_, info| Value::Number(info.wire.upstream_received.all)),
    plain("UPSTREAM_WIRE_BYTES_SENT", |_, info| Value::Number(info.wire.upstream_sent.all)),
    plain("UPSTREAM_HEADER_BYTES_RECEIVED", |_, info| {
        Value::Number(info.wire.upstream_received.headers)
    }),
    plain("UPSTREAM_HEADER_BYTES_SENT", |_, info| Value::Number(info.wire.upstream_sent.headers)),
    plain("UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED", |_, info| {
        Value::Number(info.wire.upstream_received.decompressed)
    }),
    plain("UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT", |_, info| {
        Value::Number(info.wire.upstream_sent.decompressed)
    }),
    plain("BYTES_RETRANSMITTED", |_, _| Value::Number(0)),
    plain("PACKETS_RETRANSMITTED", |_, _| Value::Number(0)),
    plain("PROTOCOL", |_, info| {
        info.protocol.map_or(Value::Nothing, |protocol| Value::text(protocol.as_str()))
    }),
    // What became of it.
    plain("RESPONSE_CODE", |_, info| Value::Number(u64::from(info.status))),
    with("RESPONSE_CODE_DETAILS", Params::Optional, false, args::text, |args, info| {
        let spaces =
            args.is_text("ALLOW_WHITESPACES") || !info.details.contains(char::is_whitespace);
        match spaces {
            true => Value::unless_empty(info.details),
            false => Value::owned(info.details.replace(char::is_whitespace, "_")),
        }
    }),
    plain("CONNECTION_TERMINATION_DETAILS", |_, info| {
        Value::unless_empty(info.termination_details)
    }),
    plain("RESPONSE_FLAGS", |_, info| flags(info, crate::access_log::ResponseFlag::short)),
    plain("RESPONSE_FLAGS_LONG", |_, info| flags(info, crate::access_log::ResponseFlag::long)),
    plain("CUSTOM_FLAGS", |_, _| Value::text("")),
    with("GRPC_STATUS", Params::Optional, false, args::grpc, |args, info| args.grpc(info)),
    plain("GRPC_STATUS_NUMBER", |_, info| Value::number(grpc::status(info))),
    plain("LOCAL_REPLY_BODY", |_, info| Value::bytes(info.local_reply_body)),
    plain("ACCESS_LOG_TYPE", |_, info| Value::text(info.log_type.name())),
    // When.
    with("START_TIME", Params::Optional, false, args::time, |args, info| {
        args.time(info.start_time())
    }),
    with("START_TIME_LOCAL", Params::Optional, false, args::local_time, |args, info| {
        args.time(info.start_time())
    }),
    with("EMIT_TIME", Params::Optional, false, args::time, |args, _| args.time(SystemTime::now())),
    with("EMIT_TIME_LOCAL", Params::Optional, false, args::local_time, |args, _| {
        args.time(SystemTime::now())
    }),
    plain("DURATION", |_, info| Value::Number(args::ms(info.elapsed))),
    with("COMMON_DURATION", Params::Required, false, args::duration, |args, info| {
        args.duration(info)
    }),
    plain("REQUEST_DURATION", |_, info| {
        args::between(info, None, |timing| timing.request_received)
    }),
    plain("REQUEST_TX_DURATION", |_, info| args::between(info, None, |timing| timing.request_sent)),
    plain("RESPONSE_DURATION", |_, info| args::between(info, None, |timing| timing.response_begun)),
    plain("RESPONSE_TX_DURATION", |_, info| {
        let begun = info.timing.and_then(|timing| timing.response_begun);
        match begun {
            Some(_) => args::between(info, begun, |timing| timing.response_sent),
            None => Value::Nothing,
        }
    }),
    plain("UPSTREAM_CONNECTION_POOL_READY_DURATION", |_, info| {
        let asked = info.timing.and_then(|timing| timing.pool_asked);
        match asked {
            Some(_) => args::between(info, asked, |timing| timing.pool_ready),
            None => Value::Nothing,
        }
    }),
    absent("ROUNDTRIP_DURATION"),
    absent("DOWNSTREAM_HANDSHAKE_DURATION"),
    // Which way.
    plain("ROUTE_NAME", |_, info| Value::unless_empty(info.route_name)),
    plain("VIRTUAL_CLUSTER_NAME", |_, info| Value::unless_empty(info.virtual_cluster)),
    plain("FILTER_CHAIN_NAME", |_, info| {
        info.filter_chain.map_or(Value::Nothing, |chain| Value::unless_empty(&chain.name))
    }),
    plain("UPSTREAM_CLUSTER", |_, info| Value::unless_empty(info.cluster_stat_name)),
    plain("UPSTREAM_CLUSTER_RAW", |_, info| Value::unless_empty(info.cluster)),
    plain("UPSTREAM_HOST", |_, info| {
        info.upstream.map_or(Value::Nothing, |upstream| Value::text(upstream.address))
    }),
    plain("UPSTREAM_HOST_NAME", |_, info| host_name(info)),
    plain("UPSTREAM_HOST_NAME_WITHOUT_PORT", |_, info| match host_name(info) {
        Value::Text(Cow::Borrowed(name)) => Value::bytes(args::without_port(name)),
        other => other,
    }),
    plain("UPSTREAM_HOSTS_ATTEMPTED", |_, info| attempted(info, |one| one.address.clone())),
    plain("UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT", |_, info| {
        attempted(info, |one| portless(&one.address))
    }),
    plain("UPSTREAM_HOST_NAMES_ATTEMPTED", |_, info| attempted(info, |one| one.name().to_owned())),
    plain("UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT", |_, info| {
        attempted(info, |one| portless(one.name()))
    }),
    plain("UPSTREAM_CONNECTION_IDS_ATTEMPTED", |_, info| {
        attempted(info, |one| one.connection_id.to_string())
    }),
    plain("UPSTREAM_REQUEST_ATTEMPT_COUNT", |_, info| Value::Number(u64::from(info.attempts))),
    plain("UPSTREAM_TRANSPORT_FAILURE_REASON", |_, info| {
        Value::unless_empty(info.transport_failure)
    }),
    plain("UPSTREAM_PROTOCOL", |_, info| {
        let connection = info.upstream.and_then(|upstream| upstream.connection);
        let protocol = connection.and_then(|connection| connection.protocol);
        protocol.map_or(Value::Nothing, |protocol| Value::text(protocol.as_str()))
    }),
    plain("UPSTREAM_CONNECTION_ID", |_, info| {
        let connection = info.upstream.and_then(|upstream| upstream.connection);
        Value::Number(connection.map_or(0, |connection| connection.id))
    }),
    plain("UPSTREAM_LOCAL_ADDRESS", |_, info| args::address(upstream_local(info))),
    with(
        "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Params::Optional,
        false,
        args::prefix,
        |args, info| args.ip(upstream_local(info)),
    ),
    plain("UPSTREAM_LOCAL_PORT", |_, info| args::port(upstream_local(info))),
    plain("UPSTREAM_REMOTE_ADDRESS", |_, info| args::address(upstream_remote(info))),
    with(
        "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Params::Optional,
        false,
        args::prefix,
        |args, info| args.ip(upstream_remote(info)),
    ),
    plain("UPSTREAM_REMOTE_PORT", |_, info| args::port(upstream_remote(info))),
    plain("UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID", |_, info| match upstream_remote(info) {
        Some(_) => Value::text(""),
        None => Value::Nothing,
    }),
    // Whose request it is.
    plain("DOWNSTREAM_REMOTE_ADDRESS", |_, info| args::address(info.remote_address())),
    with(
        "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
        Params::Optional,
        false,
        args::prefix,
        |args, info| args.ip(info.remote_address()),
    ),
    plain("DOWNSTREAM_REMOTE_PORT", |_, info| args::port(info.remote_address())),
    plain("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", |_, info| args::address(info.direct_peer())),
    with(
        "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
        Params::Optional,
        false,
        args::prefix,
        |args, info| args.ip(info.direct_peer()),
    ),
    plain("DOWNSTREAM_DIRECT_REMOTE_PORT", |_, info| args::port(info.direct_peer())),
    plain("DOWNSTREAM_LOCAL_ADDRESS", |_, info| args::address(info.local)),
    with(
        "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
        Params::Optional,
        false,
        args::prefix,
        |args, info| args.ip(info.local),
    ),
    plain("DOWNSTREAM_LOCAL_PORT", |_, info| args::port(info.local)),
    plain("DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID", |_, _| Value::text("")),
    plain("DOWNSTREAM_DIRECT_LOCAL_ADDRESS", |_, info| args::address(info.direct_local())),
    with(
        "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
        Params::Optional,
        false,
        args::prefix,
        |args, info| args.ip(info.direct_local()),
    ),
    plain("DOWNSTREAM_DIRECT_LOCAL_PORT", |_, info| args::port(info.direct_local())),
    plain("DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID", |_, _| Value::text("")),
    plain("CONNECTION_ID", |_, info| Value::Number(info.connection_id)),
    plain("STREAM_ID", |_, info| {
        if !info.stream_id.is_empty() {
            return Value::bytes(info.stream_id);
        }
        // A try has none. Observed: Envoy 1.40.
        let request = info.request.filter(|_| !info.log_type.is_upstream());
        Value::of(request.and_then(|r| r.headers.get(crate::codec::Known::XRequestId)))
    }),
    plain("DOWNSTREAM_TRANSPORT_FAILURE_REASON", |_, info| tls::downstream_failure(info)),
    plain("REQUESTED_SERVER_NAME", |_, info| Value::unless_empty(info.requested_server_name)),
    plain("DOWNSTREAM_TLS_VERSION", |_, info| tls::text(tls::down(info), |tls| tls.version)),
    plain("DOWNSTREAM_TLS_CIPHER", |_, info| tls::text(tls::down(info), |tls| tls.cipher)),
    plain("DOWNSTREAM_TLS_GROUP", |_, info| tls::text(tls::down(info), |tls| tls.group)),
    // rustls tells nobody how a session is called.
    absent("DOWNSTREAM_TLS_SESSION_ID"),
    plain("DOWNSTREAM_PEER_SUBJECT", |_, info| {
        tls::text(tls::theirs(tls::down(info)), |peer| &peer.subject)
    }),
    plain("DOWNSTREAM_PEER_ISSUER", |_, info| {
        tls::text(tls::theirs(tls::down(info)), |peer| &peer.issuer)
    }),
    plain("DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256", |_, info| {
        tls::issuer(tls::peer(tls::down(info)), |one| one.sha256)
    }),
    plain("DOWNSTREAM_PEER_ISSUER_SERIAL", |_, info| {
        tls::issuer(tls::peer(tls::down(info)), |one| one.serial)
    }),
    plain("DOWNSTREAM_PEER_SERIAL", |_, info| {
        tls::text(tls::theirs(tls::down(info)), |peer| &peer.serial)
    }),
    plain("DOWNSTREAM_PEER_FINGERPRINT_256", |_, info| {
        tls::text(tls::theirs(tls::down(info)), |peer| &peer.sha256)
    }),
    plain("DOWNSTREAM_PEER_FINGERPRINT_1", |_, info| {
        tls::list(tls::peer(tls::down(info)).into_iter().flat_map(Peer::sha1).take(1))
    }),
    plain("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", |_, info| {
        tls::chain(tls::peer(tls::down(info)), |one| one.sha256)
    }),
    plain("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1", |_, info| {
        tls::list(tls::peer(tls::down(info)).into_iter().flat_map(Peer::sha1))
    }),
    plain("DOWNSTREAM_PEER_CHAIN_SERIALS", |_, info| {
        tls::chain(tls::peer(tls::down(info)), |one| one.serial)
    }),
    plain("DOWNSTREAM_PEER_CERT", |_, info| {
        tls::text(tls::peer(tls::down(info)), Peer::escaped_pem)
    }),
    with("DOWNSTREAM_PEER_CERT_V_START", Params::Optional, false, args::time, |args, info| {
        tls::moment(args, tls::theirs(tls::down(info)), |one| one.not_before)
    }),
    with("DOWNSTREAM_PEER_CERT_V_END", Params::Optional, false, args::time, |args, info| {
        tls::moment(args, tls::theirs(tls::down(info)), |one| one.not_after)
    }),
    plain("DOWNSTREAM_PEER_URI_SAN", |_, info| {
        tls::names(tls::theirs(tls::down(info)), NameKind::Uri)
    }),
    plain("DOWNSTREAM_PEER_DNS_SAN", |_, info| {
        tls::names(tls::theirs(tls::down(info)), NameKind::Dns)
    }),
    plain("DOWNSTREAM_PEER_IP_SAN", |_, info| {
        tls::names(tls::theirs(tls::down(info)), NameKind::Ip)
    }),
    plain("DOWNSTREAM_PEER_EMAIL_SAN", |_, info| {
        tls::names(tls::theirs(tls::down(info)), NameKind::Email)
    }),
    plain("DOWNSTREAM_PEER_OTHERNAME_SAN", |_, info| {
        tls::names(tls::theirs(tls::down(info)), NameKind::Other)
    }),
    plain("DOWNSTREAM_LOCAL_SUBJECT", |_, info| {
        tls::text(tls::ours(tls::down(info)), |own| &own.subject)
    }),
    plain("DOWNSTREAM_LOCAL_URI_SAN", |_, info| {
        tls::names(tls::ours(tls::down(info)), NameKind::Uri)
    }),
    plain("DOWNSTREAM_LOCAL_DNS_SAN", |_, info| {
        tls::names(tls::ours(tls::down(info)), NameKind::Dns)
    }),
    plain("DOWNSTREAM_LOCAL_IP_SAN", |_, info| {
        tls::names(tls::ours(tls::down(info)), NameKind::Ip)
    }),
    plain("DOWNSTREAM_LOCAL_EMAIL_SAN", |_, info| {
        tls::names(tls::ours(tls::down(info)), NameKind::Email)
    }),
    plain("DOWNSTREAM_LOCAL_OTHERNAME_SAN", |_, info| {
        tls::names(tls::ours(tls::down(info)), NameKind::Other)
    }),
    plain("UPSTREAM_SERVER_NAME", |_, info| {
        tls::text(tls::up(info), |tls| tls.server_name.as_deref().unwrap_or_default())
    }),
    plain("UPSTREAM_TLS_VERSION", |_, info| tls::text(tls::up(info), |tls| tls.version)),
    plain("UPSTREAM_TLS_CIPHER", |_, info| tls::text(tls::up(info), |tls| tls.cipher)),
    plain("UPSTREAM_TLS_GROUP", |_, info| tls::text(tls::up(info), |tls| tls.group)),
    absent("UPSTREAM_TLS_SESSION_ID"),
    plain("UPSTREAM_PEER_SUBJECT", |_, info| {
        tls::text(tls::theirs(tls::up(info)), |peer| &peer.subject)
    }),
    plain("UPSTREAM_PEER_ISSUER", |_, info| {
        tls::text(tls::theirs(tls::up(info)), |peer| &peer.issuer)
    }),
    plain("UPSTREAM_PEER_CERT", |_, info| tls::text(tls::peer(tls::up(info)), Peer::escaped_pem)),
    with("UPSTREAM_PEER_CERT_V_START", Params::Optional, false, args::time, |args, info| {
        tls::moment(args, tls::theirs(tls::up(info)), |one| one.not_before)
    }),
    with("UPSTREAM_PEER_CERT_V_END", Params::Optional, false, args::time, |args, info| {
        tls::moment(args, tls::theirs(tls::up(info)), |one| one.not_after)
    }),
    plain("UPSTREAM_PEER_URI_SAN", |_, info| tls::names(tls::theirs(tls::up(info)), NameKind::Uri)),
    plain("UPSTREAM_PEER_DNS_SAN", |_, info| tls::names(tls::theirs(tls::up(info)), NameKind::Dns)),
    plain("UPSTREAM_PEER_IP_SAN", |_, info| tls::names(tls::theirs(tls::up(info)), NameKind::Ip)),
    plain("UPSTREAM_LOCAL_URI_SAN", |_, info| tls::names(tls::ours(tls::up(info)), NameKind::Uri)),
    plain("UPSTREAM_LOCAL_DNS_SAN", |_, info| tls::names(tls::ours(tls::up(info)), NameKind::Dns)),
    plain("UPSTREAM_LOCAL_IP_SAN", |_, info| tls::names(tls::ours(tls::up(info)), NameKind::Ip)),
    plain("TLS_JA3_FINGERPRINT", |_, info| {
        Value::unless_empty(info.fingerprints.map_or("", |known| &known.ja3))
    }),
    plain("TLS_JA4_FINGERPRINT", |_, info| {
        Value::unless_empty(info.fingerprints.map_or("", |known| &known.ja4))
    }),
    // What was noted; nothing is traced.
    absent("TRACE_ID"),
    absent("SPAN_ID"),
    with("DYNAMIC_METADATA", Params::Required, true, args::dynamic_metadata, |args, info| {
        args.metadata(info)
    }),
    with("CLUSTER_METADATA", Params::Required, true, args::cluster_metadata, |args, info| {
        args.metadata(info)
    }),
    with("UPSTREAM_METADATA", Params::Required, true, args::upstream_metadata, |args, info| {
        args.metadata(info)
    }),
    with("METADATA", Params::Optional, true, args::metadata, |args, info| args.metadata(info)),
    with("FILTER_STATE", Params::Optional, true, args::filter_state, |args, info| {
        args.filter_state(info)
    }),
    with("UPSTREAM_FILTER_STATE", Params::Optional, true, args::filter_state, |_, _| {
        Value::Nothing
    }),
    // The machine.
    plain("HOSTNAME", |_, _| args::hostname()),
    with("ENVIRONMENT", Params::Required, true, args::environment, |args, _| args.fixed()),
    plain("UNIQUE_ID", |_, _| Value::owned(args::unique_id())),
    with("COALESCE", Params::Required, true, args::coalesce, |args, info| {
        let said = args.operators().iter().map(|operator| operator.value(info));
        said.into_iter().find(|value| !value.is_empty()).unwrap_or(Value::Nothing)
    }),
];

/// Operators that Envoy knows and we do not.
pub static LACKING: &[&str] = &[
    "CEL",
    "TYPED_CEL",
    "FILE_CONTENT",
    "SECRET",
    "XFCC_VALUE",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "ROUTE_RESOLUTION_COUNT",
    "ROUTE_RESOLUTION_TIME_US",
];

fn upstream_local(info: &StreamInfo<'_>) -> Option<Address> {
    info.upstream?.connection?.local
}

fn upstream_remote(info: &StreamInfo<'_>) -> Option<Address> {
    Some(info.upstream?.connection?.remote)
}

/// A host without a name is called by its address.
fn host_name<'a>(info: &StreamInfo<'a>) -> Value<'a> {
    match info.upstream {
        Some(upstream) if upstream.hostname.is_empty() => Value::text(upstream.address),
        Some(upstream) => Value::text(upstream.hostname),
        None => Value::Nothing,
    }
}

/// A word for each host that was tried.
fn attempted<'a>(info: &StreamInfo<'a>, word: impl Fn(&Attempted) -> String) -> Value<'a> {
    let words: Vec<String> = info.attempted.iter().map(word).collect();
    if words.is_empty() { Value::Nothing } else { Value::owned(words.join(",")) }
}

fn portless(host: &str) -> String {
    String::from_utf8_lossy(args::without_port(host.as_bytes())).into_owned()
}

fn flags<'a>(
    info: &StreamInfo<'a>,
    name: fn(crate::access_log::ResponseFlag) -> &'static str,
) -> Value<'a> {
    let mut flags = info.flags.iter().map(name);
    match (flags.next(), flags.next()) {
        // Envoy's own text for no flag: it is there in JSON too.
        (None, _) => Value::text("-"),
        (Some(only), None) => Value::text(only),
        (Some(first), Some(second)) => {
            let all: Vec<&str> = [first, second].into_iter().chain(flags).collect();
            Value::owned(all.join(","))
        }
    }
}

fn path<'a>(args: &'a Args, info: &StreamInfo<'a>) -> Value<'a> {
    let Args::Path { query, source } = args else { return Value::Nothing };
    let Some(request) = info.request else { return Value::Nothing };
    let original = request.headers.get(crate::codec::Known::XEnvoyOriginalPath);
    let own = Some(request.path()).filter(|path| !path.is_empty());
    let path = match source {
        PathSource::Original => original,
        PathSource::Own => own,
        PathSource::Either => original.or(own),
    };
    Value::of(path.map(|path| if *query { path } else { args::without_query(path) }))
}

fn response_bytes(info: &StreamInfo<'_>) -> u64 {
    let Some(response) = info.response.filter(|response| response.status > 0) else { return 0 };
    let closes =
        response.close && info.request.is_some_and(|r| r.version < crate::codec::Version::Http2);
    let close = if closes { "connection".len() + "close".len() } else { 0 };
    response.bytes() + close as u64
}
