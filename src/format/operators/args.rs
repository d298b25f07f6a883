//! Owns the parameters of operators: read once, at load.

use std::{
    env,
    net::IpAddr,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use understudy_actors::address::Address;

use super::{
    super::{
        FormatError, StreamInfo, Timing,
        grpc::{self, GrpcForm},
        parse,
        time::{TimeFormat, Zone},
        value::Value,
    },
    Operator,
};
use crate::{
    codec::{HeaderBlock, Known, RequestHead, ResponseHead},
    worker::Uuids,
};

/// Parameters of an operator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Args {
    /// There are none.
    None,
    /// `main?alternative`
    Header(HeaderName, Option<HeaderName>),
    /// `WQ` or `NQ`, and where the path comes from.
    Path { query: bool, source: PathSource },
    /// `ORIG` or `DECODED`
    QueryParams { decoded: bool },
    /// Any text.
    Text(Box<str>),
    /// A form of a time.
    Time(TimeFormat),
    /// From when to when, and how many nanoseconds are one.
    Duration { from: Option<Point>, to: Option<Point>, unit: u128 },
    /// Bits that are left of an address.
    Prefix(Option<u8>),
    /// How a gRPC status is written.
    Grpc(GrpcForm),
    /// Whose metadata, and names in it, one below the other.
    Metadata(Owner, Vec<String>),
    /// A key of filter state, and how its object is told.
    FilterState(Box<str>, Told),
    /// Operators, of which the first with something to say speaks.
    Operators(Vec<Operator>),
}

/// How an object of filter state is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// `TYPED`
    Typed,
    /// `PLAIN`
    Plain,
    /// `FIELD`, and its name.
    Field(Box<str>),
}

/// Whose path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathSource {
    /// `x-envoy-original-path`
    Original,
    /// `:path`
    Own,
    /// The original one, if there is one.
    Either,
}

/// A header's name, found once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum HeaderName {
    Path,
    Method,
    Authority,
    Scheme,
    Status,
    Known(Known),
    Other(Box<[u8]>),
}

/// A moment of a stream.
type Moment = fn(&Timing) -> Option<Instant>;

/// A moment of a stream by its name in `COMMON_DURATION`; none is its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    name: &'static str,
    moment: Option<Moment>,
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

static POINTS: &[Point] = &[
    Point { name: "DS_RX_BEG", moment: None },
    Point { name: "DS_RX_END", moment: Some(|timing| timing.request_received) },
    Point { name: "US_TX_BEG", moment: Some(|timing| timing.request_sending) },
    Point { name: "US_TX_END", moment: Some(|timing| timing.request_sent) },
    Point { name: "US_RX_BEG", moment: Some(|timing| timing.response_begun) },
    Point { name: "US_RX_END", moment: Some(|timing| timing.response_received) },
    Point { name: "DS_TX_BEG", moment: Some(|timing| timing.response_sending) },
    Point { name: "DS_TX_END", moment: Some(|timing| timing.response_sent) },
];

/// Moments that Envoy knows and we do not take note of.
const POINTS_LACKING: [&str; 6] =
    ["US_CX_BEG", "US_CX_END", "US_HS_END", "US_RX_BODY_BEG", "DS_CX_BEG", "DS_CX_END"];

fn refused<T>(text: impl Into<String>) -> Result<T, FormatError> {
    Err(FormatError::Parameters { text: text.into() })
}

pub(super) fn none(_: &str) -> Result<Args, FormatError> {
    Ok(Args::None)
}

pub(super) fn text(params: &str) -> Result<Args, FormatError> {
    Ok(Args::Text(params.into()))
}

pub(super) fn header(params: &str) -> Result<Args, FormatError> {
    let mut names = params.split('?');
    let (main, other) = (names.next().unwrap_or_default(), names.next());
    if names.next().is_some() {
        return refused(format!("More than 1 alternative header specified in token: {params}"));
    }
    let other = other.filter(|name| !name.is_empty());
    let (main, other) = (HeaderName::read(main)?, other.map(HeaderName::read).transpose()?);
    Ok(Args::Header(main, other))
}

pub(super) fn path(params: &str) -> Result<Args, FormatError> {
    let mut words = params.split(':');
    let query = match words.next().unwrap_or_default() {
        "" | "WQ" => true,
        "NQ" => false,
        other => {
            return refused(format!("Invalid PATH option: '{other}', only 'WQ'/'NQ' are allowed"));
        }
    };
    let source = match words.next().unwrap_or_default() {
        "" | "ORIG_OR_PATH" => PathSource::Either,
        "ORIG" => PathSource::Original,
        "PATH" => PathSource::Own,
        other => {
            return refused(format!(
                "Invalid PATH option: '{other}', only 'ORIG'/'PATH'/'ORIG_OR_PATH' are allowed"
            ));
        }
    };
    Ok(Args::Path { query, source })
}

