//! Owns request and response heads: what their first lines say, around a block of headers.

use super::{HeaderBlock, KeptNames, Known, Method, Switch};

/// An HTTP version on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// `HTTP/1.0`
    Http10,
    /// `HTTP/1.1`
    #[default]
    Http11,
    /// HTTP/2
    Http2,
}

/// What a request's target is said to be spoken by: `:scheme`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Nothing has said it yet.
    #[default]
    Unset,
    /// `http`
    Http,
    /// `https`
    Https,
}

/// A request's head.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The version it came in.
    pub version: Version,
    /// All headers but the authority.
    pub headers: HeaderBlock,
    /// Names as they came, where they are kept.
    pub kept: Option<Box<KeptNames>>,
    /// What the client wants the stream to become.
    pub switch: Switch,
    path: Vec<u8>,
    authority: Vec<u8>,
    has_authority: bool,
    /// `:scheme`, or that of an absolute target.
    pub scheme: Scheme,
    /// The last `host` that was found to be one. It outlives its request: the next one mostly says the
    /// same, and need not be looked at again.
    pub(super) last_host: Vec<u8>,
}

/// A response's head.
#[derive(Clone, Debug, Default)]
pub struct ResponseHead {
    /// The status; 0 while there is none.
    pub status: u16,
    /// All headers.
    pub headers: HeaderBlock,
    /// Names as they came, where they are kept.
    pub kept: Option<Box<KeptNames>>,
    /// The connection ends after this message; the codec says so in its protocol's way.
    pub close: bool,
}

// === impl Version ===

impl Version {
    /// As the access log's `%PROTOCOL%` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2",
        }
    }
}

// === impl Scheme ===

impl Scheme {
    /// Reads a scheme, in whatever case; anything but these two is none.
    pub fn parse(text: &[u8]) -> Self {
        match text {
            b"http" => Self::Http,
            b"https" => Self::Https,
            _ if text.eq_ignore_ascii_case(b"http") => Self::Http,
            _ if text.eq_ignore_ascii_case(b"https") => Self::Https,
            _ => Self::Unset,
        }
    }

    /// As it is written; what is not encrypted is `http`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http | Self::Unset => "http",
        }
    }
}

// === impl RequestHead ===

impl RequestHead {
    /// An empty head; the room stays.
    pub fn clear(&mut self) {
        self.method = Method::Unset;
        self.version = Version::Http11;
        self.headers.clear();
        self.switch = Switch::Nothing;
        self.path.clear();
        self.authority.clear();
        self.has_authority = false;
        self.scheme = Scheme::Unset;
        self.kept = None;
    }

    /// Bytes of all names and values, those of the first line in HTTP/2's way: as Envoy counts a head.
    pub fn bytes(&self) -> u64 {
        if self.method == Method::Unset {
            // Nothing could be read of it.
            return 0;
        }
        let pseudo =
            |name: &str, value: &[u8]| if value.is_empty() { 0 } else { name.len() + value.len() };
        let first = pseudo(":method", self.method.as_str().as_bytes())
            + pseudo(":path", self.path())
            + pseudo(":authority", self.authority())
            + pseudo(":scheme", self.scheme.as_str().as_bytes());
        self.headers.bytes() + first as u64
    }

    /// Path and query.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Replaces path and query.
    pub fn set_path(&mut self, path: &[u8]) {
        self.path.clear();
        self.path.extend_from_slice(path);
    }

    /// Host and port, as `host` or `:authority` has it.
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// Whether there was an authority at all, be it an empty one.
    pub fn has_authority(&self) -> bool {
        self.has_authority
    }

    /// Replaces the authority.
    pub fn set_authority(&mut self, authority: &[u8]) {
        self.has_authority = true;
        self.authority.clear();
        self.authority.extend_from_slice(authority);
    }

    /// Makes the first value of a known header the authority.
    pub(super) fn take_authority_from(&mut self, known: Known) {
        self.authority.clear();
        self.authority.extend_from_slice(self.headers.get(known).unwrap_or_default());
        self.has_authority = true;
    }

    /// The first value of a header by its name in lower case, or what HTTP/2 calls by such a name.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        match name {
            b":authority" | b"host" => self.has_authority.then_some(&*self.authority),
            b":path" => Some(&self.path),
            b":method" => Some(self.method.as_str().as_bytes()),
            b":scheme" => Some(self.scheme.as_str().as_bytes()),
            name => self.headers.get_name(name),
        }
    }

    /// Whether it says that it is a gRPC call.
    pub fn is_grpc(&self) -> bool {
        let Some(kind) = self.headers.get(Known::ContentType) else { return false };
        match kind.strip_prefix(b"application/grpc") {
            Some(rest) => rest.is_empty() || rest.starts_with(b"+"),
            None => false,
        }
    }

    /// Whether the response has no body whatever its head says.
    pub fn is_head(&self) -> bool {
        self.method == Method::Head
    }
}

// === impl ResponseHead ===

impl ResponseHead {
    /// Bytes of all names and values, with `:status`: as Envoy counts a head.
    pub fn bytes(&self) -> u64 {
        self.headers.bytes() + ":status200".len() as u64
    }

    /// An empty head; the room stays.
    pub fn clear(&mut self) {
        self.status = 0;
        self.close = false;
        self.kept = None;
        self.headers.clear();
    }
}
