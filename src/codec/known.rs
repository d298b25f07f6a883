//! Owns the headers that the proxy itself knows: a byte instead of a name.

/// Writes the list once: the enum, the names, and the look-up.
macro_rules! known {
    ($($Name:ident = $text:literal,)*) => {
        /// A header that the proxy knows. `Other` is every other one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Known {
            /// Not one of the known.
            Other,
            $(#[doc = concat!("`", $text, "`")] $Name,)*
        }

        impl Known {
            /// All known headers, without [`Known::Other`].
            pub const ALL: &'static [Known] = &[$(Known::$Name,)*];

            /// The name in lower case; empty for [`Known::Other`].
            pub const fn name(self) -> &'static str {
                match self {
                    Known::Other => "",
                    $(Known::$Name => $text,)*
                }
            }

            /// The beginning of its line: the name, a colon and a space.
            pub(super) const fn line_start(self) -> &'static str {
                match self {
                    Known::Other => "",
                    $(Known::$Name => concat!($text, ": "),)*
                }
            }
        }
    };
}

known! {
    Host = "host",
    Connection = "connection",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Te = "te",
    Trailer = "trailer",
    Upgrade = "upgrade",
    Expect = "expect",
    Http2Settings = "http2-settings",
    Date = "date",
    Server = "server",
    Via = "via",
    Location = "location",
    ContentType = "content-type",
    UserAgent = "user-agent",
    Referer = "referer",
    Cookie = "cookie",
    Accept = "accept",
    XRequestId = "x-request-id",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedClientCert = "x-forwarded-client-cert",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyExternalAddress = "x-envoy-external-address",
    XEnvoyInternal = "x-envoy-internal",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalHost = "x-envoy-original-host",
    XEnvoyDecoratorOperation = "x-envoy-decorator-operation",
    XEnvoyDownstreamServiceCluster = "x-envoy-downstream-service-cluster",
    XEnvoyDownstreamServiceNode = "x-envoy-downstream-service-node",
    XEnvoyRetryOn = "x-envoy-retry-on",
    XEnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    XEnvoyMaxRetries = "x-envoy-max-retries",
    XEnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    XEnvoyRetriableHeaderNames = "x-envoy-retriable-header-names",
    XEnvoyUpstreamRqTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamRqPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamRqTimeoutAltResponse = "x-envoy-upstream-rq-timeout-alt-response",
    XEnvoyUpstreamAltStatName = "x-envoy-upstream-alt-stat-name",
    XEnvoyHedgeOnPerTryTimeout = "x-envoy-hedge-on-per-try-timeout",
    XEnvoyUpstreamStreamDurationMs = "x-envoy-upstream-stream-duration-ms",
    XEnvoyIpTags = "x-envoy-ip-tags",
    XEnvoyForceTrace = "x-envoy-force-trace",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyImmediateHealthCheckFail = "x-envoy-immediate-health-check-fail",
    XEnvoyUpstreamCanary = "x-envoy-upstream-canary",
    XEnvoyUpstreamHealthcheckedCluster = "x-envoy-upstream-healthchecked-cluster",
    XEnvoyDegraded = "x-envoy-degraded",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcTimeout = "grpc-timeout",
}

/// A name as two words that overlap where it is short. Up to 16 bytes the words and the length are all
/// of it, beyond that they are most of what tells one name from another.
#[derive(Clone, Copy)]
struct Key {
    head: u64,
    tail: u64,
    length: usize,
}

/// Reads this many bytes as a number.
macro_rules! word {
    ($Word:ident, $bytes:expr) => {
        match $bytes {
            Some(bytes) => $Word::from_le_bytes(*bytes) as u64,
            None => 0,
        }
    };
}

// === impl Key ===

impl Key {
    #[inline]
    const fn of(name: &[u8]) -> Self {
        let length = name.len();
        let (head, tail) = match length {
            0 => (0, 0),
            1..4 => (name[0] as u64 | (name[length / 2] as u64) << 8, name[length - 1] as u64),
            4..8 => (word!(u32, name.first_chunk()), word!(u32, name.last_chunk())),
            8..17 => (word!(u64, name.first_chunk()), word!(u64, name.last_chunk())),
            // Many long names begin and end alike.
            _ => {
                let middle = name.split_at(length / 2).1;
                let tail: u64 = word!(u64, name.last_chunk());
                (word!(u64, name.first_chunk()), tail ^ word!(u64, middle.first_chunk()))
            }
        };
        Self { head, tail, length }
    }

    #[inline]
    const fn slot(self, multiplier: u64) -> usize {
        let mixed = self.head ^ self.tail.rotate_left(29) ^ self.length as u64;
        (mixed.wrapping_mul(multiplier) >> (u64::BITS - SLOT_BITS)) as usize
    }
}

const SLOT_BITS: u32 = 9;

/// A table without collisions, and the multiplier that made it so.
struct Slots {
    multiplier: u64,
    known: [Known; 1 << SLOT_BITS],
}