pub(super) fn query_params(params: &str) -> Result<Args, FormatError> {
    match params {
        "" | "ORIG" => Ok(Args::QueryParams { decoded: false }),
        "DECODED" => Ok(Args::QueryParams { decoded: true }),
        other => refused(format!(
            "Invalid QUERY_PARAMS option: '{other}', only 'ORIG'/'DECODED' are allowed"
        )),
    }
}

pub(super) fn time(params: &str) -> Result<Args, FormatError> {
    zoned(params, Zone::Utc)
}

pub(super) fn local_time(params: &str) -> Result<Args, FormatError> {
    zoned(params, Zone::Local)
}

fn zoned(params: &str, zone: Zone) -> Result<Args, FormatError> {
    match TimeFormat::parse(params, zone) {
        Some(format) => Ok(Args::Time(format)),
        None => refused("Invalid header configuration. Format string contains newline."),
    }
}

pub(super) fn grpc(params: &str) -> Result<Args, FormatError> {
    Ok(Args::Grpc(match params {
        "" | "CAMEL_STRING" => GrpcForm::Camel,
        "SNAKE_STRING" => GrpcForm::Snake,
        "NUMBER" => GrpcForm::Number,
        other => {
            return refused(format!(
                "GrpcStatusFormatter only supports CAMEL_STRING, SNAKE_STRING or NUMBER. Got: {other}"
            ));
        }
    }))
}

/// A text that is no number masks nothing. Observed: Envoy 1.40.
pub(super) fn prefix(params: &str) -> Result<Args, FormatError> {
    let length = params.parse::<u32>().ok();
    Ok(Args::Prefix(length.map(|length| u8::try_from(length).unwrap_or(u8::MAX))))
}

pub(super) fn duration(params: &str) -> Result<Args, FormatError> {
    let words: Vec<&str> = params.split(':').collect();
    let (from, to, unit) = match words.as_slice() {
        [from, to] => (*from, *to, "ms"),
        [from, to, unit] => (*from, *to, *unit),
        _ => return refused(format!("Invalid common duration configuration: {params}.")),
    };
    let unit = match unit {
        "ms" => 1_000_000,
        "us" => 1_000,
        "ns" => 1,
        other => return refused(format!("Invalid common duration precision: {other}.")),
    };
    for name in [from, to] {
        if POINTS_LACKING.contains(&name) {
            return Err(FormatError::Lacking { name: "COMMON_DURATION" });
        }
    }
    // A name that nobody knows may be a filter's; no filter of ours takes note of any.
    let point = |name: &str| POINTS.iter().find(|point| point.name == name).copied();
    Ok(Args::Duration { from: point(from), to: point(to), unit })
}

pub(super) fn metadata(params: &str) -> Result<Args, FormatError> {
    let mut words = params.split(':');
    match words.next().unwrap_or_default() {
        "ROUTE" => Ok(Args::Metadata(Owner::Route, words.map(str::to_owned).collect())),
        "VIRTUAL_HOST" => {
            Ok(Args::Metadata(Owner::VirtualHost, words.map(str::to_owned).collect()))
        }
        "DYNAMIC" => Ok(Args::Metadata(Owner::Dynamic, words.map(str::to_owned).collect())),
        "LISTENER" => Ok(Args::Metadata(Owner::Listener, words.map(str::to_owned).collect())),
        "LISTENER_FILTER_CHAIN" => {
            Ok(Args::Metadata(Owner::FilterChain, words.map(str::to_owned).collect()))
        }
        "CLUSTER" => Ok(Args::Metadata(Owner::Cluster, words.map(str::to_owned).collect())),
        "UPSTREAM_HOST" => {
            Ok(Args::Metadata(Owner::UpstreamHost, words.map(str::to_owned).collect()))
        }
        other => refused(format!("{other} is not supported type of metadata")),
    }
}

pub(super) fn cluster_metadata(params: &str) -> Result<Args, FormatError> {
    Ok(Args::Metadata(Owner::Cluster, params.split(':').map(str::to_owned).collect()))
}

pub(super) fn upstream_metadata(params: &str) -> Result<Args, FormatError> {
    Ok(Args::Metadata(Owner::UpstreamHost, params.split(':').map(str::to_owned).collect()))
}

pub(super) fn dynamic_metadata(params: &str) -> Result<Args, FormatError> {
    Ok(Args::Metadata(Owner::Dynamic, params.split(':').map(str::to_owned).collect()))
}

pub(super) fn filter_state(params: &str) -> Result<Args, FormatError> {
    let mut words = params.split(':');
    let key = words.next().unwrap_or_default();
    let kind = words.next().filter(|kind| !kind.is_empty()).unwrap_or("TYPED");
    let field = words.next().unwrap_or_default();
    if key.is_empty() {
        return refused("Invalid filter state configuration, key cannot be empty.");
    }
    if !["PLAIN", "TYPED", "FIELD"].contains(&kind) {
        return refused("Invalid filter state serialize type, only support PLAIN/TYPED/FIELD.");
    }
    if (kind == "FIELD") == field.is_empty() {
        return refused(
            "Invalid filter state serialize type, FIELD should be used with the field name.",
        );
    }
    let told = match kind {
        "PLAIN" => Told::Plain,
        "FIELD" => Told::Field(field.into()),
        _ => Told::Typed,
    };
    Ok(Args::FilterState(key.into(), told))
}

/// What the environment says is read once.
pub(super) fn environment(params: &str) -> Result<Args, FormatError> {
    Ok(Args::Text(env::var(params).unwrap_or_else(|_| "-".to_owned()).into()))
}

pub(super) fn coalesce(params: &str) -> Result<Args, FormatError> {
    let json: serde_json::Value = match serde_json::from_str(params) {
        Ok(json) => json,
        Err(error) => {
            return refused(format!("COALESCE: failed to parse JSON configuration: {error}"));
        }
    };
    let Some(list) = json.get("operators").and_then(serde_json::Value::as_array) else {
        return refused("COALESCE: 'operators' must be an array");
    };
    if list.is_empty() {
        return refused("COALESCE: 'operators' array must not be empty");
    }
    let mut operators = Vec::with_capacity(list.len());
    for (index, item) in list.iter().enumerate() {
        let text = |name: &str| item.get(name).and_then(serde_json::Value::as_str);
        let name = item.as_str().or_else(|| text("command")).unwrap_or_default();
        let max = item.get("max_length").and_then(serde_json::Value::as_u64);
        let max = max.map(|max| usize::try_from(max).unwrap_or(usize::MAX));
        match parse::operator(name, text("param").unwrap_or_default(), max) {
            Ok(operator) => operators.push(operator),
            Err(lacking @ FormatError::Lacking { .. }) => return Err(lacking),
            Err(FormatError::Unknown { name }) => {
                return refused(format!(
                    "COALESCE: failed to parse operator at index {index}: unknown command: '{name}'"
                ));
            }
            Err(why) => {
                return refused(format!(
                    "COALESCE: failed to parse operator at index {index}: {why}"
                ));
            }
        }
    }
    Ok(Args::Operators(operators))
}

/// Whose metadata there can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// `ROUTE`.
    Route,
    /// `VIRTUAL_HOST`.
    VirtualHost,
    /// `DYNAMIC`.
    Dynamic,
    /// `LISTENER`.
    Listener,
    /// `LISTENER_FILTER_CHAIN`.
    FilterChain,
    /// `CLUSTER`.
    Cluster,
    /// `UPSTREAM_HOST`.
    UpstreamHost,
}

// === impl Args ===