static SLOTS: Slots = {
    let mut multiplier: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut tries = 0;
    loop {
        let mut known = [Known::Other; 1 << SLOT_BITS];
        let mut at = 0;
        while at < Known::ALL.len() {
            let place = &mut known[KEYS[Known::ALL[at] as usize].slot(multiplier)];
            if !matches!(place, Known::Other) {
                break;
            }
            *place = Known::ALL[at];
            at += 1;
        }
        if at == Known::ALL.len() {
            break Slots { multiplier, known };
        }
        tries += 1;
        assert!(tries < 2_000, "no table without collisions: widen it");
        multiplier = multiplier.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1) | 1;
    }
};

/// The key of each, by its number.
static KEYS: [Key; Known::ALL.len() + 1] = {
    let mut keys = [Key { head: 0, tail: 0, length: 0 }; Known::ALL.len() + 1];
    let mut at = 0;
    while at < Known::ALL.len() {
        keys[at + 1] = Key::of(Known::ALL[at].name().as_bytes());
        at += 1;
    }
    keys
};

// === impl Known ===

impl Known {
    /// Its whole line with this value, for [`HeaderBlock::append_line`](super::HeaderBlock::append_line).
    pub fn line(self, value: &[u8]) -> Box<[u8]> {
        [self.line_start().as_bytes(), value, b"\r\n"].concat().into()
    }

    /// Finds a header by its name in lower case.
    #[inline]
    pub fn of(name: &[u8]) -> Known {
        let key = Key::of(name);
        let known = SLOTS.known[key.slot(SLOTS.multiplier)];
        let its = KEYS[known as usize];
        let same = (its.head, its.tail, its.length) == (key.head, key.tail, key.length);
        match same && (name.len() <= 16 || known.name().as_bytes() == name) {
            true => known,
            false => Known::Other,
        }
    }
}

/// A set of known headers: what is in a block is told by one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownSet(u64);

// A set has one bit for each known header, and one for `Other`, which is never set.
const _: () = assert!(Known::ALL.len() < KnownSet::MEMBERS_MAX);

// === impl KnownSet ===

impl KnownSet {
    /// Members at most; every [`Known`] is below it as a number.
    pub(super) const MEMBERS_MAX: usize = u64::BITS as usize;

    /// Headers that speak of the message itself or of the connection: they mean nothing in trailers,
    /// and whoever took them for headers could be led astray (RFC 9110, 6.5.1).
    pub const NEVER_IN_TRAILERS: Self = Self::of(&[
        Known::ContentLength,
        Known::TransferEncoding,
        Known::Host,
        Known::Connection,
        Known::KeepAlive,
        Known::ProxyConnection,
        Known::Te,
        Known::Trailer,
        Known::Upgrade,
        Known::Expect,
    ]);

    /// The set of these.
    pub const fn of(members: &[Known]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < members.len() {
            bits |= Self::bit(members[at]);
            at += 1;
        }
        Self(bits)
    }

    /// Whether it is in the set.
    #[inline]
    pub const fn contains(self, known: Known) -> bool {
        self.0 & Self::bit(known) != 0
    }

    /// Whether the two sets share a member.
    #[inline]
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The numbers of the members that the other set has as well.
    #[inline]
    pub(super) fn places_of(self, other: Self) -> impl Iterator<Item = usize> {
        let mut both = self.0 & other.0;
        std::iter::from_fn(move || {
            let place = (both != 0).then(|| both.trailing_zeros() as usize)?;
            both &= both - 1;
            Some(place)
        })
    }

    #[inline]
    pub(super) fn insert(&mut self, known: Known) {
        self.0 |= Self::bit(known);
    }

    #[inline]
    pub(super) fn remove_all(&mut self, members: Self) {
        self.0 &= !members.0;
    }

    /// `Other` is every other header: no set can hold it.
    const fn bit(known: Known) -> u64 {
        const OTHER: u64 = 1 << Known::Other as u8;
        (1 << known as u8) & !OTHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_and_no_other() {
        for known in Known::ALL {
            assert_eq!(Known::of(known.name().as_bytes()), *known);
        }
        assert_eq!(Known::of(b"hosx"), Known::Other);
        assert_eq!(Known::of(b""), Known::Other);
        assert_eq!(Known::of(&[b'x'; 99]), Known::Other);
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_never_the_others() {
        let mut set = KnownSet::of(&[Known::Host, Known::GrpcTimeout, Known::Other]);
        assert!(set.contains(Known::Host) && set.contains(Known::GrpcTimeout));
        assert!(!set.contains(Known::Other) && !set.contains(Known::Te));
        assert!(set.meets(KnownSet::of(&[Known::Te, Known::Host])));
        set.remove_all(KnownSet::of(&[Known::Host]));
        set.insert(Known::Te);
        assert!(!set.contains(Known::Host) && set.contains(Known::Te));
    }
}