impl Args {
    pub(super) fn header<'a>(
        &'a self,
        of: impl Fn(&'a HeaderName) -> Option<&'a [u8]>,
    ) -> Value<'a> {
        let Args::Header(main, other) = self else { return Value::Nothing };
        Value::of(of(main).or_else(|| of(other.as_ref()?)))
    }

    pub(super) fn is_text(&self, wanted: &str) -> bool {
        matches!(self, Args::Text(text) if **text == *wanted)
    }

    /// A text that was made at load.
    pub(super) fn fixed(&self) -> Value<'_> {
        if let Args::Text(text) = self { Value::text(text) } else { Value::Nothing }
    }

    pub(super) fn operators(&self) -> &[Operator] {
        if let Args::Operators(operators) = self { operators } else { &[] }
    }

    pub(super) fn time(&self, at: SystemTime) -> Value<'_> {
        if let Args::Time(format) = self { Value::owned(format.write(at)) } else { Value::Nothing }
    }

    /// The first value of a query parameter, decoded. Observed: Envoy 1.40.
    pub(super) fn query_param<'a>(&self, path: &'a [u8]) -> Value<'a> {
        let Args::Text(wanted) = self else { return Value::Nothing };
        let Some(query) = query_of(path) else { return Value::Nothing };
        let mut pairs = query.split(|byte| *byte == b'&').map(|pair| {
            let equals = pair.iter().position(|byte| *byte == b'=');
            equals.map_or((pair, &b""[..]), |at| (&pair[..at], &pair[at + 1..]))
        });
        let found = pairs.find(|(name, _)| decoded(name) == wanted.as_bytes());
        found.map_or(Value::Nothing, |(_, value)| match value.contains(&b'%') {
            true => Value::Text(decoded(value).into()),
            false => Value::bytes(value),
        })
    }

    pub(super) fn query_params<'a>(&self, path: &'a [u8]) -> Value<'a> {
        let Some(query) = query_of(path) else { return Value::Nothing };
        match self {
            Args::QueryParams { decoded: true } => Value::Text(decoded(query).into()),
            _ => Value::bytes(query),
        }
    }

    pub(super) fn grpc<'a>(&self, info: &StreamInfo<'a>) -> Value<'a> {
        let Args::Grpc(form) = *self else { return Value::Nothing };
        let Some(status) = grpc::status(info) else { return Value::Nothing };
        grpc::name(form, status).map_or(Value::Number(status), Value::text)
    }

    pub(super) fn duration<'a>(&self, info: &StreamInfo<'a>) -> Value<'a> {
        let Args::Duration { from: Some(from), to: Some(to), unit } = self else {
            return Value::Nothing;
        };
        let at = |point: &Point| match point.moment {
            None => info.started,
            Some(moment) => info.timing.and_then(moment),
        };
        let passed = at(to).zip(at(from)).and_then(|(to, from)| to.checked_duration_since(from));
        let count = |passed: Duration| u64::try_from(passed.as_nanos() / unit).unwrap_or(u64::MAX);
        Value::number(passed.map(count))
    }

    /// An address without its port, masked if a length is given.
    pub(super) fn ip<'a>(&self, address: Option<Address>) -> Value<'a> {
        let ip = match (address, self) {
            (None, _) => return Value::Nothing,
            (Some(Address::Ip(address)), _) => address.ip(),
            // Observed: Envoy 1.40 masks a path to nothing.
            (Some(Address::Pipe(_)), Args::Prefix(Some(_))) => return Value::text(""),
            (Some(Address::Pipe(pipe)), _) => return Value::text(pipe.path()),
        };
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        match *self {
            // No more bits than there are. Observed: Envoy 1.40.
            Args::Prefix(Some(length)) => masked(ip, length.min(longest)),
            _ => Value::owned(ip.to_string()),
        }
    }

    pub(super) fn metadata<'a>(&self, info: &StreamInfo<'a>) -> Value<'a> {
        let Args::Metadata(owner, names) = self else { return Value::Nothing };
        let metadata = match owner {
            Owner::Route => info.route_metadata,
            Owner::VirtualHost => info.virtual_host_metadata,
            Owner::Dynamic => info.dynamic_metadata,
            Owner::Listener => {
                info.filter_chain.and_then(|chain| chain.listener_metadata.as_deref())
            }
            Owner::FilterChain => info.filter_chain.and_then(|chain| chain.metadata.as_ref()),
            Owner::Cluster => info.cluster_metadata,
            Owner::UpstreamHost => info.upstream.and_then(|upstream| upstream.metadata),
        };
        // Whose it is alone names nothing. Observed: Envoy 1.40.
        let named = metadata.filter(|_| !names.is_empty());
        let Some(mut found) = named else { return Value::Nothing };
        for name in names {
            match found.get(name) {
                Some(below) => found = below,
                None => return Value::Nothing,
            }
        }
        Value::Json(found)
    }

    pub(super) fn filter_state<'a>(&self, info: &StreamInfo<'a>) -> Value<'a> {
        let Args::FilterState(key, told) = self else { return Value::Nothing };
        let Some(object) = info.left_under(key) else { return Value::Nothing };
        match told {
            Told::Typed => Value::Json(object.typed()),
            Told::Plain => object.plain().map_or(Value::Nothing, Value::owned),
            Told::Field(name) => object.field(name).map_or(Value::Nothing, Value::text),
        }
    }
}

fn masked<'a>(ip: IpAddr, length: u8) -> Value<'a> {
    let net = ipnet::IpNet::new(ip, length);
    net.map_or(Value::Nothing, |net| Value::owned(net.trunc().to_string()))
}

/// What is between the stream's beginning, or `from`, and a moment of it, in milliseconds.
pub(super) fn between<'a>(
    info: &StreamInfo<'a>,
    from: Option<Instant>,
    to: impl Fn(&Timing) -> Option<Instant>,
) -> Value<'a> {
    let (from, to) = (from.or(info.started), info.timing.and_then(to));
    let passed = to.zip(from).map(|(to, from)| ms(to.saturating_duration_since(from)));
    Value::number(passed)
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn address<'a>(address: Option<Address>) -> Value<'a> {
    address.map_or(Value::Nothing, |address| Value::owned(address.to_string()))
}

pub(super) fn port<'a>(address: Option<Address>) -> Value<'a> {
    match address {
        Some(Address::Ip(address)) => Value::Number(u64::from(address.port())),
        Some(Address::Pipe(_)) => Value::Blank,
        None => Value::Nothing,
    }
}

pub(super) fn hostname<'a>() -> Value<'a> {
    static NAME: OnceLock<String> = OnceLock::new();
    let name =
        NAME.get_or_init(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    Value::unless_empty(name)
}

pub(super) fn unique_id() -> String {
    thread_local!(static UUIDS: Uuids = Uuids::default());
    UUIDS.with(|uuids| String::from_utf8_lossy(&uuids.next()).into_owned())
}

/// A host without its port; the colons of a bracketed IPv6 address are not one.
pub(super) fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|byte| *byte == b':') {
        Some(at) if !host[at..].contains(&b']') => &host[..at],
        _ => host,
    }
}

/// The path before `?`.
pub(super) fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| *byte == b'?').next().unwrap_or_default()
}

fn query_of(path: &[u8]) -> Option<&[u8]> {
    let at = path.iter().position(|byte| *byte == b'?')?;
    path.get(at + 1..)
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                tail.get(2..).unwrap_or_default()
            }
            (other, ..) => {
                out.push(*other);
                tail
            }
        };
    }
    out
}

// === impl HeaderName ===

impl HeaderName {
    /// Reads a name; Envoy refuses what can be none.
    pub(super) fn read(name: &str) -> Result<Self, FormatError> {
        let token = name.strip_prefix(':').unwrap_or(name);
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if !token.bytes().all(is_token) {
            return refused(
                "Invalid header configuration. Format string contains invalid characters.",
            );
        }
        let name = name.to_ascii_lowercase();
        Ok(match name.as_str() {
            ":path" => Self::Path,
            ":method" => Self::Method,
            ":authority" | "host" => Self::Authority,
            ":scheme" => Self::Scheme,
            ":status" => Self::Status,
            name => match Known::of(name.as_bytes()) {
                Known::Other => Self::Other(name.as_bytes().into()),
                known => Self::Known(known),
            },
        })
    }

    fn of_block<'h>(&self, headers: &'h HeaderBlock) -> Option<&'h [u8]> {
        match self {
            Self::Known(known) => headers.get(*known),
            Self::Other(name) => headers.get_name(name),
            _ => None,
        }
    }

    pub(super) fn of_trailers<'h>(&self, trailers: &'h HeaderBlock) -> Option<&'h [u8]> {
        self.of_block(trailers)
    }

    pub(super) fn of_request<'h>(&self, head: &'h RequestHead) -> Option<&'h [u8]> {
        let there = |part: &'h [u8]| Some(part).filter(|part| !part.is_empty());
        match self {
            Self::Path => there(head.path()),
            Self::Method => there(head.method.as_str().as_bytes()),
            Self::Authority => head.has_authority().then(|| head.authority()),
            Self::Scheme => {
                there(head.path())?;
                Some(head.scheme.as_str().as_bytes())
            }
            _ => self.of_block(&head.headers),
        }
    }

    pub(super) fn of_response<'h>(&self, head: &'h ResponseHead) -> Option<&'h [u8]> {
        match self {
            Self::Status => status_text(head.status),
            _ => self.of_block(&head.headers),
        }
    }
}

/// The text of a status.
fn status_text(status: u16) -> Option<&'static [u8]> {
    static TEXTS: OnceLock<Vec<String>> = OnceLock::new();
    let texts = TEXTS.get_or_init(|| (0..1000).map(|status: u16| status.to_string()).collect());
    (status > 0).then(|| texts.get(usize::from(status)).map(String::as_bytes))?
}
